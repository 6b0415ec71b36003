"""Feedback alignment: back-propagation with fixed random matrices where it would transpose the weights.

    delta_L = e,   delta_l = (B_{l+1} delta_{l+1}) * sigma'_l,   G_l = mean delta_l h_{l-1}^T

B_l, of the shape of W_l^T, replaces W_l^T of every linear and convolutional layer on the way back, the
output layer's too; all else (activations, normalisation, skips) goes back exactly, so that a residual layer
h + W h gets I + B. The forward pass and each layer's own product use W. B_l is uniform on
+-scale/sqrt(fan_in), torch's own law of weights; l counts layers in the order of the forward pass, frozen
ones too, which transpose their own weights: B_l stays when another layer is frozen. In a residual net of T
small layers a scale of the size of theirs (1/T) is right: with scale 1 the signal grows with T.

How it is done: a layer's value is W h + b with gradients to W and b alone, and the gradient to h is that of
B^T h. No hook is involved; the code of ChFrenkel/DirectRandomTargetProjection and others hooks gradients of
inputs, and where such a hook is not called the rule is back-propagation, unnoticed.

Source: Lillicrap, Cownden, Tweed, Akerman, "Random synaptic feedback weights support error backpropagation
for deep learning" (2016)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from dlinear.bridge.autograd.blocks import (
    Block,
    LossFunction,
    Readout,
    as_stack,
    check_gradients_are_on,
    pull,
    run_blocks,
    terminal_loss,
)
from dlinear.bridge.autograd.modules import modules_among
from dlinear.bridge.autograd.step import as_step
from dlinear.rules import matrices
from dlinear.rules.names import rule_family
from dlinear.rules.weighted import WEIGHTED, Call, Calls, check_all_seen, own_parameters

__all__ = ["fa_backward", "layer_matrix", "pulled_back_by"]


class _Joined(torch.autograd.Function):
    """`value`; a gradient goes to both arguments."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, path: Tensor) -> Tensor:
        return value.detach()

    @staticmethod
    def backward(ctx: Any, *signal: Any) -> tuple[Any, Any]:
        return signal[0], signal[0]


class _Replaced(Calls):
    """Layers whose gradient to their input is that of another weight."""

    def __init__(self, feedback: Callable[[int, Tensor], Tensor]) -> None:
        super().__init__()
        self._feedback, self._numbers = feedback, dict[Tensor, int]()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """The function or the layer; layers are counted, those that are frozen too."""
        if func in WEIGHTED:
            weight = args[1] if len(args) > 1 else (kwargs or {}).get("weight")
            if isinstance(weight, Tensor) and weight.is_leaf:
                self._numbers.setdefault(weight, len(self._numbers))
        return super().__torch_function__(func, types, args, kwargs)

    def layer(self, call: Call) -> Tensor:
        """W h + b, and B on the way back."""
        number = self._numbers[call.weight]
        if not call.given.requires_grad:
            return call.run(call.given, call.weight, call.bias)
        value = call.run(call.given.detach(), call.weight, call.bias)
        path = call.run(call.given, self._feedback(number, call.weight))
        return _Joined.apply(value, path)  # type: ignore[no-any-return,no-untyped-call]


def layer_matrix(weight: Tensor, seed: int, place: int, scale: float = 1.0) -> Tensor:
    """B_l^T of layer `place`, in the shape of W_l: uniform on +-scale/sqrt(fan_in)."""
    bound = scale / math.sqrt(weight[0].numel())
    shape = tuple(weight.shape)
    return matrices.uniform(shape, bound, seed, matrices.LAYERWISE, place, weight.dtype, weight.device)


@as_step
def fa_backward(
    blocks: Iterable[Block],
    x: Any,
    loss_fn: LossFunction,
    readout: Readout | None = None,
    seed: int = 0,
    scale: float = 1.0,
) -> Tensor:
    """Feedback alignment: add its gradients to `.grad`; return the loss, detached.

    Args:
        blocks, x, loss_fn, readout: as for `horizon_backward`; x may be anything.
        seed: of the B_l, an integer >= 0.
        scale: factor of their law, > 0.

    Raises:
        DomainError: a knob outside its range, a trained matrix outside of linear and convolutional layers,
            or a loss without gradient.
    """
    matrices.check_knobs(seed, scale)

    def feedback(place: int, weight: Tensor) -> Tensor:
        return layer_matrix(weight, seed, place, scale)

    return pulled_back_by(feedback, as_stack(blocks), x, loss_fn, readout, "fa")[0]


def pulled_back_by(
    feedback: Callable[[int, Tensor], Tensor],
    stack: list[Block],
    x: Any,
    loss_fn: LossFunction,
    readout: Readout | None,
    rule: str,
) -> tuple[Tensor, list[Call]]:
    """Add the gradients that come back by feedback(l, W_l), in the shape of W_l; the loss and the layers."""
    check_gradients_are_on()
    replaced = _Replaced(feedback)
    with replaced:
        loss = terminal_loss(run_blocks(stack, x), len(stack), loss_fn, readout)
    check_all_seen(rule, own_parameters(modules_among((*stack, readout))), replaced.seen)
    return pull(loss), replaced.seen


FAMILIES = (
    rule_family(
        "fa", fa_backward, "feedback alignment: fixed B_l for W_l^T on the way back", 70, (1, 1, 3, 1)
    ),
)
