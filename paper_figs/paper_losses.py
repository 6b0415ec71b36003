"""Figure E2: training and test loss by epoch at several horizons, in the paper's three models.

python -m paper_figs paper_losses          # after: python -m sims.paper_losses
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dlinear.bridge.paper import drawing, losses, reading, settings
from dlinear.report import plotting
from dlinear.runs import collection

NEEDS = "python -m sims.paper_losses"


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from results/paper_losses: one panel a model."""
    run = collection.run_of(Path(results) / "paper_losses", which)
    groups = reading.by_model(run.records())
    with plotting.style():
        figure, panels = plotting.column(rows=len(groups), height=1.3 + 1.7 * len(groups))
        words = []
        for axes, (name, group) in zip(np.atleast_1d(panels), groups.items(), strict=True):
            drawing.loss_panel(axes, name, group)
            if min(group) < reading.depth_of(group):
                times = losses.against(group, min(group), "train_loss", -1).value
                words.append(f"{settings.title(name)} {times:.2g}")
        np.atleast_1d(panels)[-1].set_xlabel("epoch")
        text = f"Final training loss at the least horizon over back-propagation's: {', '.join(words)}"
        plotting.verdict(figure, text, run.changed)
        plotting.legend(figure, np.atleast_1d(panels)[0], columns=3)
        return list(plotting.save(figure, "paper_losses", figures))
