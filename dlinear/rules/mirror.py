"""Weight mirroring: feedback matrices that learn W_l^T from noise, for FA and for PEPITA.

After every step each layer is shown noise xi, N(0, s^2) in every coordinate, as many samples as the batch
has, and

    B_l <- (1 - decay) B_l + rate mean xi (W_l xi)^T

so that E B_l -> (rate s^2/decay) W_l^T at the rate (1 - decay)^k; for rate s^2 = decay, as by default, B_l
-> W_l^T. With b samples the stationary sin^2 of the angle between B_l and W_l^T is about decay c/((2 -
decay) b), c = n_in + 1 - 2 |W W^T|^2/|W|^4.

A convolution takes the mean over its positions too; where it pads with zeros, a tap goes to its weight
times the share of positions at which it lies inside.

    fa-mirror        FA with these B_l (feedback_alignment.py)
    pepita-mirror    PEPITA with s F = -scale B_1 B_2 ... B_L, which goes to -scale (W_L ... W_1)^T

Conventions: mirror="linear", the default, shows W xi, without activation and bias. mirror="activity" shows
sigma(W xi) in hidden layers, as the sources do: B_l <- (1 - decay) B_l + rate mean xi sigma(W_l xi)^T. This
goes to (rate s^2/decay) W_l^T diag(E sigma') (Stein's lemma): for ReLU half of W_l^T, the same direction; for
tanh each unit has a factor of its own. The output layer shows its logits in both: a softmax would give, for
small noise, the column-centred W. "activity" needs hidden blocks of one layer with its activation; they run
on zeros, with W xi for the answer of the layer, so that a skip adds nothing.

The signs of a step: s F has to go to *minus* the transposed product, the code of ravifrancesco/PEPITA flips
the sign of its first factor for that. There F is also normalised; here `scale` keeps its size.

The B_l are buffers of the modules that own the weights (`weight_mirror`): they are saved with the model,
and a run resumes to the same numbers. `prepare` makes them, in the trainer before the first step. B_l
starts as fixed feedback of FA does. Over several processes the B_l are not averaged: each process mirrors by
noise of its own, and its gradients come back by its own B_l.

Sources: Akrout et al., "Deep learning without weight transport" (2019); Srinivasan et al., arXiv 2302.05440.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dlinear.bridge.autograd.blocks import Block, LossFunction, Readout, as_stack, called
from dlinear.bridge.autograd.modules import modules_among
from dlinear.bridge.autograd.step import as_step
from dlinear.bridge.methods.base import Family, Method
from dlinear.checks import as_choice, as_number
from dlinear.errors import DomainError
from dlinear.rules import matrices
from dlinear.rules.feedback_alignment import layer_matrix, pulled_back_by
from dlinear.rules.foton import carried_back
from dlinear.rules.names import rule_family
from dlinear.rules.output import End, samples_of, sections
from dlinear.rules.pepita import pepita_with
from dlinear.rules.two_passes import one_layer
from dlinear.rules.weighted import Call, Calls

__all__ = ["MIRRORS", "fa_mirror_backward", "mirrored", "pepita_mirror_backward", "prepare"]

MIRRORS = ("linear", "activity")
RULE = 'mirror="activity"'  # for messages


def prepare(blocks: Iterable[Block], readout: Readout | None, seed: int = 0) -> dict[Tensor, Tensor]:
    """The B_l^T by weight, in its shape: buffers of the weights' modules, made where there are none.

    Raises:
        DomainError: a seed that is no integer >= 0.
    """
    matrices.check_knobs(seed, 1.0)
    found: dict[Tensor, Tensor] = {}
    places: dict[Tensor, int] = {}  # a layer that is frozen keeps its number
    outer = modules_among((*as_stack(blocks), readout))
    for module in dict.fromkeys(inner for one in outer for inner in one.modules()):
        for name, weight in list(module._parameters.items()):
            if weight is None or weight.ndim < 2 or weight in places:
                continue
            places[weight] = len(places)
            if not weight.requires_grad:
                continue
            if (buffer := _buffer(module, f"{name}_mirror")) is None:
                buffer = layer_matrix(weight.detach(), seed, places[weight]).clone()
                module.register_buffer(f"{name}_mirror", buffer)
            found[weight] = buffer
    return found


def _buffer(module: nn.Module, name: str) -> Tensor | None:
    return module._buffers.get(name)


def mirrored(call: Call, b: Tensor, rate: float, decay: float, noise: float) -> None:
    """One step of the mirror: B <- (1 - decay) B + rate mean xi (W xi)^T, in place, B in the shape of W."""
    with torch.no_grad():
        xi = noise * torch.randn_like(call.given)
        answer = call.run(xi, call.weight)
    _moved(call, xi, answer, b, rate, decay)


class _Noisy(Calls):
    """The layer gives W xi, whatever enters it."""

    def __init__(self, noise: float) -> None:
        super().__init__()
        self._noise = noise
        self.xi: list[Tensor] = []

    def layer(self, call: Call) -> Tensor:
        """W xi; xi is kept."""
        self.xi.append(self._noise * torch.randn_like(call.given))
        return call.run(self.xi[-1], call.weight)


def _active(
    hidden: Sequence[Block], x: Any, b: dict[Tensor, Tensor], rate: float, decay: float, noise: float
) -> set[Tensor]:
    """One step of "activity" for the weights of hidden blocks, which are returned."""
    done: set[Tensor] = set()
    state = x
    for t, block in enumerate(hidden):
        noisy = _Noisy(noise)
        with torch.no_grad(), noisy:
            state = samples_of(called(block)(torch.zeros_like(state)), t, RULE)
        call = one_layer(block, t, state, noisy, RULE)
        if call is not None:
            _moved(call, noisy.xi[0], state, b[call.weight], rate, decay)
            done.add(call.weight)
    return done


def _moved(call: Call, xi: Tensor, answer: Tensor, b: Tensor, rate: float, decay: float) -> None:
    """B <- (1 - decay) B + rate mean xi answer^T, in place, B in the shape of W."""
    axis = -1 if call.weight.ndim == 2 else 1
    rows = max(1, answer.numel() // answer.shape[axis])  # samples, times positions of a convolution
    b.mul_(1 - decay).add_(call.products(answer, xi)[call.weight].to(b.dtype), alpha=rate / rows)


def _check(rate: float, decay: float, noise: float, mirror: str) -> None:
    as_choice("mirror", mirror, MIRRORS)
    for name, value in (("mirror_rate", rate), ("noise", noise)):
        as_number(name, value)
    if not as_number("decay", decay) < 1:
        raise DomainError(f"decay is {decay}; expected a number >= 0 and < 1")


def _all_mirrored(
    hidden: Sequence[Block],
    seen: Iterable[Call],
    x: Any,
    b: dict[Tensor, Tensor],
    rate: float,
    decay: float,
    noise: float,
) -> None:
    """One step for each weight: those of `hidden` by their activities, then the others, in their order."""
    done = _active(hidden, x, b, rate, decay, noise)
    for weight, call in {call.weight: call for call in seen}.items():
        if weight not in done:
            mirrored(call, b[weight], rate, decay, noise)


@as_step
def fa_mirror_backward(
    blocks: Iterable[Block],
    x: Any,
    loss_fn: LossFunction,
    readout: Readout | None = None,
    seed: int = 0,
    mirror_rate: float = 0.1,
    decay: float = 0.1,
    noise: float = 1.0,
    mirror: str = "linear",
) -> Tensor:
    """FA with mirrored feedback: add its gradients to `.grad`, then step the mirror; the loss, detached.

    Args:
        blocks, x, loss_fn, readout: as of `fa_backward`.
        seed: of the B_l at the start.
        mirror_rate, decay, noise: rate, decay and s of the mirror (see above).
        mirror: "linear" or "activity".

    Raises:
        DomainError: as `fa_backward`, or a knob outside its range.
    """
    _check(mirror_rate, decay, noise, mirror)
    stack = as_stack(blocks)
    b = prepare(stack, readout, seed)
    loss, seen = pulled_back_by(lambda place, weight: b[weight], stack, x, loss_fn, readout, "fa-mirror")
    hidden = sections(stack, readout).hidden if mirror == "activity" else []
    _all_mirrored(hidden, seen, x, b, mirror_rate, decay, noise)
    return loss


@as_step
def pepita_mirror_backward(
    blocks: Iterable[Block],
    x: Any,
    loss_fn: LossFunction,
    readout: Readout | None = None,
    seed: int = 0,
    scale: float = 0.05,
    mirror_rate: float = 0.1,
    decay: float = 0.1,
    noise: float = 1.0,
    mirror: str = "linear",
) -> Tensor:
    """PEPITA with mirrored feedback: add its products to `.grad`, then step the mirror; the loss, detached.

    Args:
        blocks, x, loss_fn, readout: as of `pepita_backward`.
        seed: of the B_l at the start.
        scale: of F, > 0.
        mirror_rate, decay, noise: rate, decay and s of the mirror (see above).
        mirror: "linear" or "activity".

    Raises:
        DomainError, ShapeError: as `pepita_backward`, or a network that is not linear without activations.
    """
    _check(mirror_rate, decay, noise, mirror)
    matrices.check_knobs(seed, scale)
    stack = as_stack(blocks)
    b, seen = prepare(stack, readout, seed), list[Call]()
    parts = sections(stack, readout)

    def modulation(last: End) -> Tensor:
        return -scale * carried_back(parts, x, last.error, b, seen, "pepita-mirror")

    loss = pepita_with(modulation, stack, x, loss_fn, readout)
    hidden = parts.hidden if mirror == "activity" else []
    _all_mirrored(hidden, seen, x, b, mirror_rate, decay, noise)
    return loss


def _prepared(family: Family) -> Family:
    """The family, whose methods make their buffers before a run."""
    return replace(family, make=partial(_with_buffers, family))


def _with_buffers(family: Family, number: int | None) -> Method:
    return replace(family.make(number), prepare=partial(_prepare, number or 0))


def _prepare(seed: int, blocks: Iterable[Block], readout: Readout | None) -> None:
    prepare(blocks, readout, seed)


FAMILIES = (
    _prepared(
        rule_family("fa-mirror", fa_mirror_backward, "FA whose B_l learn W_l^T from noise", 78, (1, 1, 5, 1))
    ),
    _prepared(
        rule_family(
            "pepita-mirror",
            pepita_mirror_backward,
            "PEPITA whose F learns the transposed product of the weights from noise",
            79,
            (4, 2, 9, 1),
        )
    ),
)
