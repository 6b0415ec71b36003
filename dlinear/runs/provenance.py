"""What numbers were computed with: the versions of packages and the commit of this checkout."""

from __future__ import annotations

import contextlib
import functools
import platform
import subprocess
from pathlib import Path

import numpy as np


@functools.cache
def versions() -> dict[str, str]:
    """Version by name of Python, numpy and this library."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version(), "numpy": np.__version__}
    with contextlib.suppress(PackageNotFoundError):
        found["dlinear"] = version("dlinear")
    return found


@functools.cache
def revision() -> str | None:
    """The commit of the checkout that this library runs from (+changes when it has any), or None."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None

    def git(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None
