r"""Layers whose oscillation never ends: lim sin^2(theta_h)/(1 - h/T)^3 need not exist (n = 1).

A(s) = a (1 + b cos(w log(1 - s))) is bounded on [0, 1) but has no limit at s = 1, so Theorem B does not
apply. With eps = 1 - h/T, X = exp int_0^1 A and Phi = y, the leading term is

    sin^2 ~ ((2X - y)/(X - y))^2 int_0^eps ( int_0^u A(1 - v) dv )^2 du  =  eps^3 times a function of log eps

of period pi/w up to sign, which oscillates for ever as eps -> 0 (b, w != 0).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dlinear.errors import DomainError, UndefinedAngleError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LogPeriodic:
    """The scalar path A(s) = a (1 + b cos(w log(1 - s))).

    Attributes:
        a: size of the layers.
        b: relative size of the oscillation (0: constant layers, Lemma C.5).
        w: its frequency in log(1 - s).
    """

    a: float
    b: float
    w: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in (self.a, self.b, self.w)):
            raise DomainError(f"a, b, w must be finite; received {self.a}, {self.b}, {self.w}")

    def path(self, s: ArrayLike) -> Floats:
        """A(s) as (..., 1, 1) matrices for s in [0, 1)."""
        position = np.asarray(s, dtype=np.float64)[..., None, None]
        return self.a * (1 + self.b * np.cos(self.w * np.log1p(-position)))

    @property
    def total(self) -> float:
        """int_0^1 A = a (1 + b/(1 + w^2)), the logarithm of X."""
        return self.a * (1 + self.b / (1 + self.w**2))

    def ratio(self, eps: ArrayLike) -> Floats:
        """eps^{-3} int_0^eps ( int_0^u A(1 - v) dv )^2 du for eps in (0, 1]; a^2/3 for b = 0.

        With int_0^u v^{iw} dv = u^{1+iw}/(1+iw), every term is the real part of a complex power.
        """
        log_eps = np.log(np.asarray(eps, dtype=np.float64))
        once = self.b / (1 + 1j * self.w)
        cross = 2 * once * np.exp(1j * self.w * log_eps) / (3 + 1j * self.w)
        twice = once**2 * np.exp(2j * self.w * log_eps) / (3 + 2j * self.w)
        return self.a**2 * ((1 + abs(once) ** 2 / 2) / 3 + cross.real + twice.real / 2)

    def sin2(self, eps: ArrayLike, y: float) -> Floats:
        """The leading term of sin^2(theta_h) at 1 - h/T = eps, target Phi = y.

        Raises:
            UndefinedAngleError: y = X, the network fits the target.
        """
        x = math.exp(self.total)
        if x == y:
            raise UndefinedAngleError(f"y = X = {x!r}: g_T is zero, the angle is undefined")
        return ((2 * x - y) / (x - y)) ** 2 * self.ratio(eps) * np.asarray(eps, dtype=np.float64) ** 3
