"""Many models of one shape as one stack, so that a step of a method serves all of them.

States are (M, N, ...): member m of every tensor belongs to a model of its own. No block, readout or loss
mixes members, and the loss is the sum over them, so that each member receives the gradient that it has
alone. That holds for every method whose gradient is a function of Jacobians and loss gradients; not for one
that draws random directions for all parameters (`training.check_method`). What a method refuses, it refuses
for all members.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dlinear.bridge.models.autoencoder import NarrowBlock
from dlinear.bridge.models.conv import ConvBlock
from dlinear.bridge.models.deep import ACTIVATIONS, DeepBlock
from dlinear.bridge.models.readouts import Exits, Fixed, FixedLinear, Shared
from dlinear.bridge.models.stack import Stack
from dlinear.errors import ShapeError


class JointBlock(nn.Module):
    """x + rho act(W_m x) for every member m, (M, N, n) to (M, N, n); see `DeepBlock`."""

    embedding: Tensor | None

    def __init__(self, blocks: Sequence[Any]) -> None:
        super().__init__()
        first = blocks[0]
        self.weight = nn.Parameter(_stacked([block.weight for block in blocks]))
        self.rho: float = first.rho
        self.activation: str = first.activation
        embedded = [block.embedding for block in blocks if block.embedding is not None]
        self.register_buffer("embedding", _stacked(embedded) if embedded else None)

    def forward(self, x: Tensor) -> Tensor:
        """(M, N, n), or what the input map takes, to (M, N, n)."""
        if self.embedding is not None:
            x = _applied(self.embedding, x)
        return x + self.rho * ACTIVATIONS[self.activation](_applied(self.weight, x))


class JointConvBlock(JointBlock):
    """x + rho act(conv_m(x)), (M, N, c, H, W) to (M, N, c, H, W); see `ConvBlock`."""

    def __init__(self, blocks: Sequence[Any]) -> None:
        super().__init__(blocks)
        self.patch = blocks[0].patch

    def forward(self, x: Tensor) -> Tensor:
        """As above; the first block takes images."""
        if self.embedding is not None:
            x = nn.functional.pixel_unshuffle(x, self.patch)
            x = torch.einsum("mcf,mnfhw->mnchw", self.embedding, x)
        side_by_side = x.transpose(0, 1).flatten(1, 2)  # a group of channels for each member
        out = nn.functional.conv2d(side_by_side, self.weight.flatten(0, 1), padding=1, groups=len(x))
        branch = ACTIVATIONS[self.activation](out).view(x.shape[1], len(x), *x.shape[2:])
        return x + self.rho * branch.transpose(0, 1)


class JointNarrowBlock(nn.Module):
    """(P_m^T + rho B_m)(P_m + rho A_m) x for every member; see `NarrowBlock`."""

    skip = False
    start: Tensor

    def __init__(self, blocks: Sequence[Any]) -> None:
        super().__init__()
        self.rho = blocks[0].rho
        self.register_buffer("start", _stacked([block.start for block in blocks]))
        self.encoder = nn.Parameter(_stacked([block.encoder for block in blocks]))
        self.decoder = nn.Parameter(_stacked([block.decoder for block in blocks]))

    def forward(self, x: Tensor) -> Tensor:
        """(M, N, n) to (M, N, n)."""
        code = _applied(self.start + self.rho * self.encoder, x)
        return _applied(self.start.transpose(1, 2) + self.rho * self.decoder, code)


JOINT: dict[type[nn.Module], type[nn.Module]] = {
    DeepBlock: JointBlock,
    ConvBlock: JointConvBlock,
    NarrowBlock: JointNarrowBlock,
}


class JointHead(nn.Module):
    """A linear map for every member, trained if theirs are: (M, N, n) to (M, N, k)."""

    def __init__(self, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(_stacked(weights), requires_grad=bool(biases))
        self.bias = nn.Parameter(_stacked(biases)[:, None]) if biases else None

    def forward(self, z: Tensor) -> Tensor:
        """The outputs."""
        out = _applied(self.weight, z)
        return out if self.bias is None else out + self.bias


class JointReadout(nn.Module):
    """The readouts of all members: the identity, a fixed matrix, a shared head or a head for each state.

    Convolutional states are averaged over space first.
    """

    def __init__(self, readouts: Sequence[nn.Module]) -> None:
        super().__init__()
        fixed = [r for r in readouts if isinstance(r, Fixed)]
        shared = [r.head for r in readouts if isinstance(r, Shared)]
        exits = [list(r.heads) for r in readouts if isinstance(r, Exits)]
        heads: list[nn.Module] = []
        if fixed and fixed[0].outputs != fixed[0].matrix.shape[1]:
            heads = [JointHead([r.matrix for r in fixed], [])]
        elif shared:
            heads = [_head(shared)]
        elif exits:
            heads = [_head(some) for some in zip(*exits, strict=True)]
        self.heads = nn.ModuleList(heads)

    def forward(self, z: Tensor, s: int) -> Tensor:
        """The outputs of x(s), (M, N, k)."""
        z = z.flatten(3).mean(3) if z.ndim > 3 else z
        if not len(self.heads):
            return z
        out: Tensor = self.heads[s - 1 if len(self.heads) > 1 else 0](z)
        return out


def joint(stacks: Sequence[Stack]) -> Stack:
    """Models of one shape as one stack; member m starts with the weights of stacks[m].

    Raises:
        ShapeError: no model, one with other blocks than those of `JOINT`, or models of different shapes.
    """
    every = list(stacks)
    layers = [list(stack.blocks) for stack in every]
    shapes = {tuple(tuple(p.shape) for p in stack.parameters()) for stack in every}
    kinds = {type(block) for some in layers for block in some}
    if len(shapes) != 1 or not kinds <= set(JOINT):
        known = ", ".join(kind.__name__ for kind in JOINT)
        raise ShapeError(
            f"{len(every)} models of {len(shapes)} shapes; expected models of one shape, of blocks {known}"
        )
    blocks = [JOINT[type(some[0])](some) for some in zip(*layers, strict=True)]
    return Stack(blocks, JointReadout([stack.readout for stack in every]))


def _head(layers: Sequence[nn.Module]) -> nn.Module:
    """One layer of all members; the identity stays what it is, and pooling is left to the readout."""
    some = [layer[-1] if isinstance(layer, nn.Sequential) else layer for layer in layers]
    if isinstance(some[0], nn.Identity):
        return nn.Identity()
    fixed = [layer for layer in some if isinstance(layer, FixedLinear)]
    if fixed:
        return JointHead([layer.matrix for layer in fixed], [])
    linear = [layer for layer in some if isinstance(layer, nn.Linear)]
    return JointHead([layer.weight for layer in linear], [layer.bias for layer in linear])


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack([tensor.detach() for tensor in tensors])


def _applied(matrices: Tensor, x: Tensor) -> Tensor:
    """(M, k, n) and (M, N, n) to (M, N, k)."""
    return torch.bmm(x, matrices.transpose(1, 2))
