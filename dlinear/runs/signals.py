"""Interrupts of a sweep: the parent process answers them, its workers end with it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any


def end_with_parent() -> None:
    """In a worker: ignore Ctrl-C, which reaches the whole process group, and end when the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_after, args=[multiprocessing.parent_process()], daemon=True).start()


def _exit_after(parent: Any) -> None:
    """Wait for the parent's end, however it comes (SIGKILL as well), and exit at once."""
    parent.join()
    os._exit(1)


@contextlib.contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt as Ctrl-C does; a handler that was installed before stays."""
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
