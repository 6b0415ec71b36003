"""How much each block keeps for its backward pass: what the memory of a window is made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._pytree import tree_leaves

from dlinear.bridge.autograd.blocks import Block, called, checked_stack
from dlinear.bridge.autograd.isolation import isolated
from dlinear.bridge.autograd.modules import modules_among, trainable
from dlinear.errors import MeterError

__all__ = ["block_sizes"]


def block_sizes(blocks: Iterable[Block], x: Any) -> NDArray[np.float64]:
    """Bytes that autograd keeps for each block, (T,), when the stack runs forward on x.

    Each storage counts once, for the first block that keeps it; parameters, buffers and x itself do not
    count. The largest sum over h neighbouring blocks is the memory of a window of h blocks, up to a constant.

    Args:
        blocks: T modules or functions.
        x: x(0), the batch.

    Raises:
        ShapeError: no block, or an x without a tensor.
        MeterError: a block hides what it keeps from hooks (checkpointing, compiled blocks).
    """
    stack = checked_stack(blocks, x, called, None)
    modules = modules_among(stack)
    if any(hasattr(m, "_orig_mod") for top in modules for m in top.modules()):
        raise MeterError("a compiled block shows no operations: measure the sizes of the blocks as they were")
    with isolated(modules, x):
        return _watched(stack, x, trainable(modules))


def _watched(stack: list[Block], x: Any, trained: Iterable[Tensor]) -> NDArray[np.float64]:
    older = [*trained, *(t for m in modules_among(stack) for t in m.buffers()), *_tensors(x)]
    known = {_address(tensor) for tensor in older}
    sizes, state = np.zeros(len(stack)), x
    kept: list[Tensor] = []  # what autograd holds, so that no address comes twice

    for t, block in enumerate(stack):

        def pack(tensor: Tensor, t: int = t) -> Tensor:
            """Count a storage that was not seen before."""
            if _address(tensor) not in known:
                known.add(_address(tensor))
                kept.append(tensor.detach())
                sizes[t] += tensor.untyped_storage().nbytes()
            return tensor.detach()

        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            state = called(block)(state)
            kept.extend(_tensors(state))
    return sizes


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _tensors(state: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(state) if isinstance(leaf, Tensor)]
