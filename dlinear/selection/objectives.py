"""What is to be had for the memory: the objectives (17) and (18) of the paper, with min in place of max.

As printed, (17) and (18) are maximised; both are refuted (`python -m proofs`): the largest cost would win.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from dlinear.checks import as_number, received, shown
from dlinear.errors import DomainError
from dlinear.selection.prices import ROUNDING, Cost, Floats

__all__ = ["AccuracyConstraint", "MemoryLimit", "Objective", "WeightedObjective"]


class Objective(Protocol):
    """O(r, M), to be minimised; any object with these two functions will do."""

    def value(self, rate: Floats, memory: Floats) -> Floats:
        """The objective of each horizon, whether it is allowed or not."""

    def excess(self, rate: Floats, memory: Floats) -> Floats:
        """By how much each horizon misses the constraint; 0 where it is allowed."""


def check_objective(objective: object) -> None:
    """Refuse what has not the two functions.

    Raises:
        DomainError: such a one.
    """
    for name in ("value", "excess"):
        if isinstance(objective, type) or not callable(getattr(objective, name, None)):
            raise DomainError(f"objective is {shown(objective)}; expected for example a WeightedObjective")


def priced(cost: Cost, memory: Floats) -> Floats:
    """C(M) of each horizon.

    Raises:
        DomainError: the cost is not one finite number for each.
    """
    try:
        found = np.asarray(cost(memory), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DomainError(f"cost {shown(cost)} fails on an array of memory: {error}") from None
    if found.shape != memory.shape or not np.isfinite(found).all():
        raise DomainError(f"cost {shown(cost)} gives {shown(found)}; expected one finite number a horizon")
    return found


def _check_cost(cost: object) -> None:
    if not callable(cost):
        raise DomainError(f"cost is {shown(cost)}; expected LinearCost, LadderCost or a function of memory")


def _nothing(rate: Floats) -> Floats:
    return np.zeros_like(rate)


@dataclass(frozen=True)
class AccuracyConstraint:
    """min C(M(h)) subject to r(h) >= 1 - epsilon, eq. (17).

    Attributes:
        epsilon: in [0, 1], the share of the rate of back-propagation that may be lost.
        cost: C(M).

    Raises:
        DomainError: epsilon outside [0, 1], or a cost that cannot be called.
    """

    epsilon: float
    cost: Cost

    def __post_init__(self) -> None:
        epsilon = as_number("epsilon", self.epsilon)
        if epsilon > 1:
            raise DomainError(f"{received('epsilon', epsilon)}: allowed is a number in [0, 1]")
        object.__setattr__(self, "epsilon", epsilon)
        _check_cost(self.cost)

    def value(self, rate: Floats, memory: Floats) -> Floats:
        """C(M(h))."""
        return priced(self.cost, memory)

    def excess(self, rate: Floats, memory: Floats) -> Floats:
        """(1 - epsilon) - r(h) where that is positive beyond rounding."""
        lacking = 1 - self.epsilon - rate
        return np.where(lacking > ROUNDING, lacking, 0.0)


@dataclass(frozen=True)
class WeightedObjective:
    """min -r(h) + lambda C(M(h)), eq. (18).

    Attributes:
        weight: lambda >= 0.
        cost: C(M).

    Raises:
        DomainError: a weight below 0, or a cost that cannot be called.
    """

    weight: float
    cost: Cost

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", as_number("weight", self.weight))
        _check_cost(self.cost)

    def value(self, rate: Floats, memory: Floats) -> Floats:
        """-r(h) + lambda C(M(h))."""
        return self.weight * priced(self.cost, memory) - rate

    def excess(self, rate: Floats, memory: Floats) -> Floats:
        """Nothing is forbidden."""
        return _nothing(rate)


@dataclass(frozen=True)
class MemoryLimit:
    """min -r(h) subject to M(h) <= limit: the case that section 4 calls trivial.

    Attributes:
        limit: >= 0, in the unit in which memory is measured.

    Raises:
        DomainError: a limit below 0.
    """

    limit: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "limit", as_number("limit", self.limit))

    def value(self, rate: Floats, memory: Floats) -> Floats:
        """-r(h)."""
        return -rate

    def excess(self, rate: Floats, memory: Floats) -> Floats:
        """M(h) - limit where that is positive beyond rounding."""
        over: Any = memory - self.limit
        return np.where(over > ROUNDING * self.limit, over, 0.0)
