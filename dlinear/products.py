"""Products of near-identity layers in deviation form.

A product of layers I + D is held as its deviation from I: storing I + D would round away the small part
that sin^2(theta_h) is made of. Composition is (I + B)(I + A) - I = A + B + BA.

Products over many layers are taken in two levels (blocks, then inside blocks, all blocks at once): the
rounding error grows with the logarithm of the depth and the work runs in a few large batched calls.
Shapes: `deviations` (k, n, n) in depth order; results over all boundaries t = 0..k have shape (k+1, n, n).
"""

from __future__ import annotations

import numpy as np

from dlinear.networks import Layers, Matrix

_BLOCK = 32  # layers that are taken one after another inside a block


def compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Deviation of (I + outer)(I + inner), over any leading axes."""
    out = np.matmul(outer, inner)
    out += inner
    out += outer
    return out


def total_deviation(deviations: Layers) -> Matrix:
    """Deviation of the product of all layers, W_0^k - I, shape (n, n), by a tree of pairs."""
    return _block_totals(deviations[None])[0]


def prefix_deviations(deviations: Layers) -> Layers:
    """W_0^t - I for t = 0..k, shape (k+1, n, n)."""
    return _scan(deviations, np.zeros(deviations.shape[1:]), in_deviation=True)


def suffix_deviations(deviations: Layers) -> Layers:
    """W_t^k - I for t = 0..k, shape (k+1, n, n)."""
    return _transposed(prefix_deviations(_transposed(deviations)))


def states(deviations: Layers, start: Matrix) -> Layers:
    """W_0^t start for t = 0..k, shape (k+1, n, n): P_t when start is the state at the first layer."""
    return _scan(deviations, start, in_deviation=False)


def costates(deviations: Layers, end: Matrix) -> Layers:
    """(W_t^k)^T end for t = 0..k, shape (k+1, n, n): the gradient with respect to the state P_t."""
    return _scan(_transposed(deviations), end, in_deviation=False)[::-1]


def window_deviations(deviations: Layers, length: int) -> Layers:
    """W_t^{t+length} - I for t = 0..k-length, shape (k-length+1, n, n), 0 <= length <= k.

    Blocks of `length` layers: a window is the end of one block followed by the start of the next
    (van Herk 1992; Gil, Werman 1993), about three products a layer and no inverse.
    """
    k, n, _ = deviations.shape
    if length == 0:
        return np.zeros((k + 1, n, n))
    out = np.empty((k - length + 1, n, n))
    for block in range(0, k - length + 1, length):
        count = min(length, k - length + 1 - block)  # windows that start in this block
        ends = suffix_deviations(deviations[block : block + length])[:count]
        starts = prefix_deviations(deviations[block + length : block + length + count - 1])
        out[block : block + count] = compose(starts, ends)
    return out


def _transposed(layers: np.ndarray) -> np.ndarray:
    """Reverse the depth and transpose each layer: suffixes become prefixes."""
    return np.swapaxes(layers, -1, -2)[::-1]


def _block_totals(blocks: np.ndarray) -> np.ndarray:
    """Deviations of the products over the second axis of (B, L, n, n), shape (B, n, n)."""
    while blocks.shape[1] > 1:
        pairs = compose(blocks[:, 1::2], blocks[:, : blocks.shape[1] // 2 * 2 : 2])
        if blocks.shape[1] % 2:
            pairs = np.concatenate([pairs, blocks[:, -1:]], axis=1)
        blocks = pairs
    return blocks[:, 0]


def _scan(deviations: Layers, start: Matrix, *, in_deviation: bool) -> Layers:
    """All running products from `start`: X <- X + D X, and + D too when X is held as a deviation."""
    k, n, _ = deviations.shape
    blocks = -(-k // _BLOCK)
    out = np.empty((blocks * _BLOCK + 1, n, n))
    if blocks <= 1:
        out[0] = start
        _run(deviations[None], out[None, : k + 1], in_deviation=in_deviation)
        return out[: k + 1]
    whole = k // _BLOCK
    inner = deviations[: whole * _BLOCK].reshape(whole, _BLOCK, n, n)
    carries = _scan(_block_totals(inner), start, in_deviation=in_deviation)
    out[: whole * _BLOCK : _BLOCK] = carries[:-1]
    _run(inner[:, :-1], out[: whole * _BLOCK].reshape(whole, _BLOCK, n, n), in_deviation=in_deviation)
    out[whole * _BLOCK] = carries[-1]
    _run(deviations[None, whole * _BLOCK :], out[None, whole * _BLOCK : k + 1], in_deviation=in_deviation)
    return out[: k + 1]


def _run(deviations: np.ndarray, out: np.ndarray, *, in_deviation: bool) -> None:
    """Fill out[:, 1:] from out[:, 0], one layer of every block at a time."""
    for j in range(deviations.shape[1]):
        layer, here, there = deviations[:, j], out[:, j], out[:, j + 1]
        np.matmul(layer, here, out=there)
        there += here
        if in_deviation:
            there += layer
