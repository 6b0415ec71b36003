"""Who wins within which memory: horizons against exact methods, in numbers and in words.

"Beats" means that the 95 % interval of the difference over the seeds, seed by seed, lies above zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dlinear.analysis import pareto, statistics
from dlinear.analysis.comparison import REGIMES, MethodResult

__all__ = ["WinningRange", "difference", "findings", "won_budgets"]


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
    """Budgets (shares of back-propagation's activations) within which a horizon beats the exact methods.

    Attributes:
        low: the least.
        high: where they end; infinite at the top.
        horizon: the best of those that beat every exact method that fits.
        rival: the best exact method that fits; None where none does.
    """

    low: float
    high: float
    horizon: MethodResult
    rival: MethodResult | None


def won_budgets(found: Sequence[MethodResult], regime: str, metric: str = "test") -> list[WinningRange]:
    """The budgets within which a horizon h < T beats every exact method that fits, or is alone."""
    ours, rivals = _sides(found)
    beats = [[difference(one, rival, regime, metric).low > 0 for rival in rivals] for one in ours]
    table = np.reshape(np.array(beats, bool), (len(ours), len(rivals)))
    out: list[WinningRange] = []
    for budget in pareto.winning_budgets([o.memory for o in ours], [r.memory for r in rivals], table):
        best = _best([ours[i] for i in budget.winners], regime, metric)
        rival = _best([rivals[j] for j in budget.rivals], regime, metric) if budget.rivals else None
        if out and (out[-1].horizon, out[-1].rival, out[-1].high) == (best, rival, budget.low):
            out[-1] = out[-1]._replace(high=budget.high)
        else:
            out.append(WinningRange(budget.low, budget.high, best, rival))
    return out


def _sides(found: Sequence[MethodResult]) -> tuple[list[MethodResult], list[MethodResult]]:
    """Horizons below T, and the exact methods."""
    return [one for one in found if one.truncated], [one for one in found if one.exact]


def findings(found: Sequence[MethodResult], regime: str, metric: str = "test") -> list[str]:
    """`won_budgets` in words, or how close a horizon comes."""
    ours, rivals = _sides(found)
    where = f"{REGIMES[regime]}, {_name(found, metric)}"
    if not ours:
        return [f"{where}: no horizon below T was run"]
    if len(ours[0].value(regime)) < 2:
        return [f"{where}: one seed gives no interval, so nothing is said about who wins"]
    won, lines = won_budgets(found, regime, metric), []
    for one in won:
        end = f"to {one.high:.1%}" if math.isfinite(one.high) else "on"
        lines.append(f"{where}: from {_budget(one.horizon, one.low)} {end} {_won(one, regime, metric)}")
    if all(one.rival is None for one in won):
        lines.append(
            f"{where}: within no memory budget does a horizon beat every exact method that fits; "
            f"{_closest(ours, rivals, regime, metric)}"
        )
    return lines


def _won(one: WinningRange, regime: str, metric: str) -> str:
    """What holds within a range of budgets."""
    if one.rival is None:
        if not _finite(one.horizon, regime, metric):
            return "no exact method of this run fits, and every horizon that does diverged"
        return f"no exact method of this run fits; the best horizon is {one.horizon.method}"
    gap = difference(one.horizon, one.rival, regime, metric)
    if not math.isfinite(gap.value):
        return f"{one.horizon.method} beats every exact method that fits: all of them diverged"
    return (
        f"{one.horizon.method} beats every exact method that fits, the best of them, "
        f"{one.rival.method}, by {gap:.4f}"
    )


def _closest(ours: Sequence[MethodResult], rivals: Sequence[MethodResult], regime: str, metric: str) -> str:
    """The horizon that comes closest to the best of the exact methods that it fails to beat.

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
