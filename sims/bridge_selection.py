"""Which algorithm has the best objective? Figure 5 of the paper: fixed rules, selection, exact rivals.

    python -m sims.bridge_selection                            # three models, minutes on one core
    python -m sims.bridge_selection --models linear mlp --seeds 5
    python -m sims.bridge_selection --images cifar10 --data-folder data
    python -m sims.bridge_selection --full --data-folder data  # the paper's settings, for a GPU

Models: linear residual net, residual MLP (15 layers of width 10), ResNet-62. Without `--full` (Table D2) they
are reduced: fewer samples and epochs, and a ResNet of 15 blocks and 8 channels on digits (or `--images`).
Problems: linear cost C1 and ladder cost C2 (Table D3), constraint O1 (17) and weighted objective O2 (18),
three parameters each.

- Back-propagation trains each model from each seed; on the way cos(theta_h) is measured on the first batch at
  epochs 0, 1, 2, 4, ..., and averaged. Algorithm 1 sees it, and the memory of a step, at few horizons.
- Every row is then judged by what it measures: r of eq. (14) from its own training loss, M from the meters.
  Selection predicts both; that its prediction of r (cos^2) misses is why a choice can be infeasible.
- All methods take the paper's learning rate, as it is. What has back-propagation's gradient (relative
  difference below 1e-4) is not trained again.
- LoCo K as in the paper: horizon 2 over K stages with split losses.
- Rel(a), eq. (19), of each seed; an infeasible choice counts 1.5 in means. Intervals are over seeds (95 %).
- Rows that the paper lacks: checkpointing, revolve-S, micro-batches. They have back-propagation's gradient
  (micro-batches not with batch norm) at less memory and more time, which no objective counts.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from dlinear import report
from dlinear.analysis.comparison import REFERENCE
from dlinear.runs import script
from dlinear.runs.knobs import POSITIVE, Constraint, Source, at_least, check
from dlinear.runs.launch import Launch
from dlinear.runs.records import Record
from dlinear.runs.stages import Stages

with script.imports():
    from dlinear.bridge import selection
    from dlinear.bridge.selection import words
    from dlinear.bridge.selection.outcome import SAME, ModelRecords, Table

NAME = "bridge_selection"
TOY = (  # seconds, for the tests
    "--models mlp --depth 6 --samples 40 --test-samples 20 --epochs 1 --seeds 2 --points 3 --stages 3 "
    "--accuracies 0.5 --weights 0.5"
)
MODELS = {"linear": "linear residual net", "mlp": "residual MLP", "resnet62": "ResNet-62"}
SIZES: dict[str, dict[str, Any]] = {  # minutes on one core
    "linear": dict(data="linear", depth=15, width=10, samples=1000, batch=100, epochs=40, rate=0.03),
    "mlp": dict(data="trigonometric", depth=15, width=10, samples=2000, batch=100, epochs=20, rate=0.01),
    "resnet62": dict(depth=15, width=8, samples=320, batch=32, epochs=6, rate=0.01),
}
FULL: dict[str, dict[str, Any]] = {  # Table D2
    "linear": dict(samples=10_000, epochs=40),
    "mlp": dict(samples=100_000, epochs=40),
    "resnet62": dict(depth=30, width=16, samples=45_000, epochs=40),
}
Model = Literal["linear", "mlp", "resnet62"]


@dataclass(frozen=True)
class Knobs(Source, Launch):
    """What to run; None is the model's own value."""

    models: tuple[Model, ...] = ("linear", "mlp", "resnet62")  # M1, M2, M3 of Table D3
    full: bool = False  # the paper's samples, epochs and depth, instead of minutes on one core
    images: str = "auto"  # data of the ResNet: digits, which are bundled; cifar10 with --full
    depth: int | None = None  # T of every model; that of the ResNet is a multiple of 3
    samples: int | None = None  # training samples of every model
    test_samples: int | None = None  # test samples; all by default
    epochs: int | None = None  # passes through the training set
    channels: int | None = None  # number of channels of the ResNet's first stage: 8, or 16 with --full
    seeds: int = 3  # runs of everything; the least that gives an interval of use
    points: int = 5  # measured horizons, evenly from 1 to T; a cubic has four coefficients
    accuracies: tuple[float, ...] = (0.5, 0.7, 0.9)  # 1 - epsilon of O1; the paper's are in a picture alone
    weights: tuple[float, ...] = (0.2, 0.5, 1.0)  # lambda of O2; from near T down to the least horizons
    stages: tuple[int, ...] = (3, 5)  # K of LoCo K, the paper's
    states: int = 4  # number of states that revolve keeps; about sqrt(T), as checkpointing takes
    parts: int = 4  # micro-batches of a batch


def setting_of(knobs: Knobs, name: str) -> selection.Setting:
    """How a model is built and trained."""
    sizes = SIZES[name] | (FULL[name] if knobs.full else {})
    if name == "resnet62":
        bundled = "cifar10" if knobs.full else "digits"
        sizes |= {"data": bundled if knobs.images == "auto" else knobs.images}
        sizes |= {} if knobs.channels is None else {"width": knobs.channels}
    given = selection.Setting(name, test_samples=knobs.test_samples, **sizes)
    own = {
        key: getattr(knobs, key) for key in ("depth", "samples", "epochs") if getattr(knobs, key) is not None
    }
    return replace(given, **own)


def check_all(knobs: Knobs, settings: Sequence[selection.Setting]) -> None:
    """Check the knobs.

    Raises:
        DomainError: one that makes no sense.
    """
    counts = ("samples", "test_samples", "epochs", "channels", "seeds", "states", "parts")
    given = [name for name in counts if getattr(knobs, name) is not None]
    rates = Constraint(lambda value: 0 <= value <= 1, "in [0, 1]")
    whole = Constraint(
        lambda value: value >= 2 and all(one.depth % value == 0 for one in settings),
        f"2 or more and a divisor of {' and '.join(sorted({str(one.depth) for one in settings}))}",
    )
    thirds = Constraint(lambda value: value % 3 == 0 and value >= 6, "a multiple of 3, 6 or more")
    check(
        knobs,
        **dict.fromkeys(given, at_least(1)),
        **({} if knobs.depth is None else {"depth": thirds}),
        points=at_least(3),
        accuracies=rates,
        weights=POSITIVE,
        stages=whole,
    )


class Work:
    """The stages of the run, and what is known of each model."""

    def __init__(self, knobs: Knobs, settings: Sequence[selection.Setting]) -> None:
        """Load the data of every model."""
        source = {"folder": knobs.data_folder, "download": knobs.download}
        self.settings = {one.model: one for one in settings}
        self.problems = selection.Problems(knobs.points, knobs.accuracies, knobs.weights)
        self.algorithms = selection.fixed_algorithms(knobs.stages, knobs.states, knobs.parts)
        self.seeds = range(knobs.seeds)
        self.digests = {name: one.load(**source).digest for name, one in self.settings.items()}
        self.stages = Stages(
            NAME, knobs, functools.partial(selection.compute, settings=self.settings, **source)
        )
        self.records: list[Record] = []

    @property
    def models(self) -> dict[str, ModelRecords]:
        """What is known of each model, in the order of the settings."""
        found = selection.model_records(self.records)
        return {name: found[name] for name in self.settings}

    def cells(self, part: str, name: str, methods: Iterable[str], seeds: Iterable[int]) -> list[Any]:
        """Cells of one model."""
        return [
            selection.cell_of(part, self.settings[name], method, seed, self.digests[name], self.problems)
            for method in dict.fromkeys(methods)
            for seed in seeds
        ]

    def gathered(self, cells: Sequence[Any]) -> bool:
        """Whether all records of a stage are there."""
        found = self.stages.gather(cells) if cells else []
        self.records += found
        return len(found) == len(cells)

    def measure(self) -> bool:
        """Costs of all horizons and of the fixed methods; curves, with g_T and without."""
        meters, curves = [], []
        for name, one in self.settings.items():
            horizons = [f"horizon-{h}" for h in range(1, one.depth + 1)]
            fixed = [row.method for row in self.algorithms if row.method]
            below = self.problems.measured(one.depth)[-2]
            meters += self.cells(selection.METERS, name, [*fixed, *horizons], [0])
            curves += self.cells(selection.CURVE, name, [REFERENCE], self.seeds)
            curves += self.cells(selection.FORWARD, name, [f"horizon-{below}"], self.seeds)
        return self.gathered(meters) and self.gathered(curves)

    def run(self) -> bool:
        """Train by the fixed methods, and by the horizons that are chosen."""
        runs: list[Any] = []
        for name, one in self.models.items():
            columns, done = self.problems.columns([name]), set(one.runs)
            fixed = [a.method for a in self.algorithms if a.method and one.runner(a.method) != REFERENCE]
            choosing = [a for a in self.algorithms if a.estimator]
            for seed in one.seeds:
                chosen = {one.choose(c, seed, a) for c in columns for a in choosing} - {one.depth}
                names = [*fixed, *(f"horizon-{h}" for h in sorted(chosen))]
                new = [method for method in names if (method, seed) not in done]
                runs += self.cells(selection.RUN, name, new, [seed])
        return self.gathered(runs)


def judge(models: dict[str, ModelRecords]) -> list[report.Answer]:
    """What must hold whoever is best."""
    apart = max(
        one.differences[name] for one in models.values() for name in one.differences if is_exact(one, name)
    )
    grows = all(
        one.memory[f"horizon-{h}"] <= 1.02 * one.memory[f"horizon-{h + 1}"]
        for one in models.values()
        for h in range(1, one.depth - 1)
    )
    return [
        report.Answer(
            f"checkpointing, revolve and h = T give back-propagation's gradient within {SAME:g}",
            apart < SAME,
            f"largest relative difference {apart:.1e}",
        ),
        report.Answer(
            "memory grows with the horizon below T",
            grows,
            ", ".join(f"{one.name}: x{one.largest / one.memory['horizon-1']:.1f}" for one in models.values()),
        ),
    ]


def is_exact(one: ModelRecords, name: str) -> bool:
    """Whether a method has back-propagation's gradient by design, batch norm or not."""
    return name.startswith(("checkpoint", "revolve")) or name == f"horizon-{one.depth}"


def show(models: dict[str, ModelRecords], table: Table) -> None:
    """Print all tables and sentences."""
    names, every = list(models), list(models.values())
    rates = [row for one in every for row in words.rate_rows(one, table.algorithms)]
    print(report.table(words.RATES, rates))
    print("\n".join(line for one in every for line in words.estimate_lines(one, table.algorithms)))
    print("\nlosses (number of seeds):")
    print(report.table(words.LOSSES, [row for one in every for row in words.loss_rows(one)]))
    print("\nchosen horizons of each seed (x: infeasible):")
    print(report.table(words.CHOSEN, words.chosen_rows(table)))
    for paper, what in ((True, "the paper's rows"), (False, "all rows")):
        print(f"\nmean Rel(a) among {what}, lower is better, infeasible counts 1.5:")
        header = ("algorithm", *names, "all", "infeasible")
        print(report.table(header, words.relative_rows(table, names, paper)))
    print()
    print("\n".join([*words.paper_lines(table, {n: MODELS[n] for n in names}), words.rival_line(table)]))


def main(knobs: Knobs) -> int:
    """Run the missing cells, print tables, sentences and verdicts; 0 iff no verdict fails."""
    settings = [setting_of(knobs, name) for name in knobs.models]
    check_all(knobs, settings)
    work = Work(knobs, settings)
    if not (work.measure() and work.run()):
        return work.stages.failed
    sizes = "; ".join(f"{one.model}: T = {one.depth}, {one.words(trained=True)}" for one in settings)
    print(f"{sizes}; {knobs.seeds} seeds; {work.stages.finish()}")
    models = work.models
    show(models, Table.of(models, work.algorithms, work.problems.columns(knobs.models)))
    return report.finish(judge(models))


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
