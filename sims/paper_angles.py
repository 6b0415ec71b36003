"""Figure 2 of the paper: how does 1 - cos(theta_h) fall with T - h, by epoch, in its three models?

    python -m sims.paper_angles                                 # minutes; the networks of vectors in full
    python -m sims.paper_angles --images cifar10 --data-folder data
    python -m sims.paper_angles --models linear mlp --seeds 10
    python -m sims.paper_angles --full --download               # ResNet-62 as in Table D2 too, for a GPU

The linear residual net and the residual MLP are trained as Table D2 says, by back-propagation, with nothing
reduced; their residual layers start times 1/T (`bridge.models.residual` says why). ResNet-62 has its 30
blocks, and fewer images and epochs; by default they are digits, which need no files. Angles are of one batch
of 1000 (images: 64), the first of the training set, at epochs 0, 1, 3, 9, ... and the last. Printed: the
slope of 1 - cos over T - h in log-log, as a reader of the figure sees it, the order of tan^2 without the bias
of small T - h, a fitted law (`bridge.paper.angles`), and the test loss beside the training loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dlinear.runs import script

with script.imports():
    from dlinear.bridge.paper import angles, experiment, plan
    from dlinear.bridge.paper.settings import Size

NAME = "paper_angles"
TOY = "--models linear mlp --epochs 1 --samples 200 --blocks 9 --units 3"  # seconds, for the tests
SIZES = {
    "linear": Size(probed=1000),
    "mlp": Size(probed=1000),
    "resnet62": Size(data="digits", epochs=3, samples=320, test_samples=360, probed=64),
}


@dataclass(frozen=True)
class Knobs(plan.PaperRun):
    """What to run."""

    seeds: int = 4  # runs of each model; four give intervals of the slopes that can be read
    models: tuple[Literal["linear", "mlp", "resnet62"], ...] = ("linear", "mlp", "resnet62")  # networks


def main(knobs: Knobs) -> int:
    """Train what is missing, print slopes and findings; 0 iff no verdict fails."""
    plan.check_run(knobs)
    cells = plan.every(knobs, knobs.models, SIZES, lambda depth: [depth])
    angles.check_depths(cells)
    return experiment.conduct(NAME, knobs, cells, angles.READING)


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
