"""delta(t) with bounded memory: layers in chunks, windows across split layers, Z a few chunks at a time.

A window W_{t+1}^s that crosses a split layer p is U_s L_t with L_t = W_{t+1}^p, U_s = W_p^s, so

    -delta(t) = L_t^T Z_s P_t^T,   Z_s = U_s^T Y_s.

Near horizons, m <= T/2: one split p = T - M serves every m up to M, the largest asked for. Far horizons: the
multiples of h, of which each window of length h crosses exactly one. Short horizons, less than a chunk: the
windows themselves, by block scans of the chunk and its continuation. Nothing is inverted. Held at any time:
some chunks per worker, n x n numbers per chunk edge, and Z or, beyond the memory budget, a few chunks of it.
"""

from __future__ import annotations

import bisect
import threading
from collections import OrderedDict
from collections.abc import Iterable

from dlinear.backends import Array
from dlinear.networks.protocol import Matrix, Network
from dlinear.products import windows
from dlinear.truncation import Engine, Sums, Survey, Visit, gather, local_team, rescaled, tail_terms


def near_sums(net: Network, phi: Matrix, shortfalls: list[int], engine: Engine) -> dict[int, Sums]:
    """The sums of shortfalls in 0..T/2."""
    largest = max(shortfalls)
    split = net.depth - largest
    survey = Survey(net, phi, (largest, split), engine)
    return rescaled(survey, lambda: gather(survey, Streamed(survey, {split}, split, largest), shortfalls))


def far_sums(net: Network, phi: Matrix, m: int, engine: Engine) -> dict[int, Sums]:
    """The sums of one shortfall in 1..T-1."""
    horizon = net.depth - m
    if 4 * horizon < engine.chunk_layers(net):
        survey = Survey(net, phi, (), engine)
        return rescaled(survey, lambda: gather(survey, Short(survey, horizon), [m]))
    splits = range(horizon, net.depth, horizon)
    survey = Survey(net, phi, (*splits, m), engine)
    return rescaled(survey, lambda: gather(survey, Streamed(survey, splits, horizon, m), [m]))


class Streamed:
    """-delta(t) = L_t^T Z_s P_t^T for t < largest; the ends s start at the layer `first`, the first split."""

    def __init__(self, survey: Survey, splits: Iterable[int], first: int, largest: int) -> None:
        self.survey, self.largest = survey, largest
        splits = set(splits)
        self.tail = Tail(survey, splits, first)
        self.costates = survey.costates()
        self.until = []  # L at the ends of the first chunks: the product up to the next split
        after = survey.identity
        for i in range(len(survey.totals), 0, -1):
            after = survey.identity if survey.edges[i] in splits else after
            if survey.edges[i - 1] < largest:
                self.until.append(after)
            after = after @ survey.totals[i - 1]
        self.until.reverse()

    def visit(self, chunk: tuple[int, int]) -> Visit:
        """g_T(t) for the chunk's layers, and m -> -delta(t) for those with t < m."""
        survey, (start, stop) = self.survey, chunk
        layers, at = survey.layers(start, stop), survey.index(start)
        states = layers.states(survey.states[at])[:-1].mT
        gradient = layers.costates(self.costates[at + 1])[1:] @ states
        left = layers.costates(self.until[at].mT)[1:] if start < self.largest else None

        def delta_of(m: int) -> Array:
            assert left is not None
            count = max(0, min(stop, m) - start)
            first = start + survey.net.depth - m
            return left[:count] @ self.tail.between(first, first + count) @ states[:count]

        return gradient, delta_of


class Tail:
    """Z_s for s = first..T-1: whole where half the memory budget holds it, else a few chunks."""

    def __init__(self, survey: Survey, splits: set[int], first: int) -> None:
        self.survey, self.first = survey, first
        engine, n = survey.engine, survey.net.width
        at = survey.index(first)
        self.edges = survey.edges[at:]
        self.starts = [survey.identity]  # U at the edges: the product since the last split
        for edge, total in zip(self.edges[1:], survey.totals[at:], strict=True):
            self.starts.append(survey.identity if edge in splits else total @ self.starts[-1])
        self._kept: OrderedDict[int, Array] = OrderedDict()
        self._lock = threading.Lock()
        self._whole: Array | None = None
        half = engine.budget(survey.net) // 2
        self._keep = max(4, half // 2 // (8 * n**2 * engine.chunk_layers(survey.net)))
        size = survey.net.depth - first
        if size and size * n**2 * 8 <= half:
            self._whole = engine.backend.empty(size, n, n)
            local_team(engine).map(self._fill, range(len(self.edges) - 1), "last layers")

    def between(self, start: int, stop: int) -> Array:
        """Z_s for s = start..stop-1."""
        if self._whole is not None:
            return self._whole[start - self.first : stop - self.first]
        parts = []
        low, high = bisect.bisect_right(self.edges, start) - 1, bisect.bisect_left(self.edges, stop)
        for i in range(low, high):
            a, b = self.edges[i], self.edges[i + 1]
            parts.append(self._chunk(i)[max(start, a) - a : min(stop, b) - a])
        if len(parts) == 1:
            return parts[0]
        n = self.survey.net.width
        out = self.survey.engine.backend.empty(stop - start, n, n)
        place = 0
        for part in parts:
            out[place : place + len(part)] = part
            place += len(part)
        return out

    def _fill(self, i: int) -> None:
        assert self._whole is not None
        self._whole[self.edges[i] - self.first : self.edges[i + 1] - self.first] = self._compute(i)

    def _chunk(self, i: int) -> Array:
        with self._lock:
            if i in self._kept:
                self._kept.move_to_end(i)
                return self._kept[i]
        values = self._compute(i)
        with self._lock:
            self._kept[i] = values
            while len(self._kept) > self._keep:
                self._kept.popitem(last=False)
        return values

    def _compute(self, i: int) -> Array:
        survey, start, stop = self.survey, self.edges[i], self.edges[i + 1]
        layers = survey.layers(start, stop)
        y = tail_terms(survey, layers, start, stop)
        return layers.states(self.starts[i])[:-1].mT @ y[:-1]


class Short:
    """-delta(t) = (W_{t+1}^s)^T Y_s P_t^T for one horizon shorter than a chunk, windows by block scans."""

    def __init__(self, survey: Survey, horizon: int) -> None:
        self.survey, self.horizon, self.costates = survey, horizon, survey.costates()

    def visit(self, chunk: tuple[int, int]) -> Visit:
        """g_T(t) for the chunk's layers, and m -> -delta(t) for those with t < m."""
        survey, h, (start, stop) = self.survey, self.horizon, chunk
        at = survey.index(start)
        layers = survey.layers(start, stop)
        states = layers.states(survey.states[at])[:-1].mT
        gradient = layers.costates(self.costates[at + 1])[1:] @ states

        def delta_of(m: int) -> Array:
            count = max(0, min(stop, m) - start)
            end = survey.edges[bisect.bisect_left(survey.edges, start + count + h - 1)]
            on = survey.layers(start, end)  # the chunk and as much of the next as its windows need
            y = tail_terms(survey, on, start, end)[h : h + count]
            between = windows(on.layers[1 : count + h - 1], h - 1, survey.engine.backend)
            return between.mT @ y @ states[:count]

        return gradient, delta_of
