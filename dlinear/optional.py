"""Packages that are imported when needed; a missing one is named with the command that installs it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from dlinear.errors import MissingDependencyError

PROJECTS = {  # where the name to install is another
    "flint": "python-flint",
    "sklearn": "scikit-learn",
    "transformers": '"dlinear[zoo]"',
    "peft": '"dlinear[zoo]"',
}


@contextlib.contextmanager
def needed(purpose: str) -> Iterator[None]:
    """Import inside the `with` block.

    Args:
        purpose: what needs the import, the beginning of the message.

    Raises:
        MissingDependencyError: a package is not installed; the one that is missing is named,
            which need not be the one that was imported.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise missing(purpose, error) from error


def missing(purpose: str, error: ModuleNotFoundError) -> MissingDependencyError:
    """The error to raise in place of a failed import."""
    name = (error.name or "").partition(".")[0]
    return MissingDependencyError(f"{purpose} needs {name}: pip install {PROJECTS.get(name, name)}")
