"""The choice of `sims.select_horizon`: against the best of what was measured, and verdicts that can fail."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import numpy as np
import pytest
from paths import ROOT

from dlinear.analysis import statistics


@pytest.fixture
def sim(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module("sims.select_horizon")


def records(cosines, memory, time=1.0):
    """Angles of each rule for two seeds, and costs of each method."""
    angles = [
        SimpleNamespace(knobs={"method": rule}, arrays={"cos": np.array(cos)})
        for rule, cos in cosines.items()
        for _ in range(2)
    ]
    costs = [
        SimpleNamespace(
            knobs={"method": name}, arrays={"activations": size, "ratio": time, "unit": 2 * time, "rate": 1.0}
        )
        for name, size in {"backprop": 4e6, **memory}.items()
    ]
    return angles, costs


SIZES = {f"{rule}-{h}": h * 1e6 for rule in ("horizon", "anchored") for h in (1, 2, 3)}
COS = {"horizon": [0.5, 0.6, 0.7], "anchored": [0.9, 0.92, 0.94]}


def question(sim, cosines=COS, sizes=SIZES, **knobs):
    chosen = {"depth": 4, "horizons": (1, 2, 3), "rules": ("horizon", "anchored"), "budget_mb": 2.0, **knobs}
    return sim.Question(sim.Knobs(**chosen), *records(cosines, sizes))


def test_the_best_rule_and_horizon_within_the_budget(sim):
    one = question(sim, estimator="polynomial")
    assert one.budget == 2e6
    assert (one.rule, one.choice.horizon, one.choice.feasible) == ("anchored", 2, True)
    assert question(sim, {**COS, "anchored": [0.1, 0.2, 0.3]}).rule == "horizon"
    assert question(sim, budget_mb=None).budget == 1e6  # a quarter of back-propagation
    poor = question(sim, budget_mb=0.001)
    assert not poor.choice.feasible


def test_every_horizon_measured_gives_the_best_of_them(sim):
    """T = 4 with 1, 2, 3 and T: brute force over what was measured, whatever the estimate."""
    rate = {1: 0.81, 2: 0.92**2, 3: 0.94**2, 4: 1.0}
    for estimator in ("theory", "polynomial"):
        for weight in (0.01, 0.3, 3.0):
            one = question(sim, objective="weighted", weight=weight, estimator=estimator)
            choice = one.choices["anchored"]
            want = {h: weight * h / 4 - r for h, r in rate.items()}
            assert choice.horizon == min(want, key=want.get)
            assert choice.objective == pytest.approx(list(want.values()))


def test_what_was_measured_is_not_overruled_by_the_estimate(sim):
    """Memory that is no line: h = 1 fits into the budget, though the line says that it does not."""
    bent = {**SIZES, **{f"anchored-{h}": m for h, m in ((1, 0.5e6), (2, 3.4e6), (3, 3.7e6))}}
    one = question(sim, sizes=bent, rules=("anchored",), budget_mb=0.6, estimator="polynomial")
    assert one.estimates["anchored"].memory[0] > 0.6e6
    assert (one.choice.horizon, one.choice.feasible) == (1, True)
    assert one.misfit()[1] == pytest.approx(abs(one.estimates["anchored"].memory[0] / 0.5e6 - 1))


def test_accuracy_takes_the_cheapest_that_keeps_the_rate(sim):
    one = question(sim, objective="accuracy", epsilon=0.12, estimator="polynomial")
    assert (one.rule, one.choice.horizon) == ("anchored", 3)  # r = 0.81, 0.85, 0.88


def test_a_promise_that_is_not_kept_is_noticed(sim):
    """Of three measured horizons of T = 6 the fourth is chosen, which was only predicted."""
    one = question(sim, sizes={**SIZES, "backprop": 6e6}, depth=6, budget_mb=4.1, estimator="polynomial")
    assert one.choice.horizon == 4
    at = float(one.choice.rate[3])
    offer = sim.Offer("anchored-4", "anchored", 5e6, 1.0, at)
    kept, broken = statistics.Estimate(at + 0.05, at, at), statistics.Estimate(at - 0.2, at, at)
    assert [a.holds for a in sim.answers_of(one, kept, offer)] == [True, False]  # 5 MB of 4.1 MB
    assert [a.holds for a in sim.answers_of(one, broken, sim.replace(offer, memory=4e6))] == [False, True]
    known = question(sim)
    assert [a.holds for a in sim.answers_of(known, broken, sim.replace(offer, memory=2e6))] == [True]


def test_offers_take_the_time_that_is_asked_for_and_refusals_are_left_out(sim):
    sizes = SIZES | dict.fromkeys(sim.RIVALS, 1e6)
    one = question(sim, sizes=sizes)
    assert one.offer("horizon-2", 0.5) == sim.Offer("horizon-2", "horizon", 2e6, 1.0, 0.5)
    assert one.offer("horizon-2", 0.5, "unit").time == 2
    assert len(one.rivals()) == len(sim.RIVALS)
    one.costs["reconstruct-1"]["rate"] = np.nan
    assert [offer.method for offer in one.rivals("unit")] == [n for n in sim.RIVALS if n != "reconstruct-1"]
    assert {offer.time for offer in one.rivals("unit")} == {2}


def test_uphill_is_no_rate(sim):
    assert sim.rate_of(np.array([-0.5, np.nan])).value == 0
    assert sim.cosine(np.array([1.0, 0.9])).high == 1
