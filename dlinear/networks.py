"""What a deep linear network is: depth T, width n, and the deviations of its layers, by chunks.

Layer t is W(t) = I + D(t). Every class here answers `deviations(start, stop)` with the layers
start..stop-1 as an array (stop - start, n, n), and any chunk, in any order, holds the same numbers.
`D(t) = W~(t)/T` in the paper's letters (Theorem 3.4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from dlinear.errors import DomainError, NonFiniteError, ShapeError
from dlinear.normals import standard_normals
from dlinear.normals_torch import haar, on_device, standard_normals_on

Matrix = Float[np.ndarray, "n n"]
Layers = Float[np.ndarray, "k n n"]
Path = Callable[[float], np.ndarray]
Scale = Literal["1/T", "1/sqrt(T)"]

# One stream of random numbers for each kind of ensemble: equal seeds do not make them equal.
_GAUSSIAN_STREAM, _ORTHOGONAL_STREAM = 0, 1


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


class DenseNetwork:
    """A network held in memory.

    Args:
        deviations: shape (T, n, n); W(t) = I + deviations[t]. Not copied when it is float64 already.

    Raises:
        ShapeError: not of shape (T, n, n) with T, n >= 1, or not real numbers.
        NonFiniteError: a layer holds NaN or infinity; the message names the first one.
    """

    def __init__(self, deviations: np.ndarray) -> None:
        self._deviations = _as_layers(deviations)
        check_finite(self._deviations, first_layer=0)

    @classmethod
    def from_weights(cls, weights: np.ndarray) -> DenseNetwork:
        """The network whose layers are `weights`, shape (T, n, n): deviations[t] = weights[t] - I."""
        weights = _as_layers(weights)
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
        """A view of layers start..stop-1, shape (stop - start, n, n)."""
        start, stop = _check_chunk(self, start, stop)
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

    path: Path
    depth: int
    vectorized: bool = False
    width: int = field(init=False)

    def __post_init__(self) -> None:
        _set_plain(self, depth=_whole("depth", self.depth))
        _set_plain(self, width=_path_width(lambda s: self._along(s)[0]))

    def _along(self, positions: np.ndarray) -> np.ndarray:
        if self.vectorized:
            return np.asarray(self.path(positions), dtype=np.float64)  # type: ignore[arg-type]
        return np.array([self.path(float(s)) for s in positions], dtype=np.float64)

    def deviations(self, start: int, stop: int) -> Layers:
        """Layers start..stop-1, shape (stop - start, n, n)."""
        start, stop = _check_chunk(self, start, stop)
        if start == stop:
            return np.empty((0, self.width, self.width))
        return self._along((np.arange(start, stop) + 0.5) / self.depth) / self.depth


@dataclass(frozen=True)
class ConstantNetwork:
    """The same layer at every depth: D(t) = matrix/T."""

    matrix: np.ndarray
    depth: int

    def __post_init__(self) -> None:
        _set_plain(self, depth=_whole("depth", self.depth), matrix=_as_layers([self.matrix])[0])
        check_finite(self.matrix[None], first_layer=0)

    @property
    def width(self) -> int:
        """Width n of every layer."""
        return int(self.matrix.shape[0])

    def deviations(self, start: int, stop: int) -> Layers:
        """Layers start..stop-1, shape (stop - start, n, n)."""
        start, stop = _check_chunk(self, start, stop)
        return np.tile(self.matrix / self.depth, (stop - start, 1, 1))


@dataclass(frozen=True)
class GaussianNetwork:
    """Independent Gaussian layers about an optional mean: D(t) = mean/T + rho Xi(t) (Theorem C).

    The entries of Xi(t) are independent N(0, 1/n).

    Args:
        depth: number of layers T.
        width: n.
        scale: "1/T" (the paper's) gives rho = sigma/T; "1/sqrt(T)" (standard residual scaling) gives
            rho = sigma/sqrt(T).
        sigma: size of the random part, >= 0.
        mean: None, an (n, n) matrix, or a path A(s); always divided by T.
        seed: integer in 0..2^64-1.
    """

    depth: int
    width: int
    scale: Scale = "1/T"
    sigma: float = 1.0
    mean: np.ndarray | Path | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        _set_plain(self, width=_whole("width", self.width))
        _check_random(self)
        if self.mean is not None and (mean := mean_network(self.mean, self.depth)).width != self.width:
            raise ShapeError(f"mean has width {mean.width}, the network has width {self.width}")

    def deviations(self, start: int, stop: int) -> Layers:
        """Layers start..stop-1, shape (stop - start, n, n)."""
        start, stop = _check_chunk(self, start, stop)
        out = _gaussian_layers(self, _GAUSSIAN_STREAM, start, stop)
        out *= random_scale(self.scale, self.depth, self.sigma) / np.sqrt(self.width)
        if self.mean is not None:
            out += mean_network(self.mean, self.depth).deviations(start, stop)
        return out

    def deviations_on(self, start: int, stop: int, device: str) -> Any:
        """`deviations` as a torch tensor, the random part made on the device: the same to rounding."""
        start, stop = _check_chunk(self, start, stop)
        out = _gaussian_layers_on(device, self, _GAUSSIAN_STREAM, start, stop)
        out *= random_scale(self.scale, self.depth, self.sigma) / np.sqrt(self.width)
        if self.mean is not None:
            mean = mean_network(self.mean, self.depth)
            constant = isinstance(mean, ConstantNetwork)  # one layer is all of them, and travels once
            out += on_device(mean.deviations(start, start + 1 if constant else stop), device)
        return out


@dataclass(frozen=True)
class MixedNetwork:
    """Smooth layers plus independent Gaussian ones: D(t) = path((t + 1/2)/T)/T + rho Xi(t)."""

    path: Path
    depth: int
    sigma: float = 1.0
    scale: Scale = "1/T"
    seed: int = 0
    vectorized: bool = False

    def __post_init__(self) -> None:
        _check_random(self)

    @property
    def _smooth(self) -> SmoothNetwork:
        return SmoothNetwork(self.path, self.depth, self.vectorized)

    @property
    def _rough(self) -> GaussianNetwork:
        return GaussianNetwork(self.depth, self.width, self.scale, self.sigma, seed=self.seed)

    @property
    def width(self) -> int:
        """Width n of every layer."""
        return self._smooth.width

    def deviations(self, start: int, stop: int) -> Layers:
        """Layers start..stop-1, shape (stop - start, n, n)."""
        layers = self._smooth.deviations(start, stop)
        layers += self._rough.deviations(start, stop)
        return layers

    def deviations_on(self, start: int, stop: int, device: str) -> Any:
        """`deviations` as a torch tensor, the random part made on the device: the same to rounding."""
        layers = self._rough.deviations_on(start, stop, device)
        layers += on_device(self._smooth.deviations(start, stop), device)
        return layers


@dataclass(frozen=True)
class OrthogonalNetwork:
    """Independent orthogonal deviations: D(t) = rho Q(t), Q(t) Haar-distributed, so ||W~||_2 = sigma.

    The entries of Q have mean 0, variance 1/n and no correlation, as those of Xi in `GaussianNetwork`:
    Theorem C holds with the same constants, and Theorem A with c = sigma.
    """

    depth: int
    width: int
    scale: Scale = "1/T"
    sigma: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        _set_plain(self, width=_whole("width", self.width))
        _check_random(self)

    def deviations(self, start: int, stop: int) -> Layers:
        """Layers start..stop-1, shape (stop - start, n, n)."""
        start, stop = _check_chunk(self, start, stop)
        q, r = np.linalg.qr(_gaussian_layers(self, _ORTHOGONAL_STREAM, start, stop))
        # The signs of R's diagonal make Q Haar and unique (Mezzadri, Notices AMS 54, 2007).
        q *= np.where(np.diagonal(r, axis1=1, axis2=2) < 0, -1.0, 1.0)[:, None, :]
        layers: Layers = q
        layers *= random_scale(self.scale, self.depth, self.sigma)
        return layers

    def deviations_on(self, start: int, stop: int, device: str) -> Any:
        """`deviations` as a torch tensor made on the device: the same to rounding."""
        start, stop = _check_chunk(self, start, stop)
        layers = haar(_gaussian_layers_on(device, self, _ORTHOGONAL_STREAM, start, stop))
        layers *= random_scale(self.scale, self.depth, self.sigma)
        return layers


def mean_network(mean: np.ndarray | Path, depth: int) -> SmoothNetwork | ConstantNetwork:
    """The deterministic network of a mean given as a path or as a matrix."""
    return SmoothNetwork(mean, depth) if callable(mean) else ConstantNetwork(mean, depth)


def random_scale(scale: Scale, depth: int, sigma: float) -> float:
    """The factor rho of the random part: sigma/T or sigma/sqrt(T)."""
    return sigma / depth if scale == "1/T" else sigma / float(np.sqrt(depth))


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


def _gaussian_layers(net: GaussianNetwork | OrthogonalNetwork, stream: int, start: int, stop: int) -> Layers:
    size = net.width * net.width
    numbers = standard_normals(net.seed, stream, start * size, stop * size)
    return numbers.reshape(stop - start, net.width, net.width)


def _gaussian_layers_on(
    device: str, net: GaussianNetwork | OrthogonalNetwork, stream: int, start: int, stop: int
) -> Any:
    size = net.width * net.width
    numbers = standard_normals_on(device, net.seed, stream, start * size, stop * size)
    return numbers.reshape(stop - start, net.width, net.width)


def read_layers(net: Network, start: int, stop: int) -> Layers:
    """Layers start..stop-1 of any network as float64, (stop - start, n, n), shape and kind checked."""
    layers = np.asarray(net.deviations(start, stop))
    if layers.shape != (stop - start, net.width, net.width) or layers.dtype.kind not in "fiu":
        raise ShapeError(
            f"deviations({start}, {stop}) of the network have shape {layers.shape} and dtype {layers.dtype}; "
            f"expected real ({stop - start}, {net.width}, {net.width})"
        )
    return layers.astype(np.float64, copy=False)


def _as_layers(array: object) -> np.ndarray:
    try:
        layers = np.asarray(array)
    except ValueError as error:  # ragged lists
        raise ShapeError("layers are ragged lists; expected an array (T, n, n)") from error
    if layers.ndim != 3 or layers.shape[1] != layers.shape[2] or 0 in layers.shape:
        raise ShapeError(f"layers have shape {layers.shape}; expected (T, n, n) with T >= 1 and n >= 1")
    if layers.dtype.kind not in "fiu":
        raise ShapeError(f"layers have dtype {layers.dtype}; expected real numbers")
    return layers.astype(np.float64, copy=False)


def _whole(name: str, value: object, low: int = 1, high: int | None = None) -> int:
    """A Python integer: arithmetic with numpy's small ones would wrap around."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or int(value) < low:
        raise DomainError(f"{name} is {value!r}; expected an integer >= {low}")
    if high is not None and int(value) > high:
        raise DomainError(f"{name} is {value!r}; expected an integer in {low}..{high}")
    return int(value)


def _set_plain(net: object, **values: object) -> None:
    for name, value in values.items():
        object.__setattr__(net, name, value)


def _check_random(net: GaussianNetwork | MixedNetwork | OrthogonalNetwork) -> None:
    """Check what the random ensembles share, and hold it as plain Python numbers."""
    if net.scale not in ("1/T", "1/sqrt(T)"):
        raise DomainError(f"scale is {net.scale!r}; expected '1/T' or '1/sqrt(T)'")
    sigma = net.sigma
    number = isinstance(sigma, int | float | np.integer | np.floating) and not isinstance(sigma, bool)
    if not number or not np.isfinite(sigma) or sigma < 0:
        raise DomainError(f"sigma is {sigma!r}; expected a finite number >= 0")
    _set_plain(
        net,
        depth=_whole("depth", net.depth),
        sigma=float(sigma),
        seed=_whole("seed", net.seed, 0, 2**64 - 1),
    )


def _check_chunk(net: Network, start: object, stop: object) -> tuple[int, int]:
    """start and stop as Python integers with 0 <= start <= stop <= T."""
    for value in (start, stop):
        if not isinstance(value, int | np.integer) or isinstance(value, bool):
            raise ShapeError(f"layers {start!r}..{stop!r} asked for; expected integers in 0..{net.depth}")
    first, last = int(start), int(stop)  # type: ignore[call-overload]
    if not 0 <= first <= last <= net.depth:
        raise ShapeError(f"layers {first}..{last} asked for; allowed are 0 <= start <= stop <= {net.depth}")
    return first, last


def _path_width(path: Callable[[np.ndarray], np.ndarray]) -> int:
    try:
        shape = np.shape(path(np.array([0.5])))
    except (TypeError, ValueError, IndexError) as error:
        raise ShapeError(f"path cannot be evaluated at s = 0.5 ({error}); expected s -> (n, n)") from error
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] == 0:
        raise ShapeError(f"path(s) has shape {shape}; expected (n, n)")
    return int(shape[0])


def as_phi(phi: np.ndarray, net: Network) -> Matrix:
    """Phi as a finite float64 matrix of the network's width, or `ShapeError` / `NonFiniteError`."""
    if not isinstance(net, Network):
        raise ShapeError(
            f"the network is a {type(net).__name__}; expected depth, width and deviations(start, stop)"
        )
    try:
        matrix = np.asarray(phi)
    except ValueError as error:
        raise ShapeError(f"phi is a ragged list; expected ({net.width}, {net.width})") from error
    if matrix.shape != (net.width, net.width) or matrix.dtype.kind not in "fiu":
        raise ShapeError(
            f"phi has shape {matrix.shape} and dtype {matrix.dtype}; "
            f"expected real ({net.width}, {net.width}), the network's width"
        )
    matrix = matrix.astype(np.float64, copy=False)
    if not np.isfinite(matrix).all():
        raise NonFiniteError("phi holds NaN or infinity")
    return matrix
