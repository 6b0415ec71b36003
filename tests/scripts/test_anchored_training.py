"""Verdicts of training from scratch: what the anchored rule has to do, and a false twin."""

import importlib

import numpy as np
import pytest
from paths import ROOT

from dlinear.analysis import scratch, statistics
from dlinear.report import plotting


@pytest.fixture
def sim(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("sims.anchored_training")


def trained(**ends):
    """One rate, one tuning run and six runs that end near a loss."""
    out = {}
    for name, end in ends.items():
        method = name.replace("_", "-")
        losses = np.stack([np.ones(7), end * np.linspace(0.9, 1.1, 7)], axis=-1)[None]
        curves = dict.fromkeys(("train_loss", "test_loss", "test_accuracy", "cos"), losses)
        out[method] = scratch.TrainedMethod(method, np.array([1.0]), np.array([0, 9]), 1, curves)
    return out


def cost(difference):
    return scratch.MethodCost("revolve-2", 0.1, 1.0, (1.0, 1.0), 0.1, 1.0, difference, True)


def said(sim, some, difference=0.0):
    return [str(answer) for answer in sim.judge([cost(difference)], {"tanh": some})]


def test_the_claim_and_its_false_twin(sim):
    exact, claim = said(sim, trained(backprop=0.01, horizon_1=0.3, anchored_1=0.02))
    assert exact.startswith("supported: exact methods give")
    assert claim == "supported: tanh: horizon-1 ends above anchored-1, factor: 15 [15, 15] (99.7 %)"
    _, twin = said(sim, trained(backprop=0.01, horizon_1=0.02, anchored_1=0.3))
    assert twin.startswith("NOT SUPPORTED: tanh: horizon-1 ends above anchored-1")


def test_without_a_gap_nothing_is_claimed(sim):
    assert len(said(sim, trained(backprop=0.3, horizon_1=0.3, anchored_1=0.02))) == 1
    assert len(said(sim, trained(backprop=0.01, horizon_4=0.3, anchored_1=0.02))) == 1


def test_an_exact_method_with_another_gradient_is_noticed(sim):
    assert said(sim, trained(backprop=0.3, horizon_1=0.3, anchored_1=0.2), 1e-3)[0].startswith(
        "NOT SUPPORTED"
    )


def test_what_has_the_true_gradient_is_not_trained(sim):
    knobs = sim.Knobs(tasks=("tanh",), methods=("horizon-1", "revolve-2"))
    arrays = {"horizon-1": 0.5, "revolve-2": 0.0, "backprop": 0.0}
    records = [
        scratch.Record("", {"method": name, "depth": 16}, {"difference": np.array(value)}, {}, {})
        for name, value in arrays.items()
    ]
    cells = sim.training(knobs, records)
    assert [cell.method for cell in cells] == ["backprop", "horizon-1"]
    assert {cell.depth for cell in cells} == {16}


def test_greedy_is_left_out_where_it_would_train_another_model(sim):
    knobs = sim.Knobs(tasks=("tanh", "parity", "digits", "digits-fixed"), methods=("greedy",))
    assert [cell.task for cell in sim.training(knobs, []) if cell.method == "greedy"] == ["tanh", "digits"]


def test_the_figure_tells_ten_tasks_apart(monkeypatch):
    """Colour and marker, and colour and dashes, differ from task to task; ratios have a panel for each."""
    monkeypatch.syspath_prepend(str(ROOT))
    figure = importlib.import_module("paper_figs.anchored_training")
    places = [scratch.FrontPlace("anchored-1", 0.1, statistics.Estimate(2.0, 1.0, 3.0))]
    with plotting.style():
        _, axes = plotting.column()
        for number in range(10):
            figure._front(axes, places, f"task {number}", number)
    points, lines = axes.lines[::2], axes.lines[1::2]
    assert len({(line.get_color(), line.get_marker()) for line in points}) == 10
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 10
    assert [a.get_color() for a in points] == [b.get_color() for b in lines]
    assert min(line.get_zorder() for line in lines) > max(line.get_zorder() for line in points)
    for values in ([1.0, 0.9], [0.5, 8.0], [1e-3, 2e5]):
        ticks = figure._decades(values)
        assert 1.0 in ticks
        assert 1 <= len(ticks) <= 3
