"""Residual blocks of one convolution each, all alike: x(t + 1) = x(t) + rho act(conv_t(x(t))), rho = 1/T.

The convolutional form of "deep": c channels, 3x3 kernels, no bias and no batch norm, so that samples do not
meet each other. Kernels start with Gaussian entries of variance 1/(9 c). The first block also cuts the image
into patches of p x p pixels and maps each to c channels by a fixed semi-orthogonal matrix.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlinear.bridge.models.deep import ACTIVATIONS, Activation
from dlinear.bridge.models.readouts import ReadoutKind, check_readout, image_readout
from dlinear.bridge.models.seeding import EMBEDDING, semi_orthogonal
from dlinear.bridge.models.stack import Stack, TaskShape
from dlinear.checks import as_integer, as_known
from dlinear.errors import ShapeError


class ConvBlock(nn.Module):
    """x + rho act(conv(x)); the first block of a network also applies the fixed map of patches."""

    embedding: Tensor | None

    def __init__(
        self, weight: Tensor, rho: float, activation: Activation, patch: int, embedding: Tensor | None
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.rho, self.activation, self.patch = rho, activation, patch
        self.register_buffer("embedding", embedding)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c, H, W), or images in the first block, to (N, c, H, W)."""
        if self.embedding is not None:
            patches = nn.functional.pixel_unshuffle(x, self.patch)
            x = nn.functional.conv2d(patches, self.embedding[..., None, None])
        out: Tensor = ACTIVATIONS[self.activation](nn.functional.conv2d(x, self.weight, padding=1))
        return x + self.rho * out


def conv(
    task: TaskShape,
    seed: int,
    *,
    depth: int = 12,
    width: int = 16,
    patch: int = 8,
    activation: Activation = "relu",
    readout: ReadoutKind = "shared",
) -> Stack:
    """The network above; the readout pools over space.

    Args:
        task: sizes; the inputs are images (channels, height, width).
        seed: of the kernels, the map of patches and the readout.
        depth: T.
        width: c.
        patch: p, which divides height and width.
        activation: as of "deep".
        readout: "shared", "exits" or "fixed".

    Raises:
        ShapeError: inputs that are no images, or that patches do not divide.
        DomainError: a knob that is not a positive integer, or an unknown name.
    """
    check_readout(readout)
    as_known("activation", activation, tuple(ACTIVATIONS))
    for name, value in (("depth", depth), ("width", width), ("patch", patch)):
        as_integer(name, value)
    if len(task.inputs) != 3 or task.inputs[1] % patch or task.inputs[2] % patch:
        raise ShapeError(
            f"conv takes images (channels, height, width) that patches of {patch} x {patch} divide, "
            f"not inputs {task.inputs}"
        )
    embedding = semi_orthogonal(width, task.inputs[0] * patch**2, seed, EMBEDDING)
    kernels = torch.randn(depth, width, width, 3, 3) / (3 * width**0.5)
    blocks = [
        ConvBlock(kernel.clone(), 1 / depth, activation, patch, None if t else embedding)
        for t, kernel in enumerate(kernels)
    ]
    return Stack(blocks, image_readout(readout, [width] * depth, task.outputs, seed))


BUILDERS = {"conv": conv}
