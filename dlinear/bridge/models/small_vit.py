"""A vision transformer that a CPU trains, with LoRA written out at the query and value projections.

    block 0      patches -> tokens of width n, a class token in front, positions added
    block t      z + A(norm(z)), then z + F(norm(z)): attention of several heads; two layers with gelu
    readout      layer norm, the class token, one linear layer

With `lora_rank` r > 0 the query and value projections are W z + (alpha/r) B A z with A (r, n) drawn and
B = 0, and everything but A, B and the readout is frozen (Hu et al. 2022); r = 0 trains every parameter.
ViT-B/16 has 12 layers of width 768 and patches of 16 (`vit` of the zoo). As there, the class token of x(1)
has not met the image: L(x(1)) does not depend on it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dlinear.bridge.models.readouts import Exits, FixedLinear, ReadoutKind, Shared, check_readout
from dlinear.bridge.models.stack import Stack, TaskShape
from dlinear.checks import as_integer, as_number
from dlinear.errors import DomainError, ShapeError

SPREAD = 0.02  # deviation of positions and class token at the start, ViT's


class Adapted(nn.Module):
    """W z + b + (alpha/r) B A z; rank 0 has no factors."""

    def __init__(self, width: int, rank: int, alpha: float) -> None:
        super().__init__()
        self.base = nn.Linear(width, width)
        self.share = alpha / rank if rank else 0.0
        self.down = nn.Parameter(torch.randn(rank, width) / math.sqrt(width)) if rank else None
        self.up = nn.Parameter(torch.zeros(width, rank)) if rank else None

    def forward(self, z: Tensor) -> Tensor:
        """(..., n) to (..., n)."""
        out: Tensor = self.base(z)
        if self.down is None or self.up is None:
            return out
        low = nn.functional.linear(z, self.down)
        return out + self.share * nn.functional.linear(low, self.up)


class Embedding(nn.Module):
    """(N, c, H, W) to (N, 1 + patches, n)."""

    def __init__(self, inputs: tuple[int, ...], patch: int, width: int) -> None:
        super().__init__()
        tokens = (inputs[1] // patch) * (inputs[2] // patch)
        self.patches = nn.Conv2d(inputs[0], width, patch, stride=patch)
        self.token = nn.Parameter(SPREAD * torch.randn(1, 1, width))
        self.position = nn.Parameter(SPREAD * torch.randn(1, 1 + tokens, width))

    def forward(self, x: Tensor) -> Tensor:
        """The first state."""
        patches = self.patches(x).flatten(2).transpose(1, 2)
        return torch.cat([self.token.expand(len(x), -1, -1), patches], dim=1) + self.position


class Attention(nn.Module):
    """softmax(Q K^T/sqrt(d)) V over heads of d = n/heads values, and a projection."""

    def __init__(self, width: int, heads: int, rank: int, alpha: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.value = Adapted(width, rank, alpha), Adapted(width, rank, alpha)
        self.key, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, z: Tensor) -> Tensor:
        """(N, tokens, n) to (N, tokens, n)."""
        q, k, v = (
            part(z).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        weights = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
        out: Tensor = self.out((weights @ v).transpose(1, 2).flatten(2))
        return out


class Layer(nn.Module):
    """One transformer layer, norms first."""

    def __init__(self, width: int, heads: int, rank: int, alpha: float) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, rank, alpha)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, z: Tensor) -> Tensor:
        """(N, tokens, n) to (N, tokens, n)."""
        z = z + self.attention(self.first(z))
        out: Tensor = z + self.feed(self.second(z))
        return out


class ClassToken(nn.Module):
    """norm(z), first token: (N, tokens, n) to (N, n)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, z: Tensor) -> Tensor:
        """The class token."""
        out: Tensor = self.norm(z[:, 0])
        return out


def adapters(stack: nn.Module) -> list[nn.Parameter]:
    """The low-rank factors of a stack, in order."""
    layers = [module for module in stack.modules() if isinstance(module, Adapted)]
    return [factor for one in layers for factor in (one.down, one.up) if factor is not None]


def freeze_base(stack: Stack) -> None:
    """Train the low-rank factors and the readout alone."""
    stack.blocks.requires_grad_(False)
    for factor in adapters(stack):
        factor.requires_grad_(True)


def small_vit(
    task: TaskShape,
    seed: int,
    *,
    depth: int = 6,
    width: int = 32,
    heads: int = 4,
    patch: int = 2,
    lora_rank: int = 4,
    lora_alpha: float = 8.0,
    readout: ReadoutKind = "shared",
) -> Stack:
    """The network above, T = 1 + depth.

    Raises:
        ShapeError: inputs that are not images, or no whole number of patches.
        DomainError: a knob outside its range, or an unknown readout.
    """
    check_readout(readout)
    counts = (("depth", depth, 1), ("width", width, 1), ("heads", heads, 1), ("patch", patch, 1))
    for name, value, least in (*counts, ("lora_rank", lora_rank, 0)):
        as_integer(name, value, least)
    as_number("lora_alpha", lora_alpha)
    if width % heads:
        raise DomainError(f"width is {width}; expected a multiple of heads = {heads}")
    if len(task.inputs) != 3 or task.inputs[1] % patch or task.inputs[2] % patch:
        raise ShapeError(
            f"small_vit takes images (channels, height, width) in patches of {patch}, not {task.inputs}"
        )
    layers = [Layer(width, heads, lora_rank, lora_alpha) for _ in range(depth)]
    head = _readout(readout, depth + 1, width, task.outputs, seed)
    stack = Stack([Embedding(task.inputs, patch, width), *layers], head)
    if lora_rank:
        freeze_base(stack)
    return stack


class Bare(nn.Module):
    """The first token without a trained norm."""

    def forward(self, z: Tensor) -> Tensor:
        """(N, tokens, n) to (N, n)."""
        return nn.functional.layer_norm(z[:, 0], z.shape[-1:])


def _readout(readout: ReadoutKind, depth: int, width: int, outputs: int, seed: int) -> Shared | Exits:
    """The class token of a state to the outputs."""
    if readout == "exits":
        return Exits(nn.Sequential(ClassToken(width), nn.Linear(width, outputs)) for _ in range(depth))
    if readout == "fixed":
        return Shared(nn.Sequential(Bare(), FixedLinear(width, outputs, seed)))
    return Shared(nn.Sequential(ClassToken(width), nn.Linear(width, outputs)))


BUILDERS = {"small_vit": small_vit}
