"""Regression tasks for a deep linear network: data whitened to one matrix Phi.

With whitened inputs (uncentred second moment x^T x / N = I) the squared loss of a linear map P is

    1/2 mean_i ||P x_i - y_i||^2  =  1/2 ||P - Phi||_F^2 + const,     Phi = y^T x / N,

so that Phi is all a network ever sees of the data (section 3.3 of the paper). N samples, n the width.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dlinear.checks import as_array, as_choice, as_integer, as_known, as_place, in_short, shown
from dlinear.data.datasets import load
from dlinear.errors import DataError, DomainError, NonFiniteError, ShapeError

Floats = NDArray[np.float64]
TaskName = Literal["digits", "mnist", "fashion", "cifar10", "cifar100", "random", "trigonometric"]
SyntheticSet = Literal["linear", "trigonometric"]
Reading = Literal["deviation", "variance"]


@dataclass(frozen=True, repr=False)
class Task:
    """Whitened samples and the matrix they reduce to.

    Attributes:
        phi: (n, n) float64, Phi = y^T x / N.
        x: (N, n) float64, whitened inputs, x^T x / N = I to rounding.
        y: (N, n) float64, targets: zero-padded when there are fewer than n, rotated into the column
            space of Phi when there are more.
    """

    phi: Floats
    x: Floats
    y: Floats

    __repr__ = in_short

    @property
    def offset(self) -> float:
        """The constant of the loss identity, 1/2 (mean ||y||^2 - ||Phi||_F^2): the least possible loss."""
        return 0.5 * float(np.sum(self.y**2) / len(self.y) - np.sum(self.phi**2))


def whitened_task(x: ArrayLike, y: ArrayLike, width: int) -> Task:
    """Whiten the inputs and turn the targets into n columns.

    The inputs are projected on the leading `width` right singular vectors of the uncentred data (each
    signed so that its largest entry is positive) and rescaled. One-dimensional integer targets are
    labels and become one-hot columns in the order of the sorted distinct labels; anything else is a real
    target. Fewer than n columns are padded with zeros. More than n are replaced by their n coordinates
    along the left singular vectors of Phi (k, n): the gradient of the loss lies in that space, so
    nothing that a network could learn is lost; only `Task.offset` changes.

    Args:
        x: (N, d) real inputs with d >= n and N >= n; images (N, ...) are flattened.
        y: (N,) integer labels, or (N,) or (N, k) real targets.
        width: n, a positive integer.

    Raises:
        ShapeError: empty data, x and y of different lengths, fewer than n samples or features.
        NonFiniteError: a NaN or an infinity; the message names the row.
        DomainError: a width that is not a positive integer, or data of numerical rank below n.
    """
    n = as_integer("width", width)
    inputs, targets = _samples("x", x), _as_array("y", y)
    if inputs.ndim < 2:
        raise ShapeError(f"x must have shape (N, d), not {inputs.shape}")
    inputs = inputs.reshape(len(inputs), -1)
    if targets.ndim not in (1, 2):
        raise ShapeError(f"y must have shape (N,) or (N, k), not {targets.shape}")
    if len(targets) != len(inputs):
        raise ShapeError(f"x has {len(inputs)} samples but y has {len(targets)}; they must be the same")
    if min(inputs.shape) < n:
        raise ShapeError(
            f"width {n} needs at least {n} samples and {n} features, not x of shape {inputs.shape}"
        )
    columns = _one_hot(targets) if _are_labels(targets) else _samples("y", targets).reshape(len(inputs), -1)
    if columns.shape[1] == 0:
        raise ShapeError(f"y must have at least one column, not shape {targets.shape}")
    white = _whiten(inputs, n)
    if columns.shape[1] > n:
        basis = np.linalg.svd(columns.T @ white, full_matrices=False)[0]
        columns = columns @ _signed(basis)
    else:
        columns = np.pad(columns, ((0, 0), (0, n - columns.shape[1])))
    return Task(phi=columns.T @ white / len(white), x=white, y=columns)


def synthetic_samples(
    kind: SyntheticSet, width: int, samples: int, seed: int = 0, reading: Reading = "deviation"
) -> tuple[Floats, Floats]:
    """Inputs and targets of one of the paper's two synthetic sets (Table D2), as drawn.

    - linear (footnote 1): y = W_0 x with w_0,ij and x_i drawn from "N(0, N^{-1/2})";
    - trigonometric (footnote 2): y = (1 + eps) (cos pi x, sin pi x, cos 2 pi x, sin 2 pi x), x uniform on
      [-2, 2], one eps from "N(0, 0.03)" per sample.

    The print leaves two things open. N may be the width or the number of samples: here it is the width
    (the usual scaling). The second argument of N(0, .) may be a standard deviation or a variance: `reading`
    says which, a deviation by default (then ||W_0||_2 stays O(1) as the width grows).

    Args:
        kind: which set.
        width: n of the linear set, a positive integer; the trigonometric one has no width.
        samples: N >= 1.
        seed: a non-negative integer; the same seed gives the same numbers.
        reading: what the second argument of the printed N(0, .) is.

    Returns:
        x (N, n) and y (N, n), or x (N, 1) and y (N, 4); float64. The linear set of fewer samples is the
        beginning of that of more.

    Raises:
        DomainError: an unknown kind or reading, or a width, seed or samples that is not such an integer.
    """
    as_choice("kind", kind, get_args(SyntheticSet))
    as_choice("reading", reading, get_args(Reading))
    width, seed, samples = (
        as_integer("width", width),
        as_integer("seed", seed, 0),
        as_integer("samples", samples),
    )
    draw = np.random.default_rng([seed, 0 if kind == "linear" else 1])

    def normal(spread: float, shape: tuple[int, ...]) -> Floats:
        return draw.normal(scale=spread if reading == "deviation" else spread**0.5, size=shape)

    if kind == "linear":
        weights = normal(width**-0.5, (width, width))
        inputs = normal(width**-0.5, (samples, width))
        return inputs, inputs @ weights.T
    position = draw.uniform(-2.0, 2.0, size=samples)
    factor = 1.0 + normal(0.03, (samples,))
    waves = [f(k * np.pi * position) for k in (1, 2) for f in (np.cos, np.sin)]
    return position[:, None], factor[:, None] * np.stack(waves, axis=1)


def random_task(
    width: int,
    seed: int = 0,
    *,
    kind: SyntheticSet = "linear",
    samples: int = 10_000,
    reading: Reading = "deviation",
) -> Task:
    """One of the paper's two synthetic sets (`synthetic_samples`), whitened.

    The paper lifts the scalar x of the trigonometric set to its width by a trained first layer; a linear
    network has none, so x is lifted to the first n Legendre polynomials. The scale of the linear set's x
    disappears in the whitening.

    Args:
        width: n, a positive integer.
        seed: a non-negative integer; the same seed gives the same numbers.
        kind: which set.
        samples: N, at least `width` (10,000 in the paper's linear experiment).
        reading: what the second argument of the printed N(0, .) is.

    Raises:
        DomainError: an unknown kind or reading, or a width or seed that is not such an integer.
        ShapeError: fewer samples than the width.
    """
    if as_integer("samples", samples) < as_integer("width", width):  # before any number is drawn
        raise ShapeError(f"width {width} needs at least {width} samples, not {samples}")
    inputs, targets = synthetic_samples(kind, width, samples, seed, reading)
    if kind == "linear":
        return whitened_task(inputs, targets, width)
    return whitened_task(np.polynomial.legendre.legvander(inputs[:, 0] / 2.0, width - 1), targets, width)


def load_task(
    name: str,
    width: int,
    *,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    download: bool = False,
) -> tuple[Task, str]:
    """A whitened task by name, and the identity of its data for the record.

    Args:
        name: "random" (the paper's linear set), "trigonometric", or a data set of
            `dlinear.data.datasets.load`, of which the training images and labels are taken.
        width: n.
        seed: of the two synthetic sets; the others ignore it.
        folder: where to look for the data set first.
        download: fetch the official archives when no local copy is found.

    Returns:
        The task, and the sha256 of the data (for a synthetic set its name, width and seed).

    Raises:
        DataError: an unknown name, or data that are missing or damaged; and the errors of `whitened_task`.
    """
    as_known("data set", name, get_args(TaskName), DataError)
    if name in ("random", "trigonometric"):
        if folder is not None:
            as_place("folder", folder, DataError)
        task = random_task(width, seed, kind="trigonometric" if name == "trigonometric" else "linear")
        return task, f"{name} {width} {seed}"
    data = load(name, folder, download)
    return whitened_task(data.x_train, data.y_train, width), data.digest


def _are_labels(targets: NDArray[Any]) -> bool:
    return targets.ndim == 1 and targets.dtype.kind in "iub"


def _one_hot(labels: NDArray[Any]) -> Floats:
    classes, index = np.unique(labels, return_inverse=True)
    return np.eye(len(classes))[index]


def _as_array(name: str, values: ArrayLike) -> NDArray[Any]:
    array = as_array(values)
    if array is None:
        raise ShapeError(f"{name} must hold real numbers in rows of one length, not {shown(values)}")
    return array


def _samples(name: str, values: ArrayLike) -> Floats:
    """The values as float64, refused when empty or not finite."""
    raw = _as_array(name, values)
    if raw.dtype.kind not in "fiub":
        raise ShapeError(f"{name} must hold real numbers, not {raw.dtype}")
    if raw.size == 0:
        raise ShapeError(f"{name} is empty: shape {raw.shape}")
    array = raw.astype(np.float64)
    if raw.dtype.kind == "f":
        good = np.isfinite(array.reshape(len(array), -1)).all(axis=1) if array.ndim else np.isfinite(array)
        if not good.all():
            raise NonFiniteError(f"{name} holds a NaN or an infinity in row {int(np.argmin(good))}")
    return array


def _signed(vectors: Floats) -> Floats:
    """Columns signed so that the entry of largest modulus is positive."""
    peak = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0)[None], axis=0)
    return vectors * np.where(peak < 0, -1.0, 1.0)


def _whiten(inputs: Floats, n: int) -> Floats:
    """The (N, n) whitened projection; a QR factor taken block by block keeps memory at a few blocks."""
    samples, features = inputs.shape
    inputs = inputs / (np.abs(inputs).max() or 1.0)
    # R of the QR decomposition of all rows: x^T x = R^T R
    factor = np.empty((0, features))
    for start in range(0, samples, 4 * features):
        factor = np.asarray(np.linalg.qr(np.vstack([factor, inputs[start : start + 4 * features]]), mode="r"))
    _, values, right = np.linalg.svd(factor, full_matrices=False)
    rank = int(np.sum(values > max(samples, features) * np.finfo(np.float64).eps * values[0]))
    if rank < n:
        raise DomainError(f"x has numerical rank {rank}: it can be whitened to at most that width, not {n}")
    # x V_n diag(sqrt(N)/s): the leading right singular vectors, rescaled
    white = inputs @ (_signed(right[:n].T) * (samples**0.5 / values[:n]))
    # x (x^T x/N)^{-1/2} once more: removes the rounding errors of relative size s_1/s_n from the covariance.
    moments, frame = np.linalg.eigh(white.T @ white / samples)
    polished: Floats = white @ ((frame / np.sqrt(moments)) @ frame.T)
    return polished
