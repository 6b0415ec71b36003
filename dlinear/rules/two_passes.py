"""Two forward passes, the second on another input: what PEPITA and FOTON share.

    clean        h_l = sigma(W_l h_{l-1}), h_0 = x;  e the error of the output
    modulated    the same layers from x + (a function of e): activities herr_l

Nothing goes back: each layer's product is (something of its two activities) x (what entered it). Layers of
the second pass are dropped as soon as their product is taken, those of the first where the rule takes a
product of each pass (`Rule.first`): the others keep one state for each block, as back-propagation. A block is
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

__all__ = ["Layer", "Passes", "Products", "Rule", "forward_rule"]

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

    def end(self, state: Tensor, loss_fn: LossFunction) -> End:
        """The output layer, with the masks of its first run."""
        with self._replay.as_the_first_time(len(self.parts.hidden)) as done:
            last = end(self.parts, state, loss_fn)
            done.append(last.z.detach())
        return last

    def layer(self, t: int, state: Tensor, stand_in: Mapping[Tensor, Tensor]) -> Layer:
        """Hidden block t, on the weights of `stand_in` where it is given."""
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
    """factor x products; matrices in place: they are large and nobody else's (a vector may be a view)."""
    return {
        leaf: value.mul_(factor) if value.ndim > 1 else factor * value for leaf, value in products.items()
    }


def less(a: Products, b: Products) -> Products:
    """a - b, of the same leaves; matrices of a in place."""
    return {leaf: value.sub_(b[leaf]) if value.ndim > 1 else value - b[leaf] for leaf, value in a.items()}


@dataclass(frozen=True)
class Rule:
    """What a rule makes of two passes.

    Attributes:
        second: (clean layer, modulated layer) -> products, summed over samples; with `first` the clean layer
            is not kept, and is the modulated one again.
        output: (clean end, modulated end) -> gradients of the modulated end's leaves.
        first: clean layer -> products from which those of `second` are taken.
        rate: the second pass runs on W - rate (mean of `first`); None for the same weights.
    """

    second: Callable[[Layer, Layer], Products]
    output: Callable[[End, End], Sequence[Tensor | None]]
    first: Callable[[Layer], Products] | None = None
    rate: float | None = None


def forward_rule(
    passes: Passes, x: Tensor, loss_fn: LossFunction, modulation: Callable[[End], Tensor], rule: Rule
) -> Tensor:
    """Run both passes and add the rule's products to `.grad`; the loss of the clean pass.

    Args:
        passes, x, loss_fn: of the step.
        modulation: the clean end -> what is added to x, of its shape.
        rule: its products.
    """
    check_gradients_are_on()
    with plain_precision(x.device):
        clean, firsts, state = _clean_pass(passes, x, rule)
        end = passes.end(state, loss_fn)
        shifted = x.detach() + modulation(end).reshape(x.shape).to(x.dtype)
        found = _modulated_pass(passes, shifted, loss_fn, rule, end, clean, firsts)
    accumulate(found.gradients)
    return end.loss


def _clean_pass(passes: Passes, x: Tensor, rule: Rule) -> tuple[list[Layer | None], list[Products], Tensor]:
    """The layers that are kept, the products that are taken at once, the last state."""
    clean: list[Layer | None] = []
    firsts: list[Products] = []
    state = x.detach()
    for t in range(len(passes.parts.hidden)):
        layer = passes.layer(t, state, {})
        firsts.append(rule.first(layer) if rule.first else {})
        clean.append(None if rule.first else layer)
        state = layer.output
    return clean, firsts, state


def _modulated_pass(
    passes: Passes,
    state: Tensor,
    loss_fn: LossFunction,
    rule: Rule,
    first: End,
    clean: list[Layer | None],
    firsts: list[Products],
) -> GradientSum:
    """All gradients; `clean` is emptied on the way."""
    found = GradientSum()
    for t, before in enumerate(firsts):
        moved = {} if rule.rate is None else _moved(before, rule.rate * first.unit)
        layer = passes.layer(t, state, moved)
        kept, clean[t] = clean[t] or layer, None
        products = rule.second(kept, layer)
        products = scaled(less(before, products) if rule.first else products, first.unit)
        firsts[t] = {}
        found.add(products, products.values())
        state = layer.output
    second = passes.end(state, loss_fn)
    found.add(second.leaves, rule.output(first, second))
    return found


def _moved(products: Products, rate: float) -> Products:
    """The weights after a step along these products."""
    return {leaf: leaf.detach() - rate * value for leaf, value in products.items()}
