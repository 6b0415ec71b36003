"""Figure E2 of the paper: what do its three models reach at different horizons, in training and in a test?

    python -m sims.paper_losses                                 # minutes on two cores
    python -m sims.paper_losses --images cifar10 --data-folder data
    python -m sims.paper_losses --models linear --samples 10000 --seeds 10
    python -m sims.paper_losses --full --download               # Table D2, for a GPU

Every run of a model has the data, the start, the batches and the learning rate of the others (the paper's)
and differs in the horizon alone: h = 1, T/3, 2 T/3 and T. The linear residual net is trained as Table D2
says. Reduced by default: the MLP sees 2000 samples in place of 100,000, for all 40 epochs, ResNet-62 sees 200
images for 12 epochs, digits unless `--images` names others. Losses are compared as ratios to
back-propagation's, seed by seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dlinear.runs import script

with script.imports():
    from dlinear.bridge.paper import experiment, losses, plan
    from dlinear.bridge.paper.settings import Size, thirds

NAME = "paper_losses"
TOY = "--models linear mlp --epochs 1 --samples 100 --blocks 4 --units 3"  # seconds, for the tests
SIZES = {
    "linear": Size(),
    "mlp": Size(samples=2000),
    "resnet62": Size(data="digits", epochs=12, samples=200, test_samples=360),
}


@dataclass(frozen=True)
class Knobs(plan.PaperRun):
    """What to run."""

    models: tuple[Literal["linear", "mlp", "resnet62"], ...] = ("linear", "mlp", "resnet62")  # networks
    horizons: tuple[int, ...] | None = None  # h, measured in every model beside T; None: 1, T/3, 2 T/3


def main(knobs: Knobs) -> int:
    """Train what is missing, print losses, findings and verdicts; 0 iff no verdict fails."""
    plan.check_run(knobs)
    cells = plan.every(knobs, knobs.models, SIZES, lambda depth: knobs.horizons or thirds(depth))
    return experiment.conduct(NAME, knobs, cells, losses.READING)


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
