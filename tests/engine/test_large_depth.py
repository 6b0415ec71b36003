"""The large-depth simulation at toy size: by numpy, by torch, interrupted."""

import importlib
import os
import signal
import sys
import time

import children
import numpy as np
import pytest
import tyro
from paths import ROOT

from dlinear.analysis import profiles
from dlinear.runs import collection

WORDS = "--data random --width 4 --depth 2e4 --points 8"
ARRAYS = ("shortfall", "sin2", "cos", "norm_ratio", "predicted_quadratic")


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(ROOT)


def run(words, folder):
    sim = importlib.import_module("sims.large_depth")
    return sim.main(tyro.cli(sim.Knobs, args=[*words.split(), "--results", str(folder)]))


def numbers(folder):
    return collection.load_latest(folder / "large_depth").squeeze()


@pytest.mark.parametrize("ensemble", ["gaussian", "orthogonal", "smooth-constant"])
def test_torch_gives_numpys_numbers(ensemble, tmp_path, capsys):
    for device in ("cpu", "torch-cpu"):
        run(f"{WORDS} --ensemble {ensemble} --device {device} --threads 2", tmp_path / device)
    a, b = (numbers(tmp_path / device) for device in ("cpu", "torch-cpu"))
    for name in ARRAYS:
        assert np.allclose(a[name], b[name], rtol=1e-12, atol=0), name
    assert a["shortfall"].values.tolist() == profiles.shortfalls(20_000, 8, 0.01).tolist()


def test_single_precision_measures_its_error(tmp_path, capsys):
    run(f"{WORDS} --precision float32", tmp_path / "single")
    said = capsys.readouterr().out
    run(WORDS, tmp_path / "double")
    a, b = (numbers(tmp_path / name) for name in ("single", "double"))
    error = float(np.abs(a["sin2"] / b["sin2"] - 1).max())
    assert 1e-8 < error < 1e-4
    assert float(a["single_error"]) == pytest.approx(error, rel=1e-9)
    assert f"relative error of sin^2 <= 0.01: {error:.1e}" in said


def test_smooth_layers_meet_the_theorem_and_a_wrong_one_does_not(tmp_path, capsys, monkeypatch):
    words = "--data random --width 4 --depth 1e5 --ensemble smooth-constant"
    assert run(words, tmp_path / "true") == 0
    sim = importlib.import_module("sims.large_depth")
    right = sim.limits.cubic_constant
    monkeypatch.setattr(sim.limits, "cubic_constant", lambda *given: 1.1 * right(*given))
    assert run(words, tmp_path / "wrong") == 1
    assert "NOT SUPPORTED: smooth-constant layers, T = 100000: Theorem B" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--depth 500", "expected at least 1000"),
        ("--depth 1e4 --largest 6000", "8..T/2 = 5000"),
        ("--depth 1000.5", "whole"),
    ],
)
def test_impossible_knobs_say_so(words, message, tmp_path, capsys):
    assert run(f"--data random --width 3 {words}", tmp_path) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert message in said[0]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_an_interrupt_is_one_line(tmp_path):
    code = """
import runpy, dlinear
alignment = dlinear.alignment

def told(*numbers, **words):
    print("there", flush=True)
    return alignment(*numbers, **words)

dlinear.alignment = told
runpy.run_module("sims.large_depth", run_name="__main__", alter_sys=True)
"""
    words = ["--data", "random", "--depth", "1e8", "--threads", "1", "--results", str(tmp_path)]
    process = children.start([sys.executable, "-c", code, *words], cwd=ROOT)
    assert process.stdout.readline() == "there\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    said, complaint = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == ""
    assert len(complaint.strip().splitlines()) == 1
    assert "interrupted: 0 of 1 cells are kept" in complaint


@pytest.mark.parametrize(
    "words", ["--memory -5", "--memory 0", "--memory nan", "--memory inf", "--timeout nan", "--timeout 0"]
)
def test_sizes_and_times_that_are_none_are_refused_before_any_work(words, tmp_path, capsys):
    assert run(f"{WORDS} {words}", tmp_path) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"stopped: {words.split()[0]} must be")
    assert complaint.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_words_of_the_growth_figure_are_what_was_measured():
    words = importlib.import_module("benchmarks.large_depth").growth_words
    assert words(0.97, [47.2, 346], [352, 458]) == (
        "Time grows as $T^{0.97}$, memory from 47 to 346 MiB, within its law"
    )
    assert words(1, [47, 346, 500], [352, 345, 490]).endswith(
        "memory exceeds what is said: 346 of 345 MiB, 500 of 490 MiB"
    )
