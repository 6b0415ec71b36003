"""Costs by theory against the methods' own counts, and the sentences about budgets on made-up records."""

import dataclasses
import math
import re

import numpy as np
import pytest

from dlinear.analysis import budgets, comparison
from dlinear.bridge.methods import method
from dlinear.errors import DomainError, RecordError
from dlinear.runs import records

DEPTH, TOTAL = 64, 60
NUMBERS = {"saved": 0.0, "ratio_low": 0.9, "ratio_high": 1.1, "difference": 0.0}


def predicted(name, depth):
    return method(name).predicted(depth)


def record(part, name, seed, arrays, steps=0):
    knobs = {"part": part, "method": name, "seed": seed, "steps": steps, "rate": 0.1, "depth": DEPTH}
    return records.Record("", knobs, {k: np.array(v, float) for k, v in arrays.items()}, {}, {})


def run(part, name, seed, accuracy, steps=0):
    scores = dict.fromkeys((f"final_{metric}" for metric in comparison.METRICS), 1 - accuracy)
    scores |= {"final_test_accuracy": accuracy, "steps": steps or TOTAL, "cos_start": 1.0, "cos_end": 0.5}
    return record(part, name, seed, scores, steps)


def meter(name, activations, ratio):
    return record("meters", name, 1000, NUMBERS | {"activations": activations, "ratio": ratio})


def made(horizon=(0.80, 0.81, 0.82), exact=(0.90, 0.91, 0.92), limited=(0.50, 0.53, 0.51)):
    """Bytes and time: back-propagation 100, 1; checkpoint-8 25, 1.5; accumulate-16 8, 6; two horizons."""
    out = [meter("backprop", 100, 1.0), meter("checkpoint-8", 25, 1.5), meter("accumulate-16", 8, 6.0)]
    out += [meter("horizon-2", 5, 2.0), meter("horizon-4", 10, 2.5), meter("horizon-64", 100, 1.0)]
    for seed in range(3):
        out.append(run("epochs", "backprop", seed, exact[seed]))
        out.append(run("time", "backprop", seed, exact[seed] - 0.02, steps=40))
        out.append(run("time", "backprop", seed, limited[seed], steps=10))
        for name, less, steps in (("horizon-2", 0.1, 30), ("horizon-4", 0.0, 24)):
            out.append(run("epochs", name, seed, horizon[seed] - less))
            out.append(run("time", name, seed, horizon[seed] - less - 0.05, steps=steps))
    return out


def test_back_propagations_runs_stand_for_what_has_its_gradient():
    found = {one.method: one for one in comparison.entries(made(), method)}
    assert list(found)[:2] == ["horizon-2", "accumulate-16"]
    assert found["accumulate-16"].memory == 0.08
    assert found["accumulate-16"].steps == {"epochs": 60, "time": 10}
    assert found["accumulate-16"].value("epochs").tolist() == [0.90, 0.91, 0.92]
    assert found["accumulate-16"].value("time").tolist() == [0.50, 0.53, 0.51]
    assert found["checkpoint-8"].steps["time"] == 40
    assert found["backprop"].value("time").tolist() == [0.90, 0.91, 0.92]
    assert [one for one in found if found[one].exact] == [
        "accumulate-16",
        "checkpoint-8",
        "backprop",
        "horizon-64",
    ]
    assert found["horizon-4"].value("time", "train") == pytest.approx([-0.25, -0.24, -0.23])


def test_no_horizon_wins_where_an_exact_method_has_less_memory_and_is_better():
    found = comparison.entries(made(), method)
    (alone,) = budgets.won_budgets(found, "epochs")
    assert (alone.low, alone.high, alone.winner.method, alone.rival) == (0.05, 0.08, "horizon-2", None)
    first, second = budgets.findings(found, "epochs")
    assert "from 5.0% (0.00 MB) to 8.0% no exact method" in first
    assert "within no memory budget does a horizon beat every exact method" in second
    assert re.search(r"closest, horizon-4 at 10.0%, differs from accumulate-16 at 8.0% by -0.1000", second)


def test_a_horizon_wins_between_the_budgets_of_the_exact_methods():
    """At equal time: horizon-4 beats the slow accumulate-16 until checkpointing fits."""
    found = comparison.entries(made(), method)
    won = [
        (w.low, w.high, w.winner.method, w.rival and w.rival.method)
        for w in budgets.won_budgets(found, "time")
    ]
    assert won == [
        (0.05, 0.08, "horizon-2", None),
        (0.08, 0.10, "horizon-2", "accumulate-16"),
        (0.10, 0.25, "horizon-4", "accumulate-16"),
    ]
    said = budgets.findings(found, "time")
    assert "from 10.0% (0.00 MB) to 25.0% horizon-4 beats every exact method that fits" in said[2]
    assert not any("within no memory" in line for line in said)


def test_a_difference_inside_its_interval_is_no_win():
    found = comparison.entries(made(horizon=(0.60, 0.52, 0.71)), method)
    assert not [won for won in budgets.won_budgets(found, "time") if won.rival]


def test_a_run_that_diverged_beats_nothing_and_is_beaten():
    some = made()
    for one in some:
        if one.knobs["method"] == "horizon-2" and one.knobs["part"] == "epochs" and one.knobs["seed"] == 1:
            one.arrays["final_test_accuracy"][...] = np.nan
    found = {one.method: one for one in comparison.entries(some, method)}
    assert budgets.difference(found["horizon-2"], found["backprop"], "epochs").value == -math.inf
    assert budgets.difference(found["horizon-4"], found["horizon-2"], "epochs").low == math.inf
    assert budgets.findings(list(found.values()), "epochs")


def test_one_seed_says_nothing():
    some = [one for one in made() if one.knobs["seed"] in (0, 1000)]
    assert budgets.findings(comparison.entries(some, method), "epochs") == [
        "equal epochs, test accuracy: one seed gives no interval, so nothing is said about who wins"
    ]


def test_a_missing_run_is_named():
    some = [one for one in made() if one.knobs["steps"] != 40]
    with pytest.raises(RecordError, match="no run of 40 steps of checkpoint-8"):
        comparison.entries(some, method)
    with pytest.raises(RecordError, match="back-propagation"):
        comparison.entries([one for one in some if one.knobs["method"] != "backprop"], method)


@pytest.mark.parametrize("depth", [30, 64])
@pytest.mark.parametrize(
    "name",
    [
        "backprop",
        "horizon-1",
        "horizon-7",
        "horizon-30",
        "checkpoint",
        "checkpoint-5",
        "accumulate-4",
        "combined-3",
    ],
)
def test_predicted_time_counts_forwards_signals_and_parameter_gradients(name, depth):
    cost = method(name).cost(depth)
    assert predicted(name, depth).time == pytest.approx(
        (cost.forwards + cost.vjps + depth) / (3 * depth), rel=0.02
    )


@pytest.mark.parametrize("stages", [3, 5, 10])
def test_locos_stages_are_trained_twice(stages):
    cost = method(f"loco-{stages}").cost(60)
    assert predicted(f"loco-{stages}", 60).time == pytest.approx((60 + 2 * cost.vjps) / 180, rel=0.12)


def test_predicted_memory():
    assert predicted("horizon-16", 64).memory == (16 + 4 - 1) / 64  # h + g - 1 blocks, g = h/4 share a graph
    assert predicted("checkpoint-8", 64).memory == 0.25
    assert predicted("checkpoint", 64).memory == 0.25
    assert predicted("combined-4", 64).memory == 0.0625
    assert predicted("loco-4", 64).memory == 0.5
    with pytest.raises(DomainError, match="method 'sorcery-3': allowed are"):
        predicted("sorcery-3", 64)
    with pytest.raises(DomainError, match="method 'Horizon 3': allowed are"):
        predicted("Horizon 3", 64)


def test_steps_in_the_same_time():
    assert [comparison.steps_within(87, ratio) for ratio in (1.0, 2.0, 17.6, 0.5, 1000.0)] == [
        87,
        43,
        4,
        174,
        1,
    ]


def test_an_entry_without_classes_is_judged_by_its_test_loss():
    one = comparison.entries(made(), method)[0]
    scores = {r: s | {"test_accuracy": np.full(3, np.nan)} for r, s in one.scores.items()}
    assert dataclasses.replace(one, scores=scores).value("epochs") == pytest.approx(
        -one.scores["epochs"]["test_loss"]
    )


def test_families_are_names_without_their_number_and_the_whole_horizon_is_the_reference():
    found = {one.method: one.family for one in comparison.entries(made(), method)}
    assert found["horizon-2"] == found["horizon-4"] == "horizon"
    assert found["checkpoint-8"] == "checkpoint"
    assert found["backprop"] == comparison.REFERENCE
    assert found.get("horizon-64", comparison.REFERENCE) == comparison.REFERENCE


def test_a_record_that_does_not_say_whether_its_method_is_exact_asks_for_a_new_run():
    with pytest.raises(RecordError, match="the record of backprop does not say whether it is exact"):
        comparison.entries([one for one in made() if one.knobs["method"] == "backprop"])
