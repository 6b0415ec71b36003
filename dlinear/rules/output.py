"""What all rules share at the end of a network: the output layer, the error e, the targets.

The output layer is the readout if that has something to train, else the last block that has (with what
follows it). All blocks before it are hidden. With z the output of N samples and L the loss,

    e = dL/dz / unit,    unit = 1/N for a mean loss and 1 for a sum (`reduction="sum"` of the criterion),

so that e is the error of a sample: softmax(z) - onehot for cross-entropy, 2 (z - y)/K for the mean squared
error of K outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dlinear.bridge.autograd import block_graph
from dlinear.bridge.autograd.blocks import (
    NOTHING_TRAINED,
    Block,
    LossFunction,
    Readout,
    as_loss,
    given,
    run_blocks,
)
from dlinear.bridge.autograd.modules import modules_among, trainable
from dlinear.errors import DomainError, ShapeError

__all__ = ["End", "Sections", "end", "labels_of", "one_hot_targets", "samples_of", "sections"]


@dataclass(frozen=True)
class Sections:
    """A network in two parts.

    Attributes:
        hidden: the blocks before the output layer.
        head: x(len(hidden)) -> z, the output layer and all that follows.
        depth: T.
    """

    hidden: list[Block]
    head: Callable[[Any], Any]
    depth: int


@dataclass(frozen=True)
class End:
    """The output of one pass.

    Attributes:
        loss: a detached scalar.
        z: what the loss takes, (N, ...), with its graph.
        signal: dL/dz, of the shape of z.
        unit: what a sample's error is multiplied by in it.
        leaves: trainable tensors of the output layer and the loss.
        gradients: of the loss with respect to them.
    """

    loss: Tensor
    z: Tensor
    signal: Tensor
    unit: float
    leaves: Sequence[Tensor]
    gradients: tuple[Tensor | None, ...]

    @property
    def error(self) -> Tensor:
        """e, (N, K): one row for each sample."""
        return self.signal.flatten(1) / self.unit


def sections(stack: Sequence[Block], readout: Readout | None, below: int | None = None) -> Sections:
    """The hidden blocks and the output layer; with `below`, the first so many blocks and all above.

    Raises:
        DomainError: nothing is trained, or not so many blocks are hidden.
    """
    first = len(stack)
    if readout is None or not trainable(modules_among((readout,))):
        trained = [t for t, block in enumerate(stack) if trainable(modules_among((block,)))]
        if not trained:
            raise DomainError(NOTHING_TRAINED)
        first = trained[-1]
    if below is not None:
        if not 1 <= below <= first:
            raise DomainError(
                f"{below} blocks below the rest: allowed is 1..{first}, those before the output layer"
            )
        first = below

    def head(state: Any) -> Any:
        state = run_blocks(stack[first:], state, first)
        return state if readout is None else given("readout", readout, state, len(stack))

    return Sections(list(stack[:first]), head, len(stack))


def end(parts: Sections, state: Any, loss_fn: LossFunction) -> End:
    """Run the output layer on a state that is cut off, and take the loss.

    Raises:
        ShapeError: an output that is no tensor of samples, an empty batch, or a loss that is no scalar.
        DomainError: the output or the loss has no gradient, or something writes into what it keeps.
    """
    z = parts.head(block_graph.cut(state, False)[0])
    if not isinstance(z, Tensor) or z.ndim < 2:
        what = f"shape {tuple(z.shape)}" if isinstance(z, Tensor) else f"a {type(z).__name__}"
        raise ShapeError(f"the output has {what}; rules with feedback take (samples, outputs)")
    if not z.requires_grad:
        raise DomainError(NOTHING_TRAINED)
    if not len(z):
        raise ShapeError("the batch has no samples: a rule's gradient is a mean over samples")
    z = z + 0  # a node of its own: a loss may write into what it is given
    kept = z.clone()
    loss = as_loss(given("loss_fn", loss_fn, kept), parts.depth)
    if not loss.requires_grad:
        raise DomainError("the loss has no gradient: nothing is trainable, or loss_fn detaches its argument")
    leaves = block_graph.leaves_behind(loss, "the loss")
    with block_graph.named_errors("the output layer"):
        found = torch.autograd.grad(loss, [z, *leaves], retain_graph=True, allow_unused=True)
    if found[0] is None:
        raise DomainError("the loss has no gradient: loss_fn detaches its argument")
    return End(loss.detach(), z, found[0], _unit(loss_fn, len(z)), leaves, found[1:])


def _unwrapped(loss_fn: Any) -> tuple[Any, float]:
    """The loss below the factor of a gradient scaler, and that factor."""
    factor = 1.0
    while hasattr(loss_fn, "loss_fn") and hasattr(loss_fn, "factor"):
        loss_fn, factor = loss_fn.loss_fn, factor * loss_fn.factor
    return loss_fn, factor


def _unit(loss_fn: Any, samples: int) -> float:
    inner, factor = _unwrapped(loss_fn)
    criterion = getattr(inner, "criterion", inner)
    reduction = getattr(criterion, "reduction", None)  # of a module, or given to a function by partial
    if reduction is None and isinstance(criterion, partial):
        reduction = criterion.keywords.get("reduction")
    return factor if reduction == "sum" else factor / samples


def one_hot_targets(loss_fn: Any, z: Tensor, rule: str) -> Tensor:
    """y*, (N, K): labels as one-hot rows, real targets as they are.

    Raises:
        DomainError: a loss that does not hold its targets, or targets that do not fit the output.
    """
    target = getattr(_unwrapped(loss_fn)[0], "target", None)
    if not isinstance(target, Tensor):
        raise DomainError(
            f"{rule} needs the targets: loss_fn is a {type(loss_fn).__name__}; expected "
            "dlinear.bridge.Supervised(criterion, target)"
        )
    flat = z.flatten(1)
    if target.is_floating_point() and target.numel() == flat.numel():
        return target.reshape(flat.shape).to(flat.dtype)
    if not target.is_floating_point() and target.shape == flat.shape[:1]:
        _check_labels(target, flat.shape[1], rule)
        return torch.nn.functional.one_hot(target.long(), flat.shape[1]).to(flat.dtype)
    raise DomainError(
        f"{rule} has targets of {target.dtype}, shape {tuple(target.shape)}, for outputs "
        f"{tuple(flat.shape)}; expected labels (N,) or real targets (N, K)"
    )


def labels_of(loss_fn: LossFunction, z: Tensor, rule: str) -> Tensor:
    """The label of each sample, (N,).

    Raises:
        DomainError: a loss that does not hold them, or other targets than labels of the outputs.
    """
    target = getattr(_unwrapped(loss_fn)[0], "target", None)
    if not isinstance(target, Tensor) or target.is_floating_point() or target.shape != z.shape[:1]:
        what = f"a {type(loss_fn).__name__}"
        if isinstance(target, Tensor):
            what = f"one with targets of {target.dtype}, shape {tuple(target.shape)}"
        raise DomainError(
            f"{rule} needs labels (N,): loss_fn is {what}; expected "
            "dlinear.bridge.Supervised(criterion, labels)"
        )
    _check_labels(target, z.shape[1], rule)
    return target


def _check_labels(target: Tensor, classes: int, rule: str) -> None:
    """Raise `DomainError` for a label that no output stands for."""
    if target.device.type == "cpu" and len(target):  # elsewhere this would wait for the device
        low, high = int(target.min()), int(target.max())
        if low < 0 or high >= classes:
            raise DomainError(f"{rule} has labels {low}..{high}; expected 0..{classes - 1}")


def samples_of(state: Any, t: int, rule: str) -> Tensor:
    """The output of hidden block t, if it is one tensor of samples.

    Raises:
        ShapeError: it is something else.
    """
    if isinstance(state, Tensor) and state.is_floating_point() and state.ndim > 1:
        return state
    what = f"shape {tuple(state.shape)}" if isinstance(state, Tensor) else f"a {type(state).__name__}"
    raise ShapeError(f"block {t} hands on {what}; {rule} takes one tensor (samples, ...)")
