"""Gradients summed aside, and added to `.grad` at the end as `backward()` would."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

Gradients = dict[Tensor, Tensor]
_collected: ContextVar[GradientSum | None] = ContextVar("collected", default=None)


class GradientSum:
    """The sum of the gradients that each trainable tensor received."""

    def __init__(
        self, blocks: Sequence[Any] = (), parameters: Sequence[Sequence[Tensor]] | None = None
    ) -> None:
        """`parameters`: of each block, where they are known."""
        if parameters is None:
            parameters = [list(b.parameters()) if isinstance(b, torch.nn.Module) else [] for b in blocks]
        self.gradients: Gradients = {}
        self._parameters = parameters
        self._owners: dict[int, tuple[int, ...]] = {}  # by the id of a parameter: the blocks that have it
        for t, own in enumerate(parameters):
            for parameter in own:
                key = id(parameter)
                before = self._owners.get(key, ())
                if t not in before:
                    self._owners[key] = (*before, t)

    def share(self, t: int, others: range) -> bool:
        """Whether block t has a parameter that one of the other blocks has as well."""
        return any(
            len(owners := self._owners[id(p)]) > 1 and any(u in others for u in owners)
            for p in self._parameters[t]
        )

    def owns(self, leaves: Iterable[Tensor]) -> bool:
        """Whether one of the leaves is a parameter of a block."""
        return any(id(leaf) in self._owners for leaf in leaves)

    def add(self, leaves: Iterable[Tensor], found: Iterable[Tensor | None]) -> None:
        """Add gradients to those of their leaves; None is none."""
        for leaf, gradient in zip(leaves, found, strict=True):
            if (total := added(self.gradients.get(leaf), gradient)) is not None:
                self.gradients[leaf] = total

    def add_direct(self, leaves: Sequence[Tensor], found: Sequence[Tensor | None], receivers: range) -> None:
        """Add the gradients of tensors that a loss depends on directly, other than through its state.

        A block's parameter (a tied head, weight decay inside the loss) receives it from its own losses alone.
        """
        if not leaves:
            return
        owners = [self._owners.get(id(leaf)) for leaf in leaves]
        allowed = [own is None or any(t in receivers for t in own) for own in owners]
        self.add(leaves, [g if mine else None for g, mine in zip(found, allowed, strict=True)])

    def add_inputs(self, state: Any, signal: Iterable[Tensor | None]) -> None:
        """Add the gradient with respect to those tensors of x(0) that require one."""
        wanted = [
            (leaf, g)
            for leaf, g in zip(pytree.tree_leaves(state), signal, strict=True)
            if isinstance(leaf, Tensor) and leaf.requires_grad
        ]
        self.add([leaf for leaf, _ in wanted], [g for _, g in wanted])


@contextlib.contextmanager
def collecting(known: Sequence[Tensor]) -> Iterator[Gradients]:
    """Gradients of the steps inside by tensor, while every `.grad` stays, and ends, as it was.

    Args:
        known: parameters to which code that does not know of this may add: their `.grad` is put aside.
    """
    total, before = GradientSum(()), [leaf.grad for leaf in known]
    token = _collected.set(total)
    try:
        for leaf in known:
            leaf.grad = None
        yield total.gradients
        total.add(known, [leaf.grad for leaf in known])
    finally:
        _collected.reset(token)
        for leaf, gradient in zip(known, before, strict=True):
            leaf.grad = gradient


def collector() -> GradientSum | None:
    """Where gradients go instead of `.grad`, inside `collecting`."""
    return _collected.get()


def assign(gradients: Gradients) -> None:
    """Make each gradient its tensor's `.grad`, then run its post-accumulate hooks."""
    with torch.no_grad():
        for leaf, gradient in gradients.items():
            if leaf.grad is None:
                leaf.grad = gradient
            else:
                leaf.grad.copy_(gradient)
            _run_hooks(leaf)


def accumulate(gradients: Gradients) -> None:
    """Add each gradient to its tensor's `.grad`, then run its post-accumulate hooks.

    A tensor that is no leaf (an input that other modules produced) is back-propagated from there, last.
    """
    if (total := collector()) is not None:
        total.add(gradients, gradients.values())
        return
    taken: set[int] = set()
    with torch.no_grad():
        for leaf, gradient in gradients.items():
            if not leaf.is_leaf:
                continue
            if leaf.grad is None:
                leaf.grad = _own(gradient, leaf, taken)
            elif leaf.grad.is_sparse or gradient.is_sparse:
                leaf.grad = added(leaf.grad, gradient)
            else:
                leaf.grad += gradient
            _run_hooks(leaf)
    inner = [(tensor, gradient) for tensor, gradient in gradients.items() if not tensor.is_leaf]
    if inner:
        torch.autograd.backward([tensor for tensor, _ in inner], [gradient for _, gradient in inner])


def added(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """a + b, None being nothing; torch adds a sparse tensor to a dense one, not the other way round."""
    if a is None or b is None:
        return b if a is None else a
    return b + a if a.is_sparse and not b.is_sparse else a + b


def _run_hooks(leaf: Tensor) -> None:
    hooks = getattr(leaf, "_post_accumulate_grad_hooks", None)
    if hooks:
        for hook in hooks.values():
            hook(leaf)


def _own(gradient: Tensor, leaf: Tensor, taken: set[int]) -> Tensor:
    """The gradient in memory of its own, with the strides of its leaf where that is dense."""
    if gradient.is_sparse:
        return gradient.clone()
    storage = gradient.untyped_storage()
    place = storage.data_ptr()
    alone = place not in taken and storage.nbytes() == gradient.nbytes
    taken.add(place)
    if alone and (gradient.stride() == leaf.stride() or leaf.numel() < 2):
        return gradient
    return torch.empty_like(leaf).copy_(gradient)
