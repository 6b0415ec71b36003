"""The cells of a sweep on a Dask cluster that was started beforehand (docs/cluster.md).

Nothing listens in this process: it only connects to the scheduler. `compute` and its cell travel by value,
so that a script's own module need not be importable on the workers; `dlinear` and its dependencies must be,
in the same versions. Cells of a worker that dies are computed again by another one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import queue
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlinear.errors import DlinearError, DomainError, MissingDependencyError
from dlinear.runs.computation import CellResult, CellResults, Compute, Computed
from dlinear.runs.dask_worker import compute_packed, packed

AHEAD = 5000  # cells handed to the scheduler at a time
TRIES = 3  # of a cell that the cluster loses (a restarted scheduler)
POLL = 1.0  # seconds without a result before the workers are counted
SILENT = logging.CRITICAL + 1


class ClusterError(DlinearError):
    """The scheduler does not answer, its workers are gone, or a cell kills every worker that takes it."""


@dataclass(frozen=True)
class Cluster:
    """A running Dask cluster, given by exactly one of the address and the file.

    Attributes:
        scheduler: tcp://HOST:PORT.
        scheduler_file: what `dask scheduler --scheduler-file` wrote.
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
        with self._connected() as (client, address):
            from distributed.scheduler import KilledWorker

            killed = []
            for key, result in self._computed(client, address, cells, compute):
                if isinstance(result, KilledWorker):
                    killed.append(key)
                else:
                    yield key, result
            gone: ClusterError | None = None
            for key in killed:
                try:
                    if gone is None:
                        ((_, result),) = self._computed(client, address, {key: cells[key]}, compute)
                        yield key, _killer(result) if isinstance(result, KilledWorker) else result
                        continue
                except ClusterError as error:  # this cell killed the last worker
                    gone = error
                yield key, gone

    @contextlib.contextmanager
    def _connected(self) -> Iterator[tuple[Any, str]]:
        try:
            import distributed
        except ImportError as error:
            raise MissingDependencyError("a cluster needs Dask: pip install distributed") from error
        address = self.scheduler or self._address()
        with _quiet():
            try:
                with ThreadPoolExecutor(1) as thread:  # this one may run the event loop of a notebook
                    thread.submit(asyncio.run, _answers(address, self.answer)).result()
                client = distributed.Client(address, timeout=self.answer, set_as_default=False)
            except Exception as error:
                raise ClusterError(f"no Dask scheduler at {address} within {self.answer:g} s") from error
            try:
                yield client, address
            finally:
                client.close(timeout=self.answer)

    def _address(self) -> str:
        """The address in the scheduler's file, which may appear late on a network's file system."""
        path = Path(self.scheduler_file or "")
        deadline = time.monotonic() + self.answer
        while True:
            try:
                return str(json.loads(path.read_text(encoding="utf-8"))["address"])
            except (OSError, ValueError, KeyError, TypeError) as error:
                if time.monotonic() > deadline:
                    what = "does not exist" if not path.exists() else "names no address of a scheduler"
                    raise ClusterError(f"{path} {what} (waited {self.answer:g} s)") from error
            time.sleep(min(0.2, self.answer))

    def _computed(self, client: Any, address: str, cells: Mapping[str, Any], compute: Compute) -> CellResults:
        executor = client.get_executor(pure=False)
        arrived: queue.SimpleQueue[Future[Computed]] = queue.SimpleQueue()
        waiting = list(cells)[::-1]
        submitted: dict[Future[Computed], str] = {}
        tries = dict.fromkeys(cells, 0)
        watch = _Watch(address, self.patience)

        def again() -> None:  # a lost connection cancels everything in flight
            self._reconnected(client, address)
            keys = list(submitted.values())
            while submitted:
                submitted.popitem()[0].cancel()
            waiting.extend(reversed(keys))

        try:
            while waiting or submitted:
                while waiting and len(submitted) < AHEAD:
                    key = waiting.pop()
                    tries[key] += 1
                    future = executor.submit(compute_packed, packed(compute, cells[key]))
                    submitted[future] = key
                    future.add_done_callback(arrived.put)
                try:
                    future = arrived.get(timeout=POLL)
                except queue.Empty:
                    try:
                        watch.saw(client.nthreads(callback_timeout=self.answer))
                    except (OSError, TimeoutError):
                        again()
                    continue
                watch.saw(True)
                if future not in submitted:
                    continue
                if not future.cancelled():
                    yield submitted.pop(future), _result_of(future)
                elif tries[submitted[future]] < TRIES:
                    again()
                else:
                    yield submitted.pop(future), ClusterError(f"the cluster lost it in each of {TRIES} tries")
        finally:
            for future in submitted:
                future.cancel()

    def _reconnected(self, client: Any, address: str) -> None:
        """Wait until the client is connected again, which it tries by itself for `answer` seconds."""
        deadline = time.monotonic() + self.answer + POLL
        while client.status != "running":
            if client.status == "closed" or time.monotonic() > deadline:
                raise ClusterError(f"the Dask scheduler at {address} is gone (waited {self.answer:g} s)")
            time.sleep(0.05)


async def _answers(address: str, timeout: float) -> None:
    """Connect once, with a limit: the client would wait for ever for a port that never answers."""
    from distributed.comm import connect
    from distributed.security import Security

    words = Security().get_connection_args("client")  # TLS as configured
    comm = await asyncio.wait_for(connect(address, timeout=timeout, **words), timeout)
    comm.abort()


class _Watch:
    """When a worker was last seen; waiting for one is reported once and limited."""

    def __init__(self, address: str, patience: float) -> None:
        self.address, self.patience = address, patience
        self.last, self.said = time.monotonic(), False

    def saw(self, workers: Any) -> None:
        """Note whether there are workers now.

        Raises:
            ClusterError: there have been none for too long.
        """
        if workers:
            self.last, self.said = time.monotonic(), False
        elif time.monotonic() - self.last > self.patience:
            raise ClusterError(f"no worker has been connected to {self.address} for {self.patience:g} s")
        elif not self.said:
            self.said = True
            print(f"no worker at {self.address}: waiting up to {self.patience:g} s", file=sys.stderr)


def _result_of(future: Future[Computed]) -> CellResult:
    error = future.exception()
    if error is None:
        return future.result()
    return error if isinstance(error, Exception) else ClusterError(f"it ended with {error!r}")


def _killer(error: Any) -> ClusterError:
    """What is reported of a cell that kills every worker that computes it."""
    count, last = error.allowed_failures + 1, error.last_worker.address
    return ClusterError(f"its worker died in each of {count} tries, the last on {last}: see its log")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the client's log lines about a lost scheduler: the sweep reports it in one line."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(SILENT)
    try:
        yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
