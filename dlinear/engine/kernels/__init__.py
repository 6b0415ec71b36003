"""Compiled kernels of the engine (llvmlite); numpy is the fallback and what they are tested against."""
