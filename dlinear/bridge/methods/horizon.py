"""The horizon gradient of any stack of torch blocks: block t receives grad L(x(min(t + h, T))), eq. (9).

Horizon 1 trains each block on a local loss, horizon T is back-propagation. A window slides over the stack in
one forward pass: after x(s) is known, its loss is taken back through the h blocks before it to block s - h,
whose graph is then freed. At most h blocks' activations are alive, and (T - h + 1) h block vector-Jacobian
products are done (`dlinear.costs`).

Anchored, the gradient r at x(T) is found first, by a pass that stores nothing, and handed to x(s) in place of
the gradient of L(x(s)): no readout of inner states is needed, the angle does not get worse as the loss falls
(Theorem E1), and readout and loss learn from the loss at x(T) alone. Blocks run twice, in the second pass
with the dropout masks of the first, and update running statistics once (`autograd.replay`). A block is taken
as x + f(x); one that changes the form of the state, or says `skip = False`, passes r on exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlinear.bridge.autograd import block_graph, reentrant
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
from dlinear.bridge.autograd.coarse_tail import CoarseTail
from dlinear.bridge.autograd.gradient_sum import Gradients, GradientSum, accumulate
from dlinear.bridge.autograd.local_losses import LocalLosses
from dlinear.bridge.autograd.naming import located
from dlinear.bridge.autograd.ranks import Group, average
from dlinear.bridge.autograd.signals import Anchored, OwnLosses, Signals
from dlinear.bridge.autograd.step import fill
from dlinear.bridge.autograd.window import APART, Segments, Targets, Window
from dlinear.bridge.methods.base import Cost, Family, Method, Predicted, named, only_bare, powers_of_two
from dlinear.checks import as_flag, as_horizon, as_integer
from dlinear.engine.rule import PLAIN, HorizonRule
from dlinear.errors import DomainError
from dlinear.theory import costs
from dlinear.theory.decay_law import DecayConstants, decay_law


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
    anchored: bool = False,
    stride: int = 1,
    runs: int = 0,
    *,
    segment: int | None = None,
    batched: bool = False,
    process_group: Group = None,
    grad_scaler: Any = None,
) -> Tensor:
    """Use it in place of `loss.backward()`: fill `.grad` with the horizon gradient, and return the loss.

    Block t receives the gradient of L(x(min(t + h, T))), x(t + 1) = block_t(x(t)), x(0) = x (eq. (9), (27')).
    Gradients add to `.grad` as in `backward()`, once at the end, so that an error leaves them as they were. A
    parameter that several blocks share receives the sum of theirs; what produced x (if x requires a gradient)
    is trained with block 0; what `readout` and `loss_fn` train receives the sum over the losses that are
    taken, the T - h + 1 at s = h, ..., T without a stride.

    Backward hooks of a block's modules are called once, with the gradients that its `.grad` is made of, and
    with none that passes through it to earlier blocks. Hooks on tensors see every gradient that passes.

    Args:
        blocks: T modules (or functions), in order; each is run forward once. The state between them is a
            tensor or a tuple (spread over the arguments of a block that asks for several), list or dict of
            tensors. A block may write into its input, unless parts of the state overlap in memory.
        x: x(0).
        loss_fn: z -> scalar, z = readout(x(s), s) or x(s).
        horizon: h in 1..T.
        readout: maps x(s), s = h..T, to where the loss lives: a head for all or for each s, a projection.
            Without it all x(s) must have one shape, unless h = T. Readout and loss may write into x(s).
        anchored: hand the gradient at x(T) to the ends of the windows (see above).
        stride: k; ends at T, T - k, T - 2 k, ... alone; block t takes the first at or after t + h, and h + k
            - 1 blocks are kept. h = 1 gives stages of k blocks that do not overlap.
        runs: q > 0: q runs of mean blocks stand for those after x(s) (Theorem E2, `autograd.coarse_tail`);
            the loss is L after them, read out as at T, or r is pulled back through them.
        segment: g blocks in one graph: fewer calls, the same gradients, h + g - 1 blocks kept; default h/4.
        batched: the ends in a segment go back together; rounded otherwise, up to g - 1 more kept.
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
            would give wrong gradients (the message names it), or it is not said whether to average; no such
            knob, blocks that cannot be averaged, do not repeat themselves or take one signal at a time.
        DistributedError: a step failed on another process, or it trains other parameters.
    """
    knobs = horizon, HorizonRule(anchored, runs, stride), Sharing(segment, batched)
    return fill(partial(_fill, knobs=knobs), blocks, x, loss_fn, readout, process_group, grad_scaler)


def _fill(
    blocks: Iterable[Block],
    x: Any,
    loss_fn: LossFunction,
    readout: Readout | None,
    knobs: tuple[int, HorizonRule, Sharing],
) -> Tensor:
    horizon, rule, sharing = knobs
    return filled(_pass(as_stack(blocks), x, loss_fn, horizon, readout, rule, sharing))


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
    anchored: bool = False,
    stride: int = 1,
    runs: int = 0,
    *,
    segment: int | None = None,
    batched: bool = False,
    process_group: Group = None,
) -> tuple[Tensor, Gradients]:
    """As `horizon_backward`, but returns the loss and the gradients by tensor, and leaves `.grad` alone."""
    rule, sharing = HorizonRule(anchored, runs, stride), Sharing(segment, batched)
    stack = checked_stack(blocks, x, loss_fn, readout)

    def compute() -> tuple[Tensor, Gradients]:
        step = _pass(stack, x, loss_fn, horizon, readout, rule, sharing)
        return step.loss, step.gradients

    return average(compute, stack, x, loss_fn, readout, process_group)


def _pass(
    stack: list[Block],
    x: Any,
    loss_fn: LossFunction,
    horizon: int,
    readout: Readout | None,
    rule: HorizonRule,
    sharing: Sharing,
) -> PassResult:
    check_gradients_are_on()
    quick = sharing.segment is None and not rule.anchored and not rule.runs and len(stack) > 1
    if quick and as_horizon(horizon, len(stack)) == rule.stride == 1:
        return _local(stack, x, loss_fn, readout)
    targets = horizon_targets(len(stack), horizon, rule)
    segments = segments_of(horizon, rule, *sharing)
    if len(targets[-1]) == len(stack):
        return whole(stack, x, loss_fn, readout)
    ends = [s for s, receivers in enumerate(targets, start=1) if receivers]
    tail = CoarseTail(stack, rule.runs, ends[0]) if rule.runs else None
    if not rule.anchored:
        return windowed_pass(stack, x, targets, OwnLosses(stack, loss_fn, readout, tail), segments)
    signals = Anchored(stack, x, loss_fn, readout, ends, tail)
    step = windowed_pass(stack, x, targets, signals, segments)
    signals.replay.check()
    signals.direct.add(step.gradients, step.gradients.values())
    return PassResult(step.loss, signals.direct.gradients, step.vjps)


def kept_blocks(depth: int, horizon: int, stride: int = 1, segment: int | None = None) -> int:
    """At most so many blocks are alive at once: h + k - 1, and g - 1 more where stages hold fewer than g.

    Raises:
        HorizonError, DomainError: as `horizon_backward`.
    """
    own = segments_of(as_horizon(horizon, depth), HorizonRule(stride=stride), segment)
    more = own.size - 1 if own.size > own.stage else 0
    return min(depth, horizon + stride - 1 + more)


def _local(stack: list[Block], x: Any, loss_fn: LossFunction, readout: Readout | None) -> PassResult:
    """Horizon 1, for which no graph waits."""
    step = LocalLosses(stack, x, loss_fn, readout)
    step.run()
    return PassResult(step.loss.reshape(()), step.total.gradients, step.vjps)


class Sharing(NamedTuple):
    """What a caller asks for: `segment` and `batched` as of `horizon_backward`."""

    segment: int | None = None
    batched: bool = False


def segments_of(
    horizon: int, rule: HorizonRule = PLAIN, segment: int | None = None, batched: bool = False
) -> Segments:
    """Which blocks share a graph: g = h/4 of them, or those of a stage, where nothing is asked for.

    Raises:
        DomainError: g is no integer >= 1.
    """
    batched = as_flag("batched", batched)
    if segment is not None:
        size = as_integer("segment", segment)
        return Segments(size, joined=size > 1, batched=batched)
    return Segments(max(1, horizon // 4), rule.stride, joined=True, batched=batched)


def horizon_targets(depth: int, horizon: int, rule: HorizonRule = PLAIN) -> list[range]:
    """Which blocks receive the signal at x(s), for s = 1..T.

    The ends s are T, T - k, T - 2 k, ... for a stride k; a block takes the first of them at or after t + h.
    With k = 1 block s - h receives the one at s < T, and the last h the one at T.
    """
    ends = rule.ends(depth, as_horizon(horizon, depth), np.arange(depth))
    first = np.searchsorted(ends, np.arange(1, depth + 2)).tolist()
    return [range(first[s - 1], first[s]) for s in range(1, depth + 1)]


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
    return windowed_pass(blocks, x, targets, OwnLosses(blocks, loss_fn, readout))


def windowed_pass(
    blocks: Sequence[Block], x: Any, targets: Targets, signals: Signals, segments: Segments = APART
) -> PassResult:
    """Run the blocks once; what is injected at each x(s) goes back to its receivers: eq. (9) by windows."""
    depth, window, state = len(blocks), Window(blocks, x, targets, segments), x
    precision: AbstractContextManager[object] | None = None
    with reentrant.watched():
        for s in range(1, depth + 1):
            state = window.advance(s - 1, state, signals)
            if targets[s - 1] or s == depth:
                receivers = window.receivers(s)
                injected = signals.at(state, s, bool(receivers), window.joinable())
                state = injected.state
                if precision is not block_graph.NOTHING:  # else autocast is off from the first end on
                    precision = block_graph.plain_precision(signals.loss.device)
                with precision:
                    window.take(s, injected, receivers)
                del injected
            window.release(s)
    return PassResult(signals.loss.reshape(()), window.total.gradients, window.vjps)


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
        sin2=partial(horizon_law, h),
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


def horizon_law(horizon: int, law: DecayConstants, depth: int) -> float:
    """The law of decay at m = T - h (Theorems B to D)."""
    return float(decay_law(law.quadratic, law.cubic, depth - as_horizon(horizon, depth), depth))


def _predicted(horizon: int, depth: int) -> Predicted:
    """h + g - 1 of T blocks are stored; (T - h + 1) h signals go back, beside T forwards and T parameter
    gradients.
    """
    passed = 2 * depth + costs.block_vjps(depth, horizon)
    return Predicted(kept_blocks(depth, horizon) / depth, float(passed) / (3 * depth))


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
