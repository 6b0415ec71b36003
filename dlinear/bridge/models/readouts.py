"""Maps of a state x(s) to the space of the loss, called as readout(z, s) with s = 1..T.

- fixed: nothing is trained; a state with as many coordinates as the loss takes passes unchanged, any other is
  projected by one semi-orthogonal matrix that the seed determines;
- shared: one trained head for every s;
- exits: a head of its own for every s (early exits).

Convolutional states are pooled over space and padded with zero channels before they meet a shared head:
pooling is the paper's example of a linear projection that unifies the states.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from dlinear.bridge.autograd.naming import located
from dlinear.bridge.models.seeding import READOUT, semi_orthogonal
from dlinear.checks import shown
from dlinear.errors import DomainError, HorizonError, ShapeError

ReadoutKind = Literal["fixed", "shared", "exits"]
READOUTS = ("fixed", "shared", "exits")


def check_readout(readout: object) -> None:
    """Raise `DomainError` unless it is one of the three names."""
    if not isinstance(readout, str) or readout not in READOUTS:
        raise DomainError(f"readout must be one of {', '.join(READOUTS)}, not {shown(readout)}")


class Fixed(nn.Module):
    """z if it has `outputs` coordinates, else matrix z; the (outputs, width) matrix is drawn, not trained."""

    matrix: Tensor

    def __init__(self, width: int, outputs: int, seed: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.register_buffer("matrix", semi_orthogonal(outputs, width, seed, READOUT))

    def forward(self, z: Tensor, s: int) -> Tensor:
        """(N, width) or (N, outputs) to (N, outputs).

        Raises:
            ShapeError: a state of another width.
        """
        with located(f"the readout at s = {s}", z):
            return z if z.shape[-1] == self.outputs else nn.functional.linear(z, self.matrix)


class Shared(nn.Module):
    """The same head for every s."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, z: Tensor, s: int) -> Tensor:
        """head(z).

        Raises:
            ShapeError: a state that the head does not take.
        """
        with located(f"the readout at s = {s}", z):
            out: Tensor = self.head(z)
        return out


class Exits(nn.Module):
    """A head for every s = 1..T, heads[s - 1]."""

    def __init__(self, heads: Iterable[nn.Module]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)

    def forward(self, z: Tensor, s: int) -> Tensor:
        """heads[s - 1](z).

        Raises:
            HorizonError: s outside 1..T.
            ShapeError: a state that the head does not take.
        """
        if not 1 <= s <= len(self.heads):
            raise HorizonError(f"the readout was asked for x({s}); it has heads for 1..{len(self.heads)}")
        with located(f"the readout at s = {s}", z):
            out: Tensor = self.heads[s - 1](z)
        return out


class Pool(nn.Module):
    """(N, c, ...) to (N, channels): the mean over space, zeros for the channels that a state lacks."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, z: Tensor) -> Tensor:
        """The pooled and padded state."""
        if z.ndim < 3:
            raise ShapeError(f"a state has shape {tuple(z.shape)}; the readout takes (N, channels, ...)")
        missing = self.channels - z.shape[1]
        if missing < 0:
            raise ShapeError(f"a state has {z.shape[1]} channels; the readout takes at most {self.channels}")
        return nn.functional.pad(z.flatten(2).mean(2), (0, missing))


def vector_readout(
    readout: ReadoutKind, widths: Iterable[int], outputs: int, seed: int
) -> Fixed | Shared | Exits:
    """The readout of a network of vectors.

    Args:
        readout: its name.
        widths: coordinates of x(1), ..., x(T). A last state that has `outputs` of them is the output itself
            and gets no head with "exits".
        outputs: k.
        seed: of the fixed matrix. Trained heads are drawn from torch's generator.
    """
    every = list(widths)
    if readout == "fixed":
        return Fixed(every[0], outputs, seed)
    if readout == "shared":
        return Shared(nn.Linear(every[-1], outputs))
    heads: list[nn.Module] = [nn.Linear(width, outputs) for width in every]
    if every[-1] == outputs:
        heads[-1] = nn.Identity()
    return Exits(heads)


def image_readout(readout: ReadoutKind, channels: Iterable[int], outputs: int, seed: int) -> Shared | Exits:
    """The readout of a convolutional network whose states x(1), ..., x(T) have these channels."""
    every = list(channels)
    most = max(every)
    if readout == "exits":
        return Exits(nn.Sequential(Pool(c), nn.Linear(c, outputs)) for c in every)
    head: nn.Module = nn.Linear(most, outputs)
    if readout == "fixed":
        head = FixedLinear(most, outputs, seed)
    return Shared(nn.Sequential(Pool(most), head))


class FixedLinear(nn.Module):
    """matrix z, for any number of channels: the head of pooled states."""

    matrix: Tensor

    def __init__(self, width: int, outputs: int, seed: int) -> None:
        super().__init__()
        self.register_buffer("matrix", semi_orthogonal(outputs, width, seed, READOUT))

    def forward(self, z: Tensor) -> Tensor:
        """(N, width) to (N, outputs)."""
        return torch.nn.functional.linear(z, self.matrix)
