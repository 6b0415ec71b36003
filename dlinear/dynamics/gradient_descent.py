"""Gradient descent along g_h, many horizons and starts at once.

    W(t) <- W(t) - eta c g_h(t)

c = 1, or c = <g_h, g_T>/||g_h||^2, the best rescaling of eq. (13).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dlinear.checks import as_integer
from dlinear.dynamics import signals
from dlinear.dynamics.observation import best_rescaling
from dlinear.dynamics.recording import LIMIT, Scaling, begin, positive
from dlinear.dynamics.stacks import Problem, as_problem
from dlinear.dynamics.trajectory import Trajectory
from dlinear.engine.rule import PLAIN, HorizonRule
from dlinear.networks.protocol import Network

Floats = NDArray[np.float64]


def descent(
    nets: Network | Sequence[Network],
    phi: ArrayLike,
    horizons: object,
    *,
    step: float,
    steps: int,
    every: int = 1,
    rule: HorizonRule = PLAIN,
    scaling: Scaling = "none",
    limit: float = LIMIT,
) -> Trajectory:
    """Gradient descent along g_h from each start with each horizon.

    Args:
        nets: S starts of one depth T and width n, or one.
        phi: Phi, (n, n), or one for each start, (S, n, n).
        horizons: H different integers in 1..T.
        step: eta > 0. Back-propagation near the identity needs eta < 2/T.
        steps: number of steps >= 0.
        every: steps between records, >= 1; the start and the end are always recorded.
        rule: which signal reaches a layer: plain, anchored, rollouts, stages.
        scaling: "none", or "best": each step along <g_h, g_T>/||g_h||^2 g_h, eq. (13).
        limit: ||D(t)||_F from which on a network has diverged and is not trained any further.

    Returns:
        Records at steps 0, every, 2 every, ..., steps; its times are eta times the number of steps.

    Raises:
        ShapeError, NonFiniteError, HorizonError, DomainError: see the message.
    """
    problem = as_problem(nets, phi, horizons, rule)
    eta = float(positive("step", step))
    steps, every = as_integer("steps", steps, 0), as_integer("every", every)
    state = begin(problem, scaling, limit)
    for count in range(steps + 1):
        if count % every == 0 or count == steps:
            state.record(count * eta)
        some = state.alive
        if count == steps or not some.size:
            continue
        moved, change = _step(problem, state.layers[some], some, scaling, eta)
        state.layers[some] += moved
        state.predicted[some] += change
        state.drop((count + 1) * eta)
    return state.trajectory()


def _step(
    problem: Problem, layers: Floats, some: NDArray[np.int64], scaling: Scaling, eta: float
) -> tuple[Floats, Floats]:
    """The move of the layers, -eta c g_h, and the change of their balance by (X)."""
    with np.errstate(over="ignore", invalid="ignore"):
        seen = signals.run(layers, problem.phi[some], problem.horizon[some], problem.rule)
        size = np.full(len(some), eta)
        if scaling == "best":
            size *= best_rescaling(seen.gradient, seen.true)
        change = signals.balance_change(seen.exchange, seen.gradient, size)
        return -size[:, None, None, None] * seen.gradient, change
