"""Where Lemma C.5 degenerates: c = 0, y = 2e^c and y = e^c, found to rounding."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dlinear.errors import ShapeError, UndefinedAngleError
from dlinear.theory.scalar.inputs import Floats, as_finite, check_c

_ULPS = 8 * np.finfo(np.float64).eps  # relative width of the degenerate sets in y


class Degeneracy(StrEnum):
    """Where Lemma C.5 degenerates; the value is what happens there."""

    NONE = "cubic decay with K(c, y) > 0"
    IDENTITY_LAYERS = "c = 0: f = 1 identically, 1 - f^2 = 0"
    ORDER_FIVE = "y = 2e^c: K = 0, decay of order 5 with coefficient c^4/5"
    UNDEFINED = "y = e^c: the residual and g_T are zero, the angle is undefined"


def degeneracy(c: float, y: float) -> Degeneracy:
    """Which degenerate case of Lemma C.5 holds at (c, y), to within 8 units in the last place of y.

    y = e^c wins over c = 0 (at c = 0, y = 1 the gradients are zero and the angle is undefined).
    """
    cs, ys = as_finite("c", c), as_finite("y", y)
    if cs.ndim or ys.ndim:
        raise ShapeError(f"degeneracy takes one (c, y) at a time; got shapes {cs.shape} and {ys.shape}")
    undefined, order_five = degenerate_sets(cs, ys)
    if undefined:
        return Degeneracy.UNDEFINED
    if cs == 0:
        return Degeneracy.IDENTITY_LAYERS
    return Degeneracy.ORDER_FIVE if order_five else Degeneracy.NONE


class Scaled(NamedTuple):
    """e^c, 2e^c - y and e^c - y in units of m = max(e^c, |y|), and ln m."""

    log_m: Floats
    unit: Floats
    double: Floats
    gap: Floats


def scaled(cs: Floats, ys: Floats) -> Scaled:
    """No overflow at any c, and no needless cancellation (c near 0 with y near 1 or 2 goes through expm1)."""
    far, near = np.abs(cs) > 700, np.abs(cs) < 1
    # m = max(e^c, |y|); beyond |c| = 700, where e^c leaves float64, only its logarithm
    e = np.exp(np.where(far, 0.0, cs))
    with np.errstate(divide="ignore"):
        log_m = np.where(far, np.maximum(cs, np.log(np.abs(ys))), np.log(np.maximum(e, np.abs(ys))))
        log_y = np.log(np.abs(ys))
    m = np.where(far, 1.0, np.maximum(e, np.abs(ys)))
    # e^c/m and y/m
    unit = np.where(far, np.exp(cs - log_m), e / m)
    target = np.where(far, np.sign(ys) * np.exp(log_y - log_m), ys / m)
    # 2e^c - y = 2(e^c - 1) + (2 - y) and e^c - y = (e^c - 1) + (1 - y): exact differences near c = 0
    rise = np.expm1(np.where(near, cs, 0.0))
    double = np.where(near, (2 * rise + (2 - ys)) / m, 2 * unit - target)
    gap = np.where(near, (rise + (1 - ys)) / m, unit - target)
    return Scaled(log_m, unit, double, gap)


def degenerate_sets(cs: Floats, ys: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(y = e^c, y = 2e^c) to rounding."""
    parts = scaled(cs, ys)
    return np.abs(parts.gap) <= _ULPS, np.abs(parts.double) <= _ULPS


def refuse_undefined(undefined: NDArray[np.bool_], cs: Floats, ys: Floats) -> None:
    """`UndefinedAngleError` that names the first (c, y) with y = e^c."""
    if np.any(undefined):
        c, y = float(cs[undefined].flat[0]), float(ys[undefined].flat[0])
        raise UndefinedAngleError(f"y = e^c at c = {c!r}, y = {y!r}: g_T is zero, the angle is undefined")


def as_eigenvalues(a: ArrayLike, p: ArrayLike) -> tuple[Floats, Floats]:
    """Eigenvalues a_i of W~ and p_i of Phi, (n,) each, with R != 0."""
    cs, ys = as_finite("a", a), as_finite("p", p)
    if cs.ndim != 1 or cs.shape != ys.shape or cs.size == 0:
        raise ShapeError(f"a and p must be eigenvalues of one shape (n,); got {cs.shape} and {ys.shape}")
    check_c(cs)
    if np.all(degenerate_sets(cs, ys)[0]):
        raise UndefinedAngleError("p_i = e^{a_i} for every i: g_T is zero, the angle is undefined")
    return cs, ys


def as_pair(c: float, y: float) -> tuple[float, float, Degeneracy]:
    """One pair as floats, whatever its type was, and its degeneracy; y = e^c is refused."""
    kind, cs, ys = degeneracy(c, y), as_finite("c", c), as_finite("y", y)
    check_c(cs)
    if kind is Degeneracy.UNDEFINED:
        refuse_undefined(np.asarray(True), cs, ys)
    return float(cs), float(ys), kind
