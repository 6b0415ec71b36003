"""delta(t) with every layer in memory: for networks of one chunk, and for far horizons that memory allows.

Far horizons, m > T/2, take the windows W_{t+1}^s of (D) themselves by block scans; near ones one split
p = T - M as in (Z) of `streaming`. P_t, g_T(t) and Y_s of all layers are computed once, for all horizons.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dlinear.engine.angle import InnerProducts
from dlinear.engine.backends import Array
from dlinear.engine.options import Engine, local_map
from dlinear.engine.products import windows_to_grid
from dlinear.engine.rule import PLAIN, HorizonRule
from dlinear.engine.single_horizon.edge_products import EdgeProducts
from dlinear.engine.single_horizon.reduction import Factors, Visit, gather, rescaled
from dlinear.engine.single_horizon.signals import signal_terms
from dlinear.networks.protocol import Matrix, Network

ARRAYS = 6  # of the size of the layers, in memory at once: D, P, g_T, Y, the windows, and what makes those


def in_memory_bytes(net: Network) -> int:
    """Bytes that `inner_products_in_memory` holds, beside those that workers compute with."""
    return ARRAYS * 8 * net.depth * net.width**2


def inner_products_in_memory(
    net: Network, phi: Matrix, shortfalls: list[int], engine: Engine, rule: HorizonRule = PLAIN
) -> dict[int, InnerProducts]:
    """The inner products of shortfalls in 0..T-1; needs `in_memory_bytes`."""
    at_edges = EdgeProducts(net, phi, (), engine, rule, net.depth - max(shortfalls))
    near = [m for m in shortfalls if m <= net.depth // 2]

    def sums() -> dict[int, InnerProducts]:
        arrays = LayerArrays(at_edges)
        found = gather(at_edges, NearInMemory(arrays, max(near)), near) if near else {}
        for m in shortfalls:
            if m not in found:
                found |= gather(at_edges, FarInMemory(arrays, m), [m])
        return found

    return rescaled(at_edges, sums)


class LayerArrays:
    """D(t), P_t, g_T(t), t = 0..T-1, and Y_s, s = 0..T (Y_T = 0), of every layer."""

    def __init__(self, at_edges: EdgeProducts) -> None:
        depth, n, be = at_edges.net.depth, at_edges.net.width, at_edges.engine.backend
        self.at_edges = at_edges
        self.layers, self.states, self.gradients = (be.empty(depth, n, n) for _ in range(3))
        self.terms = be.empty(depth + 1, n, n)
        self.norms = np.empty(depth)  # ||g_T(t)||^2, by kernels, which write g_T(t)^T
        if at_edges.kernels is not None:
            self.gradients = self.gradients.mT
        costates = at_edges.costates()

        def fill(chunk: tuple[int, int]) -> None:
            layers, at, here = at_edges.layers(*chunk), at_edges.index(chunk[0]), slice(*chunk)
            self.layers[here] = layers.layers
            self.terms[here] = signal_terms(at_edges, layers, *chunk)[:-1]
            if at_edges.kernels is not None:
                found = at_edges.compiled(*chunk).gradients(at_edges.states[at], costates[at + 1])
                self.norms[here], self.states[here], self.gradients.mT[here] = found
                return
            states = layers.states(at_edges.states[at])[:-1]
            self.states[here] = states
            # g_T(t) = (W_{t+1}^T)^T R P_t^T
            be.matmul(layers.costates(costates[at + 1])[1:], states.mT, self.gradients[here])

        local_map(at_edges.engine.scans).map(fill, at_edges.chunks(0, depth), "all layers")
        self.terms[depth] = 0

    def factors(self, chunk: tuple[int, int], left: Array, signals: Callable[[int, int], Array]) -> Factors:
        """What g_T and delta of a chunk are made of, for kernels, from L_t of the first layers."""
        here = slice(*chunk)
        norms = self.norms[here]
        parts = (self.states[here], left[here], self.gradients.mT[here])
        return Factors(float(norms.sum()), norms, parts, signals, True)

    def at_ends(self, values: Array, m: int, layers: slice, first: int) -> Array:
        """values[s - first] at the ends s of the windows of some layers; a view where s is consecutive."""
        if self.at_edges.rule.stride == 1:
            start = layers.start + self.at_edges.net.depth - m - first
            return values[start : start + layers.stop - layers.start]
        return values[self.at_edges.ends(m, layers.start, layers.stop) - first]


class NearInMemory:
    """Equation (Z), -delta(t) = L_t^T Z_s P_t^T, for any m <= M; one split p = T - M."""

    def __init__(self, arrays: LayerArrays, largest: int) -> None:
        self.at_edges, self.arrays = arrays.at_edges, arrays
        split, be = arrays.at_edges.net.depth - largest, arrays.at_edges.engine.backend
        identity = be.eye(arrays.at_edges.net.width)
        # L_t^T = (W_{t+1}^p)^T for t < M;  Z_s = U_s^T Y_s, U_s = W_p^s, for s = p..T-1
        chunk = arrays.at_edges.chunk
        self.left = chunk(arrays.layers[:split]).costates(identity)[1 : largest + 1]
        self.z = chunk(arrays.layers[split:]).states(identity)[:-1].mT @ arrays.terms[split:-1]

    def factors(self, chunk: tuple[int, int]) -> Factors:
        """What g_T and delta are made of, for compiled kernels."""
        arrays, first = self.arrays, self.arrays.at_edges.net.depth - len(self.z)

        def signals(m: int, count: int) -> Array:
            return arrays.at_ends(self.z, m, slice(chunk[0], chunk[0] + count), first)

        return arrays.factors(chunk, self.left.mT, signals)

    def visit(self, chunk: tuple[int, int]) -> Visit:
        """g_T(t) for the chunk's layers, and m -> -delta(t) for those with t < m."""
        arrays, (start, stop) = self.arrays, chunk

        def delta_of(m: int) -> Array:
            here = slice(start, max(start, min(stop, arrays.at_edges.blind(m))))
            z = arrays.at_ends(self.z, m, here, arrays.at_edges.net.depth - len(self.z))
            return self.left[here] @ z @ arrays.states[here].mT

        return arrays.gradients[start:stop], delta_of


class FarInMemory:
    """Equation (D), -delta(t) = (W_{t+1}^s)^T Y_s P_t^T, for one m, by window products of all layers."""

    def __init__(self, arrays: LayerArrays, m: int) -> None:
        self.at_edges, self.arrays = arrays.at_edges, arrays
        ends = arrays.at_edges.ends(m, 0, arrays.at_edges.blind(m))
        net, engine, rule = arrays.at_edges.net, arrays.at_edges.engine, arrays.at_edges.rule
        at_once = engine.chunk_layers(net) * net.width**2
        self.windows = windows_to_grid(
            arrays.layers[1:], ends - 1, net.depth - m - 1, rule.stride, engine.backend, at_once
        )

    def factors(self, chunk: tuple[int, int]) -> Factors:
        """What g_T and delta are made of, for compiled kernels; L_t is the window itself."""

        def signals(m: int, count: int) -> Array:
            return self.arrays.at_ends(self.arrays.terms, m, slice(chunk[0], chunk[0] + count), 0)

        return self.arrays.factors(chunk, self.windows, signals)

    def visit(self, chunk: tuple[int, int]) -> Visit:
        """g_T(t) for the chunk's layers, and m -> -delta(t) for those with t < m."""
        arrays, (start, stop) = self.arrays, chunk

        def delta_of(m: int) -> Array:
            here = slice(start, max(start, min(stop, arrays.at_edges.blind(m))))
            return self.windows[here].mT @ arrays.at_ends(arrays.terms, m, here, 0) @ arrays.states[here].mT

        return arrays.gradients[start:stop], delta_of
