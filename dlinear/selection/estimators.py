"""r(h) and M(h) at every horizon, from a few: eqs. (15) and (16) of the paper, or the law of decay.

What is measured is cos(theta_h), the mean over batches; the rate is r(h) = cos^2(theta_h), eq. (14), and 0
where the cosine is negative, for such a step leads uphill. (14) is a heuristic of the paper (docs/claims.md):
r predicts the relative speed of training, and `select_horizon` takes it as such.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dlinear.errors import DomainError
from dlinear.selection.prices import Floats
from dlinear.theory.decay_law import faulhaber

__all__ = ["ESTIMATORS", "HorizonCurves", "Measured"]

ORDER = 3  # of the polynomial for cos(theta_h), eq. (15)
LEAST = 1e-4  # smaller rates count as this one in the law: r = 0 has no tan^2, and no weight


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured at r horizons.

    Attributes:
        depth: T.
        horizons: (r,) in 1..T, at least two different ones.
        cos: (r,) in [-1, 1].
        memory: (r,) >= 0.
        blocks: (T,) memory of each block, or None.
    """

    depth: int
    horizons: NDArray[np.int64]
    cos: Floats
    memory: Floats
    blocks: Floats | None

    @property
    def every(self) -> NDArray[np.int64]:
        """h = 1, ..., T."""
        return np.arange(1, self.depth + 1)


@dataclass(frozen=True, eq=False)
class HorizonCurves:
    """What is known of every horizon h = 1, ..., T.

    Attributes:
        rate: (T,) r(h) in [0, 1].
        memory: (T,) M(h) >= 0.
        estimator: where they come from.
    """

    rate: Floats
    memory: Floats
    estimator: str = ""


def rate_of(cos: Floats) -> Floats:
    """r = cos^2, eq. (14); 0 for a negative cosine."""
    return np.clip(cos, 0.0, 1.0) ** 2


def polynomial(measured: Measured) -> HorizonCurves:
    """Algorithm 1: a cubic in h for cos(theta_h), eq. (15), a line for M(h), eq. (16), by least squares.

    Of fewer than four different horizons the polynomial goes through all points. What the cubic has beyond
    [0, 1] and the line below 0 is cut off; neither has to be monotone, nor r(T) = 1.
    """
    return HorizonCurves(rate_of(_polyfit(measured, measured.cos, ORDER)), _line(measured))


def _polyfit(measured: Measured, values: Floats, order: int) -> Floats:
    """The polynomial of that order, or of as many points as there are, at every horizon."""
    order = min(order, len(np.unique(measured.horizons)) - 1)
    fit = np.polynomial.Polynomial.fit(measured.horizons, values, order, domain=[0, measured.depth])
    return np.asarray(fit(measured.every), dtype=np.float64)


def _line(measured: Measured) -> Floats:
    return np.maximum(_polyfit(measured, measured.memory, 1), 0.0)


def theory(measured: Measured) -> HorizonCurves:
    """The law of decay: tan^2(theta_h) = a + a_0 m + a_1 S_1(m) + a_2 S_2(m), m = T - h > 0; r(T) = 1.

    No coefficient is negative. S_1 and S_2 are the terms of Theorems C and B (`dlinear.theory.decay_law`);
    m is order 1, which a last block without skip connection gives, and a what noise adds at every h < T.
    tan^2 agrees with sin^2 to first order, and r = 1/(1 + tan^2) stays in [0, 1] and grows with h by itself.
    Least squares in r: with r' = -r^2 (tan^2)' the residuals are r^2 (tan^2 - fit). A rate below 1e-4,
    also that of a negative cosine, counts as 1e-4: with weight 0 it would be left out of the fit.

    Memory is b_0 + b_1 W(h), b >= 0, W(h) the largest sum of h neighbouring blocks, or h where the sizes of
    the blocks are not known.
    """
    rate = np.maximum(rate_of(measured.cos), LEAST)
    short = (measured.depth - measured.horizons).astype(np.float64)
    weight = rate**2
    design = _law(short, measured.depth) * weight[:, None]
    terms = _nonnegative(design, rate * (1 - rate))
    tan2 = _law((measured.depth - measured.every).astype(np.float64), measured.depth) @ terms
    return HorizonCurves(1 / (1 + tan2), _window(measured))


def _law(short: Floats, depth: int) -> Floats:
    """(r, 4): 1, m, S_1 and S_2, each 1 at m = T; 0 at m = 0."""
    sums = [faulhaber(short, p) / faulhaber(float(depth), p) for p in (1, 2)]
    return np.stack([short > 0, short / depth, *sums], 1).astype(np.float64)


def _nonnegative(design: Floats, target: Floats) -> Floats:
    """Least squares with coefficients >= 0: the best of all sets of columns whose solution is >= 0."""
    best, found = float(target @ target), np.zeros(design.shape[1])
    for size in range(1, design.shape[1] + 1):
        for some in map(list, itertools.combinations(range(design.shape[1]), size)):
            solution = np.linalg.lstsq(design[:, some], target, rcond=None)[0]
            loss = float(np.sum((design[:, some] @ solution - target) ** 2))
            if (solution >= 0).all() and loss < best:
                best, found = loss, np.zeros(design.shape[1])
                found[some] = solution
    return found


def largest_window(blocks: Floats) -> Floats:
    """(T,) W(h): the largest sum of h neighbouring blocks, h = 1, ..., T."""
    ends = np.concatenate([[0.0], np.cumsum(blocks)])
    return np.array([float((ends[h:] - ends[:-h]).max()) for h in range(1, len(ends))])


def _window(measured: Measured) -> Floats:
    sizes = measured.every.astype(np.float64) if measured.blocks is None else largest_window(measured.blocks)
    if not sizes[-1] > 0:
        return _line(measured)
    design = np.stack([np.ones(measured.depth), sizes / sizes[-1]], 1)
    fitted: Floats = design @ _nonnegative(design[measured.horizons - 1], measured.memory)
    return fitted


def exact(measured: Measured) -> HorizonCurves:
    """No estimate: every horizon 1, ..., T has been measured; repeated ones are averaged.

    Raises:
        DomainError: a horizon that was not measured.
    """
    count = np.bincount(measured.horizons, minlength=measured.depth + 1)[1:]
    if not count.all():
        missing = int(np.flatnonzero(count == 0)[0]) + 1
        raise DomainError(
            f"estimator 'measured' needs every horizon 1..{measured.depth}; {missing} was not measured"
        )

    def mean(values: Floats) -> Floats:
        return np.bincount(measured.horizons, values, measured.depth + 1)[1:] / count

    return HorizonCurves(rate_of(mean(measured.cos)), mean(measured.memory))


ESTIMATORS: dict[str, Callable[[Measured], HorizonCurves]] = {
    "polynomial": polynomial,
    "theory": theory,
    "measured": exact,
}
