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
Every registered method takes part, with the numbers that its family proposes; the knobs named after families
replace them, `--methods` adds others by name. Fixed in advance: the residual layers of the MLP start with
1/T of Glorot's weights (the paper's scaling), one trained head is shared by all states, but greedy, with
heads of its own.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from dlinear.analysis import budgets, comparison
from dlinear.bridge import Supervised, Training, load, meters, model, train
from dlinear.bridge.autograd.isolation import one_thread
from dlinear.bridge.data.loading import LoadedSplit
from dlinear.bridge.data.losses import criterion_of
from dlinear.bridge.methods import method as method_of
from dlinear.bridge.methods.base import named
from dlinear.bridge.methods.registry import families
from dlinear.bridge.models import Stack
from dlinear.bridge.side_by_side import MethodProbe
from dlinear.bridge.tradeoff import COSTS, RESULTS, SAME, TUNING, Plan, cost_rows, result_rows
from dlinear.bridge.training import batching
from dlinear.bridge.training.settings import device_of
from dlinear.report import Answer, finish, table
from dlinear.runs import records, script, sweeps
from dlinear.runs.knobs import POSITIVE, Constraint, Source, at_least, cell_from, check, filled
from dlinear.runs.launch import Launch
from dlinear.runs.stages import Stages
from dlinear.theory import costs

NAME = "bridge_tradeoff"
TOY = (  # seconds, for the tests
    "--depth 4 --width 8 --samples 60 --test-samples 60 --batch 20 --epochs 1 --seeds 2 --rates 0.03 "
    "--horizons 1 2 4 --checkpoints 2 --accumulations 2 --combined 2 --stages 3 --rounds 1"
)
MLP = {"depth": 64, "width": 256}
RESNET = {"data": "cifar10", "depth": 30, "width": 16, "batch": 32}
PRESETS: dict[tuple[str, bool], dict[str, Any]] = {  # what a knob left open is: (model, --full)
    ("mlp", False): MLP | {"data": "digits", "batch": 50, "epochs": 3},
    ("mlp", True): MLP | {"data": "mnist", "batch": 100, "epochs": 40},
    ("resnet62", False): RESNET | {"epochs": 3, "samples": 512},
    ("resnet62", True): RESNET | {"epochs": 40, "samples": 45_000},
}
OWN = {  # the family whose numbers a knob replaces
    "checkpoints": "checkpoint",
    "accumulations": "accumulate",
    "combined": "combined",
    "horizons": "horizon",
    "stages": "loco",
    "tangents": "forward",
}


@dataclass(frozen=True)
class Knobs(Source, Launch):
    """What to run; None and "auto" take the model's own value."""

    model: Literal["mlp", "resnet62"] = "mlp"  # T blocks of equal size, or the paper's three stages
    full: bool = False  # the paper's epochs and data instead of ten minutes on two cores
    data: str = "auto"  # digits for the MLP (mnist with --full), cifar10 for ResNet-62
    samples: int | None = None  # of the training set; all, but for ResNet-62: 512, or 45000 with --full
    test_samples: int | None = None  # all of them
    depth: int | None = None  # T, number of blocks: 64, or 30 (a multiple of 3)
    width: int | None = None  # coordinates of a state: 256, or 16 channels in the first stage
    batch: int | None = None  # samples of a step: 50, or 32
    epochs: int | None = None  # 3, or 40 with --full
    seeds: int = 5  # with three, the t interval hides all but differences of 4.3 standard errors
    rates: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3)  # in back-propagation's unit, its best among them
    horizons: tuple[int, ...] | None = None  # h: powers of two, and T
    checkpoints: tuple[int, ...] | None = None  # segments: powers of two from 2, and about sqrt(T)
    accumulations: tuple[int, ...] | None = None  # micro-batches: 2, 4, 16 and as many as samples
    combined: tuple[int, ...] | None = None  # micro-batches of sqrt(T) segments each: 2, 4, 8
    stages: tuple[int, ...] | None = None  # of LoCo: 3 and 5, the paper's
    tangents: tuple[int, ...] | None = None  # directions of the forward gradients: 1
    methods: tuple[str, ...] | None = None  # further methods, by name
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
    knobs = filled(knobs, PRESETS[knobs.model, knobs.full])
    depth, batch = knobs.depth or 0, knobs.batch or 0
    proposed = {family.name: tuple(family.compared(depth, batch)) for family in families()}
    return filled(knobs, {knob: proposed[family] for knob, family in OWN.items()})


def check_all(knobs: Knobs) -> None:
    """Check settled knobs.

    Raises:
        DomainError: a knob that makes no sense, or an unknown method.
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
    for name in knobs.methods or ():
        method_of(name)


def methods(knobs: Knobs) -> list[str]:
    """Their names, the reference first."""
    own = {family: getattr(knobs, knob) for knob, family in OWN.items()}
    names = [comparison.REFERENCE]
    for family in families():
        numbers = own.get(family.name) or family.compared(knobs.depth or 0, knobs.batch or 0)
        names += [named(family.name, number) for number in numbers]
    return list(dict.fromkeys([*names, *(knobs.methods or ())]))


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
    loss = Supervised(criterion_of("auto", split.classes), split.y_train[some].to(device))
    torch.manual_seed(cell.seed)  # of forward gradients
    return MethodProbe(cell.method, stack.to(device).train(), split.x_train[some].to(device), loss)


def unit(cell: Cell, split: LoadedSplit) -> float:
    """What a rate of 1 is for the cell's method: |g_T|/|g| on the model of the tuning seed."""
    tuning = dataclasses.replace(cell, seed=TUNING)
    return beside(tuning, split, build(cell, split, TUNING)).norm_ratio()


loaded = functools.lru_cache(maxsize=1)(load)


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
    rate = cell.rate if cell.method == comparison.REFERENCE else cell.rate * unit(cell, split)
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
    found: dict[str, Any] = {"epoch": (("epoch",), run.epochs), "loss": (("epoch",), run.loss)}
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


def plan_of(knobs: Knobs, split: LoadedSplit) -> Plan:
    """What is run, with settled knobs."""

    def cell(part: str, method: str, seed: int, rate: float, steps: int) -> Cell:
        """Without epochs it is of the meters, without rounds a training run."""
        unused = "epochs" if part == "meters" else "rounds"
        own = {"part": part, "method": method, "seed": seed, "rate": rate, "steps": steps, unused: 0}
        return cell_from(Cell, knobs, digest=split.digest, **own)

    steps = steps_in(split, knobs.batch or 1)
    return Plan(methods(knobs), knobs.rates, knobs.seeds, knobs.epochs or 0, steps, knobs.train_exact, cell)


def judge(found: list[comparison.MethodResult], depth: int) -> list[Answer]:
    """What must hold whatever the winner is."""
    horizons = [one for one in found if one.horizon is not None]
    wrong = [one for one in horizons if one.numbers["vjps"] != costs.block_vjps(depth, one.horizon)]
    known = [one for one in found if one.exact and method_of(one.method).whole_batch]
    apart = max(one.numbers["difference"] for one in known)
    answers = [
        Answer(
            "block vector-Jacobian products of horizon h are (T - h + 1) h",
            not wrong,
            f"{len(horizons) - len(wrong)} of {len(horizons)} horizons",
        ),
        Answer(
            f"checkpointing and h = T give back-propagation's gradient within {SAME:g}",
            apart < SAME,
            f"largest relative difference {apart:.1e}",
        ),
    ]
    if len(horizons) > 2:
        fit = meters.fit_memory([one.horizon for one in horizons], [one.numbers["saved"] for one in horizons])
        line = f"R^2 = {fit.r_squared:.5f}, {fit.slope / 1e6:.3g} MB a block"
        print(f"saved bytes M(h) = a h + b over the horizons: {line}")
    return answers


def main(knobs: Knobs) -> int:
    """Run the missing cells, print the tables, the sentences and the verdicts; 0 iff no verdict fails."""
    knobs = settled(knobs)
    check_all(knobs)
    split = load(
        knobs.data,
        samples=knobs.samples,
        test_samples=knobs.test_samples,
        folder=knobs.data_folder,
        download=knobs.download,
    )
    place = f"{knobs.results}/{NAME}/runs" if knobs.keep else None
    run = functools.partial(compute, folder=knobs.data_folder, download=knobs.download, place=place)
    plan, stages, depth = plan_of(knobs, split), Stages(NAME, knobs, run), knobs.depth or 1
    measured = stages.gather(plan.meters(), alone=True)
    tuned = stages.gather(plan.tuning(measured)) if measured else []
    runs = stages.gather(plan.training(measured, tuned)) if tuned else []
    if not runs:
        return stages.failed
    print(
        f"{knobs.model}, T = {depth}, width {knobs.width}, {knobs.data} ({len(split.x_train)} samples), "
        f"batch {knobs.batch}, {knobs.epochs} epochs, {knobs.seeds} seeds; {stages.finish()}"
    )
    found = comparison.entries([*measured, *runs], method_of)
    print(table(COSTS, cost_rows(found, depth)))
    print("\nat equal epochs, then at equal time:")
    print(table(RESULTS, result_rows(found, knobs.rates)))
    print()
    for regime in comparison.REGIMES:
        for metric in ("test", "train"):
            print("\n".join(budgets.findings(found, regime, metric)))
    return finish(judge(found, depth))


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
