"""The angle theta_h of a real torch model: all horizons of one batch in one pass, without cancellation.

With v(s) the gradient of L(x(T)) and r(s) that of L(x(s)), both with respect to x(s), block t's gradients
differ by

    delta(t) = g_h(t) - g_T(t) = (vector-Jacobian product of blocks t .. s-1)( r(s) - v(s) ),   s = t + h,

since vector-Jacobian products are linear. The small difference r(s) - v(s) is formed once, at x(s), and
back-propagated itself, scaled to unit size: it keeps the relative precision of the model's number type. sin^2
follows from the sums ||g_T||^2, <delta, g_T> and ||delta||^2 by (S) of `dlinear.alignment`, in float64: there
is no floor near 1e-7 for a model in float32.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor

from dlinear.bridge.autograd import block_graph
from dlinear.bridge.autograd.block_graph import BlockGraph
from dlinear.bridge.autograd.block_run import run_block
from dlinear.bridge.autograd.blocks import (
    Block,
    LossFunction,
    Readout,
    check_gradients_are_on,
    checked_stack,
)
from dlinear.bridge.autograd.coarse_tail import CoarseTail
from dlinear.bridge.autograd.ends import Ends, copied
from dlinear.bridge.autograd.graph_history import Signal
from dlinear.bridge.autograd.isolation import isolated
from dlinear.bridge.autograd.ranks import Group, alone
from dlinear.bridge.autograd.signals import read_after
from dlinear.bridge.autograd.states import is_residual
from dlinear.checks import as_choice, as_horizons
from dlinear.engine.angle import AlignmentProfile, InnerProducts, profile_of
from dlinear.engine.rule import HorizonRule
from dlinear.errors import NonFiniteError


def alignment(
    blocks: Iterable[Block],
    x: Any,
    loss_fn: LossFunction,
    horizons: object,
    readout: Readout | None = None,
    *,
    anchored: bool = False,
    stride: int = 1,
    runs: int = 0,
    undefined: Literal["raise", "nan"] = "raise",
    process_group: Group = None,
) -> AlignmentProfile:
    """sin^2 and cos of the angle between g_h and g_T over the trainable parameters of the blocks.

    Nothing is changed: gradients, buffers (batch-norm statistics) and random states are those of before. The
    modules run in the mode that they are in. Memory: one back-propagation, g_T and 2 T states; work: T blocks
    forward and about T max(h < T) block vector-Jacobian products.

    Args:
        blocks, x, loss_fn, readout: as for `horizon_backward`.
        horizons: integers in 1..T, any order; or "all": each of 1..T-1.
        anchored, stride, runs: which rule gives g_h, as for `horizon_backward`.
        undefined: what to do where g_T or g_h is zero, as in `dlinear.alignment`.
        process_group: where several processes of torch.distributed run, "none" says that the angle is of
            this one's batch and nothing is averaged; there is no other choice.

    Raises:
        UndefinedAngleError: a gradient is zero to working precision (unless `undefined="nan"`).
        HorizonError, ShapeError, DomainError, NonFiniteError: see the message.
    """
    as_choice("undefined", undefined, ("raise", "nan"))
    rule = HorizonRule(anchored, runs, stride)
    check_gradients_are_on()
    stack = checked_stack(blocks, x, loss_fn, readout)
    depth = len(stack)
    every = isinstance(horizons, str) and horizons == "all" and depth > 1
    asked = as_horizons(range(1, depth) if every else horizons, depth)
    short = {int(h) for h in asked if h < depth}
    with alone("alignment", process_group, stack, readout, loss_fn), isolated((*stack, readout, loss_fn), x):
        table = _Table(stack, x, loss_fn, readout, short, rule)
    sums = {depth - h: table.sums(h) for h in {int(h) for h in asked}}
    return profile_of(depth, asked, sums, table.eps, undefined)


class _Table:
    """||delta||^2 and <delta, g_T> of each horizon, summed over the blocks.

    Attributes:
        square: horizon -> ||delta||^2.
        cross: horizon -> <delta, g_T>.
        true: parameter -> its part of g_T.
        eps: the rounding unit of the coarsest gradient.
    """

    def __init__(
        self,
        stack: list[Block],
        x: Any,
        loss_fn: LossFunction,
        readout: Readout | None,
        horizons: set[int],
        rule: HorizonRule,
    ) -> None:
        self.depth, self.horizons, self.rule = len(stack), sorted(horizons), rule
        least = min(horizons, default=self.depth)
        self.ends = {s for s in range(self.depth - rule.stride, 0, -rule.stride) if s >= least}  # below T
        self.residual: list[bool] = []
        first = min(self.ends, default=self.depth)  # no window sees the blocks from here on
        self.tail = CoarseTail(stack, rule.runs, first) if rule.runs and first < self.depth else None
        self.square = dict.fromkeys(self.horizons, 0.0)
        self.cross = dict.fromkeys(self.horizons, 0.0)
        self.graphs: list[BlockGraph] = []
        self.states: dict[int, Any] = {}  # x(s) that a rollout starts from
        self.device = torch.device("cpu")
        local = self._forward(stack, x, loss_fn, readout)
        counts = Counter(leaf for graph in self.graphs for leaf in graph.leaves)
        self.shared = {leaf for leaf, count in counts.items() if count > 1}
        self.parts: dict[tuple[int, Tensor], Tensor] = {}  # delta of shared parameters, over their blocks
        self.true: dict[Tensor, Tensor] = {}
        with block_graph.plain_precision(self.device):
            differences = self._true_gradient(local)
            for s in sorted(differences, reverse=True):
                self._pull(s, differences.pop(s))
        for (h, leaf), delta in self.parts.items():
            self._add(h, leaf, delta, 1.0)

    @property
    def eps(self) -> float:
        """The rounding unit of the coarsest gradient."""
        return max((torch.finfo(g.dtype).eps for g in self.true.values()), default=torch.finfo().eps)

    def sums(self, h: int) -> InnerProducts:
        """The inner products of g_h and g_T that `dlinear.engine.angle.profile_of` turns into an angle."""
        true = math.fsum(_dot(g, g) for g in self.true.values())
        if not math.isfinite(true + self.square.get(h, 0.0)):
            raise NonFiniteError("the gradient holds NaN or infinity, so there is no angle")
        return InnerProducts(true, true, self.cross.get(h, 0.0), self.square.get(h, 0.0))

    def _forward(
        self, stack: list[Block], x: Any, loss_fn: LossFunction, readout: Readout | None
    ) -> dict[int, Signal]:
        """Run the blocks once; r(s) = grad L(x(s)), or L(S(x(s))), where a horizon needs it, and at T."""
        local: dict[int, Signal] = {}
        state, live = copied(x), False  # blocks may write into x
        own = not self.rule.anchored
        ends = Ends(self.depth, loss_fn, read_after(self.tail, readout) if own and self.tail else readout)
        for s in range(1, self.depth + 1):
            before = state
            state, graph = run_block(stack[s - 1], before, live, s - 1)
            self.graphs.append(graph)
            self.residual.append(is_residual(stack[s - 1], before, state))
            live = live or graph.live
            if s in self.ends and not own and self.tail:
                self.states[s] = copied(state)
            if s == self.depth or (s in self.ends and own):
                loss, end, state = ends.at(state, s, follow=live)
                self.device = loss.device
                with block_graph.plain_precision(loss.device):
                    local[s], _ = end.vjp([torch.ones_like(loss)], (), through=True)
        return local

    def _true_gradient(self, local: dict[int, Signal]) -> dict[int, Signal]:
        """g_T by back-propagation of v(T) = r(T); r(s) - v(s) at every s < T where a horizon needs it."""
        signal = handed = local.pop(self.depth)
        differences = {}
        for k in range(self.depth - 1, -1, -1):
            signal, found = self.graphs[k].vjp(signal, self.graphs[k].leaves, through=k > 0)
            for leaf, g in zip(self.graphs[k].leaves, map(_dense, found), strict=True):
                if g is not None:
                    self.true[leaf] = self.true[leaf] + g if leaf in self.true else g
            if self.rule.anchored and k and not self.residual[k]:
                handed, _ = self.graphs[k].vjp(handed, (), through=True)
            if k in self.ends:
                given = self._from_the_end(k, handed) if self.rule.anchored else local.pop(k)
                differences[k] = [_minus(r, v) for r, v in zip(given, signal, strict=True)]
        return differences

    def _from_the_end(self, s: int, handed: Signal) -> Signal:
        """S'(x(s))^T r, r being what the blocks that are not residual have made of the gradient at x(T)."""
        if self.tail is None:
            return handed
        tail = self.tail
        _, graph = block_graph.run(
            lambda z: tail(z, s), self.states.pop(s), True, f"the rollout from s = {s}"
        )
        return graph.vjp(handed, (), through=True)[0]

    def _receivers(self, s: int) -> dict[int, list[int]]:
        """The blocks whose window ends at s < T, and for which horizons: s - k < t + h <= s."""
        found: dict[int, list[int]] = {}
        for h in self.horizons:
            for t in range(max(0, s - h - self.rule.stride + 1), s - h + 1):
                found.setdefault(t, []).append(h)
        return found

    def _pull(self, s: int, difference: Signal) -> None:
        """delta of the blocks whose window ends at s: back-propagate r(s) - v(s) to them."""
        receivers = self._receivers(s)
        scale = max((float(d.abs().max()) for d in difference if d is not None and d.numel()), default=0.0)
        if not scale or not receivers:
            return
        signal = [None if d is None else (d / scale).to(d.dtype) for d in difference]
        for k in range(s - 1, min(receivers) - 1, -1):
            graph = self.graphs[k]
            leaves = graph.leaves if k in receivers else ()
            signal, found = graph.vjp(signal, leaves, through=k > min(receivers))
            for leaf, delta in zip(leaves, map(_dense, found), strict=True):
                if delta is None:
                    continue
                for h in receivers[k]:
                    if leaf in self.shared:
                        part = scale * _wide(delta)
                        self.parts[h, leaf] = self.parts[h, leaf] + part if (h, leaf) in self.parts else part
                    else:
                        self._add(h, leaf, delta, scale)

    def _add(self, h: int, leaf: Tensor, delta: Tensor, scale: float) -> None:
        self.square[h] += scale * scale * _dot(delta, delta)
        if leaf in self.true:  # else its true gradient is zero
            self.cross[h] += scale * _dot(delta, self.true[leaf])


def _dense(gradient: Tensor | None) -> Tensor | None:
    """A gradient with all its entries (those of a sparse embedding are few)."""
    return gradient.to_dense() if gradient is not None and gradient.is_sparse else gradient


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float64))


def _dot(a: Tensor, b: Tensor) -> float:
    """The real inner product, in float64."""
    return float(torch.linalg.vecdot(_wide(a).flatten(), _wide(b).flatten()).real)


def _minus(r: Tensor | None, v: Tensor | None) -> Tensor | None:
    if r is None or v is None:
        return r if v is None else -v
    return r - v
