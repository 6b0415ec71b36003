"""Training and test data of the bridge as tensors, by name.

- linear, trigonometric: the paper's synthetic sets (`dlinear.data.tasks.synthetic_samples`, Table D2), 10,000
  and 100,000 training samples. The paper names no test set: here 2,000 further samples of the same draw.
- digits, mnist, fashion, cifar10, cifar100 (`dlinear.data.datasets`): images (N, channels, height, width),
  each channel with mean 0 and variance 1 over the training images that are used; the test images are shifted
  and scaled by the same numbers. Models of vectors flatten them in their first block.
- communities (`dlinear.data.graphs`): the nodes of one generated graph by their numbers, (N, 1), for the
  model "graph"; one half of them, drawn by the seed, is the training set.
"""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dlinear.bridge.data.split import check_split
from dlinear.bridge.models.stack import TaskShape
from dlinear.checks import as_integer, as_known, in_short, shown
from dlinear.data import datasets
from dlinear.data.graphs import communities
from dlinear.data.tasks import synthetic_samples
from dlinear.errors import DataError, DomainError, ShapeError

SAMPLES = {"linear": 10_000, "trigonometric": 100_000}  # Table D2
TEST_SAMPLES = 2_000
GRAPH = "communities"
NAMES = (*SAMPLES, *datasets.NAMES, GRAPH)


@dataclass(frozen=True, eq=False, repr=False)
class LoadedSplit:
    """Training and test data.

    Attributes:
        name: for example "mnist".
        x_train: (N, ...) inputs, floating.
        y_train: (N,) int64 labels 0..classes-1, or (N, k) real targets of the inputs' dtype.
        x_test: as x_train.
        y_test: as y_train.
        classes: number of classes; None for regression.
        digest: sha256 of the four tensors (names, shapes, types and numbers).
    """

    name: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: int | None
    digest: str

    __repr__ = in_short

    @property
    def task(self) -> TaskShape:
        """The sizes of inputs and outputs, from which a model is built."""
        return TaskShape(tuple(self.x_train.shape[1:]), self.classes or int(self.y_train.shape[1]))

    def to(self, device: torch.device | str) -> LoadedSplit:
        """The same data on a device."""
        return replace(self, **{key: getattr(self, key).to(device) for key in datasets.KEYS})


def load(
    name: str,
    *,
    samples: int | None = None,
    test_samples: int | None = None,
    seed: int = 0,
    width: int = 10,
    folder: str | os.PathLike[str] | None = None,
    download: bool = False,
    dtype: torch.dtype = torch.float32,
) -> LoadedSplit:
    """The data called `name`, on the CPU; the same arguments give the same numbers.

    Args:
        name: "linear", "trigonometric", "digits", "mnist", "fashion", "cifar10", "cifar100" or "communities".
        samples: size of the training set; None takes the paper's number (synthetic) or all images. A part of
            an image set has equally many images of each class (to one; a class that runs out gives all it
            has), drawn by the seed, in the set's order; smaller parts are contained in larger ones.
        test_samples: the same for the test set, at most 2,000 for a synthetic one.
        seed: of the synthetic sets and of the parts of the others; an integer of at least 0. The graph of
            "communities" is the same for every seed.
        width: n of the linear set (10 in the paper); the others ignore it.
        folder: where to look for image sets first.
        download: fetch the official archives when no local copy is found.
        dtype: of inputs and real targets, a floating one.

    Raises:
        DataError: an unknown name, more samples than there are, or data that are missing or damaged.
        DomainError: a number that is not such an integer, or a dtype that is not floating.
    """
    as_known("data", name, NAMES, DataError)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise DomainError(f"dtype must be a floating torch dtype, not {dtype!r}")
    for key, value, least in (("samples", samples, 1), ("test_samples", test_samples, 1), ("seed", seed, 0)):
        if value is not None or key == "seed":
            as_integer(key, value, least)
    as_integer("width", width)
    if name in SAMPLES:
        return _synthetic(name, samples or SAMPLES[name], test_samples or TEST_SAMPLES, seed, width, dtype)
    if name == GRAPH:
        return _nodes(samples, test_samples, seed, dtype)
    data = datasets.load(name, folder, download)
    train = balanced_part(data.y_train, samples, seed, f"{name} train")
    test = balanced_part(data.y_test, test_samples, seed, f"{name} test")
    seen, unseen = _channels_first(data.x_train[train]), _channels_first(data.x_test[test])
    mean, deviation = channel_moments(seen)
    inputs = [_normalised(images, mean, deviation, dtype) for images in (seen, unseen)]
    labels = [torch.from_numpy(y.astype(np.int64)) for y in (data.y_train[train], data.y_test[test])]
    classes = int(data.y_train.max()) + 1
    return _split(name, classes, inputs[0], labels[0], inputs[1], labels[1])


def from_arrays(
    x_train: Any,
    y_train: Any,
    x_test: Any,
    y_test: Any,
    *,
    classes: int | None = None,
    name: str = "arrays",
    dtype: torch.dtype = torch.float32,
) -> LoadedSplit:
    """Your own data, as `train` and the comparisons take them: numpy arrays, tensors or lists, copied.

    Args:
        x_train, x_test: (N, ...) numbers, at least one axis behind the samples.
        y_train, y_test: (N,) labels 0, 1, ... where they are integers; else (N,) or (N, k) real targets.
        classes: number of labels; the largest one and 1 more by default.
        name: of the data, for records.
        dtype: of inputs and real targets, a floating one.

    Raises:
        DomainError, ShapeError: arrays that are not such data; the message says which.
    """
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise DomainError(f"dtype must be a floating torch dtype, not {dtype!r}")
    parts = dict(zip(datasets.KEYS, (x_train, y_train, x_test, y_test), strict=True))
    arrays = {key: _tensor_of(key, value) for key, value in parts.items()}
    labels = not any(arrays[key].is_floating_point() for key in ("y_train", "y_test"))
    for part in ("train", "test"):
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if x.ndim < 2 or x.shape[1:] != arrays["x_train"].shape[1:]:
            raise ShapeError(
                f"x_{part} has shape {tuple(x.shape)}; expected (N, ...), with equal axes behind the "
                "samples in both parts"
            )
        arrays[f"x_{part}"] = x.to(dtype)
        arrays[f"y_{part}"] = y.long() if labels else (y[:, None] if y.ndim == 1 else y).to(dtype)
    if labels and classes is None:
        classes = 1 + max(int(arrays[key].max()) for key in ("y_train", "y_test") if arrays[key].numel())
    found = _split(name, as_integer("classes", classes) if labels else None, *arrays.values())
    check_split(found, None)
    return found


def _tensor_of(key: str, value: Any) -> Tensor:
    """An own, finite, dense copy of numbers on the CPU."""
    try:
        found = torch.as_tensor(value).detach().cpu().clone(memory_format=torch.contiguous_format)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DomainError(f"{key} is {shown(value)}; expected an array of numbers") from error
    if found.is_complex() or not found.ndim:
        raise DomainError(f"{key} is {shown(value)}; expected an array of real numbers, one for each sample")
    if found.is_floating_point() and not bool(torch.isfinite(found).all()):
        raise DomainError(f"{key} holds numbers that are not finite")
    return found


def balanced_part(
    labels: NDArray[np.integer[Any]], samples: int | None, seed: int, what: str
) -> NDArray[np.int64]:
    """Increasing indices of `samples` images, as many of each class as can be; all of them for None.

    The images of each class are put in a random order; those with the lowest places are taken, and of the
    last place, where not every class can give one, a random choice.

    Raises:
        DataError: more samples than labels.
    """
    if samples is None:
        return np.arange(len(labels))
    if samples > len(labels):
        raise DataError(f"{what} has {len(labels)} images; {samples} were asked for")
    shuffled = np.random.default_rng([seed, 0]).permutation(len(labels))
    place = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        place[members] = np.arange(len(members))
    order = shuffled[np.argsort(place[shuffled], kind="stable")]
    return np.sort(order[:samples])


def channel_moments(images: NDArray[np.uint8]) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel of (N, c, H, W) bytes; deviation 1 for a constant channel.

    Sums of integers, rounded once: the same numbers on every machine.
    """
    means, deviations = [], []
    for channel in images.swapaxes(0, 1):
        counts = np.bincount(channel.ravel(), minlength=256).tolist()
        total, first, second = (sum(v**p * n for v, n in enumerate(counts)) for p in (0, 1, 2))
        means.append(first / total)
        deviations.append(math.sqrt((total * second - first**2) / total**2) or 1.0)
    return means, deviations


def _channels_first(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, H, W) or (N, H, W, 3) to (N, c, H, W)."""
    return images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)


def _normalised(
    images: NDArray[np.uint8], mean: list[float], deviation: list[float], dtype: torch.dtype
) -> Tensor:
    """(x - mean)/deviation, worked out in float64 by a table of the 256 bytes of each channel."""
    out = torch.empty(images.shape, dtype=dtype)
    for c in range(images.shape[1]):
        table = torch.from_numpy((np.arange(256.0) - mean[c]) / deviation[c]).to(dtype)
        out[:, c] = table[torch.from_numpy(images[:, c].astype(np.int64))]
    return out


def _synthetic(name: str, samples: int, tests: int, seed: int, width: int, dtype: torch.dtype) -> LoadedSplit:
    """The test set comes first in the draw, so that it is the same for every number of training samples."""
    if tests > TEST_SAMPLES:
        raise DataError(f"{name} has {TEST_SAMPLES} test samples; {tests} were asked for")
    kind = "linear" if name == "linear" else "trigonometric"
    drawn = TEST_SAMPLES + max(samples, SAMPLES[name])
    x, y = (torch.from_numpy(a).to(dtype) for a in synthetic_samples(kind, width, drawn, seed))  # type: ignore[arg-type]
    train, test = slice(TEST_SAMPLES, TEST_SAMPLES + samples), slice(0, tests)
    cut = (x[train], y[train], x[test], y[test])
    return _split(name, None, *(part.clone(memory_format=torch.contiguous_format) for part in cut))


def _nodes(samples: int | None, tests: int | None, seed: int, dtype: torch.dtype) -> LoadedSplit:
    """Half of the nodes for training and half for testing, or balanced parts of these halves."""
    labels = communities().labels
    order = np.random.default_rng([seed, 1]).permutation(len(labels))
    parts: list[torch.Tensor] = []
    for what, count, nodes in zip(("train", "test"), (samples, tests), np.array_split(order, 2), strict=True):
        chosen = nodes[balanced_part(labels[nodes], count, seed, f"{GRAPH} {what}")]
        parts += [torch.from_numpy(chosen)[:, None].to(dtype), torch.from_numpy(labels[chosen])]
    return _split(GRAPH, int(labels.max()) + 1, *parts)


def _split(
    name: str, classes: int | None, x_train: Tensor, y_train: Tensor, x_test: Tensor, y_test: Tensor
) -> LoadedSplit:
    total = hashlib.sha256()
    # Bytes, since numpy has no bfloat16.
    for key, tensor in zip(datasets.KEYS, (x_train, y_train, x_test, y_test), strict=True):
        total.update(f"{key}{tuple(tensor.shape)}{tensor.dtype}".encode())
        total.update(tensor.view(torch.uint8).numpy().data)
    return LoadedSplit(name, x_train, y_train, x_test, y_test, classes, total.hexdigest())
