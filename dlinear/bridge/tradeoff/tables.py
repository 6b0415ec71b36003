"""What the records of the comparison say, as tables and as series of a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dlinear.analysis import comparison
from dlinear.analysis.comparison import MethodResult
from dlinear.bridge.methods.registry import families, family_of, method

__all__ = ["COSTS", "RESULTS", "cost_rows", "result_rows", "series_of"]


def series_of(found: Sequence[MethodResult]) -> dict[str, list[MethodResult]]:
    """The results under the label of their family, horizons first; horizon T is back-propagation.

    Every registered family has its place, also without a result, so that a label keeps its colour.
    """
    some = families()
    horizons = [family for family in some if family.make(family.least).horizon is not None]
    series: dict[str, list[MethodResult]] = {family.label: [] for family in [*horizons, *some]}
    for one in found:
        family = family_of(comparison.REFERENCE if one.horizon and one.exact else one.method)
        series.setdefault(one.family if family is None else family.label, []).append(one)
    return series


COSTS = (
    *("method", "memory", "theory", "saved", "forwards", "vjps", "jvps", "time [quartiles]", "theory"),
    "|g-g_T|",
)


def cost_rows(found: Sequence[MethodResult], depth: int) -> list[list[str]]:
    """Memory, work and time beside what theory says of them, under `COSTS`."""
    rows = []
    whole = next(one for one in found if one.method == comparison.REFERENCE).numbers["saved"]
    for one in found:
        memory, time = _theory(one, depth)
        ratio, low, high = one.ratio
        rows.append(
            [one.method, f"{one.memory:.2%}", f"{memory:.2%}"]
            + [f"{one.numbers['saved'] / whole:.2%}" if math.isfinite(one.numbers["saved"]) else "-"]
            + [f"{one.numbers[name]:.0f}" for name in ("forwards", "vjps", "jvps")]
            + [f"{ratio:.2f} [{low:.2f}, {high:.2f}]", f"{time:.2f}"]
            + [f"{one.numbers['difference']:.1e}"]
        )
    return rows


def _theory(one: MethodResult, depth: int) -> tuple[float, float]:
    """Memory and time by theory: as the record says, or of an earlier edition as its method does."""
    if "theory_memory" in one.numbers:
        return one.numbers["theory_memory"], one.numbers["theory_time"]
    return method(one.method).predicted(depth)


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
