"""Which cells the comparison runs; a stage needs the records of those before it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dlinear.analysis import comparison
from dlinear.bridge.methods.base import named
from dlinear.bridge.methods.registry import families
from dlinear.runs.records import Record

__all__ = ["SAME", "TUNING", "Plan", "best_rate", "method_names"]

TUNING = 1000  # the seed of the learning rates
SAME = 1e-4  # relative difference to back-propagation's gradient below which it is the same, in float32


def method_names(knobs: Any) -> list[str]:
    """The methods that settled knobs ask for, the reference first.

    Of each family the numbers of the knob of its `Family.option`, or those that it proposes (`compared`); and
    those that `knobs.methods` names.
    """
    names = [comparison.REFERENCE]
    for family in families():
        numbers = getattr(knobs, family.option or "", None)
        if numbers is None:
            numbers = family.compared(knobs.depth, knobs.batch)
        names += [named(family.name, number) for number in numbers]
    return list(dict.fromkeys([*names, *(knobs.methods or ())]))


@dataclass(frozen=True)
class Plan:
    """The cells of each stage: costs, learning rates, training; a stage needs the records of those before it.

    Attributes:
        methods: names, the reference first.
        rates: learning rates that are tried, in back-propagation's unit.
        seeds: of the runs that are compared.
        epochs: of training.
        steps: of an epoch.
        train_exact: train also what has back-propagation's gradient.
        cell: (part, method, seed, rate, steps) -> a cell; parts are meters, tune, epochs and time.
        refused: methods that were left out, and why they refuse the model.
    """

    methods: Sequence[str]
    rates: Sequence[float]
    seeds: int
    epochs: int
    steps: int
    train_exact: bool
    cell: Callable[[str, str, int, float, int], Any]
    refused: Mapping[str, str] = field(default_factory=dict)

    def meters(self) -> list[Any]:
        """What every method costs."""
        return [self.cell("meters", name, TUNING, 0.0, 0) for name in self.methods]

    def runner(self, meter: Record) -> str:
        """Which method's runs represent a method: its own, or the reference's if that is its gradient."""
        same = float(meter.arrays["difference"]) < SAME and not self.train_exact
        return comparison.REFERENCE if same else str(meter.knobs["method"])

    def tuning(self, meters: Sequence[Record]) -> list[Any]:
        """Every rate, on the seed of the learning rates."""
        own = dict.fromkeys(map(self.runner, meters))
        return [self.cell("tune", name, TUNING, rate, 0) for name in own for rate in self.rates]

    def training(self, meters: Sequence[Record], tuned: Sequence[Record]) -> list[Any]:
        """The runs that are compared: all epochs, and as many steps as fit into back-propagation's time."""
        total, cells = self.epochs * self.steps, []
        for meter in meters:
            runner = self.runner(meter)
            mine = [record for record in tuned if record.knobs["method"] == runner]
            limit = comparison.steps_within(total, float(meter.arrays["ratio"]))
            wanted = {"epochs": (total, 0)} if runner == meter.knobs["method"] else {}
            wanted |= {"time": (limit, limit)} if limit != total else {}
            for part, (length, steps) in wanted.items():
                rate = best_rate(mine, length // self.steps)
                cells += [self.cell(part, runner, seed, rate, steps) for seed in range(self.seeds)]
        return list(dict.fromkeys(cells))


def best_rate(tuned: Sequence[Record], epoch: int) -> float:
    """The rate of the least mean training loss in that epoch, or in the nearest that was run."""

    def loss(record: Record) -> float:
        values = record.arrays["loss"]
        value = float(values[min(max(epoch, 1), len(values) - 1)])
        return value if math.isfinite(value) else math.inf

    return float(min(sorted(tuned, key=lambda one: float(one.knobs["rate"])), key=loss).knobs["rate"])
