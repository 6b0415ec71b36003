"""Plain feed-forward networks, without skips: what most learning rules are published with.

    layers         act(W_t x + b) T times, width units each
    conv_layers    act(conv_t(x)), kernel x kernel, width channels, then the mean over 2 x 2 pixels; T/2 times

Every block is one layer with its activation (and dropout), or one mean over pixels, which rules that ask for
such blocks take. The head is the readout.

Weights start as "he_uniform", uniform on +-sqrt(6/fan_in), with zero bias; as "inverse_width", Gaussian of
variance 1/n_out with zero bias; or as "torch" does, uniform on +-1/sqrt(fan_in).
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

from torch import Tensor, nn

from dlinear.bridge.models.readouts import ReadoutKind, check_readout, image_readout, vector_readout
from dlinear.bridge.models.stack import Stack, TaskShape
from dlinear.checks import as_integer, as_known, as_number
from dlinear.errors import DomainError, ShapeError

Initial = Literal["he_uniform", "inverse_width", "torch"]
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "identity": nn.Identity}


def layers(
    task: TaskShape,
    seed: int,
    *,
    depth: int = 2,
    width: int = 100,
    activation: str = "relu",
    bias: bool = True,
    dropout: float = 0.0,
    initial: Initial = "he_uniform",
    readout: ReadoutKind = "shared",
) -> Stack:
    """The fully connected network.

    Args:
        task: sizes; inputs of any shape are flattened.
        seed: of a fixed readout.
        depth: T, hidden layers.
        width: units of each.
        activation: "relu", "tanh" or "identity".
        bias: whether layers, and a trained head, have one.
        dropout: share of units that are left out in training.
        initial: how weights start, those of the head too.
        readout: "shared", "exits" or "fixed".

    Raises:
        DomainError: a knob outside its domain.
    """
    check_readout(readout)
    _check(depth, width, activation, dropout, initial)
    sizes = [task.features, *[width] * depth]
    blocks = []
    for t in range(depth):
        block = _layer(nn.Linear(sizes[t], width, bias=bias), activation, dropout)
        blocks.append(nn.Sequential(nn.Flatten(), *block) if t == 0 else nn.Sequential(*block))
    head = vector_readout(readout, sizes[1:], task.outputs, seed)
    return _started(Stack(blocks, _without_bias(head, bias)), initial)


def conv_layers(
    task: TaskShape,
    seed: int,
    *,
    depth: int = 4,
    width: int = 32,
    kernel: int = 5,
    activation: str = "relu",
    bias: bool = True,
    dropout: float = 0.0,
    initial: Initial = "he_uniform",
    readout: ReadoutKind = "shared",
) -> Stack:
    """The convolutional network; the readout takes the mean over space.

    Args:
        task: sizes; the inputs are images, whose sides can be halved T/2 times.
        seed: of a fixed readout.
        depth: T, an even number: layers and means over pixels in turn.
        width: channels of each.
        kernel: an odd number of pixels.
        activation, bias, dropout, initial, readout: as of `layers`.

    Raises:
        DomainError: a knob outside its domain.
        ShapeError: inputs that are no such images.
    """
    check_readout(readout)
    _check(depth, width, activation, dropout, initial)
    if depth % 2 or as_integer("kernel", kernel) % 2 == 0:
        raise DomainError(f"depth is {depth}, kernel is {kernel}; expected an even depth and an odd kernel")
    if len(task.inputs) != 3 or min(task.inputs[1:]) < 2 ** (depth // 2):
        raise ShapeError(
            f"conv_layers takes images (channels, height, width) that can be halved {depth // 2} times, "
            f"not inputs {task.inputs}"
        )
    blocks: list[nn.Module] = []
    channels = task.inputs[0]
    for _ in range(depth // 2):
        conv = nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=bias)
        blocks += [nn.Sequential(*_layer(conv, activation, dropout)), nn.AvgPool2d(2)]
        channels = width
    head = image_readout(readout, [width] * depth, task.outputs, seed)
    return _started(Stack(blocks, _without_bias(head, bias)), initial)


def _check(depth: object, width: object, activation: object, dropout: object, initial: object) -> None:
    for name, value in (("depth", depth), ("width", width)):
        as_integer(name, value)
    as_known("activation", activation, tuple(ACTIVATIONS))
    as_known("initial", initial, get_args(Initial))
    if not as_number("dropout", dropout) < 1:
        raise DomainError(f"dropout is {dropout}; expected a share >= 0 and < 1")


def _layer(linear: nn.Module, activation: str, dropout: float) -> list[nn.Module]:
    """A layer, its activation, and dropout where there is any."""
    return [linear, ACTIVATIONS[activation](), *([nn.Dropout(dropout)] if dropout else [])]


def _without_bias(head: nn.Module, bias: bool) -> nn.Module:
    """The readout, whose linear maps lose their bias where the layers have none."""
    for module in head.modules() if not bias else ():
        if isinstance(module, nn.Linear):
            module.register_parameter("bias", None)
    return head


def _started(stack: Stack, initial: Initial) -> Stack:
    """Draw the weights again as `initial` says; torch has drawn its own."""
    if initial == "torch":
        return stack
    for module in stack.modules():
        if not isinstance(module, nn.Linear | nn.Conv2d):
            continue
        weight: Any = module.weight
        if initial == "he_uniform":
            nn.init.uniform_(weight, -_he(weight), _he(weight))
        else:
            nn.init.normal_(weight, 0.0, 1 / math.sqrt(weight.shape[0]))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    return stack


def _he(weight: Tensor) -> float:
    """sqrt(6/fan_in)."""
    return math.sqrt(6 / weight[0].numel())


BUILDERS = {"layers": layers, "conv_layers": conv_layers}
