"""Products of near-identity layers, a chunk at a time.

What must stay small is held as a deviation from I: storing I + D would round away the part that
sin^2(theta_h) is made of. Composition is (I + B)(I + A) - I = A + B + BA. Factors that only multiply (states,
costates, windows) are plain matrices: a strongly contracting product keeps its digits there, and would lose
them as -I + (something small).

A chunk is cut into blocks of about sqrt(k) layers. The block products come first (a tree of pairs, all blocks
at once), then the values at the block edges, then all blocks together: few large batched calls, and rounding
errors that grow slowly with depth. Scans over k layers return the values at the k + 1 boundaries, (k + 1, n, n),
in depth order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from dlinear.backends import Array, Backend, NumpyBackend

_FEW = 16  # blocks up to this number are carried one after another

Step = Callable[[Array, Array, Array], None]  # (deviation, here, there): one layer from `here` to `there`


class Chunk:
    """Consecutive layers, (k, n, n) as deviations, and the scans over them.

    The block products are computed once, when first needed, and serve every scan.
    """

    def __init__(self, deviations: Array, backend: Backend | None = None) -> None:
        self.layers = deviations
        self._backend = backend or NumpyBackend()
        self._size, self._gentle = _block_length(deviations)
        self._totals: Array | None = None

    def __len__(self) -> int:
        return int(self.layers.shape[0])

    def total_deviation(self) -> Array:
        """W_0^k - I, (n, n)."""
        if not len(self):
            return self._zeros()
        whole = self._block_totals()
        rest = self.layers[len(self) // self._size * self._size :]
        total = block_totals(whole[None])[0]
        return compose(block_totals(rest[None])[0], total) if len(rest) else total

    def total(self) -> Array:
        """W_0^k as a plain product, (n, n)."""
        return self.final_state(self._eye())

    def total_both(self) -> tuple[Array, Array]:
        """(W_0^k - I, W_0^k); the second is not taken from the first where layers contract strongly."""
        deviation = self.total_deviation()
        return deviation, self._eye() + deviation if self._gentle else self.total()

    def final_state(self, start: Array) -> Array:
        """W_0^k start, (n, any), the last of `states` without the others."""
        state = start
        for part in self._parts():
            state = state + part @ state
        return state

    def states(self, start: Array) -> Array:
        """W_0^t start for t = 0..k: P_t when `start` is the state before the chunk."""

        def step(layer: Array, here: Array, there: Array) -> None:
            self._backend.matmul(layer, here, there)
            there += here

        return self._forward(start, step)

    def prefix_deviations(self) -> Array:
        """W_0^t - I for t = 0..k."""

        def step(layer: Array, here: Array, there: Array) -> None:
            self._backend.matmul(layer, here, there)
            there += here
            there += layer

        return self._forward(self._zeros(), step)

    def costates(self, end: Array) -> Array:
        """(W_t^k)^T end for t = 0..k: the gradient in P_t when `end` is the one after the chunk."""

        def step(layer: Array, here: Array, there: Array) -> None:
            self._backend.matmul(layer.mT, here, there)
            there += here

        return self._backward(end, step)

    def suffix_deviations(self, after: Array | None = None) -> Array:
        """(I + after) W_t^k - I for t = 0..k; `after` is the deviation of all later layers (none: 0)."""

        def step(layer: Array, here: Array, there: Array) -> None:
            self._backend.matmul(here, layer, there)
            there += here
            there += layer

        return self._backward(self._zeros() if after is None else after, step)

    def _forward(self, start: Array, step: Step) -> Array:
        k, size, out = len(self), self._size, self._boundaries()
        out[0] = start
        whole = k // size
        if whole > 1:
            inner, totals = self._inner(whole), self._block_totals()
            blocks = out[: whole * size].reshape(whole, size, *out.shape[1:])
            if self._gentle and whole > _FEW:
                blocks[:, 0] = Chunk(totals[:-1], self._backend)._forward(start, step)
            else:
                for b in range(whole - 1):
                    step(totals[b], blocks[b, 0], blocks[b + 1, 0])
            for j in range(size - 1):
                step(inner[:, j], blocks[:, j], blocks[:, j + 1])
        for t in range(whole * size - 1 if whole > 1 else 0, k):
            step(self.layers[t], out[t], out[t + 1])
        return out

    def _backward(self, end: Array, step: Step) -> Array:
        k, size, out = len(self), self._size, self._boundaries()
        out[k] = end
        whole = k // size
        many = whole > 1
        for t in range(k - 1, whole * size - 1 if many else -1, -1):
            step(self.layers[t], out[t + 1], out[t])
        if many:
            inner, totals = self._inner(whole), self._block_totals()
            blocks = out[1 : whole * size + 1].reshape(whole, size, *out.shape[1:])
            if self._gentle and whole > _FEW:
                blocks[:, -1] = Chunk(totals[1:], self._backend)._backward(blocks[-1, -1], step)
            else:
                for b in range(whole - 1, 0, -1):
                    step(totals[b], blocks[b, -1], blocks[b - 1, -1])
            for j in range(size - 1, 0, -1):
                step(inner[:, j], blocks[:, j], blocks[:, j - 1])
            step(self.layers[0], out[1], out[0])
        return out

    def _parts(self) -> Iterator[Array]:
        """Deviations whose product is the chunk's: the blocks, then the layers left over."""
        yield from self._block_totals()
        yield from self.layers[len(self) // self._size * self._size :]

    def _block_totals(self) -> Array:
        if self._totals is None:
            self._totals = block_totals(self._inner(len(self) // self._size))
        return self._totals

    def _inner(self, whole: int) -> Array:
        return self.layers[: whole * self._size].reshape(whole, self._size, *self.layers.shape[1:])

    def _boundaries(self) -> Array:
        n = self.layers.shape[-1]
        return self._backend.empty(len(self) + 1, n, n)

    def _eye(self) -> Array:
        return self._backend.array(np.eye(self.layers.shape[-1]))

    def _zeros(self) -> Array:
        n = self.layers.shape[-1]
        return self._backend.array(np.zeros((n, n)))


def compose(outer: Array, inner: Array) -> Array:
    """Deviation of (I + outer)(I + inner), over any leading axes."""
    out = outer @ inner
    out += inner
    out += outer
    return out


def block_totals(blocks: Array) -> Array:
    """Deviations of the products over the second axis of (B, L, n, n), (B, n, n), by a tree of pairs."""
    while blocks.shape[1] > 1:
        odd = blocks[:, -1] if blocks.shape[1] % 2 else None
        even = blocks.shape[1] // 2 * 2
        blocks = compose(blocks[:, 1:even:2], blocks[:, :even:2])
        if odd is not None:
            blocks[:, -1] = compose(odd, blocks[:, -1])
    return blocks[:, 0]


def windows(deviations: Array, length: int, backend: Backend | None = None) -> Array:
    """W_t^{t+length} for t = 0..k-length, shape (k-length+1, n, n), 0 <= length <= k.

    Blocks of `length` layers: a window is the end of one block followed by the start of the next
    (van Herk 1992; Gil, Werman 1993), about three products a layer and no inverse.
    """
    be = backend or NumpyBackend()
    k, n, _ = deviations.shape
    count = k - length + 1
    eye = be.array(np.eye(n))
    out = be.empty(count, n, n)
    if length <= 1:
        out[:] = eye
        if length:
            out += deviations
        return out
    blocks = -(-count // length)
    if blocks > length:  # many short blocks: all of them at once, one layer after another
        padded = be.array(np.zeros(((blocks + 1) * length, n, n)))
        padded[:k] = deviations
        grid = padded.reshape(blocks + 1, length, n, n)
        starts, ends = be.empty(blocks, length, n, n), be.empty(blocks, length, n, n)
        starts[:, 0] = eye
        ends[:, -1] = eye + grid[:-1, -1]
        for j in range(length - 1):
            be.matmul(grid[1:, j], starts[:, j], starts[:, j + 1])
            starts[:, j + 1] += starts[:, j]
            i = length - 1 - j
            be.matmul(ends[:, i], grid[:-1, i - 1], ends[:, i - 1])
            ends[:, i - 1] += ends[:, i]
        out[:] = (starts @ ends).reshape(-1, n, n)[:count]
        return out
    for block in range(0, count, length):
        these = min(length, count - block)
        ends = Chunk(deviations[block : block + length], be).costates(eye)[:these].mT
        starts = Chunk(deviations[block + length : block + length + these - 1], be).states(eye)
        be.matmul(starts, ends, out[block : block + these])
    return out


def _block_length(deviations: Array) -> tuple[int, bool]:
    """About sqrt(k) layers, but so few that the deviation of a block stays clear of -I; whether all k do.

    A block's total multiplies as I + total; if its layers contracted strongly, digits would be lost there.
    """
    k, n, _ = deviations.shape
    if k == 0:
        return 1, True
    coherent = k * n * max(float(deviations.max()), -float(deviations.min()))  # bounds the sum of ||D||_2
    if coherent > 0.5:  # false for NaN, which is reported elsewhere
        return max(1, min(math.isqrt(k), int(0.5 * k / coherent))), False
    return max(1, math.isqrt(k)), True
