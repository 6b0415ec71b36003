"""Ways to get a gradient, all of the same shape, so that they can be compared.

    loss = method("horizon-4")(blocks, x, loss_fn, readout)   # fills .grad, as loss.backward() would

A name has a number where the method takes one: `horizon-4`, `checkpoint` or `checkpoint-8`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from dlinear.bridge.autograd.blocks import (
    Block,
    LossFunction,
    Readout,
    as_stack,
    check_gradients_are_on,
    even_bounds,
    pull,
    run_blocks,
    terminal_loss,
)
from dlinear.bridge.autograd.gradient_sum import accumulate
from dlinear.bridge.methods.accumulation import accumulated_backward
from dlinear.bridge.methods.checkpointing import checkpointed_backward, default_segments
from dlinear.bridge.methods.forward_gradient import forward_gradient
from dlinear.bridge.methods.horizon import horizon_backward, sweep
from dlinear.errors import DomainError
from dlinear.theory import costs

__all__ = ["NAMES", "Cost", "Method", "backprop", "loco", "loco_targets", "method"]


@dataclass(frozen=True)
class Cost:
    """What one step does, in runs of one block on the whole batch.

    Attributes:
        forwards: runs of a block forward.
        vjps: vector-Jacobian products of a block (each costs about two forwards).
        jvps: Jacobian-vector products that go with a forward (each costs about one to two forwards).
    """

    forwards: int
    vjps: int
    jvps: int = 0


@dataclass(frozen=True)
class Method:
    """A way to fill `.grad`; call it as (blocks, x, loss_fn, readout=None) -> detached terminal loss.

    Attributes:
        name: as `method` reads it.
        description: one line.
        exact: whether the gradient is that of back-propagation (but for batch norm in micro-batches).
        run: what a call runs.
        cost: T -> `Cost` of one step, for blocks that all hold something to train.
    """

    name: str
    description: str
    exact: bool
    run: Callable[..., Tensor]
    cost: Callable[[int], Cost]

    def __call__(
        self, blocks: Iterable[Block], x: Any, loss_fn: LossFunction, readout: Readout | None = None
    ) -> Tensor:
        """Add the gradient to `.grad` of blocks and readout; return the terminal loss, detached."""
        return self.run(blocks, x, loss_fn, readout=readout)


def method(name: str) -> Method:
    """The method of that name.

    Raises:
        DomainError: an unknown name, or a number that is missing, superfluous or too small.
    """
    match = re.fullmatch(r"([a-z]+)(?:-([1-9][0-9]*))?", name) if isinstance(name, str) else None
    if match is not None:
        base, number = match.group(1), match.group(2)
        if number is None and base in _PLAIN:
            return _PLAIN[base](name)
        if number is not None and base in _NUMBERED and int(number) >= _LEAST.get(base, 1):
            return _NUMBERED[base](name, int(number))
    raise DomainError(f"method {name!r}: allowed are {', '.join(NAMES)}")


def backprop(
    blocks: Iterable[Block], x: Any, loss_fn: LossFunction, readout: Readout | None = None
) -> Tensor:
    """Ordinary back-propagation: L(x(T)).backward().

    Raises:
        ShapeError: no block, or a loss that is not a scalar.
        DomainError: gradients are switched off, or the loss has none.
    """
    check_gradients_are_on()
    stack = as_stack(blocks)
    return pull(terminal_loss(run_blocks(stack, x), len(stack), loss_fn, readout))


def loco(
    blocks: Iterable[Block], x: Any, loss_fn: LossFunction, readout: Readout | None = None, stages: int = 3
) -> Tensor:
    """LoCo as horizon 2 over stages with the trajectory loss of eq. (21): eq. (20), see `loco_targets`.

    Raises:
        ShapeError: as `horizon_backward`.
        DomainError: as `horizon_backward`, or stages outside 2..T.
    """
    stack = as_stack(blocks)
    step = sweep(stack, x, loss_fn, loco_targets(len(stack), stages), readout)
    accumulate(step.gradients)
    return step.loss


def loco_targets(depth: int, stages: int) -> list[range]:
    """Which blocks receive grad L(x(s)), s = 1..T, for LoCo with K stages of consecutive blocks.

    Over stages, eq. (21) sets l(0) = 0 and l(t) = L(x(t + 1)) for t > 0, and the horizon is 2, so
    J^2(t) = l(t) + l(t + 1), cut off after l(K - 1): stage 0 receives L(x(2)) alone, an intermediate one
    L(x(t + 1)) + L(x(t + 2)), which is eq. (20), the last one L(x(K)). Read by losses: the one after stage j
    goes to stages j - 1 and j, for j >= 1, and none is taken after stage 0.

    Raises:
        DomainError: stages outside 2..T.
    """
    if not 2 <= stages <= depth:
        raise DomainError(f"{stages} stages of {depth} blocks: allowed is 2..{depth}")
    bounds = even_bounds("blocks", depth, stages)
    targets = [range(0)] * depth
    for j in range(1, stages):
        targets[bounds[j + 1] - 1] = range(bounds[j - 1], bounds[j + 1])
    return targets


def _backprop(name: str) -> Method:
    return Method(name, "back-propagation", True, backprop, _one_pass_cost)


def _one_pass_cost(depth: int) -> Cost:
    return Cost(depth, depth)


def _horizon(name: str, horizon: int) -> Method:
    what = f"horizon gradient, each block sees the loss {horizon} block{'s'[: horizon > 1]} on"
    return Method(
        name, what, False, partial(horizon_backward, horizon=horizon), partial(_window_cost, horizon)
    )


def _greedy(name: str) -> Method:
    run = partial(horizon_backward, horizon=1)
    return Method(name, "greedy local losses, one after each block", False, run, partial(_window_cost, 1))


def _window_cost(horizon: int, depth: int) -> Cost:
    return Cost(depth, costs.block_vjps(depth, horizon))


def _checkpoint(name: str, segments: int | None = None) -> Method:
    what = f"back-propagation through {segments or 'about sqrt(T)'} recomputed segments"
    run = partial(checkpointed_backward, segments=segments)
    return Method(name, what, True, run, partial(_checkpoint_cost, segments))


def _checkpoint_cost(segments: int | None, depth: int) -> Cost:
    bounds = even_bounds("blocks", depth, segments or default_segments(depth))
    return Cost(depth + bounds[-2], depth)


def _accumulate(name: str, parts: int) -> Method:
    run = partial(accumulated_backward, parts=parts)
    what = f"back-propagation of {parts} micro-batches"
    return Method(name, what, True, run, _one_pass_cost)


def _combined(name: str, parts: int) -> Method:
    run = partial(accumulated_backward, parts=parts, within=checkpointed_backward)
    what = f"back-propagation of {parts} micro-batches, each through about sqrt(T) recomputed segments"
    return Method(name, what, True, run, partial(_checkpoint_cost, None))


def _loco(name: str, stages: int) -> Method:
    what = f"LoCo, {stages} stages, eq. (20)"
    return Method(name, what, False, partial(loco, stages=stages), partial(_loco_cost, stages))


def _loco_cost(stages: int, depth: int) -> Cost:
    return Cost(depth, sum(map(len, loco_targets(depth, stages))))


def _forward(name: str, tangents: int = 1) -> Method:
    what = f"forward gradient, {tangents} random direction{'s'[: tangents > 1]}"
    run = partial(forward_gradient, tangents=tangents)
    return Method(name, what, False, run, partial(_forward_cost, tangents))


def _forward_cost(tangents: int, depth: int) -> Cost:
    return Cost(tangents * depth, 0, tangents * depth)


_PLAIN: dict[str, Callable[[str], Method]] = {
    "backprop": _backprop,
    "checkpoint": _checkpoint,
    "forward": _forward,
    "greedy": _greedy,
}
_NUMBERED: dict[str, Callable[[str, int], Method]] = {
    "horizon": _horizon,
    "checkpoint": _checkpoint,
    "accumulate": _accumulate,
    "combined": _combined,
    "loco": _loco,
    "forward": _forward,
}
_LEAST = {"loco": 2}

NAMES = (*_PLAIN, *(f"{base}-N" for base in _NUMBERED))
"""What `method` reads; N stands for an integer >= 1, of loco >= 2."""
