"""Differences that nobody predicted, in words: seen, or not seen at this size, always with the interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dlinear.analysis.statistics import JUDGED, Estimate

__all__ = ["Difference"]


@dataclass(frozen=True)
class Difference:
    """A mean difference over seeds. It is no claim: neither outcome makes a run fail.

    Attributes:
        what: the two things and the quantity, "huber less squared, chosen horizon".
        estimate: the mean difference and its interval of the level `JUDGED`.
        unit: of the difference, "blocks" for example; empty for none.
    """

    what: str
    estimate: Estimate
    unit: str = ""

    @property
    def seen(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.estimate.low > 0 or self.estimate.high < 0

    def __str__(self) -> str:
        """One line."""
        if math.isnan(self.estimate.low):
            return f"no interval from one seed: {self.what}: {self.estimate.value:.3g} {self.unit}".rstrip()
        word = "difference seen" if self.seen else "no difference seen at this size"
        unit = f" {self.unit}" if self.unit else ""
        return f"{word}: {self.what}: {self.estimate:.3g}{unit} ({100 * JUDGED:g} %)"
