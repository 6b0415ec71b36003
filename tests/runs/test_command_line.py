"""A command line: its order in --help, and one line about whatever is wrong with it."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

import children
import pytest
import tyro
from paths import ROOT

from dlinear.errors import DomainError
from dlinear.runs import command_line, script
from dlinear.runs.knobs import Target
from dlinear.runs.launch import Launch


@dataclass(frozen=True)
class Knobs(Target, Launch):
    """What to run."""

    depths: tuple[int, ...] = (3,)  # T, layers
    kind: Literal["smooth", "rough"] = "smooth"  # of layers
    sigma: float = 1.0  # size
    places: Annotated[int | None, tyro.conf.arg(aliases=["--spots"])] = None  # with another name


def test_the_knobs_of_the_question_stand_first():
    names = [field.name for field in fields(command_line.own_first(Knobs))]
    own, target, source = ["depths", "kind", "sigma", "places"], ["data", "width", "points"], ["data_folder"]
    assert names[:7] == own + target
    assert names[7:9] == [*source, "download"]
    assert names[-1] == "results"
    assert Knobs(sigma=2.0) == Knobs(**{**vars(Knobs()), "sigma": 2.0})


def test_words_become_knobs():
    words = "--depths 4 5 --kind rough --spots 3 --data-folder there --download --workers 2"
    found = command_line.parse(Knobs, words=words.split())
    assert found == Knobs(
        depths=(4, 5), kind="rough", places=3, data_folder="there", download=True, workers=2
    )
    assert command_line.parse(Knobs, words=[]) == Knobs()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--sigmma 3", "unknown option --sigmma; did you mean --sigma?"),
        ("--data_foldr=x", "unknown option --data_foldr; did you mean --data-folder?"),
        ("--qqq", "unknown option --qqq; .* --help lists the options"),
        ("extra", "unexpected word 'extra'; .* --help lists the options"),
        ("--kind smoth", "--kind must be one of smooth, rough; received 'smoth'; did you mean smooth?"),
        ("--kind 7", "--kind must be one of smooth, rough; received '7'"),
        ("--sigma abc", "--sigma takes FLOAT; received 'abc'"),
        ("--width 2.5", "--width takes INT; received '2.5'"),
        ("--depths 2 nan", r"--depths takes \[INT \[INT ...\]\]; received \['2', 'nan'\]"),
        ("--sigma", "Missing value for argument '--sigma'. Expected 1 values."),
    ],
)
@pytest.mark.parametrize("boxes", [True, False], ids=["boxes", "ascii"])
def test_a_mistake_is_one_line(words, said, boxes, capsys):
    for width in ("40", "200"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("COLUMNS", width)
            patch.setattr("tyro._fmtlib._should_use_utf8_drawing_chars", lambda: boxes)
            with pytest.raises(DomainError, match=f"^{said.replace('?', '[?]')}$") as caught:
                command_line.parse(Knobs, words=words.split())
        assert "\n" not in str(caught.value)
    assert capsys.readouterr() == ("", "")


def test_help_is_no_mistake(capsys):
    with pytest.raises(SystemExit) as end:
        command_line.parse(Knobs, "What it is for.", words=["--help"])
    assert not end.value.code
    said = capsys.readouterr().out
    assert "What it is for." in said
    assert said.index("--depths") < said.index("--data") < said.index("--workers")


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("sims.theorem_a", "--seedz 3", "error: unknown option --seedz; did you mean --seeds?"),
        ("sims", "theorem_b", "error: unknown simulation 'theorem_b'; .*did you mean theorem_a?"),
        ("sims", "theorem_a --seeds x", "error: --seeds takes INT; received 'x'"),
        ("paper_figs", "decai", "error: unknown figure 'decai'; .*did you mean decay?"),
        ("paper_figs", "--figurez x", "error: unknown option --figurez; did you mean --figures?"),
    ],
)
def test_every_script_says_it_alike(name, words, said, tmp_path):
    command = [sys.executable, "-m", name, *words.split()]
    done = children.run(command, cwd=ROOT)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    start, _, end = said.partition(".*")
    assert done.stderr.startswith(start)
    assert done.stderr.rstrip().endswith(end)


def test_the_list_of_simulations_names_every_one_with_its_question(capsys, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    runner = importlib.import_module("sims.__main__")
    monkeypatch.setattr(sys, "argv", ["sims"])
    assert script.command(runner.main) == 0
    said = capsys.readouterr().out
    for path in (ROOT / "sims").glob("[a-z]*.py"):
        assert importlib.import_module(f"sims.{path.stem}").__doc__.splitlines()[0] in said


SCRIPTS = [*sorted(p.stem for p in (ROOT / "sims").glob("[a-z]*.py")), "paper_figs", "proofs"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_that_torchrun_starts_several_times_is_refused_unless_it_shares_its_work(name, monkeypatch):
    """Each rank would compute everything and write the same records."""
    monkeypatch.syspath_prepend(ROOT)
    path = f"{name}.__main__" if name in ("paper_figs", "proofs") else f"sims.{name}"
    module, called = importlib.import_module(path), []
    monkeypatch.setattr(sys, "argv", [name])
    monkeypatch.setattr(module, "main", lambda knobs: called.append(knobs) or 0)
    source = Path(module.__file__).read_text(encoding="utf-8")
    (call,) = re.findall(r"raise SystemExit\((script\.run\(.*\))\)$", source, re.MULTILINE)
    monkeypatch.setenv("RANK", "1")
    for size, status in (("2", 0 if name == "large_depth" else 2), ("1", 0)):
        monkeypatch.setenv("WORLD_SIZE", size)
        called.clear()
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            assert eval(call, vars(module)) == status, said.getvalue()
        assert len(called) == (status == 0)
        if status:
            line = said.getvalue()
            assert len(line.splitlines()) == 1
            assert "runs in one process, and this is rank 1 of 2: start it without torchrun" in line
            assert ("--workers N computes in N processes here" in line) == hasattr(module.Knobs, "workers")
            assert ("--shard i/N in N jobs" in line) == hasattr(module.Knobs, "shard")
