"""The end of a script: verdict lines, exit statuses, one line for whatever stops it."""

from __future__ import annotations

import os
import re
import sys

import children
import numpy as np
import pytest
from paths import ROOT

from dlinear import optional, report
from dlinear.errors import DomainError, MissingDependencyError
from dlinear.runs import collection, script


def test_an_undecided_question_is_no_support_and_no_failure(capsys):
    vague = report.Answer("order", None, "1.2 [-70, 70]")
    assert report.finish([vague, report.Answer("constant", True, "1.0")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == ["no verdict: order: 1.2 [-70, 70]: take more seeds", "supported: constant: 1.0"]
    assert report.finish([vague, report.Answer("constant", False, "2.0")]) == 1


@pytest.mark.parametrize("holds", [False, np.bool_(False), np.array(1.0) > 2])
def test_a_no_of_any_kind_fails_the_script(holds):
    """A comparison of numpy's gives no `False`; the line and the exit status must not disagree."""
    assert report.finish([report.Answer("constant", True, "1.0"), report.Answer("order", holds, "2.0")]) == 1


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (DomainError("no"), 2, "error: no"),
        (PermissionError(13, "Permission denied", "x"), 2, "error: [Errno 13] Permission denied: 'x'"),
        (
            ModuleNotFoundError("none", name="flint.types"),
            2,
            "error: this command needs flint: pip install python-flint",
        ),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_stops_a_script_is_one_line(error, status, line, capsys):
    def main():
        raise error

    assert script.command(main) == status
    assert capsys.readouterr().err.strip() == line


@pytest.mark.skipif(os.name != "posix", reason="pipes of a shell")
@pytest.mark.parametrize("lines", [1, 10_000])
def test_a_reader_that_has_seen_enough_ends_the_script_quietly(lines):
    """Whether the pipe breaks while printing or with the last flush."""
    code = f"""
import sys, time
from dlinear.runs import script
sys.stdin.readline()
sys.exit(script.command(lambda: print("line\\n" * {lines}) or 0))
"""
    command = [sys.executable, "-c", code]
    running = children.start(command, cwd=ROOT, **children.PIPES)
    running.stdout.close()
    _, said = running.stdin.write("go\n"), running.stdin.close()
    said = running.stderr.read()
    running.stderr.close()
    assert (running.wait(timeout=60), said) == (141, "")


def test_the_missing_package_is_named_not_the_imported_one(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with (
        pytest.raises(MissingDependencyError, match=r"^digits needs scipy: pip install scipy$"),
        optional.needed("digits"),
    ):
        import scipy.special  # noqa: F401
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingDependencyError, match="pip install scikit-learn"), optional.needed("digits"):
        import sklearn.datasets  # noqa: F401


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "script"),
    [
        ("tyro", "sims.theorem_a"),
        ("tqdm", "sims.theorem_a"),
        ("xarray", "paper_figs decay"),
        ("matplotlib", "paper_figs k_map"),
        ("sympy", "proofs eq_9"),
        ("flint", "proofs eq_9"),
        ("tyro", "paper_figs k_map"),
        ("tyro", "sims.large_depth"),
        ("tyro", "benchmarks.large_depth"),
        ("sklearn", "sims.large_depth --depth 2000"),
        ("torch", "sims.autograd_error"),
    ],
)
def test_a_script_names_the_package_it_lacks(package, script, tmp_path):
    """A folder before all others holds a package that fails as a missing one does."""
    name, *words = script.split()
    (tmp_path / f"{package}.py").write_text(f"raise ModuleNotFoundError('none', name={package!r})")
    if name.startswith("sims.") and package != "tyro":
        words += ["--results", str(tmp_path)]
    if name == "paper_figs":
        words += ["--results", str(tmp_path), "--figures", str(tmp_path)]
    if package == "xarray":
        collection.mark_latest(tmp_path / "cubic_decay", ["a"])
    done = ended(name, words, f"import sys; sys.path.insert(0, {str(tmp_path)!r})", tmp_path)
    assert done.returncode == 2, done.stderr
    assert f"needs {package}: pip install " in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def ended(name, words, first, folder):
    """A script run as `python -m name words` in a folder after some preparation."""
    code = f"import runpy, sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv[1:] = {words!r}; {first}"
    code += f"; runpy.run_module({name!r}, run_name='__main__', alter_sys=True)"
    return children.run([sys.executable, "-c", code], cwd=folder)


@pytest.mark.slow
def test_the_ledger_says_in_one_line_that_it_cannot_write(tmp_path):
    first = "from pathlib import Path; Path.mkdir = lambda *_, **__: open('/')"
    done = ended("proofs", ["eq_9"], first, tmp_path)
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(r"error: cannot write \S+\.json: Is a directory\n", done.stderr), done.stderr
