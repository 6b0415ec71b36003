"""Saved bytes against the horizon: a line for equal blocks, three pieces for ResNet-62.

python -m paper_figs bridge_memory      # after: python -m sims.bridge_memory
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dlinear.report import plotting
from dlinear.runs import collection
from dlinear.theory import costs

NEEDS = "python -m sims.bridge_memory"
NAMES = {"mlp": "residual MLP", "resnet62": "ResNet-62"}


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from results/bridge_memory."""
    run = collection.run_of(Path(results) / "bridge_memory", which)
    found = run.records()
    found = sorted(found, key=lambda record: list(NAMES).index(record.knobs["model"]))
    with plotting.style():
        figure, panels = plotting.column(rows=len(found), height=0.9 + 2.0 * len(found))
        words = []
        for axes, record in zip(np.atleast_1d(panels), found, strict=True):
            name, depth = NAMES[record.knobs["model"]], record.knobs["depth"]
            h, saved, window = (record.arrays[key] for key in ("horizon", "saved", "window"))
            slope, offset, r_squared = (float(record.arrays[k]) for k in ("slope", "offset", "r_squared"))
            plotting.measured(axes, h, saved / 1e6, "saved by autograd", 0)
            plotting.predicted(axes, h, window / 1e6, "largest window of $h$ blocks", 1)
            axes.plot(
                h,
                costs.memory_model(h, slope, offset) / 1e6,
                "--",
                color=plotting.COLOURS["black"],
                label="$ah+b$",
                zorder=4,
            )
            axes.set(xlabel=f"$h$, {name} of $T={depth}$ blocks", ylabel="MB", ylim=(0, None))
            words.append(f"{name} $R^2={r_squared:.4f}$")
        plotting.verdict(figure, f"Saved bytes against a line in $h$: {', '.join(words)}", run.changed)
        plotting.legend(figure, np.atleast_1d(panels)[0])
        return list(plotting.save(figure, "bridge_memory", figures))
