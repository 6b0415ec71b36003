"""The knobs of every script that sweeps: where its cells are computed and kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from dlinear import sweeps
from dlinear.cluster import Cluster
from dlinear.errors import DomainError


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
