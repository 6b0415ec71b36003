"""Run the cells of an experiment over a pool of processes, keep each as it finishes, and resume.

A cell is one frozen dataclass of knobs; `compute(cell)` must be a top-level function (the processes are
spawned) that returns the arrays of `records.write`. Cells whose record exists are not computed again.
Any `concurrent.futures.Executor` can be passed instead of the local pool, or a `dask_cluster.Cluster`.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import ArrayLike

from dlinear.errors import DlinearError, DomainError, MissingDependencyError, RecordError
from dlinear.optional import missing as missing_package
from dlinear.optional import needed
from dlinear.runs import collection, records
from dlinear.runs.pool import spread, terminable

Arrays = Mapping[str, tuple[Sequence[str], ArrayLike]]
Compute = Callable[[Any], Arrays]
Computed = tuple[Arrays, float] | Exception
Results = Generator[tuple[str, Computed], None, None]


class Gatherer(Protocol):
    """Computes cells somewhere else."""

    def gather(self, cells: Mapping[str, Any], compute: Compute) -> Results:
        """(key, arrays and seconds, or the exception) of each cell as it arrives."""


@dataclass(frozen=True)
class Sweep:
    """What a sweep did.

    Attributes:
        folder: results/<experiment>.
        keys: the cells' keys in the order asked; those of the shard alone when there is one.
        computed: how many cells were computed now.
        resumed: how many were there already.
        failed: key -> one line for each cell that failed.
        lost: the keys that neither failed nor have a record; none, unless somebody removes files.
        shard: i/N of a part, None of the whole.
    """

    folder: Path
    keys: tuple[str, ...]
    computed: int
    resumed: int
    failed: Mapping[str, str]
    lost: tuple[str, ...] = ()
    shard: str | None = None

    @property
    def waiting(self) -> str:
        """Why no verdict can be given yet; empty when every cell of the run is there."""
        if missing := len(self.failed) + len(self.lost):
            return f"{missing} of {len(self.keys)} cells are missing; run the same command again"
        if self.shard is not None:
            return f"shard {self.shard} alone; when all are done, run the same command without --shard"
        return ""

    def __str__(self) -> str:
        """One line for the end of a script's output."""
        line = f"{len(self.keys)} cells in {self.folder}: {self.computed} computed, {self.resumed} resumed"
        line += f", {len(self.lost)} lost"
        return line + (f", {len(self.failed)} FAILED" if self.failed else "")


def run(
    folder: records.Folder,
    cells: Sequence[Any],
    compute: Compute,
    *,
    workers: int | None = None,
    executor: Executor | Gatherer | None = None,
    shard: str | None = None,
) -> Sweep:
    """Compute the missing cells, writing each record as it arrives, and mark a whole run as the latest.

    A cell that raises is reported on stderr and the rest go on (unless it lacks a package: so would they); so
    does one whose process dies twice. Ctrl-C or a SIGTERM keeps what is
    finished and says how to go on.

    Args:
        folder: results/<experiment>.
        cells: frozen dataclasses (or mappings) of JSON values; equal ones are computed once.
        compute: top-level function, cell -> arrays by name as (dimensions, values).
        workers: processes; 0 or 1 computes here, None takes one per core.
        executor: anything that runs `submit`, used instead of a local pool; its owner pins the threads
            of its workers and closes it. Or a `dask_cluster.Cluster`.
        shard: i/N takes the i-th of N disjoint parts of the cells; the parts together are all of them.

    Raises:
        RecordError: a record could not be written (full disk); what is finished is kept.
        ClusterError: the scheduler or all workers of a cluster are gone; what is finished is kept.
        MissingDependencyError: a package is not installed, here or where a cell is computed.
        DomainError: a negative number of workers, or a shard that is not i/N with 1 <= i <= N.
        KeyboardInterrupt: after Ctrl-C or a SIGTERM, once the message is printed.
    """
    if workers is not None and workers < 0:
        raise DomainError(f"workers must be 0 or more, not {workers}")
    with needed("a sweep"):
        from tqdm import tqdm

    place = Path(folder)
    wanted = _part({records.key(cell): cell for cell in cells}, shard)
    there = _present(place, wanted)
    missing = {key: cell for key, cell in wanted.items() if key not in there}
    try:
        with (
            terminable(),
            tqdm(total=len(missing), desc=place.name, unit="cell", disable=None) as bar,
            contextlib.closing(_results(missing, compute, workers, executor)) as results,
        ):
            failed = _written(place, wanted, results, bar.update)
    except (KeyboardInterrupt, DlinearError) as stop:
        _say_what_is_kept(place, wanted, isinstance(stop, KeyboardInterrupt))
        raise
    absent = _absent(place, wanted)
    lost = tuple(key for key in absent if key not in failed)
    if not failed and not lost and shard is None:
        collection.mark_latest(place, list(wanted))
    return Sweep(place, tuple(wanted), len(missing) - len(absent), len(there), failed, lost, shard)


def _written(
    place: Path, wanted: Mapping[str, Any], results: Results, update: Callable[[], Any]
) -> dict[str, str]:
    """Write each result as it arrives; key -> one line for each cell that failed."""
    failed: dict[str, str] = {}
    for key, result in results:
        update()
        if isinstance(result, ModuleNotFoundError):
            raise missing_package("a cell", result) from result
        if isinstance(result, MissingDependencyError):  # no other cell would do better
            raise result
        if isinstance(result, Exception):
            failed[key] = f"{type(result).__name__}: {' '.join(str(result).split())}"
            print(f"cell {key[:12]} of {place.name} failed: {failed[key]}", file=sys.stderr)
            continue
        records.write(place, wanted[key], *result)
    return failed


def _say_what_is_kept(place: Path, wanted: Mapping[str, Any], interrupted: bool) -> None:
    kept = len(wanted) - len(_absent(place, wanted))
    if kept or interrupted:
        print(
            f"{'interrupted' if interrupted else 'stopped'}: {kept} of {len(wanted)} cells are kept in "
            f"{records.cells(place)}; run the same command again to compute the rest",
            file=sys.stderr,
        )


def _part(wanted: dict[str, Any], shard: str | None) -> dict[str, Any]:
    """Every N-th cell from the i-th on, in the order asked: cells of one kind are dealt out evenly."""
    if shard is None:
        return wanted
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", shard, re.ASCII)
    i, count = map(int, found.groups()) if found else (0, 0)
    if not 1 <= i <= count:
        raise DomainError(f"shard must be i/N with 1 <= i <= N, for example 1/8, not {shard!r}")
    return dict(list(wanted.items())[i - 1 :: count])


def _absent(place: Path, keys: Iterable[str]) -> list[str]:
    return [key for key in keys if not (records.cells(place) / f"{key}.npz").is_file()]


def _present(place: Path, wanted: Mapping[str, Any]) -> set[str]:
    """The keys whose record is readable. A damaged one is computed again, a newer one is not replaced."""
    there = set()
    for key in wanted:
        path = records.cells(place) / f"{key}.npz"
        if not path.exists():
            continue
        try:
            there.add(records.read(path).key)
        except records.NewerRecordError as error:
            raise records.NewerRecordError(f"{error}; move it away or update the library") from error
        except RecordError as error:
            warnings.warn(f"computed again: {error}", collection.RecordWarning, stacklevel=3)
    return there


def timed(compute: Compute, cell: Any) -> tuple[Arrays, float]:
    """compute(cell) and the seconds it took."""
    start = time.perf_counter()
    return compute(cell), time.perf_counter() - start


def _results(
    cells: Mapping[str, Any], compute: Compute, workers: int | None, executor: Executor | Gatherer | None
) -> Results:
    if executor is not None and not isinstance(executor, Executor):
        if cells:  # a finished run needs no cluster
            yield from executor.gather(cells, compute)
        return
    if executor is not None:
        yield from _gather(executor, cells, compute)
        return
    count = min(len(cells), workers if workers is not None else os.cpu_count() or 1)
    if count <= 1:
        for key, cell in cells.items():
            try:
                yield key, timed(compute, cell)
            except Exception as error:
                yield key, error
        return
    yield from spread(partial(timed, compute), cells, count)


def _gather(executor: Executor, cells: Mapping[str, Any], compute: Compute) -> Results:
    futures: dict[Future[tuple[Arrays, float]], str] = {}
    for key, cell in cells.items():
        try:
            futures[executor.submit(timed, compute, cell)] = key
        except BrokenProcessPool as error:
            yield key, error
    try:
        for future in as_completed(futures):
            try:
                result: Computed = future.result()
            except Exception as error:
                result = error
            yield futures[future], result
    finally:
        for future in futures:
            future.cancel()
