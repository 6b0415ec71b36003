"""What memory costs: C(M) of section 4 of the paper, by the byte or by the node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dlinear.checks import POSITIVE, as_number, as_real, received
from dlinear.errors import DomainError

__all__ = ["ROUNDING", "Cost", "LadderCost", "LinearCost"]

Floats = NDArray[np.float64]
ROUNDING = 1e-12  # relative difference of two numbers that counts as rounding: they are then equal


class Cost(Protocol):
    """C(M): memory in, cost out, element by element; any callable of this form will do."""

    def __call__(self, memory: Any, /) -> Any:
        """The cost of so much memory."""


@dataclass(frozen=True)
class _NodeCost:
    """What one node costs and holds.

    Attributes:
        unit: c > 0, the cost of one node.
        node: M_0 > 0, the memory of one node, in the unit in which memory is measured.

    Raises:
        DomainError: a number that is not finite and > 0.
    """

    unit: float
    node: float

    def __post_init__(self) -> None:
        for name in ("unit", "node"):
            value = as_number(name, getattr(self, name))
            if not value > 0:
                raise DomainError(f"{received(name, value)}: allowed is {POSITIVE}")
            object.__setattr__(self, name, value)

    def nodes(self, memory: ArrayLike) -> Floats:
        """M/M_0, as a fraction."""
        return np.asarray(as_real("memory", memory), dtype=np.float64) / self.node


@dataclass(frozen=True)
class LinearCost(_NodeCost):
    """C(M) = c M/M_0: memory is paid by the byte."""

    def __call__(self, memory: ArrayLike) -> Any:
        """The cost of memory M >= 0, a number or an array."""
        return (self.unit * self.nodes(memory))[()]


@dataclass(frozen=True)
class LadderCost(_NodeCost):
    """C(M) = c ceil(M/M_0): only whole nodes can be had.

    Memory that exceeds a whole number of nodes by rounding (1e-12 of it) fits into them: a fitted line meets
    the size of a node only to rounding.
    """

    def __call__(self, memory: ArrayLike) -> Any:
        """The cost of memory M >= 0, a number or an array."""
        return (self.unit * np.ceil(self.nodes(memory) * (1 - ROUNDING)))[()]
