"""How fast sin^2(theta_h) falls as the horizon grows: order, constants, intervals and a verdict in words.

Order. The laws of order 2 and 3 are sums over the layers that a horizon misses, sum_{k<=m} k^(p-1) with
p = 2 (Theorem C) and p = 3 (Theorem B); in log-log over m itself both look too flat at small m. The *order*
is the real p for which

    log sin^2(m) = kappa + log sum_{k<=m} k^(p-1) + error(m)

fits best; it is free of that bias at any m, and 5 for the degenerate scalar case of Lemma C.5.

Errors. Two known kinds, so the fit is generalised least squares with their covariance

    V(a, b) = s^2 M(a, b) + exp(e_a e_b) - 1 + (beta/T)^2 + small,        e_a = beta m_a/T

- M: rough layers make B(W~) a random walk w_k of dimension d beside the drift k a of the smooth part, and
  sin^2(m) ~ sum_{k<=m} |w_k + k a|^2, whose relative covariance is 2/d times M = `walk_covariance` at the
  fitted constants. s^2 is estimated from the residuals (restricted maximum likelihood), so smooth layers give
  s ~ 0.
- e: the next terms of the expansion in m/T, b_1 e + b_2 e^2/sqrt(2) + ... with independent standard normal
  b_i, that is relative corrections of size up to about beta = 5 per unit of m/T; likewise beta/T for the
  constants, which are limits.

Intervals are 95 %, Student's t with (points - 2) degrees of freedom. Their limit: s^2 comes from one curve,
whose points are far from independent, and a walk that came out short looks precise. In simulated walks (12
shortfalls from 1 to 200, 200 curves each) the interval of q holds the truth in 0.93 to 0.99 of the curves
from d = 9 on, at a crossover as without one; for d = 4 in 0.97 without and 0.87 at m* = 12, for d = 2 in 0.93
and 0.74. Where it misses, the true q is larger; C keeps its level from d = 2 on. The mean over k seeds is a
walk of k d dimensions: from a narrow network at a crossover, fit the mean of several seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dlinear.analysis.statistics import LEVEL, student_factor
from dlinear.checks import as_number
from dlinear.engine.angle import AlignmentProfile
from dlinear.errors import DomainError
from dlinear.theory.decay_law import crossover, decay_law, faulhaber

Floats = NDArray[np.float64]
DecayKind = Literal["cubic", "quadratic", "crossover", "neither"]
Interval = tuple[float, float]

CURVATURE = 5.0  # beta
_RELATIVE_ROUNDING = 1e-9  # promised accuracy of sin^2
_NUGGET = 1e-4  # share of s^2 without correlation; ten times as much already narrows the intervals too far
_ORDER_TOLERANCE = 0.05  # an order this close to 2 or 3 counts as it, however narrow its interval
_FAR = 1.0  # an order further than this from 2 or 3 is not it, however wide its interval
_WIDE = 2.0  # an interval that is wider, and holds 2 or 3, names no order
_DIRECT_TERMS = 64  # terms of the sum taken one by one before Euler-Maclaurin


@dataclass(frozen=True)
class DecayFit:
    """The fitted decay of one profile, or of the mean over several.

    Attributes:
        order: p, the effective order of decay in m/T over the range of shortfalls.
        order_interval: its 95 % interval.
        quadratic: q of `limits.decay_law`, >= 0.
        quadratic_interval: its 95 % interval.
        cubic: C of `limits.decay_law`, >= 0.
        cubic_interval: its 95 % interval.
        crossover: m*, where both terms are equal (0 or less: cubic throughout; inf: quadratic throughout).
        kind: "cubic", "quadratic", "crossover" or "neither": another order, or an interval too
            wide (more than 2) to name one.
        verdict: the same in words; begins with `kind`.
        scatter: relative scatter s sqrt(2/3) of sin^2 at large m that the fit found.
        points: number of shortfalls used.
        profiles: number of profiles averaged.
    """

    order: float
    order_interval: Interval
    quadratic: float
    quadratic_interval: Interval
    cubic: float
    cubic_interval: Interval
    crossover: float
    kind: DecayKind
    verdict: str
    scatter: float
    points: int
    profiles: int


def fit_decay(
    profile: AlignmentProfile | Sequence[AlignmentProfile], *, max_fraction: float = 0.1
) -> DecayFit:
    """Fit order and constants of the decay of sin^2 as h -> T.

    Args:
        profile: of one network, or a sequence over seeds with equal depth and horizons: sin^2 is averaged.
        max_fraction: shortfalls up to this fraction of T are used (the laws hold for m << T).

    Raises:
        DomainError: fewer than three different shortfalls with an angle in 1..max_fraction T, or profiles
            that do not match.
    """
    max_fraction = as_number("max_fraction", max_fraction)
    if not 0 < max_fraction <= 1:
        raise DomainError(f"max_fraction is {max_fraction!r}; expected a number in (0, 1]")
    several = list(profile) if isinstance(profile, Iterable) else [profile]
    profiles = [one for one in several if isinstance(one, AlignmentProfile)]
    if len(profiles) < len(several):
        raise DomainError("fit_decay takes an AlignmentProfile or a sequence of them, as alignment() returns")
    depth, m, sin2 = _points(profiles, max_fraction)
    if not sin2.any():
        return _zero_fit(len(m), len(profiles))
    if not (sin2 > 1e-250).all():
        raise DomainError(
            "sin^2 is zero (below 1e-250) at some shortfalls and not at others; fit the others on their own"
        )
    (q, c), errors = _fit_two_terms(m, sin2, depth)
    order, order_error, scatter = _fit_order(m, sin2, depth, _noise(m, depth, q + errors[0], c))
    reach = student_factor(len(m) - 2)
    order_interval = (order - reach * order_error, order + reach * order_error)
    star = crossover(q, c, depth)
    q_interval, c_interval = (
        _positive_interval(value, reach * error) for value, error in zip((q, c), errors, strict=True)
    )
    kind = _classify(order, order_interval, q_interval[0] > 0 and c_interval[0] > 0, star, m)
    return DecayFit(
        order=order,
        order_interval=order_interval,
        quadratic=q,
        quadratic_interval=q_interval,
        cubic=c,
        cubic_interval=c_interval,
        crossover=star,
        kind=kind,
        verdict=_words(kind, order, order_interval, star, m),
        scatter=scatter,
        points=len(m),
        profiles=len(profiles),
    )


def power_sum(m: Floats, power: float) -> Floats:
    """sum_{k=1}^m k^power for real power > -1 and integers m >= 1, by Euler-Maclaurin beyond 64 terms."""
    start = np.minimum(m, _DIRECT_TERMS)
    terms = np.arange(1, _DIRECT_TERMS + 1, dtype=np.float64) ** power
    head = np.concatenate([[0.0], np.cumsum(terms)])[start.astype(np.int64)]

    def antiderivative(x: Floats) -> Floats:
        bernoulli = power * x ** (power - 1) / 12 - power * (power - 1) * (power - 2) * x ** (power - 3) / 720
        return x ** (power + 1) / (power + 1) + x**power / 2 + bernoulli

    rest: Floats = antiderivative(m.astype(np.float64)) - antiderivative(start.astype(np.float64))
    return np.where(m > start, head + rest, head)


def walk_covariance(m: Floats, walk: float = 1.0, drift: float = 0.0) -> Floats:
    """Covariance of y(m) = sum_{k<=m} |w_k + k a|^2 over E y(a) E y(b), up to 2/d, shape (r, r).

    w is a random walk in d dimensions with E|w_k|^2 = walk k, and |a|^2 = drift:
    E y(m) = walk S1(m) + drift S2(m) and, over j <= m_a, k <= m_b,
    Cov = (2/d) (walk^2 sum min(j, k)^2 + 2 walk drift sum j k min(j, k)).
    """
    a, b = np.minimum.outer(m, m), np.maximum.outer(m, m)
    s1, s2 = faulhaber(a, 1), faulhaber(a, 2)
    s4 = s2 * (3 * a**2 + 3 * a - 1) / 5
    squares = -2 / 3 * s1**2 + (b + 0.5) * s2 + s1 / 6  # sum of min(j, k)^2; the sum of cubes is s1^2
    crossed = -s4 / 6 + (1 / 6 + faulhaber(b, 1)) * s2  # sum of j k min(j, k)
    mean = walk * faulhaber(m, 1) + drift * faulhaber(m, 2)
    covariance: Floats = walk * (walk * squares + 2 * drift * crossed) / np.outer(mean, mean)
    return covariance


def _points(profiles: list[AlignmentProfile], max_fraction: float) -> tuple[int, Floats, Floats]:
    """Depth, sorted different shortfalls and the mean sin^2 at each."""
    if not profiles:
        raise DomainError("no profile received; expected at least one")
    first = profiles[0]
    for other in profiles[1:]:
        if other.depth != first.depth or not np.array_equal(other.horizons, first.horizons):
            raise DomainError("the profiles differ in depth or horizons; fit them on their own")
    mean = np.mean([p.sin2 for p in profiles], axis=0)
    m, where = np.unique(first.shortfall, return_index=True)
    keep = (m >= 1) & (m <= max(3, max_fraction * first.depth)) & np.isfinite(mean[where])
    if keep.sum() < 3:
        raise DomainError(
            f"{int(keep.sum())} usable shortfalls received; expected at least 3 different horizons h with "
            f"1 <= T - h <= {max(3, max_fraction * first.depth):g} and a defined angle"
        )
    return first.depth, m[keep].astype(np.float64), mean[where][keep]


def _noise(m: Floats, depth: int, q: float, c: float) -> Floats:
    """M for the constants q and C: walk 2 q/T^2 and drift 3 C/T^3 in units of sin^2."""
    return walk_covariance(m, 2 * q / depth**2, 3 * c / depth**3) if q > 0 else walk_covariance(m)


def _fit_order(m: Floats, sin2: Floats, depth: int, noise: Floats) -> tuple[float, float, float]:
    """The order, its standard error, and the scatter."""
    # Gauss-Newton for (kappa, p) in log sin^2 = kappa + log S(p), S(p) = sum_{k<=m} k^(p-1), under V.
    log_sin2, ones, order = np.log(sin2), np.ones_like(m), 2.5
    allowed = _allowances(m, depth)
    for _ in range(50):
        step = 1e-5  # of the central difference for d log S/dp
        value = np.log(power_sum(m, order - 1))
        slope = (np.log(power_sum(m, order - 1 + step)) - np.log(power_sum(m, order - 1 - step))) / (2 * step)
        solution, covariance, variance = _gls(log_sin2 - value, np.stack([ones, slope], 1), noise, allowed)
        order = float(np.clip(order + np.clip(solution[1], -1, 1), 0.05, 30))
        if abs(solution[1]) < 1e-10:
            break
    return order, float(np.sqrt(covariance[1, 1])), float(np.sqrt(variance * 2 / 3))


def _fit_two_terms(m: Floats, sin2: Floats, depth: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """q, C >= 0 and their standard errors, by relative least squares about the fitted values.

    The noise belongs to q: its covariance follows the fit from step to step.
    """
    columns = np.stack(
        [decay_law(1.0, 0.0, m, depth), decay_law(0.0, 1.0, m, depth)], 1
    )  # 2 S1/T^2, 3 S2/T^3
    allowed, noise = _allowances(m, depth), walk_covariance(m)
    fitted = sin2
    terms, errors = np.zeros(2), np.zeros(2)
    for _ in range(30):  # least squares for sin^2/fitted = (q 2 S1/T^2 + C 3 S2/T^3)/fitted
        free = [0, 1]
        solution, covariance, _ = _gls(sin2 / fitted, columns / fitted[:, None], noise, allowed)
        if not (solution > 0).all():  # the term that would be negative is zero
            free = [int(np.argmax(solution * columns[-1]))]
            solution, covariance, _ = _gls(sin2 / fitted, columns[:, free] / fitted[:, None], noise, allowed)
        previous, terms, errors = terms, np.zeros(2), np.zeros(2)
        terms[free], errors[free] = solution, np.sqrt(np.diag(covariance))
        if not (terms > 0).any():  # no law of order 2 or 3 is near: the one that misses least
            terms[free] = np.exp(np.mean(np.log(sin2 / columns[:, free[0]])))
        fitted = columns @ terms
        noise = _noise(m, depth, terms[0] + errors[0], terms[1])
        if np.allclose(terms, previous, rtol=1e-9, atol=0):
            break
    return (float(terms[0]), float(terms[1])), (float(errors[0]), float(errors[1]))


def _allowances(m: Floats, depth: int) -> Floats:
    """exp(e_a e_b) - 1 and the effects of discrete layers and rounding: what is known of V beforehand."""
    e = CURVATURE * m / depth  # e_a = beta m_a/T
    known = np.expm1(np.outer(e, e)) + (CURVATURE / depth) ** 2
    discrete = CURVATURE / (4 * depth * m)  # sums over layers are not integrals
    # The last term keeps the factorisation that follows safe from rounding.
    known += np.diag(discrete**2 + _RELATIVE_ROUNDING**2 + 1e-14 * np.trace(known))
    return known


def _gls(y: Floats, design: Floats, noise: Floats, allowed: Floats) -> tuple[Floats, Floats, float]:
    """Solution, its covariance, and s^2 by restricted maximum likelihood over s^2 >= 0.

    Up to a constant, with V = s^2 M + `allowed`, design X and b = (X^T V^{-1} X)^{-1} X^T V^{-1} y,
    -2 log likelihood = log det V + log det(X^T V^{-1} X) + (y - X b)^T V^{-1} (y - X b).
    """
    walk = noise + _NUGGET * np.eye(len(noise))
    columns = np.column_stack([design, y])

    def solve(exponents: Floats) -> tuple[Floats, Floats, Floats]:
        """For each s^2 = 10^exponent: twice the negative log likelihood, the solution, its covariance."""
        chol = np.linalg.cholesky(10.0 ** exponents[:, None, None] * walk + allowed)  # V = L L^T
        white = np.linalg.solve(
            chol, np.broadcast_to(columns, (len(exponents), *columns.shape))
        )  # L^{-1}(X, y)
        x, target = white[..., :-1], white[..., -1:]
        normal = np.swapaxes(x, 1, 2) @ x
        solution = np.linalg.solve(normal, np.swapaxes(x, 1, 2) @ target)
        misfit = np.sum((target - x @ solution) ** 2, axis=(1, 2))
        scale = 2 * np.sum(np.log(np.diagonal(chol, axis1=1, axis2=2)), axis=1)
        return scale + np.linalg.slogdet(normal)[1] + misfit, solution[..., 0], np.linalg.inv(normal)

    # the minimum over s^2 = 1e-18..10: a coarse grid, then a fine one about its best point
    exponents, spacing = np.linspace(-18.0, 1.0, 39), 0.5
    best = float(exponents[np.argmin(solve(exponents)[0])])
    near = np.linspace(best - spacing, best + spacing, 33)
    loss, solution, covariance = solve(near)
    i = int(np.argmin(loss))
    return solution[i], covariance[i], float(10.0 ** near[i])


def _positive_interval(value: float, reach: float) -> Interval:
    """A scale has a relative error, and a walk that came out short looks precise: upwards in logarithms."""
    above = value * float(np.exp(reach / value)) if 0 < reach < 2 * value else value + reach
    return max(0.0, value - reach), max(above, value + reach)


def _classify(order: float, interval: Interval, both: bool, star: float, m: Floats) -> DecayKind:
    """Which law the order and the two terms speak for."""
    near = {
        p: interval[0] - _ORDER_TOLERANCE <= p <= interval[1] + _ORDER_TOLERANCE and abs(order - p) < _FAR
        for p in (2, 3)
    }
    if both and m[0] < star < m[-1]:
        return "crossover"
    if _too_wide(interval):
        return "neither"
    if near[2] and near[3]:
        return "cubic" if order > 2.5 else "quadratic"
    if near[3]:
        return "cubic"
    if near[2]:
        return "quadratic"
    return "crossover" if 2 < order < 3 else "neither"


def _too_wide(interval: Interval) -> bool:
    """Whether the interval holds order 2 or 3 and so much else that this says nothing."""
    return interval[1] - interval[0] > _WIDE and any(interval[0] <= p <= interval[1] for p in (2, 3))


def _words(kind: DecayKind, order: float, interval: Interval, star: float, m: Floats) -> str:
    measured = f"order {order:.3f}, {100 * LEVEL:.0f} % interval {interval[0]:.3f} to {interval[1]:.3f}"
    if kind == "crossover":
        return f"crossover at m* = {star:.3g}: order 2 below, 3 above ({measured})"
    if kind == "neither" and _too_wide(interval):
        return f"neither order can be named: take more horizons or seeds ({measured})"
    if kind == "neither":
        return f"neither order 2 nor 3 ({measured})"
    other = 3 if kind == "quadratic" else 2
    if interval[0] <= other <= interval[1]:
        return f"{kind} ({measured}, which does not exclude order {other}: take more horizons or seeds)"
    return f"{kind} ({measured})"


def _zero_fit(points: int, profiles: int) -> DecayFit:
    nan, none = float("nan"), (float("nan"), float("nan"))
    return DecayFit(
        order=nan,
        order_interval=none,
        quadratic=0.0,
        quadratic_interval=(0.0, 0.0),
        cubic=0.0,
        cubic_interval=(0.0, 0.0),
        crossover=nan,
        kind="neither",
        verdict="neither: sin^2 is zero at every horizon, g_h and g_T are parallel",
        scatter=0.0,
        points=points,
        profiles=profiles,
    )
