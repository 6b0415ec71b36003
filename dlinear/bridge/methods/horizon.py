"""The horizon gradient of any stack of torch blocks: block t receives grad L(x(min(t + h, T))), eq. (9).

Horizon 1 trains each block on a local loss, horizon T is back-propagation. A window slides over the stack in
one forward pass: after x(s) is known, its loss is taken back through the h blocks before it to block s - h,
whose graph is then freed. At most h blocks' activations are alive, and (T - h + 1) h block vector-Jacobian
products are done (`dlinear.costs`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dlinear.bridge.autograd import block_graph, reentrant
from dlinear.bridge.autograd.block_graph import BlockGraph
from dlinear.bridge.autograd.block_run import run_block
from dlinear.bridge.autograd.blocks import (
    NOTHING_TRAINED,
    Block,
    LossFunction,
    Readout,
    as_stack,
    called,
    check_gradients_are_on,
    checked_stack,
    end_of,
    given,
)
from dlinear.bridge.autograd.ends import Ends
from dlinear.bridge.autograd.gradient_sum import Gradients, GradientSum, accumulate
from dlinear.bridge.autograd.naming import located
from dlinear.bridge.autograd.ranks import Group, average
from dlinear.bridge.autograd.step import fill
from dlinear.bridge.methods.base import Cost, Family, Method, Predicted, named, only_bare, powers_of_two
from dlinear.checks import as_horizon
from dlinear.errors import DomainError
from dlinear.theory import costs
from dlinear.theory.decay_law import DecayConstants, decay_law

Targets = Sequence[range]


@dataclass(frozen=True)
class PassResult:
    """What one pass over a stack found.

    Attributes:
        loss: L(x(T)), a detached scalar.
        gradients: of each trainable tensor that received one.
        vjps: how many block vector-Jacobian products were done.
    """

    loss: Tensor
    gradients: Gradients
    vjps: int


def horizon_backward(
    blocks: Iterable[Block],
    x: Any,
    loss_fn: LossFunction,
    horizon: int,
    readout: Readout | None = None,
    *,
    process_group: Group = None,
    grad_scaler: Any = None,
) -> Tensor:
    """Use it in place of `loss.backward()`: fill `.grad` with the horizon gradient, and return the loss.

    Block t receives the gradient of L(x(min(t + h, T))), x(t + 1) = block_t(x(t)), x(0) = x (eq. (9) and
    (27')). Gradients add to `.grad` as in `backward()`, once at the end, so that an error leaves them as they
    were. A parameter that several blocks share receives the sum of theirs; what produced x (if x requires a
    gradient) is trained with block 0; trainable parameters of `readout` and `loss_fn` receive the sum over
    the T - h + 1 losses that are taken, at s = h, ..., T.

    Backward hooks of a block's modules are called as in one ordinary pass, once, with the gradients that its
    `.grad` is made of; gradients that pass through it to earlier blocks are not shown to them. Hooks on
    tensors see every gradient that passes.

    Args:
        blocks: T modules (or functions), in order; each is run forward once. The state between them is a
            tensor or a tuple, list or dict of tensors, passed on as `torch.nn.Sequential` does; a tuple is
            spread over the arguments of a block that asks for several. A block may write into its input,
            unless parts of the state overlap in memory.
        x: x(0).
        loss_fn: z -> scalar, z = readout(x(s), s) or x(s).
        horizon: h in 1..T.
        readout: maps x(s), s = h..T, to where the loss lives: a shared head, a head for each s, pooling, a
            fixed projection. Without it all x(s) must have the same shape, unless h = T. Readout and loss may
            write into their argument: x(s) is then copied for them.
        process_group: "world" or a group of torch.distributed: gradients and loss are averaged over its
            processes, once, before `.grad` is touched; "none": each process by itself. Where several run it
            has to be said, unless DistributedDataParallel is around everything that is trained.
        grad_scaler: a torch.amp.GradScaler: the gradients have its factor, as `grad_scaler.step` expects.

    Returns:
        L(x(T)), detached; the mean over the processes where gradients are averaged.

    Raises:
        HorizonError: h is not an integer in 1..T.
        ShapeError: no block, states of different shapes without a readout, or a loss that is not a scalar.
        DomainError: gradients are switched off, the loss has none, nothing is trained, a block does what
            would give wrong gradients (the message names it), or it is not said whether to average.
        DistributedError: a step failed on another process, or it trains other parameters.
    """
    return fill(partial(_fill, horizon=horizon), blocks, x, loss_fn, readout, process_group, grad_scaler)


def _fill(
    blocks: Iterable[Block],
    x: Any,
    loss_fn: LossFunction,
    readout: Readout | None,
    horizon: int,
) -> Tensor:
    return filled(_pass(as_stack(blocks), x, loss_fn, horizon, readout))


def filled(step: PassResult) -> Tensor:
    """Add the gradients of a pass to `.grad`; its loss.

    Raises:
        DomainError: there is none to add.
    """
    if not step.gradients:
        raise DomainError(NOTHING_TRAINED)
    accumulate(step.gradients)
    return step.loss


def horizon_gradients(
    blocks: Iterable[Block],
    x: Any,
    loss_fn: LossFunction,
    horizon: int,
    readout: Readout | None = None,
    *,
    process_group: Group = None,
) -> tuple[Tensor, Gradients]:
    """As `horizon_backward`, but returns the loss and the gradients by tensor, and leaves `.grad` alone."""
    stack = checked_stack(blocks, x, loss_fn, readout)

    def compute() -> tuple[Tensor, Gradients]:
        step = _pass(stack, x, loss_fn, horizon, readout)
        return step.loss, step.gradients

    return average(compute, stack, x, loss_fn, readout, process_group)


def _pass(
    stack: list[Block], x: Any, loss_fn: LossFunction, horizon: int, readout: Readout | None
) -> PassResult:
    targets = horizon_targets(len(stack), horizon)
    if len(targets[-1]) == len(stack):
        return whole(stack, x, loss_fn, readout)
    return sweep(stack, x, loss_fn, targets, readout)


def horizon_targets(depth: int, horizon: int) -> list[range]:
    """Which blocks receive grad L(x(s)), for s = 1..T: s - h, and at s = T the last h."""
    h = as_horizon(horizon, depth)
    inner = [range(s - h, s - h + 1) if s >= h else range(0) for s in range(1, depth)]
    return [*inner, range(depth - h, depth)]


def sweep(
    blocks: Sequence[Block], x: Any, loss_fn: LossFunction, targets: Targets, readout: Readout | None = None
) -> PassResult:
    """Give grad L(x(s)) to the blocks targets[s - 1], for every s in 1..T; a block may have several targets.

    The loss at s is taken where targets[s - 1] is not empty, and at T. The graph of a block is freed once
    neither it nor a block before it waits for a later loss.

    Raises:
        ShapeError, DomainError: as `horizon_backward`.
    """
    check_gradients_are_on()
    depth, window = len(blocks), _Window(blocks, x, targets)
    ends = Ends(depth, loss_fn, readout)
    loss, state = torch.empty(0), x
    for s in range(1, depth + 1):
        state, graph = run_block(blocks[s - 1], state, window.follows(s - 1), s - 1)
        window.push(graph)
        del graph  # the window alone holds it
        if targets[s - 1] or s == depth:
            loss, end, state = ends.at(state, s, follow=bool(window.receivers(s)))
            with block_graph.plain_precision(loss.device):
                window.pull(s, end, loss)
            del end
        window.release(s)
    return PassResult(loss.reshape(()), window.total.gradients, window.vjps)


def whole(
    blocks: Sequence[Block], x: Any, loss_fn: LossFunction, readout: Readout | None = None
) -> PassResult:
    """Horizon T, which is back-propagation: one graph, freed on the way back.

    Raises:
        ShapeError, DomainError: as `horizon_backward`.
    """
    check_gradients_are_on()
    depth, total = len(blocks), GradientSum(())
    follow = any(tensor.requires_grad for tensor in block_graph.tensors(x))

    def states(z: Any, s: int) -> Any:
        for t, block in enumerate(blocks):
            with located(f"block {t}", z), reentrant.refused(f"block {t}"):
                z = called(block)(z)
        return z if readout is None else given("readout", readout, z, s)

    loss, graph = end_of(x, depth, loss_fn, states, follow)
    with block_graph.plain_precision(loss.device):
        signal, found = graph.vjp([torch.ones_like(loss)], graph.leaves, through=follow, keep=False)
    total.add(graph.leaves, found)
    total.add_inputs(x, signal)
    return PassResult(loss.reshape(()), total.gradients, depth)


class _Window:
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

    def pull(self, s: int, end: BlockGraph, loss: Tensor) -> None:
        """Take the loss at s back to its receivers."""
        receivers = self.receivers(s)
        signal, found = end.vjp([torch.ones_like(loss)], end.leaves, through=bool(receivers))
        self.total.add_direct(end.leaves, found, self.targets[s - 1])
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


def _method(number: int | None) -> Method:
    h = number or 1
    return Method(
        name=named("horizon", h),
        family="horizon",
        number=h,
        description=f"horizon gradient, each block sees the loss {h} block{'s'[: h > 1]} on",
        exact=False,
        run=partial(horizon_backward, horizon=h),
        cost=partial(_cost, h),
        predicted=partial(_predicted, h),
        horizon=h,
        sin2=partial(_sin2, h),
    )


def _greedy(number: int | None) -> Method:
    return Method(
        name="greedy",
        family="greedy",
        number=None,
        description="greedy local losses, one after each block",
        exact=False,
        run=partial(horizon_backward, horizon=1),
        cost=partial(_cost, 1),
        predicted=partial(_predicted, 1),
        readout="exits",
    )


def _cost(horizon: int, depth: int) -> Cost:
    return Cost(depth, costs.block_vjps(depth, horizon))


def _sin2(horizon: int, law: DecayConstants, depth: int) -> float:
    """The law of decay at m = T - h (Theorems B to D)."""
    return float(decay_law(law.quadratic, law.cubic, depth - as_horizon(horizon, depth), depth))


def _predicted(horizon: int, depth: int) -> Predicted:
    """h of T blocks are stored; (T - h + 1) h signals go back, beside T forwards and T parameter
    gradients.
    """
    passed = 2 * depth + costs.block_vjps(depth, horizon)
    return Predicted(float(costs.stored_blocks_eager(depth, horizon)) / depth, float(passed) / (3 * depth))


FAMILIES = (
    Family(
        "horizon",
        _method,
        compared=lambda depth, batch: [*powers_of_two(depth), depth],
        place=30,
        series="horizon $h<T$",
        option="horizons",
    ),
    Family("greedy", _greedy, least=None, bare=True, compared=only_bare, place=60),
)
