"""The horizon gradient, rescaled to the projection of the true one: never uphill to first order.

projected-h: the blocks get s g_h, s = <g_T, g_h>/|g_h|^2, eq. (13), the point of the line of g_h next to g_T.
<g_T, s g_h> = <g_T, g_h>^2/|g_h|^2 >= 0, also where g_h itself points uphill (s < 0 turns it). <g_T, g_h> is
one pass in forward mode, which keeps no activations. Directional derivatives along local gradients ("gradient
guesses"): Fournier, Rivaud, Belilovsky, Eickenberg and Oyallon, "Can Forward Gradient Match Backpropagation?"
(2023).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from dlinear.bridge.autograd.blocks import (
    NOTHING_TRAINED,
    Block,
    LossFunction,
    Readout,
    as_stack,
    check_gradients_are_on,
)
from dlinear.bridge.autograd.gradient_sum import Gradients, accumulate, added
from dlinear.bridge.autograd.step import as_step
from dlinear.bridge.methods.base import Cost, Family, Method, Predicted, named
from dlinear.bridge.methods.horizon import filled, horizon_law, whole
from dlinear.bridge.methods.passes import Passes, inner_product
from dlinear.checks import as_horizon
from dlinear.errors import DomainError
from dlinear.theory import costs

__all__ = ["projected_backward"]


@as_step
def projected_backward(
    blocks: Iterable[Block],
    x: Any,
    loss_fn: LossFunction,
    readout: Readout | None = None,
    horizon: int = 1,
) -> Tensor:
    """Add s g_h to `.grad` of the blocks, s = <g_T, g_h>/|g_h|^2; readout and loss get their true gradient.

    Two passes: by windows of h blocks, and in forward mode with the dropout masks of the first; running
    statistics are updated once. The gradient is no ascent direction: its inner product with the true one is
    <g_T, g_h>^2/|g_h|^2 plus the square of what readout and loss get, which is exact. A tensor that blocks
    share with readout or loss belongs to g_h. That holds for a batch and for what is trained here: not for
    modules that produced x, nor for the mean over several processes, each of which projects its own.

    Args:
        blocks: T modules or functions with forward-mode rules, as of `horizon_backward`.
        x: x(0), the batch.
        loss_fn: z -> scalar.
        readout: (x(s), s) -> what the loss takes; None for x(s) itself.
        horizon: h in 1..T; T is back-propagation.

    Returns:
        The terminal loss L(x(T)), detached.

    Raises:
        HorizonError: h is not an integer in 1..T.
        ShapeError: no block, a loss that is not a scalar, or as `horizon_backward`.
        DomainError: a block without a forward-mode rule (the message names it), or that does not repeat
            itself; gradients are switched off, nothing is trained.
    """
    check_gradients_are_on()
    stack = as_stack(blocks)
    h = as_horizon(horizon, len(stack))
    if h == len(stack):
        return filled(whole(stack, x, loss_fn, readout))
    passes = Passes(stack, x, loss_fn, readout)
    own, direct = passes.horizon(h)
    if not own and not direct:
        raise DomainError(NOTHING_TRAINED)
    accumulate(_projected(passes, own, direct))
    return passes.loss


def _projected(passes: Passes, own: Gradients, direct: Gradients) -> Gradients:
    """The blocks' gradients rescaled, beside those that the loss at x(T) gives directly."""
    tied = [leaf for leaf in direct if leaf in own]
    for leaf in tied:
        own[leaf] = _sum(own[leaf], direct.pop(leaf))
    square = inner_product(own, own)
    scale = passes.slope(own, beyond=bool(tied)) / square if square else 0.0
    for leaf in own:
        own[leaf] = own[leaf] * scale
    return {**own, **direct}


def _sum(a: Tensor, b: Tensor) -> Tensor:
    total = added(a, b)
    assert total is not None
    return total


def _method(number: int | None) -> Method:
    h = number or 1
    return Method(
        name=named("projected", h),
        family="projected",
        number=h,
        description=f"g_T projected on the gradient of horizon {h}, by one pass in forward mode",
        exact=False,
        run=partial(projected_backward, horizon=h),
        cost=partial(_cost, h),
        predicted=partial(_predicted, h),
        sin2=partial(horizon_law, h),  # the line is the same
    )


def _cost(horizon: int, depth: int) -> Cost:
    """A pass by windows and one in forward mode; back-propagation alone where h >= T."""
    if horizon >= depth:
        return Cost(depth, depth)
    return Cost(2 * depth, costs.block_vjps(depth, horizon), depth)


def _predicted(horizon: int, depth: int) -> Predicted:
    """h of T blocks; in forward mode each block takes three products, as a forward gradient does."""
    if horizon >= depth:
        return Predicted(1.0, 1.0)
    passed = 2 * depth + costs.block_vjps(depth, horizon) + 3 * depth
    return Predicted(float(costs.stored_blocks_eager(depth, horizon)) / depth, float(passed) / (3 * depth))


def _compared(depth: int, batch: int) -> Sequence[int]:
    return [h for h in (1, 4) if h == 1 or 2 * h <= depth]


FAMILIES = (Family("projected", _method, compared=_compared, place=31, series="projected horizon"),)
