"""Loss and accuracy of a model on a set, batch by batch, in evaluation mode."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dlinear.bridge.data.losses import Criterion


class Score(NamedTuple):
    """Mean loss over the samples, and the share that is classified correctly (NaN without classes)."""

    loss: float
    accuracy: float


def precision(autocast: str, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Mixed precision as the knob `autocast` says."""
    if autocast == "off":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, autocast))


def device_generators(device: torch.device) -> list[torch.device]:
    """The devices whose generators `torch.random.fork_rng` is to restore, beside the CPU's."""
    return [device] if device.type == "cuda" else []


@contextlib.contextmanager
def _evaluating(stack: nn.Module, device: torch.device) -> Iterator[None]:
    """Evaluation mode without gradients; every module's own mode and the random numbers are kept."""
    modes = [(module, module.training) for module in stack.modules()]
    try:
        with torch.no_grad(), torch.random.fork_rng(device_generators(device)):
            stack.eval()
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def evaluate(
    stack: nn.Module,
    x: Tensor,
    y: Tensor,
    criterion: Criterion,
    *,
    classes: bool,
    batch: int,
    device: torch.device,
    autocast: str = "off",
    predict: Callable[..., Tensor] | None = None,
) -> Score:
    """Mean loss (in float64 over the batches) and accuracy of the model on (x, y).

    `predict`, of the method where it has one, gives the outputs in place of the model.
    """
    total, correct = 0.0, 0
    with _evaluating(stack, device):
        for start in range(0, len(x), batch):
            inputs, target = x[start : start + batch].to(device), y[start : start + batch].to(device)
            with precision(autocast, device):
                output = stack(inputs) if predict is None else predict(stack.blocks, inputs, stack.readout)
                total += float(criterion(output, target)) * len(inputs)
            if classes:
                correct += int((output.argmax(1) == target).sum())
    return Score(total / len(x), correct / len(x) if classes else math.nan)
