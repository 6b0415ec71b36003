"""Two forward passes, the second on another input: what PEPITA and FOTON share.

    clean        h_l = sigma(W_l h_{l-1}), h_0 = x;  e the error of the output
    modulated    the same layers from x + (a function of e): activities herr_l

Nothing goes back: each layer's product is (something of its two activities) x (what entered it). A block is
one linear or convolutional layer with what follows it (activation, dropout, a skip; h_l is what it hands
on), or it trains nothing. Both passes have the same dropout masks, and running statistics are updated once.
Autocast is off inside: the difference of two activities that are nearly equal has no digits in half
precision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dlinear.bridge.autograd.block_graph import plain_precision
from dlinear.bridge.autograd.blocks import Block, LossFunction, called, check_gradients_are_on
from dlinear.bridge.autograd.gradient_sum import GradientSum, accumulate
from dlinear.bridge.autograd.modules import modules_among
from dlinear.bridge.autograd.naming import located
from dlinear.bridge.autograd.replay import Replay
from dlinear.errors import DomainError, ShapeError
from dlinear.rules.output import End, Sections, end, samples_of
from dlinear.rules.weighted import Call, Calls, own_parameters

__all__ = ["Layer", "Passes", "Products", "forward_rule"]

Products = dict[Tensor, Tensor]  # by weight or bias, summed over the samples


@dataclass(frozen=True)
class Layer:
    """One block in one pass.

    Attributes:
        call: its layer, None for a block that trains nothing.
        output: h_l, what it hands on.
    """

    call: Call | None
    output: Tensor

    def products(self, post: Tensor) -> Products:
        """post x (what entered this layer)."""
        return {} if self.call is None else self.call.products(post, self.call.given)


class Passes:
    """The two passes of one step, over the blocks before the output layer."""

    def __init__(self, parts: Sections, x: Any, rule: str) -> None:
        check_input(x, rule)
        self.parts, self.rule = parts, rule
        self._replay = Replay(parts.hidden, x, parts.head)

    def run(self, x: Tensor, stand_in: Sequence[Mapping[Tensor, Tensor]] = ()) -> tuple[list[Layer], Tensor]:
        """All hidden blocks from x, on the weights of `stand_in` where it is given; the last state."""
        layers: list[Layer] = []
        state = x.detach()
        for t in range(len(self.parts.hidden)):
            layers.append(self._layer(t, state, stand_in[t] if stand_in else {}))
            state = layers[-1].output
        return layers, state

    def end(self, state: Tensor, loss_fn: LossFunction) -> End:
        """The output layer, with the masks of its first run."""
        with self._replay.as_the_first_time(len(self.parts.hidden)) as done:
            last = end(self.parts, state, loss_fn)
            done.append(last.z.detach())
        return last

    def _layer(self, t: int, state: Tensor, stand_in: Mapping[Tensor, Tensor]) -> Layer:
        block, calls = self.parts.hidden[t], Calls(stand_in)
        before = state._version
        with self._replay.as_the_first_time(t) as done, torch.no_grad(), located(f"block {t}", state):
            with calls:
                output = called(block)(state)
            done.append(output)
        if state._version != before:
            raise DomainError(
                f"block {t} writes into its input, which {self.rule} keeps: let it work on a copy"
            )
        output = samples_of(output, t, self.rule).detach()
        return Layer(one_layer(block, t, output, calls, self.rule), output)


def check_input(x: Any, rule: str) -> None:
    """Raise `ShapeError` unless x is one floating tensor of samples, of one at least."""
    if isinstance(x, Tensor) and x.ndim and not len(x):
        raise ShapeError(f"x has no samples; {rule} takes the mean over them")
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.ndim < 2:
        what = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
        raise ShapeError(f"x is {what}; {rule} takes one floating tensor (samples, ...)")


def one_layer(block: Block, t: int, output: Tensor, calls: Calls, rule: str) -> Call | None:
    """The layer of a block; None for a block that trains nothing.

    Raises:
        DomainError: the block is no layer with its activation.
    """
    trained = own_parameters(modules_among((block,)))
    if not trained:
        return None
    wrong = ""
    if len(calls.seen) != 1:
        wrong = f"{len(calls.seen)} such layers" if calls.seen else "none whose weight is trained"
    elif any(p is not calls.seen[0].weight and p is not calls.seen[0].bias for p in trained):
        wrong = "other trained parameters too"
    elif calls.shapes[0] != output.shape:
        wrong = "a layer and a change of shape after it: put pooling into a block of its own"
    if not wrong:
        return calls.seen[0]
    raise DomainError(
        f"{rule} takes blocks of one linear or convolutional layer with its activation; block {t} has {wrong}"
    )


def scaled(products: Products, factor: float) -> Products:
    """factor x products."""
    return {leaf: factor * value for leaf, value in products.items()}


def less(a: Products, b: Products) -> Products:
    """a - b, of the same leaves."""
    return {leaf: value - b[leaf] for leaf, value in a.items()}


def forward_rule(
    passes: Passes,
    x: Tensor,
    loss_fn: LossFunction,
    modulation: Callable[[End], Tensor],
    rule: Callable[[Layer, Layer], Products],
    output: Callable[[End, End], Sequence[Tensor | None]],
    between: Callable[[Layer, float], Mapping[Tensor, Tensor]] | None = None,
) -> Tensor:
    """Run both passes and add the rule's products to `.grad`; the loss of the clean pass.

    Args:
        passes, x, loss_fn: of the step.
        modulation: the clean end -> what is added to x, of its shape.
        rule: (clean layer, modulated layer) -> its products, summed over samples.
        output: (clean end, modulated end) -> gradients of the modulated end's leaves.
        between: (clean layer, unit) -> the weights of the second pass.
    """
    check_gradients_are_on()
    with plain_precision(x.device):
        first, found = _both(passes, x, loss_fn, modulation, rule, output, between)
    accumulate(found.gradients)
    return first.loss


def _both(
    passes: Passes,
    x: Tensor,
    loss_fn: LossFunction,
    modulation: Callable[[End], Tensor],
    rule: Callable[[Layer, Layer], Products],
    output: Callable[[End, End], Sequence[Tensor | None]],
    between: Callable[[Layer, float], Mapping[Tensor, Tensor]] | None,
) -> tuple[End, GradientSum]:
    """Both passes: the end of the clean one, and the gradients."""
    clean, state = passes.run(x)
    first = passes.end(state, loss_fn)
    moved = [between(layer, first.unit) for layer in clean] if between else ()
    shifted = x.detach() + modulation(first).reshape(x.shape).to(x.dtype)
    modulated, state = passes.run(shifted, moved)
    second = passes.end(state, loss_fn)
    found = GradientSum()
    found.add(second.leaves, output(first, second))
    for one, other in zip(clean, modulated, strict=True):
        products = scaled(rule(one, other), first.unit)
        found.add(products, products.values())
    return first, found
