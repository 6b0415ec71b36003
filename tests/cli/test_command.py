"""The command `dlinear`: its words, its refusals, and the main job over stand-ins of the scripts."""

import json
import sys
from importlib.metadata import version

import pytest
from paths import ROOT

from dlinear.cli import citation, folders, information, main, reproduction
from dlinear.errors import DomainError, MissingDependencyError
from dlinear.runs import command_line
from dlinear.storage import WriteError


def said(capsys, *words):
    """(exit status, output) of a command that runs in this process."""
    return main.dispatch(list(words)), capsys.readouterr().out


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",), ("help",)])
def test_help_names_every_command(words, capsys):
    status, out = said(capsys, *words)
    assert status == 0
    for name, command in main.COMMANDS.items():
        assert f"dlinear {name}" in out
        assert command.purpose in out


def test_version_and_citation(capsys):
    assert said(capsys, "--version") == (0, f"dlinear {version('dlinear')}\n")
    status, out = said(capsys, "cite")
    assert status == 0
    assert out.count("@") == 2
    assert "2409.19561" in out
    assert out.count("{") == out.count("}")
    title = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert citation.PAPER.split("= {")[1].split("}")[0] in title


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["simm"], "did you mean sim?"),
        (["sim", "cubic_decy"], "did you mean cubic_decay?"),
        (["sim", "regret"], "did you mean selection_regret?"),
        (["sim", ""], "unknown simulation ''"),
        (["info", "--yaml"], "takes --json or nothing"),
        (["cite", "x"], "takes no words"),
        (["completion"], "takes one shell: bash, zsh, tcsh"),
        (["completion", "bsh"], "did you mean bash?"),
    ],
)
def test_a_wrong_word_is_refused_in_one_line(words, error):
    with pytest.raises(DomainError) as caught:
        main.dispatch(words)
    assert error in str(caught.value)
    assert "\n" not in str(caught.value)


def test_simulations_are_listed_with_their_questions(capsys):
    _, out = said(capsys, "sim")
    for name in folders.names("sims"):
        assert name in out
    assert "Does Theorem A's bound hold" in out


def test_info_tells_what_a_bug_report_needs(capsys):
    _, out = said(capsys, "info", "--json")
    found = json.loads(out)
    assert found["python"].startswith(".".join(map(str, sys.version_info[:3])))
    assert found["cores"] >= 1
    assert found["packages"]["numpy"]
    assert None not in found["packages"].values()
    assert "torch" in found["threads"]
    text = information.text(found)
    assert "numpy " in text
    assert len(text.splitlines()) == len(found)


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_commands_and_names(shell, capsys):
    _, out = said(capsys, "completion", shell)
    assert "cubic_decay" in out
    assert "reproduce" in out


def test_a_library_without_its_scripts_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(folders, "LIBRARY", tmp_path / "dlinear")
    with pytest.raises(MissingDependencyError, match="neither beside nor inside"):
        folders.home()


@pytest.fixture
def started(monkeypatch):
    """As if the user had typed `dlinear sim theorem_a`."""
    monkeypatch.setattr(command_line, "_TYPED", command_line._Typed("dlinear sim theorem_a"))


def test_commands_are_named_as_the_user_typed_them(started):
    assert command_line.program() == "dlinear sim theorem_a"
    text = "run: python -m sims.cubic_decay --seeds 3, then python -m paper_figs decay, python -m proofs eq_9"
    assert command_line.as_typed(text) == (
        "run: dlinear sim cubic_decay --seeds 3, then dlinear fig decay, dlinear prove eq_9"
    )


def test_in_a_checkout_modules_are_named():
    assert command_line.as_typed("python -m sims.cubic_decay") == "python -m sims.cubic_decay"


# -- the main job -------------------------------------------------------------------------------------------
def test_every_simulation_and_figure_belongs_to_one_part():
    for folder in ("sims", "paper_figs"):
        paper, bridge = reproduction.chosen(folder, "paper"), reproduction.chosen(folder, "bridge")
        large = [name for name in folders.names(folder) if name.startswith("large_")]
        assert sorted(paper + bridge + large) == folders.names(folder)
    assert "theorem_a" in paper
    assert "bridge_memory" in bridge


STAND_IN = """
import json, sys
words = sys.argv[1:]
print("ran", *words[:2], flush=True)
if words[0] == "prove":
    rows = [{"id": v, "verdict": v, "method": "", "evidence": ""} for v in ("proved", "refuted")]
    json.dump(rows, open(words[words.index("--json") + 1], "w"))
if words[:2] == ["sim", "good"]:
    print("supported: q: 1")
    print("no verdict: q: 2")
if words[:2] == ["sim", "bad"]:
    print("NOT SUPPORTED: q: 3")
    sys.exit(1)
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """`python -m dlinear` is a file that only says what it was asked for."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    monkeypatch.setattr(reproduction, "COMMAND", (sys.executable, str(tmp_path / "stand_in.py")))
    monkeypatch.setattr(reproduction.folders, "question", lambda folder, name: "a question?")
    names = {"sims": ["good", "bad"], "paper_figs": ["one"]}
    monkeypatch.setattr(reproduction, "chosen", lambda folder, part: names[folder])
    return tmp_path


def test_the_main_job_goes_on_after_a_failure_and_sums_up(stand_in, capsys):
    assert reproduction.main(reproduction.Knobs()) == 1
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0] == (
        "dlinear: the statements of the theory, 2 simulations, their figures; "
        "records go to results/, figures to figures/"
    )
    assert "[2/4] sim good: a question?" in lines
    assert lines.index("ran sim bad") < lines.index("ran fig one")
    closing = out[out.index("summary") :]
    assert "1 statements proved" in closing
    assert "refuted       1 statements" in closing
    assert "1 questions supported, 1 not, 1 without a verdict" in closing
    assert "failed        dlinear sim bad (exit status 1)" in closing
    assert len(closing.splitlines()) <= 10
    assert (stand_in / "results" / "summary_paper.txt").read_text() == closing


@pytest.mark.parametrize("place", ["results", "figures"])
def test_a_place_that_cannot_be_written_ends_the_job_at_once(stand_in, capsys, place):
    (stand_in / "taken").write_text("")
    with pytest.raises(WriteError, match=r"cannot write to taken: \w+"):
        reproduction.main(reproduction.Knobs(**{place: "taken"}))
    assert "ran" not in capsys.readouterr().out


def test_an_interrupted_step_ends_the_job(stand_in, monkeypatch):
    (stand_in / "stand_in.py").write_text("raise SystemExit(130)")
    with pytest.raises(KeyboardInterrupt):
        reproduction.main(reproduction.Knobs())


def test_an_interruption_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(knobs):
        raise KeyboardInterrupt

    monkeypatch.setattr(reproduction, "main", interrupted)
    interrupted.__doc__ = "Reproduce."
    with pytest.raises(KeyboardInterrupt):
        main.dispatch(["reproduce"])
    assert capsys.readouterr().err == (
        "interrupted: the same command goes on with the records that are there\n"
    )


def test_a_closed_output_is_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "argv", ["dlinear", "--version"])
    assert main.main() == 0


def test_signals_become_exit_statuses(stand_in):
    (stand_in / "stand_in.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert reproduction._run(["sim", "good"], reproduction.Course()) == 128 + 9


def test_the_bridge_proves_nothing():
    kinds = {kind for kind, _ in reproduction.steps(reproduction.Knobs(part="bridge"))}
    assert kinds == {"simulations", "figures"}
    words = reproduction.steps(reproduction.Knobs(part="bridge"))[-1][1]
    assert "bridge_memory" in words
    assert "decay" not in words


def test_verdicts_of_another_run_are_not_counted(stand_in, capsys):
    reproduction.ledger(reproduction.Knobs()).write_text('[{"verdict": "proved"}]')
    (stand_in / "stand_in.py").write_text(
        STAND_IN.replace('if words[0] == "prove":', 'if words[0] == "prove":\n    sys.exit(3)')
    )
    assert reproduction.main(reproduction.Knobs()) == 1
    closing = capsys.readouterr().out.partition("summary")[2]
    assert "proved" not in closing
    assert "dlinear prove --results (exit status 3)" in closing
