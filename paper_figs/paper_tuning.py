"""Figure 3: test accuracy and memory over the horizon, ResNet-50 in full and a ViT by LoRA.

python -m paper_figs paper_tuning          # after: python -m sims.paper_tuning
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dlinear.bridge.paper import reading, settings, tuning
from dlinear.report import plotting
from dlinear.runs import collection

NEEDS = "python -m sims.paper_tuning"


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from results/paper_tuning: a point and a bar for every horizon, none left out."""
    run = collection.run_of(Path(results) / "paper_tuning", which)
    groups = reading.by_model(run.records())
    with plotting.style():
        figure, panels = plotting.column(rows=len(groups), height=1.4 + 1.8 * len(groups))
        words = []
        for axes, (name, group) in zip(np.atleast_1d(panels), groups.items(), strict=True):
            _panel(axes, group)
            axes.set_title(f"{settings.title(name)}, $T={reading.depth_of(group)}$", loc="left", pad=2)
            gap = tuning.accuracy_gap(group, min(group)).value
            words.append(f"{settings.title(name)} {gap:+.3f} with {tuning.memory(group)[0]:.0%}")
        text = f"Accuracy at the least horizon less back-propagation's, and memory: {'; '.join(words)}"
        plotting.verdict(figure, text, run.changed)
        plotting.legend(figure, np.atleast_1d(panels)[0], columns=2)
        return list(plotting.save(figure, "paper_tuning", figures))


def _panel(axes: plotting.Axes, group: reading.Group) -> None:
    """One model: accuracies of training and test set as points, memory as bars, checkpointing as a line."""
    h = np.array(list(group))
    for number, (part, label) in enumerate((("test", "test"), ("train", "training"))):
        found = [reading.mean(reading.stacked(some, f"{part}_accuracy")[:, -1]) for some in group.values()]
        value, low, high = np.array(found).T
        plotting.interval(axes, h + 0.1 * number, value, low, high, label, number)
    whole = reading.mean(reading.stacked(group[reading.depth_of(group)], "test_accuracy")[:, -1]).value
    plotting.predicted(axes, [h[0], h[-1]], [whole, whole], "backprop, test", 0)
    colour = plotting.COLOURS["yellow"]
    axes.bar(h, tuning.memory(group), width=0.5, color=colour, zorder=0, label="memory, of backprop")
    rival = tuning.checkpointed(group)
    axes.axhline(rival, ls=":", color="black", lw=0.8, label="checkpointing, memory", zorder=1)
    axes.set(xlabel="$h$", ylabel="accuracy, memory", ylim=(0, None))
    axes.set_xticks(h)
