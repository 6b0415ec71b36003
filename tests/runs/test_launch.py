"""How a run differs from the default one, and how runs are found again."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass

import pytest
from paths import ROOT

from dlinear.errors import DomainError, RecordError
from dlinear.runs import collection, command_line, records
from dlinear.runs.knobs import Target, changed, filled
from dlinear.runs.launch import Launch, LocalRun
from dlinear.runs.stages import Stages

SIMS = sorted(path.stem for path in (ROOT / "sims").glob("[a-z]*.py"))


@dataclass(frozen=True)
class Knobs(Target, Launch):
    """What to run."""

    depths: tuple[int, ...] = (3, 4)  # T
    full: bool = False  # more
    plain: bool = True  # or not
    rate: float | None = None  # from a preset
    kind: str = "auto"  # from a preset


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", ""),
        ("--results x --workers 3 --data-folder y --shard 1/2 --answer 3 --download", ""),
        ("--depths 7 8 --full --no-plain", "--depths 7 8 --full --no-plain"),
        ("--seed", None),
        ("--width 10", ""),
        ("--rate 0.5", "--rate 0.5"),
    ],
)
def test_the_options_of_a_run(words, said):
    if said is None:
        with pytest.raises(DomainError):
            command_line.parse(Knobs, words=words.split())
        return
    knobs = command_line.parse(Knobs, words=words.split())
    assert changed(knobs) == said
    settled = filled(filled(knobs, {"rate": 0.1}), {"kind": "one", "rate": 0.2})
    assert settled.kind == "one"
    assert settled.rate == (0.5 if "rate" in words else 0.1)
    assert changed(settled) == said, "a preset was not asked for"


@pytest.mark.parametrize("name", SIMS)
def test_the_default_run_of_a_sim_is_the_default_run(name, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    sim = importlib.import_module(f"sims.{name}")
    assert changed(sim.Knobs()) == ""
    assert changed(command_line.parse(sim.Knobs, words=sim.TOY.split())) != ""


def compute(cell):
    return {"a": ([], float(cell["i"]))}


def run(folder, count, **words):
    knobs = Knobs(results=str(folder), workers=0, **words)
    return knobs.sweep("exp", [{"i": i} for i in range(count)], compute)


def test_a_reduced_run_does_not_take_the_place_of_the_default_one(tmp_path):
    place = tmp_path / "exp"
    with pytest.raises(RecordError, match=r"latest.json does not exist: no run has been completed in"):
        collection.run_of(place)
    with pytest.raises(RecordError, match=r"default.json does not exist: no run with all knobs at"):
        collection.run_of(place, "default")
    whole = run(tmp_path, 4)
    small = run(tmp_path, 2, depths=(3,))
    latest, default = (collection.run_of(place, which) for which in collection.RUNS)
    assert (latest.keys, latest.changed) == (small.keys, "--depths 3")
    assert (default.keys, default.changed) == (whole.keys, "")
    assert collection.latest(place) == list(small.keys)
    assert collection.load_run(place, "default")[1].attrs["cells"] == 4
    assert collection.load_latest(place).attrs["cells"] == 2
    again = run(tmp_path, 4)
    assert collection.run_of(place).keys == again.keys
    with pytest.raises(DomainError, match=r"unknown run 'lates'; .*did you mean latest[?]"):
        collection.run_of(place, "lates")
    (records.cells(place) / f"{whole.keys[3]}.npz").unlink()
    with pytest.raises(RecordError, match="3 of the 4 cells of the default run are in"):
        collection.load_run(place, "default")


def test_a_list_of_an_earlier_version_has_no_options(tmp_path):
    sweep = run(tmp_path, 2)
    path = tmp_path / "exp" / "latest.json"
    content = json.loads(path.read_text())
    del content["changed"]
    path.write_text(json.dumps(content))
    assert collection.run_of(tmp_path / "exp") == collection.Run(tmp_path / "exp", sweep.keys)


def test_a_stage_is_not_a_run(tmp_path, capsys):
    stages = Stages("exp", LocalRun(results=str(tmp_path)), compute)
    assert len(stages.gather([{"i": 0}], alone=True)) == 1
    assert len(stages.gather([{"i": 1}, {"i": 2}])) == 2
    assert not (tmp_path / "exp" / "latest.json").exists()
    assert "3 computed, 0 resumed" in str(stages.finish())
    assert len(collection.latest(tmp_path / "exp")) == 3
