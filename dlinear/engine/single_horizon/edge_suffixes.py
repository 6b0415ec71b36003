"""Suffix sums over the unseen layers at every s, from values at the chunk edges, for coarse tails."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import numpy as np

from dlinear.engine.backends import Array
from dlinear.engine.chunk_cache import ChunkCache
from dlinear.engine.coarse_tail import Suffixes, no_suffixes, suffixes_of

if TYPE_CHECKING:
    from dlinear.engine.single_horizon.edge_products import EdgeProducts


class EdgeSuffixes:
    """A_s, Sigma_s and Q_s of `coarse_tail` for s >= first: held at chunk edges, scanned within chunks."""

    def __init__(self, at_edges: EdgeProducts, first: int) -> None:
        self.net, self.engine, self.edges = at_edges.net, at_edges.engine, at_edges.edges
        self._at_edges = weakref.proxy(at_edges)  # which holds this: no circle, for it would be freed late
        be, n = self.engine.backend, self.net.width
        self._none = no_suffixes(n, at_edges.rule.degree, be)
        known = [i for i in range(len(self.edges) - 1) if self.edges[i + 1] > first]
        parts = self.engine.scans.map(
            self._totals, [(self.edges[i], self.edges[i + 1]) for i in known], "sums"
        )
        self._after = [self._none]  # at the chunk edges from T down
        for i, part in zip(reversed(known), reversed(parts), strict=True):
            total, rest, *squares = map(be.array, part)
            tail, before = at_edges.tails[i + 1], self._after[-1]
            # Q of (I + A)(I + Sigma + Q_c) is Q + (I + A) Q_c + A Sigma_c
            remainders = before.remainders + rest + tail @ (rest + total)
            sums = before.sums + total
            more = [before.squares + squares[0]] if squares else []
            self._after.append(Suffixes(at_edges.tails[i][None], sums, remainders, *more))
        room = self.engine.held(self.net) // 4 // (24 * n**2 * self.engine.chunk_layers(self.net))
        self._scans = ChunkCache[Suffixes](max(4, room))

    def suffixes(self, low: int, high: int) -> Suffixes:
        """At s = low..high, both included."""
        first = self._chunk_of(low)
        last = self._chunk_of(max(low, high - 1))
        parts = []
        for i in range(first, last + 1):
            a, b = self.edges[i], self.edges[i + 1]
            upper = min(high, b) if i == last else b - 1  # an edge belongs to the chunk after it
            parts.append(self._scans.get(i, self._scan)[slice(max(low, a) - a, upper - a + 1)])
        if len(parts) == 1:
            return parts[0]
        deviations, sums, remainders, squares = zip(*(part.parts() for part in parts), strict=True)
        joined = self._joined
        return Suffixes(joined(deviations), joined(sums), joined(remainders), joined(squares))

    def layers(self, low: int, high: int) -> Array:
        """D(low), ..., D(high - 1)."""
        return self._at_edges.read(low, high)

    def _chunk_of(self, s: int) -> int:
        return min(int(np.searchsorted(self.edges, s, side="right")) - 1, len(self.edges) - 2)

    def _totals(self, chunk: tuple[int, int]) -> tuple[np.ndarray, ...]:
        """Sigma, Q and, for degree 2, the sum of D^2 of a chunk by itself."""
        own = suffixes_of(self._at_edges.layers(*chunk), self._none, self.engine.backend)
        return tuple(self.engine.backend.numpy(part[0]) for part in own.parts()[1:] if part is not None)

    def _scan(self, i: int) -> Suffixes:
        at = len(self.edges) - 2 - i  # of the edge after the chunk, counted from T down
        layers = self._at_edges.layers(self.edges[i], self.edges[i + 1])
        return suffixes_of(layers, self._after[at], self.engine.backend)

    def _joined(self, parts: tuple[Array | None, ...]) -> Array | None:
        """The parts of one field one after another; None for squares that degree 1 has not."""
        some = [part for part in parts if part is not None]
        if not some:
            return None
        out = self.engine.backend.empty(sum(map(len, some)), *some[0].shape[1:])
        place = 0
        for part in some:
            out[place : place + len(part)] = part
            place += len(part)
        return out
