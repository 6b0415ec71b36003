"""torch's reentrant checkpoints inside a block: refused where they are called.

`torch.utils.checkpoint.checkpoint(..., use_reentrant=True)` runs a backward pass of its own inside the
backward pass, through which no gradient of one block alone can be taken. Where its input requires no gradient
it leaves no trace in the graph at all, and the parameters inside would stay untrained without a word. So the
call itself is watched, while a block runs.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import torch
from torch.utils.checkpoint import CheckpointFunction

from dlinear.errors import DomainError

ADVICE = (
    "checkpoints in torch's reentrant way, through which no gradient of a part can be taken: "
    "use torch.utils.checkpoint.checkpoint(..., use_reentrant=False)"
)

_apply = CheckpointFunction.apply
_running: ContextVar[list[str] | None] = ContextVar("running", default=None)  # what runs in this thread
_lock, _watchers = threading.Lock(), 0


def _watched_apply(*args: Any, **kwargs: Any) -> Any:
    names = _running.get()
    if names and torch.is_grad_enabled():
        raise DomainError(f"{names[-1]} {ADVICE}")
    return _apply(*args, **kwargs)  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def watched() -> Iterator[list[str]]:
    """Names in the list that it gives are of what runs now; the last one's reentrant checkpoints raise.

    Raises:
        DomainError: inside, for such a checkpoint in this thread.
    """
    global _watchers
    with _lock:
        _watchers += 1
        if _watchers == 1:
            CheckpointFunction.apply = staticmethod(_watched_apply)  # type: ignore[method-assign]
    names: list[str] = []
    token = _running.set(names)
    try:
        yield names
    finally:
        _running.reset(token)
        with _lock:
            _watchers -= 1
            if not _watchers:
                del CheckpointFunction.apply  # torch's own is inherited


class refused:
    """Inside, a reentrant checkpoint in this thread raises `DomainError`, which names the block."""

    __slots__ = ("_name", "_names", "_outer")

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        names, self._outer = _running.get(), None
        if names is None:
            self._outer = watched()
            names = self._outer.__enter__()
        self._names = names
        names.append(self._name)

    def __exit__(self, *error: Any) -> None:
        self._names.pop()
        if self._outer is not None:
            self._outer.__exit__(*error)
