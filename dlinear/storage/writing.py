"""Writing a file as a whole: under a temporary name in its own folder, synced, then renamed.

The temporary name is unique and opened exclusively, without following links, and its writer holds a lock on
it until the rename. So two writers of one file do not disturb each other (the last rename wins), and what a
killed writer left can be told from what a living one is writing (`leftovers`).
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from dlinear.errors import RecordError
from dlinear.storage.reading import what_blocks

TRIES = 3  # of a new file that another process takes for a leftover before it is locked


class WriteError(RecordError):
    """A file could not be written (full disk, no permission)."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Any]:
    """A binary stream whose content replaces `path` at the end: whole, synced, or not at all.

    A link at `path` is itself replaced, not what it points to.

    Raises:
        WriteError: the write failed; the message gives the reason, and no partial file is left.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _temporary(path) as (partial, stream):
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            stream.close()
            os.replace(partial, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise WriteError(f"cannot write {path}: {_why(path, error)}") from error


def write_text(path: Path, text: str) -> None:
    """The text, in UTF-8, as the file's whole content.

    Raises:
        WriteError: as `replacing`.
    """
    with replacing(path) as stream:
        stream.write(text.encode())


def check_writable(folder: Path) -> None:
    """Make the folder, and try that files can be written there: before hours of work, not after them.

    Raises:
        WriteError: they cannot; the message gives the reason.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _temporary(folder / "try"):
            pass
    except OSError as error:
        raise WriteError(f"cannot write to {folder}: {_why(folder / 'try', error)}") from error


def plain_host(name: str) -> str:
    """The name of a machine as it stands in the name of a temporary file."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", name)[:64] or "host"


def temporary_name(path: Path) -> Path:
    """A name beside the path that says who writes (machine, process) and that nobody can foresee."""
    host = plain_host(platform.node())
    return path.with_name(f"{path.name}.{host}.{os.getpid()}.{secrets.token_hex(8)}.tmp")


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """A new, locked file beside the path, open for writing; it is gone after the block."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with contextlib.ExitStack() as stack:
        for _ in range(TRIES):
            partial = temporary_name(path)
            stream = stack.enter_context(os.fdopen(os.open(partial, flags, 0o666), "wb"))
            stack.callback(_unlink, partial)
            stack.enter_context(_lock_of(stream))
            if os.fstat(stream.fileno()).st_nlink:
                break
        yield partial, stream


@contextlib.contextmanager
def _lock_of(stream: IO[bytes]) -> Iterator[None]:
    """Hold the lock of an open file inside the block, also after the stream has been closed."""
    if os.name != "posix":
        yield
        return
    import fcntl

    handle = os.dup(stream.fileno())  # shares the lock
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _why(path: Path, error: OSError) -> str:
    """The reason of a failed write; what is in the way is named."""
    if blocker := what_blocks(path):
        return f"{blocker} is in its place: move it away"
    for folder in path.parents:
        if folder.is_symlink() and not folder.exists():
            return f"{folder} is a link to nothing"
        if folder.exists() and not folder.is_dir():
            return f"{folder} is not a folder"
    return error.strerror or str(error)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # folders cannot be opened elsewhere
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
