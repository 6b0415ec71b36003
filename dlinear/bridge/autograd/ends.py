"""The losses at the ends of the windows, each with its graph; x(s) stays what the next block is to read.

A readout or a loss may write into its argument (`nn.ReLU(inplace=True)`, `z.mul_(2)`). In one
back-propagation that harms nothing, since x(T) is not read again; here x(s) is. A copy is kept during the
first loss and compared, and where that writes, every later one works on a copy. Tensors count what is written
into them, so that a later loss that begins to write is refused.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge
from torch.utils import _pytree as pytree

from dlinear.bridge.autograd import block_graph, reentrant
from dlinear.bridge.autograd.block_graph import BlockGraph
from dlinear.bridge.autograd.blocks import LossFunction, Readout, end_of, loss_with_gradient
from dlinear.bridge.autograd.graph_history import Edges, History, leaves_between
from dlinear.bridge.autograd.naming import said_of
from dlinear.errors import DomainError, ShapeError


class Ends:
    """The losses of one pass over a stack of T blocks."""

    def __init__(self, depth: int, loss_fn: LossFunction, readout: Readout | None) -> None:
        self.depth, self.loss_fn, self.readout = depth, loss_fn, readout
        self._first: tuple[int, list[tuple[int, ...]]] | None = None
        self._writes: bool | None = (
            None  # whether readout or loss write into x(s); not known before the first
        )

    @property
    def reads_only(self) -> bool:
        """Whether the first loss has shown that readout and loss do not write into x(s)."""
        return self._writes is False

    def read(self, state: Any, s: int) -> Tensor:
        """L(x(s)) with its history, where `reads_only`.

        Raises:
            ShapeError, DomainError: as `at`.
        """
        if self.readout is None:
            self._check_shapes(state, s)
        before = state._version if isinstance(state, Tensor) else versions(state)
        loss = loss_with_gradient(state, s, self.loss_fn, self.readout)
        after = state._version if isinstance(state, Tensor) else versions(state)
        if s < self.depth and after != before:
            raise DomainError(_writes_now(s))
        return loss

    def joined(self, state: Any, s: int, history: History) -> tuple[Tensor, BlockGraph]:
        """L(x(s)), detached, and its graph, which goes on from the blocks' own, where `reads_only`.

        Raises:
            ShapeError, DomainError: as `at`; or readout and loss train what a block trains.
        """
        name = f"the loss at s = {s}"
        try:
            with reentrant.refused(name):
                loss = self.read(history.state, s)
        except Exception as error:
            said_of(error, name, state)
            raise
        outputs: Edges = [get_gradient_edge(loss)]
        leaves = leaves_between(outputs, history.edges, name, history, end=True)
        return loss.detach(), BlockGraph(history.edges, outputs, leaves, name)

    def at(self, state: Any, s: int, follow: bool) -> tuple[Tensor, BlockGraph, Any]:
        """L(x(s)), detached, the graph from x(s) to it, and x(s) for the next block.

        Raises:
            ShapeError: without a readout, x(s) has another shape than the first state with a loss; or the
                loss is not a real scalar.
            DomainError: gradients are to follow to x(s) and the loss has none; or the loss writes into x(s),
                which it did not do the first time.
        """
        if self.readout is None:
            self._check_shapes(state, s)
        if s == self.depth:
            return *self._end(state, s, follow), state
        if self._writes:
            return *self._end(copied(state), s, follow), state
        before, kept = versions(state), copied(state) if self._writes is None else None
        loss, end = self._end(state, s, follow)
        written = versions(state) != before or (kept is not None and _differ(state, kept))
        if written and kept is None:
            raise DomainError(_writes_now(s))
        self._writes = written
        return loss, end, kept if written else state

    def _end(self, state: Any, s: int, follow: bool) -> tuple[Tensor, BlockGraph]:
        return end_of(state, s, self.loss_fn, self.readout, follow)

    def _check_shapes(self, state: Any, s: int) -> None:
        shapes: list[tuple[int, ...]] = (
            [state.shape] if isinstance(state, Tensor) else block_graph.shapes(state)
        )
        first = self._first or (s, shapes)
        if first[1] != shapes:
            raise ShapeError(
                f"x({first[0]}) has shape {_words(first[1])} but x({s}) has {_words(shapes)}: the loss needs "
                "a common space; pass readout=lambda z, s: ... that maps both to it"
            )
        self._first = first


def _writes_now(s: int) -> str:
    return (
        f"readout or loss write into x({s}), but not into the states before it: "
        "let them work on a copy (z.clone())"
    )


def versions(state: Any) -> list[int]:
    """How often each tensor of a state has been written into."""
    return [tensor._version for tensor in block_graph.tensors(state)]


def _differ(state: Any, kept: Any) -> bool:
    """Whether the numbers are others: what is written through `.data` or numpy is not counted."""
    pairs = zip(block_graph.tensors(state), block_graph.tensors(kept), strict=True)
    return any(a.layout == torch.strided and not torch.equal(a, b) for a, b in pairs)


def copied(state: Any) -> Any:
    """The state with tensors of its own; those that are one stay one."""
    copies: dict[int, Tensor] = {}

    def copy(leaf: Any) -> Any:
        return copies.setdefault(id(leaf), leaf.clone()) if isinstance(leaf, Tensor) else leaf

    return pytree.tree_map(copy, state)


def _words(shapes: list[tuple[int, ...]]) -> str:
    plain = [tuple(shape) for shape in shapes]
    return str(plain[0]) if len(plain) == 1 else str(plain)
