"""What Algorithm 1 makes of few measured horizons: one curve with both estimates, and the mean regret.

python -m paper_figs selection_regret      # after: python -m sims.selection_regret
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dlinear.analysis import statistics
from dlinear.report import plotting
from dlinear.runs import collection

NEEDS = "python -m sims.selection_regret"
RULES = ("polynomial", "theory")  # the first rules of the records
KINDS = ("equal blocks", "three stages")


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from results/selection_regret: means over the networks with 95 % intervals."""
    run = collection.run_of(Path(results) / "selection_regret", which)
    found = sorted(run.records(), key=lambda record: int(record.knobs["seed"]))
    arrays, constraints = [record.arrays for record in found], 2 * len(found[0].knobs["epsilons"])
    stages = np.array([record.knobs["stages"] for record in found])
    noise, points = arrays[0]["tangent"], int(arrays[0]["measured"][0])
    regret = np.stack([one["regret"][:, 0, :2, constraints:].mean(axis=-1) for one in arrays])
    with plotting.style():
        figure, panels = plotting.column(rows=3, height=6.2)
        example(panels[0], arrays)
        for axes, kind in zip(panels[1:], (False, True), strict=True):
            for rule in (0, 1):
                some = [statistics.mean_interval(part) for part in regret[stages == kind, :, rule].T]
                value, low, high = np.transpose([tuple(one) for one in some])
                place = np.arange(len(noise)) + 0.1 * rule
                plotting.interval(axes, place, value, np.maximum(low, 0), high, RULES[rule], rule + 1)
            axes.set(xticks=np.arange(len(noise)), xticklabels=[f"{value:g}" for value in noise])
            axes.set_yscale("symlog", linthresh=1e-3)
            axes.set(ylabel=f"regret of (18)\n{KINDS[kind]}", ylim=(0, None))
        panels[2].set_xlabel(r"noise of $\ln\,\tan^2\theta_h$")
        gap = statistics.mean_interval(regret[:, -1, 0] - regret[:, -1, 1])
        plotting.verdict(figure, words(gap, points, float(noise[-1])), run.changed)
        plotting.legend(figure, panels[0], columns=2)
        return list(plotting.save(figure, "selection_regret", figures))


def example(axes: Any, arrays: list[Any]) -> None:
    """The curve whose polynomial misses by the median amount, with what was seen of it."""
    errors = np.array([one["error"][-1, 0, 0] for one in arrays])
    one = arrays[int(np.argsort(errors)[len(errors) // 2])]
    true, seen, *estimates = one["shown"]
    depth = int(np.isfinite(true).sum())
    h = np.arange(1, depth + 1) / depth
    plotting.measured(axes, h, true[:depth], "true", 0)
    there = np.isfinite(seen[:depth])
    axes.plot(h[there], seen[:depth][there], "x", color="black", label="what was measured", zorder=2.5)
    for number, (name, rate) in enumerate(zip(RULES, estimates, strict=True), 1):
        plotting.predicted(axes, h, rate[:depth], name, number)
    axes.set(xlabel="$h/T$", ylabel=r"$r=\cos^2\theta_h$")


def words(gap: statistics.Estimate, points: int, noise: float) -> str:
    """Which estimate chooses better at the largest noise."""
    where = f"From {points} horizons with noise {noise:g}"
    if gap.low > 0:
        return f"{where}, the law of decay chooses better than the cubic: mean regret less by {gap:.3f}"
    if gap.high < 0:
        return (
            f"{where}, the cubic chooses better than the law of decay: mean regret less by {-gap.value:.3f}"
        )
    return f"{where}, neither estimate is seen to choose better: difference {gap:.3f}"
