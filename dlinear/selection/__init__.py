"""Choosing the horizon, sections 4 and 5 of the paper: Algorithm 1, its objectives, costs and estimators.

    from dlinear.selection import AccuracyConstraint, LinearCost, select_horizon
    objective = AccuracyConstraint(epsilon=0.05, cost=LinearCost(unit=1.0, node=M0))
    choice = select_horizon(horizons, cos, memory, depth, objective, estimator="theory")
    choice.horizon, choice.feasible

docs/selection.md has an example and the limits.
"""

from dlinear.selection.choose import Choice, best_horizon, estimate_curves, select_horizon
from dlinear.selection.estimators import HorizonCurves
from dlinear.selection.objectives import AccuracyConstraint, MemoryLimit, Objective, WeightedObjective
from dlinear.selection.prices import Cost, LadderCost, LinearCost
from dlinear.selection.relative import INFEASIBLE, regret, relative_performance

__all__ = [
    "INFEASIBLE",
    "AccuracyConstraint",
    "Choice",
    "Cost",
    "HorizonCurves",
    "LadderCost",
    "LinearCost",
    "MemoryLimit",
    "Objective",
    "WeightedObjective",
    "best_horizon",
    "estimate_curves",
    "regret",
    "relative_performance",
    "select_horizon",
]
