"""Costs against values: what no other choice dominates, and within which budgets one kind beats another."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dlinear.errors import ShapeError

__all__ = ["Budget", "front", "staircase", "winning_budgets"]


@dataclass(frozen=True)
class Budget:
    """A range of budgets, low <= budget < high, and who wins in it.

    Attributes:
        low: the least budget, in the unit of the costs.
        high: where the range ends; infinite at the top.
        winners: indices of the challengers that fit and beat every rival that fits.
        rivals: indices of the rivals that fit; empty where the challengers are unopposed.
    """

    low: float
    high: float
    winners: tuple[int, ...]
    rivals: tuple[int, ...]


def front(cost: ArrayLike, value: ArrayLike) -> NDArray[np.bool_]:
    """Which choices no other one dominates: none costs as little or less and is worth as much or more.

    Equal choices do not dominate each other; NaN in either number is never on the front.

    Args:
        cost: (N,), less is better.
        value: (N,), more is better.

    Raises:
        ShapeError: arrays that are not of one length.
    """
    c, v = _pair(cost, value)
    known = np.isfinite(c) & np.isfinite(v)
    cheaper, better = c[:, None] <= c, v[:, None] >= v  # [j, i]: j beats or equals i
    strictly = (c[:, None] < c) | (v[:, None] > v)
    dominated = np.any(cheaper & better & strictly & known[:, None], axis=0)
    return np.asarray(known & ~dominated)


def staircase(cost: ArrayLike, value: ArrayLike, end: float) -> tuple[NDArray[np.float64], ...]:
    """The best value within a budget as a line to draw, from the least cost to the budget `end`.

    Returns:
        Budgets (K,), each step twice, and the values there; empty where no number is finite.
    """
    c, v = _pair(cost, value)
    chosen = np.flatnonzero(front(c, v))
    chosen = chosen[np.argsort(c[chosen], kind="stable")]
    budgets = np.append(np.repeat(c[chosen], 2)[1:], [max(end, c[chosen].max())] if chosen.size else [])
    return budgets, np.repeat(v[chosen], 2)


def winning_budgets(challengers: ArrayLike, rivals: ArrayLike, beats: ArrayLike) -> list[Budget]:
    """The budgets within which some challenger that fits beats every rival that fits.

    A choice fits into a budget that is at least its cost. Neighbouring ranges with the same winners and
    rivals do not occur; where no rival fits every challenger that does is a winner.

    Args:
        challengers: (C,) costs.
        rivals: (R,) costs.
        beats: (C, R), whether challenger i beats rival j.

    Raises:
        ShapeError: a table of another shape.
    """
    c, r = (np.asarray(costs, dtype=np.float64).ravel() for costs in (challengers, rivals))
    table = np.asarray(beats, dtype=bool)
    if table.shape != (c.size, r.size):
        raise ShapeError(f"beats has shape {table.shape}; expected {(c.size, r.size)}")
    steps = [*np.unique(np.concatenate([c, r])).tolist(), math.inf]
    found = []
    for low, high in itertools.pairwise(steps):
        fits = np.flatnonzero(r <= low)
        winners = [int(i) for i in np.flatnonzero(c <= low) if table[i, fits].all()]
        if winners:
            found.append(Budget(low, high, tuple(winners), tuple(fits.tolist())))
    return found


def _pair(cost: ArrayLike, value: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    c, v = (np.asarray(numbers, dtype=np.float64).ravel() for numbers in (cost, value))
    if c.size != v.size:
        raise ShapeError(f"{c.size} costs and {v.size} values received; expected as many")
    return c, v
