"""Products of near-identity layers, a chunk at a time.

What must stay small is stored as a deviation from I: storing I + D would round away the part that
sin^2(theta_h) is made of. Composition is (I + B)(I + A) - I = A + B + BA. Factors that only multiply (states,
costates, windows) are plain matrices: a strongly contracting product keeps its digits there, and would lose
them as -I + (something small).

A chunk is cut into blocks of about sqrt(k) layers. The block products come first (a tree of pairs, all blocks
at once), then the values at the block edges, then all blocks together: few large batched calls, and rounding
errors that grow slowly with depth. Scans over k layers return the values at the k + 1 boundaries, in depth
order, (k + 1, n, n):

    states               W_0^t X                     forward,   X(t + 1) = W(t) X(t)
    prefix_deviations    W_0^t (I + B) - I           forward,   B(t + 1) = W(t) B(t) + D(t)
    costates             (W_t^k)^T Y                 backward,  Y(t) = W(t)^T Y(t + 1)
    suffix_deviations    (I + A) W_t^k - I           backward,  A(t) = A(t + 1) W(t) + D(t)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from dlinear.engine.backends import Array, Backend, NumpyBackend

FEW = 16  # layers up to this number are taken one after another
_AT_ONCE = 1 << 19  # numbers of the blocks of windows that are computed together
CLEAR = 0.8**2  # largest ||total||_F^2 at which I + total keeps its digits: its singular values are >= 0.2

Advance = Callable[
    ["Chunk", Any, Array, Array], None
]  # (chunk, which layers, here, there): one layer further


class Chunk:
    """Consecutive layers, (k, n, n) as deviations, and the scans over them.

    The block products are computed once, when first needed, and serve every scan. A block's product
    multiplies as I + total, so blocks are so short that totals stay clear of -I, where digits would be lost.
    """

    def __init__(
        self, deviations: Array, backend: Backend | None = None, blocks: tuple[int, Array] | None = None
    ) -> None:
        self.layers = deviations
        self._backend = backend or NumpyBackend()
        self._weights: Array | None = None
        self._blocked = blocks

    def __len__(self) -> int:
        return int(self.layers.shape[0])

    def total_deviation(self) -> Array:
        """W_0^k - I, (n, n)."""
        if not len(self):
            return self._zeros()
        # blocks of equal length first, then the layers after them
        size, totals = self.blocks()
        rest = self.layers[len(self) // size * size :]
        total = block_totals(totals[None])[0]
        return compose(block_totals(rest[None])[0], total) if len(rest) else total

    def total(self) -> Array:
        """W_0^k as a plain product, (n, n)."""
        return self.final_state(self._eye())

    def total_both(self) -> tuple[Array, Array]:
        """(W_0^k - I, W_0^k); the second is not taken from the first where layers contract strongly."""
        deviation = self.total_deviation()
        small = self._backend.inner(deviation, deviation) <= CLEAR
        return deviation, self._eye() + deviation if small else self.total()

    def final_state(self, start: Array) -> Array:
        """W_0^k start, (n, any), the last of `states` without the others."""
        size, totals = self.blocks()
        state = start
        for part in (*Chunk(totals, self._backend).weights, *self.weights[len(self) // size * size :]):
            state = part @ state
        return state

    def states(self, start: Array) -> Array:
        """W_0^t start for t = 0..k: P_t when `start` is the state before the chunk."""

        def advance(chunk: Chunk, layers: Any, here: Array, there: Array) -> None:
            self._backend.matmul(chunk.weights[layers], here, there)

        return self._forward(start, advance)

    def prefix_deviations(self, before: Array | None = None) -> Array:
        """W_0^t (I + before) - I for t = 0..k; `before` is the deviation of all earlier layers (none: 0)."""

        def advance(chunk: Chunk, layers: Any, here: Array, there: Array) -> None:
            self._backend.matmul(chunk.weights[layers], here, there)
            there += chunk.layers[layers]

        return self._forward(self._zeros() if before is None else before, advance)

    def costates(self, end: Array) -> Array:
        """(W_t^k)^T end for t = 0..k: the gradient in P_t when `end` is the one after the chunk."""

        def advance(chunk: Chunk, layers: Any, here: Array, there: Array) -> None:
            self._backend.matmul(chunk.weights[layers].mT, here, there)

        return self._backward(end, advance)

    def suffix_deviations(self, after: Array | None = None) -> Array:
        """(I + after) W_t^k - I for t = 0..k; `after` is the deviation of all later layers (none: 0)."""

        def advance(chunk: Chunk, layers: Any, here: Array, there: Array) -> None:
            self._backend.matmul(here, chunk.weights[layers], there)
            there += chunk.layers[layers]

        return self._backward(self._zeros() if after is None else after, advance)

    def _forward(self, start: Array, advance: Advance) -> Array:
        """The values at t = 0..k from the one at 0: block edges, all blocks at once, then the rest."""
        k, out = len(self), self._boundaries()
        out[0] = start
        size, totals = self.blocks()
        whole = k // size
        if size > 1:
            layers = self._grid(size)
            blocks = out[: whole * size].reshape(whole, size, *out.shape[1:])
            # at the first layer of each block: the same scan over the block products
            blocks[:, 0] = Chunk(totals[:-1], self._backend)._forward(start, advance)
            # inside: place j + 1 of every block from place j
            for j in range(size - 1):
                advance(self, layers[j], blocks[:, j], blocks[:, j + 1])
        for t in range(whole * size - 1 if size > 1 else 0, k):
            advance(self, t, out[t], out[t + 1])
        return out

    def _backward(self, end: Array, advance: Advance) -> Array:
        """The values at t = 0..k from the one at k: the mirror image of `_forward`."""
        k, out = len(self), self._boundaries()
        out[k] = end
        size, totals = self.blocks()
        whole = k // size
        for t in range(k - 1, whole * size - 1 if size > 1 else -1, -1):
            advance(self, t, out[t + 1], out[t])
        if size > 1:
            layers = self._grid(size)
            blocks = out[1 : whole * size + 1].reshape(whole, size, *out.shape[1:])
            # after the last layer of each block: the same scan over the block products
            blocks[:, -1] = Chunk(totals[1:], self._backend)._backward(out[whole * size], advance)
            # inside: place j - 1 of every block from place j
            for j in range(size - 1, 0, -1):
                advance(self, layers[j], blocks[:, j], blocks[:, j - 1])
            advance(self, 0, out[1], out[0])
        return out

    @property
    def weights(self) -> Array:
        """W(t) = I + D(t), rounded; used inside blocks only, so that the rounding does not add up."""
        if self._weights is None:
            n = self.layers.shape[-1]
            self._weights = self._backend.empty(*self.layers.shape)
            self._weights[:] = self.layers
            self._weights.reshape(len(self), n * n)[:, :: n + 1] += 1
        return self._weights

    def blocks(self) -> tuple[int, Array]:
        """Layers of a block, about sqrt(k), and the deviations of the whole blocks' products.

        They may be kept (2 % of the layers) and given to the constructor when the same layers come again.
        """
        if self._blocked is None:
            size = math.isqrt(len(self)) if len(self) > FEW else 1
            totals = block_totals(self._inner(size)) if size > 1 else self.layers
            while size > 1 and not self._backend.squares(totals).max() <= CLEAR:
                size = size // 4 or 1
                totals = block_totals(self._inner(size)) if size > 1 else self.layers
            self._blocked = size, totals
        return self._blocked

    def _grid(self, size: int) -> list[slice]:
        """For each place in a block, the layers at that place of every block."""
        whole = len(self) // size
        return [slice(j, whole * size, size) for j in range(size)]

    def _inner(self, size: int) -> Array:
        whole = len(self) // size
        return self.layers[: whole * size].reshape(whole, size, *self.layers.shape[1:])

    def _boundaries(self) -> Array:
        n = self.layers.shape[-1]
        return self._backend.empty(len(self) + 1, n, n)

    def _eye(self) -> Array:
        return self._backend.eye(self.layers.shape[-1])

    def _zeros(self) -> Array:
        n = self.layers.shape[-1]
        return self._backend.zeros(n, n)


def compose(outer: Array, inner: Array) -> Array:
    """(I + B)(I + A) - I = A + B + BA, B = outer, A = inner, over any leading axes."""
    out = outer @ inner
    out += inner
    out += outer
    return out


def block_totals(blocks: Array) -> Array:
    """Deviations of the products over the second axis, (B, L, n, n) to (B, n, n), by a tree of pairs."""
    while blocks.shape[1] > 1:
        odd = blocks[:, -1] if blocks.shape[1] % 2 else None
        even = blocks.shape[1] // 2 * 2
        blocks = compose(blocks[:, 1:even:2], blocks[:, :even:2])
        if odd is not None:
            blocks[:, -1] = compose(odd, blocks[:, -1])
    return blocks[:, 0]


def windows_to_grid(
    deviations: Array,
    ends: np.ndarray,
    length: int,
    stride: int,
    backend: Backend | None = None,
    at_once: int = _AT_ONCE,
) -> Array:
    """W_i^{ends[i]} for i = 0..len(ends)-1; ends[i] is the first point of a grid at or after i + length.

    Grid points are `stride` apart. With p = end - length the last start of a grid point, a window is
    W_p^{p + length} W_i^p: the fixed windows at the p, and the products up to the next p, all groups at once
    or, when they are few and long, one after another.
    """
    be = backend or NumpyBackend()
    if stride == 1 or not len(ends):
        some = deviations[: len(ends) + length - 1] if len(ends) else deviations[:0]
        return windows(some, length, be, at_once)
    n = deviations.shape[-1]
    lasts = np.unique(ends) - length  # p of each group
    fixed = windows(deviations, length, be, at_once)[lasts]
    out = be.empty(len(ends), n, n)
    if len(lasts) >= stride:
        for back in range(stride):
            starts = lasts - back
            inside = np.flatnonzero((starts >= 0) & (starts < len(ends)))
            out[starts[inside]] = fixed[inside]
            fixed = fixed + fixed @ deviations[np.maximum(starts - 1, 0)]
        return out
    start = 0
    for p, window in zip(lasts, fixed, strict=True):
        stop = min(int(p) + 1, len(ends))  # starts of this group; those of the last one may lie beyond
        ahead = Chunk(deviations[start : int(p)], be).costates(window.mT)[: stop - start]
        out[start:stop] = ahead.mT
        start = stop
    return out


def windows(deviations: Array, length: int, backend: Backend | None = None, at_once: int = _AT_ONCE) -> Array:
    """W_t^{t+length} for t = 0..k-length, shape (k-length+1, n, n), 0 <= length <= k.

    Blocks of h = `length` layers: a window is the end of one block followed by the start of the next
    (van Herk 1992; Gil, Werman 1993), about three products a layer and no inverse. For t in the block
    a..b-1, b = a + h:

        W_t^{t+h} = W_b^{t+h} W_t^b          (`starts` of the next block times `ends` of this one)

    Memory beside the result: four arrays of `at_once` numbers, of a quarter of the result, or of a block.
    """
    be = backend or NumpyBackend()
    k, n, _ = deviations.shape
    count = k - length + 1
    eye = be.eye(n)
    out = be.empty(count, n, n)
    if length <= 1:  # I or W(t)
        out[:] = eye
        if length:
            out += deviations
        return out
    blocks = -(-count // length)
    if 16 * blocks > length:  # many blocks: groups of them
        group = min(blocks, max(at_once // (length * n * n), -(-blocks // 4)))
        for first in range(0, count, group * length):
            part = deviations[first : first + (group + 1) * length]
            _windows_of_blocks(part, length, out[first : first + group * length], be)
        return out
    for block in range(0, count, length):  # a few long blocks: one after another, each by scans
        these = min(length, count - block)
        ends = Chunk(deviations[block : block + length], be).costates(eye)[:these].mT
        starts = Chunk(deviations[block + length : block + length + these - 1], be).states(eye)
        be.matmul(starts, ends, out[block : block + these])
    return out


def _windows_of_blocks(deviations: Array, length: int, out: Array, be: Backend) -> None:
    """`windows` of the first len(out) layers, all blocks at once, one layer of each after another."""
    n, blocks = deviations.shape[-1], -(-len(out) // length)
    eye = be.eye(n)
    padded = be.zeros((blocks + 1) * length, n, n)
    padded[: len(deviations)] = deviations
    grid = padded.reshape(blocks + 1, length, n, n)
    starts, ends = be.empty(blocks, length, n, n), be.empty(blocks, length, n, n)
    starts[:, 0] = eye
    ends[:, -1] = eye + grid[:-1, -1]
    # X + D X = W X from the left, X + X D = X W from the right: W = I + D is not stored
    for j in range(length - 1):
        be.matmul(grid[1:, j], starts[:, j], starts[:, j + 1])
        starts[:, j + 1] += starts[:, j]
        i = length - 1 - j
        be.matmul(ends[:, i], grid[:-1, i - 1], ends[:, i - 1])
        ends[:, i - 1] += ends[:, i]
    out[:] = (starts @ ends).reshape(-1, n, n)[: len(out)]
