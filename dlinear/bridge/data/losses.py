"""The loss of a batch with its targets, which can be split into those of micro-batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from dlinear.checks import as_known, shown
from dlinear.errors import DlinearError, DomainError, ShapeError

__all__ = ["Supervised"]

Criterion = Callable[[Tensor, Tensor], Tensor]  # output (B, ...), target (B, ...) -> mean loss ()


def _cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """The mean over the samples of 1 - cos(z, y)."""
    return (1 - functional.cosine_similarity(prediction, target, dim=1)).mean()


HUBER = 0.5  # |z - y| up to which Huber's loss is quadratic; one-hot targets start 1 away
# Losses of real targets; labels are encoded one-hot for them.
ENCODED: dict[str, Criterion] = {
    "squared": functional.mse_loss,
    "huber": partial(functional.huber_loss, delta=HUBER),
    "cosine": _cosine,
}


@dataclass(frozen=True)
class OneHot:
    """A loss of real targets by its name in `ENCODED`; labels of classes become one-hot vectors.

    Attributes:
        name: "squared" (z - y)^2, "huber" (half the square up to `HUBER`, then linear), both means over
            samples and coordinates, or "cosine", the mean of 1 - cos(z, y) over the samples.
    """

    name: str

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The loss of predictions (N, k) and labels (N,) or real targets (N, k), a scalar.

        Raises:
            ShapeError: predictions that are not (N, k), or other targets than these.
            DomainError: a label outside 0..k-1.
        """
        if prediction.ndim != 2 or target.shape not in (prediction.shape, prediction.shape[:1]):
            raise ShapeError(
                f"a prediction of shape {tuple(prediction.shape)} and a target of shape "
                f"{tuple(target.shape)} received; the loss {self.name} takes (N, k) with (N,) or (N, k)"
            )
        if target.ndim == 1:
            target = _encoded(target, prediction)
        return ENCODED[self.name](prediction, target)


def _encoded(labels: Tensor, prediction: Tensor) -> Tensor:
    """The labels as one-hot rows of the prediction's dtype."""
    classes = prediction.shape[1]
    if labels.is_floating_point() or (
        len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes
    ):
        raise DomainError(f"the target holds what is no label; expected integers in 0..{classes - 1}")
    return functional.one_hot(labels.long(), classes).to(prediction.dtype)


CRITERIA: dict[str, Criterion] = {
    "mse": functional.mse_loss,
    "cross_entropy": functional.cross_entropy,
    **{name: OneHot(name) for name in ENCODED},
}
_INDEXED = ((functional.cross_entropy, nn.CrossEntropyLoss()), (functional.nll_loss, nn.NLLLoss()))


@dataclass(frozen=True, eq=False)
class Supervised:
    """L(z) = criterion(z, target), the mean loss of one batch.

    Attributes:
        criterion: (prediction, target) -> scalar; a mean over the samples, or a sum where it is a torch loss
            with `reduction="sum"`. `CrossEntropyLoss` and `NLLLoss` may leave out targets (`ignore_index`)
            and weigh classes; any other criterion is taken to give each sample the same weight.
        target: (N, ...), one entry per sample.

    Raises:
        DomainError: a criterion that is no function.
        ShapeError: a target that is no tensor.
    """

    criterion: Callable[[Tensor, Tensor], Tensor]
    target: Tensor

    def __post_init__(self) -> None:
        if not callable(self.criterion) or isinstance(self.criterion, type):
            raise DomainError(f"criterion is {shown(self.criterion)}; expected a function or a loss of torch")
        if not isinstance(self.target, Tensor):
            raise ShapeError(f"target is {shown(self.target)}; expected a tensor, one entry per sample")

    def __call__(self, prediction: Tensor) -> Tensor:
        """The loss of the whole batch, a scalar.

        Raises:
            ShapeError: prediction and target do not fit together.
            DomainError: a label outside of the prediction's classes.
        """
        try:
            return self.criterion(prediction, self.target)
        except DlinearError:  # said already
            raise
        except (IndexError, ValueError, RuntimeError) as error:
            if (refusal := self._refusal(prediction)) is None:
                raise
            raise refusal from error

    def _refusal(self, prediction: Tensor) -> DlinearError | None:
        """What is wrong with a prediction that the criterion has refused; None for something else."""
        given, target = tuple(prediction.shape), self.target
        both = f"a prediction of shape {given} and a target of {target.dtype}, shape {tuple(target.shape)}"
        indexed = _indexed(self.criterion)
        if indexed is None or (target.is_floating_point() and given == tuple(target.shape)):
            pairs = zip(reversed(given), reversed(target.shape), strict=False)
            if all(m == n or 1 in (m, n) for m, n in pairs):
                return None
            return ShapeError(f"{both} received; expected shapes that broadcast together")
        if target.dtype not in (torch.int64, torch.uint8) or given[:1] + given[2:] != tuple(target.shape):
            return ShapeError(f"{both} received; expected (N, classes, ...) and int64 labels (N, ...)")
        used = target[target != indexed.ignore_index]
        wrong = used[(used < 0) | (used >= given[1])]
        if not len(wrong):
            return None
        return DomainError(
            f"the target holds label {int(wrong[0])}; expected 0..{given[1] - 1}, the classes of the "
            f"prediction (or {indexed.ignore_index}, which is left out)"
        )

    def __len__(self) -> int:
        """N, the number of samples."""
        if not self.target.ndim:
            raise ShapeError("the target is one number: allowed is one entry per sample, (N, ...)")
        return len(self.target)

    def part(self, samples: slice) -> tuple[Supervised, float]:
        """The loss of some samples, and its weight in the loss of all.

        Over parts that cover the batch once, sum of weight x loss(part) = loss(batch), for any sizes.

        Raises:
            ShapeError: a target without samples.
        """
        whole = _mass(self.criterion, self.target) if len(self) else 0.0
        some = self.target[samples]
        return Supervised(self.criterion, some), _mass(self.criterion, some) / whole if whole else 0.0


def _mass(criterion: object, target: Tensor) -> float:
    """The number (or weight) of samples by which the criterion divides its sum, up to a common factor."""
    if getattr(criterion, "reduction", "mean") == "sum":
        return 1.0
    indexed = _indexed(criterion)
    if indexed is None or target.is_floating_point():
        return float(len(target))
    counted = target[target != indexed.ignore_index]
    weight: Tensor | None = indexed.weight
    return float(counted.numel()) if weight is None else float(weight[counted].sum(dtype=torch.float64))


def _indexed(criterion: object) -> nn.CrossEntropyLoss | nn.NLLLoss | None:
    """The criterion as a module, if its targets are labels of classes."""
    for function, module in _INDEXED:
        criterion = module if criterion is function else criterion
    return criterion if isinstance(criterion, nn.CrossEntropyLoss | nn.NLLLoss) else None


def criterion_of(loss: str, classes: int | None) -> Criterion:
    """The criterion for data with this number of classes (None: real targets).

    Args:
        loss: "auto" is "cross_entropy" for classes and "mse" for real targets; the names of `ENCODED` fit
            both.
        classes: number of classes.

    Raises:
        DomainError: an unknown name, cross-entropy without classes, or "mse" for classes.
    """
    fitting = "mse" if classes is None else "cross_entropy"
    name = fitting if loss == "auto" else as_known("loss", loss, ("auto", *CRITERIA))
    if name not in (fitting, *ENCODED):
        what = "no classes" if classes is None else f"{classes} classes"
        allowed = ", ".join(("auto", fitting, *ENCODED))
        raise DomainError(f"loss {loss} received for data with {what}; allowed is one of {allowed}")
    return CRITERIA[name]
