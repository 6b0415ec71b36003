"""One block of a stack, run forward on a state that was cut off from its history."""

from __future__ import annotations

from typing import Any

from dlinear.bridge.autograd import block_graph
from dlinear.bridge.autograd.block_graph import BlockGraph
from dlinear.bridge.autograd.blocks import Block, called
from dlinear.bridge.autograd.ends import copied
from dlinear.bridge.autograd.isolation import isolated
from dlinear.bridge.autograd.modules import modules_among, trainable


def run_block(block: Block, state: Any, follow: bool, t: int) -> tuple[Any, BlockGraph]:
    """x(t + 1), detached, and the graph of block t; `follow`: whether gradients are to pass to x(t).

    Raises:
        ShapeError, DomainError: as `block_graph.run`.
    """
    name = f"block {t}"
    output, graph = block_graph.run(called(block), state, follow, name)
    if not (follow or graph.leaves) and trainable(modules_among((block,))):
        # Without an input that requires a gradient torch's reentrant checkpoints leave no trace in the
        # graph: the parameters inside would not be trained, without a word. Look again, with such an input.
        with isolated((block,), state):
            block_graph.run(called(block), copied(state), True, name)
    return output, graph
