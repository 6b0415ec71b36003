"""The networks of one training on their way: layers, predicted change of balance, and what is seen of both.

Beside the layers the change of their balance that Theorem G5 predicts is added up, so that a record holds the
change and its prediction.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dlinear.checks import as_choice, as_real
from dlinear.dynamics import signals
from dlinear.dynamics.observation import observe
from dlinear.dynamics.stacks import Problem
from dlinear.dynamics.trajectory import Trajectory
from dlinear.errors import DomainError

Floats = NDArray[np.float64]
Scaling = Literal["none", "best"]
LIMIT = 100.0  # ||D(t)||_F beyond which a network counts as diverged; the theory's layers have c/T


class Recorder:
    """The state of B networks (layers, predicted change of balance, who is alive) and what is seen of it."""

    def __init__(self, problem: Problem, limit: float) -> None:
        self.problem, self.limit = problem, limit
        self.layers = problem.layers.copy()
        self.predicted = np.zeros_like(problem.layers[:, 1:])
        self.diverged = np.full(len(self.layers), np.inf)
        self.first = signals.imbalance(self.layers)
        self.times: list[float] = []
        self.rows: list[dict[str, Floats]] = []

    @property
    def alive(self) -> NDArray[np.int64]:
        """The networks that have not diverged."""
        return np.flatnonzero(np.isinf(self.diverged))

    def drop(self, time: float) -> None:
        """Networks beyond the limit have diverged at this time."""
        with np.errstate(over="ignore", invalid="ignore"):
            inside = np.linalg.norm(self.layers, axis=(2, 3)).max(axis=1) < self.limit
        self.diverged[~inside & np.isinf(self.diverged)] = time

    def record(self, time: float) -> None:
        """What is seen of the networks that are alive; NaN of the others."""
        some, problem = self.alive, self.problem
        here = self.layers[some]
        change = signals.imbalance(here) - self.first[some]
        row = {
            **observe(here, problem.phi[some], problem.horizon[some], problem.rule),
            "drift": np.linalg.norm(change, axis=(2, 3)),
            "predicted_drift": np.linalg.norm(self.predicted[some], axis=(2, 3)),
            "drift_error": np.linalg.norm(change - self.predicted[some], axis=(2, 3)),
        }
        full = {}
        for name, values in row.items():
            full[name] = np.full((len(self.layers), *values.shape[1:]), np.nan)
            full[name][some] = values
        self.times.append(time)
        self.rows.append(full)

    def trajectory(self) -> Trajectory:
        """Everything recorded so far."""
        problem = self.problem
        arrays = {name: np.stack([problem.grid(row[name]) for row in self.rows]) for name in self.rows[0]}
        return Trajectory(
            depth=problem.depth,
            horizons=problem.horizons,
            times=np.array(self.times),
            diverged=problem.grid(self.diverged),
            layers=problem.grid(self.layers),
            **arrays,
        )


def begin(problem: Problem, scaling: object, limit: object) -> Recorder:
    """The state at time 0.

    Raises:
        DomainError: no such scaling, a limit that is no positive number or below the layers at the start.
    """
    as_choice("scaling", scaling, ("none", "best"))
    state = Recorder(problem, float(positive("limit", limit)))
    state.drop(0.0)
    if np.isfinite(state.diverged).any():
        raise DomainError(f"limit is {state.limit:g}: a layer has ||D(t)||_F beyond it at the start")
    return state


def positive(name: str, value: Any) -> Any:
    """One finite number > 0."""
    number = as_real(name, value, "a finite number > 0", strict=True)
    if np.ndim(number):
        raise DomainError(f"{name} is an array of {np.size(number)} values: allowed is a finite number > 0")
    return number
