"""A stack of gated blocks: x(t + 1) = x(t) + sigmoid(V_t x(t)) * tanh(W_t x(t))/T, on flattened inputs.

A model is a `Stack`: blocks in order, and a readout that maps every state x(s) to the space of the loss.
"""

import torch
from torch import Tensor, nn

from dlinear.bridge.models.readouts import Shared
from dlinear.bridge.models.stack import Stack, TaskShape
from dlinear.checks import as_integer


class GatedBlock(nn.Module):
    """One layer; `rho` is 1/T."""

    def __init__(self, width: int, rho: float) -> None:
        super().__init__()
        self.gate, self.value, self.rho = nn.Linear(width, width), nn.Linear(width, width), rho

    def forward(self, x: Tensor) -> Tensor:
        """(N, n) to (N, n)."""
        return x + self.rho * torch.sigmoid(self.gate(x)) * torch.tanh(self.value(x))


def gated(task: TaskShape, seed: int, *, depth: int = 16) -> Stack:
    """The builder: `model("gated", task, seed, depth=...)` calls it with torch's generators seeded.

    Args:
        task: the width n is the number of values of one input.
        seed: for numbers that are drawn without torch; not used here.
        depth: number of blocks T.

    Raises:
        DomainError: a depth below 1.
    """
    depth, width = as_integer("depth", depth), task.features
    first = nn.Sequential(nn.Flatten(), GatedBlock(width, 1 / depth))  # a fixed map of the input goes here
    blocks = [first, *(GatedBlock(width, 1 / depth) for _ in range(depth - 1))]
    return Stack(blocks, Shared(nn.Linear(width, task.outputs)))  # one head for every x(s)


BUILDERS = {"gated": gated}  # what the registry collects: names, each with its builder
