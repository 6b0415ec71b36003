"""The benchmark of faults: small runs of every part, and that each kind of fault would be counted."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import children
import numpy as np
import pytest
from paths import ROOT

from benchmarks import bit_flips, faults, kills, victims
from dlinear.errors import DomainError, RecordError
from dlinear.runs import records

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a sweep of three records."""
    place = tmp_path_factory.mktemp("whole")
    for seed in range(3):
        records.write(place, {"seed": seed}, {"a": ([], float(seed))})
    return place


@pytest.mark.slow
def test_flips_never_give_other_numbers(tmp_path):
    for measure in (bit_flips.of_record, bit_flips.of_checkpoint):
        found = measure(tmp_path / measure.__name__, 60, 1)
        assert (found.other, found.refused + found.same) == (0, 60)
        assert found.refused > 30


def test_a_reader_that_checks_nothing_is_found_out(folder):
    path = next(iter(records.cells(folder).iterdir()))
    good = path.read_bytes()
    assert bit_flips.flip(path, Path.read_bytes, 20, 0) == bit_flips.Flips(0, 0, 20)
    assert path.read_bytes() == good

    def refusing(place):
        if place.read_bytes() != good:
            raise RecordError("damaged")

    assert bit_flips.flip(path, refusing, 20, 0) == bit_flips.Flips(20, 0, 0)
    assert bit_flips.flip(path, lambda _: 1.0, 20, 0) == bit_flips.Flips(0, 20, 0)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (1, True),
        (1, 1.0),
        (np.ones(2), np.ones((1, 2))),
        (np.float64(0.0), np.float64(-0.0)),
        (np.array([0.0]), np.array([-0.0])),
        ([1], [1, 2]),
        ({"a": 1}, {"b": 1}),
        ({"a": np.ones(2)}, {"a": np.array([1.0, 2.0])}),
    ],
    ids=str,
)
def test_what_is_not_equal(a, b):
    assert not bit_flips.equal(a, b)
    assert bit_flips.equal(a, a)
    assert bit_flips.equal({"x": (np.nan, [a])}, {"x": (np.nan, [a])})


def test_what_is_lost_wrong_or_left_over_is_counted(folder, tmp_path):
    def counts():
        found = kills.Kills()
        kills.compare_sweeps(found, tmp_path, folder)
        return found.lost, found.wrong, found.files, found.names

    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    assert counts() == (0, 0, 0, [])
    (tmp_path / "cells" / "x.npz.tmp").write_text("left")
    assert counts() == (0, 0, 1, ["cells/x.npz.tmp"])
    records.write(tmp_path, {"seed": 1}, {"a": ([], 1.0 + 1e-15)})
    assert counts() == (0, 1, 1, ["cells/x.npz.tmp"])
    (tmp_path / "cells" / f"{records.key({'seed': 2})}.npz").write_bytes(b"damaged")
    assert counts()[:2] == (1, 1)


def test_other_weights_or_rows_are_wrong(tmp_path):
    victims.train(str(tmp_path / "a"), 1, 600.0)
    victims.train(str(tmp_path / "b"), 1, 600.0)
    found = kills.Kills()
    kills.compare_trainings(found, tmp_path / "a", tmp_path / "b")
    assert (found.wrong, found.files) == (0, 0)
    victims.train(str(tmp_path / "b"), 2, 600.0)
    kills.compare_trainings(found, tmp_path / "a", tmp_path / "b")
    assert (found.wrong, found.files) == (1, 0)
    assert victims.steps_of(tmp_path / "b") == 20
    assert victims.steps_of(tmp_path) == 0
    (tmp_path / "b" / "checkpoint.pt").write_bytes(b"damaged")
    assert victims.steps_of(tmp_path / "b") == -1


def test_a_fault_is_a_verdict(capsys):
    assert not faults.judged(
        "q", [kills.Kills(workers=3), kills.Kills(parents=2, files=1, names=["f"])]
    ).holds
    assert "left over: f" in capsys.readouterr().err
    for name in ("lost", "wrong", "files", "processes"):
        assert not faults.judged("q", [kills.Kills(workers=3, **{name: 1})]).holds
    answer = faults.judged("q", [kills.Kills(workers=3), kills.Kills(parents=2)])
    assert str(answer) == "supported: q: 0 faults in 5 kills"


def test_a_slow_sweep_is_a_verdict(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(kills, "slowdown", lambda *_: [1.0, 1.31, 5.0])
    assert not faults.slowdown(faults.Knobs(pairs=3), tmp_path).holds
    monkeypatch.setattr(kills, "slowdown", lambda *_: [1.0, 1.29, 5.0])
    assert faults.slowdown(faults.Knobs(pairs=3), tmp_path).holds
    assert "1.00 1.29 5.00" in capsys.readouterr().out


@pytest.mark.slow
def test_small_runs_of_sweeps_and_training():
    words = "--parts sweeps training --sweep-kills 2 --training-kills 1"
    done = children.run([sys.executable, "-m", "benchmarks.faults", *words.split()], cwd=ROOT, check=True)
    assert "a sweep that is killed loses nothing: 0 faults in 2 kills" in done.stdout
    assert "goes on to the same numbers: 0 faults in 1 kills" in done.stdout
    assert not done.stderr


def test_knobs_that_make_no_sense(monkeypatch):
    with pytest.raises(DomainError, match="--flips must be 1 or more; received 0"):
        faults.main(faults.Knobs(flips=0))
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(DomainError, match="on win32"):
        faults.main(faults.Knobs())


def test_the_workers_of_the_sweep_import_no_torch():
    """Each would take seconds to start."""
    code = "import sys, benchmarks.faults; sys.exit('torch' in sys.modules)"
    children.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    assert os.getpid() not in victims.workers_of(os.getppid())
