"""Questions about the states before and after a block."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils import _pytree as pytree

from dlinear.bridge.autograd import block_graph
from dlinear.bridge.autograd.blocks import Block


def floating(state: Any) -> list[Tensor]:
    """The floating-point tensors of a state, in order."""
    return [tensor for tensor in block_graph.tensors(state) if tensor.is_floating_point()]


def is_residual(block: Block, before: Any, after: Any) -> bool:
    """Whether a block is taken as x + f(x).

    It is if its state keeps containers, shapes and types, unless the block says otherwise by an attribute
    `skip = False`, as the first and last layer of `models.residual` do.
    """
    inner = block.module if isinstance(block, DistributedDataParallel) else block
    return getattr(inner, "skip", True) is not False and same_form(before, after)


def same_form(a: Any, b: Any) -> bool:
    """Whether two states have the same containers, and tensors of the same shapes and types."""
    (ours, one), (theirs, other) = pytree.tree_flatten(a), pytree.tree_flatten(b)
    return one == other and all(map(_same_form, ours, theirs))


def _same_form(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and a.shape == b.shape
    return type(a) is type(b)


def share_memory(a: Any, b: Any) -> bool:
    """Whether a tensor of one state lies in the memory of a tensor of the other."""
    ours, theirs = ({block_graph.storage_of(t) for t in block_graph.tensors(some)} - {0} for some in (a, b))
    return bool(ours & theirs)
