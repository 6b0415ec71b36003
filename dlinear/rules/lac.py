"""Local activity contrast (LAC): an autoencoder whose second pass starts from its reconstruction.

    first pass      h1_l = block_l(h1_{l-1}),   h1_0 = x,   o the output, of the size of x
    second pass     h2_l = block_l(h2_{l-1}),   h2_0 = o
    hidden          G_l = mean d/dW_l |h2_l - h1_l|^2        h1_l and h2_{l-1} held fixed
                        = mean 2 ((h2_l - h1_l) * sigma'_l) h2_{l-1}^T
    output          G_L = mean e h1_{L-1}^T,   e the error of the loss at o; of |o - x|^2: 2 (o - x)

Each layer lowers the difference of its own two activities; no signal goes back between blocks. The gradient
of that difference inside one block is exact, so that a block may be anything whose output is one tensor.

In a linear autoencoder with e = o - x, G_l = 2 P_l e (h_{l-1} + P_{l-1} e)^T, P_l = W_l ... W_1. PEPITA with
s F = -I has P_l e (h_{l-1} - P_{l-1} e)^T, half of it but for the presynaptic term of the second pass, and
PEPITA with s F = I has -P_l e (h_{l-1} + P_{l-1} e)^T, minus half of it exactly.

Conventions: the sum over units, the mean over samples (the source sums over both). The source steps the
hidden layers before it takes the output layer's gradient, which was made before that step: the same numbers
as here. The loss should compare the output with x: `Supervised(mse_loss, x)`; its own mean over coordinates
then makes the output layer's gradient 1/n_0 of the source's.

For a classifier LAC is a way to start (`dlinear.rules.pretraining.reconstruction.pretrain`).

Source: Zhu, Chen, Hu, Yu, "Contrastive learning via local activity", Electronics 12 (2023) 147, algorithm 1,
read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from dlinear.bridge.autograd.block_graph import plain_precision
from dlinear.bridge.autograd.blocks import Block, LossFunction, Readout, as_stack, check_gradients_are_on
from dlinear.bridge.autograd.gradient_sum import GradientSum, accumulate
from dlinear.bridge.autograd.replay import Replay
from dlinear.bridge.autograd.step import as_step
from dlinear.errors import ShapeError
from dlinear.rules.names import rule_family
from dlinear.rules.output import End, end, samples_of, sections
from dlinear.rules.two_passes import check_input

__all__ = ["lac_backward"]


@as_step
def lac_backward(
    blocks: Iterable[Block], x: Any, loss_fn: LossFunction, readout: Readout | None = None
) -> Tensor:
    """LAC: add its gradients to `.grad`; return the loss of the reconstruction, detached.

    Args:
        blocks: any, with states of one tensor.
        x: one tensor of samples.
        loss_fn, readout: as for `horizon_backward`; the output has as many values as x, and the loss compares
            it with x.

    Raises:
        ShapeError: an output of another size than x, or states that are not one tensor of samples.
        DomainError: nothing is trained, or the loss has no gradient.
    """
    check_gradients_are_on()
    check_input(x, "lac")
    stack = as_stack(blocks)
    parts = sections(stack, readout)
    replay = Replay(parts.hidden, x, parts.head)
    found = GradientSum()
    with plain_precision(x.device):
        first, state = [], x.detach()
        for t in range(len(parts.hidden)):
            with torch.no_grad():
                state = samples_of(replay.record(t, state, False, keep=True)[0], t, "lac")
            first.append(state)
        last = end(parts, state, loss_fn)
        found.add(last.leaves, last.gradients)
        state = _reconstruction(last, x)
        for t, target in enumerate(first):
            state, graph = replay.record(t, state, False, keep=True)
            if graph.live and graph.leaves:
                signal = 2 * last.unit * (state - target)
                found.add(graph.leaves, graph.vjp([signal], graph.leaves, False, keep=False, hooks=True)[1])
    accumulate(found.gradients)
    return last.loss


def _reconstruction(last: End, x: Tensor) -> Tensor:
    """o in the shape of x."""
    o = last.z.detach()
    if len(o) != len(x) or o.numel() != x.numel():
        raise ShapeError(
            f"the output has shape {tuple(o.shape)} for inputs {tuple(x.shape)}; lac trains autoencoders, "
            "whose output has the size of x (a classifier: dlinear.rules.pretraining.reconstruction.pretrain)"
        )
    return o.reshape(x.shape).to(x.dtype)


FAMILIES = (
    rule_family(
        "lac",
        lac_backward,
        "local activity contrast: an autoencoder's second pass runs on its reconstruction",
        92,
        (2, 1, 3, 1),
        seeded=False,
    ),
)
