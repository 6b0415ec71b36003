"""Lemma C.5 and Remark C.7 in float64, over arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dlinear.theory.scalar.degenerate import (
    Degeneracy,
    as_eigenvalues,
    as_pair,
    degenerate_sets,
    refuse_undefined,
    scaled,
)
from dlinear.theory.scalar.inputs import as_finite, as_unit_interval, check_c, together
from dlinear.theory.scalar.quadrature import moments_at_zero, sin2_by_quadrature


def constant(c: ArrayLike, y: ArrayLike) -> Any:
    """K(c, y) = (1/3)(c (2e^c - y)/(e^c - y))^2, the limit of (1 - f^2)/eps^3 (Lemma C.5).

    Args:
        c, y: real, broadcast together.

    Returns:
        float64 (array): 0 where c = 0 or y = 2e^c.

    Raises:
        UndefinedAngleError: y = e^c somewhere.
    """
    cs, ys = together(c=as_finite("c", c), y=as_finite("y", y))
    undefined, order_five = degenerate_sets(cs, ys)
    refuse_undefined(undefined, cs, ys)
    parts = scaled(cs, ys)  # the unit m drops out of the quotient
    return np.where(order_five, 0.0, (cs * parts.double / parts.gap) ** 2 / 3)[()]


def constant_commuting(a: ArrayLike, p: ArrayLike) -> float:
    """The limit of sin^2/eps^3 in the commuting case: sum (a_i e^{a_i}(2e^{a_i} - p_i))^2 / (3 sum G_i^2).

    Args:
        a, p: eigenvalues of W~ and Phi in their common basis, (n,).

    Raises:
        UndefinedAngleError: p_i = e^{a_i} for every i (R = 0).
    """
    cs, ys = as_eigenvalues(a, p)
    parts = scaled(cs, ys)
    w = np.exp(cs + parts.log_m - np.max(cs + parts.log_m))  # e^{a_i} m_i over the largest of them
    return float(np.sum((w * cs * parts.double) ** 2) / (3 * np.sum((w * parts.gap) ** 2)))


def sin2(alpha: ArrayLike, c: ArrayLike, y: ArrayLike) -> Any:
    """1 - f^2(alpha; c, y) of Lemma C.5, relative error about 1e-14 at every alpha, also as alpha -> 1.

    Args:
        alpha: h/T in [0, 1]; the value at 0 is the limit alpha -> 0+.
        c, y: real, |c| <= 1e4; all three broadcast.

    Returns:
        float64 (array) in [0, 1].

    Raises:
        DomainError: alpha outside [0, 1] or |c| > 1e4.
        UndefinedAngleError: y = e^c.
        NonFiniteError: NaN or infinity received.
    """
    return sin2_of_gap(1.0 - as_unit_interval("alpha", alpha), c, y)


def sin2_of_gap(eps: ArrayLike, c: ArrayLike, y: ArrayLike) -> Any:
    """`sin2` as a function of eps = 1 - alpha in [0, 1], exact also where 1 - eps rounds to 1."""
    gaps, cs, ys = together(eps=as_unit_interval("eps", eps), c=as_finite("c", c), y=as_finite("y", y))
    check_c(cs)
    refuse_undefined(degenerate_sets(cs, ys)[0], cs, ys)
    return sin2_by_quadrature(gaps, cs[..., None], ys[..., None])[()]


def sin2_commuting(alpha: ArrayLike, a: ArrayLike, p: ArrayLike) -> Any:
    """sin^2 of constant layers W~ that commute with Phi, both symmetric (Lemma C.5 in n dimensions).

    Args:
        alpha: h/T in [0, 1], any shape.
        a, p: eigenvalues of W~ and Phi in their common basis, (n,), |a_i| <= 1e4.

    Returns:
        float64 of alpha's shape.

    Raises:
        DomainError, NonFiniteError, ShapeError: as the messages say.
        UndefinedAngleError: p_i = e^{a_i} for every i (R = 0).
    """
    al = as_unit_interval("alpha", alpha)
    cs, ys = as_eigenvalues(a, p)
    shape = (*al.shape, cs.size)
    return sin2_by_quadrature(1.0 - al, np.broadcast_to(cs, shape), np.broadcast_to(ys, shape))[()]


def limit_at_zero(c: float, y: float) -> float:
    """f(0+) = sign(G) J1/sqrt(J2), J_k = int_0^1 phi^k (Remark C.7): the cosine of the shortest horizons.

    Zero exactly where J1 = 0, y = (e^c + 1)/2; otherwise not. Errors as `sin2`.
    """
    c, y, kind = as_pair(c, y)
    if kind == Degeneracy.IDENTITY_LAYERS:
        return 1.0
    sign, j1, j2, _, _ = moments_at_zero(c, y)
    return float(sign * j1 / np.sqrt(j2))


def slope_at_zero(c: float, y: float) -> float:
    """f'(0+) = sign(G) y (e^c - 1)^4 (e^c + 1 - y)/(12 c J2^{3/2}), J2 = int_0^1 phi^2 (Remark C.7).

    Zero exactly where c = 0, y = 0 or y = e^c + 1; otherwise not, and of either sign. Errors as `sin2`.
    """
    c, y, kind = as_pair(c, y)
    if kind == Degeneracy.IDENTITY_LAYERS or y == 0:
        return 0.0
    sign, _, j2, last, scale = moments_at_zero(c, y)
    # f'(0+) = -sign(G) psi(0) [y (e^c - 1)^3/(6c)] / (2 J2^{3/2}), psi(0) = -(e^c - 1)(e^c + 1 - y), with
    # psi and J2^{1/2} in units of e^scale and the bracket in units of its square
    log_rise = max(c, 0.0) + np.log(-np.expm1(-abs(c)))  # ln |e^c - 1|
    bent = np.sign(y) * np.exp(np.log(abs(y)) + 3 * log_rise - np.log(6 * abs(c)) - 2 * scale)
    return float(-sign * last * bent / (2 * j2**1.5))
