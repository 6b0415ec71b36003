"""The verdicts of sims.dynamics: false twins must print NOT SUPPORTED."""

import importlib
import re

import numpy as np
import pytest
import tyro
from paths import ROOT

from dlinear.dynamics import observation, signals
from dlinear.errors import DomainError
from dlinear.theory import limits


@pytest.fixture
def sim(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("sims.dynamics")


def run(sim, folder, words=""):
    args = [*sim.TOY.split(), *words.split(), "--results", str(folder), "--workers", "0"]
    return sim.main(tyro.cli(sim.Knobs, args=args))


@pytest.mark.slow
def test_wrong_laws_are_not_supported(sim, tmp_path, capsys, monkeypatch):
    """Theorem B doubled, r(h) the mean of cos^2, and the anchored bracket in place of the plain one in G5."""
    law = limits.smooth_law
    monkeypatch.setattr(observation.limits, "smooth_law", lambda *given: 2 * law(*given))
    monkeypatch.setattr(sim, "rate_law", lambda part: 1 - part["sin2"])
    monkeypatch.setattr(signals, "_change", lambda *given: 0.0)
    assert run(sim, tmp_path) == 1
    said = capsys.readouterr().out
    for words in ("Theorem B along the flow", "instead: r\\(h\\) = int", "G5: the balance of all neighbours"):
        assert re.search(f"^NOT SUPPORTED: {words}", said, re.MULTILINE), words
    assert re.search("^supported: .*the last h layers keep their balance", said, re.MULTILINE)


@pytest.mark.slow
def test_trainings_that_diverge_are_said_in_one_line(sim, tmp_path, monkeypatch):
    compute = sim.compute

    def gone(cell):
        found = compute(cell)
        if cell.part == "plain" and cell.seed == 1:
            found["loss"][1][2:, 0] = np.nan
        return found

    monkeypatch.setattr(sim, "compute", gone)
    with pytest.raises(DomainError, match=r"^1 of 60 trainings diverged: .* smaller --gap"):
        run(sim, tmp_path, "--depth 8 --until 2")
