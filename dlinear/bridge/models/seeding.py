"""Random numbers that depend on a seed alone and leave the state of torch's generators unchanged."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch

EMBEDDING, READOUT, PATH, NARROW = (
    101,
    102,
    103,
    104,
)  # streams of numpy draws: equal seeds give independent ones


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, torch draws from `seed` and builds on the CPU in float32; generator and dtype are restored.

    Only the CPU's generator is seeded (`torch.manual_seed` would reseed every GPU as well). One device and
    one precision make the numbers independent of where the model is moved to later.
    """
    dtype = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)


def semi_orthogonal(rows: int, columns: int, seed: int, stream: int) -> torch.Tensor:
    """A (rows, columns) float64 matrix with orthonormal columns, or rows if these are fewer (Haar)."""
    tall = max(rows, columns), min(rows, columns)
    q, r = np.linalg.qr(np.random.default_rng([seed, stream]).normal(size=tall))
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)  # makes Q Haar (Mezzadri, Notices AMS 54, 2007)
    return torch.from_numpy(np.ascontiguousarray(q if rows >= columns else q.T))
