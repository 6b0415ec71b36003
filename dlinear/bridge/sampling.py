"""What a step sees: the training set, its batches, and the loss that fits the data."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dlinear.bridge.evaluation import Criterion
from dlinear.bridge.settings import Training
from dlinear.errors import DomainError, ShapeError

CRITERIA: dict[str, Criterion] = {"mse": functional.mse_loss, "cross_entropy": functional.cross_entropy}
ORDER, NOISE, PART = range(3)  # what a generator is for: equal seeds then give unlike streams


class Split(Protocol):
    """Training and test samples: x (N, ...), y (N,) of classes or (N, ...) of values."""

    @property
    def x_train(self) -> Tensor:
        """Training inputs."""

    @property
    def y_train(self) -> Tensor:
        """Their targets."""

    @property
    def x_test(self) -> Tensor:
        """Test inputs."""

    @property
    def y_test(self) -> Tensor:
        """Their targets."""

    @property
    def classes(self) -> int | None:
        """The number of classes, None for regression."""

    @property
    def digest(self) -> str:
        """What tells this data from others."""


def check(split: Split, samples: int | None) -> None:
    """Whether the data has targets for its inputs, and as many samples as are asked for.

    Raises:
        ShapeError, DomainError: it has not.
    """
    for part in ("train", "test"):
        x, y = getattr(split, f"x_{part}"), getattr(split, f"y_{part}")
        if not isinstance(x, Tensor) or not isinstance(y, Tensor) or not x.ndim or not y.ndim:
            raise ShapeError(f"x_{part} and y_{part} must be tensors with one entry for each sample")
        if not len(x) or len(x) != len(y):
            raise ShapeError(
                f"{len(x)} inputs and {len(y)} targets in the {part} set; expected as many, not none"
            )
    if samples is not None and samples > len(split.x_train):
        raise DomainError(
            f"samples = {samples} received for a training set of {len(split.x_train)}; "
            "allowed is as many or fewer, or None for all"
        )


def part(x: Tensor, y: Tensor, count: int | None) -> tuple[Tensor, Tensor]:
    """A random part of the samples, the same in all runs; all of them, as they are, for None."""
    if count is None or count >= len(x):
        return x, y
    chosen = torch.from_numpy(np.random.default_rng(PART).permutation(len(x))[:count])
    return x[chosen], y[chosen]


def batches(samples: int, batch_size: int, seed: int, epoch: int) -> list[Tensor]:
    """The indices of each batch of an epoch; they depend on the seed and the epoch alone.

    Every sample comes once. A last batch of one sample joins the batch before it: batch norm needs two.
    """
    order = torch.from_numpy(np.random.default_rng((ORDER, seed, epoch)).permutation(samples))
    parts = [order[start : start + batch_size] for start in range(0, samples, batch_size)]
    if len(parts) > 1 and len(parts[-1]) == 1 < batch_size:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def noise_seed(seed: int) -> int:
    """The seed of torch's generators (dropout), unlike that of the order."""
    return int(np.random.SeedSequence((NOISE, seed)).generate_state(1, np.uint64)[0])


def criterion_of(training: Training, classes: int | None) -> Criterion:
    """The loss that the knobs and the data ask for.

    Raises:
        DomainError: cross-entropy without classes, or the squared error of classes.
    """
    fitting = "mse" if classes is None else "cross_entropy"
    if training.loss not in ("auto", fitting):
        what = "no classes" if classes is None else f"{classes} classes"
        raise DomainError(f"loss {training.loss} received for data with {what}; allowed is auto or {fitting}")
    return CRITERIA[fitting]
