"""Alignment profiles to records and back, and what a set of seeds says about a number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dlinear.engine.angle import AlignmentProfile
from dlinear.errors import DomainError, RecordError

if TYPE_CHECKING:
    import xarray

LEVEL = 0.95  # of the intervals that are shown
JUDGED = 0.997  # of the intervals that decide a verdict: three standard errors for many seeds

VAGUE = 0.5  # half the width of an interval for a ratio or an exponent that says nothing about it


class Mean(NamedTuple):
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


def mean_interval(values: ArrayLike, level: float = LEVEL) -> Mean:
    """The mean of independent values and its interval by Student's t.

    Use `level=JUDGED` for a verdict: with 95 % a table of ten lines would raise a false alarm in two runs of
    five.

    Raises:
        DomainError: no values, or one that is not finite.
    """
    numbers = np.asarray(values, dtype=np.float64).ravel()
    if not numbers.size or not np.isfinite(numbers).all():
        raise DomainError(f"a mean needs at least one value, all finite; received {numbers.tolist()[:5]}")
    mean, freedom = float(numbers.mean()), numbers.size - 1
    if freedom == 0:
        return Mean(mean, float("nan"), float("nan"))
    from scipy.special import stdtrit

    reach = float(stdtrit(freedom, (1 + level) / 2) * numbers.std(ddof=1) / np.sqrt(numbers.size))
    return Mean(mean, mean - reach, mean + reach)


def jackknife(estimate: Callable[[list[Any]], float], items: Sequence[Any], level: float = LEVEL) -> Mean:
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
    return Mean(centre, centre - reach, centre + reach)


def shortfalls(depth: int, points: int, largest: float) -> np.ndarray[Any, np.dtype[np.int64]]:
    """About `points` shortfalls m, evenly in ratio, from 1 to the fraction `largest` of the depth.

    The last one is at least 8.

    Raises:
        DomainError: fewer than 3 points, a fraction outside (0, 1), or a depth below 10.
    """
    if points < 3 or not 0 < largest < 1 or depth < 10:
        raise DomainError(
            f"need points >= 3, 0 < largest < 1 and depth >= 10; received {points}, {largest}, {depth}"
        )
    return np.unique(np.rint(np.geomspace(1, max(8.0, largest * depth), points)).astype(np.int64))


def as_arrays(profile: AlignmentProfile) -> dict[str, tuple[tuple[str, ...], np.ndarray[Any, Any]]]:
    """A profile as the arrays of one record, along the dimension shortfall."""
    columns = ("shortfall", "sin2", "cos", "norm_ratio")
    return {name: (("shortfall",), getattr(profile, name)) for name in columns}


def from_records(data: xarray.Dataset, **labels: Any) -> list[AlignmentProfile]:
    """The profiles over the seeds of a dataset of records at the given labels (depth, ensemble, ...).

    Raises:
        RecordError: labels that leave more than seed and shortfall, or that no record has.
    """
    try:
        part = data.sel(labels)
    except (KeyError, ValueError) as error:
        raise RecordError(f"no record with {labels}") from error
    free = {str(dim) for dim in part["sin2"].dims} - {"seed", "shortfall"}
    if free:
        raise RecordError(f"{', '.join(sorted(free))} must be given a label")
    depth = int(part["depth"])
    found = []
    for seed in part["seed"].values if "seed" in part.dims else [None]:
        rows = (part if seed is None else part.sel(seed=seed)).dropna("shortfall", subset=["sin2"])
        if not rows.sizes["shortfall"]:
            continue
        m = rows["shortfall"].values.astype(np.int64)
        numbers = {name: rows[name].values for name in ("sin2", "cos", "norm_ratio")}
        found.append(AlignmentProfile(depth, depth - m, m, **numbers, undefined=("",) * len(m)))
    if not found:
        raise RecordError(f"no record with {labels}")
    return found


def exponent(depths: Sequence[float], values: ArrayLike, level: float = LEVEL) -> Mean:
    """The exponent p of values ~ depth^p with its interval over seeds: one regression a row (seeds, depths).

    Raises:
        DomainError: fewer than two depths, or values that are not positive.
    """
    table = np.atleast_2d(np.asarray(values, dtype=np.float64))
    x = np.log(np.asarray(depths, dtype=np.float64))
    if len(x) < 2 or table.shape[-1] != len(x) or not (table > 0).all():
        raise DomainError(f"an exponent needs positive values at two depths or more; received {table.shape}")
    x = x - x.mean()
    return mean_interval(np.log(table) @ x / (x @ x), level)
