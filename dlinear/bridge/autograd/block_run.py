"""One block of a stack, run forward on a state that was cut off from its history."""

from __future__ import annotations

from typing import Any

from dlinear.bridge.autograd import block_graph
from dlinear.bridge.autograd.backward_hooks import gated
from dlinear.bridge.autograd.block_graph import BlockGraph
from dlinear.bridge.autograd.blocks import Block, called


def run_block(block: Block, state: Any, follow: bool, t: int) -> tuple[Any, BlockGraph]:
    """x(t + 1), detached, and the graph of block t.

    Args:
        block: a module or a function.
        state: x(t).
        follow: whether gradients are to pass to x(t). For backward hooks of the block's modules, which are to
            see the gradient of its input, they always may, but for t = 0.
        t: for messages.

    Raises:
        ShapeError, DomainError: as `block_graph.run`.
    """
    name = f"block {t}"
    with gated((block,)) as gate:
        return block_graph.run(called(block), state, follow or (gate is not None and t > 0), name, gate)
