"""One forward pass in which each hidden layer learns from what it sees itself: what Oja's rule and
activation learning share.

The output layer learns from the error, G_L = mean e h_{L-1}^T, so that a method's step has a loss; nothing
of it reaches the hidden layers. One block's activities are alive at once. A hidden block is one linear or
convolutional layer with what follows it, or it trains nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dlinear.bridge.autograd.block_graph import plain_precision
from dlinear.bridge.autograd.blocks import Block, LossFunction, Readout, called, check_gradients_are_on
from dlinear.bridge.autograd.gradient_sum import GradientSum, accumulate
from dlinear.bridge.autograd.naming import located
from dlinear.rules.output import end, samples_of, sections
from dlinear.rules.two_passes import Products, check_input, one_layer, scaled
from dlinear.rules.weighted import Call, Calls

__all__ = ["Seen", "competition", "local_rule"]


@dataclass(frozen=True)
class Seen:
    """A layer in the pass.

    Attributes:
        call: the layer and what entered it.
        answer: a_l = W_l h_{l-1} + b_l, before the activation.
    """

    call: Call
    answer: Tensor


class _Kept(Calls):
    """Keeps what each layer answers; an activation may write over the original."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[Tensor] = []

    def layer(self, call: Call) -> Tensor:
        """W h + b."""
        answer = super().layer(call)
        self.answers.append(answer.clone())
        return answer


def local_rule(
    stack: list[Block],
    x: Any,
    loss_fn: LossFunction,
    readout: Readout | None,
    rule: str,
    products: Callable[[Seen], Products],
) -> Tensor:
    """Run the net once and add `products`, summed over samples, as means to `.grad`; the loss, detached.

    Autocast is off inside: sums of squares lose digits in half precision.

    Raises:
        DomainError: a block that is no layer, nothing trained, a loss without gradient.
        ShapeError: x, states or outputs that are not one tensor of samples.
    """
    check_gradients_are_on()
    check_input(x, rule)
    parts = sections(stack, readout)
    found = GradientSum()
    sums = GradientSum()
    state = x.detach()
    with plain_precision(x.device):
        for t, block in enumerate(parts.hidden):
            calls = _Kept()
            with torch.no_grad(), located(f"block {t}", state), calls:
                state = called(block)(state)
            state = samples_of(state, t, rule).detach()
            if (call := one_layer(block, t, state, calls, rule)) is not None:
                some = products(Seen(call, calls.answers[0]))
                sums.add(some, some.values())
        last = end(parts, state, loss_fn)
        found.add(last.leaves, last.gradients)
        some = scaled(sums.gradients, last.unit)
        found.add(some, some.values())
    accumulate(found.gradients)
    return last.loss


def competition(
    call: Call, given: Tensor, answer: Tensor, mask: Callable[[Tensor], Tensor] | None
) -> Products:
    """-(y x^T - mask(y y^T) W), summed over samples and positions; of the bias with x = 1.

    Args:
        call: the layer.
        given: x.
        answer: y, of the shape of the layer's output.
        mask: which units compete: of a (n, n) matrix, which entries are kept; None for all.
    """
    axis = -1 if call.weight.ndim == 2 else 1
    rows = answer.movedim(axis, -1).reshape(-1, answer.shape[axis])  # samples, times positions
    groups = 1 if call.weight.ndim == 2 else call.options[3]
    rivals = None
    if mask is not None or groups > 1:
        rivals = rows.T @ rows if mask is None else mask(rows.T @ rows)
        rivals = rivals * _same_group(groups, rows) if groups > 1 else rivals
    return {
        leaf: _recalled(rivals, rows, leaf.detach()).sub_(value)
        for leaf, value in call.products(answer, given).items()
    }


def _recalled(rivals: Tensor | None, rows: Tensor, weight: Tensor) -> Tensor:
    """mask(y y^T) W in the shape of W; y^T (y W) where all units compete, without a (n, n) matrix."""
    flat = weight.reshape(len(weight), -1)
    return (rows.T @ (rows @ flat) if rivals is None else rivals @ flat).reshape(weight.shape)


def _same_group(groups: int, rows: Tensor) -> Tensor:
    """1 where two outputs see the same inputs, those of a group of a convolution."""
    group = torch.arange(rows.shape[1], device=rows.device) // (rows.shape[1] // groups)
    return (group[:, None] == group).to(rows.dtype)
