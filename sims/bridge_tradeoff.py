"""For which memory does a horizon beat checkpointing and the other methods that a user would pick instead?

    python -m sims.bridge_tradeoff                        # residual MLP, T = 64, width 256, digits
    python -m sims.bridge_tradeoff --data mnist --data-folder data --samples 6000
    python -m sims.bridge_tradeoff --model resnet62 --samples 2000 --epochs 10 --workers 1
    python -m sims.bridge_tradeoff --model resnet62 --full --workers 1     # the paper's settings, on a GPU

Every method trains the same model from scratch: back-propagation, checkpointing, micro-batches
(accumulation), horizons from 1 to T, LoCo with 3 and 5 stages, forward gradients, greedy local losses with a
head after each block; and micro-batches that are checkpointed ("combined"), exact at less memory than either
(recursive checkpointing would go to about log T blocks). What is measured, and how it is made fair:

- memory: peak bytes of the activations of one step (`meters.step_memory`), over back-propagation's;
- time: seconds of a step over those of a step of back-propagation beside it, the median of interleaved rounds
  and its quartiles, taken first, here, in one process while no worker runs. Never bare seconds;
- equal epochs, and equal time: as many steps as fit, at that ratio, into the time that back-propagation takes
  for all epochs. A count of steps, not a clock in each run: what else the machine does meanwhile would
  otherwise decide, and a run could not be repeated. The ratio's quartiles say how far the count is certain;
- learning rate: each method takes its own best of `rates`, by the mean training loss in the last epoch that
  it will have, on a seed that is used for nothing else. The rates count in a unit of their own for each
  method, |g_T|/|g| on the first batch (blocks' gradients), so that the grid asks each method for steps of the
  same length. A best rate at an end of the grid is marked * in the table. The rate falls by 0.9 after an
  epoch whose loss rose (the paper);
- what has back-propagation's gradient (measured: relative difference below 1e-4) is not trained again, its
  runs are back-propagation's, cut off where its time is over (`--train-exact` trains it anyway). With batch
  norm micro-batches have another gradient: then they are trained.

Values over the seeds are mean +- standard deviation; who wins is decided on differences seed by seed.
Fixed in advance: the residual layers of the MLP start with 1/T of Glorot's weights (the paper's scaling), one
trained head is shared by all states, but greedy, with heads of its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from dlinear import report
from dlinear.analysis import budgets, comparison
from dlinear.bridge import data, meters
from dlinear.bridge.data.loading import LoadedSplit
from dlinear.bridge.data.losses import Supervised, criterion_of
from dlinear.bridge.methods.registry import method as method_of
from dlinear.bridge.models import Stack, model
from dlinear.bridge.side_by_side import MethodProbe
from dlinear.bridge.training import batching
from dlinear.bridge.training.settings import Training, device_of
from dlinear.bridge.training.trainer import train
from dlinear.runs import collection, records, script, sweeps
from dlinear.runs.knobs import POSITIVE, Constraint, Source, at_least, cell_from, check
from dlinear.runs.launch import Launch
from dlinear.theory import costs

NAME = "bridge_tradeoff"
TUNING = 1000  # the seed of the learning rates
SAME = 1e-4  # relative difference to back-propagation's gradient below which it is the same, in float32
MLP = {"depth": 64, "width": 256}
RESNET = {"data": "cifar10", "depth": 30, "width": 16, "batch": 32}
PRESETS: dict[tuple[str, bool], dict[str, Any]] = {  # what a knob left open is: (model, --full)
    ("mlp", False): MLP | {"data": "digits", "batch": 50, "epochs": 3},
    ("mlp", True): MLP | {"data": "mnist", "batch": 100, "epochs": 40},
    ("resnet62", False): RESNET | {"epochs": 3, "samples": 512},
    ("resnet62", True): RESNET | {"epochs": 40, "samples": 45_000},
}


@dataclass(frozen=True)
class Knobs(Source, Launch):
    """What to run; None and "auto" take the model's own value."""

    model: Literal["mlp", "resnet62"] = "mlp"  # T blocks of equal size, or the paper's three stages
    full: bool = False  # the paper's epochs and data instead of ten minutes on two cores
    data: str = "auto"  # digits for the MLP (mnist with --full), cifar10 for ResNet-62
    samples: int | None = None  # of the training set; all, but for ResNet-62: 512, or 45000 with --full
    test_samples: int | None = None  # all of them
    depth: int | None = None  # T: 64, or 30 (a multiple of 3)
    width: int | None = None  # 256, or 16 channels in the first stage
    batch: int | None = None  # 50, or 32
    epochs: int | None = None  # 3, or 40 with --full
    seeds: int = 5  # with three, the t interval hides all but differences of 4.3 standard errors
    rates: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3)  # in back-propagation's unit, its best among them
    horizons: tuple[int, ...] | None = None  # powers of two, and T
    checkpoints: tuple[int, ...] | None = None  # segments: powers of two from 2, and about sqrt(T)
    accumulations: tuple[int, ...] | None = None  # micro-batches: 2, 4, 16 and as many as samples
    combined: tuple[int, ...] | None = None  # micro-batches of sqrt(T) segments each: 2, 4, 8
    stages: tuple[int, ...] = (3, 5)  # of LoCo, the paper's
    tangents: tuple[int, ...] = (1,)  # directions of the forward gradients
    rounds: int = 7  # of interleaved timing; quartiles need a few
    readout: Literal["shared", "exits", "fixed"] = "shared"  # what maps x(s) to the loss, greedy apart
    train_exact: bool = False  # train also what has back-propagation's gradient
    keep: bool = False  # checkpoints inside a cell, for runs of hours


@dataclass(frozen=True)
class Cell:
    """One method: its costs (part meters), or one training run (parts tune, epochs, time)."""

    part: str
    method: str
    seed: int
    rate: float
    steps: int
    model: str
    data: str
    digest: str
    samples: int | None
    test_samples: int | None
    depth: int
    width: int
    batch: int
    epochs: int
    rounds: int
    readout: str
    edition: int = 1  # raise it when the meaning of a cell changes


def settled(knobs: Knobs) -> Knobs:
    """The knobs with every open one filled in."""
    preset = PRESETS[knobs.model, knobs.full]
    knobs = dataclasses.replace(
        knobs, **{k: v for k, v in preset.items() if getattr(knobs, k) in (None, "auto")}
    )
    depth, batch = knobs.depth or 0, knobs.batch or 0
    powers = [2**k for k in range(depth.bit_length()) if 2**k < depth]
    near = max(1, round(math.sqrt(max(depth, 0))))
    lists = {
        "horizons": [*powers, depth],
        "checkpoints": sorted({k for k in powers[1:] if 2 * k <= depth} | {near}),
        "accumulations": sorted({k for k in (2, 4, 16) if k < batch} | {batch}),
        "combined": [k for k in (2, 4, 8) if k <= max(batch, 2)],
    }
    return dataclasses.replace(knobs, **{k: tuple(v) for k, v in lists.items() if getattr(knobs, k) is None})


def check_all(knobs: Knobs) -> None:
    """Check settled knobs.

    Raises:
        DomainError: a knob that makes no sense.
    """
    counts = ("seeds", "epochs", "batch", "width", "rounds", "tangents", "accumulations", "combined")
    blocks = Constraint(lambda value: 1 <= value <= (knobs.depth or 0), f"in 1..{knobs.depth}")
    thirds = Constraint(lambda value: value >= 3 and value % 3 == 0, "a multiple of 3 (three stages)")
    check(
        knobs,
        **dict.fromkeys(counts, at_least(1)),
        depth=thirds if knobs.model == "resnet62" else at_least(2),
        rates=POSITIVE,
        horizons=blocks,
        checkpoints=blocks,
        stages=Constraint(lambda value: 2 <= value <= (knobs.depth or 0), f"in 2..{knobs.depth}"),
    )


def methods(knobs: Knobs) -> list[str]:
    """Their names, back-propagation first."""
    numbered = {
        "checkpoint": knobs.checkpoints,
        "accumulate": knobs.accumulations,
        "combined": knobs.combined,
        "horizon": knobs.horizons,
        "loco": knobs.stages,
        "forward": knobs.tangents,
    }
    return ["backprop", *(f"{family}-{k}" for family, some in numbered.items() for k in some or ()), "greedy"]


def build(cell: Cell, split: LoadedSplit, seed: int) -> Stack:
    """The model of a cell, from a seed."""
    readout = "exits" if cell.method == "greedy" else cell.readout
    if cell.model == "mlp":
        return model(
            "mlp", split.task, seed, readout=readout, depth=cell.depth, width=cell.width, gain=1 / cell.depth
        )
    stage = cell.depth // 3
    return model(
        cell.model, split.task, seed, readout=readout, depth_per_stage=stage, base_channels=cell.width
    )


def beside(cell: Cell, split: LoadedSplit, stack: Stack) -> MethodProbe:
    """The cell's method and back-propagation on the first batch."""
    device, some = device_of("auto"), slice(cell.batch)
    criterion = criterion_of("auto", split.classes)
    loss = Supervised(criterion, split.y_train[some].to(device))
    torch.manual_seed(cell.seed)  # of forward gradients
    return MethodProbe(cell.method, stack.to(device).train(), split.x_train[some].to(device), loss)


def unit(cell: Cell, split: LoadedSplit) -> float:
    """What a rate of 1 is for the cell's method: |g_T|/|g| on the model of the tuning seed."""
    tuning = dataclasses.replace(cell, seed=TUNING)
    return beside(tuning, split, build(cell, split, TUNING)).norm_ratio()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Workers side by side have a core each, and the timings are those of one core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


loaded = functools.lru_cache(maxsize=1)(data.load)


def compute(cell: Cell, folder: str | None, download: bool, place: str | None) -> sweeps.Arrays:
    """The arrays of a cell; `place` keeps checkpoints of a training run until it is done."""
    split = loaded(
        cell.data, samples=cell.samples, test_samples=cell.test_samples, folder=folder, download=download
    )
    with one_thread(), torch.random.fork_rng():
        if cell.part != "meters":
            return trained(cell, split, place)
        pair = beside(cell, split, build(cell, split, cell.seed))
        numbers = pair.costs(cell.rounds) | {"difference": pair.difference(), "unit": unit(cell, split)}
        return {name: ((), value) for name, value in numbers.items()}


def trained(cell: Cell, split: LoadedSplit, place: str | None) -> sweeps.Arrays:
    """One run, by epochs, and the angles before and after it."""
    rate = cell.rate if cell.method == "backprop" else cell.rate * unit(cell, split)
    epochs = max(cell.epochs, math.ceil(cell.steps / steps_in(split, cell.batch)))
    training = Training(rate, cell.batch, epochs, steps=cell.steps or None, seed=cell.seed)

    def probe(_epoch: int, stack: Any, data: Any) -> Mapping[str, float]:
        return {"cos": beside(cell, data, stack).cosine()}

    folder = None if place is None else f"{place}/{records.key(cell)}"
    run = train(
        build(cell, split, cell.seed),
        split,
        method_of(cell.method),
        training,
        folder=folder,
        probe=probe,
        probe_at=(0, epochs) if cell.part == "epochs" else (),
        progress=False,
    )
    found: dict[str, Any] = {"epoch": (("epoch",), run.epochs)}
    found["loss"] = (("epoch",), run.loss)
    for name in comparison.METRICS:
        values = getattr(run, name)
        found |= {name: (("epoch",), values), f"final_{name}": ((), math.nan if run.diverged else values[-1])}
    for name, epoch in (("cos_start", 0), ("cos_end", epochs)):
        found[name] = ((), run.probes[epoch]["cos"] if epoch in run.probes else math.nan)
    if folder is not None:
        shutil.rmtree(folder)
    return found | {"learning_rate": ((), rate), "steps": ((), run.steps[-1])}


def steps_in(split: LoadedSplit, batch: int) -> int:
    """Steps of an epoch."""
    return len(batching.batches(len(split.x_train), batch, 0, 1))


Found = Sequence[records.Record]


@dataclass(frozen=True)
class Plan:
    """The cells of each stage; a stage needs the records of those before it."""

    knobs: Knobs
    split: LoadedSplit

    def cell(self, part: str, method: str, seed: int, rate: float = 0.0, steps: int = 0) -> Cell:
        """One cell: without epochs it is of the meters, without rounds a training run."""
        unused = "epochs" if part == "meters" else "rounds"
        own = {"part": part, "method": method, "seed": seed, "rate": rate, "steps": steps, unused: 0}
        return cell_from(Cell, self.knobs, digest=self.split.digest, **own)

    def meters(self) -> list[Cell]:
        """What every method costs."""
        return [self.cell("meters", name, TUNING) for name in methods(self.knobs)]

    def runner(self, meter: records.Record) -> str:
        """Whose runs stand for a method: its own, or back-propagation's if that is its gradient."""
        same = float(meter.arrays["difference"]) < SAME and not self.knobs.train_exact
        return "backprop" if same else str(meter.knobs["method"])

    def tuning(self, meters: Found) -> list[Cell]:
        """Every rate, on the seed of the learning rates."""
        own = dict.fromkeys(map(self.runner, meters))
        return [self.cell("tune", name, TUNING, rate) for name in own for rate in self.knobs.rates]

    def training(self, meters: Found, tuned: Found) -> list[Cell]:
        """The runs that are compared: all epochs, and as many steps as fit into back-propagation's time."""
        per_epoch = steps_in(self.split, self.knobs.batch or 1)
        total, cells = (self.knobs.epochs or 0) * per_epoch, []
        for meter in meters:
            runner = self.runner(meter)
            mine = [record for record in tuned if record.knobs["method"] == runner]
            steps = comparison.steps_within(total, float(meter.arrays["ratio"]))
            wanted = {"epochs": (total, 0)} if runner == meter.knobs["method"] else {}
            wanted |= {"time": (steps, steps)} if steps != total else {}
            for part, (length, limit) in wanted.items():
                rate = best_rate(mine, length // per_epoch)
                cells += [self.cell(part, runner, seed, rate, limit) for seed in range(self.knobs.seeds)]
        return list(dict.fromkeys(cells))


def best_rate(tuned: Found, epoch: int) -> float:
    """The rate of the least mean training loss in that epoch, or in the nearest that was run."""

    def loss(record: records.Record) -> float:
        values = record.arrays["loss"]
        value = float(values[min(max(epoch, 1), len(values) - 1)])
        return value if math.isfinite(value) else math.inf

    return float(min(sorted(tuned, key=lambda one: float(one.knobs["rate"])), key=loss).knobs["rate"])


class Progress:
    """The stages that have been run."""

    def __init__(self, knobs: Knobs) -> None:
        self.knobs, self.cells, self.computed, self.failed = knobs, list[Cell](), 0, False
        place = f"{knobs.results}/{NAME}/runs" if knobs.keep else None
        self.compute = functools.partial(
            compute, folder=knobs.data_folder, download=knobs.download, place=place
        )

    def gather(self, cells: Sequence[Cell], alone: bool = False) -> list[records.Record]:
        """The records of a stage in the order of its cells; none when some are missing, which is said.

        Args:
            cells: of the stage.
            alone: in this process while no worker runs, as timings need it.
        """
        if alone:
            sweep = sweeps.run(f"{self.knobs.results}/{NAME}", cells, self.compute, workers=0)
        else:
            sweep = self.knobs.sweep(NAME, cells, self.compute)
        found = {record.key: record for record in collection.scan(sweep.folder, map(records.key, cells))}
        self.cells += cells
        self.computed += sweep.computed
        if len(found) < len(cells):
            self.failed = bool(sweep.failed or sweep.lost)
            print(f"{sweep}\nno verdict: {sweep.waiting or 'cells of other shards are missing'}")
            return []
        return [found[records.key(cell)] for cell in cells]

    def finish(self) -> sweeps.Sweep:
        """Mark the cells of all stages as one run."""
        sweep = self.knobs.sweep(NAME, self.cells, self.compute)
        return dataclasses.replace(sweep, computed=self.computed, resumed=len(self.cells) - self.computed)


def spread(values: np.ndarray, digits: int = 3, factor: float = 1.0) -> str:
    """Mean +- standard deviation over the seeds."""
    values = values * factor
    if not np.isfinite(values).all():
        return "diverged"
    deviation = f" +- {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{deviation}"


def cost_rows(found: Sequence[comparison.MethodResult], depth: int) -> list[list[str]]:
    """Memory, work and time beside what theory says of them."""
    rows = []
    whole = next(one for one in found if one.method == "backprop").numbers["saved"]
    for one in found:
        theory = comparison.predicted(one.method, depth)
        ratio, low, high = one.ratio
        rows.append(
            [one.method, f"{one.memory:.2%}", f"{theory.memory:.2%}"]
            + [f"{one.numbers['saved'] / whole:.2%}" if math.isfinite(one.numbers["saved"]) else "-"]
            + [f"{one.numbers[name]:.0f}" for name in ("forwards", "vjps", "jvps")]
            + [f"{ratio:.2f} [{low:.2f}, {high:.2f}]", f"{theory.time:.2f}"]
            + [f"{one.numbers['difference']:.1e}"]
        )
    return rows


def result_rows(found: Sequence[comparison.MethodResult], rates: Sequence[float]) -> list[list[str]]:
    """What training reached, at equal epochs and at equal time."""
    rows = []
    for one in found:
        row = [one.method, " -> ".join(f"{value:.3f}" for value in one.cosines.mean(axis=0))]
        for regime in comparison.REGIMES:
            scores, rate = one.scores[regime], one.rates[regime]
            edge = "*" if len(rates) > 1 and rate in (min(rates), max(rates)) else ""
            row += [str(one.steps[regime]), f"{rate:g}{edge}", spread(scores["train_loss"], 4)]
            row += [spread(scores["test_loss"]), spread(scores["test_accuracy"], 1, 100)]
        rows.append(row)
    return rows


def judge(found: Sequence[comparison.MethodResult], depth: int) -> list[report.Answer]:
    """What must hold whatever the winner is."""
    horizons = [one for one in found if "horizon" in one.numbers]
    wrong = [
        one for one in horizons if one.numbers["vjps"] != costs.block_vjps(depth, int(one.numbers["horizon"]))
    ]
    known = [one for one in found if one.family in ("backprop", "checkpoint")]
    apart = max(one.numbers["difference"] for one in known)
    answers = [
        report.Answer(
            "block vector-Jacobian products of horizon h are (T - h + 1) h",
            not wrong,
            f"{len(horizons) - len(wrong)} of {len(horizons)} horizons",
        ),
        report.Answer(
            f"checkpointing and h = T give back-propagation's gradient within {SAME:g}",
            apart < SAME,
            f"largest relative difference {apart:.1e}",
        ),
    ]
    if len(horizons) > 2:
        fit = meters.fit_memory(
            *np.transpose([[one.numbers[k] for k in ("horizon", "saved")] for one in horizons])
        )
        line = f"R^2 = {fit.r_squared:.5f}, {fit.slope / 1e6:.3g} MB a block"
        print(f"saved bytes M(h) = a h + b over the horizons: {line}")
    return answers


def main(knobs: Knobs) -> int:
    """Run the missing cells, print the tables, the sentences and the verdicts; 0 iff no verdict fails."""
    knobs = settled(knobs)
    check_all(knobs)
    split = data.load(
        knobs.data,
        samples=knobs.samples,
        test_samples=knobs.test_samples,
        folder=knobs.data_folder,
        download=knobs.download,
    )
    plan, progress, depth = Plan(knobs, split), Progress(knobs), knobs.depth or 1
    measured = progress.gather(plan.meters(), alone=True)
    tuned = progress.gather(plan.tuning(measured)) if measured else []
    runs = progress.gather(plan.training(measured, tuned)) if tuned else []
    if not runs:
        return progress.failed
    print(
        f"{knobs.model}, T = {depth}, width {knobs.width}, {knobs.data} ({len(split.x_train)} samples), "
        f"batch {knobs.batch}, {knobs.epochs} epochs, {knobs.seeds} seeds; {progress.finish()}"
    )
    found = comparison.entries([*measured, *runs])
    header = (
        "method",
        "memory",
        "theory",
        "saved",
        "forwards",
        "vjps",
        "jvps",
        "time [quartiles]",
        "theory",
        "|g-g_T|",
    )
    print(report.table(header, cost_rows(found, depth)))
    one = ("steps", "rate", "train loss", "test loss", "test %")
    header = ("method", "cos start -> end", *one, *one)
    print("\nat equal epochs, then at equal time:")
    print(report.table(header, result_rows(found, knobs.rates)))
    print()
    for regime in comparison.REGIMES:
        for metric in ("test", "train"):
            print("\n".join(budgets.findings(found, regime, metric)))
    return report.finish(judge(found, depth))


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
