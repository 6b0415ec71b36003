"""Back-propagation within few stored states: the optimal schedule of recursive checkpointing.

`revolve-S` holds at most S units at once, a unit being the state between two blocks or what one block keeps
for its backward pass. Blocks run again as seldom as that allows (`revolve_schedule`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dlinear.bridge.autograd import block_graph
from dlinear.bridge.autograd.block_graph import BlockGraph
from dlinear.bridge.autograd.blocks import (
    NOTHING_TRAINED,
    Block,
    LossFunction,
    Readout,
    as_stack,
    check_gradients_are_on,
    end_of,
)
from dlinear.bridge.autograd.ends import copied
from dlinear.bridge.autograd.gradient_sum import GradientSum, accumulate
from dlinear.bridge.autograd.graph_history import Signal
from dlinear.bridge.autograd.replay import Replay
from dlinear.bridge.autograd.states import share_memory
from dlinear.bridge.autograd.step import as_step
from dlinear.bridge.methods.base import Cost, Family, Method, Predicted, named, no_angle, powers_of_two
from dlinear.bridge.methods.revolve_schedule import block_runs, first_part
from dlinear.checks import as_integer
from dlinear.errors import DomainError

__all__ = ["revolve_backward"]


@as_step
def revolve_backward(
    blocks: Iterable[Block],
    x: Any,
    loss_fn: LossFunction,
    readout: Readout | None = None,
    states: int = 4,
) -> Tensor:
    """The gradient of back-propagation, within `states` stored states and recorded blocks.

    Blocks run again with the dropout masks of the first time, running statistics are updated once
    (`autograd.replay`); forward hooks see every run, backward hooks one. Blocks are cut at the states between
    them: a block that uses a tensor of an earlier one, other than by its state, is refused.

    Args:
        blocks: T modules or functions, as of `horizon_backward`; shapes may change.
        x: x(0), the batch.
        loss_fn: z -> scalar.
        readout: (x(T), T) -> what the loss takes; None for x(T) itself.
        states: S >= 1; from T on every block runs once.

    Returns:
        The terminal loss L(x(T)), detached.

    Raises:
        ShapeError: no block, a loss that is not a scalar, or a block that uses an earlier one's tensor.
        DomainError: states below 1, gradients are switched off, nothing is trained, the loss has no gradient,
            or a block does not repeat itself.
    """
    check_gradients_are_on()
    states = as_integer("states", states)
    reversal = _Reversal(as_stack(blocks), x, loss_fn, readout)
    loss = reversal.run(states)
    reversal.replay.check()
    if not reversal.total.gradients:
        raise DomainError(NOTHING_TRAINED)
    accumulate(reversal.total.gradients)
    return loss


class _Reversal:
    """One step: the segments that are still to be reversed, and the gradient on its way back."""

    def __init__(
        self, blocks: Sequence[Block], x: Any, loss_fn: LossFunction, readout: Readout | None
    ) -> None:
        self.depth, self.x, self.loss_fn, self.readout = len(blocks), x, loss_fn, readout
        self.replay, self.total = Replay(blocks, x), GradientSum(())
        self.kept: dict[int, Any] = {0: x}  # x(t) where a segment begins
        self.signal: Signal = []
        self.loss = torch.empty(0)

    def run(self, states: int) -> Tensor:
        """Reverse all blocks; the loss."""
        todo = [(0, self.depth, states)]
        while todo:
            start, stop, room = todo.pop()
            if stop - start <= max(room, 1):
                self._reverse(start, stop)
                continue
            middle = start + first_part(stop - start, room)
            self.kept[middle] = self.replay.advance(start, middle, self.kept[start], keep=True)
            todo += [(start, middle, room), (middle, stop, room - 1)]
        return self.loss.reshape(())

    def _reverse(self, start: int, stop: int) -> None:
        """Run the blocks start, ..., stop - 1 with their graphs, and take the gradient back through them."""
        state, graphs = self.kept.pop(start), list[BlockGraph]()
        if share_memory(state, list(self.kept.values())):  # a view of a state that is still needed
            state = copied(state)
        for t in range(start, stop):
            state, graph = self.replay.record(t, state, self._follows(t))
            graphs.append(graph)
        if stop == self.depth:
            self.loss, end = end_of(state, stop, self.loss_fn, self.readout, follow=True)
            graphs.append(end)
            self.signal = [torch.ones_like(self.loss)]
        del state, graph
        with block_graph.plain_precision(self.loss.device):
            for t in reversed(range(start, start + len(graphs))):
                graph = graphs.pop()
                self.signal, found = graph.vjp(
                    self.signal, graph.leaves, through=t == self.depth or self._follows(t), hooks=True
                )
                self.total.add(graph.leaves, found)
        if start == 0:
            self.total.add_inputs(self.x, self.signal)

    def _follows(self, t: int) -> bool:
        """Whether gradients pass through block t to what is before it."""
        return t > 0 or any(tensor.requires_grad for tensor in block_graph.tensors(self.x))


def _method(number: int | None) -> Method:
    states = number or 1
    return Method(
        name=named("revolve", states),
        family="revolve",
        number=states,
        description=f"back-propagation within {states} stored state{'s'[: states > 1]}, optimal schedule",
        exact=True,
        run=partial(revolve_backward, states=states),
        cost=partial(_cost, states),
        predicted=partial(_predicted, states),
        sin2=no_angle,
    )


def _cost(states: int, depth: int) -> Cost:
    return Cost(block_runs(depth, states), depth)


def _predicted(states: int, depth: int) -> Predicted:
    """S of T; time (F(T, S) + 2 T - 1)/(3 T - 1): the first block passes no gradient on."""
    time = (block_runs(depth, states) + 2 * depth - 1) / (3 * depth - 1)
    return Predicted(min(1.0, states / depth), time)


FAMILIES = (
    Family(
        "revolve",
        _method,
        compared=lambda depth, batch: [m for m in powers_of_two(depth) if 2 <= m <= max(2, depth // 4)],
        place=22,
        series="revolve",
    ),
)
