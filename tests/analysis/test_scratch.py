"""Rates, ratios and fronts of training from scratch, against their definitions."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlinear.analysis import scratch
from dlinear.analysis.comparison import steps_within
from dlinear.errors import RecordError


def curves(method, losses, tuning=1, rates=(1.0,), steps=(0, 5, 10)):
    """(R, S, K) training losses; the other numbers follow from them."""
    losses = np.asarray(losses, float)
    rest = {"test_loss": 2 * losses, "test_accuracy": 1 / (1 + losses), "cos": np.exp(-losses)}
    return scratch.TrainedMethod(
        method, np.array(rates), np.array(steps), tuning, {"train_loss": losses} | rest
    )


def cost(method, memory, time, exact=False, measured=None):
    real = measured or (memory, time)
    return scratch.MethodCost(
        method, real[0], real[1], (real[1], real[1]), memory, time, 0.0 if exact else 0.5, exact
    )


def test_the_rate_of_the_least_worst_loss():
    assert scratch.chosen_rate([[1.0, 1.0], [0.1, 3.0], [0.5, 0.6]]) == 2
    assert scratch.chosen_rate([[9.0], [math.nan], [0.1]]) == 2
    assert scratch.chosen_rate([[1.0, 1.0], [0.1, math.nan]]) == 0
    assert scratch.chosen_rate([[math.nan], [math.nan]]) == 0


def test_the_rate_is_chosen_on_the_tuning_runs_and_the_rest_is_compared():
    """Rate 1 is the better one where it is not asked; at step 5 another rate is best than at the end."""
    table = [[[9, 3, 0.5], [9, 8, 7]], [[9, 1, 0.9], [9, 0.1, 0.2]]]
    one = curves("a", table, rates=(0.1, 1.0))
    end, half = one.after(), one.after(5)
    assert (end.rate, half.rate) == (0, 1)
    assert end.train_loss.tolist() == [7.0]
    assert half.train_loss.tolist() == [0.1]
    assert end.test_loss.tolist() == [14.0]
    assert end.test_accuracy.tolist() == [1 / 8]
    assert end.cos.tolist() == [[math.exp(-9), math.exp(-7)]]
    assert one.after(9).train_loss.tolist() == [0.1], "the last evaluation that is not later"
    assert one.after(10).train_loss.tolist() == [7.0]
    assert one.at_an_end(0)
    assert not curves("a", [[[1]]] * 3, rates=(3, 1, 9), steps=(0,)).at_an_end(0)
    assert not curves("a", [[[1]]], steps=(0,)).at_an_end(0), "one rate is no grid"


def test_a_run_that_diverges_takes_the_largest_smaller_rate():
    """Rates in any order; the second run has no rate left, the third needs none."""
    gone = math.nan
    table = [
        [[9, 1, 2], [9, 5, 6], [9, 5, gone], [9, 5, 9]],  # rate 1
        [[9, 1, 1], [9, 4, gone], [9, 1, gone], [9, 3, 4]],  # rate 3, the best of the tuning run
        [[9, 3, 3], [9, 7, 8], [9, 7, gone], [9, 7, 7]],  # rate 0.3
        [[9, 1, gone], [9, 1, 1], [9, 1, 1], [9, 1, 1]],  # rate 9: larger ones are not tried
    ]
    one = curves("a", table, rates=(1.0, 3.0, 0.3, 9.0))
    end = one.after()
    assert (end.rate, end.restarted) == (1, 1)
    assert end.train_loss == pytest.approx([6, math.nan, 4], nan_ok=True)
    assert end.cos[:, 1] == pytest.approx(np.exp(-np.array([6, math.nan, 4])), nan_ok=True)
    assert one.after(5).restarted == 0, "nothing has diverged by then"


def test_a_ratio_is_a_geometric_mean_of_pairs():
    a, b = np.array([2.0, 8.0, 6.0]), np.array([1.0, 2.0, 2.0])
    found = scratch.ratio(a, b)
    assert found.value == pytest.approx(np.prod(a / b) ** (1 / 3))
    back = scratch.ratio(b, a)
    assert [back.value, back.high, back.low] == pytest.approx(
        [1 / found.value, 1 / found.low, 1 / found.high]
    )
    logs = np.log(a / b)
    reach = 4.302652729749464 * logs.std(ddof=1) / math.sqrt(3)  # t of two degrees of freedom, 97.5 %
    assert np.log(found.high) == pytest.approx(logs.mean() + reach)
    assert scratch.ratio([5.0], [2.0]).value == 2.5
    assert math.isnan(scratch.ratio([5.0], [2.0]).low)
    assert scratch.ratio([math.nan, 1], [1, 1]).low == math.inf
    assert scratch.ratio([1, 1], [math.nan, 1]).high == 0.0
    assert math.isnan(scratch.ratio([math.nan], [math.nan]).value)


def test_rounding_errors_are_no_losses():
    """Two solved runs are alike, however different their remainders are."""
    end = curves("a", [[[1, 1, 1], [1, 1, 0.0], [1, 1, 3e-14], [1, 1, 1e-9]]]).after()
    assert end.train_loss.tolist() == [1e-10, 1e-10, 1e-9]
    assert end.test_loss.tolist() == [1e-10, 1e-10, 2e-9]


def run(method, first, half, end, spread=1e-3):
    """Three runs beside one of tuning, nearly equal."""
    wobble = 1 + spread * np.arange(4)[:, None]
    return curves(method, (np.array([first, half, end]) * wobble)[None])


def test_the_front_within_a_time_and_a_memory():
    trained = {
        "backprop": run("backprop", 1, 0.2, 0.1),
        "cheap": run("cheap", 1, 0.6, 0.5),
        "better": run("better", 1, 0.3, 0.15),
        "worse": run("worse", 1, 0.9, 0.8),
    }
    costs = [
        cost("backprop", 1.0, 1.0, exact=True),
        cost("cheap", 0.1, 1.0),
        cost("better", 0.2, 1.4),
        cost("worse", 0.3, 0.5),
        cost("revolve-4", 0.4, 2.0, exact=True),
        cost("untrained", 0.01, 0.1),
    ]

    def names(time, model=True):
        return [place.method for place in scratch.front_within(trained, costs, time, model)]

    assert names(1.0) == ["cheap", "better", "revolve-4", "backprop"], "at half of its steps each is cut"
    assert names(1.4) == ["cheap", "better", "backprop"]
    assert names(2.0) == ["cheap", "better", "revolve-4"]
    place = scratch.front_within(trained, costs, 2.0, True)[1]
    assert (place.memory, place.loss.value) == (0.2, pytest.approx(1.5))
    assert names(2.0, model=False) == names(2.0)


def test_measured_costs_are_not_those_of_the_model():
    trained = {"backprop": run("backprop", 1, 0.2, 0.1), "a": run("a", 1, 0.3, 0.2)}
    costs = [cost("backprop", 1.0, 1.0, exact=True), cost("a", 0.1, 1.0, measured=(0.5, 2.0))]
    (place, _), (real, _) = (scratch.front_within(trained, costs, 1.0, model) for model in (True, False))
    assert (place.memory, place.loss.value) == (0.1, pytest.approx(2.0))
    assert (real.memory, real.loss.value) == (0.5, pytest.approx(3.0))


def test_what_is_not_shown_to_be_better_has_no_place():
    noisy = curves("noisy", [[[1, 1, 0.2], [1, 1, 0.05], [1, 1, 0.4], [1, 1, 0.02]]])
    trained = {"backprop": run("backprop", 1, 0.5, 0.1), "noisy": noisy}
    costs = [cost("backprop", 0.1, 1.0, exact=True), cost("noisy", 0.5, 1.0)]
    assert np.exp(np.log(noisy.after().train_loss).mean()) < 0.1
    assert [place.method for place in scratch.front_within(trained, costs, 1.0, True)] == ["backprop"]
    gone = curves("noisy", [[[1, 1, math.nan]] * 4])
    costs = [cost("noisy", 0.05, 1.0), costs[0]]
    places = scratch.front_within({**trained, "noisy": gone}, costs, 1.0, True)
    assert [place.method for place in places] == ["backprop"], "what diverged has no place either"


def test_nearly_equal_memory_is_equal():
    trained = {"backprop": run("backprop", 1, 0.5, 0.1), "a": run("a", 1, 0.6, 0.3)}
    costs = [cost("a", 0.20001, 1.0), cost("backprop", 0.20002, 1.0, exact=True)]
    assert [place.method for place in scratch.front_within(trained, costs, 1.0, True)] == ["backprop"]


@given(st.integers(0, 2**32), st.floats(0.3, 5.0))
def test_places_take_more_memory_and_end_lower(seed, time):
    rng = np.random.default_rng(seed)
    trained = {"backprop": run("backprop", 1, 0.3, 0.1)}
    costs = [cost("backprop", 1.0, 1.0, exact=True)]
    for number in range(5):
        levels = np.sort(rng.uniform(0.05, 1, 2))[::-1]
        trained[f"m-{number}"] = run(f"m-{number}", 1, *levels)
        costs.append(cost(f"m-{number}", rng.integers(1, 99) / 100, rng.uniform(0.5, 3)))
    places = scratch.front_within(trained, costs, time, True)
    assert all(a.memory < b.memory and a.loss.value > b.loss.value for a, b in itertools.pairwise(places))
    for one in costs:  # nothing that fits is better by more than noise
        loss = trained[one.method].after(min(10, steps_within(10, one.model_time / time))).train_loss
        best = min(place.loss.value for place in places if place.memory <= one.model_memory)
        assert best <= scratch.ratio(loss, trained["backprop"].after().train_loss).value * 1.001


def test_without_back_propagation_there_is_nothing_to_compare():
    with pytest.raises(RecordError, match="back-propagation"):
        scratch.trained_methods([])
