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
_running: ContextVar[str | None] = ContextVar("running", default=None)  # the block that runs in this thread
_lock, _watchers = threading.Lock(), 0


def _watched_apply(*args: Any, **kwargs: Any) -> Any:
    name = _running.get()
    if name is not None and torch.is_grad_enabled():
        raise DomainError(f"{name} {ADVICE}")
    return _apply(*args, **kwargs)  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def refused(name: str) -> Iterator[None]:
    """Inside, a reentrant checkpoint in this thread raises `DomainError`, which names the block."""
    global _watchers
    with _lock:
        _watchers += 1
        CheckpointFunction.apply = staticmethod(_watched_apply)  # type: ignore[method-assign]
    token = _running.set(name)
    try:
        yield
    finally:
        _running.reset(token)
        with _lock:
            _watchers -= 1
            if not _watchers:
                del CheckpointFunction.apply  # torch's own is inherited
