"""Every method on one model: which cells are run, what one computes, what their records say.

`sims.bridge_tradeoff` has the question, the knobs and the verdicts.
"""

from dlinear.bridge.tradeoff.cells import Cell, compute, plan_of
from dlinear.bridge.tradeoff.plan import SAME, TUNING, Plan, best_rate, method_names
from dlinear.bridge.tradeoff.tables import COSTS, RESULTS, cost_rows, result_rows, series_of

__all__ = [
    "COSTS",
    "RESULTS",
    "SAME",
    "TUNING",
    "Cell",
    "Plan",
    "best_rate",
    "compute",
    "cost_rows",
    "method_names",
    "plan_of",
    "result_rows",
    "series_of",
]
