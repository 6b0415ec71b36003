"""docs/reproduction.md: what the paper says, what was measured, whether it agrees, from extracts of records.

docs/records/paper.json holds the paper's statements, docs/records/<experiment>.json what one experiment
found about them (`extract`), docs/reproduction.md both side by side (`page`): a function of these files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dlinear.errors import RecordError
from dlinear.report.verdicts import table
from dlinear.storage import read_json, replacing

PAPER = "paper"  # the file of the paper's statements
WORDS = {True: "yes", False: "no", None: "cannot say"}
HEADER = ("claim", "model", "measured", "agrees")
INTRODUCTION = """# Section 5 and appendix E, rerun

Generated from docs/records by `python -m paper_figs --reproduction`; do not edit. Means have 95 % intervals
over the seeds (Student's t). *Reduced* names what a run takes less of than Table D2; such a run can support a
statement about the paper's models and does not reproduce it. *Agrees* is decided by the numbers shown:
*cannot say* where their intervals are too long. Losses count as alike within a factor of 1.5, accuracies
within .02, batches as reciprocal within 10 %, points as a line from R^2 = .99 on.
"""


@dataclass(frozen=True)
class Finding:
    """What one experiment says about one statement of the paper, for one model.

    Attributes:
        claim: id of the statement in paper.json.
        model: what was measured, in words.
        measured: the figures, with intervals.
        holds: whether they agree with the statement; None where they cannot say.
        why: the reason of a disagreement, or what else a reader has to know; "" for nothing.
    """

    claim: str
    model: str
    measured: str
    holds: bool | None
    why: str = ""


def findings_table(findings: Sequence[Finding]) -> str:
    """The findings as plain text, for a terminal."""
    return table(HEADER, [[one.claim, one.model, one.measured, WORDS[one.holds]] for one in findings])


def extract(command: str, sizes: Mapping[str, str], findings: Iterable[Finding]) -> dict[str, Any]:
    """The content of docs/records/<experiment>.json.

    Args:
        command: that makes the records.
        sizes: model -> seeds, samples, epochs in words.
        findings: see `Finding`.
    """
    return {"command": command, "sizes": dict(sizes), "findings": [asdict(one) for one in findings]}


def write(folder: Path, name: str, content: Mapping[str, Any]) -> None:
    """Write docs/records/<name>.json.

    Raises:
        RecordError: a failed write.
    """
    with replacing(folder / f"{name}.json") as stream:
        stream.write((json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def read(folder: Path) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """The paper's statements, and the extracts by the name of their experiment.

    Raises:
        RecordError: a file that is missing or damaged, or a finding about a statement that is none.
    """
    found = {path.stem: read_json(path, RecordError) for path in sorted(folder.glob("*.json"))}
    try:
        statements = found.pop(PAPER)
        known = {one["id"] for one in statements}
        for name, content in found.items():
            for finding in content["findings"]:
                Finding(**finding)
                if finding["claim"] not in known:
                    raise RecordError(f"{name}.json speaks of {finding['claim']!r}, which paper.json has not")
    except (KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"{folder} is damaged: {error}; run python -m paper_figs --reproduction") from error
    return statements, found


def page(statements: Sequence[Mapping[str, Any]], extracts: Mapping[str, Mapping[str, Any]]) -> str:
    """docs/reproduction.md."""
    lines = [INTRODUCTION, "## Runs", "", "| command | model | seeds and size |", "|---|---|---|"]
    for content in extracts.values():
        for model, size in content["sizes"].items():
            lines.append(f"| `{content['command']}` | {_cell(model)} | {_cell(size)} |")
    rows = [Finding(**one) for content in extracts.values() for one in content["findings"]]
    lines += ["", "## Statements", ""]
    lines += [
        "| where | the paper says | model | measured | agrees | why, remarks |",
        "|---|---|---|---|---|---|",
    ]
    for statement in statements:
        own = [one for one in rows if one.claim == statement["id"]]
        said = [_cell(statement["where"]), _cell(statement["says"])]
        if "tested" in statement:
            shown = f"[{statement['tested']}](../{statement['tested']})"
            said += ["-", shown, f"**{statement['answer']}**", _cell(statement["why"])]
            lines.append(f"| {' | '.join(said)} |")
        elif not own:
            lines.append(
                f"| {' | '.join([*said, '-', 'not measured', '-', _cell(statement.get('why', ''))])} |"
            )
        for k, one in enumerate(own):
            first = said if not k else ["", ""]
            last = [one.model, one.measured, f"**{WORDS[one.holds]}**", one.why]
            lines.append(f"| {' | '.join([*first, *map(_cell, last)])} |")
    counts = {word: sum(WORDS[one.holds] == word for one in rows) for word in WORDS.values()}
    lines += ["", f"{len(rows)} findings: {', '.join(f'{n} {word}' for word, n in counts.items())}.", ""]
    return "\n".join(lines)


def write_page(docs: Path) -> None:
    """Write docs/reproduction.md from docs/records.

    Raises:
        RecordError: a damaged file or a failed write.
    """
    with replacing(docs / "reproduction.md") as stream:
        stream.write(page(*read(docs / "records")).encode())


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
