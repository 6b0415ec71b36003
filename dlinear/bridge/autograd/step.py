"""What every method does around its own work: average over processes, and scale for half precision."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor

from dlinear.bridge.autograd import ranks
from dlinear.bridge.autograd.blocks import Block, LossFunction, Readout, checked_stack
from dlinear.bridge.autograd.scaling import factor_of, scaled

__all__ = ["as_step", "fill"]


def fill(
    run: Callable[..., Tensor],
    blocks: Iterable[Block],
    x: Any,
    loss_fn: LossFunction,
    readout: Readout | None = None,
    process_group: ranks.Group = None,
    grad_scaler: Any = None,
) -> Tensor:
    """run(blocks, x, loss_fn, readout=readout), which adds to `.grad`, averaged and scaled as is asked.

    Args:
        run: a method.
        blocks, x, loss_fn, readout: its arguments.
        process_group: over which processes gradients and loss are averaged (`autograd.ranks`).
        grad_scaler: a torch.amp.GradScaler: the loss is multiplied by its factor on the way, so that the
            gradients are, and `grad_scaler.step(optimizer)` divides them by it.

    Returns:
        The terminal loss, detached and not scaled.

    Raises:
        ShapeError: no block, an x without a tensor, or something that cannot be called.
        DomainError, DistributedError: as `ranks.fill`; something else than a scaler.
    """
    blocks = checked_stack(blocks, x, loss_fn, readout)
    factor = factor_of(grad_scaler)
    loss = ranks.fill(run, blocks, x, scaled(loss_fn, factor), readout, process_group)
    if grad_scaler is None:
        return loss
    grad_scaler.scale(loss)  # a scaler refuses to step unless it has seen a loss
    return loss / factor


def as_step(run: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A method's function (blocks, x, loss_fn, readout, ...) with the arguments of `fill` beside its own."""

    @functools.wraps(run)
    def step(
        blocks: Iterable[Block],
        x: Any,
        loss_fn: LossFunction,
        readout: Readout | None = None,
        *own: Any,
        process_group: ranks.Group = None,
        grad_scaler: Any = None,
        **named: Any,
    ) -> Tensor:
        def inner(blocks: Iterable[Block], x: Any, loss_fn: LossFunction, readout: Readout | None) -> Tensor:
            return run(blocks, x, loss_fn, readout, *own, **named)

        return fill(inner, blocks, x, loss_fn, readout, process_group, grad_scaler)

    signature = inspect.signature(run)
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None)
        for name in ("process_group", "grad_scaler")
    ]
    step.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), *added]
    )
    return step
