"""Predictive forward-forward (PFF): a recurrent circuit settles under a label, each layer with a goodness.

With n(z) = z/|z|, z_0 = x, the label y of a sample as a one-hot row, and all states of the step before on the
right-hand side (pff_circuit.py has the parameters):

    a_l = W_l n(z_{l-1}) + b_l + V_l n(z_{l+1}) - I_l z_l + noise eps,   V_L (scale y) from the label
    z_l <- (1 - alpha) sigma(a_l) + alpha z_l                       `steps` times, from one pass without label
    I_l = max(M_l, 0) between units of a group of 10, - max(M_l, 0) of a unit with itself

The samples come twice, with the true label (t = 1) and with a wrong one (t = 0). In every step

    L_l = mean [softplus(u) - t u],  u = theta - |z_l|^2        true labels are to have *little* goodness
    delta_l = 2 (t - p) z_l (1 - alpha) [* sigma'_l],  p = logistic(u)
    G of W_l, V_l, M_l: delta_l times what each saw; nothing passes between layers
    output        G_L = mean e n(z_L)^T of the true labels, z_L before the step
    generative    D_l: mean 2 (p - z_{l-1}) n(max(z_l + noise, 0))^T, p = max(D_l n(...), 0) the prediction of
                  what enters layer l (of x without the max)

`slope="full"` leaves out sigma'_l, as the source does: its ReLU passes every gradient, and for alpha > 0 a
silent unit has a state of its own; "own" is the derivative.

Two ways to predict: "settled", the label under which |z|^2, averaged over layers, is least in the middle
steps (K settlings), or "head", the output layer after one pass without label. In the source the output layer
learns from states that have settled under the true label, which tell it the label: after a pass without one
it stays near chance on the digits. `head="first"` trains it on that pass.

Conventions. The source steps its optimizer (Adam 2.5e-4, entries of gradients clipped to 1) after each of 12
settling steps; here a step of the method takes the mean of the gradients of all its steps, at the same
weights. Its head has the loss times `scale`, since the label that is scaled for the circuit is used there
too; here it has the given loss. Its groups need a width that 10 divides; here a last group may be smaller.
Its middle steps are K/2 - 1 and K/2 counted from 0, two of which are summed and divided by 3; so here. Left
out: the latent state above the generative circuit, its weights and the clip of predictions to [0, 1] (they
serve sampling). Widths 2000, batch 500, 60 epochs. The paper's accuracies were not verified.

The parameters must exist before the optimizer: the trainer calls `Method.prepare`.

Source: Ororbia and Mali, "The predictive forward-forward algorithm", arXiv 2301.01452; equations and
conventions as in ago109/predictive-forward-forward (pff_rnn.py, sim_train.py), read, not run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dlinear.bridge.autograd.block_graph import plain_precision
from dlinear.bridge.autograd.blocks import Block, LossFunction, Readout, check_gradients_are_on
from dlinear.bridge.autograd.gradient_sum import GradientSum, accumulate
from dlinear.bridge.autograd.step import as_step
from dlinear.bridge.methods.base import Cost, Family, Method, Predicted, named
from dlinear.checks import as_choice, as_integer, as_number
from dlinear.errors import DomainError, ShapeError
from dlinear.rules import matrices
from dlinear.rules.ff.labels import wrong_labels
from dlinear.rules.output import End, end, labels_of
from dlinear.rules.pff_circuit import RULE, Circuit, circuit, prediction, products
from dlinear.rules.two_passes import check_input, scaled

__all__ = ["PREDICTIONS", "Settling", "pff_backward", "predictive_forward_forward"]

SLOPES = ("full", "own")
HEADS = ("settled", "first")


@dataclass(frozen=True)
class Settling:
    """The conventions.

    Attributes:
        steps: of settling, >= 2.
        theta: threshold of the goodness.
        alpha: share of the old state in the new one, in [0, 1).
        scale: value of the label in what comes down.
        noise: standard deviation before the activations; generative_noise: of what predictions start from.
        slope: "full" or "own".
        head: the states that the output layer learns from: "settled", before each step, or "first", of the
            pass without label.
        seed: of V, M and D.

    Raises:
        DomainError: a value outside its range.
    """

    steps: int = 12
    theta: float = 10.0
    alpha: float = 0.3
    scale: float = 5.0
    noise: float = 0.01
    generative_noise: float = 0.025
    slope: str = "full"
    head: str = "settled"
    seed: int = 0

    def __post_init__(self) -> None:
        as_integer("steps", self.steps, 2)
        as_number("theta", self.theta, None)
        for name in ("scale", "noise", "generative_noise"):
            as_number(name, getattr(self, name))
        if not as_number("alpha", self.alpha) < 1:
            raise DomainError(f"alpha is {self.alpha}; expected a number >= 0 and < 1")
        as_choice("slope", self.slope, SLOPES)
        as_choice("head", self.head, HEADS)
        matrices.check_knobs(self.seed, 1.0)


@as_step
def pff_backward(
    blocks: Iterable[Block],
    x: Any,
    loss_fn: LossFunction,
    readout: Readout | None = None,
    settling: Settling = Settling(),
) -> Tensor:
    """PFF: add the mean gradients of all settling steps to `.grad`; return the head's loss, detached.

    The loss is that of one pass without label.

    Args:
        blocks: each one linear layer with its activation, or nothing trained.
        x: one tensor of samples, without labels.
        loss_fn: `Supervised` with labels; the loss of the head.
        readout: the head, if it trains.
        settling: the conventions.

    Raises:
        DomainError: a loss without labels, fewer than 2 classes, a block that is no linear layer.
        ShapeError: x, states or outputs that are not one tensor of samples.
    """
    check_gradients_are_on()
    check_input(x, RULE)
    net = circuit(blocks, readout, settling.seed, settling.alpha)
    found = GradientSum()
    with plain_precision(x.device):
        start = net.forward(x.detach())
        first = _head(net, start[-1], loss_fn)
        labels = labels_of(loss_fn, first.z, RULE)
        if first.z.shape[1] != net.classes:
            raise ShapeError(
                f"the head gives {first.z.shape[1]} outputs, its last weight {net.classes}; {RULE} takes a "
                "head that ends with its weight"
            )
        for given, true in ((labels, True), (wrong_labels(labels, net.classes), False)):
            _settle(net, x.detach(), start, given, true, loss_fn, first, settling, found)
    accumulate(found.gradients)
    return first.loss


def _head(net: Circuit, state: Tensor, loss_fn: LossFunction) -> End:
    """The output layer on z_L at length 1."""
    return end(replace(net.parts, head=net.scores), state, loss_fn)


def _label(net: Circuit, labels: Tensor, like: Tensor, scale: float) -> Tensor:
    return scale * functional.one_hot(labels.long(), net.classes).to(like.dtype)


def _settle(
    net: Circuit,
    x: Tensor,
    states: list[Tensor],
    labels: Tensor,
    true: bool,
    loss_fn: LossFunction,
    first: End,
    knobs: Settling,
    found: GradientSum,
) -> None:
    """All steps of the samples with one set of labels; their mean gradients are added."""
    given = _label(net, labels, x, knobs.scale)
    for k in range(knobs.steps):
        if true and (k == 0 or knobs.head == "settled"):
            last = first if k == 0 else _head(net, states[-1], loss_fn)
            share = 1 / knobs.steps if knobs.head == "settled" else 1.0
            found.add(last.leaves, [None if g is None else share * g for g in last.gradients])
        moved = net.step(x, states, given, knobs.noise, knobs.slope == "own")
        after: list[Tensor] = []
        for place, (layer, one) in enumerate(zip(net.layers, moved, strict=True)):
            after.append(one.state)
            p = torch.sigmoid(knobs.theta - one.state.pow(2).sum(1, keepdim=True))
            delta = one.slope_times(2 * (float(true) - p) * one.state * (1 - knobs.alpha))
            weight = first.unit / (2 * knobs.steps)  # the mean over both sets of samples and all steps
            some = products(layer, one, delta)
            some |= prediction(layer, one, knobs.generative_noise, place > 0)[1]
            some = scaled(some, weight)
            found.add(some, some.values())
        states = after


def settled_scores(
    blocks: Iterable[Block],
    x: Tensor,
    readout: Readout | None = None,
    settling: Settling = Settling(),
) -> Tensor:
    """Minus the goodness of x with each label, (N, K), in the middle steps: the prediction is its argmax."""
    with torch.no_grad():
        net = circuit(blocks, readout, settling.seed, settling.alpha)
        start, half, columns = net.forward(x), settling.steps // 2, []
        for k in range(net.classes):
            labels = torch.full((len(x),), k, device=x.device)
            states, total = start, torch.zeros(len(x), dtype=x.dtype, device=x.device)
            for step in range(half + 1):
                moved = net.step(x, states, _label(net, labels, x, settling.scale), 0.0, False)
                states = [one.state for one in moved]
                if step >= half - 1:
                    total -= torch.stack([z.pow(2).sum(1) for z in states]).mean(0)
            columns.append(total / 3)
    return torch.stack(columns, 1)


def head_scores(
    blocks: Iterable[Block],
    x: Tensor,
    readout: Readout | None = None,
    settling: Settling = Settling(),
) -> Tensor:
    """The output layer after one pass without label, (N, K)."""
    with torch.no_grad():
        net = circuit(blocks, readout, settling.seed, settling.alpha)
        return net.scores(net.forward(x)[-1])


PREDICTIONS = {"settled": settled_scores, "head": head_scores}


def predictive_forward_forward(
    settling: Settling = Settling(),
    predict: str = "settled",
    number: int | None = None,
    name: str = "",
) -> Method:
    """The method with any conventions, for the trainer.

    Args:
        settling: the conventions.
        predict: how an evaluation predicts, "settled" or "head".
        number: replaces the seed of V, M and D.
        name: by which checkpoints know it; made of the conventions when empty.
    """
    as_choice("predict", predict, tuple(PREDICTIONS))
    settling = settling if number is None else replace(settling, seed=number)
    return Method(
        name=name or f"{named(RULE, number)}[{settling},predict={predict}]",
        family=RULE,
        number=number,
        description="predictive forward-forward: a recurrent circuit settles under a label",
        exact=False,
        run=partial(pff_backward, settling=settling),
        cost=partial(_cost, settling.steps),
        predicted=partial(_predicted, settling.steps),
        prepare=partial(_prepare, settling),
        predict=partial(PREDICTIONS[predict], settling=settling),
    )


def _prepare(settling: Settling, blocks: Iterable[Block], readout: Readout | None) -> None:
    circuit(blocks, readout, settling.seed, settling.alpha)


def _cost(steps: int, depth: int) -> Cost:
    """One pass without label, and `steps` with each of two labels."""
    return Cost((1 + 2 * steps) * depth, 0)


def _predicted(steps: int, depth: int) -> Predicted:
    """Four products with a matrix forward (W, V, M, D) and four for their gradients, in each step.

    Alive are the states at the start, before a step and after it.
    """
    return Predicted(3.0, (1 + 16 * steps) / 3)


def _made(number: int | None) -> Method:
    return predictive_forward_forward(number=number, name=named(RULE, number))


FAMILIES = (Family(RULE, _made, least=1, bare=True, place=93, listed=False),)
