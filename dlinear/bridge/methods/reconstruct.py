"""Back-propagation without stored states: residual blocks are inverted on the way back.

With f(x) = block(x) - x the input of a block is the fixed point of z -> x(t+1) - f(z); p steps from
z = x(t+1) reconstruct it (the inversion of invertible residual networks, Behrmann et al. 2019; without stored
states: Sander, Ablin, Peyre, NeurIPS 2022). For f = O(c/T) the error of a block is (c/T)^{p+1}. Each step
multiplies it by the Lipschitz constant of f, so that f has to be a contraction: this is measured, not
assumed. Nothing here needs to know f: any block that keeps the shape of its state is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from dlinear.bridge.autograd import block_graph
from dlinear.bridge.autograd.blocks import (
    NOTHING_TRAINED,
    Block,
    LossFunction,
    Readout,
    as_stack,
    check_gradients_are_on,
    end_of,
)
from dlinear.bridge.autograd.gradient_sum import GradientSum, accumulate
from dlinear.bridge.autograd.replay import Replay
from dlinear.bridge.autograd.states import floating, is_residual
from dlinear.bridge.autograd.step import as_step
from dlinear.bridge.methods.base import Cost, Family, Method, Predicted, named
from dlinear.checks import as_integer
from dlinear.errors import DomainError

__all__ = ["Reconstruction", "reconstructed_backward"]

LOST = 0.5  # relative error of a state from which on it is none
ROUNDING = 100  # rounding units of a state below which an error need not fall any more


@dataclass(frozen=True)
class Reconstruction:
    """What one step measured of its reconstructed states.

    Attributes:
        inverted: how many blocks were inverted; the others had their input.
        contraction: the worst factor by which a step reduced ||block(z) - x(t+1)||, over the blocks; 0 where
            none was inverted.
        residual: the largest ||block(z) - x(t+1)||/||x(t+1)|| after the last step.
        error: the largest relative error of a reconstructed state, where the true one is known: after block
            0, and after each block that kept its input.
    """

    inverted: int
    contraction: float
    residual: float
    error: float


@as_step
def reconstructed_backward(
    blocks: Iterable[Block],
    x: Any,
    loss_fn: LossFunction,
    readout: Readout | None = None,
    steps: int = 2,
    report: Callable[[Reconstruction], None] | None = None,
) -> Tensor:
    """The gradient of back-propagation at states that are reconstructed from x(T), block by block.

    A block that changes the form of its state, or says `skip = False`, keeps its input; block 0 has x(0).
    All others are inverted by fixed-point steps, with the dropout masks of the first pass, which alone
    updates running statistics.

    Args:
        blocks: T modules or functions, as of `horizon_backward`; x + f(x) with f a contraction, if they keep
            the shape.
        x: x(0), the batch.
        loss_fn: z -> scalar.
        readout: (x(T), T) -> what the loss takes; None for x(T) itself.
        steps: p >= 1, evaluations of each inverted block.
        report: called with what was measured, before anything is refused.

    Returns:
        The terminal loss L(x(T)), detached.

    Raises:
        ShapeError: no block, or a loss that is not a scalar.
        DomainError: a block whose fixed-point steps do not contract (no residual block, or too large a one),
            states that are lost, steps below 1, gradients are switched off, nothing is trained.
    """
    check_gradients_are_on()
    steps = as_integer("steps", steps)
    inversion = _Inversion(as_stack(blocks), x, steps)
    loss, total = inversion.run(loss_fn, readout)
    if bool(torch.isfinite(loss)):
        inversion.check(report)
    if not total.gradients:
        raise DomainError(NOTHING_TRAINED)
    accumulate(total.gradients)
    return loss


class _Inversion:
    """One step, with what it measures.

    Attributes:
        steps: p.
        sizes: of each inverted block t: t, ||e_0||, ||e_p||, ||x(t+1)|| with e_i = block(z_i) - x(t+1).
        apart: t, ||x^(t+1) - x(t+1)||, ||x(t+1)|| where block t had its input.
    """

    def __init__(self, blocks: Sequence[Block], x: Any, steps: int) -> None:
        self.depth, self.x, self.steps = len(blocks), x, steps
        self.replay = Replay(blocks, x)
        self.sizes: list[tuple[int, Tensor, Tensor, Tensor]] = []
        self.apart: list[tuple[int, Tensor, Tensor]] = []
        self.unit = 0.0

    def run(self, loss_fn: LossFunction, readout: Readout | None) -> tuple[Tensor, GradientSum]:
        """The loss and all gradients."""
        kept, state, total = {0: self.x}, self.x, GradientSum(())
        for t in range(self.depth):
            after = self.replay.advance(t, t + 1, state, keep=True)
            residual = is_residual(self.replay.blocks[t], state, after) and _alike(state, after)
            if t and not residual:
                kept[t] = state
            state = after
        del after
        self.unit = max((torch.finfo(a.dtype).eps for a in floating(state)), default=0.0)
        loss, end = end_of(state, self.depth, loss_fn, readout, follow=True)
        with block_graph.plain_precision(loss.device):
            signal, found = end.vjp([torch.ones_like(loss)], end.leaves, through=True)
        total.add(end.leaves, found)
        del end
        for t in reversed(range(self.depth)):
            before = kept.pop(t) if t in kept else self._inverted(t, state)
            follow = t > 0 or any(tensor.requires_grad for tensor in block_graph.tensors(self.x))
            output, graph = self.replay.record(t, before, follow, keep=t > 0)
            self._measure(t, output, state)
            state = before
            with block_graph.plain_precision(loss.device):
                signal, found = graph.vjp(signal, graph.leaves, through=follow, hooks=True)
            total.add(graph.leaves, found)
            del graph, output, before
        total.add_inputs(self.x, signal)
        return loss.reshape(()), total

    def _inverted(self, t: int, after: Any) -> Any:
        """z_p, from z_{i+1} = z_i - (block(z_i) - x(t+1))."""
        z, first = after, None
        for _ in range(self.steps):
            error = _difference(self.replay.advance(t, t + 1, z, keep=True), after)
            first = _size(error) if first is None else first
            z = _difference(z, error)
        assert first is not None
        self.sizes.append((t, first, first, _size(after)))  # e_p is measured when the block is recorded
        return z

    def _measure(self, t: int, output: Any, after: Any) -> None:
        """Compare x(t+1) as block t gives it with the one that was reconstructed before."""
        apart = _size(_difference(output, after))
        if self.sizes and self.sizes[-1][0] == t:
            self.sizes[-1] = (t, self.sizes[-1][1], apart, self.sizes[-1][3])
        else:
            self.apart.append((t, apart, _size(output)))

    def check(self, report: Callable[[Reconstruction], None] | None) -> None:
        """Report what was measured, and refuse what is no reconstruction.

        Raises:
            DomainError: a block that does not contract, or states that are lost.
        """
        inverted = _numbers(self.sizes)
        known = [(t, apart / whole if whole else 0.0) for t, apart, whole in _numbers(self.apart)]
        factors = [(last / first) ** (1 / self.steps) if first else 0.0 for _, first, last, _ in inverted]
        if report is not None:
            residuals = [last / whole if whole else 0.0 for _, _, last, whole in inverted]
            errors = [error for _, error in known]
            report(
                Reconstruction(
                    len(inverted), *(max(some, default=0.0) for some in (factors, residuals, errors))
                )
            )
        steps = f"{self.steps} fixed-point step{'s'[: self.steps > 1]}"
        for (t, first, last, whole), factor in zip(inverted, factors, strict=True):
            if not (factor < 1 or last <= ROUNDING * self.unit * whole):
                raise DomainError(
                    f"block {t} cannot be inverted: {steps} changed ||block(z) - x|| from {first:.2g} to "
                    f"{last:.2g}; it has to be x + f(x) with f a contraction (else: checkpoint or revolve)"
                )
        for t, error in known:
            if not error < LOST:
                raise DomainError(
                    f"x({t + 1}) is lost: reconstructed with a relative error of {error:.2g} by {steps} a "
                    "block; take more steps, or checkpoint or revolve"
                )


def _numbers(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Rows of a block's number and sizes, as numbers."""
    if not rows:
        return []
    sizes = torch.stack([torch.stack([size.to("cpu", torch.float64) for size in row[1:]]) for row in rows])
    return [(row[0], *values) for row, values in zip(rows, sizes.tolist(), strict=True)]


def _alike(a: Any, b: Any) -> bool:
    """Whether two states of the same form differ in the values of floating-point tensors at most."""
    pairs = zip(pytree.tree_leaves(a), pytree.tree_leaves(b), strict=True)
    return all(
        p.is_floating_point() or torch.equal(p, q) if isinstance(p, Tensor) else p == q for p, q in pairs
    )


def _difference(a: Any, b: Any) -> Any:
    """a - b where the tensors are floating-point, a elsewhere."""

    def leaf(p: Any, q: Any) -> Any:
        floating = isinstance(p, Tensor) and p.is_floating_point()
        return p.detach() - q.detach() if floating else p

    return pytree.tree_map(leaf, a, b)


def _size(state: Any) -> Tensor:
    """The Euclidean norm of the floating-point tensors of a state."""
    sizes = [torch.linalg.vector_norm(tensor.detach()).double() for tensor in floating(state)]
    return torch.linalg.vector_norm(torch.stack(sizes)) if sizes else torch.zeros(())


def _method(number: int | None) -> Method:
    steps = number or 1
    return Method(
        name=named("reconstruct", steps),
        family="reconstruct",
        number=steps,
        description=f"back-propagation at states reconstructed by {steps} fixed-point step{'s'[: steps > 1]}",
        exact=False,
        run=partial(reconstructed_backward, steps=steps),
        cost=partial(_cost, steps),
        predicted=partial(_predicted, steps),
    )


def _cost(steps: int, depth: int) -> Cost:
    """Blocks of one shape: forward, p evaluations of all but block 0, and once more with a graph."""
    return Cost(2 * depth + steps * (depth - 1), depth)


def _predicted(steps: int, depth: int) -> Predicted:
    """One block; (4 + p)/3."""
    return Predicted(1 / depth, (4 + steps * (1 - 1 / depth)) / 3)


FAMILIES = (
    Family(
        "reconstruct",
        _method,
        compared=lambda depth, batch: (1, 2),
        place=23,
        series="reconstruction",
        tried=True,
    ),
)
