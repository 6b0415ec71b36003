"""A user's own question: what was measured of each rule, Algorithm 1 for each, and the best of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dlinear.analysis import statistics
from dlinear.bridge.tradeoff.advice import Offer
from dlinear.runs.records import Record
from dlinear.selection import (
    AccuracyConstraint,
    Choice,
    HorizonCurves,
    LinearCost,
    MemoryLimit,
    WeightedObjective,
    best_horizon,
    estimate_curves,
)

__all__ = ["RIVALS", "Question", "cosine", "rate_of"]

RIVALS: tuple[str, ...] = (
    "checkpoint",
    "checkpoint-2",
    "accumulate-2",
    "accumulate-4",
    "accumulate-8",
    "combined-2",
    "combined-4",
)
RIVALS += ("revolve-2", "revolve-4", "revolve-8", "reconstruct-1", "reconstruct-2")


def objective_of(knobs: Any, budget: float, whole: float) -> Any:
    """The objective of `dlinear.selection`; memory in bytes."""
    if knobs.objective == "budget":
        return MemoryLimit(budget)
    cost = LinearCost(1.0, whole)
    if knobs.objective == "accuracy":
        return AccuracyConstraint(knobs.epsilon, cost)
    return WeightedObjective(knobs.weight, cost)


class Question:
    """What was measured, and the choice for each rule.

    Attributes:
        whole: bytes that back-propagation takes.
        budget: bytes.
        estimates: by rule: r and M at every horizon, as estimated from the measured ones.
        choices: by rule.
    """

    def __init__(self, knobs: Any, angles: Sequence[Record], costs: Sequence[Record]) -> None:
        self.knobs, self.angles = knobs, angles
        self.costs = {str(record.knobs["method"]): record.arrays for record in costs}
        self.whole = float(self.costs["backprop"]["activations"])
        self.budget = self.whole / 4 if knobs.budget_mb is None else knobs.budget_mb * 1e6
        self.objective = objective_of(knobs, self.budget, self.whole)
        self.estimates = {rule: self._estimate(rule) for rule in knobs.rules}
        self.choices = {rule: self._choice(rule) for rule in knobs.rules}

    def cos(self, rule: str) -> np.ndarray:
        """(seeds, horizons) of a rule."""
        return np.array([r.arrays["cos"] for r in self.angles if r.knobs["method"] == rule])

    def memory(self, rule: str) -> list[float]:
        """Bytes at each measured horizon."""
        return [float(self.costs[f"{rule}-{h}"]["activations"]) for h in self.knobs.horizons or ()]

    def _choice(self, rule: str) -> Choice:
        """Algorithm 1, with what was measured where that is known; at T it is back-propagation."""
        estimate = self.estimates[rule]
        rate, memory = estimate.rate.copy(), estimate.memory.copy()
        at = [h - 1 for h in (*(self.knobs.horizons or ()), self.knobs.depth)]
        rate[at] = [*(rate_of(column).value for column in self.cos(rule).T), 1.0]
        memory[at] = [*self.memory(rule), self.whole]
        return best_horizon(HorizonCurves(rate, memory, estimate.estimator), self.objective)

    def _estimate(self, rule: str) -> HorizonCurves:
        """r and M at every horizon from the measured ones and T."""
        knobs, cos = self.knobs, np.nan_to_num(self.cos(rule).mean(axis=0))
        horizons = [*(knobs.horizons or ()), knobs.depth]
        memory, values = [*self.memory(rule), self.whole], [*np.clip(cos, -1, 1), 1.0]
        return estimate_curves(horizons, values, memory, knobs.depth, knobs.estimator)

    def misfit(self) -> tuple[float, float]:
        """The largest differences of the estimates to what was measured: in r, and in shares of memory."""
        at = [h - 1 for h in self.knobs.horizons or ()]
        pairs = [(self.estimates[rule], choice) for rule, choice in self.choices.items()]
        rate = [abs(one.rate - choice.rate)[at] for one, choice in pairs]
        memory = [abs(one.memory / choice.memory - 1)[at] for one, choice in pairs]
        return float(np.max(rate)), float(np.max(memory))

    @property
    def rule(self) -> str:
        """The rule of the best objective; where none is allowed, of the least memory."""

        def value(rule: str) -> tuple[bool, float, float]:
            one = self.choices[rule]
            at = one.horizon - 1
            return not one.feasible, float(one.objective[at]) if one.feasible else 0.0, float(one.memory[at])

        best: str = min(self.choices, key=value)
        return best

    @property
    def choice(self) -> Choice:
        """Of the best rule."""
        return self.choices[self.rule]

    @property
    def method(self) -> str:
        """The name of the chosen method."""
        return f"{self.rule}-{self.choice.horizon}"

    def offer(self, name: str, rate: float, time: str = "ratio") -> Offer:
        """A method as it was measured; `time` "unit": in the products that theory counts."""
        costs, family = self.costs[name], name.rpartition("-")[0] or name
        return Offer(name, family, float(costs["activations"]), float(costs[time]), rate)

    def rivals(self, time: str = "ratio") -> list[Offer]:
        """Those that the model does not refuse."""
        some = [(name, float(self.costs[name]["rate"])) for name in RIVALS]
        return [self.offer(name, rate, time) for name, rate in some if math.isfinite(rate)]


def cosine(values: np.ndarray) -> statistics.Estimate:
    """The mean over the seeds, its interval cut at -1 and 1; NaN where an angle is not defined."""
    if not np.isfinite(values).all():
        return statistics.Estimate(math.nan, math.nan, math.nan)
    return statistics.Estimate(*np.clip(statistics.mean_interval(values), -1.0, 1.0).tolist())


def rate_of(cos: np.ndarray) -> statistics.Estimate:
    """r = cos^2 over the seeds, 0 where a step leads uphill."""
    return statistics.mean_interval(np.clip(np.nan_to_num(cos), 0, 1) ** 2)
