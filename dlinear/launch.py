"""The knobs that scripts share: where cells are computed and kept, what data stand behind the target."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, TypeVar

import numpy as np

from dlinear import records, sweeps
from dlinear.cluster import Cluster
from dlinear.data.tasks import TaskName, load_task
from dlinear.errors import DomainError

Cell = TypeVar("Cell")


class Rule(NamedTuple):
    """What a knob may be, as a test and in words."""

    holds: Callable[[Any], bool]
    words: str


def at_least(low: int) -> Rule:
    """Numbers from `low` on."""
    return Rule(lambda value: low <= value < math.inf, f"{low} or more")


def below(high: float) -> Rule:
    """Positive numbers below `high`."""
    return Rule(lambda value: 0 < value < high, f"more than 0 and less than {high:g}")


FINITE = Rule(math.isfinite, "finite")
NONZERO = Rule(lambda value: math.isfinite(value) and value != 0, "finite and not 0")
POSITIVE = Rule(lambda value: 0 < value < math.inf, "finite and more than 0")
FRACTION = below(1)
PROFILE = {
    "width": at_least(1),
    "seeds": at_least(1),
    "points": at_least(3),
}  # of every sim that draws profiles


def check(knobs: Any, **rules: Rule) -> None:
    """Check the knobs of a script by their names, every item of those that hold several.

    Raises:
        DomainError: a value that its rule excludes, or a list (of depths, for example) that is empty or names
            something twice.
    """
    for name, value in vars(knobs).items():
        option = f"--{name.replace('_', '-')}"
        items = value if isinstance(value, tuple) else (value,)
        if not items or len(set(items)) < len(items):
            raise DomainError(f"{option} must hold one value or more, each once; received {list(items)}")
        if name in rules and not all(map(rules[name].holds, items)):
            raise DomainError(f"{option} must be {rules[name].words}; received {value}")


def cell_from(kind: type[Cell], knobs: Any, **own: Any) -> Cell:
    """A cell (a dataclass) of its own values and of the knobs that have the names of its other fields."""
    names = [field.name for field in fields(kind) if field.name not in own]  # type: ignore[arg-type]
    return kind(**own, **{name: getattr(knobs, name) for name in names if hasattr(knobs, name)})


@dataclass(frozen=True)
class Source:
    """Where data sets that are not bundled come from."""

    data_folder: str | None = None  # where to look for them, before DLINEAR_DATA and ./data
    download: bool = False  # fetch the official archives when no copy is found


@dataclass(frozen=True)
class Target(Source):
    """The data whose whitened target Phi the networks are measured against, and the points of a profile."""

    data: TaskName = "digits"  # real labels and images, bundled with scikit-learn: no download
    width: int = 10  # the paper's; the labels of ten classes fill it exactly
    points: int = 20  # shortfalls, evenly in ratio

    def phi(self) -> tuple[np.ndarray, str]:
        """Phi, (n, n), and the identity of the data it comes from.

        Raises:
            DataError, DomainError, MissingDependencyError: as `tasks.load_task`.
        """
        task, identity = load_task(self.data, self.width, folder=self.data_folder, download=self.download)
        return task.phi, identity


@dataclass(frozen=True)
class Kept:
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
        return sweep, records.load(sweep.folder, sweep.keys)


@dataclass(frozen=True)
class Launch(Kept):
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
