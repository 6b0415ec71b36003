"""Suffix sums over the unseen layers at every s, from values at the chunk edges, for coarse tails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dlinear.engine.backends import Array
from dlinear.engine.chunk_cache import ChunkCache
from dlinear.engine.coarse_tail import Suffixes, suffixes_of

if TYPE_CHECKING:
    from dlinear.engine.single_horizon.edge_products import EdgeProducts


class EdgeSuffixes:
    """A_s, Sigma_s and Q_s of `coarse_tail` for s >= first: held at chunk edges, scanned within chunks."""

    def __init__(self, at_edges: EdgeProducts, first: int) -> None:
        self.net, self.engine, self.edges = at_edges.net, at_edges.engine, at_edges.edges
        self._layers, self._index = at_edges.layers, at_edges.index
        be, n = self.engine.backend, self.net.width
        zero = be.array(np.zeros((1, n, n)))
        self._zero = Suffixes(zero, zero, zero)
        known = [i for i in range(len(self.edges) - 1) if self.edges[i + 1] > first]
        parts = self.engine.team.map(
            self._totals, [(self.edges[i], self.edges[i + 1]) for i in known], "sums"
        )
        sums, remainders = [zero[0]], [zero[0]]
        for i, (total, rest) in zip(reversed(known), reversed(parts), strict=True):
            after, total, rest = at_edges.tails[i + 1], be.array(total), be.array(rest)
            # Q of (I + A)(I + Sigma + Q_c) is Q + (I + A) Q_c + A Sigma_c
            remainders.append(remainders[-1] + rest + after @ (rest + total))
            sums.append(sums[-1] + total)
        self.tails, self.sums, self.remainders = at_edges.tails, sums, remainders  # the last two from T down
        room = self.engine.budget(self.net) // 4 // (24 * n**2 * self.engine.chunk_layers(self.net))
        self._scans = ChunkCache(self._scan, max(4, room))

    def suffixes(self, low: int, high: int) -> Suffixes:
        """At s = low..high, both included."""
        first = self._chunk_of(low)
        last = self._chunk_of(max(low, high - 1))
        parts = []
        for i in range(first, last + 1):
            a, b = self.edges[i], self.edges[i + 1]
            upper = min(high, b) if i == last else b - 1  # an edge belongs to the chunk after it
            parts.append(self._scans[i][slice(max(low, a) - a, upper - a + 1)])
        return (
            parts[0]
            if len(parts) == 1
            else Suffixes(*map(self._joined, zip(*map(_columns, parts), strict=True)))
        )

    def layers(self, low: int, high: int) -> Array:
        """D(low), ..., D(high - 1)."""
        return self.engine.backend.layers(self.net, low, high)

    def _chunk_of(self, s: int) -> int:
        return min(int(np.searchsorted(self.edges, s, side="right")) - 1, len(self.edges) - 2)

    def _totals(self, chunk: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Sigma and Q of a chunk by itself."""
        be = self.engine.backend
        own = suffixes_of(self._layers(*chunk), self._zero, be)
        return be.numpy(own.sums[0]), be.numpy(own.remainders[0])

    def _scan(self, i: int) -> Suffixes:
        at = len(self.edges) - 2 - i  # of the edge after the chunk, counted from T down
        after = Suffixes(self.tails[i + 1][None], self.sums[at][None], self.remainders[at][None])
        return suffixes_of(self._layers(self.edges[i], self.edges[i + 1]), after, self.engine.backend)

    def _joined(self, parts: tuple[Array, ...]) -> Array:
        out = self.engine.backend.empty(sum(map(len, parts)), *parts[0].shape[1:])
        place = 0
        for part in parts:
            out[place : place + len(part)] = part
            place += len(part)
        return out


def _columns(part: Suffixes) -> tuple[Array, Array, Array]:
    return part.deviations, part.sums, part.remainders
