"""The blocks whose graphs are kept while they wait for a signal, and the way back through them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlinear.bridge.autograd import block_graph
from dlinear.bridge.autograd.block_graph import BlockGraph, Signal
from dlinear.bridge.autograd.blocks import Block
from dlinear.bridge.autograd.gradient_sum import GradientSum

Targets = Sequence[range]  # for s = 1..T: the blocks that receive the signal at x(s)


class Window:
    """The graphs of the blocks that wait for a loss, and the way back through them."""

    def __init__(self, blocks: Sequence[Block], x: Any, targets: Targets) -> None:
        self.x, self.targets, self.total, self.vjps = x, targets, GradientSum(blocks), 0
        self.reach = [0] * len(blocks)  # the last s whose loss a block receives
        for s, receivers in enumerate(targets, start=1):
            for t in receivers:
                self.reach[t] = s
        self.graphs: dict[int, BlockGraph] = {}
        self.trained: list[bool] = []
        self.oldest = 0  # the first block that waits for a loss

    def follows(self, t: int) -> bool:
        """Whether gradients have to pass through block t to what is before it."""
        return self.oldest < t if t else any(tensor.requires_grad for tensor in block_graph.tensors(self.x))

    def push(self, graph: BlockGraph) -> None:
        """Keep the graph of the next block."""
        t = len(self.trained)
        self.trained.append(bool(graph.leaves) or (t == 0 and self.follows(0)))
        if graph.live:
            self.graphs[t] = graph

    def receivers(self, s: int) -> list[int]:
        """The blocks with something to train that receive the gradient of the loss at s."""
        return [t for t in self.targets[s - 1] if self.trained[t] and t in self.graphs]

    def pull(self, s: int, signal: Signal) -> None:
        """Take the signal at x(s) back to its receivers."""
        receivers = self.receivers(s)
        waiting = self._waiting(s)
        for t in range(s - 1, receivers[0] - 1 if receivers else s - 1, -1):
            if t not in self.graphs:  # a block that cuts the graph
                break
            graph = self.graphs[t]
            leaves = graph.leaves if t in receivers else ()
            hooks = t in self.targets[s - 1]
            signal, found = graph.vjp(signal, leaves, through=t == 0 or t > receivers[0], hooks=hooks)
            self.vjps += 1
            self.total.add(leaves, found)
            if t < waiting:
                del self.graphs[t], graph
            if t == 0:
                self.total.add_inputs(self.x, signal)

    def _waiting(self, s: int) -> int:
        """The first block that waits for a loss after s; s if none does."""
        return next((t for t in range(self.oldest, s) if self.trained[t] and self.reach[t] > s), s)

    def release(self, s: int) -> None:
        """Free what no later loss needs."""
        before, self.oldest = self.oldest, self._waiting(s)
        for t in range(before, self.oldest):
            self.graphs.pop(t, None)
