"""What autograd keeps of windows of h consecutive blocks, counted without the method that trains.

- eager: one window at a time. The most that any window keeps (`largest_window`) is what a step of horizon h
  has to keep.
- static: the graphs of all T - h + 1 windows exist at once, as in a computation graph that is built before it
  is run (`all_windows`): h (T - h + 1) equal blocks, appendix E.1. Every window runs its blocks for itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dlinear.bridge.data.losses import Supervised
from dlinear.bridge.models.stack import Stack

__all__ = ["all_windows", "largest_window", "states_of", "window_bytes"]


def states_of(stack: Stack, x: Tensor) -> list[Tensor]:
    """x(0), ..., x(T)."""
    states = [x]
    with torch.no_grad():
        for block in stack.blocks:
            states.append(block(states[-1]))
    return states


class _Kept:
    """The storages that autograd keeps, each once, without those of the model, the batch and the targets."""

    def __init__(self, stack: Stack, loss: Supervised) -> None:
        self.foreign = {p.untyped_storage().data_ptr() for p in [*stack.parameters(), *stack.buffers()]}
        self.foreign.add(loss.target.untyped_storage().data_ptr())
        self.storages: dict[int, torch.UntypedStorage] = {}
        self.alive: list[Tensor] = []  # inputs, whose addresses must not be used again, and ends of graphs

    def pack(self, tensor: Tensor) -> Tensor:
        """Count a tensor; an output with its history would keep itself alive."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.foreign:
            self.storages[storage.data_ptr()] = storage
        return tensor.detach()

    def count(self) -> int:
        """Bytes of all that was kept; the graphs, which hold this object by their hooks, are let go."""
        self.alive.clear()
        return sum(storage.nbytes() for storage in self.storages.values())


def _run(stack: Stack, state: Tensor, loss: Supervised, start: int, stop: int, kept: _Kept) -> None:
    """Run blocks start..stop-1 and the loss after them; `kept` holds what their graph keeps."""
    z = state.clone().requires_grad_(start > 0)
    if not start:  # the batch was there before
        kept.foreign.add(z.untyped_storage().data_ptr())
    kept.alive.append(z)
    with torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda tensor: tensor):
        for block in stack.blocks[start:stop]:
            z = block(z)
        kept.alive.append(loss(stack.readout(z, stop)))


def window_bytes(stack: Stack, state: Tensor, loss: Supervised, start: int, stop: int) -> int:
    """Bytes of the storages that autograd keeps of blocks start..stop-1 and the loss, each once."""
    kept = _Kept(stack, loss)
    _run(stack, state, loss, start, stop, kept)
    return kept.count()


def largest_window(stack: Stack, states: list[Tensor], loss: Supervised, horizon: int) -> int:
    """The most bytes that autograd keeps of h consecutive blocks and the loss after them.

    Args:
        stack: the model.
        states: x(0), ..., x(T), of `states_of`.
        loss: of a batch.
        horizon: h in 1..T.
    """
    ends = range(horizon, stack.depth + 1)
    return max(window_bytes(stack, states[s - horizon], loss, s - horizon, s) for s in ends)


def all_windows(stack: Stack, states: list[Tensor], loss: Supervised, horizon: int) -> int:
    """Bytes that autograd keeps of all T - h + 1 windows of h blocks, whose graphs are alive together.

    Args:
        stack, states, loss, horizon: as of `largest_window`.
    """
    kept = _Kept(stack, loss)
    for s in range(horizon, stack.depth + 1):
        _run(stack, states[s - horizon], loss, s - horizon, s, kept)
    return kept.count()
