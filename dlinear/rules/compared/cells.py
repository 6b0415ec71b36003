"""One cell: what a rule costs, or one training run of it."""

from __future__ import annotations

import functools
import re
import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dlinear.bridge.autograd.isolation import one_thread
from dlinear.bridge.data.loading import LoadedSplit
from dlinear.bridge.data.loading import load as load_data
from dlinear.bridge.data.losses import Supervised
from dlinear.bridge.methods.base import Method
from dlinear.bridge.models.registry import model
from dlinear.bridge.models.stack import Stack
from dlinear.bridge.side_by_side import MethodProbe
from dlinear.bridge.training.settings import device_of
from dlinear.errors import DlinearError
from dlinear.rules.compared.choice import rule_of
from dlinear.rules.compared.costs import costs
from dlinear.rules.compared.losses import loss_named
from dlinear.rules.compared.training import Plan, train
from dlinear.rules.published import Recipe
from dlinear.runs import sweeps

__all__ = ["COSTS", "TRAIN", "TUNE", "Cell", "compute", "data_of", "refusal"]

COSTS, TUNE, TRAIN = "costs", "tune", "train"


@dataclass(frozen=True)
class Cell:
    """One rule: its costs, or a training run (to choose the rate, or to be compared).

    Attributes:
        part: `COSTS`, `TUNE` (on a part of the training set, judged by the rest) or `TRAIN`.
        method: name of the rule.
        seed: of the weights, the batches and the dropout.
        recipe: `Recipe.text`.
        model, depth: name, T.
        data, digest, samples, test_samples: what is learned.
        epochs, seconds, probed: as of `training.Plan`; 0 for costs.
        rounds, measured: of timing, seconds of throughput; 0 for runs.
        device: "cpu" or "cuda".
        edition: raise it when the meaning of a cell changes.
    """

    part: str
    method: str
    seed: int
    recipe: str
    model: str
    depth: int
    data: str
    digest: str
    samples: int | None
    test_samples: int | None
    epochs: int
    seconds: float
    probed: int
    rounds: int
    measured: float
    device: str
    edition: int = 1


def data_of(
    name: str, samples: int | None, test_samples: int | None, folder: str | None, download: bool
) -> LoadedSplit:
    """The data set; "mnist_10k" is 8000 training and 2000 test images of it, equally many of each class.

    Raises:
        DataError: as `dlinear.bridge.load`.
    """
    part = re.fullmatch(r"([a-z0-9]+)_(\d{1,2})k", name)
    if part:
        name, thousands = part[1], int(part[2])
        samples, test_samples = samples or 800 * thousands, test_samples or 200 * thousands
    return load_data(name, samples=samples, test_samples=test_samples, folder=folder, download=download)


loaded = functools.lru_cache(maxsize=1)(data_of)


def built(cell: Cell, split: LoadedSplit) -> Stack:
    """The model of a cell, on the CPU."""
    recipe = Recipe.read(cell.recipe)
    names = ("width", "activation", "bias", "dropout", "initial")
    knobs: dict[str, Any] = {name: getattr(recipe, name) for name in names}
    readout = rule_of(cell.method).readout or "shared"
    return model(cell.model, split.task, cell.seed, depth=cell.depth, readout=readout, **knobs)


@functools.lru_cache(maxsize=1)
def _on_device(device: str, inputs: str, *what: Any) -> LoadedSplit:
    """The data as a recipe wants them, on the device once for all cells."""
    split = loaded(*what)
    if inputs == "unit":
        low, span = split.x_train.min(), split.x_train.max() - split.x_train.min()
        unit: tuple[Tensor, Tensor] = ((split.x_train - low) / span, (split.x_test - low) / span)
        split = replace(split, x_train=unit[0], x_test=unit[1])
    return split.to(device_of(device))


def compute(
    cell: Cell, folder: str | None = None, download: bool = False, deadline: float | None = None
) -> sweeps.Arrays:
    """The arrays of a cell.

    Args:
        cell: what to compute.
        folder, download: where the data are, as of `data.load`.
        deadline: when a run has to end, in seconds of `time.time`; None for no time.
    """
    recipe = Recipe.read(cell.recipe)
    rule = rule_of(cell.method, recipe)
    what = (cell.data, cell.samples, cell.test_samples, folder, download)
    split = _on_device(cell.device, recipe.inputs, *what)
    with one_thread(), torch.random.fork_rng():  # workers side by side have a core each
        stack = built(cell, split).to(split.x_train.device)
        if cell.part == COSTS:
            x, loss_fn = _batch(split, recipe)
            torch.manual_seed(cell.seed)
            numbers = costs(rule, stack.train(), x, loss_fn, recipe, cell.rounds, cell.measured)
            return {name: ((), value) for name, value in numbers.items()}
        left = [] if deadline is None else [max(1.0, deadline - time.time())]
        seconds = min(left + ([cell.seconds] if cell.seconds else []), default=0.0)
        return _trained(cell, rule, stack, split, recipe, seconds)


def _batch(split: LoadedSplit, recipe: Recipe) -> tuple[Tensor, Supervised]:
    """The first samples as a batch."""
    some = slice(recipe.batch)
    return split.x_train[some], Supervised(loss_named(recipe.loss), split.y_train[some])


def held_out(split: LoadedSplit) -> LoadedSplit:
    """The first four fifths of the training set to learn from, the last fifth to choose a rate by."""
    count = 4 * len(split.x_train) // 5
    x, y = split.x_train, split.y_train
    return replace(split, x_train=x[:count], y_train=y[:count], x_test=x[count:], y_test=y[count:])


def _trained(
    cell: Cell, rule: Method, stack: Stack, split: LoadedSplit, recipe: Recipe, seconds: float
) -> sweeps.Arrays:
    """One run, by epochs."""
    split = held_out(split) if cell.part == TUNE else split
    plan = Plan(cell.epochs, seconds, cell.seed, cell.probed)
    run = train(stack, split, rule, recipe, plan)
    names = ("steps", "seconds", "loss", "accuracy", "cos", "rate")
    found: dict[str, Any] = {name: (("epoch",), getattr(run, name)) for name in names}
    found["epoch"] = (("epoch",), range(len(run.steps)))
    found |= {"cores": ((), run.use.cores_busy), "head_accuracy": ((), run.head_accuracy)}
    return found | {"diverged": ((), float(run.diverged)), "wall": ((), run.use.wall)}


def refusal(cell: Cell, split: LoadedSplit) -> str:
    """Why a rule refuses the model of a cell; "" if it does not.

    Raises:
        DomainError, ShapeError: there is no such model.
    """
    recipe = Recipe.read(cell.recipe)
    rule = rule_of(cell.method, recipe)
    x, loss_fn = _batch(split, replace(recipe, batch=min(recipe.batch, 20)))
    stack = built(cell, split)
    with torch.random.fork_rng():
        try:
            MethodProbe(rule, stack, x, loss_fn).step()
        except DlinearError as error:
            return str(error)
    return ""
