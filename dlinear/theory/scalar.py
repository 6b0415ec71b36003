r"""Lemma C.5 in closed form: the scalar network (n = 1) and its commuting relatives, in the depth limit.

Notation (section C.2 of the paper): c = W~ (constant layers, W(t) = 1 + c/T), y = Phi, alpha = h/T,
eps = 1 - alpha, phi(s) = e^{cs}(e^{cs} - y), G = phi(1) = e^c (e^c - y). The full gradient is g_1 == G;
the gradient of horizon alpha is phi(alpha + beta) for beta < 1 - alpha and G after; f is the cosine (33):

    1 - f^2 = (I2 - I1^2)/I2,  I1 = int_alpha^1 phi + alpha G,  I2 = int_alpha^1 phi^2 + alpha G^2
            = K eps^3 + O(eps^4),  K(c, y) = (1/3) (c (2e^c - y)/(e^c - y))^2.

Degenerate cases (`Degeneracy`, found to within a few units in the last place of y):

- c = 0: f = 1 for every alpha, 1 - f^2 = 0;
- y = 2e^c: K = 0, the decay is of order 5 with coefficient c^4/5 (`constant5`);
- y = e^c: G = 0, the angle is undefined: `UndefinedAngleError`.

Commuting case: W~ constant, symmetric, diagonal in the same basis as Phi (eigenvalues a_i, p_i). The
gradients are diagonal: every inner product is a sum over i of the scalar integrals, (c, y) = (a_i, p_i).

Numerics. I2 - I1^2 is never formed. With psi = phi - G and u = 1 - s, the numerator is the variance of a
function that is psi on a set of measure eps and 0 elsewhere; its two parts (spread inside the window,
distance between window and rest) are integrated by Gauss-Legendre panels and added: no cancellation. What is
left is the conditioning of the question: near y = e^c or 2e^c the rounding of y itself is amplified by
e^c/|e^c - y| or e^c/|2e^c - y|.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dlinear.checks import as_floats, refuse_shapes
from dlinear.errors import DomainError, NonFiniteError, ShapeError, UndefinedAngleError

__all__ = [
    "MAX_ABS_C",
    "Degeneracy",
    "closed_form_integrals",
    "constant",
    "constant5",
    "constant_commuting",
    "degeneracy",
    "entire_moments",
    "limit_at_zero",
    "remark_c7",
    "series_coefficients",
    "sin2",
    "sin2_closed_form",
    "sin2_commuting",
    "sin2_of_gap",
    "slope_at_zero",
]

Floats = NDArray[np.float64]

#: Largest |c| that `sin2` integrates (the number of panels grows like |c| eps).
MAX_ABS_C = 1e4
_NODES = 16  # Gauss-Legendre nodes a panel
_PANEL = 16.0  # largest 4 |c| du of a panel: 16 nodes then integrate e^{4 c u} to rounding
_ULPS = 8 * np.finfo(np.float64).eps  # relative width of the degenerate sets in y


class Degeneracy(StrEnum):
    """Where Lemma C.5 degenerates; the value is what happens there."""

    NONE = "cubic decay with K(c, y) > 0"
    IDENTITY_LAYERS = "c = 0: f = 1 identically, 1 - f^2 = 0"
    ORDER_FIVE = "y = 2e^c: K = 0, decay of order 5 with coefficient c^4/5"
    UNDEFINED = "y = e^c: the residual and g_T are zero, the angle is undefined"


# ---------------------------------------------------------------- formulas over a namespace


def closed_form_integrals(alpha: Any, c: Any, y: Any, xp: Any) -> tuple[Any, Any, Any]:
    """(I1, I2, G) in elementary functions, c != 0; Lemma C.5.

    Exact over sympy, enclosing over arb, ill-conditioned near alpha = 1 over numpy (use `sin2`).

    Args:
        alpha, c, y: elements of the arithmetic of `xp`.
        xp: a namespace with `exp` (sympy, mpmath, numpy, or a shim over arb).
    """
    e, ea = xp.exp(c), xp.exp(c * alpha)
    full = e * (e - y)
    i1 = (e**2 - ea**2) / (2 * c) - y * (e - ea) / c + alpha * full
    i2 = (
        (e**4 - ea**4) / (4 * c)
        - 2 * y * (e**3 - ea**3) / (3 * c)
        + y**2 * (e**2 - ea**2) / (2 * c)
        + alpha * full**2
    )
    return i1, i2, full


def sin2_closed_form(alpha: Any, c: Any, y: Any, xp: Any) -> Any:
    """1 - f^2 in elementary functions, c != 0, y != e^c; see `closed_form_integrals` for `xp`."""
    i1, i2, _ = closed_form_integrals(alpha, c, y, xp)
    return (i2 - i1**2) / i2


def series_coefficients(c: Any, z: Any) -> tuple[Any, Any, Any]:
    """(k3, k4, k5) of 1 - f^2 = k3 eps^3 + k4 eps^4 + k5 eps^5 + O(eps^6), with z = y e^{-c} != 1.

    Rational in (c, z): runs over numpy, sympy, fractions and arb alike. From psi = e^{2c} sum_k a_k u^k,
    a_k = ((-2)^k - z (-1)^k) c^k/k!, and g = 1 - z (G = e^{2c} g). k3 is K(c, y); at z = 2, k5 = c^4/5.
    """
    a1, a2, a3, g = -(2 - z) * c, (4 - z) * c**2 / 2, -(8 - z) * c**3 / 6, 1 - z
    k3 = a1**2 / (3 * g**2)
    k4 = a1 * (2 * a2 - a1) / (4 * g**2)
    k5 = ((a2**2 + 2 * a1 * a3) / 5 - a1 * a2 / 3) / g**2 - a1**3 / (3 * g**3)
    return k3, k4, k5


def remark_c7(c: Any, y: Any, xp: Any) -> tuple[Any, Any]:
    """sign(G) (f(0+), f'(0+)) in elementary functions, c != 0 (Remark C.7).

    `limit_at_zero` and `slope_at_zero` are the float64 forms.
    `xp` has `exp` and `sqrt`. The slope uses 2 J2 - J1 (G + phi(0)) = y (e^c - 1)^3/(6c).
    """
    j1, j2, _ = closed_form_integrals(0, c, y, xp)
    x, root = xp.exp(c), xp.sqrt(j2)
    return j1 / root, y * (x - 1) ** 4 * (x + 1 - y) / (12 * c * root**3)


def entire_moments(c: Any, z: Any, eps: Any, phi: Callable[[int, Any], Any]) -> tuple[Any, Any]:
    """(j1, j2), entire: int_alpha^1 psi = e^{2c} c eps^2 j1, int_alpha^1 psi^2 = e^{4c} c^2 eps^3 j2.

    So I1 = e^{2c} (g + c eps^2 j1), I2 = e^{4c} (g^2 + 2 g c eps^2 j1 + c^2 eps^3 j2) and
    I2 - I1^2 = e^{4c} c^2 eps^3 (j2 - eps j1^2), g = 1 - z: Lemma C.5 without a division by eps or c.

    Args:
        c, z, eps: z = y e^{-c}; any arithmetic.
        phi: phi(k, x) = sum_j x^j/(j+k)!, the remainders of the exponential series, for k = 2 and 3.
    """
    x = c * eps
    j1 = z * phi(2, -x) - 2 * phi(2, -2 * x)
    j2 = (
        16 * phi(3, -4 * x)
        - 8 * phi(3, -2 * x)
        - 2 * z * (9 * phi(3, -3 * x) - 4 * phi(3, -2 * x) - phi(3, -x))
        + z**2 * (4 * phi(3, -2 * x) - 2 * phi(3, -x))
    )
    return j1, j2


def constant5(c: Any) -> Any:
    """Coefficient of eps^5 when y = 2e^c: c^4/5 (series in Lemma C.5's degenerate case)."""
    return c**4 / 5


# ---------------------------------------------------------------- float64


def degeneracy(c: float, y: float) -> Degeneracy:
    """Which degenerate case of Lemma C.5 holds at (c, y), to within 8 units in the last place of y.

    y = e^c wins over c = 0 (at c = 0, y = 1 the gradients are zero and the angle is undefined).
    """
    cs, ys = _finite("c", c), _finite("y", y)
    if cs.ndim or ys.ndim:
        raise ShapeError(f"degeneracy takes one (c, y) at a time; got shapes {cs.shape} and {ys.shape}")
    undefined, order_five = _degenerate(cs, ys)
    if undefined:
        return Degeneracy.UNDEFINED
    if cs == 0:
        return Degeneracy.IDENTITY_LAYERS
    return Degeneracy.ORDER_FIVE if order_five else Degeneracy.NONE


def constant(c: ArrayLike, y: ArrayLike) -> Any:
    """K(c, y) = (1/3)(c (2e^c - y)/(e^c - y))^2, the limit of (1 - f^2)/eps^3 (Lemma C.5).

    Args:
        c, y: real, broadcast together.

    Returns:
        float64 (array): 0 where c = 0 or y = 2e^c.

    Raises:
        UndefinedAngleError: y = e^c somewhere.
    """
    cs, ys = _together(c=_finite("c", c), y=_finite("y", y))
    undefined, order_five = _degenerate(cs, ys)
    _refuse_undefined(undefined, cs, ys)
    parts = _scaled(cs, ys)
    return np.where(order_five, 0.0, (cs * parts.double / parts.gap) ** 2 / 3)[()]


def constant_commuting(a: ArrayLike, p: ArrayLike) -> float:
    """The limit of sin^2/eps^3 in the commuting case: sum (a_i e^{a_i}(2e^{a_i} - p_i))^2 / (3 sum G_i^2).

    Args:
        a, p: eigenvalues of W~ and Phi in their common basis, (n,).

    Raises:
        UndefinedAngleError: p_i = e^{a_i} for every i (R = 0).
    """
    cs, ys = _eigenvalues(a, p)
    parts = _scaled(cs, ys)
    w = np.exp(cs + parts.log_m - np.max(cs + parts.log_m))
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
    return sin2_of_gap(1.0 - _unit_interval("alpha", alpha), c, y)


def sin2_of_gap(eps: ArrayLike, c: ArrayLike, y: ArrayLike) -> Any:
    """`sin2` as a function of eps = 1 - alpha in [0, 1], exact also where 1 - eps rounds to 1."""
    gaps, cs, ys = _together(eps=_unit_interval("eps", eps), c=_finite("c", c), y=_finite("y", y))
    _check_c(cs)
    _refuse_undefined(_degenerate(cs, ys)[0], cs, ys)
    return _sin2(gaps, cs[..., None], ys[..., None])[()]


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
    al = _unit_interval("alpha", alpha)
    cs, ys = _eigenvalues(a, p)
    shape = (*al.shape, cs.size)
    return _sin2(1.0 - al, np.broadcast_to(cs, shape), np.broadcast_to(ys, shape))[()]


def limit_at_zero(c: float, y: float) -> float:
    """f(0+) = sign(G) J1/sqrt(J2), J_k = int_0^1 phi^k (Remark C.7): the cosine of the shortest horizons.

    Zero exactly where J1 = 0, y = (e^c + 1)/2; otherwise not. Errors as `sin2`.
    """
    c, y, kind = _one(c, y)
    if kind == Degeneracy.IDENTITY_LAYERS:
        return 1.0
    sign, j1, j2, _, _ = _moments_at_zero(c, y)
    return float(sign * j1 / np.sqrt(j2))


def slope_at_zero(c: float, y: float) -> float:
    """f'(0+) = sign(G) y (e^c - 1)^4 (e^c + 1 - y)/(12 c J2^{3/2}), J2 = int_0^1 phi^2 (Remark C.7).

    Zero exactly where c = 0, y = 0 or y = e^c + 1; otherwise not, and of either sign. Errors as `sin2`.
    """
    c, y, kind = _one(c, y)
    if kind == Degeneracy.IDENTITY_LAYERS or y == 0:
        return 0.0
    sign, _, j2, last, scale = _moments_at_zero(c, y)
    log_rise = max(c, 0.0) + np.log(-np.expm1(-abs(c)))  # ln |e^c - 1|
    bent = np.sign(y) * np.exp(np.log(abs(y)) + 3 * log_rise - np.log(6 * abs(c)) - 2 * scale)
    return float(-sign * last * bent / (2 * j2**1.5))


# ---------------------------------------------------------------- validation


def _finite(name: str, value: ArrayLike) -> Floats:
    array: Floats = as_floats(name, value, "real numbers")
    if not np.all(np.isfinite(array)):
        raise NonFiniteError(f"{name} must be finite; got {array[~np.isfinite(array)].flat[0]}")
    return array


def _together(**arrays: Floats) -> tuple[Floats, ...]:
    refuse_shapes(arrays)
    return tuple(np.broadcast_arrays(*arrays.values()))


def _unit_interval(name: str, value: ArrayLike) -> Floats:
    array = _finite(name, value)
    if np.any((array < 0) | (array > 1)):
        raise DomainError(f"{name} must lie in [0, 1]; got {array[(array < 0) | (array > 1)].flat[0]}")
    return array


def _check_c(cs: Floats) -> None:
    if np.any(np.abs(cs) > MAX_ABS_C):
        raise DomainError(f"|c| must be at most {MAX_ABS_C:g}; got {np.max(np.abs(cs)):g}")


def _eigenvalues(a: ArrayLike, p: ArrayLike) -> tuple[Floats, Floats]:
    cs, ys = _finite("a", a), _finite("p", p)
    if cs.ndim != 1 or cs.shape != ys.shape or cs.size == 0:
        raise ShapeError(f"a and p must be eigenvalues of one shape (n,); got {cs.shape} and {ys.shape}")
    _check_c(cs)
    if np.all(_degenerate(cs, ys)[0]):
        raise UndefinedAngleError("p_i = e^{a_i} for every i: g_T is zero, the angle is undefined")
    return cs, ys


def _refuse_undefined(undefined: NDArray[np.bool_], cs: Floats, ys: Floats) -> None:
    if np.any(undefined):
        c, y = float(cs[undefined].flat[0]), float(ys[undefined].flat[0])
        raise UndefinedAngleError(f"y = e^c at c = {c!r}, y = {y!r}: g_T is zero, the angle is undefined")


def _one(c: float, y: float) -> tuple[float, float, Degeneracy]:
    """One pair as floats, whatever its type was, and its degeneracy."""
    kind, cs, ys = degeneracy(c, y), _finite("c", c), _finite("y", y)
    _check_c(cs)
    if kind is Degeneracy.UNDEFINED:
        _refuse_undefined(np.asarray(True), cs, ys)
    return float(cs), float(ys), kind


# ---------------------------------------------------------------- pure parts


class _Scaled(NamedTuple):
    """e^c, 2e^c - y and e^c - y in units of m = max(e^c, |y|)."""

    log_m: Floats
    unit: Floats
    double: Floats
    gap: Floats


def _scaled(cs: Floats, ys: Floats) -> _Scaled:
    """No overflow at any c, and no needless cancellation (c near 0 with y near 1 or 2 goes through expm1)."""
    far, near = np.abs(cs) > 700, np.abs(cs) < 1
    e = np.exp(np.where(far, 0.0, cs))
    with np.errstate(divide="ignore"):
        log_m = np.where(far, np.maximum(cs, np.log(np.abs(ys))), np.log(np.maximum(e, np.abs(ys))))
        log_y = np.log(np.abs(ys))
    m = np.where(far, 1.0, np.maximum(e, np.abs(ys)))
    unit = np.where(far, np.exp(cs - log_m), e / m)
    target = np.where(far, np.sign(ys) * np.exp(log_y - log_m), ys / m)
    rise = np.expm1(np.where(near, cs, 0.0))
    double = np.where(near, (2 * rise + (2 - ys)) / m, 2 * unit - target)
    gap = np.where(near, (rise + (1 - ys)) / m, unit - target)
    return _Scaled(log_m, unit, double, gap)


def _degenerate(cs: Floats, ys: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(y = e^c, y = 2e^c) to rounding."""
    parts = _scaled(cs, ys)
    return np.abs(parts.gap) <= _ULPS, np.abs(parts.double) <= _ULPS


class _Window(NamedTuple):
    """psi and G over the window u in [0, eps], in units of e^scale (one unit for all eigenvalues)."""

    psi: Callable[[float], Floats]
    full: Floats
    unit: Floats
    rule: list[tuple[float, float]]
    scale: Floats


def _window(eps: Floats, cs: Floats, ys: Floats) -> _Window:
    """The eigenvalues are on the last axis: eps (...), cs and ys (..., n).

    psi(u) = e^c (w - 1)(e^c (w - 1) + 2e^c - y), w = e^{-cu}; for c < 0, w - 1 = e^{|c| eps} b, 0 <= b <= 1.
    """
    wide = eps[..., None]
    parts = _scaled(cs, ys)
    growth = np.maximum(-cs, 0.0) * wide
    lift = np.maximum(cs - parts.log_m + growth, 0.0)
    size = cs + parts.log_m + growth + lift  # log of the size of phi, for each eigenvalue
    scale = size.max(axis=-1, keepdims=True)
    quad = np.exp(cs - parts.log_m + growth - lift + size - scale)
    line = parts.double * np.exp(size - scale - lift)
    full = parts.gap * np.exp(size - scale - growth - lift)
    log_full = cs + parts.log_m
    unit = parts.gap * np.exp(log_full - log_full.max(axis=-1, keepdims=True))
    unit = unit / np.sqrt(np.sum(unit**2, axis=-1, keepdims=True))  # direction of g_T

    def psi(fraction: float) -> Floats:
        x = np.abs(cs) * wide * fraction
        b = np.where(cs < 0, -np.expm1(-x) * np.exp(np.minimum(x - growth, 0.0)), np.expm1(-x))
        values: Floats = b * (quad * b + line)
        return values

    rule = _panel_rule(float(np.max(np.abs(cs) * wide)))
    return _Window(psi, full, unit, rule, scale[..., 0])


def _sin2(eps: Floats, cs: Floats, ys: Floats) -> Floats:
    """sin^2 with the eigenvalues on the last axis; see the module's Numerics."""
    if eps.size == 0:
        return np.zeros(eps.shape)
    psi, full, unit, rule, _ = _window(eps, cs, ys)
    alpha = 1.0 - eps
    mean, energy, spread = np.zeros(eps.shape), np.zeros(eps.shape), np.zeros(eps.shape)
    for fraction, weight in rule:
        value = psi(fraction)
        mean += weight * np.sum(unit * value, axis=-1)
        energy += weight * np.sum((full + value) ** 2, axis=-1)
    for fraction, weight in rule:
        value = psi(fraction)
        along = np.sum(unit * value, axis=-1)
        across = value - unit * along[..., None]
        spread += weight * ((along - mean) ** 2 + np.sum(across**2, axis=-1))
    result: Floats = eps * (spread + alpha * mean**2) / (eps * energy + alpha * np.sum(full**2, axis=-1))
    return result


def _panel_rule(rate: float) -> list[tuple[float, float]]:
    """(fraction, weight) on [0, 1], enough Gauss-Legendre panels for e^{4 rate u}."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    panels = max(1, int(np.ceil(4 * rate / _PANEL)))
    return [
        ((k + 0.5 + 0.5 * float(x)) / panels, float(w) / (2 * panels))
        for k in range(panels)
        for x, w in zip(nodes, weights, strict=True)
    ]


def _moments_at_zero(c: float, y: float) -> tuple[float, float, float, float, float]:
    """(sign G, J1, J2, psi at s = 0, log of the unit): phi in units of e^scale."""
    psi, full, unit, rule, scale = _window(np.asarray(1.0), np.array([c], float), np.array([y], float))
    values = [(weight, float(full[0] + psi(fraction)[0])) for fraction, weight in rule]
    j1, j2 = sum(w * v for w, v in values), sum(w * v * v for w, v in values)
    return float(unit[0]), j1, j2, float(psi(1.0)[0]), float(scale)
