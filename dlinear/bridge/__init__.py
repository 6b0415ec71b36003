"""Horizon gradients for any torch model, and what to compare them with. Importing this imports torch."""
