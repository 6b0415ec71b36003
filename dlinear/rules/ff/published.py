"""Nets and settings of forward-forward as it was published, on images.

The fully connected net is that of loeweX/Forward-Forward (config.yaml, src/ff_model.py, src/utils.py): 784 -
1000 - 1000 - 1000 ReLU units, weights N(0, 1/n_out), no bias at the start; goodness the sum of squares,
theta = n, inputs of mean square 1, peer normalisation .03; batch 100, SGD with momentum .9, rate 1e-3 and
decay 3e-4 for the layers; a linear head without bias on the last two layers, zero at the start, rate 1e-2
and decay 3e-3. With E epochs, epoch e = 0, 1, ... has both rates times

    1    for e <= E/2 (rounded down),    2 (1 + E - e)/E    after that.

It trains on 50,000 images in E = 100 epochs, pixels in 0..1. Test errors: 1.36 % in the paper, 1.47 % with
its Matlab code, 1.45 % there (README.md).

The convolutional net is ours: three layers of 5 x 5 kernels with ReLU, the maximum over 2 x 2 pixels after
each of the first two, the label in K further planes; length and peers over channels and positions, goodness
by "channels", for which a filter's steps are those of a unit: with the plain sum they are longer by the
number of positions, 784, 196 and 49 in the three layers, which no one rate fits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from dlinear.bridge.data.loading import LoadedSplit
from dlinear.bridge.methods.base import Method
from dlinear.bridge.models.readouts import Shared
from dlinear.bridge.models.stack import Stack, TaskShape
from dlinear.checks import as_choice, as_integer, as_number
from dlinear.errors import DomainError, ShapeError
from dlinear.rules.ff.network import Knobs
from dlinear.rules.forward_forward import forward_forward

__all__ = ["SETTINGS", "Setting", "cooled", "published_stack", "unit_pixels"]

MODELS = ("layers", "conv")


@dataclass(frozen=True)
class Setting:
    """One training run.

    Attributes:
        model: "layers" or "conv".
        width: units of a layer, or channels of the first convolution (the others have twice as many).
        depth: layers; 3 for "conv".
        kernel: side of a convolution's kernel, odd.
        knobs: conventions of the rule.
        below: how many blocks learn by forward-forward; None for all (`hybrid-K`).
        batch: samples of a step.
        rate, decay: learning rate and weight decay of the layers.
        head_rate, head_decay: of the head, and of blocks that are back-propagated.
        momentum: of both.

    Raises:
        DomainError: a value outside its range.
    """

    model: str = "layers"
    width: int = 1000
    depth: int = 3
    kernel: int = 5
    knobs: Knobs = field(default_factory=lambda: Knobs(goodness="sum", peer=0.03, head="all"))
    below: int | None = None
    batch: int = 100
    rate: float = 1e-3
    decay: float = 3e-4
    head_rate: float = 1e-2
    head_decay: float = 3e-3
    momentum: float = 0.9

    def __post_init__(self) -> None:
        as_choice("model", self.model, MODELS)
        for name in ("width", "depth", "kernel", "batch"):
            as_integer(name, getattr(self, name))
        for name in ("rate", "decay", "head_rate", "head_decay", "momentum"):
            as_number(name, getattr(self, name))
        if self.kernel % 2 == 0:
            raise DomainError(f"kernel is {self.kernel}; expected an odd number")

    def method(self, predict: str = "goodness") -> Method:
        """The rule, for `train` and the meters."""
        return forward_forward(self.knobs, predict, self.below)


SETTINGS: Mapping[str, Setting] = {
    "layers": Setting(),
    "conv": Setting(
        "conv",
        32,
        knobs=Knobs(goodness="channels", peer=0.03, head="all", overlay="planes"),
        rate=3e-3,
        head_rate=1e-3,
    ),
}
"""By model: the published one, and the convolutional one (its head sees eight times as many inputs)."""


def unit_pixels(split: LoadedSplit) -> LoadedSplit:
    """The same images with pixels in 0..1: each channel from its least to its largest training value."""
    x = split.x_train
    axes = [0, *range(2, x.ndim)]
    low, high = x.amin(axes, keepdim=True), x.amax(axes, keepdim=True)
    size = torch.where(high > low, high - low, torch.ones_like(high))
    seen, unseen = ((part - low) / size for part in (x, split.x_test))
    return replace(split, x_train=seen, x_test=unseen, digest=f"{split.digest} in 0..1")


def cooled(epoch: int, epochs: int) -> float:
    """The factor of the rates in epoch 0, 1, ..., E - 1: 1, and from the middle on linear towards 0."""
    return 2 * (1 + epochs - epoch) / epochs if epoch > epochs // 2 else 1.0


def published_stack(task: TaskShape, setting: Setting = SETTINGS["layers"]) -> Stack:
    """The net of a setting, drawn from torch's generator.

    Raises:
        ShapeError: a convolutional net for what is no image.
    """
    k, all_layers = task.outputs, setting.knobs.head == "all"
    planes = k if setting.knobs.overlay == "planes" else 0
    if setting.model == "layers":
        sizes = [task.features + planes, *[setting.width] * setting.depth]
        layers: list[Any] = [nn.Linear(m, n) for m, n in pairwise(sizes)]
        blocks: list[nn.Module] = [nn.Sequential(layer, nn.ReLU()) for layer in layers]
        blocks[0] = nn.Sequential(nn.Flatten(), layers[0], nn.ReLU())
        seen = setting.width * max(1, setting.depth - 1) if all_layers else setting.width
    else:
        blocks, layers, seen = _convolutions(task, setting, planes)
    head = nn.Linear(seen, k, bias=False)
    with torch.no_grad():
        for layer in layers:
            fan_out = layer.weight[:, 0].numel()  # n_out, times the kernel of a convolution
            nn.init.normal_(layer.weight, 0.0, 1 / math.sqrt(fan_out))
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(head.weight)
    return Stack(blocks, Shared(head))


def _convolutions(task: TaskShape, setting: Setting, planes: int) -> tuple[list[nn.Module], list[Any], int]:
    """Blocks, layers, and what the head sees."""
    if len(task.inputs) != 3 or min(task.inputs[1:]) < 4:
        raise ShapeError(
            f"inputs are {task.inputs}; the convolutional net takes images (channels, height, width)"
        )
    (colours, height, width), c = task.inputs, setting.width
    channels = (colours + planes, c, 2 * c, 2 * c)
    layers: list[Any] = [
        nn.Conv2d(m, n, setting.kernel, padding=setting.kernel // 2) for m, n in pairwise(channels)
    ]
    active = [nn.Sequential(layer, nn.ReLU()) for layer in layers]
    blocks = [active[0], nn.MaxPool2d(2), active[1], nn.MaxPool2d(2), active[2], nn.Flatten()]
    last = 2 * c * (height // 4) * (width // 4)
    middle = 2 * c * (height // 2) * (width // 2)
    return blocks, layers, last + (middle if setting.knobs.head == "all" else 0)
