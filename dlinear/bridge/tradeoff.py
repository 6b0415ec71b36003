"""Every method on one model: which cells are run, and what their records say of costs, results and
budgets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlinear.analysis import comparison
from dlinear.analysis.comparison import MethodResult
from dlinear.bridge.methods import method
from dlinear.runs.records import Record

TUNING = 1000  # the seed of the learning rates
SAME = 1e-4  # relative difference to back-propagation's gradient below which it is the same, in float32


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
    """

    methods: Sequence[str]
    rates: Sequence[float]
    seeds: int
    epochs: int
    steps: int
    train_exact: bool
    cell: Callable[[str, str, int, float, int], Any]

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


COSTS = (
    *("method", "memory", "theory", "saved", "forwards", "vjps", "jvps", "time [quartiles]", "theory"),
    "|g-g_T|",
)


def cost_rows(found: Sequence[MethodResult], depth: int) -> list[list[str]]:
    """Memory, work and time beside what theory says of them, under `COSTS`."""
    rows = []
    whole = next(one for one in found if one.method == comparison.REFERENCE).numbers["saved"]
    for one in found:
        theory = method(one.method).predicted(depth)
        ratio, low, high = one.ratio
        rows.append(
            [one.method, f"{one.memory:.2%}", f"{theory.memory:.2%}"]
            + [f"{one.numbers['saved'] / whole:.2%}" if math.isfinite(one.numbers["saved"]) else "-"]
            + [f"{one.numbers[name]:.0f}" for name in ("forwards", "vjps", "jvps")]
            + [f"{ratio:.2f} [{low:.2f}, {high:.2f}]", f"{theory.time:.2f}"]
            + [f"{one.numbers['difference']:.1e}"]
        )
    return rows


_OF_A_REGIME = ("steps", "rate", "train loss", "test loss", "test %")
RESULTS = ("method", "cos start -> end", *_OF_A_REGIME, *_OF_A_REGIME)


def result_rows(found: Sequence[MethodResult], rates: Sequence[float]) -> list[list[str]]:
    """What training reached, at equal epochs and at equal time, under `RESULTS`."""
    rows = []
    for one in found:
        row = [one.method, " -> ".join(f"{value:.3f}" for value in one.cosines.mean(axis=0))]
        for regime in comparison.REGIMES:
            scores, rate = one.scores[regime], one.rates[regime]
            edge = "*" if len(rates) > 1 and rate in (min(rates), max(rates)) else ""
            row += [str(one.steps[regime]), f"{rate:g}{edge}", spread(scores["train_loss"], 4)]
            row += [spread(scores["test_loss"]), spread(scores["test_accuracy"], 1, 100)]
        rows.append(row)
    return rows


def spread(values: np.ndarray, digits: int = 3, factor: float = 1.0) -> str:
    """Mean +- standard deviation over the seeds."""
    values = values * factor
    if not np.isfinite(values).all():
        return "diverged"
    deviation = f" +- {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{deviation}"
