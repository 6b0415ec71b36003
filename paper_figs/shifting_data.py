"""Test accuracy after the labels have changed, and the horizon that the schedule chooses.

python -m paper_figs shifting_data          # after: python -m sims.shifting_data
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from dlinear.analysis.comparison import REFERENCE
from dlinear.analysis.recovery import recovery
from dlinear.analysis.statistics import mean_interval
from dlinear.report import plotting
from dlinear.runs import collection
from dlinear.runs.records import Record

NEEDS = "python -m sims.shifting_data"
SCHEDULE, SHIFT = "schedule", "labels"
MARGIN = 3.0  # of test accuracy in %, below which a run is back: the default of the sim


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from results/shifting_data: accuracy above, the chosen horizon below."""
    run = collection.run_of(Path(results) / "shifting_data", which)
    found = [r for r in run.records() if r.knobs["part"] == "shift"]
    knobs = found[0].knobs
    each = -(-int(knobs["samples"]) // int(knobs["batch"]))
    names = sorted({r.knobs["method"] for r in found}, key=lambda name: (name != REFERENCE, name))
    bar = _curves(found, REFERENCE, "accuracy_before")[:, -1] - MARGIN
    said = []
    with plotting.style():
        figure, (top, bottom) = plotting.column(2, 1, height=4.6)
        for number, name in enumerate(names):
            curve = _curves(found, name, f"accuracy_{SHIFT}")
            steps = each * np.arange(curve.shape[1])
            _means(top, steps + 0.7 * (number - len(names) / 2), curve, name, number)
            said.append(f"{name} {recovery(curve, bar, each).mean().value:.0f}")
        plotting.predicted(top, steps, np.full(len(steps), bar.mean()), "within 3 % of before", len(names))
        top.set(xlabel="steps after the labels have changed", ylabel="test %")
        if SCHEDULE in names:
            parts = [_curves(found, SCHEDULE, f"horizon_{part}")[:, 1:] for part in ("before", SHIFT)]
            epochs = np.arange(1, sum(part.shape[1] for part in parts) + 1)
            _means(bottom, epochs, np.concatenate(parts, axis=1))
            bottom.axvline(parts[0].shape[1] + 0.5, color="black", linestyle=":", zorder=1)
        bottom.set(xlabel="epoch (dotted: the shift)", ylabel="$h$ of the schedule")
        text = f"Mean steps to be back, cut off at {steps[-1]}: {', '.join(said)}"
        plotting.verdict(figure, text, run.changed)
        plotting.legend(figure, top, columns=2)
        return list(plotting.save(figure, "shifting_data", figures))


def _means(axes: Axes, x: np.ndarray, curves: np.ndarray, label: str | None = None, number: int = 0) -> None:
    """Means over the seeds with 95 % intervals; a seed that has diverged is left out."""
    found = [mean_interval(column[np.isfinite(column)]) for column in curves.T]
    plotting.interval(axes, x, *zip(*((m.value, m.low, m.high) for m in found), strict=True), label, number)


def _curves(found: list[Record], name: str, array: str) -> np.ndarray:
    """One array of a method, (seeds, epochs + 1)."""
    some = sorted((r for r in found if r.knobs["method"] == name), key=lambda r: int(r.knobs["seed"]))
    return np.array([r.arrays[array] for r in some])
