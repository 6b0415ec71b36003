"""Accuracy against memory and against time of every method, checkpointing and micro-batches among them.

python -m paper_figs bridge_pareto      # after: python -m sims.bridge_tradeoff
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dlinear.analysis import budgets, comparison, pareto, statistics
from dlinear.bridge.methods import method
from dlinear.bridge.tradeoff import series_of
from dlinear.report import plotting
from dlinear.runs import collection

NEEDS = "python -m sims.bridge_tradeoff"
PANELS = (("memory", "epochs"), ("memory", "time"), ("ratio", "epochs"))
LABELS = {"memory": "activation memory / back-propagation", "ratio": "time of a step / back-propagation"}


def cost(one: comparison.MethodResult, axis: str) -> float:
    """Memory or time, over back-propagation's."""
    return one.memory if axis == "memory" else one.ratio[0]


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from results/bridge_tradeoff: means and 95 % intervals over seeds; lines are the fronts."""
    run = collection.run_of(Path(results) / "bridge_tradeoff", which)
    found = comparison.entries(run.records(), method)
    with plotting.style():
        figure, panels = plotting.column(rows=len(PANELS), height=8.6)
        for axes, (axis, regime) in zip(panels, PANELS, strict=True):
            shown = [one for one in found if np.isfinite(one.value(regime)).all()]
            means = {one.method: statistics.mean_interval(one.value(regime)) for one in shown}
            for number, (label, some) in enumerate(series_of(shown).items()):
                if some:
                    mean, low, high = np.transpose([means[one.method] for one in some])
                    low, high = (np.where(np.isfinite(end), end, mean) for end in (low, high))
                    costs = [cost(one, axis) for one in some]
                    plotting.interval(axes, costs, mean, low, high, label, number)
            end = max(cost(one, axis) for one in shown)
            for label, colour, some in fronts(shown):
                line = pareto.staircase(
                    [cost(one, axis) for one in some], [means[one.method].value for one in some], end
                )
                axes.plot(*line, color=colour, label=label, zorder=3)
            for one in shown:
                if one.truncated:
                    place = (cost(one, axis), means[one.method].value)
                    text = f"{one.horizon}"
                    axes.annotate(text, place, (0, 4), textcoords="offset points", fontsize=6, ha="center")
            values = [mean.value for mean in means.values()]
            margin = 0.15 * (max(values) - min(values)) or 0.05
            axes.set(xscale="log", xlabel=LABELS[axis], ylim=(min(values) - margin, max(values) + margin))
            axes.set_ylabel(f"{quantity(found)}, {comparison.REGIMES[regime]}")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.xaxis.set_minor_formatter(lambda *_: "")
        plotting.verdict(figure, " ".join(said(found, regime) for regime in comparison.REGIMES), run.changed)
        plotting.legend(figure, panels[0])
        return list(plotting.save(figure, "bridge_pareto", figures))


def sides(found: list[comparison.MethodResult]) -> list[budgets.Side]:
    """Horizons, and where there are others all inexact methods together."""
    others = any(not one.exact and not one.truncated for one in found)
    return [budgets.HORIZONS, budgets.INEXACT] if others else [budgets.HORIZONS]


def fronts(shown: list[comparison.MethodResult]) -> list[tuple[str, str, list[comparison.MethodResult]]]:
    """What the lines of the best within a budget are about: label, colour, methods."""
    lines = [("best exact in budget", "red", [one for one in shown if one.exact])]
    for side in reversed(sides(shown)):
        colour = "blue" if side is budgets.HORIZONS else "black"
        lines.append((f"best {side.word} in budget", colour, [one for one in shown if side.holds(one)]))
    return [(label, plotting.COLOURS[colour], some) for label, colour, some in lines]


def quantity(found: list[comparison.MethodResult]) -> str:
    """What is on the upright axis."""
    classes = any(np.isfinite(one.scores["epochs"]["test_accuracy"]).any() for one in found)
    return "test accuracy" if classes else "minus test loss"


def said(found: list[comparison.MethodResult], regime: str) -> str:
    """Where a horizon wins, and where any inexact method does, in a few words."""
    where = comparison.REGIMES[regime].capitalize()
    if len(found[0].value(regime)) < 2:
        return f"{where}: no verdict from one seed."
    horizons, *others = [won(found, regime, side) for side in sides(found)]
    if horizons:
        more = f"; an inexact method at {others[0]}" if others else ""
        return f"{where}: a horizon beats every exact method that fits at {horizons}{more}."
    if not any(others):
        which = "a horizon or another inexact method" if others else "a horizon"
        return f"{where}: within no memory does {which} beat every exact method that fits."
    return f"{where}: an inexact method beats every exact one that fits at {others[0]}, a horizon nowhere."


def won(found: list[comparison.MethodResult], regime: str, side: budgets.Side) -> str:
    """The budgets at which a method of a side beats the exact ones; "" where there are none."""
    ranges = budgets.won_budgets(found, regime, side=side)
    ends = [(one.low, one.high) for one in ranges if one.rival is not None]
    lows = [low for low, _ in ends if low not in {high for _, high in ends}]  # neighbouring ranges are one
    highs = [high for _, high in ends if high not in {low for low, _ in ends}]
    return ", ".join(
        f"{low:.1%}" + (f" to {high:.1%}" if np.isfinite(high) else " on")
        for low, high in zip(lows, highs, strict=True)
    )
