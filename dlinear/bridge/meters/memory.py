"""How much memory a training step needs beside the model, and the fit M(h) = a h + b, eq. (11).

On any device, from the operations of one step (`step_memory`), two counts:

- `activations`: the peak of the bytes of all tensor storages that the step made and that are alive at once,
  less those that end as `.grad`. It includes all that a step keeps: what autograd saved, segments that
  checkpointing recomputes, states between blocks, tangents, gradients before they are added. It does not
  include workspace inside kernels (convolutions take some), which no method changes. In forward mode torch
  makes about 10 % more tensors while it is observed. Tables that compare methods use this count, since it
  covers every method's memory.
- `saved`: the peak of the bytes that autograd keeps for backward, a part of the first, and the subject of
  eq. (11). It does not include tensors that Python keeps, nor what `torch.utils.checkpoint` recomputes: that
  replaces the hooks which count, and `saved` is then None, since a number would be an underestimate.

On CUDA, by the allocator's own counters (`cuda_memory`).
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dlinear.bridge.autograd.blocks import (
    Block,
    GradientFunction,
    LossFunction,
    Readout,
    check_fills,
    checked_stack,
)
from dlinear.bridge.autograd.isolation import isolated
from dlinear.bridge.autograd.modules import modules_among, trainable
from dlinear.checks import as_floats
from dlinear.errors import DomainError, MeterError
from dlinear.theory import costs

__all__ = ["CudaMemory", "MemoryFit", "StepMemory", "cuda_memory", "fit_memory", "step_memory"]


@dataclass(frozen=True)
class StepMemory:
    """Peaks of one step, in bytes.

    Attributes:
        activations: storages that the step made, without those that end as `.grad`.
        gradients: storages that the step made and left in `.grad`.
        total: storages that the step made.
        saved: storages that autograd keeps for backward, each once, without parameters and batch; None where
            other hooks save the tensors (checkpointing).
    """

    activations: int
    gradients: int
    total: int
    saved: int | None


@dataclass(frozen=True)
class CudaMemory:
    """Bytes on a CUDA device during one step.

    Attributes:
        allocated: peak of the memory in use.
        reserved: peak of the memory that torch holds.
        parameters: parameters and buffers of the model.
        optimizer: state of the optimizer.
        activations: the peak above what was in use before the step. Gradients are in it as far as the step
            makes them before the peak; `step_memory` takes them out.
    """

    allocated: int
    reserved: int
    parameters: int
    optimizer: int
    activations: int


@dataclass(frozen=True)
class MemoryFit:
    """M(h) = a h + b, eq. (11), by least squares with b >= 0.

    Attributes:
        slope: a, bytes per block of horizon.
        offset: b, bytes.
        r_squared: share of the variance over horizons that the line explains.
    """

    slope: float
    offset: float
    r_squared: float

    def __call__(self, horizon: Any) -> Any:
        """Bytes at a horizon, a number or an array."""
        return costs.memory_model(horizon, self.slope, self.offset)


def step_memory(
    run: GradientFunction,
    blocks: Iterable[Block],
    x: Any,
    loss_fn: LossFunction,
    readout: Readout | None = None,
) -> StepMemory:
    """The memory of one step of a method after `zero_grad()`, bytes.

    Gradients, buffers and torch's random states are as before afterwards.

    Args:
        run: a `methods.Method`, or anything called as (blocks, x, loss_fn, readout=...).
        blocks: T modules or functions.
        x: x(0).
        loss_fn: z -> scalar.
        readout: as of the method.

    Raises:
        MeterError: a compiled block; its operations cannot be observed.
    """
    stack = checked_stack(blocks, x, loss_fn, readout)
    check_fills(run)
    modules = modules_among((*stack, readout, loss_fn))
    if any(hasattr(m, "_orig_mod") for top in modules for m in top.modules()):
        raise MeterError("a compiled block shows no operations: measure the memory of the block as it was")
    with isolated(modules, x):
        return _watched(partial(run, stack, x, loss_fn, readout=readout), trainable(modules))


def _watched(step: Callable[[], Any], trained: Sequence[Tensor]) -> StepMemory:
    gc.collect()
    storages = _Storages()
    saved = _Saved(storages)
    with storages, torch.autograd.graph.saved_tensors_hooks(saved.pack, saved.unpack):
        storages.mine = (saved.pack, saved.unpack)
        step()
    left = {storages.number_of(part) for p in trained for part in _parts(p.grad)}
    return StepMemory(
        activations=storages.peak(without=left),
        gradients=sum(size for number, size in storages.sizes.items() if number in left),
        total=storages.peak(without=set()),
        saved=None if storages.intercepted else saved.peak,
    )


class _Storages(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A log of the storages that operations make, and of when each is freed.

    A storage counts from the operation that returns it until it is freed. One that is an argument before any
    operation returned it existed before the step (parameters, the batch) and does not count.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.log: list[tuple[int, int]] = []  # (number, bytes gained or lost)
        self.sizes: dict[int, int] = {}
        self.intercepted = False
        self.mine: tuple[Any, Any] | None = None
        # by address; without a number: older than the log
        self._alive: dict[int, tuple[weakref.ref[Any], int | None]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        for part in (part for leaf in tree_leaves((args, kwargs)) for part in _parts(leaf)):
            self._meet(part, new=False)
        if self.mine is not None and _saving_hooks() not in (None, self.mine):
            self.intercepted = True
        result = func(*args, **(kwargs or {}))
        for part in (part for leaf in tree_leaves(result) for part in _parts(leaf)):
            self._meet(part, new=True)
        return result

    def _meet(self, part: Tensor, new: bool) -> None:
        storage = part.untyped_storage()
        address = storage._cdata
        if address in self._alive:
            return
        number = len(self.sizes) if new else None
        if number is not None:
            self.sizes[number] = storage.nbytes()
            self.log.append((number, storage.nbytes()))
        self._alive[address] = (weakref.ref(storage, partial(self._end, address, number)), number)

    def _end(self, address: int, number: int | None, _: Any) -> None:
        del self._alive[address]
        if number is not None:
            self.log.append((number, -self.sizes[number]))

    def number_of(self, tensor: Tensor) -> int | None:
        """Which storage of the log a dense tensor has; None for an older or unknown one."""
        entry = self._alive.get(tensor.untyped_storage()._cdata)
        return None if entry is None else entry[1]

    def peak(self, without: set[int | None]) -> int:
        """Most bytes alive at once."""
        changes = [change for number, change in self.log if number not in without]
        return max(0, int(np.cumsum(changes).max(initial=0)))


def _parts(value: Any) -> tuple[Tensor, ...]:
    """The dense tensors that hold a tensor's numbers: itself, or indices and values of a sparse one."""
    if not isinstance(value, Tensor):
        return ()
    if value.layout == torch.sparse_coo:
        return value._indices(), value._values()
    return (value,) if value.layout == torch.strided else ()


def _saving_hooks() -> Any:
    """The hooks that are called for what autograd saves now; torch has no public name for it."""
    return torch._C._autograd._top_saved_tensors_default_hooks(True)


class _Saved:
    """Bytes of the step's own storages that autograd keeps, each once, now and at the peak."""

    def __init__(self, storages: _Storages) -> None:
        self.peak = self._now = 0
        self._storages = storages
        self._holders: dict[int, int] = {}

    def pack(self, tensor: Tensor) -> _SavedTensor:
        """What autograd keeps in place of the tensor; it lives as long as autograd needs it."""
        saved = _SavedTensor(tensor.detach())  # without its history, or an output would keep itself alive
        for number in map(self._storages.number_of, _parts(tensor)):
            if number is None:
                continue
            self._holders[number] = self._holders.get(number, 0) + 1
            if self._holders[number] == 1:
                self._now += self._storages.sizes[number]
                self.peak = max(self.peak, self._now)
            weakref.finalize(saved, self._drop, number)
        return saved

    @staticmethod
    def unpack(saved: _SavedTensor) -> Tensor:
        """The tensor again."""
        return saved.tensor

    def _drop(self, number: int) -> None:
        self._holders[number] -= 1
        if not self._holders[number]:
            self._now -= self._storages.sizes[number]


class _SavedTensor:
    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def cuda_memory(
    step: Callable[[], Any],
    modules: Iterable[nn.Module],
    optimizer: torch.optim.Optimizer | None = None,
    device: str | torch.device = "cuda",
) -> CudaMemory:
    """The memory of one step on a CUDA device, by its allocator's counters.

    Args:
        step: a gradient, with or without the optimizer's step after it.
        modules: the model.
        optimizer: whose state to count.
        device: a CUDA device.

    Raises:
        MeterError: no CUDA device (its counters would say 0).
    """
    device = torch.device(device)
    if device.type != "cuda" or not torch.cuda.is_available():
        raise MeterError(f"device {device} has no memory counters here: use step_memory")
    gc.collect()
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step()
    torch.cuda.synchronize(device)
    allocated = torch.cuda.max_memory_allocated(device)
    states = optimizer.state.values() if optimizer is not None else ()
    return CudaMemory(
        allocated=allocated,
        reserved=torch.cuda.max_memory_reserved(device),
        parameters=_bytes(t for m in modules for t in (*m.parameters(), *m.buffers())),
        optimizer=_bytes(t for state in states for t in state.values() if isinstance(t, Tensor)),
        activations=allocated - before,
    )


def _bytes(tensors: Iterable[Tensor | None]) -> int:
    storages = {
        t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors if t is not None
    }
    return sum(storages.values())


def fit_memory(horizons: Any, memory: Any) -> MemoryFit:
    """Fit M(h) = a h + b, eq. (11), with b >= 0 as its domain asks.

    Args:
        horizons: at least three different ones (a line meets any two points).
        memory: bytes at each.

    Raises:
        DomainError: fewer points, what is no finite number, or memory that does not grow with the horizon.
    """
    pairs = (("horizons", horizons), ("memory", memory))
    h, m = (np.atleast_1d(as_floats(name, values, "a sequence of real numbers")) for name, values in pairs)
    if h.shape != m.shape or h.ndim != 1 or not (np.isfinite(h) & np.isfinite(m)).all():
        raise DomainError(f"{h.size} horizons and {m.size} sizes received; expected as many, all finite")
    if m.min() < 0:
        raise DomainError(f"memory holds {m.min():g}; expected bytes >= 0")
    if len(np.unique(h)) < 3:
        raise DomainError(f"{len(np.unique(h))} different horizons received; a line needs at least 3")
    centred = h - h.mean()
    slope = float(centred @ m / (centred @ centred))
    offset = float(m.mean() - slope * h.mean())
    if offset < 0:
        slope, offset = float(h @ m / (h @ h)), 0.0
    if slope <= 0:
        raise DomainError(f"memory of {m.min():g} to {m.max():g} bytes does not grow with the horizon")
    fitted = costs.memory_model(h, slope, offset)
    scatter = float(((m - m.mean()) ** 2).sum())
    return MemoryFit(slope, offset, 1 - float(((m - fitted) ** 2).sum()) / scatter)
