"""Many deep models of one shape as one stack, so that a step of a method serves all of them.

States are (M, N, n): member m of every tensor belongs to a model of its own. No block, readout or loss mixes
members, and the loss is the sum over them, so that each member receives the gradient that it has alone. That
holds for every method whose gradient is a function of Jacobians and loss gradients; not for one that draws
random directions for all parameters (`training.check_method`). What a method refuses, it refuses for all
members.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dlinear.bridge.models.deep import ACTIVATIONS, DeepBlock
from dlinear.bridge.models.readouts import Exits, Fixed, Shared
from dlinear.bridge.models.stack import Stack
from dlinear.errors import ShapeError


class JointBlock(nn.Module):
    """x + rho act(W_m x) for every member m, (M, N, n) to (M, N, n); see `DeepBlock`."""

    embedding: Tensor | None

    def __init__(self, blocks: Sequence[DeepBlock]) -> None:
        super().__init__()
        first = blocks[0]
        self.weight = nn.Parameter(_stacked([block.weight for block in blocks]))
        self.rho, self.activation = first.rho, first.activation
        embedded = [block.embedding for block in blocks if block.embedding is not None]
        self.register_buffer("embedding", _stacked(embedded) if embedded else None)

    def forward(self, x: Tensor) -> Tensor:
        """(M, N, n), or what the input map takes, to (M, N, n)."""
        if self.embedding is not None:
            x = _applied(self.embedding, x)
        return x + self.rho * ACTIVATIONS[self.activation](_applied(self.weight, x))


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
    """The readouts of all members: the identity, a fixed matrix, a shared head or a head for each state."""

    def __init__(self, readouts: Sequence[nn.Module], width: int) -> None:
        super().__init__()
        fixed = [r for r in readouts if isinstance(r, Fixed)]
        shared = [r.head for r in readouts if isinstance(r, Shared)]
        exits = [list(r.heads) for r in readouts if isinstance(r, Exits)]
        heads: list[nn.Module] = []
        if fixed and fixed[0].outputs != width:
            heads = [JointHead([r.matrix for r in fixed], [])]
        elif shared:
            heads = [_head(shared)]
        elif exits:
            heads = [_head(some) for some in zip(*exits, strict=True)]
        self.heads = nn.ModuleList(heads)

    def forward(self, z: Tensor, s: int) -> Tensor:
        """The outputs of x(s), (M, N, k)."""
        if not len(self.heads):
            return z
        out: Tensor = self.heads[s - 1 if len(self.heads) > 1 else 0](z)
        return out


def joint(stacks: Sequence[Stack]) -> Stack:
    """Deep models of one shape as one stack; member m starts with the weights of stacks[m].

    Raises:
        ShapeError: no model, another one than "deep", or models of different shapes.
    """
    every = list(stacks)
    layers = [list(stack.blocks) for stack in every]
    shapes = {tuple(tuple(p.shape) for p in stack.parameters()) for stack in every}
    kinds = {type(block) for some in layers for block in some}
    if len(shapes) != 1 or kinds != {DeepBlock}:
        raise ShapeError(f"{len(every)} models of {len(shapes)} shapes; expected 'deep' models of one shape")
    blocks = [JointBlock(some) for some in zip(*layers, strict=True)]
    return Stack(blocks, JointReadout([stack.readout for stack in every], blocks[0].weight.shape[-1]))


def _head(layers: Sequence[nn.Module]) -> nn.Module:
    """One layer of all members; the identity stays what it is."""
    if isinstance(layers[0], nn.Identity):
        return nn.Identity()
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    return JointHead([layer.weight for layer in linear], [layer.bias for layer in linear])


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack([tensor.detach() for tensor in tensors])


def _applied(matrices: Tensor, x: Tensor) -> Tensor:
    """(M, k, n) and (M, N, n) to (M, N, k)."""
    return torch.bmm(x, matrices.transpose(1, 2))
