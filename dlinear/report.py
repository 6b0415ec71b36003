"""What a script prints at its end: a table, and one verdict line for each question."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dlinear.errors import DlinearError


@dataclass(frozen=True)
class Answer:
    """The outcome of one question that a script asks of numbers.

    Attributes:
        question: what was asked, with the target.
        holds: whether the numbers meet the target.
        numbers: the figures that decide.
    """

    question: str
    holds: bool
    numbers: str

    def __str__(self) -> str:
        """One line; numbers alone support a statement and never prove it."""
        return f"{'supported' if self.holds else 'NOT SUPPORTED'}: {self.question}: {self.numbers}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned plain-text columns under a header and a rule."""
    every = [list(header), *[list(row) for row in rows]]
    widths = [max(len(row[i]) for row in every) for i in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in every]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def command(main: Callable[[], int]) -> int:
    """The exit status of a script: `main`'s, 2 after one line about a refused input, 130 after Ctrl-C."""
    try:
        return main()
    except DlinearError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def finish(answers: Sequence[Answer]) -> int:
    """Print the verdict lines; the exit status, 0 iff every one holds."""
    lines = [str(answer) for answer in answers]
    print("\n".join(lines or ["no verdict: too few seeds or too shallow networks to judge"]))
    return 0 if all(answer.holds for answer in answers) else 1
