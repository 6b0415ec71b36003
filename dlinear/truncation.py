"""What a horizon truncates: delta(t) = g_h(t) - g_T(t), from small quantities, layer chunk by layer chunk.

With s = t + h, E_s = W_s^T - I, R = P_T - Phi and m = T - h, for t < m (delta(t) = 0 for the other layers):

    delta(t) = -(W_{t+1}^s)^T Y_s P_t^T,   Y_s = E_s P_s + E_s^T R                                    (D)

E_s and R are held as deviations from I; the other products only multiply. One map over chunks for their
products and a scan over chunk edges (`Survey`), then a map over chunks for the sums of ||g_T||^2,
<delta, g_T> and ||delta||^2 (`gather`). Where the windows come from is the business of `streamed` and `held`.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from dlinear.backends import Array, Backend, NumpyBackend
from dlinear.errors import NonFiniteError
from dlinear.networks.protocol import Matrix, Network, check_finite
from dlinear.optional import needed
from dlinear.products import Chunk, compose
from dlinear.teams import Team, Threads


@dataclass(frozen=True)
class Engine:
    """How the work is done; none of it changes the numbers beyond rounding.

    Attributes:
        backend: numpy or torch.
        team: who works the chunks off.
        memory: budget in bytes for what is held at once, beside a network that is itself in memory. None:
            256 MiB, or as much as the network itself holds.
        chunk_numbers: float64 numbers of one chunk of layers; by default a few MiB, in cache.
        fft_from: all horizons at once: blocks of at least so many layers go by FFT (math.inf: none does);
            by default where that takes less time.
    """

    backend: Backend = field(default_factory=NumpyBackend)
    team: Team = field(default_factory=Threads)
    memory: int | None = None
    chunk_numbers: int = 1 << 19
    fft_from: float | None = None

    def budget(self, net: Network) -> int:
        """Bytes that may be held at once."""
        return max(256 << 20, getattr(net, "nbytes", 0)) if self.memory is None else self.memory

    def chunk_layers(self, net: Network) -> int:
        """Layers of one chunk."""
        return max(1, self.chunk_numbers // net.width**2)


@dataclass(frozen=True)
class Sums:
    """What one shortfall adds up to, over all layers and times the common scale squared.

    Attributes:
        true: ||g_T||^2.
        rest: ||g_T||^2 over the layers that see the end of the network (t >= m).
        cross: <delta, g_T>.
        square: ||delta||^2.
        parted: ||delta - (cross/true) g_T||^2, where it was taken without cancellation, else None.
        direct: ||g_h||^2, likewise.
    """

    true: float
    rest: float
    cross: float
    square: float
    parted: float | None = None
    direct: float | None = None

    @property
    def cancels(self) -> bool:
        """Whether delta is nearly parallel to g_T, or g_h nearly zero: then subtract vectors, not squares."""
        if not (self.true > 0 and math.isfinite(self.true + self.square)):
            return False
        return self.numerator < 1e-4 * self.square or self.truncated < 1e-4 * max(self.true, self.square)

    @property
    def numerator(self) -> float:
        """||delta||^2 - <delta, g_T>^2/||g_T||^2."""
        return self.square - self.cross * self.cross / self.true if self.parted is None else self.parted

    @property
    def truncated(self) -> float:
        """||g_h||^2."""
        return math.fsum([self.true, 2 * self.cross, self.square]) if self.direct is None else self.direct


# --- the survey: products of all chunks, and P, E, R at their edges --------------------------------------


class Survey:
    """State P and tail deviation E at every chunk edge, and the residual R = P_T - Phi.

    Attributes:
        edges: layer numbers 0 = e_0 < ... < e_k = T.
        totals: plain products of the chunks, (k, n, n).
        states: P at each edge, (k + 1, n, n).
        deviations: P - I at each edge, with its own digits, (k + 1, n, n).
        near_identity: whether ||P - I||_F <= 1/2 at all edges.
        tails: E_e = W_e^T - I at each edge, (k + 1, n, n).
        residual: R.
        identity: I, (n, n).
        scale: power of two that all gradients are multiplied by, so that their squares stay in float64.
    """

    def __init__(self, net: Network, phi: Matrix, inner_edges: Iterable[int], engine: Engine) -> None:
        _reuse_memory()
        self.net, self.phi, self.engine, self.scale = net, phi, engine, 1.0
        grid = range(0, net.depth, engine.chunk_layers(net))
        self.edges = sorted({*grid, *inner_edges, net.depth})
        self._position = {edge: i for i, edge in enumerate(self.edges)}
        self._only: Chunk | None = None
        self._blocks: dict[tuple[int, int], tuple[int, Array]] = {}
        n, be = net.width, engine.backend
        products = engine.team.map(self._products, self.chunks(0, net.depth), "products")
        deviations = [be.array(pair[0]) for pair in products]
        self.totals = [be.array(pair[1]) for pair in products]
        self.identity = be.array(np.eye(n))
        self.states, self.tails = [self.identity], [be.array(np.zeros((n, n)))]
        self.deviations = [be.array(np.zeros((n, n)))]
        for total, deviation in zip(self.totals, deviations, strict=True):
            self.states.append(total @ self.states[-1])
            self.deviations.append(compose(deviation, self.deviations[-1]))
        self.near_identity = max(be.dot(one, one) for one in self.deviations) <= 0.25
        for deviation in reversed(deviations):
            self.tails.append(compose(self.tails[-1], deviation))
        self.tails.reverse()
        self.residual = self._residual(be.numpy(self.states[-1]), be.numpy(self.tails[0]))

    def chunks(self, start: int, stop: int) -> list[tuple[int, int]]:
        """The chunks between two edges."""
        return [(a, b) for a, b in itertools.pairwise(self.edges) if start <= a and b <= stop]

    def layers(self, start: int, stop: int) -> Chunk:
        """Layers start..stop-1 as a chunk; a network of one chunk keeps it."""
        if self._only is not None:
            return self._only
        be = self.engine.backend
        found = Chunk(be.layers(self.net, start, stop), be, self._blocks.get((start, stop)))
        if len(self.edges) == 2:
            self._only = found
        return found

    def index(self, edge: int) -> int:
        """Position of an edge."""
        return self._position[edge]

    def costates(self) -> list[Array]:
        """(W_e^T)^T R at every edge, times the scale."""
        found = [self.engine.backend.array(self.residual * self.scale)]
        for total in reversed(self.totals):
            found.append(total.mT @ found[-1])
        return found[::-1]

    def between(self, start: int, stop: int) -> list[Array]:
        """W_start^e for each edge e from start to stop."""
        found = [self.identity]
        for i in range(self.index(start), self.index(stop)):
            found.append(self.totals[i] @ found[-1])
        return found

    def until(self, start: int, stop: int) -> list[Array]:
        """W_e^stop for each edge e from start to stop."""
        found = [self.identity]
        for i in range(self.index(stop) - 1, self.index(start) - 1, -1):
            found.append(found[-1] @ self.totals[i])
        return found[::-1]

    def _products(self, chunk: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        layers, be = self.layers(*chunk), self.engine.backend
        deviation, total = layers.total_both()
        size, totals = layers.blocks()
        all_blocks = len(totals) * self.net.depth // len(layers) * self.net.width**2 * 8  # bytes
        if size > 1 and 4 * all_blocks <= self.engine.budget(self.net):
            self._blocks[chunk] = size, totals
        return be.numpy(deviation), be.numpy(total)

    def _residual(self, final: Matrix, deviation: Matrix) -> Matrix:
        """R with its relative accuracy kept where P_T and Phi nearly agree.

        Their float64 difference has few digits then: P_T - I is taken as a deviation, and where that is not
        enough either (a trained network, R -> 0) P_T is multiplied out with 77 digits, 50 us a layer, n = 10.
        """
        residual: Matrix = final - self.phi
        size = float(np.linalg.norm(final))
        if not math.isfinite(size):
            explain_overflow(self.net, self.engine)
        if np.linalg.norm(residual) > 1e-4 * size:
            return residual
        residual = deviation + (np.eye(self.net.width) - self.phi)
        if np.linalg.norm(residual) > 1e-4 * np.linalg.norm(deviation):
            return residual
        with needed("the residual of a trained network"):
            import flint

        with flint.ctx.workprec(256):
            state = flint.arb_mat(np.eye(self.net.width).tolist())
            for chunk in self.chunks(0, self.net.depth):
                for layer in self.net.deviations(*chunk):
                    state += flint.arb_mat(layer.tolist()) * state
            difference = state - flint.arb_mat(self.phi.tolist())
            return np.array([[float(entry.mid()) for entry in row] for row in difference.table()])


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


# --- sums over layers ------------------------------------------------------------------------------------

Visit = tuple[Array, Callable[[int], Array]]  # g_T of a chunk's layers; m -> -delta of those below m


class Slices(Protocol):
    """Gradients and deltas, a chunk of layers at a time."""

    def visit(self, chunk: tuple[int, int]) -> Visit:
        """g_T(t) for the chunk's layers (k, n, n), and a function m -> -delta(t) for those with t < m."""


def gather(survey: Survey, slices: Slices, shortfalls: list[int]) -> dict[int, Sums]:
    """The sums of each shortfall, twice over where a difference of squares would cancel."""
    dot, squares = survey.engine.backend.dot, survey.engine.backend.squares

    def add(chunk: tuple[int, int]) -> tuple[float, list[tuple[float, float, float]]]:
        gradient, delta_of = slices.visit(chunk)
        true, rows = dot(gradient, gradient), []
        norms = squares(gradient) if chunk[0] < max(shortfalls) else None
        for m in shortfalls:
            if norms is None or chunk[0] >= m:
                rows.append((true, 0.0, 0.0))
                continue
            minus_delta = delta_of(m)
            below = gradient[: len(minus_delta)]
            rest = float(norms[len(minus_delta) :].sum())
            rows.append((rest, -dot(minus_delta, below), dot(minus_delta, minus_delta)))
        return true, rows

    chunks = survey.chunks(0, survey.net.depth)
    parts = survey.engine.team.map(add, chunks, "gradients")
    true = math.fsum(part[0] for part in parts)
    found = {
        m: Sums(true, *(math.fsum(rows[i][j] for _, rows in parts) for j in range(3)))
        for i, m in enumerate(shortfalls)
    }
    again = [m for m in shortfalls if found[m].cancels]
    if again:
        shares = {m: found[m].cross / true for m in again}

        def part(chunk: tuple[int, int]) -> list[tuple[float, float]]:
            gradient, delta_of = slices.visit(chunk)
            rows = []
            for m in again:
                minus_delta = delta_of(m)
                below = gradient[: len(minus_delta)]
                parted = squares(minus_delta + shares[m] * below).sum()
                rows.append((float(parted), float(squares(below - minus_delta).sum())))
            return rows

        sums = survey.engine.team.map(part, [c for c in chunks if c[0] < max(again)], "gradients again")
        for i, m in enumerate(again):
            rest = found[m].rest
            parted = shares[m] ** 2 * rest + math.fsum(rows[i][0] for rows in sums)
            found[m] = replace(found[m], parted=parted, direct=rest + math.fsum(rows[i][1] for rows in sums))
    return found


def rescaled(survey: Survey, sums: Callable[[], dict[int, Sums]]) -> dict[int, Sums]:
    """The sums, taken again with all gradients times a power of two where their squares leave float64."""
    found = sums()
    true = next(iter(found.values())).true
    if survey.residual.any() and not 1e-200 < true < 1e200:
        survey.scale = _scale(survey)
        found = sums()
    return found


def _scale(survey: Survey) -> float:
    """The power of two that brings the largest entry of g_T to about 1."""
    costates, be = survey.costates(), survey.engine.backend

    def largest(chunk: tuple[int, int]) -> float:
        layers, at = survey.layers(*chunk), survey.index(chunk[0])
        gradient = layers.costates(costates[at + 1])[1:] @ layers.states(survey.states[at])[:-1].mT
        return float(np.abs(be.numpy(gradient)).max())

    found = max(survey.engine.team.map(largest, survey.chunks(0, survey.net.depth), "scale"))
    return 2.0 ** -math.frexp(found)[1] if 0 < found < math.inf else 1.0


def tail_terms(survey: Survey, layers: Chunk, start: int, stop: int) -> Array:
    """Y_s = E_s P_s + E_s^T R at the boundaries s = start..stop of a chunk, times the scale.

    Near Phi = 2I the two terms cancel. Where P stays near I they are therefore added in the order of size,
    Y_s = (E_s - E_s^T) + E_s^T (2I - Phi) + E_s (P_s - I) + E_s^T (P_T - I), each factor with its own digits.
    """
    be, first = survey.engine.backend, survey.index(start)
    tails = layers.suffix_deviations(survey.tails[survey.index(stop)])
    if survey.near_identity:
        terms = tails - tails.mT
        terms += tails.mT @ be.array(2 * np.eye(survey.net.width) - survey.phi)
        terms += tails @ layers.prefix_deviations(survey.deviations[first]) + tails.mT @ survey.tails[0]
    else:
        terms = tails @ layers.states(survey.states[first])
        terms += tails.mT @ be.array(survey.residual)
    terms *= survey.scale
    return terms


def local_team(engine: Engine) -> Team:
    """The team for work whose results stay in this process."""
    local: Team = getattr(engine.team, "local", engine.team)
    return local
