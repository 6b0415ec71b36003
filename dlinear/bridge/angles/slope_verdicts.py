"""What measured slopes say beside Theorem D: rows of tables and verdicts, as scripts print them.

- `slope_row`, `slope_answers`: order and constants of one network of blocks that are small.
- `TrainingCourse`: why the angle at a fixed horizon grows in training.
- `ShallowSlope`: a model whose depth is fixed and whose blocks are not small, by tan^2.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dlinear.analysis import statistics
from dlinear.analysis.decay import fit_decay
from dlinear.analysis.statistics import JUDGED, Estimate
from dlinear.bridge.angles.slopes import Slope, odds
from dlinear.engine.angle import AlignmentProfile
from dlinear.report.verdicts import Answer
from dlinear.theory.decay_law import DecayConstants, crossover, decay_law

Curves = Mapping[str, NDArray[np.float64]]

ORDER = 0.1  # an order this far outside the interval still counts as predicted: T is finite
DISCRETE = 5.0  # constants are limits: relative corrections up to about this over T (`analysis.decay`)
NEAR = 1 / 3  # of T: the shortfalls that the fits of the models of a fixed, small depth take
HEADER = (
    *("layers", "T", "epoch", "predicted", "order", "measured [95 %]"),
    *("constants: predicted", "measured", "sin^2/law [95 %]"),
)
COURSE_HEADER = ("layers", "epoch", "sin^2", "Theorem D", "N = |g_T|^2/T", "|R|^2", "loss")


def widened(estimate: Estimate, slack: float) -> Estimate:
    """The estimate with an interval that is longer by `slack` at both ends."""
    return Estimate(estimate.value, estimate.low - slack, estimate.high + slack)


# ---------------------------------------------------------------- one network


def slope_row(name: str, epoch: int, slope: Slope) -> list[str]:
    """A line of the table with HEADER: prediction and measurement of one network."""
    low, high = slope.fit.order_interval
    seen = (slope.fit.quadratic, slope.fit.cubic)
    pairs = [(n, v, w) for n, v, w in zip("qC", slope.law, seen, strict=True) if v > 0]
    return [
        name,
        str(slope.depth),
        str(epoch),
        predicted_order(slope),
        f"{slope.expected:.2f}",
        f"{slope.fit.order:.2f} [{low:.2f}, {high:.2f}]",
        ", ".join(f"{n} {v:.3g}" for n, v, _ in pairs),
        ", ".join(f"{w:.3g}" for _, _, w in pairs),
        f"{slope.ratio():.2f}",
    ]


def predicted_order(slope: Slope) -> str:
    """What Theorem D predicts, in a word: an order, or the shortfall m* of the crossover from 2 to 3."""
    if slope.law.quadratic == 0:
        return "order 3"
    star = crossover(slope.law.quadratic, slope.law.cubic, slope.depth)
    return "order 2" if star == np.inf else "m* < 1" if star < 1 else f"m* = {star:.1f}"


def slope_answers(name: str, epoch: int, slope: Slope) -> list[Answer]:
    """Whether order and constant of a network are those predicted.

    The order within `ORDER` of its 95 % interval, the constant within 5/T of its 99.7 % interval.
    """
    low, high = slope.fit.order_interval
    order = widened(Estimate(slope.fit.order, low, high), ORDER)
    ratio = widened(slope.ratio(JUDGED), DISCRETE / slope.depth)
    where = f"{name}, T = {slope.depth}, epoch {epoch}"
    return [
        Answer(
            f"{where}: order {slope.expected:.2f} of Theorem D ({predicted_order(slope)})",
            order.supports(slope.expected),
            f"{slope.fit.order:.2f} [{low:.2f}, {high:.2f}] (95 %)",
        ),
        Answer(
            f"{where}: constant, measured/predicted", ratio.supports(1.0), f"{ratio:.3f} (99.7 % and 5/T)"
        ),
    ]


# ---------------------------------------------------------------- training


def exponents(driver: NDArray[np.float64], sin2: NDArray[np.float64]) -> NDArray[np.float64]:
    """p of sin^2 ~ driver^p over the later half of the probes, for each seed.

    Args:
        driver: (seeds, probes) positive.
        sin2: as driver.
    """
    late = slice(driver.shape[1] // 2, None)
    pairs = zip(np.log(driver[:, late]), np.log(sin2[:, late]), strict=True)
    return np.array([np.polyfit(x, y, 1)[0] for x, y in pairs])


@dataclass(frozen=True, eq=False)
class TrainingCourse:
    """Networks that differ by their seed, followed in training at one horizon.

    Attributes:
        name: of the network.
        shortfall: m = T - h.
        epochs: (P,) when the probes were taken.
        curves: "sin2", "law" (Theorem D's sin^2), "energy" (N = ||g_T||^2/T), "residual" (||R||^2, NaN where
            the network is not linear) and "batch_loss", each (seeds, P).
    """

    name: str
    shortfall: int
    epochs: NDArray[np.int64]
    curves: Curves

    @functools.cached_property
    def means(self) -> Curves:
        """Geometric mean of each curve over the seeds, (P,)."""
        return {key: np.exp(np.log(value).mean(axis=0)) for key, value in self.curves.items()}

    def rows(self) -> list[list[str]]:
        """Lines of the table with COURSE_HEADER, one a probe."""
        columns = [self.means[key] for key in ("sin2", "law", "energy", "residual", "batch_loss")]
        return [
            [self.name, str(int(epoch)), *("-" if np.isnan(c[i]) else f"{c[i]:.3g}" for c in columns)]
            for i, epoch in enumerate(self.epochs)
        ]

    def answers(self) -> list[Answer]:
        """Whether sin^2 grows as N falls, and as ||R||^2 does, with the exponents of the theory."""
        answers = [self._against_energy()]
        if np.isfinite(self.curves["residual"]).all():
            answers.append(self._against_residual())
        return answers

    def _against_energy(self) -> Answer:
        """sin^2 ~ N^p with the p that Theorem D's sin^2 has."""
        measured, formula = (exponents(self.curves["energy"], self.curves[key]) for key in ("sin2", "law"))
        gap = statistics.mean_interval(measured - formula, JUDGED)
        lowest = int(np.argmin(self.means["sin2"]))
        grown, fall = (self.means[key][-1] / self.means[key][lowest] for key in ("sin2", "energy"))
        return Answer(
            f"{self.name}: sin^2 (m = {self.shortfall}) against N in training has the exponent of Theorem "
            "D's formula",
            widened(gap, ORDER).supports(0.0),
            f"{statistics.mean_interval(measured):.2f} and {formula.mean():.2f}, "
            f"difference {gap:.2f} (99.7 %); from epoch {int(self.epochs[lowest])} on sin^2 goes "
            f"up {grown:.3g} times: N falls {1 / fall:.3g} times, what the last layers add to the error "
            f"only {1 / (grown * fall):.3g} times",
        )

    def _against_residual(self) -> Answer:
        """sin^2 ~ (||R||^2)^-1."""
        measured, formula = (exponents(self.curves["residual"], self.curves[key]) for key in ("sin2", "law"))
        power = statistics.mean_interval(measured, JUDGED)
        return Answer(
            f"{self.name}: late in training sin^2 ~ (||R||^2)^-1 (Theorem B)",
            widened(power, ORDER).supports(-1.0),
            f"exponent {power:.2f} (99.7 %), by Theorem B's formula {formula.mean():.2f}",
        )


# ---------------------------------------------------------------- blocks that are not small


@dataclass(frozen=True, eq=False)
class ShallowSlope:
    """The decay of a model of fixed depth at one moment: sin^2 saturates at 1, so its orders are of tan^2.

    Attributes:
        found: one profile of sin^2 a seed, equal depths and horizons.
        law: the mean constants that Theorem D predicts; NaN for none.
    """

    found: Sequence[AlignmentProfile]
    law: DecayConstants

    @property
    def near(self) -> NDArray[np.bool_]:
        """Which shortfalls are small enough for the law: m <= T/3."""
        near: NDArray[np.bool_] = self.found[0].shortfall <= NEAR * self.found[0].depth
        return near

    @functools.cached_property
    def tangents(self) -> list[AlignmentProfile]:
        """tan^2 in the place of sin^2."""
        return [odds(one) for one in self.found]

    @functools.cached_property
    def orders(self) -> NDArray[np.float64]:
        """The order of tan^2 of each seed."""
        return np.array([fit_decay(one, max_fraction=NEAR).order for one in self.tangents])

    @functools.cached_property
    def order(self) -> Estimate:
        """The mean order of tan^2 over the seeds."""
        return statistics.mean_interval(self.orders)

    def shown(self) -> tuple[int, int, int]:
        """The shortfalls that a table shows: 1, 2 and the largest small one."""
        return 1, 2, int(self.found[0].shortfall[self.near][-1])

    def row(self) -> Iterator[str]:
        """sin^2 at the shown shortfalls, predicted m* and order, the measured order, tan^2 over the law."""
        like = self.found[0]
        m, sines = like.shortfall, np.mean([one.sin2 for one in self.found], axis=0)
        yield from (f"{sines[list(m).index(k)]:.3g}" for k in self.shown())
        if not np.isfinite(tuple(self.law)).all():
            yield from ("-", "-", f"{self.order:.2f}", "-")
            return
        law = decay_law(self.law.quadratic, self.law.cubic, m, like.depth)
        expected = fit_decay(replace(like, sin2=law), max_fraction=NEAR).order
        shares = [np.exp(np.mean(np.log(one.sin2 / law)[self.near])) for one in self.tangents]
        yield f"m* = {crossover(self.law.quadratic, self.law.cubic, like.depth):.1f}"
        yield from (f"{expected:.2f}", f"{self.order:.2f}", f"{statistics.mean_interval(shares):.2f}")

    def answer(self, where: str, remark: str = "") -> Answer:
        """Whether the order is one of the theory's; no verdict where its interval is too long."""
        order = self.order
        inside = order.low <= 3 and order.high >= 2
        precise = (order.high - order.low) / 2 < statistics.VAGUE
        return Answer(
            f"{where}: order of tan^2 is 2, 3 or between",
            inside if precise or not inside else None,
            f"{order:.2f} (95 %){remark}",
        )
