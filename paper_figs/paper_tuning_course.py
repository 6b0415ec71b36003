"""Figure 4: loss by epoch at every horizon, ResNet-50 in full and a ViT by LoRA.

python -m paper_figs paper_tuning_course   # after: python -m sims.paper_tuning
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dlinear.bridge.paper import drawing, losses, reading, settings
from dlinear.report import plotting
from dlinear.runs import collection

NEEDS = "python -m sims.paper_tuning"


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from results/paper_tuning: one panel a model."""
    run = collection.run_of(Path(results) / "paper_tuning", which)
    every = reading.by_model(run.records())
    with plotting.style():
        figure, rows = plotting.column(rows=len(every), height=1.5 + 1.8 * len(every))
        said = []
        for panel, (model, some) in zip(np.atleast_1d(rows), every.items(), strict=True):
            drawing.loss_panel(panel, model, some)
            depth, least = reading.depth_of(some), min(some)
            panel.set_xlabel("epoch")
            if least < depth:
                start, end = (losses.against(some, least, "train_loss", k).value for k in (1, -1))
                said.append(f"{settings.title(model)} {start:.2g} after epoch 1, {end:.2g} at the end")
        verdict = "Training loss at the least horizon over back-propagation's: " + "; ".join(said)
        plotting.verdict(figure, verdict, run.changed)
        plotting.legend(figure, np.atleast_1d(rows)[0], columns=3)
        return list(plotting.save(figure, "paper_tuning_course", figures))
