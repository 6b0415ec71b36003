"""Products of near-identity layers.

What must stay small is held as a deviation from I: storing I + D would round away the part that
sin^2(theta_h) is made of. Composition is (I + B)(I + A) - I = A + B + BA. Factors that only multiply (states,
costates, windows) are plain matrices: a strongly contracting product keeps its digits there, and would lose
them as -I + (something small).

Products over many layers are taken in two levels (blocks, then inside all blocks at once): few large batched
calls, and rounding errors that grow slowly with depth. Shapes: `deviations` (k, n, n) in depth order; results
over all boundaries t = 0..k have shape (k+1, n, n).
"""

from __future__ import annotations

import math

import numpy as np

from dlinear.networks import Layers, Matrix


def compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Deviation of (I + outer)(I + inner), over any leading axes."""
    out: np.ndarray = np.matmul(outer, inner)
    out += inner
    out += outer
    return out


def total_deviation(deviations: Layers) -> Matrix:
    """Deviation of the product of all layers, W_0^k - I, shape (n, n), by a tree of pairs."""
    total: Matrix = _block_totals(deviations[None])[0]
    return total


def prefix_deviations(deviations: Layers) -> Layers:
    """W_0^t - I for t = 0..k, shape (k+1, n, n)."""
    k, n, _ = deviations.shape
    out = np.empty((k + 1, n, n))
    _scan_deviations(deviations, np.zeros((n, n)), out)
    return out


def suffix_deviations(deviations: Layers) -> Layers:
    """W_t^k - I for t = 0..k, shape (k+1, n, n)."""
    return _mirrored(prefix_deviations(_mirrored(deviations)))


def states(deviations: Layers, start: Matrix) -> Layers:
    """W_0^t start for t = 0..k, shape (k+1, n, n): P_t when start is the state at the first layer."""
    k, n, _ = deviations.shape
    out = np.empty((k + 1, n, n))
    out[0] = start
    size = _block_length(deviations)
    whole = k // size
    if whole > 1:
        inner = deviations[: whole * size].reshape(whole, size, n, n)
        blocks = out[: whole * size].reshape(whole, size, n, n)
        for block, total in enumerate(_block_totals(inner)[:-1]):
            np.matmul(total, blocks[block, 0], out=blocks[block + 1, 0])
            blocks[block + 1, 0] += blocks[block, 0]
        _run(inner[:, :-1], blocks)
        first = (whole - 1) * size + size - 1
        _run(deviations[None, first:], out[None, first:])
    else:
        _run(deviations[None], out[None])
    return out


def costates(deviations: Layers, end: Matrix) -> Layers:
    """(W_t^k)^T end for t = 0..k, shape (k+1, n, n): the gradient with respect to the state P_t."""
    return states(_mirrored(deviations), end)[::-1]


def final_state(deviations: Layers, start: Matrix) -> Matrix:
    """W_0^k start, shape (n, n): the last of `states`, without the others."""
    size = _block_length(deviations)
    whole = len(deviations) // size
    inner = deviations[: whole * size].reshape(whole, size, *deviations.shape[1:])
    state = start
    for total in [*_block_totals(inner), *deviations[whole * size :]]:
        state = state + total @ state
    return state


def windows(deviations: Layers, length: int) -> Layers:
    """W_t^{t+length} for t = 0..k-length, shape (k-length+1, n, n), 0 <= length <= k.

    Blocks of `length` layers: a window is the end of one block followed by the start of the next
    (van Herk 1992; Gil, Werman 1993), about three products a layer and no inverse.
    """
    k, n, _ = deviations.shape
    count = k - length + 1
    identity = np.eye(n)
    if length == 0:
        return np.tile(identity, (count, 1, 1))
    if length == 1:
        deviations = deviations + identity
        return deviations
    out = np.empty((count, n, n))
    blocks = -(-count // length)
    if blocks > length:  # many short blocks: all of them at once, one layer after another
        padded = np.zeros(((blocks + 1) * length, n, n))
        padded[:k] = deviations
        grid = padded.reshape(blocks + 1, length, n, n)
        starts = np.empty((blocks, length, n, n))
        starts[:, 0] = identity
        _run(grid[1:, :-1], starts)
        ends = np.empty((blocks, length, n, n))
        ends[:, 0] = identity + np.swapaxes(grid[:-1, -1], 1, 2)
        _run(np.swapaxes(grid[:-1, -2::-1], 2, 3), ends)
        whole = np.matmul(starts, np.swapaxes(ends[:, ::-1], 2, 3))
        out[:] = whole.reshape(-1, n, n)[:count]
        return out
    for block in range(0, count, length):
        these = min(length, count - block)
        ends = np.swapaxes(costates(deviations[block : block + length], identity)[:these], 1, 2)
        starts = states(deviations[block + length : block + length + these - 1], identity)
        np.matmul(starts, ends, out=out[block : block + these])
    return out


def _mirrored(layers: np.ndarray) -> np.ndarray:
    """Reverse the depth and transpose each layer: suffixes become prefixes."""
    return np.swapaxes(layers, -1, -2)[::-1]


def _block_length(deviations: np.ndarray) -> int:
    """About sqrt(k) layers, but so few that the deviation of a block stays clear of -I.

    A block's total multiplies as I + total; if its layers contracted strongly, digits would be lost there.
    """
    k, n, _ = deviations.shape
    largest = max(float(deviations.max(initial=0.0)), -float(deviations.min(initial=0.0)))
    coherent = k * n * largest  # bounds the sum of ||D||_2
    if coherent > 0.5:  # false for NaN, which is reported elsewhere
        return max(1, min(math.isqrt(k), int(0.5 * k / coherent)))
    return max(1, math.isqrt(k))


def _block_totals(blocks: np.ndarray) -> np.ndarray:
    """Deviations of the products over the second axis of (B, L, n, n), shape (B, n, n)."""
    while blocks.shape[1] > 1:
        pairs = compose(blocks[:, 1::2], blocks[:, : blocks.shape[1] // 2 * 2 : 2])
        if blocks.shape[1] % 2:
            pairs = np.concatenate([pairs, blocks[:, -1:]], axis=1)
        blocks = pairs
    return blocks[:, 0]


def _scan_deviations(deviations: np.ndarray, start: Matrix, out: np.ndarray) -> None:
    """out[t] = deviation of W_0^t (I + start) for t = 0..k."""
    k, n, _ = deviations.shape
    size = max(1, math.isqrt(k))
    whole = k // size
    out[0] = start
    inner = deviations[: whole * size].reshape(whole, size, n, n)
    blocks = out[: whole * size].reshape(whole, size, n, n)
    for block, total in enumerate(_block_totals(inner)[:-1] if whole > 1 else ()):
        blocks[block + 1, 0] = compose(total, blocks[block, 0])
    if whole > 1:
        for j in range(size - 1):
            blocks[:, j + 1] = compose(inner[:, j], blocks[:, j])
    for t in range((whole - 1) * size + size - 1 if whole > 1 else 0, k):
        out[t + 1] = compose(deviations[t], out[t])


def _run(deviations: np.ndarray, out: np.ndarray) -> None:
    """Fill out[:, 1:] from out[:, 0] by X <- X + D X, one layer of every block at a time."""
    for j in range(deviations.shape[1]):
        np.matmul(deviations[:, j], out[:, j], out=out[:, j + 1])
        out[:, j + 1] += out[:, j]
