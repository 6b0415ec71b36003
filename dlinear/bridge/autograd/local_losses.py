"""Horizon 1: each block and its own loss, in one graph that is freed before the next block runs.

The blocks do not depend on each other, so that nothing has to wait: where a block is plain (`survey`) and
hands on one tensor, it runs, its loss is taken from its very output, and one call of torch's engine finds
what both train. All other blocks, and the first one, whose loss shows whether readout and loss write into the
state or train what a block trains, are cut off from their losses as in a window of one block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from dlinear.bridge.autograd import block_graph, engine, reentrant
from dlinear.bridge.autograd.block_graph import BlockGraph
from dlinear.bridge.autograd.block_run import run_block
from dlinear.bridge.autograd.blocks import Block, LossFunction, Readout
from dlinear.bridge.autograd.ends import Ends
from dlinear.bridge.autograd.gradient_sum import GradientSum
from dlinear.bridge.autograd.graph_history import leaves_between, leaves_from, shared_leaf
from dlinear.bridge.autograd.naming import said_of
from dlinear.bridge.autograd.survey import survey

__all__ = ["LocalLosses"]


class LocalLosses:
    """One pass over a stack with a loss after each block.

    Attributes:
        loss: L(x(s)) of the last block that ran, detached.
        total: the gradients so far.
        vjps: how many block vector-Jacobian products were done.
    """

    def __init__(
        self, blocks: Sequence[Block], x: Any, loss_fn: LossFunction, readout: Readout | None
    ) -> None:
        self.blocks, self.surveys = blocks, [survey(block) for block in blocks]
        self.own = [{id(p) for p in one.parameters} for one in self.surveys]
        self.total = GradientSum(parameters=[one.parameters for one in self.surveys])
        self.ends = Ends(len(blocks), loss_fn, readout)
        self.x, self.loss, self.vjps = x, torch.empty(0), 0
        self._plain = True  # no autocast
        self.names: list[str] = []  # for `reentrant`
        self._one = torch.empty(0)
        self._tied = False  # readout or loss train what a block trains
        self._direct: set[int] = set()  # ids of what they do train

    def run(self) -> None:
        """The whole pass.

        Raises:
            ShapeError, DomainError: as `horizon_backward`.
        """
        state = self.x
        with reentrant.watched() as names:
            self.names = names
            for t, one in enumerate(self.surveys):
                quick = t > 0 and self.ends.reads_only and not self._tied
                if quick and isinstance(state, Tensor) and one.joins:
                    names.append("")
                    state = self._quick(t, state)
                    names.pop()
                else:
                    state = self._apart(t, state)

    def _apart(self, t: int, state: Any) -> Any:
        """Block t and its loss in graphs of their own; x(t + 1)."""
        follow = t == 0 and any(tensor.requires_grad for tensor in block_graph.tensors(self.x))
        output, graph = run_block(self.blocks[t], state, follow, t, tables=self.surveys[t].tables)
        return self._ended(t, output, graph, follow)

    def _ended(self, t: int, output: Any, graph: BlockGraph, follow: bool) -> Any:
        """Take the loss at x(t + 1) to block t."""
        trains = graph.live and (follow or bool(graph.leaves))
        self.loss, end, after = self.ends.at(output, t + 1, trains)
        self._tied = self._tied or self.total.owns(end.leaves)
        self._direct.update(map(id, end.leaves))
        precision = block_graph.plain_precision(self.loss.device)
        self._plain = precision is block_graph.NOTHING
        with precision:
            signal, found = end.vjp([torch.ones_like(self.loss)], end.leaves, through=trains)
            self.total.add_direct(end.leaves, found, range(t, t + 1))
            if trains:
                signal, found = graph.vjp(signal, graph.leaves, through=t == 0, hooks=True)
                self.vjps += 1
                self.total.add(graph.leaves, found)
                if t == 0:
                    self.total.add_inputs(self.x, signal)
        return after

    def _quick(self, t: int, state: Tensor) -> Any:
        """Block t and its loss in one graph; x(t + 1)."""
        names = self.names
        try:
            names[0] = f"block {t}"
            z = self.blocks[t](state.detach())
            joins = isinstance(z, Tensor) and z.requires_grad and not z.is_leaf
            if joins:
                names[0] = f"the loss at s = {t + 1}"
                loss, after = self.ends.read(z, t + 1), z.detach()
        except Exception as error:
            said_of(error, names[0], state)
            raise
        if not joins:
            return self._ended(t, *block_graph.graph_of(z, [None], names[0]), follow=False)
        leaves = leaves_from(loss, names[0])
        self._check(t, leaves, z, loss)
        if self._one.dtype != loss.dtype or self._one.shape != loss.shape:
            self._one = torch.ones_like(loss)
        try:
            with block_graph.NOTHING if self._plain else block_graph.plain_precision(loss.device):
                found = engine.gradients((loss,), leaves, (self._one,))
        except RuntimeError as error:
            block_graph.overwritten(error, f"block {t} or its loss")
            raise
        self.vjps += 1
        self.total.add(leaves, found)
        if t + 1 == len(self.blocks):
            self.loss = loss.detach()
        return after

    def _check(self, t: int, leaves: Sequence[Tensor], z: Tensor, loss: Tensor) -> None:
        """See that block and loss train different tensors, and none of another block's for the loss.

        Raises:
            DomainError: they do, which the first loss did not.
        """
        own, direct = self.own[t], self._direct
        if all(id(leaf) in own or id(leaf) in direct for leaf in leaves):
            return
        edge = get_gradient_edge(z)
        behind = {id(leaf) for leaf in leaves_between([edge], [], f"block {t}")}
        for leaf in leaves_between([get_gradient_edge(loss)], [edge], f"the loss at s = {t + 1}"):
            if id(leaf) in behind or self.total.owns([leaf]):
                raise shared_leaf(f"the loss at s = {t + 1}", "a block", leaf)
            self._direct.add(id(leaf))
