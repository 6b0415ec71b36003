"""What methods do alike with a stack of blocks: run it, take the terminal loss, cut it into even parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from dlinear.bridge.horizon import Block, LossFunction, Readout, as_loss, called
from dlinear.errors import DomainError

__all__ = ["even_bounds", "run_blocks", "terminal_loss"]


def run_blocks(blocks: Sequence[Block], state: Any) -> Any:
    """The state after all blocks, passed on between them as `horizon_backward` does."""
    for block in blocks:
        state = called(block)(state)
    return state


def terminal_loss(z: Any, depth: int, loss_fn: LossFunction, readout: Readout | None) -> Tensor:
    """L(x(T)) with z = x(T), a scalar.

    Raises:
        ShapeError: the loss is not a real scalar.
    """
    return as_loss(loss_fn(z if readout is None else readout(z, depth)), depth).reshape(())


def pull(loss: Tensor, weight: float = 1.0) -> Tensor:
    """weight x loss, taken back into every `.grad`, and returned detached.

    Raises:
        DomainError: the loss has no gradient.
    """
    if not loss.requires_grad:
        raise DomainError("the loss has no gradient: nothing is trainable, or loss_fn detaches its argument")
    weighted = loss if weight == 1.0 else loss * weight
    weighted.backward()  # type: ignore[no-untyped-call]
    return weighted.detach()


def even_bounds(what: str, total: int, parts: int) -> list[int]:
    """0 = b_0 < ... < b_parts = total, with differences as equal as can be.

    Raises:
        DomainError: parts outside 1..total.
    """
    if not 1 <= parts <= total:
        raise DomainError(f"{parts} parts of {total} {what}: allowed is 1..{total}")
    return [i * total // parts for i in range(parts + 1)]
