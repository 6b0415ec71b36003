"""The cells of a sweep on a Dask cluster that was started beforehand (docs/cluster.md).

Nothing listens in this process: it only connects to the scheduler. `compute` and its cell travel by value,
so that a script's own module need not be importable on the workers; `dlinear` and its dependencies must be,
in the same versions. Cells of a worker that dies are computed again by another one; those of a scheduler
that is restarted are handed to the new one.
"""

from __future__ import annotations

import os
import queue
import sys
import time
import traceback
from collections import Counter, deque
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from dlinear.errors import DomainError
from dlinear.runs.computation import CellResult, CellResults, Compute, Computed
from dlinear.runs.dask_connection import ClusterError as ClusterError
from dlinear.runs.dask_connection import Connection
from dlinear.runs.dask_worker import compute_packed, packed

AHEAD = 5000  # cells handed to the scheduler at a time
TRIES = 3  # of a cell that the cluster loses, and of a scheduler that is lost again without a result
POLL = 1.0  # seconds without a result before the workers are counted


@dataclass(frozen=True)
class Cluster:
    """A running Dask cluster, given by exactly one of the address and the file.

    Attributes:
        scheduler: tcp://HOST:PORT.
        scheduler_file: what `dask scheduler --scheduler-file` wrote; read again when the scheduler is lost.
        answer: seconds within which the scheduler has to answer, first and after a lost connection.
        patience: seconds without any worker after which the sweep stops.

    Raises:
        DomainError: both or none of the two given, or a time that is not positive.
    """

    scheduler: str | None = None
    scheduler_file: str | os.PathLike[str] | None = None
    answer: float = 30.0
    patience: float = 600.0

    def __post_init__(self) -> None:
        if (self.scheduler is None) == (self.scheduler_file is None):
            raise DomainError("give the Dask scheduler either by its address or by its file, one of the two")
        for name in ("answer", "patience"):
            if not getattr(self, name) > 0:
                raise DomainError(f"{name} must be a positive number of seconds, not {getattr(self, name)}")

    def gather(self, cells: Mapping[str, Any], compute: Compute) -> CellResults:
        """(key, arrays and seconds, or the exception) of each cell as it arrives.

        Dask gives a cell up after its worker died `allowed-failures` + 1 times (4 by default), whether that
        cell or another one caused it. Such cells are run again at the end, one at a time: a worker that dies
        then was killed by its cell.

        Raises:
            ClusterError: no scheduler, or no workers, within the times stated.
            MissingDependencyError: `distributed` is not installed.
        """
        with Connection(self.scheduler, self.scheduler_file, self.answer).opened() as connection:
            from distributed.scheduler import KilledWorker

            killed = []
            for key, result in _Dispatch(connection, cells, compute, self.patience).results():
                if isinstance(result, KilledWorker):
                    killed.append(key)
                else:
                    yield key, result
            gone: ClusterError | None = None
            for key in killed:
                try:
                    if gone is None:
                        alone = _Dispatch(connection, {key: cells[key]}, compute, self.patience)
                        ((_, result),) = alone.results()
                        yield key, _killer(result) if isinstance(result, KilledWorker) else result
                        continue
                except ClusterError as error:  # this cell killed the last worker
                    gone = error
                yield key, gone


class _Dispatch:
    """Cells on their way through a scheduler."""

    def __init__(
        self, connection: Connection, cells: Mapping[str, Any], compute: Compute, patience: float
    ) -> None:
        self._connection, self._cells, self._compute = connection, cells, compute
        self._patience = patience
        self._waiting = deque(cells)
        self._submitted: dict[Future[Computed], str] = {}
        self._arrived: queue.SimpleQueue[Future[Computed]] = queue.SimpleQueue()
        self._cancelled, self._lost = Counter[str](), 0

    def results(self) -> CellResults:
        """The result of each cell as it arrives."""
        watch = _Watch(self._connection, self._patience)
        try:
            while self._waiting or self._submitted:
                self._submit()
                try:
                    future = self._arrived.get(timeout=POLL)
                except queue.Empty:
                    workers = self._connection.workers()
                    if workers is None or self._connection.client.status != "running":
                        self._recover()
                    else:
                        watch.saw(workers)
                    continue
                if future not in self._submitted:  # of an earlier connection
                    continue
                if future.cancelled() and not self._connection.lives():
                    self._recover()  # a lost connection cancels everything that was submitted
                    continue
                watch.saw(True)
                key = self._submitted.pop(future)
                if future.cancelled() or _was_lost(future):
                    self._cancelled[key] += 1
                    if self._cancelled[key] < TRIES:
                        self._waiting.append(key)
                        continue
                    yield key, ClusterError(f"the cluster lost it in each of {TRIES} tries")
                else:
                    self._lost = 0
                    yield key, _result_of(future)
        finally:
            for future in self._submitted:
                future.cancel()

    def _submit(self) -> None:
        """Hand the scheduler as many cells as it may hold."""
        if not self._waiting or len(self._submitted) >= AHEAD:
            return
        executor = self._connection.client.get_executor(pure=False)
        while self._waiting and len(self._submitted) < AHEAD:
            key = self._waiting.popleft()
            future = executor.submit(compute_packed, packed(self._compute, self._cells[key]))
            self._submitted[future] = key
            future.add_done_callback(self._arrived.put)

    def _recover(self) -> None:
        """Connect again, and put what was submitted back to what waits.

        Raises:
            ClusterError: the scheduler does not come back in time, or is lost again and again.
        """
        self._lost += 1
        if self._lost > TRIES:
            address = self._connection.address
            raise ClusterError(f"the Dask scheduler at {address} was lost {TRIES} times without a result")
        self._waiting.extendleft(reversed(self._submitted.values()))
        for future in list(self._submitted):
            del self._submitted[future]
            future.cancel()
        self._connection.renew()


class _Watch:
    """When a worker was last seen; waiting for one is reported once and limited."""

    def __init__(self, connection: Connection, patience: float) -> None:
        self._connection, self._patience = connection, patience
        self._last, self._said = time.monotonic(), False

    def saw(self, workers: Any) -> None:
        """Note whether there are workers now.

        Raises:
            ClusterError: there have been none for too long.
        """
        address, patience = self._connection.address, f"{self._patience:g} s"
        if workers:
            self._last, self._said = time.monotonic(), False
        elif time.monotonic() - self._last > self._patience:
            raise ClusterError(f"no worker has been connected to {address} for {patience}")
        elif not self._said:
            self._said = True
            print(f"no worker at {address}: waiting up to {patience}", file=sys.stderr)


def _was_lost(future: Future[Computed]) -> bool:
    """Whether the result was on its way here when its worker died.

    Dask's executor reads the state of a future after its result. If the state has become "lost" in between,
    it takes the result for the parts of an error and fails itself, in `_cascade_future`.
    """
    error = future.exception()
    frames = traceback.extract_tb(error.__traceback__) if error is not None else []
    own = bool(frames) and frames[-1].name == "_cascade_future"
    return own and isinstance(error, AttributeError | TypeError | ValueError)


def _result_of(future: Future[Computed]) -> CellResult:
    error = future.exception()
    if error is None:
        return future.result()
    return error if isinstance(error, Exception) else ClusterError(f"it ended with {error!r}")


def _killer(error: Any) -> ClusterError:
    """What is reported of a cell that kills every worker that computes it."""
    count, last = error.allowed_failures + 1, error.last_worker.address
    return ClusterError(f"its worker died in each of {count} tries, the last on {last}: see its log")
