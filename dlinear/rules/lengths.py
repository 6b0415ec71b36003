"""States of length 1, as modules of a net: what several rules ask of the input of a layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlinear.checks import as_choice

__all__ = ["OVER", "UnitLength", "unit_length"]

OVER = ("sample", "batch")


def unit_length(x: Tensor) -> Tensor:
    """Each sample of x, (N, ...), over its Euclidean norm; a sample that is 0 stays 0."""
    norm = torch.linalg.vector_norm(x.flatten(1), dim=1).reshape(-1, *[1] * (x.ndim - 1))
    scaled: Tensor = x / norm.clamp_min(torch.finfo(x.dtype).tiny)
    return scaled


class UnitLength(nn.Module):
    """The samples at length 1.

    Args:
        over: "sample", each over its own norm, or "batch", all over the norm of the batch, as
            ravifrancesco/PEPITA has it: what a sample gives then depends on the others.

    Raises:
        DomainError: another word.
    """

    def __init__(self, over: str = "sample") -> None:
        super().__init__()
        as_choice("over", over, OVER)
        self.over = over

    def forward(self, x: Tensor) -> Tensor:
        """x over the norm, of the shape of x."""
        if self.over == "sample":
            return unit_length(x)
        return unit_length(x.reshape(1, -1)).reshape(x.shape)
