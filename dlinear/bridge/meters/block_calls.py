"""How often a step runs each block forward, backward and in forward mode: counted, not computed.

Behind each block stands an identity of its own in the autograd graph. It is run forward with the block, and
backward once for every vector-Jacobian product that enters the block, whoever asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from dlinear.bridge.autograd.blocks import (
    Block,
    GradientFunction,
    LossFunction,
    Readout,
    called,
    check_fills,
    checked_stack,
)
from dlinear.bridge.autograd.isolation import isolated

__all__ = ["StepCalls", "step_calls"]


@dataclass(frozen=True)
class StepCalls:
    """What one step did, for each of the T blocks.

    Attributes:
        forwards: runs forward (a micro-batch counts as one).
        vjps: vector-Jacobian products, to compare with `costs.block_vjps(T, h)`.
        jvps: Jacobian-vector products.
    """

    forwards: tuple[int, ...]
    vjps: tuple[int, ...]
    jvps: tuple[int, ...]


def step_calls(
    run: GradientFunction,
    blocks: Iterable[Block],
    x: Any,
    loss_fn: LossFunction,
    readout: Readout | None = None,
) -> StepCalls:
    """Count the block calls of one step of a method; the model is left as it was.

    Blocks without anything to train at the start of the stack have no vector-Jacobian products.

    Args:
        run: a `methods.Method`, or anything called as (blocks, x, loss_fn, readout=...).
        blocks: T modules or functions.
        x: x(0).
        loss_fn: z -> scalar.
        readout: as of the method.
    """
    stack = checked_stack(blocks, x, loss_fn, readout)
    check_fills(run)
    tallies = [_Tally() for _ in stack]
    counted = [_Counted(block, tally) for block, tally in zip(stack, tallies, strict=True)]
    with isolated((*stack, readout, loss_fn), x):
        run(counted, x, loss_fn, readout=readout)
    return StepCalls(
        tuple(tally.forwards for tally in tallies),
        tuple(tally.vjps for tally in tallies),
        tuple(tally.jvps for tally in tallies),
    )


@dataclass
class _Tally:
    forwards: int = 0
    vjps: int = 0
    jvps: int = 0


class _Counted(nn.Module):
    def __init__(self, block: Block, tally: _Tally) -> None:
        super().__init__()
        self.block, self.tally = block, tally
        self.skip = getattr(block, "skip", True)  # what methods may ask a block

    def forward(self, state: Any) -> Any:
        self.tally.forwards += 1
        leaves, structure = tree_flatten(called(self.block)(state))
        at = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
        passed = _CountingIdentity.apply(self.tally, *(leaves[i] for i in at))  # type: ignore[no-untyped-call]
        for i, leaf in zip(at, passed, strict=True):
            leaves[i] = leaf
        return tree_unflatten(leaves, structure)


class _CountingIdentity(torch.autograd.Function):
    """The identity, which counts its derivatives."""

    @staticmethod
    def forward(tally: _Tally, *state: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensor.view_as(tensor) for tensor in state)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.tally = inputs[0]
        ctx.forms = [(tensor.shape, tensor.dtype, tensor.device) for tensor in inputs[1:]]
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *signal: Any) -> tuple[Any, ...]:
        ctx.tally.vjps += 1
        return (None, *signal)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Any, ...]:
        ctx.tally.jvps += 1
        pairs = zip(tangents[1:], ctx.forms, strict=True)  # a part of the state that nothing moves has none
        return tuple(
            torch.zeros(shape, dtype=dtype, device=device) if tangent is None else tangent.view_as(tangent)
            for tangent, (shape, dtype, device) in pairs
        )
