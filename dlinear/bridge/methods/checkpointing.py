"""Back-propagation through recomputed segments of blocks (torch.utils.checkpoint)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.checkpoint import checkpoint

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
from dlinear.bridge.autograd.segment_buffers import SegmentBuffers
from dlinear.bridge.autograd.step import as_step
from dlinear.bridge.methods.base import Cost, Family, Method, Predicted, named, no_angle, powers_of_two
from dlinear.checks import as_integer

__all__ = ["checkpointed_backward", "default_segments"]


def default_segments(depth: int) -> int:
    """About sqrt(T): with K segments about K + T/K blocks' worth is stored, least at K = sqrt(T)."""
    return max(1, round(math.sqrt(depth)))


@as_step
def checkpointed_backward(
    blocks: Iterable[Block],
    x: Any,
    loss_fn: LossFunction,
    readout: Readout | None = None,
    segments: int | None = None,
) -> Tensor:
    """The gradient of back-propagation, while only the inputs of `segments` runs of blocks are stored.

    Every segment but the last runs forward a second time during the backward pass, with the dropout masks of
    the first time. A second pass would also update running statistics a second time (as torch does, in
    silence); here it works on the buffers as they were before the first and leaves them as after it
    (`autograd.segment_buffers`). Forward hooks and state that is no tensor do see both passes; a block that
    overwrites the input of a segment is refused by autograd, one that writes into a tensor which is no
    buffer of a module here.

    Args:
        blocks: T modules or functions, as of `horizon_backward`.
        x: x(0), the batch.
        loss_fn: z -> scalar.
        readout: (x(T), T) -> what the loss takes; None for x(T) itself.
        segments: K in 1..T, None for about sqrt(T).

    Returns:
        The terminal loss L(x(T)), detached.

    Raises:
        ShapeError: no block, or a loss that is not a scalar.
        DomainError: segments outside 1..T, gradients are switched off, the loss has none, or a block keeps a
            state that cannot be protected.
    """
    check_gradients_are_on()
    stack = as_stack(blocks)
    depth = len(stack)
    count = default_segments(depth) if segments is None else as_integer("segments", segments, 1, depth)
    bounds = even_bounds("blocks", depth, count)
    state = x
    for start, stop in pairwise(bounds[:-1]):
        state = _recomputed(stack[start:stop], start, state)
    loss = terminal_loss(run_blocks(stack[bounds[-2] :], state, bounds[-2]), depth, loss_fn, readout)
    del state
    return pull(loss)


def _recomputed(segment: Sequence[Block], first: int, state: Any) -> Any:
    """x after the segment's blocks, whose numbers begin with `first`; they run again on the way back."""
    leaves, structure = tree_flatten(state)  # tensors that are arguments themselves are stored by autograd
    buffers = SegmentBuffers(segment)

    def run(*inputs: Any) -> Any:
        state = tree_unflatten(inputs, structure)
        for t, block in enumerate(segment, first):
            state = run_blocks((block,), state, t)
            buffers.check(f"block {t}")
        return state

    return checkpoint(run, *leaves, use_reentrant=False, context_fn=buffers.contexts)


def recomputed(segments: int | None, depth: int) -> Cost:
    """All segments but the last run forward twice."""
    bounds = even_bounds("blocks", depth, segments or default_segments(depth))
    return Cost(depth + bounds[-2], depth)


def predicted(segments: int | None, depth: int) -> Predicted:
    """Stored: the inputs of K segments, counted as whole blocks, and the blocks of one, (K + ceil(T/K))/T."""
    count = segments or max(1, round(math.sqrt(depth)))
    return Predicted(min(1.0, (count + math.ceil(depth / count)) / depth), (4 - 1 / count) / 3)


def _method(number: int | None) -> Method:
    return Method(
        name=named("checkpoint", number),
        family="checkpoint",
        number=number,
        description=f"back-propagation through {number or 'about sqrt(T)'} recomputed segments",
        exact=True,
        run=partial(checkpointed_backward, segments=number),
        cost=partial(recomputed, number),
        predicted=partial(predicted, number),
        sin2=no_angle,
    )


def _compared(depth: int, batch: int) -> list[int]:
    """Powers of two from 2 to T/2, and about sqrt(T)."""
    near = max(1, round(math.sqrt(max(depth, 0))))
    return sorted({k for k in powers_of_two(depth)[1:] if 2 * k <= depth} | {near})


FAMILIES = (
    Family(
        "checkpoint",
        _method,
        bare=True,
        compared=_compared,
        place=10,
        series="checkpoint, backprop",
        option="checkpoints",
    ),
)
