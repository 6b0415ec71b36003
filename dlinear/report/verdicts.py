"""What a script prints at its end: a table, and one verdict line for each question."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

COLOURS = {"supported": "32", "NOT SUPPORTED": "1;31", "no verdict": "33"}  # of terminals (ECMA-48)


@dataclass(frozen=True)
class Answer:
    """The outcome of one question that a script asks of numbers.

    Attributes:
        question: what was asked, with the target.
        holds: whether the numbers meet the target; None when they are too vague to say.
        numbers: the figures that decide.
    """

    question: str
    holds: bool | None
    numbers: str

    def __str__(self) -> str:
        """One line; numbers alone support a statement and never prove it."""
        if self.holds is None:
            return f"no verdict: {self.question}: {self.numbers}: take more seeds"
        return f"{'supported' if self.holds else 'NOT SUPPORTED'}: {self.question}: {self.numbers}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], widest: int | None = None) -> str:
    """Aligned plain-text columns under a header and a rule; cells are cut off at `widest` characters.

    On a terminal that is too narrow for them they are folded, see `_folded`.
    """
    every = [[cell[:widest] for cell in row] for row in (header, *rows)]
    if on_terminal() and _width(every) > (window := shutil.get_terminal_size().columns):
        return _folded(every, window)
    widths = [max(len(row[i]) for row in every) for i in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in every]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def on_terminal() -> bool:
    """Whether standard output is a window, or one that shows it has asked for colour (FORCE_COLOR)."""
    return sys.stdout.isatty() or bool(os.environ.get("FORCE_COLOR"))


def coloured(line: str) -> str:
    """A verdict line with its first words in colour; as it is where NO_COLOR is set."""
    word = line.partition(":")[0]
    if os.environ.get("NO_COLOR") or word not in COLOURS:
        return line
    return f"\x1b[{COLOURS[word]}m{word}\x1b[0m{line.removeprefix(word)}"


def _width(every: Sequence[Sequence[str]]) -> int:
    """Characters of a line of the table, two between columns."""
    return sum(max(map(len, column)) + 2 for column in zip(*every, strict=True)) - 2


def _folded(every: Sequence[Sequence[str]], width: int) -> str:
    """The table within a width: headers and long texts go on in the next line, numbers stay whole.

    Columns that do not fit beside the others follow below, beside the first column again.
    """
    columns = [[cell.strip() for cell in column] for column in zip(*every, strict=True)]
    most = max(width // 2 - 2, 8)
    sizes = [min(most, max(map(len, [*column[0].split(), *column[1:], ""]))) for column in columns]
    parts = [[0]]
    for k in range(1, len(columns)):
        if len(parts[-1]) > 1 and sum(sizes[c] + 2 for c in [*parts[-1], k]) - 2 > width:
            parts.append([0])
        parts[-1].append(k)
    lines = []
    for part in parts:
        for row in range(len(every)):
            cells = [textwrap.wrap(columns[k][row], sizes[k]) or [""] for k in part]
            for line in itertools.zip_longest(*cells, fillvalue=""):
                lines.append("  ".join(text.ljust(sizes[k]) for text, k in zip(line, part, strict=True)))
            if row == 0:
                lines.append("  ".join("-" * sizes[k] for k in part))
        lines.append("")
    return "\n".join(line.rstrip() for line in lines[:-1])


def finish(answers: Sequence[Answer]) -> int:
    """Print the verdict lines; the exit status, 0 iff none fails."""
    lines = [str(answer) for answer in answers]
    lines = lines or ["no verdict: too few seeds or too shallow networks to judge"]
    print("\n".join(map(coloured, lines) if on_terminal() else lines))
    # numpy's own False is not False
    return 1 if any(answer.holds is not None and not answer.holds for answer in answers) else 0
