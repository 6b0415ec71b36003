"""One block of a stack, run forward on a state that was cut off from its history."""

from __future__ import annotations

from typing import Any

from dlinear.bridge.autograd import block_graph
from dlinear.bridge.autograd.block_graph import BlockGraph
from dlinear.bridge.autograd.blocks import Block, called


def run_block(block: Block, state: Any, follow: bool, t: int) -> tuple[Any, BlockGraph]:
    """x(t + 1), detached, and the graph of block t; `follow`: whether gradients are to pass to x(t).

    Raises:
        ShapeError, DomainError: as `block_graph.run`.
    """
    return block_graph.run(called(block), state, follow, f"block {t}")
