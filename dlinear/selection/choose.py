"""Algorithm 1 of the paper: from a few horizons to the best one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dlinear.checks import as_choice, as_floats, as_horizons, as_integer, shown
from dlinear.errors import DomainError, ShapeError
from dlinear.selection.estimators import ESTIMATORS, HorizonCurves, Measured
from dlinear.selection.objectives import Objective, check_objective
from dlinear.selection.prices import ROUNDING, Floats

__all__ = ["Choice", "best_horizon", "estimate_curves", "select_horizon"]


@dataclass(frozen=True, eq=False, repr=False)
class Choice:
    """The horizon that Algorithm 1 takes, and why.

    Attributes:
        horizon: h in 1..T: the best one, of equally good ones the smallest; where none is allowed, the
            one that misses the constraint least.
        feasible: whether some horizon is allowed.
        rate: (T,) estimated r(h) = cos^2(theta_h), eq. (14), at h = 1, ..., T.
        memory: (T,) estimated M(h), in the unit of what was measured.
        objective: (T,) the objective, to be minimised; inf where a horizon is not allowed.
        estimator: the name of the estimator.
    """

    horizon: int
    feasible: bool
    rate: Floats
    memory: Floats
    objective: Floats
    estimator: str

    @property
    def depth(self) -> int:
        """T."""
        return len(self.rate)

    @property
    def horizons(self) -> NDArray[np.int64]:
        """(T,) h = 1, ..., T, the labels of the arrays."""
        return np.arange(1, self.depth + 1)

    def __repr__(self) -> str:
        rate, memory, value = (float(a[self.horizon - 1]) for a in (self.rate, self.memory, self.objective))
        word = f"objective={value:.4g}" if self.feasible else "no horizon is allowed"
        return (
            f"Choice(horizon={self.horizon} of {self.depth}, rate={rate:.4g}, memory={memory:.4g}, {word}, "
            f"estimator={self.estimator!r})"
        )


def select_horizon(
    horizons: ArrayLike,
    cos: ArrayLike,
    memory: ArrayLike,
    depth: int,
    objective: Objective,
    estimator: str = "polynomial",
    *,
    blocks: ArrayLike | None = None,
) -> Choice:
    """Choose the horizon, Algorithm 1 of the paper: `best_horizon` of `estimate_curves`.

    Args:
        horizons, cos, memory, depth, estimator, blocks: as of `estimate_curves`.
        objective: as of `best_horizon`.

    Raises:
        HorizonError, ShapeError, DomainError: what was received, and what is allowed.
    """
    return best_horizon(estimate_curves(horizons, cos, memory, depth, estimator, blocks=blocks), objective)


def estimate_curves(
    horizons: ArrayLike,
    cos: ArrayLike,
    memory: ArrayLike,
    depth: int,
    estimator: str = "polynomial",
    *,
    blocks: ArrayLike | None = None,
) -> HorizonCurves:
    """r(h) and M(h) at h = 1, ..., T from those of a few horizons, for any number of objectives.

    Args:
        horizons: (r,) the horizons that were measured, in 1..T, at least two different ones; one may come
            several times (batches, seeds).
        cos: (r,) cos(theta_h) of the angle between g_h and g_T at each, in [-1, 1], a mean over batches. Not
            its square: r(h) = cos^2, eq. (14), is made of it.
        memory: (r,) memory of a step at each, >= 0, in any unit.
        depth: T.
        estimator: "polynomial" (the paper's: a cubic for cos, a line for memory), "theory" (the law of decay;
            the largest window of blocks) or "measured" (all horizons were measured: no estimate).
        blocks: (T,) memory that each block takes while it is in the window, in any unit; for "theory" alone.
            Where blocks differ (ResNets) memory is not linear in h.

    Raises:
        HorizonError, ShapeError, DomainError: what was received, and what is allowed.
    """
    depth = as_integer("depth", depth)
    chosen = as_choice("estimator", estimator, ESTIMATORS)
    found = ESTIMATORS[chosen](_measured(horizons, cos, memory, depth, blocks))
    for array in (found.rate, found.memory):
        array.flags.writeable = False
    return HorizonCurves(found.rate, found.memory, chosen)


def best_horizon(curves: HorizonCurves, objective: Objective) -> Choice:
    """The best of all horizons, by brute force; ties go to the smaller one.

    Args:
        curves: as `estimate_curves` returns.
        objective: `AccuracyConstraint`, `WeightedObjective`, `MemoryLimit`, or anything with their functions.

    Raises:
        DomainError: what are no curves or no objective, NaN from the objective, or a cost without a finite
            number for each horizon.
    """
    if not isinstance(curves, HorizonCurves):
        raise DomainError(f"curves is {shown(curves)}; expected what estimate_curves returns")
    check_objective(objective)
    rate, memory = curves.rate, curves.memory
    excess = np.asarray(objective.excess(rate, memory), dtype=np.float64)
    values = np.where(excess > 0, np.inf, np.asarray(objective.value(rate, memory), dtype=np.float64))
    if np.isnan(values).any() or np.isnan(excess).any():
        raise DomainError(f"objective {shown(objective)} gives NaN; expected a number for each horizon")
    values.flags.writeable = False
    feasible = bool(np.isfinite(values).any())
    judged = values if feasible else excess
    least = float(judged.min())
    horizon = int(np.argmax(judged <= least + ROUNDING * max(1.0, abs(least)))) + 1
    return Choice(horizon, feasible, rate, memory, values, curves.estimator)


def _measured(horizons: Any, cos: Any, memory: Any, depth: int, blocks: Any) -> Measured:
    """What was measured, checked."""
    asked = as_horizons(horizons, depth)
    if len(np.unique(asked)) < min(2, depth):
        raise DomainError(f"horizons holds {asked[0]} alone: allowed are two different ones or more")
    angles, sizes = (_row(name, x, len(asked)) for name, x in (("cos", cos), ("memory", memory)))
    if not (inside := np.abs(angles) <= 1 + 1e-9).all():
        raise DomainError(f"cos holds {angles[~inside][0]:g}: allowed are cosines, numbers in [-1, 1]")
    each = None if blocks is None else _row("blocks", blocks, depth)
    for name, values in (("memory", sizes), ("blocks", each)):
        if values is not None and values.min() < 0:
            raise DomainError(f"{name} holds {values.min():g}: allowed are numbers >= 0")
    return Measured(depth, asked, angles, sizes, each)


def _row(name: str, x: Any, length: int) -> Floats:
    """As many finite numbers."""
    values: Floats = np.atleast_1d(as_floats(name, x, "a sequence of finite numbers"))
    if values.shape != (length,):
        raise ShapeError(f"{name} has shape {values.shape}; expected ({length},)")
    if not np.isfinite(values).all():
        raise DomainError(f"{name} holds {values[~np.isfinite(values)][0]}: allowed are finite numbers")
    return values
