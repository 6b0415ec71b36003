"""Items over spawned processes with one BLAS thread each, which end with their parent."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from dlinear.runs.signals import end_with_parent

Item = TypeVar("Item")
Result = TypeVar("Result")

TRIES = 2  # an item whose process dies so often is given up
THREADS = (  # the variables that limit the threads of a process
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "DLINEAR_THREADS",
)


def spread(
    function: Callable[[Item], Result], items: Mapping[str, Item], workers: int
) -> Generator[tuple[str, Result | Exception], None, None]:
    """(key, result or exception) of each item as it is done.

    Each worker is an executor of one process that holds one item at a time. So a process that dies takes
    only that item with it: the item is tried once more, in a new process, and the other workers go on. All
    are ended at once when the caller stops asking.
    """
    todo, deaths = deque(items), dict.fromkeys(items, 0)
    with _workers(min(workers, len(items))) as crew:
        running: dict[Future[Result], tuple[int, str]] = {}

        def start(place: int) -> None:
            if todo:
                key = todo.popleft()
                running[crew.submit(place, function, items[key])] = place, key

        for place in range(len(crew)):
            start(place)
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                place, key = running.pop(future)
                answer = _answer(future)
                if isinstance(answer, BrokenProcessPool):
                    crew.replace(place)
                    deaths[key] += 1
                    if deaths[key] < TRIES:
                        todo.appendleft(key)
                        start(place)
                        continue
                start(place)
                yield key, answer


def _answer(future: Future[Result]) -> Result | Exception:
    try:
        return future.result()
    except Exception as error:
        return error


class _Workers:
    """Executors of one process each."""

    def __init__(self, count: int) -> None:
        self._executors = [self._new() for _ in range(count)]

    def __len__(self) -> int:
        return len(self._executors)

    def _new(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=end_with_parent)

    def submit(self, place: int, function: Callable[[Item], Result], item: Item) -> Future[Result]:
        """Hand an item to a worker; one whose process died while it was idle is replaced first."""
        try:
            return self._executors[place].submit(function, item)
        except BrokenProcessPool:
            self.replace(place)
            return self._executors[place].submit(function, item)

    def replace(self, place: int) -> None:
        """A new worker in place of one whose process has died."""
        self._executors[place].shutdown(wait=False, cancel_futures=True)
        self._executors[place] = self._new()

    def shut(self) -> None:
        """Wait for the processes to end."""
        for executor in self._executors:
            executor.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _workers(count: int) -> Iterator[_Workers]:
    """So many workers with one BLAS thread each; ended at once when the block raises."""
    before = set(multiprocessing.active_children())
    saved = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    crew = _Workers(count)
    try:
        yield crew
    except BaseException:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        raise
    finally:
        crew.shut()
        for name, value in saved.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
