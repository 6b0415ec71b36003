"""A pool of spawned processes that ends with its parent."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Answers = Generator[tuple[str, Result | Exception], None, None]

TRIES = 2  # an item whose process dies so often is given up

THREADS = (
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "DLINEAR_THREADS",
)


def spread(function: Callable[[Item], Result], items: Mapping[str, Item], workers: int) -> Answers[Result]:
    """(key, result or exception) of each item as it is done, from spawned processes with one BLAS thread
    each.

    Each worker is an executor of one process that holds one item at a time. So a process that dies takes
    only that item with it: the item is tried once more, in a new process, and the other workers go on. All
    are ended at once when the caller stops asking.
    """
    todo, deaths = deque(items), dict.fromkeys(items, 0)
    with _processes(min(workers, len(items))) as crew:
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


class _Crew:
    """Executors of one process each."""

    def __init__(self, count: int) -> None:
        self._executors = [self._new() for _ in range(count)]

    def __len__(self) -> int:
        return len(self._executors)

    def _new(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_obey_parent)

    def submit(self, place: int, function: Callable[[Item], Result], item: Item) -> Future[Result]:
        """Hand an item to a worker; one whose process died while it had nothing to do is replaced first."""
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
def _processes(count: int) -> Iterator[_Crew]:
    """The workers; ended at once when the sweep is interrupted."""
    before = set(multiprocessing.active_children())
    saved = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    crew = _Crew(count)
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


def _obey_parent() -> None:
    """Ctrl-C reaches the whole process group, only the parent answers it; a worker ends with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, args=[multiprocessing.parent_process()], daemon=True).start()


def _follow(parent: Any) -> None:
    """Wait for the parent's end, however it comes (SIGKILL as well), and end at once."""
    parent.join()
    os._exit(1)


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM is an interrupt too, so that workers are ended and the message printed; own handlers stay."""
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
