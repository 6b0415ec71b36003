"""One training run of a model of the paper: losses and accuracies by epoch, and angles where asked."""

from __future__ import annotations

import functools
import hashlib
import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dlinear.bridge.angles.slopes import SlopeProbe
from dlinear.bridge.autograd.isolation import one_thread
from dlinear.bridge.data.loading import LoadedSplit, load
from dlinear.bridge.data.losses import Supervised, criterion_of
from dlinear.bridge.meters import step_memory
from dlinear.bridge.methods import method
from dlinear.bridge.models import Stack, model
from dlinear.bridge.models.small_vit import adapters, freeze_base
from dlinear.bridge.paper.settings import BASE, FULL_SIZE, column
from dlinear.bridge.training.settings import Training, device_of
from dlinear.bridge.training.trainer import Run, train
from dlinear.errors import DataError
from dlinear.runs import records, sweeps

BASE_RATE = 0.001  # of Adam, for the base
SHALLOW = 15  # blocks up to which all horizons are measured
LONG = 20  # epochs from which a run keeps checkpoints
CURVES = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")


@dataclass(frozen=True)
class Course:
    """One run.

    Attributes:
        model, data, digest: what is trained, on what.
        depth: T.
        method: of the gradient.
        seed: of the weights, the batch order and the base.
        epochs, samples, test_samples, batch_size, learning_rate, optimizer: of training.
        blocks, width: sizes of the model (`model_knobs`); None for its own.
        base_epochs: of the base, see `halves`.
        checkpoint: folder of weights for the models of the zoo; None for random ones.
        probed: samples on which angles are measured; 0 measures none.
        edition: raise it when the meaning of a cell changes.
    """

    model: str
    data: str
    digest: str
    depth: int
    method: str
    seed: int
    epochs: int
    samples: int | None
    test_samples: int | None
    batch_size: int
    learning_rate: float
    optimizer: str
    blocks: int | None = None
    width: int | None = None
    base_epochs: int = 0
    checkpoint: str | None = None
    probed: int = 0
    edition: int = 1


def model_knobs(course: Course) -> dict[str, Any]:
    """The knobs of the builder of a course's model."""
    names = {
        "linear": ("depth", "width"),
        "mlp": ("depth", "width"),
        "resnet62": ("depth_per_stage", "base_channels"),
        "small_resnet50": ("depth_per_stage", "base_channels"),
        "small_vit": ("depth", "width"),
    }.get(course.model, ())
    sizes = dict(zip(names, (course.blocks, course.width), strict=False))
    found: dict[str, Any] = {name: value for name, value in sizes.items() if value is not None}
    return found | ({"checkpoint": course.checkpoint} if course.checkpoint else {})


def build(course: Course, split: LoadedSplit) -> Stack:
    """The model before training."""
    return model(course.model, split.task, course.seed, **model_knobs(course))


def halves(split: LoadedSplit) -> tuple[LoadedSplit, LoadedSplit]:
    """The first and the second half of the classes, as two tasks of their own.

    Raises:
        DataError: fewer than four classes.
    """
    if (split.classes or 0) < 4:
        raise DataError(f"{split.name} has {split.classes} classes; a base needs four or more")
    half = int(split.classes or 0) // 2
    return _classes(split, 0, half), _classes(split, half, 2 * half)


def _classes(split: LoadedSplit, first: int, stop: int) -> LoadedSplit:
    """The samples of classes first..stop-1, which are counted from 0."""
    parts: dict[str, Any] = {}
    for part in ("train", "test"):
        labels = getattr(split, f"y_{part}")
        chosen = (labels >= first) & (labels < stop)
        parts[f"x_{part}"] = getattr(split, f"x_{part}")[chosen]
        parts[f"y_{part}"] = labels[chosen] - first
    digest = hashlib.sha256(f"{split.digest} {first}..{stop}".encode()).hexdigest()
    return replace(split, classes=stop - first, digest=digest, **parts)


@functools.lru_cache(maxsize=1)
def _base(course: Course, folder: str | None, download: bool) -> dict[str, Any]:
    """The weights of a base: all but the factors, trained by back-propagation on the first classes."""
    split, _ = halves(split_for(course, folder, download))
    stack = build(course, split)
    stack.requires_grad_(True)
    for factor in adapters(stack):
        factor.requires_grad_(False)
    train(stack, split, method("backprop"), _training(course, course.base_epochs), progress=False)
    return stack.state_dict()


def adapted(course: Course, split: LoadedSplit, folder: str | None, download: bool) -> Stack:
    """A model on a trained base, with new factors and a new head for the second half of the classes."""
    fresh = replace(course, method="backprop", learning_rate=BASE_RATE, optimizer="adam", epochs=0)
    stack = build(course, split)
    head = {f"readout.{name}" for name, _ in stack.readout.named_parameters() if ".1." in name}
    weights = {name: value for name, value in _base(fresh, folder, download).items() if name not in head}
    stack.load_state_dict(weights, strict=False)
    freeze_base(stack)
    return stack


def _training(course: Course, epochs: int) -> Training:
    return Training(
        course.learning_rate,
        course.batch_size,
        epochs,
        optimizer=course.optimizer,  # type: ignore[arg-type]
        seed=course.seed,
    )


def probed_epochs(epochs: int) -> list[int]:
    """0, the powers of 3 and the last epoch: few lines, evenly in the logarithm."""
    return sorted({0, *(3**k for k in range(epochs.bit_length()) if 3**k <= epochs), epochs})


def shortfalls(depth: int) -> NDArray[np.int64]:
    """m = T - h of the angles: all of a shallow network, about 14 of a deeper one."""
    points = np.geomspace(1, depth - 1, 20) if depth > SHALLOW else np.arange(1, depth)
    return np.unique(np.rint(points).astype(np.int64))


def split_for(course: Course, folder: str | None, download: bool) -> LoadedSplit:
    """The data of a course with all their classes."""
    return _loaded(course.data, course.samples, course.test_samples, folder, download)


@functools.lru_cache(maxsize=3)
def _loaded(
    data: str, samples: int | None, test: int | None, folder: str | None, download: bool
) -> LoadedSplit:
    return load(data, samples=samples, test_samples=test, folder=folder, download=download)


def compute(course: Course, place: str, folder: str | None, download: bool) -> sweeps.Arrays:
    """Train; resumed from `place` if it was interrupted.

    Args:
        course: the run.
        place: keeps checkpoints of long runs.
        folder, download: where image sets are, as of `load`.
    """
    with one_thread(), torch.random.fork_rng():
        split = split_for(course, folder, download)
        if course.model in BASE:
            _, split = halves(split)
            stack = adapted(course, split, folder, download)
        else:
            stack = build(course, split)
        memory = memory_of(course, stack, split) if column(course.model).model in FULL_SIZE.values() else {}
        kept = Path(place) / "training" / records.key(course)[:16] if course.epochs > LONG else None
        run = train(
            stack,
            split,
            method(course.method),
            _training(course, course.epochs),
            folder=kept,
            probe=_probe(course) if course.probed else None,
            probe_at=probed_epochs(course.epochs),
            identity={"course": records.key(course)},
            progress=False,
        )
    if kept is not None:
        shutil.rmtree(kept)
    return {name: ((), value) for name, value in memory.items()} | _curves(course, run)


def memory_of(course: Course, stack: Stack, split: LoadedSplit) -> dict[str, int]:
    """Bytes that one step keeps beside the model, on the first batch."""
    some, device = slice(course.batch_size), device_of("auto")
    x, y = (tensor[some].to(device) for tensor in (split.x_train, split.y_train))
    loss = Supervised(criterion_of("auto", split.classes), y)
    watch = functools.partial(
        step_memory, blocks=stack.to(device).train().blocks, x=x, loss_fn=loss, readout=stack.readout
    )
    own = watch(method(course.method))
    found = {"activations": own.activations, "saved": own.saved or 0}
    if course.method == "backprop":  # the rival with the same gradient
        found["checkpoint"] = watch(method("checkpoint")).activations
    return found


def _probe(course: Course) -> SlopeProbe:
    """Angles; Theorem D's constants where the last stage has several blocks with a skip connection."""
    last = course.depth // 3 - 1 if course.model == "resnet62" else 0
    return SlopeProbe(shortfalls(course.depth), course.probed, last)


def _curves(course: Course, run: Run) -> dict[str, Any]:
    """The arrays of a run; NaN after a divergence."""
    found: dict[str, Any] = {"epoch": (("epoch",), np.arange(course.epochs + 1))}
    for name in CURVES:
        values = np.full(course.epochs + 1, math.nan)
        values[run.epochs] = getattr(run, name)
        found[name] = (("epoch",), values)
    found["seconds"] = ((), run.seconds[-1])
    return found | (_angles(course, run) if course.probed else {})


def _angles(course: Course, run: Run) -> dict[str, Any]:
    """sin^2 and cos by probed epoch and shortfall, and the constants of Theorem D; NaN after a divergence."""
    at, m = probed_epochs(course.epochs), shortfalls(course.depth)
    found: dict[str, Any] = {"probe": (("probe",), at), "shortfall": (("shortfall",), m)}
    for name in ("sin2", "cos"):
        values = np.full((len(at), len(m)), math.nan)
        for k, epoch in enumerate(at):
            if epoch in run.probes:
                values[k] = run.probes[epoch][name]
        found[name] = (("probe", "shortfall"), values)
    for name in ("predicted_quadratic", "predicted_cubic"):
        constants = [float(run.probes[e][name]) if e in run.probes else math.nan for e in at]
        found[name] = (("probe",), constants)
    return found
