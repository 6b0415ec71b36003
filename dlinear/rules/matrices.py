"""Fixed random feedback: matrices that a seed determines, drawn once and kept for the next step."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from dlinear.checks import as_integer, as_number
from dlinear.errors import DomainError

__all__ = ["check_knobs", "uniform"]

DIRECT, LAYERWISE, INPUT = 201, 202, 203  # streams: B_l of DFA, B_l of FA, F of PEPITA
CIRCUIT = 204  # weights of predictive forward-forward


def check_knobs(seed: object, scale: object) -> None:
    """Raise `DomainError` unless the seed is an integer >= 0 and the scale a finite number > 0."""
    as_integer("seed", seed, 0, 2**63 - 1)
    if not 0 < as_number("scale", scale) < math.inf:
        raise DomainError(f"scale is {scale}; expected a finite number > 0")


@lru_cache(maxsize=128)
def uniform(
    shape: tuple[int, ...],
    bound: float,
    seed: int,
    stream: int,
    place: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """Entries uniform on (-bound, bound), by seed, stream and place; kept, so not to be written to."""
    draw = np.random.default_rng([seed, stream, place]).uniform(-bound, bound, size=shape)
    with torch.inference_mode(False):  # what is kept must serve training too
        return torch.from_numpy(draw).to(dtype=dtype, device=device)
