"""Products at the edges of chunks: the serial part of the engine, between two parallel maps.

The layers are cut at edges 0 = e_0 < ... < e_k = T. A map over chunks gives the product W_a^b of each chunk
and its deviation W_a^b - I; two short scans over the edges then give, at each edge e,

    P_e = W_0^e   (from the left),      E_e = W_e^T - I   (from the right),      and R = P_T - Phi.

From these a chunk computes P_t, the costate (W_t^T)^T R and Y_s of its own layers, whatever the others do.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np

from dlinear.engine.backends import Array, NumpyBackend
from dlinear.engine.device_chunk import chunk_of
from dlinear.engine.kernels.chunk import CompiledChunk
from dlinear.engine.kernels.expansion import Expansion
from dlinear.engine.kernels.library import scaled_normals
from dlinear.engine.options import Engine
from dlinear.engine.products import Chunk, compose
from dlinear.engine.rule import PLAIN, HorizonRule
from dlinear.engine.single_horizon.edge_suffixes import EdgeSuffixes
from dlinear.engine.single_horizon.once import Once
from dlinear.errors import NonFiniteError
from dlinear.networks.protocol import Matrix, Network, check_finite
from dlinear.optional import needed


class EdgeProducts:
    """State P and tail deviation E at every chunk edge, and the residual R = P_T - Phi.

    Attributes:
        edges: layer numbers 0 = e_0 < ... < e_k = T.
        totals: W_a^b of each chunk a..b-1 as a plain product, (k, n, n), on the host.
        states: P at each edge, (k + 1, n, n).
        deviations: P - I at each edge, with its own digits, (k + 1, n, n); empty unless `near_identity`.
        near_identity: whether ||P - I||_F <= 1/2 at all edges.
        tails: E_e = W_e^T - I at each edge, (k + 1, n, n).
        residual: R.
        identity: I, (n, n), on the host.
        host: numpy in the precision of the backend.
        kernels: the compiled kernels, or None.
        scale: power of two that all gradients are multiplied by, so that their squares stay in float64.
    """

    def __init__(
        self,
        net: Network,
        phi: Matrix,
        inner_edges: Iterable[int],
        engine: Engine,
        rule: HorizonRule = PLAIN,
        first_end: int = 0,
        seen_from: int | None = None,
    ) -> None:
        _reuse_memory()
        self.net, self.phi, self.engine, self.rule, self.scale = net, phi, engine, rule, 1.0
        grid = range(0, net.depth, engine.chunk_layers(net))
        self.edges = sorted({*grid, *inner_edges, net.depth})
        self.kernels = engine.compiled(net)
        self._position = {edge: i for i, edge in enumerate(self.edges)}
        self._only: Chunk | None = None  # the one chunk of a small network
        self._once = (
            Once(engine, net, seen_from) if self.kernels is not None and seen_from is not None else None
        )
        self._blocks: dict[tuple[int, int], tuple[int, Array]] = {}  # block products of each chunk, for later
        n, be = net.width, engine.backend
        self.host = host = NumpyBackend(be.precision)  # which takes the scans over edges, whatever the device
        # Map: W_a^b - I and W_a^b of each chunk.
        products = engine.scans.map(self._products, self.chunks(0, net.depth), "products")
        changes = [host.array(pair[0]) for pair in products]
        self.totals = [host.array(pair[1]) for pair in products]
        self.identity = host.eye(n)
        # Scan from the left: P_b = W_a^b P_a, and P_b - I by composing deviations.
        states, tails, deviations = [self.identity], [host.zeros(n, n)], [host.zeros(n, n)]
        for total, change in zip(self.totals, changes, strict=True):
            states.append(total @ states[-1])
            deviations.append(compose(change, deviations[-1]))
        self.near_identity = max(host.inner(one, one) for one in deviations) <= 0.25
        # Scan from the right: I + E_a = (I + E_b) W_a^b.
        for change in reversed(changes):
            tails.append(compose(tails[-1], change))
        tails.reverse()
        self.states, self.tails = be.edges(states), be.edges(tails)
        self.deviations = be.edges(deviations if self.near_identity else [])
        self.suffixes = EdgeSuffixes(self, first_end) if rule.runs else None
        self.residual = self._residual(host.numpy(states[-1]), host.numpy(tails[0]))

    def chunks(self, start: int, stop: int) -> list[tuple[int, int]]:
        """The chunks between two edges."""
        return [(a, b) for a, b in itertools.pairwise(self.edges) if start <= a and b <= stop]

    def layers(self, start: int, stop: int) -> Chunk:
        """Layers start..stop-1 as a chunk; a network of one chunk keeps it."""
        if self._only is not None:
            return self._only
        found = self.chunk(self.read(start, stop), self._blocks.get((start, stop)))
        if len(self.edges) == 2:
            self._only = found
        return found

    def read(self, start: int, stop: int) -> Array:
        """D(start), ..., D(stop - 1); random layers by the kernels' generator where kernels are used."""
        if self.kernels is not None and _takes_normals(self.net):
            return self.net.deviations_by(scaled_normals, start, stop)  # type: ignore[attr-defined]
        return self.engine.backend.layers(self.net, start, stop)

    def chunk(self, layers: Array, blocks: tuple[int, Array] | None = None) -> Chunk:
        """Scans over some layers, by kernels where they are used."""
        if self.kernels is None:
            return chunk_of(layers, self.engine.backend, blocks)
        return CompiledChunk(layers, self.kernels, blocks)

    def compiled(self, start: int, stop: int) -> CompiledChunk:
        """`layers` where kernels are used."""
        found = self.layers(start, stop)
        assert isinstance(found, CompiledChunk)
        return found

    def expansion(self, chunk: tuple[int, int]) -> Expansion | None:
        """What gives ||g_T||^2 of a chunk whose layers are not needed again, where it was kept."""
        return None if self._once is None else self._once.kept.get(chunk)

    @property
    def residual_norm(self) -> float:
        """||R||_F, times the scale."""
        largest = float(np.abs(self.residual).max())
        if not 0 < largest < math.inf:
            return largest
        return float(np.linalg.norm(self.residual / largest)) * largest * self.scale

    def blind(self, m: int) -> int:
        """How many layers, the first ones, do not see the end of the network at shortfall m."""
        return self.rule.blind_layers(self.net.depth, self.net.depth - m)

    def ends(self, m: int, start: int, stop: int) -> np.ndarray:
        """s for the layers start..stop-1 at shortfall m."""
        found: np.ndarray = self.rule.ends(self.net.depth, self.net.depth - m, np.arange(start, stop))
        return found

    def index(self, edge: int) -> int:
        """Position of an edge."""
        return self._position[edge]

    def costates(self) -> Sequence[Array]:
        """(W_e^T)^T R at every edge, times the scale; g_T(t) is the one at t + 1 times P_t^T."""
        found = [self.host.array(self.residual * self.scale)]
        for total in reversed(self.totals):
            found.append(total.mT @ found[-1])
        return self.engine.backend.edges(found[::-1])

    def between(self, start: int, stop: int) -> list[np.ndarray]:
        """W_start^e for each edge e from start to stop, on the host."""
        found = [self.identity]
        for i in range(self.index(start), self.index(stop)):
            found.append(self.totals[i] @ found[-1])
        return found

    def until(self, start: int, stop: int) -> list[np.ndarray]:
        """W_e^stop for each edge e from start to stop, on the host."""
        found = [self.identity]
        for i in range(self.index(stop) - 1, self.index(start) - 1, -1):
            found.append(found[-1] @ self.totals[i])
        return found[::-1]

    def _products(self, chunk: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """(W_a^b - I, W_a^b) of a chunk; its blocks' products are kept where a quarter of memory suffices."""
        layers, be = self.layers(*chunk), self.engine.backend
        if self._once is not None and isinstance(layers, CompiledChunk):
            layers = self._once.expanded(chunk, layers)
        deviation, total = be.both(*layers.total_both())
        size, totals = layers.blocks()
        all_blocks = math.prod(totals.shape) * self.net.depth // len(layers) * 8  # bytes
        # on a GPU they are multiplied again, so that memory stays free for chunks; what is expanded does not
        # come again
        again = not self.engine.on_gpu and self.expansion(chunk) is None
        if size > 1 and again and 4 * all_blocks <= self.engine.held(self.net):
            self._blocks[chunk] = size, totals
        return deviation, total

    def _residual(self, final: Matrix, deviation: Matrix) -> Matrix:
        """R with its relative accuracy kept where P_T and Phi nearly agree.

        Their float64 difference has few digits then: P_T - I is taken as a deviation, and where that is not
        enough either (a trained network, R -> 0) P_T is multiplied out with 77 digits, 50 us a layer, n = 10.
        """
        # R = P_T - Phi, where that keeps its digits.
        residual: Matrix = final - self.phi
        size = float(np.linalg.norm(final))
        if not math.isfinite(size):
            explain_overflow(self.net, self.engine)
        if np.linalg.norm(residual) > 1e-4 * size:
            return residual
        # R = (P_T - I) + (I - Phi), where P_T is near I.
        residual = deviation + (np.eye(self.net.width) - self.phi)
        if np.linalg.norm(residual) > 1e-4 * np.linalg.norm(deviation):
            return residual
        with needed("the residual of a trained network"):
            import flint

        with flint.ctx.workprec(256):  # P_{t+1} = P_t + D(t) P_t
            state = flint.arb_mat(np.eye(self.net.width).tolist())
            for chunk in self.chunks(0, self.net.depth):
                for layer in self.read(*chunk) if self.kernels else self.net.deviations(*chunk):
                    state += flint.arb_mat(layer.tolist()) * state
            difference = state - flint.arb_mat(self.phi.tolist())
            return np.array([[float(entry.mid()) for entry in row] for row in difference.table()])


def _takes_normals(net: Network) -> bool:
    """Whether the class that defines `deviations` can draw its numbers from another generator."""
    return "deviations_by" in next((vars(c) for c in type(net).__mro__ if "deviations" in vars(c)), {})


@functools.cache
def _reuse_memory() -> None:
    """Let the C library keep the memory of freed chunks.

    glibc takes every array above 128 KiB from the system, page by page, and gives it back, until it has seen
    a larger one freed. One is freed here, never touched: half of the time of small networks went into pages.
    """
    np.empty(4_000_000)


def explain_overflow(net: Network, engine: Engine) -> None:
    """Name the layer that holds NaN or infinity, or say that the products overflow."""
    size = engine.chunk_layers(net)
    for start in range(0, net.depth, size):
        check_finite(net.deviations(start, min(start + size, net.depth)), start)
    raise NonFiniteError(
        "every layer is finite but their products leave the range of float64; "
        "make the deviations smaller (the theory takes ||D||_2 <= c/T)"
    )
