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

    results: str = "results"  # records go to <results>/<name of the script>
    workers: int | None = 0  # processes; cells of milliseconds need none

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

    workers: int | None = None  # processes here; one per core by default, 0 or 1 for none
    scheduler: str | None = None  # tcp://HOST:PORT of a Dask scheduler: its workers compute instead
    scheduler_file: str | None = None  # the same, by the file that the scheduler wrote (docs/cluster.md)
    answer: float = 30.0  # seconds that the scheduler may take to answer
    patience: float = 600.0  # seconds without any Dask worker before the sweep stops
    shard: str | None = None  # i/N computes the i-th of N parts (job arrays); verdicts wait for all parts

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
