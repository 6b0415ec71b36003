"""Pareto fronts and winning budgets against the slow definition."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlinear.analysis import pareto
from dlinear.errors import ShapeError


def slow_front(cost, value):
    pairs = list(zip(cost, value, strict=True))
    return [
        not any(c <= a and v >= b and (c < a or v > b) for c, v in pairs if math.isfinite(c + v))
        and math.isfinite(a + b)
        for a, b in pairs
    ]


@st.composite
def tables(draw):
    """Few different numbers, so that ties occur."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    c, r = rng.integers(1, 6, draw(st.integers(1, 5))), rng.integers(1, 6, draw(st.integers(1, 5)))
    return c, r, rng.random((c.size, r.size)) < 0.6


@given(tables())
def test_front(table):
    cost, _, beats = table
    value = beats.sum(axis=1).astype(float)
    value[0] = np.nan if cost[0] == 3 else value[0]
    assert pareto.front(cost, value).tolist() == slow_front(cost, value)


@given(tables())
def test_a_budget_wins_by_its_definition(table):
    """Asked for every budget between, at and beyond the costs."""
    c, r, beats = table
    found = pareto.winning_budgets(c, r, beats)
    for budget in np.arange(0.5, 8, 0.5):
        fits = [j for j in range(r.size) if r[j] <= budget]
        winners = tuple(i for i in range(c.size) if c[i] <= budget and all(beats[i, j] for j in fits))
        here = [some for some in found if some.low <= budget < some.high]
        assert len(here) == bool(winners)
        if winners:
            assert here[0].winners == winners
            assert here[0].rivals == tuple(fits)


@given(tables(), st.integers(1, 9))
def test_the_staircase_is_the_best_value_within_a_budget(table, end):
    cost, _, beats = table
    value = beats.mean(axis=1)
    budgets, best = pareto.staircase(cost, value, end)
    assert (np.diff(budgets) >= 0).all()
    assert (np.diff(best) >= 0).all()
    assert budgets[-1] == max(end, cost[pareto.front(cost, value)].max())
    for budget in np.arange(cost.min(), budgets[-1] + 1, 0.5):
        assert best[np.flatnonzero(budgets <= budget)[-1]] == value[cost <= budget].max()


def test_nothing_finite_is_no_staircase():
    assert [line.size for line in pareto.staircase([1.0, np.nan], [np.nan, 1.0], 2)] == [0, 0]


def test_shapes():
    with pytest.raises(ShapeError, match="2 costs and 1 values"):
        pareto.front([1, 2], [1])
    with pytest.raises(ShapeError, match=r"\(1, 1\); expected \(2, 1\)"):
        pareto.winning_budgets([1, 2], [1], [[True]])
