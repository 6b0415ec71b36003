"""Back-propagation through recomputed segments of blocks (torch.utils.checkpoint)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
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
from dlinear.bridge.autograd.modules import modules_among
from dlinear.bridge.autograd.step import as_step
from dlinear.bridge.methods.base import Cost, Family, Method, Predicted, named, no_angle, powers_of_two

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
    silence); here it works on the buffers as they were before the first and leaves them as after it. Forward
    hooks, state that is no buffer, and modules that a function looks up while it runs, do see both passes; a
    block that overwrites the input of a segment is refused by autograd.

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
        DomainError: segments outside 1..T, gradients are switched off, or the loss has none.
    """
    check_gradients_are_on()
    stack = as_stack(blocks)
    depth = len(stack)
    bounds = even_bounds("blocks", depth, default_segments(depth) if segments is None else segments)
    state = x
    for start, stop in pairwise(bounds[:-1]):
        state = _recomputed(stack[start:stop], state)
    loss = terminal_loss(run_blocks(stack[bounds[-2] :], state), depth, loss_fn, readout)
    del state
    return pull(loss)


def _recomputed(segment: Sequence[Block], state: Any) -> Any:
    leaves, structure = tree_flatten(state)  # tensors that are arguments themselves are stored by autograd

    def run(*inputs: Any) -> Any:
        return run_blocks(segment, tree_unflatten(inputs, structure))

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _Rewound(segment)

    return checkpoint(run, *leaves, use_reentrant=False, context_fn=contexts)


class _Rewound(AbstractContextManager[None]):
    """Buffers of training modules as they were when this was made.

    They are exchanged, not overwritten: what was saved for backward must not change its version.
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        modules = {m: None for b in modules_among(blocks) for m in b.modules() if m.training}
        self._before = [
            (module._buffers, name, buffer.clone())
            for module in modules
            for name, buffer in module._buffers.items()
            if buffer is not None
        ]
        self._after: list[Tensor | None] = []

    def __enter__(self) -> None:
        self._after = [buffers[name] for buffers, name, _ in self._before]
        for buffers, name, value in self._before:
            buffers[name] = value

    def __exit__(self, *_: object) -> None:
        for (buffers, name, _value), buffer in zip(self._before, self._after, strict=True):
            buffers[name] = buffer


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
