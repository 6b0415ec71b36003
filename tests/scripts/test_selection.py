"""The simulations of horizon selection: false twins must be noticed."""

from __future__ import annotations

import importlib
import re

import numpy as np
import pytest
import tyro
from paths import ROOT

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
    monkeypatch.setattr(estimators, "faulhaber", lambda m, p: np.asarray(m) ** 6.0)
    assert run("selection_regret", words, tmp_path / "wrong") == 1
    said = capsys.readouterr().out
    for name in ("polynomial", "theory"):
        assert re.search(f"^NOT SUPPORTED: no noise, equal blocks: {name} loses less", said, re.MULTILINE)
