"""The table of identities: a wrong one, and a twin that holds too, are noticed."""

import importlib
import re

import pytest
import tyro
from paths import ROOT

from dlinear.theory import rule_identities
from dlinear.theory.rule_identities.nets import Case


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)


def said_with(monkeypatch, capsys, folder, change):
    """The sim with two identities, the second one changed."""
    sim = importlib.import_module("sims.rule_identities")
    true = dict(list(rule_identities.IDENTITIES.items())[:4])
    name, one = "I2 split", true["I2 split"]
    monkeypatch.setattr(sim, "IDENTITIES", true)
    monkeypatch.setitem(rule_identities.IDENTITIES, name, one._replace(draw=lambda r: change(one.draw(r))))
    words = ["--cases", "3", "--results", str(folder), "--workers", "0"]
    status = sim.main(tyro.cli(sim.Knobs, args=words))
    said = capsys.readouterr().out
    assert len(re.findall(r"^I\d ", said, re.MULTILINE)) == len(true)
    return status, [line for line in said.splitlines() if re.match(r"(supported|NOT SUPPORTED): I", line)]


def test_wrong_identities_are_noticed(monkeypatch, tmp_path, capsys):
    changes = {
        "true": lambda case: case,
        "wrong": lambda case: Case(case.left, case.twin, case.right),
        "blunt": lambda case: Case(case.left, case.right, case.right),
    }
    for word, change in changes.items():
        with monkeypatch.context() as patch:
            status, said = said_with(patch, capsys, tmp_path / word, change)
        assert status == (word != "true")
        assert said[0].startswith("supported: I1: ")
        assert said[1].startswith("supported: I2: " if word == "true" else "NOT SUPPORTED: I2: ")
        assert said[1].endswith("I2 split") == (word != "true")


def test_the_table_goes_into_a_page(tmp_path, capsys):
    sim = importlib.import_module("sims.rule_identities")
    page = tmp_path / "page.md"
    page.write_text("<!-- table: identities -->\n<!-- end of table: identities -->\n", encoding="utf-8")
    words = ["--cases", "2", "--results", str(tmp_path / "r"), "--workers", "0", "--page", str(page)]
    assert sim.main(tyro.cli(sim.Knobs, args=words)) == 0
    assert capsys.readouterr().out.count("\nsupported: ") == 15
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + len(rule_identities.IDENTITIES)
