"""With which order does sin^2(theta_h) fall in real networks, at the start and in training? (Theorems B to D)

    python -m sims.bridge_slopes                                # residual networks of depth 50..400
    python -m sims.bridge_slopes --combinations relu-rough gelu-rough --seeds 40 --depths 400 800
    python -m sims.bridge_slopes --model resnet62 --data cifar10 --data-folder data --download
    python -m sims.bridge_slopes --model resnet62 --method horizon-15 --full        # Table D2, for a GPU
    python -m sims.bridge_slopes --model linear                 # or mlp: the networks of appendix D.1
    python -m sims.bridge_slopes --model gru                    # or graph: a recurrent and a graph network

deep: x + rho act(W_t x), rho = 1/T or 1/sqrt(T), whitened data, squared error, full batch. Layers smooth in
depth: order 3. Independent Gaussian layers: order 2 for odd activations; relu and gelu drift and cross over
from 2 to 3. q, C and m* are predicted by Theorem D (`bridge.angles.theorem_d`): at the start from the law
of the layers, in training from the increments of the last layers; never from the profile.
The models of the paper are trained by `--method` as Table D2 says, on fewer samples unless `--full`; gru and
graph by Adam. Their blocks are not small, sin^2 saturates at 1, and orders are those of tan^2. For gru and
graph nothing is predicted: Theorem D needs a state of one tensor, and the steps of a gru share their weights.
One cell is one network; what its probes saw goes to results/bridge_slopes. Networks of equal seed, depth and
scale share their random layers, so that lines of the table that differ by the activation are not independent.
Constants are judged at the largest depth and after training.
"""

from __future__ import annotations

import contextlib
import functools
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dlinear import report
from dlinear.analysis import profiles
from dlinear.runs import records, script, sweeps
from dlinear.runs.knobs import FRACTION, POSITIVE, PROFILE, Target, at_least, cell_from, check, filled
from dlinear.runs.launch import Launch
from dlinear.theory import decay_law

with script.imports():
    from dlinear.bridge.angles.slope_verdicts import (
        COURSE_HEADER,
        HEADER,
        ShallowSlope,
        TrainingCourse,
        slope_answers,
        slope_row,
    )
    from dlinear.bridge.angles.slopes import Slope, SlopeProbe

NAME = "bridge_slopes"
TOY = (  # seconds, for the tests
    "--data linear --width 3 --samples 20 --batch 20 --depths 20 --trained-depth 20 --epochs 2 --seeds 2 "
    "--smooth-seeds 2 --draws 4 --points 6 --combinations identity-smooth tanh-smooth relu-rough"
)
Model = Literal["deep", "linear", "mlp", "resnet62", "gru", "graph"]
ACTIVATIONS = ("identity", "tanh", "relu", "gelu")
COMBINATIONS = (
    *(f"{act}-smooth" for act in ACTIVATIONS),
    *(f"{act}-rough" for act in ACTIVATIONS),
    *(f"{act}-rough-root" for act in ("identity", "tanh")),
)
JUDGEABLE = 100  # blocks from which orders and constants are judged: corrections are of relative size 5/T
FOLLOWED = 0.03  # of T: the shortfall whose angle is followed in training; the next order is 3 % of it
WHY = dict.fromkeys(
    ("linear", "mlp"), "; the last layer has no skip connection: r - v jumps there, which alone gives order 1"
)
WHY["gru"] = "; the steps share their weights, which alone gives 4 in place of 3 (sims.architectures)"


@dataclass(frozen=True)
class Knobs(Target, Launch):
    """What to run; None stands for a value that depends on the model (`SIZES`, minutes on two cores)."""

    model: Model = "deep"  # network; only the depth of deep can grow
    data: str | None = None  # training data; None: digits for deep, those of Table D2 or `OWN` for the others
    combinations: tuple[str, ...] = COMBINATIONS  # activation-layers of deep; with -root the scale 1/sqrt(T)
    method: str = "backprop"  # gradient that trains, for example horizon-8 (`dlinear.bridge.methods`)
    depths: tuple[int, ...] = (50, 100, 200, 400)  # T, blocks of deep at the start; a factor of eight
    trained_depth: int = 100  # T, blocks of deep in training; 128 steps of it take seconds
    seeds: int | None = None  # networks of each kind; None: 12 of deep, since rough sin^2 vary by one half
    smooth_seeds: int = 4  # networks of each kind with smooth layers; few, since only constants differ
    epochs: int | None = None  # passes through the training set; measured at 0 and at powers of 2
    samples: int | None = None  # size of the training set
    batch: int | None = None  # samples on which angles are measured, the first of the training set
    learning_rate: float | None = None  # step length; of deep in units that do not depend on T
    largest: float = 0.05  # largest shortfall m/T of deep; beyond it the next order in m/T is visible
    points: int = 12  # shortfalls measured, evenly in ratio; 12 give the order of smooth layers to 0.01
    sigma: float = 1.0  # size of rough layers with the scale 1/T; 1 is the Gaussian initialization
    root_sigma: float = 0.5  # size with 1/sqrt(T); products of layers then vary by a factor of about two
    draws: int = 64  # fresh layers that estimate the variance v, to about sqrt(2/(width draws)) = 6 %
    full: bool = False  # the paper's settings: Table D2, all samples and epochs; deep: up to 1600 layers


SIZES: dict[str, dict[str, Any]] = {  # None of a knob becomes this: minutes on two cores
    "deep": dict(seeds=12, epochs=128, samples=200, batch=200, learning_rate=0.05),
    "linear": dict(seeds=4, epochs=8, samples=2000, batch=100),
    "mlp": dict(seeds=4, epochs=8, samples=4000, batch=100),
    "resnet62": dict(seeds=5, epochs=2, samples=320, batch=32),
    "gru": dict(seeds=5, epochs=8, samples=400, batch=100),
    "graph": dict(seeds=5, epochs=8, samples=120, batch=120),
}
FULL: dict[str, dict[str, Any]] = {  # with --full; samples, epochs and rates of the others are Table D2's
    "deep": dict(seeds=40, epochs=512, samples=1000, batch=1000, learning_rate=0.05),
    "linear": dict(seeds=10, batch=1000),
    "mlp": dict(seeds=10, batch=1000),
    "resnet62": dict(seeds=5, batch=128),
    "gru": dict(seeds=10, epochs=40, samples=1437, batch=500),
    "graph": dict(seeds=10, epochs=40, samples=120, batch=120),
}
OWN: dict[str, dict[str, Any]] = {  # what Table D2 says of the paper's models
    "gru": dict(data="digits", learning_rate=0.01, batch_size=50, optimizer="adam"),
    "graph": dict(data="communities", learning_rate=0.01, batch_size=30, optimizer="adam"),
}


@dataclass(frozen=True)
class Cell:
    """One network; `ensemble` is its combination, or the name of its model."""

    ensemble: str
    depth: int
    seed: int
    model: str
    data: str
    data_identity: str
    method: str
    width: int
    points: int
    epochs: int
    samples: int
    batch: int
    learning_rate: float
    batch_size: int
    optimizer: str
    largest: float
    sigma: float
    root_sigma: float
    draws: int
    edition: int = 1  # raise it when the meaning of a cell changes


# ---------------------------------------------------------------- computing


def settled(knobs: Knobs) -> tuple[Knobs, dict[str, Any]]:
    """The knobs with no None left, and the settings of Table D2 that have no knob."""
    from dlinear.bridge.training import setting

    sizes = (FULL if knobs.full else SIZES)[knobs.model]
    if knobs.model == "deep":
        if knobs.full:
            knobs = replace(knobs, depths=tuple({*knobs.depths, 800, 1600}))
        knobs = filled(knobs, {**sizes, "data": "digits"})
        return knobs, {"batch_size": knobs.samples, "optimizer": "sgd"}
    if knobs.model in OWN:
        own = dict(OWN[knobs.model])
        rest = {name: own.pop(name) for name in ("batch_size", "optimizer")}
        return filled(knobs, {**sizes, **own}), rest
    table = setting("resnet" if knobs.model == "resnet62" else knobs.model)
    paper = asdict(table.training)
    paper_sizes = {name: paper[name] for name in ("epochs", "samples", "learning_rate")}
    knobs = filled(knobs, {**paper_sizes, **sizes, "data": table.data})
    return knobs, {name: paper[name] for name in ("batch_size", "optimizer")}


@functools.lru_cache(maxsize=2)
def split_of(model: str, data: str, samples: int, width: int, folder: str | None, download: bool) -> Any:
    """The data: whitened for deep, as they are for the others."""
    from dlinear.bridge.data.loading import GRAPH, load
    from dlinear.bridge.data.whitened import whitened

    if model == "deep":
        return whitened(data, samples, width, folder=folder, download=download)
    tests = None if data == GRAPH else 360
    return load(data, samples=samples, test_samples=tests, width=width, folder=folder, download=download)


def build(cell: Cell, split: Any) -> Any:
    """The untrained network."""
    import torch

    from dlinear.bridge.models import TaskShape, model

    if cell.model != "deep":
        return model(cell.model, split.task, cell.seed)
    activation, layers, root = kind_of(cell.ensemble)
    return model(
        "deep",
        TaskShape((cell.width,), cell.width),
        cell.seed,
        depth=cell.depth,
        width=cell.width,
        activation=activation,
        layers=layers,
        scale="1/sqrt(T)" if root else "1/T",
        sigma=cell.root_sigma if root else cell.sigma,
        dtype=torch.float64,
    )


def kind_of(combination: str) -> tuple[str, str, bool]:
    """Activation, layers and whether the scale is 1/sqrt(T)."""
    activation, layers, *scale = combination.split("-")
    return activation, layers, bool(scale)


def probed(epochs: int) -> list[int]:
    """0, the powers of 2 and the last epoch."""
    return sorted({0, *(2**k for k in range(epochs.bit_length()) if 2**k <= epochs), epochs})


def probe_of(cell: Cell, rho: float) -> tuple[SlopeProbe, float]:
    """What measures the network of a cell in training, and the learning rate of a step."""
    if cell.model == "deep":
        m = profiles.shortfalls(cell.depth, cell.points, cell.largest)
        rough = kind_of(cell.ensemble)[1] == "rough"
        last, first = (max(2, cell.depth // 4), int(m[-1])) if rough else (1, 1)
        rate = cell.learning_rate * cell.width / (2 * cell.depth * rho**2)
    else:
        m = np.unique(np.rint(np.geomspace(1, cell.depth - 1, cell.points)).astype(np.int64))
        last = cell.depth // 3 - 1 if cell.model == "resnet62" else 0  # the last stage, less its entry
        rate, first = cell.learning_rate, 1
    return SlopeProbe(m, cell.batch, last, first, cell.draws, cell.seed), rate


def compute(cell: Cell, folder: str, data_folder: str | None, download: bool) -> sweeps.Arrays:
    """Train the network of a cell and measure it on the way; resumed from `folder` if it was interrupted."""
    from dlinear.bridge.autograd.isolation import one_thread
    from dlinear.bridge.methods import method
    from dlinear.bridge.training import Training, train

    small = cell.model != "resnet62"  # small matrices gain nothing from threads
    with one_thread() if small else contextlib.nullcontext():
        split = split_of(cell.model, cell.data, cell.samples, cell.width, data_folder, download)
        stack = build(cell, split)
        probe, rate = probe_of(cell, getattr(stack.blocks[0], "rho", 1.0))
        run = train(
            stack,
            split,
            method(cell.method),
            Training(rate, cell.batch_size, cell.epochs, optimizer=cell.optimizer, seed=cell.seed),  # type: ignore[arg-type]
            folder=None if cell.model == "deep" else Path(folder) / "training" / records.key(cell)[:16],
            probe=probe,
            probe_at=probed(cell.epochs),
            identity={"cell": records.key(cell)},
            progress=cell.model != "deep",
        )
    epochs = sorted(run.probes)
    found: dict[str, Any] = {"epoch": (("epoch",), epochs), "shortfall": (("shortfall",), probe.shortfalls)}
    for name in run.probes[0]:
        values = np.array([run.probes[epoch][name] for epoch in epochs])
        found[name] = (("epoch", "shortfall")[: values.ndim], values)
    for name in ("train_loss", "test_loss", "train_accuracy", "test_accuracy"):
        found[name] = (("epoch",), getattr(run, name)[epochs])
    return found


# ---------------------------------------------------------------- reading


def at(data: Any, **labels: Any) -> Any:
    """The part of the records at some labels, those that are dimensions."""
    return data.sel({name: value for name, value in labels.items() if name in data.dims})


def slope_of(data: Any, name: str, depth: int, epochs: int, epoch: int, seeds: int) -> Slope:
    """What the records say of one network at one moment."""
    part = at(data, ensemble=name, depth=depth, epochs=epochs, epoch=epoch, seed=list(range(seeds)))
    laws = part[["predicted_quadratic", "predicted_cubic"]]
    pairs = zip(laws["predicted_quadratic"].values, laws["predicted_cubic"].values, strict=True)
    return Slope(
        profiles.from_records(part), [decay_law.DecayConstants(float(q), float(c)) for q, c in pairs]
    )


def course_of(knobs: Knobs, data: Any, name: str) -> TrainingCourse:
    """What the records say of one smooth network in training, at a shortfall of about FOLLOWED T."""
    depth = knobs.trained_depth
    part = at(data, ensemble=name, depth=depth, epochs=knobs.epochs, seed=list(range(knobs.smooth_seeds)))
    part = part.transpose("seed", "epoch", ...)
    m = max(int(k) for k in part["shortfall"].values if k <= max(1, FOLLOWED * depth))
    law = [part[f"predicted_{term}"].values for term in ("quadratic", "cubic")]
    curves = {
        "sin2": part["sin2"].sel(shortfall=m).values,
        "law": decay_law.decay_law(*law, m, depth),
        **{key: part[key].values for key in ("energy", "residual", "batch_loss")},
    }
    return TrainingCourse(name, m, part["epoch"].values, curves)


def deep(knobs: Knobs, data: Any) -> list[report.Answer]:
    """Tables and verdicts of the residual networks whose depth can grow."""
    answers = at_start(knobs, data)
    if knobs.epochs:
        answers += in_training(knobs, data)
    smooth = [name for name in knobs.combinations if kind_of(name)[1] == "smooth"]
    if knobs.epochs and smooth and knobs.smooth_seeds > 2:
        courses = [course_of(knobs, data, name) for name in smooth]
        rows = [row for course in courses for row in course.rows()]
        print(f"\nwhy the angle grows, at a fixed horizon:\n{report.table(COURSE_HEADER, rows)}")
        answers += [answer for course in courses for answer in course.answers()]
    return answers


def at_start(knobs: Knobs, data: Any) -> list[report.Answer]:
    """Untrained networks of all depths; the largest depth is judged."""
    depths, rows, answers = sorted(knobs.depths), [], []
    for name in knobs.combinations:
        seeds = seeds_of(knobs, name)
        for depth in depths:
            slope = slope_of(data, name, depth, 0, 0, seeds)
            rows.append(slope_row(name, 0, slope))
        answers += slope_answers(name, 0, slope) if seeds > 2 and depths[-1] >= JUDGEABLE else []
    print(report.table(HEADER, rows))
    return answers


def in_training(knobs: Knobs, data: Any) -> list[report.Answer]:
    """The trained networks; the last epoch is judged."""
    rows, answers = [], []
    for name in knobs.combinations:
        for epoch in [e for e in probed(knobs.epochs) if e >= knobs.epochs / 8][::3]:
            slope = slope_of(data, name, knobs.trained_depth, knobs.epochs, epoch, trained_seeds(knobs, name))
            rows.append(slope_row(name, epoch, slope))
        if len(slope.found) > 2 and knobs.trained_depth >= JUDGEABLE:
            answers += slope_answers(name, epoch, slope)
    print(f"\nin training, {knobs.method}, full batch:\n{report.table(HEADER, rows)}")
    return answers


def named(knobs: Knobs, data: Any) -> list[report.Answer]:
    """Table and verdicts of a model of the paper."""
    rows, answers = [], []
    for epoch in data["epoch"].values.tolist():
        part = at(data, epoch=epoch, ensemble=knobs.model, depth=int(data["depth"][0]))
        q, c = (float(part[f"predicted_{name}"].mean("seed")) for name in ("quadratic", "cubic"))
        slope = ShallowSlope(profiles.from_records(part), decay_law.DecayConstants(q, c))
        rows.append([str(int(epoch)), f"{float(part['batch_loss'].mean()):.3g}", *slope.row()])
        if len(slope.found) > 2:
            answers.append(slope.answer(f"{knobs.model}, epoch {int(epoch)}", WHY.get(knobs.model, "")))
    header = ("epoch", "loss", "sin^2 m=1", "m=2", f"m={slope.shown()[-1]}")
    header = (*header, "predicted", "order", "measured [95 %]", "tan^2/law [95 %]")
    print(report.table(header, rows))
    return answers


def seeds_of(knobs: Knobs, name: str) -> int:
    """How many networks of a combination at the start."""
    return min(knobs.seeds, knobs.smooth_seeds) if kind_of(name)[1] == "smooth" else knobs.seeds


def trained_seeds(knobs: Knobs, name: str) -> int:
    """How many of them are trained."""
    return min(seeds_of(knobs, name), 2 * knobs.smooth_seeds)


def cells_of(knobs: Knobs, own: dict[str, Any], identity: str, depth: int) -> list[Cell]:
    """All networks of a run."""
    make = functools.partial(cell_from, Cell, knobs, data_identity=identity, **own)
    if knobs.model != "deep":
        return [make(ensemble=knobs.model, depth=depth, seed=seed) for seed in range(knobs.seeds)]
    trained = [
        make(ensemble=name, depth=knobs.trained_depth, seed=seed)
        for name in knobs.combinations
        for seed in range(trained_seeds(knobs, name))
    ]
    start = [
        make(ensemble=name, depth=depth, seed=seed, epochs=0)
        for depth in sorted(knobs.depths, reverse=True)
        for name in knobs.combinations
        for seed in range(seeds_of(knobs, name))
    ]
    return trained + start


def main(knobs: Knobs) -> int:
    """Run the missing cells, print the tables and the verdicts; 0 iff no verdict fails."""
    from dlinear.bridge.methods import method
    from dlinear.errors import DomainError

    if unknown := sorted(set(knobs.combinations) - set(COMBINATIONS)):
        raise DomainError(f"--combinations holds {unknown[0]!r}; allowed are {', '.join(COMBINATIONS)}")
    knobs, own = settled(knobs)
    counts = dict.fromkeys(("samples", "batch", "draws", "smooth_seeds"), at_least(1))
    sizes = dict.fromkeys(("sigma", "root_sigma", "learning_rate"), POSITIVE)
    rules = {**PROFILE, "points": at_least(6), "epochs": at_least(0), "largest": FRACTION}
    rules |= dict.fromkeys(("depths", "trained_depth"), at_least(20))  # three shortfalls up to T/10 and more
    check(knobs, **counts, **sizes, **rules)
    method(knobs.method)  # an unknown one is refused before any work
    split = split_of(knobs.model, knobs.data, knobs.samples, knobs.width, knobs.data_folder, knobs.download)
    depth = 0
    if knobs.model != "deep":
        from dlinear.bridge.models import model

        depth = model(knobs.model, split.task).depth
    run = functools.partial(
        compute, folder=f"{knobs.results}/{NAME}", data_folder=knobs.data_folder, download=knobs.download
    )
    sweep, data = knobs.gather(NAME, cells_of(knobs, own, split.digest, depth), run)
    if data is None:
        return bool(sweep.failed or sweep.lost)
    print(f"{knobs.model}, {knobs.data}, {knobs.samples} samples, {knobs.method}; {sweep}")
    return report.finish(deep(knobs, data) if knobs.model == "deep" else named(knobs, data))


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
