"""One self-contained HTML page of what a run has found: statements, figures, numbers, where and how."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlinear.certify.claims import Claim, Verdict
from dlinear.certify.words import meanings
from dlinear.errors import RecordError
from dlinear.report import mathml

PAGE = Path(__file__).parent / "page"
ORDER = [Verdict.REFUTED, Verdict.UNDECIDED, Verdict.SUPPORTED, Verdict.CERTIFIED, Verdict.PROVED]
SHOWN = ("id", "verdict", "method", "evidence")  # what the page shows of a decided statement, as texts
WORDS = ("supported", "NOT SUPPORTED", "no verdict")  # how a simulation's verdict lines begin
LONGEST = 4000  # characters of a simulation's text; what is longer is cut in the middle


@dataclass(frozen=True)
class Figure:
    """A drawn figure.

    Attributes:
        name: of its script.
        path: the PNG.
        caption: in words.
    """

    name: str
    path: Path
    caption: str


@dataclass(frozen=True)
class Step:
    """One command that a run has started.

    Attributes:
        command: as it is typed.
        question: what it asks.
        status: its exit status.
        seconds: wall time.
        output: what it printed.
    """

    command: str
    question: str
    status: int
    seconds: float
    output: str


@dataclass(frozen=True)
class Findings:
    """Everything that the page shows.

    Attributes:
        claims: the registered statements.
        rows: decided statements by id, as `dlinear prove --json` writes them; those missing were not decided.
        figures: the drawn figures.
        steps: the commands.
        environment: name -> value, what the run was made with.
    """

    claims: Sequence[Claim]
    rows: Mapping[str, Mapping[str, Any]]
    figures: Sequence[Figure] = ()
    steps: Sequence[Step] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def read_rows(path: Path) -> dict[str, Mapping[str, Any]]:
    """The decided statements of a JSON file, by id; none where there is no file.

    Raises:
        RecordError: the file cannot be read as what `dlinear prove --json` writes.
    """
    if not path.is_file():
        return {}
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(rows, list):
            raise ValueError("it is no list")
        for row in rows:
            if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in SHOWN):
                raise ValueError(f"a row lacks one of {', '.join(SHOWN)}")
            Verdict(row["verdict"])
    except (OSError, ValueError) as error:
        raise RecordError(
            f"{path} holds no decided statements ({error}): run dlinear prove --json {path}"
        ) from None
    return {row["id"]: row for row in rows}


def read_step(path: Path) -> Step:
    """What a simulation has said, as `dlinear reproduce` keeps it.

    Raises:
        RecordError: the file cannot be read as that.
    """
    try:
        step = Step(**json.loads(path.read_text(encoding="utf-8")))
        texts = (step.command, step.question, step.output)
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("command, question and output are texts")
        if type(step.status) is not int or type(step.seconds) not in (int, float):
            raise ValueError("status and seconds are numbers")
    except (OSError, ValueError, TypeError) as error:
        raise RecordError(f"{path} cannot be read ({error}): remove it and run dlinear reproduce") from None
    return step


def page(found: Findings, title: str = "What holds in arXiv 2409.19561") -> str:
    """The whole page; it fetches nothing and runs from a file."""
    import jinja2
    from markupsafe import Markup

    def asset(name: str) -> Markup:
        return Markup((PAGE / name).read_text(encoding="utf-8"))

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["backquoted"] = _backquoted
    count = Counter(str(row["verdict"]) for row in found.rows.values())
    decided = [(claim, found.rows[claim.id]) for claim in found.claims if claim.id in found.rows]
    return environment.get_template("report.html").render(
        title=title,
        found=found,
        decided=decided,
        missing=len(found.claims) - len(decided),
        order=[str(verdict) for verdict in ORDER],
        counts=[(str(verdict), count[str(verdict)]) for verdict in reversed(ORDER) if count[str(verdict)]],
        said=Counter(line.partition(":")[0] for step in found.steps for line in verdict_lines(step.output)),
        asset=asset,
        meanings=meanings,
        formula=lambda text, goal: Markup(mathml.formula(text, goal)),
        verdict_lines=verdict_lines,
        shortened=shortened,
        base64=lambda path: base64.b64encode(path.read_bytes()).decode("ascii"),
    )


def verdict_lines(text: str) -> list[str]:
    """The lines of a simulation's output that answer its questions."""
    return [line for line in text.splitlines() if line.partition(":")[0] in WORDS]


def shortened(text: str) -> str:
    """A long text without its middle."""
    if len(text) <= LONGEST:
        return text
    left_out = len(text) - LONGEST
    return f"{text[: LONGEST // 2]}\n[... {left_out} characters left out ...]\n{text[-LONGEST // 2 :]}"


def _backquoted(text: str) -> Any:
    """What stands between backquotes as code."""
    from markupsafe import Markup, escape

    parts = [
        Markup("<code>{}</code>").format(part) if i % 2 else escape(part)
        for i, part in enumerate(text.split("`"))
    ]
    return Markup("").join(parts)
