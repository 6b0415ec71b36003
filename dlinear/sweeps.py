"""Run the cells of an experiment over a pool of processes, keep each as it finishes, and resume.

A cell is one frozen dataclass of knobs; `compute(cell)` must be a top-level function (the processes are
spawned) that returns the arrays of `records.write`. Cells whose record exists are not computed again.
Any `concurrent.futures.Executor` can be passed instead of the local pool.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from dlinear import records
from dlinear.errors import DomainError, RecordError

Arrays = Mapping[str, tuple[Sequence[str], ArrayLike]]
Compute = Callable[[Any], Arrays]
_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@dataclass(frozen=True)
class Sweep:
    """What a sweep did.

    Attributes:
        folder: results/<experiment>.
        keys: the cells' keys in the order asked.
        computed: how many cells were computed now.
        resumed: how many were there already.
        failed: key -> one line for each cell that failed.
    """

    folder: Path
    keys: tuple[str, ...]
    computed: int
    resumed: int
    failed: Mapping[str, str]

    def __str__(self) -> str:
        """One line for the end of a script's output."""
        line = f"{len(self.keys)} cells in {self.folder}: {self.computed} computed, {self.resumed} resumed"
        return line + (f", {len(self.failed)} FAILED" if self.failed else "")


def run(
    folder: records.Folder,
    cells: Sequence[Any],
    compute: Compute,
    *,
    workers: int | None = None,
    executor: Executor | None = None,
) -> Sweep:
    """Compute the missing cells, writing each record as it arrives, and mark the run as the latest.

    A cell that raises is reported on stderr and the rest go on; so does one whose process dies, after
    one more try in a process of its own. Ctrl-C keeps what is finished and says how to go on.

    Args:
        folder: results/<experiment>.
        cells: frozen dataclasses (or mappings) of JSON values; equal ones are computed once.
        compute: top-level function, cell -> arrays by name as (dimensions, values).
        workers: processes; 0 or 1 computes here, None takes one per core.
        executor: anything that runs `submit`, used instead of a local pool; its owner pins the threads
            of its workers and closes it.

    Raises:
        RecordError: a record could not be written (full disk); what is finished is kept.
        DomainError: a negative number of workers.
        KeyboardInterrupt: after Ctrl-C, once the message is printed.
    """
    if workers is not None and workers < 0:
        raise DomainError(f"workers must be 0 or more, not {workers}")
    from tqdm import tqdm

    place = Path(folder)
    wanted = {records.key(cell): cell for cell in cells}
    there = _present(place, wanted)
    missing = {key: cell for key, cell in wanted.items() if key not in there}
    failed: dict[str, str] = {}
    count = 0
    try:
        with (
            tqdm(total=len(missing), desc=place.name, unit="cell", disable=None) as bar,
            contextlib.closing(_results(missing, compute, workers, executor)) as results,
        ):
            for key, result in results:
                bar.update()
                if isinstance(result, Exception):
                    failed[key] = f"{type(result).__name__}: {' '.join(str(result).split())}"
                    print(f"cell {key[:12]} of {place.name} failed: {failed[key]}", file=sys.stderr)
                    continue
                records.write(place, wanted[key], *result)
                count += 1
    except (KeyboardInterrupt, RecordError) as stop:
        word = "interrupted" if isinstance(stop, KeyboardInterrupt) else "stopped"
        kept = sum((records.cells(place) / f"{key}.npz").exists() for key in wanted)
        print(
            f"{word}: {kept} of {len(wanted)} cells are kept in {records.cells(place)}; "
            "run the same command again to compute the rest",
            file=sys.stderr,
        )
        raise
    if not failed:
        records.mark_latest(place, list(wanted))
    return Sweep(place, tuple(wanted), count, len(there), failed)


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
            warnings.warn(f"computed again: {error}", records.RecordWarning, stacklevel=3)
    return there


def _timed(compute: Compute, cell: Any) -> tuple[Arrays, float]:
    start = time.perf_counter()
    return compute(cell), time.perf_counter() - start


Outcome = tuple[Arrays, float] | Exception
Results = Generator[tuple[str, Outcome], None, None]


def _results(
    cells: Mapping[str, Any], compute: Compute, workers: int | None, executor: Executor | None
) -> Results:
    if executor is not None:
        yield from _gather(executor, cells, compute)
        return
    count = min(len(cells), workers if workers is not None else os.cpu_count() or 1)
    if count <= 1:
        for key, cell in cells.items():
            try:
                yield key, _timed(compute, cell)
            except Exception as error:
                yield key, error
        return
    orphans: dict[str, Any] = {}
    with _pool(count) as pool:
        for key, result in _gather(pool, cells, compute):
            if isinstance(result, BrokenProcessPool):
                orphans[key] = cells[key]
            else:
                yield key, result
    for key, cell in orphans.items():  # a process died: find out whose fault it was
        with _pool(1) as pool:
            yield from _gather(pool, {key: cell}, compute)


def _gather(executor: Executor, cells: Mapping[str, Any], compute: Compute) -> Results:
    futures: dict[Future[tuple[Arrays, float]], str] = {}
    for key, cell in cells.items():
        try:
            futures[executor.submit(_timed, compute, cell)] = key
        except BrokenProcessPool as error:
            yield key, error
    try:
        for future in as_completed(futures):
            try:
                result: Outcome = future.result()
            except Exception as error:
                result = error
            yield futures[future], result
    finally:
        for future in futures:
            future.cancel()


@contextlib.contextmanager
def _pool(workers: int) -> Iterator[Executor]:
    """Spawned processes with one BLAS thread each; ended at once when the sweep is interrupted."""
    before = set(multiprocessing.active_children())
    saved = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_ignore_interrupt)
    try:
        yield pool
    except BaseException:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for name, value in saved.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _ignore_interrupt() -> None:
    """Ctrl-C reaches the whole process group; only the parent answers it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
