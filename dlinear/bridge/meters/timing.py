"""Time per step of several methods in one run, one after the other in every round."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from dlinear.checks import as_flag, as_integer, shown
from dlinear.errors import DomainError

__all__ = ["StepTime", "step_times"]


@dataclass(frozen=True)
class StepTime:
    """Seconds per step of one method, over the rounds.

    Attributes:
        median: seconds.
        quartiles: the lower and upper quartile, seconds.
        ratio: median over rounds of its time over that of the reference in the same round.
        ratio_quartiles: of the same ratios.
        rounds: number of timed rounds.
    """

    median: float
    quartiles: tuple[float, float]
    ratio: float
    ratio_quartiles: tuple[float, float]
    rounds: int


def step_times(
    steps: Mapping[str, Callable[[], Any]],
    rounds: int = 10,
    warm_up: int = 2,
    reference: str = "backprop",
    progress: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, StepTime]:
    """Time steps side by side, so that a change of the machine's speed falls on all of them.

    Each round runs every step once; the next round starts with the next one. Waits for CUDA before and after
    a step where it is in use.

    Args:
        steps: by name, each a call that does one step.
        rounds: timed rounds, >= 1.
        warm_up: rounds before, not timed.
        reference: name of the step that others are divided by.
        progress: show a bar where the output is a terminal.
        clock: seconds.

    Raises:
        DomainError: no steps by name, no such reference, or fewer than one round.
    """
    if not isinstance(steps, Mapping) or not all(map(callable, steps.values())):
        raise DomainError(f"steps is {shown(steps)}; expected functions by name")
    if not isinstance(reference, str) or reference not in steps:
        allowed = ", ".join(map(str, steps)) or "none, no step given"
        raise DomainError(f"reference {shown(reference, 60)}: allowed are {allowed}")
    try:
        rounds, warm_up = as_integer("rounds", rounds), as_integer("warm_up", warm_up, 0)
    except DomainError:
        given = f"{shown(rounds, 40)} rounds after warm_up = {shown(warm_up, 40)}"
        raise DomainError(f"{given}: allowed are >= 1 rounds after >= 0") from None
    progress, names = as_flag("progress", progress), list(steps)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for k in tqdm(range(-warm_up, rounds), desc="timing", disable=None if progress else True):
        for i in range(len(names)):
            name = names[(i + k) % len(names)]
            took = _timed(steps[name], clock)
            if k >= 0:
                seconds[name].append(took)
    base = np.asarray(seconds[reference])
    return {name: _summary(np.asarray(taken), base) for name, taken in seconds.items()}


def _timed(step: Callable[[], Any], clock: Callable[[], float]) -> float:
    _wait()
    start = clock()
    step()
    _wait()
    return clock() - start


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _summary(seconds: np.ndarray[Any, Any], base: np.ndarray[Any, Any]) -> StepTime:
    low, median, high = (float(q) for q in np.quantile(seconds, (0.25, 0.5, 0.75)))
    below, ratio, above = (float(q) for q in np.quantile(seconds / base, (0.25, 0.5, 0.75)))
    return StepTime(median, (low, high), ratio, (below, above), len(seconds))
