"""Curves of losses by epoch, as Figures 4 and E2 show them."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlinear.bridge.paper import settings
from dlinear.bridge.paper.reading import Group, depth_of, means, stacked
from dlinear.report import plotting

ORDINALS = ("1st", "2nd", "3rd", "4th", "5th", "6th", *("further",) * 99)  # horizons differ by panel
MARKS = 6  # epochs of a curve that carry a point and its interval


def loss_panel(axes: Any, name: str, group: Group) -> None:
    """Training loss as points with 95 % intervals, test loss dashed; back-propagation's training as a line.

    Args:
        axes: of a figure.
        name: of the model.
        group: horizon -> records.

    A horizon of which a run diverged ends where it did.
    """
    whole = depth_of(group)
    for number, (h, some) in enumerate(group.items()):
        label = f"{ORDINALS[number]} $h$" if h < whole else "$h=T$"
        train, test = (means(stacked(some, name)) for name in ("train_loss", "test_loss"))
        epochs = np.arange(len(train[0]))
        marks = np.unique(np.linspace(0, epochs[-1], MARKS).round().astype(int))
        marks = marks[np.isfinite(train[0][marks])]
        least = np.maximum(train[1][marks], train[0][marks] / 10)  # a log axis has no 0
        shift = 0.03 * epochs[-1] * (number / max(1, len(group) - 1) - 0.5)
        bars = (train[0][marks], least, train[2][marks])
        plotting.interval(axes, epochs[marks] + shift, *bars, label, number)
        colour = plotting.CYCLE[number % len(plotting.CYCLE)]
        axes.plot(epochs, test[0], "--", color=colour, linewidth=0.7, zorder=1)
        if h == whole:
            plotting.predicted(axes, epochs, train[0], "back-propagation", number)
    axes.plot([], [], "--", color="black", linewidth=0.7, label="test loss")
    axes.set(yscale="log", ylabel="loss")
    low, high = axes.get_ylim()
    axes.yaxis.set_minor_formatter(
        lambda y, _: f"{y:.1g}" if high < 10 * low and f"{y:e}"[0] in "357" else ""
    )
    horizons = ", ".join(map(str, group))
    axes.set_title(f"{settings.title(name)}, $T={whole}$, $h={horizons}$", loc="left", pad=2)
