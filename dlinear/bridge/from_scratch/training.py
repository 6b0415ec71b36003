"""Gradient descent with momentum of all rates and seeds at once, by any method that keeps members apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dlinear.analysis.comparison import REFERENCE
from dlinear.bridge.from_scratch.joint import joint
from dlinear.bridge.from_scratch.tasks import Problem
from dlinear.bridge.methods import Method, method
from dlinear.errors import DlinearError, DomainError

__all__ = ["Curves", "Plan", "check_method", "evaluation_steps", "losses", "train_all", "units"]

EXPLODED = 1e3  # times the first loss: a member that exceeds it has diverged, and is set back and frozen
MIXING = {  # families whose gradient of one member depends on the others, and by what
    "forward": "draws one random direction for",
    "projected": "takes one inner product over",
}


@dataclass(frozen=True)
class Plan:
    """How long and how is trained.

    Attributes:
        steps: of gradient descent.
        batch: samples of a step.
        momentum: of the heavy ball.
        points: evaluations after the start, evenly over the steps.
    """

    steps: int
    batch: int
    momentum: float
    points: int


@dataclass(frozen=True, eq=False)
class Curves:
    """What was measured at K + 1 evaluations of R rates and S seeds, NaN once a run has diverged.

    Attributes:
        train_loss: (R, S, K + 1).
        test_loss: (R, S, K + 1).
        test_accuracy: (R, S, K + 1), NaN without classes.
        cos: (R, S, K + 1), angle of the blocks' gradient with back-propagation's, whole training set (its
            first batch).
    """

    train_loss: NDArray[np.float64]
    test_loss: NDArray[np.float64]
    test_accuracy: NDArray[np.float64]
    cos: NDArray[np.float64]


def check_method(name: str) -> Method:
    """The method called `name`.

    Raises:
        DomainError: an unknown one, or one that would mix the members.
    """
    found = method(name)
    if found.family in MIXING:
        raise DomainError(
            f"method {name} {MIXING[found.family]} all models that are trained at once; allowed are methods "
            "that keep them apart (sims.bridge_tradeoff trains it alone)"
        )
    return found


def evaluation_steps(plan: Plan) -> NDArray[np.int64]:
    """The steps after which is evaluated, 0 and the last among them."""
    return np.unique(np.linspace(0, plan.steps, plan.points + 1).round().astype(np.int64))


def losses(z: Tensor, y: Tensor, classes: int | None) -> Tensor:
    """(M,) mean loss of each member: the squared error over samples and outputs, or cross-entropy."""
    if classes is None:
        return (z - y).square().mean((1, 2))
    each = torch.nn.functional.cross_entropy(z.flatten(0, 1), y.flatten(), reduction="none")
    return each.view(y.shape).mean(1)


def units(task: Problem, name: str, batch: int, tuning: int) -> float:
    """|g_T|/|g| at the start, the geometric mean over the tuning runs: a rate of 1 of the method."""
    run = _Members(task, name, np.ones(1), batch)
    own, true = (run.gradients(some) for some in (name, REFERENCE))
    ratio = _dot(true, true)[:tuning].sqrt() / _dot(own, own)[:tuning].sqrt()
    return float(ratio.log().mean().exp())


def train_all(task: Problem, name: str, rates: NDArray[np.float64], plan: Plan) -> Curves:
    """Train the models of all seeds at all rates.

    A method that refuses a step (reconstruction that does not contract) is asked again without the largest
    rate, which then trains alone: a rate that is too large leaves the others as they are, and what is refused
    alone counts as diverged from there on.

    Args:
        task: data and models.
        name: of the method.
        rates: (R,) step lengths, increasing.
        plan: steps, batch, momentum, evaluations.
    """
    try:
        return _Members(task, name, rates, plan.batch).train(plan, stop=len(rates) == 1)
    except DlinearError:
        if len(rates) == 1:
            raise
        parts = [train_all(task, name, some, plan) for some in (rates[:-1], rates[-1:])]
        names = [field.name for field in fields(Curves)]
        return Curves(**{one: np.concatenate([getattr(part, one) for part in parts]) for one in names})


class _Members:
    """R x S models in training; member r S + s has rate r and seed s."""

    def __init__(self, task: Problem, name: str, rates: NDArray[np.float64], batch: int) -> None:
        self.task, self.name, self.seeds = task, name, len(task.stacks)
        self.count = len(rates) * self.seeds
        self.seed = torch.arange(self.count) % self.seeds
        self.rate = torch.from_numpy(np.repeat(rates, self.seeds)).float()
        self.stack = joint([task.stacks[int(s)] for s in self.seed])
        self.batch = min(batch, task.x_train.shape[1])
        self.first: Tensor | None = None
        self.alive = torch.ones(self.count, dtype=torch.bool)

    def train(self, plan: Plan, stop: bool) -> Curves:
        """All steps; with `stop` a refused step ends the run, the rest of it NaN."""
        marks = {int(step): k for k, step in enumerate(evaluation_steps(plan))}
        out = np.full((4, self.count, len(marks)), math.nan)
        velocity = [torch.zeros_like(p) for p in self.trained()]
        start = [p.detach().clone() for p in self.trained()]
        orders = [np.random.default_rng(seed) for seed in range(self.seeds)]
        queue: list[NDArray[np.int64]] = []
        try:
            for step in range(plan.steps + 1):
                if step in marks:
                    out[:, :, marks[step]] = self.measured(start)
                if step < plan.steps:
                    queue = queue or self.shuffled(orders)
                    self.step(queue.pop(0), velocity, plan.momentum)
        except DlinearError:
            if not stop:
                raise
        shape = (len(self.rate) // self.seeds, self.seeds, len(marks))
        return Curves(*(part.reshape(shape) for part in out))

    def trained(self) -> list[Tensor]:
        """The parameters that are trained, (M, ...) each."""
        return [p for p in self.stack.parameters() if p.requires_grad]

    def shuffled(self, orders: Sequence[np.random.Generator]) -> list[NDArray[np.int64]]:
        """The batches of an epoch, (S, B) each; samples that fill no batch wait for the next shuffle."""
        samples = self.task.x_train.shape[1]
        order = np.stack([draw.permutation(samples) for draw in orders])
        return [order[:, a : a + self.batch] for a in range(0, samples - self.batch + 1, self.batch)]

    def fill(self, name: str, chosen: NDArray[np.int64]) -> None:
        """Fill `.grad` of all members from the chosen samples of each seed."""
        rows, index = self.seed[:, None], torch.from_numpy(chosen)[self.seed]
        x, y, classes = self.task.x_train[rows, index], self.task.y_train[rows, index], self.task.classes
        self.stack.zero_grad(set_to_none=True)
        method(name)(self.stack.blocks, x, lambda z: losses(z, y, classes).sum(), self.stack.readout)

    def gradients(self, name: str) -> list[Tensor]:
        """The blocks' gradients on the first samples, (M, ...) each."""
        self.fill(name, np.tile(np.arange(self.batch), (self.seeds, 1)))
        found = [p.grad.detach().clone() for p in self.stack.blocks.parameters() if p.grad is not None]
        self.stack.zero_grad(set_to_none=True)
        return found

    @torch.no_grad()
    def step(self, chosen: NDArray[np.int64], velocity: list[Tensor], momentum: float) -> None:
        """v <- momentum v + g, w <- w - rate v; what has diverged stays where it is."""
        with torch.enable_grad():
            self.fill(self.name, chosen)
        rate = self.rate * self.alive
        for weight, speed in zip(self.trained(), velocity, strict=True):
            if weight.grad is not None:
                speed.mul_(momentum).add_(weight.grad.nan_to_num(0.0, 0.0, 0.0))
                weight.sub_(rate.view(-1, *[1] * (weight.ndim - 1)) * speed)

    def measured(self, start: Sequence[Tensor]) -> NDArray[np.float64]:
        """(4, M): the rows of `Curves`; members that have diverged now are set back to their start."""
        with torch.no_grad():
            train = self.evaluated("train")
            self.first = train[0] if self.first is None else self.first
            fine = self.alive & torch.isfinite(train[0]) & (train[0] <= EXPLODED * self.first)
            for weight, old in zip(self.trained(), start, strict=True):
                weight[~fine] = old[~fine]
            self.alive = fine
            test = self.evaluated("test")
        own, true = self.gradients(self.name), self.gradients(REFERENCE)
        cos = _dot(own, true) / (_dot(own, own) * _dot(true, true)).sqrt()
        found = torch.stack([train[0], *test, cos]).double()
        found[:, ~fine] = math.nan
        return found.numpy()

    def evaluated(self, part: str) -> tuple[Tensor, Tensor]:
        """(M,) losses and accuracies on the training or the test set."""
        x, y = (getattr(self.task, f"{what}_{part}")[self.seed] for what in "xy")
        z = self.stack(x)
        right = z.argmax(-1) == y if self.task.classes else torch.full((self.count, 1), math.nan)
        return losses(z, y, self.task.classes), right.float().mean(1)


def _dot(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    """(M,) inner products of the members' gradients, in float64."""
    parts = [(a.double() * b.double()).flatten(1).sum(1) for a, b in zip(one, other, strict=True)]
    return torch.stack(parts).sum(0)
