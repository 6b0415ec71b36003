"""The decided claims on a terminal: grouped by verdict, in colour, as wide as the window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlinear.certify.claims import Verdict
from dlinear.certify.decide import CHECKED, Row

STYLES = {
    "refuted": "magenta",
    "undecided": "yellow",
    "supported": "cyan",
    "certified": "green",
    "proved": "green",
}
NARROW = 72  # characters of a line, below which evidence stands under the claim and not beside it
INSTEAD = {  # what a verdict says, in words
    "proved": "holds; the certificate checks again",
    "certified": "holds on the boxes that the claim names",
    "supported": "agrees with numbers; not proved",
    "refuted": "false as it stands; the counterexample checks again",
    "undecided": "neither proved nor refuted here",
}


def show(rows: Sequence[Row], file: Any = None, width: int | None = None) -> None:
    """Print a table for each verdict, counterexamples beside what they refute; NO_COLOR is respected.

    Args:
        rows: decided claims.
        file: where to; standard output by default.
        width: characters of a line; those of the window by default.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(file=file, width=width, highlight=False, soft_wrap=False)
    for verdict in map(
        str, (Verdict.REFUTED, Verdict.UNDECIDED, Verdict.SUPPORTED, Verdict.CERTIFIED, Verdict.PROVED)
    ):
        group = [row for row in rows if str(row.outcome.verdict) == verdict]
        if group:
            title = f"{verdict}: {len(group)} ({INSTEAD[verdict]})"
            console.print(Text(title, style=f"bold {STYLES[verdict]}"))
            console.print((_table if console.width >= NARROW else _list)(group, verdict))
    if any(row.claim.conditional for row in rows):
        console.print("if: given what the claim assumes, see docs/claims.md")


def _table(group: Sequence[Row], verdict: str) -> Any:
    """Reference, id, the evidence or the method, seconds; long cells go on in the next line."""
    from rich.table import Table
    from rich.text import Text

    found = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=True, header_style="dim")
    found.add_column("reference", max_width=20)
    found.add_column("claim", style=STYLES[verdict], no_wrap=True)
    found.add_column("counterexample" if verdict == "refuted" else "method", ratio=1, overflow="fold")
    found.add_column("s", justify="right", no_wrap=True)
    for row in group:
        cells = (row.claim.reference, _marked(row), _about(row, verdict), f"{row.seconds:.1f}")
        found.add_row(*map(Text, cells), style=None if row.expected else "bold red")
    return found


def _list(group: Sequence[Row], verdict: str) -> Any:
    """Id, and below it the evidence or the method, indented."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    lines: list[Any] = []
    for row in group:
        lines.append(Text(_marked(row), style=STYLES[verdict] if row.expected else "bold red"))
        lines.append(Padding(Text(_about(row, verdict), overflow="fold"), (0, 0, 0, 2)))
    return Group(*lines)


def _marked(row: Row) -> str:
    """The id, whether it holds only given something, whether this was not expected."""
    given = " (if)" if row.claim.conditional and row.outcome.verdict in CHECKED else ""
    return row.claim.id + given + ("" if row.expected else " UNEXPECTED")


def _about(row: Row, verdict: str) -> str:
    """The counterexample of what is refuted, the method of the others."""
    return row.outcome.evidence if verdict == "refuted" and row.expected else row.outcome.method
