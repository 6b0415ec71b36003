"""What does forward-forward reach on images at its published setting, by each of its two predictions?

    python -m sims.forward_forward                                # digits, both nets: five minutes
    python -m sims.forward_forward --data mnist --data-folder data --epochs 100 --device cuda
    python -m sims.forward_forward --data mnist --data-folder data --nets layers --epochs 20 --seeds 1
    python -m sims.forward_forward --nets layers --below 0 1 2    # back-propagation above the first K blocks
    python -m sims.forward_forward --data mnist --epochs 100 --device cuda --docs docs

The fully connected net is the published one (three layers of 1000; dlinear/rules/ff/published.py has all of
it), the convolutional one has three layers of 5 x 5 kernels. Labels are in the input; a prediction is the
label of the largest goodness, one pass for each class, or that of the softmax head, one pass. Both are
measured at the end, and every --every epochs, with their times. Pixels are in 0..1.

Verdicts: each net errs less than half as often as chance (the classical failure is to stay there); at the
published setting in full the published error is met within 0.3 points.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dlinear import report
from dlinear.errors import DomainError
from dlinear.runs import records, script
from dlinear.runs.knobs import Images, at_least, cell_from, check
from dlinear.runs.launch import Launch
from dlinear.runs.stages import Stages

with script.imports():
    from dlinear.bridge.training.settings import device_of
    from dlinear.rules.compared import page
    from dlinear.rules.compared.cells import data_of
    from dlinear.rules.ff import measured

NAME = "forward_forward"
TOY = "--nets layers --width 40 --samples 300 --test-samples 60 --epochs 10 --seeds 1"


@dataclass(frozen=True)
class Knobs(Images, Launch):
    """What to run."""

    nets: tuple[Literal["layers", "conv"], ...] = ("layers", "conv")  # fully connected, convolutional
    below: tuple[int, ...] = (0,)  # K of hybrid-K: back-propagation above block K; 0: forward-forward in all
    width: int = 0  # units, or channels; 0 for the setting's own (1000, 32)
    samples: int | None = None  # training samples; all by default
    test_samples: int | None = None  # test samples; all by default
    epochs: int = 40  # passes through the training set; 100 are published
    every: int = 0  # epochs between evaluations; 0 evaluates at the end alone, which is cheapest
    seeds: int = 3  # runs of each net; enough for an interval
    device: Literal["cpu", "cuda"] = "cpu"  # where tensors are; data are moved there once
    docs: str | None = None  # folder with rules.md, whose tables are rewritten from this run


def cells_of(knobs: Knobs, digest: str) -> list[measured.Cell]:
    """Every run."""
    return [
        cell_from(measured.Cell, knobs, net=net, below=below, seed=seed, digest=digest)
        for net in knobs.nets
        for below in knobs.below
        for seed in range(knobs.seeds)
    ]


def main(knobs: Knobs) -> int:
    """Train what is missing, print the table and the verdicts; 0 iff no verdict fails."""
    check(
        knobs, width=at_least(0), below=at_least(0), every=at_least(0), seeds=at_least(1), epochs=at_least(1)
    )
    where = {"folder": knobs.data_folder, "download": knobs.download}
    split = data_of(knobs.data, knobs.samples, knobs.test_samples, **where)
    if split.classes is None or len(split.x_train.shape) != 4:
        raise DomainError(f"--data {knobs.data} has no labelled images; digits, mnist and cifar10 have")
    planned, place = cells_of(knobs, split.digest), records.cells(knobs.folder(NAME))
    if any(not (place / f"{records.key(cell)}.npz").exists() for cell in planned):
        device_of(knobs.device)  # what is computed can be read without the device
    stages = Stages(NAME, knobs, functools.partial(measured.compute, **where))
    found = stages.gather(planned)
    if not found:
        return stages.failed
    samples = len(split.x_train)
    print(f"{stages.finish()}\n{knobs.data}, {samples} training images, {knobs.seeds} seeds, {knobs.device}")
    print(report.table(measured.COLUMNS, measured.rows(found, samples)))
    if knobs.docs is not None:
        name = page.write(Path(knobs.docs), measured.extract_of(knobs, found, samples))
        print(f"{name} is written, and the tables of {Path(knobs.docs) / 'rules.md'}")
    return report.finish(measured.answers(found, samples))


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
