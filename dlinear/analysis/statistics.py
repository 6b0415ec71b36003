"""Intervals over seeds: Student's t for a mean, the jackknife for what is no mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dlinear.checks import as_floats, as_number, as_real, shown
from dlinear.errors import DomainError

LEVEL = 0.95  # of the intervals that are shown


JUDGED = 0.997  # of the intervals that decide a verdict: three standard errors for many seeds


VAGUE = 0.5  # half the width of an interval for a ratio or an exponent that says nothing about it


class Estimate(NamedTuple):
    """A mean over seeds and its interval (Student's t); `low` and `high` are NaN for a single seed."""

    value: float
    low: float
    high: float

    def __contains__(self, number: object) -> bool:
        return isinstance(number, float | int) and bool(self.low <= number <= self.high)

    def supports(self, number: float) -> bool | None:
        """Whether the interval holds the number; None if it does because it reaches `VAGUE` or further."""
        if number not in self:
            return False
        return True if (self.high - self.low) / 2 < VAGUE else None

    def __format__(self, spec: str) -> str:
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


def student_factor(freedom: int, level: float = LEVEL) -> float:
    """Half the width of Student's t interval in standard errors."""
    if not 0 < as_number("level", level) < 1:
        raise DomainError(f"level is {shown(level)}; expected a number between 0 and 1")
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + level) / 2))


def mean_interval(values: ArrayLike, level: float = LEVEL) -> Estimate:
    """The mean of independent values and its interval by Student's t.

    Use `level=JUDGED` for a verdict: with 95 % a table of ten lines would raise a false alarm in two runs of
    five.

    Raises:
        DomainError: no values, or one that is not finite.
    """
    numbers = as_floats("values", values, "real numbers").ravel()
    if not numbers.size or not np.isfinite(numbers).all():
        raise DomainError(f"a mean needs at least one value, all finite; received {numbers.tolist()[:5]}")
    mean, freedom = float(numbers.mean()), numbers.size - 1
    if freedom == 0:
        return Estimate(mean, float("nan"), float("nan"))
    reach = float(student_factor(freedom, level) * numbers.std(ddof=1) / np.sqrt(numbers.size))
    return Estimate(mean, mean - reach, mean + reach)


def jackknife(estimate: Callable[[list[Any]], float], items: Sequence[Any], level: float = LEVEL) -> Estimate:
    """An estimate from all items (one a seed) and its interval, from the estimates that leave one out.

    For a ratio or a crossing point, whose mean over single seeds would be biased or infinite.

    Raises:
        DomainError: fewer than two items, or an estimate that is not finite.
    """
    every = list(items)
    if len(every) < 2:
        raise DomainError(f"a jackknife needs at least two items; received {len(every)}")
    parts = mean_interval([estimate(every[:i] + every[i + 1 :]) for i in range(len(every))], level)
    centre, reach = estimate(every), (parts.high - parts.low) / 2 * (len(every) - 1)
    return Estimate(centre, centre - reach, centre + reach)


def exponent(depths: Sequence[float], values: ArrayLike, level: float = LEVEL) -> Estimate:
    """The exponent p of values ~ depth^p with its interval over seeds: one regression a row (seeds, depths).

    Raises:
        DomainError: fewer than two depths, or values that are not positive.
    """
    table = np.atleast_2d(as_floats("values", values, "positive numbers"))
    x = np.log(np.atleast_1d(as_real("depths", depths, strict=True)))
    if len(x) < 2 or table.shape[-1] != len(x) or not (table > 0).all():
        raise DomainError(f"an exponent needs positive values at two depths or more; received {table.shape}")
    x = x - x.mean()
    return mean_interval(np.log(table) @ x / (x @ x), level)
