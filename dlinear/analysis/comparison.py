"""Methods side by side, from the records of `sims.bridge_tradeoff`: costs, results, and what theory predicts.

A method is named as `dlinear.bridge.methods` names it: "backprop", "horizon-4", "checkpoint-8", ...
Everything about costs is in units of back-propagation of the same model and batch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dlinear.errors import DomainError, RecordError
from dlinear.runs import records
from dlinear.theory import costs

__all__ = [
    "EXACT",
    "REGIMES",
    "MethodResult",
    "Predicted",
    "entries",
    "parts_of",
    "predicted",
    "steps_within",
]

EXACT = ("backprop", "checkpoint", "accumulate", "combined")  # families whose gradient is that of the loss
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
        numbers: what else was measured of one step.
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
        """The name without its number; horizon T counts as what it is, back-propagation."""
        return (
            "backprop" if self.numbers.get("horizon") == self.numbers["depth"] else parts_of(self.method)[0]
        )

    @property
    def exact(self) -> bool:
        """Whether it is an alternative to a horizon with the gradient of the loss itself."""
        return self.family in EXACT

    def value(self, regime: str, metric: str = "test") -> NDArray[np.float64]:
        """(S,) what is to be large: test accuracy (without classes minus the loss), or minus the train loss.

        Args:
            regime: "epochs" or "time".
            metric: "test" or "train".
        """
        scores = self.scores[regime]
        if metric == "train":
            return -scores["train_loss"]
        return -scores["test_loss"] if np.isnan(scores["test_accuracy"]).all() else scores["test_accuracy"]


def parts_of(method: str) -> tuple[str, int | None]:
    """Family and number of a method's name.

    Raises:
        DomainError: not such a name.
    """
    match = re.fullmatch(r"([a-z]+)(?:-([1-9][0-9]*))?", method)
    if match is None:
        raise DomainError(f"{method!r} is no name of a method, for example horizon-4")
    return match[1], None if match[2] is None else int(match[2])


def steps_within(total: int, ratio: float) -> int:
    """Steps of a method in the time that back-propagation takes for `total` of its own; at least one."""
    return max(1, math.floor(total / ratio))


class Predicted(NamedTuple):
    """What theory says a method costs, over back-propagation.

    Attributes:
        memory: blocks that are alive at once over T.
        time: products with a weight matrix over 3 T.
    """

    memory: float
    time: float


def predicted(method: str, depth: int) -> Predicted:
    """Memory and time over back-propagation's.

    Memory: h/T of a horizon; of checkpointing K inputs of segments (counted as whole blocks) and one segment,
    (K + ceil(T/K))/T; 1/K of K micro-batches; two of LoCo's K stages; nothing in forward mode. "combined-K"
    is micro-batches with about sqrt(T) segments each.
    Time: a block costs one forward, one product to pass a signal back and one for the gradient of its
    parameters: 3 T for back-propagation. A horizon passes signals (T - h + 1) h times and takes T parameter
    gradients; of K segments all but the last run forward twice; LoCo takes both kinds in 2 (K - 1) stages; a
    direction in forward mode adds two products to each forward.

    Raises:
        DomainError: an unknown method.
    """
    family, number = parts_of(method)
    k, segments = number or 1, max(1, round(math.sqrt(depth)))
    if family in ("horizon", "greedy"):
        passed = 2 * depth + costs.block_vjps(depth, k)
        return Predicted(float(costs.stored_blocks_eager(depth, k)) / depth, float(passed) / (3 * depth))
    if family == "checkpoint":
        segments = number or segments
    stored = min(1.0, (segments + math.ceil(depth / segments)) / depth)
    known = {
        "backprop": Predicted(1.0, 1.0),
        "checkpoint": Predicted(stored, (4 - 1 / segments) / 3),
        "accumulate": Predicted(1 / k, 1.0),
        "combined": Predicted(stored / k, (4 - 1 / segments) / 3),
        "loco": Predicted(min(1.0, 2 * math.ceil(depth / k) / depth), (1 + 4 * (k - 1) / k) / 3),
        "forward": Predicted(0.0, float(k)),
    }
    if family not in known:
        raise DomainError(f"nothing is predicted of {method!r}; the families are {', '.join(known)}")
    return known[family]


def entries(found: Iterable[records.Record]) -> list[MethodResult]:
    """Entries in the order of memory, from the records of one run.

    A method without training runs of its own has back-propagation's gradient: back-propagation's runs stand
    for it, at equal time the one with as many steps as fit.

    Raises:
        RecordError: a run that is missing.
    """
    every = list(found)
    meters = {r.knobs["method"]: r for r in every if r.knobs["part"] == "meters"}
    runs: dict[tuple[str, str], list[records.Record]] = {}
    for record in every:
        runs.setdefault((record.knobs["part"], record.knobs["method"]), []).append(record)
    if "backprop" not in meters or ("epochs", "backprop") not in runs:
        raise RecordError("no record of back-propagation, which everything is compared with")
    whole = float(meters["backprop"].arrays["activations"])
    total = int(runs["epochs", "backprop"][0].arrays["steps"])
    out = []
    for method, meter in meters.items():
        numbers = {name: float(array) for name, array in meter.arrays.items()}
        runner = method if ("epochs", method) in runs else "backprop"
        steps = steps_within(total, numbers["ratio"])
        equal = {"epochs": _by_seed(runs["epochs", runner])}
        limited = [r for r in runs.get(("time", runner), []) if r.knobs["steps"] == steps]
        equal["time"] = _by_seed(limited) if limited or steps != total else equal["epochs"]
        if not equal["time"]:
            raise RecordError(f"no run of {steps} steps of {method}")
        family, number = parts_of(method)
        numbers |= {"depth": meter.knobs["depth"]} | ({"horizon": number or 1} if family == "horizon" else {})
        out.append(
            MethodResult(
                method,
                numbers["activations"],
                numbers["activations"] / whole,
                (numbers["ratio"], numbers["ratio_low"], numbers["ratio_high"]),
                {
                    regime: {
                        name: np.array([r.arrays[f"final_{name}"] for r in some], float) for name in METRICS
                    }
                    for regime, some in equal.items()
                },
                {regime: int(some[0].arrays["steps"]) for regime, some in equal.items()},
                {regime: float(some[0].knobs["rate"]) for regime, some in equal.items()},
                np.array([[r.arrays["cos_start"], r.arrays["cos_end"]] for r in equal["epochs"]], float),
                numbers,
            )
        )
    return sorted(out, key=lambda one: (one.memory, one.method))


def _by_seed(some: Sequence[records.Record]) -> list[records.Record]:
    return sorted(some, key=lambda r: int(r.knobs["seed"]))
