"""The knobs of every script that sweeps: where its cells are computed and kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dlinear import sweeps
from dlinear.cluster import Cluster
from dlinear.errors import DomainError


@dataclass(frozen=True)
class Launch:
    """Where the cells are computed and kept; the knobs of a script inherit these."""

    results: str = "results"  # records go to <results>/<name of the script>
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
