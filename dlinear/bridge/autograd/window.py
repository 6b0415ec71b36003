"""The blocks whose graphs are kept while they wait for a signal, and the way back through them.

Consecutive blocks may share one graph (a segment), cut at its start alone: a signal crosses them by one call
of the engine. A segment is freed as a whole: with g blocks in each, h + g - 1 blocks are kept instead of h.
Gradients are the same to the bit, for each leaf is trained by one block of a segment, and a call is for the
leaves of the blocks that receive the signal. Cut apart are functions, blocks that share parameters or have
backward hooks, and those that follow on a view, on a state that no gradient passes or the loss writes to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from dlinear.bridge.autograd import batched, block_graph, engine
from dlinear.bridge.autograd.block_graph import BlockGraph
from dlinear.bridge.autograd.blocks import Block
from dlinear.bridge.autograd.gradient_sum import GradientSum
from dlinear.bridge.autograd.graph_history import History, Signal
from dlinear.bridge.autograd.signals import Injected, Signals
from dlinear.bridge.autograd.survey import survey

Targets = Sequence[range]  # for s = 1..T: the blocks that receive the signal at x(s)


@dataclass(frozen=True)
class Segments:
    """Which blocks share a graph.

    Attributes:
        size: g, at most so many.
        stage: k, at most so many of those that receive the same signal and are freed together: they cost no
            memory. Where k >= g others do not share one.
        joined: whether the loss at an end goes on from the blocks' graph.
        batched: whether the signals of all ends in a segment cross those before it together: they wait for
            the last of them, and up to g - 1 more blocks are kept.
    """

    size: int = 1
    stage: int = 1
    joined: bool = False
    batched: bool = False


class Pending(NamedTuple):
    """A signal at x(t + 1) that came from the end s, and the blocks that receive it."""

    s: int
    receivers: Sequence[int]
    t: int
    signal: Signal


APART = Segments()


class Window:
    """The graphs of the blocks that wait for a loss, and the way back through them."""

    def __init__(self, blocks: Sequence[Block], x: Any, targets: Targets, segments: Segments = APART) -> None:
        self.segments, self.surveys = segments, [survey(block) for block in blocks]
        self.x, self.targets, self.vjps = x, targets, 0
        self.total = GradientSum(parameters=[one.parameters for one in self.surveys])
        self.reach = [0] * len(blocks)  # the last s whose loss a block receives
        for s, receivers in enumerate(targets, start=1):
            for t in receivers:
                self.reach[t] = s
        self.graphs: dict[int, BlockGraph] = {}
        self.starts: list[int] = []  # where the segment of each block begins
        self.trained: list[bool] = []
        self.oldest = 0  # the first block that waits for a loss
        self.history: History | None = None  # of the last state, where its graph may go on
        self.pending: list[Pending] = []  # signals of one segment, at its start, in increasing order of s
        self._state: Any = None  # the last state, without its history
        # whether a block may share its graph with a later one, or with the loss
        self.shares = max(segments.size, segments.stage) > 1 or segments.joined
        self._tied = False  # readout or loss train what a block trains

    def follows(self, t: int) -> bool:
        """Whether gradients have to pass through block t to what is before it."""
        return self.oldest < t if t else any(tensor.requires_grad for tensor in block_graph.tensors(self.x))

    def advance(self, t: int, state: Any, signals: Signals) -> Any:
        """Run block t and keep its graph; x(t + 1), without its history."""
        one = self.surveys[t]
        joins = self.shares and one.joins
        goes_on = joins and self.history is not None and self._goes_on(t, state)
        if not goes_on:
            self.history = History() if joins else None
            self.flush()
        follow = self.follows(t)
        self._state, graph = signals.run(t, state, follow, self.history, one.tables)
        self.starts.append(self.starts[t - 1] if goes_on else t)
        self.trained.append(bool(graph.leaves) or (t == 0 and follow))
        if graph.live:
            self.graphs[t] = graph
        return self._state

    def _goes_on(self, t: int, state: Any) -> bool:
        """Whether block t shares the graph of the block before it."""
        start, rule = self.starts[t - 1], self.segments
        same_signal = self.reach[t] == self.reach[start] and t - start < rule.stage
        return (
            (same_signal or (rule.stage < rule.size and t - start < rule.size))
            and self.history is not None
            and self.history.state is not None
            and state is self._state
            and not self.total.share(t, range(start, t))
        )

    def joinable(self) -> History | None:
        """The history of the last state, if the loss may go on from there."""
        return self.history if self.segments.joined and not self._tied else None

    def receivers(self, s: int) -> list[int]:
        """The blocks with something to train that receive the gradient of the loss at s."""
        return [t for t in self.targets[s - 1] if self.trained[t] and t in self.graphs]

    def take(self, s: int, injected: Injected, receivers: Sequence[int]) -> None:
        """Take the signal at x(s) back to its receivers."""
        if s == len(self.reach):
            self.history = None  # the last graphs are freed on the way back
            self.flush()
        if injected.end is None:
            self._tied = self._tied or self.total.owns(injected.leaves)
            self.total.add_direct(injected.leaves, injected.found, self.targets[s - 1])
        if receivers:
            if self.pending and max(self.starts[s - 1], receivers[0]) <= receivers[-1]:
                self.flush()  # those that wait need the graphs that this one frees on its way
            self._down(Pending(s, receivers, s - 1, injected.signal), injected.end)

    def flush(self) -> None:
        """Take the signals that wait at the start of a segment on, together as far as none is received."""
        pending, self.pending = self.pending, []
        if not pending:
            return
        t, together = pending[0].t, pending
        device = next((v.device for v in pending[0].signal if v is not None), torch.device("cpu"))
        with block_graph.plain_precision(device):
            while together:
                first = self.starts[t]
                later = [one for one in together if first > 0 and one.receivers[-1] < first]
                if len(later) == 1 or t not in self.graphs:
                    later = []
                ended = together[len(later) :]  # receivers come in the order of the ends
                together = []
                if later:
                    signals = [one.signal for one in later]
                    signals = batched.through(self.graphs[t], self.graphs[first], signals)
                    self.vjps += len(later) * (t - first + 1)
                    together = [
                        Pending(one.s, one.receivers, first - 1, signal)
                        for one, signal in zip(later, signals, strict=True)
                    ]
                for one in ended:  # in this order: the graph of a block goes with the last signal it needs
                    self._down(one, None)
                t = first - 1

    def _down(self, one: Pending, end: BlockGraph | None) -> None:
        """Take a signal, or that of the loss `end`, to its receivers."""
        s, receivers, t, signal = one
        graphs, low, waiting = self.graphs, receivers[0], self._waiting(s)
        while t >= low and t in graphs:  # else a block that cuts the graph
            first = max(self.starts[t], low)
            if end is None and first > receivers[-1]:
                signal = self._through(graphs[t], graphs[first], signal, hooks=t in self.targets[s - 1])
            else:
                signal = self._cross(s, first, t, first == 0 or first > low, signal, end)
                end = None
            self.vjps += t - first + 1
            # the signal of the last end has no other one to wait for
            if self.segments.batched and t == s - 1 < len(self.reach) - 1 and first > receivers[-1]:
                self.pending.append(Pending(s, receivers, first - 1, signal))
                return
            if first < waiting:
                for done in range(first, min(t + 1, waiting)):
                    del graphs[done]
            if first == 0:
                self.total.add_inputs(self.x, signal)
            t = first - 1

    @staticmethod
    def _through(top: BlockGraph, bottom: BlockGraph, signal: Signal, hooks: bool) -> Signal:
        """Take a signal from the outputs of a block to the inputs of one before it in the same graph."""
        if top.gate is None and len(signal) == len(bottom.inputs) == 1:  # one tensor, as in most stacks
            edge, start, v = top.outputs[0], bottom.inputs[0], signal[0]
            if edge is not None and start is not None and v is not None:
                try:
                    return list(engine.gradients((edge,), (start,), (v,)))
                except RuntimeError as error:
                    block_graph.overwritten(error, bottom.name)
                    raise
        return top.vjp(signal, (), True, hooks=hooks, first=bottom)[0]

    def _cross(
        self, s: int, first: int, last: int, through: bool, signal: Signal, end: BlockGraph | None
    ) -> Signal:
        """Take a signal at x(last + 1), or that of the loss `end` after it, to x(first), in one graph."""
        targets = self.targets[s - 1]
        receiving = range(last, max(first, targets.start) - 1, -1)  # those of the loss at s up to `last`
        leaves = [leaf for t in receiving if t < targets.stop for leaf in self.graphs[t].leaves]
        bottom, hooks = self.graphs[first], last in targets
        if end is None:
            before, found = self.graphs[last].vjp(signal, leaves, through, hooks=hooks, first=bottom)
        else:
            direct = end.leaves
            before, found = end.vjp(signal, [*direct, *leaves], through, hooks=hooks, first=bottom)
            self.total.add_direct(direct, found[: len(direct)], targets)
            found = found[len(direct) :]
        self.total.add(leaves, found)
        return before

    def _waiting(self, s: int) -> int:
        """The first block that waits for a loss after s; s if none does."""
        t = self.oldest
        while t < s and not (self.trained[t] and self.reach[t] > s):
            t += 1
        return t

    def release(self, s: int) -> None:
        """Free what no later loss needs, and no signal that waits."""
        s = self.pending[0].s - 1 if self.pending else s
        before, self.oldest = self.oldest, self._waiting(s)
        for t in range(before, self.oldest):
            self.graphs.pop(t, None)
