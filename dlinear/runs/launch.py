"""The knobs that scripts share: where cells are computed and kept, what data stand behind the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dlinear.errors import DomainError
from dlinear.runs import collection, sweeps
from dlinear.runs.dask_cluster import Cluster
from dlinear.runs.knobs import changed


@dataclass(frozen=True)
class LocalRun:
    """Where the few cells of a quick script are kept."""

    results: str = "results"  # folder of all records; a script writes to <results>/<its name>
    workers: int | None = 0  # number of processes; 0 computes in this one, enough for cells of milliseconds

    def sweep(
        self, name: str, cells: Sequence[Any], compute: sweeps.Compute, whole: bool = True
    ) -> sweeps.Sweep:
        """`sweeps.run` of the cells into <results>/<name>, as the knobs say.

        Args:
            name: of the experiment.
            cells: to be computed where they have no record.
            compute: cell -> arrays.
            whole: whether they make a complete run, which is marked as the latest.

        Raises:
            RecordError: as `sweeps.run`.
        """
        words = changed(self) if whole else None
        return sweeps.run(self.folder(name), cells, compute, workers=self.workers, whole=whole, changed=words)

    def folder(self, name: str) -> str:
        """<results>/<name>."""
        return f"{self.results}/{name}"

    def gather(self, name: str, cells: Sequence[Any], compute: sweeps.Compute) -> tuple[sweeps.Sweep, Any]:
        """`sweep`, and the records of its cells as one data set; None after a line that says what is missing.

        Raises:
            DomainError, ClusterError, MissingDependencyError, RecordError: as `sweep`.
        """
        sweep = self.sweep(name, cells, compute)
        if sweep.waiting:
            print(f"{sweep}\nno verdict: {sweep.waiting}")
            return sweep, None
        return sweep, collection.load(sweep.folder, sweep.keys)


@dataclass(frozen=True)
class Launch(LocalRun):
    """Where many cells are computed and kept."""

    workers: int | None = None  # number of processes here; None: one per core, 0 or 1: this process alone
    scheduler: str | None = None  # address tcp://HOST:PORT of a Dask scheduler whose workers compute instead
    scheduler_file: str | None = None  # file that the Dask scheduler wrote, in place of its address
    answer: float = 30.0  # seconds within which the scheduler must answer; a loaded one takes a few
    patience: float = 600.0  # seconds without any Dask worker until the sweep stops; jobs may be queued
    shard: str | None = None  # i/N: the i-th of N disjoint parts of the cells, for job arrays

    def sweep(
        self, name: str, cells: Sequence[Any], compute: sweeps.Compute, whole: bool = True
    ) -> sweeps.Sweep:
        """`sweeps.run` of the cells into <results>/<name>, as the knobs say; see `LocalRun.sweep`.

        Raises:
            DomainError: knobs that contradict each other, or a bad shard.
            ClusterError, MissingDependencyError, RecordError: as `sweeps.run`.
        """
        cluster = None
        if self.scheduler is not None or self.scheduler_file is not None:
            if self.workers is not None:
                raise DomainError("--workers counts processes here: leave it out with a Dask scheduler")
            cluster = Cluster(self.scheduler, self.scheduler_file, self.answer, self.patience)
        return sweeps.run(
            self.folder(name),
            cells,
            compute,
            workers=self.workers,
            executor=cluster,
            shard=self.shard,
            whole=whole,
            changed=changed(self) if whole else None,
        )
