"""The horizon of a run, chosen again every few epochs from measured angles.

Angles get worse as training goes on (sin^2 ~ 1/||R||^2), so that a horizon which is right at the start is too
short later. At the end of every `every`-th epoch the angles of a few horizons are measured on a fixed part of
the training set, and `dlinear.selection` takes the horizon of the epochs that follow. What was measured and
chosen stands in the metrics rows, from which a resumed run takes it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal, get_args

import numpy as np
from torch import Tensor, nn

from dlinear.bridge.angles.alignment import alignment
from dlinear.bridge.angles.forward import alignment_forward
from dlinear.bridge.autograd.blocks import LossFunction
from dlinear.bridge.methods.base import Method, named
from dlinear.bridge.methods.registry import method as method_named
from dlinear.checks import as_choice, as_flag, as_floats, as_horizons, as_integer, shown
from dlinear.errors import DomainError, NonFiniteError
from dlinear.selection import Objective, select_horizon
from dlinear.selection.estimators import ESTIMATORS
from dlinear.selection.objectives import check_objective

__all__ = ["FAMILIES", "HorizonSchedule"]

Angles = Literal["exact", "forward"]
FAMILIES: Mapping[
    str, Mapping[str, Any]
] = {  # methods whose number is a horizon, and the rule of their angle
    "horizon": {},
    "projected": {},
    "anchored": {"anchored": True},
}


@dataclass(frozen=True)
class HorizonSchedule:
    """When and how the horizon is chosen; part of what identifies a run.

    Attributes:
        objective: of `dlinear.selection`, for example AccuracyConstraint(0.05, LinearCost(1.0, 1.0)).
        every: epochs between two choices; the first is before the first epoch.
        horizons: those that are measured, two different ones or more, in 1..T; None for 1, 2, 4, ... and
            T - 1, T - 2, T - 4, ... below T (1 and 2 where T = 2).
        memory: of a step at each of them, in the unit of the objective; None for the share h/T that theory
            predicts (`Method.predicted`).
        samples: of the training set, the first ones of the part that is used: on them angles are measured.
        angles: "exact" (`bridge.alignment`: the memory of one back-propagation) or "forward"
            (`alignment_forward`: that of the largest horizon, and `probes` random directions).
        probes: of "forward".
        estimator: as of `select_horizon`.
        grows: whether a horizon is never followed by a shorter one.

    Raises:
        DomainError: a value outside its domain; the message gives both.
    """

    objective: Objective
    every: int = 1
    horizons: tuple[int, ...] | None = None
    memory: tuple[float, ...] | None = None
    samples: int = 100
    angles: Angles = "exact"
    probes: int = 8
    estimator: str = "theory"
    grows: bool = False

    def __post_init__(self) -> None:
        _numbers(self.objective)
        check_objective(self.objective)
        for name in ("every", "samples", "probes"):
            object.__setattr__(self, name, as_integer(name, getattr(self, name)))
        as_choice("angles", self.angles, get_args(Angles))
        as_choice("estimator", self.estimator, tuple(ESTIMATORS))
        object.__setattr__(self, "grows", as_flag("grows", self.grows))
        if self.memory is not None:
            sizes = np.atleast_1d(as_floats("memory", self.memory, "a sequence of finite numbers"))
            if self.horizons is None or len(sizes) != len(self.horizons):
                raise DomainError(f"memory holds {len(sizes)} sizes; expected one for each of `horizons`")
            object.__setattr__(self, "memory", tuple(map(float, sizes)))

    def measured(self, depth: int) -> list[int]:
        """The horizons that are measured at depth T.

        Raises:
            HorizonError, DomainError: some outside 1..T, or fewer than two.
        """
        if self.horizons is None:
            powers = [2**k for k in range(depth.bit_length()) if 2**k < depth]
            below = sorted({*powers, *(depth - p for p in powers)})
            return below if len(below) > 1 else list(range(1, depth + 1))  # two are needed at T = 2
        asked = [int(h) for h in as_horizons(self.horizons, depth)]
        if len(set(asked)) < 2:
            raise DomainError(f"horizons holds {asked}; expected two different ones or more")
        return asked

    @property
    def key(self) -> dict[str, Any]:
        """JSON values that tell a schedule from others."""
        own = {name: value for name, value in vars(self).items() if name != "objective"}
        return own | {"objective": _numbers(self.objective)}

    def check(self, method: object, stack: Any) -> None:
        """Refuse a method without a horizon, and horizons that the model has not.

        Raises:
            DomainError, HorizonError: such a one.
        """
        if not isinstance(method, Method) or method.family not in FAMILIES:
            name = getattr(method, "name", None) or shown(method)
            allowed = ", ".join(f"{family}-N" for family in FAMILIES)
            raise DomainError(f"horizon_schedule with method {name}: allowed are {allowed}")
        depth = len(stack.blocks)
        if depth < 2:
            raise DomainError(f"horizon_schedule of {depth} block: expected 2 or more")
        self.measured(depth)

    def method(self, first: Method, horizon: int) -> Method:
        """The method of the same family with that horizon."""
        return method_named(named(first.family, horizon))

    def choose(self, first: Method, stack: Any, x: Tensor, loss_fn: LossFunction, now: int) -> dict[str, Any]:
        """Measure the angles and choose: the columns of a metrics row.

        Args:
            first: a method of the family.
            stack: the model; changed by nobody (call it inside `step_isolated`).
            x, loss_fn: the samples and their loss.
            now: the horizon so far; it stays where no two angles are known (a gradient that is zero or not
                finite), and with `grows` is the least.

        Returns:
            "next_horizon", "feasible" (None where nothing was chosen), "measured" and "cos".
        """
        depth = len(stack.blocks)
        asked = self.measured(depth)
        cos = self._cos(FAMILIES[first.family], stack, x, loss_fn, asked)
        if first.family == "projected":
            cos = np.abs(cos)  # its sign is turned
        row = {"measured": asked, "cos": [float(c) if math.isfinite(c) else None for c in cos]}
        known = np.isfinite(cos)
        if len(set(np.array(asked)[known])) < 2:
            return row | {"next_horizon": now, "feasible": None}
        memory = np.array(self.memory or [first_memory(self, first, h, depth) for h in asked])
        some = np.array(asked)[known], np.clip(cos[known], -1, 1), memory[known]
        choice = select_horizon(*some, depth, self.objective, self.estimator)
        chosen = max(choice.horizon, now) if self.grows else choice.horizon
        return row | {"next_horizon": chosen, "feasible": choice.feasible}

    def _cos(
        self,
        rule: Mapping[str, Any],
        stack: nn.Module,
        x: Tensor,
        loss_fn: LossFunction,
        asked: Sequence[int],
    ) -> np.ndarray:
        arguments: Any = (stack.blocks, x, loss_fn, asked, stack.readout)
        words = {**rule, "undefined": "nan", "process_group": "none"}
        try:
            if self.angles == "exact":
                return alignment(*arguments, **words).cos
            return alignment_forward(*arguments, probes=self.probes, **words).cos
        except NonFiniteError:  # the run is about to diverge: it says so itself
            return np.full(len(asked), np.nan)


def first_memory(schedule: HorizonSchedule, first: Method, horizon: int, depth: int) -> float:
    """The memory that theory predicts for the method with that horizon, over back-propagation's."""
    return schedule.method(first, horizon).predicted(depth).memory


def _numbers(value: Any) -> Any:
    """An objective as JSON: names of classes, and their numbers.

    Raises:
        DomainError: something that would not be the same in another process.
    """
    if is_dataclass(value) and not isinstance(value, type):
        own = {field.name: _numbers(getattr(value, field.name)) for field in fields(value)}
        return {type(value).__qualname__: own}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise DomainError(
        f"the objective is, or holds, {shown(value)}; expected dataclasses of numbers, such as "
        "dlinear.selection.WeightedObjective: a checkpoint is known by them"
    )
