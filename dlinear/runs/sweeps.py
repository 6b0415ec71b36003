"""Compute the cells of an experiment that have no record yet, and keep each as it finishes.

A cell is one frozen dataclass of knobs; `compute(cell)` must be a top-level function (the processes are
spawned) that returns the arrays of `records.write`. Cells whose record exists are not computed again.
Any `concurrent.futures.Executor` can be passed instead of the local pool, or a `dask_cluster.Cluster`.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlinear.checks import as_integer, as_place, shown
from dlinear.errors import DlinearError, DomainError, MissingDependencyError, RecordError
from dlinear.optional import missing as missing_package
from dlinear.optional import needed
from dlinear.runs import collection, pool, provenance, records
from dlinear.runs.computation import (
    Arrays,
    CellResults,
    Compute,
    Gatherer,
    in_this_process,
    through_executor,
    timed,
)
from dlinear.runs.kernels import one_way
from dlinear.runs.signals import sigterm_interrupts
from dlinear.storage import remove_leftovers, what_blocks

__all__ = ["Arrays", "Compute", "Gatherer", "Sweep", "run"]


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
    whole: bool = True,
    changed: str | None = None,
) -> Sweep:
    """Compute the missing cells, writing each record as it arrives, and mark a whole run as the latest.

    A cell that raises is reported on stderr and the rest go on (unless it lacks a package: so would they); so
    does one whose process dies in each of three tries. Ctrl-C or a SIGTERM keeps what is finished and says
    how to go on.

    Args:
        folder: results/<experiment>.
        cells: frozen dataclasses (or mappings) of JSON values; equal ones are computed once.
        compute: top-level function, cell -> arrays by name as (dimensions, values).
        workers: processes; 0 or 1 computes here, None takes one per core.
        executor: anything that runs `submit`, used instead of a local pool; its owner pins the threads
            of its workers and closes it. Or a `dask_cluster.Cluster`.
        shard: i/N takes the i-th of N disjoint parts of the cells; the parts together are all of them.
        whole: whether the cells make a complete run, which is marked as the latest one.
        changed: the options that make it differ from the default run, for the mark; see `mark_latest`.

    Raises:
        RecordError: a record could not be written (full disk); what is finished is kept.
        ClusterError: the scheduler or all workers of a cluster are gone; what is finished is kept.
        MissingDependencyError: a package is not installed, here or where a cell is computed.
        DomainError: a number of workers that is none or negative, a shard that is not i/N with 1 <= i <= N,
            or cells, compute or an executor of another type.
        KeyboardInterrupt: after Ctrl-C or a SIGTERM, once the message is printed.
    """
    place = as_place("folder", folder, RecordError)
    workers = _check(cells, compute, workers, executor)
    wanted = _part({records.key(cell): cell for cell in cells}, shard)
    with _what_is_kept(place, wanted), sigterm_interrupts():
        remove_leftovers(place)
        remove_leftovers(records.cells(place))  # which may be a link to another disk
        there = _present(place, wanted)
        compute = one_way(place, compute, there.values()) if len(there) < len(wanted) else compute
        missing = {key: cell for key, cell in wanted.items() if key not in there}
        count, failed = _keep(place, missing, _results(missing, compute, workers, executor))
    lost = tuple(key for key in _absent(place, wanted) if key not in failed)
    if not failed and not lost and shard is None and whole:
        collection.mark_latest(place, list(wanted), changed)
    return Sweep(place, tuple(wanted), count, len(there), failed, lost, shard)


def _check(cells: object, compute: object, workers: object, executor: object) -> int | None:
    """The number of workers; `DomainError` where one of the arguments of `run` is none."""
    if not isinstance(cells, Iterable) or isinstance(cells, str | bytes | Mapping):
        raise DomainError(f"cells must be a sequence of dataclasses or mappings, not {shown(cells, 60)}")
    if not callable(compute):
        raise DomainError(f"compute must be a function of a cell, not {shown(compute, 60)}")
    if executor is not None and not isinstance(executor, Executor | Gatherer):
        raise DomainError(f"executor must be an Executor or a Cluster, not {shown(executor, 60)}")
    if workers is None:
        return None
    try:
        return as_integer("workers", workers, 0)
    except DomainError:
        raise DomainError(f"workers must be 0 or more, not {shown(workers, 60)}") from None


def _keep(place: Path, cells: Mapping[str, Any], results: CellResults) -> tuple[int, dict[str, str]]:
    """Write a record of each result as it arrives; how many, and one line for each cell that failed."""
    with needed("a sweep"):
        from tqdm import tqdm

    count, failed = 0, dict[str, str]()
    with (
        tqdm(total=len(cells), desc=place.name, unit="cell", disable=None) as bar,
        contextlib.closing(results),
    ):
        for key, result in results:
            bar.update()
            if isinstance(result, ModuleNotFoundError):
                raise missing_package("a cell", result) from result
            if isinstance(result, MissingDependencyError):  # no other cell would do better
                raise result
            if isinstance(result, Exception):
                failed[key] = f"{type(result).__name__}: {' '.join(str(result).split())}"
                print(f"cell {key[:12]} of {place.name} failed: {failed[key]}", file=sys.stderr)
                continue
            records.write(place, cells[key], *result)
            count += 1
    return count, failed


@contextlib.contextmanager
def _what_is_kept(place: Path, wanted: Mapping[str, Any]) -> Iterator[None]:
    """Whatever stops the block, one line on stderr says how many cells are kept and how to go on."""
    try:
        yield
    except (KeyboardInterrupt, DlinearError) as stop:
        word = "interrupted" if isinstance(stop, KeyboardInterrupt) else "stopped"
        kept = len(wanted) - len(_absent(place, wanted))
        if kept or word == "interrupted":
            print(
                f"{word}: {kept} of {len(wanted)} cells are kept in {records.cells(place)}; "
                "run the same command again to compute the rest",
                file=sys.stderr,
            )
        raise


def _part(wanted: dict[str, Any], shard: str | None) -> dict[str, Any]:
    """Every N-th cell from the i-th on, in the order asked: parts hold equally many cells of each kind."""
    if shard is None:
        return wanted
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", shard, re.ASCII) if isinstance(shard, str) else None
    i, count = map(int, found.groups()) if found else (0, 0)
    if not 1 <= i <= count:
        raise DomainError(f"shard must be i/N with 1 <= i <= N, for example 1/8, not {shown(shard, 60)}")
    return dict(list(wanted.items())[i - 1 :: count])


def _absent(place: Path, keys: Iterable[str]) -> list[str]:
    return [key for key in keys if not (records.cells(place) / f"{key}.npz").is_file()]


def _present(place: Path, wanted: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Key -> metadata of each readable record; a damaged one is computed again, a newer one not replaced."""
    there: dict[str, dict[str, Any]] = {}
    for key in wanted:
        path = records.cells(place) / f"{key}.npz"
        if blocker := what_blocks(path):
            raise RecordError(f"{path} is {blocker}, not a record: move it away")
        if not path.exists():
            continue
        try:
            there[key] = records.read(path).meta
        except records.NewerRecordError as error:
            raise records.NewerRecordError(f"{error}; move it away or update the library") from error
        except RecordError as error:
            warnings.warn(f"computed again: {error}", collection.RecordWarning, stacklevel=3)
    here = _written_by(provenance.of_this_process())
    if others := {key: by for key, meta in there.items() if (by := _written_by(meta)) != here}:
        names = ", ".join(sorted(set(others.values()))[:3])
        print(
            f"note: {len(others)} of {len(there)} records in {records.cells(place)} are kept that were "
            f"computed by {names}, not by {here}: move them away to compute them again",
            file=sys.stderr,
        )
    return there


def _written_by(meta: Mapping[str, Any]) -> str:
    """The code that a record was computed by: the commit, or the version where there is no checkout."""
    if commit := meta["revision"]:
        return f"revision {commit[:10]}{'+changes' if commit.endswith('+changes') else ''}"
    return f"dlinear {meta['versions'].get('dlinear', '(unknown version)')}"


def _results(
    cells: Mapping[str, Any], compute: Compute, workers: int | None, executor: Executor | Gatherer | None
) -> CellResults:
    """The results of the cells from wherever they are computed."""
    if isinstance(executor, Executor):
        yield from through_executor(executor, cells, compute)
    elif executor is not None:
        if cells:  # a finished run needs no cluster
            yield from executor.gather(cells, compute)
    elif (count := min(len(cells), workers if workers is not None else os.cpu_count() or 1)) <= 1:
        yield from in_this_process(cells, compute)
    else:
        yield from pool.spread(functools.partial(timed, compute), cells, count)
