"""The arrays that the engine runs on: numpy on the CPU, torch on a GPU (or on the CPU, to compare).

The engine uses what both share (slices, views, in-place addition, `.mT`) and takes the rest from a backend.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from dlinear.errors import DomainError
from dlinear.networks.philox_torch import compiled_on
from dlinear.networks.protocol import Network, read_layers
from dlinear.optional import needed

Array = Any  # numpy.ndarray or torch.Tensor
Precision = Literal["float64", "float32"]
_PINNED = 1 << 20  # bytes from which a copy to a device goes by way of pinned memory
_threads = threading.local()  # the devices that a thread has met


_NOWHERE: AbstractContextManager[object] = contextlib.nullcontext()


class Backend(Protocol):
    """What the engine asks of an array library."""

    @property
    def precision(self) -> Precision:
        """Of the arrays."""

    @property
    def eps(self) -> float:
        """Relative rounding of the precision."""

    def here(self) -> AbstractContextManager[object]:
        """Kernels are launched on this device inside."""

    def layers(self, net: Network, start: int, stop: int) -> Array:
        """Deviations of layers start..stop-1, (stop - start, n, n)."""

    def array(self, values: np.ndarray) -> Array:
        """A numpy array in this library, precision and place."""

    def empty(self, *shape: int) -> Array:
        """An uninitialised array of this shape."""

    def eye(self, n: int) -> Array:
        """I, (n, n)."""

    def zeros(self, *shape: int) -> Array:
        """Zeros of this shape."""

    def edges(self, values: Sequence[np.ndarray]) -> Sequence[Array]:
        """Small matrices that the host has computed, one for each edge between chunks."""

    def matmul(self, a: Array, b: Array, out: Array) -> None:
        """out = a b over leading axes."""

    def inner(self, a: Array, b: Array) -> Any:
        """Inner product of all entries, a number that may still be on the device (`numbers`)."""

    def squares(self, layers: Array) -> Array:
        """Squared Frobenius norm of each matrix, float64."""

    def numbers(self, values: Sequence[Any]) -> np.ndarray:
        """What `inner` and sums have given, as numpy float64: all in one read from the device."""

    def both(self, a: Array, b: Array) -> tuple[np.ndarray, np.ndarray]:
        """Two arrays of one shape as numpy float64, in one read from the device."""

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

    def here(self) -> AbstractContextManager[object]:
        """Nothing: numpy has one place."""
        return _NOWHERE

    def layers(self, net: Network, start: int, stop: int) -> Array:
        """Deviations of layers start..stop-1, (stop - start, n, n)."""
        return read_layers(net, start, stop).astype(self.precision, copy=False)

    def array(self, values: np.ndarray) -> Array:
        """The values in this precision."""
        return np.asarray(values, dtype=self.precision)

    def empty(self, *shape: int) -> Array:
        """An uninitialised array of this shape."""
        return np.empty(shape, dtype=self.precision)

    def eye(self, n: int) -> Array:
        """I, (n, n)."""
        return np.eye(n, dtype=self.precision)

    def zeros(self, *shape: int) -> Array:
        """Zeros of this shape."""
        return np.zeros(shape, dtype=self.precision)

    def edges(self, values: Sequence[np.ndarray]) -> Sequence[Array]:
        """The matrices themselves."""
        return values

    def matmul(self, a: Array, b: Array, out: Array) -> None:
        """out = a b over leading axes."""
        np.matmul(a, b, out=out)

    def inner(self, a: Array, b: Array) -> float:
        """Inner product of all entries."""
        return float(np.dot(a.reshape(-1), b.reshape(-1)))

    def squares(self, layers: Array) -> Array:
        """Squared Frobenius norm of each matrix, float64."""
        norms: np.ndarray = np.einsum("kij,kij->k", layers, layers)
        return norms.astype(np.float64, copy=False)

    def numbers(self, values: Sequence[Any]) -> np.ndarray:
        """As numpy float64."""
        return np.array(values, dtype=np.float64)

    def both(self, a: Array, b: Array) -> tuple[np.ndarray, np.ndarray]:
        """As numpy float64."""
        return self.numpy(a), self.numpy(b)

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
    """torch on a device; random ensembles generate their layers there.

    "cuda" becomes the current device, "cuda:k": `torch.cuda.set_device` reaches one thread alone.
    """

    device: str = "cpu"
    precision: Precision = "float64"

    def __post_init__(self) -> None:
        torch = _torch()
        try:
            asked = torch.device(self.device).index
        except (RuntimeError, TypeError) as error:
            raise DomainError(f"device is {self.device!r}; expected 'cpu', 'cuda' or 'cuda:N'") from error
        if not self.on_cuda:
            return
        if not torch.cuda.is_available():
            raise DomainError(
                f"device {self.device!r} received, but torch sees no CUDA device here; use 'cpu'"
            )
        count = torch.cuda.device_count()
        index = torch.cuda.current_device() if asked is None else asked
        if index >= count:
            raise DomainError(f"device {self.device!r} received, but torch sees {count} CUDA devices here")
        object.__setattr__(self, "device", f"cuda:{index}")

    @property
    def eps(self) -> float:
        """Relative rounding of the precision."""
        return float(np.finfo(self.precision).eps)

    @property
    def on_cuda(self) -> bool:
        """Whether arrays are on a GPU."""
        return str(self.device).startswith("cuda")

    @property
    def kernel(self) -> str:
        """What scans over layers: "triton", kernels for all blocks at once; "products", those of torch."""
        return "triton" if self.precision == "float64" and compiled_on(self.device) else "products"

    @property
    def memory(self) -> int:
        """Bytes of the device, a quarter of which may be held between chunks; 0: that of the host."""
        if not self.on_cuda:
            return 0
        return int(_torch().cuda.get_device_properties(self.device).total_memory)

    def here(self) -> AbstractContextManager[object]:
        """Kernels are launched on this device inside."""
        return _torch().cuda.device(self.device) if self.on_cuda else _NOWHERE

    def _meet(self) -> None:
        """In a new thread: call CUDA's runtime, which makes its context this thread's. cuBLAS does not."""
        if not self.on_cuda or self.device in (met := vars(_threads).setdefault("met", set())):
            return
        with self.here():
            _torch().cuda.current_stream(self.device).query()
        met.add(self.device)

    def layers(self, net: Network, start: int, stop: int) -> Array:
        """Deviations of layers start..stop-1, (stop - start, n, n)."""
        self._meet()
        on_device = getattr(net, "deviations_on", None)
        if on_device is not None and (self.device != "cpu" or compiled_on(self.device)):
            with self.here():
                return on_device(start, stop, self.device).to(self._dtype)
        return self.array(read_layers(net, start, stop))

    def array(self, values: np.ndarray) -> Array:
        """The values in this precision, on the device; large ones by way of pinned memory."""
        torch, values = _torch(), np.ascontiguousarray(values)
        if self.on_cuda and values.nbytes >= _PINNED:
            pinned = torch.empty(values.shape, dtype=self._dtype, pin_memory=True)
            np.copyto(pinned.numpy(), values)
            return pinned.to(self.device, non_blocking=True)
        if not values.flags.writeable:  # torch has no read-only tensors
            values = values.copy()
        return torch.as_tensor(values).to(device=self.device, dtype=self._dtype)

    def empty(self, *shape: int) -> Array:
        """An uninitialised array of this shape."""
        return _torch().empty(shape, dtype=self._dtype, device=self.device)

    def eye(self, n: int) -> Array:
        """I, (n, n)."""
        return _torch().eye(n, dtype=self._dtype, device=self.device)

    def zeros(self, *shape: int) -> Array:
        """Zeros of this shape."""
        return _torch().zeros(shape, dtype=self._dtype, device=self.device)

    def edges(self, values: Sequence[np.ndarray]) -> Sequence[Array]:
        """The matrices on the device, in one array and one copy."""
        found: Sequence[Array] = self.array(np.stack(values)) if len(values) else []
        return found

    def matmul(self, a: Array, b: Array, out: Array) -> None:
        """out = a b over leading axes."""
        _torch().matmul(a, b, out=out)

    def inner(self, a: Array, b: Array) -> Array:
        """Inner product of all entries, on the device."""
        self._meet()  # often the first call of a thread to cuBLAS
        return _torch().dot(a.reshape(-1), b.reshape(-1))

    def squares(self, layers: Array) -> Array:
        """Squared Frobenius norm of each matrix, float64, on the device."""
        return (layers * layers).sum(dim=(1, 2), dtype=_torch().float64)

    def numbers(self, values: Sequence[Any]) -> np.ndarray:
        """As numpy float64, by one copy to the host; numbers that the host knows stay what they are."""
        torch = _torch()
        out = np.array([0.0 if torch.is_tensor(value) else value for value in values])
        here = [i for i, value in enumerate(values) if torch.is_tensor(value)]
        if here:
            out[here] = self.numpy(torch.stack([values[i].to(torch.float64) for i in here]))
        return out

    def both(self, a: Array, b: Array) -> tuple[np.ndarray, np.ndarray]:
        """As numpy float64, by one copy to the host."""
        found = self.numpy(_torch().stack([a, b]))
        return found[0], found[1]

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


@functools.cache
def _torch() -> Any:
    with needed("a torch device"):
        import torch
    return torch
