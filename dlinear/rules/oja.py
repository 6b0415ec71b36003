"""Hebbian competition (Oja): each hidden layer turns to the principal subspace of what enters it.

With a_l = W_l h_{l-1} + b_l (before the activation) and C = mean a_l a_l^T,

    subspace     G_l = -(mean a_l h_{l-1}^T - C W_l)              Oja's subspace rule
    sanger       G_l = -(mean a_l h_{l-1}^T - lower(C) W_l)       the components one by one, in order
    single       G_l = -(mean a_l h_{l-1}^T - diag(C) W_l)        each unit alone, Oja's first rule
    output       G_L = mean e h_{L-1}^T

so that W_l <- W_l - rate G_l is the Hebbian term a h^T and a competition for what the units already explain:
a_i (h_j - sum_k a_k w_kj). lower() keeps the entries on and below the diagonal. A bias is the weight of a
unit that is 1. A convolution sums over its positions, and units compete within a group of channels.

No label and no error reaches a hidden layer. On whitened inputs, E h h^T = I, the mean step of "subspace" is
dW = W - W W^T W: each singular value follows s' = s - s^3 and goes to 1, so that W becomes row-orthonormal,
which is what FOTON needs (foton.py). The step is stable where the rate times the largest second moment of
what enters a layer, the top eigenvalue of E h h^T, is below 1.

Sources: Oja (1982, 1989) and Sanger (1989); the equations are textbook, no published code was followed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dlinear.bridge.autograd.blocks import Block, LossFunction, Readout, as_stack
from dlinear.bridge.autograd.step import as_step
from dlinear.checks import as_choice
from dlinear.rules.local_pass import Seen, competition, local_rule
from dlinear.rules.names import rule_family
from dlinear.rules.two_passes import Products

__all__ = ["COMPETITIONS", "oja_backward"]


def _alone(c: Tensor) -> Tensor:
    return torch.diag(c.diagonal())


COMPETITIONS: Mapping[str, Callable[[Tensor], Tensor] | None] = {
    "subspace": None,
    "sanger": torch.tril,
    "single": _alone,
}


@as_step
def oja_backward(
    blocks: Iterable[Block],
    x: Any,
    loss_fn: LossFunction,
    readout: Readout | None = None,
    mode: str = "subspace",
) -> Tensor:
    """Oja's rule in the hidden layers: add its products to `.grad`; return the loss, detached.

    Args:
        blocks: hidden layers, each a linear or convolutional layer with its activation, or nothing trained.
        x: one tensor of samples.
        loss_fn, readout: as for `horizon_backward`; they train the output layer alone.
        mode: "subspace", "sanger" or "single".

    Raises:
        DomainError: an unknown mode, a block that is no layer, nothing trained, a loss without gradient.
        ShapeError: x, states or outputs that are not one tensor of samples.
    """
    as_choice("mode", mode, tuple(COMPETITIONS))
    return local_rule(as_stack(blocks), x, loss_fn, readout, "oja", partial(_products, COMPETITIONS[mode]))


def _products(mask: Callable[[Tensor], Tensor] | None, layer: Seen) -> Products:
    return competition(layer.call, layer.call.given, layer.answer, mask)


FAMILIES = (
    rule_family(
        "oja",
        oja_backward,
        "Hebbian competition: a (h - W^T a)^T in every hidden layer",
        90,
        (1, 0, 2, 1),
        memory_of_one=True,
        seeded=False,
    ),
)
