"""What the records of Figure 5 say: chosen horizons, objectives, Rel(a)."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dlinear.analysis.comparison import REFERENCE
from dlinear.bridge.selection.cells import CURVE, METERS, PAPER_LOCO, RUN
from dlinear.bridge.selection.columns import Column, Problems
from dlinear.runs.records import Record
from dlinear.selection import HorizonCurves, best_horizon, estimate_curves, relative_performance

__all__ = [
    "SAME",
    "Algorithm",
    "ModelRecords",
    "Table",
    "fixed_algorithms",
    "model_records",
    "rows_of_records",
]

Floats = NDArray[np.float64]
MODELS = ("linear", "mlp", "resnet62")  # in the order of Table D3
SAME = 1e-4  # relative difference to back-propagation's gradient below which it is the same, in float32


@dataclass(frozen=True)
class Algorithm:
    """A row of the figure.

    Attributes:
        label: as it is shown.
        method: what it always runs; "" where it chooses a horizon.
        estimator: with which it chooses; "" of a fixed method.
        forward: whether it chooses without g_T.
        paper: whether the paper has the row.
    """

    label: str
    method: str = ""
    estimator: str = ""
    forward: bool = False
    paper: bool = True


def fixed_algorithms(stages: Sequence[int], states: int, parts: int) -> list[Algorithm]:
    """All rows: the paper's, then what it leaves out.

    Args:
        stages: K of LoCo K.
        states: S of revolve-S.
        parts: micro-batches.
    """
    return [
        Algorithm("BP", REFERENCE),
        Algorithm("FF (h = 1)", "horizon-1"),
        *(Algorithm(f"LoCo {k}", f"paper-loco-{k}") for k in stages),
        Algorithm("polynomial", estimator="polynomial"),
        Algorithm("theory", estimator="theory"),
        Algorithm("without g_T", estimator="theory", forward=True, paper=False),
        Algorithm("checkpointed", "checkpoint", paper=False),
        Algorithm(f"revolve-{states}", f"revolve-{states}", paper=False),
        Algorithm("micro-batches", f"accumulate-{parts}", paper=False),
    ]


class ModelRecords:
    """Everything that was measured of one model.

    Attributes:
        name: of the model.
        depth: T.
        problems: what is asked.
        horizons: H, those that the estimators see.
        memory: bytes of a step of each method.
        differences: relative difference of its gradient to back-propagation's.
        runs: training runs, by method and seed.
        blocks: (T,) sizes of the blocks.
    """

    def __init__(self, name: str) -> None:
        """Without records; `add` takes them, `curves` and meters first."""
        self.name = name
        self.memory: dict[str, float] = {}
        self.differences: dict[str, float] = {}
        self.runs: dict[tuple[str, int], Record] = {}
        self.curves: dict[int, Record] = {}
        self.forward: dict[int, Record] = {}
        self.blocks: Floats = np.empty(0)

    def add(self, records: Sequence[Record]) -> None:
        """Records of this model, of any part."""
        for record in records:
            method, seed, part = (record.knobs[key] for key in ("method", "seed", "part"))
            if part == METERS:
                self.memory[method] = float(record.arrays["activations"])
                self.differences[method] = float(record.arrays["difference"])
                self.blocks = np.asarray(record.arrays["blocks"], np.float64)
                continue
            self.runs[method, int(seed)] = record
            if part != RUN:
                (self.curves if part == CURVE else self.forward)[int(seed)] = record

    @property
    def seeds(self) -> list[int]:
        """Of the runs."""
        return sorted(self.curves)

    @property
    def problems(self) -> Problems:
        """What was asked."""
        return Problems.read(self.curves[self.seeds[0]].knobs["problems"])

    @property
    def depth(self) -> int:
        """T."""
        return int(self.curves[self.seeds[0]].knobs["depth"])

    @property
    def horizons(self) -> list[int]:
        """H, those that the estimators see."""
        return self.problems.measured(self.depth)

    @property
    def largest(self) -> float:
        """max_h M(h) over H, which gives the size of a node."""
        return max(self.memory[f"horizon-{h}"] for h in self.horizons)

    def runner(self, method: str) -> str:
        """Whose runs represent a method: back-propagation's where that is its gradient."""
        return REFERENCE if self.differences[method] < SAME else method

    def cosine(self, seed: int, start: bool = False, forward: bool = False) -> Floats:
        """cos(theta_h): the mean over the probed epochs of training, or before it.

        Returns:
            (T,), or with `forward`, without g_T, (len(H) - 1,) at the horizons of H below T.
        """
        cos = (self.forward if forward else self.curves)[seed].arrays["cos"]
        some = cos[np.isfinite(cos).all(axis=1)]
        found: Floats = np.asarray(some[0] if start else some.mean(axis=0), np.float64)
        return found

    def estimate(self, seed: int, algorithm: Algorithm) -> HorizonCurves:
        """r(h) and M(h) from the horizons of H alone, of one seed."""
        seen = np.array(self.horizons[:-1] if algorithm.forward else self.horizons)
        cos = self.cosine(seed, forward=algorithm.forward)
        cos = np.clip(cos if algorithm.forward else cos[seen - 1], -1, 1)
        memory = [self.memory[f"horizon-{h}"] for h in seen]
        blocks = self.blocks if algorithm.estimator == "theory" else None
        return estimate_curves(seen, cos, memory, self.depth, algorithm.estimator, blocks=blocks)

    def choose(self, column: Column, seed: int, algorithm: Algorithm) -> int:
        """The horizon that Algorithm 1 takes for a problem."""
        return best_horizon(self.estimate(seed, algorithm), column.problem(self.largest)).horizon

    def rate(self, method: str, seed: int, part: str = "train_loss") -> float:
        """r, eq. (14), as it was: ln(J/J_0) over that of back-propagation; -inf of a run that diverged."""
        own, true = (self.fall(name, seed, part) for name in (self.runner(method), REFERENCE))
        return own / true if true < 0 else math.nan

    def fall(self, method: str, seed: int, part: str = "train_loss") -> float:
        """ln(J/J_0) over the whole training; a loss of 0 counts as the smallest normal number."""
        arrays = self.runs[method, seed].arrays
        end = float(arrays[f"final_{part}"])
        least = sys.float_info.min
        return math.log(max(end, least) / float(arrays[part][0])) if math.isfinite(end) else math.inf

    def objective(self, column: Column, method: str, seed: int) -> float:
        """O(a) of what a method measured; inf where it does not meet the constraint, or diverged."""
        rate = self.rate(method, seed)
        if not math.isfinite(rate):
            return math.inf
        point = HorizonCurves(np.array([rate]), np.array([self.memory[method]]), "measured")
        return float(best_horizon(point, column.problem(self.largest)).objective[0])


def model_records(records: Iterable[Record]) -> dict[str, ModelRecords]:
    """The records of a run by model."""
    found: dict[str, ModelRecords] = {}
    for record in records:
        name = record.knobs["ensemble"]
        found.setdefault(name, ModelRecords(name)).add([record])
    return found


def rows_of_records(
    records: Sequence[Record],
) -> tuple[dict[str, ModelRecords], list[Algorithm], list[Column]]:
    """Models, rows and problems of a run, as its records name them: what `Table.of` takes."""
    models = {name: one for name in MODELS for key, one in model_records(records).items() if key == name}
    known = dict.fromkeys(name for one in models.values() for name in one.memory)
    numbers: dict[str, list[int]] = {}
    for name in known:
        family, _, number = name.rpartition("-")
        if number.isdigit():
            numbers.setdefault(family, []).append(int(number))
    algorithms = fixed_algorithms(
        sorted(numbers[PAPER_LOCO]), numbers["revolve"][0], numbers["accumulate"][0]
    )
    return models, algorithms, next(iter(models.values())).problems.columns(list(models))


@dataclass(frozen=True, eq=False)
class Table:
    """All of Figure 5.

    Attributes:
        algorithms: the rows.
        columns: the problems.
        objectives: (A, C, S) O(a) of each seed, inf where infeasible.
        horizons: (A, C, S) of the rows that choose, NaN of the others.
    """

    algorithms: list[Algorithm]
    columns: list[Column]
    objectives: Floats
    horizons: Floats

    @staticmethod
    def of(models: Mapping[str, ModelRecords], algorithms: list[Algorithm], columns: list[Column]) -> Table:
        """From the records of every model."""
        seeds = len(next(iter(models.values())).seeds)
        shape = (len(algorithms), len(columns), seeds)
        objectives, horizons = np.empty(shape), np.full(shape, np.nan)
        for a, c, s in np.ndindex(*shape):
            one, column = models[columns[c].model], columns[c]
            seed, method = one.seeds[s], algorithms[a].method
            if not method:
                horizons[a, c, s] = one.choose(column, seed, algorithms[a])
                method = f"horizon-{int(horizons[a, c, s])}"
            objectives[a, c, s] = one.objective(column, method, seed)
        return Table(algorithms, columns, objectives, horizons)

    def relative(self, infeasible: float = math.inf, paper: bool = False) -> Floats:
        """(A, C, S) Rel(a), eq. (19), of each seed; `paper`: among the paper's rows alone (NaN: others)."""
        rows = [a for a, one in enumerate(self.algorithms) if one.paper or not paper]
        found = np.full(self.objectives.shape, np.nan)
        for c, s in np.ndindex(*self.objectives.shape[1:]):
            found[rows, c, s] = relative_performance(self.objectives[rows, c, s], infeasible)
        return found

    def where(self, **named: str) -> list[int]:
        """The numbers of the columns with these values (model, cost, objective)."""
        return [
            c
            for c, one in enumerate(self.columns)
            if all(getattr(one, name) == value for name, value in named.items())
        ]
