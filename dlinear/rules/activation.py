"""Activation learning: local competitions for inputs of length 1.

With u_l = h_{l-1}/|h_{l-1}| the direction of what enters hidden layer l, and a_l = W_l u_l + b_l,

    hidden       G_l = -mean a_l (u_l - W_l^T a_l)^T
    output       G_L = mean e h_{L-1}^T

In indices, w_ij of unit i grows by rate a_i (u_j - sum_k a_k w_kj); a bias is the weight of a unit that is 1.
In the source the input has length 1 and the activation keeps lengths,

    f(a) = beta (|a| - mean |a|),   |f(a)| = |a|      (`Competing`; `lengths.UnitLength`),

so that |a_L|^2, the output activation, measures how typical an input is. Any activation may stand in the
blocks here: the update takes what enters a layer at length 1, the forward pass is that of the blocks. With
`normalise=False` it takes h_{l-1} as it is; the rule is then Oja's subspace rule (oja.py). A convolution
takes the whole input of a sample at length 1.

Sources: Zhou, "Activation learning by local competitions", arXiv 2209.13400. The update, its mean over a
batch, and f are those of Ding et al., "ALAD", IEEE Trans. Big Data (2024), eqs. (2), (6), (7) and algorithm 1
(an author is the same), read in a public copy. The text of the first was not read: its unlearning of samples
with wrong labels ("feedback", eq. (13)) is not here. The output layer is this library's: with it a step has
a loss and the net names a class."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dlinear.bridge.autograd.blocks import Block, LossFunction, Readout, as_stack
from dlinear.bridge.autograd.step import as_step
from dlinear.checks import as_flag
from dlinear.rules.lengths import unit_length
from dlinear.rules.local_pass import Seen, competition, local_rule
from dlinear.rules.names import rule_family
from dlinear.rules.two_passes import Products

__all__ = ["Competing", "activation_backward"]


class Competing(nn.Module):
    """f(a) = beta (|a| - mean |a|) with beta > 0 so that |f(a)| = |a|; the mean is over a sample."""

    def forward(self, a: Tensor) -> Tensor:
        """f(a), of the shape of a."""
        axes = tuple(range(1, a.ndim))
        centred = a.abs() - a.abs().mean(axes, keepdim=True)
        length = torch.linalg.vector_norm(a, dim=axes, keepdim=True)
        kept: Tensor = unit_length(centred) * length
        return kept


@as_step
def activation_backward(
    blocks: Iterable[Block],
    x: Any,
    loss_fn: LossFunction,
    readout: Readout | None = None,
    normalise: bool = True,
) -> Tensor:
    """Activation learning: add its products to `.grad`; return the loss, detached.

    Args:
        blocks: hidden layers, each a linear or convolutional layer with its activation, or nothing trained.
        x: one tensor of samples.
        loss_fn, readout: as for `horizon_backward`; they train the output layer alone.
        normalise: whether the update takes a layer's inputs at length 1.

    Raises:
        DomainError: a block that is no layer, nothing trained, a loss without gradient.
        ShapeError: x, states or outputs that are not one tensor of samples.
    """
    products = partial(_products, as_flag("normalise", normalise))
    return local_rule(as_stack(blocks), x, loss_fn, readout, "activation", products)


def _products(normalise: bool, layer: Seen) -> Products:
    call, answer = layer.call, layer.answer
    if not normalise:
        return competition(call, call.given, answer, None)
    given = unit_length(call.given)
    return competition(call, given, call.run(given, call.weight.detach(), _value(call.bias)), None)


def _value(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.detach()


FAMILIES = (
    rule_family(
        "activation",
        activation_backward,
        "activation learning: local competition for inputs of length 1",
        91,
        (1, 0, 3, 1),
        memory_of_one=True,
        seeded=False,
    ),
)
