"""A ResNet-50 that a CPU trains: bottleneck blocks in four stages, every parameter trained.

    block 0          3x3 convolution, batch norm, ReLU                 inputs -> c
    stage k = 1..4   relu(s(x) + BN(1x1(relu(BN(3x3(relu(BN(1x1(x)))))))))    -> 4 c 2^(k-1) channels

The three convolutions have c 2^(k-1), c 2^(k-1) and four times as many channels; the 3x3 one of the first
block of stages 2 to 4 has stride 2. s is the identity, in the first block of a stage a 1x1 convolution with
batch norm (He et al. 2016). The original has c = 64 and 3, 4, 6, 3 blocks in its stages, a stem that reduces
images of 224 x 224 by four, and T = 17 (`resnet50` of the zoo); here all stages have equally many blocks and
the stem keeps the size. As there, each stage halves what a block keeps.
"""

from __future__ import annotations

from torch import Tensor, nn

from dlinear.bridge.models.readouts import ReadoutKind, check_readout, image_readout
from dlinear.bridge.models.resnet import conv
from dlinear.bridge.models.stack import Stack, TaskShape
from dlinear.checks import as_integer
from dlinear.errors import ShapeError

STAGES, EXPANSION = 4, 4


def pointwise(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    """A 1x1 convolution without bias and its batch norm."""
    layer = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return [layer, nn.BatchNorm2d(outputs)]


class Bottleneck(nn.Module):
    """relu(s(x) + branch(x)), see above."""

    def __init__(self, inputs: int, inner: int, stride: int) -> None:
        super().__init__()
        outputs = EXPANSION * inner
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Sequential(*pointwise(inputs, outputs, stride))
        first, middle = pointwise(inputs, inner), conv(inner, inner, stride)
        self.branch = nn.Sequential(*first, nn.ReLU(), *middle, nn.ReLU(), *pointwise(inner, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(N, c', H', W') to (N, 4 inner, H, W)."""
        out: Tensor = (self.shortcut(x) + self.branch(x)).relu()
        return out


def small_resnet50(
    task: TaskShape,
    seed: int,
    *,
    depth_per_stage: int = 2,
    base_channels: int = 8,
    readout: ReadoutKind = "shared",
) -> Stack:
    """The network above, T = 1 + 4 depth_per_stage; `base_channels` is c.

    Raises:
        ShapeError: inputs that are not (channels, height, width).
        DomainError: a knob that is not a positive integer, or an unknown readout.
    """
    check_readout(readout)
    if len(task.inputs) != 3:
        raise ShapeError(f"small_resnet50 takes images (channels, height, width), not inputs {task.inputs}")
    for name, value in (("depth_per_stage", depth_per_stage), ("base_channels", base_channels)):
        as_integer(name, value)
    blocks: list[nn.Module] = [nn.Sequential(*conv(task.inputs[0], base_channels), nn.ReLU())]
    channels = [base_channels]
    for stage in range(STAGES):
        for k in range(depth_per_stage):
            inner = base_channels * 2**stage
            blocks.append(Bottleneck(channels[-1], inner, 2 if stage and not k else 1))
            channels.append(EXPANSION * inner)
    return Stack(blocks, image_readout(readout, channels, task.outputs, seed))


BUILDERS = {"small_resnet50": small_resnet50}
