"""What forward mode says of horizons: <g_T, g_h>, and the length R of g_T's part across g_h."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

__all__ = ["ForwardAlignment"]


@dataclass(frozen=True, repr=False)
class ForwardAlignment:
    """What forward mode says of horizons; entry i of each array belongs to `horizons[i]`.

    Attributes:
        depth: T.
        loss: L(x(T)).
        horizons: h, as asked for.
        inner: <g_T, g_h>, exact.
        square: |g_h|^2.
        across: R, the length of g_T's part across g_h: exact, the estimate from random directions, or NaN.
        across_low, across_high: its interval; both R itself where it is exact, NaN where it is not known.
        probes: number of random directions; 0 where there were none.
        level: coverage of each interval.
    """

    depth: int
    loss: float
    horizons: Int[np.ndarray, " k"]
    inner: Float[np.ndarray, " k"]
    square: Float[np.ndarray, " k"]
    across: Float[np.ndarray, " k"]
    across_low: Float[np.ndarray, " k"]
    across_high: Float[np.ndarray, " k"]
    probes: int
    level: float

    @property
    def scale(self) -> Float[np.ndarray, " k"]:
        """s = <g_T, g_h>/|g_h|^2: s g_h is the best approximation of g_T along g_h, eq. (13)."""
        ratio: np.ndarray = self.inner / self.square
        return ratio

    @property
    def along(self) -> Float[np.ndarray, " k"]:
        """a = <g_T, g_h>/|g_h| = |g_T| cos(theta_h): proportional to cos over the horizons, exact."""
        length: np.ndarray = self.inner / np.sqrt(self.square)
        return length

    @property
    def cos(self) -> Float[np.ndarray, " k"]:
        """cos(theta_h), signed; an estimate where there were probes, NaN where nothing is known of |g_T|."""
        return self._cos(self.across)

    @property
    def cos_interval(self) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
        """Ends of the interval of cos(theta_h), the lower first."""
        ends = self._cos(self.across_low), self._cos(self.across_high)
        return np.minimum(*ends), np.maximum(*ends)

    @property
    def sin2(self) -> Float[np.ndarray, " k"]:
        """sin^2(theta_h) = R^2/(a^2 + R^2)."""
        return self._sin2(self.across)

    @property
    def sin2_interval(self) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
        """Ends of the interval of sin^2(theta_h), the lower first."""
        return self._sin2(self.across_low), self._sin2(self.across_high)

    @property
    def true_norm(self) -> Float[np.ndarray, " k"]:
        """|g_T| = sqrt(a^2 + R^2), as each horizon has it: all the same where R is exact."""
        length: np.ndarray = np.hypot(self.along, self.across)
        return length

    def _cos(self, across: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            cos: np.ndarray = self.along / np.hypot(self.along, across)
        return cos

    def _sin2(self, across: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            sin2: np.ndarray = (across / np.hypot(self.along, across)) ** 2
        return sin2

    def __repr__(self) -> str:
        how = f"{self.probes} probes, {self.level:.0%} intervals" if self.probes else "no probes"
        lines = [f"ForwardAlignment of T = {self.depth}, loss {self.loss:.4g}, {how}"]
        low, high = self.cos_interval
        for i, h in enumerate(self.horizons[:20]):
            cos = (
                f", cos {self.cos[i]:.6f} [{low[i]:.6f}, {high[i]:.6f}]" if self.cos[i] == self.cos[i] else ""
            )
            lines.append(f"  h = {h}: <g_T, g_h> {self.inner[i]:.4g}, s {self.scale[i]:.4g}{cos}")
        more = len(self.horizons) - 20
        return "\n".join([*lines, f"  ... {more} more"] if more > 0 else lines)
