"""Models by name: `model("resnet62", task, seed=0)`.

Every module of this package that ends with BUILDERS is found by itself; `register` adds builders from
elsewhere.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from dlinear.bridge.models.seeding import seeded
from dlinear.bridge.models.stack import Stack, TaskShape
from dlinear.checks import as_integer, as_known
from dlinear.errors import DomainError

__all__ = ["NAMES", "Builder", "model", "names", "register"]

Builder = Callable[..., Stack]  # (task, seed, *, knobs) -> the model, on the CPU, from torch's generator

_BUILDERS: dict[str, Builder] = {}


def register(name: str, builder: Builder) -> None:
    """Make a model known by name, in this process.

    Args:
        name: what `model` is to read.
        builder: (task, seed, *, knobs) -> `Stack`; its keyword-only arguments are the model's knobs. It draws
            from torch's default generator, which `model` seeds.

    Raises:
        DomainError: a name that is empty or taken.
    """
    if not isinstance(name, str) or not name:
        raise DomainError(f"the name of a model is {name!r:.60}; expected a word")
    if _BUILDERS.get(name, builder) is not builder:
        raise DomainError(f"the model {name!r} exists already; choose another name")
    _BUILDERS[name] = builder


def names() -> list[str]:
    """What `model` reads, in the order of the alphabet."""
    return sorted(_BUILDERS)


def model(
    name: str, task: TaskShape, seed: int = 0, *, dtype: torch.dtype = torch.float32, **knobs: Any
) -> Stack:
    """The model called `name`, on the CPU; every number in it is determined by `seed` and the knobs.

    torch's own generators are left as they were. Numbers are drawn in one precision and then converted, so
    that a float64 model is the float32 one written with more digits (or, for "deep", the other way round).

    Args:
        name: one of `names()`: "linear", "mlp", "layers", "conv_layers", "resnet62", "deep", "conv",
            "autoencoder", "gru", "graph", "resnet50", "vit", or a registered one.
        task: sizes of inputs and outputs, for example `load("digits").task`.
        seed: an integer of at least 0.
        dtype: of the parameters and buffers, a floating one.
        knobs: keyword arguments of the builder of that name.

    Raises:
        DomainError: an unknown name or knob (the message lists those there are), or a bad seed or dtype;
            and the errors of the builder.
    """
    builder = _BUILDERS[as_known("model", name, names())]
    allowed = [k for k, p in inspect.signature(builder).parameters.items() if p.kind is p.KEYWORD_ONLY]
    if unknown := sorted(set(knobs) - set(allowed)):
        raise DomainError(f"{name} has no knob {unknown[0]!r}; its knobs are {', '.join(allowed)}")
    seed = as_integer("seed", seed, 0, 2**63 - 1)
    if not isinstance(task, TaskShape):
        raise DomainError(
            f"task is a {type(task).__name__}; expected a TaskShape, such as load('digits').task"
        )
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise DomainError(f"dtype must be a floating torch dtype, not {dtype!r}")
    with seeded(seed):
        return builder(task, int(seed), **knobs).to(dtype)


for _module in pkgutil.iter_modules([str(Path(__file__).parent)]):
    if _module.name != "registry":
        _found = getattr(importlib.import_module(f"{__package__}.{_module.name}"), "BUILDERS", {})
        for _name, _builder in _found.items():
            register(_name, _builder)

NAMES = tuple(names())
"""The names of this package's models."""
