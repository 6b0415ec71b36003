"""Models by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

from dlinear.bridge.models.deep import deep
from dlinear.bridge.models.residual import linear, mlp
from dlinear.bridge.models.resnet import resnet62
from dlinear.bridge.models.seeding import seeded
from dlinear.bridge.models.stack import Stack, TaskShape
from dlinear.bridge.models.zoo import resnet50, vit
from dlinear.checks import as_integer, as_known
from dlinear.errors import DomainError

BUILDERS: dict[str, Callable[..., Stack]] = {
    "linear": linear,
    "mlp": mlp,
    "resnet62": resnet62,
    "deep": deep,
    "resnet50": resnet50,
    "vit": vit,
}
NAMES = tuple(BUILDERS)


def model(
    name: str, task: TaskShape, seed: int = 0, *, dtype: torch.dtype = torch.float32, **knobs: Any
) -> Stack:
    """The model called `name`, on the CPU; every number in it is determined by `seed` and the knobs.

    torch's own generators are left as they were. Numbers are drawn in one precision and then converted, so
    that a float64 model is the float32 one written with more digits (or, for "deep", the other way round).

    Args:
        name: "linear", "mlp", "resnet62", "deep", "resnet50" or "vit".
        task: sizes of inputs and outputs, for example `load("digits").task`.
        seed: an integer of at least 0.
        dtype: of the parameters and buffers, a floating one.
        knobs: keyword arguments of the builder of that name.

    Raises:
        DomainError: an unknown name or knob (the message lists those there are), or a bad seed or dtype;
            and the errors of the builder.
    """
    as_known("model", name, NAMES)
    builder = BUILDERS[name]
    allowed = [k for k, p in inspect.signature(builder).parameters.items() if p.kind is p.KEYWORD_ONLY]
    if unknown := sorted(set(knobs) - set(allowed)):
        raise DomainError(f"{name} has no knob {unknown[0]!r}; its knobs are {', '.join(allowed)}")
    seed = as_integer("seed", seed, 0, 2**63 - 1)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise DomainError(f"dtype must be a floating torch dtype, not {dtype!r}")
    with seeded(seed):
        return builder(task, int(seed), **knobs).to(dtype)
