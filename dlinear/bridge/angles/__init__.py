"""Angles of real models: measured without cancellation, and predicted by Theorem D."""
