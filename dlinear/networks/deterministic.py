"""Deterministic networks: arrays in memory, smooth in depth, or one layer repeated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dlinear.checks import as_array, as_flag, as_integer, in_short, shown
from dlinear.errors import ShapeError
from dlinear.networks.protocol import (
    LayerPath,
    Layers,
    as_layer_array,
    check_chunk,
    check_finite,
    path_width,
    set_frozen,
)


def cosine_path(a0: np.ndarray, a1: np.ndarray) -> Callable[[Any], np.ndarray]:
    """A(s) = A_0 cos s + A_1 s, a path that is smooth in depth; s a number or an array.

    Args:
        a0, a1: (n, n).
    """

    def path(s: Any) -> np.ndarray:
        position = np.asarray(s, dtype=float)[..., None, None]
        found: np.ndarray = a0 * np.cos(position) + a1 * position
        return found

    return path


class DenseNetwork:
    """A network whose layers are one array in memory.

    Args:
        deviations: shape (T, n, n); W(t) = I + deviations[t]. Copied; the copy is read-only, so that the
            network stays what was checked.

    Raises:
        ShapeError: not of shape (T, n, n) with T, n >= 1, or not real numbers.
        NonFiniteError: a layer holds NaN or infinity; the message names the first one.
    """

    def __init__(self, deviations: np.ndarray) -> None:
        self._deviations = np.array(as_layer_array(deviations))
        self._deviations.flags.writeable = False
        check_finite(self._deviations, first_layer=0)

    @classmethod
    def from_weights(cls, weights: np.ndarray) -> DenseNetwork:
        """The network whose layers are `weights`, shape (T, n, n): deviations[t] = weights[t] - I."""
        weights = as_layer_array(weights)
        return cls(weights - np.eye(weights.shape[-1]))

    @property
    def depth(self) -> int:
        """Number of layers T."""
        return int(self._deviations.shape[0])

    @property
    def width(self) -> int:
        """Width n of every layer."""
        return int(self._deviations.shape[-1])

    @property
    def nbytes(self) -> int:
        """Bytes that the layers take."""
        return int(self._deviations.nbytes)

    def deviations(self, start: int, stop: int) -> Layers:
        """A read-only view of layers start..stop-1, shape (stop - start, n, n)."""
        start, stop = check_chunk(self, start, stop)
        return self._deviations[start:stop]

    def __repr__(self) -> str:
        return f"DenseNetwork(depth={self.depth}, width={self.width})"


@dataclass(frozen=True)
class SmoothNetwork:
    """Layers smooth in depth: D(t) = path((t + 1/2)/T)/T (theory of Theorem B).

    Args:
        path: A(s) of shape (n, n) for s in (0, 1); with `vectorized`, s of shape (k,) to (k, n, n).
        depth: number of layers T.
    """

    path: LayerPath
    depth: int
    vectorized: bool = False
    width: int = field(init=False)

    def __post_init__(self) -> None:
        set_frozen(self, depth=as_integer("depth", self.depth))
        set_frozen(self, vectorized=as_flag("vectorized", self.vectorized))
        set_frozen(self, width=path_width(lambda s: self._along(s)[0]))

    def _along(self, positions: np.ndarray) -> np.ndarray:
        if self.vectorized:
            found: Any = self.path(positions)  # type: ignore[arg-type]
        else:
            found = [as_array(self.path(float(s))) for s in positions]
        layers = as_array(found)
        if layers is None or layers.dtype.kind not in "fiu":
            raise ShapeError(f"path(s) is {shown(found)}; expected real numbers, (n, n)")
        return layers.astype(np.float64, copy=False)

    def deviations(self, start: int, stop: int) -> Layers:
        """Layers start..stop-1, shape (stop - start, n, n)."""
        start, stop = check_chunk(self, start, stop)
        if start == stop:
            return np.empty((0, self.width, self.width))
        return self._along((np.arange(start, stop) + 0.5) / self.depth) / self.depth


@dataclass(frozen=True, repr=False)
class ConstantNetwork:
    """The same layer at every depth: D(t) = matrix/T."""

    matrix: np.ndarray
    depth: int

    __repr__ = in_short

    def __post_init__(self) -> None:
        set_frozen(
            self, depth=as_integer("depth", self.depth), matrix=np.array(as_layer_array([self.matrix])[0])
        )
        check_finite(self.matrix[None], first_layer=0)

    @property
    def width(self) -> int:
        """Width n of every layer."""
        return int(self.matrix.shape[0])

    def deviations(self, start: int, stop: int) -> Layers:
        """Layers start..stop-1, shape (stop - start, n, n)."""
        start, stop = check_chunk(self, start, stop)
        return np.tile(self.matrix / self.depth, (stop - start, 1, 1))


def mean_network(mean: np.ndarray | LayerPath, depth: int) -> SmoothNetwork | ConstantNetwork:
    """The deterministic network of a mean given as a path or as a matrix."""
    return SmoothNetwork(mean, depth) if callable(mean) else ConstantNetwork(mean, depth)
