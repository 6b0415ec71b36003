"""The connection to a running Dask scheduler, which may be restarted meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dlinear.errors import DlinearError, MissingDependencyError, RecordError
from dlinear.storage import read_json

SILENT = logging.CRITICAL + 1
PAUSE = 0.2  # seconds between two attempts to reach the scheduler


class ClusterError(DlinearError):
    """The scheduler does not answer, its workers are gone, or a cell kills every worker that takes it."""


class Connection:
    """A client of the scheduler.

    Attributes:
        address: tcp://HOST:PORT of the scheduler, as last known.
        client: a `distributed.Client`, open between `opened` and its end.
    """

    address: str
    client: Any

    def __init__(
        self, scheduler: str | None, scheduler_file: str | os.PathLike[str] | None, answer: float
    ) -> None:
        """The scheduler's address or its file, and the seconds within which it has to answer."""
        self._scheduler, self._file, self._answer = scheduler, Path(scheduler_file or ""), answer
        self.address, self.client = scheduler or str(self._file), None

    @contextlib.contextmanager
    def opened(self) -> Iterator[Connection]:
        """Connected inside the block.

        Raises:
            ClusterError: the file names no scheduler, or the scheduler does not answer in time.
            MissingDependencyError: `distributed` is not installed.
        """
        try:
            import distributed  # noqa: F401
        except ImportError as error:
            raise MissingDependencyError("a cluster needs Dask: pip install distributed") from error
        with _quiet():
            deadline = time.monotonic() + self._answer
            self._find(deadline)
            try:
                self._connect(self._answer)
            except Exception as error:
                raise ClusterError(
                    f"no Dask scheduler at {self.address} within {self._answer:g} s"
                ) from error
            try:
                yield self
            finally:
                self._close(self._answer)

    def lives(self) -> bool:
        """Whether the scheduler answers."""
        return self.client.status == "running" and self.workers() is not None

    def workers(self) -> Any:
        """The workers that the scheduler knows; None where it does not answer."""
        try:
            return self.client.nthreads(callback_timeout=self._answer)
        except (OSError, TimeoutError, RuntimeError, ValueError):  # the client may close in the meantime
            return None

    def renew(self) -> None:
        """A new client, of a scheduler that may have been started again and have another address in its file.

        Raises:
            ClusterError: none answers in time.
        """
        self._close(PAUSE)
        deadline = time.monotonic() + self._answer
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise ClusterError(
                    f"the Dask scheduler at {self.address} is gone (waited {self._answer:g} s)"
                )
            try:
                self._find(time.monotonic())
                self._connect(left)
            except Exception:  # not there yet
                time.sleep(min(PAUSE, max(left, 0.0)))
            else:
                return

    def _find(self, deadline: float) -> None:
        """The address in the scheduler's file, which may appear late on a network's file system."""
        while self._scheduler is None:
            try:
                self.address = str(read_json(self._file, RecordError)["address"])
                return
            except (OSError, RecordError, KeyError, TypeError) as error:
                if time.monotonic() >= deadline:
                    what = "does not exist" if not self._file.exists() else "names no address of a scheduler"
                    raise ClusterError(f"{self._file} {what} (waited {self._answer:g} s)") from error
            time.sleep(min(PAUSE, self._answer))

    def _connect(self, seconds: float) -> None:
        import distributed

        with ThreadPoolExecutor(1) as thread:  # this one may run the event loop of a notebook
            thread.submit(asyncio.run, _answers(self.address, seconds)).result()
        self.client = distributed.Client(self.address, timeout=seconds, set_as_default=False)

    def _close(self, seconds: float) -> None:
        if self.client is not None:
            with contextlib.suppress(OSError, TimeoutError, RuntimeError):
                self.client.close(timeout=seconds)
            self.client = None


async def _answers(address: str, timeout: float) -> None:
    """Connect once, with a limit: the client would wait for ever for a port that never answers."""
    from distributed.comm import connect
    from distributed.security import Security

    words = Security().get_connection_args("client")  # TLS as configured
    comm = await asyncio.wait_for(connect(address, timeout=timeout, **words), timeout)
    comm.abort()


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
