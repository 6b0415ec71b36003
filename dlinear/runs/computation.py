"""How a cell is computed: what goes in, what comes back, here or through an executor."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Executor, Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple, Protocol, runtime_checkable

from numpy.typing import ArrayLike

from dlinear.runs import pool, provenance

Arrays = Mapping[str, tuple[Sequence[str], ArrayLike]]  # name -> (dimensions, values), as `records.write`
Compute = Callable[[Any], Arrays]  # a cell -> its arrays


class Computed(NamedTuple):
    """What a cell gave: its arrays, the seconds it took, and versions, revision, machine of its process."""

    arrays: Arrays
    seconds: float
    origin: Mapping[str, Any]


CellResult = Computed | Exception  # or what the cell raised
CellResults = Generator[tuple[str, CellResult], None, None]  # with the cells' keys, as they arrive


@runtime_checkable
class Gatherer(Protocol):
    """Computes cells somewhere else."""

    def gather(self, cells: Mapping[str, Any], compute: Compute) -> CellResults:
        """The result of each cell as it arrives."""


def timed(compute: Compute, cell: Any) -> Computed:
    """compute(cell), the seconds it took, and what it was computed with."""
    start = time.perf_counter()
    with getattr(compute, "environment", contextlib.nullcontext)():
        arrays = compute(cell)
        return Computed(arrays, time.perf_counter() - start, provenance.of_this_process())


def in_this_process(cells: Mapping[str, Any], compute: Compute) -> CellResults:
    """One cell after the other."""
    for key, cell in cells.items():
        try:
            yield key, timed(compute, cell)
        except Exception as error:
            yield key, error


def through_executor(executor: Executor, cells: Mapping[str, Any], compute: Compute) -> CellResults:
    """All cells by `submit`; those that have not begun are cancelled when the generator is closed."""
    futures: dict[Future[Computed], str] = {}
    for key, cell in cells.items():
        try:
            futures[executor.submit(timed, compute, cell)] = key
        except BrokenProcessPool as error:
            yield key, error
    try:
        for future in as_completed(futures):
            try:
                result: CellResult = future.result()
            except Exception as error:
                result = error
            yield futures[future], result
    finally:
        for future in futures:
            future.cancel()


class OneProcessEach:
    """A `Gatherer`: one cell after the other, each in a process of its own, so that none sees the memory, the
    caches or the warmth of another."""

    def gather(self, cells: Mapping[str, Any], compute: Compute) -> CellResults:
        """The result of each cell as it arrives."""
        for key, cell in cells.items():
            yield from pool.spread(functools.partial(timed, compute), {key: cell}, 1)
