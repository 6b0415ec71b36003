"""The law by which sin^2 falls with the shortfall, and the shortfall at which its order changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dlinear.checks import as_floats, as_number, elementwise, received, shown
from dlinear.errors import DomainError


def faulhaber(m: ArrayLike, p: int) -> Any:
    """S_p(m) = 1^p + ... + m^p for p = 1 (m(m+1)/2) or 2 (m(m+1)(2m+1)/6), in float64.

    Between the integers it is the same polynomial.

    Raises:
        DomainError: p is neither 1 nor 2, or m < 0 or no number.
    """
    k = as_floats("m", m, "real numbers >= 0")
    if not (inside := (k >= 0) & (k < np.inf)).all():  # NaN neither
        raise DomainError(f"{received('m', m, k, inside)}: allowed are real numbers >= 0")
    if not isinstance(p, int) or isinstance(p, bool) or p not in (1, 2):
        raise DomainError(f"faulhaber holds p = 1 and p = 2; got p = {shown(p)}")
    return k * (k + 1) / 2 if p == 1 else k * (k + 1) * (2 * k + 1) / 6


@elementwise
def decay_law(quadratic: ArrayLike, cubic: ArrayLike, shortfall: ArrayLike, depth: ArrayLike) -> Any:
    """sin^2 ~ q 2 S_1(m)/T^2 + C 3 S_2(m)/T^3 (Theorems B and C): the only place of this convention.

    Args:
        quadratic, cubic: q and C.
        shortfall: m = T - h.
        depth: T >= 1.

    Raises:
        DomainError: a constant that is not real, m < 0, T < 1, or NaN.
        ShapeError: arrays that do not broadcast together.
    """
    t, m = as_floats("depth", depth, "T >= 1"), as_floats("shortfall", shortfall, "m >= 0")
    if not (np.all((t >= 1) & (t < np.inf)) and np.all((m >= 0) & (m < np.inf))):
        raise DomainError(
            f"{received('depth', depth)}, {received('shortfall', shortfall)}: allowed is T >= 1, m >= 0"
        )
    q, c = as_floats("quadratic", quadratic, "real numbers"), as_floats("cubic", cubic, "real numbers")
    if not (np.isfinite(q).all() and np.isfinite(c).all()):
        raise DomainError(
            f"{received('quadratic', quadratic)}, {received('cubic', cubic)}: allowed are finite numbers"
        )
    return (q * 2 * faulhaber(m, 1) / t**2 + c * 3 * faulhaber(m, 2) / t**3)[()]


def crossover(quadratic: float, cubic: float, depth: float) -> float:
    """m*, where both terms of `decay_law` are equal: q T/C - 1/2 (order 2 below, 3 above; 0 or less: never).

    inf when C = 0 (order 2 everywhere). For q = sigma^2 v/(2TN) it does not depend on T.

    Raises:
        DomainError: q and C are not both >= 0, or both are 0, or T < 1.
    """
    quadratic, cubic = as_number("q", quadratic, None), as_number("C", cubic, None)
    depth = as_number("depth", depth, 1)
    if not (quadratic >= 0 and cubic >= 0 and 0 < quadratic + cubic < np.inf):
        raise DomainError(f"q and C must be finite, >= 0 and not both 0; got q = {quadratic}, C = {cubic}")
    return float("inf") if cubic == 0 else float(quadratic * depth / cubic - 0.5)


@dataclass(frozen=True)
class DecayConstants:
    """The pair of `decay_law`; unpacks as `quadratic, cubic`."""

    quadratic: float
    cubic: float

    def __iter__(self) -> Iterator[float]:
        """Yield quadratic, then cubic."""
        return iter((self.quadratic, self.cubic))
