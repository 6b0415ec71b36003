"""How a run is trained: frozen knobs, and the paper's settings (Table D2) by name."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch

from dlinear.checks import as_integer, shown
from dlinear.errors import DomainError

Optimizer = Literal["sgd", "adam"]
Loss = Literal["auto", "mse", "cross_entropy", "squared", "huber", "cosine"]
Autocast = Literal["off", "bfloat16"]


@dataclass(frozen=True)
class Training:
    """The knobs of one run. All but `epochs` identify it; more epochs continue it.

    Attributes:
        learning_rate: step length of the optimizer in the first epoch.
        batch_size: samples of a step; a last batch of one sample joins the one before (batch norm needs two).
        epochs: passes through the training set; 0 evaluates (and probes) the untrained model.
        samples: size of the training set, a fixed random part of the loaded data; None for all of it.
            `load(samples=...)` draws a part with equally many samples of each class.
        optimizer: "sgd" without momentum, the paper's, or "adam" with torch's defaults.
        decay: factor of the learning rate after an epoch whose mean loss rose; 0.9 in the paper.
        seconds: stop when the steps have taken this long in total, without evaluation and probes; None for no
            limit.
        loss: "auto" is cross-entropy where there are classes and the mean squared error elsewhere; "squared",
            "huber" and "cosine" encode classes one-hot (`dlinear.bridge.data.losses`).
        seed: of the batch order and of dropout; the initial weights have a seed of their own.
        device: "auto" (CUDA if there is one), "cpu", "cuda" or "cuda:N".
        autocast: mixed precision in training and evaluation, "off" or "bfloat16".
        evaluated: samples of each set that are evaluated, at most; None for all.
        evaluation_batch: samples that are evaluated at once.
        steps: stop after this many steps in total, also inside an epoch; None for no limit.

    Raises:
        DomainError: a value outside its domain; the message gives both.
    """

    learning_rate: float = 0.01
    batch_size: int = 100
    epochs: int = 40
    samples: int | None = None
    optimizer: Optimizer = "sgd"
    decay: float = 0.9
    seconds: float | None = None
    loss: Loss = "auto"
    seed: int = 0
    device: str = "auto"
    autocast: Autocast = "off"
    evaluated: int | None = None
    evaluation_batch: int = 1000
    steps: int | None = None

    def __post_init__(self) -> None:
        for name, low in {"batch_size": 1, "epochs": 0, "seed": 0, "evaluation_batch": 1}.items():
            object.__setattr__(self, name, as_integer(name, getattr(self, name), low))
        for name in ("samples", "evaluated", "steps"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, as_integer(name, getattr(self, name)))
        rate, decay, seconds = self.learning_rate, self.decay, self.seconds
        _require("learning_rate", _positive(rate), "a finite number > 0", rate)
        _require("decay", _positive(decay) and decay <= 1, "a number in (0, 1]", decay)
        _require("seconds", seconds is None or _positive(seconds), "a finite number > 0 or None", seconds)
        for name, choice in {"optimizer": Optimizer, "loss": Loss, "autocast": Autocast}.items():
            allowed = get_args(choice)
            _require(
                name,
                isinstance(getattr(self, name), str) and getattr(self, name) in allowed,
                f"one of {', '.join(allowed)}",
                getattr(self, name),
            )
        known = isinstance(self.device, str) and re.fullmatch(r"auto|cpu|cuda(:\d{1,4})?", self.device)
        _require("device", bool(known), "auto, cpu, cuda or cuda:N", self.device)


def _require(name: str, holds: bool, allowed: str, value: Any) -> None:
    if not holds:
        raise DomainError(f"{name} must be {allowed}; received {shown(value)}")


def _positive(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value <= sys.float_info.max


def device_of(name: str) -> torch.device:
    """The device of the knob `device`.

    Raises:
        DomainError: CUDA was asked for by name and is not there.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda" if count else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= count:
        raise DomainError(f"device {name} is not there ({count} CUDA devices found); allowed is cpu or auto")
    return device


@dataclass(frozen=True)
class Setting:
    """One column of Table D2.

    Attributes:
        model: the name of its model.
        data: the name of its data set.
        training: its knobs.
    """

    model: str
    data: str
    training: Training = field(default_factory=Training)


SETTINGS = {
    "linear": Setting("linear", "linear", Training(0.03, 100, 40, 10_000, "sgd")),
    "mlp": Setting("mlp", "trigonometric", Training(0.01, 100, 40, 100_000, "sgd")),
    "resnet": Setting("resnet62", "cifar10", Training(0.01, 32, 40, 45_000, "sgd")),
    "full": Setting("resnet50", "cifar100", Training(0.001, 64, 50, 50_000, "adam")),
    "finetune": Setting("vit", "cifar100", Training(0.001, 32, 20, 50_000, "sgd")),
}


def setting(name: str) -> Setting:
    """The paper's setting of that name (Table D2).

    Raises:
        DomainError: no such setting.
    """
    if name not in SETTINGS:
        raise DomainError(f"setting must be one of {', '.join(SETTINGS)}; received {name!r:.80}")
    return SETTINGS[name]
