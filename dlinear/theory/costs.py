"""What a horizon costs and what it buys: eq. (11), the counts of section E.1, the example of section 3.3.

Notation: depth T, horizon h; memory M(h) = a h + b; r(h) = 1 - c (1 - h/T)^3 with c > 0 the coefficient of
the decay. Exact work hands in fractions or sympy numbers: only arithmetic and one square root are used.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dlinear.checks import (
    POSITIVE,
    as_depth,
    as_integer,
    as_integral,
    as_real,
    elementwise,
    is_plain,
    lift,
    received,
)
from dlinear.errors import DomainError, HorizonError
from dlinear.theory.bounds import Interval
from dlinear.theory.window_run import WindowRun, run_windows

__all__ = [
    "WindowRun",
    "block_vjps",
    "decay_model",
    "horizon_objective",
    "integer_interior_interval",
    "interior_interval",
    "memory_model",
    "optimal_horizon",
    "run_windows",
    "stored_blocks_eager",
    "stored_blocks_static",
]


@elementwise
def decay_model(depth: Any, horizon: Any, coefficient: Any) -> Any:
    """r(h) = cos^2(theta_h) = 1 - c (1 - h/T)^3, the assumption of the example in section 3.3.

    Args:
        depth: T >= 1.
        horizon: h, a real number in [0, T] or an array (the example relaxes integers).
        coefficient: c > 0 of the decay (not the bound on the layers).

    Raises:
        DomainError: an argument outside its domain.
    """
    depth = as_depth(depth)
    horizon, coefficient = (
        _relaxed(horizon, depth),
        as_real("coefficient", coefficient, POSITIVE, strict=True),
    )
    return 1 - coefficient * (depth - horizon) ** 3 / depth**3


def _relaxed(horizon: Any, depth: Any) -> Any:
    """A real horizon in [0, T]."""
    horizon = as_real("horizon", horizon)
    if is_plain(horizon) and is_plain(depth) and not np.all(inside := np.asarray(horizon) <= depth):
        what = received("horizon", horizon, np.asarray(horizon), inside)
        raise DomainError(f"{what}: allowed is a number in [0, {depth}]")
    return horizon


@elementwise
def memory_model(horizon: Any, slope: Any, offset: Any) -> Any:
    """M(h) = a h + b, eq. (11): eager execution.

    Args:
        horizon: h >= 0.
        slope: a > 0, memory per block of horizon.
        offset: b >= 0.

    Raises:
        DomainError: an argument outside its domain.
    """
    slope = as_real("slope", slope, POSITIVE, strict=True)
    return slope * as_real("horizon", horizon) + as_real("offset", offset)


@elementwise
def horizon_objective(
    depth: Any, horizon: Any, coefficient: Any, slope: Any, offset: Any, weight: Any
) -> Any:
    """-r(h) + lambda M(h), to be minimised (eq. (18), repaired: min instead of max).

    Args:
        depth: T.
        horizon: h, real.
        coefficient: c of `decay_model`.
        slope: a of `memory_model`.
        offset: b of `memory_model`.
        weight: lambda >= 0.

    Raises:
        DomainError: an argument outside its domain.
    """
    cost = as_real("weight", weight) * memory_model(horizon, slope, offset)
    return -decay_model(depth, horizon, coefficient) + cost


def _example(depth: Any, coefficient: Any, slope: Any, low: int, xp: Any = np) -> tuple[Any, Any, Any]:
    return (
        as_integral("depth", depth, low, None, DomainError),
        lift(as_real("coefficient", coefficient, POSITIVE, strict=True), xp),
        as_real("slope", slope, POSITIVE, strict=True),
    )


@elementwise
def optimal_horizon(depth: Any, coefficient: Any, slope: Any, weight: Any, xp: Any = np) -> Any:
    """The stationary point of `horizon_objective` (section 3.3, repaired).

    h* = T (1 - sqrt(a lambda T/(3c))). The paper drops the factor T, which is right only if memory is counted
    per fraction h/T of the depth. The minimum over [1, T] is h* clipped to that interval.

    Args:
        depth: T >= 1.
        coefficient: c > 0 of `decay_model`.
        slope: a > 0 of `memory_model`.
        weight: lambda >= 0.
        xp: namespace with sqrt.

    Raises:
        DomainError: an argument outside its domain.
    """
    depth, coefficient, slope = _example(depth, coefficient, slope, 1, xp)
    weight = as_real("weight", weight)
    return depth * (1 - xp.sqrt(slope * weight * depth / (3 * coefficient)))


@elementwise
def interior_interval(depth: Any, coefficient: Any, slope: Any) -> Interval:
    """The weights lambda with 2 <= h* <= T - 1 (section 3.3, repaired): 3c/(aT^3) .. 3c(T-2)^2/(aT^3).

    Args:
        depth: T >= 3 (below, the interval is empty).
        coefficient: c > 0 of `decay_model`.
        slope: a > 0 of `memory_model`.

    Raises:
        DomainError: an argument outside its domain.
    """
    depth, coefficient, slope = _example(depth, coefficient, slope, 3)
    lower = 3 * coefficient / (slope * depth**3)
    return Interval(lower, lower * (depth - 2) ** 2)


@elementwise
def integer_interior_interval(depth: Any, coefficient: Any, slope: Any) -> Interval:
    """The weights lambda for which neither 1 nor T is a best integer horizon.

    c/(aT^3) < lambda < c(3T^2 - 9T + 7)/(aT^3), from f(T-1) < f(T) and f(2) < f(1) for the convex
    `horizon_objective` f. Strictly wider than `interior_interval`.

    Args:
        depth: T >= 3.
        coefficient: c > 0 of `decay_model`.
        slope: a > 0 of `memory_model`.

    Raises:
        DomainError: an argument outside its domain.
    """
    depth, coefficient, slope = _example(depth, coefficient, slope, 3)
    lower = coefficient / (slope * depth**3)
    return Interval(lower, lower * (3 * depth**2 - 9 * depth + 7))


@elementwise
def stored_blocks_eager(depth: Any, horizon: Any) -> Any:
    """Blocks whose inputs are alive at once when windows slide (eager execution): h, for every depth.

    Args:
        depth: T >= 1.
        horizon: h in 1..T; integer or array.

    Raises:
        HorizonError: a horizon that is not an integer in 1..T.
    """
    return as_integral("horizon", horizon, 1, as_depth(depth), HorizonError)


@elementwise
def stored_blocks_static(depth: Any, horizon: Any) -> Any:
    """Blocks stored when all T - h + 1 windows are built as one static graph: h (T - h + 1) (section E.1).

    Args:
        depth: T >= 1.
        horizon: h in 1..T; integer or array.

    Raises:
        HorizonError: a horizon that is not an integer in 1..T.
    """
    depth = as_depth(depth)
    horizon = as_integral("horizon", horizon, 1, depth, HorizonError)
    return horizon * (depth - horizon + 1)


@elementwise
def block_vjps(depth: Any, horizon: Any) -> Any:
    """Block vector-Jacobian products of one gradient g_h: (T - h) h + h.

    Each of the first T - h layers has a window of its own, h blocks; the last h layers share the window that
    ends at T. h = T is back-propagation (T products), h = 1 the local loss (T as well).

    Args:
        depth: T >= 1.
        horizon: h in 1..T; integer or array.

    Raises:
        HorizonError: a horizon that is not an integer in 1..T.
    """
    depth = as_depth(depth)
    horizon = as_integral("horizon", horizon, 1, depth, HorizonError)
    return (depth - horizon) * horizon + horizon


def strided_vjps(depth: int, horizon: int, stride: int) -> int:
    """Block vector-Jacobian products of a strided horizon, Theorem F1: the sum of s - t over its windows.

    Ends s = T, T - k, ...; block t belongs to the first end at or after t + h, and one chain from an end down
    to its first block gives the gradients of all its blocks. Stride 1: `block_vjps`.

    Args:
        depth: T >= 1.
        horizon: h in 1..T.
        stride: k >= 1.

    Raises:
        DomainError, HorizonError: an argument outside its domain.
    """
    depth, stride = as_depth(depth), as_integer("stride", stride)
    horizon = as_integer("horizon", horizon, 1, depth, HorizonError)
    peak = min(depth, horizon + stride - 1)  # M = h + k - 1 blocks, the longest chain
    if depth <= peak:
        return int(depth)
    ends = -(-(depth - peak) // stride)  # g ends below T
    first = depth - peak - (ends - 1) * stride  # r blocks belong to the lowest of them
    return int(ends * peak + horizon + first - 1)  # the chain of T and of g - 1 ends is M long
