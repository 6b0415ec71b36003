"""For which memory does a horizon beat checkpointing and the other methods that a user would pick instead?

    python -m sims.bridge_tradeoff                        # residual MLP, T = 64, width 256, digits
    python -m sims.bridge_tradeoff --data mnist --data-folder data --samples 6000
    python -m sims.bridge_tradeoff --model resnet62 --samples 2000 --epochs 10 --workers 1
    python -m sims.bridge_tradeoff --model gru --rates 0.3 1 3 10 --seeds 3   # or graph, on its own graph
    python -m sims.bridge_tradeoff --model resnet62 --full --workers 1     # the paper's settings, on a GPU
    python -m sims.bridge_tradeoff --plugins my_methods --methods my-rule-3  # methods of yours beside them

Every method trains the same model from scratch: back-propagation, checkpointing, micro-batches
(accumulation), horizons from 1 to T, anchored horizons and stages, LoCo with 3 and 5 stages, Highway
backpropagation, forward gradients, greedy local losses with a head after each block; micro-batches that are
checkpointed ("combined"), exact at less memory than either, optimal recursive checkpointing ("revolve"), and
reconstructed states, left out with a line where the model cannot be inverted. What is measured, and how it is
made fair:

- memory: peak bytes of the activations of one step (`meters.step_memory`), over back-propagation's;
- time: seconds of a step over those of a step of back-propagation beside it, the median of interleaved rounds
  and its quartiles, measured first, in this process while no worker runs. Never seconds alone;
- equal epochs, and equal time: as many steps as fit, at that ratio, into the time that back-propagation takes
  for all epochs. It is a number of steps, not a clock in each run: the result would otherwise depend on what
  else the machine does, and a run could not be repeated. The ratio's quartiles say how certain the number is;
- learning rate: each method takes its own best of `rates`, by the mean training loss in the last epoch that
  it will have, on a seed that is used for nothing else. The rates count in a unit of their own for each
  method, |g_T|/|g| on the first batch (blocks' gradients), so that the grid asks each method for steps of the
  same length. A best rate at an end of the grid is marked * in the table. The rate falls by 0.9 after an
  epoch whose loss rose (the paper);
- what has back-propagation's gradient (measured: relative difference below 1e-4) is not trained again: runs
  of back-propagation represent it, cut off where its time is over (`--train-exact` trains it anyway). With
  batch norm micro-batches have another gradient: then they are trained.

Values over the seeds are mean +- standard deviation; who wins is decided on differences seed by seed.
Every registered method takes part, with the numbers that its family proposes; a knob named after a family
replaces them, `--methods` adds others by name. Fixed in advance: the residual layers of the MLP start with
1/T of Glorot's weights (the paper's scaling), one trained head is shared by all states, but greedy, with
heads of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from dlinear import report
from dlinear.analysis import budgets, comparison
from dlinear.runs import script
from dlinear.runs.knobs import POSITIVE, Constraint, Source, at_least, check, filled
from dlinear.runs.launch import Launch
from dlinear.runs.stages import Stages
from dlinear.theory import costs

with script.imports():
    from dlinear.bridge import data, meters, tradeoff
    from dlinear.bridge.methods.registry import families, load, method

NAME = "bridge_tradeoff"
TOY = (  # seconds, for the tests
    "--depth 4 --width 8 --samples 60 --test-samples 60 --batch 20 --epochs 1 --seeds 2 --rates 0.03 "
    "--horizons 1 2 4 --checkpoints 2 --accumulations 2 --combined 2 --stages 3 --rounds 1 --train-exact"
)
MLP = {"depth": 64, "width": 256}
RESNET = {"data": "cifar10", "depth": 30, "width": 16, "batch": 32}
GRU = {"data": "digits", "depth": 16, "width": 32}
GRAPH = {"data": "communities", "depth": 16, "width": 32, "batch": 30}
PRESETS: dict[tuple[str, bool], dict[str, Any]] = {  # what an open knob becomes: (model, --full)
    ("mlp", False): MLP | {"data": "digits", "batch": 50, "epochs": 3},
    ("mlp", True): MLP | {"data": "mnist", "batch": 100, "epochs": 40},
    ("gru", False): GRU | {"batch": 50, "epochs": 6, "samples": 400},
    ("gru", True): GRU | {"batch": 50, "epochs": 40},
    ("graph", False): GRAPH | {"epochs": 10},
    ("graph", True): GRAPH | {"epochs": 40},
    ("resnet62", False): RESNET | {"epochs": 3, "samples": 512},
    ("resnet62", True): RESNET | {"epochs": 40, "samples": 45_000},
}


@dataclass(frozen=True)
class Knobs(Source, Launch):
    """What to run; None and "auto" take the value that suits the model."""

    model: Literal["mlp", "resnet62", "gru", "graph"] = "mlp"  # mlp: T residual blocks of equal size
    full: bool = False  # the paper's epochs and data, instead of ten minutes on two cores
    data: str = "auto"  # data set: digits (mnist for the MLP with --full), cifar10, communities for the graph
    samples: int | None = None  # training samples: all, but for ResNet-62 512, or 45000 with --full
    test_samples: int | None = None  # test samples; all by default
    depth: int | None = None  # T, number of blocks: 64, 30 for ResNet-62 (a multiple of 3), 16 for gru, graph
    width: int | None = None  # units of a layer: 256, or 16 channels in the first stage
    batch: int | None = None  # samples in a step: 50, or 32
    epochs: int | None = None  # passes through the training set: 3, or 40 with --full
    seeds: int = 5  # runs of each method; with three, the t interval hides all but 4.3 standard errors
    rates: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3)  # learning rates; back-propagation's best is among them
    methods: tuple[str, ...] | None = None  # names of further methods, beside those of the knobs below
    horizons: tuple[int, ...] | None = None  # h, blocks to the loss: powers of two, and T
    checkpoints: tuple[int, ...] | None = None  # recomputed segments: powers of two from 2, about sqrt(T)
    accumulations: tuple[int, ...] | None = None  # micro-batches: 2, 4, 16 and as many as samples
    combined: tuple[int, ...] | None = None  # micro-batches of sqrt(T) segments each: 2, 4, 8
    stages: tuple[int, ...] | None = None  # stages of LoCo: 3 and 5, the paper's
    tangents: tuple[int, ...] | None = None  # random directions of the forward gradients: 1, one pass each
    rounds: int = 7  # interleaved rounds of timing; quartiles need a few
    readout: Literal["shared", "exits", "fixed"] = "shared"  # what maps x(s) to the loss, greedy apart
    train_exact: bool = False  # train also the methods that have back-propagation's gradient
    plugins: tuple[str, ...] | None = None  # modules that register methods of yours (docs/bridge.md)
    keep: bool = False  # write checkpoints inside a training run, for runs of hours


def settled(knobs: Knobs) -> Knobs:
    """The knobs with every open one filled in."""
    knobs = filled(knobs, PRESETS[knobs.model, knobs.full])
    known = {field.name for field in fields(knobs)}
    numbers = {
        family.option: tuple(family.compared(knobs.depth or 0, knobs.batch or 0))
        for family in families()
        if family.option in known
    }
    return filled(knobs, numbers)


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
    for name in tradeoff.method_names(knobs):
        method(name).cost(knobs.depth or 1)  # refuses numbers that do not suit T


def judge(found: Sequence[comparison.MethodResult], depth: int) -> list[report.Answer]:
    """What must hold whatever the winner is."""
    horizons = [one for one in found if one.horizon is not None]
    wrong = [one for one in horizons if one.numbers["vjps"] != costs.block_vjps(depth, one.horizon)]
    apart = max(one.numbers["difference"] for one in found if one.exact and one.whole_batch)
    answers = [
        report.Answer(
            "block vector-Jacobian products of horizon h are (T - h + 1) h",
            not wrong,
            f"{len(horizons) - len(wrong)} of {len(horizons)} horizons",
        ),
        report.Answer(
            f"checkpointing and h = T give back-propagation's gradient within {tradeoff.SAME:g}",
            apart < tradeoff.SAME,
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
    load(knobs.plugins or ())
    knobs = settled(knobs)
    check_all(knobs)
    source = {"folder": knobs.data_folder, "download": knobs.download}
    split = data.load(knobs.data, samples=knobs.samples, test_samples=knobs.test_samples, **source)
    place = f"{knobs.results}/{NAME}/runs" if knobs.keep else None
    compute = functools.partial(tradeoff.compute, place=place, plugins=knobs.plugins or (), **source)
    plan, stages, depth = tradeoff.plan_of(knobs, split), Stages(NAME, knobs, compute), knobs.depth or 1
    for name, why in plan.refused.items():
        print(f"{name} is left out, it refuses the model: {why}")
    measured = stages.gather(plan.meters(), alone=True)
    tuned = stages.gather(plan.tuning(measured)) if measured else []
    runs = stages.gather(plan.training(measured, tuned)) if tuned else []
    if not runs:
        return stages.failed
    print(
        f"{knobs.model}, T = {depth}, width {knobs.width}, {knobs.data} ({len(split.x_train)} samples), "
        f"batch {knobs.batch}, {knobs.epochs} epochs, {knobs.seeds} seeds; {stages.finish()}"
    )
    found = comparison.entries([*measured, *runs], method)
    print(report.table(tradeoff.COSTS, tradeoff.cost_rows(found, depth)))
    print("\nat equal epochs, then at equal time:")
    print(report.table(tradeoff.RESULTS, tradeoff.result_rows(found, knobs.rates)) + "\n")
    for regime in comparison.REGIMES:
        for metric in ("test", "train"):
            print("\n".join(budgets.findings(found, regime, metric)))
    return report.finish(judge(found, depth))


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
