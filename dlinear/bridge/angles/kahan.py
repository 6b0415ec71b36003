"""The angle between two gradients of one model, by Kahan's formula: exact to rounding where it is small.

    theta = 2 atan2( || a/|a| - b/|b| ||, || a/|a| + b/|b| || )

`1 - cos^2` loses every digit below the rounding unit. For g_h against g_T use `dlinear.bridge.alignment`,
which computes the difference itself and not from two rounded vectors.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

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
    """Pairs of parts as real numbers in float64; a part that one mapping lacks is 0."""
    left, right = _parts(a), _parts(b)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        keys = list({**a, **b})
        left = [a[key] if key in a else torch.zeros_like(b[key]) for key in keys]
        right = [b[key] if key in b else torch.zeros_like(a[key]) for key in keys]
    if [u.shape for u in left] != [v.shape for v in right]:
        raise ShapeError("two gradients of different shapes received; expected those of one model")
    if [u.is_complex() for u in left] != [v.is_complex() for v in right]:
        raise ShapeError("a complex and a real gradient received; expected those of one model")
    return [(_wide(u), _wide(v)) for u, v in zip(left, right, strict=True)]


def _parts(vector: Vector) -> list[Tensor]:
    """The tensors of a vector."""
    parts = vector.values() if isinstance(vector, Mapping) else vector
    if not isinstance(parts, Iterable) or not all(isinstance(part, Tensor) for part in parts):
        raise ShapeError(f"a {type(vector).__name__} received; expected a sequence or mapping of tensors")
    return list(parts)


def _wide(part: Tensor) -> Tensor:
    """The part as real numbers in float64; the real inner product of complex ones is that of their parts."""
    part = part.detach()
    part = part.to_dense() if part.is_sparse else part
    return (torch.view_as_real(part.resolve_conj()) if part.is_complex() else part).double()
