"""What a horizon costs: counts against instrumented runs, the example of section 3.3 against brute force."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
import reference
import sympy
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import build_case

from dlinear.errors import DomainError, HorizonError, ShapeError
from dlinear.theory import costs


def test_models_of_deep_networks_do_not_overflow():
    depth, horizons = 10**7, np.array([1, 5 * 10**6])
    want = [float(1 - Fraction(depth - int(h), depth) ** 3) for h in horizons]
    assert costs.decay_model(depth, horizons, 1.0) == pytest.approx(want, rel=1e-8)
    assert costs.decay_model(np.int64(depth), np.int64(horizons[1]), 1.0) == pytest.approx(0.875)
    objective = costs.horizon_objective(depth, horizons, 1.0, 2.0, 1.0, 0.5)
    assert objective == pytest.approx(horizons + 0.5 - np.array(want))


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (costs.decay_model, {"depth": 10, "horizon": 11, "coefficient": 1.0}),
        (costs.decay_model, {"depth": 10, "horizon": [1, 11], "coefficient": 1.0}),
        (costs.decay_model, {"depth": 0, "horizon": 0, "coefficient": 1.0}),
        (costs.decay_model, {"depth": 10, "horizon": float("nan"), "coefficient": 1.0}),
        (costs.decay_model, {"depth": 10, "horizon": 1, "coefficient": -1}),
        (costs.decay_model, {"depth": 10, "horizon": 1, "coefficient": 10**400}),
        (costs.decay_model, {"depth": 10, "horizon": 1, "coefficient": "0.5"}),
        (costs.decay_model, {"depth": 10, "horizon": [[1], [1, 2]], "coefficient": 1}),
        (costs.memory_model, {"horizon": -1, "slope": 1, "offset": 0}),
        (costs.memory_model, {"horizon": 1, "slope": 0, "offset": 0}),
        (costs.memory_model, {"horizon": 1, "slope": 1, "offset": 1j}),
        (costs.memory_model, {"horizon": 1, "slope": 1, "offset": np.array([1j])}),
        (
            costs.horizon_objective,
            {"depth": 10, "horizon": 1, "coefficient": 1, "slope": 1, "offset": 0, "weight": -1},
        ),
    ],
)
def test_models_refuse(function, words):
    with pytest.raises(DomainError, match="allowed is"):
        function(**words)


@pytest.mark.parametrize(
    ("deviations", "phi", "horizon"),
    [
        (np.zeros((3, 2, 1)), np.eye(2), 1),
        (np.zeros((3, 2, 2)), np.eye(3), 1),
        (np.zeros((2, 2)), np.eye(2), 1),
        (None, np.eye(2), 1),
        (np.zeros((3, 2, 2)) * 1j, np.eye(2), 1),
        (np.zeros((3, 2, 2)), np.eye(2), [1, 2]),
    ],
)
def test_an_instrumented_run_refuses(deviations, phi, horizon):
    with pytest.raises((ShapeError, HorizonError)):
        costs.run_windows(deviations, phi, horizon)


@given(st.integers(1, 9), st.data())
def test_counts_match_an_instrumented_run(depth, data):
    horizon = data.draw(st.integers(1, depth))
    case = build_case(data.draw(st.integers(0, 99)), depth, 2, 0.5, "dense")
    want = reference.gradients(case.deviations, case.phi, horizon)
    for eager, stored in ((True, costs.stored_blocks_eager), (False, costs.stored_blocks_static)):
        got = costs.run_windows(case.deviations, case.phi, horizon, eager=eager)
        assert got.gradients == pytest.approx(want, rel=1e-12, abs=1e-12)  # the right thing is counted
        assert got.stored_blocks == stored(depth, horizon)
        assert got.block_vjps == costs.block_vjps(depth, horizon)


@pytest.mark.parametrize(("depth", "horizon"), [(1, 1), (6, 1), (6, 2), (6, 5), (6, 6)])
def test_eager_count_by_saved_tensors_of_torch(depth, horizon):
    """A second route to the count: what autograd keeps for one window, weights apart."""
    import torch

    blocks = [torch.nn.Linear(3, 3, bias=False).double() for _ in range(depth)]
    parameters = {p.data_ptr() for block in blocks for p in block.parameters()}
    largest = 0
    x = torch.ones(2, 3, dtype=torch.float64)
    for start in range(depth - horizon + 1):
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, saved=saved: saved.append(t) or t, lambda t: t
        ):
            head = x.clone().requires_grad_()
            for block in blocks[start : start + horizon]:
                head = block(head)
        kept = {t.data_ptr() for t in saved} - parameters
        largest = max(largest, len(kept))
        x = blocks[start](x).detach()
    assert largest == costs.stored_blocks_eager(depth, horizon)


def test_counts_over_horizons():
    hs = np.arange(1, 8)
    assert costs.stored_blocks_eager(7, hs).tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert costs.stored_blocks_static(7, hs).tolist() == [7, 12, 15, 16, 15, 12, 7]
    assert np.array_equal(costs.block_vjps(7, hs), costs.stored_blocks_static(7, hs))
    assert costs.memory_model(3, 2, 5) == 11


fractions = st.fractions(min_value=Fraction(1, 50), max_value=50, max_denominator=50)


def brute_force(depth, coefficient, slope, weight):
    """Every best integer horizon, exactly."""
    values = {
        h: costs.horizon_objective(depth, h, coefficient, slope, Fraction(1), weight)
        for h in range(1, depth + 1)
    }
    return [h for h, v in values.items() if v == min(values.values())]


@given(st.integers(3, 40), fractions, fractions, st.fractions(0, 2, max_denominator=60))
def test_optimal_horizon_is_the_best(depth, coefficient, slope, where):
    weight = where * 3 * coefficient / (slope * depth)  # where > 1: h* < 0
    star = float(costs.optimal_horizon(depth, float(coefficient), float(slope), float(weight)))
    best = brute_force(depth, coefficient, slope, weight)
    clipped = min(max(star, 1), depth)
    assert all(abs(h - clipped) < 1 + 1e-9 for h in best)  # convex: the floor or the ceiling of h*


@given(st.integers(3, 40), fractions, fractions, st.fractions(0, 2, max_denominator=60))
def test_interior_intervals(depth, coefficient, slope, where):
    low, high = costs.interior_interval(depth, coefficient, slope)
    integer_low, integer_high = costs.integer_interior_interval(depth, coefficient, slope)
    assert integer_low < low <= high < integer_high
    weight = where * integer_high
    best = brute_force(depth, coefficient, slope, weight)
    assert (1 not in best and depth not in best) == (integer_low < weight < integer_high)
    square = slope * weight * depth / (3 * coefficient)  # (1 - h*/T)^2, exact
    inside = Fraction(1, depth**2) <= square <= Fraction(depth - 2, depth) ** 2
    assert inside == (low <= weight <= high)


@given(st.integers(1, 30), fractions, fractions, st.fractions(0, 1, max_denominator=50))
def test_least_cost_is_the_smallest_feasible_horizon(depth, coefficient, slope, epsilon):
    """Eq. (17), repaired; as printed (max) it always ends at h = T."""
    horizons = range(1, depth + 1)
    feasible = [h for h in horizons if costs.decay_model(depth, h, coefficient) >= 1 - epsilon]
    assert feasible == list(range(feasible[0], depth + 1))  # T is always feasible

    def cost(h):
        return costs.memory_model(h, slope, Fraction(3))

    assert min(feasible, key=cost) == feasible[0]
    assert max(feasible, key=cost) == depth


@given(st.integers(1, 20), fractions, fractions, st.integers(1, 7))
def test_minimiser_of_the_weighted_objective_is_not_dominated(depth, coefficient, weight, node):
    """Eq. (18), repaired, under the ladder cost; as printed (max) a dominated horizon can win."""
    points = {h: (costs.decay_model(depth, h, coefficient), -(-h // node)) for h in range(1, depth + 1)}

    def objective(h):
        rate, cost = points[h]
        return -rate + weight * cost

    def dominated(h):
        rate, cost = points[h]
        return any(r >= rate and k <= cost and (r, k) != (rate, cost) for r, k in points.values())

    best, worst = min(map(objective, points)), max(map(objective, points))
    assert not any(dominated(h) for h in points if objective(h) == best)
    if 1 < depth <= node:  # every horizon costs one node: the printed form picks the slowest
        assert [h for h in points if objective(h) == worst] == [1]
        assert dominated(1)


def test_interval_ends_are_the_extreme_horizons():
    low, high = costs.interior_interval(10, Fraction(2), Fraction(3))
    one, two = (
        sympy.Rational(low.numerator, low.denominator),
        sympy.Rational(high.numerator, high.denominator),
    )
    assert costs.optimal_horizon(10, 2, 3, one, xp=sympy) == 9
    assert costs.optimal_horizon(10, 2, 3, two, xp=sympy) == 2
    assert costs.optimal_horizon(10, 2.0, 3.0, 0.0) == 10


@pytest.mark.slow
def test_optimal_horizon_is_stationary():
    T, h, c, a, b, w = sympy.symbols("T h c a b w", positive=True)
    slope = sympy.diff(costs.horizon_objective(T, h, c, a, b, w), h)
    star = costs.optimal_horizon(T, c, a, w, xp=sympy)
    assert sympy.simplify(slope.subs(h, star)) == 0
    without_t = T * (1 - sympy.sqrt(a * w / (3 * c)))  # as printed
    assert sympy.simplify(slope.subs(h, without_t)) != 0
    # ... which is right where memory is counted per fraction of the depth
    assert sympy.simplify(sympy.diff(-costs.decay_model(T, h, c) + w * a * h / T, h).subs(h, without_t)) == 0


@given(st.integers(3, 30), st.floats(0.01, 0.99))
def test_printed_interval_does_not_give_an_interior_optimum(depth, where):
    # the printed interval is T times the right one: for most of its weights the best horizon is 1
    low, high = (depth * x for x in costs.interior_interval(depth, 1, 1))
    weight = low + where * (high - low)
    assume(weight > costs.integer_interior_interval(depth, 1, 1).upper)
    assert brute_force(depth, 1, 1, Fraction(weight)) == [1]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: costs.run_windows(np.zeros((3, 2, 2)), np.eye(2), 4), HorizonError, "horizon = 4"),
        (lambda: costs.block_vjps(5, 6), HorizonError, "horizon = 6"),
        (lambda: costs.stored_blocks_eager(5, 0), HorizonError, "horizon = 0"),
        (lambda: costs.stored_blocks_static(5, 1.5), HorizonError, "horizon = 1.5"),
        (lambda: costs.optimal_horizon(5, 0.0, 1.0, 1.0), DomainError, "coefficient = 0.0"),
        (lambda: costs.optimal_horizon(5, 1.0, -1.0, 1.0), DomainError, "slope = -1.0"),
        (lambda: costs.optimal_horizon(5, 1.0, 1.0, -1.0), DomainError, "weight = -1.0"),
        (lambda: costs.interior_interval(2, 1.0, 1.0), DomainError, "depth = 2"),
        (lambda: costs.integer_interior_interval(2, 1.0, 1.0), DomainError, "depth = 2"),
    ],
)
def test_bad_input_says_what_was_received_and_allowed(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert "allowed" in str(caught.value)


def test_strided_calls_are_counted_window_by_window():
    """Theorem F1 by its definition, for every T < 14, h and k; stride 1 is the plain horizon."""
    for depth, stride in itertools.product(range(1, 14), range(1, 16)):
        for horizon in range(1, depth + 1):
            first = {}  # the first block of each end
            for t in range(depth):
                end = min(s for s in range(depth, 0, -stride) if s >= min(t + horizon, depth))
                first[end] = min(t, first.get(end, t))
                assert end - t <= horizon + stride - 1
            counted = sum(end - t for end, t in first.items())
            assert costs.strided_vjps(depth, horizon, stride) == counted, (depth, horizon, stride)
        assert costs.strided_vjps(depth, 1, 1) == costs.block_vjps(depth, 1)
    with pytest.raises(DomainError):
        costs.strided_vjps(5, 1, 0)
    with pytest.raises(HorizonError):
        costs.strided_vjps(5, 6, 1)
