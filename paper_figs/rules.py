"""Test accuracy of learning rules, and the angle of their gradients to back-propagation's through training.

python -m paper_figs rules      # after: python -m sims.rules
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dlinear.report import plotting
from dlinear.rules.compared.outcome import REFERENCE, Outcome, default_target, outcomes
from dlinear.runs import collection

NEEDS = "python -m sims.rules"
TIMES = ("start", "middle", "end")


def accuracies(axes: Any, found: Sequence[Outcome]) -> None:
    """Means with 95 % intervals, a row for each rule; back-propagation's and published numbers over them."""
    rows = [(k, one.interval) for k, one in enumerate(found) if np.isfinite(one.interval.value)]
    place = np.array([k for k, _ in rows])
    middle, low, high = np.array([interval for _, interval in rows]).T
    there = np.isfinite(low)  # one seed has no interval
    axes.hlines(place[there], low[there], high[there], color=plotting.CYCLE[0], linewidth=0.7, zorder=1)
    plotting.measured(axes, middle, place, "measured (95 %)")
    own = next(one.interval.value for one in found if one.rule == REFERENCE)
    if np.isfinite(own):
        plotting.predicted(axes, [own, own], [-0.5, len(found) - 0.5], "back-propagation", 1)
    for k, one in enumerate(found):
        if one.published is not None:
            said = "published" if one.published.verified else "published (recalled)"
            number = 2 if one.published.verified else 3
            plotting.predicted(axes, [one.published.accuracy] * 2, [k - 0.4, k + 0.4], said, number)
    ends = [*middle, *(one.published.accuracy for one in found if one.published is not None)]
    least = min(ends) - 0.08 * (100 - min(ends)) - 1
    axes.set(xlim=(max(least, 0), 101), xlabel="test accuracy, %")


def angles(axes: Any, found: Sequence[Outcome], key: Any) -> None:
    """Degrees at the start, in the middle and at the end, joined; `key` is where their labels are shown."""
    for k, one in enumerate(found):
        if np.isfinite(one.angles).all():
            axes.plot(one.angles, [k] * 3, "-", color="0.6", linewidth=0.7, zorder=1)
    for number, label in enumerate(TIMES, start=4):
        degrees = np.array([one.angles[number - 4] for one in found])
        there = np.flatnonzero(np.isfinite(degrees))
        plotting.measured(axes, degrees[there], there, None, number)
        plotting.measured(key, [], [], f"{label} of training", number)
    axes.axvline(90, color="0.6", linestyle=":", linewidth=0.7, zorder=0)
    axes.set(xlabel="angle, degrees", xticks=[0, 45, 90], xlim=(-6, None))


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from results/rules."""
    run = collection.run_of(Path(results) / "rules", which)
    records = run.records()
    some = next(r for r in records if r.knobs["part"] == "train")
    samples = int(some.knobs["samples"] or 1)
    found = outcomes(records, samples, default_target(records))
    found.sort(key=lambda one: np.nan_to_num(one.interval.value, nan=-1.0))
    with plotting.style():
        figure, (left, right) = plotting.column(1, 2, height=0.9 + 0.17 * len(found) + 0.6)
        accuracies(left, found)
        angles(right, found, left)
        left.set_ylabel("rule")
        left.set_yticks(range(len(found)), [one.rule for one in found])
        right.set_yticks(range(len(found)), [""] * len(found))
        for axes in (left, right):
            axes.set_ylim(-0.7, len(found) - 0.3)
            axes.minorticks_off()
        best = [one for one in found if one.rule != REFERENCE][-1]
        text = (
            f"{some.knobs['data']}: {best.rule} reaches {best.interval.value:.1f} % at "
            f"{best.angles[-1]:.0f} degrees to back-propagation's gradient at the end"
        )
        plotting.verdict(figure, text, run.changed)
        plotting.legend(figure, left)
        return list(plotting.save(figure, "rules", figures))
