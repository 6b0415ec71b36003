"""The class of all models of the bridge: an ordered stack of blocks and a readout."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from dlinear.checks import as_integer
from dlinear.errors import ShapeError


@dataclass(frozen=True)
class TaskShape:
    """The sizes of the data, from which a model is built.

    Attributes:
        inputs: shape of one input, for example (1, 28, 28) or (10,).
        outputs: number of classes, or of real targets.
    """

    inputs: tuple[int, ...]
    outputs: int

    def __post_init__(self) -> None:
        if not self.inputs:
            raise ShapeError("inputs is empty; expected the size of each axis of a sample")
        for size in self.inputs:
            as_integer("a size of inputs", size, error=ShapeError)
        as_integer("outputs", self.outputs, error=ShapeError)

    @property
    def features(self) -> int:
        """Number of values in one input."""
        return math.prod(self.inputs)


class Stack(nn.Module):
    """T blocks and a readout: x(t + 1) = blocks[t](x(t)), output readout(x(T), T).

    The readout is called as readout(z, s) with z = x(s), s = 1..T, and maps every state to the space of the
    loss, so that L(x(s)) is defined for all s (the assumption under the paper's eq. (2)).

    Args:
        blocks: the blocks in their order; a fixed input map is part of the first.
        readout: see above; it may have parameters.
    """

    def __init__(self, blocks: Iterable[nn.Module], readout: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.readout = readout
        if not len(self.blocks):
            raise ShapeError("a stack needs at least one block; received none")

    @property
    def depth(self) -> int:
        """Number of blocks T."""
        return len(self.blocks)

    def forward(self, x: Tensor) -> Any:
        """readout(x(T), T) of a batch x of inputs."""
        for block in self.blocks:
            x = block(x)
        return self.readout(x, self.depth)
