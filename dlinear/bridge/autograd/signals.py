"""What is injected at the end x(s) of a window: its own loss, or the gradient at x(T) that came before.

The rules of a horizon differ in this alone (`dlinear.engine.rule`), beside the ends s that are visited. With
S a stand-in for the unseen blocks s, ..., T - 1 (`coarse_tail`; none: S = I) and r = grad L(x(T)):

    grad L(S(x(s)))        own losses; the plain horizon for S = I
    S'(x(s))^T r           anchored
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from dlinear.bridge.autograd import block_graph
from dlinear.bridge.autograd.backward_hooks import Tables
from dlinear.bridge.autograd.block_graph import BlockGraph
from dlinear.bridge.autograd.block_run import run_block
from dlinear.bridge.autograd.blocks import Block, LossFunction, Readout, end_of, given
from dlinear.bridge.autograd.coarse_tail import CoarseTail
from dlinear.bridge.autograd.ends import Ends, copied
from dlinear.bridge.autograd.gradient_sum import GradientSum
from dlinear.bridge.autograd.graph_history import History, Signal
from dlinear.bridge.autograd.replay import Replay
from dlinear.bridge.autograd.states import is_residual


class Injected(NamedTuple):
    """What is injected at x(s).

    Attributes:
        state: x(s) for the next block.
        signal: the gradient with respect to x(s).
        leaves, found: trainable tensors that the loss at s depends on directly, and their gradients.
        end: the graph of the loss at s, where it goes on from the blocks' own: `signal` is then that of the
            loss, and `found` is for the window to find.
    """

    state: Any
    signal: Signal
    leaves: Sequence[Tensor] = ()
    found: Sequence[Tensor | None] = ()
    end: BlockGraph | None = None


class Signals(Protocol):
    """How the blocks of one pass are run, and what is injected at the ends of the windows.

    Attributes:
        loss: L(x(T)), detached; known after the end at T, or before the pass.
    """

    loss: Tensor

    def run(
        self, t: int, state: Any, follow: bool, history: History | None = None, tables: Tables | None = None
    ) -> tuple[Any, BlockGraph]:
        """x(t + 1) and the graph of block t; `history` and `tables` as of `run_block`."""

    def at(self, state: Any, s: int, follow: bool, history: History | None = None) -> Injected:
        """The signal at x(s); `follow`: whether any block receives it.

        With the history of x(s) the loss may go on from the blocks' graph, if it trains nothing of theirs.
        """


class OwnLosses:
    """Each end of a window has a loss of its own: the value rule."""

    def __init__(
        self,
        blocks: Sequence[Block],
        loss_fn: LossFunction,
        readout: Readout | None,
        tail: CoarseTail | None = None,
    ) -> None:
        self.blocks, self.loss, self._one = blocks, torch.empty(0), torch.empty(0)
        self._ends = Ends(len(blocks), loss_fn, readout if tail is None else read_after(tail, readout))

    def run(
        self, t: int, state: Any, follow: bool, history: History | None = None, tables: Tables | None = None
    ) -> tuple[Any, BlockGraph]:
        """Block t runs for the first and only time."""
        return run_block(self.blocks[t], state, follow, t, history, tables)

    def at(self, state: Any, s: int, follow: bool, history: History | None = None) -> Injected:
        """grad L(x(s)), or grad L(S(x(s)))."""
        if follow and history is not None and history.state is not None and self._ends.reads_only:
            self.loss, end = self._ends.joined(state, s, history)
            if self._one.shape != self.loss.shape or self._one.dtype != self.loss.dtype:
                self._one = torch.ones_like(self.loss)
            return Injected(state, [self._one], end.leaves, (), end)
        self.loss, end, state = self._ends.at(state, s, follow)
        with block_graph.plain_precision(self.loss.device):
            signal, found = end.vjp([torch.ones_like(self.loss)], end.leaves, through=follow)
        return Injected(state, signal, end.leaves, found)


def read_after(tail: CoarseTail, readout: Readout | None) -> Callable[[Any, int], Any]:
    """The readout at T of the state after the coarse tail."""

    def after(z: Any, s: int) -> Any:
        z = tail(z, s)
        return z if readout is None else given("readout", readout, z, tail.depth)

    return after


class Anchored:
    """The gradient at x(T) stands for the one at x(s): a first pass, which stores no graph, finds it.

    Blocks that are not residual (`states.is_residual`) pull it back exactly: their input is kept until then.
    The blocks run again in the second pass with the same random numbers (`replay`).

    Attributes:
        direct: gradients of what readout and loss train, from the loss at x(T) alone.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        x: Any,
        loss_fn: LossFunction,
        readout: Readout | None,
        ends: Iterable[int],
        tail: CoarseTail | None = None,
        replay: Replay | None = None,
    ) -> None:
        """The first pass. `ends`: where a signal will be asked for; `replay`: of runs before, if any."""
        self.replay, self.direct, self._tail = replay or Replay(blocks, x), GradientSum(()), tail
        depth, first, state, kept = len(blocks), min(ends), x, dict[int, Any]()
        for t in range(depth):
            after = self.replay.advance(t, t + 1, state, keep=t == 0 or t >= first)
            if t >= first and not is_residual(blocks[t], state, after):
                kept[t] = state
            state = after
        del after
        self.loss, end = end_of(state, depth, loss_fn, readout, follow=True)
        del state
        with block_graph.plain_precision(self.loss.device):
            signal, found = end.vjp([torch.ones_like(self.loss)], end.leaves, through=True)
        self.direct.add(end.leaves, found)
        del end
        self._signals = {depth: signal}  # by the last s at which it is the gradient
        for t in sorted(kept, reverse=True):
            _, graph = self.replay.record(t, kept.pop(t), follow=True)
            with block_graph.plain_precision(self.loss.device):
                signal, _ = graph.vjp(signal, (), through=True)
            self._signals[t] = signal
            del graph

    def run(
        self, t: int, state: Any, follow: bool, history: History | None = None, tables: Tables | None = None
    ) -> tuple[Any, BlockGraph]:
        """Block t runs as in the first pass."""
        return self.replay.record(t, state, follow, history=history, tables=tables)

    def at(self, state: Any, s: int, follow: bool, history: History | None = None) -> Injected:
        """r, pulled through the blocks from s on that are not residual; S'(x(s))^T r with a coarse tail."""
        signal = self._signals[min(end for end in self._signals if end >= s)]
        if self._tail is not None and self._tail.runs_at(s) and follow:
            tail = self._tail
            _, graph = block_graph.run(lambda z: tail(z, s), copied(state), True, f"the rollout from s = {s}")
            with block_graph.plain_precision(self.loss.device):
                signal, _ = graph.vjp(signal, (), through=True)
        return Injected(state, signal)
