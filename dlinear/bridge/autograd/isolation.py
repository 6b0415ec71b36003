"""Run code on a model in the middle of training and undo its side effects afterwards."""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves

from dlinear.bridge.autograd.backward_hooks import gated
from dlinear.bridge.autograd.modules import modules_among, trainable
from dlinear.errors import DomainError


def generators(device: torch.device) -> dict[str, Tensor]:
    """The states of torch's random generators that a computation on this device draws from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_generators(states: dict[str, Tensor], device: torch.device) -> None:
    """Set the generators to states of `generators`."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """torch computes on one core inside: workers side by side have a core each, and timings are those of
    one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def check_built(modules: Iterable[nn.Module]) -> None:
    """Refuse lazy modules that have not met an input: what they get with it could not be undone.

    Raises:
        DomainError: there is one.
    """
    for module in dict.fromkeys(inner for outer in modules for inner in outer.modules()):
        own = (*module.parameters(recurse=False), *module.buffers(recurse=False))
        if any(is_lazy(tensor) for tensor in own):
            raise DomainError(
                f"a {type(module).__name__} has no parameters yet: run the model once on a batch before"
            )


@contextlib.contextmanager
def isolated(parts: Iterable[Any], x: Any) -> Iterator[None]:
    """`.grad` is None inside; afterwards gradients, buffers and torch's random states are as before.

    Backward hooks of modules are not called for what runs inside. Enough for a step of a method; code of
    users (a probe) needs `step_isolated`.

    Args:
        parts: blocks, readout, loss: the modules among and behind them.
        x: x(0), whose tensors may get gradients.

    Raises:
        DomainError: a lazy module without parameters.
    """
    modules = modules_among(parts)
    check_built(modules)
    leaves = [*trainable(modules), *(t for t in tree_leaves(x) if isinstance(t, Tensor) and t.is_leaf)]
    gradients = [leaf.grad for leaf in leaves]
    buffers = [(b, b.clone()) for b in {b: None for m in modules for b in m.buffers()}]
    devices = sorted({t.device.index for t in leaves if t.device.type == "cuda"})
    try:
        with torch.random.fork_rng(devices), gated(modules):
            for leaf in leaves:
                leaf.grad = None
            yield
    finally:
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
        for leaf, gradient in zip(leaves, gradients, strict=True):
            leaf.grad = gradient


@contextlib.contextmanager
def step_isolated(
    stack: nn.Module,
    device: torch.device,
    data: Iterable[Tensor] = (),
    deferred: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
) -> Iterator[None]:
    """All changes to the model and to global state inside are undone at the end.

    Restored are values, gradients and `requires_grad` of parameters and buffers; modes, hooks and attributes
    of modules; the random generators of torch, numpy and Python; gradient mode and torch's threads.

    Args:
        stack: the model.
        device: where it is.
        data: tensors that must not be changed; they are not copied, a change is an error.
        deferred: a context that delays signals, around the restoring.

    Raises:
        DomainError: the data were changed in place, or a lazy module has no parameters yet.
    """
    check_built((stack,))
    tensors = list({id(t): t for t in (*stack.parameters(), *stack.buffers())}.values())
    with torch.no_grad():
        values = [(t, t.data, t.detach().clone(), t.requires_grad) for t in tensors]
        grads = [(t, t.grad, None if t.grad is None else t.grad.clone()) for t in tensors]
    modules = [(module, _attributes(module)) for module in stack.modules()]
    watched = [(t, t._version) for t in data]
    states, flags = generators(device), (torch.is_grad_enabled(), torch.get_num_threads())
    others = np.random.get_state(), random.getstate()  # noqa: NPY002 - the global one, foreign code's
    try:
        yield
    finally:
        with deferred():
            for module, attributes in modules:
                _set_attributes(module, attributes)
            with torch.no_grad():
                for t, memory, value, follows in values:
                    t.data = memory
                    t.copy_(value)
                    t.requires_grad_(follows)
                for t, grad, content in grads:
                    t.grad = grad
                    if grad is not None and content is not None:
                        grad.copy_(content)
            set_generators(states, device)
            np.random.set_state(others[0])  # noqa: NPY002
            random.setstate(others[1])
            torch.set_grad_enabled(flags[0])
            torch.set_num_threads(flags[1])
    if any(t._version != version for t, version in watched):
        raise DomainError("the probe changed the training or test data in place; let it work on a clone")


def _attributes(module: nn.Module) -> dict[str, tuple[Any, Any]]:
    """Every attribute, and a copy of its items if it is a dict: parameters, buffers, children, hooks."""
    return {
        name: (value, copy.copy(value) if isinstance(value, dict) else None)
        for name, value in vars(module).items()
    }


def _set_attributes(module: nn.Module, attributes: dict[str, tuple[Any, Any]]) -> None:
    own = vars(module)
    own.clear()
    for name, (value, items) in attributes.items():
        if isinstance(value, dict):
            value.clear()
            value.update(items)
        own[name] = value
