"""A horizon that is chosen again while training: what it is by epochs, and its loss beside fixed horizons'.

python -m paper_figs horizon_schedule      # after: python -m sims.horizon_schedule
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dlinear.report import plotting
from dlinear.runs import collection

NEEDS = "python -m sims.horizon_schedule"
TUNING = 1000  # the seed of the learning rates
LABELS = {
    "backprop": "$h=T$",
    "schedule": "chosen (exact angles)",
    "schedule-forward": "chosen (forward mode)",
}


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from results/horizon_schedule: above what the horizon is by epochs, below loss over time."""
    run = collection.run_of(Path(results) / "horizon_schedule", which)
    found = [record for record in run.records() if record.knobs["seed"] != TUNING]
    names = list(dict.fromkeys(record.knobs["method"] for record in found))
    names.sort(key=lambda name: (name == "backprop", name in LABELS, len(name), name))
    depth = found[0].knobs["depth"]
    with plotting.style():
        figure, (above, below) = plotting.column(rows=2, height=4.6)
        ends = {}
        for number, name in enumerate(names):
            some = [record.arrays for record in found if record.knobs["method"] == name]
            epochs, time = some[0]["epoch"][1:], np.mean([one["time"][1:] for one in some], axis=0)
            loss = np.exp(np.mean([np.log(one["test_loss"][1:]) for one in some], axis=0))
            label = LABELS.get(name, f"$h={name.rpartition('-')[2]}$")
            if name == "backprop":
                plotting.predicted(above, epochs, np.full(len(epochs), depth), None, number)
                plotting.predicted(below, time, loss, label, number)
                continue
            plotting.measured(below, time, loss, label, number)
            below.plot(time, loss, lw=0.6, color=plotting.CYCLE[number % len(plotting.CYCLE)], zorder=1)
            if name.startswith("schedule"):
                path = np.array([one["horizon"][1:] for one in some])
                numbers = path.mean(axis=0), path.min(axis=0), path.max(axis=0)
                plotting.interval(above, epochs, *numbers, None, number)
                ends[name] = numbers[0]
        above.set(xlabel="epoch", ylabel="chosen $h$", ylim=(0, None))
        below.set(xlabel="time, steps of back-propagation", ylabel="test loss", yscale="log")
        words = " and ".join(f"{path[0]:.1f} to {path[-1]:.1f}" for path in ends.values())
        plotting.verdict(figure, f"The chosen horizon goes from {words} of {depth} blocks", run.changed)
        plotting.legend(figure, below)
        return list(plotting.save(figure, "horizon_schedule", figures))
