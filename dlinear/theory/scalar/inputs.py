"""What the functions of the scalar network accept: real, finite, of shapes that broadcast."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dlinear.checks import as_floats, refuse_shapes
from dlinear.errors import DomainError, NonFiniteError

Floats = NDArray[np.float64]

#: Largest |c| that `sin2` integrates (the number of panels grows like |c| eps).
MAX_ABS_C = 1e4


def as_finite(name: str, value: ArrayLike) -> Floats:
    """An array of finite real numbers."""
    array: Floats = as_floats(name, value, "real numbers")
    if not np.all(np.isfinite(array)):
        raise NonFiniteError(f"{name} must be finite; got {array[~np.isfinite(array)].flat[0]}")
    return array


def together(**arrays: Floats) -> tuple[Floats, ...]:
    """The arrays, broadcast to one shape."""
    refuse_shapes(arrays)
    return tuple(np.broadcast_arrays(*arrays.values()))


def as_unit_interval(name: str, value: ArrayLike) -> Floats:
    """An array of numbers in [0, 1]."""
    array = as_finite(name, value)
    if np.any((array < 0) | (array > 1)):
        raise DomainError(f"{name} must lie in [0, 1]; got {array[(array < 0) | (array > 1)].flat[0]}")
    return array


def check_c(cs: Floats) -> None:
    """|c| within what the quadrature takes."""
    if np.any(np.abs(cs) > MAX_ABS_C):
        raise DomainError(f"|c| must be at most {MAX_ABS_C:g}; got {np.max(np.abs(cs)):g}")
