"""The arrays that the engine runs on: numpy on the CPU, torch on a GPU (or on the CPU, to compare).

The engine uses what both share (slices, views, in-place addition, `.mT`) and takes the rest from a backend.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from dlinear.errors import DomainError
from dlinear.networks.protocol import Network, read_layers
from dlinear.optional import needed

Array = Any  # numpy.ndarray or torch.Tensor
Precision = Literal["float64", "float32"]


class Backend(Protocol):
    """What the engine asks of an array library."""

    @property
    def eps(self) -> float:
        """Relative rounding of the precision."""

    def layers(self, net: Network, start: int, stop: int) -> Array:
        """Deviations of layers start..stop-1, (stop - start, n, n)."""

    def array(self, values: np.ndarray) -> Array:
        """A numpy array in this library, precision and place."""

    def empty(self, *shape: int) -> Array:
        """An uninitialised array of this shape."""

    def matmul(self, a: Array, b: Array, out: Array) -> None:
        """out = a b over leading axes."""

    def dot(self, a: Array, b: Array) -> float:
        """Inner product of all entries."""

    def squares(self, layers: Array) -> np.ndarray:
        """Squared Frobenius norm of each matrix, as numpy float64."""

    def scaled(self, layers: Array, factors: np.ndarray) -> Array:
        """Each matrix times its factor."""

    def suffix_sums(self, layers: Array, after: Array) -> Array:
        """after + layers[t] + ... + layers[k - 1] for t = 0..k, (k + 1, n, n)."""

    def numpy(self, values: Array) -> np.ndarray:
        """As numpy float64."""


@dataclass(frozen=True)
class NumpyBackend:
    """numpy on the CPU; matrix products release the interpreter, so chunks run in threads."""

    precision: Precision = "float64"

    @property
    def eps(self) -> float:
        """Relative rounding of the precision."""
        return float(np.finfo(self.precision).eps)

    def layers(self, net: Network, start: int, stop: int) -> Array:
        """Deviations of layers start..stop-1, (stop - start, n, n)."""
        return read_layers(net, start, stop).astype(self.precision, copy=False)

    def array(self, values: np.ndarray) -> Array:
        """The values in this precision."""
        return np.asarray(values, dtype=self.precision)

    def empty(self, *shape: int) -> Array:
        """An uninitialised array of this shape."""
        return np.empty(shape, dtype=self.precision)

    def matmul(self, a: Array, b: Array, out: Array) -> None:
        """out = a b over leading axes."""
        np.matmul(a, b, out=out)

    def dot(self, a: Array, b: Array) -> float:
        """Inner product of all entries."""
        return float(np.dot(a.reshape(-1), b.reshape(-1)))

    def squares(self, layers: Array) -> np.ndarray:
        """Squared Frobenius norm of each matrix, as numpy float64."""
        norms: np.ndarray = np.einsum("kij,kij->k", layers, layers)
        return norms.astype(np.float64, copy=False)

    def scaled(self, layers: Array, factors: np.ndarray) -> Array:
        """Each matrix times its factor."""
        return layers * factors.astype(self.precision)[:, None, None]

    def suffix_sums(self, layers: Array, after: Array) -> Array:
        """after + layers[t] + ... + layers[k - 1] for t = 0..k, (k + 1, n, n)."""
        out = self.empty(len(layers) + 1, *layers.shape[1:])
        out[-1] = after
        np.cumsum(layers[::-1], axis=0, out=out[-2::-1])
        out[:-1] += after
        return out

    def numpy(self, values: Array) -> np.ndarray:
        """As numpy float64."""
        return np.asarray(values, dtype=np.float64)


@dataclass(frozen=True)
class TorchBackend:
    """torch on a device; Gaussian ensembles generate their layers there."""

    device: str = "cpu"
    precision: Precision = "float64"

    def __post_init__(self) -> None:
        torch = _torch()
        if self.device.startswith("cuda") and not torch.cuda.is_available():
            raise DomainError(
                f"device {self.device!r} received, but torch sees no CUDA device here; use 'cpu'"
            )

    @property
    def eps(self) -> float:
        """Relative rounding of the precision."""
        return float(np.finfo(self.precision).eps)

    def layers(self, net: Network, start: int, stop: int) -> Array:
        """Deviations of layers start..stop-1, (stop - start, n, n)."""
        on_device = getattr(net, "deviations_on", None)
        if on_device is not None and self.device != "cpu":
            return on_device(start, stop, self.device).to(self._dtype)
        return self.array(read_layers(net, start, stop))

    def array(self, values: np.ndarray) -> Array:
        """The values in this precision, on the device."""
        values = np.ascontiguousarray(values)
        if not values.flags.writeable:  # torch has no read-only tensors
            values = values.copy()
        return _torch().as_tensor(values).to(device=self.device, dtype=self._dtype)

    def empty(self, *shape: int) -> Array:
        """An uninitialised array of this shape."""
        return _torch().empty(shape, dtype=self._dtype, device=self.device)

    def matmul(self, a: Array, b: Array, out: Array) -> None:
        """out = a b over leading axes."""
        out.copy_(a @ b)

    def dot(self, a: Array, b: Array) -> float:
        """Inner product of all entries."""
        return float(_torch().dot(a.reshape(-1), b.reshape(-1)))

    def squares(self, layers: Array) -> np.ndarray:
        """Squared Frobenius norm of each matrix, as numpy float64."""
        return self.numpy((layers * layers).sum(dim=(1, 2)))

    def scaled(self, layers: Array, factors: np.ndarray) -> Array:
        """Each matrix times its factor."""
        return layers * self.array(np.asarray(factors, dtype=np.float64))[:, None, None]

    def suffix_sums(self, layers: Array, after: Array) -> Array:
        """after + layers[t] + ... + layers[k - 1] for t = 0..k, (k + 1, n, n)."""
        sums = _torch().flip(_torch().cumsum(_torch().flip(layers, (0,)), 0), (0,))
        return _torch().cat([sums + after, after[None]])

    def numpy(self, values: Array) -> np.ndarray:
        """As numpy float64."""
        return np.asarray(values.detach().cpu().numpy(), dtype=np.float64)

    @property
    def _dtype(self) -> Any:
        return getattr(_torch(), self.precision)


def backend_for(device: str | None = None, precision: Precision = "float64") -> Backend:
    """numpy for `None`, torch for a device name ("cpu", "cuda", "cuda:1").

    Raises:
        DomainError: an unknown precision, or a device that is not there.
        MissingDependencyError: torch is not installed.
    """
    if precision not in ("float64", "float32"):
        raise DomainError(f"precision is {precision!r}; expected 'float64' or 'float32'")
    return NumpyBackend(precision) if device is None else TorchBackend(device, precision)


def _torch() -> Any:
    with needed("a torch device"):
        import torch
    return torch
