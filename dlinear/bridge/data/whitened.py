"""Whitened data as a `LoadedSplit`, as the linear theory assumes them, for networks of width n."""

from __future__ import annotations

import hashlib
import os

import numpy as np
import torch

from dlinear.bridge.data.loading import LoadedSplit, balanced_part
from dlinear.checks import as_known
from dlinear.data import datasets
from dlinear.data.tasks import random_task, whitened_task
from dlinear.errors import DataError

NAMES = ("linear", "trigonometric", *datasets.NAMES)


def whitened(
    name: str,
    samples: int,
    width: int,
    *,
    folder: str | os.PathLike[str] | None = None,
    download: bool = False,
    dtype: torch.dtype = torch.float64,
) -> LoadedSplit:
    """A class-balanced part of a data set, whitened to n inputs and n targets (`tasks.whitened_task`).

    The mean squared error of these samples is (2/n) (1/2 ||P - Phi||^2 + const) for a linear map P. There is
    no separate test set: it consists of the first two samples.

    Args:
        name: "linear", "trigonometric" or a set of images.
        samples: N >= n.
        width: n.
        folder: where to look for image sets first.
        download: fetch the official archives when no local copy is found.
        dtype: a floating one.

    Raises:
        DataError: an unknown name, data that are missing or damaged, or more samples than there are.
        DomainError, ShapeError: as `whitened_task`.
    """
    as_known("data", name, NAMES, DataError)
    if name in datasets.NAMES:
        data = datasets.load(name, folder, download)
        part = balanced_part(data.y_train, samples, 0, name)
        task = whitened_task(data.x_train[part], data.y_train[part], width)
    else:
        kind = "linear" if name == "linear" else "trigonometric"
        task = random_task(width, kind=kind, samples=samples)  # type: ignore[arg-type]
    digest = hashlib.sha256(np.ascontiguousarray(task.x).tobytes() + np.ascontiguousarray(task.y).tobytes())
    x, y = torch.from_numpy(task.x).to(dtype), torch.from_numpy(task.y).to(dtype)
    return LoadedSplit(name, x, y, x[:2].clone(), y[:2].clone(), None, digest.hexdigest())
