"""Does a horizon that is chosen again while training beat fixed horizons at equal time?

    python -m sims.horizon_schedule                          # residual MLP, T = 16, digits: minutes
    python -m sims.horizon_schedule --epsilon 0.5 --every 1
    python -m sims.horizon_schedule --depth 32 --units 128 --epochs 8 --workers 1

The schedule measures the angles of `horizons` every few epochs and takes the shortest horizon that is
predicted to keep the share 1 - epsilon of the rate cos^2 (Algorithm 1, estimator "theory"): "schedule" by
back-propagation, "schedule-forward" by forward mode, within the memory of the longest horizon that is
measured. Beside them fixed horizons, back-propagation, and checkpointing, which has its gradient.

Time is counted in products with a weight matrix, over those of back-propagation (`Method.predicted`), so
that a run can be repeated; measuring counts. Every run has as many epochs as back-propagation, and is read
where the time of `epochs` epochs of back-propagation is over, between epochs by the logarithm of the loss.
Each takes its own best learning rate, by the training loss there, on a seed that is used for nothing else.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlinear import report
from dlinear.analysis import scratch, statistics
from dlinear.runs import script, sweeps
from dlinear.runs.knobs import FRACTION, POSITIVE, Constraint, Images, at_least, cell_from, check
from dlinear.runs.launch import Launch
from dlinear.runs.records import Record
from dlinear.runs.stages import Stages
from dlinear.selection import AccuracyConstraint, LinearCost

with script.imports():
    from dlinear.bridge.autograd.isolation import one_thread
    from dlinear.bridge.data import load
    from dlinear.bridge.methods import method
    from dlinear.bridge.models import model
    from dlinear.bridge.training import batching
    from dlinear.bridge.training.schedule import HorizonSchedule
    from dlinear.bridge.training.trainer import Training, train

NAME, TUNING, REFERENCE = "horizon_schedule", 1000, "backprop"
SCHEDULES = {"schedule": "exact", "schedule-forward": "forward"}
TOY = "--depth 4 --units 6 --samples 80 --epochs 2 --seeds 2 --horizons 1 2 --rates 0.1 --probed 10"


@dataclass(frozen=True)
class Knobs(Images, Launch):
    """What to run."""

    samples: int | None = None  # training samples; all by default
    depth: int = 16  # T, blocks of the residual MLP; horizons up to T/2 leave room to choose
    units: int = 64  # neurons in a layer
    batch: int = 50  # samples in a step
    epochs: int = 6  # epochs of back-propagation, whose time all the others have too
    seeds: int = 5  # models of each method; enough for an interval
    rates: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0)  # learning rates that each method tries
    horizons: tuple[int, ...] = (1, 2, 4, 8)  # fixed ones, and those that the schedule measures
    epsilon: float = 0.3  # share of the rate that the schedule may lose; at 0.05 it takes T nearly always
    every: int = 2  # epochs between two choices; a choice costs as much as some steps
    probed: int = 50  # samples on which angles are measured
    probes: int = 4  # random directions of schedule-forward


@dataclass(frozen=True)
class Cell:
    """One training run."""

    method: str
    rate: float
    seed: int
    data: str
    digest: str
    samples: int | None
    depth: int
    units: int
    batch: int
    epochs: int
    horizons: tuple[int, ...]
    epsilon: float
    every: int
    probed: int
    probes: int
    edition: int = 1  # raise it when the meaning of a cell changes


def names(knobs: Knobs) -> list[str]:
    """What is trained: the reference, fixed horizons, the schedules."""
    return [REFERENCE, *(f"horizon-{h}" for h in knobs.horizons), *SCHEDULES]


def schedule_of(cell: Cell) -> HorizonSchedule | None:
    """The schedule of a cell; None of a fixed horizon."""
    if cell.method not in SCHEDULES:
        return None
    objective = AccuracyConstraint(cell.epsilon, LinearCost(1.0, 1.0))
    angles = "exact" if SCHEDULES[cell.method] == "exact" else "forward"
    return HorizonSchedule(objective, cell.every, cell.horizons, None, cell.probed, angles, cell.probes)


def compute(cell: Cell, folder: str | None, download: bool) -> sweeps.Arrays:
    """Time, loss and horizon by epoch, and the angles that decided."""
    split = load(cell.data, samples=cell.samples, folder=folder, download=download)
    sizes: dict[str, Any] = {"depth": cell.depth, "width": cell.units, "gain": 1 / cell.depth}
    stack = model("mlp", split.task, cell.seed, readout="shared", **sizes)
    schedule = schedule_of(cell)
    training = Training(cell.rate, cell.batch, cell.epochs, seed=cell.seed, device="cpu")
    first = method("horizon-1" if schedule else cell.method)
    with one_thread():
        run = train(stack, split, first, training, horizon_schedule=schedule, progress=False)
    cos = [[run.cosines.get(int(e), {}).get(h, math.nan) for h in cell.horizons] for e in run.epochs]
    horizon = run.horizons if schedule else np.full(len(run.epochs), first.horizon or cell.depth)
    found = {name: (("epoch",), getattr(run, name)) for name in ("train_loss", "test_loss", "test_accuracy")}
    found |= {"epoch": (("epoch",), run.epochs), "horizon": (("epoch",), horizon)}
    found["time"] = (("epoch",), times(cell, run.steps, horizon, run.cosines))
    return found | {"measured": (("measured",), list(cell.horizons)), "cos": (("epoch", "measured"), cos)}


def times(cell: Cell, steps: np.ndarray, horizon: np.ndarray, chosen: Mapping[int, Any]) -> np.ndarray:
    """Until each epoch's end, in steps of back-propagation: steps, and choices up to that end."""
    ratio = [step_time(f"horizon-{h}", cell.depth) if h else 0.0 for h in horizon]
    spent = np.diff(steps, prepend=0) * ratio
    spent[[int(e) for e in chosen]] += choice_time(cell) if chosen else 0.0
    return np.asarray(np.cumsum(spent))


def step_time(name: str, depth: int) -> float:
    """A step by the method over one of back-propagation."""
    return method(name).predicted(depth).time


def choice_time(cell: Cell) -> float:
    """One choice: for each block a forward and products of two for every block of the longest horizon
    (`alignment`); or each horizon's step and run in forward mode, and those of the probes.
    """
    share = cell.probed / cell.batch
    if SCHEDULES[cell.method] == "exact":
        return share * (1 + 2 * (1 + max(cell.horizons))) / 3
    own = sum(step_time(f"horizon-{h}", cell.depth) + 1 for h in cell.horizons)
    return share * (own + cell.probes)


def at_equal_time(record: Record, steps: int, name: str, ratio: float = 1.0) -> float:
    """A loss when the time of so many steps of back-propagation is over; NaN if the run diverged.

    `ratio`: of the time of each step to the one that was counted (checkpointing).
    """
    loss, time = record.arrays[name], ratio * record.arrays["time"]
    if not np.isfinite(loss[1:]).all():
        return math.nan
    return float(np.exp(np.interp(steps, time, np.log(loss))))


def best(tuned: Sequence[Record], steps: int) -> float:
    """The rate of the least training loss."""
    losses = [(at_equal_time(one, steps, "train_loss"), float(one.knobs["rate"])) for one in tuned]
    return min((math.inf if math.isnan(loss) else loss, rate) for loss, rate in losses)[1]


def losses_of(found: Sequence[Record], knobs: Knobs, steps: int, part: str) -> dict[str, np.ndarray]:
    """Losses of the seeds at equal time, by method; checkpointing is back-propagation at its own pace."""
    rows = {
        name: np.array([at_equal_time(r, steps, part) for r in found if r.knobs["method"] == name])
        for name in names(knobs)
    }
    slower = step_time("checkpoint", knobs.depth)
    same = [r for r in found if r.knobs["method"] == REFERENCE]
    return rows | {"checkpoint": np.array([at_equal_time(r, steps, part, slower) for r in same])}


def shares(found: Sequence[Record], knobs: Knobs) -> dict[str, tuple[float, float]]:
    """Mean and largest share of the blocks that is held, over steps and seeds."""
    out = {"checkpoint": (method("checkpoint").predicted(knobs.depth).memory,) * 2}
    for name in names(knobs):
        used = np.array([r.arrays["horizon"][1:] for r in found if r.knobs["method"] == name]) / knobs.depth
        angles = {"exact": 1.0, "forward": max(knobs.horizons) / knobs.depth}
        peak = max(float(used.max()), angles[SCHEDULES[name]] if name in SCHEDULES else 0.0)
        out[name] = (float(used.mean()), peak)
    return out


def judge(found: Sequence[Record], knobs: Knobs, steps: int) -> list[report.Answer]:
    """Whether the horizon grows, and whether checkpointing serves better at equal time."""
    chosen = [r.arrays["horizon"] for r in found if r.knobs["method"] == "schedule"]
    growth = statistics.mean_interval([float(h[-1]) - float(h[1]) for h in chosen], statistics.JUDGED)
    grows = True if growth.low > 0 else False if growth.high < 0 else None
    question = "schedule: the horizon grows while training, blocks from the first to the last epoch"
    answers = [report.Answer(question, grows, f"{growth:.3g} (99.7 %)")]
    losses = losses_of(found, knobs, steps, "test_loss")
    change = scratch.ratio(losses["schedule"], losses["checkpoint"], statistics.JUDGED)
    better = True if change.low > 1 else False if change.high < 1 else None
    question = "at equal time checkpointing reaches a lower test loss than the schedule, factor"
    return [*answers, report.Answer(question, better, f"{change:.3g} (99.7 %)")]


def beside_fixed(losses: Mapping[str, np.ndarray], held: Mapping[str, tuple[float, float]]) -> str:
    """The schedule beside the best fixed horizon that holds no more blocks on average."""
    fixed = [n for n in losses if n.startswith("horizon-") and held[n][0] <= held["schedule"][0]]
    fixed = [name for name in fixed if np.isfinite(losses[name]).all()]
    if not fixed:
        return "no fixed horizon holds as few blocks as the schedule"
    best_one = min(fixed, key=lambda name: float(np.log(losses[name]).mean()))
    change = scratch.ratio(losses["schedule"], losses[best_one])
    return (
        f"{best_one} is the best fixed horizon of no more blocks on average ({held[best_one][0]:.0%}): "
        f"test loss of the schedule over its at equal time {change:.3g}"
    )


def show(found: Sequence[Record], knobs: Knobs, steps: int) -> None:
    """The table, and what is better within the same memory."""
    parts = {part: losses_of(found, knobs, steps, part) for part in ("train_loss", "test_loss")}
    held, rows = shares(found, knobs), []
    for name, losses in parts["test_loss"].items():
        ran = REFERENCE if name == "checkpoint" else name
        some = [r for r in found if r.knobs["method"] == ran]
        path = "-".join(f"{h:.3g}" for h in np.mean([r.arrays["horizon"][1:] for r in some], axis=0))
        ratio = [scratch.ratio(parts[p][name], parts[p][REFERENCE]) for p in parts]
        row = [name, f"{held[name][0]:.0%}", f"{held[name][1]:.0%}", f"{some[0].knobs['rate']:g}"]
        rows.append(
            [*row, path if name in SCHEDULES else "", f"{losses.mean():.4f}", *(f"{r:.3g}" for r in ratio)]
        )
    header = ("method", "memory", "largest", "rate", "mean h by epoch", "test loss")
    print(report.table((*header, "train loss / backprop's", "test loss / backprop's"), rows))
    print(beside_fixed(parts["test_loss"], held))
    print(
        f"checkpointing has back-propagation's gradient and holds {held['checkpoint'][0]:.0%} of the blocks; "
        f"the schedule holds {held['schedule'][0]:.0%} on average"
    )


def check_all(knobs: Knobs) -> None:
    """Refuse knobs that make no sense.

    Raises:
        DomainError: such a one.
    """
    counts = ("units", "batch", "epochs", "seeds", "every", "probed", "probes")
    some = Constraint(lambda h: 1 <= h < knobs.depth, f"in 1..{knobs.depth - 1}")
    check(
        knobs,
        depth=at_least(3),
        horizons=some,
        epsilon=FRACTION,
        rates=POSITIVE,
        **dict.fromkeys(counts, at_least(1)),
    )
    HorizonSchedule(AccuracyConstraint(0.1, LinearCost(1.0, 1.0)), horizons=knobs.horizons).measured(
        knobs.depth
    )


def main(knobs: Knobs) -> int:
    """Tune, train, print the table and the verdicts; 0 iff no verdict fails."""
    check_all(knobs)
    split = load(knobs.data, samples=knobs.samples, folder=knobs.data_folder, download=knobs.download)
    steps = knobs.epochs * len(batching.batches(len(split.x_train), knobs.batch, 0, 1))
    stages = Stages(
        NAME, knobs, functools.partial(compute, folder=knobs.data_folder, download=knobs.download)
    )

    def cell(name: str, rate: float, seed: int) -> Cell:
        return cell_from(Cell, knobs, method=name, rate=rate, seed=seed, digest=split.digest)

    tuned = stages.gather([cell(name, rate, TUNING) for name in names(knobs) for rate in knobs.rates])
    by_name = {name: [r for r in tuned if r.knobs["method"] == name] for name in names(knobs)}
    rate = {name: best(some, steps) for name, some in by_name.items() if some}
    seeds = range(knobs.seeds)
    found = stages.gather([cell(name, rate[name], seed) for name in rate for seed in seeds]) if tuned else []
    if not found:
        return stages.failed
    print(f"T = {knobs.depth}, time of {steps} steps of back-propagation; {stages.finish()}")
    show(found, knobs, steps)
    return report.finish(judge(found, knobs, steps))


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
