"""Ctrl-C and SIGTERM raise KeyboardInterrupt, at the end of a step and not inside it."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Iterator
from typing import Any


class Interrupts:
    """A context in which both signals raise KeyboardInterrupt: at once, or at the end of a `deferred` block.

    A second signal inside the same block raises at once. Handlers that a program installed itself are kept.
    Nothing is changed in a thread, nor in the processes of a pool, which its parent ends and reports.
    """

    def __init__(self) -> None:
        self._deferring = self._pending = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        replaced = {
            signal.SIGINT: (signal.default_int_handler,),
            signal.SIGTERM: (signal.SIG_DFL, signal.default_int_handler),
        }
        alone = multiprocessing.parent_process() is None
        if alone and threading.current_thread() is threading.main_thread():
            for number, defaults in replaced.items():
                if (before := signal.getsignal(number)) in defaults:
                    self._before[number] = before
                    signal.signal(number, self._answer)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before.clear()

    def _answer(self, number: int, frame: Any) -> None:
        if self._deferring and not self._pending:
            self._pending = True
            return
        raise KeyboardInterrupt

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """A signal inside raises at the end of the block."""
        self._deferring, self._pending = True, False
        try:
            yield
        finally:
            self._deferring = False
        if self._pending:
            raise KeyboardInterrupt
