"""Bounds on the angle theta_h: equation (42) and Theorem A."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlinear.checks import (
    POSITIVE,
    as_depth,
    as_integral,
    as_real,
    as_scale,
    as_width,
    elementwise,
    is_plain,
    received,
)
from dlinear.errors import DomainError, HorizonError


@elementwise
def cosine_lower(relative_deviation: Any, xp: Any = np) -> Any:
    """Least cosine of the angle between u and v when ||u - v|| <= r ||v|| with r <= 1 (eq. (42)).

    sqrt(1 - r^2): u lies in a ball around v that is seen from the origin under the angle arcsin(r). Attained.
    Its own inverse: also the largest r that guarantees a given cosine, the form that the paper uses.

    Args:
        relative_deviation: r in [0, 1].
        xp: namespace with sqrt.

    Raises:
        DomainError: r outside [0, 1].
    """
    r = as_real("relative_deviation", relative_deviation, "a number in [0, 1]")
    if is_plain(r) and not np.all(inside := np.asarray(r) <= 1):
        what = received("relative_deviation", r, np.asarray(r), inside)
        raise DomainError(f"{what}: allowed is a number in [0, 1]")
    return xp.sqrt(1 - r**2)


@elementwise
def theorem_a_constant(depth: Any, c: Any, width: Any, residual_norm: Any, xp: Any = np) -> Any:
    """K_A of Theorem A.

    K_A = c^2 e^{2c} (sqrt(n) e^c + ||R||_F)^2 / ((1 - c/T)^{2(T-1)} ||R||_F^2)

    Args:
        depth: T >= 1.
        c: bound on ||W~(t)||_2, 0 <= c < T.
        width: n >= 1.
        residual_norm: ||R||_F = ||P_T - Phi||_F > 0 (a fitted network has no angle).
        xp: namespace with exp and sqrt.

    Raises:
        DomainError: an argument outside its domain.
    """
    depth = as_depth(depth)
    c, width = as_scale(c, depth, xp), as_width(width)
    residual_norm = as_real("residual_norm", residual_norm, POSITIVE, strict=True)
    smallest = (1 - c / depth) ** (depth - 1) * residual_norm
    return (c * xp.exp(c) * (xp.sqrt(width) * xp.exp(c) + residual_norm) / smallest) ** 2


def _shortfall(depth: Any, horizon: Any) -> tuple[Any, Any]:
    """T and m = T - h."""
    depth = as_depth(depth)
    return depth, depth - as_integral("horizon", horizon, 1, depth, HorizonError)


@elementwise
def theorem_a(depth: Any, horizon: Any, c: Any, width: Any, residual_norm: Any, xp: Any = np) -> Any:
    """Theorem A: an upper bound on sin^2(theta_h) for every depth, horizon, target and bounded layers.

    sin^2(theta_h) <= K_A m(m+1)(2m+1)/(6 T^3), m = T - h. It may exceed one (then it says nothing).

    Args:
        depth: T >= 1.
        horizon: h in 1..T; integer or array of them.
        c: bound on ||W~(t)||_2, 0 <= c < T.
        width: n >= 1.
        residual_norm: ||R||_F = ||P_T - Phi||_F > 0.
        xp: namespace with exp and sqrt.

    Raises:
        DomainError: an argument outside its domain.
        HorizonError: a horizon that is not an integer in 1..T.
    """
    depth, m = _shortfall(depth, horizon)
    constant = theorem_a_constant(depth, c, width, residual_norm, xp)
    return constant * (m * (m + 1) * (2 * m + 1)) / (6 * depth**3)


@elementwise
def theorem_a_cubic(depth: Any, horizon: Any, c: Any, width: Any, residual_norm: Any, xp: Any = np) -> Any:
    """Theorem A in its cubic form: sin^2(theta_h) <= K_A (1 - h/T)^3, never below `theorem_a`.

    Args:
        depth: T >= 1.
        horizon: h in 1..T; integer or array of them.
        c: bound on ||W~(t)||_2, 0 <= c < T.
        width: n >= 1.
        residual_norm: ||R||_F = ||P_T - Phi||_F > 0.
        xp: namespace with exp and sqrt.

    Raises:
        DomainError: an argument outside its domain.
        HorizonError: a horizon that is not an integer in 1..T.
    """
    depth, m = _shortfall(depth, horizon)
    return theorem_a_constant(depth, c, width, residual_norm, xp) * m**3 / depth**3


@elementwise
def theorem_a_per_layer(
    depth: Any, shortfall: Any, c: Any, width: Any, residual_norm: Any, xp: Any = np
) -> Any:
    """The step of Theorem A's proof: a simpler bound than eq. (39) for the layer with T - s = k.

    ||g_h(t) - g_T(t)||_F <= e^c (c k/T) (sqrt(n) e^c + ||R||_F)

    Args:
        depth: T >= 1.
        shortfall: k = T - s in 0..T.
        c: bound on ||W~(t)||_2, 0 <= c < T.
        width: n >= 1.
        residual_norm: ||R||_F >= 0.
        xp: namespace with exp and sqrt.

    Raises:
        DomainError: an argument outside its domain.
    """
    depth = as_depth(depth)
    shortfall = as_integral("shortfall", shortfall, 0, depth, DomainError)
    c, residual_norm = as_scale(c, depth, xp), as_real("residual_norm", residual_norm)
    return xp.exp(c) * (c * shortfall / depth) * (xp.sqrt(as_width(width)) * xp.exp(c) + residual_norm)
