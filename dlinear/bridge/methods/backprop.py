"""Back-propagation, the reference."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

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
from dlinear.bridge.autograd.step import as_step
from dlinear.bridge.methods.base import Cost, Family, Method, Predicted, at_any_depth, no_angle, only_bare


@as_step
def backprop(
    blocks: Iterable[Block], x: Any, loss_fn: LossFunction, readout: Readout | None = None
) -> Tensor:
    """Ordinary back-propagation: L(x(T)).backward().

    Raises:
        ShapeError: no block, or a loss that is not a scalar.
        DomainError: gradients are switched off, or the loss has none.
    """
    check_gradients_are_on()
    stack = as_stack(blocks)
    return pull(terminal_loss(run_blocks(stack, x), len(stack), loss_fn, readout))


def one_pass(depth: int) -> Cost:
    """Every block forward and back once."""
    return Cost(depth, depth)


def _method(number: int | None) -> Method:
    return Method(
        name="backprop",
        family="backprop",
        number=None,
        description="back-propagation",
        exact=True,
        run=backprop,
        cost=one_pass,
        predicted=partial(at_any_depth, Predicted(1.0, 1.0)),
        sin2=no_angle,
    )


FAMILIES = (
    Family(
        "backprop",
        _method,
        least=None,
        bare=True,
        compared=only_bare,
        place=0,
        series="checkpoint, backprop",
    ),
)
