"""How a script ends: its exit status, and one line about what stopped it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from dlinear import optional
from dlinear.errors import DlinearError, MissingDependencyError
from dlinear.runs.command_line import parse


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


def run(main: Callable[[Any], int], knobs: type, description: str | None) -> int:
    """`command` of `main` with knobs (a dataclass) from the command line.

    A command line that cannot be read is one line on stderr and the exit status 2, like every refused input.
    """
    return command(lambda: main(parse(knobs, description)))
