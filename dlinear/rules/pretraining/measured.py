"""Runs that start from pre-trained hidden layers: cells, table, verdicts."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from dlinear.analysis import statistics
from dlinear.bridge.autograd.isolation import one_thread
from dlinear.bridge.data.loading import LoadedSplit, balanced_part
from dlinear.bridge.methods import method
from dlinear.bridge.models import Stack, model
from dlinear.bridge.training import Run, Training, train
from dlinear.report.findings import Difference
from dlinear.report.verdicts import Answer
from dlinear.rules.compared.cells import loaded
from dlinear.rules.pretraining.reconstruction import pretrain
from dlinear.runs import sweeps
from dlinear.runs.records import Record

__all__ = ["COLUMNS", "SCRATCH", "Cell", "answers", "compute", "differences", "ready", "rows"]

SCRATCH = "scratch"
COLUMNS = (
    *("labels", "start", "rate before", "reconstruction", "of it"),
    *("test % after epoch 1 [95 %]", "at the end [95 %]"),
)


@dataclass(frozen=True)
class Cell:
    """One net: pre-trained on all inputs, then trained on few labels by back-propagation.

    Attributes:
        start: "scratch", or the method of the pre-training.
        labelled: samples with labels.
        seed: of weights, decoder, labelled part and batches.
        before: epochs of the pre-training, on all training inputs.
        epochs: epochs of the training.
        rates: learning rates of the pre-training; the one with the lowest reconstruction loss is taken.
        rate: learning rate of the training.
        depth, units: hidden layers and their width (tanh).
        batch: samples in a step.
        data, digest, samples, test_samples: what is learned.
        edition: raise it when the meaning of a cell changes.
    """

    start: str
    labelled: int
    seed: int
    before: int
    epochs: int
    rates: tuple[float, ...]
    rate: float
    depth: int
    units: int
    batch: int
    data: str
    digest: str
    samples: int | None
    test_samples: int | None
    edition: int = 1


def _few(split: LoadedSplit, labelled: int, seed: int) -> LoadedSplit:
    """As many samples with labels, equally many of each class."""
    some = torch.from_numpy(balanced_part(split.y_train.numpy(), labelled, seed, f"{split.name} train"))
    digest = f"{split.digest} {labelled} {seed}"
    return replace(split, x_train=split.x_train[some], y_train=split.y_train[some], digest=digest)


def _started(net: Stack, split: LoadedSplit, cell: Cell) -> tuple[Stack, float, Run | None]:
    """The net that the training starts from, the rate of its pre-training, and that run."""
    found: list[tuple[float, Stack, float, Run]] = []
    for rate in cell.rates if cell.start != SCRATCH else ():
        one = copy.deepcopy(net)
        knobs = Training(rate, cell.batch, cell.before, device="cpu", seed=cell.seed)
        run = pretrain(one, split, knobs, method=cell.start, seed=cell.seed)
        if math.isfinite(run.train_loss[-1]):
            found.append((float(run.train_loss[-1]), one, rate, run))
    if not found:
        return net, math.nan, None
    _, one, rate, run = min(found, key=lambda each: each[0])
    return one, rate, run


def compute(cell: Cell, folder: str | None = None, download: bool = False) -> sweeps.Arrays:
    """The arrays of a cell; accuracies by epoch of the training.

    Args:
        cell: what to compute.
        folder, download: where the data are, as of `data.load`.
    """
    split = loaded(cell.data, cell.samples, cell.test_samples, folder, download)
    with one_thread():  # workers side by side have a core each
        net = model("layers", split.task, cell.seed, depth=cell.depth, width=cell.units, activation="tanh")
        net, rate, before = _started(net, split, cell)
        knobs = Training(cell.rate, cell.batch, cell.epochs, device="cpu", seed=cell.seed)
        run = train(net, _few(split, cell.labelled, cell.seed), method("backprop"), knobs, progress=False)
    lost = [math.nan] * 2 if before is None else [float(before.test_loss[i]) for i in (0, -1)]
    return {
        "epoch": (("epoch",), np.asarray(run.epochs)),
        "accuracy": (("epoch",), np.asarray(run.test_accuracy)),
        "rate_before": ((), rate),
        "reconstruction_start": ((), lost[0]),
        "reconstruction_end": ((), lost[1]),
    }


def ready(
    data: str, samples: int | None, test_samples: int | None, folder: str | None, download: bool
) -> tuple[LoadedSplit, sweeps.Compute]:
    """The data, and `compute` that knows where they are."""
    where = partial(compute, folder=folder, download=download)
    return loaded(data, samples, test_samples, folder, download), where


def _of(found: Sequence[Record], start: str, labelled: int) -> list[Record]:
    return [one for one in found if (one.knobs["start"], one.knobs["labelled"]) == (start, labelled)]


def _groups(found: Sequence[Record]) -> list[tuple[int, str]]:
    return list(dict.fromkeys((int(one.knobs["labelled"]), str(one.knobs["start"])) for one in found))


def _accuracy(runs: Sequence[Record], epoch: int | None) -> np.ndarray:
    """In percent, by seed, at an epoch (None: the last of the plan); NaN of a run that ended before."""
    found = []
    for run in runs:
        at = int(run.knobs["epochs"]) if epoch is None else epoch
        by_epoch = np.asarray(run.arrays["accuracy"], float)
        found.append(100 * by_epoch[at] if at < len(by_epoch) else math.nan)
    return np.array(found)


def rows(found: Sequence[Record]) -> list[list[str]]:
    """One row for each number of labels and each start."""
    listed = []
    for labelled, start in _groups(found):
        runs = _of(found, start, labelled)
        rates = sorted({float(run.arrays["rate_before"]) for run in runs})
        first, last = (
            float(np.mean([float(run.arrays[f"reconstruction_{when}"]) for run in runs]))
            for when in ("start", "end")
        )
        plain = start == SCRATCH
        listed.append(
            [
                f"{labelled}",
                start,
                "" if plain else ", ".join(f"{rate:g}" for rate in rates),
                "" if plain else f"{first:.3g} to {last:.3g}",
                "" if plain else f"{last / first:.0%}",
                *(_said(_accuracy(runs, epoch)) for epoch in (1, None)),
            ]
        )
    return listed


def _said(values: np.ndarray) -> str:
    if not np.isfinite(values).all():
        return "diverged"
    mean = statistics.mean_interval(values)
    return f"{mean:.3g}" if math.isfinite(mean.low) else f"{mean.value:.3g}"


def differences(found: Sequence[Record]) -> list[Difference]:
    """Test accuracy of each start less that of scratch on the same seeds, after one epoch and at the end."""
    listed = []
    for labelled, start in _groups(found):
        if start == SCRATCH:
            continue
        for epoch, words in ((1, "after epoch 1"), (None, "at the end")):
            apart = _accuracy(_of(found, start, labelled), epoch) - _accuracy(
                _of(found, SCRATCH, labelled), epoch
            )
            if np.isfinite(apart).all():
                what = f"{labelled} labels, {start} less scratch, test accuracy {words}"
                estimate = statistics.mean_interval(apart, level=statistics.JUDGED)
                listed.append(Difference(what, estimate, "points"))
    return listed


def answers(found: Sequence[Record]) -> list[Answer]:
    """Whether each pre-training learned to give unseen inputs back."""
    listed = []
    for start in dict.fromkeys(str(one.knobs["start"]) for one in found):
        if start == SCRATCH:
            continue
        ratios = [
            float(one.arrays["reconstruction_end"]) / float(one.arrays["reconstruction_start"])
            for one in found
            if one.knobs["start"] == start
        ]
        worst = max(ratios) if all(map(math.isfinite, ratios)) else math.nan
        holds: Any = None if math.isnan(worst) else worst < 1
        listed.append(
            Answer(
                f"{start}: unseen inputs are given back better than at the start",
                holds,
                f"loss down to {worst:.2f} of it at worst",
            )
        )
    return listed
