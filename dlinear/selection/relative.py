"""How good choices are, beside each other and beside the best: eq. (19) of the paper, and regret."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from dlinear.checks import as_array, as_horizon, as_number, received, shown
from dlinear.errors import DomainError
from dlinear.selection.choose import Choice
from dlinear.selection.prices import Floats

__all__ = ["INFEASIBLE", "regret", "relative_performance"]

INFEASIBLE = 1.5  # what an infeasible choice counts in means of Rel(a), Figure 5 of the paper


def relative_performance(values: ArrayLike, infeasible: float = np.inf) -> Floats:
    """Rel(a) = (O(a) - min O)/(max O - min O) of each algorithm a, eq. (19): 0 is the best, 1 the worst.

    Args:
        values: (a,) objectives, to be minimised; inf for an infeasible choice, which min and
            max leave out.
        infeasible: what an infeasible choice gets.

    Returns:
        (a,) in [0, 1]; all 0 where the feasible ones are equal.

    Raises:
        DomainError: no values, or one that is NaN or -inf.
    """
    array = as_array(values)
    if array is None or array.ndim != 1 or not array.size or array.dtype.kind not in "iuf":
        raise DomainError(f"{received('values', values)}: allowed is a sequence of objectives")
    given: Floats = array.astype(np.float64)
    if not (given > -np.inf).all():
        raise DomainError(f"{received('values', values)}: allowed are numbers, and inf for infeasible")
    allowed = np.isfinite(given)
    found = np.full(given.shape, as_number("infeasible", infeasible, None))
    if allowed.any():
        low, high = given[allowed].min(), given[allowed].max()
        found[allowed] = (given[allowed] - low) / (high - low) if high > low else 0.0
    return found


def regret(horizon: int, oracle: Choice) -> float:
    """O(h) less the least objective, both of the true curve; inf where the true curve does not allow h.

    Args:
        horizon: h that somebody chose.
        oracle: the choice from the true curve (estimator "measured").

    Raises:
        HorizonError: a horizon outside 1..T.
        DomainError: no horizon is allowed on the true curve, so there is no best one.
    """
    if not isinstance(oracle, Choice):
        raise DomainError(f"oracle is {shown(oracle)}; expected a Choice, as select_horizon returns")
    chosen = as_horizon(horizon, oracle.depth)
    if not oracle.feasible:
        raise DomainError("no horizon is allowed on the true curve: nothing can be compared with the best")
    return float(oracle.objective[chosen - 1] - oracle.objective.min())
