"""The map over chunks: in this thread, in several threads, or in several processes (`distributed`).

The engine is map, scan, map: a function over chunks that returns a few n x n matrices or numbers, a short
scan over those, and the next map. `ParallelMap` is the map.
"""

from __future__ import annotations

import contextvars
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from dlinear.checks import as_integer
from dlinear.errors import DomainError

_WAITING = 16  # tasks that wait for each worker, so that none is idle

Item = TypeVar("Item")
Result = TypeVar("Result")


class ParallelMap(Protocol):
    """Maps a function over tasks; every process gets all results, in the order of the tasks."""

    def map(self, function: Callable[[Item], Result], tasks: Sequence[Item], label: str) -> list[Result]:
        """[function(task) for task in tasks]; `label` names the work on a progress bar."""


@dataclass(frozen=True)
class Threads:
    """Threads of this process; numpy's matrix products release the interpreter.

    Attributes:
        workers: number of threads; 1 computes in the caller's own. None takes the environment variable
            DLINEAR_THREADS, or one per core that this process may use (an engine on a GPU: two).
        progress: show a bar on stderr when that is a terminal.
    """

    workers: int | None = None
    progress: bool = False

    def __post_init__(self) -> None:
        if self.workers is not None:
            object.__setattr__(self, "workers", as_integer("workers", self.workers))

    def map(self, function: Callable[[Item], Result], tasks: Sequence[Item], label: str) -> list[Result]:
        """[function(task) for task in tasks]."""
        workers = min(len(tasks), self.workers or default_threads())
        if workers <= 1:
            return list(self._bar(map(function, tasks), len(tasks), label))
        with ThreadPoolExecutor(workers) as pool:
            try:
                return list(self._bar(_in_order(pool, workers, function, tasks), len(tasks), label))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _bar(self, results: Iterable[Any], total: int, label: str) -> Iterable[Any]:
        if not self.progress:
            return results
        from tqdm import tqdm

        bar: Iterable[Any] = tqdm(results, desc=label, total=total, unit="chunk", disable=None)
        return bar


def _in_order(
    pool: ThreadPoolExecutor, workers: int, function: Callable[[Item], Result], tasks: Sequence[Item]
) -> Iterator[Result]:
    """The results in the order of the tasks, a few of which wait at any time: futures take memory."""
    waiting: deque[Future[Result]] = deque()
    for task in tasks:
        if len(waiting) >= _WAITING * workers:
            yield waiting.popleft().result()
        # Each task in a copy of the caller's context: numpy keeps its error settings there.
        waiting.append(pool.submit(contextvars.copy_context().run, function, task))
    while waiting:
        yield waiting.popleft().result()


def workers(parallel: ParallelMap) -> int:
    """How many tasks of a map a process computes at once; the same on every rank, for chunks depend on it."""
    asked: int | None = getattr(parallel, "workers", 1)
    return asked or default_threads()


def asked_threads() -> int | None:
    """DLINEAR_THREADS, or None where it is not set."""
    asked = os.environ.get("DLINEAR_THREADS", "")
    if not asked:
        return None
    if not asked.isdecimal() or int(asked) < 1:
        raise DomainError(f"DLINEAR_THREADS is {asked!r}; expected an integer >= 1")
    return int(asked)


def default_threads() -> int:
    """DLINEAR_THREADS, or the cores that this process may use."""
    if (asked := asked_threads()) is not None:
        return asked
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1
