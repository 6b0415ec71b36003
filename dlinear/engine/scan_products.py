"""The scans of `scan_triton` by batched products of torch, for devices without Triton and for wide layers.

Blocks have few layers, so that there are few launches: one product for all blocks at each place in a block,
and levels of blocks of blocks. Nothing is read by the host.
"""

from __future__ import annotations

from typing import Any

from dlinear.engine.backends import Array, Backend
from dlinear.engine.scan_kinds import CLEAR, KINDS

LENGTH = 8  # factors of a block: few launches a level, few levels
TOP = 16  # factors up to this number are one block


def fold(be: Backend, factors: Array, out: Array, length: int) -> None:
    """The products of blocks of `length` factors, a power of two or all: pairs, pairs of pairs, ...

    Args:
        factors: (k, n, n), W - I of each, or (k, 2, n, n), W - I and W of each.
        out: (blocks, 2, n, n).
    """
    n = factors.shape[-1]
    if factors.ndim == 3:
        pairs = be.empty(len(factors), 2, n, n)
        pairs[:, 0] = factors
        pairs[:, 1] = factors
        _add_identity(pairs[:, 1])
        factors = pairs
    while length > 1 and len(factors) > 1:
        factors, length = _halved(be, factors), -(-length // 2)
    deviation, plain = factors[:, 0], factors[:, 1]
    out[:, 0] = deviation
    # I + (W - I) has more digits than a product of rounded W, unless it is small
    clear = (be.squares(deviation) <= CLEAR)[:, None, None]
    better = deviation.clone()
    _add_identity(better)
    out[:, 1] = better.where(clear, plain)


def _halved(be: Backend, factors: Array) -> Array:
    """(W - I, W) of the products of factors 2 b and 2 b + 1; a last single one stays."""
    count, n = len(factors), factors.shape[-1]
    whole = count // 2
    inner, outer = factors[: 2 * whole : 2], factors[1 : 2 * whole : 2]
    out = be.empty(count - whole, 2, n, n)
    be.matmul(outer, inner, out[:whole])
    out[:whole, 0] += inner[:, 0]  # (I + B)(I + A) - I = A + B + B A
    out[:whole, 0] += outer[:, 0]
    if count % 2:
        out[whole] = factors[-1]
    return out


def scan(be: Backend, kind: str, factors: Array, edges: Array, out: Array, length: int) -> None:
    """The values at all boundaries, (k + 1, n, n), from those at the edges of blocks of `length` factors.

    `edges` may be the one value that the scan begins with, if one block holds all factors.
    """
    backward, right, transposed, deviation = KINDS[kind]
    count = len(factors)
    if factors.ndim == 4:
        changes, weights = factors[:, 0], factors[:, 1]
    else:
        changes, weights = factors, factors.clone()
        _add_identity(weights)
    weights = weights.mT if transposed else weights
    if len(edges) > 1:
        out[:count:length], out[count] = edges[:-1], edges[-1]
    else:
        out[count if backward else 0] = edges[0]
    # place j of every block that has it; the values at the edges of blocks are known
    known, blocks = int(len(edges) > 1), -(-count // length)
    places = range(length - 1, known - 1, -1) if backward else range(length - known)
    for j in places:
        here, there = (j + 1, j) if backward else (j, j + 1)
        target = out[there : count + 1 - known : length][:blocks]
        some = len(target)
        source, w = out[here::length][:some], weights[j::length][:some]
        be.matmul(source, w, target) if right else be.matmul(w, source, target)
        if deviation:
            target += changes[j::length][:some]


def gradients(
    be: Backend, layers: Array, edges: Array, states: Array, out: Array | None, length: int
) -> Array:
    """||g_T(t)||^2 of each layer, (k,), and g_T(t) into `out`, (k, n, n), unless that is None."""
    costates = be.empty(*states.shape)
    scan(be, "costates", layers, edges, costates, length)
    found = be.empty(*layers.shape) if out is None else out
    be.matmul(costates[1:], states[:-1].mT, found)
    return be.squares(found)


def _add_identity(matrices: Any) -> None:
    matrices.diagonal(0, -2, -1)[:] += 1
