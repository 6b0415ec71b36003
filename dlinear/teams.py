"""Who works the chunks off: this thread, several threads, or several processes (`torch.distributed`).

The engine is map, scan, map: a function over chunks that returns a few n x n matrices or numbers, a short
scan over those, and the next map. A team is the map.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


class Team(Protocol):
    """Maps a function over tasks; every member gets all results, in the order of the tasks."""

    def map(self, function: Callable[[Task], Result], tasks: Sequence[Task], label: str) -> list[Result]:
        """[function(task) for task in tasks]; `label` names the work on a progress bar."""


@dataclass(frozen=True)
class Threads:
    """Threads of this process; numpy's matrix products release the interpreter.

    Attributes:
        workers: threads; 1 works in the caller's own. None takes one per core.
        progress: show a bar on stderr when that is a terminal.
    """

    workers: int | None = 1
    progress: bool = False

    def map(self, function: Callable[[Task], Result], tasks: Sequence[Task], label: str) -> list[Result]:
        """[function(task) for task in tasks]."""
        workers = min(len(tasks), self.workers or os.cpu_count() or 1)
        if workers <= 1:
            return list(self._bar(map(function, tasks), len(tasks), label))
        with ThreadPoolExecutor(workers) as pool:
            futures = [pool.submit(function, task) for task in tasks]
            try:
                return [future.result() for future in self._bar(futures, len(tasks), label)]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _bar(self, results: Iterable[Any], total: int, label: str) -> Iterable[Any]:
        if not self.progress:
            return results
        from tqdm import tqdm

        bar: Iterable[Any] = tqdm(results, desc=label, total=total, unit="chunk", disable=None)
        return bar
