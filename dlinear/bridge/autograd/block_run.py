"""One block of a stack, run forward on a state that was cut off from its history."""

from __future__ import annotations

from typing import Any

from dlinear.bridge.autograd import block_graph
from dlinear.bridge.autograd.backward_hooks import Tables, gated
from dlinear.bridge.autograd.block_graph import BlockGraph
from dlinear.bridge.autograd.blocks import Block, called
from dlinear.bridge.autograd.graph_history import History


def run_block(
    block: Block,
    state: Any,
    follow: bool,
    t: int,
    history: History | None = None,
    tables: Tables | None = None,
) -> tuple[Any, BlockGraph]:
    """x(t + 1), detached, and the graph of block t.

    Args:
        block: a module or a function.
        state: x(t).
        follow: whether gradients are to pass to x(t). For backward hooks of the block's modules, which are to
            see the gradient of its input, they always may, but for t = 0.
        t: for messages.
        history: of x(t), as of `block_graph.run`.
        tables: of its backward hooks, if they have been looked for.

    Raises:
        ShapeError, DomainError: as `block_graph.run`.
    """
    name, function = f"block {t}", called(block) if isinstance(state, tuple) else block
    if tables is not None and not any(tables):
        return block_graph.run(function, state, follow, name, None, history)
    with gated((block,)) as gate:
        follow = follow or (gate is not None and t > 0)
        return block_graph.run(function, state, follow, name, gate, history)
