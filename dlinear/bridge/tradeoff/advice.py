"""What serves better within the same memory: a chosen horizon, or a method that a user would pick instead.

Progress is counted as r/time, with r = cos^2 of the angle to the true gradient (eq. (14) of the paper, a
heuristic: docs/claims.md) and time over that of back-propagation; 1 is back-propagation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["KINDS", "Offer", "advice"]

KINDS = {  # what is named in words: the families of each kind
    "checkpointing": ("checkpoint",),
    "micro-batches": ("accumulate", "combined"),
    "recursive checkpointing": ("revolve",),
    "reconstructed states": ("reconstruct",),
}


@dataclass(frozen=True)
class Offer:
    """A method as it was measured.

    Attributes:
        method: its name.
        family: of its name.
        memory: bytes of activations of a step.
        time: of a step, over back-propagation's.
        rate: r = cos^2, 1 for the exact ones.
    """

    method: str
    family: str
    memory: float
    time: float
    rate: float

    @property
    def progress(self) -> float:
        """r/time; 0 where the angle is not known."""
        return self.rate / self.time if math.isfinite(self.rate) else 0.0

    def __str__(self) -> str:
        return f"{self.method} ({megabytes(self.memory)}, time {self.time:.2f}, r {self.rate:.3f})"


def megabytes(memory: float) -> str:
    """Bytes in MB."""
    return f"{memory / 1e6:.3g} MB"


def best(offers: Sequence[Offer]) -> Offer | None:
    """The one of most progress; of equal ones that of least memory."""
    return max(offers, key=lambda one: (one.progress, -one.memory), default=None)


def advice(chosen: Offer, rivals: Sequence[Offer], budget: float) -> list[str]:
    """What each kind of rival offers within the budget, and whether one of them serves better.

    Args:
        chosen: the horizon, as it was measured.
        rivals: other methods.
        budget: bytes of activations.
    """
    lines, fitting = [], []
    for kind, families in KINDS.items():
        own = [one for one in rivals if one.family in families]
        within = best([one for one in own if one.memory <= budget])
        if within is not None:
            fitting.append((kind, within))
            lines.append(f"{kind} within {megabytes(budget)}: {within}, progress {within.progress:.2f}")
        elif own:
            least = min(own, key=lambda one: one.memory)
            lines.append(f"{kind} does not fit: {least.method} takes {megabytes(least.memory)}")
        else:
            lines.append(f"{kind}: refused this model")
    other = max(fitting, key=lambda pair: pair[1].progress, default=None)
    ours = f"{chosen.method} makes progress {chosen.progress:.2f}"
    if other is None and chosen.memory > budget:
        return [*lines, f"nothing fits within {megabytes(budget)}: {chosen.method} does not either"]
    if other is None:
        return [*lines, f"nothing else fits within {megabytes(budget)}: {ours}"]
    kind, rival = other
    if chosen.memory > budget:
        return [*lines, f"{kind} serves, no horizon does within {megabytes(budget)}: take {rival.method}"]
    if rival.progress >= chosen.progress:
        why = "with the gradient of back-propagation" if rival.rate == 1 else f"at r = {rival.rate:.3f}"
        return [*lines, f"{kind} serves better: {rival.method} makes {rival.progress:.2f} {why}, {ours}"]
    return [*lines, f"the horizon serves better: {ours}, {rival.method} {rival.progress:.2f}"]
