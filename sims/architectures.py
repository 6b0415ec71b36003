"""Do recurrent and graph networks obey the same law, and does a horizon pay there?

    python -m sims.architectures                              # about four minutes on one core
    python -m sims.architectures --models gru --seeds 10
    python -m sims.architectures --models graph --methods horizon-1 horizon-8 loco-3 --epochs 40
    python -m sims.architectures --depth 32 --width 64

`gru`: digits read in T steps, trained on the loss after the last one. A block is one time step; all share one
cell. Horizon h is back-propagation through time truncated after h steps of the losses L(x(s)) - L(x(s - 1)),
which add up to the terminal loss (`dlinear.bridge.models.recurrent`). `graph`: residual graph convolutions on
a generated graph; a block is one convolution, a sample is one node, every batch sees the whole graph.

Shared weights. Theorem D adds the squares of the errors of the m blocks that a horizon cuts short: 1^2 + ...
+ m^2, order 3. Where the blocks share their weights the errors themselves add up, (1 + ... + m)^2 = 1^3 +
... + m^3, order 4, for layers that are alike. `shared` and `own` test this: T equal tanh blocks of size 1/T,
with one matrix or with a copy for each. For gru and graph, whose steps are not alike, the order is measured.

Trade-off. Memory (peak of the activations of a step) and time (median ratio of interleaved rounds) over those
of back-propagation; accuracy at equal epochs and at equal time, where a method has as many whole epochs as
fit into the time of back-propagation. Adam; each method has its own best of `rates`, by the training loss on
a seed that is used for nothing else. What has back-propagation's gradient (checkpointing, revolve) is not
trained again. Differences are paired by seed: "difference seen", or "no difference seen at this size".
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlinear import report
from dlinear.analysis import statistics
from dlinear.analysis.comparison import REFERENCE
from dlinear.analysis.statistics import JUDGED
from dlinear.report.findings import Difference
from dlinear.runs import script, sweeps
from dlinear.runs.knobs import POSITIVE, Constraint, at_least, cell_from, check
from dlinear.runs.launch import Launch
from dlinear.runs.records import Record
from dlinear.runs.stages import Stages

with script.imports():
    from dlinear.bridge import data
    from dlinear.bridge.angles.slope_verdicts import ORDER, ShallowSlope, widened
    from dlinear.bridge.methods import method
    from dlinear.bridge.tradeoff import SAME, TUNING

NAME = "architectures"
TOY = (  # seconds, for the tests
    "--depth 4 --width 4 --slope-depth 16 --equal-depth 30 --samples 40 --epochs 1 --rates 0.01 --seeds 3 "
    "--methods horizon-1 --rounds 1"
)
DATA = {"gru": "digits", "graph": "communities"}
BATCH = {"gru": 50, "graph": 30}  # samples of a step
EQUAL = {"own": 3.0, "shared": 4.0}  # order of T equal blocks, own weights (Theorem D) or one matrix
COSTS = ("method", "activations", "time", "test %, equal epochs [95 %]", "test %, equal time [95 %]", "rate")
KINDS = {"gru": ("gru", "gru-own"), "graph": ("graph",)}  # whose order is measured; own: a cell for each step


@dataclass(frozen=True)
class Knobs(Launch):
    """What to run."""

    models: tuple[str, ...] = ("gru", "graph")  # unrolled in time; residual graph convolutions
    methods: tuple[str, ...] = (  # names, beside back-propagation; exact ones are measured and not trained
        *("horizon-1", "horizon-2", "horizon-4", "horizon-8", "anchored-1", "checkpoint-4", "revolve-4"),
    )
    depth: int = 16  # T of what is trained by every method; a part of an image has 64/T pixels
    width: int = 32  # n, rows of a layer
    slope_depth: int = 32  # T of what shows the order; ten shortfalls up to T/3
    equal_depth: int = 200  # T of the equal blocks; corrections to their orders are of size 5/T
    samples: int = 400  # training digits; the graph has 120 training nodes
    epochs: int = 12  # passes through the training set
    rates: tuple[float, ...] = (0.003, 0.01, 0.03)  # learning rates of Adam that are tried
    seeds: int = 5  # networks that are compared; enough for an interval
    rounds: int = 7  # interleaved rounds of timing; quartiles need a few


@dataclass(frozen=True)
class Cell:
    """Part: equal (an angle), slope (angles in training), meters (costs), tune or train (a run)."""

    part: str
    ensemble: str
    method: str
    seed: int
    rate: float
    depth: int
    width: int
    samples: int
    batch: int
    epochs: int
    rounds: int
    edition: int = 1  # raise it when the meaning of a cell changes


# ---------------------------------------------------------------- computing


@functools.lru_cache(maxsize=4)
def split_of(model: str, samples: int, double: bool) -> Any:
    """The data of a model."""
    import torch

    some = {"samples": samples, "test_samples": 300} if model == "gru" else {}
    return data.load(DATA[model], **some, dtype=torch.float64 if double else torch.float32)


def build(cell: Cell, split: Any, seed: int) -> Any:
    """The untrained network, in the precision of the data."""
    from dlinear.bridge.models import model

    name, _, own = cell.ensemble.partition("-")
    knobs: dict[str, Any] = {"shared": not own} if name == "gru" else {}
    sizes = {"depth": cell.depth, "width": cell.width, "dtype": split.x_train.dtype}
    return model(name, split.task, seed, readout="shared", **sizes, **knobs)


def compute(cell: Cell) -> sweeps.Arrays:
    """The arrays of a cell."""
    import torch

    from dlinear.bridge.autograd.isolation import one_thread

    parts = {"equal": equal_blocks, "slope": slope, "meters": meters, "tune": trained, "train": trained}
    with one_thread(), torch.random.fork_rng():
        return parts[cell.part](cell)


def equal_blocks(cell: Cell) -> sweeps.Arrays:
    """sin^2 of T equal blocks x + tanh(W x)/T, W with Gaussian entries of variance 1/n, squared error."""
    import torch

    from dlinear.bridge import Supervised, alignment
    from dlinear.bridge.models.deep import DeepBlock

    draw, n = torch.Generator().manual_seed(cell.seed), cell.width
    weight, x, y = (
        torch.randn(rows, n, generator=draw, dtype=torch.float64) for rows in (n, cell.batch, cell.batch)
    )

    def block() -> DeepBlock:
        return DeepBlock(weight / n**0.5, 1 / cell.depth, "tanh", None)

    blocks = [block()] * cell.depth if cell.ensemble == "shared" else [block() for _ in range(cell.depth)]
    m = np.unique(np.rint(np.geomspace(1, cell.depth // 10, 8)).astype(np.int64))
    found = alignment(blocks, x, Supervised(torch.nn.functional.mse_loss, y), cell.depth - m)
    return profile_arrays(m, found.sin2)


def profile_arrays(m: np.ndarray, sin2: np.ndarray) -> dict[str, Any]:
    """sin^2 along the shortfalls."""
    return {"shortfall": (("shortfall",), m), "sin2": (("shortfall",), np.asarray(sin2))}


def slope(cell: Cell) -> sweeps.Arrays:
    """sin^2 before and after training by back-propagation."""
    from dlinear.bridge.angles.slopes import SlopeProbe
    from dlinear.bridge.training import Training, train

    split = split_of(cell.ensemble.partition("-")[0], cell.samples, True)
    m = np.arange(1, cell.depth)
    training = Training(cell.rate, cell.batch, cell.epochs, optimizer="adam", seed=cell.seed)
    stack, probe = build(cell, split, cell.seed), SlopeProbe(m, 4 * cell.batch, 0)
    at = (0, cell.epochs)
    run = train(stack, split, method(REFERENCE), training, probe=probe, probe_at=at, progress=False)
    first, last = (np.asarray(run.probes[epoch]["sin2"]) for epoch in at)
    return profile_arrays(m, last) | {"sin2_start": (("shortfall",), first)}


def meters(cell: Cell) -> sweeps.Arrays:
    """What a step costs beside one of back-propagation."""
    from dlinear.bridge import Supervised
    from dlinear.bridge.data.losses import criterion_of
    from dlinear.bridge.side_by_side import MethodProbe

    split = split_of(cell.ensemble, cell.samples, False)
    some = slice(cell.batch)
    loss = Supervised(criterion_of("auto", split.classes), split.y_train[some])
    probe = MethodProbe(cell.method, build(cell, split, cell.seed), split.x_train[some], loss)
    numbers = probe.costs(cell.rounds) | {"difference": probe.difference()}
    return {name: ((), value) for name, value in numbers.items()}


def trained(cell: Cell) -> sweeps.Arrays:
    """One run with a method: loss and accuracy by epoch."""
    from dlinear.bridge.training import Training, train

    split = split_of(cell.ensemble, cell.samples, False)
    training = Training(cell.rate, cell.batch, cell.epochs, optimizer="adam", seed=cell.seed)
    run = train(build(cell, split, cell.seed), split, method(cell.method), training, progress=False)
    names = ("train_loss", "test_accuracy")
    curves = {name: np.full(cell.epochs + 1, math.nan) for name in names}
    for name in names:  # a run that has diverged is shorter, and its last row is not a number
        curves[name][: len(run.epochs)] = getattr(run, name)
    return {"epoch": (("epoch",), np.arange(cell.epochs + 1))} | {
        name: (("epoch",), curves[name]) for name in names
    }


# ---------------------------------------------------------------- cells


def cell_of(knobs: Knobs, part: str, ensemble: str, seed: int, **own: Any) -> Cell:
    """A cell; knobs that do not change its numbers are 0."""
    model = ensemble.partition("-")[0]
    unused = {"equal": ("samples", "epochs", "rounds"), "meters": ("epochs",)}.get(part, ("rounds",))
    base = {"method": REFERENCE, "rate": 0.0, "batch": BATCH.get(model, 50)}
    base |= {name: 0 for name in unused} | ({} if model == "gru" else {"samples": 0})
    return cell_from(Cell, knobs, part=part, ensemble=ensemble, seed=seed, **(base | own))


def angle_cells(knobs: Knobs) -> list[Cell]:
    """All whose angles are measured."""
    seeds = range(knobs.seeds)
    cells = [
        cell_of(knobs, "equal", kind, seed, depth=knobs.equal_depth, width=16)
        for kind in EQUAL
        for seed in seeds
    ]
    return cells + [
        cell_of(knobs, "slope", kind, seed, depth=knobs.slope_depth, rate=0.01)
        for model in knobs.models
        for kind in KINDS[model]
        for seed in seeds
    ]


def names(knobs: Knobs) -> list[str]:
    """The methods, the reference first."""
    return list(dict.fromkeys([REFERENCE, *knobs.methods]))


def runs(knobs: Knobs, measured: Sequence[Record], part: str, tuned: Sequence[Record] = ()) -> list[Cell]:
    """The training runs of every method that has a gradient of its own."""
    cells = []
    for meter in measured:
        model, name = meter.knobs["ensemble"], meter.knobs["method"]
        if name != REFERENCE and float(meter.arrays["difference"]) < SAME:
            continue
        if part == "tune":
            pairs = [(rate, TUNING) for rate in knobs.rates]
        else:
            rate = best_rate([r for r in tuned if (r.knobs["ensemble"], r.knobs["method"]) == (model, name)])
            pairs = [(rate, seed) for seed in range(knobs.seeds)]
        cells += [cell_of(knobs, part, model, seed, method=name, rate=rate) for rate, seed in pairs]
    return cells


def best_rate(tuned: Sequence[Record]) -> float:
    """The rate of the least training loss at the end."""
    losses = {float(r.knobs["rate"]): float(r.arrays["train_loss"][-1]) for r in tuned}
    return min(sorted(losses), key=lambda rate: losses[rate] if math.isfinite(losses[rate]) else math.inf)


# ---------------------------------------------------------------- reading


def slope_of(found: Sequence[Record], kind: str, name: str = "sin2") -> ShallowSlope:
    """The order of one kind of network over its seeds."""
    from dlinear.engine.angle import AlignmentProfile
    from dlinear.theory.decay_law import DecayConstants

    some = []
    for r in sorted((r for r in found if r.knobs["ensemble"] == kind), key=lambda r: int(r.knobs["seed"])):
        m, sin2, depth = r.arrays["shortfall"], r.arrays[name], int(r.knobs["depth"])
        size = np.ones(len(m))
        some.append(AlignmentProfile(depth, depth - m, m, sin2, np.sqrt(1 - sin2), size, ("",) * len(m)))
    return ShallowSlope(some, DecayConstants(math.nan, math.nan))


def orders(knobs: Knobs, found: Sequence[Record]) -> tuple[list[report.Answer], list[Difference]]:
    """Print the orders; the verdicts on equal blocks, and what a shared cell changes."""
    rows, answers, seen = [], [], list[Difference]()
    for kind, expected in EQUAL.items():
        order = slope_of(found, kind).order
        name = f"equal blocks, {kind}"
        rows.append([name, str(knobs.equal_depth), "start", f"{expected:g}", f"{order:.2f}"])
        judged = widened(order, ORDER)
        words = f"equal blocks with {'one matrix' if kind == 'shared' else 'a copy each'}"
        holds = judged.supports(expected) if knobs.seeds > 2 else None
        answers.append(report.Answer(f"{words}: order {expected:g}", holds, f"{order:.3f} (95 %)"))
    for model in knobs.models:
        for kind in KINDS[model]:
            for moment, name in (("start", "sin2_start"), ("trained", "sin2")):
                order = slope_of(found, kind, name).order
                rows.append([kind, str(knobs.slope_depth), moment, "-", f"{order:.2f}"])
    if "gru" in knobs.models:
        for moment, name in (("start", "sin2_start"), ("trained", "sin2")):
            one, many = (slope_of(found, kind, name).orders for kind in KINDS["gru"])
            gap = statistics.mean_interval(one - many, JUDGED)
            seen.append(Difference(f"gru, {moment}: order, one cell less a cell for each step", gap))
    print(report.table(("network", "T", "moment", "predicted", "order of tan^2 [95 %]"), rows))
    return answers, seen


def curves_of(found: Sequence[Record], model: str, name: str) -> np.ndarray:
    """Test accuracy in %, (seeds, epochs + 1)."""
    some = [r for r in found if (r.knobs["ensemble"], r.knobs["method"]) == (model, name)]
    some.sort(key=lambda r: int(r.knobs["seed"]))
    return np.array([100 * r.arrays["test_accuracy"] for r in some])


def tradeoff(model: str, measured: Sequence[Record], found: Sequence[Record]) -> list[Difference]:
    """Print memory, time and accuracy of every method; the differences to back-propagation."""
    meters = {str(r.knobs["method"]): r.arrays for r in measured if r.knobs["ensemble"] == model}
    whole, rows, seen = meters[REFERENCE], [], list[Difference]()
    reference = curves_of(found, model, REFERENCE)
    for name, costs in meters.items():
        curve = curves_of(found, model, name)
        own = curve if len(curve) else reference
        ratio = float(costs["ratio"])
        epochs = min(own.shape[1] - 1, math.floor((own.shape[1] - 1) / ratio))
        ends = {"equal epochs": own[:, -1], "equal time": own[:, epochs]}
        same = [r for r in found if (r.knobs["ensemble"], r.knobs["method"]) == (model, name)]
        rate = f"{float(same[0].knobs['rate']):g}" if same else "as backprop"
        rows.append(
            [
                *(name, f"{float(costs['activations'] / whole['activations']):.1%}", f"{ratio:.2f}"),
                *(interval_words(values) for values in ends.values()),
                rate,
            ]
        )
        for regime, values in ends.items():
            if name == REFERENCE or (regime == "equal epochs" and not len(curve)):
                continue
            if np.isfinite(values).all():
                gap = statistics.mean_interval(np.round(values - reference[:, -1], 9), JUDGED)
                seen.append(Difference(f"{model}, {regime}: test %, {name} less back-propagation", gap, "%"))
    print(f"\n{model}, T = {measured[0].knobs['depth']}\n{report.table(COSTS, rows)}")
    return seen


def interval_words(values: np.ndarray) -> str:
    """Mean and interval; how many diverged where some did."""
    lost = int((~np.isfinite(values)).sum())
    return f"{lost} of {len(values)} diverged" if lost else f"{statistics.mean_interval(values):.1f}"


def exact_answer(measured: Sequence[Record]) -> report.Answer:
    """Whether the exact methods have back-propagation's gradient on these models."""
    apart = max(float(r.arrays["difference"]) for r in measured if r.arrays["exact"])
    return report.Answer(
        f"exact methods give back-propagation's gradient within {SAME:g}, shared weights included",
        apart < SAME,
        f"largest relative difference {apart:.1e}",
    )


def check_all(knobs: Knobs) -> None:
    """Check the knobs.

    Raises:
        DomainError: one that makes no sense, an unknown method, or one that does not suit T.
        ShapeError: an image that cannot be cut into T steps.
    """
    counts = ("seeds", "epochs", "samples", "width", "rounds")
    check(
        knobs,
        **dict.fromkeys(counts, at_least(1)),
        depth=at_least(2),
        slope_depth=at_least(12),
        equal_depth=at_least(30),
        rates=POSITIVE,
        models=Constraint(lambda name: name in DATA, f"one of {', '.join(DATA)}"),
    )
    for name in knobs.methods:
        method(name).cost(knobs.depth)
    for model in knobs.models:
        split = split_of(model, knobs.samples, False)
        for depth in (knobs.depth, knobs.slope_depth):
            build(cell_of(knobs, "meters", model, 0, depth=depth, width=1), split, 0)


def main(knobs: Knobs) -> int:
    """Run the missing cells, print tables, differences and verdicts; 0 iff no verdict fails."""
    check_all(knobs)
    stages = Stages(NAME, knobs, compute)
    costs = [
        cell_of(knobs, "meters", model, TUNING, method=name)
        for model in knobs.models
        for name in names(knobs)
    ]
    measured = stages.gather(costs, alone=True)
    angles = stages.gather(angle_cells(knobs)) if measured else []
    tuned = stages.gather(runs(knobs, measured, "tune")) if angles else []
    found = stages.gather(runs(knobs, measured, "train", tuned)) if tuned else []
    if not found:
        return stages.failed
    print(f"{', '.join(knobs.models)}, width {knobs.width}, {knobs.seeds} seeds; {stages.finish()}")
    answers, seen = orders(knobs, angles)
    for model in knobs.models:
        seen += tradeoff(model, [r for r in measured if r.knobs["ensemble"] == model], found)
    print("\n" + "\n".join(map(str, seen)))
    return report.finish([*answers, exact_answer(measured)])


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
