"""The modules of a step: those that are handed in, and those behind functions, partials and methods."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

_DEPTH = 6  # containers and callables inside one another
_MANY = 10_000  # entries of a container; a longer one holds data, not modules


def modules_among(parts: Iterable[Any]) -> list[nn.Module]:
    """The modules among parts of a step (blocks, readout, loss), and those behind callables, each once.

    Behind a function are its closure, defaults and the globals it names; behind a partial its function and
    arguments; behind a bound method its object; behind any other object its attributes. What a function
    builds or looks up while it runs is not found.
    """
    found: dict[nn.Module, None] = {}
    seen: set[int] = set()

    def visit(part: Any, depth: int) -> None:
        if isinstance(part, nn.Module):
            found[part] = None
        elif depth and id(part) not in seen and not isinstance(part, _WITHOUT):
            seen.add(id(part))
            for inner in _behind(part):
                visit(inner, depth - 1)

    for part in parts:
        visit(part, _DEPTH)
    return list(found)


def trainable(modules: Iterable[nn.Module]) -> list[Tensor]:
    """Their parameters that require a gradient, each once."""
    return list({p: None for module in modules for p in module.parameters() if p.requires_grad})


_WITHOUT = (
    str,
    bytes,
    int,
    float,
    complex,
    Tensor,
    torch.dtype,
    torch.device,
    types.ModuleType,
    type,
    type(None),
)


def _behind(part: Any) -> Iterator[Any]:
    """What a container or a callable refers to."""
    if isinstance(part, Mapping | list | tuple | set | frozenset):
        if len(part) <= _MANY:
            yield from part.values() if isinstance(part, Mapping) else part
    elif isinstance(part, functools.partial):
        yield from (part.func, *part.args, *part.keywords.values())
    elif isinstance(part, types.MethodType):
        yield from (part.__self__, part.__func__)
    elif isinstance(part, types.FunctionType):
        yield from _behind_function(part)
    else:
        yield from getattr(part, "__dict__", {}).values()


def _behind_function(function: types.FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not yet filled
            continue
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    yield from vars(function).values()  # __wrapped__, what torch.compile keeps
    yield from (
        function.__globals__[name] for name in _names(function.__code__) if name in function.__globals__
    )


def _names(code: types.CodeType) -> Iterator[str]:
    """The global names in a function and in those that it defines."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)
