"""`sims.rules`: false twins, what is left out, the share of a limit, published settings."""

import importlib
import re
import shutil

import pytest
import tyro
from paths import ROOT

from dlinear.errors import DomainError
from dlinear.rules.compared import choice
from dlinear.rules.published import recipe_of

SMALL = "--samples 40 --test-samples 20 --epochs 1 --seeds 2 --rates 0.1 --no-costs --probed 20"


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)


@pytest.fixture
def sim():
    return importlib.import_module("sims.rules")


def knobs_of(sim, words, folder):
    return tyro.cli(sim.Knobs, args=[*words.split(), "--results", str(folder), "--workers", "0"])


def test_back_propagation_in_disguise_is_noticed(sim, tmp_path, capsys, monkeypatch):
    """False twin: dfa runs back-propagation."""
    true = choice.rule_of

    def twin(name, recipe=None):
        rule = true(name, recipe)
        return choice.replace(rule, run=true("backprop").run) if name == "dfa" else rule

    monkeypatch.setattr("dlinear.rules.compared.cells.rule_of", twin)
    words = f"{SMALL} --depth 1 --units 6 --methods backprop dfa"
    assert sim.main(knobs_of(sim, words, tmp_path)) == 1
    said = capsys.readouterr().out
    assert re.search(r"^NOT SUPPORTED: no rule .* in disguise.* 1\.000 \(dfa\)$", said, re.MULTILINE)
    assert "nearly back-propagation at the end (cos > 0.99): dfa" in said


def test_a_rule_that_fails_does_not_take_the_others_with_it(sim, tmp_path, capsys, monkeypatch):
    true = sim.cells.compute

    def broken(cell, **where):
        if cell.method == "dfa":
            raise DomainError("no")
        return true(cell, **where)

    monkeypatch.setattr(sim.cells, "compute", broken)
    words = f"{SMALL} --depth 1 --units 6 --methods backprop fa dfa"
    assert sim.main(knobs_of(sim, words, tmp_path)) == 1
    said = capsys.readouterr().out
    assert "no verdict: 2 of 6 cells are missing" in said
    assert re.search(r"^fa +0\.1 ", said, re.MULTILINE)
    assert not (tmp_path / "rules" / "latest.json").exists()


def test_a_rule_that_refuses_the_model_is_left_out_with_a_line(sim, tmp_path, capsys):
    words = f"{SMALL} --model cnn --depth 4 --units 3 --methods backprop pepita reconstruct-1"
    assert sim.main(knobs_of(sim, words, tmp_path)) == 0
    said = capsys.readouterr().out
    assert re.search(r"^reconstruct-1 is left out, it refuses the model: .+$", said, re.MULTILINE)
    assert re.search(r"^pepita +0\.1 ", said, re.MULTILINE)


def test_published_settings_and_their_page(sim, tmp_path, capsys):
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("*.json", "*.png"))
    words = f"{SMALL} --published --units 5 --methods backprop drtp foton --docs {tmp_path / 'docs'}"
    assert sim.main(knobs_of(sim, words, tmp_path / "results")) == 0
    said = capsys.readouterr().out
    assert "foton is left out: no published setting is known here" in said
    assert re.search(r"^drtp +0\.01 +1 ", said, re.MULTILINE)
    page = (tmp_path / "docs" / "rules.md").read_text()
    assert "`python -m sims.rules --published --methods backprop drtp foton" in page
    assert str(tmp_path) not in page
    assert "| drtp |" in page
    asked = sim.recipes(knobs_of(sim, words, tmp_path))
    assert (asked["drtp"].width, asked["drtp"].batch) == (5, recipe_of("drtp").batch)
    assert asked["drtp"].epochs == 100  # the plan of the rate keeps its shares


@pytest.mark.parametrize(
    ("words", "limit"),
    [
        ("--until 280 --workers 5 --seeds 1 --no-costs", 0.95 * 260 / 2),
        ("--until 280 --workers 12 --seeds 2 --no-costs", 0.95 * 260 / 2),
        ("--until 280 --workers 12 --seeds 1", 0.95 * (260 - 40)),
        ("--until 5 --workers 1", 1.0),
        ("--workers 3", 0.0),
    ],
)
def test_each_run_has_its_share_of_the_limit(sim, words, limit):
    assert sim.limit_of(tyro.cli(sim.Knobs, args=words.split()), 10) == pytest.approx(limit, abs=1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--methods fa", "--methods holds fa; backprop must be among them"),
        ("--methods backprop pepitas", "method 'pepitas': allowed are"),
        ("--target 90", "--target must be more than 0 and at most 1"),
        ("--until 0", "--until must be 1 or more, seconds"),
        ("--epochs 0", "--epochs must be 1 or more"),
        ("--model cnn --depth 3", "expected an even depth and an odd kernel"),
        ("--device cuda", "device cuda is not there"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_work(sim, words, said, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    some = "" if "--methods" in words else "--methods backprop fa"
    with pytest.raises(DomainError, match=re.escape(said)):
        sim.main(knobs_of(sim, f"{words} {some} --samples 40", tmp_path))
    assert not list(tmp_path.iterdir())
