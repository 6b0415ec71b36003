"""Read an npz file from an untrusted place: whole arrays without pickles, or one line that names the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlinear.errors import DlinearError


def read(path: Path, failure: type[DlinearError]) -> dict[str, NDArray[Any]]:
    """All arrays of the file by name.

    Raises:
        failure: the file cannot be opened, is truncated or damaged, is no npz, or holds objects.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {name: np.asarray(file[name]) for name in file.files}
    except Exception as error:  # the parsers below raise nearly anything on damaged bytes
        raise failure(f"{path} is damaged or no npz file ({reason(error)}); remove or replace it") from error


def reason(error: BaseException) -> str:
    """An error's message on one line of moderate length."""
    return " ".join(str(error).split())[:120] or type(error).__name__
