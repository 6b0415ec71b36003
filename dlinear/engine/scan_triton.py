"""Scans over near-identity layers on a GPU, by Triton: one launch for all blocks of a level.

A level is a sequence of factors W = I + B: of the layers themselves, only B is stored, (k, n, n); of products
of blocks both, (k, 2, n, n), for where layers contract strongly W loses its digits as I + B (`products`). One
program takes the factors of one block one after another, its n x n values in registers.

    fold     the products of blocks of factors, (B, W) each
    scan     the values at the boundaries of factors, from those at the edges of blocks
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from dlinear.engine.backends import Backend
from dlinear.engine.scan_kinds import CLEAR, KINDS
from dlinear.networks.philox_triton import LAUNCH

LENGTH = 64  # factors of a block
TOP = 128  # factors up to this number are one block


@triton.jit(do_not_specialize=["count", "length"])
def _fold(
    factors,
    out,
    count,
    length,
    n: tl.constexpr,
    size: tl.constexpr,
    paired: tl.constexpr,
    clear: tl.constexpr,
):
    """out[b] = (W - I, W) of the product of factors b length, ..., min((b + 1) length, count) - 1."""
    b = tl.program_id(0).to(tl.int64)
    i, j = tl.arange(0, size)[:, None], tl.arange(0, size)[None, :]
    inside, at, eye = (i < n) & (j < n), i * n + j, (i == j).to(tl.float64)
    deviation = tl.zeros((size, size), tl.float64)
    plain = eye
    for t in range(b * length, tl.minimum((b + 1) * length, count)):
        d, w = _factor(factors, t, at, inside, eye, n, paired)
        if paired:
            deviation = tl.dot(w, deviation, out_dtype=tl.float64) + d
        else:  # W is not rounded to I + D here
            deviation = tl.dot(d, deviation, out_dtype=tl.float64) + (deviation + d)
        plain = tl.dot(w, plain, out_dtype=tl.float64)
    squares = tl.sum(tl.sum(deviation * deviation, 1), 0)
    plain = tl.where(squares <= clear, deviation + eye, plain)
    tl.store(out + 2 * b * n * n + at, deviation, mask=inside)
    tl.store(out + (2 * b + 1) * n * n + at, plain, mask=inside)


@triton.jit(do_not_specialize=["count", "length"])
def _scan(
    factors,
    edges,
    out,
    count,
    length,
    shift: tl.constexpr,
    n: tl.constexpr,
    size: tl.constexpr,
    paired: tl.constexpr,
    backward: tl.constexpr,
    right: tl.constexpr,
    transposed: tl.constexpr,
    deviation: tl.constexpr,
):
    """out[t], t = 0..count, from the values at the edges of blocks; edges[b + shift] is where block b begins.

    X becomes W X, X W (right) or W^T X (transposed); with `deviation`, W - I is added.
    """
    b = tl.program_id(0).to(tl.int64)
    i, j = tl.arange(0, size)[:, None], tl.arange(0, size)[None, :]
    inside, at, eye = (i < n) & (j < n), i * n + j, (i == j).to(tl.float64)
    x = tl.load(edges + (b + shift) * n * n + at, mask=inside, other=0.0)
    first = b * length
    last = tl.minimum(first + length, count)
    for s in range(first, last):
        t = s
        here = s
        if backward:
            t = first + last - 1 - s
            here = t + 1
        tl.store(out + here * n * n + at, x, mask=inside)
        d, w = _factor(factors, t, at, inside, eye, n, paired)
        if right:
            x = tl.dot(x, w, out_dtype=tl.float64)
        elif transposed:
            x = tl.dot(tl.trans(w), x, out_dtype=tl.float64)
        else:
            x = tl.dot(w, x, out_dtype=tl.float64)
        if deviation:
            x += d
    if backward:
        if first == 0:
            tl.store(out + at, x, mask=inside)
    elif last == count:
        tl.store(out + last * n * n + at, x, mask=inside)


@triton.jit(do_not_specialize=["count", "length"])
def _gradients(
    layers,
    edges,
    states,
    norms,
    out,
    count,
    length,
    shift: tl.constexpr,
    n: tl.constexpr,
    size: tl.constexpr,
    keep: tl.constexpr,
):
    """g_T(t) = (W_{t+1}^T)^T R P_t^T: norms[t] = ||g_T(t)||_F^2 and, with `keep`, out[t] = g_T(t).

    `edges` are the costates at the edges of blocks, states[t] = P_t. The costates inside stay in registers.
    """
    b = tl.program_id(0).to(tl.int64)
    i, j = tl.arange(0, size)[:, None], tl.arange(0, size)[None, :]
    inside, at, eye = (i < n) & (j < n), i * n + j, (i == j).to(tl.float64)
    x = tl.load(edges + (b + shift) * n * n + at, mask=inside, other=0.0)
    first = b * length
    last = tl.minimum(first + length, count)
    for s in range(first, last):
        t = first + last - 1 - s
        p = tl.load(states + t * n * n + at, mask=inside, other=0.0)
        gradient = tl.dot(x, tl.trans(p), out_dtype=tl.float64)
        tl.store(norms + t, tl.sum(tl.sum(gradient * gradient, 1), 0))
        if keep:
            tl.store(out + t * n * n + at, gradient, mask=inside)
        _, w = _factor(layers, t, at, inside, eye, n, False)
        x = tl.dot(tl.trans(w), x, out_dtype=tl.float64)


@triton.jit
def _factor(factors, t, at, inside, eye, n: tl.constexpr, paired: tl.constexpr):
    """W - I and W of factor t."""
    if paired:
        d = tl.load(factors + 2 * t * n * n + at, mask=inside, other=0.0)
        w = tl.load(factors + (2 * t + 1) * n * n + at, mask=inside, other=0.0)
    else:
        d = tl.load(factors + t * n * n + at, mask=inside, other=0.0)
        w = d + eye
    return d, w


def fold(be: Backend, factors: Any, out: Any, length: int) -> None:
    """The products of blocks of `length` factors: (k, n, n) or (k, 2, n, n) to (blocks, 2, n, n)."""
    n = factors.shape[-1]
    shape = {"n": n, "size": padded(n), "paired": factors.dim() == 4, "clear": CLEAR}
    with LAUNCH, be.here():
        _fold[(out.shape[0],)](factors, out, factors.shape[0], length, **shape, num_warps=warps(n))


def scan(be: Backend, kind: str, factors: Any, edges: Any, out: Any, length: int) -> None:
    """The values at all boundaries, (k + 1, n, n), from those at the edges of blocks of `length` factors.

    `edges` may be the one value that the scan begins with, if one block holds all factors.
    """
    n, blocks = factors.shape[-1], -(-factors.shape[0] // length)
    backward, right, transposed, deviation = KINDS[kind]
    with LAUNCH, be.here():
        _scan[(blocks,)](
            factors,
            edges,
            out,
            factors.shape[0],
            length,
            shift=int(backward and edges.shape[0] > 1),
            n=n,
            size=padded(n),
            paired=factors.dim() == 4,
            backward=backward,
            right=right,
            transposed=transposed,
            deviation=deviation,
            num_warps=warps(n),
        )


def gradients(be: Backend, layers: Any, edges: Any, states: Any, out: Any, length: int) -> Any:
    """||g_T(t)||^2 of each layer, (k,), and g_T(t) into `out`, (k, n, n), unless that is None.

    `edges` are the costates at the edges of blocks of `length` layers, or the one after the only block.
    """
    n, blocks, norms = layers.shape[-1], -(-layers.shape[0] // length), be.empty(layers.shape[0])
    shape = {"shift": int(edges.shape[0] > 1), "n": n, "size": padded(n), "keep": out is not None}
    arrays = (layers, edges, states, norms, norms if out is None else out)
    with LAUNCH, be.here():
        _gradients[(blocks,)](*arrays, layers.shape[0], length, **shape, num_warps=warps(n))
    return norms


def padded(n: int) -> int:
    """Rows and columns of the tile that holds an n x n matrix: a power of two, at least 16."""
    return max(16, 1 << (n - 1).bit_length())


def warps(n: int) -> int:
    """Warps of a program."""
    return {16: 1, 32: 4}.get(padded(n), 8)
