"""`products.Chunk` by compiled kernels: the same scans over the same blocks, for numpy in float64.

A chunk whose blocks contract strongly (their totals are not clear of -I) is one block: a plain scan loses
no digits.
"""

from __future__ import annotations

import math

import numpy as np

from dlinear.engine.backends import Array, NumpyBackend
from dlinear.engine.kernels.library import Kernels, contiguous
from dlinear.engine.kernels.truncation import Case
from dlinear.engine.products import CLEAR, FEW, Chunk

_NUMPY = NumpyBackend()
_AHEAD = ("states", "prefixes")  # scans from the first layer on


class CompiledChunk(Chunk):
    """Consecutive layers and the scans over them.

    Its blocks are those of `Chunk`, the last one shorter; their products are taken one layer after another.
    """

    def __init__(self, deviations: Array, kernels: Kernels, blocks: tuple[int, Array] | None = None) -> None:
        super().__init__(contiguous(deviations), _NUMPY, blocks)
        self.kernels = kernels

    def blocks(self) -> tuple[int, Array]:
        """Layers of a block and the deviations of the blocks' products; one block where they lose digits."""
        if self._blocked is None:
            k = len(self)
            size = math.isqrt(k) if k > FEW else max(1, k)
            totals = self._fold(size)
            while size > 1 and not _NUMPY.squares(totals).max(initial=0.0) <= CLEAR:
                size = size // 4 or 1
                totals = self._fold(size) if size > 1 else totals
            self._blocked = (size, totals) if size > 1 else (max(1, k), self._fold(max(1, k)))
        return self._blocked

    def total_deviation(self) -> Array:
        """W_0^k - I, (n, n)."""
        if not len(self):
            return self._zeros()
        _, totals = self.blocks()
        out = np.empty_like(totals[:1])
        self.kernels.call("fold", totals, len(totals), len(totals), 1, out)
        return out[0]

    def final_state(self, start: Array) -> Array:
        """W_0^k start, (n, n), the last of `states` without the others."""
        size, totals = self.blocks()
        if size >= len(self):
            return self.states(start)[-1]
        return self._edges("states", totals, start)[-1]

    def _fold(self, size: int) -> np.ndarray:
        k = len(self)
        out = np.empty((-(-k // size), *self.layers.shape[1:]))
        self.kernels.call("fold", self.layers, k, size, len(out), out)
        return out

    def _edges(self, name: str, totals: Array, value: Array) -> np.ndarray:
        """The scan over the blocks' products: the values at the edges of blocks, (blocks + 1, n, n)."""
        count = len(totals)
        out = np.empty((count + 1, *totals.shape[1:]))
        out[0 if name in _AHEAD else count] = value
        self.kernels.call(name, totals, count, max(1, count), min(1, count), out)
        return out

    def _scan(self, name: str, value: Array) -> Array:
        """The values at t = 0..k: those at the edges of blocks first, then inside each."""
        k, out = len(self), self._boundaries()
        size, totals = self.blocks()
        ahead = name in _AHEAD
        if size >= k:
            out[0 if ahead else k] = value
        else:
            edges = self._edges(name, totals, value)
            if ahead:
                out[:k:size] = edges[:-1]
            else:
                out[size:k:size], out[k] = edges[1:-1], edges[-1]
        self.kernels.call(name, self.layers, k, size, len(totals), out)
        return out

    def states(self, start: Array) -> Array:
        """W_0^t start for t = 0..k."""
        return self._scan("states", start)

    def prefix_deviations(self, before: Array | None = None) -> Array:
        """W_0^t (I + before) - I for t = 0..k."""
        return self._scan("prefixes", self._zeros() if before is None else before)

    def costates(self, end: Array) -> Array:
        """(W_t^k)^T end for t = 0..k, a view whose transpose lies by rows."""
        return self._scan("costates", end.T).mT

    def suffix_deviations(self, after: Array | None = None) -> Array:
        """(I + after) W_t^k - I for t = 0..k."""
        return self._scan("suffixes", self._zeros() if after is None else after)

    def gradient_norm(self, start: Array, end: Array) -> float:
        """The sum of ||g_T(t)||^2, from P before the chunk and (W^T)^T R after it; g_T is not written."""
        size, totals = self.blocks()
        before, after = self._at_blocks("states", start), self._at_blocks("costates", end.T)
        norms, states = np.empty(len(totals)), np.empty((size, *self.layers.shape[1:]))
        self.kernels.call("gradients", *self._layers(), before, after, states, norms)
        return float(norms.sum())

    def gradients(self, start: Array, end: Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """||g_T(t)||^2, P_t and g_T(t)^T of each layer, from the same."""
        before, after = self._at_blocks("states", start), self._at_blocks("costates", end.T)
        norms, states, out = np.empty(len(self)), np.empty_like(self.layers), np.empty_like(self.layers)
        self.kernels.call("kept_gradients", *self._layers(), before, after, states, norms, out)
        return norms, states, out

    def signals(
        self,
        case: Case,
        tail: Array,
        before: Array,
        constant: Array,
        turn: Array | None,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        """Y_s at s = 0..k-1, or U_s^T Y_s where `turn` is U before the chunk (`truncation.signals`).

        `tail` is E after the chunk, `before` P - I (case "near") or P before it, `constant` K or R.
        """
        size, _ = self.blocks()
        tails = self._at_blocks("suffixes", tail)
        states = self._at_blocks("prefixes" if case == "near" else "states", before)
        room = np.empty((size + 1, *self.layers.shape[1:]))
        out = np.empty_like(self.layers) if out is None else out
        given: list[int | np.ndarray] = [*self._layers(), tails, states, contiguous(constant), room, out]
        if turn is None:
            self.kernels.call(case, *given)
        else:
            self.kernels.call(f"{case}_turned", *given, self._at_blocks("states", turn))
        return out

    def _layers(self) -> tuple[np.ndarray, int, int, int]:
        size, totals = self.blocks()
        return self.layers, len(self), size, len(totals)

    def _at_blocks(self, name: str, value: Array) -> np.ndarray:
        """What a scan begins with in each block: its value before it, or after it for a scan from the end."""
        size, totals = self.blocks()
        if size >= len(self):
            return contiguous(value)[None]
        edges = self._edges(name, totals, value)
        return edges[:-1] if name in _AHEAD else edges[1:]
