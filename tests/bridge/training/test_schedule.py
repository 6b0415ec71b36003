"""The horizon chosen again while training: measured, used, resumed to the bit, refused in a line."""

from __future__ import annotations

import dataclasses
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_stack import TINY, Stack, backprop, labelled, numbers, tiny, weights

from dlinear.bridge import HorizonSchedule, alignment, alignment_forward, method, train
from dlinear.bridge.data.losses import Supervised, criterion_of
from dlinear.bridge.data.split import random_part
from dlinear.bridge.training import metrics
from dlinear.errors import DomainError, HorizonError, RecordError
from dlinear.selection import AccuracyConstraint, LinearCost, MemoryLimit, WeightedObjective, select_horizon

STRICT = AccuracyConstraint(0.02, LinearCost(1.0, 1.0))


def scheduled(folder=None, schedule=None, name="horizon-1", stack=None, **knobs):
    """A run of TINY with dropout, batch norm and a counter, at chosen horizons."""
    given = dataclasses.replace(TINY, **knobs)
    plan = schedule or HorizonSchedule(STRICT, samples=9)
    return train(stack or Stack(), labelled(), method(name), given, folder=folder, horizon_schedule=plan)


def always(monkeypatch, horizons):
    """The next choices are these."""
    forced = iter(horizons)
    monkeypatch.setattr(
        "dlinear.bridge.training.schedule.select_horizon",
        lambda *_: SimpleNamespace(horizon=next(forced), feasible=True),
    )


@pytest.mark.parametrize("name", ["horizon-1", "anchored-2", "projected-1"])
@pytest.mark.parametrize("angles", ["exact", "forward"])
def test_a_run_is_that_of_its_parts(name, angles, tmp_path):
    """Each epoch is a run by its method from where the last one ended, the choices made by hand."""
    schedule = HorizonSchedule(STRICT, every=2, samples=9, angles=angles, horizons=(1, 2, 4))
    run = scheduled(tmp_path, schedule, name, stack=Stack(dropout=0.0))
    rows = metrics.read(tmp_path / "metrics.jsonl")
    assert ["cos" in row for row in rows] == [True, False, True, False, True]
    split, stack, family = labelled(), Stack(dropout=0.0), name.partition("-")[0]
    x, y = random_part(split.x_train, split.y_train, None)
    loss_fn = Supervised(criterion_of("auto", 3), y[:9])
    rule = {"anchored": family == "anchored"}
    arguments = (stack.blocks, x[:9], loss_fn, [1, 2, 4], stack.readout)
    if angles == "exact":
        cos = alignment(*arguments, **rule).cos
    else:
        cos = alignment_forward(*arguments, probes=8, **rule).cos
    cos = np.abs(cos) if family == "projected" else cos
    assert run.cosines[0] == pytest.approx(dict(zip((1, 2, 4), cos, strict=True)), rel=1e-4)
    memory = [method(f"{family}-{h}").predicted(5).memory for h in (1, 2, 4)]
    for before, after in itertools.pairwise(rows):
        assert after["horizon"] == before["next_horizon"]
        if "cos" in before:
            choice = select_horizon([1, 2, 4], before["cos"], memory, 5, STRICT, "theory")
            assert (before["next_horizon"], before["feasible"]) == (choice.horizon, choice.feasible)
        else:
            assert before["next_horizon"] == before["horizon"]
    assert run.horizons.tolist() == [0, *(row["horizon"] for row in rows[1:])]


@pytest.mark.parametrize("angles", ["exact", "forward"])
def test_a_horizon_that_never_changes_gives_the_run_of_that_horizon(angles, monkeypatch):
    """The measurements disturb nothing."""
    always(monkeypatch, [3] * 9)
    schedule = HorizonSchedule(MemoryLimit(3 / 5), horizons=(1, 3), samples=9, angles=angles)
    chosen, fixed = scheduled(schedule=schedule), tiny(method=method("horizon-3"))
    assert chosen.horizons.tolist() == [0, 3, 3, 3, 3]
    for name in ("loss", "train_loss", "test_loss", "learning_rate", "steps"):
        np.testing.assert_array_equal(getattr(chosen, name), getattr(fixed, name))


def test_the_horizon_that_a_row_names_is_the_one_that_trains(monkeypatch):
    asked = []
    always(monkeypatch, [2, 4, 1, 3, 5])
    real = HorizonSchedule.method

    def method_of(self, first, horizon):
        asked.append(horizon)
        return real(self, first, horizon)

    monkeypatch.setattr(HorizonSchedule, "method", method_of)
    run = scheduled(schedule=HorizonSchedule(STRICT, samples=9, memory=(1, 2), horizons=(1, 5)))
    steps = np.diff(run.steps).tolist()
    assert run.horizons.tolist() == [0, 2, 4, 1, 3]
    assert asked == [h for h, n in zip((2, 4, 1, 3), steps, strict=True) for _ in range(n)]


def test_a_growing_schedule_never_shrinks(monkeypatch):
    always(monkeypatch, [2, 1, 4, 3, 5])
    run = scheduled(schedule=HorizonSchedule(STRICT, samples=9, grows=True))
    assert run.horizons.tolist() == [0, 2, 2, 4, 4]


@pytest.mark.parametrize("at", [1, 7, 12])
def test_a_broken_run_goes_on_with_the_same_numbers(tmp_path, at, monkeypatch):
    """In the middle of an epoch, and after its choice: rows, weights and generators to the bit."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    scheduled(whole)
    steps = 0
    step = torch.optim.Adam.step

    def stopping(self, *args):
        nonlocal steps
        steps += 1
        if steps == at:
            raise KeyboardInterrupt
        return step(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", stopping)
        with pytest.raises(KeyboardInterrupt):
            scheduled(broken)
    run = scheduled(broken)
    assert numbers(broken) == numbers(whole)
    assert weights(broken) == weights(whole)
    assert len(run.cosines) == 5


def test_a_longer_run_goes_on_and_another_schedule_is_another_run(tmp_path):
    scheduled(tmp_path, epochs=2)
    scheduled(tmp_path, epochs=3)
    for other in (
        HorizonSchedule(STRICT, samples=8),
        HorizonSchedule(AccuracyConstraint(0.03, LinearCost(1.0, 1.0)), samples=9),
        HorizonSchedule(STRICT, samples=9, grows=True),
    ):
        with pytest.raises(RecordError, match="other knobs"):
            scheduled(tmp_path, other)
    with pytest.raises(RecordError, match="other knobs"):
        tiny(tmp_path, method=method("horizon-1"))


def test_the_key_holds_json_alone():
    key = HorizonSchedule(WeightedObjective(0.5, LinearCost(1.0, 2.0)), horizons=(1, 2)).key
    assert key["objective"] == {
        "WeightedObjective": {"weight": 0.5, "cost": {"LinearCost": {"unit": 1, "node": 2}}}
    }
    assert {type(value) for value in key.values()} <= {int, str, bool, tuple, dict, type(None)}


def test_measuring_takes_time_of_the_run(monkeypatch):
    ticks = iter(range(10_000))
    monkeypatch.setattr("dlinear.bridge.training.session.clock", lambda: float(next(ticks)))
    run = scheduled(epochs=2)
    assert run.seconds.tolist() == [1, *(1 + run.steps[1:] + np.array([1, 2]))]
    assert run.horizons.size == 3


def test_a_run_without_a_schedule_has_no_horizons():
    run = tiny(epochs=1)
    assert (run.horizons.size, dict(run.cosines)) == (0, {})


def test_an_undefined_angle_leaves_the_horizon():
    """A loss that is flat has no gradient: nothing is chosen, and the row says so."""
    stack = Stack()
    torch.nn.init.zeros_(stack.readout.linear.weight)
    plan = HorizonSchedule(STRICT, samples=9, every=9)
    run = train(
        stack, labelled(), method("horizon-2"), dataclasses.replace(TINY, epochs=1), horizon_schedule=plan
    )
    assert run.horizons.tolist() == [0, 2]
    assert np.isnan(list(run.cosines[0].values())).all()


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        ({"every": 0}, DomainError, "every"),
        ({"samples": 0}, DomainError, "samples"),
        ({"angles": "guessed"}, DomainError, "angles"),
        ({"estimator": "magic"}, DomainError, "estimator"),
        ({"objective": min}, DomainError, "the objective is, or holds"),
        ({"objective": AccuracyConstraint(0.1, lambda m: m)}, DomainError, "known by them"),
        ({"memory": (1.0,)}, DomainError, "memory holds 1 sizes; expected one for each"),
        ({"horizons": (1, 9)}, HorizonError, r"1\.\.5"),
        ({"horizons": (2,)}, DomainError, "two different ones"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_makes_no_sense(words, error, said):
    with pytest.raises(error, match=said) as caught:
        scheduled(schedule=HorizonSchedule(**{"objective": STRICT, **words}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "given", [backprop, method("backprop"), method("stages-2")], ids=["own", "exact", "stages"]
)
def test_a_method_without_a_horizon_is_refused(given):
    with pytest.raises(DomainError, match="allowed are horizon-N, projected-N, anchored-N"):
        train(Stack(), labelled(), given, TINY, horizon_schedule=HorizonSchedule(STRICT))
    with pytest.raises(DomainError, match="expected a dlinear"):
        train(Stack(), labelled(), method("horizon-1"), TINY, horizon_schedule="often")


def test_two_blocks_have_two_horizons_to_choose_from():
    schedule = HorizonSchedule(STRICT, samples=9)
    assert schedule.measured(2) == [1, 2]
    assert schedule.measured(3) == [1, 2]
    stack = Stack()
    stack.blocks = stack.blocks[:2]
    run = scheduled(schedule=schedule, stack=stack, epochs=1)
    assert np.isfinite(list(run.cosines[0].values())).all()
    assert run.horizons[-1] == 2  # cos(theta_1) of an untrained stack is far below sqrt(0.98)


@pytest.mark.parametrize("angles", ["exact", "forward"])
def test_a_gradient_that_is_not_finite_leaves_the_horizon_as_it_is(angles):
    schedule, stack = HorizonSchedule(STRICT, samples=9, angles=angles), Stack()
    for parameter in stack.blocks[1].parameters():
        parameter.data.fill_(torch.inf)
    x, y = labelled().x_train[:9], labelled().y_train[:9]
    row = schedule.choose(method("horizon-3"), stack, x, Supervised(criterion_of("auto", 3), y), 3)
    assert (row["next_horizon"], row["feasible"]) == (3, None)
    assert row["cos"] == [None] * len(row["measured"])
