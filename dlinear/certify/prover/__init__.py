"""What writes certificates. Nothing here is trusted: `trusted.check` judges what it writes."""
