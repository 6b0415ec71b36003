"""One step of a method beside one step of back-propagation: its costs and its gradient."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dlinear.analysis.comparison import REFERENCE
from dlinear.bridge import meters
from dlinear.bridge.angles.kahan import angle
from dlinear.bridge.methods import Method, method
from dlinear.bridge.models.stack import Stack
from dlinear.errors import UndefinedAngleError

__all__ = ["MethodProbe", "size"]


def size(gradient: Sequence[Tensor]) -> float:
    """Euclidean norm of a gradient in parts, in float64."""
    return math.hypot(*(float(torch.linalg.vector_norm(part.double())) for part in gradient))


@dataclass(frozen=True, eq=False)
class MethodProbe:
    """A method (by name), a model and a batch.

    Gradients are those of the blocks' parameters: a readout's is another sum for every horizon.

    Attributes:
        name: as `methods.method` reads it, or a method.
        stack: the model, on the batch's device.
        x: x(0).
        loss_fn: z -> scalar.
    """

    name: str | Method
    stack: Stack
    x: Tensor
    loss_fn: Callable[[Any], Tensor]

    @property
    def method(self) -> Method:
        """The method."""
        return method(self.name)

    def step(self, name: str | Method | None = None) -> None:
        """Fill `.grad` from nothing, as in a training step."""
        self.stack.zero_grad(set_to_none=True)
        method(name or self.name)(self.stack.blocks, self.x, self.loss_fn, self.stack.readout)

    def gradient(self, name: str | Method | None = None) -> list[Tensor]:
        """The method's, or that of the method called `name`; no `.grad` is left."""
        self.step(name)
        trained = [p for p in self.stack.blocks.parameters() if p.requires_grad]
        found = [torch.zeros_like(p) if p.grad is None else p.grad.detach() for p in trained]
        self.stack.zero_grad(set_to_none=True)
        return found

    def cosine(self) -> float:
        """cos of the angle with back-propagation's gradient; NaN where one of the two is zero."""
        try:
            return math.cos(angle(self.gradient(), self.gradient(REFERENCE)))
        except UndefinedAngleError:
            return math.nan

    def norm_ratio(self) -> float:
        """|g_T| / |g|: what brings the method's steps to the length of back-propagation's."""
        return size(self.gradient(REFERENCE)) / size(self.gradient())

    def difference(self) -> float:
        """|g - g_T| / |g_T|."""
        own, true = self.gradient(), self.gradient(REFERENCE)
        return size([a - b for a, b in zip(own, true, strict=True)]) / size(true)

    def costs(self, rounds: int) -> dict[str, float]:
        """Memory in bytes, time over back-propagation's (median and quartiles of interleaved rounds), calls.

        Beside them what the method says of itself: exact, horizon h (NaN: none), whole_batch, and memory and
        time as theory predicts them.

        Raises:
            MeterError: what the meters raise.
        """
        arguments = (self.method, self.stack.blocks, self.x, self.loss_fn, self.stack.readout)
        memory, calls = meters.step_memory(*arguments), meters.step_calls(*arguments)
        own = self.method.name
        pair = {REFERENCE: partial(self.step, REFERENCE)} | {own: self.step}
        took = meters.step_times(pair, rounds, reference=REFERENCE)[own]
        self.stack.zero_grad(set_to_none=True)
        theory = self.method.predicted(self.stack.depth)
        return {
            "exact": float(self.method.exact),
            "horizon": math.nan if self.method.horizon is None else self.method.horizon,
            "whole_batch": float(self.method.whole_batch),
            "theory_memory": theory.memory,
            "theory_time": theory.time,
            "activations": memory.activations,
            "saved": math.nan if memory.saved is None else memory.saved,
            "ratio": took.ratio,
            "ratio_low": took.ratio_quartiles[0],
            "ratio_high": took.ratio_quartiles[1],
            "forwards": sum(calls.forwards),
            "vjps": sum(calls.vjps),
            "jvps": sum(calls.jvps),
        }
