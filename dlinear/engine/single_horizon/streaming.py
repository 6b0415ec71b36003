"""delta(t) in bounded memory: layers in chunks, windows across split layers, Z a few chunks at a time.

A window W_{t+1}^s that crosses a split layer p is U_s L_t with L_t = W_{t+1}^p, U_s = W_p^s, so (D) becomes

    -delta(t) = L_t^T Z_s P_t^T,   Z_s = U_s^T Y_s.                                                    (Z)

Near horizons, m <= T/2: one split p = T - M serves every m up to M, the largest asked for. Far horizons: the
multiples of h, of which each window of length h crosses exactly one. Short horizons, less than a chunk: the
windows themselves, by block scans of the chunk and its continuation. Nothing is inverted. In memory at any
time: some chunks per worker, n x n numbers per chunk edge, and Z or, beyond the memory budget, a few chunks
of it.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from typing import Any

import numpy as np

from dlinear.engine.angle import InnerProducts
from dlinear.engine.backends import Array
from dlinear.engine.chunk_cache import ChunkCache
from dlinear.engine.options import Engine, local_map
from dlinear.engine.products import windows_to_grid
from dlinear.engine.rule import PLAIN, HorizonRule
from dlinear.engine.single_horizon.edge_products import EdgeProducts
from dlinear.engine.single_horizon.gradient import gradients_of, square_of_gradients
from dlinear.engine.single_horizon.reduction import Factors, Visit, gather, rescaled
from dlinear.engine.single_horizon.signals import signal_terms, turned_terms
from dlinear.networks.protocol import Matrix, Network


def near_inner_products(
    net: Network, phi: Matrix, shortfalls: list[int], engine: Engine, rule: HorizonRule = PLAIN
) -> dict[int, InnerProducts]:
    """The inner products of shortfalls in 0..T/2, in one pass: the split p = T - M, M the largest of them."""
    largest = max(shortfalls)
    split = net.depth - largest
    at_edges = EdgeProducts(net, phi, (largest, split), engine, rule, split, seen_from=largest)
    return rescaled(
        at_edges, lambda: gather(at_edges, Streamed(at_edges, {split}, split, largest), shortfalls)
    )


def far_inner_products(
    net: Network, phi: Matrix, m: int, engine: Engine, rule: HorizonRule = PLAIN
) -> dict[int, InnerProducts]:
    """The inner products of one shortfall in 1..T-1: splits apart by h, or short windows."""
    horizon = net.depth - m
    if 4 * (horizon + rule.stride - 1) < engine.chunk_layers(net):
        at_edges = EdgeProducts(net, phi, (), engine, rule, horizon)
        return rescaled(at_edges, lambda: gather(at_edges, Short(at_edges, horizon), [m]))
    splits = far_splits(rule, net.depth, horizon)
    at_edges = EdgeProducts(net, phi, (*splits, rule.blind_layers(net.depth, horizon)), engine, rule, horizon)
    return rescaled(at_edges, lambda: gather(at_edges, Streamed(at_edges, splits, splits[0], m), [m]))


def far_splits(rule: HorizonRule, depth: int, horizon: int) -> range:
    """Split layers of which every window that ends before T crosses exactly one.

    All windows that end at s hold s - h + 1..s and begin after s - h + 1 - stride. Of the layers
    p = s - h + 1, one for each s of the grid, a window holds 1 + (h - 1)//stride in a row at most, and at
    least one of as many: every one of that number is a split. Stride 1: the multiples of h.
    """
    every = (horizon - 1) // rule.stride + 1
    first = int(rule.ends(depth, horizon, 0)) - horizon + 1 + (every - 1) * rule.stride
    return range(first, depth, every * rule.stride)


class Streamed:
    """Equation (Z) for t < largest; the ends s start at the layer `first`, the first split."""

    def __init__(self, at_edges: EdgeProducts, splits: Iterable[int], first: int, largest: int) -> None:
        self.at_edges, self.largest = at_edges, largest
        splits = set(splits)
        self.tail = Tail(at_edges, splits, first)
        self.costates = at_edges.costates()
        # W_e^p at the ends e of the first chunks, p the next split: from the right, restarted at splits
        until = []
        after = at_edges.identity
        for i in range(len(at_edges.totals), 0, -1):
            after = at_edges.identity if at_edges.edges[i] in splits else after
            if at_edges.edges[i - 1] < largest:
                until.append(after)
            after = after @ at_edges.totals[i - 1]
        self.until = at_edges.engine.backend.edges(until[::-1])

    def norm(self, chunk: tuple[int, int]) -> Any:
        """||g_T||^2 over the layers of a chunk that no horizon misses."""
        at_edges, (start, stop) = self.at_edges, chunk
        layers, at = at_edges.layers(start, stop), at_edges.index(start)
        before, after = at_edges.states[at], self.costates[at + 1]
        return square_of_gradients(layers, before, after, at_edges.engine.backend)

    def factors(self, chunk: tuple[int, int]) -> Factors:
        """What g_T and delta are made of, for compiled kernels."""
        at_edges, (start, stop) = self.at_edges, chunk
        at = at_edges.index(start)
        before, after = at_edges.states[at], self.costates[at + 1]
        if start >= self.largest and (once := at_edges.expansion(chunk)) is not None:
            assert at_edges.kernels is not None
            return Factors(once.square(at_edges.kernels, before, after))
        layers = at_edges.compiled(start, stop)
        if start >= self.largest:
            return Factors(layers.gradient_norm(before, after))
        norms, states, gradients = layers.gradients(before, after)
        left = layers.costates(self.until[at].mT)[1:].mT  # L_t

        def signals(m: int, count: int) -> Array:
            return self.tail.at(at_edges.ends(m, start, start + count))

        return Factors(float(norms.sum()), norms, (states, left, gradients), signals, self.tail.whole)

    def visit(self, chunk: tuple[int, int]) -> Visit:
        """g_T(t) for the chunk's layers, and m -> -delta(t) for those with t < m."""
        at_edges, (start, stop) = self.at_edges, chunk
        layers, at = at_edges.layers(start, stop), at_edges.index(start)
        gradient, states = gradients_of(layers, at_edges.states[at], self.costates[at + 1])
        left = (
            layers.costates(self.until[at].mT)[1:] if start < self.largest else None
        )  # L_t^T = (W_{t+1}^p)^T

        def delta_of(m: int) -> Array:
            assert left is not None
            count = max(0, min(stop, at_edges.blind(m)) - start)
            z = self.tail.at(at_edges.ends(m, start, start + count))
            return left[:count] @ z @ states[:count].mT

        return gradient, delta_of


class Tail:
    """Z_s for s = first..T-1: all of it where half of the held memory suffices, else a few chunks."""

    def __init__(self, at_edges: EdgeProducts, splits: set[int], first: int) -> None:
        self.at_edges, self.first = at_edges, first
        engine, n = at_edges.engine, at_edges.net.width
        at = at_edges.index(first)
        self.edges = at_edges.edges[at:]
        # U_e = W_p^e at the edges, p the last split before e: from the left, restarted at splits
        starts = [at_edges.identity]
        for edge, total in zip(self.edges[1:], at_edges.totals[at:], strict=True):
            starts.append(at_edges.identity if edge in splits else total @ starts[-1])
        self.starts = engine.backend.edges(starts)
        self._whole: Array | None = None
        # Half of what is held for Z; the chunks that are kept take half of that.
        half = engine.held(at_edges.net) // 2
        room = half // 2 // (8 * n**2 * engine.chunk_layers(at_edges.net))
        self._chunks = ChunkCache[Array](max(4, room))
        size = at_edges.net.depth - first
        if size and size * n**2 * 8 <= half:
            self._whole = engine.backend.empty(size, n, n)
            local_map(engine.scans).map(self._fill, range(len(self.edges) - 1), "last layers")

    @property
    def whole(self) -> bool:
        """Whether all of it is in memory."""
        return self._whole is not None

    def at(self, ends: np.ndarray) -> Array:
        """Z_s at s = ends, which do not fall."""
        if not len(ends):
            return self.between(self.first, self.first)
        low, high = int(ends[0]), int(ends[-1]) + 1
        found = self.between(low, high)
        return found if self.at_edges.rule.stride == 1 else found[ends - low]

    def between(self, start: int, stop: int) -> Array:
        """Z_s for s = start..stop-1."""
        if self._whole is not None:
            return self._whole[start - self.first : stop - self.first]
        parts = []
        low, high = bisect.bisect_right(self.edges, start) - 1, bisect.bisect_left(self.edges, stop)
        for i in range(low, high):
            a, b = self.edges[i], self.edges[i + 1]
            parts.append(self._chunks.get(i, self._compute)[max(start, a) - a : min(stop, b) - a])
        if len(parts) == 1:
            return parts[0]
        n = self.at_edges.net.width
        out = self.at_edges.engine.backend.empty(stop - start, n, n)
        place = 0
        for part in parts:
            out[place : place + len(part)] = part
            place += len(part)
        return out

    def _fill(self, i: int) -> None:
        assert self._whole is not None
        self._compute(i, self._whole[self.edges[i] - self.first : self.edges[i + 1] - self.first])

    def _compute(self, i: int, out: Array | None = None) -> Array:
        """Z_s = U_s^T Y_s of the chunk between edges i and i + 1."""
        return turned_terms(self.at_edges, self.edges[i], self.edges[i + 1], self.starts[i], out)


class Short:
    """Equation (D) for one horizon shorter than a chunk, its windows W_{t+1}^s by block scans."""

    def __init__(self, at_edges: EdgeProducts, horizon: int) -> None:
        self.at_edges, self.horizon, self.costates = at_edges, horizon, at_edges.costates()

    def visit(self, chunk: tuple[int, int]) -> Visit:
        """g_T(t) for the chunk's layers, and m -> -delta(t) for those with t < m."""
        at_edges, (start, stop) = self.at_edges, chunk
        at = at_edges.index(start)
        layers = at_edges.layers(start, stop)
        gradient, states = gradients_of(layers, at_edges.states[at], self.costates[at + 1])

        def delta_of(m: int) -> Array:
            count = max(0, min(stop, at_edges.blind(m)) - start)
            between, signals = self._windows(start, start + count)
            return between.mT @ signals @ states[:count].mT

        return gradient, delta_of

    def factors(self, chunk: tuple[int, int]) -> Factors:
        """What g_T and delta are made of, for compiled kernels; L_t is the window itself."""
        at_edges, (start, stop) = self.at_edges, chunk
        layers, at = at_edges.compiled(start, stop), at_edges.index(start)
        norms, states, gradients = layers.gradients(at_edges.states[at], self.costates[at + 1])
        count = max(0, min(stop, at_edges.blind(at_edges.net.depth - self.horizon)) - start)
        between, found = self._windows(start, start + count)
        return Factors(
            float(norms.sum()), norms, (states, between, gradients), lambda m, some: found[:some], True
        )

    def _windows(self, start: int, stop: int) -> tuple[Array, Array]:
        """W_{t+1}^s and Y_s, s the end of the window, of the layers start..stop-1."""
        at_edges, h = self.at_edges, self.horizon
        if start == stop:
            none = at_edges.engine.backend.empty(0, at_edges.net.width, at_edges.net.width)
            return none, none
        ends = at_edges.ends(at_edges.net.depth - h, start, stop) - start
        last = int(ends[-1])
        end = at_edges.edges[bisect.bisect_left(at_edges.edges, start + last)]
        on = at_edges.layers(start, end)  # the chunk and as much of the next as its windows need
        y = signal_terms(at_edges, on, start, end)
        be, stride = at_edges.engine.backend, at_edges.rule.stride
        between = windows_to_grid(on.layers[1:last], ends - 1, h - 1, stride, be)
        return between, y[h : h + stop - start] if stride == 1 else y[ends]
