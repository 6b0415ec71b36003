"""Data that change while a model trains: how fast does each horizon recover, and does the schedule follow?

    python -m sims.shifting_data                              # about two minutes on one core
    python -m sims.shifting_data --methods horizon-2 horizon-8 loco-3 --seeds 10
    python -m sims.shifting_data --before 20 --after 40 --margin 2
    python -m sims.shifting_data --depth 32 --width 64 --epsilon 0.2

A residual MLP learns digits; then, in the same weights, either the labels change (each class takes the name
of the next: `labels`) or all images turn by 90 degrees (`rotation`), in training and test set alike. A run is
back when its test accuracy is within `margin` of what back-propagation had before the shift on that seed: one
bar for all methods. Steps are counted to the first such epoch; runs that are not back when it ends are
counted as such, and enter means and differences with the steps that were observed, a lower bound.

Adam, which starts anew at the shift; each method has its own best of `rates` by the training loss before the
shift, on a seed that is used for nothing else: nothing is tuned to the shift. "schedule" chooses its horizon
every epoch from measured angles (Algorithm 1 with `epsilon`, `bridge.training.schedule`), so that right after
the shift it sees the new data. Differences are paired by seed.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlinear import report
from dlinear.analysis import statistics
from dlinear.analysis.comparison import REFERENCE
from dlinear.analysis.recovery import Recovery, recovery
from dlinear.analysis.statistics import JUDGED
from dlinear.errors import DomainError
from dlinear.report.findings import Difference
from dlinear.runs import script, sweeps
from dlinear.runs.knobs import FRACTION, POSITIVE, Constraint, Images, at_least, cell_from, check
from dlinear.runs.launch import Launch
from dlinear.runs.records import Record
from dlinear.runs.stages import Stages
from dlinear.selection import AccuracyConstraint, LinearCost

with script.imports():
    from dlinear.bridge import data
    from dlinear.bridge.methods import method
    from dlinear.bridge.models import model
    from dlinear.bridge.training import Training, train
    from dlinear.bridge.training.schedule import HorizonSchedule

NAME, SCHEDULE, TUNING = "shifting_data", "schedule", 1000
SHIFTS = ("labels", "rotation")
HEADER = ("method", "before %", "right after", "at the end", "steps to be back [95 %]", "rate")
TOY = (  # seconds, for the tests
    "--methods horizon-1 schedule --depth 4 --width 6 --samples 40 --batch 20 --before 2 --after 2 --seeds 3 "
    "--rates 0.01"
)


@dataclass(frozen=True)
class Knobs(Images, Launch):
    """What to run."""

    methods: tuple[str, ...] = ("horizon-1", "horizon-4", "anchored-1", SCHEDULE)  # names, beside backprop
    depth: int = 16  # T, blocks of the residual MLP
    width: int = 24  # n, rows of a layer
    samples: int = 300  # training images
    batch: int = 50  # images of a step
    before: int = 8  # epochs until the shift; the training set is then nearly known
    after: int = 20  # epochs from the shift on; what takes longer is not seen
    seeds: int = 6  # networks; a 99.7 % interval of fewer is long
    rates: tuple[float, ...] = (0.003, 0.01, 0.03)  # learning rates of Adam that are tried
    margin: float = 3.0  # of test accuracy in %, within which a run is back; about two standard errors
    epsilon: float = 0.3  # share of the rate cos^2 that the schedule may lose; at 0.05 it is T nearly always


@dataclass(frozen=True)
class Cell:
    """One run; part tune: until the shift, shift: with both shifts from there on."""

    part: str
    method: str
    seed: int
    rate: float
    data: str
    digest: str
    depth: int
    width: int
    samples: int
    batch: int
    before: int
    after: int
    epsilon: float
    edition: int = 1  # raise it when the meaning of a cell changes


# ---------------------------------------------------------------- computing


@functools.lru_cache(maxsize=1)
def images(name: str, samples: int, folder: str | None, download: bool) -> Any:
    """The data before the shift."""
    return data.load(name, samples=samples, folder=folder, download=download)


def shifted(split: Any, shift: str) -> Any:
    """The data after it."""
    import torch

    digest = f"{split.digest} {shift}"
    if shift == "labels":
        changed = {name: (getattr(split, name) + 1) % split.classes for name in ("y_train", "y_test")}
    else:
        changed = {name: torch.rot90(getattr(split, name), 1, (2, 3)) for name in ("x_train", "x_test")}
    return dataclasses.replace(split, digest=digest, **changed)


def learned(cell: Cell, stack: Any, split: Any, epochs: int, seed: int) -> tuple[Any, np.ndarray]:
    """Train in place; the run, and the horizon of each epoch (T for what has none)."""
    first, schedule = method("horizon-1" if cell.method == SCHEDULE else cell.method), None
    if cell.method == SCHEDULE:
        objective = AccuracyConstraint(cell.epsilon, LinearCost(1.0, 1.0))
        schedule = HorizonSchedule(objective, samples=min(100, cell.samples))
    training = Training(cell.rate, cell.batch, epochs, optimizer="adam", seed=seed)
    run = train(stack, split, first, training, horizon_schedule=schedule, progress=False)
    fixed = np.full(len(run.epochs), float(first.horizon or cell.depth))
    return run, run.horizons.astype(np.float64) if schedule else fixed


def compute(cell: Cell, folder: str | None, download: bool) -> sweeps.Arrays:
    """Curves by epoch: before the shift, and after each of the shifts."""
    from dlinear.bridge.autograd.isolation import one_thread

    split = images(cell.data, cell.samples, folder, download)
    knobs: dict[str, Any] = {"depth": cell.depth, "width": cell.width, "gain": 1 / cell.depth}
    found: dict[str, Any] = {}
    with one_thread():
        stack = model("mlp", split.task, cell.seed, readout="shared", **knobs)
        found |= curves("before", *learned(cell, stack, split, cell.before, cell.seed), cell.before)
        for shift in SHIFTS if cell.part == "shift" else ():
            here = shifted(split, shift)
            run, horizon = learned(cell, copy.deepcopy(stack), here, cell.after, cell.seed + TUNING)
            found |= curves(shift, run, horizon, cell.after)
    return found


def curves(part: str, run: Any, horizon: np.ndarray, epochs: int) -> dict[str, Any]:
    """Accuracy, loss and horizon of all epochs, NaN after a run has diverged."""
    columns = {"accuracy": 100 * run.test_accuracy, "loss": run.train_loss, "horizon": horizon}
    along = "epoch_before" if part == "before" else "epoch_after"
    found: dict[str, Any] = {along: ((along,), np.arange(epochs + 1))}
    for name, values in columns.items():
        whole = np.full(epochs + 1, math.nan)
        whole[: len(values)] = values
        found[f"{name}_{part}"] = ((along,), whole)
    return found


# ---------------------------------------------------------------- reading


def of(found: Sequence[Record], name: str, array: str) -> np.ndarray:
    """One array of a method, (seeds, epochs + 1)."""
    some = sorted((r for r in found if r.knobs["method"] == name), key=lambda r: int(r.knobs["seed"]))
    return np.array([r.arrays[array] for r in some])


def recoveries(knobs: Knobs, found: Sequence[Record], shift: str) -> dict[str, Recovery]:
    """Of every method, against the bar of its seed."""
    bar = of(found, REFERENCE, "accuracy_before")[:, -1] - knobs.margin
    each = -(-knobs.samples // knobs.batch)
    return {name: recovery(of(found, name, f"accuracy_{shift}"), bar, each) for name in names(knobs)}


def show(knobs: Knobs, found: Sequence[Record], shift: str) -> list[Difference]:
    """Print how every method fares with one shift; the differences to back-propagation."""
    every, rows, seen = recoveries(knobs, found, shift), [], []
    for name, one in every.items():
        before, after = of(found, name, "accuracy_before"), of(found, name, f"accuracy_{shift}")
        rate = next(r.knobs["rate"] for r in found if r.knobs["method"] == name)
        means = (f"{np.nanmean(values):.1f}" for values in (before[:, -1], after[:, 0], after[:, -1]))
        rows.append([name, *means, str(one), f"{rate:g}"])
        if name != REFERENCE:
            gap = statistics.mean_interval(one.steps - every[REFERENCE].steps, JUDGED)
            lost = int((~one.back).sum())
            at_most = f" (at least: {lost} of {len(one.back)} not back)" if lost else ""
            what = f"{shift}: steps to be back, {name} less back-propagation{at_most}"
            seen.append(Difference(what, gap, "steps"))
    print(f"\n{shift}\n{report.table(HEADER, rows)}")
    return seen


def followed(knobs: Knobs, found: Sequence[Record], shift: str) -> list[Difference]:
    """What the schedule does at the shift, and afterwards."""
    if SCHEDULE not in knobs.methods:
        return []
    before, after = (of(found, SCHEDULE, f"horizon_{part}") for part in ("before", shift))
    print(f"chosen h by epoch, {shift}: {words(before[:, 1:])} | {words(after[:, 1:])}")
    last = before[:, -1]
    return [
        Difference(f"{shift}: chosen h, {what}", statistics.mean_interval(gap, JUDGED), "blocks")
        for what, gap in (
            ("first epoch after the shift less last before", after[:, 1] - last),
            ("last epoch less first after the shift", after[:, -1] - after[:, 1]),
        )
        if np.isfinite(gap).all()
    ]


def words(values: np.ndarray) -> str:
    """Means over the seeds, one for each epoch."""
    return " ".join(f"{mean:.1f}" for mean in np.nanmean(values, axis=0))


def bar_answer(knobs: Knobs, found: Sequence[Record], shift: str) -> report.Answer:
    """Whether there is anything to recover from."""
    fall = of(found, REFERENCE, "accuracy_before")[:, -1] - of(found, REFERENCE, f"accuracy_{shift}")[:, 0]
    gap = statistics.mean_interval(fall, JUDGED)
    holds = True if gap.low > knobs.margin else False if gap.high < knobs.margin else None
    question = f"{shift}: the shift costs back-propagation more than {knobs.margin:g} % at first"
    return report.Answer(question, holds, f"{gap:.1f} % (99.7 %)")


# ---------------------------------------------------------------- running


def names(knobs: Knobs) -> list[str]:
    """The methods, the reference first."""
    return list(dict.fromkeys([REFERENCE, *knobs.methods]))


def best_rate(tuned: Sequence[Record]) -> float:
    """The rate of the least training loss at the shift."""
    last = {float(r.knobs["rate"]): float(r.arrays["loss_before"][-1]) for r in tuned}
    return min(sorted(last), key=lambda rate: last[rate] if math.isfinite(last[rate]) else math.inf)


def check_all(knobs: Knobs) -> None:
    """Check the knobs.

    Raises:
        DomainError: one that makes no sense, or an unknown method.
    """
    counts = ("seeds", "samples", "batch", "width", "before", "after")
    check(
        knobs,
        **dict.fromkeys(counts, at_least(1)),
        depth=at_least(4),
        rates=POSITIVE,
        epsilon=FRACTION,
        margin=Constraint(lambda value: 0 <= value < 100, "0 or more and less than 100"),
    )
    for name in knobs.methods:
        if name != SCHEDULE:
            method(name).cost(knobs.depth)


def main(knobs: Knobs) -> int:
    """Run the missing cells, print tables, differences and verdicts; 0 iff no verdict fails."""
    check_all(knobs)
    split = images(knobs.data, knobs.samples, knobs.data_folder, knobs.download)
    if split.classes is None or split.x_train.ndim != 4:
        raise DomainError(f"--data {knobs.data} received; allowed are images with labels, such as digits")
    make = functools.partial(cell_from, Cell, knobs, digest=split.digest)
    run = functools.partial(compute, folder=knobs.data_folder, download=knobs.download)
    stages = Stages(NAME, knobs, run)
    tuned = stages.gather(
        [
            make(part="tune", method=name, seed=TUNING, rate=rate, after=0)
            for name in names(knobs)
            for rate in knobs.rates
        ]
    )
    rates = {
        name: best_rate([r for r in tuned if r.knobs["method"] == name]) for name in names(knobs) if tuned
    }
    cells = [
        make(part="shift", method=name, seed=seed, rate=rate)
        for name, rate in rates.items()
        for seed in range(knobs.seeds)
    ]
    found = stages.gather(cells) if cells else []
    if not found:
        return stages.failed
    print(f"{knobs.data}, T = {knobs.depth}, width {knobs.width}, {knobs.seeds} seeds; {stages.finish()}")
    seen = [line for shift in SHIFTS for line in (*show(knobs, found, shift), *followed(knobs, found, shift))]
    print("\n" + "\n".join(map(str, seen)))
    return report.finish([bar_answer(knobs, found, shift) for shift in SHIFTS])


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
