"""How a script ends: its exit status, and one line about what stopped it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from dlinear import optional
from dlinear.engine.parallel import distributed
from dlinear.errors import DlinearError, DomainError, MissingDependencyError
from dlinear.runs.command_line import as_typed, parse, program


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
    print(f"error: {as_typed(str(error))}", file=sys.stderr)
    return 2


def command(main: Callable[[], int]) -> int:
    """The exit status of a script.

    `main`'s; 2 after one line about a refused input, a place that cannot be written or a package that is not
    installed; 130 after Ctrl-C; 141 when the reader of the output (head, less) has seen enough.
    """
    try:
        status = main()
        if sys.stdout is not None:  # closed by the shell: >&-
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


def run(main: Callable[[Any], int], knobs: type, description: str | None, ranks: bool = False) -> int:
    """`command` of `main` with knobs (a dataclass) from the command line.

    A command line that cannot be read is one line on stderr and the exit status 2, like every refused input.

    Args:
        main: takes the knobs, returns the exit status.
        knobs: a dataclass.
        description: what `--help` says first.
        ranks: whether `main` shares its work with the other processes that torchrun started. Otherwise each
            of them would compute everything and write the same records: they are refused.
    """

    def started() -> int:
        if distributed.launched() and not ranks:
            raise DomainError(_one_of_several(knobs))
        return main(parse(knobs, description))

    return command(started)


def _one_of_several(knobs: type) -> str:
    """One line about a script that torchrun started several times, and what it has instead."""
    line = (
        f"{program() or 'this command'} runs in one process, and this is rank {os.environ['RANK']} of "
        f"{os.environ['WORLD_SIZE']}: start it without torchrun"
    )
    known = {field.name for field in dataclasses.fields(knobs)}
    others = {"workers": "--workers N computes in N processes here", "shard": "--shard i/N in N jobs"}
    instead = ", ".join(words for name, words in others.items() if name in known)
    return f"{line}; {instead}" if instead else line
