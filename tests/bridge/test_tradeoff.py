"""The parts of the comparison: one step beside back-propagation's, the protocol of rates and budgets."""

import dataclasses
import importlib
import math

import numpy as np
import pytest
import torch
import tyro
from paths import ROOT

from dlinear.analysis import comparison
from dlinear.bridge import alignment, horizon_gradients
from dlinear.bridge.data.losses import Supervised
from dlinear.bridge.methods import Family, method, register, registry
from dlinear.bridge.models import TaskShape, model
from dlinear.bridge.side_by_side import MethodProbe, size
from dlinear.bridge.tradeoff import Plan, best_rate
from dlinear.errors import DomainError, RecordError
from dlinear.runs import collection, records

TOY = (
    "--depth 6 --width 5 --samples 50 --test-samples 30 --batch 20 --epochs 2 "
    "--seeds 2 --rates 0.03 0.1 --rounds 1"
)


@pytest.fixture(scope="module")
def sim():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        yield importlib.import_module("sims.bridge_tradeoff")


@pytest.fixture(scope="module")
def toy(sim, tmp_path_factory):
    """Records of a run in which everything is trained: {(part, method, seed, steps): record}."""
    folder = tmp_path_factory.mktemp("results")
    knobs = tyro.cli(
        sim.Knobs, args=[*TOY.split(), "--train-exact", "--results", str(folder), "--workers", "0"]
    )
    sim.main(knobs)
    place = folder / sim.NAME
    return collection.scan(place, collection.latest(place))


def pair(name, dtype=torch.float64):
    stack = model("mlp", TaskShape((5,), 3), depth=6, width=5, gain=0.3, readout="shared", dtype=dtype)
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return MethodProbe(name, stack, x, Supervised(torch.nn.functional.cross_entropy, torch.arange(7) % 3))


@pytest.mark.parametrize("h", [1, 3, 6])
def test_the_gradient_and_its_angle_are_those_of_the_horizon(h):
    one = pair(f"horizon-{h}")
    _, wanted = horizon_gradients(one.stack.blocks, one.x, one.loss_fn, h, one.stack.readout)
    _, true = horizon_gradients(one.stack.blocks, one.x, one.loss_fn, 6, one.stack.readout)
    blocks = list(one.stack.blocks.parameters())
    for found, p in zip(one.gradient(), blocks, strict=True):
        torch.testing.assert_close(found, wanted[p], rtol=1e-12, atol=1e-15)
    profile = alignment(one.stack.blocks, one.x, one.loss_fn, [h], one.stack.readout)
    assert one.cosine() == pytest.approx(profile.cos[0], abs=1e-12)
    norms = [math.sqrt(sum(float((g[p] ** 2).sum()) for p in blocks)) for g in (true, wanted)]
    assert one.norm_ratio() == pytest.approx(norms[0] / norms[1], rel=1e-12)
    apart = math.sqrt(sum(float(((wanted[p] - true[p]) ** 2).sum()) for p in blocks)) / norms[0]
    assert one.difference() == pytest.approx(apart, abs=1e-12)
    assert size(one.gradient()) == pytest.approx(norms[1], rel=1e-12)
    assert all(p.grad is None for p in one.stack.parameters())


def test_costs_of_a_step():
    costs = pair("horizon-2").costs(rounds=3)
    assert costs["vjps"] == 10
    assert costs["forwards"] == 6
    assert 0 < costs["saved"] < pair("backprop").costs(1)["saved"]
    assert 0 < costs["ratio_low"] <= costs["ratio"] <= costs["ratio_high"]
    assert math.isnan(pair("checkpoint").costs(1)["saved"])
    assert pair("backprop").costs(2)["ratio"] == 1.0


def test_open_knobs_are_filled_in(sim):
    knobs = sim.settled(sim.Knobs())
    assert (knobs.data, knobs.depth, knobs.width) == ("digits", 64, 256)
    assert knobs.horizons == (1, 2, 4, 8, 16, 32, 64)
    assert 8 in knobs.checkpoints
    assert knobs.accumulations == (2, 4, 16, 50)
    full = sim.settled(sim.Knobs(model="resnet62", full=True, epochs=7))
    assert (full.samples, full.batch, full.epochs, full.depth) == (45_000, 32, 7, 30)
    assert 5 in full.checkpoints
    names = sim.methods(full)
    assert names[0] == "backprop"
    assert {
        "checkpoint-5",
        "accumulate-32",
        "horizon-1",
        "horizon-30",
        "loco-3",
        "forward-1",
        "greedy",
    } <= set(names)


def test_the_rate_of_the_least_loss_in_an_epoch(sim):
    def tuned(rate, *losses):
        return records.Record("", {"rate": rate}, {"loss": np.array([np.nan, *losses])}, {}, {})

    some = [tuned(0.3, np.nan), tuned(0.1, 0.2, 0.5), tuned(0.03, 0.4, 0.3)]
    assert [best_rate(some, epoch) for epoch in (0, 1, 2, 9)] == [0.1, 0.1, 0.03, 0.03]
    assert best_rate(some[:1], 3) == 0.3


def test_rates_are_in_the_unit_of_the_methods_own_gradient(toy, sim):
    """The first step on the first batch of the tuning model has one length for all methods."""
    backprop = next(r for r in toy if r.knobs["part"] == "tune" and r.knobs["method"] == "backprop")
    assert float(backprop.arrays["learning_rate"]) == backprop.knobs["rate"]
    for record in toy:
        if record.knobs["part"] != "meters":
            meter = next(
                r for r in toy if r.knobs["part"] == "meters" and r.knobs["method"] == record.knobs["method"]
            )
            unit = float(record.arrays["learning_rate"]) / record.knobs["rate"]
            assert unit == pytest.approx(float(meter.arrays["unit"]), rel=1e-6)


def test_exact_methods_train_as_back_propagation_does(toy):
    """What lets its runs stand for theirs: checkpointing bit for bit, micro-batches to rounding."""
    whole = {
        r.knobs["seed"]: r for r in toy if (r.knobs["part"], r.knobs["method"]) == ("epochs", "backprop")
    }
    seen = set()
    for record in toy:
        name = record.knobs["method"]
        if record.knobs["part"] == "epochs" and name.startswith(("checkpoint", "accumulate", "combined")):
            seen.add(name.partition("-")[0])
            wanted = whole[record.knobs["seed"]].arrays["train_loss"]
            exact = name.startswith("checkpoint")
            assert record.arrays["train_loss"] == pytest.approx(wanted, rel=0 if exact else 1e-4, abs=0)
    assert seen == {"checkpoint", "accumulate", "combined"}


def test_equal_time_is_a_beginning_of_equal_epochs(toy):
    total = 2 * 3  # epochs times batches of 50 samples in 20s
    for record in toy:
        steps = record.knobs["steps"]
        if record.knobs["part"] == "time":
            assert int(record.arrays["steps"]) == steps
        if record.knobs["part"] == "epochs":
            assert int(record.arrays["steps"]) == total


def test_a_wrong_count_is_not_supported(sim, tmp_path, capsys, monkeypatch):
    """False twin: T h products of blocks."""
    monkeypatch.setattr(sim.costs, "block_vjps", lambda depth, horizon: depth * horizon)
    words = f"{TOY} --horizons 1 2 --results {tmp_path} --workers 0"
    assert sim.main(tyro.cli(sim.Knobs, args=words.split())) == 1
    assert "NOT SUPPORTED: block vector-Jacobian products of horizon h" in capsys.readouterr().out


def test_a_horizon_with_another_gradient_is_trained_itself():
    plan = Plan(["backprop", "horizon-1", "horizon-6"], (0.1,), 2, 3, 4, False, lambda *words: words)
    meter = records.Record("", {"method": "horizon-1"}, {"difference": np.array(0.5)}, {}, {})
    assert plan.runner(meter) == "horizon-1"
    same = dataclasses.replace(meter, knobs={"method": "horizon-6"}, arrays={"difference": np.array(1e-7)})
    assert plan.runner(same) == "backprop"
    assert dataclasses.replace(plan, train_exact=True).runner(same) == "horizon-6"


def twice(blocks, x, loss_fn, readout=None):
    """A method from outside the package: back-propagation with every gradient doubled."""
    before = {p: p.grad for block in blocks for p in block.parameters()}
    loss = method("backprop")(blocks, x, loss_fn, readout)
    for p in before:
        p.grad.mul_(2.0)
    return loss


def test_a_method_from_outside_the_package_is_compared(sim, tmp_path, capsys, monkeypatch):
    """One record is all that the comparison, its table and its figure need of a method."""
    monkeypatch.setattr(registry, "_FAMILIES", dict(registry._FAMILIES))
    family = Family(
        "twice",
        lambda number: dataclasses.replace(method("backprop"), name="twice", family="twice", run=twice),
        least=None,
        bare=True,
        compared=lambda depth, batch: (None,),
    )
    register(family)
    register(family)  # again: nothing happens
    with pytest.raises(DomainError, match="'backprop' is taken"):
        register(dataclasses.replace(family, name="backprop"))
    with pytest.raises(DomainError, match="joined by hyphens"):
        register(dataclasses.replace(family, name="Twice 2"))
    words = f"{TOY} --horizons 1 6 --checkpoints 2 --accumulations 2 --combined 2 --stages 2"
    words += f" --results {tmp_path} --workers 0"
    sim.main(tyro.cli(sim.Knobs, args=words.split()))
    said = capsys.readouterr().out
    assert len([line for line in said.splitlines() if line.startswith("twice ")]) == 2, said
    place = tmp_path / sim.NAME
    found = {one.method: one for one in comparison.entries(collection.scan(place))}
    assert found["twice"].exact  # as its record says; the gradient differs all the same
    assert found["twice"].numbers["difference"] == pytest.approx(1.0, rel=1e-5)
    assert found["horizon-6"].exact
    assert found["horizon-1"].truncated
    assert found["loco-2"].horizon is None
    figure = importlib.import_module("paper_figs.bridge_pareto")
    groups = figure.groups(list(found.values()))
    assert [one.method for one in groups["twice"]] == ["twice"]
    assert {one.method for one in groups["backprop"]} == {"backprop", "horizon-6"}
    figure.draw(str(tmp_path), str(tmp_path / "figures"))


def test_a_record_that_does_not_describe_its_method_needs_someone_who_does(toy):
    """Records of earlier editions hold neither `exact` nor `horizon`."""
    earlier = [
        dataclasses.replace(
            r, arrays={k: v for k, v in r.arrays.items() if k not in ("exact", "horizon", "whole_batch")}
        )
        for r in toy
    ]
    now, then = comparison.entries(toy), comparison.entries(earlier, method)
    assert [(a.method, a.family, a.exact, a.horizon) for a in now] == [
        (b.method, b.family, b.exact, b.horizon) for b in then
    ]
    with pytest.raises(RecordError, match="does not say whether it is exact"):
        comparison.entries(earlier)
