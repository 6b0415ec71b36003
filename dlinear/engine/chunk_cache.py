"""The last few computed chunks, shared by threads."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class ChunkCache(Generic[Value]):
    """The values of the `keep` chunks asked for last; others are computed again.

    It does not hold the function that computes them: a method would be a circle, which is freed late.
    """

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._kept: OrderedDict[int, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, i: int, compute: Callable[[int], Value]) -> Value:
        """compute(i), or what it returned before."""
        with self._lock:
            if i in self._kept:
                self._kept.move_to_end(i)
                return self._kept[i]
        value = compute(i)
        with self._lock:
            self._kept[i] = value
            while len(self._kept) > self._keep:
                self._kept.popitem(last=False)
        return value
