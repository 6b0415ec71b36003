"""LoCo: horizon 2 over stages of blocks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

from torch import Tensor

from dlinear.bridge.autograd.blocks import Block, LossFunction, Readout, as_stack, even_bounds
from dlinear.bridge.autograd.step import as_step
from dlinear.bridge.methods.base import Cost, Family, Method, Predicted, named
from dlinear.bridge.methods.horizon import filled, sweep
from dlinear.checks import as_integer
from dlinear.errors import DomainError


@as_step
def loco(
    blocks: Iterable[Block], x: Any, loss_fn: LossFunction, readout: Readout | None = None, stages: int = 3
) -> Tensor:
    """LoCo as horizon 2 over stages with the trajectory loss of eq. (21): eq. (20), see `loco_targets`.

    Raises:
        ShapeError: as `horizon_backward`.
        DomainError: as `horizon_backward`, or stages outside 2..T.
    """
    stack = as_stack(blocks)
    return filled(sweep(stack, x, loss_fn, loco_targets(len(stack), stages), readout))


def loco_targets(depth: int, stages: int) -> list[range]:
    """Which blocks receive grad L(x(s)), s = 1..T, for LoCo with K stages of consecutive blocks.

    Over stages, eq. (21) sets l(0) = 0 and l(t) = L(x(t + 1)) for t > 0, and the horizon is 2, so
    J^2(t) = l(t) + l(t + 1), cut off after l(K - 1): stage 0 receives L(x(2)) alone, an intermediate one
    L(x(t + 1)) + L(x(t + 2)), which is eq. (20), the last one L(x(K)). Read by losses: the one after stage j
    goes to stages j - 1 and j, for j >= 1, and none is taken after stage 0.

    Raises:
        DomainError: stages outside 2..T.
    """
    if depth < 2:
        raise DomainError(f"a stack of {depth} block has no two stages; LoCo needs two blocks or more")
    stages = as_integer("stages", stages, 2, depth)
    bounds = even_bounds("blocks", depth, stages)
    targets = [range(0)] * depth
    for j in range(1, stages):
        targets[bounds[j + 1] - 1] = range(bounds[j - 1], bounds[j + 1])
    return targets


def _method(number: int | None) -> Method:
    stages = number or 3
    return Method(
        name=named("loco", stages),
        family="loco",
        number=stages,
        description=f"LoCo, {stages} stages, eq. (20)",
        exact=False,
        run=partial(loco, stages=stages),
        cost=partial(_cost, stages),
        predicted=partial(_predicted, stages),
    )


def _cost(stages: int, depth: int) -> Cost:
    return Cost(depth, sum(map(len, loco_targets(depth, stages))))


def _predicted(stages: int, depth: int) -> Predicted:
    """Two of K stages are stored; 2 (K - 1) stages pass signals back and take parameter gradients."""
    memory = min(1.0, 2 * math.ceil(depth / stages) / depth)
    return Predicted(memory, (1 + 4 * (stages - 1) / stages) / 3)


FAMILIES = (
    Family(
        "loco",
        _method,
        least=2,
        compared=lambda depth, batch: (3, 5),  # the paper's stages
        place=40,
        series="LoCo",
        option="stages",
    ),
)
