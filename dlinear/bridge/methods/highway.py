"""Highway backpropagation: the gradient over the paths through few of the later blocks.

Fagnou, Caillon, Delattre and Allauzen (ICLR 2025, arXiv 2501.17086) write the gradient as a sum over paths
through the blocks of a residual stack and keep, in their K-th iterate, those that pass at most K of the later
blocks and the residual connections elsewhere. The rule is theirs; what is ours here is the one backward sweep
that takes all iterates along, and the exact passage through blocks that change the shape.

With J_t the Jacobian of block t, D_t = J_t - I and r = grad L(x(T)), the signals at x(t) are

    s_T^(k) = r,    s_t^(0) = r,    s_t^(k) = s_{t+1}^(k) + D_t^T s_{t+1}^(k-1),    k = 0..K,

and block t receives s_{t+1}^(K). K = 0 is the anchored rule at h = 1, K >= T - 1 back-propagation. In
parallel over the layers, which is what the rule is for, an iterate takes one step; here the sweep is
sequential and all activations are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dlinear.bridge.autograd import block_graph
from dlinear.bridge.autograd.block_graph import BlockGraph
from dlinear.bridge.autograd.block_run import run_block
from dlinear.bridge.autograd.blocks import (
    NOTHING_TRAINED,
    Block,
    LossFunction,
    Readout,
    as_stack,
    check_gradients_are_on,
    end_of,
)
from dlinear.bridge.autograd.gradient_sum import GradientSum, accumulate, added
from dlinear.bridge.autograd.graph_history import Signal
from dlinear.bridge.autograd.states import is_residual
from dlinear.bridge.autograd.step import as_step
from dlinear.bridge.methods.base import Cost, Family, Method, Predicted, named
from dlinear.checks import as_integer
from dlinear.errors import DomainError

__all__ = ["highway_backward"]


@as_step
def highway_backward(
    blocks: Iterable[Block],
    x: Any,
    loss_fn: LossFunction,
    readout: Readout | None = None,
    passed: int = 1,
) -> Tensor:
    """The K-th iterate of Highway backpropagation (arXiv 2501.17086), see above.

    A block that keeps the shape of its state is taken as x + f(x); one that changes it is passed exactly, and
    does not count. Readout and loss receive their exact gradient.

    Args:
        blocks: T modules or functions, as of `horizon_backward`; each runs once.
        x: x(0), the batch.
        loss_fn: z -> scalar.
        readout: (x(T), T) -> what the loss takes; None for x(T) itself.
        passed: K >= 0, later blocks that a path may pass.

    Returns:
        The terminal loss L(x(T)), detached.

    Raises:
        ShapeError: no block, a loss that is not a scalar, or a block that uses an earlier one's tensor.
        DomainError: K below 0, gradients are switched off, nothing is trained, or the loss has no gradient.
    """
    check_gradients_are_on()
    passed = as_integer("passed", passed, 0)
    stack = as_stack(blocks)
    total = GradientSum(())
    graphs, residual, state = list[BlockGraph](), list[bool](), x
    follow = any(tensor.requires_grad for tensor in block_graph.tensors(x))
    follows = []
    for t, block in enumerate(stack):
        follows.append(follow)
        after, graph = run_block(block, state, follow, t)
        residual.append(is_residual(block, state, after))
        graphs.append(graph)
        state, follow = after, follow or bool(graph.leaves)
    loss, end = end_of(state, len(stack), loss_fn, readout, follow)
    del state, after, graph
    with block_graph.plain_precision(loss.device):
        signal, found = end.vjp([torch.ones_like(loss)], end.leaves, through=follow)
        total.add(end.leaves, found)
        signals = _sweep(graphs, residual, follows, [signal], passed, total)
    if follows[0]:  # otherwise the signals stop where nothing is trained before
        total.add_inputs(x, signals[-1])
    if not total.gradients:
        raise DomainError(NOTHING_TRAINED)
    accumulate(total.gradients)
    return loss.reshape(())


def _sweep(
    graphs: list[BlockGraph],
    residual: Sequence[bool],
    follows: Sequence[bool],
    signals: list[Signal],
    passed: int,
    total: GradientSum,
) -> list[Signal]:
    """From the signals s^(0), ... at x(T) to those at x(0), with the gradients of all blocks.

    There are as many signals as differ: with m later residual blocks s^(m) = s^(m+1) = ...
    """
    while graphs:
        t, graph = len(graphs) - 1, graphs.pop()
        pulled: list[Signal] = []
        for k, signal in enumerate(signals):
            own = k == len(signals) - 1  # s^(K): the block learns from it
            through = follows[t] and (k < passed or not residual[t])
            if own or through:
                before, found = graph.vjp(signal, graph.leaves if own else (), through=through, hooks=own)
                if own:
                    total.add(graph.leaves, found)
                if through:
                    pulled.append(before)
        if not follows[t]:  # what is before x(t) is not trained
            break
        signals = _next(signals, pulled) if residual[t] else pulled
    return signals


def _next(signals: list[Signal], pulled: list[Signal]) -> list[Signal]:
    """s_t^(k) = s_{t+1}^(k) + J_t^T s_{t+1}^(k-1) - s_{t+1}^(k-1)."""
    found = [signals[0]]
    for k, back in enumerate(pulled, start=1):
        found.append(_sum(signals[k], back, signals[k - 1]) if k < len(signals) else back)
    return found


def _sum(a: Signal, b: Signal, c: Signal) -> Signal:
    """a + b - c, None being zero."""
    negative = [None if value is None else -value for value in c]
    return [added(p, added(q, r)) for p, q, r in zip(a, b, negative, strict=True)]


def block_pulls(passed: int, depth: int) -> int:
    """Vector-Jacobian products of T residual blocks: min(K, later blocks) + 1 each, one of the first."""
    return 1 + sum(min(passed, later) + 1 for later in range(depth - 1))


def _method(number: int | None) -> Method:
    passed = number or 1
    return Method(
        name=named("highway", passed),
        family="highway",
        number=passed,
        description=f"Highway backpropagation, paths through at most {passed} later blocks",
        exact=False,
        run=partial(highway_backward, passed=passed),
        cost=partial(_cost, passed),
        predicted=partial(_predicted, passed),
    )


def _cost(passed: int, depth: int) -> Cost:
    return Cost(depth, block_pulls(passed, depth))


def _predicted(passed: int, depth: int) -> Predicted:
    """All activations; T forwards, T gradients of parameters, and the products that go on to x(t)."""
    through = sum(min(passed, later + 1) for later in range(depth - 1))
    return Predicted(1.0, (2 * depth + through) / (3 * depth))


FAMILIES = (
    Family(
        "highway",
        _method,
        compared=lambda depth, batch: [1],
        place=50,
        series="Highway",
    ),
)
