"""What is looked up once for each block of a step: its parameters, its backward hooks, what else it holds."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dlinear.bridge.autograd.backward_hooks import Tables, tables_of
from dlinear.bridge.autograd.blocks import Block
from dlinear.bridge.autograd.modules import OF_MODULES, modules_and_trained_tensors

_PLAIN = frozenset((int, float, complex, bool, str, bytes, type(None), torch.dtype, torch.device, torch.Size))
_LISTS = frozenset((tuple, list, torch.Size))


class Survey(NamedTuple):
    """A block before it runs.

    Attributes:
        parameters: those of a module.
        tables: where the backward hooks are that it may meet, if there are any.
        alone: whether all that it trains are parameters of its own, as far as can be seen: no function, and
            no module that keeps others or trained tensors beside its parameters.
    """

    parameters: list[Tensor]
    tables: Tables
    alone: bool

    @property
    def joins(self) -> bool:
        """Whether its graph may go on from that of the block before: it is alone, and has no hook."""
        return self.alone and not any(self.tables)


def survey(block: Block) -> Survey:
    """Look at a block; a module of plain attributes, the common case, by one quick walk."""
    parameters: list[Tensor] = []
    if isinstance(block, nn.Module):
        inner = _inner(block)
        parameters = [p for m in inner for p in m._parameters.values() if p is not None]
        if all(map(_is_plain, inner)):
            return Survey(parameters, tables_of(inner), True)
    modules, loose = modules_and_trained_tensors(block)
    alone = isinstance(block, nn.Module) and modules == [block] and not loose
    return Survey(parameters, tables_of(part for module in modules for part in _inner(module)), alone)


def _inner(module: nn.Module) -> list[nn.Module]:
    """The module and those inside it, each once."""
    found, todo = [module], list(module._modules.values())
    while todo:
        part = todo.pop()
        if part is not None and part not in found:
            found.append(part)
            todo += part._modules.values()
    return found


def _is_plain(module: nn.Module) -> bool:
    """Whether a module keeps nothing but numbers and words beside its parameters, buffers and modules."""
    for name, value in vars(module).items():
        kind = type(value)
        if kind in _PLAIN or name in OF_MODULES:
            continue
        if kind not in _LISTS or not all(type(one) in _PLAIN for one in value):
            return False
    return True
