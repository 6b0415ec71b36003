"""The parts of the comparison: one step beside back-propagation's, the protocol of rates and budgets."""

import dataclasses
import importlib
import math
import re
import sys
from functools import partial

import numpy as np
import pytest
import torch
import tyro
from paths import ROOT
from toys import toy_run

from dlinear.analysis import comparison
from dlinear.bridge import alignment, horizon_gradients, load, tradeoff
from dlinear.bridge.autograd.isolation import one_thread
from dlinear.bridge.data.losses import Supervised
from dlinear.bridge.methods import Family, method, register, registry
from dlinear.bridge.models import TaskShape, model
from dlinear.bridge.side_by_side import MethodProbe, size
from dlinear.bridge.tradeoff import Plan, best_rate
from dlinear.errors import DomainError, HorizonError, RecordError
from dlinear.report import plotting
from dlinear.runs import collection, records

TOY = (
    "--depth 6 --width 5 --samples 50 --test-samples 30 --batch 20 --epochs 2 "
    "--seeds 2 --rates 0.03 0.1 --rounds 1"
)
FEW = "--checkpoints 2 --accumulations 2 --combined 2 --stages 2 --tangents 1"


@pytest.fixture(scope="module")
def sim():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        yield importlib.import_module("sims.bridge_tradeoff")


@pytest.fixture(scope="module")
def toy(sim, tmp_path_factory):
    """Records of the shared toy run, in which everything is trained."""
    place = toy_run(sim.NAME, tmp_path_factory.getbasetemp()).folder / sim.NAME
    return collection.scan(place, collection.latest(place))


def compare_only(monkeypatch, *names):
    """Leave these families; the other ones would add rows of their own and change none of these."""
    families = {name: family for name, family in registry._FAMILIES.items() if name in names}
    assert set(families) == set(names)
    monkeypatch.setattr(registry, "_FAMILIES", families)


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


@pytest.mark.slow
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
    names = tradeoff.method_names(full)
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


@pytest.mark.slow
def test_rates_are_in_the_unit_of_the_methods_own_gradient(toy):
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_equal_time_is_a_beginning_of_equal_epochs(toy, sim):
    knobs = tyro.cli(sim.Knobs, args=sim.TOY.split())
    total = knobs.epochs * math.ceil(knobs.samples / knobs.batch)
    assert {record.knobs["part"] for record in toy} == {"meters", "tune", "epochs", "time"}
    for record in toy:
        steps = record.knobs["steps"]
        if record.knobs["part"] == "time":
            assert int(record.arrays["steps"]) == steps
        if record.knobs["part"] == "epochs":
            assert int(record.arrays["steps"]) == total


@pytest.mark.slow
def test_a_wrong_count_is_not_supported(sim, tmp_path, capsys, monkeypatch):
    """False twin: T h products of blocks."""
    compare_only(monkeypatch, "backprop", "horizon", "checkpoint")
    monkeypatch.setattr(sim.costs, "block_vjps", lambda depth, horizon: depth * horizon)
    words = f"{TOY} {FEW} --horizons 1 2 --results {tmp_path} --workers 0"
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


@pytest.mark.slow
def test_a_method_from_outside_the_package_is_compared(sim, tmp_path, capsys, monkeypatch):
    """One record is all that the comparison, its table and its figure need of a method."""
    compare_only(monkeypatch, "backprop", "horizon", "checkpoint", "accumulate", "loco")
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
    words = f"{TOY} {FEW} --horizons 1 6"
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
    series = tradeoff.series_of(list(found.values()))
    assert [one.method for one in series["twice"]] == ["twice"]
    together = {one.method for one in series["checkpoint, backprop"]}
    assert together == {"backprop", "horizon-6", "checkpoint-2"}
    assert list(series)[:3] == ["horizon $h<T$", "checkpoint, backprop", "micro-batches"]
    figure, drawn = importlib.import_module("paper_figs.bridge_pareto"), []
    monkeypatch.setattr(plotting, "save", lambda figure, *place: drawn.append(figure) or [])
    figure.draw(str(tmp_path), str(tmp_path / "figures"))
    for axes, cost in zip(drawn[0].axes, ("memory", "memory", "ratio"), strict=True):
        (points,) = [line for line in axes.get_lines() if line.get_label() == "twice"]
        wanted = found["twice"].memory if cost == "memory" else found["twice"].ratio[0]
        assert points.get_xdata() == pytest.approx([wanted])
        fronts = {line.get_label(): line for line in axes.get_lines() if line.get_label().startswith("best")}
        assert list(fronts) == [f"best {word} in budget" for word in ("exact", "inexact method", "horizon")]
        some = [one for one in found.values() if not one.exact]
        costs = [one.memory if cost == "memory" else one.ratio[0] for one in some]
        assert min(fronts["best inexact method in budget"].get_xdata()) == pytest.approx(min(costs))
    assert "all methods: " in said


@pytest.mark.slow
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


PLUGIN = """
from dlinear.bridge.methods import Family, Method, Predicted, method, register
from dlinear.bridge.methods.base import Cost, named


def stale(blocks, x, loss_fn, readout=None):
    "Back-propagation through every other block alone: the others get no gradient."
    stack = list(blocks)
    before = {p: p.grad for block in stack[1::2] for p in block.parameters()}
    loss = method("backprop")(stack, x, loss_fn, readout)
    for p, grad in before.items():
        p.grad = grad
    return loss


def cost(depth):
    return Cost(depth, depth)


def predicted(depth):
    return Predicted(memory=0.75, time=0.5)


def make(number):
    name = named("every-other", number)
    return Method(name, "every-other", number, "every other block", False, stale, cost, predicted)


register(Family("every-other", make, least=1))
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """The name of a module that registers "every-other-N", which nobody has loaded."""
    (tmp_path / "my_methods.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    compare_only(monkeypatch, "backprop", "horizon", "checkpoint")
    yield "my_methods"
    sys.modules.pop("my_methods", None)


@pytest.mark.slow
def test_a_plugin_takes_part_and_its_records_are_read_without_it(sim, plugin, tmp_path, capsys, monkeypatch):
    words = f"{TOY} {FEW} --horizons 1 --rates 0.1"
    words += f" --results {tmp_path} --workers 0 --methods every-other-3"
    without = dict(registry._FAMILIES)
    with pytest.raises(DomainError, match="method 'every-other-3': allowed are"):
        sim.main(tyro.cli(sim.Knobs, args=words.split()))
    assert sim.main(tyro.cli(sim.Knobs, args=[*words.split(), "--plugins", plugin])) == 0
    assert len(re.findall("^every-other-3 ", capsys.readouterr().out, re.MULTILINE)) == 2
    monkeypatch.setattr(registry, "_FAMILIES", without)
    place = tmp_path / "bridge_tradeoff"
    found = comparison.entries(collection.scan(place, collection.latest(place)))
    other = next(one for one in found if one.method == "every-other-3")
    assert (other.family, other.exact, other.horizon) == ("every-other", False, None)
    assert other.steps["epochs"] == 6, "trained itself"
    assert [one.method for one in tradeoff.series_of(found)["every-other"]] == ["every-other-3"]
    row = next(row for row in tradeoff.cost_rows(found, 6) if row[0] == "every-other-3")
    assert (row[2], row[8]) == ("75.00%", "0.50"), "what its own formula predicts"


def test_what_a_worker_of_a_sweep_runs_loads_the_plugins(sim, plugin):
    words = f"{TOY} {FEW} --horizons 1"
    knobs = sim.settled(tyro.cli(sim.Knobs, args=words.split()))
    plan = tradeoff.plan_of(knobs, load(knobs.data, samples=50, test_samples=30))
    cell = plan.cell("meters", "every-other-1", 0, 0.0, 0)
    assert plugin not in sys.modules
    compute = partial(tradeoff.compute, folder=None, download=False, place=None)
    with pytest.raises(DomainError, match="method 'every-other-1': allowed are"):
        compute(cell)
    assert compute(cell, plugins=(plugin,))["theory_memory"] == ((), 0.75)


def test_the_knobs_of_families_replace_their_numbers(sim):
    knobs = sim.settled(sim.Knobs(depth=8, batch=4, horizons=(3,), tangents=(2, 5), methods=("horizon-5",)))
    names = tradeoff.method_names(knobs)
    assert [name for name in names if name.startswith("horizon")] == ["horizon-3", "horizon-5"]
    assert [name for name in names if name.startswith("forward")] == ["forward-2", "forward-5"]
    assert len(names) == len(set(names))
    assert names[0] == "backprop"
    with pytest.raises(HorizonError, match="9"):
        sim.check_all(dataclasses.replace(knobs, methods=("horizon-9",)))
    with pytest.raises(DomainError, match=r"--horizons must be in 1\.\.8; received"):
        sim.check_all(dataclasses.replace(knobs, horizons=(9,)))


def test_one_thread_is_given_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_method_that_refuses_the_model_is_left_out(sim, monkeypatch):
    """Reconstructed states need blocks that contract: tried on the first batch, named with the reason."""
    knobs = sim.settled(tyro.cli(sim.Knobs, args=TOY.split()))
    split = load("digits", samples=50, test_samples=30)
    plan = tradeoff.plan_of(knobs, split)
    assert not plan.refused
    assert {"reconstruct-1", "reconstruct-2", "revolve-2", "anchored-1", "stages-4", "highway-1"} <= set(
        plan.methods
    )
    monkeypatch.setattr("dlinear.bridge.methods.reconstruct.LOST", 0.0)
    less = tradeoff.plan_of(knobs, split)
    assert set(less.refused) == {"reconstruct-1", "reconstruct-2"}
    assert [name for name in plan.methods if name not in less.refused] == list(less.methods)
    assert all("is lost: reconstructed with a relative error of" in why for why in less.refused.values())


def test_a_refused_step_of_training_counts_as_diverged(sim, monkeypatch):
    """At a rate that is too large the blocks stop contracting: a result of that rate, not a failed cell."""
    knobs = sim.settled(tyro.cli(sim.Knobs, args=TOY.split()))
    split = load("digits", samples=50, test_samples=30)
    cell = tradeoff.plan_of(knobs, split).cell("epochs", "reconstruct-1", 0, 3000.0, 0)
    found = tradeoff.compute(cell, None, False, None)
    assert math.isnan(found["final_test_loss"][1]), "it would be finite had the steps been taken"
    assert math.isnan(found["cos_end"][1])
    assert found["cos_start"][1] > 0.9
    fine = tradeoff.compute(dataclasses.replace(cell, rate=0.03), None, False, None)
    assert np.isfinite([fine["final_test_loss"][1], fine["cos_end"][1]]).all()
    monkeypatch.setattr("dlinear.bridge.tradeoff.cells._tried", lambda name: False)
    with pytest.raises(DomainError, match="cannot be inverted"):
        tradeoff.compute(cell, None, False, None)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gru", "graph"])
def test_a_recurrent_and_a_graph_network_are_compared_too(sim, name):
    """The presets name data that fit; a horizon is measured and the model is that of the cell."""
    knobs = sim.settled(sim.Knobs(model=name, depth=4, width=3, samples=40, stages=(2,)))
    split = load(knobs.data, samples=knobs.samples)
    cell = tradeoff.plan_of(knobs, split).cell("meters", "horizon-2", 0, 0.0, 0)
    found = tradeoff.compute(dataclasses.replace(cell, rounds=1), None, False, None)
    assert float(found["vjps"][1]) == 6
    assert 0 < float(found["saved"][1]) <= float(found["activations"][1])
