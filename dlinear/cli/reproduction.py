"""The main job: proofs, simulations and figures, each a process of its own, and what they found."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dlinear.checks import as_place
from dlinear.cli import folders
from dlinear.report.html import read_rows
from dlinear.storage import check_writable, write_text

# Simulations of real models, half an hour in all; their figures have the same names.
REAL = (
    "bridge_*",
    "paper_*",
    "anchored_training",
    "architectures",
    "forward_forward",
    "horizon_schedule",
    "losses_and_horizons",
    "rules",
    "rules_pretraining",
    "select_horizon",
    "shifting_data",
)
COMMAND = (sys.executable, "-m", "dlinear")
ASKED = ("large_*",)  # run only by name: hours
COLOUR = re.compile(r"\x1b\[[\d;]*m")
VERDICT = re.compile(r"(?:\x1b\[[\d;]*m)?(supported|NOT SUPPORTED|no verdict)(?:\x1b\[0m)?: ")


@dataclass(frozen=True)
class Knobs:
    """What is reproduced."""

    part: Literal["paper", "bridge"] = "paper"  # paper: proofs and linear networks; bridge: real torch models
    results: str = "results"  # folder of records and certificates
    figures: str = "figures"  # folder of the figures


@dataclass
class Course:
    """What has run so far.

    Attributes:
        failed: command lines with an exit status other than 0.
        verdicts: number of verdict lines of each kind.
        output: what the last step has printed.
        seconds: wall time by kind of step.
    """

    failed: list[str] = field(default_factory=list)
    verdicts: Counter[str] = field(default_factory=Counter)
    output: str = ""
    seconds: dict[str, float] = field(default_factory=dict)


def chosen(folder: str, part: str) -> list[str]:
    """The scripts of a folder that belong to a part of the job."""
    found = []
    for name in folders.names(folder):
        if any(fnmatch.fnmatch(name, pattern) for pattern in ASKED):
            continue
        if any(fnmatch.fnmatch(name, pattern) for pattern in REAL) == (part == "bridge"):
            found.append(name)
    return found


def steps(knobs: Knobs) -> list[tuple[str, list[str]]]:
    """(kind, words after `dlinear`) of everything that is run, in its order."""
    found: list[tuple[str, list[str]]] = []
    if knobs.part == "paper":
        found.append(("proofs", ["prove", "--results", knobs.results, "--json", str(ledger(knobs))]))
    for name in chosen("sims", knobs.part):
        found.append(("simulations", ["sim", name, "--results", knobs.results]))
    places = ["--results", knobs.results, "--figures", knobs.figures]
    found.append(("figures", ["fig", *chosen("paper_figs", knobs.part), *places]))
    return found


def ledger(knobs: Knobs) -> Path:
    """The file of the decided statements."""
    return Path(knobs.results) / "statements.json"


def main(knobs: Knobs) -> int:
    """Check every statement of the paper, simulate on real data, draw the figures.

    `--part bridge` runs the experiments with real torch models instead (about half an hour). A step that
    fails does not stop the others; the exit status is 1 then.
    """
    for place in (knobs.results, knobs.figures):  # said now, and not by every step in turn
        check_writable(as_place("the folder", place))
    todo, course = steps(knobs), Course()
    if knobs.part == "paper":
        ledger(knobs).unlink(missing_ok=True)  # or the summary could count another run's verdicts
    print(f"dlinear: {_words(todo)}; records go to {knobs.results}/, figures to {knobs.figures}/", flush=True)
    for i, (kind, words) in enumerate(todo, 1):
        _heading(i, len(todo), words)
        start = time.monotonic()
        status = _run(words, course)
        took = time.monotonic() - start
        course.seconds[kind] = course.seconds.get(kind, 0.0) + took
        if kind == "simulations":
            _note(knobs, words, status, took, course.output)
        if status == 130:
            raise KeyboardInterrupt
        if status:
            course.failed.append(f"dlinear {' '.join(words[:2])} (exit status {status})")
    if knobs.part == "paper" and _run(
        ["report", "--results", knobs.results, "--figures", knobs.figures], course
    ):
        course.failed.append("dlinear report")
    lines = summary(knobs, course)
    write_text(Path(knobs.results) / f"summary_{knobs.part}.txt", "\n".join(lines) + "\n")
    print("\n" + "\n".join(lines))
    return 1 if course.failed else 0


def _words(todo: Sequence[tuple[str, list[str]]]) -> str:
    """What will be done, in words."""
    kinds = Counter(kind for kind, _ in todo)
    parts = ["the statements of the theory"] * bool(kinds["proofs"])
    return ", ".join([*parts, f"{kinds['simulations']} simulations", "their figures"])


def _heading(i: int, count: int, words: Sequence[str]) -> None:
    """Which step begins."""
    about = f": {folders.question('sims', words[1])}" if words[0] == "sim" else ""
    name = words[1] if words[0] == "sim" else ""
    print(f"\n[{i}/{count}] {' '.join(filter(None, [words[0], name]))}{about}", flush=True)


def _run(words: Sequence[str], course: Course) -> int:
    """One step; its lines are shown as they come, its verdicts counted; the exit status."""
    environment = dict(os.environ, PYTHONUNBUFFERED="1")
    if sys.stdout.isatty():
        environment.setdefault("COLUMNS", str(os.get_terminal_size(sys.stdout.fileno()).columns))
        environment.setdefault("FORCE_COLOR", "1")
    with subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        course.output = ""
        try:
            for line in process.stdout:
                print(line, end="", flush=True)
                course.output += COLOUR.sub("", line)
                if found := VERDICT.match(line):
                    course.verdicts[found[1]] += 1
        except BaseException:
            process.terminate()
            raise
    return 128 - process.returncode if process.returncode < 0 else process.returncode


def _note(knobs: Knobs, words: Sequence[str], status: int, seconds: float, output: str) -> None:
    """Keep what a simulation has said for the report, in place of what it said before."""
    step = {
        "command": f"dlinear {' '.join(words[:2])}",
        "question": folders.question("sims", words[1]),
        "status": status,
        "seconds": round(seconds, 1),
        "output": output,
    }
    write_text(Path(knobs.results) / "steps" / f"{words[1]}.json", json.dumps(step, indent=1) + "\n")


def summary(knobs: Knobs, course: Course) -> list[str]:
    """The closing lines: what holds, what does not, what was measured, where it lies, how long it took."""
    lines = ["summary"]
    if knobs.part == "paper" and ledger(knobs).is_file():
        count = Counter(str(row["verdict"]) for row in read_rows(ledger(knobs)).values())
        lines += [
            f"  holds         {count['proved']} statements proved, {count['certified']} certified, "
            f"{count['supported']} supported by numbers",
            f"  refuted       {count['refuted']} statements, each with its counterexample",
        ]
    said = course.verdicts
    lines += [
        f"  measured      {said['supported']} questions supported, {said['NOT SUPPORTED']} not, "
        f"{said['no verdict']} without a verdict",
        f"  report        {Path(knobs.results) / 'report.html'}; open it in a browser",
        f"  figures       {len(list(Path(knobs.figures).glob('*.pdf')))} in {knobs.figures}/",
        f"  certificates  {Path(knobs.results) / 'certificates'}; dlinear prove --check FILE reads one again",
        "  took          " + ", ".join(f"{kind} {seconds:.0f} s" for kind, seconds in course.seconds.items()),
        f"  failed        {'; '.join(course.failed) or 'nothing'}",
    ]
    return lines
