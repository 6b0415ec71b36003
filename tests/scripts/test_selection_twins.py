"""The simulations of horizon selection: false twins must be noticed."""

from __future__ import annotations

import importlib
import re

import numpy as np
import pytest
import tyro
from paths import ROOT

from dlinear.bridge.selection import ModelRecords, Problems
from dlinear.runs.records import Record
from dlinear.selection import estimators


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(ROOT)


def run(name, words, folder):
    sim = importlib.import_module(f"sims.{name}")
    return sim.main(tyro.cli(sim.Knobs, args=[*words.split(), "--results", str(folder), "--workers", "0"]))


def test_a_wrong_estimate_loses_to_the_best(tmp_path, capsys, monkeypatch):
    """False twins: a line for cos, and a law that falls with the sixth power."""
    words = "--curves 16 --deepest 24 --points 5 --noise 0"
    assert run("selection_regret", words, tmp_path / "right") == 0
    assert "NOT SUPPORTED" not in capsys.readouterr().out
    monkeypatch.setattr(estimators, "ORDER", 1)
    monkeypatch.setattr(estimators, "_law", lambda m, depth: np.stack([m > 0, (m / depth) ** 6], 1))
    assert run("selection_regret", words, tmp_path / "wrong") == 1
    said = capsys.readouterr().out
    for name in ("polynomial", "theory"):
        assert re.search(f"^NOT SUPPORTED: no noise, equal blocks: {name} loses less", said, re.MULTILINE)


def test_a_rival_with_another_gradient_is_noticed():
    """False twins: checkpointing with another gradient, memory that falls with the horizon."""
    sim = importlib.import_module("sims.bridge_selection")
    one = ModelRecords("mlp")
    curve = {"problems": Problems(3, (0.5,), (0.5,)).words, "depth": 5}
    one.curves[0] = Record("", curve, {}, {}, {})
    one.differences = {"checkpoint": 1e-8, "revolve-4": 0.0, "horizon-5": 0.0, "horizon-1": 0.7}
    one.memory = {f"horizon-{h}": 1.0 + h for h in range(1, 6)}
    assert [answer.holds for answer in sim.judge({"mlp": one})] == [True, True]
    one.differences["checkpoint"] = 1e-3
    assert [answer.holds for answer in sim.judge({"mlp": one})] == [False, True]
    one.memory["horizon-3"] = 20.0
    assert [answer.holds for answer in sim.judge({"mlp": one})] == [False, False]
