"""Forward gradients: an unbiased estimate of the gradient without a backward pass.

Baydin, Pearlmutter, Syme, Wood and Torr, "Gradients without Backpropagation" (2022): for a standard normal
tangent v over all P parameters, E[(dL . v) v] = dL. One pass in forward mode gives dL . v, and nothing is
stored for a backward pass. The price is variance: E|g - dL|^2 = (P + 1) |dL|^2, divided by the number of
tangents.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp

from dlinear.bridge.autograd.blocks import (
    NOTHING_TRAINED,
    Block,
    LossFunction,
    Readout,
    as_stack,
    run_blocks,
    terminal_loss,
)
from dlinear.bridge.autograd.gradient_sum import accumulate
from dlinear.bridge.autograd.modules import modules_among
from dlinear.bridge.autograd.step import as_step
from dlinear.bridge.methods.base import Cost, Family, Method, Predicted, at_any_depth, named
from dlinear.checks import as_integer
from dlinear.errors import DomainError

__all__ = ["forward_gradient"]


@as_step
def forward_gradient(
    blocks: Iterable[Block],
    x: Any,
    loss_fn: LossFunction,
    readout: Readout | None = None,
    tangents: int = 1,
) -> Tensor:
    """Add the mean over `tangents` of (dL . v) v to `.grad` of every trainable parameter.

    Parameters are found where blocks, `readout` and `loss_fn` are modules, or functions that hold some; one
    that occurs twice has one tangent. The tangents come from torch's default generator of the parameter's
    device, before the random numbers of the pass. All tangents see the same dropout masks; running
    statistics are those of one ordinary pass. `x` gets no gradient.

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
    tangents = as_integer("tangents", tangents)
    stack = _Whole(as_stack(blocks), loss_fn, readout)
    parameters, buffers = _places(stack, "_parameters"), _places(stack, "_buffers")
    trained = [p for p in dict.fromkeys(parameters.values()) if p.requires_grad]
    if not trained:
        raise DomainError("no trainable parameter found in blocks, readout or loss_fn")
    if any(isinstance(p, nn.UninitializedParameter) for p in trained):
        raise DomainError("a lazy module has no parameters yet: run the blocks once, then take the gradient")
    at = [p.detach() for p in trained]

    def loss_of(values: list[Tensor]) -> tuple[Tensor, dict[Tensor, Tensor]]:
        # a transform may not change what it captures, so running statistics go through it as copies
        inside = dict(zip(trained, values, strict=True))
        state = {b: b.clone() for b in buffers.values()}
        filled = {name: inside[p] for name, p in parameters.items() if p.requires_grad}
        filled |= {name: state[b] for name, b in buffers.items()}
        return functional_call(stack, filled, (x,), tie_weights=False), state

    with torch.no_grad():
        sums, loss, after = _mean_guess(loss_of, at, tangents)
        for buffer, value in after.items():
            buffer.copy_(value)
    accumulate(dict(zip(trained, sums, strict=True)))
    return loss.detach()


def _mean_guess(loss_of: Any, at: list[Tensor], tangents: int) -> tuple[list[Tensor], Tensor, Any]:
    """The mean of (dL . v) v over the tangents, and the loss and the buffers of the first pass."""
    sums: list[Tensor] = []
    same_randomness = _repeated(at)
    for k in range(tangents):
        v = [torch.randn_like(p) for p in at]
        with same_randomness():
            loss, slope, state = _slope(loss_of, at, v)
        for tangent in v:
            tangent.mul_(slope / tangents)
        if k == 0:
            sums, first, after = v, loss, state
        else:
            sums = [total.add_(tangent) for total, tangent in zip(sums, v, strict=True)]
    return sums, first, after


def _places(stack: nn.Module, kind: str) -> dict[str, Tensor]:
    """Where tensors are kept, each place once: a block that occurs twice is one place, a tied weight two.

    Given a place under two names, `functional_call` would not put back what was there.
    """
    return {
        f"{prefix}.{name}" if prefix else name: tensor
        for prefix, module in stack.named_modules()
        for name, tensor in getattr(module, kind).items()
        if tensor is not None
    }


def _slope(function: Any, at: list[Tensor], v: list[Tensor]) -> Any:
    """(value, derivative along v, what else the function returns); torch declares a pair only."""
    with warnings.catch_warnings():  # torch itself compiles its rules in a way that it has deprecated
        warnings.filterwarnings("ignore", "`torch.jit.script` is", DeprecationWarning)
        try:
            return jvp(function, (at,), (v,), strict=True, has_aux=True)
        except RuntimeError as error:
            if "independent of" in str(error):
                raise DomainError(NOTHING_TRAINED) from error
            raise


class _Whole(nn.Module):
    """x -> terminal loss, with every parameter in reach."""

    def __init__(self, blocks: Sequence[Block], loss_fn: Any, readout: Any) -> None:
        super().__init__()
        self.order = list(blocks)
        self.modules_among = nn.ModuleList(modules_among((*blocks, loss_fn, readout)))
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


def _method(number: int | None) -> Method:
    tangents = number or 1
    return Method(
        name=named("forward", number),
        family="forward",
        number=number,
        description=f"forward gradient, {tangents} random direction{'s'[: tangents > 1]}",
        exact=False,
        run=partial(forward_gradient, tangents=tangents),
        cost=partial(_cost, tangents),
        # nothing is stored; a direction adds two products to each forward
        predicted=partial(at_any_depth, Predicted(0.0, float(tangents))),
    )


def _cost(tangents: int, depth: int) -> Cost:
    return Cost(tangents * depth, 0, tangents * depth)


FAMILIES = (
    Family(
        "forward",
        _method,
        bare=True,
        compared=lambda depth, batch: (1,),
        place=50,
        series="forward gradient",
        option="tangents",
    ),
)
