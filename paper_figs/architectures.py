"""Shared weights raise the order of decay from 3 to 4, and what a horizon saves in a recurrent network.

python -m paper_figs architectures          # after: python -m sims.architectures
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dlinear.analysis import statistics
from dlinear.analysis.comparison import REFERENCE
from dlinear.report import plotting
from dlinear.runs import collection
from dlinear.runs.records import Record
from dlinear.theory.decay_law import faulhaber

NEEDS = "python -m sims.architectures"
EQUAL = {"own": "a matrix each", "shared": "one matrix"}  # networks of equal blocks


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from results/architectures: angles of equal blocks above, memory against accuracy below."""
    run = collection.run_of(Path(results) / "architectures", which)
    found = run.records()
    slopes: list[str] = []
    with plotting.style():
        figure, (top, bottom) = plotting.column(2, 1, height=4.6)
        for number, (kind, label) in enumerate(EQUAL.items()):
            some = [r for r in found if r.knobs["part"] == "equal" and r.knobs["ensemble"] == kind]
            m = some[0].arrays["shortfall"].astype(float)
            sin2 = np.mean([r.arrays["sin2"] for r in some], axis=0)
            # the errors of m blocks: their squares add up, or they do and are squared
            law = faulhaber(m, 2) if kind == "own" else faulhaber(m, 1) ** 2
            plotting.measured(top, m, sin2, label, number)
            slope = np.polyfit(np.log(m + 0.5), np.log(sin2), 1)[0]
            slopes.append(f"{label} {slope:.2f}")
            plotting.predicted(top, m, sin2[0] * law, f"order {4 if kind == 'shared' else 3}", number)
        depth = int(some[0].knobs["depth"])
        top.set(xscale="log", yscale="log", xlabel=rf"$m=T-h$, {plotting.depth_label(depth)}")
        top.set_ylabel(r"$\sin^2\theta_h$")
        models = list(dict.fromkeys(r.knobs["ensemble"] for r in found if r.knobs["part"] == "meters"))
        for number, model in enumerate(models, start=2):
            _memory(bottom, [r for r in found if r.knobs["ensemble"] == model], model, number)
        bottom.set(xlabel="activations / back-propagation", ylabel="test %, trained methods")
        top.xaxis.set_minor_formatter(lambda *_: "")
        text = f"Slopes against $m+1/2$, {plotting.depth_label(depth)}: {', '.join(slopes)} (order 3, 4)"
        plotting.verdict(figure, text, run.changed)
        top.legend(loc="lower right")
        plotting.legend(figure, bottom, columns=2)
        return list(plotting.save(figure, "architectures", figures))


def _memory(axes: plotting.Axes, found: list[Record], model: str, number: int) -> None:
    """One model: memory and accuracy of every method that was trained."""
    meters = {r.knobs["method"]: r.arrays for r in found if r.knobs["part"] == "meters"}
    whole = float(meters[REFERENCE]["activations"])
    rows = []
    for name, costs in meters.items():
        runs = [r for r in found if r.knobs["part"] == "train" and r.knobs["method"] == name]
        ends = np.array([100 * r.arrays["test_accuracy"][-1] for r in runs])
        if len(ends) and np.isfinite(ends).all():
            rows.append((float(costs["activations"]) / whole, *statistics.mean_interval(ends)))
    memory, value, low, high = np.transpose(rows)
    plotting.interval(axes, memory, value, low, high, model, number)
