"""Algorithm 1 against brute force, closed forms and horizons that it has not seen."""

from __future__ import annotations

import numpy as np

from dlinear import selection
from dlinear.theory import costs


def test_the_example_of_the_docstring():
    horizons, depth = np.array([1, 4, 8, 12, 16]), 16
    cos = np.sqrt(costs.decay_model(depth, horizons, 0.8))
    objective = selection.AccuracyConstraint(0.05, selection.LinearCost(1.0, 35.0))
    choice = selection.select_horizon(horizons, cos, 2 * horizons + 3, depth, objective)
    assert choice.feasible
    assert choice.rate[choice.horizon - 1] >= 0.95 > choice.rate[choice.horizon - 2]
