"""Lemma C.5 and Remark C.7 over any arithmetic: numpy, sympy, fractions, balls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dlinear.checks import check_namespace, received
from dlinear.errors import DomainError
from dlinear.theory.scalar.inputs import as_finite


def _element(name: str, x: Any, without: int | None = None) -> Any:
    """A number of any arithmetic; Python's, numpy's and torch's must be real, finite and not `without`."""
    if type(x).__module__ not in ("builtins", "numpy", "torch"):
        return x
    array = as_finite(name, x)
    if without is not None and (array == without).any():
        raise DomainError(f"{received(name, x)}: allowed are numbers other than {without}")
    return x if isinstance(x, int | float) else array[()]


def closed_form_integrals(alpha: Any, c: Any, y: Any, xp: Any) -> tuple[Any, Any, Any]:
    """(I1, I2, G) in elementary functions, c != 0; Lemma C.5.

    Exact over sympy, enclosing over arb, ill-conditioned near alpha = 1 over numpy (use `sin2`).

    Args:
        alpha, c, y: elements of the arithmetic of `xp`.
        xp: a namespace with `exp` (sympy, mpmath, numpy, or a shim over arb).
    """
    check_namespace(xp, "exp")
    alpha, c, y = _element("alpha", alpha), _element("c", c, 0), _element("y", y)
    # phi(s) = e^{2cs} - y e^{cs} and phi^2, integrated term by term from alpha to 1
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
    c, z = _element("c", c), _element("z", z, 1)
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
    check_namespace(xp, "exp", "sqrt")
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
    c, z, eps = _element("c", c), _element("z", z), _element("eps", eps)
    if not callable(phi):
        raise DomainError(f"{received('phi', phi)}: allowed is a function (k, x) -> number")
    # int_0^eps e^{-kcu} du, less the first terms of its series, is eps^j phi(j, -k x) up to powers of c
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
    return _element("c", c) ** 4 / 5
