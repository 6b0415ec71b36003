"""The record of a rule, as the registry of methods takes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from dlinear.bridge.methods.base import Cost, Family, Method, Predicted, named

__all__ = ["rule_family", "with_fields"]


def rule_family(
    name: str,
    run: Callable[..., Tensor],
    description: str,
    place: int,
    work: tuple[int, int, int, int],
    *,
    memory_of_one: bool = False,
    seeded: bool = True,
) -> Family:
    """The family of a rule: `name` has feedback seed 0, `name-N` seed N.

    Args:
        name: as `method` reads it.
        run: (blocks, x, loss_fn, readout, *, seed) -> loss.
        description: one line.
        place: in the order of comparisons.
        work: for each hidden block, forwards, vector-Jacobian products, products with a weight matrix
            (back-propagation: 3), and runs in which its output is kept.
        memory_of_one: whether one block alone is alive at once.
        seeded: whether the rule has random feedback.
    """
    make = partial(_method, name, run, description, work, memory_of_one, seeded)
    return Family(name, make, least=1 if seeded else None, bare=True, place=place, listed=False)


def with_fields(family: Family, **fields: Any) -> Family:
    """The family, whose methods have these fields of `Method` too."""
    return replace(family, make=partial(_with_fields, family, fields))


def _with_fields(family: Family, fields: dict[str, Any], number: int | None) -> Method:
    return replace(family.make(number), **fields)


def _method(
    name: str,
    run: Callable[..., Tensor],
    description: str,
    work: tuple[int, int, int, int],
    memory_of_one: bool,
    seeded: bool,
    number: int | None,
) -> Method:
    return Method(
        name=named(name, number),
        family=name,
        number=number,
        description=description,
        exact=False,
        run=partial(run, seed=number or 0) if seeded else run,
        cost=partial(_cost, work),
        predicted=partial(_predicted, work, memory_of_one),
    )


def _cost(work: tuple[int, int, int, int], depth: int) -> Cost:
    """T blocks below a trained readout."""
    return Cost(work[0] * depth, work[1] * depth)


def _predicted(work: tuple[int, int, int, int], memory_of_one: bool, depth: int) -> Predicted:
    return Predicted(1 / depth if memory_of_one else 1.0, work[2] / 3)
