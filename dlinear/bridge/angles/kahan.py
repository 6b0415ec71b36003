"""The angle between two gradients of one model, by Kahan's formula: exact to rounding where it is small.

    theta = 2 atan2( || a/|a| - b/|b| ||, || a/|a| + b/|b| || )

`1 - cos^2` loses every digit below the rounding unit. For g_h against g_T use `dlinear.bridge.alignment`,
which computes the difference itself and not from two rounded vectors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dlinear.errors import NonFiniteError, ShapeError, UndefinedAngleError

Vector = Sequence[Tensor] | Mapping[Tensor, Tensor]


def angle(a: Vector, b: Vector) -> float:
    """The angle in [0, pi] between two vectors that are given in parts, in float64.

    Args:
        a: tensors, or gradients by parameter as `horizon_gradients` returns them.
        b: likewise, of the same shapes; what only one of two mappings has counts as zero in the other.

    Raises:
        ShapeError: the parts do not match.
        UndefinedAngleError: one of the vectors is zero.
        NonFiniteError: one of them holds NaN or infinity.
    """
    pairs = _pairs(a, b)
    norms = [math.hypot(*(float(torch.linalg.vector_norm(pair[i])) for pair in pairs)) for i in (0, 1)]
    if not pairs or 0.0 in norms:
        raise UndefinedAngleError("a gradient is zero, so there is no angle")
    if not all(map(math.isfinite, norms)):
        raise NonFiniteError("a gradient holds NaN or infinity, so there is no angle")
    minus = plus = 0.0
    for u, v in pairs:
        u, v = u / norms[0], v / norms[1]
        minus += float((u - v).square().sum())
        plus += float((u + v).square().sum())
    return 2 * math.atan2(math.sqrt(minus), math.sqrt(plus))


def sin2(a: Vector, b: Vector) -> float:
    """sin^2 of `angle`."""
    return math.sin(angle(a, b)) ** 2


def _pairs(a: Vector, b: Vector) -> list[tuple[Tensor, Tensor]]:
    """Pairs of parts in float64; a part that one mapping lacks is 0."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        keys = list({**a, **b})
        zero = torch.zeros(())
        found = [(a.get(key, zero), b.get(key, zero)) for key in keys]
    else:
        left, right = (list(v.values()) if isinstance(v, Mapping) else list(v) for v in (a, b))
        if [v.shape for v in left] != [v.shape for v in right]:
            raise ShapeError("two gradients of different shapes received; expected those of one model")
        found = list(zip(left, right, strict=True))
    return [(_wide(u), _wide(v)) for u, v in found]


def _wide(part: Tensor) -> Tensor:
    part = part.detach()
    return (part.to_dense() if part.is_sparse else part).double()
