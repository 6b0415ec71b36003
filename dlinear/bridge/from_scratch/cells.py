"""One cell: what a method costs at a depth, or its training on a task at all rates and seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dlinear.bridge.autograd.isolation import one_thread
from dlinear.bridge.data.losses import CRITERIA, Supervised
from dlinear.bridge.from_scratch.tasks import TASKS, problem
from dlinear.bridge.from_scratch.training import Plan, evaluation_steps, train_all, units
from dlinear.bridge.methods import method
from dlinear.bridge.models import TaskShape, model
from dlinear.bridge.side_by_side import MethodProbe
from dlinear.runs import sweeps

__all__ = ["METERS", "TRAIN", "Cell", "compute"]

METERS, TRAIN = "meters", "train"


@dataclass(frozen=True)
class Cell:
    """One method: its costs at depth T (part meters), or its training on a task (part train).

    Attributes:
        part: meters or train.
        task: one of `TASKS`; empty for the meters.
        method: name.
        depth: T.
        width, samples, batch: of the task; None for the task's own.
        seeds: runs that are compared.
        tuning: runs before them, on which the rate is chosen.
        rates: step lengths in back-propagation's unit.
        steps, momentum, points: of training, see `training.Plan`.
        measured_width, measured_batch, rounds: of the meters.
        digest: of the images; empty for tasks that are drawn.
        edition: raise it when the meaning of a cell changes.
    """

    part: str
    task: str
    method: str
    depth: int
    width: int | None
    samples: int | None
    batch: int | None
    seeds: int
    tuning: int
    rates: tuple[float, ...]
    steps: int
    momentum: float
    points: int
    measured_width: int
    measured_batch: int
    rounds: int
    digest: str = ""
    edition: int = 1


def compute(cell: Cell, folder: str | None = None, download: bool = False) -> sweeps.Arrays:
    """The arrays of a cell.

    Args:
        cell: what to compute.
        folder, download: where image sets are, as of `data.load`.
    """
    with one_thread(), torch.random.fork_rng():  # workers side by side have a core each
        return _measured(cell) if cell.part == METERS else _trained(cell, folder, download)


def _measured(cell: Cell) -> sweeps.Arrays:
    """Memory and time of a step over back-propagation's, of blocks so wide that products take the time."""
    width, batch = cell.measured_width, cell.measured_batch
    draw = torch.Generator().manual_seed(0)
    x, y = (torch.randn(batch, width, generator=draw) for _ in range(2))
    readout = method(cell.method).readout or "fixed"
    stack = model("deep", TaskShape((width,), width), 0, depth=cell.depth, width=width, readout=readout)
    loss = Supervised(CRITERIA["mse"], y)
    own = MethodProbe(cell.method, stack, x, loss)
    numbers = own.costs(cell.rounds) | {"difference": own.difference()}
    return {name: ((), value) for name, value in numbers.items()}


def _trained(cell: Cell, folder: str | None, download: bool) -> sweeps.Arrays:
    """Curves at all rates; runs 0, ..., tuning - 1 are for the choice of the rate."""
    kind, runs = TASKS[cell.task], cell.tuning + cell.seeds
    task = problem(
        cell.task,
        runs,
        depth=cell.depth,
        width=cell.width or kind.width,
        samples=cell.samples or kind.samples,
        readout=method(cell.method).readout,
        folder=folder,
        download=download,
    )
    plan = Plan(cell.steps, cell.batch or kind.batch, cell.momentum, cell.points)
    unit = units(task, cell.method, plan.batch, cell.tuning)
    rates = np.sort(cell.rates)
    found = train_all(task, cell.method, rates * unit, plan)
    dims = ("rate", "run", "step")
    return {
        "rate": (("rate",), rates),
        "run": (("run",), np.arange(runs)),
        "step": (("step",), evaluation_steps(plan)),
        "train_loss": (dims, found.train_loss),
        "test_loss": (dims, found.test_loss),
        "test_accuracy": (dims, found.test_accuracy),
        "cos": (dims, found.cos),
        "unit": ((), unit),
    }
