"""Blocks that run twice update their buffers once: running statistics, spectral norms, counters.

The second pass works on the buffers as they were before the first, and leaves them as after it. Buffers are
exchanged, not overwritten: what was saved for backward must not change its version. Whose they are is known
from the blocks, and for modules that nothing leads to from the calls of the first pass.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from dlinear.bridge.autograd.blocks import Block
from dlinear.bridge.autograd.modules import modules_and_loose_tensors
from dlinear.errors import DomainError

SMALL = 2**16  # entries of a tensor whose values are compared; running statistics have far fewer


class SegmentBuffers:
    """The buffers of the modules in training mode that a segment of blocks uses, before and after it ran."""

    def __init__(self, segment: Sequence[Block]) -> None:
        self._before: dict[nn.Module, dict[str, Tensor]] = {}
        self._version: dict[nn.Module, dict[str, tuple[Tensor, int]]] = {}
        self._passes = 0
        modules, loose = modules_and_loose_tensors(segment)
        for module in modules:
            for part in module.modules():
                self._keep(part)
        self._loose = [(t, t._version, _small(t)) for t in loose]

    def contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """For the first pass, and for the second; there may be more of the second."""
        return self._first_pass(), self._second_pass()

    def check(self, name: str) -> None:
        """Refuse, in the first pass, a block that has written into a tensor that no module holds.

        Raises:
            DomainError: such a block; the second pass would write into it once more.
        """
        if self._passes:
            return
        for tensor, version, value in self._loose:
            if tensor._version != version or (value is not None and _differs(tensor, value)):
                raise DomainError(
                    f"{name} writes into a tensor of shape {tuple(tensor.shape)} that is no buffer of a "
                    "module, and would do so again when it is recomputed: keep it in a module "
                    "(register_buffer)"
                )

    def forget_unchanged(self) -> bool:
        """Drop the copies of modules that the first pass has left as they were; whether any is left."""
        for module, before in list(self._before.items()):
            if not any(self._changed(module, name, value) for name, value in before.items()):
                del self._before[module], self._version[module]
        self._loose = []
        return bool(self._before)

    def _changed(self, module: nn.Module, name: str, before: Tensor) -> bool:
        now = module._buffers.get(name)
        kept, version = self._version[module][name]
        if now is not kept or now._version != version:
            return True
        return _is_small(now) and _differs(now, before)

    def _keep(self, module: nn.Module) -> None:
        if module.training and module not in self._before:
            own = {name: b for name, b in module._buffers.items() if b is not None}
            self._before[module] = {name: b.clone() for name, b in own.items()}
            self._version[module] = {name: (b, b._version) for name, b in own.items()}

    @contextlib.contextmanager
    def _first_pass(self) -> Iterator[None]:
        thread = threading.get_ident()

        def note(module: nn.Module, _arguments: Any) -> None:
            if not torch.compiler.is_compiling() and threading.get_ident() == thread:
                self._keep(module)

        compiled = any(hasattr(module, "_orig_mod") for module in self._before)  # torch warns of hooks there
        hook = None if compiled else nn.modules.module.register_module_forward_pre_hook(note)
        try:
            yield
        finally:
            if hook is not None:
                hook.remove()
            self._passes += 1

    @contextlib.contextmanager
    def _second_pass(self) -> Iterator[None]:
        now = [
            (module._buffers, name, module._buffers[name], value)
            for module, buffers in self._before.items()
            for name, value in buffers.items()
        ]
        for buffers, name, _, value in now:
            buffers[name] = value.clone()  # a third pass begins where the second did
        try:
            yield
        finally:
            for buffers, name, after, _ in now:
                buffers[name] = after


def _small(tensor: Tensor) -> Tensor | None:
    """A copy to compare with: batch norm writes its statistics without counting it as a write."""
    return tensor.clone() if _is_small(tensor) else None


def _is_small(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and tensor.numel() <= SMALL


def _differs(now: Tensor, before: Tensor) -> bool:
    same = (now == before) | ((now != now) & (before != before))  # NaN is the same as NaN
    return not bool(same.all())
