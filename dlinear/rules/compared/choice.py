"""Which rules are compared, and each as its recipe has it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

import dlinear.rules
from dlinear.analysis.comparison import REFERENCE
from dlinear.bridge.autograd.blocks import Block, LossFunction, Readout, as_stack, run_blocks
from dlinear.bridge.autograd.gradient_sum import GradientSum, accumulate
from dlinear.bridge.autograd.step import as_step
from dlinear.bridge.methods.base import Cost, Family, Method, Predicted, named
from dlinear.bridge.methods.registry import method
from dlinear.bridge.models.stack import Stack
from dlinear.errors import DomainError
from dlinear.rules.ff.network import PREDICTIONS, Knobs
from dlinear.rules.forward_forward import forward_forward
from dlinear.rules.hybrid import hybrid
from dlinear.rules.output import end, sections
from dlinear.rules.published import Recipe

__all__ = ["HEAD_ONLY", "after_step", "compared_rules", "family_name", "head_prediction", "rule_of"]

HEAD_ONLY = "head-only"  # hidden layers stay as they start: what a rule has to surpass
LOCAL = "horizon-1"  # the nearest member of the horizon family


@as_step
def _head_only(
    blocks: Iterable[Block], x: Any, loss_fn: LossFunction, readout: Readout | None = None
) -> Tensor:
    """The output layer's gradient; hidden layers get none."""
    stack = as_stack(blocks)
    parts = sections(stack, readout)
    with torch.no_grad():
        state = run_blocks(parts.hidden, x)
    last = end(parts, state, loss_fn)
    found = GradientSum(stack)
    found.add(last.leaves, last.gradients)
    accumulate(found.gradients)
    return last.loss


_BASELINE = Method(
    name=HEAD_ONLY,
    family=HEAD_ONLY,
    number=None,
    description="the output layer alone, on hidden layers as they start",
    exact=False,
    run=_head_only,
    cost=lambda depth: Cost(depth, 0),
    predicted=lambda depth: Predicted(1 / depth, 1 / 3),
)


def compared_rules(depth: int, batch: int) -> list[str]:
    """Names: back-propagation, the head alone, horizon 1, and all that `dlinear.rules` registers."""
    found: list[Family] = []
    for module in pkgutil.iter_modules(dlinear.rules.__path__):
        found += getattr(importlib.import_module(f"dlinear.rules.{module.name}"), "FAMILIES", ())
    names = [REFERENCE, HEAD_ONLY, LOCAL]
    for family in sorted(found, key=lambda one: (one.place, one.name)):
        numbers = [None] if family.bare else family.compared(depth, batch) or [family.least]
        names += [named(family.name, number) for number in numbers]
    return names


def rule_of(name: str, recipe: Recipe | None = None) -> Method:
    """The method of that name, with the options of its recipe: arguments of the rule, or conventions of
    forward-forward.

    Raises:
        DomainError: an unknown name, or options that the rule has not.
    """
    rule = _BASELINE if name == HEAD_ONLY else method(name)
    options: dict[str, Any] = dict(recipe.options) if recipe else {}
    if options and rule.family == "hybrid" and rule.number is not None:
        return hybrid(rule.number, Knobs(**options), rule.name)
    if options and _is_forward_forward(rule):
        return forward_forward(Knobs(**options), name=rule.name)
    rule = replace(rule, run=partial(rule.run, **options)) if options else rule
    return rule.at_rate(recipe.rate) if recipe else rule


def _is_forward_forward(rule: Method) -> bool:
    """Whether it predicts by goodness."""
    return isinstance(rule.predict, partial) and rule.predict.func is PREDICTIONS["goodness"]


def head_prediction(rule: Method) -> Callable[..., Tensor] | None:
    """Forward-forward's other prediction, its head on the neutral label (one pass); None of other rules."""
    if not _is_forward_forward(rule):
        return None
    assert isinstance(rule.predict, partial)
    return partial(PREDICTIONS["head"], **rule.predict.keywords)


def family_name(name: str) -> str:
    """The family of a rule's name."""
    return rule_of(name).family


def after_step(rule: Method, stack: Stack) -> None:
    """What belongs to a rule after each step of the optimizer."""
    if rule.after_step is not None:
        rule.after_step(stack.blocks, stack.readout)


def check_names(names: Iterable[str]) -> None:
    """Refuse unknown names, and a list without back-propagation, which the others are compared with.

    Raises:
        DomainError: such a list.
    """
    every = list(names)
    for name in every:
        rule_of(name)
    if REFERENCE not in every:
        raise DomainError(f"--methods holds {', '.join(every)}; {REFERENCE} must be among them")
