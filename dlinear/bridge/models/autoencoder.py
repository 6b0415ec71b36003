"""The network "deep" with a narrow middle: block T // 2 is x -> (P^T + B/T)(P + A/T) x, A (q, n), B (n, q).

All states keep n coordinates; what is behind the middle knows q of them. P is a fixed semi-orthogonal matrix,
A and B start at 0, so that the middle takes steps of the size that the residual blocks take. Those before the
middle may bring to the q coordinates what matters, those behind it restore the rest.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlinear.bridge.models.deep import Activation, deep
from dlinear.bridge.models.readouts import ReadoutKind
from dlinear.bridge.models.seeding import NARROW, semi_orthogonal
from dlinear.bridge.models.stack import Stack, TaskShape
from dlinear.checks import as_integer


class NarrowBlock(nn.Module):
    """(P^T + rho B)(P + rho A) x; no residual block, though it keeps the shape."""

    skip = False

    start: Tensor

    def __init__(self, start: Tensor, rho: float) -> None:
        super().__init__()
        self.rho = rho
        self.register_buffer("start", start)
        self.encoder = nn.Parameter(torch.zeros_like(start))
        self.decoder = nn.Parameter(torch.zeros_like(start.T))

    def forward(self, x: Tensor) -> Tensor:
        """(N, n) to (N, n)."""
        code = nn.functional.linear(x, self.start + self.rho * self.encoder)
        return nn.functional.linear(code, self.start.T + self.rho * self.decoder)


def autoencoder(
    task: TaskShape,
    seed: int,
    *,
    depth: int = 16,
    width: int = 64,
    code: int | None = None,
    activation: Activation = "tanh",
    readout: ReadoutKind = "fixed",
) -> Stack:
    """The network above.

    Args:
        task: sizes; with n inputs and n outputs nothing but the blocks is between them.
        seed: of everything that is drawn.
        depth: T >= 3.
        width: n.
        code: q in 1..n; n/8, at least 1, when None.
        activation, readout: as of "deep".

    Raises:
        DomainError: a number outside its range, or an unknown name.
    """
    depth, width = as_integer("depth", depth, 3), as_integer("width", width)
    code = max(1, width // 8) if code is None else as_integer("code", code, 1, width)
    around = deep(task, seed, depth=depth, width=width, activation=activation, readout=readout)
    blocks: list[nn.Module] = list(around.blocks)
    blocks[depth // 2] = NarrowBlock(semi_orthogonal(code, width, seed, NARROW), 1 / depth)
    return Stack(blocks, around.readout)


BUILDERS = {"autoencoder": autoencoder}
