"""Forward mode through a stack: the derivative of the loss along a direction, nothing kept for a way back.

The directions are handed to the blocks wherever torch reads a trainable tensor (a mode of torch's function
calls): parameters of modules, of functions that hold some, shared ones. What gradients do not pass, tangents
do not pass either: frozen tensors, `detach()`, and `torch.no_grad()`, which forward mode alone would ignore.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from dlinear.bridge.autograd.backward_hooks import gated
from dlinear.bridge.autograd.blocks import Block, called
from dlinear.bridge.autograd.naming import located
from dlinear.bridge.autograd.replay import Replay
from dlinear.errors import DomainError

__all__ = ["dense_tangents", "slope_along"]

_NO_RULE = re.compile(r"forward[- ]mode|forward AD|jvp")


def slope_along(
    replay: Replay, x: Any, along: Mapping[Tensor, Tensor], *, beyond: bool = False
) -> tuple[Tensor, Tensor]:
    """(L(x(T)), <grad L(x(T)), v>): one run of all blocks and of the loss in forward mode.

    Alive at once are the state between two blocks, its tangent and what one block makes. The blocks, and the
    end that `replay` was given, run as they did before in it (dropout masks, buffers).

    Args:
        replay: of the blocks and of the end x(T) -> loss.
        x: x(0); a tensor of it may be among the directions.
        along: trainable tensor -> its part of v; dense, of its shape and type. No others vary.
        beyond: whether tensors vary in readout and loss as well as in the blocks.

    Returns:
        Two detached scalars.

    Raises:
        DomainError: a block, or the loss, has no forward-mode rule or uses a tensor that was computed from a
            trainable one before the step; the message names it.
    """
    with _old_rules(), forward_ad.dual_level():
        tangents, depth = _Tangents(along), len(replay.blocks) - 1
        state = pytree.tree_map(tangents.start, x)
        for t, block in enumerate(replay.blocks):
            last = t == depth
            tangents.begin("the loss" if last else f"block {t}", vary=beyond or not last)
            with replay.as_the_first_time(t) as done:
                state = _run(block, state, tangents)
                done.append(pytree.tree_map_only(Tensor, _value, state))
        loss, slope = _parts(state)
    loss = loss.detach().reshape(())
    return loss, torch.zeros_like(loss) if slope is None else slope.detach().reshape(())


def _run(block: Block, state: Any, tangents: _Tangents) -> Any:
    """What the block hands on; its backward hooks see nothing."""
    with located(tangents.name, state), _named_rule(tangents.name), gated((block,)), tangents:
        state = called(block)(state)
    return pytree.tree_map_only(Tensor, tangents.checked, state)


class _Tangents(TorchFunctionMode):
    """Inside, trainable tensors are read with their tangents, and no graph is made.

    Attributes:
        name: of what runs now, for messages.
    """

    def __init__(self, along: Mapping[Tensor, Tensor]) -> None:
        super().__init__()
        self._duals = {leaf: _dual(leaf.detach(), v) for leaf, v in along.items()}
        self.name, self._vary = "", True

    def begin(self, name: str, vary: bool) -> None:
        """What runs next, and whether trainable tensors vary in it."""
        self.name, self._vary = name, vary

    def start(self, leaf: Any) -> Any:
        """A tensor of x(0), in memory of its own: blocks may write into it."""
        if not isinstance(leaf, Tensor):
            return leaf
        tangent = _parts(self._duals[leaf])[1] if leaf in self._duals else None
        copy = leaf.detach().clone()
        return copy if tangent is None else _dual(copy, tangent)

    def checked(self, tensor: Tensor) -> Tensor:
        """A tensor that the block hands on: as it is read by the next one."""
        return self._read(tensor, follow=True)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        follow, given = torch.is_grad_enabled(), dict[int, Tensor]()

        def read(tensor: Tensor) -> Tensor:
            inside = self._read(tensor, follow)
            given[id(inside)] = tensor
            return inside

        args, kwargs = pytree.tree_map_only(Tensor, read, (args, kwargs or {}))
        result = func(*args, **kwargs)
        return given.get(id(result), result)  # an operation in place hands on what it was given

    def _read(self, tensor: Tensor, follow: bool) -> Tensor:
        if tensor.requires_grad:
            if not tensor.is_leaf:
                raise DomainError(
                    f"{self.name} uses a tensor that was computed from a trainable one outside of this pass, "
                    "or takes gradients itself: compute it inside the block, without autograd"
                )
            dual = self._duals.get(tensor) if self._vary and follow else None
            return tensor.detach() if dual is None else dual
        return tensor if follow else _value(tensor)


def _dual(tensor: Tensor, tangent: Tensor) -> Tensor:
    made: Tensor = forward_ad.make_dual(tensor, tangent)  # type: ignore[no-untyped-call]
    return made


def _parts(tensor: Tensor) -> tuple[Tensor, Tensor | None]:
    """Value and tangent."""
    value, tangent = forward_ad.unpack_dual(tensor)  # type: ignore[no-untyped-call]
    return value, tangent


def _value(tensor: Tensor) -> Tensor:
    """The tensor without its tangent; the same memory."""
    value, tangent = _parts(tensor)
    return tensor if tangent is None else value


@contextlib.contextmanager
def _named_rule(name: str) -> Iterator[None]:
    """torch's word about a missing rule names the part of the stack that lacks it.

    Raises:
        DomainError: such a part.
    """
    try:
        yield
    except (NotImplementedError, RuntimeError) as error:
        text = " ".join(str(error).split())
        if not _NO_RULE.search(text):
            raise
        why = text.partition(" that does not support")[0].partition(".")[0]
        raise DomainError(
            f"{name} has no forward-mode rule ({why[:120]}): give its autograd.Function a jvp, use another "
            "form of the operation (eager attention), or take the exact angle by dlinear.bridge.alignment"
        ) from error


@contextlib.contextmanager
def _old_rules() -> Iterator[None]:
    """torch itself compiles its rules in a way that it has deprecated; autocast is as in any forward run."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script` is", DeprecationWarning)
        yield


def dense_tangents(gradients: Mapping[Tensor, Tensor]) -> dict[Tensor, Tensor]:
    """Gradients as directions: with all their entries (those of a sparse embedding are few)."""
    return {leaf: g.to_dense() if g.is_sparse else g for leaf, g in gradients.items()}
