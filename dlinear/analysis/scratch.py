"""What training from scratch says of methods: rates, ratios of final losses, who is on the front.

Everything is read off the curves of one record for each task and method (`bridge.from_scratch`): the rate is
chosen on runs that are used for nothing else, by the training loss, and at equal time each curve is cut where
the time is over. Losses are compared as ratios, run by run: equal runs have equal data, start and batches.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dlinear.analysis import statistics
from dlinear.analysis.comparison import REFERENCE, steps_within
from dlinear.errors import RecordError
from dlinear.runs.records import Record

__all__ = [
    "FrontPlace",
    "MethodCost",
    "Outcome",
    "TrainedMethod",
    "chosen_rate",
    "cost_of",
    "front_within",
    "ratio",
    "trained_methods",
]

Floats = NDArray[np.float64]
SOLVED = 1e-10  # mean losses below it are rounding errors of float32, and count as this


def chosen_rate(losses: ArrayLike) -> int:
    """Index of the rate whose worst loss over the tuning runs is the least; NaN counts as infinite.

    Args:
        losses: (R, S) of R rates in S tuning runs.
    """
    worst = np.nan_to_num(np.asarray(losses, np.float64), nan=math.inf).max(axis=1)
    return int(np.argmin(worst))


def ratio(one: ArrayLike, other: ArrayLike, level: float = statistics.LEVEL) -> statistics.Estimate:
    """Geometric mean over the runs of one/other with its interval; infinite or 0 if only one diverged.

    Args:
        one, other: (S,) positive numbers of the same runs; NaN where a run diverged.
        level: of the interval.
    """
    a, b = (np.asarray(values, np.float64) for values in (one, other))
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        reach = math.nan
        if np.isfinite(a).all() or np.isfinite(b).all():
            reach = 0.0 if np.isfinite(a).all() else math.inf
        return statistics.Estimate(reach, reach, reach)
    logs = statistics.mean_interval(np.log(a) - np.log(b), level)
    return statistics.Estimate(*(float(np.exp(value)) for value in logs))


class Outcome(NamedTuple):
    """What a method reached at a step, at its best rate there.

    Attributes:
        rate: index of the rate.
        restarted: how many runs diverged at that rate and took a smaller one.
        train_loss: (S,), NaN where a run diverged, at least `SOLVED`.
        test_loss: (S,), likewise.
        test_accuracy: (S,), NaN without classes.
        cos: (S, 2), angle with back-propagation's gradient at the start and at that step.
    """

    rate: int
    restarted: int
    train_loss: Floats
    test_loss: Floats
    test_accuracy: Floats
    cos: Floats


@dataclass(frozen=True, eq=False)
class TrainedMethod:
    """The curves of one method on one task.

    Attributes:
        method: name.
        rates: (R,) in back-propagation's unit.
        steps: (K,) after which was evaluated, increasing from 0.
        tuning: runs that are for the choice of the rate, the first ones.
        curves: train_loss, test_loss, test_accuracy, cos: (R, tuning + S, K).
    """

    method: str
    rates: Floats
    steps: NDArray[np.int64]
    tuning: int
    curves: Mapping[str, Floats]

    def after(self, step: int | None = None) -> Outcome:
        """At the last evaluation that is not after `step`; at the end for None.

        A run that has diverged by then takes the largest smaller rate at which it has not: as one would start
        it again, for every method alike.
        """
        k = len(self.steps) - 1
        if step is not None:
            k = max(int(np.searchsorted(self.steps, step, side="right")) - 1, 0)
        best = chosen_rate(self.curves["train_loss"][:, : self.tuning, k])
        order = np.argsort(self.rates)[::-1]
        lower = [best, *order[self.rates[order] < self.rates[best]]]
        runs = np.arange(self.tuning, self.curves["train_loss"].shape[1])
        fine = np.isfinite(self.curves["train_loss"][np.ix_(lower, runs)][..., k])
        rate = np.array(lower)[np.where(fine.any(axis=0), fine.argmax(axis=0), 0)]
        train, test, accuracy = (
            self.curves[name][rate, runs, k] for name in ("train_loss", "test_loss", "test_accuracy")
        )
        cos = np.stack([self.curves["cos"][rate, runs, i] for i in (0, k)], axis=-1)
        train, test = np.maximum(train, SOLVED), np.maximum(test, SOLVED)
        return Outcome(best, int((rate != best).sum()), train, test, accuracy, cos)

    def at_an_end(self, rate: int) -> bool:
        """Whether a rate is the smallest or the largest that was tried."""
        return len(self.rates) > 1 and rate in (int(self.rates.argmin()), int(self.rates.argmax()))


@dataclass(frozen=True)
class MethodCost:
    """Costs of one step over back-propagation's: measured, and by the unit-cost model.

    Attributes:
        method: name.
        memory: of activations.
        time: median of interleaved rounds.
        time_range: lower and upper quartile.
        model_memory: blocks that are alive over T.
        model_time: products with a weight matrix over back-propagation's.
        difference: |g - g_T|/|g_T|.
        exact: whether the method's gradient is back-propagation's.
    """

    method: str
    memory: float
    time: float
    time_range: tuple[float, float]
    model_memory: float
    model_time: float
    difference: float
    exact: bool

    def of(self, model: bool) -> tuple[float, float]:
        """Memory and time, of the unit-cost model or measured."""
        return (self.model_memory, self.model_time) if model else (self.memory, self.time)


def cost_of(record: Record, reference: Record) -> MethodCost:
    """The costs of the method of a record of the meters."""
    own = {name: float(value) for name, value in record.arrays.items()}
    return MethodCost(
        str(record.knobs["method"]),
        own["activations"] / float(reference.arrays["activations"]),
        own["ratio"],
        (own["ratio_low"], own["ratio_high"]),
        own["theory_memory"],
        own["theory_time"],
        own["difference"],
        bool(own["exact"]),
    )


def trained_methods(found: Iterable[Record]) -> dict[str, TrainedMethod]:
    """The curves of one task by method, the reference among them.

    Raises:
        RecordError: no record of back-propagation.
    """
    names = ("train_loss", "test_loss", "test_accuracy", "cos")
    out = {}
    for record in found:
        a: Mapping[str, Any] = record.arrays
        curves = {name: a[name] for name in names}
        method, tuning = str(record.knobs["method"]), int(record.knobs["tuning"])
        out[method] = TrainedMethod(method, a["rate"], a["step"], tuning, curves)
    if REFERENCE not in out:
        raise RecordError("no record of back-propagation, which everything is compared with")
    return out


class FrontPlace(NamedTuple):
    """A method on the front within a time: the best from its memory on, up to that of the next.

    Attributes:
        method: name.
        memory: over back-propagation's.
        loss: final training loss over back-propagation's after all steps.
    """

    method: str
    memory: float
    loss: statistics.Estimate


def front_within(
    trained: Mapping[str, TrainedMethod], costs: Sequence[MethodCost], time: float, model: bool
) -> list[FrontPlace]:
    """The methods that are best within some memory, if training may take `time`.

    A method trains for as many steps as fit, at most all. In the order of memory, one has a place if the
    interval of its loss over that of the place before lies below 1: what is no better than a cheaper one is
    left out. Methods with back-propagation's gradient are represented by its curves.

    Args:
        trained: curves of one task by method.
        costs: of its methods; those without curves that are not exact are left out.
        time: over that of all steps of back-propagation.
        model: by the unit-cost model, or as measured.
    """
    total = int(trained[REFERENCE].steps[-1])
    whole = trained[REFERENCE].after().train_loss
    offers = []
    for cost in costs:
        runner = cost.method if cost.method in trained else REFERENCE
        if runner == cost.method or cost.exact:
            memory, each = cost.of(model)
            memory = round(memory, 3)  # what differs by less takes the same memory
            loss = trained[runner].after(min(total, steps_within(total, each / time))).train_loss
            offers.append((memory, float(np.log(loss).mean()), cost.method, loss))
    places: list[FrontPlace] = []
    last: Floats | None = None
    for memory, level, method, loss in sorted(offers, key=lambda offer: offer[:3]):
        if math.isfinite(level) and (last is None or ratio(loss, last).high < 1):
            places.append(FrontPlace(method, memory, ratio(loss, whole)))
            last = loss
    return places
