"""Algorithm 1 against brute force, closed forms and horizons that it has not seen."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from paths import ROOT

import dlinear
from dlinear import selection
from dlinear.errors import DomainError, HorizonError, ShapeError
from dlinear.selection import estimators
from dlinear.theory import costs

NAMES = ("polynomial", "theory")


def slow_choice(rate, memory, objective):
    """Algorithm 1's last line by its definition, with min for max; None if no horizon is allowed."""
    best = None
    for h, (r, m) in enumerate(zip(rate, memory, strict=True), 1):
        nodes = m / objective.cost.node
        whole = isinstance(objective.cost, selection.LadderCost)
        price = objective.cost.unit * (math.ceil(nodes) if whole else nodes)
        if isinstance(objective, selection.AccuracyConstraint):
            value = price if r >= 1 - objective.epsilon - selection.prices.ROUNDING else math.inf
        else:
            value = -r + objective.weight * price
        if value < math.inf and (best is None or value < best[1]):
            best = h, value
    return best


@st.composite
def measurements(draw):
    """Horizons, noisy cosines and memory of a random network: no law holds exactly."""
    depth = draw(st.integers(2, 40))
    some = draw(st.sets(st.integers(1, depth), min_size=2, max_size=8))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    horizons = np.array(sorted(some))
    falling = 1 - rng.uniform(0, 1.2) * (1 - horizons / depth) ** rng.uniform(0.5, 4)
    cos = np.clip(falling + rng.choice([0, 0.02, 0.3]) * rng.normal(size=len(some)), -1, 1)
    memory = np.maximum(rng.uniform(0, 9) + rng.uniform(0, 4) * horizons + rng.normal(size=len(some)), 0)
    return horizons, cos, memory, depth


@st.composite
def objectives(draw):
    kind = draw(st.sampled_from([selection.LinearCost, selection.LadderCost]))
    cost = kind(unit=draw(st.floats(0.1, 5)), node=draw(st.floats(1, 40)))
    if draw(st.booleans()):
        return selection.AccuracyConstraint(draw(st.floats(0, 1)), cost)
    return selection.WeightedObjective(draw(st.floats(0, 3)), cost)


@given(measurements(), objectives(), st.sampled_from(NAMES))
def test_the_choice_is_the_best_of_all_horizons(measured, objective, name):
    """A wrong sign, max for min, a floor for a ceiling or a tie to the larger horizon fails."""
    choice = selection.select_horizon(*measured, objective, estimator=name)
    best = slow_choice(choice.rate, choice.memory, objective)
    assert choice.feasible == (best is not None)
    assert choice.depth == measured[3] == len(choice.memory) == len(choice.objective)
    if best is None:
        assert choice.horizon == 1 + int(np.argmax(choice.rate))
        assert np.isinf(choice.objective).all()
    else:
        value = choice.objective[choice.horizon - 1]
        assert value == pytest.approx(best[1], abs=1e-9)
        assert value == choice.objective.min() or choice.horizon < best[0]


@given(measurements(), st.sampled_from(NAMES))
def test_estimates_are_bounded_and_those_of_the_theory_monotone(measured, name):
    found = estimators.ESTIMATORS[name](estimators.Measured(measured[3], *measured[:3], None))
    assert found.rate.shape == found.memory.shape == (measured[3],)
    assert ((found.rate >= 0) & (found.rate <= 1) & (found.memory >= 0)).all()
    if name == "theory":
        assert found.rate[-1] == 1.0
        assert (np.diff(found.rate) >= -1e-15).all()
        assert (np.diff(found.memory) >= -1e-12 * found.memory.max()).all()


@given(measurements())
def test_the_default_is_the_polynomial_of_the_paper(measured):
    """Eqs. (15) and (16) by numpy's own fit."""
    horizons, cos, memory, depth = measured
    assume(len(horizons) >= 4)
    objective, every = selection.MemoryLimit(1.0), np.arange(1, depth + 1)
    choice = selection.select_horizon(*measured, objective)
    want = np.clip(np.polyval(np.polyfit(horizons, cos, 3), every), 0, 1) ** 2
    assert choice.rate == pytest.approx(want, abs=1e-7)
    line = np.polyval(np.polyfit(horizons, memory, 1), every)
    assert choice.memory == pytest.approx(np.maximum(line, 0), abs=1e-7)


@given(st.integers(2, 40), st.lists(st.floats(0, 3), min_size=4, max_size=4), st.integers(0, 99))
def test_the_law_of_decay_is_found_again(depth, sizes, seed):
    every = np.arange(1, depth + 1)
    m = depth - every
    terms = [m > 0, m, m * (m + 1), m * (m + 1) * (2 * m + 1)]
    tan2 = sum(size * term / term[0] for size, term in zip(sizes, terms, strict=True))
    some = np.unique(np.append(np.random.default_rng(seed).integers(1, depth + 1, 8), [1, depth]))
    found = estimators.theory(
        estimators.Measured(depth, some, (1 / np.sqrt(1 + tan2))[some - 1], some * 2.0, None)
    )
    if len(some) > 4 or depth < 5:  # four unknowns, and h = T says nothing of them
        assert found.rate == pytest.approx(1 / (1 + tan2), abs=1e-7)
    assert found.memory == pytest.approx(2.0 * every)


@given(
    st.integers(3, 60),
    st.floats(0.05, 1),
    st.floats(0.1, 9),
    st.floats(0, 5),
    st.floats(0.2, 50),
    st.floats(0, 2),
)
def test_the_repaired_closed_form_is_what_brute_force_finds(depth, c, slope, offset, node, where):
    """Section 3.3 with its factor T: r = 1 - c (1 - h/T)^3, M = a h + b, h* = T (1 - sqrt(a w T/(3 c)))."""
    every = np.arange(1, depth + 1)
    weight = where * 3 * c * node / (slope * depth)  # where = 1: h* = 0
    cos = np.sqrt(costs.decay_model(depth, every, c))
    objective = selection.WeightedObjective(weight, selection.LinearCost(1.0, node))
    memory = costs.memory_model(every, slope, offset)
    choice = selection.select_horizon(every, cos, memory, depth, objective, estimator="measured")
    star = float(costs.optimal_horizon(depth, c, slope / node, weight))
    assert abs(choice.horizon - min(max(star, 1), depth)) < 1 + 1e-6


@given(st.integers(8, 60), st.floats(0.2, 1), st.floats(0.02, 0.6))
def test_the_estimates_of_the_law_agree_with_the_closed_form(depth, c, where):
    """From six horizons: what is chosen is worse than h* by less than 0.02, in units of r."""
    every = np.arange(1, depth + 1)
    some = np.unique(np.rint(np.linspace(1, depth, 6)).astype(int))
    weight = where**2 * 3 * c / depth
    star = float(costs.optimal_horizon(depth, c, 1.0, weight))
    cos = np.sqrt(costs.decay_model(depth, every, c))
    for name in NAMES:
        choice = selection.select_horizon(
            *(some, cos[some - 1], some * 1.0, depth),
            selection.WeightedObjective(weight, selection.LinearCost(1.0, 1.0)),
            estimator=name,
        )
        at = [costs.horizon_objective(depth, h, c, 1.0, 0.0, weight) for h in (choice.horizon, max(star, 1))]
        assert at[0] - at[1] < 0.02, (name, choice)


@given(measurements(), objectives(), st.sampled_from(NAMES), st.integers(0, 99))
def test_regret_is_never_negative(measured, objective, name, seed):
    depth = measured[3]
    rng = np.random.default_rng(seed)
    every = np.arange(1, depth + 1)
    true = selection.select_horizon(
        *(every, np.sort(rng.uniform(0, 1, depth)), np.sort(rng.uniform(1, 9, depth)), depth, objective),
        estimator="measured",
    )
    assume(true.feasible)
    choice = selection.select_horizon(*measured, objective, estimator=name)
    assert selection.regret(choice.horizon, true) >= 0
    assert selection.regret(true.horizon, true) == 0


def network_curve(seed):
    """cos(theta_h), h = 1..T, of a random deep linear network: smooth, or rough with either scale."""
    rng = np.random.default_rng(seed)
    depth, width = int(rng.integers(16, 60)), int(rng.integers(3, 6))
    phi = rng.normal(size=(width, width)) / np.sqrt(width)
    a, b = rng.normal(size=(2, width, width)) / np.sqrt(width)
    net = [
        dlinear.SmoothNetwork(lambda s: a + b * np.sin(3 * s), depth=depth),
        dlinear.GaussianNetwork(depth=depth, width=width, seed=seed),
        dlinear.GaussianNetwork(depth=depth, width=width, scale="1/sqrt(T)", sigma=0.5, seed=seed),
    ][seed % 3]
    return depth, np.append(dlinear.alignment(net, phi, "all").cos, 1.0)


def unseen_error(estimate, noise):
    """Root mean square of r at horizons that were not measured, over 24 networks."""
    errors = []
    for seed in range(24):
        depth, cos = network_curve(seed)
        some = np.unique(np.rint(np.linspace(1, depth, 6)).astype(int))
        seen = np.zeros(depth, dtype=bool)
        seen[some - 1] = True
        given_cos = cos[some - 1] + noise * np.random.default_rng([seed, 1]).normal(size=len(some))
        measured = estimators.Measured(depth, some, np.clip(given_cos, -1, 1), some * 1.0, None)
        errors.append((estimate(measured).rate - estimators.rate_of(cos))[~seen])
    return float(np.sqrt(np.mean(np.concatenate(errors) ** 2)))


def test_both_are_judged_on_horizons_that_they_have_not_seen(monkeypatch):
    """Without noise both are within 0.6 %; with noise the law, which has less freedom, is better.

    Twins: a polynomial of order 1, and a law whose terms are 1 and m^6 alone, miss by much more.
    """
    exact = {name: unseen_error(estimators.ESTIMATORS[name], 0.0) for name in NAMES}
    noisy = {name: unseen_error(estimators.ESTIMATORS[name], 0.05) for name in NAMES}
    assert max(exact.values()) < 0.006, exact
    assert noisy["theory"] < noisy["polynomial"] < 0.08, noisy
    monkeypatch.setattr(estimators, "ORDER", 1)
    assert unseen_error(estimators.polynomial, 0.0) > 5 * exact["polynomial"]
    monkeypatch.setattr(estimators, "_law", lambda m, depth: np.stack([m > 0, (m / depth) ** 6], 1))
    assert unseen_error(estimators.theory, 0.0) > 5 * exact["theory"]


def test_memory_of_unequal_blocks_is_that_of_the_largest_window():
    """Three stages as of a ResNet, each half of the one before: a line is wrong by a fifth, windows exact."""
    blocks = np.repeat([4.0, 2.0, 1.0], 5)
    depth, every = len(blocks), np.arange(1, len(blocks) + 1)
    windows = np.array([max(blocks[t : t + h].sum() for t in range(depth - h + 1)) for h in every])
    assert estimators.largest_window(blocks) == pytest.approx(windows)
    memory, some = 3 + 2 * windows, np.array([1, 5, 15])
    objective = selection.MemoryLimit(40.0)
    args = (some, np.array([0.5, 0.9, 1.0]), memory[some - 1], depth, objective)
    known = selection.select_horizon(*args, estimator="theory", blocks=blocks)
    assert known.memory == pytest.approx(memory)
    assert selection.select_horizon(*args, estimator="theory", blocks=5 * blocks).memory == pytest.approx(
        memory
    )
    line = selection.select_horizon(*args, estimator="theory").memory
    assert np.abs(line / memory - 1).max() > 0.2
    assert memory[known.horizon - 1] <= 40 < memory[known.horizon]


def test_printed_max_and_the_uphill_cosine_are_twins():
    """As printed, (17) picks T; with cos^2 of a negative cosine the worst horizon would look good."""
    depth, every = 12, np.arange(1, 13)
    cos = np.where(every < 4, -0.99, np.sqrt(costs.decay_model(depth, every, 0.9)))
    cost = selection.LinearCost(1.0, 12.0)
    for objective in (selection.AccuracyConstraint(0.1, cost), selection.WeightedObjective(0.3, cost)):
        choice = selection.select_horizon(every, cos, every * 1.0, depth, objective, estimator="measured")
        assert 4 <= choice.horizon < depth
        assert (choice.rate[:3] == 0).all()
        finite = np.where(np.isinf(choice.objective), -np.inf, choice.objective)
        assert int(np.argmax(finite)) + 1 != choice.horizon


def test_infeasible_is_an_answer():
    horizons, depth, cost = [1, 3, 5, 7], 8, selection.LadderCost(1.0, 4.0)
    given_memory = [2.0, 4.0, 6.0, 8.0]
    strict = selection.AccuracyConstraint(0.0, cost)
    choice = selection.select_horizon(horizons, [0.1, 0.3, 0.4, 0.5], given_memory, depth, strict)
    assert not choice.feasible
    assert choice.horizon == 8
    assert "no horizon is allowed" in repr(choice)
    assert selection.select_horizon(
        horizons, [0.1, 0.3, 0.4, 0.5], given_memory, depth, strict, estimator="theory"
    ).feasible, "r(T) = 1"
    limit = selection.MemoryLimit(0.5)
    choice = selection.select_horizon(horizons, [0.1, 0.3, 0.4, 0.5], given_memory, depth, limit)
    assert (choice.horizon, choice.feasible) == (1, False)
    assert np.isinf(selection.select_horizon([1, 2], [1, 1], [1, 2], 2, limit).objective).all()
    with pytest.raises(DomainError, match="no horizon is allowed"):
        selection.regret(1, choice)


def test_ties_go_to_the_smaller_horizon_also_to_rounding():
    every, depth = np.arange(1, 9), 8
    flat = selection.WeightedObjective(1.0, selection.LadderCost(1.0, 10.0))  # one node holds everything
    assert selection.select_horizon(every, np.ones(8), every / 1.0, depth, flat).horizon == 1
    third = selection.LadderCost(1.0, 0.1)  # 0.1 h / 0.1 exceeds h by rounding
    assert third(0.1 * np.arange(1, 40)).tolist() == list(range(1, 40))
    assert third(0.1 * 3 * (1 + 1e-9)) == 4
    within = selection.MemoryLimit(0.3)
    choice = selection.select_horizon(every, every / 8, 0.1 * every, depth, within, estimator="measured")
    assert choice.horizon == 3


@pytest.mark.parametrize("cos", [(0.0, 0.0, 1.0), (-0.3, -0.1, 1.0), (0.0, 0.01, 1.0)])
def test_an_angle_of_90_degrees_or_more_is_not_passed_over_by_the_law(cos):
    rate = selection.estimate_curves([1, 4, 8], cos, [1, 4, 8], 8, "theory").rate
    assert rate[:4].max() < 1e-3
    assert rate[-1] == 1


def test_of_one_bad_and_one_fair_angle_the_law_still_falls():
    rate = selection.estimate_curves([1, 4, 8], [-0.2, 0.7, 1.0], [1, 4, 8], 8, "theory").rate
    nearly = selection.estimate_curves([1, 4, 8], [0.05, 0.7, 1.0], [1, 4, 8], 8, "theory").rate
    assert rate == pytest.approx(nearly, abs=0.02)


def test_an_objective_that_gives_no_numbers_is_refused():
    class Mute:
        def value(self, rate, memory):
            return rate * math.nan

        def excess(self, rate, memory):
            return 0 * rate

    with pytest.raises(DomainError, match="gives NaN"):
        selection.select_horizon([1, 2], [0.9, 1.0], [1, 2], 2, Mute())


def test_a_choice_fits_a_screen_and_cannot_be_changed():
    every = np.arange(1, 1001)
    objective = selection.WeightedObjective(0.1, selection.LinearCost(1.0, 1e9))
    choice = selection.select_horizon(every, every / 1000, every * 1e6, 1000, objective)
    assert len(repr(choice)) < 120
    assert choice.horizons.tolist() == every.tolist()
    with pytest.raises(ValueError, match="read-only"):
        choice.rate[0] = 1
    with pytest.raises(AttributeError):
        choice.horizon = 3
    assert selection.select_horizon([1], [0.9], [2.0], 1, objective).horizon == 1


def test_relative_performance_by_its_definition():
    assert selection.relative_performance([3.0, 1.0, 2.0]).tolist() == [1.0, 0.0, 0.5]
    values = [np.inf, -1.0, 1.0]
    assert selection.relative_performance(values).tolist() == [np.inf, 0.0, 1.0]
    assert selection.relative_performance(values, selection.INFEASIBLE).tolist() == [1.5, 0.0, 1.0]
    assert selection.relative_performance([2, 2]).tolist() == [0.0, 0.0]
    assert np.isinf(selection.relative_performance([np.inf])).all()
    assert selection.relative_performance([0.0, 0.0, -1e-300]).max() == 1.0


COST = selection.LinearCost(1.0, 4.0)
VALID = {
    "horizons": [1, 2, 4],
    "cos": [0.5, 0.8, 1.0],
    "memory": [1.0, 2.0, 4.0],
    "depth": 4,
    "objective": selection.WeightedObjective(0.1, COST),
}


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"horizons": [1, 2, 5]}, HorizonError, "in 1..4"),
        ({"horizons": [2, 2, 2]}, DomainError, "two different ones"),
        ({"cos": [0.5, 0.8]}, ShapeError, "cos has shape"),
        ({"cos": [0.5, 0.8, 1.2]}, DomainError, "cos holds 1.2"),
        ({"cos": [0.5, 0.8, np.nan]}, DomainError, "cos holds nan"),
        ({"memory": [1.0, 2.0, -4.0]}, DomainError, "memory holds -4"),
        ({"blocks": [1.0, 2.0]}, ShapeError, "blocks has shape"),
        ({"blocks": [1.0, 2.0, 3.0, -1.0]}, DomainError, "blocks holds -1"),
        ({"estimator": "cubic"}, DomainError, "'polynomial' or 'theory' or 'measured'"),
        ({"estimator": "measured"}, DomainError, "3 was not measured"),
        ({"objective": COST}, DomainError, "objective is LinearCost"),
        ({"objective": selection.WeightedObjective}, DomainError, "objective is"),
        ({"objective": selection.WeightedObjective(1.0, lambda m: "a")}, DomainError, "cost"),
        ({"objective": selection.WeightedObjective(1.0, lambda m: m[:1])}, DomainError, "cost"),
        (
            {"objective": selection.WeightedObjective(1.0, lambda m: np.full_like(m, np.inf))},
            DomainError,
            "cost",
        ),
    ],
)
def test_bad_input_says_what_was_received_and_allowed(change, error, words):
    with pytest.raises(error, match=words) as caught:
        selection.select_horizon(**{**VALID, **change})
    assert len(str(caught.value).splitlines()) == 1


def test_the_example_of_the_documentation(capsys):
    text = (ROOT / "docs" / "selection.md").read_text(encoding="utf-8")
    (example,) = text.split("```python\n")[1:]
    names = {}
    exec(compile(example.partition("```")[0], "docs/selection.md", "exec"), names)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("Choice(horizon=") and "of 64" in line for line in lines)
    first = selection.select_horizon(
        *(names["horizons"], names["cos"], names["memory"], 64, names["first"]), estimator="theory"
    )
    assert first.feasible
    assert 1 < first.horizon < 64
