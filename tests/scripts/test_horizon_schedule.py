"""Times, and losses at equal time, that the comparison of schedules is made of."""

from __future__ import annotations

import importlib
import math
from types import SimpleNamespace

import numpy as np
import pytest
from paths import ROOT

from dlinear.bridge.methods import method


@pytest.fixture
def sim(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module("sims.horizon_schedule")


def cell_of(sim, name):
    knobs = sim.Knobs(depth=8, horizons=(1, 2, 4), batch=50, probed=25, probes=3)
    return sim.cell_from(sim.Cell, knobs, method=name, rate=0.1, seed=0, digest="")


def record(loss, time, name="horizon-1"):
    return SimpleNamespace(
        knobs={"method": name, "rate": 0.1},
        arrays={"train_loss": np.array(loss), "test_loss": np.array(loss), "time": np.array(time)},
    )


def test_steps_and_choices_take_their_time(sim):
    """T = 8: a step of horizon 2 takes (16 + 14)/24 of back-propagation's, of horizon 8 as much as that."""
    steps, horizon = np.array([0, 10, 20]), np.array([0, 2, 8])
    cell = cell_of(sim, "schedule")
    choice = 0.5 * (1 + 2 * 5) / 3  # half a batch: one forward, and five products of two for each block
    assert sim.choice_time(cell) == pytest.approx(choice)
    spent = sim.times(cell, steps, horizon, {0: {}, 2: {}})
    assert spent == pytest.approx(np.cumsum([choice, 12.5, 10 + choice]))
    assert sim.times(cell, steps, np.array([0, 8, 8]), {}).tolist() == [0, 10, 20]
    forward = sum(method(f"horizon-{h}").predicted(8).time + 1 for h in (1, 2, 4)) + 3
    assert sim.choice_time(cell_of(sim, "schedule-forward")) == pytest.approx(0.5 * forward)


def test_a_loss_is_read_where_the_time_is_over(sim):
    one = record([8.0, 4.0, 1.0], [0.0, 10.0, 20.0])
    assert sim.at_equal_time(one, 10, "test_loss") == pytest.approx(4)
    assert sim.at_equal_time(one, 15, "test_loss") == pytest.approx(2)  # by the logarithm
    assert sim.at_equal_time(one, 20, "test_loss", 4 / 3) == pytest.approx(2)  # a slower step
    assert math.isnan(sim.at_equal_time(record([8.0, math.nan], [0.0, 1.0]), 1, "test_loss"))


def test_the_verdicts_can_fail(sim, monkeypatch):
    knobs = sim.Knobs(depth=8, horizons=(1, 2), seeds=4)
    shrinking = [
        SimpleNamespace(knobs={"method": "schedule"}, arrays={"horizon": [0, 6, 2 - k / 50]})
        for k in range(4)
    ]
    noise = np.linspace(1, 1.02, 4)
    losses = {"schedule": 0.5 * noise, "checkpoint": noise[::-1]}
    monkeypatch.setattr(sim, "losses_of", lambda *_: losses)
    assert [answer.holds for answer in sim.judge(shrinking, knobs, 10)] == [False, False]
    losses["schedule"] = 2 * noise
    growing = [
        SimpleNamespace(knobs=r.knobs, arrays={"horizon": [0, 1, 5 + k / 50]})
        for k, r in enumerate(shrinking)
    ]
    assert [answer.holds for answer in sim.judge(growing, knobs, 10)] == [True, True]


def test_the_fixed_horizon_beside_it_holds_no_more(sim):
    losses = {
        "horizon-1": np.array([3.0, 3.1]),
        "horizon-4": np.array([1.0, 1.0]),
        "schedule": np.array([3.0, 3.1]),
    }
    held = {"horizon-1": (0.1, 0.1), "horizon-4": (0.5, 0.5), "schedule": (0.3, 1.0)}
    assert sim.beside_fixed(losses, held).startswith("horizon-1 is the best fixed horizon")
    held["schedule"] = (0.05, 1.0)
    assert sim.beside_fixed(losses, held).startswith("no fixed horizon")
