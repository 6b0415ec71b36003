"""What the sims on losses, architectures and shifting data compute before they speak."""

import dataclasses
import importlib

import numpy as np
import pytest
import torch
from paths import ROOT

from dlinear.bridge.data import load
from dlinear.runs import records


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)


def sim_of(name):
    return importlib.import_module(f"sims.{name}")


@pytest.mark.slow
def test_shared_weights_have_order_four_and_own_ones_three(monkeypatch, capsys):
    """And a false twin: the two orders exchanged."""
    sim, found = sim_of("architectures"), []
    knobs = sim.Knobs(models=(), seeds=3, equal_depth=60)
    for cell in sim.angle_cells(knobs):
        arrays = {name: values for name, (_, values) in sim.compute(cell).items()}
        found.append(records.Record("", dataclasses.asdict(cell), arrays, {}, {}))
    for expected, holds in (((3.0, 4.0), True), ((4.0, 3.0), False)):
        monkeypatch.setattr(sim, "EQUAL", dict(zip(("own", "shared"), expected, strict=True)))
        answers, seen = sim.orders(knobs, found)
        assert [answer.holds for answer in answers] == [holds, holds]
        assert not seen
    capsys.readouterr()


def test_a_method_takes_the_rate_of_its_least_loss():
    def tuned(rate, *losses):
        return records.Record("", {"rate": rate}, {name: np.array(losses) for name in both}, {}, {})

    both = ("train_loss", "loss_before")
    some = [tuned(0.03, 1.0, np.nan), tuned(0.01, 1.0, 0.5), tuned(0.003, 0.2, 0.6)]
    assert sim_of("architectures").best_rate(some) == 0.01
    assert sim_of("shifting_data").best_rate(some) == 0.01
    assert sim_of("shifting_data").best_rate(some[:1]) == 0.03


def test_the_chosen_horizon_is_the_least_that_keeps_the_rate():
    import xarray

    cos = np.sqrt([[0.99, 0.96, 0.94, 0.2], [0.5, 0.4, 0.3, 0.2]])
    part = xarray.Dataset({"cos": (("seed", "shortfall"), cos)}, {"shortfall": [1, 2, 3, 4]})
    assert sim_of("losses_and_horizons").chosen(part, 5, 0.05).tolist() == [3, 5]
    assert sim_of("losses_and_horizons").chosen(part, 5, 0.07).tolist() == [2, 5]


def test_a_shift_changes_the_labels_or_turns_the_images():
    split = load("digits", samples=30, test_samples=12)
    shifted = sim_of("shifting_data").shifted
    labels, turned = shifted(split, "labels"), shifted(split, "rotation")
    assert torch.equal(labels.x_test, split.x_test)
    assert (labels.y_test - split.y_test).remainder(10).unique().tolist() == [1]
    assert torch.equal(turned.y_train, split.y_train)
    assert torch.equal(turned.x_train[3, 0, :, 2], split.x_train[3, 0, 2].flip(0)) or torch.equal(
        turned.x_train[3, 0, :, 2], split.x_train[3, 0, 5].flip(0)
    )
    again = turned
    for _ in range(3):
        again = shifted(again, "rotation")
    assert torch.equal(again.x_train, split.x_train)
    assert len({split.digest, labels.digest, turned.digest}) == 3


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("losses_and_horizons", {"losses": ("mse",)}, "--losses must be one of cross_entropy, squared"),
        ("losses_and_horizons", {"epsilon": 1.0}, "--epsilon must be more than 0 and less than 1"),
        ("losses_and_horizons", {"models": ("rnn",)}, "--models must be one of tanh, gru"),
        ("losses_and_horizons", {"steps": 7}, "cut into depth = 7 steps"),
        ("architectures", {"models": ("lstm",)}, "--models must be one of gru, graph"),
        ("architectures", {"methods": ("magic",)}, "method 'magic'"),
        ("architectures", {"methods": ("horizon-99",)}, "99"),
        ("architectures", {"depth": 15}, "cut into depth = 15 steps"),
        ("architectures", {"rates": (0.0,)}, "--rates must be finite and more than 0"),
        ("shifting_data", {"methods": ("horizon-0",)}, "horizon-0"),
        ("shifting_data", {"margin": -1.0}, "--margin must be 0 or more"),
        ("shifting_data", {"after": 0}, "--after must be 1 or more"),
        ("shifting_data", {"data": "linear"}, "images with labels"),
    ],
)
def test_knobs_that_make_no_sense(name, words, said, tmp_path):
    from dlinear.errors import DlinearError

    sim = sim_of(name)
    with pytest.raises(DlinearError) as caught:
        sim.main(sim.Knobs(**words, results=str(tmp_path), workers=0))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
