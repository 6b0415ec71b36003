"""Back-propagation of one batch in micro-batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from dlinear.bridge.autograd import block_graph
from dlinear.bridge.autograd.blocks import (
    Block,
    LossFunction,
    Readout,
    as_stack,
    check_gradients_are_on,
    even_bounds,
    pull,
    run_blocks,
    terminal_loss,
)
from dlinear.bridge.autograd.step import as_step
from dlinear.bridge.methods.backprop import one_pass
from dlinear.bridge.methods.base import Family, Method, Predicted, at_any_depth, named, no_angle
from dlinear.bridge.methods.checkpointing import (
    checkpointed_backward,
    predicted,
    recomputed,
)
from dlinear.checks import as_integer
from dlinear.errors import DomainError, ShapeError

__all__ = ["accumulated_backward"]


@as_step
def accumulated_backward(
    blocks: Iterable[Block],
    x: Any,
    loss_fn: LossFunction,
    readout: Readout | None = None,
    parts: int = 2,
    within: Callable[..., Tensor] | None = None,
) -> Tensor:
    """The gradient of the whole batch's mean loss, from `parts` micro-batches one after the other.

    Micro-batches differ by one sample at most; a batch of fewer samples than `parts` goes one by one. Layers
    that mix samples see the micro-batches: batch norm takes its statistics from each (and updates the running
    ones each time), so the gradient is that of another function then. Dropout draws masks for each.

    Args:
        blocks: T modules or functions, as of `horizon_backward`.
        x: x(0): every tensor of it has one entry per sample in its first dimension.
        loss_fn: has `part(slice) -> (loss_fn of these samples, their weight)`, as `losses.Supervised`.
        readout: (x(T), T) -> what the loss takes; None for x(T) itself.
        parts: K >= 1.
        within: a method that takes each micro-batch's gradient, `checkpointed_backward` for example;
            back-propagation by default.

    Returns:
        The terminal loss of the batch, detached.

    Raises:
        ShapeError: no block, tensors of different numbers of samples, or a loss that is not a scalar.
        DomainError: a loss that cannot be split, gradients are switched off, or the loss has none.
    """
    check_gradients_are_on()
    parts = as_integer("parts", parts)
    stack = as_stack(blocks)
    part = getattr(loss_fn, "part", None)
    if part is None:
        raise DomainError(
            f"accumulate needs a loss with .part(slice), as Supervised; {type(loss_fn).__name__} has none"
        )
    sizes = {t.shape[0] if t.ndim else 0 for t in block_graph.tensors(x)}
    if hasattr(loss_fn, "__len__"):
        sizes.add(len(loss_fn))
    if len(sizes) != 1 or 0 in sizes:
        raise ShapeError(f"batch and targets have {sorted(sizes)} samples; expected one number >= 1")
    (samples,) = sizes
    cut = tree_map(_shared, x)
    losses = []
    bounds = even_bounds("samples", samples, min(parts, samples))
    for start, stop in pairwise(bounds):
        some, weight = part(slice(start, stop))
        if weight:  # targets that the criterion leaves out may fill a part: a mean over nothing
            micro = tree_map(partial(_taken, samples=slice(start, stop)), cut)
            if within is None:
                loss = terminal_loss(run_blocks(stack, micro), len(stack), some, readout)
                losses.append(pull(loss, weight))
            else:
                losses.append(within(stack, micro, _Weighted(some, weight), readout))
    _back_to_producer(x, cut)
    return torch.stack(losses).sum() if losses else torch.zeros(())


@dataclass(frozen=True, eq=False)
class _Weighted:
    """weight x loss."""

    loss_fn: LossFunction
    weight: float

    def __call__(self, z: Any) -> Tensor:
        return self.loss_fn(z) * self.weight


def _taken(leaf: Any, samples: slice) -> Any:
    return leaf[samples] if isinstance(leaf, Tensor) else leaf


def _shared(leaf: Any) -> Any:
    """An input that something else produced, as a leaf: its graph can be run back only once."""
    if isinstance(leaf, Tensor) and leaf.requires_grad and not leaf.is_leaf:
        return leaf.detach().requires_grad_()
    return leaf


def _back_to_producer(x: Any, cut: Any) -> None:
    ends = [
        (a, b.grad)
        for a, b in zip(block_graph.tensors(x), block_graph.tensors(cut), strict=True)
        if a is not b and b.grad is not None
    ]
    if ends:
        torch.autograd.backward([a for a, _ in ends], [g for _, g in ends])


def _accumulate(number: int | None) -> Method:
    parts = number or 1
    return Method(
        name=named("accumulate", parts),
        family="accumulate",
        number=parts,
        description=f"back-propagation of {parts} micro-batches",
        exact=True,
        run=partial(accumulated_backward, parts=parts),
        cost=one_pass,
        predicted=partial(at_any_depth, Predicted(1 / parts, 1.0)),
        whole_batch=False,
        sin2=no_angle,
    )


def _combined(number: int | None) -> Method:
    parts = number or 1
    return Method(
        name=named("combined", parts),
        family="combined",
        number=parts,
        description=f"back-propagation of {parts} micro-batches, each through about sqrt(T) segments",
        exact=True,
        run=partial(accumulated_backward, parts=parts, within=checkpointed_backward),
        cost=partial(recomputed, None),
        predicted=partial(_segmented, parts),
        whole_batch=False,
        sin2=no_angle,
    )


def _segmented(parts: int, depth: int) -> Predicted:
    """1/K of what checkpointing the whole batch stores."""
    memory, time = predicted(None, depth)
    return Predicted(memory / parts, time)


def _accumulated(depth: int, batch: int) -> list[int]:
    """2, 4, 16 and as many micro-batches as samples."""
    return sorted({k for k in (2, 4, 16) if k < batch} | {batch})


FAMILIES = (
    Family(
        "accumulate",
        _accumulate,
        compared=_accumulated,
        place=20,
        series="micro-batches",
        option="accumulations",
    ),
    Family(
        "combined",
        _combined,
        compared=lambda depth, batch: [k for k in (2, 4, 8) if k <= max(batch, 2)],
        place=21,
        series="micro-batches",
        option="combined",
    ),
)
