"""Back-propagation through the last K blocks alone; the blocks below them are not trained."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dlinear.bridge.autograd.blocks import (
    Block,
    LossFunction,
    Readout,
    as_stack,
    check_gradients_are_on,
    pull,
    run_blocks,
    terminal_loss,
)
from dlinear.bridge.methods.base import Cost, Family, Method, Predicted, named, powers_of_two
from dlinear.checks import as_integer


def tail_backward(
    blocks: Iterable[Block], x: Any, loss_fn: LossFunction, readout: Readout | None = None, count: int = 1
) -> Tensor:
    """Add the gradient of the last `count` blocks and of the readout; return the terminal loss, detached.

    Raises:
        ShapeError: no block, or a loss that is not a scalar.
        DomainError: count outside 1..T, gradients are switched off, or the loss has none.
    """
    check_gradients_are_on()
    stack = as_stack(blocks)
    cut = len(stack) - as_integer("count", count, 1, len(stack))
    with torch.no_grad():  # nothing of these blocks is stored
        state = run_blocks(stack[:cut], x)
    return pull(terminal_loss(run_blocks(stack[cut:], state), len(stack), loss_fn, readout))


def _method(number: int | None) -> Method:  # what the registry makes of the name tail-K
    count = number or 1
    return Method(
        name=named("tail", count),
        family="tail",
        number=count,
        description=f"back-propagation through the last {count} blocks",
        exact=False,  # not the gradient of back-propagation
        run=partial(tail_backward, count=count),
        cost=lambda depth: Cost(forwards=depth, vjps=min(count, depth)),
        # 3 T products are back-propagation: T forward, and 2 for each block that is trained
        predicted=lambda depth: Predicted(
            min(count / depth, 1.0), min((depth + 2 * count) / (3 * depth), 1.0)
        ),
    )


FAMILIES = (Family("tail", _method, compared=lambda depth, batch: powers_of_two(depth)),)
