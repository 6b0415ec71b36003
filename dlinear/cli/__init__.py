"""The command `dlinear`: proofs, simulations and figures from anywhere, and what a bug report needs."""
