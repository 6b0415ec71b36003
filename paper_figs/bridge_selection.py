"""Figure 5: Rel(a), eq. (19), of fixed rules, of selection and of exact rivals on every problem.

python -m paper_figs bridge_selection      # after: python -m sims.bridge_selection
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dlinear.analysis import statistics
from dlinear.bridge.selection import Table, rows_of_records
from dlinear.report import plotting
from dlinear.runs import collection
from dlinear.selection import INFEASIBLE

NEEDS = "python -m sims.bridge_selection"
NOTATION = {"linear": "M1", "mlp": "M2", "resnet62": "M3"}  # Table D3


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from results/bridge_selection: means over the seeds, and 95 % intervals of the mean bars."""
    run = collection.run_of(Path(results) / "bridge_selection", which)
    table = Table.of(*rows_of_records(run.records()))
    with plotting.style():
        figure, (heat, bars) = plotting.column(rows=2, height=3.2 + 0.11 * len(table.columns))
        heat.get_gridspec().set_height_ratios([0.11 * len(table.columns), 1.1])
        heat_map(figure, heat, table)
        mean_bars(bars, table)
        plotting.verdict(figure, words(table), run.changed)
        plotting.legend(figure, bars, columns=3)
        return list(plotting.save(figure, "bridge_selection", figures))


def heat_map(figure: Any, axes: Any, table: Table) -> None:
    """Rel(a), lower is better; a cross where a seed or more is infeasible, its size their share."""
    lost = np.isinf(table.objectives).mean(axis=2).T
    relative = table.relative()
    shown = np.where(np.isfinite(relative), relative, np.nan)
    count = np.isfinite(shown).sum(axis=2)
    mean = np.divide(np.nansum(shown, axis=2), count, out=np.full(count.shape, np.nan), where=count > 0).T
    image = axes.pcolormesh(mean, cmap="cividis", vmin=0, vmax=1, edgecolors="white", linewidth=0.3)
    problems, rows = np.nonzero(lost)
    size = 22 * lost[problems, rows]
    axes.scatter(rows + 0.5, problems + 0.5, size, color=plotting.COLOURS["red"], marker="x", linewidths=0.8)
    axes.set_xticks([])  # the bars below name the rows
    labels = [f"{NOTATION[one.model]} {one.cost} {one.objective} {one.parameter:g}" for one in table.columns]
    axes.set_yticks(np.arange(len(labels)) + 0.5, labels, fontsize=6)
    axes.tick_params(axis="y", length=0)
    axes.yaxis.label.set_visible(False)  # the labels of the problems take its place
    axes.invert_yaxis()
    figure.colorbar(image, ax=axes, pad=0.02).set_label("Rel(a)")


def mean_bars(axes: Any, table: Table) -> None:
    """Mean Rel(a) of each model, infeasible as 1.5."""
    relative = table.relative(INFEASIBLE)
    models = list(dict.fromkeys(one.model for one in table.columns))
    for number, name in enumerate(models):
        values = relative[:, table.where(model=name)].mean(axis=1)
        means = [statistics.mean_interval(row) for row in values]
        value, low, high = np.transpose([tuple(one) for one in means])
        place = np.arange(len(value)) + 0.25 * (number - (len(models) - 1) / 2)
        axes.bar(place, value, 0.22, color=plotting.CYCLE[number], alpha=0.35, label=NOTATION[name])
        low, high = (np.where(np.isfinite(end), end, value) for end in (low, high))
        axes.vlines(
            place, np.maximum(low, 0), np.minimum(high, INFEASIBLE), plotting.CYCLE[number], linewidth=0.8
        )
    axes.set_xticks(np.arange(len(table.algorithms)), [one.label for one in table.algorithms])
    axes.set_xlim(-0.5, len(table.algorithms) - 0.5)
    axes.tick_params(axis="x", rotation=90, length=0)
    axes.set(ylabel="mean Rel(a)", ylim=(0, INFEASIBLE))


def words(table: Table) -> str:
    """Which row has the least mean, of the paper's and of all."""
    best = []
    for paper in (True, False):
        mean = table.relative(INFEASIBLE, paper).mean(axis=(1, 2))
        number = int(np.nanargmin(mean))
        best.append(f"{table.algorithms[number].label} ({mean[number]:.2f})")
    least = f"{best[0]} among the paper's rows, {best[1]} among all"
    return f"Least mean Rel(a): {least}. Lower is better; x, infeasible, counts 1.5"
