"""What a run on a GPU has found: tables, with the numbers behind them, as JSON and as a page."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

INTRODUCTION = """# On a GPU

`make gpu` (`python -m benchmarks.gpu`) checks the engine on a CUDA device against numpy and measures it, in
one script of at most six minutes; parts for which no time is left say so. This page is made from the record
[gpu.json](gpu.json) by `python -m benchmarks.gpu --page docs/gpu.json`; figures are
of the card and the versions in the first table.
"""


@dataclass(frozen=True)
class Table:
    """What one part has found.

    Attributes:
        name: of the part.
        title: a heading.
        header, rows: the table.
        notes: sentences under it.
        failures: what is wrong, one line each; empty where all is well.
        numbers: what the rows were made of.
    """

    name: str
    title: str
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    notes: Sequence[str] = ()
    failures: Sequence[str] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)


def write(tables: Iterable[Table], path: Path) -> None:
    """The record: one JSON list of tables."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(table) for table in tables], indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> list[Table]:
    """The tables of a record."""
    return [Table(**one) for one in json.loads(path.read_text(encoding="utf-8"))]


def page(tables: Iterable[Table]) -> str:
    """The tables as Markdown."""
    parts = [INTRODUCTION]
    for table in tables:
        lines = [f"## {table.title}", ""]
        if table.rows:
            lines += [_row(table.header), _row(["---"] * len(table.header)), *map(_row, table.rows), ""]
        lines += [*table.notes, *(f"FAILED: {line}" for line in table.failures)]
        parts.append("\n".join(lines).rstrip() + "\n")
    return "\n".join(parts)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
