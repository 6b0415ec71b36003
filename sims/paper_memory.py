"""Figure E1 of the paper: how does memory grow with the horizon, eager and static, in its three models?

    python -m sims.paper_memory                      # half a minute; inputs are random: no data are needed
    python -m sims.paper_memory --models resnet62 --images 32
    python -m sims.paper_memory --models linear mlp --points 30 --blocks 60

Bytes that autograd keeps for the backward pass. Eager: at the peak of a step of horizon h
(`meters.step_memory`), beside the largest window of h blocks counted alone. Static: the graphs of all
T - h + 1 windows are built and kept alive together, as a framework does that builds its graph before it runs:
measured, not computed from h (T - h + 1). Networks and batches are those of Table D2, but for the batches of
ResNet-62, which have two images (bytes are proportional to them).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dlinear.runs import script
from dlinear.runs.knobs import at_least, check
from dlinear.runs.launch import LocalRun

with script.imports():
    from dlinear.bridge.paper import experiment, memory

NAME = "paper_memory"
TOY = "--models linear resnet62 --batch 5 --images 2 --blocks 3 --points 4"  # seconds, for the tests


@dataclass(frozen=True)
class Knobs(LocalRun):
    """What to run."""

    models: tuple[Literal["linear", "mlp", "resnet62"], ...] = ("linear", "mlp", "resnet62")  # networks
    batch: int = 100  # samples of the networks of vectors; Table D2's
    images: int = 2  # samples of ResNet-62; few, since bytes are proportional to it
    blocks: int | None = None  # T, or blocks of each stage of ResNet-62; None: 15 and 10, the paper's
    points: int = 7  # horizons measured, evenly from 1 to T, and T/3 and 2 T/3


def main(knobs: Knobs) -> int:
    """Measure, print M(h), findings and verdicts; 0 iff no verdict fails."""
    counts = dict.fromkeys(("batch", "images"), at_least(1))
    check(knobs, points=at_least(3), **counts, **({} if knobs.blocks is None else {"blocks": at_least(3)}))
    cells = [
        memory.Cell(name, knobs.images if name == "resnet62" else knobs.batch, knobs.points, knobs.blocks)
        for name in knobs.models
    ]
    return experiment.conduct(NAME, knobs, cells, memory.READING, memory.compute)


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
