"""Figure 2: 1 - cos(theta_h) over T - h by epoch, its slope, and a law of decay over the points.

The law is tan^2 = a m/T + q 2 S1(m)/T^2 + C 3 S2(m)/T^3 with a, q, C >= 0. The last two terms are those of
Theorems B to D (`theory.decay_law`). The first is there since the last layer of the paper's networks has no
skip connection: r - v jumps at it, by the same amount for every horizon, and each of the m blocks that a
horizon cuts off adds its square. It is fitted to m <= T/3 and drawn over all m: not a prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dlinear.analysis import statistics
from dlinear.analysis.statistics import Estimate
from dlinear.bridge.angles.slope_verdicts import NEAR, ShallowSlope
from dlinear.bridge.paper.course import Course
from dlinear.bridge.paper.experiment import Reading
from dlinear.bridge.paper.reading import Floats, Group, by_model, depth_of, mean, stacked
from dlinear.bridge.paper.settings import title
from dlinear.engine.angle import AlignmentProfile
from dlinear.errors import DomainError
from dlinear.report.reproduction import Finding
from dlinear.report.verdicts import Answer
from dlinear.runs.records import Record
from dlinear.theory.decay_law import DecayConstants, decay_law

HEADER = (
    *("model", "epoch", "train loss", "test loss", "1-cos, m=1", "m=T/3"),
    *("slope of 1-cos [95 %]", "R^2", "order of tan^2 [95 %]", "law: a, q, C"),
)
SHALLOWEST = 9  # blocks of which a third are three
CLOSE = 1.5  # factor within which the law has to describe the points
POWER = 0.9  # R^2 of a line in log-log from which a decay is called polynomial
FLAT = 0.25  # slope below which there is no decay
WIDE = 1.0  # half the width of an interval from which an order is not read
CUBE = 3.0  # the order of smooth linear layers


def check_depths(courses: Sequence[Course]) -> None:
    """Refuse models whose slope would have fewer than three points at m <= T/3.

    Raises:
        DomainError: T < 9.
    """
    for course in courses:
        if course.depth < SHALLOWEST:
            raise DomainError(
                f"{course.model} has T = {course.depth} blocks; a slope needs {SHALLOWEST} or more (--blocks)"
            )


class Law(NamedTuple):
    """a, q and C of the law above."""

    jump: float
    quadratic: float
    cubic: float

    def tan2(self, m: Floats, depth: int) -> Floats:
        """tan^2 at shortfalls m."""
        smooth: Floats = decay_law(self.quadratic, self.cubic, m, depth)
        found: Floats = self.jump * m / depth + smooth
        return found


def one_minus_cos(tan2: Floats) -> Floats:
    """1 - cos = t/(sqrt(1 + t)(1 + sqrt(1 + t))) for t = tan^2, without cancellation."""
    root = np.sqrt(1 + tan2)
    found: Floats = tan2 / (root * (1 + root))
    return found


def fitted(m: Floats, tan2: Floats, depth: int) -> Law:
    """The law that fits best in relative error, m <= T/3.

    Args:
        m: (K,) shortfalls.
        tan2: (K,) positive.
        depth: T.
    """
    from scipy.optimize import nnls

    near = m <= max(NEAR * depth, 3)
    columns = [m / depth, decay_law(1.0, 0.0, m, depth), decay_law(0.0, 1.0, m, depth)]
    design = np.stack(columns, axis=1)[near] / tan2[near, None]
    return Law(*(float(value) for value in nnls(design, np.ones(int(near.sum())))[0]))


@dataclass(frozen=True, eq=False)
class Panel:
    """One model at one epoch, all seeds.

    Attributes:
        model: its name.
        depth: T.
        epoch: of training.
        m: (K,) shortfalls.
        sin2, cos: (S, K).
        train_loss, test_loss: (S,).
    """

    model: str
    depth: int
    epoch: int
    m: Floats
    sin2: Floats
    cos: Floats
    train_loss: Floats
    test_loss: Floats

    @property
    def gap(self) -> Floats:
        """1 - cos = sin^2/(1 + cos), (S, K)."""
        return self.sin2 / (1 + self.cos)

    @property
    def third(self) -> int:
        """Index of the shortfall that is nearest to T/3."""
        return int(np.abs(self.m - self.depth * NEAR).argmin())

    def lines(self) -> Floats:
        """(S, 2): slope and R^2 of log(1 - cos) over log m, m <= T/3, for each seed."""
        near = self.m <= max(NEAR * self.depth, 3)
        x, found = np.log(self.m[near]), []
        for y in np.log(self.gap[:, near]):
            slope, offset = np.polyfit(x, y, 1)
            rest = ((y - slope * x - offset) ** 2).sum() / ((y - y.mean()) ** 2).sum()
            found.append((slope, 1 - rest))
        return np.array(found)

    def slope(self) -> Estimate:
        """What a ruler reads off the figure."""
        return mean(self.lines()[:, 0])

    def order(self) -> Estimate:
        """The order of tan^2 in sums over the missed blocks (`analysis.fit_decay`)."""
        m = self.m.astype(np.int64)
        one, none = np.ones(len(m)), ("",) * len(m)
        profiles = [
            AlignmentProfile(self.depth, self.depth - m, m, sin2, cos, one, none)
            for sin2, cos in zip(self.sin2, self.cos, strict=True)
        ]
        return ShallowSlope(profiles, DecayConstants(np.nan, np.nan)).order

    def law(self) -> Law:
        """The law fitted to the mean of tan^2."""
        return fitted(self.m, (self.sin2 / self.cos**2).mean(axis=0), self.depth)

    def row(self) -> list[str]:
        """A line of the table with HEADER."""
        gap = self.gap.mean(axis=0)
        law = self.law()
        return [
            *(self.model, str(self.epoch)),
            *(f"{values.mean():.3g}" for values in (self.train_loss, self.test_loss)),
            *(f"{gap[k]:.2e}" for k in (0, self.third)),
            f"{self.slope():.2f}",
            f"{self.lines()[:, 1].min():.3f}",
            f"{self.order():.2f}",
            ", ".join(f"{value:.2g}" for value in law),
        ]


def panels(found: Sequence[Record]) -> dict[str, list[Panel]]:
    """model -> its panels by epoch; an epoch at which a seed has no angle is left out."""
    return {name: _panels(name, group) for name, group in by_model(found).items()}


def _panels(name: str, group: Group) -> list[Panel]:
    some = next(iter(group.values()))
    epochs, m = some[0].arrays["probe"], some[0].arrays["shortfall"].astype(np.float64)
    sin2, cos = stacked(some, "sin2"), stacked(some, "cos")
    losses = [stacked(some, part)[:, epochs] for part in ("train_loss", "test_loss")]
    return [
        Panel(name, depth_of(group), int(epoch), m, sin2[:, k], cos[:, k], losses[0][:, k], losses[1][:, k])
        for k, epoch in enumerate(epochs)
        if np.isfinite(sin2[:, k]).all()
    ]


def rows(found: Sequence[Record]) -> list[list[str]]:
    """Lines of the table with HEADER."""
    return [panel.row() for some in panels(found).values() for panel in some]


def findings(found: Sequence[Record]) -> list[Finding]:
    """What the records say of Figure 2; fewer than three seeds say nothing."""
    return [
        finding
        for name, some in panels(found).items()
        if len(some[0].sin2) > 2
        for finding in (_polynomial(name, some), _order(name, some), _grows(name, some))
    ]


def _polynomial(name: str, some: Sequence[Panel]) -> Finding:
    """1 - cos is a power of m at every epoch."""
    slopes, fits = [panel.slope() for panel in some], [panel.lines()[:, 1].min() for panel in some]
    flat = [panel for panel, slope in zip(some, slopes, strict=True) if slope.high < FLAT]
    shown = "; ".join(
        f"epoch {p.epoch}: {s:.2f}, R^2 {r:.2f}" for p, s, r in zip(some, slopes, fits, strict=True)
    )
    holds = True if min(s.low for s in slopes) > 0 and min(fits) > POWER else False if flat else None
    why = ""
    if flat:
        least = min(float(panel.gap.mean(axis=0).min()) for panel in flat)
        why = (
            f"from epoch {flat[0].epoch} on 1 - cos is {least:.2f} or more at every h < T, no decay is left: "
            "g_T falls with the loss at x(T), that at x(T - 1), before a layer without skip connection, stays"
        )
    return Finding("figure2-polynomial", title(name), f"slope of 1 - cos, m <= T/3, {shown}", holds, why)


def _order(name: str, some: Sequence[Panel]) -> Finding:
    """The order is below that of smooth linear layers, 3, wherever it can be read."""
    falling = {panel.epoch: panel.order() for panel in some if panel.slope().low > 0}
    read = {epoch: one for epoch, one in falling.items() if one.high - one.low < 2 * WIDE}
    shown = "; ".join(f"epoch {epoch}: {one:.2f}" for epoch, one in read.items()) or "no epoch has a decay"
    holds: bool | None = None
    if read:
        holds = True if max(o.high for o in read.values()) < CUBE else None
        holds = False if min(o.low for o in read.values()) > CUBE else holds
    why = "the last layer has no skip connection: that alone gives order 1, also to the linear net"
    return Finding(
        "figure2-order", title(name), f"order of tan^2 {shown}", holds, "" if name == "resnet62" else why
    )


def _grows(name: str, some: Sequence[Panel]) -> Finding:
    """At a fixed horizon the angle is larger at the end of training than at its start."""
    first, last = some[0], some[-1]
    k = last.third
    logs = np.log(last.gap[:, k] / first.gap[:, k])
    grown = Estimate(*(float(np.exp(value)) for value in statistics.mean_interval(logs)))
    holds = True if grown.low > 1 else False if grown.high < 1 else None
    measured = f"1 - cos at m = {int(last.m[k])}, epoch {last.epoch} over epoch 0: {grown:.2f}"
    return Finding("figure2-grows", title(name), measured, holds)


def answers(found: Sequence[Record]) -> list[Answer]:
    """What must hold of the measurement: the fitted law is near the points that it was fitted to."""
    out = []
    for name, some in panels(found).items():
        gaps = []
        for panel in some:
            near = panel.m <= max(NEAR * panel.depth, 3)
            law = one_minus_cos(panel.law().tan2(panel.m, panel.depth))
            gaps.append(float(np.abs(np.log(panel.gap.mean(axis=0) / law))[near].max()))
        question = f"{name}: the law is within a factor of {CLOSE:g} of 1 - cos, m <= T/3, at every epoch"
        out.append(Answer(question, max(gaps) < np.log(CLOSE), f"worst factor {np.exp(max(gaps)):.2f}"))
    return out


READING = Reading(HEADER, rows, findings, answers)
