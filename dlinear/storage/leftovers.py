"""Temporary files that killed writers left behind."""

from __future__ import annotations

import contextlib
import os
import platform
import re
from pathlib import Path

from dlinear.storage.writing import plain_host, temporary_name

NAME = re.compile(r".+\.(?P<host>[A-Za-z0-9-]+)\.(?P<pid>\d+)\.[0-9a-f]{16}\.tmp")
EARLIER = re.compile(r".+\.(npz|json|nc|pt|pdf|png)\.(?P<host>.+)\.(?P<pid>\d+)\.tmp")  # never locked
DAY = 86_400.0  # seconds


def remove_leftovers(folder: Path) -> int:
    """Remove the temporary files of dead writers in the folder and below; how many there were.

    A writer of this machine is dead when nobody holds the lock of its file; where files have no locks, when
    no process of its number runs. The locks of another machine may not be seen here: its files stay until
    they have not changed for a day, by the clock of their file system.
    """
    count = 0
    for place, _, names in os.walk(folder):
        for name in names:
            found = NAME.fullmatch(name) or EARLIER.fullmatch(name)
            if found is None:
                continue
            path = Path(place, name)
            here = plain_host(found["host"]) == plain_host(platform.node())
            with contextlib.suppress(OSError):  # another process may remove it at the same time
                if here or _unchanged_for(path, DAY):
                    alive = here and _is_alive(int(found["pid"]))
                    count += _removed(path, alive, lockable=NAME.fullmatch(name) is not None)
    return count


def _removed(path: Path, alive: bool, lockable: bool) -> bool:
    """Whether the file was removed: not while it is locked, nor, where locks say nothing, `alive`."""
    if os.name != "posix":
        if not alive:
            path.unlink()
        return not alive
    import fcntl

    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            lockable = False
        if alive and not lockable:
            return False
        path.unlink()
        return True
    finally:
        os.close(handle)


def _unchanged_for(path: Path, seconds: float) -> bool:
    """Whether the file is that old by the clock of its file system, which need not be this machine's."""
    probe = temporary_name(path.with_name("clock"))
    with open(probe, "xb") as stream:
        now = os.fstat(stream.fileno()).st_mtime
    probe.unlink()
    return now - path.lstat().st_mtime > seconds


def _is_alive(pid: int) -> bool:
    """Whether a process of that number runs on this machine."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
