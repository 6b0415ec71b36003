"""The modules of a step: those that are handed in, and those behind functions, partials and other objects."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

_DEPTH = 20  # containers and callables inside one another
_MANY = 10_000  # entries of a container, and objects in all: more of them are data, not modules


def modules_among(parts: Iterable[Any]) -> list[nn.Module]:
    """The modules among parts of a step (blocks, readout, loss), and those behind callables, each once.

    Behind a function are its closure, defaults and the globals it names; behind a partial its function and
    arguments; behind a bound method its object; behind any other object, and behind a module, its attributes
    and those of its class. What a function builds or looks up while it runs is not found.
    """
    return [found for found in _reached(parts) if isinstance(found, nn.Module)]


def modules_and_loose_tensors(parts: Iterable[Any]) -> tuple[list[nn.Module], list[Tensor]]:
    """`modules_among`, and the tensors behind the parts that no module holds and that are not trained."""
    reached = _reached(parts)
    modules = [found for found in reached if isinstance(found, nn.Module)]
    loose = [found for found in reached if isinstance(found, Tensor) and not found.requires_grad]
    held = {t for m in modules for t in (*m.parameters(), *m.buffers())} if loose else set()
    return modules, [found for found in loose if found not in held]


def modules_and_trained_tensors(part: Any) -> tuple[list[nn.Module], list[Tensor]]:
    """`modules_among` for one part, and the tensors behind it that require a gradient and no module holds."""
    reached = _reached((part,))
    modules = [found for found in reached if isinstance(found, nn.Module)]
    return modules, [found for found in reached if isinstance(found, Tensor) and found.requires_grad]


def trainable(modules: Iterable[nn.Module]) -> list[Tensor]:
    """Their parameters that require a gradient, each once."""
    return list({p: None for module in modules for p in module.parameters() if p.requires_grad})


def _reached(parts: Iterable[Any]) -> list[nn.Module | Tensor]:
    """Modules and tensors among and behind the parts, each once, in the order of discovery."""
    found: dict[nn.Module | Tensor, None] = {}
    depths: dict[int, int] = {}  # by object: how deep one may still go below it

    def visit(part: Any, depth: int) -> None:
        if isinstance(part, nn.Module | Tensor):
            found[part] = None
        if isinstance(part, _WITHOUT) or depths.get(id(part), 0) >= depth or len(depths) > _MANY:
            return
        depths[id(part)] = depth
        for inner in _behind(part):
            visit(inner, depth - 1)

    for part in parts:
        visit(part, _DEPTH)
    return list(found)


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
OF_MODULES = frozenset(vars(nn.Module()))  # parameters, buffers, hooks: what every module has


def _behind(part: Any) -> Iterator[Any]:
    """What a container, a callable or another object refers to."""
    if isinstance(part, Mapping | list | tuple | set | frozenset):
        if len(part) <= _MANY:
            yield from part.values() if isinstance(part, Mapping) else part
    elif isinstance(part, functools.partial):
        yield from (part.func, *part.args, *part.keywords.values())
    elif isinstance(part, types.MethodType):
        yield from (part.__self__, part.__func__)
    elif isinstance(part, types.FunctionType):
        yield from _behind_function(part)
    elif isinstance(part, nn.Module):  # its children are found with it; what it keeps elsewhere is not
        for module in part.modules():
            own = vars(module).items()
            yield from (value for name, value in own if name not in OF_MODULES)
    else:
        yield from _attributes(part)


def _attributes(part: Any) -> Iterator[Any]:
    """An object's attributes, in slots too, and the modules that its class keeps."""
    yield from getattr(part, "__dict__", {}).values()
    for kind in type(part).__mro__:
        if kind.__module__ != "builtins":
            for name in _slots(kind):
                with_slot = getattr(part, name, None)
                if with_slot is not None:
                    yield with_slot
            yield from (
                value
                for name, value in vars(kind).items()
                if isinstance(value, nn.Module | list | dict) and not name.startswith("__")
            )


def _slots(kind: type) -> Iterator[str]:
    slots = vars(kind).get("__slots__", ())
    for name in (slots,) if isinstance(slots, str) else slots:
        if name not in ("__dict__", "__weakref__"):
            yield f"_{kind.__name__.lstrip('_')}{name}" if name.startswith("__") else name


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
