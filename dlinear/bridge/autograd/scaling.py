"""Losses that are scaled so that small gradients survive in half precision (torch.amp.GradScaler)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from dlinear.errors import DomainError


def factor_of(grad_scaler: Any) -> float:
    """By what the scaler multiplies a loss; 1 for None and for one that is not enabled.

    Raises:
        DomainError: not a scaler.
    """
    if grad_scaler is None:
        return 1.0
    if not all(hasattr(grad_scaler, name) for name in ("scale", "get_scale", "step")):
        raise DomainError(
            f"grad_scaler is a {type(grad_scaler).__name__}; expected a torch.amp.GradScaler or None"
        )
    return float(grad_scaler.get_scale())


def scaled(loss_fn: Any, factor: float) -> Any:
    """factor x loss_fn, a module where that is one, in parts where that can be split."""
    if factor == 1.0:
        return loss_fn
    if isinstance(loss_fn, nn.Module):
        return _ScaledModule(loss_fn, factor)
    return (_ScaledParts if hasattr(loss_fn, "part") else _Scaled)(loss_fn, factor)


class _Scaled:
    def __init__(self, loss_fn: Any, factor: float) -> None:
        self.loss_fn, self.factor = loss_fn, factor

    def __call__(self, z: Any) -> Tensor:
        loss: Tensor = self.loss_fn(z)
        return loss * self.factor if isinstance(loss, Tensor) else loss


class _ScaledParts(_Scaled):
    def part(self, samples: slice) -> tuple[Any, float]:
        """Some samples' loss, scaled, and their weight."""
        some, weight = self.loss_fn.part(samples)
        return scaled(some, self.factor), weight

    def __len__(self) -> int:
        return len(self.loss_fn)


class _ScaledModule(nn.Module):
    def __init__(self, loss_fn: nn.Module, factor: float) -> None:
        super().__init__()
        self.loss_fn, self.factor = loss_fn, factor

    def forward(self, z: Any) -> Any:
        loss = self.loss_fn(z)
        return loss * self.factor if isinstance(loss, Tensor) else loss
