"""Items over spawned processes with one BLAS thread each, which end with their parent.

Each worker holds one item at a time, so that a process that dies (a crash, a kill, too little memory) takes
only that item with it: the item is tried again in a new process while the other workers go on.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from dlinear.errors import DlinearError
from dlinear.runs.signals import end_with_parent

Item = TypeVar("Item")
Result = TypeVar("Result")

TRIES = 3  # an item whose process dies so often is given up
HOPELESS = 8 * TRIES  # deaths without any result at all, after which all are given up
GRACE = 5.0  # seconds that a process has to end before it is killed
THREADS = (  # the variables that limit the threads of a process
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "DLINEAR_THREADS",
)


class ProcessDiedError(DlinearError):
    """The process that computed an item died in every try; the message says how."""


def spread(
    function: Callable[[Item], Result], items: Mapping[str, Item], workers: int
) -> Generator[tuple[str, Result | Exception], None, None]:
    """(key, result or exception) of each item as it is done.

    All processes are ended at once when the caller stops asking.

    Raises:
        ProcessDiedError: processes die, and none has given a result so far.
    """
    todo, deaths, results = deque(items), Counter[str](), 0
    with _workers(min(workers, len(items))) as team:
        while todo or any(worker.key is not None for worker in team):
            for worker in team:
                while todo and worker.key is None:
                    key = todo.popleft()
                    if (refused := worker.give(key, function, items[key])) is not None:
                        yield key, refused
            for worker in _ready(team):
                key, answer = worker.take()
                if not isinstance(answer, ProcessDiedError):
                    results += 1
                    yield key, answer
                    continue
                deaths[key] += 1
                if not results and deaths.total() >= HOPELESS:
                    raise ProcessDiedError(
                        f"{deaths.total()} processes died, none gave a result: {answer}{_advice()}"
                    )
                if deaths[key] < TRIES:
                    todo.append(key)  # behind the others, which may do better
                else:
                    yield key, ProcessDiedError(f"its process died in each of {TRIES} tries, {answer}")


class _Worker:
    """A process that is replaced when it dies, and the key of the item that it holds."""

    def __init__(self) -> None:
        self.key: str | None = None
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,))
        with _one_thread():
            self.process.start()
        theirs.close()  # or its end would never be seen here

    def give(self, key: str, function: Callable[[Any], Any], item: Any) -> Exception | None:
        """Hand it an item; the error if that cannot be sent."""
        try:
            content = pickle.dumps((function, item))
        except Exception as error:  # whatever the item's own code raises
            return error
        try:
            self.connection.send_bytes(content)
        except OSError:  # it died while it was idle
            self.replace()
            with contextlib.suppress(OSError):  # if this one dies too, `take` will see it
                self.connection.send_bytes(content)
        self.key = key
        return None

    def take(self) -> tuple[str, Any]:
        """The item's key with its result, its exception, or `ProcessDiedError`; the worker is free again."""
        key, self.key = self.key or "", None
        try:
            content = self.connection.recv_bytes()
        except (EOFError, OSError):
            self.process.join(GRACE)
            how = ProcessDiedError(_how_it_ended(self.process.exitcode))
            self.replace()
            return key, how
        try:
            return key, pickle.loads(content)
        except Exception as error:  # a class that is not known here
            return key, error

    def replace(self) -> None:
        """A new process in place of this one."""
        self.stop()
        self._start()

    def stop(self, at_once: bool = True) -> None:
        """End the process: by a signal, or when it sees that nothing more comes."""
        self.connection.close()
        if at_once:
            self.process.terminate()
        self.process.join(GRACE)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        self.process.close()


@contextlib.contextmanager
def _workers(count: int) -> Iterator[list[_Worker]]:
    """So many workers; ended at once when the block raises."""
    team: list[_Worker] = []
    done = False
    try:
        for _ in range(count):
            team.append(_Worker())
        yield team
        done = True
    finally:
        if not done:
            for worker in team:
                worker.process.terminate()
        for worker in team:
            worker.stop(at_once=not done)


def _advice() -> str:
    """What a script forgets that is run as a file: each process that it starts runs it again."""
    if getattr(sys.modules.get("__main__"), "__spec__", None) is not None:
        return ""
    return '; a script must start them below if __name__ == "__main__":'


def _ready(team: list[_Worker]) -> list[_Worker]:
    """Those that have answered or died, once there are any."""
    busy = [worker for worker in team if worker.key is not None]
    if not busy:
        return []
    ready = set(wait([worker.connection for worker in busy]))
    return [worker for worker in busy if worker.connection in ready]


def _serve(connection: Connection) -> None:
    """Compute what comes until nothing more comes, in a process of its own."""
    end_with_parent()
    while True:
        try:
            content = connection.recv_bytes()
        except (EOFError, OSError):
            return
        try:
            function, item = pickle.loads(content)
            answer = function(item)
        except Exception as error:
            answer = error
        try:
            content = pickle.dumps(answer)
            if isinstance(answer, Exception):
                pickle.loads(content)  # some can be written and not read
        except Exception as error:
            content = pickle.dumps(TypeError(f"{answer!r:.200} cannot be sent to the parent: {error}"))
        connection.send_bytes(content)


def _how_it_ended(code: int | None) -> str:
    """An exit status in words."""
    if code is None or code >= 0:
        return f"with exit status {code}"
    name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
    return f"by {name}"


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Processes that are started inside have one BLAS thread."""
    saved = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in saved.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
