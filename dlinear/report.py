"""What a script prints at its end: a table, and one verdict line for each question."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dlinear import optional
from dlinear.errors import DlinearError, MissingDependencyError


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


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned plain-text columns under a header and a rule."""
    every = [list(header), *[list(row) for row in rows]]
    widths = [max(len(row[i]) for row in every) for i in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in every]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


@contextlib.contextmanager
def imports() -> Iterator[None]:
    """The imports at the top of a script: one line and the exit status 2 where a package is missing."""
    try:
        yield
    except (ModuleNotFoundError, MissingDependencyError) as error:
        raise SystemExit(_refused(error)) from None


def _refused(error: Exception) -> int:
    """One line on stderr about what stopped a script; the exit status 2."""
    if isinstance(error, ModuleNotFoundError):
        error = optional.missing("this command", error)
    print(f"error: {error}", file=sys.stderr)
    return 2


def command(main: Callable[[], int]) -> int:
    """The exit status of a script.

    `main`'s; 2 after one line about a refused input, a place that cannot be written or a package that is not
    installed; 130 after Ctrl-C; 141 when the reader of the output (head, less) has seen enough.
    """
    try:
        status = main()
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # the flush at exit must not fail again
        return 141
    except (DlinearError, OSError, ModuleNotFoundError) as error:
        return _refused(error)
    except KeyboardInterrupt:
        return 130


def script(main: Callable[[Any], int], knobs: type, description: str | None) -> int:
    """`command` of `main` with knobs (a dataclass) from the command line."""

    def run() -> int:
        import tyro

        return main(tyro.cli(knobs, description=description))

    return command(run)


def finish(answers: Sequence[Answer]) -> int:
    """Print the verdict lines; the exit status, 0 iff none fails."""
    lines = [str(answer) for answer in answers]
    print("\n".join(lines or ["no verdict: too few seeds or too shallow networks to judge"]))
    return 1 if any(answer.holds is False for answer in answers) else 0
