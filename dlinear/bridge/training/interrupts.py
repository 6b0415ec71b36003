"""Ctrl-C and SIGTERM raise KeyboardInterrupt, but never in the middle of a step."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Iterator
from typing import Any


class Interrupts:
    """A context in which both signals raise KeyboardInterrupt: at once, or at the end of a `held` block.

    A second signal inside the same block does not wait. A program's own handlers stay; in a thread, and in
    the processes of a pool, whose end is for the parent to decide and to report, nothing is changed.
    """

    def __init__(self) -> None:
        self._holding = self._pending = False
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
        if self._holding and not self._pending:
            self._pending = True
            return
        raise KeyboardInterrupt

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Let the block come to its end before a signal is obeyed."""
        self._holding, self._pending = True, False
        try:
            yield
        finally:
            self._holding = False
        if self._pending:
            raise KeyboardInterrupt
