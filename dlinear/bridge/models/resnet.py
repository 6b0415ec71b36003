"""ResNet-62 of the paper's Table D1: three stages of ten residual blocks of two 3x3 convolutions.

    stage   channels   blocks   stride of the convolution before the first block
    1       16         10       1   (3 -> 16, the stem)
    2       32         10       2   (16 -> 32)
    3       64         10       2   (32 -> 64)

T = 30 blocks. "For each stage, before the first block, there will be a convolution layer with a specific
stride": that entry convolution (3x3, batch norm, ReLU) is part of the block that follows it, so that blocks
0, 10 and 20 hold three convolutions and the others two. Every block is

    relu(x + BN(conv(relu(BN(conv(x))))))            (Figure D1, after He et al. 2016)

without biases; the weights start as in He et al. (normal, variance 2/fan-out). The head is average pooling
and one linear layer. The name counts 60 convolutions, the stem and the head, as He et al. count (6 n + 2,
n = 10); their network has no convolution before stages 2 and 3 and so two fewer weight layers than this one.
"""

from __future__ import annotations

from torch import Tensor, nn

from dlinear.bridge.models.readouts import ReadoutKind, check_readout, image_readout
from dlinear.bridge.models.stack import Stack, TaskShape
from dlinear.checks import as_integer
from dlinear.errors import ShapeError

CHANNELS, STRIDES = (16, 32, 64), (1, 2, 2)


def conv(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    """A 3x3 convolution without bias and its batch norm."""
    layer = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return [layer, nn.BatchNorm2d(outputs)]


class ConvResBlock(nn.Module):
    """entry(x), then the residual block above; the entry is the identity inside a stage."""

    def __init__(self, channels: int, entry: nn.Module) -> None:
        super().__init__()
        self.entry = entry
        self.branch = nn.Sequential(*conv(channels, channels), nn.ReLU(), *conv(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, c', H', W') to (N, c, H, W)."""
        x = self.entry(x)
        out: Tensor = (x + self.branch(x)).relu()
        return out


def resnet62(
    task: TaskShape,
    seed: int,
    *,
    depth_per_stage: int = 10,
    base_channels: int = 16,
    readout: ReadoutKind = "shared",
) -> Stack:
    """The network above; `depth_per_stage` and `base_channels` (the 16 of stage 1) make smaller ones.

    Readouts: "shared" pools, pads to the channels of stage 3 and applies one head to every state; "exits"
    has a head of its own for every state; "fixed" replaces the shared head by a fixed matrix.

    Raises:
        ShapeError: inputs that are not (channels, height, width).
        DomainError: a knob that is not a positive integer, or an unknown readout.
    """
    check_readout(readout)
    if len(task.inputs) != 3:
        raise ShapeError(f"resnet62 takes images (channels, height, width), not inputs {task.inputs}")
    for name, value in (("depth_per_stage", depth_per_stage), ("base_channels", base_channels)):
        as_integer(name, value)
    before, blocks, channels = task.inputs[0], [], []
    for wide, stride in zip(CHANNELS, STRIDES, strict=True):
        width = wide * base_channels // CHANNELS[0]
        for k in range(depth_per_stage):
            entry = nn.Identity() if k else nn.Sequential(*conv(before, width, stride), nn.ReLU())
            blocks.append(ConvResBlock(width, entry))
            channels.append(width)
        before = width
    return Stack(blocks, image_readout(readout, channels, task.outputs, seed))


BUILDERS = {"resnet62": resnet62}
