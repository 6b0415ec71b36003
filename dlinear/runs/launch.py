"""The knobs that scripts share: where cells are computed and kept, what data stand behind the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dlinear.errors import DomainError
from dlinear.runs import collection, sweeps
from dlinear.runs.dask_cluster import Cluster


@dataclass(frozen=True)
class LocalRun:
    """Where the few cells of a quick script are kept."""

    results: str = "results"  # folder of all records; a script writes to <results>/<its name>
    workers: int | None = 0  # number of processes; 0 computes in this one, enough for cells of milliseconds

    def sweep(self, name: str, cells: Sequence[Any], compute: sweeps.Compute) -> sweeps.Sweep:
        """`sweeps.run` of the cells into <results>/<name>, as the knobs say.

        Raises:
            RecordError: as `sweeps.run`.
        """
        return sweeps.run(f"{self.results}/{name}", cells, compute, workers=self.workers)

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

    def sweep(self, name: str, cells: Sequence[Any], compute: sweeps.Compute) -> sweeps.Sweep:
        """`sweeps.run` of the cells into <results>/<name>, as the knobs say.

        Raises:
            DomainError: knobs that contradict each other, or a bad shard.
            ClusterError, MissingDependencyError, RecordError: as `sweeps.run`.
        """
        cluster = None
        if self.scheduler is not None or self.scheduler_file is not None:
            if self.workers is not None:
                raise DomainError("--workers counts processes here: leave it out with a Dask scheduler")
            cluster = Cluster(self.scheduler, self.scheduler_file, self.answer, self.patience)
        folder = f"{self.results}/{name}"
        return sweeps.run(folder, cells, compute, workers=self.workers, executor=cluster, shard=self.shard)
