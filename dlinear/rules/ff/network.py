"""What forward-forward sees of a network: its conventions, layers, head and labels; the two predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from dlinear.bridge.autograd.block_graph import plain_precision
from dlinear.bridge.autograd.blocks import Block, Readout, as_stack, called
from dlinear.bridge.autograd.modules import modules_among, trainable
from dlinear.bridge.autograd.naming import located
from dlinear.checks import as_choice, as_flag, as_integer, as_number
from dlinear.errors import DomainError
from dlinear.rules.ff import goodness as layers
from dlinear.rules.ff.labels import OVERLAYS, overlaid
from dlinear.rules.ff.peer import SLOPES
from dlinear.rules.output import Sections, samples_of, sections
from dlinear.rules.two_passes import check_input

__all__ = ["PREDICTIONS", "RULE", "Knobs", "Net", "goodness_scores", "head_scores", "network"]

NEGATIVES = ("wrong", "neutral", "hard")
HEADS = ("last", "all")
RULE = "ff"


@dataclass(frozen=True)
class Knobs:
    """The conventions of forward-forward.

    Attributes:
        goodness: "channels", "sum", "mean" or "matched"; the first two differ in convolutions alone.
        theta: threshold; None for the convention's own.
        length: of a layer's input, "rms", "norm" or "none".
        overlay: where the label is, "pixels" or "planes".
        on: value of the label's input.
        negatives: "wrong", "neutral" or "hard".
        peer: strength of peer normalisation, 0 for none.
        peer_momentum: of the mean activities.
        peer_slope: "full" or "own" (peer.py).
        head: what the head sees: "last", the last layer, or "all", the layers but the first, concatenated.
        first: whether the first layer's goodness counts in predictions; one that is alone does.
        classes: K; None for the outputs of the head's last weight.

    Raises:
        DomainError: a value outside its range.
    """

    goodness: str = "channels"
    theta: float | None = None
    length: str = "rms"
    overlay: str = "pixels"
    on: float = 1.0
    negatives: str = "wrong"
    peer: float = 0.0
    peer_momentum: float = 0.9
    peer_slope: str = "full"
    head: str = "last"
    first: bool = False
    classes: int | None = None

    def __post_init__(self) -> None:
        for name, allowed in (
            ("goodness", layers.GOODNESS),
            ("length", layers.LENGTHS),
            ("overlay", OVERLAYS),
            ("negatives", NEGATIVES),
            ("peer_slope", SLOPES),
            ("head", HEADS),
        ):
            as_choice(name, getattr(self, name), allowed)
        as_flag("first", self.first)
        as_number("on", self.on)
        as_number("peer", self.peer)
        if self.theta is not None:
            as_number("theta", self.theta, None)
        if not as_number("peer_momentum", self.peer_momentum) < 1:
            raise DomainError(f"peer_momentum is {self.peer_momentum}; expected a number >= 0 and < 1")
        if self.classes is not None:
            as_integer("classes", self.classes, 2)

    def __str__(self) -> str:
        """What differs from the defaults."""
        own = [(f.name, getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) != f.default]
        return ",".join(f"{name}={value}" for name, value in own)


@dataclass(frozen=True)
class Net:
    """A network as forward-forward sees it.

    Attributes:
        parts: the blocks that learn locally, and the head.
        trained: of each of these blocks, whether it is a layer.
        classes: K.
        knobs: the conventions.
    """

    parts: Sections
    trained: list[bool]
    classes: int
    knobs: Knobs

    def labelled(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """x with a label, or the neutral one."""
        return overlaid(x, labels, self.classes, self.knobs.overlay, self.knobs.on)

    def entering(self, state: Tensor) -> Tensor:
        """What a layer is given."""
        return layers.of_length(state, self.knobs.length)

    def passed(self, t: int, state: Tensor) -> Tensor:
        """Block t without a graph."""
        with torch.no_grad(), located(f"block {t}", state):
            return samples_of(called(self.parts.hidden[t])(state), t, RULE)


def network(
    blocks: Iterable[Block], x: Any, readout: Readout | None, knobs: Knobs, below: int | None = None
) -> Net:
    """The network; its first `below` blocks learn locally, all before the output layer for None.

    Raises:
        ShapeError: x is no tensor of samples.
        DomainError: no layer below the output layer, or a number of classes that has to be said.
    """
    check_input(x, RULE)
    stack = as_stack(blocks)
    parts = sections(stack, readout, below)
    trained = [bool(trainable(modules_among((block,)))) for block in parts.hidden]
    if below is None and not any(trained):
        raise DomainError(f"{RULE} trains layers below the output layer; here is none")
    if (classes := knobs.classes) is None:
        weights = [p for p in trainable(modules_among((*stack[len(parts.hidden) :], readout))) if p.ndim > 1]
        if not weights:
            raise DomainError(
                f"{RULE} cannot see the number of classes: the head has no weight; give classes="
            )
        classes = len(weights[-1])
    return Net(parts, trained, classes, knobs)


def head_input(net: Net, x: Tensor) -> Tensor:
    """The normalised activities of the neutral pass."""
    state, seen = net.labelled(x, None), list[Tensor]()
    for t, trained in enumerate(net.trained):
        state = net.passed(t, net.entering(state) if trained else state.clone())
        if trained and net.knobs.head == "all":  # otherwise one state alone is alive
            seen.append(state)
    if net.knobs.head == "last" or not seen:
        return net.entering(state)
    return torch.cat([net.entering(h).flatten(1) for h in seen[1:] or seen], 1)


def goodness_of(net: Net, x: Tensor) -> Tensor:
    """The goodness of every label, (N, K), summed over the layers that count."""
    skipped = 0 if net.knobs.first or sum(net.trained) < 2 else net.trained.index(True) + 1
    columns = []
    for k in range(net.classes):
        state = net.labelled(x, torch.full((len(x),), k, device=x.device))
        total = torch.zeros(len(x), dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)
        for t, trained in enumerate(net.trained):
            if not trained:
                state = net.passed(t, state)
                continue
            if t < skipped:
                state = net.passed(t, net.entering(state))
                continue
            one = layers.layer_pass(net.parts.hidden[t], net.entering(state), t, net.knobs.goodness, RULE)
            state = one.output
            total += one.goodness
        columns.append(total)
    return torch.stack(columns, 1)


def goodness_scores(
    blocks: Iterable[Block],
    x: Tensor,
    readout: Readout | None = None,
    knobs: Knobs = Knobs(),
    below: int | None = None,
) -> Tensor:
    """Goodness of x with each label, (N, K): the prediction is its argmax. K passes."""
    with torch.no_grad(), plain_precision(x.device):
        return goodness_of(network(blocks, x, readout, knobs, below), x)


def head_scores(
    blocks: Iterable[Block],
    x: Tensor,
    readout: Readout | None = None,
    knobs: Knobs = Knobs(),
    below: int | None = None,
) -> Tensor:
    """The head's outputs on the neutral label, (N, K). One pass."""
    with torch.no_grad():
        net = network(blocks, x, readout, knobs, below)
        found: Tensor = net.parts.head(head_input(net, x))
    return found


PREDICTIONS: dict[str, Callable[..., Tensor]] = {"goodness": goodness_scores, "head": head_scores}
