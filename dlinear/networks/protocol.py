"""What a deep linear network is: depth T, width n, and the deviations of its layers, by chunks.

Layer t is W(t) = I + D(t). Every network answers `deviations(start, stop)` with the layers start..stop-1 as
an array (stop - start, n, n), and any chunk, in any order, holds the same numbers. `D(t) = W~(t)/T` in the
paper's letters (Theorem 3.4).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from dlinear.checks import as_array, as_integer, shown
from dlinear.errors import NonFiniteError, ShapeError

Matrix = Float[np.ndarray, "n n"]
Layers = Float[np.ndarray, "k n n"]
LayerPath = Callable[[float], np.ndarray]
Scale = Literal["1/T", "1/sqrt(T)"]


@runtime_checkable
class Network(Protocol):
    """Depth, width and deviations by chunk: all that the rest of the library asks of a network."""

    @property
    def depth(self) -> int:
        """Number of layers T."""

    @property
    def width(self) -> int:
        """Width n of every layer."""

    def deviations(self, start: int, stop: int) -> Layers:
        """Deviations D(start), ..., D(stop - 1) with W(t) = I + D(t), shape (stop - start, n, n)."""


def check_finite(layers: np.ndarray, first_layer: int) -> None:
    """Raise `NonFiniteError` naming the first layer that holds NaN or infinity.

    A sum is finite only if every term is, and costs one pass without a temporary.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(layers.sum()):
            return
    bad = np.flatnonzero(~np.isfinite(layers).all(axis=(1, 2)))
    if bad.size:
        raise NonFiniteError(
            f"layer {first_layer + int(bad[0])} holds NaN or infinity ({bad.size} such layers in this chunk)"
        )


def read_layers(net: Network, start: int, stop: int) -> Layers:
    """Layers start..stop-1 of any network as float64, (stop - start, n, n), shape and kind checked."""
    layers = np.asarray(net.deviations(start, stop))
    if layers.shape != (stop - start, net.width, net.width) or layers.dtype.kind not in "fiu":
        raise ShapeError(
            f"deviations({start}, {stop}) of the network have shape {layers.shape} and dtype {layers.dtype}; "
            f"expected real ({stop - start}, {net.width}, {net.width})"
        )
    return layers.astype(np.float64, copy=False)


def as_layer_array(array: object) -> np.ndarray:
    """Layers as float64, (T, n, n) with T, n >= 1, or `ShapeError`."""
    layers = as_array(array)
    if layers is None:
        what = "ragged lists" if isinstance(array, list | tuple) else shown(array)
        raise ShapeError(f"layers are {what}; expected an array (T, n, n)")
    if layers.ndim != 3 or layers.shape[1] != layers.shape[2] or 0 in layers.shape:
        raise ShapeError(f"layers have shape {layers.shape}; expected (T, n, n) with T >= 1 and n >= 1")
    if layers.dtype.kind not in "fiu":
        raise ShapeError(f"layers have dtype {layers.dtype}; expected real numbers")
    return layers.astype(np.float64, copy=False)


def set_frozen(net: object, **values: object) -> None:
    """Set attributes of a frozen dataclass in its `__post_init__`."""
    for name, value in values.items():
        object.__setattr__(net, name, value)


def check_chunk(net: Network, start: object, stop: object) -> tuple[int, int]:
    """start and stop as Python integers with 0 <= start <= stop <= T."""
    for value in (start, stop):
        if not isinstance(value, int | np.integer) or isinstance(value, bool):
            raise ShapeError(
                f"layers {shown(start, 40)}..{shown(stop, 40)} asked for; expected integers in 0..{net.depth}"
            )
    first, last = int(start), int(stop)  # type: ignore[call-overload]
    if not 0 <= first <= last <= net.depth:
        raise ShapeError(
            f"layers {shown(first, 40)}..{shown(last, 40)} asked for; "
            f"allowed are 0 <= start <= stop <= {net.depth}"
        )
    return first, last


def path_width(path: Callable[[np.ndarray], np.ndarray]) -> int:
    """n of A(s), (n, n), or `ShapeError`."""
    try:
        layer = np.asarray(path(np.array([0.5])))
    except (TypeError, ValueError, IndexError) as error:
        raise ShapeError(f"path cannot be evaluated at s = 0.5 ({error}); expected s -> (n, n)") from error
    if layer.ndim != 2 or layer.shape[0] != layer.shape[1] or layer.size == 0:
        raise ShapeError(f"path(s) has shape {layer.shape}; expected (n, n)")
    if not np.isfinite(layer).all():
        raise NonFiniteError("path(0.5) holds NaN or infinity")
    return len(layer)


def as_phi(phi: object, net: Network) -> Matrix:
    """Phi as a finite float64 matrix of the network's width, or `ShapeError` / `NonFiniteError`."""
    if not isinstance(net, Network):
        raise ShapeError(
            f"the network is a {type(net).__name__}; expected depth, width and deviations(start, stop)"
        )
    for name in ("depth", "width"):
        as_integer(f"the network's {name}", getattr(net, name), error=ShapeError)
    matrix = as_array(phi)
    if matrix is None:
        what = "a ragged list" if isinstance(phi, list | tuple) else shown(phi)
        raise ShapeError(f"phi is {what}; expected ({net.width}, {net.width})")
    if matrix.shape != (net.width, net.width) or matrix.dtype.kind not in "fiu":
        raise ShapeError(
            f"phi has shape {matrix.shape} and dtype {matrix.dtype}; "
            f"expected real ({net.width}, {net.width}), the network's width"
        )
    matrix = matrix.astype(np.float64, copy=False)
    if not np.isfinite(matrix).all():
        raise NonFiniteError("phi holds NaN or infinity")
    return matrix
