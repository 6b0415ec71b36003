"""Forward gradients: an unbiased estimate of the gradient without a backward pass.

Baydin, Pearlmutter, Syme, Wood and Torr, "Gradients without Backpropagation" (2022): for a standard normal
tangent v over all P parameters, E[(dL . v) v] = dL. One pass in forward mode gives dL . v, and nothing is
stored for a backward pass. The price is variance: E|g - dL|^2 = (P + 1) |dL|^2, divided by the number of
tangents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp

from dlinear.bridge.horizon import Block, LossFunction, Readout, as_stack
from dlinear.bridge.stacks import run_blocks, terminal_loss
from dlinear.bridge.totals import accumulate
from dlinear.errors import DomainError

__all__ = ["forward_gradient"]


def forward_gradient(
    blocks: Iterable[Block],
    x: Any,
    loss_fn: LossFunction,
    readout: Readout | None = None,
    tangents: int = 1,
) -> Tensor:
    """Add the mean over `tangents` of (dL . v) v to `.grad` of every trainable parameter.

    Parameters are found where blocks, `readout` and `loss_fn` are modules; one that occurs twice has one
    tangent. The tangents come from torch's default generator of the parameter's device, before the random
    numbers of the pass. All tangents see the same dropout masks; running statistics are those of one
    ordinary pass. `x` gets no gradient.

    Args:
        blocks: T modules or functions, as of `horizon_backward`.
        x: x(0), the batch.
        loss_fn: z -> scalar.
        readout: (x(T), T) -> what the loss takes; None for x(T) itself.
        tangents: number of directions averaged, one pass each.

    Returns:
        The terminal loss L(x(T)), detached.

    Raises:
        ShapeError: no block, or a loss that is not a scalar.
        DomainError: no trainable parameter, or fewer than one tangent.
    """
    if tangents < 1:
        raise DomainError(f"{tangents} tangents received: allowed is an integer >= 1")
    stack = _Whole(as_stack(blocks), loss_fn, readout)
    trained = {name: p for name, p in stack.named_parameters() if p.requires_grad}
    if not trained:
        raise DomainError("no trainable parameter found in blocks, readout or loss_fn")
    values = {name: p.detach() for name, p in trained.items()}
    buffers = dict(stack.named_buffers())

    def loss_of(parameters: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        # a transform may not change what it captures, so running statistics go through it as copies
        state = {name: b.clone() for name, b in buffers.items()}
        return functional_call(stack, {**parameters, **state}, (x,)), state

    sums: dict[str, Tensor] = {}
    with torch.no_grad():
        same_randomness = _repeated(values.values())
        for k in range(tangents):
            v = {name: torch.randn_like(p) for name, p in values.items()}
            with same_randomness():
                loss, slope, state = _slope(loss_of, values, v)
            for name, tangent in v.items():
                tangent.mul_(slope / tangents)
                sums[name] = sums[name].add_(tangent) if name in sums else tangent
            if k == 0:
                first, after = loss, state
        for name, buffer in buffers.items():
            buffer.copy_(after[name])
    accumulate({p: sums[name] for name, p in trained.items()})
    loss_at: Tensor = first.detach()
    return loss_at


def _slope(function: Any, at: dict[str, Tensor], v: dict[str, Tensor]) -> Any:
    """(value, derivative along v, what else the function returns); torch declares a pair only."""
    return jvp(function, (at,), (v,), has_aux=True)


class _Whole(nn.Module):
    """x -> terminal loss, with every parameter in reach."""

    def __init__(self, blocks: Sequence[Block], loss_fn: Any, readout: Any) -> None:
        super().__init__()
        self.order = list(blocks)
        self.modules_among = nn.ModuleList(b for b in blocks if isinstance(b, nn.Module))
        self.loss_fn, self.readout = loss_fn, readout

    def forward(self, x: Any) -> Tensor:
        return terminal_loss(run_blocks(self.order, x), len(self.order), self.loss_fn, self.readout)


def _repeated(tensors: Iterable[Tensor]) -> Callable[[], AbstractContextManager[None]]:
    """A context in which each pass after the first draws the random numbers of the first."""
    devices = sorted({t.device.index for t in tensors if t.device.type == "cuda"})
    start: list[tuple[Tensor, list[Tensor]]] = []

    @contextmanager
    def context() -> Iterator[None]:
        if not start:
            start.append((torch.get_rng_state(), [torch.cuda.get_rng_state(d) for d in devices]))
            yield
            return
        with torch.random.fork_rng(devices):
            torch.set_rng_state(start[0][0])
            for device, state in zip(devices, start[0][1], strict=True):
                torch.cuda.set_rng_state(state, device)
            yield

    return context
