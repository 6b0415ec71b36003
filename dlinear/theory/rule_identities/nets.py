"""Random nets, batches and passes by hand: what the identities of learning rules are checked on.

h_l = sigma(W_l h_{l-1}), l = 1..L, the last layer linear, a sample in each column. Nothing here uses the
rules of the library: what `dlinear.rules` computes is compared with the same formulas in its tests.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Array = NDArray[Any]  # float64, or complex128 under `derivative`

LEAK = 0.2
STEP = 1e-40  # of `derivative`: below the rounding of everything else


class Activation(NamedTuple):
    """sigma, sigma' and the integral of sigma from 0; all three take complex arguments near the reals."""

    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    integral: Callable[[Array], Array]


def _leaky(leak: float) -> Activation:
    def share(a: Array) -> Array:
        return np.where(a.real > 0, 1.0, leak)

    return Activation(lambda a: share(a) * a, share, lambda a: share(a) * a**2 / 2)


def _sigmoid(a: Array) -> Array:
    return 1 / (1 + np.exp(-a))


ACTIVATIONS = {
    "identity": Activation(lambda a: a, np.ones_like, lambda a: a**2 / 2),
    "relu": _leaky(0.0),
    "leaky ReLU": _leaky(LEAK),
    "tanh": Activation(np.tanh, lambda a: 1 / np.cosh(a) ** 2, lambda a: np.log(np.cosh(a))),
    "sigmoid": Activation(
        _sigmoid, lambda a: _sigmoid(a) * _sigmoid(-a), lambda a: np.log((1 + np.exp(a)) / 2)
    ),
}


@dataclass(frozen=True)
class Net:
    """A net and a batch.

    Attributes:
        weights: W_1, ..., W_L, each (n_l, n_{l-1}).
        x: (n_0, N), whitened, x x^T = N I; `y`: targets (n_L, N).
        activation: a name of `ACTIVATIONS`.
    """

    weights: list[Floats]
    x: Floats
    y: Floats
    activation: str

    @property
    def sigma(self) -> Activation:
        """The activation of the hidden layers."""
        return ACTIVATIONS[self.activation]

    def run(self, x: Array) -> list[Array]:
        """h_0, ..., h_L."""
        h = [x]
        for layer, w in enumerate(self.weights, start=1):
            a = w @ h[-1]
            h.append(a if layer == len(self.weights) else self.sigma.value(a))
        return h

    @property
    def hidden(self) -> range:
        """1..L-1."""
        return range(1, len(self.weights))

    @property
    def states(self) -> list[Floats]:
        """h_0, ..., h_L of the batch."""
        return self.run(self.x)

    @property
    def error(self) -> Floats:
        """e = h_L - y, of |e|^2/2."""
        found: Floats = self.states[-1] - self.y
        return found

    def product(self, first: int, last: int) -> Floats:
        """W_last ... W_{first+1}; P_l for first = 0."""
        found = np.eye(self.weights[first].shape[1] if first < len(self.weights) else len(self.weights[-1]))
        for w in self.weights[first:last]:
            found = w @ found
        return found

    def true(self) -> list[Floats]:
        """Gradients of back-propagation of a linear net, summed over the samples."""
        h, e, depth = self.states, self.error, len(self.weights)
        return [self.product(layer, depth).T @ e @ h[layer - 1].T for layer in range(1, depth + 1)]


def whitened(rng: np.random.Generator, size: int, samples: int) -> Floats:
    """x, (size, samples), with x x^T = samples I."""
    q, _ = np.linalg.qr(rng.normal(size=(samples, size)))
    found: Floats = np.sqrt(samples) * q.T
    return found


def draw(
    rng: np.random.Generator,
    activation: str = "identity",
    widths: Sequence[int] | None = None,
    samples: int = 9,
) -> Net:
    """A net of three layers, 3 to 6 units each unless `widths` says otherwise; entries of W ~ 1/sqrt(n)."""
    sizes = rng.integers(3, 7, size=4).tolist() if widths is None else list(widths)
    weights = [rng.normal(size=(b, a)) / np.sqrt(a) for a, b in itertools.pairwise(sizes)]
    return Net(weights, whitened(rng, sizes[0], samples), rng.normal(size=(sizes[-1], samples)), activation)


def derivative(value: Callable[[Array], Array], at: Array, along: Array) -> Floats:
    """d/du value(at + u along) at u = 0 by one complex step: no difference is taken, so no digit is lost."""
    found: Floats = np.asarray(value(at + 1j * STEP * along)).imag / STEP
    return found


class Case(NamedTuple):
    """One random case of an identity: both sides, and what its false twin says of the left one."""

    left: Floats
    right: Floats
    twin: Floats

    @property
    def deviation(self) -> float:
        """max |left - right| over the largest entry."""
        return _apart(self.left, self.right)

    @property
    def twin_deviation(self) -> float:
        """max |left - twin| over the largest entry."""
        return _apart(self.left, self.twin)


class Bound(NamedTuple):
    """One random case of an upper bound, and a case in which its false twin is exceeded."""

    value: float
    bound: float
    hard: float
    false: float

    @property
    def deviation(self) -> float:
        """The excess over the bound, relative to it; 0 where it holds."""
        return max(0.0, self.value / self.bound - 1)

    @property
    def twin_deviation(self) -> float:
        """The same of the twin, where it is hard to keep."""
        return max(0.0, self.hard / self.false - 1)


def flat(matrices: Iterable[ArrayLike]) -> Floats:
    """All entries in one row."""
    return np.concatenate([np.ravel(matrix) for matrix in matrices])


def case(left: Iterable[ArrayLike], right: Iterable[ArrayLike], twin: Iterable[ArrayLike]) -> Case:
    """A case from lists of matrices, or of numbers."""
    return Case(flat(left), flat(right), flat(twin))


def _apart(one: Floats, other: Floats) -> float:
    size = max(float(np.abs(one).max()), float(np.abs(other).max()))
    return float(np.abs(one - other).max()) / size
