"""The columns of Figure 5: model, cost, objective and its parameter (Table D3)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dlinear.errors import RecordError
from dlinear.selection import AccuracyConstraint, Cost, LadderCost, LinearCost, WeightedObjective

__all__ = ["Column", "Problems", "measured_horizons"]

LADDER_SHARE = 0.3  # M_0 of the ladder cost over the largest memory of a horizon; 1 for the linear cost


@dataclass(frozen=True)
class Column:
    """One problem.

    Attributes:
        model: its name.
        cost: "C1", linear, or "C2", ladder.
        objective: "O1", the accuracy constraint (17), or "O2", the weighted objective (18).
        parameter: 1 - epsilon of (17), lambda of (18).
    """

    model: str
    cost: str
    objective: str
    parameter: float

    def __str__(self) -> str:
        name = "1-eps" if self.objective == "O1" else "lambda"
        return f"{self.cost} {self.objective} {name}={self.parameter:g}"

    def problem(self, largest: float) -> AccuracyConstraint | WeightedObjective:
        """The objective with c = 1 and M_0 as in Table D3.

        Args:
            largest: max_h M(h).
        """
        cost: Cost = (
            LinearCost(1.0, largest) if self.cost == "C1" else LadderCost(1.0, LADDER_SHARE * largest)
        )
        if self.objective == "O1":
            return AccuracyConstraint(1 - self.parameter, cost)
        return WeightedObjective(self.parameter, cost)


@dataclass(frozen=True)
class Problems:
    """What is asked of every model.

    Attributes:
        points: horizons that are measured, evenly from 1 to T.
        accuracies: 1 - epsilon of (17).
        weights: lambda of (18).
    """

    points: int
    accuracies: tuple[float, ...]
    weights: tuple[float, ...]

    @property
    def words(self) -> str:
        """All of it, for a record."""
        first, second = (",".join(f"{x:.12g}" for x in some) for some in (self.accuracies, self.weights))
        return f"points={self.points} accuracies={first} weights={second}"

    @staticmethod
    def read(words: str) -> Problems:
        """From the words of a record.

        Raises:
            RecordError: other words.
        """
        found = re.fullmatch(r"points=(\d+) accuracies=([\d.e,-]+) weights=([\d.e,-]+)", words)
        if found is None:
            raise RecordError(
                f"a curve holds the problems {words!r:.80}; expected points, accuracies, weights"
            )
        first, second = (tuple(float(x) for x in some.split(",")) for some in found.groups()[1:])
        return Problems(int(found[1]), first, second)

    def measured(self, depth: int) -> list[int]:
        """The subset H of Algorithm 1."""
        return measured_horizons(depth, self.points)

    def columns(self, models: Sequence[str]) -> list[Column]:
        """Every model with both costs, both objectives and their parameters."""
        return [
            Column(name, cost, objective, parameter)
            for name, cost, objective in itertools.product(models, ("C1", "C2"), ("O1", "O2"))
            for parameter in (self.accuracies if objective == "O1" else self.weights)
        ]


def measured_horizons(depth: int, points: int) -> list[int]:
    """So many horizons, evenly from 1 to T."""
    return sorted({int(h) for h in np.rint(np.linspace(1, depth, min(points, depth)))})
