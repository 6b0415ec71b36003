"""Final loss of every rule over back-propagation's on every task, and what is best within a memory.

python -m paper_figs anchored_training      # after: python -m sims.anchored_training
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dlinear.analysis import scratch
from dlinear.analysis.comparison import REFERENCE
from dlinear.report import plotting
from dlinear.report import scratch_words as words
from dlinear.runs import collection
from dlinear.runs.records import Record

NEEDS = "python -m sims.anchored_training"
TIME = 1.5  # of training, over back-propagation's, within which the lower panel compares


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from results/anchored_training: ratios with 95 % intervals; fronts by the unit-cost model."""
    run = collection.run_of(Path(results) / "anchored_training", which)
    found = run.records()
    tasks = sorted({str(r.knobs["task"]) for r in found} - {""})
    every = {task: scratch.trained_methods(r for r in found if r.knobs["task"] == task) for task in tasks}
    methods = [*dict.fromkeys(name for trained in every.values() for name in trained if name != REFERENCE)]
    methods.sort(reverse=True)
    with plotting.style():
        figure, (top, bottom) = plotting.column(rows=2, height=5.6)
        for number, (task, trained) in enumerate(every.items()):
            _ratios(top, trained, methods, task, number, (number + 0.5) / len(tasks) - 0.5)
            costs = _costs(found, next(r for r in found if r.knobs["task"] == task))
            places = scratch.front_within(trained, costs, TIME, model=True)
            memory = np.array([place.memory for place in places])
            loss = np.array([place.loss.value for place in places])
            plotting.measured(bottom, memory, loss, None, number)
            steps = np.append(np.repeat(memory, 2)[1:], 1.0), np.repeat(loss, 2)
            plotting.predicted(bottom, *steps, None, number)
        plotting.predicted(top, [1, 1], [-0.5, len(methods) - 0.5], "back-propagation", 0)
        top.set(xscale="log", xlabel="final training loss / back-propagation's", ylabel="method")
        top.set_yticks(range(len(methods)), methods)
        bottom.set(xscale="log", yscale="log", xlabel="memory (blocks alive / T)")
        bottom.set_ylabel(f"least loss, time $\\leq$ {TIME:g}")
        for axis in (top.xaxis, bottom.xaxis, bottom.yaxis):
            axis.set_minor_formatter(lambda *_: "")
        bottom.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        plotting.verdict(figure, _said(every), run.changed)
        plotting.legend(figure, top, columns=3)
        return list(plotting.save(figure, "anchored_training", figures))


def _ratios(
    axes: plotting.Axes,
    trained: dict[str, scratch.TrainedMethod],
    methods: list[str],
    task: str,
    number: int,
    shift: float,
) -> None:
    """One task: a row for each method, what diverged left out."""
    whole = trained[REFERENCE].after().train_loss
    found = {
        name: scratch.ratio(trained[name].after().train_loss, whole) for name in methods if name in trained
    }
    shown = {name: one for name, one in found.items() if 0 < one.value < np.inf}
    rows = np.array([methods.index(name) + 0.7 * shift for name in shown])
    value, low, high = np.reshape(list(shown.values()), (len(shown), 3)).T
    bars = np.isfinite(low)
    colour = plotting.CYCLE[number % len(plotting.CYCLE)]
    axes.hlines(rows[bars], low[bars], high[bars], color=colour, linewidth=0.7, zorder=1)
    plotting.measured(axes, value, rows, task, number)


def _costs(found: list[Record], trained: Record) -> list[scratch.MethodCost]:
    """The costs of the methods at the depth of a record of training."""
    meters = [r for r in found if not r.knobs["task"] and r.knobs["depth"] == trained.knobs["depth"]]
    reference = next(r for r in meters if r.knobs["method"] == REFERENCE)
    return [scratch.cost_of(record, reference) for record in meters]


def _said(every: dict[str, dict[str, scratch.TrainedMethod]]) -> str:
    """On which tasks a better angle buys loss."""
    some = {task: trained for task, trained in every.items() if words.comparable(trained)}
    if not some:
        return "No local rule and no anchored one was trained: nothing to compare."
    return words.summary(some).capitalize() + "."
