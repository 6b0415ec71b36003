"""Methods side by side, from the records of a comparison (`sims.bridge_tradeoff`): costs and results.

Everything about costs is in units of back-propagation of the same model and batch, the reference. Nothing
here knows another method by name: the record of a method's costs says whether it is exact and which horizon
it has.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dlinear.errors import RecordError
from dlinear.runs import records

__all__ = [
    "REFERENCE",
    "REGIMES",
    "MethodResult",
    "entries",
    "steps_within",
]

REFERENCE = "backprop"  # the method that costs and gradients are compared with
REGIMES = {"epochs": "equal epochs", "time": "equal time"}
METRICS = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")


@dataclass(frozen=True, eq=False)
class MethodResult:
    """What is known of one method.

    Attributes:
        method: its name.
        bytes: peak of the activations of one step.
        memory: the same over back-propagation's.
        ratio: time of a step over back-propagation's; median over rounds, lower and upper quartile.
        scores: regime ("epochs", "time") -> metric -> (S,) over the seeds, NaN where the run diverged.
        steps: regime -> optimizer steps.
        rates: regime -> learning rate in back-propagation's unit.
        cosines: (S, 2), with back-propagation's gradient before and after training (equal epochs).
        numbers: what else is known of one step: T, h (NaN: none), whether the method is exact, counts.
    """

    method: str
    bytes: float
    memory: float
    ratio: tuple[float, float, float]
    scores: Mapping[str, Mapping[str, NDArray[np.float64]]]
    steps: Mapping[str, int]
    rates: Mapping[str, float]
    cosines: NDArray[np.float64]
    numbers: Mapping[str, float]

    @property
    def family(self) -> str:
        """The name without its number; horizon T counts as what it is, the reference."""
        if self.horizon == self.numbers["depth"]:
            return REFERENCE
        return re.sub(r"-[0-9]+$", "", self.method)

    @property
    def horizon(self) -> int | None:
        """h of a plain horizon, else None."""
        h = self.numbers["horizon"]
        return None if math.isnan(h) else int(h)

    @property
    def exact(self) -> bool:
        """Whether it is an alternative to a horizon with the gradient of the loss itself."""
        return bool(self.numbers["exact"]) or self.horizon == self.numbers["depth"]

    @property
    def whole_batch(self) -> bool:
        """Whether layers that mix samples see the whole batch at once."""
        return bool(self.numbers["whole_batch"])

    @property
    def truncated(self) -> bool:
        """Whether it is a plain horizon h < T."""
        return self.horizon is not None and not self.exact

    def value(self, regime: str, metric: str = "test") -> NDArray[np.float64]:
        """(S,) higher is better: test accuracy (without classes minus the loss), or minus the train loss.

        Args:
            regime: "epochs" or "time".
            metric: "test" or "train".
        """
        scores = self.scores[regime]
        if metric == "train":
            return -scores["train_loss"]
        return -scores["test_loss"] if np.isnan(scores["test_accuracy"]).all() else scores["test_accuracy"]


def steps_within(total: int, ratio: float) -> int:
    """Steps of a method in the time that back-propagation takes for `total` of its own; at least one."""
    return max(1, math.floor(total / ratio))


class Described(Protocol):
    """What a record that was written before it held these numbers lacks of a method."""

    @property
    def exact(self) -> bool:
        """Whether its gradient is that of the loss."""

    @property
    def horizon(self) -> int | None:
        """h, or None."""

    @property
    def whole_batch(self) -> bool:
        """Whether layers that mix samples see the whole batch at once."""


def entries(
    found: Iterable[records.Record], describe: Callable[[str], Described] | None = None
) -> list[MethodResult]:
    """Results in the order of memory, from the records of one run.

    A method without training runs of its own has back-propagation's gradient: back-propagation's runs
    represent it, at equal time the one with as many steps as fit.

    Args:
        found: cells of the parts meters, epochs and time.
        describe: method name -> what records of earlier editions lack (`bridge.methods.method`).

    Raises:
        RecordError: a run that is missing, or an earlier record and nothing that describes its method.
    """
    every = list(found)
    meters = {r.knobs["method"]: r for r in every if r.knobs["part"] == "meters"}
    runs: dict[tuple[str, str], list[records.Record]] = {}
    for record in every:
        runs.setdefault((record.knobs["part"], record.knobs["method"]), []).append(record)
    if REFERENCE not in meters or ("epochs", REFERENCE) not in runs:
        raise RecordError("no record of back-propagation, which everything is compared with")
    whole = float(meters[REFERENCE].arrays["activations"])
    total = int(runs["epochs", REFERENCE][0].arrays["steps"])
    out = []
    for method, meter in meters.items():
        numbers = _numbers(meter, describe)
        runner = method if ("epochs", method) in runs else REFERENCE
        steps = steps_within(total, numbers["ratio"])
        equal = {"epochs": _by_seed(runs["epochs", runner])}
        limited = [r for r in runs.get(("time", runner), []) if r.knobs["steps"] == steps]
        equal["time"] = _by_seed(limited) if limited or steps != total else equal["epochs"]
        if not equal["time"]:
            raise RecordError(f"no run of {steps} steps of {method}")
        out.append(_result(method, numbers, whole, equal))
    return sorted(out, key=lambda one: (one.memory, one.method))


def _numbers(meter: records.Record, describe: Callable[[str], Described] | None) -> dict[str, float]:
    """What a record of costs says of its method, and T."""
    numbers = {name: float(array) for name, array in meter.arrays.items()} | {"depth": meter.knobs["depth"]}
    if "exact" not in numbers:
        name = str(meter.knobs["method"])
        if describe is None:
            raise RecordError(
                f"the record of {name} does not say whether it is exact: run the comparison again"
            )
        about = describe(name)
        h = math.nan if about.horizon is None else about.horizon
        numbers |= {"exact": about.exact, "horizon": h, "whole_batch": about.whole_batch}
    return numbers


def _result(
    method: str, numbers: dict[str, float], whole: float, runs: Mapping[str, Sequence[records.Record]]
) -> MethodResult:
    """The result of a method from its costs, the reference's bytes and its runs by regime."""
    return MethodResult(
        method,
        numbers["activations"],
        numbers["activations"] / whole,
        (numbers["ratio"], numbers["ratio_low"], numbers["ratio_high"]),
        {
            regime: {name: np.array([r.arrays[f"final_{name}"] for r in some], float) for name in METRICS}
            for regime, some in runs.items()
        },
        {regime: int(some[0].arrays["steps"]) for regime, some in runs.items()},
        {regime: float(some[0].knobs["rate"]) for regime, some in runs.items()},
        np.array([[r.arrays["cos_start"], r.arrays["cos_end"]] for r in runs["epochs"]], float),
        numbers,
    )


def _by_seed(some: Sequence[records.Record]) -> list[records.Record]:
    return sorted(some, key=lambda r: int(r.knobs["seed"]))
