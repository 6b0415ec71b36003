"""Files: written whole or not at all, read without pickles; every failure is one line that names the file."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlinear.errors import DlinearError, RecordError


def read_npz(path: Path, failure: type[DlinearError]) -> dict[str, NDArray[Any]]:
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


class WriteError(RecordError):
    """A file could not be written (full disk, no permission)."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Any]:
    """A binary stream whose content replaces `path` at the end: whole, synced, or not at all.

    Raises:
        WriteError: the write failed; the message gives the reason, and no partial file is left.
    """
    partial = path.with_name(f"{path.name}.{platform.node()}.{os.getpid()}.tmp")  # one of several machines
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """The text, in UTF-8, as the file's whole content.

    Raises:
        WriteError: as `replacing`.
    """
    with replacing(path) as stream:
        stream.write(text.encode())


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # folders cannot be opened elsewhere
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
