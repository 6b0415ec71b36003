"""Training with forward-forward at the published setting: test error of both predictions, each timed.

Data and net stay on the device, and no step waits for it: losses are summed there. The trainer
(`dlinear.bridge.train`) runs the same rule with checkpoints, and with one rate for all layers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dlinear.bridge.data.losses import Supervised
from dlinear.bridge.data.split import Split, check_split
from dlinear.bridge.models.stack import Stack, TaskShape
from dlinear.bridge.training.batching import batches, noise_seed
from dlinear.bridge.training.evaluation import device_generators
from dlinear.bridge.training.settings import device_of
from dlinear.checks import as_integer
from dlinear.errors import DomainError
from dlinear.rules.ff.network import PREDICTIONS
from dlinear.rules.ff.published import SETTINGS, Setting, cooled, published_stack

__all__ = ["Evaluation", "train_published"]

EVALUATED = 1000  # images that are predicted at once


@dataclass(frozen=True)
class Evaluation:
    """What is known at the end of one epoch.

    Attributes:
        epoch: 1, 2, ...
        seconds: that all steps have taken until then.
        loss: mean loss of the head over the samples of the epoch, at the weights of their steps.
        error: by prediction, "goodness" and "head": share of the test images that are classified wrongly.
        inference: by prediction, seconds that this took.
        passes: by prediction, forward passes of a test image.
    """

    epoch: int
    seconds: float
    loss: float
    error: Mapping[str, float]
    inference: Mapping[str, float]
    passes: Mapping[str, int]


def train_published(
    split: Split,
    setting: Setting = SETTINGS["layers"],
    epochs: int = 100,
    *,
    seed: int = 0,
    device: str = "auto",
    evaluate_every: int = 0,
    report: Callable[[Evaluation], None] | None = None,
) -> tuple[Stack, list[Evaluation]]:
    """Train a net of the setting; it, and its evaluations after every few epochs and the last.

    Args:
        split: images and labels; `unit_pixels` gives those of the published setting.
        setting: the net and its conventions.
        epochs: E, of the plan of the rates too.
        seed: of weights, order and negatives.
        device: "auto", "cpu", "cuda" or "cuda:N".
        evaluate_every: in epochs; 0 evaluates after the last alone.
        report: is given each evaluation at once.

    Raises:
        DomainError, ShapeError: arguments that do not fit together.
    """
    as_integer("epochs", epochs)
    as_integer("evaluate_every", evaluate_every, 0)
    check_split(split, None)
    if split.classes is None:
        raise DomainError("forward-forward learns classes; these data have real targets")
    where = device_of(device)
    with torch.random.fork_rng(device_generators(where)):
        torch.manual_seed(noise_seed(seed))
        task = TaskShape(tuple(split.x_train.shape[1:]), split.classes)
        course = _Course(published_stack(task, setting).to(where).train(), split, setting, where)
        found = []
        for epoch in range(epochs):
            loss = course.epoch(cooled(epoch, epochs), seed, epoch)
            if epoch + 1 == epochs or (evaluate_every and (epoch + 1) % evaluate_every == 0):
                found.append(course.evaluation(epoch + 1, loss, split.classes))
                if report is not None:
                    report(found[-1])
    return course.net, found


class _Course:
    """Net, data and optimizer of one run, on its device."""

    def __init__(self, net: Stack, split: Split, setting: Setting, device: torch.device) -> None:
        self.net, self.setting, self.device = net, setting, device
        self.x, self.y = split.x_train.to(device), split.y_train.to(device)
        self.tests = split.x_test.to(device), split.y_test.to(device)
        self.method, self.seconds = setting.method(), 0.0
        if self.method.prepare is not None:
            self.method.prepare(net.blocks, net.readout)
        below = {id(p) for block in list(net.blocks)[: setting.below] for p in block.parameters()}
        local = [p for p in net.parameters() if id(p) in below]
        head = [p for p in net.parameters() if id(p) not in below]
        self.optimizer = torch.optim.SGD(
            [
                {"params": local, "lr": setting.rate, "weight_decay": setting.decay},
                {"params": head, "lr": setting.head_rate, "weight_decay": setting.head_decay},
            ],
            momentum=setting.momentum,
        )

    def clock(self) -> float:
        """Seconds, once the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def epoch(self, factor: float, seed: int, number: int) -> Tensor:
        """All steps of one epoch; the mean loss, on the device."""
        start, setting = self.clock(), self.setting
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for group, rate in zip(self.optimizer.param_groups, (setting.rate, setting.head_rate), strict=True):
            group["lr"] = rate * factor
        parts = batches(len(self.x), setting.batch, seed, number)
        order = torch.split(torch.cat(parts).to(self.device), [len(part) for part in parts])
        for chosen in order:
            total += self.gradients(self.x[chosen], self.y[chosen]) * len(chosen)
            self.optimizer.step()
        self.seconds += self.clock() - start
        return total / len(self.x)

    def gradients(self, x: Tensor, y: Tensor) -> Tensor:
        """`.grad` of one batch, from nothing; its loss."""
        self.optimizer.zero_grad()
        return self.method(self.net.blocks, x, Supervised(functional.cross_entropy, y), self.net.readout)

    def evaluation(self, epoch: int, loss: Tensor, classes: int) -> Evaluation:
        """Test error of both predictions, with their times."""
        passes = {"goodness": classes, "head": 1}
        error, inference = {}, {}
        self.net.eval()
        for name in PREDICTIONS:
            start = self.clock()
            predict = self.setting.method(name).predict
            assert predict is not None
            found = [
                predict(self.net.blocks, x, self.net.readout).argmax(1)
                for x in torch.split(self.tests[0], EVALUATED)
            ]
            error[name] = float((torch.cat(found) != self.tests[1]).double().mean())
            inference[name] = self.clock() - start
        self.net.train()
        return Evaluation(epoch, self.seconds, float(loss), error, inference, passes)
