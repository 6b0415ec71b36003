"""One training run of a rule: the data stay on the device, and no step waits for it.

The trainer of `dlinear.bridge` (its checkpoints, its rate that falls after a bad epoch) is for runs of hours;
published settings of rules have momentum, plans of the rate and rates of their own for the output layer.
Here the loss is added up on the device and read once an epoch. A run with a limit of seconds stops after the
step in which it is over, and its plan of the rate follows the time where that is further than the epochs.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dlinear.bridge.autograd.isolation import isolated
from dlinear.bridge.autograd.modules import modules_among, trainable
from dlinear.bridge.data.loading import LoadedSplit
from dlinear.bridge.data.losses import Supervised
from dlinear.bridge.meters import SystemMeter, SystemUse
from dlinear.bridge.methods.base import Method
from dlinear.bridge.models.stack import Stack
from dlinear.bridge.side_by_side import MethodProbe
from dlinear.bridge.training.batching import batches, noise_seed
from dlinear.bridge.training.evaluation import device_generators, evaluate
from dlinear.errors import DomainError, NonFiniteError
from dlinear.rules.compared.choice import after_step, head_prediction
from dlinear.rules.compared.losses import loss_named
from dlinear.rules.output import sections
from dlinear.rules.published import Recipe

__all__ = ["Course", "Plan", "optimizer_of", "train"]

CHECKED = 50  # steps between two looks at the clock, where there is a limit


@dataclass(frozen=True)
class Plan:
    """What a run is beside its recipe.

    Attributes:
        epochs: passes through the training set, at most.
        seconds: limit on the run, evaluation included; 0 for none.
        seed: of batches and dropout.
        probed: samples on which the angle to back-propagation is measured.
    """

    epochs: int
    seconds: float
    seed: int
    probed: int


@dataclass(frozen=True, eq=False)
class Course:
    """A run, by epoch; epoch 0 is before the first step.

    Attributes:
        steps: so far.
        seconds: of steps so far.
        loss: mean over the steps of the epoch; NaN at epoch 0.
        accuracy: on the test set.
        cos: of the hidden layers' gradient to back-propagation's; NaN where one of them is zero.
        rate: learning rate of the hidden layers in the epoch.
        head_accuracy: forward-forward's by its head at the end; NaN of other rules.
        use: of the machine, whole run.
        diverged: whether the loss became NaN or infinite.
    """

    steps: np.ndarray
    seconds: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray
    cos: np.ndarray
    rate: np.ndarray
    head_accuracy: float
    use: SystemUse
    diverged: bool


class _Predicting(nn.Module):
    """A stack that answers as its rule predicts."""

    def __init__(self, stack: Stack, predict: Callable[..., Tensor] | None) -> None:
        super().__init__()
        self.stack, self._predict = stack, predict

    def forward(self, x: Tensor) -> Any:
        """The scores, (N, K)."""
        if self._predict is None:
            return self.stack(x)
        return self._predict(self.stack.blocks, x, self.stack.readout)


def optimizer_of(stack: Stack, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimizer, with the output layer as a group of its own."""
    parts = sections(list(stack.blocks), stack.readout)
    hidden = dict.fromkeys(trainable(modules_among(parts.hidden)))
    head = [p for p in stack.parameters() if p.requires_grad and p not in hidden]
    rates = (recipe.rate, recipe.rate if recipe.head_rate is None else recipe.head_rate)
    decays = (recipe.weight_decay, recipe.head_weight_decay)
    groups = [
        {"params": list(some), "lr": rate, "weight_decay": decay}
        for some, rate, decay in zip((hidden, head), rates, decays, strict=True)
        if some
    ]
    if recipe.optimizer == "adam":
        return torch.optim.Adam(groups)
    if recipe.optimizer not in ("sgd", "nesterov"):
        raise DomainError(f"optimizer is {recipe.optimizer!r:.40}; expected sgd, nesterov or adam")
    return torch.optim.SGD(groups, momentum=recipe.momentum, nesterov=recipe.optimizer == "nesterov")


def rate_factor(recipe: Recipe, share: float) -> float:
    """What the rates are multiplied by when this share of the run, in 0..1, is over."""
    falls = sum(share >= epoch / recipe.epochs for epoch in recipe.decay_at)
    slowing = min(1.0, 2 * (1 - share)) if recipe.cooldown else 1.0
    return recipe.decay**falls * slowing


class _Run:
    """A run that is going on."""

    def __init__(self, stack: Stack, split: LoadedSplit, rule: Method, recipe: Recipe, plan: Plan) -> None:
        self.stack, self.split, self.rule, self.recipe, self.plan = stack, split, rule, recipe, plan
        self.device = next(stack.parameters()).device
        self.criterion = loss_named(recipe.loss)
        self.optimizer = optimizer_of(stack, recipe)
        self.first_rates = [group["lr"] for group in self.optimizer.param_groups]
        self.started, self.spent, self.steps, self.loss = time.perf_counter(), 0.0, 0, math.nan
        self.rows: list[tuple[float, ...]] = []

    def share(self, epoch: int) -> float:
        """How much of the run is over, by epochs or by the limit."""
        by_time = (time.perf_counter() - self.started) / self.plan.seconds if self.plan.seconds else 0.0
        return max(epoch / max(self.plan.epochs, 1), by_time)

    def step(self, rule: Method, some: Tensor) -> Tensor:
        """One step on these samples; the loss, on the device."""
        self.optimizer.zero_grad(set_to_none=True)
        x, y = self.split.x_train[some], self.split.y_train[some]
        loss = rule(self.stack.blocks, x, Supervised(self.criterion, y), self.stack.readout)
        self.optimizer.step()
        after_step(rule, self.stack)
        return loss

    def epoch(self, number: int) -> None:
        """Run one epoch, or as much of it as fits into the limit."""
        factor = rate_factor(self.recipe, min(1.0, self.share(number)))
        for group, rate in zip(self.optimizer.param_groups, self.first_rates, strict=True):
            group["lr"] = rate * factor
        rule = self.rule.at_rate(self.recipe.rate * factor)
        self.stack.train()
        parts = batches(len(self.split.x_train), self.recipe.batch, self.plan.seed, number + 1)
        order, start = torch.cat(parts).to(self.device), time.perf_counter()
        total, done = torch.zeros((), device=self.device), 0
        for some in torch.split(order, [len(part) for part in parts]):
            total += self.step(rule, some)
            done += 1
            if self.plan.seconds and done % CHECKED == 0 and self.share(number) >= 1:
                break
        self.loss = float(total) / done  # waits for the device
        self.spent += time.perf_counter() - start
        self.steps += done

    def close(self) -> None:
        """Measure what an epoch ends with."""
        accuracy, rate = self.accuracy(self.rule.predict), self.optimizer.param_groups[0]["lr"]
        self.rows.append((self.steps, self.spent, self.loss, accuracy, self.cosine(), rate))

    def accuracy(self, predict: Callable[..., Tensor] | None) -> float:
        """On the test set, by a rule's own prediction or by the model's output."""
        x, y = self.split.x_test, self.split.y_test
        words: dict[str, Any] = {"classes": True, "batch": 1000, "device": self.device}
        return evaluate(_Predicting(self.stack, predict), x, y, self.criterion, **words).accuracy

    def cosine(self) -> float:
        """Of the hidden layers' gradient to back-propagation's on the first samples, without dropout."""
        some = slice(self.plan.probed)
        x, loss = self.split.x_train[some], Supervised(self.criterion, self.split.y_train[some])
        self.stack.eval()
        with isolated((self.stack,), x), contextlib.suppress(NonFiniteError):
            return MethodProbe(self.rule, self.stack, x, loss).cosine()
        return math.nan  # the run has diverged, and says so


def train(stack: Stack, split: LoadedSplit, rule: Method, recipe: Recipe, plan: Plan) -> Course:
    """Train the stack in place by the rule.

    Args:
        stack: the model.
        split: the data, on the device of the model.
        rule: as `choice.rule_of` gives it.
        recipe, plan: see there.

    Raises:
        DomainError, ShapeError: a rule that refuses the model.
    """
    device = next(stack.parameters()).device
    with SystemMeter(device, alone=False) as meter, torch.random.fork_rng(device_generators(device)):
        torch.manual_seed(noise_seed(plan.seed))
        if rule.prepare is not None:  # it may make parameters, which the optimizer has to know
            rule.prepare(stack.blocks, stack.readout)
        run = _Run(stack, split, rule, recipe, plan)
        run.close()
        for number in range(plan.epochs):
            run.epoch(number)
            run.close()
            if not math.isfinite(run.loss) or (plan.seconds and run.share(number + 1) >= 1):
                break
        other = head_prediction(rule)
        head = math.nan if other is None else run.accuracy(other)
    steps, seconds, losses, accuracy, cos, rate = np.array(run.rows, dtype=np.float64).T
    diverged = bool(plan.epochs) and not math.isfinite(run.loss)
    return Course(steps, seconds, losses, accuracy, cos, rate, head, meter.use, diverged)
