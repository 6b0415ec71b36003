"""What all methods do with a stack of blocks: check it, run it, take a loss, cut it into even parts."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dlinear.bridge.autograd import block_graph
from dlinear.bridge.autograd.block_graph import BlockGraph
from dlinear.bridge.autograd.gradient_sum import collector
from dlinear.bridge.autograd.naming import located, said_of
from dlinear.checks import shown
from dlinear.errors import DomainError, ShapeError

__all__ = ["even_bounds", "run_blocks", "terminal_loss"]

Block = Callable[[Any], Any]  # x(t) -> x(t + 1)
LossFunction = Callable[[Any], Tensor]  # z -> scalar
Readout = Callable[[Any, int], Any]  # (x(s), s) -> z, what the loss takes
GradientFunction = Callable[..., Tensor]  # (blocks, x, loss_fn, readout=None) -> detached loss; fills `.grad`


NOTHING_TRAINED = "no gradient reaches a trainable tensor: all blocks are frozen, or detach what they hand on"


def run_blocks(blocks: Sequence[Block], state: Any, first: int = 0) -> Any:
    """The state after all blocks, passed on between them as `horizon_backward` does.

    Args:
        blocks: in order.
        state: x(first).
        first: the number of the first block, for messages.

    Raises:
        ShapeError: as `naming.located`.
    """
    for t, block in enumerate(blocks, first):
        with located(f"block {t}", state):
            state = called(block)(state)
    return state


def terminal_loss(z: Any, depth: int, loss_fn: LossFunction, readout: Readout | None) -> Tensor:
    """L(x(T)) with z = x(T), a scalar.

    Raises:
        ShapeError: the loss is not a real scalar.
    """
    with located(f"the loss at s = {depth}", z):
        return _loss(z, depth, loss_fn, readout).reshape(())


def pull(loss: Tensor, weight: float = 1.0) -> Tensor:
    """Back-propagate weight x loss into every `.grad`; return it detached.

    Raises:
        DomainError: the loss has no gradient.
    """
    if not loss.requires_grad:
        raise DomainError("the loss has no gradient: nothing is trainable, or loss_fn detaches its argument")
    weighted = loss if weight == 1.0 else loss * weight
    if (total := collector()) is None:
        weighted.backward()  # type: ignore[no-untyped-call]
    else:
        leaves = block_graph.leaves_behind(weighted, "the loss")
        total.add(leaves, torch.autograd.grad(weighted, leaves, allow_unused=True))
    return weighted.detach()


def even_bounds(what: str, total: int, parts: int) -> list[int]:
    """0 = b_0 < ... < b_parts = total, with differences as equal as can be.

    Raises:
        DomainError: parts outside 1..total.
    """
    if not 1 <= parts <= total:
        raise DomainError(f"{parts} parts of {total} {what}: allowed is 1..{total}")
    return [i * total // parts for i in range(parts + 1)]


def checked_stack(blocks: object, x: Any, loss_fn: object, readout: object) -> list[Block]:
    """The blocks as a list, when everything that a step takes is of its kind.

    Raises:
        ShapeError: no block, an x without a tensor, or something that cannot be called.
    """
    stack = as_stack(blocks)
    check_callable("loss_fn", loss_fn, "a function z -> scalar tensor")
    if readout is not None:
        check_callable("readout", readout, "a function (z, s) -> z, or None")
    if not block_graph.tensors(x):
        raise ShapeError(f"x is {shown(x)}; expected a tensor, or a tuple, list or dict of tensors")
    return stack


def as_stack(blocks: object) -> list[Block]:
    """The blocks as a list.

    Raises:
        ShapeError: none, or something that cannot be called.
    """
    if not isinstance(blocks, Iterable):
        what = f"one {type(blocks).__name__}" if isinstance(blocks, nn.Module) else shown(blocks)
        raise ShapeError(f"blocks is {what}; expected a sequence of T >= 1 blocks")
    stack = list(blocks)
    if not stack:
        raise ShapeError("the stack is empty; expected T >= 1 blocks")
    for t, block in enumerate(stack):
        check_callable(f"block {t}", block)
    return stack


def check_fills(method: object) -> None:
    """Refuse what cannot fill `.grad`: the name of a method, for example.

    Raises:
        DomainError: such a thing.
    """
    if not callable(method) or isinstance(method, type):
        name = method if isinstance(method, str) else "horizon-4"
        raise DomainError(
            f"method is {' '.join(f'{method!r}'.split())[:60]}; expected what "
            f"dlinear.bridge.method({name!r:.60}) gives, or a function (blocks, x, loss_fn, readout) -> loss"
        )


def check_callable(name: str, function: object, expected: str = "a module or a function") -> None:
    """Raise `ShapeError` unless it is a module that has `forward`, or a function."""
    if isinstance(function, type):
        raise ShapeError(f"{name} is the class {function.__name__}; expected an object of it")
    if not callable(function):
        raise ShapeError(f"{name} is a {type(function).__name__}; expected {expected}")
    if isinstance(function, nn.Module) and getattr(function.forward, "__func__", None) is nn.Module.forward:
        raise ShapeError(
            f"{name} is a {type(function).__name__}, which has no forward; expected one that has"
        )


def called(block: Block) -> Callable[[Any], Any]:
    """The block as a function of one state: a tuple is spread if the block asks for two arguments or more."""
    return lambda state: (
        block(*state) if isinstance(state, tuple) and asks_for_several(block) else block(state)
    )


def asks_for_several(block: Block) -> bool:
    """Whether a tuple is spread over the arguments of a block."""
    try:
        parameters = inspect.signature(getattr(block, "forward", block)).parameters.values()
    except (TypeError, ValueError):  # a builtin without a signature
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.default is p.empty and p.kind in kinds for p in parameters) > 1


def end_of(
    state: Any, s: int, loss_fn: LossFunction, readout: Readout | None, follow: bool
) -> tuple[Tensor, BlockGraph]:
    """L(x(s)), detached, and the graph from x(s) to it.

    Raises:
        ShapeError: the loss is not a real scalar.
        DomainError: gradients are to follow to x(s) and the loss has none.
    """
    loss = loss_with_gradient if follow else _loss
    return block_graph.run(lambda z: loss(z, s, loss_fn, readout), state, follow, f"the loss at s = {s}")


def loss_with_gradient(z: Any, s: int, loss_fn: LossFunction, readout: Readout | None) -> Tensor:
    """L(x(s)), z = x(s).

    Raises:
        ShapeError: the loss is not a real scalar.
        DomainError: it has no gradient.
    """
    loss = _loss(z, s, loss_fn, readout)
    if not loss.requires_grad:
        raise DomainError(f"the loss at s = {s} has no gradient: loss_fn or readout detaches its input")
    return loss


def _loss(z: Any, s: int, loss_fn: LossFunction, readout: Readout | None) -> Tensor:
    """L(x(s)), with what can be wrong about the two functions said of them, and not of what they call."""
    name = f"the readout of the loss at s = {s}"
    try:
        if readout is not None:
            z = given("readout", readout, z, s)
        name = f"the loss at s = {s}"
        loss = given("loss_fn", loss_fn, z)
    except Exception as error:
        said_of(error, name, z)
        raise
    return as_loss(loss, s)


def given(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """function(*arguments); a function of another number of arguments is named."""
    try:
        return function(*arguments)
    except TypeError:
        try:
            signature = inspect.signature(getattr(function, "forward", function))
        except (TypeError, ValueError):  # a builtin without a signature
            signature = inspect.signature(lambda *_: None)
        try:
            signature.bind(*arguments)
        except TypeError:
            wanted = "(x(s), s)" if name == "readout" else "(z)"
            raise ShapeError(f"{name} takes {signature}; it is called with {wanted}") from None
        raise


def as_loss(loss: Any, s: int) -> Tensor:
    """What loss_fn returned for x(s), if it is one real number; else `ShapeError`."""
    if isinstance(loss, Tensor) and loss.numel() == 1 and loss.is_floating_point():
        return loss
    what = f"{loss.dtype}, shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
    raise ShapeError(f"the loss at s = {s} is {what}; expected a real scalar tensor")


def check_gradients_are_on() -> None:
    """Raise `DomainError` inside `torch.no_grad()` or `torch.inference_mode()`."""
    if not torch.is_grad_enabled() or torch.is_inference_mode_enabled():
        raise DomainError(
            "gradients are switched off (torch.no_grad or inference_mode); leave that block first"
        )
