"""Compiled objects on disk, in the user's cache folder. What is read from there is executed: it must be ours.

A file is taken only if it is a regular file of this user, in a folder of this user, that nobody else may
write to, and if its content has the hash that stands before it. Anything else is compiled again. A folder
that cannot be used leaves everything as it is: then each process compiles.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import sys
import tempfile
from pathlib import Path

VARIABLE = "DLINEAR_CACHE"
_DIGEST = hashlib.sha256().digest_size


def folder() -> Path:
    """DLINEAR_CACHE, or `dlinear/kernels` in the cache folder of this user."""
    if asked := os.environ.get(VARIABLE):
        return Path(asked).expanduser()
    home = Path("~").expanduser()
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "dlinear" / "kernels"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home) / "dlinear" / "kernels"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "dlinear" / "kernels"


def read(key: str) -> bytes | None:
    """The object of a key, or None: there is none, it is not ours, or it is damaged."""
    try:
        place = folder()
        if not _ours(os.lstat(place), stat.S_ISDIR):
            return None
        handle = os.open(
            place / _name(key), os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        )
        with os.fdopen(handle, "rb") as stream:
            if not _ours(os.fstat(stream.fileno()), stat.S_ISREG):
                return None
            content = stream.read()
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        return None
    digest, found = content[:_DIGEST], content[_DIGEST:]
    return found if digest == _digest(key, found) else None


def write(key: str, found: bytes) -> None:
    """Keep the object of a key: written beside its place and renamed, so that it is whole or absent."""
    temporary = None
    try:
        place = folder()
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _ours(os.lstat(place), stat.S_ISDIR):
            return
        handle, temporary = tempfile.mkstemp(dir=place, suffix=".part")  # mode 0600
        with os.fdopen(handle, "wb") as stream:
            stream.write(_digest(key, found) + found)
        os.replace(temporary, place / _name(key))
    except (OSError, RuntimeError):
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _name(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest() + ".o"


def _digest(key: str, found: bytes) -> bytes:
    return hashlib.sha256(key.encode() + b"\0" + found).digest()


def _ours(status: os.stat_result, kind: object) -> bool:
    """Whether this user owns it and nobody else may write it; systems without users have one."""
    if not callable(kind) or not kind(status.st_mode):
        return False
    if not hasattr(os, "getuid"):
        return True
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
