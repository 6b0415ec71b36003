"""The backward hooks of a block's modules, called for the losses that the block learns from and no other.

At 1 < h < T gradients of the losses of earlier blocks pass through a block as well. Tools that read gradients
by hooks of modules (per-sample gradients, Kronecker factors) pair each call with the block's one forward run
and with `.grad`: they are to see what ends in `.grad`. So hooks are called through a gate. Hooks on tensors
are part of the graph and see every gradient that passes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch.nn import Module
from torch.nn.modules import module as torch_module

from dlinear.bridge.autograd.modules import modules_among
from dlinear.errors import DomainError

Hook = Callable[..., Any]


class Gate:
    """Whether hooks are called now.

    Attributes:
        open: whether they are.
        closed_once: whether a gradient has passed while they were not.
        changed: whether one of them has returned another gradient than it received.
    """

    def __init__(self) -> None:
        self.open = self.closed_once = self.changed = False

    def guarded(self, hook: Hook) -> Hook:
        """The hook, called only while the gate is open."""

        def call(module: Any, *gradients: Any) -> Any:
            if not self.open:
                return None
            result = hook(module, *gradients)
            self.changed |= result is not None and not _same(result, gradients[0])
            return result

        return call

    @contextlib.contextmanager
    def passing(self, name: str, opened: bool) -> Iterator[None]:
        """A gradient passes inside; `opened`: it is one that the block `name` learns from.

        Raises:
            DomainError: a hook changes gradients, of which some have passed without it.
        """
        self.open, self.closed_once = opened, self.closed_once or not opened
        try:
            yield
        finally:
            self.open = False
        if self.changed and self.closed_once:
            raise DomainError(
                f"{name} has a backward hook that changes gradients; at 1 < h < T it does not see those that "
                "pass to earlier blocks: change them by a hook on a tensor (output.register_hook in forward)"
            )


@contextlib.contextmanager
def gated(parts: Iterable[Any]) -> Iterator[Gate | None]:
    """Run the parts inside: their modules' backward hooks are then called only while the gate is open.

    Yields None where there are no hooks.
    """
    modules = dict.fromkeys(inner for outer in modules_among(parts) for inner in outer.modules())
    tables = [table for table in tables_of(modules) if table]
    if not tables:
        yield None
        return
    gate = Gate()
    exchanged = [(table, key, hook, gate.guarded(hook)) for table in tables for key, hook in table.items()]
    for table, key, _, guarded in exchanged:
        table[key] = guarded
    try:
        yield gate
    finally:
        for table, key, hook, guarded in exchanged:
            if table.get(key) is guarded:  # else the part itself has removed it
                table[key] = hook


Tables = list[dict[int, Hook]]


def tables_of(modules: Iterable[Module]) -> Tables:
    """Where torch keeps the backward hooks that a run meets: those of all modules, and of each of these."""
    tables: Tables = [torch_module._global_backward_pre_hooks, torch_module._global_backward_hooks]
    for module in modules:
        tables += (module._backward_pre_hooks, module._backward_hooks)
    return tables


def _same(result: Any, received: Any) -> bool:
    """Whether a hook returned what it received."""
    one = result if isinstance(result, tuple) else (result,)
    return len(one) == len(received) and all(a is b for a, b in zip(one, received, strict=True))
