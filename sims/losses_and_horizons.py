"""Does the loss function change the order of decay, or the horizon that one would choose?

    python -m sims.losses_and_horizons                       # about three minutes on one core
    python -m sims.losses_and_horizons --models tanh --losses squared cross_entropy --seeds 10
    python -m sims.losses_and_horizons --epsilon 0.2 --epochs 64
    python -m sims.losses_and_horizons --data mnist --data-folder data --samples 1000

Squared error, Huber's, cosine (one-hot targets) and cross-entropy, on two models trained by back-propagation
(Adam, one rate for all): `tanh`, residual, layers smooth in depth and blocks of size 1/T, for which Theorem D
predicts order and constant at every moment from the last block; `gru`, unrolled in time, with shared weights.
Networks of one seed start alike and see the same batches under every loss, so that differences are paired.

The horizon chosen is the least with cos^2(theta_h) >= 1 - epsilon (Algorithm 1, eq. (17); all horizons are
measured, so that no estimate comes in, and equal blocks take equal memory). The loss cannot change the order:
Theorem D holds for every loss with two derivatives, which enter its constant alone. What it does to the
constant, and so to the choice, is measured: "difference seen" or "no difference seen at this size".
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlinear import report
from dlinear.analysis import profiles, statistics
from dlinear.analysis.statistics import JUDGED
from dlinear.report.findings import Difference
from dlinear.runs import script, sweeps
from dlinear.runs.knobs import FRACTION, POSITIVE, Constraint, Images, at_least, cell_from, check
from dlinear.runs.launch import Launch
from dlinear.selection import AccuracyConstraint, LinearCost, select_horizon
from dlinear.theory import costs
from dlinear.theory.decay_law import DecayConstants

with script.imports():
    from dlinear.bridge import data
    from dlinear.bridge.angles.slope_verdicts import ShallowSlope, slope_answers
    from dlinear.bridge.angles.slopes import Slope

NAME = "losses_and_horizons"
TOY = (  # seconds, for the tests
    "--losses squared cross_entropy --seeds 3 --samples 20 --batch 10 --epochs 1 --width 4 "
    "--depth 20 --steps 4"
)
MODELS = ("tanh", "gru")
LOSSES = ("cross_entropy", "squared", "huber", "cosine")  # the others are compared with the first
HEADER = (
    *("model", "loss", "epoch", "train loss", "test %", "order of tan^2 [95 %]", "sin^2, h = T/2 [95 %]"),
    "chosen h [95 %]",
)


@dataclass(frozen=True)
class Knobs(Images, Launch):
    """What to run."""

    models: tuple[str, ...] = MODELS  # tanh: residual and smooth in depth; gru: unrolled in time
    losses: tuple[str, ...] = LOSSES  # loss functions; differences are to the first
    depth: int = 50  # T of tanh, blocks; enough for an order below T/10
    steps: int = 16  # T of gru, into which an image is cut
    width: int = 16  # n, rows of a layer, of both models
    samples: int = 200  # training images; few, so that all losses reach them
    batch: int = 50  # images of a step
    epochs: int = 16  # passes; measured at 0, 1, 4, 16, ...
    learning_rate: float = 0.01  # of Adam, whose steps do not depend on the size of the loss
    seeds: int = 6  # networks; a 99.7 % interval of fewer is long
    epsilon: float = 0.05  # share of cos^2 that the chosen horizon may lose


@dataclass(frozen=True)
class Cell:
    """One network under one loss; `ensemble` is its model."""

    ensemble: str
    loss: str
    seed: int
    depth: int
    width: int
    data: str
    data_identity: str
    samples: int
    batch: int
    epochs: int
    learning_rate: float
    edition: int = 1  # raise it when the meaning of a cell changes


# ---------------------------------------------------------------- computing


def probed(epochs: int) -> list[int]:
    """0, the powers of 4 and the last epoch."""
    return sorted({0, epochs, *(4**k for k in range(epochs.bit_length()) if 4**k <= epochs)})


@functools.lru_cache(maxsize=1)
def load(name: str, samples: int, folder: str | None, download: bool) -> Any:
    """The data, in double precision."""
    import torch

    sizes = {"samples": samples, "test_samples": 200}
    return data.load(name, **sizes, folder=folder, download=download, dtype=torch.float64)


def build(cell: Cell, split: Any) -> Any:
    """The untrained network; a trained head is shared by all states."""
    import torch

    from dlinear.bridge.models import model

    knobs: dict[str, Any] = {"depth": cell.depth, "width": cell.width, "readout": "shared"}
    if cell.ensemble == "tanh":
        return model("deep", split.task, cell.seed, dtype=torch.float64, layers="smooth", **knobs)
    return model("gru", split.task, cell.seed, dtype=torch.float64, **knobs)


def compute(cell: Cell, folder: str | None, download: bool) -> sweeps.Arrays:
    """Angles at every horizon through training."""
    from dlinear.bridge.angles.slopes import SlopeProbe
    from dlinear.bridge.autograd.isolation import one_thread
    from dlinear.bridge.methods import method
    from dlinear.bridge.training import Training, train

    split = load(cell.data, cell.samples, folder, download)
    with one_thread():
        stack = build(cell, split)
        m = np.arange(1, cell.depth)
        probe = SlopeProbe(m, cell.samples, int(cell.ensemble == "tanh"), loss=cell.loss)
        training = Training(
            cell.learning_rate,
            cell.batch,
            cell.epochs,
            optimizer="adam",
            loss=cell.loss,  # type: ignore[arg-type]
            seed=cell.seed,
        )
        at = probed(cell.epochs)
        run = train(stack, split, method("backprop"), training, probe=probe, probe_at=at, progress=False)
    at = sorted(run.probes)
    found: dict[str, Any] = {"epoch": (("epoch",), at), "shortfall": (("shortfall",), m)}
    for name in ("sin2", "cos", "norm_ratio"):
        found[name] = (("epoch", "shortfall"), np.array([run.probes[e][name] for e in at]))
    for name in ("predicted_quadratic", "predicted_cubic"):
        found[name] = (("epoch",), np.array([run.probes[e][name] for e in at]))
    for name in ("train_loss", "test_accuracy"):
        found[name] = (("epoch",), getattr(run, name)[at])
    return found


# ---------------------------------------------------------------- reading


def part_of(found: Any, model: str, loss: str, depth: int, epoch: int) -> Any:
    """The records of one model and loss at one moment, over the seeds."""
    labels = {"ensemble": model, "loss": loss, "depth": depth, "epoch": epoch}
    part = found.sel({name: value for name, value in labels.items() if name in found.dims})
    part = part.assign_coords(depth=depth) if "depth" not in part.coords else part
    return part.dropna("shortfall", subset=["sin2"], how="all").transpose("seed", ...)


def chosen(part: Any, depth: int, epsilon: float) -> np.ndarray:
    """The horizon that Algorithm 1 chooses for each seed."""
    horizons = np.concatenate([depth - part["shortfall"].values, [depth]]).astype(np.int64)
    picks = []
    memory = costs.stored_blocks_eager(depth, horizons)
    objective = AccuracyConstraint(epsilon, LinearCost(1.0, 1.0))
    for cos in part["cos"].values:
        measured = np.append(cos, 1.0)
        choice = select_horizon(horizons, measured, memory, depth, objective, estimator="measured")
        picks.append(choice.horizon)
    return np.array(picks, dtype=np.float64)


def order_of(part: Any) -> ShallowSlope:
    """The order of tan^2 of each seed."""
    none = DecayConstants(float("nan"), float("nan"))
    return ShallowSlope(profiles.from_records(part), none)


def row_of(model: str, loss: str, epoch: int, part: Any, picks: np.ndarray, depth: int) -> list[str]:
    """A line of the table with HEADER."""
    half = part["sin2"].sel(shortfall=depth - depth // 2).values
    return [
        *(model, loss, str(epoch), f"{float(part['train_loss'].mean()):.3g}"),
        f"{100 * float(part['test_accuracy'].mean()):.1f}",
        f"{order_of(part).order:.2f}",
        f"{statistics.mean_interval(half):.2g}",
        f"{statistics.mean_interval(picks):.1f}",
    ]


def differences(
    model: str, knobs: Knobs, at: Sequence[int], picks: dict[tuple[str, int], np.ndarray], orders: Any
) -> list[Difference]:
    """Each loss less the first, seed by seed: the choice at every moment, the order at the last."""
    first, found = knobs.losses[0], []
    for loss in knobs.losses[1:]:
        for epoch in at:
            gap = statistics.mean_interval(picks[loss, epoch] - picks[first, epoch], JUDGED)
            found.append(Difference(f"{model}, epoch {epoch}: chosen h, {loss} less {first}", gap, "blocks"))
        gap = statistics.mean_interval(orders[loss] - orders[first], JUDGED)
        found.append(Difference(f"{model}, epoch {at[-1]}: order, {loss} less {first}", gap))
    return found


def growth(model: str, loss: str, at: Sequence[int], picks: dict[tuple[str, int], np.ndarray]) -> Difference:
    """The choice after training less that before."""
    gap = statistics.mean_interval(picks[loss, at[-1]] - picks[loss, at[0]], JUDGED)
    return Difference(f"{model}, {loss}: chosen h, epoch {at[-1]} less epoch {at[0]}", gap, "blocks")


def answers_of(loss: str, epoch: int, part: Any) -> list[report.Answer]:
    """Order and constant of the tanh network beside Theorem D."""
    pairs = zip(part["predicted_quadratic"].values, part["predicted_cubic"].values, strict=True)
    laws = [DecayConstants(float(q), float(c)) for q, c in pairs]
    return slope_answers(f"tanh, {loss}", epoch, Slope(profiles.from_records(part), laws))


def judge(knobs: Knobs, found: Any) -> list[report.Answer]:
    """Print the table and the differences; the verdicts on Theorem D."""
    at, rows, answers, seen = probed(knobs.epochs), [], [], list[Difference]()
    for model in knobs.models:
        depth, picks, orders = depth_of(knobs, model), {}, {}
        for loss in knobs.losses:
            for epoch in at:
                part = part_of(found, model, loss, depth, epoch)
                picks[loss, epoch] = chosen(part, depth, knobs.epsilon)
                rows.append(row_of(model, loss, epoch, part, picks[loss, epoch], depth))
                if model == "tanh" and epoch in (at[0], at[-1]) and knobs.seeds > 2:
                    answers += answers_of(loss, epoch, part)
            orders[loss] = order_of(part).orders
            seen.append(growth(model, loss, at, picks))
        seen += differences(model, knobs, at, picks, orders)
    print(report.table(HEADER, rows))
    print("\n".join(map(str, seen)))
    return answers


def depth_of(knobs: Knobs, model: str) -> int:
    """T of a model."""
    return knobs.depth if model == "tanh" else knobs.steps


def main(knobs: Knobs) -> int:
    """Compute what is missing, print the table, the differences and the verdicts; 0 iff no verdict fails."""
    from dlinear.bridge.data.losses import criterion_of

    check(
        knobs,
        **dict.fromkeys(("seeds", "epochs", "batch", "samples", "width"), at_least(1)),
        depth=at_least(20),  # three shortfalls up to T/10 and more
        steps=at_least(4),
        epsilon=FRACTION,
        learning_rate=POSITIVE,
        models=Constraint(lambda name: name in MODELS, f"one of {', '.join(MODELS)}"),
        losses=Constraint(lambda name: name in LOSSES, f"one of {', '.join(LOSSES)}"),
    )
    split = load(knobs.data, knobs.samples, knobs.data_folder, knobs.download)
    for loss in knobs.losses:
        criterion_of(loss, split.classes)
    cells = [
        cell_from(
            Cell,
            knobs,
            ensemble=model,
            loss=loss,
            seed=seed,
            depth=depth_of(knobs, model),
            data_identity=split.digest,
        )
        for model in knobs.models
        for loss in knobs.losses
        for seed in range(knobs.seeds)
    ]
    for cell in cells[:: len(knobs.losses) * knobs.seeds]:  # one of each model: refused before any work
        build(cell, split)
    run = functools.partial(compute, folder=knobs.data_folder, download=knobs.download)
    sweep, found = knobs.gather(NAME, cells, run)
    if found is None:
        return bool(sweep.failed or sweep.lost)
    print(f"{knobs.data}, {knobs.samples} samples, {knobs.seeds} seeds, epsilon {knobs.epsilon:g}; {sweep}")
    return report.finish(judge(knobs, found))


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
