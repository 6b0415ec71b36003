"""Several passes over one stack of the same function L: the same dropout masks, running statistics once.

A pass by windows gives g_h, a pass in forward mode <g_T, v> for any direction v, a checkpointed one g_T
itself. The random numbers are those of the first pass: g_T is the gradient of that loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from dlinear.bridge.autograd import block_graph
from dlinear.bridge.autograd.backward_hooks import Tables
from dlinear.bridge.autograd.blocks import (
    Block,
    LossFunction,
    Readout,
    end_of,
    even_bounds,
    given,
)
from dlinear.bridge.autograd.coarse_tail import CoarseTail
from dlinear.bridge.autograd.forward_mode import dense_tangents, slope_along
from dlinear.bridge.autograd.gradient_sum import Gradients, GradientSum
from dlinear.bridge.autograd.graph_history import History
from dlinear.bridge.autograd.replay import Replay
from dlinear.bridge.autograd.signals import Anchored, Injected, OwnLosses
from dlinear.bridge.methods.horizon import horizon_targets, windowed_pass
from dlinear.engine.rule import PLAIN, HorizonRule

__all__ = ["Passes", "inner_product"]


class Passes:
    """Passes of one loss L(x(T)).

    Attributes:
        blocks: T blocks.
        loss: L(x(T)), detached; of the first pass.
        replay: of the blocks, and of the end as number T.
    """

    def __init__(
        self,
        blocks: list[Block],
        x: Any,
        loss_fn: LossFunction,
        readout: Readout | None,
        rule: HorizonRule = PLAIN,
    ) -> None:
        self.blocks, self.x, self.rule, self.depth = blocks, x, rule, len(blocks)
        self.end = _End(loss_fn, readout, self.depth)
        self.loss = torch.empty(0)
        self.replay = Replay(blocks, x, self.end)

    def repeated_end(self, state: Any) -> Tensor:
        """L(x(T)) with the random numbers of the first time."""
        with self.replay.as_the_first_time(self.depth) as done:
            loss = self.end(state)
            done.append(loss.detach() if isinstance(loss, Tensor) else loss)
        return loss

    def horizon(self, h: int) -> tuple[Gradients, Gradients]:
        """g_h of the blocks, by windows: the memory of the horizon beside g_h itself.

        Returns:
            The gradients that reach trainable tensors through the blocks (and x(0), where it is trained), and
            those of the loss at x(T) that reach tensors of readout and loss directly.
        """
        targets = horizon_targets(self.depth, h, self.rule)
        ends = [s for s, receivers in enumerate(targets, start=1) if receivers]
        tail = CoarseTail(self.blocks, self.rule.runs, ends[0]) if self.rule.runs and h < self.depth else None
        signals: _OwnLosses | Anchored
        if self.rule.anchored:
            signals = Anchored(self.blocks, self.x, self.repeated_end, None, ends, tail, self.replay)
        else:
            signals = _OwnLosses(self, tail)
        step = windowed_pass(self.blocks, self.x, targets, signals)
        self.loss = step.loss if not self.loss.numel() else self.loss
        return step.gradients, signals.direct.gradients

    def slope(self, v: Mapping[Tensor, Tensor], *, beyond: bool = False) -> float:
        """<g_T, v> in float64, by one pass in forward mode; `beyond` as of `slope_along`.

        Raises:
            DomainError: as `slope_along`; or the loss is another one than in the first pass.
        """
        loss, slope = slope_along(self.replay, self.x, dense_tangents(v), beyond=beyond)
        self.replay.check()
        return float(slope.double()) if bool(torch.isfinite(loss)) else math.nan

    def true_gradient(self) -> Gradients:
        """g_T of the blocks by back-propagation through about sqrt(T) recomputed segments."""
        bounds = even_bounds("blocks", self.depth, max(1, round(math.sqrt(self.depth))))
        kept, state = dict[int, Any](), self.x
        for start, stop in pairwise(bounds):
            kept[start] = state
            state = self.replay.advance(start, stop, state, keep=True)
        loss, end = end_of(state, self.depth, self.repeated_end, None, follow=True)
        total = GradientSum(())
        with block_graph.plain_precision(loss.device):
            signal, _ = end.vjp([torch.ones_like(loss)], (), through=True)
        del end, state
        for start, stop in reversed(list(pairwise(bounds))):
            state, graphs = kept.pop(start), []
            for t in range(start, stop):
                state, graph = self.replay.record(t, state, follow=t > 0, keep=t == start)
                graphs.append(graph)
            with block_graph.plain_precision(loss.device):
                for t in reversed(range(start, stop)):
                    graph = graphs.pop()
                    signal, found = graph.vjp(signal, graph.leaves, through=t > 0)
                    total.add(graph.leaves, found)
            del graph
        return total.gradients


@dataclass(frozen=True)
class _End:
    """Readout and loss after block T - 1, and nothing else: its modules are theirs."""

    loss_fn: LossFunction
    readout: Readout | None
    depth: int

    def __call__(self, state: Any) -> Tensor:
        z = state if self.readout is None else given("readout", self.readout, state, self.depth)
        loss: Tensor = given("loss_fn", self.loss_fn, z)
        return loss


class _OwnLosses(OwnLosses):
    """The losses at inner states as ever; blocks and the end at x(T) are those of the first pass.

    Attributes:
        direct: gradients of what readout and loss train, from the loss at x(T) alone.
    """

    def __init__(self, passes: Passes, tail: CoarseTail | None) -> None:
        super().__init__(passes.blocks, passes.end.loss_fn, passes.end.readout, tail)
        self.replay, self.direct = passes.replay, GradientSum(())

    def run(
        self, t: int, state: Any, follow: bool, history: History | None = None, tables: Tables | None = None
    ) -> Any:
        """Block t runs as in the first pass; x(0) is needed again."""
        return self.replay.record(t, state, follow, keep=t == 0, history=history, tables=tables)

    def at(self, state: Any, s: int, follow: bool, history: History | None = None) -> Injected:
        """As of `OwnLosses`, without what the loss gives to others than the blocks behind x(s)."""
        if s < len(self.blocks):
            return self._through(super().at(state, s, follow))
        with self.replay.as_the_first_time(s) as done:
            injected = super().at(state, s, follow)
            done.append(self.loss)
        self.direct.add(injected.leaves, injected.found)
        return self._through(injected)

    @staticmethod
    def _through(injected: Injected) -> Injected:
        return Injected(injected.state, injected.signal)


def inner_product(a: Mapping[Tensor, Tensor], b: Mapping[Tensor, Tensor]) -> float:
    """<a, b> over the tensors that both have, in float64 (complex ones: the real part)."""
    return math.fsum(_dot(g, b[leaf]) for leaf, g in a.items() if leaf in b)


def _dot(a: Tensor, b: Tensor) -> float:
    wide = [t.to_dense().to(torch.promote_types(t.dtype, torch.float64)).flatten() for t in (a, b)]
    return float(torch.linalg.vecdot(*wide).real)
