"""Train a stack by any method, resume after any interruption."""
