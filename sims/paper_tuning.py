"""Figures 3 and 4 of the paper: accuracy, loss and memory over the horizon, ResNet-50 and a ViT by LoRA.

    python -m sims.paper_tuning                                 # small variants on digits, two cores: minutes
    python -m sims.paper_tuning --images cifar100 --samples 4000 --data-folder data
    python -m sims.paper_tuning --models small_vit --horizons 1 2 3 4 5 6 7 --seeds 5
    python -m sims.paper_tuning --full --download               # the originals on CIFAR-100, for a GPU

The small ResNet-50 has bottleneck blocks in four stages, T = 9, and starts at random, as Table D2 says
("full-training"); the small ViT has six layers, T = 7. No weights that were trained elsewhere are bundled:
the base of the small ViT is trained by back-propagation on one half of the classes, then frozen; low-rank
factors and the head learn the other half, at a rate of 0.1, not 0.001, since there are few steps. Memory is
measured at every horizon: no bar is missing. It is what a step keeps beside the model and its gradients, for
the batch of Table D2. Runs of a model differ in the horizon alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dlinear.runs import script

with script.imports():
    from dlinear.bridge.paper import experiment, plan, tuning
    from dlinear.bridge.paper.settings import Size

NAME = "paper_tuning"
TOY = "--models small_vit --horizons 1 2 3 --epochs 4 --samples 80 --blocks 2 --units 8"  # seconds, for tests
SIZES = {
    "small_resnet50": Size(data="digits", epochs=8, samples=800, test_samples=360),
    "small_vit": Size(
        data="digits", epochs=10, samples=1200, test_samples=360, learning_rate=0.1, base_epochs=30
    ),
}


@dataclass(frozen=True)
class Knobs(plan.PaperRun):
    """What to run."""

    models: tuple[Literal["small_resnet50", "small_vit"], ...] = (  # with --full their originals
        *("small_resnet50", "small_vit"),
    )
    horizons: tuple[int, ...] | None = None  # h of every model beside T; None: 1, T/3, 2 T/3, T - 1
    checkpoint: str | None = None  # with --full: folder or name of trained weights; None: random ones


def main(knobs: Knobs) -> int:
    """Train what is missing, print accuracies, findings and verdicts; 0 iff no verdict fails."""
    plan.check_run(knobs)
    horizons = tuning.horizons_of if knobs.horizons is None else lambda _: knobs.horizons or ()
    cells = plan.every(knobs, knobs.models, SIZES, horizons)
    return experiment.conduct(NAME, knobs, cells, tuning.READING)


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
