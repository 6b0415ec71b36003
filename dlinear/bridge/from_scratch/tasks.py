"""The tasks that are trained from scratch: data and models of every seed.

- tanh, relu, linear: a deep teacher of the same form, x + act(A(t/T) x)/T with a smooth path A of twice
  the usual size; y are its outputs. The student starts from small rough layers. The loss is taken of the
  state itself: no readout is trained.
- tanh-head: the same teacher, the student reads its states out by a trained head that all states share.
- parity: the product of `BITS` signs, all inputs; the fixed readout of one state value.
- autoencoder, autoencoder-relu: digits to digits through a middle of n/8 units (model "autoencoder"); the
  loss is taken of the state itself.
- digits, and mnist, fashion, cifar10, cifar100 by a folder: classes, with a trained shared head;
  digits-fixed and so on: with a fixed readout. Images are flattened.
- cifar: ten classes by a convolutional net of equal blocks (model "conv") with a trained shared head.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dlinear.bridge.data.loading import LoadedSplit, load
from dlinear.bridge.models import TaskShape, model
from dlinear.bridge.models.deep import FourierPath
from dlinear.bridge.models.readouts import ReadoutKind
from dlinear.bridge.models.stack import Stack
from dlinear.checks import as_known
from dlinear.data import datasets

BITS = 4  # of parity: the least number for which one block's local loss sees nothing of the product
TEACHER = 1_000_000  # added to a seed: its teacher
AUTOENCODER = "autoencoder"  # the model that gives images back
SIZE = 2.0  # of the teacher's path, over that of `FourierPath`


@dataclass(frozen=True)
class TaskKind:
    """What a task is by default.

    Attributes:
        activation: of the blocks.
        readout: of the model.
        depth: T.
        width: n.
        samples: of the training set.
        batch: samples of a step.
        images: data set; empty for a teacher and for parity.
        tests: images of the test set, None for all: enough to tell a percent.
        model: builder of the bridge's models.
        rates: step lengths that are tried, in back-propagation's unit; each method's best lies inside.
        heads: whether the model that a method with heads of its own leaves is the task's: not where a fixed
            matrix reads out x(T), which such a method would replace by a trained one.
    """

    activation: str
    readout: ReadoutKind = "fixed"
    depth: int = 16
    width: int = 8
    samples: int = 128
    batch: int = 128
    images: str = ""
    tests: int | None = None
    model: str = "deep"
    rates: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    heads: bool = True


_TESTS: dict[str, int | None] = {name: None if name == "digits" else 1000 for name in datasets.NAMES}
_RATES = TaskKind.rates
_FIXED = (*_RATES, 100.0, 300.0)  # where no head is trained, blocks may take longer steps
_CODES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # heads of their own need short steps
_IMAGES = TaskKind("relu", "shared", depth=32, width=24, samples=500, batch=50)
_CODED = TaskKind("tanh", width=64, samples=250, batch=25, images="digits", model=AUTOENCODER)
TASKS = {
    "tanh": TaskKind("tanh", rates=(*_RATES, 100.0)),
    "relu": TaskKind("relu"),
    "linear": TaskKind("identity"),
    "tanh-head": TaskKind("tanh", "shared"),
    "parity": TaskKind("relu", width=16, samples=2**BITS, batch=2**BITS, heads=False),
    "autoencoder": replace(_CODED, rates=_CODES),
    "autoencoder-relu": replace(_CODED, activation="relu", rates=_CODES),
    **{name: replace(_IMAGES, images=name, tests=_TESTS[name]) for name in datasets.NAMES},
    **{
        f"{name}-fixed": replace(
            _IMAGES, images=name, tests=_TESTS[name], readout="fixed", rates=_FIXED, heads=False
        )
        for name in datasets.NAMES
    },
    "cifar": TaskKind(
        *("relu", "shared", 12, 8, 250, 25, "cifar10", 250, "conv", (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)),
    ),
}


@dataclass(frozen=True, eq=False)
class Problem:
    """Data and models of S seeds.

    Attributes:
        x_train: (S, N, f) inputs.
        y_train: (S, N, k) targets, or (S, N) labels.
        x_test: (S, N', f).
        y_test: as y_train.
        classes: number of classes; None for regression.
        stacks: the model of each seed, as it starts.
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: int | None
    stacks: list[Stack]


def problem(
    name: str,
    seeds: int,
    *,
    depth: int,
    width: int,
    samples: int,
    readout: str | None = None,
    folder: str | None = None,
    download: bool = False,
) -> Problem:
    """Data and models of the task called `name`, for seeds 0..S-1.

    Args:
        name: one of `TASKS`.
        seeds: S.
        depth: T.
        width: n.
        samples: of the training set; parity takes all inputs, whatever this says.
        readout: another readout than the task's ("exits" for a method that needs it).
        folder, download: where image sets are, as of `data.load`.

    Raises:
        DomainError, DataError: an unknown task, or data that are missing or too few.
    """
    kind = TASKS[as_known("task", name, list(TASKS))]
    classes: int | None = None
    if kind.images:
        data = images(name, samples, folder, download)
        every, classes = [_of_images(kind, data)] * seeds, None if kind.model == AUTOENCODER else data.classes
    else:
        make = _parity if name == "parity" else functools.partial(_teacher, kind.activation, depth, width)
        every = [make(seed, samples) for seed in range(seeds)]
    x_train, y_train, x_test, y_test = (torch.stack(some) for some in zip(*every, strict=True))
    shape = TaskShape(tuple(x_train.shape[2:]), classes or y_train.shape[-1])
    knobs: dict[str, Any] = {"depth": depth, "width": width, "activation": kind.activation}
    knobs["readout"] = readout or kind.readout
    stacks = [model(kind.model, shape, seed, **knobs) for seed in range(seeds)]
    return Problem(x_train, y_train, x_test, y_test, classes, stacks)


def images(name: str, samples: int, folder: str | None = None, download: bool = False) -> LoadedSplit:
    """The images of a task.

    Args:
        name: one of `TASKS` that has images.
        samples: of the training set.
        folder, download: as of `data.load`.
    """
    kind = TASKS[name]
    return load(kind.images, samples=samples, test_samples=kind.tests, folder=folder, download=download)


def _of_images(kind: TaskKind, data: LoadedSplit) -> list[Tensor]:
    """Training set, then test set: flattened but for a convolutional model; their own targets if encoded."""
    inputs = [x if kind.model == "conv" else x.flatten(1) for x in (data.x_train, data.x_test)]
    targets = inputs if kind.model == AUTOENCODER else [data.y_train, data.y_test]
    return [inputs[0], targets[0], inputs[1], targets[1]]


def _teacher(activation: str, depth: int, width: int, seed: int, samples: int) -> list[Tensor]:
    """Normal inputs, and what a teacher makes of them: training set, then test set."""
    path = FourierPath(width, seed + TEACHER)
    teacher = model(
        "deep",
        TaskShape((width,), width),
        seed + TEACHER,
        depth=depth,
        width=width,
        activation=activation,
        layers="smooth",
        path=lambda s: SIZE * path(s),
    )
    draw = torch.Generator().manual_seed(seed)
    inputs = [torch.randn(samples, width, generator=draw) for _ in range(2)]
    with torch.no_grad():
        return [part for x in inputs for part in (x, teacher(x))]


def _parity(seed: int, samples: int) -> list[Tensor]:
    """All sign vectors and the products of their entries; the test set is the training set."""
    x = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=BITS)))
    y = x.prod(1, keepdim=True)
    return [x, y, x, y]
