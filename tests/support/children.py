"""Processes that tests start: each in a group of its own, which has ended when the test goes on.

Where the tests run in the background of a shell SIGINT is ignored, and a child would inherit that: here it
gets Python's own handler.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
LIMIT = 200.0  # seconds; pytest's own limit for a test is longer

_started: list[subprocess.Popen[str]] = []


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """A child started inside answers SIGINT, also where this process ignores it."""
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def start(command: list[str], **words: Any) -> subprocess.Popen[str]:
    """A process whose pipes hold text; it and its group are ended after the test, see tests/conftest.py."""
    process = _start(command, **words)
    _started.append(process)
    return process


def end_all() -> None:
    """End what `start` has started."""
    while _started:
        end(_started.pop())


def _start(command: list[str], **words: Any) -> subprocess.Popen[str]:
    words = {"text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **words}
    with _interruptible():
        return subprocess.Popen(command, start_new_session=True, **words)


def end(process: subprocess.Popen[str]) -> None:
    """Kill the process and all of its group that is left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    with contextlib.suppress(ValueError, OSError):  # pipes that the test has closed
        process.communicate(timeout=30)
    process.wait(30)


@contextlib.contextmanager
def running(command: list[str], **words: Any) -> Iterator[subprocess.Popen[str]]:
    """A process as of `start`; it and its group are ended after the block."""
    process = _start(command, **words)
    try:
        yield process
    finally:
        end(process)


def run(
    command: list[str], *, check: bool = False, timeout: float = LIMIT, **words: Any
) -> subprocess.CompletedProcess[str]:
    """What a command says, as `subprocess.run` with both outputs as text; nothing of its group is left.

    Args:
        command: its words.
        check: whether a status other than 0 is an error.
        timeout: seconds after which it is ended and the test fails.
        words: of `subprocess.Popen`.
    """
    with running(command, **words) as process:
        out, err = process.communicate(timeout=timeout)
        done = subprocess.CompletedProcess(command, process.returncode, out, err)
    if check:
        assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{out}\n{err}"
    return done
