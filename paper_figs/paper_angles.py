"""Figure 2: 1 - cos(theta_h) over T - h in the paper's three models, a series an epoch, one range for all.

python -m paper_figs paper_angles          # after: python -m sims.paper_angles
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dlinear.bridge.paper import angles, reading, settings
from dlinear.report import plotting
from dlinear.runs import collection

NEEDS = "python -m sims.paper_angles"
MOST = 4  # epochs of a model that are drawn


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from results/paper_angles: means with 95 % intervals, and the fitted laws over them."""
    run = collection.run_of(Path(results) / "paper_angles", which)
    every = angles.panels(run.records())
    with plotting.style():
        figure, rows = plotting.column(rows=len(every), height=1.2 + 1.7 * len(every))
        words = []
        for axes, (name, some) in zip(np.atleast_1d(rows), every.items(), strict=True):
            shown = np.unique(np.linspace(0, len(some) - 1, MOST).round().astype(int))
            for number, k in enumerate(shown):
                _series(axes, some[k], number)
            words.append(
                f"{settings.title(name)} {some[0].slope().value:.2f} to {some[-1].slope().value:.2f}"
            )
            axes.set(xscale="log", yscale="log", ylabel=r"$1-\cos\theta_h$")
            epochs = ", ".join(str(some[k].epoch) for k in shown)
            title = f"{settings.title(name)}, $T={some[0].depth}$, epochs {epochs}"
            axes.set_title(title, loc="left", pad=2)
        _one_range(np.atleast_1d(rows))
        plotting.verdict(figure, f"Slope from first to last epoch: {', '.join(words)}", run.changed)
        plotting.legend(figure, np.atleast_1d(rows)[0], columns=3)
        return list(plotting.save(figure, "paper_angles", figures))


def _series(axes: plotting.Axes, panel: angles.Panel, number: int) -> None:
    """One epoch: points, intervals and the law."""
    value, low, high = reading.means(panel.gap)
    least = np.where(low > 0, low, value / 3)  # an interval that reaches 0 has no place on a log axis
    word = ("first of the epochs", "second", "third", "fourth")[number]
    plotting.interval(axes, panel.m, value, least, high, word, number)
    fine = np.geomspace(panel.m[0], panel.m[-1], 100)
    law = angles.one_minus_cos(panel.law().tan2(fine, panel.depth))
    plotting.predicted(axes, fine, law, "fitted law", number)


def _one_range(rows: np.ndarray) -> None:
    """Equal axes in all panels, so that slopes can be compared by eye."""
    limits = [(*axes.get_xlim(), *axes.get_ylim()) for axes in rows]
    left, right, low, high = np.array(limits).T
    for axes in rows:
        axes.set(xlim=(left.min(), right.max()), ylim=(max(low.min(), 1e-5), high.max()))
        ticks = [m for m in (1, 2, 5, 10, 20) if left.min() < m < right.max()]
        axes.set_xticks(ticks, map(str, ticks))
        axes.xaxis.set_minor_formatter(lambda *_: "")
    rows[-1].set_xlabel("$T-h$")
