"""Reading files that may be damaged, foreign or no files at all; no pickle is read."""

from __future__ import annotations

import contextlib
import io
import json
import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dlinear.errors import DlinearError

KINDS = {  # what may be found in place of a file
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def reason(error: BaseException) -> str:
    """An error's message on one line of moderate length."""
    return " ".join(str(error).split())[:120] or type(error).__name__


def what_blocks(path: Path) -> str:
    """What is at the path, links followed, that is no file: "a folder", ...; empty for a file or nothing."""
    try:
        return KINDS.get(stat.S_IFMT(path.stat().st_mode), "")
    except OSError:
        return ""


@contextlib.contextmanager
def reading(path: Path, failure: type[DlinearError]) -> Iterator[IO[bytes]]:
    """The file as a binary stream.

    Raises:
        failure: it cannot be opened, or is no file: a named pipe would block the reader.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        if blocker := what_blocks(path):
            raise failure(f"{path} is {blocker}, not a file: move it away") from None
        raise failure(f"cannot read {path}: {error.strerror or error}") from error
    try:
        if kind := KINDS.get(stat.S_IFMT(os.fstat(handle).st_mode)):
            raise failure(f"{path} is {kind}, not a file: move it away")
        with open(handle, "rb", closefd=False) as stream:
            yield stream
    finally:
        os.close(handle)


def read_npz(path: Path, failure: type[DlinearError]) -> dict[str, NDArray[Any]]:
    """All arrays of the file by name, each after the archive's checksum of it has been compared.

    `numpy.load` compares it only where the array needs all its bytes; a damaged shape or dtype may need less.

    Raises:
        failure: the file cannot be opened, is truncated or damaged, is no npz, or holds objects.
    """
    with reading(path, failure) as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                names = archive.namelist()
                if len(set(names)) < len(names):
                    raise ValueError("an array is there twice")
                return {name.removesuffix(".npy"): _array(archive.read(name)) for name in names}
        except Exception as error:  # the parsers above raise nearly anything on damaged bytes
            advice = f"is damaged or no npz file ({reason(error)}); remove or replace it"
            raise failure(f"{path} {advice}") from error


def _array(content: bytes) -> NDArray[Any]:
    stream = io.BytesIO(content)
    array = np.asarray(np.load(stream, allow_pickle=False))
    if stream.read(1):
        raise ValueError("it has more bytes than its array")
    return array


def read_json(path: Path, failure: type[DlinearError]) -> Any:
    """The value of a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        failure: it cannot be opened, or is no JSON, or is nested too deep.
    """
    if not path.exists():
        raise FileNotFoundError(path)
    with reading(path, failure) as stream:
        try:
            return json.loads(stream.read().decode("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise failure(f"{path} is damaged ({reason(error)})") from error
