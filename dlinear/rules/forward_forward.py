"""Forward-forward (Hinton): every layer learns alone, to have much goodness on true labels, little on wrong.

The label is part of the input (ff/labels.py); the input of each layer is brought to one length, so that it
says nothing of the goodness of the layer below (ff/goodness.py). For layer l, with g+ of the positive samples
and g- of the negative ones,

    L_l = 1/2 mean [softplus(theta - g+) + softplus(g- - theta)]
    dL_l/dW = 1/2 mean [-(1 - p+) dg+/dW + p- dg-/dW],    p = sigma(g - theta)

and nothing else: no signal passes between layers. The output layer is a softmax head on the normalised
activities of a third pass with the neutral label; its gradient is that of the given loss, cut off from the
layers below. What comes before the output layer is a layer if it trains something, and passed otherwise
(pooling, flattening), without a length of its own.

Two ways to predict (`PREDICTIONS` of ff/network.py; a method has one of them as `predict`):

    goodness    argmax over the labels k of the goodness of x with label k, summed over all layers but the
                first: K passes
    head        the head on the neutral label: one pass

Negatives: "wrong", uniform on the wrong labels; "neutral", in proportion to the head's own probabilities of
them (the paper's hard negatives, no further pass); "hard", in proportion to exp(goodness) of x with each
label (K further passes).

Conventions. Published codes take the mean over positives and negatives together, hence the 1/2. "sum" with
theta = n, "rms" and peer normalisation .03 are those of loeweX/Forward-Forward, "mean" with theta = 2 and
"norm" those of mpezeshki/pytorch_forward_forward: a layer's input is then shorter by sqrt(n), and its
gradient by a factor n; rates are not the same. Gradients come from autograd inside one layer; tests compare
them with the formula in numpy. Autocast is off in layers that learn alone and in predictions by goodness:
what counts is of order 1 in a sum of thousands. Batch norm sees the three passes apart, its running
statistics are those of all three, and dropout draws for each.

Source: Hinton, "The forward-forward algorithm: some preliminary investigations", arXiv 2212.13345."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dlinear.bridge.autograd.block_graph import plain_precision
from dlinear.bridge.autograd.blocks import Block, LossFunction, Readout, as_stack, check_gradients_are_on
from dlinear.bridge.autograd.gradient_sum import GradientSum, accumulate
from dlinear.bridge.autograd.step import as_step
from dlinear.bridge.methods.base import Cost, Family, Method, Predicted, named
from dlinear.checks import as_choice, as_integer
from dlinear.errors import ShapeError
from dlinear.rules.ff import goodness as layers
from dlinear.rules.ff.labels import hard_labels, wrong_labels
from dlinear.rules.ff.network import PREDICTIONS, RULE, Knobs, Net, goodness_of, head_input, network
from dlinear.rules.ff.peer import peer_mean, peer_products, prepare_peers
from dlinear.rules.output import end, labels_of, sections

__all__ = ["Knobs", "ff_backward", "forward_forward"]


@as_step
def ff_backward(
    blocks: Iterable[Block],
    x: Any,
    loss_fn: LossFunction,
    readout: Readout | None = None,
    knobs: Knobs = Knobs(),  # noqa: B008 - frozen
    below: int | None = None,
) -> Tensor:
    """Forward-forward: add the gradients of layers and head to `.grad`; return the head's loss, detached.

    Args:
        blocks: layers with their activations; any module of one tensor, one linear or convolutional layer
            each with the matched goodness or full peer normalisation.
        x: one tensor of samples, without labels.
        loss_fn: `Supervised` with labels; the loss of the head.
        readout: the head, if it trains.
        knobs: the conventions.
        below: how many blocks learn so; the rest is back-propagated (`hybrid-K`). None for all but the head.

    Raises:
        DomainError: a loss without labels, no layer, fewer than 2 classes, a block that is no layer where one
            is needed.
        ShapeError: x, states or outputs that are not one tensor of samples, or fewer inputs than classes.
    """
    check_gradients_are_on()
    net = network(blocks, x, readout, knobs, below)
    with plain_precision(x.device):
        seen = head_input(net, x.detach())
    last = end(net.parts, seen, loss_fn)
    labels = labels_of(loss_fn, last.z, RULE)
    if last.z.shape[1] != net.classes:
        raise ShapeError(
            f"the head gives {last.z.shape[1]} outputs; {RULE} has labels of {net.classes} classes"
        )
    found = GradientSum(net.parts.hidden)
    found.add(last.leaves, last.gradients)
    with plain_precision(x.device):
        states = [net.labelled(x, labels), net.labelled(x, _negatives(net, x, labels, last.z.detach()))]
        for t, trained in enumerate(net.trained):
            if trained:
                states = _learn(net, t, [net.entering(state) for state in states], last.unit, found)
            else:
                states = [net.passed(t, state) for state in states]
    accumulate(found.gradients)
    return last.loss


def _negatives(net: Net, x: Tensor, labels: Tensor, z: Tensor) -> Tensor:
    """A wrong label for each sample."""
    if net.knobs.negatives == "wrong":
        return wrong_labels(labels, net.classes)
    if net.knobs.negatives == "neutral":
        return hard_labels(labels, z)
    with torch.no_grad():
        return hard_labels(labels, goodness_of(net, x.detach()))


def _learn(net: Net, t: int, states: list[Tensor], unit: float, found: GradientSum) -> list[Tensor]:
    """The gradients of layer t from a positive and a negative state; what it hands on."""
    knobs, block = net.knobs, net.parts.hidden[t]
    positive, negative = (
        layers.layer_pass(block, state, t, knobs.goodness, RULE, as_layer)
        for state, as_layer in zip(states, (knobs.peer > 0, False), strict=True)
    )
    theta = knobs.theta
    if theta is None:
        theta = layers.threshold(knobs.goodness, positive.output)
    for one, weight in (
        (positive, -torch.sigmoid(theta - positive.goodness)),  # -(1 - p+)
        (negative, torch.sigmoid(negative.goodness - theta)),  # p-
    ):
        products = one.products(weight * (unit / 2))
        found.add(products, products.values())
    if knobs.peer > 0:
        products = peer_products(
            positive, peer_mean(block, t), knobs.peer, knobs.peer_momentum, knobs.peer_slope, unit
        )
        found.add(products, products.values())
    return [positive.output, negative.output]


def forward_forward(
    knobs: Knobs = Knobs(),  # noqa: B008 - frozen
    predict: str = "goodness",
    below: int | None = None,
    name: str = "",
    description: str = "forward-forward: goodness of true against wrong labels, layer by layer",
) -> Method:
    """The method with any conventions, for the trainer.

    Args:
        knobs: the conventions.
        predict: how an evaluation predicts, "goodness" (K passes) or "head" (one).
        below: as of `ff_backward`.
        name: by which checkpoints know it; made of the knobs when empty.
        description: one line.
    """
    as_choice("predict", predict, tuple(PREDICTIONS))
    if below is not None:
        as_integer("below", below)
    family = name.removesuffix(f"-{below}") or (RULE if below is None else "hybrid")
    said = ",".join(part for part in (str(knobs), f"predict={predict}") if part)
    hebbian = knobs.goodness == "matched"
    return Method(
        name=name or f"{named(family, below)}[{said}]",
        family=family,
        number=below,
        description=description,
        exact=False,
        run=partial(ff_backward, knobs=knobs, below=below),
        cost=partial(_cost, below, hebbian),
        predicted=partial(_predicted, below),
        prepare=partial(_prepare, below) if knobs.peer > 0 else None,
        predict=partial(PREDICTIONS[predict], knobs=knobs, below=below),
    )


def _prepare(below: int | None, blocks: Iterable[Block], readout: Readout | None) -> None:
    prepare_peers(sections(as_stack(blocks), readout, below).hidden)


def _cost(below: int | None, hebbian: bool, depth: int) -> Cost:
    """T blocks below a trained head: those that learn alone have a neutral, a positive and a negative pass.

    Each of the last two has a vector-Jacobian product; none where the product is Hebbian.
    """
    local = depth if below is None else min(below, depth)
    return Cost(depth + 2 * local, depth - local + (0 if hebbian else 2 * local))


def _predicted(below: int | None, depth: int) -> Predicted:
    """One layer alone is alive at once, or all that are back-propagated."""
    local = depth if below is None else min(below, depth)
    return Predicted(max(1, depth - local) / depth, (5 * local + 3 * (depth - local)) / (3 * depth))


def _made(name: str, knobs: Knobs, description: str, number: int | None) -> Method:
    """A method of the registry."""
    return forward_forward(knobs, name=name, description=description)


def _family(name: str, knobs: Knobs, description: str, place: int) -> Family:
    """A name without a number."""
    make = partial(_made, name, knobs, description)
    return Family(name, make, least=None, bare=True, place=place, listed=False)


FAMILIES = (
    _family(
        "ff", Knobs(), "forward-forward, goodness the sum of squares (of a convolution over channels)", 85
    ),
    _family("ff-mean", Knobs(goodness="mean"), "forward-forward, goodness the mean of squares", 86),
    _family("ff-matched", Knobs(goodness="matched"), "forward-forward, Hebbian for every activation", 87),
    _family("ff-hard", Knobs(negatives="neutral"), "forward-forward, wrong labels drawn by the head", 88),
)
