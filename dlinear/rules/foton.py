"""FOTON: the second pass is shifted by the error, carried to the input by the transposed product of the
weights.

    F = (W_L ... W_1)^T,   hmod_0 = x - F e,   G_l = mean (h_l - hmod_l) h_{l-1}^T,   G_L = mean e h_{L-1}^T

and each hidden W_l is made row-orthonormal before training and again after every update. The trainer does
both (`Method.prepare`, `Method.after_step`); in a loop of your own call `make_orthonormal` on the hidden
blocks after `optimizer.step()`. Parameters are changed in place, so that the optimizer keeps its state for
them. F leaves out activations and biases. On linear layers

    h_l - hmod_l = P_l F e = P_l P_l^T delta_l,   P_l = W_l ... W_1,

back-propagation's delta_l exactly if P_l has orthonormal rows, as it has for row-orthonormal layers whose
widths do not increase; in general <G_l, G_l of back-propagation> = |P_l^T G_l of back-propagation|^2 >= 0.
F is weight transport: the product of the layers is taken in every step, as a vector-Jacobian product of the
linear net.

Conventions: the polar factor of W by its singular values, which Bjorck's iteration goes to. The code of
p0lcAi/FOTON takes 20 of these iterations, of the output layer too (nothing above needs it), every
`ortho_rate` steps, F every `update_F` steps, and makes new parameters: an optimizer from outside would lose
them. Weights of convolutions stay as they are: orthonormal kernels are no orthonormal map."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dlinear.bridge.autograd.blocks import Block, LossFunction, Readout, as_stack, run_blocks
from dlinear.bridge.autograd.modules import modules_among, trainable
from dlinear.bridge.autograd.step import as_step
from dlinear.errors import DomainError
from dlinear.rules.names import rule_family, with_fields
from dlinear.rules.output import End, Sections, sections
from dlinear.rules.two_passes import Layer, Passes, Products, Rule, forward_rule
from dlinear.rules.weighted import Call, Calls

__all__ = ["carried_back", "foton_backward", "make_orthonormal"]

# What is left out of the linear net: the activations that torch calls by these names, and dropout.
ACTIVATIONS = {
    *(torch.relu, torch.relu_, torch.tanh, torch.sigmoid),
    *(Tensor.relu, Tensor.relu_, Tensor.tanh, Tensor.sigmoid),
    *(
        functional.relu,
        functional.relu_,
        functional.leaky_relu,
        functional.elu,
        functional.selu,
        functional.gelu,
    ),
    *(functional.silu, functional.softplus, functional.tanh, functional.sigmoid, functional.dropout),
}


class _Linear(Calls):
    """Inside, layers have no bias and activations are the identity."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """The function, unless it is an activation."""
        if func in ACTIVATIONS:
            return args[0] if args else (kwargs or {})["input"]
        return super().__torch_function__(func, types, args, kwargs)

    def layer(self, call: Call) -> Tensor:
        """W h; of what entered the shape is kept, and nothing is kept for a gradient to W."""
        self.seen[-1] = replace(call, given=call.given.detach().new_empty(1).expand(call.given.shape))
        return call.run(call.given, self.stand_in.get(call.weight, call.weight).detach())


def carried_back(
    parts: Sections,
    x: Tensor,
    error: Tensor,
    stand_in: Mapping[Tensor, Tensor] | None = None,
    seen: list[Call] | None = None,
    rule: str = "foton",
) -> Tensor:
    """(W_L ... W_1)^T e, of the shape of x: the transposed linear net, activations and biases left out.

    Args:
        parts: the network.
        x: samples, of which the shape counts.
        error: e, of the shape of the output.
        stand_in: by weight, what replaces it.
        seen: gets the layers, in order; what entered them is a shape without numbers.
        rule: for messages.

    Raises:
        DomainError: without its activations and biases the network is not linear.
    """
    found = []
    for at in (x.detach(), torch.zeros_like(x)):
        start = at.clone().requires_grad_()
        with torch.enable_grad(), _Linear(stand_in) as linear:
            z = parts.head(run_blocks(parts.hidden, start))
        found.append(torch.autograd.grad(z, start, error.reshape(z.shape).to(z.dtype))[0])
    if seen is not None:
        seen.extend(linear.seen)
    tolerance = 100 * torch.finfo(x.dtype).eps * float(found[0].norm())
    if float((found[0] - found[1]).norm()) > tolerance:  # not so where weights have diverged to NaN
        raise DomainError(
            f"{rule} takes linear layers with activations that act on each unit (relu, tanh, sigmoid, gelu, "
            "...): something else here is not linear, pooling or normalisation for example"
        )
    return found[0]


@as_step
def foton_backward(
    blocks: Iterable[Block], x: Any, loss_fn: LossFunction, readout: Readout | None = None
) -> Tensor:
    """FOTON: add its products to `.grad`; return the loss of the clean pass, detached.

    Args:
        blocks: hidden layers, each a linear or convolutional layer with its activation, or nothing trained.
        x: one tensor of samples.
        loss_fn, readout: as for `horizon_backward`; the readout is the output layer if it trains.

    Raises:
        DomainError: a block that is no layer, a network that is not linear without its activations, nothing
            trained, a loss without gradient.
        ShapeError: x, states or outputs that are not one tensor of samples.
    """
    parts = sections(as_stack(blocks), readout)
    passes = Passes(parts, x, "foton")

    def modulation(last: End) -> Tensor:
        return -carried_back(parts, x, last.error)

    return forward_rule(passes, x, loss_fn, modulation, Rule(_clean_pre, _clean_output))


def _clean_pre(clean: Layer, modulated: Layer) -> Products:
    """(h_l - hmod_l) h_{l-1}^T."""
    return clean.products(clean.output - modulated.output)


def _clean_output(clean: End, modulated: End) -> Sequence[Tensor | None]:
    """e h_{L-1}^T."""
    found = dict(zip(clean.leaves, clean.gradients, strict=True))
    return [found.get(leaf) for leaf in modulated.leaves]


def make_orthonormal(blocks: Iterable[Block]) -> None:
    """Replace trained matrices of the blocks by the nearest with orthonormal rows (or columns), in place.

    The polar factor U V^T of W = U S V^T; call it on the hidden blocks, before training and after each step.
    Parameters keep their identity, so that optimizers keep them. What has diverged stays as it is.
    """
    with torch.no_grad():
        for parameter in trainable(modules_among(as_stack(blocks))):
            if parameter.ndim == 2 and bool(parameter.isfinite().all()):
                u, _, v = torch.linalg.svd(parameter, full_matrices=False)
                parameter.copy_(u @ v)


def _constrain(blocks: Iterable[Block], readout: Readout | None) -> None:
    """The hidden layers of a network are made row-orthonormal."""
    if hidden := sections(as_stack(blocks), readout).hidden:
        make_orthonormal(hidden)


FAMILIES = (
    with_fields(
        rule_family(
            "foton",
            foton_backward,
            "FOTON: x - (W_L ... W_1)^T e in a second pass",
            80,
            (4, 2, 7, 1),
            seeded=False,
        ),
        prepare=_constrain,
        after_step=_constrain,
    ),
)
