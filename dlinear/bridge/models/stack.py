"""The class of all models of the bridge: an ordered stack of blocks and a readout."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from dlinear.checks import as_integer, shown
from dlinear.errors import DomainError, ShapeError


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
        if not isinstance(self.inputs, tuple | list) or not self.inputs:
            given = "empty" if isinstance(self.inputs, tuple | list) else shown(self.inputs)
            raise ShapeError(f"inputs is {given}; expected the size of each axis of a sample")
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

    Raises:
        DomainError: blocks or a readout that are no modules.
        ShapeError: no block.
    """

    def __init__(self, blocks: Iterable[nn.Module], readout: nn.Module) -> None:
        super().__init__()
        listed = list(blocks) if isinstance(blocks, Iterable) and not isinstance(blocks, Mapping) else None
        if listed is None or not all(isinstance(block, nn.Module) for block in listed):
            raise DomainError(f"blocks is {shown(blocks)}; expected a sequence of modules")
        if not isinstance(readout, nn.Module):
            raise DomainError(
                f"readout is {shown(readout)}; expected a module that is called as readout(z, s)"
            )
        if not listed:
            raise ShapeError("a stack needs at least one block; received none")
        self.blocks = nn.ModuleList(listed)
        self.readout = readout

    @property
    def depth(self) -> int:
        """Number of blocks T."""
        return len(self.blocks)

    def forward(self, x: Tensor) -> Any:
        """readout(x(T), T) of a batch x of inputs."""
        for block in self.blocks:
            x = block(x)
        return self.readout(x, self.depth)
