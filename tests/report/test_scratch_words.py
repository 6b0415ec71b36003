"""Sentences about training from scratch say what the numbers say."""

import math

import numpy as np
import pytest

from dlinear.analysis import scratch
from dlinear.analysis.statistics import Estimate
from dlinear.report import scratch_words as words


def trained(**ends):
    """Methods by their final losses in three runs (and one of tuning); underscores stand for hyphens."""
    out = {}
    for name, end in ends.items():
        name = name.replace("_", "-")
        last = np.array([1.0, *np.broadcast_to(end, 3)]) * [1, 1, 1.01, 0.99]
        losses = np.stack([np.ones(4), np.sqrt(last), last], axis=-1)[None]
        rest = {"test_loss": 3 * losses, "test_accuracy": 1 - losses / 4, "cos": 1 - losses / 10}
        out[name] = scratch.TrainedMethod(
            name, np.array([0.5]), np.array([0, 50, 100]), 1, {"train_loss": losses} | rest
        )
    return out


def costs():
    return [
        scratch.MethodCost("backprop", 1.0, 1.0, (1.0, 1.0), 1.0, 1.0, 0.0, True),
        scratch.MethodCost("anchored-1", 0.2, 3.0, (2.5, 3.5), 0.1, 1.0, 0.4, False),
        scratch.MethodCost("revolve-2", 0.3, 1.9, (1.9, 1.9), 0.25, 1.4, 0.0, True),
    ]


def test_a_gap_that_the_anchored_rule_closes():
    some = trained(backprop=0.01, horizon_1=0.3, greedy=0.4, anchored_1=0.02)
    assert words.local_rule(some) == "horizon-1"
    assert words.has_gap(some)
    line = words.gap_line("tanh", some)
    assert line.startswith(
        "tanh: final loss over back-propagation's (1.0e-02): of horizon-1 30 [30, 30], of greedy 40"
    )
    angles = "; cos at the end 0.97 of horizon-1, 1.00 of anchored-1"
    assert line.endswith(f"{angles}: against horizon-1 anchoring buys a factor 15 [15, 15]")
    assert words.summary({"tanh": some}) == "anchoring buys training loss: tanh"


def test_the_gap_is_that_of_the_better_local_rule():
    some = trained(backprop=0.01, horizon_1=0.3, greedy=0.009, anchored_1=0.02)
    assert words.local_rule(some) == "greedy"
    assert words.has_gap(some) is False
    assert words.gap_line("a", some).endswith("no gap to local training is shown, so no rule can differ here")
    noisy = trained(backprop=0.01, horizon_1=[0.001, 0.9, 0.1], anchored_1=0.02)
    assert words.has_gap(noisy) is None
    said = words.summary({"a": some, "b": noisy})
    assert said == "no gap in training loss between back-propagation and local training is shown: a, b"
    gone = trained(backprop=0.01, horizon_1=math.nan, greedy=0.3, anchored_1=0.02)
    assert words.local_rule(gone) == "greedy"


@pytest.mark.parametrize(
    ("ours", "said"), [(0.9, "costs a factor 0.33"), ([0.05, 0.9, 0.4], "is not shown to change a factor")]
)
def test_an_anchored_rule_that_does_not_help(ours, said):
    some = trained(backprop=0.01, horizon_1=0.3, anchored_1=ours)
    assert said in words.gap_line("a", some)
    assert words.summary({"a": some}) == "it buys no training loss that is shown: a"


def test_accuracies_are_differences_in_percent():
    some = trained(backprop=0.04, horizon_1=0.4, anchored_1=0.08)
    line = words.accuracy_line("digits", some)
    assert line.startswith(
        "digits: test accuracy of back-propagation 99.0 %, difference in % of horizon-1 -9.0 ["
    )
    assert "of anchored-1 -1.0 [" in line
    no_classes = trained(backprop=0.04, horizon_1=0.4, anchored_1=0.08)
    no_classes["backprop"].curves["test_accuracy"][:] = math.nan
    assert words.accuracy_line("a", no_classes) == ""


def test_fronts_name_memory_method_and_loss():
    some = trained(backprop=0.01, anchored_1=0.02)
    one, more, most = words.front_lines("tanh", some, costs(), model=True)
    start = "tanh, unit costs, time <= 1: memory from 10.0% anchored-1 (2 [2, 2]); "
    assert one == f"{start}from 100.0% backprop (1 [1, 1])"
    for line in (more, most):
        assert line.endswith("memory from 10.0% anchored-1 (2 [2, 2]); from 25.0% revolve-2 (1 [1, 1])")
    real = words.front_lines("tanh", some, costs(), model=False)[0]
    assert real.startswith(
        "tanh, measured, time <= 1: memory from 20.0% anchored-1 (100 [98, 103]); from 30.0%"
    )


def test_tables_have_their_columns():
    some = trained(backprop=0.01, anchored_1=0.02)
    rows = words.outcome_rows(some, costs())
    assert [row[0] for row in rows] == ["backprop", "anchored-1"]
    assert all(len(row) == len(words.OUTCOMES) for row in rows)
    assert rows[1] == [
        *("anchored-1", "0.5", "0", "0.900 -> 0.998", "2 [2, 2]", "2 [2, 2]", "99.5", "2 [2, 2]"),
        rows[1][-1],
    ]
    assert rows[1][-1].startswith("100 [98, ")
    table = words.cost_rows(costs())
    assert [row[0] for row in table] == ["anchored-1", "revolve-2", "backprop"]
    assert table[0] == ["anchored-1", "20.0%", "10.0%", "3.00 [2.50, 3.50]", "1.00", "4.0e-01"]
    assert all(len(row) == len(words.COSTS) for row in table)


def test_the_test_loss_has_a_line_and_a_summary_of_its_own():
    some = trained(backprop=0.01, horizon_1=0.3, anchored_1=0.02)
    some["horizon-1"].curves["test_loss"][:] = some["backprop"].curves["test_loss"]
    line = words.test_line("a", some)
    assert (
        line
        == "a: test loss over back-propagation's (3.0e-02): of horizon-1 1 [1, 1], of anchored-1 2 [2, 2]"
    )
    assert words.summary({"a": some}) == "anchoring buys training loss: a"
    said = words.summary({"a": some}, "test_loss")
    assert said == "no gap in test loss between back-propagation and local training is shown: a"


def test_what_training_gains_need_not_show_in_the_test_loss():
    some = trained(backprop=0.01, horizon_1=0.3, anchored_1=0.02)
    some["anchored-1"].curves["test_loss"][:] = some["horizon-1"].curves["test_loss"]
    assert words.summary({"a": some}) == "anchoring buys training loss: a"
    assert words.summary({"a": some}, "test_loss") == "it buys no test loss that is shown: a"


def test_the_difference_opens_with_the_steps():
    """The curves hold steps 0, 50 and 100: 5 and 20 steps are read at the start."""
    some = trained(backprop=0.01, horizon_1=0.36, anchored_1=0.04)
    line = words.opening_line("a", some)
    assert line == (
        "a: training loss of horizon-1 over anchored-1's: 1 [1, 1] after 5 steps, 1 [1, 1] after 20 steps, "
        "9 [9, 9] after 100 steps"
    )


def test_nothing_is_compared_with_what_diverged():
    some = trained(backprop=math.nan, horizon_1=0.3, anchored_1=0.02)
    assert not words.comparable(some)
    assert words.comparable(trained(backprop=0.01, greedy=0.3, anchored_1=0.02))
    assert not words.comparable(trained(backprop=0.01, anchored_1=0.02))


def test_a_fold_that_is_none():
    assert words.fold(Estimate(0.0, 0.0, 0.0)) == "the other diverged"
    assert words.fold(Estimate(math.inf, math.inf, math.inf)) == "diverged"
    assert words.fold(Estimate(2.0, math.nan, math.nan)) == "2"
    assert words.fold(Estimate(99.6, 0.123, 2e6)) == "100 [0.12, 2e+06]"
