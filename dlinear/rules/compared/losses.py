"""The losses of recipes, for labels."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from dlinear.bridge.data.losses import CRITERIA, Criterion
from dlinear.checks import as_known

__all__ = ["LOSSES", "loss_named"]


@dataclass(frozen=True)
class Sigmoid:
    """Binary cross-entropy of each output against its class, the mean over samples and classes.

    Labels become one-hot targets. Its gradient is (sigma(z) - onehot)/K for each sample.
    """

    def __call__(self, prediction: Tensor, labels: Tensor) -> Tensor:
        """The loss of predictions (N, K) and labels (N,), a scalar."""
        target = functional.one_hot(labels, prediction.shape[1]).to(prediction.dtype)
        return functional.binary_cross_entropy_with_logits(prediction, target)


LOSSES: dict[str, Criterion] = {"cross_entropy": CRITERIA["cross_entropy"], "sigmoid": Sigmoid()}


def loss_named(name: str) -> Criterion:
    """The criterion of that name.

    Raises:
        DomainError: an unknown one.
    """
    return LOSSES[as_known("loss", name, tuple(LOSSES))]
