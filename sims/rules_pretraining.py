"""Does training hidden layers without labels, by LAC or another rule, help the training with labels after it?

    python -m sims.rules_pretraining                                     # digits, 50 and 200 labels: minutes
    python -m sims.rules_pretraining --starts lac backprop oja activation
    python -m sims.rules_pretraining --data mnist --data-folder data --samples 10000 --labelled 100 1000
    python -m sims.rules_pretraining --before 30 --epochs 40 --seeds 10

Every net has the same start. Its hidden layers learn to give back all training inputs through a linear
decoder (no label is used), by each method of --starts at the rate of --rates with the lowest loss on these
inputs. Then all layers are trained by back-propagation on --labelled samples, equally many of each class; the
net from scratch gets the same samples, batches and rate. "backprop" is the same autoencoder by its gradient:
what LAC has to be compared with.

The verdicts say whether each pre-training reconstructs unseen inputs; what it does to the accuracy is a
difference to scratch over the seeds, with its interval, and no claim.
"""

from __future__ import annotations

from dataclasses import dataclass

from dlinear import report
from dlinear.errors import DomainError
from dlinear.runs import script
from dlinear.runs.knobs import POSITIVE, Images, at_least, cell_from, check
from dlinear.runs.launch import Launch
from dlinear.runs.stages import Stages

with script.imports():
    from dlinear.bridge.methods import method
    from dlinear.rules.pretraining import measured

NAME = "rules_pretraining"
TOY = (
    "--starts lac --labelled 40 --samples 120 --test-samples 60 --units 16 --before 2 --epochs 2 --seeds 2 "
    "--rates 0.01"
)


@dataclass(frozen=True)
class Knobs(Images, Launch):
    """What to run."""

    starts: tuple[str, ...] = ("lac", "backprop")  # methods of the pre-training; scratch is always there
    labelled: tuple[int, ...] = (50, 200)  # samples with labels
    samples: int | None = None  # training inputs; all by default
    test_samples: int | None = None  # test samples; all by default
    depth: int = 2  # hidden layers
    units: int = 100  # neurons in a layer
    batch: int = 20  # samples in a step
    before: int = 10  # epochs of the pre-training, on all inputs
    epochs: int = 20  # epochs of the training, on the labelled samples
    rates: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1)  # learning rates that each pre-training tries
    rate: float = 0.05  # learning rate of the training
    seeds: int = 5  # nets of each start; enough for an interval


def cells_of(knobs: Knobs, digest: str) -> list[measured.Cell]:
    """Every run; the net from scratch first."""
    return [
        cell_from(measured.Cell, knobs, start=start, labelled=labelled, seed=seed, digest=digest)
        for labelled in knobs.labelled
        for start in (measured.SCRATCH, *knobs.starts)
        for seed in range(knobs.seeds)
    ]


def main(knobs: Knobs) -> int:
    """Train what is missing, print the table, differences and verdicts; 0 iff no verdict fails."""
    counts = ("labelled", "depth", "units", "batch", "before", "epochs", "seeds")
    check(knobs, rates=POSITIVE, rate=POSITIVE, **dict.fromkeys(counts, at_least(1)))
    for start in knobs.starts:
        method(start)
    split, compute = measured.ready(
        knobs.data, knobs.samples, knobs.test_samples, knobs.data_folder, knobs.download
    )
    if split.classes is None or max(knobs.labelled) > len(split.x_train):
        raise DomainError(
            f"--labelled {max(knobs.labelled)} of {len(split.x_train)} samples of --data {knobs.data}; "
            "expected as many or fewer, of data with classes"
        )
    stages = Stages(NAME, knobs, compute)
    runs = stages.gather(cells_of(knobs, split.digest))
    if not runs:
        return stages.failed
    print(f"{stages.finish()}\n{knobs.data}, {len(split.x_train)} training inputs, {knobs.seeds} seeds")
    print(report.table(measured.COLUMNS, measured.rows(runs)))
    print(*measured.differences(runs), sep="\n")
    return report.finish(measured.answers(runs))


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
