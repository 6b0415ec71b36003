"""The optimal schedule of recursive checkpointing within M stored blocks, by dynamic programming.

Reversing l blocks within M units of memory (a unit is a stored state, or what one block keeps for its
backward pass; the input of the first block is not counted) takes

    F(l, M) = l                                                 if l <= M: run them once, keeping everything
    F(l, M) = min_{1 <= j < l} j + F(l - j, M - 1) + F(j, M)    else: run j blocks without a graph, store
                                                                x(j), reverse what follows, then the first j

runs of a block forward. F(1, 0) = 1: the state that a single block starts from is part of its own unit, so
that F(l, 1) = l (l + 1)/2. This is the recursion of Revolve (Griewank and Walther, ACM TOMS 26, 2000), with
runs of blocks that are recorded as a whole.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dlinear.checks import as_depth, as_integer

__all__ = ["block_runs", "first_part"]

_NEVER = 2**62


def block_runs(depth: int, states: int) -> int:
    """F(T, M): how often blocks run forward.

    Args:
        depth: T >= 1.
        states: M >= 1.

    Raises:
        DomainError: no such integers.
    """
    depth, states = as_depth(depth), as_integer("states", states)
    return int(_table(depth, min(states, depth))[min(states, depth), depth])


def first_part(length: int, states: int) -> int:
    """The j at which F(l, M) takes its least value, l > max(M, 1)."""
    table = _table(length, max(states, 1))
    return 1 + int(np.argmin(_choices(table, length, states)))


def _choices(table: NDArray[np.int64], length: int, states: int) -> NDArray[np.int64]:
    """j + F(l - j, M - 1) + F(j, M) for j = 1, ..., l - 1."""
    part = np.arange(1, length)
    return part + table[states - 1, length - 1 : 0 : -1] + table[states, 1:length]


def _table(depth: int, states: int) -> NDArray[np.int64]:
    """F(l, m) at [m, l] for l = 0..T and m = 0..M at least; one table grows, rounded up to powers of two."""
    return _tabulated(1 << (depth - 1).bit_length(), 1 << (states - 1).bit_length())


@lru_cache(maxsize=8)
def _tabulated(depth: int, states: int) -> NDArray[np.int64]:
    table = np.full((states + 1, depth + 1), _NEVER // 4, dtype=np.int64)
    table[:, 0] = 0
    table[0, 1:2] = 1
    for m in range(1, states + 1):
        for length in range(1, depth + 1):
            table[m, length] = length if length <= m else _choices(table, length, m).min()
    table.flags.writeable = False
    return table
