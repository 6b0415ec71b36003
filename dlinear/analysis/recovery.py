"""How long a curve takes to come back to a level, where some never do within what was observed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dlinear.analysis.statistics import LEVEL, Estimate, mean_interval
from dlinear.checks import as_floats, as_integer
from dlinear.errors import ShapeError

__all__ = ["Recovery", "recovery"]


@dataclass(frozen=True, eq=False)
class Recovery:
    """Steps until each run was back, cut off at what was observed.

    Attributes:
        steps: (S,) until the level was first reached; `limit` where it was not.
        back: (S,) whether it was.
        limit: steps that were observed.
    """

    steps: NDArray[np.float64]
    back: NDArray[np.bool_]
    limit: int

    def mean(self, level: float = LEVEL) -> Estimate:
        """The restricted mean, E min(steps, limit): a lower bound of the mean where some were not back."""
        return mean_interval(self.steps, level)

    def __str__(self) -> str:
        """The restricted mean with its interval, and how many were not back."""
        lost = int((~self.back).sum())
        said = f"{self.mean():.0f}"
        return f"{said}, {lost} of {len(self.back)} not back in {self.limit}" if lost else said


def recovery(curves: ArrayLike, levels: ArrayLike, each: int) -> Recovery:
    """When each curve first reaches its level.

    Args:
        curves: (S, E + 1) a value after 0, 1, ..., E epochs; NaN never counts as reached.
        levels: (S,) or one for all.
        each: steps of an epoch.

    Raises:
        ShapeError: curves that are not (S, E + 1), or as many levels as there are not.
    """
    values = as_floats("curves", curves, "numbers")
    if values.ndim != 2 or not values.size:
        raise ShapeError(f"curves has shape {values.shape}; expected (runs, epochs + 1)")
    wanted = as_floats("levels", levels, "numbers")
    if wanted.shape not in ((), values.shape[:1]):
        raise ShapeError(f"levels has shape {wanted.shape}; expected one number, or ({len(values)},)")
    each = as_integer("each", each)
    reached = values >= np.broadcast_to(wanted, values.shape[:1])[:, None]
    limit = each * (values.shape[1] - 1)
    back = reached.any(1)
    return Recovery(np.where(back, reached.argmax(1) * each, limit).astype(np.float64), back, limit)
