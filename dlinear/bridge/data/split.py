"""The protocol of training and test data, and random parts of them."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from dlinear.checks import as_integer
from dlinear.errors import DomainError, ShapeError

ORDER, NOISE, PART = range(3)  # streams of random numbers: equal seeds give independent ones


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
        """A hash or a name that no other data has."""


def check_split(split: Split, samples: int | None) -> None:
    """Check the data of a run.

    Raises:
        ShapeError: no samples, or not one target for each input.
        DomainError: something else than data, fewer training samples than are asked for, or a label that is
            no class.
    """
    names = ("x_train", "y_train", "x_test", "y_test", "classes", "digest")
    if missing := [name for name in names if not hasattr(split, name)]:
        raise DomainError(
            f"split is a {type(split).__name__} without {missing[0]}; expected data, such as "
            "dlinear.bridge.load('digits')"
        )
    for part in ("train", "test"):
        x, y = getattr(split, f"x_{part}"), getattr(split, f"y_{part}")
        if not isinstance(x, Tensor) or not isinstance(y, Tensor) or not x.ndim or not y.ndim:
            raise ShapeError(f"x_{part} and y_{part} must be tensors with one entry for each sample")
        if not len(x) or len(x) != len(y):
            raise ShapeError(
                f"{len(x)} inputs and {len(y)} targets in the {part} set; expected as many, not none"
            )
        if split.classes is not None:
            _check_labels(f"y_{part}", y, split.classes)
    if samples is not None and samples > len(split.x_train):
        raise DomainError(
            f"samples = {samples} received for a training set of {len(split.x_train)}; "
            "allowed is as many or fewer, or None for all"
        )


def _check_labels(name: str, y: Tensor, classes: int) -> None:
    """Labels are integers in 0..classes-1: a loss would leave others out, or fail in the middle of a run."""
    as_integer("classes", classes)
    if y.ndim != 1:
        raise ShapeError(f"{name} has shape {tuple(y.shape)}; expected one label for each sample, (N,)")
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise ShapeError(f"{name} is of {y.dtype}; expected integer labels of {classes} classes")
    wrong = y[(y < 0) | (y >= classes)]
    if len(wrong):
        raise DomainError(f"{name} holds label {int(wrong[0])}; expected 0..{classes - 1}")


def random_part(x: Tensor, y: Tensor, count: int | None) -> tuple[Tensor, Tensor]:
    """A random part of the samples, the same in all runs; for None all of them in their order."""
    if count is None or count >= len(x):
        return x, y
    chosen = torch.from_numpy(np.random.default_rng(PART).permutation(len(x))[:count])
    return x[chosen], y[chosen]
