"""Wrong depth laws of rules with another feedback are noticed by their simulation."""

import importlib
import re

import numpy as np
import pytest
import tyro
from paths import ROOT

from dlinear.theory import feedback_laws, limits

RULES = 17  # rows of the verdict


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)


def said_with(folder, capsys, words="--depths 30 60 --seeds 5 --nets 50 --width 2"):
    sim = importlib.import_module("sims.rules_depth")
    status = sim.main(tyro.cli(sim.Knobs, args=[*words.split(), "--results", str(folder), "--workers", "0"]))
    return status, capsys.readouterr().out


@pytest.mark.slow
def test_false_twins_of_every_part(tmp_path, capsys, monkeypatch):
    status, said = said_with(tmp_path / "true", capsys)
    assert status == 0
    assert "NOT SUPPORTED" not in said
    assert len(re.findall(r"^(?:supported|no verdict): ", said, re.MULTILINE)) >= RULES
    assert len(re.findall(r" against \S+ at T = 60", said)) == RULES - 1

    def wrong(true, factor):
        return lambda *given, **named: factor * true(*given, **named)

    for module, name, factor in (
        (feedback_laws, "start_law", 4.0),
        (feedback_laws, "random_feedback_cos2", 6.0),
        (feedback_laws, "feedback_tail_constant", 1.1),
        (feedback_laws, "foton_head_constant", 1.1),
        (feedback_laws, "foton_limit", 1.1),
        (feedback_laws, "foton_antisymmetric", 1.1),
        (feedback_laws, "rough_variance", 4.0),
        (limits, "anchored_constant", 1.1),
    ):
        monkeypatch.setattr(module, name, wrong(getattr(module, name), factor))
    status, said = said_with(tmp_path / "twin", capsys)
    assert status == 1
    refused = re.findall(r"^NOT SUPPORTED: ([a-z]+ ?[a-z]+)", said, re.MULTILINE)
    assert refused.count("smooth layers") == 5
    assert refused.count("no skip") == 4
    assert refused.count("rough layers") == 3
    assert refused.count("start") == 4
    assert len(refused) == RULES - 1, said


def test_a_limit_without_its_correction():
    """x(T) = 3 + 5/T gives 3 from two depths; one depth alone is taken as it is."""
    sim = importlib.import_module("sims.rules_depth")
    depths = np.array([10, 20, 80])
    values = (3 + 5 / depths)[:, None] * np.ones(4)
    np.testing.assert_allclose(sim.limit_of(depths, values), 3.0)
    np.testing.assert_allclose(sim.limit_of(depths[:1], values[:1]), 3.5)
