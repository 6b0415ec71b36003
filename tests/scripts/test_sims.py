"""Every simulation at toy size, by its real command line, twice: the second run computes nothing."""

import dataclasses
import importlib
import inspect
import itertools
import os
import re
import shutil
import sys

import children
import numpy as np
import pytest
import tyro
from paths import ROOT
from toys import toy_run

from dlinear.analysis import statistics
from dlinear.errors import DomainError
from dlinear.runs import collection
from dlinear.runs.knobs import cell_from
from dlinear.theory import limits

SIMS = sorted(path.stem for path in (ROOT / "sims").glob("*.py") if not path.stem.startswith("_"))
NOISY = {"rough_layers"}  # at toy size a verdict may fail by chance


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(ROOT)


def run(name, words, folder):
    sim = importlib.import_module(f"sims.{name}")
    return sim.main(tyro.cli(sim.Knobs, args=[*words.split(), "--results", str(folder), "--workers", "0"]))


def toy(name):
    """The command line of seconds that every sim brings along."""
    return importlib.import_module(f"sims.{name}").TOY


@pytest.mark.slow
@pytest.mark.parametrize("name", SIMS)
def test_toy_run_resumes_with_nothing_and_says_the_same(name, tmp_path, tmp_path_factory, capsys):
    toys, first, before = toy_run(name, tmp_path_factory.getbasetemp())
    shutil.copytree(toys, tmp_path, dirs_exist_ok=True)
    again = run(name, toy(name), tmp_path)
    after = capsys.readouterr()
    assert first == again
    assert first == 0 or name in NOISY
    assert " 0 computed" in after.out
    assert before.splitlines()[1:] == after.out.splitlines()[1:]
    last = after.out.splitlines()[-1]
    assert last.startswith(("supported: ", "NOT SUPPORTED: ", "no verdict"))
    assert first == ("NOT SUPPORTED" in after.out)
    assert "FAILED" not in after.out
    assert os.listdir(tmp_path) == [name]
    data = collection.load_latest(tmp_path / name)
    assert data.attrs["cells"] == len(list((tmp_path / name / "cells").iterdir()))


@pytest.mark.parametrize("name", SIMS)
def test_command_lines_in_the_docstring_are_accepted(name):
    sim = importlib.import_module(f"sims.{name}")
    lines = re.findall(rf"^    python -m sims\.{name}(.*)$", sim.__doc__, re.MULTILINE)
    assert len(lines) >= 3
    for line in lines:
        tyro.cli(sim.Knobs, args=line.partition("#")[0].split())


@pytest.mark.parametrize("name", SIMS)
def test_every_knob_has_a_reason(name):
    """In the sim's file, or in the library's where several share it; `--help` shows it."""
    sim = importlib.import_module(f"sims.{name}")
    said = set()
    for kind in sim.Knobs.__mro__[:-1]:
        lines = inspect.getsource(kind).splitlines()
        knobs = {match[1]: line for line in lines if (match := re.match(r"    (\w+): ", line))}
        assert set(knobs) == set(inspect.get_annotations(kind))
        for line in knobs.values():
            assert re.search(r"  # \S", line), line
        said |= set(knobs)
    assert said == {field.name for field in dataclasses.fields(sim.Knobs)}


def test_a_knob_is_declared_in_one_place():
    """What several sims have alike is in the library; a sim only says where its default is another."""
    for sims in itertools.combinations([importlib.import_module(f"sims.{name}") for name in SIMS], 2):
        first, second = (sim.Knobs for sim in sims)
        both = set(inspect.get_annotations(first)) & set(inspect.get_annotations(second))
        alike = {name for name in both if vars(first).get(name) == vars(second).get(name)}
        assert not alike & {"data", "data_folder", "download", "width", "results", "workers", "scheduler"}


def test_a_cell_takes_the_knobs_of_its_names():
    @dataclasses.dataclass(frozen=True)
    class Cell:
        depth: int
        seed: int
        sigma: float
        edition: int = 1

    sim = importlib.import_module("sims.cubic_decay")
    knobs = sim.Knobs(sigma=0.25)
    assert cell_from(Cell, knobs, depth=7, seed=3) == Cell(7, 3, 0.25, 1)
    with pytest.raises(TypeError, match="seed"):
        cell_from(Cell, knobs, depth=7)


@pytest.mark.parametrize("name", ["cubic_decay", "theorem_a"])
def test_a_cell_that_fails_leaves_no_verdict(name, tmp_path, capsys, monkeypatch):
    """The others are kept, and one line says what to do."""
    sim = importlib.import_module(f"sims.{name}")
    compute = sim.compute

    def broken(cell, *rest, **named):
        if cell.seed == 1:
            raise DomainError("no")
        return compute(cell, *rest, **named)

    monkeypatch.setattr(sim, "compute", broken)
    assert run(name, toy(name), tmp_path) == 1
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2
    assert re.match(r"no verdict: \d+ of \d+ cells are missing; run the same command again", said[-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        "--model linear --samples 60 --batch 20 --epochs 1 --seeds 3 --points 6 --method horizon-14",
        "--model resnet62 --data digits --samples 16 --batch 4 --epochs 0 --seeds 1 --points 8",
    ],
)
def test_slopes_of_the_models_of_the_paper(words, tmp_path, capsys):
    """Trained by a method, measured, and resumed with the same words."""
    first = run("bridge_slopes", words, tmp_path)
    before = capsys.readouterr().out.splitlines()
    assert run("bridge_slopes", words, tmp_path) == first
    assert capsys.readouterr().out.splitlines()[1:] == before[1:]
    model = words.split()[1]
    data = collection.load_latest(tmp_path / "bridge_slopes")
    assert data["ensemble"].values.tolist() == [model]
    assert int(data["depth"][0]) == {"linear": 15, "resnet62": 30}[model]
    assert np.isfinite(data["predicted_quadratic"]).all() == (model == "resnet62")
    assert data["sin2"].sel(epoch=0, shortfall=1).values.max() < 0.7
    assert before[-1].startswith(("supported", "NOT SUPPORTED", "no verdict"))


@pytest.mark.slow
def test_a_wrong_theorem_d_is_noticed(tmp_path, capsys, monkeypatch):
    """False twin: q and C doubled, at the start and in training."""
    from dlinear.bridge.angles import theorem_d

    true = theorem_d.theorem_d
    words = (
        "--combinations tanh-smooth --data linear --width 3 --samples 20 --batch 20 --depths 100 --epochs 4 "
        "--smooth-seeds 3 --points 8"
    )
    sim = importlib.import_module("sims.bridge_slopes")
    for factor, status in ((1.0, 0), (2.0, 1)):

        def twin(*numbers, factor=factor):
            return limits.DecayConstants(*(factor * value for value in true(*numbers)))

        monkeypatch.setattr(theorem_d, "theorem_d", twin)
        place = ["--results", str(tmp_path / str(factor)), "--workers", "0"]
        assert sim.main(tyro.cli(sim.Knobs, args=[*words.split(), *place])) == status
        said = capsys.readouterr().out
        assert len(re.findall("^NOT SUPPORTED: .* constant", said, re.MULTILINE)) == 2 * status


def test_help_from_a_shell():
    command = [sys.executable, "-m", "sims.theorem_a", "--help"]
    done = children.run(command, cwd=ROOT, check=True)
    assert "--seeds" in done.stdout
    assert "python -m sims.theorem_a" in done.stdout


def test_digits_smooth_order_and_constant(tmp_path, capsys):
    """The main claim on real data, with fewer seeds: order 3 within 0.05, Theorem B's constant within 3 %."""
    words = "--ensembles smooth --depths 10000 --seeds 2"
    assert run("cubic_decay", words, tmp_path) == 0
    said = capsys.readouterr().out
    order = float(re.search(r"order 3 \+- 0\.05: ([\d.]+)", said).group(1))
    ratio = float(re.search(r"measured/predicted: ([\d.]+)", said).group(1))
    assert abs(order - 3) < 0.01
    assert abs(ratio - 1) < 0.005


def test_digits_gaussian_order(tmp_path, capsys):
    assert run("cubic_decay", "--ensembles gaussian --depths 10000 --seeds 6", tmp_path) == 0
    order = float(re.search(r"order 2 \+- 0\.15: ([\d.]+)", capsys.readouterr().out).group(1))
    assert abs(order - 2) < 0.15


def test_a_wrong_law_is_not_supported(tmp_path, capsys, monkeypatch):
    """False twin: Theorem B with a constant 10 % too large, Theorem C with sigma^2 doubled."""

    sim = importlib.import_module("sims.cubic_decay")
    build = sim.build

    def wrong(cell, phi):
        net, law = build(cell, phi)
        return net, limits.DecayConstants(2.0 * law.quadratic, 1.1 * law.cubic)

    monkeypatch.setattr(sim, "build", wrong)
    words = "--data random --width 4 --ensembles smooth gaussian --depths 3000 --seeds 8"
    assert run("cubic_decay", words, tmp_path) == 1
    said = capsys.readouterr().out
    assert len(re.findall("^NOT SUPPORTED: .* Theorem [BC]", said, re.MULTILINE)) == 2
    assert len(re.findall("^supported: .* order", said, re.MULTILINE)) == 2


def test_the_printed_equation_27_is_not_autograds_gradient(tmp_path, capsys):
    assert run("autograd_error", "--depths 5 --printed", tmp_path) == 1
    assert "NOT SUPPORTED" in capsys.readouterr().out


def test_constant_layers_have_a_limit(tmp_path, capsys):
    assert run("oscillating_limit", "--depths 200000 --b 0", tmp_path) == 1
    assert "NOT SUPPORTED: T = 200000: sin^2/(1 - h/T)^3 swings" in capsys.readouterr().out


def test_a_bound_that_is_too_small_is_noticed(tmp_path, monkeypatch, capsys):
    sim = importlib.import_module("sims.theorem_a")
    bound = sim.bounds.theorem_a
    monkeypatch.setattr(sim.bounds, "theorem_a", lambda *words: bound(*words) / 10)
    assert run("theorem_a", "--width 1 --seeds 1 --points 8", tmp_path) == 1
    said = capsys.readouterr().out
    share = collection.load_latest(tmp_path / "theorem_a")
    count = int((share["sin2"] > share["bound"]).sum())
    assert count == sum(int(row.split()[-1]) for row in said.splitlines()[3:7])
    assert 0 < count < share["sin2"].size


@pytest.mark.slow
def test_spawned_workers_give_the_same_numbers(tmp_path):
    words = "--data random --width 3 --depths 100 --seeds 2 --points 5 --ensembles smooth mixed"
    command = [sys.executable, "-m", "sims.cubic_decay", *words.split(), "--workers", "2"]
    children.run([*command, "--results", str(tmp_path / "a")], cwd=ROOT, check=True)
    run("cubic_decay", words, tmp_path / "b")
    a, b = (collection.load_latest(tmp_path / place / "cubic_decay") for place in "ab")
    for name in a.data_vars:
        assert np.allclose(a[name], b[name], rtol=1e-12, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("cubic_decay", "--sigma 0", "--sigma must be finite and more than 0"),
        ("cubic_decay", "--crossover -5", "--crossover must be"),
        ("cubic_decay", "--largest 1", "--largest must be more than 0 and less than 1"),
        ("cubic_decay", "--ensembles", "--ensembles must hold one value or more"),
        ("cubic_decay", "--ensembles smooth smooth", "--ensembles must hold one value or more, each once"),
        ("rough_layers", "--depths 5", "--depths must be 10 or more"),
        ("rough_layers", "--depths 100 100", "--depths must hold one value or more, each once"),
        ("rough_layers", "--depths 100 --largest 100", "--largest must be more than 0 and less than 100"),
        ("oscillating_limit", "--w 0", "--w must be finite and not 0"),
        ("theorem_a", "--seeds 0", "--seeds must be 1 or more"),
        ("theorem_a", "--c 300", "--c must be more than 0 and less than 300"),
        ("autograd_error", "--widths 0", "--widths must be 1 or more"),
        ("anchored_training", "--tasks sine", "--tasks must be one of tanh, relu"),
        ("anchored_training", "--methods forward-1", "method forward-1 draws one random direction"),
        ("anchored_training", "--momentum 1", "--momentum must be 0 or more and less than 1"),
        ("horizon_schedule", "--horizons 2", "horizons holds [2]; expected two different ones"),
        ("horizon_schedule", "--horizons 1 16", "--horizons must be in 1..15"),
        ("horizon_schedule", "--epsilon 1", "--epsilon must be more than 0 and less than 1"),
        ("paper_angles", "--seeds 0", "--seeds must be 1 or more"),
        ("paper_angles", "--models linear --blocks 8", "linear has T = 8 blocks; a slope needs 9 or more"),
        ("paper_losses", "--models linear --horizons 16", "--horizons holds 16; linear has T = 15 blocks"),
        ("paper_losses", "--models linear linear", "--models must hold one value or more, each once"),
        ("paper_memory", "--points 2", "--points must be 3 or more"),
        ("paper_tuning", "--images mars", "--images must be one of digits, mnist"),
        ("paper_tuning", "--horizons 0", "--horizons holds 0; small_resnet50 has T = 9 blocks"),
        ("bridge_slopes", "--combinations sine", "--combinations holds 'sine'; allowed are identity-smooth,"),
        ("bridge_slopes", "--depths 10", "--depths must be 20 or more"),
        ("bridge_slopes", "--method magic", "method 'magic': allowed are accumulate-N, anchored-N"),
    ],
)
def test_a_knob_that_makes_no_sense_is_refused_before_any_work(name, words, said, tmp_path):
    with pytest.raises(DomainError, match=re.escape(said)):
        run(name, words, tmp_path)
    assert not list(tmp_path.iterdir())


def test_large_depth_refuses_its_knobs_in_one_line(tmp_path, capsys):
    assert run("large_depth", "--sigma 0", tmp_path) == 2
    assert capsys.readouterr().err.startswith("stopped: --sigma must be")


def test_an_interval_that_says_nothing_is_no_verdict(tmp_path, capsys):
    words = "--data random --width 4 --depths 1000 --seeds 2 --ensembles mixed --points 8"
    assert run("cubic_decay", words, tmp_path) == 0
    assert re.search(r"^no verdict: mixed layers.*take more seeds$", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize(
    ("interval", "says"),
    [((1.1, 0.7, 1.5), True), ((1.1, 0.5, 1.7), None), ((3.0, 2.0, 4.0), False), ((9.0, 2.0, 16.0), False)],
)
def test_what_an_interval_says_of_a_number(interval, says):
    assert statistics.Estimate(*interval).supports(1.0) is says


def test_missing_data_is_one_line(tmp_path):
    command = [sys.executable, "-m", "sims.cubic_decay", "--data", "cifar10", "--data-folder", str(tmp_path)]
    environment = {**os.environ, "DLINEAR_DATA": str(tmp_path / "none"), "PYTHONPATH": str(ROOT)}
    done = children.run(command, cwd=tmp_path, env=environment)
    assert done.returncode == 2
    assert done.stderr.startswith("error: cifar10 not found in ")
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_real_images_from_a_folder(tmp_path):
    """MNIST's layout through the same command, from a tiny file."""
    rng = np.random.default_rng(0)
    labels = (np.arange(60) % 10).astype(np.uint8)
    images = rng.integers(0, 256, size=(60, 28, 28), dtype=np.uint8)
    images[np.arange(60), labels] = 255  # one bright row for each label
    np.savez(tmp_path / "mnist.npz", x_train=images, y_train=labels, x_test=images[:5], y_test=labels[:5])
    words = "--data mnist --ensembles smooth --depths 3000 --seeds 2 --data-folder"
    assert run("cubic_decay", f"{words} {tmp_path}", tmp_path / "results") == 0
