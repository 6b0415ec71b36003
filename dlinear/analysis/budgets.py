"""Who wins within which memory: horizons, and all inexact methods, against exact ones, in numbers and words.

"Beats" means that the 95 % interval of the difference over the seeds, seed by seed, lies above zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from dlinear.analysis import pareto, statistics
from dlinear.analysis.comparison import REGIMES, MethodResult

__all__ = ["HORIZONS", "INEXACT", "Side", "WinningRange", "difference", "findings", "won_budgets"]


class Side(NamedTuple):
    """Which methods are weighed against the exact ones.

    Attributes:
        word: one of them, in a sentence.
        article: before the word.
        scope: what a sentence begins with, where it is not of horizons alone.
        none: what is said if none of them was run.
        holds: whether a method is one of them.
    """

    word: str
    article: str
    scope: str
    none: str
    holds: Callable[[MethodResult], bool]


HORIZONS = Side("horizon", "a", "", "no horizon below T was run", lambda one: one.truncated)
"""Plain horizons h < T: a line of their own in every comparison."""
INEXACT = Side(
    "inexact method", "an", ", all methods", "no inexact method was run", lambda one: not one.exact
)
"""Every method whose gradient is not that of the loss: anchored horizons, stages, local losses, ..."""


def difference(
    one: MethodResult, other: MethodResult, regime: str, metric: str = "test"
) -> statistics.Estimate:
    """Value of one minus the other's, seed by seed: mean and 95 % interval; infinite if only one diverged."""
    a, b = one.value(regime, metric), other.value(regime, metric)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        sign = float(np.isfinite(a).all()) - float(np.isfinite(b).all())
        reach = math.inf * sign if sign else math.nan
        return statistics.Estimate(reach, reach, reach)
    return statistics.mean_interval(a - b)


class WinningRange(NamedTuple):
    """Budgets (shares of back-propagation's activations) within which a method beats the exact ones.

    Attributes:
        low: the least.
        high: where they end; infinite at the top.
        winner: the best of those that beat every exact method that fits.
        rival: the best exact method that fits; None where none does.
    """

    low: float
    high: float
    winner: MethodResult
    rival: MethodResult | None


def won_budgets(
    found: Sequence[MethodResult], regime: str, metric: str = "test", side: Side = HORIZONS
) -> list[WinningRange]:
    """The budgets within which a method of a side beats every exact method that fits, or is alone."""
    ours, rivals = _sides(found, side)
    beats = [[difference(one, rival, regime, metric).low > 0 for rival in rivals] for one in ours]
    table = np.reshape(np.array(beats, bool), (len(ours), len(rivals)))
    out: list[WinningRange] = []
    for budget in pareto.winning_budgets([o.memory for o in ours], [r.memory for r in rivals], table):
        best = _best([ours[i] for i in budget.winners], regime, metric)
        rival = _best([rivals[j] for j in budget.rivals], regime, metric) if budget.rivals else None
        if out and (out[-1].winner, out[-1].rival, out[-1].high) == (best, rival, budget.low):
            out[-1] = out[-1]._replace(high=budget.high)
        else:
            out.append(WinningRange(budget.low, budget.high, best, rival))
    return out


def _sides(found: Sequence[MethodResult], side: Side) -> tuple[list[MethodResult], list[MethodResult]]:
    """The methods of a side, and the exact methods."""
    return [one for one in found if side.holds(one)], [one for one in found if one.exact]


def findings(found: Sequence[MethodResult], regime: str, metric: str = "test") -> list[str]:
    """`won_budgets` in words, or how close a method comes.

    First for horizons below T; then, where the run has other inexact methods, for all of them together.
    """
    first = _findings(found, regime, metric, HORIZONS)
    if not any(INEXACT.holds(one) and not HORIZONS.holds(one) for one in found):
        return first
    return [*first, *_findings(found, regime, metric, INEXACT)]


def _findings(found: Sequence[MethodResult], regime: str, metric: str, side: Side) -> list[str]:
    """The sentences about one side."""
    ours, rivals = _sides(found, side)
    where = f"{REGIMES[regime]}, {_name(found, metric)}{side.scope}"
    if not ours:
        return [f"{where}: {side.none}"]
    if len(ours[0].value(regime)) < 2:
        return [f"{where}: one seed gives no interval, so nothing is said about who wins"]
    won, lines = won_budgets(found, regime, metric, side), []
    for one in won:
        end = f"to {one.high:.1%}" if math.isfinite(one.high) else "on"
        lines.append(f"{where}: from {_budget(one.winner, one.low)} {end} {_won(one, regime, metric, side)}")
    if all(one.rival is None for one in won):
        lines.append(
            f"{where}: within no memory budget does {side.article} {side.word} beat every exact method that "
            f"fits; {_closest(ours, rivals, regime, metric)}"
        )
    return lines


def _won(one: WinningRange, regime: str, metric: str, side: Side) -> str:
    """What holds within a range of budgets."""
    if one.rival is None:
        if not _finite(one.winner, regime, metric):
            return f"no exact method of this run fits, and every {side.word} that does diverged"
        return f"no exact method of this run fits; the best {side.word} is {one.winner.method}"
    gap = difference(one.winner, one.rival, regime, metric)
    if not math.isfinite(gap.value):
        return f"{one.winner.method} beats every exact method that fits: all of them diverged"
    return (
        f"{one.winner.method} beats every exact method that fits, the best of them, "
        f"{one.rival.method}, by {gap:.4f}"
    )


def _closest(ours: Sequence[MethodResult], rivals: Sequence[MethodResult], regime: str, metric: str) -> str:
    """The one of ours that comes closest to the best of the exact methods that it fails to beat.

    Of those within its own memory: it may well beat the best one on average, and not another one whose seeds
    differ more.
    """
    gaps = []
    for one in ours:
        found = {r.method: difference(one, r, regime, metric) for r in rivals if r.memory <= one.memory}
        if unbeaten := [r for r in rivals if r.method in found and not found[r.method].low > 0]:
            best = _best(unbeaten, regime, metric)
            gaps.append((found[best.method], one, best))
    gaps = [gap for gap in gaps if math.isfinite(gap[0].value)]
    if not gaps:
        return "none of them can be compared with one"
    gap, one, best = max(gaps, key=lambda item: item[0].value)
    return (
        f"the closest, {one.method} at {one.memory:.1%}, differs from {best.method} at {best.memory:.1%} "
        f"by {gap:.4f}"
    )


def _best(some: Sequence[MethodResult], regime: str, metric: str) -> MethodResult:
    """The one of the highest mean; of those that diverged the first, if all did."""

    def level(one: MethodResult) -> float:
        return float(one.value(regime, metric).mean()) if _finite(one, regime, metric) else -math.inf

    return max(some, key=level)


def _finite(one: MethodResult, regime: str, metric: str) -> bool:
    """Whether no seed diverged."""
    return bool(np.isfinite(one.value(regime, metric)).all())


def _name(found: Sequence[MethodResult], metric: str) -> str:
    if metric == "train":
        return "minus the training loss"
    classes = any(np.isfinite(one.scores["epochs"]["test_accuracy"]).any() for one in found)
    return "test accuracy" if classes else "minus the test loss"


def _budget(one: MethodResult, fraction: float | None = None) -> str:
    """A budget as a share of back-propagation's activations, and in bytes."""
    fraction = one.memory if fraction is None else fraction
    return f"{fraction:.1%} ({fraction * one.bytes / one.memory / 1e6:.2f} MB)"
