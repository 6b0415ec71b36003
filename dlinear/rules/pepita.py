"""PEPITA: two forward passes, the second with the error added to the input; three modes.

With h_l of the clean pass and herr_l of the one from herr_0 = x + s F e, F (n_0, K) fixed and random, s =
+-1:

    original     G_l = mean (h_l - herr_l) herr_{l-1}^T
    hebbian      G_l = mean h_l h_{l-1}^T - herr_l herr_{l-1}^T
    local        as hebbian, but the second pass runs on W_l - rate mean h_l h_{l-1}^T (in its term too):
                 the first term is applied in the first pass, so that nothing is kept between the passes
    output       G_L = mean e herr_{L-1}^T       "clean": e of the clean pass
                 G_L = mean eerr herr_{L-1}^T    "modulated": the error of the modulated output

No derivative of the activation appears. A bias is the weight of a unit that is 1. F is uniform on
+-scale sqrt(6/n_0), scale .05.

Conventions: published code differs. GiorgiaD/PEPITA (s = +1) has the modulated error in its general last
layer and the clean one in the branch of one layer after convolutions; ravifrancesco/PEPITA has the clean
error, the default here. The fan of F's law is n_0 in one place of that code and K in an older one, a factor
sqrt(n_0/K). One dropout mask serves both passes, as there. The rate of "local" is the optimizer's: only with
that value the sum of the two terms is what two separate steps do. The trainer gives it where the optimizer is
plain SGD; elsewhere it is the knob `rate`.

The Hebbian mode of the second source has z h_{L-1}^T - y* herr_{L-1}^T, z its softmax output, in the output
layer, and overwrites all layers by the original rule afterwards; here the output layer is the same in all
modes.

Normalised activities, which the second source has for deep nets, are part of the model:
nn.Sequential(layer, activation, `UnitLength()`). Its own module divides by the norm of the whole batch, so
that a sample's activity depends on the others and falls as 1/sqrt(N): `UnitLength(over="batch")` is that one.

In a block with a skip h_l is what the block hands on, skip included.

Sources: Dellaferrera and Kreiman, "Error-driven input modulation" (2022); Srinivasan et al., arXiv
2302.05440, for the Hebbian and the local mode."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dlinear.bridge.autograd.blocks import Block, LossFunction, Readout, as_stack
from dlinear.bridge.autograd.step import as_step
from dlinear.checks import as_choice, as_number
from dlinear.errors import DomainError
from dlinear.rules import matrices
from dlinear.rules.names import rule_family, with_fields
from dlinear.rules.output import End, sections
from dlinear.rules.two_passes import Layer, Passes, Products, Rule, forward_rule

__all__ = ["MODES", "OUTPUTS", "input_matrix", "pepita_backward", "pepita_with"]

MODES = ("original", "hebbian", "local")
OUTPUTS = ("clean", "modulated")


def input_matrix(features: int, outputs: int, seed: int, scale: float = 0.05) -> Tensor:
    """F, (n_0, K), float64: uniform on +-scale sqrt(6/n_0)."""
    bound = scale * math.sqrt(6 / features)
    shape = (features, outputs)
    return matrices.uniform(shape, bound, seed, matrices.INPUT, 0, torch.float64, torch.device("cpu"))


@as_step
def pepita_backward(
    blocks: Iterable[Block],
    x: Any,
    loss_fn: LossFunction,
    readout: Readout | None = None,
    seed: int = 0,
    scale: float = 0.05,
    mode: str = "original",
    output: str = "clean",
    sign: int = 1,
    rate: float = 0.01,
) -> Tensor:
    """PEPITA: add its products to `.grad`; return the loss of the clean pass, detached.

    Args:
        blocks: hidden layers, each a linear or convolutional layer with its activation, or nothing trained.
        x: one tensor of samples.
        loss_fn, readout: as for `horizon_backward`; the readout is the output layer if it trains.
        seed: of F, an integer >= 0.
        scale: factor of its law, > 0.
        mode: "original", "hebbian" or "local".
        output: whose error the output layer learns from, "clean" or "modulated".
        sign: s, 1 or -1.
        rate: of mode "local": the learning rate of the step between its passes (the trainer's SGD gives its
            own).

    Raises:
        DomainError: a knob outside its range, a block that is no layer, nothing trained, a loss without
            gradient.
        ShapeError: x, states or outputs that are not one tensor of samples.
    """
    matrices.check_knobs(seed, scale)
    if sign not in (1, -1) or isinstance(sign, bool):
        raise DomainError(f"sign is {sign!r:.60}; expected 1 or -1")

    def feedback(last: End) -> Tensor:
        f = input_matrix(x[0].numel(), last.error.shape[1], seed, scale).to(last.error)
        return sign * (last.error @ f.T)

    return pepita_with(feedback, as_stack(blocks), x, loss_fn, readout, mode, output, rate)


def pepita_with(
    modulation: Callable[[End], Tensor],
    stack: list[Block],
    x: Any,
    loss_fn: LossFunction,
    readout: Readout | None,
    mode: str = "original",
    output: str = "clean",
    rate: float = 0.01,
) -> Tensor:
    """PEPITA with any s F e: modulation(end of the clean pass), (N, n_0)."""
    as_choice("mode", mode, MODES)
    as_choice("output", output, OUTPUTS)
    as_number("rate", rate)
    passes = Passes(sections(stack, readout), x, "pepita")
    errors = _clean_error if output == "clean" else _modulated_error
    if mode == "original":
        rule = Rule(_original, errors)
    else:
        rule = Rule(_hebbian, errors, first=_first, rate=rate if mode == "local" else None)
    return forward_rule(passes, x, loss_fn, modulation, rule)


def _original(clean: Layer, modulated: Layer) -> Products:
    """(h_l - herr_l) herr_{l-1}^T."""
    return modulated.products(clean.output - modulated.output)


def _first(clean: Layer) -> Products:
    """h_l h_{l-1}^T."""
    return clean.products(clean.output)


def _hebbian(clean: Layer, modulated: Layer) -> Products:
    """herr_l herr_{l-1}^T, which is taken from the first."""
    return modulated.products(modulated.output)


def _clean_error(clean: End, modulated: End) -> Sequence[Tensor | None]:
    """e at the modulated state."""
    return torch.autograd.grad(modulated.z, modulated.leaves, clean.signal, allow_unused=True)


def _modulated_error(clean: End, modulated: End) -> Sequence[Tensor | None]:
    """The gradient of the loss of the modulated pass."""
    return modulated.gradients


FAMILIES = (
    rule_family(
        "pepita", pepita_backward, "PEPITA: (h - herr) herr^T from two forward passes", 75, (2, 0, 3, 1)
    ),
    rule_family(
        "pepita-hebbian",
        partial(pepita_backward, mode="hebbian"),
        "PEPITA as two Hebbian terms, h h^T - herr herr^T",
        76,
        (2, 0, 4, 1),
        memory_of_one=True,
    ),
    with_fields(
        rule_family(
            "pepita-local",
            partial(pepita_backward, mode="local"),
            "PEPITA's Hebbian terms one after the other, the second on updated weights",
            77,
            (2, 0, 4, 1),
            memory_of_one=True,
        ),
        takes_rate=True,
    ),
)
