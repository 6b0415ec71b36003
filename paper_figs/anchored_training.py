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
COLUMNS = 3  # of panels, one for each task
TIME = 1.5  # of training, over back-propagation's, within which the lowest panel compares


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from results/anchored_training: ratios with 95 % intervals; fronts by the unit-cost model."""
    run = collection.run_of(Path(results) / "anchored_training", which)
    found = run.records()
    tasks = sorted({str(r.knobs["task"]) for r in found} - {""})
    every = {task: scratch.trained_methods(r for r in found if r.knobs["task"] == task) for task in tasks}
    methods = [*dict.fromkeys(name for trained in every.values() for name in trained if name != REFERENCE)]
    methods.sort(reverse=True)
    with plotting.style():
        rows = -(-len(tasks) // COLUMNS)
        figure, (top, low) = plotting.parts(rows * max(1.5, 0.13 * len(methods) + 0.4) + 0.7, 2.7)
        panels, bottom = list(top.subplots(rows, COLUMNS, squeeze=False).flat), low.subplots()
        for axes in panels[len(tasks) :]:
            axes.remove()
        ends = []
        for number, (task, trained) in enumerate(every.items()):
            ends += _ratios(panels[number], trained, methods, task)
            panels[number].set_yticks(range(len(methods)), [] if number % COLUMNS else methods)
            costs = _costs(found, next(r for r in found if r.knobs["task"] == task))
            _front(bottom, scratch.front_within(trained, costs, TIME, model=True), task, number)
        for axes in panels[: len(tasks)]:  # one scale for all tasks
            axes.set(xscale="log", xlim=(min(ends, default=1) / 1.5, 1.5 * max(ends, default=1)))
            axes.set_xticks(_decades(ends))
            axes.minorticks_off()
            axes.yaxis.labelpad = 0  # no label
        top.supxlabel("final training loss / back-propagation's", fontsize=8)
        bottom.set(xscale="log", yscale="log", xlabel="memory (blocks alive / T)")
        bottom.set_ylabel(f"least loss, time $\\leq$ {TIME:g}")
        for axis in (bottom.xaxis, bottom.yaxis):
            axis.set_minor_formatter(lambda *_: "")
        bottom.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        plotting.verdict(figure, _said(every), run.changed)
        plotting.legend(figure, bottom, columns=3)
        return list(plotting.save(figure, "anchored_training", figures))


def _decades(values: list[float]) -> list[float]:
    """At most three powers of ten, as many decades apart as needed; 1 is among them."""
    low, high = (round(np.log10(end)) for end in (min([1, *values]), max([1, *values])))
    apart = max(1, -(-(high - low) // 2))
    return [10.0**k for k in range(low, high + 1) if k % apart == 0]


def _ratios(
    axes: plotting.Axes, trained: dict[str, scratch.TrainedMethod], methods: list[str], task: str
) -> list[float]:
    """One task: a row for each method, what diverged left out; the ratios."""
    whole = trained[REFERENCE].after().train_loss
    found = {
        name: scratch.ratio(trained[name].after().train_loss, whole) for name in methods if name in trained
    }
    shown = {name: one for name, one in found.items() if 0 < one.value < np.inf}
    rows = np.array([methods.index(name) for name in shown])
    value, low, high = np.reshape(list(shown.values()), (len(shown), 3)).T
    bars = np.isfinite(low)
    axes.hlines(rows[bars], low[bars], high[bars], color=plotting.CYCLE[0], linewidth=0.7, zorder=1)
    plotting.measured(axes, value, rows)
    plotting.predicted(axes, [1, 1], [-0.5, len(methods) - 0.5], None, 1)
    axes.set_title(task)
    return [1.0, *map(float, value)]


def _front(axes: plotting.Axes, places: list[scratch.FrontPlace], task: str, number: int) -> None:
    """The least loss within a memory: marker and colour for each task, dashed where colours return."""
    memory = np.array([place.memory for place in places])
    loss = np.array([place.loss.value for place in places])
    plotting.measured(axes, memory, loss, task, number)
    steps = np.append(np.repeat(memory, 2)[1:], 1.0), np.repeat(loss, 2)
    colours = plotting.CYCLE
    line = "-" if number < len(colours) else "--"
    axes.plot(*steps, line, color=colours[number % len(colours)], zorder=3)


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
