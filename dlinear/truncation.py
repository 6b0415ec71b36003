"""What a horizon truncates: delta(t) = g_h(t) - g_T(t), from small quantities, layer chunk by layer chunk.

With s = t + h, E_s = W_s^T - I, R = P_T - Phi and m = T - h, for t < m (delta(t) = 0 for the other layers):

    delta(t) = -(W_{t+1}^s)^T Y_s P_t^T,   Y_s = E_s P_s + E_s^T R                                    (D)

E_s and R are held as deviations from I; the other products only multiply.

Near horizons, m <= T/2. All windows cross the layer p = T - M, M the largest shortfall asked for, so
W_{t+1}^s = U_s L_t with L_t = W_{t+1}^p, U_s = W_p^s, and -delta(t) = L_t^T Z_s P_t^T with Z_s = U_s^T Y_s.
One map over chunks for their products, a scan over chunk edges, a map over the last M layers for Z, a map
over all layers for ||g_T|| and over the first M of them for delta. Held at any time: some chunks per worker,
n x n numbers per chunk edge, and Z, or a few chunks of it where Z outgrows the memory budget.

Far horizons, m > T/2, and networks of a single chunk. With all layers held, windows by block scans.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from dlinear.backends import Array, Backend, NumpyBackend
from dlinear.errors import NonFiniteError
from dlinear.networks import Matrix, Network, check_finite
from dlinear.products import Chunk, compose, windows
from dlinear.teams import Team, Threads


@dataclass(frozen=True)
class Engine:
    """How the work is done; none of it changes the numbers beyond rounding.

    Attributes:
        backend: numpy or torch.
        team: who works the chunks off.
        memory: budget in bytes for what is held at once, beside a network that is itself in memory.
        chunk_numbers: float64 numbers of one chunk of layers; by default a few MiB, in cache.
        fft_from: all horizons at once: blocks of at least so many layers go by FFT (math.inf: none does);
            by default where that takes less time.
    """

    backend: Backend = field(default_factory=NumpyBackend)
    team: Team = field(default_factory=Threads)
    memory: int = 256 << 20
    chunk_numbers: int = 1 << 19
    fft_from: float | None = None

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
        tails: E_e = W_e^T - I at each edge, (k + 1, n, n).
        residual: R.
        scale: power of two that all gradients are multiplied by, so that their squares stay in float64.
    """

    def __init__(self, net: Network, phi: Matrix, inner_edges: Iterable[int], engine: Engine) -> None:
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
        identity = be.array(np.eye(n))
        self.states, self.tails = [identity], [be.array(np.zeros((n, n)))]
        for total in self.totals:
            self.states.append(total @ self.states[-1])
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
        if stop - start == self.net.depth:
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
        found = [self.engine.backend.array(np.eye(self.net.width))]
        for i in range(self.index(start), self.index(stop)):
            found.append(self.totals[i] @ found[-1])
        return found

    def until(self, start: int, stop: int) -> list[Array]:
        """W_e^stop for each edge e from start to stop."""
        found = [self.engine.backend.array(np.eye(self.net.width))]
        for i in range(self.index(stop) - 1, self.index(start) - 1, -1):
            found.append(found[-1] @ self.totals[i])
        return found[::-1]

    def _products(self, chunk: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        layers, be = self.layers(*chunk), self.engine.backend
        deviation, total = layers.total_both()
        size, totals = layers.blocks()
        if (
            size > 1
            and len(totals) * self.net.depth // len(layers) * self.net.width**2 * 32 <= self.engine.memory
        ):
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
        import flint

        with flint.ctx.workprec(256):
            state = flint.arb_mat(np.eye(self.net.width).tolist())
            for chunk in self.chunks(0, self.net.depth):
                for layer in self.net.deviations(*chunk):
                    state += flint.arb_mat(layer.tolist()) * state
            difference = state - flint.arb_mat(self.phi.tolist())
            return np.array([[float(entry.mid()) for entry in row] for row in difference.table()])


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


def tail_terms(survey: Survey, tails: Array, ends: Array) -> Array:
    """Y_s = E_s P_s + E_s^T R for each pair of E_s and P_s, times the scale."""
    terms = tails @ ends
    terms += tails.mT @ survey.engine.backend.array(survey.residual)
    terms *= survey.scale
    return terms


# --- near horizons ---------------------------------------------------------------------------------------


def near_sums(net: Network, phi: Matrix, shortfalls: list[int], engine: Engine) -> dict[int, Sums]:
    """The sums of shortfalls in 0..T/2, streaming over the layers."""
    held = max(shortfalls)
    survey = Survey(net, phi, (held, net.depth - held), engine)
    return rescaled(survey, lambda: gather(survey, Near(survey, held), shortfalls))


class Near:
    """-delta(t) = L_t^T Z_s P_t^T for any m <= M."""

    def __init__(self, survey: Survey, held: int) -> None:
        self.survey, self.held, self.tail = survey, held, Tail(survey, held)
        self.costates = survey.costates()
        self.until = survey.until(0, survey.net.depth - held)  # L at the edges

    def visit(self, chunk: tuple[int, int]) -> Visit:
        """g_T(t) for the chunk's layers, and m -> -delta(t) for those with t < m."""
        survey, (start, stop) = self.survey, chunk
        layers, at = survey.layers(start, stop), survey.index(start)
        states = layers.states(survey.states[at])[:-1].mT
        gradient = layers.costates(self.costates[at + 1])[1:] @ states
        left = layers.costates(self.until[at + 1].mT)[1:] if start < self.held else None

        def delta_of(m: int) -> Array:
            assert left is not None
            count = max(0, min(stop, m) - start)
            first = start + survey.net.depth - m
            return left[:count] @ self.tail.between(first, first + count) @ states[:count]

        return gradient, delta_of


class Tail:
    """Z_s = U_s^T Y_s for s = T-M..T-1: whole where half the memory budget holds it, else a few chunks."""

    def __init__(self, survey: Survey, held: int) -> None:
        self.survey, self.first = survey, survey.net.depth - held
        engine, n = survey.engine, survey.net.width
        self.chunks = survey.chunks(self.first, survey.net.depth)
        self.starts = survey.between(self.first, survey.net.depth)  # U at the edges
        self._kept: OrderedDict[int, Array] = OrderedDict()
        self._lock = threading.Lock()
        self._whole: Array | None = None
        self._keep = max(4, engine.memory // 2 // (8 * n**2 * engine.chunk_layers(survey.net)))
        if held * n**2 * 8 <= engine.memory // 2 and held:
            self._whole = engine.backend.empty(held, n, n)
            local_team(engine).map(self._fill, range(len(self.chunks)), "last layers")

    def between(self, start: int, stop: int) -> Array:
        """Z_s for s = start..stop-1."""
        if self._whole is not None:
            return self._whole[start - self.first : stop - self.first]
        parts = []
        for i, (a, b) in enumerate(self.chunks):
            if a < stop and start < b:
                parts.append(self._chunk(i)[max(start, a) - a : min(stop, b) - a])
        if len(parts) == 1:
            return parts[0]
        out = self.survey.engine.backend.empty(stop - start, *parts[0].shape[1:])
        place = 0
        for part in parts:
            out[place : place + len(part)] = part
            place += len(part)
        return out

    def _fill(self, i: int) -> None:
        a, b = self.chunks[i]
        assert self._whole is not None
        self._whole[a - self.first : b - self.first] = self._compute(i)

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
        survey, (a, b) = self.survey, self.chunks[i]
        layers, at = survey.layers(a, b), survey.index(a)
        y = tail_terms(
            survey, layers.suffix_deviations(survey.tails[at + 1]), layers.states(survey.states[at])
        )
        return layers.states(self.starts[i])[:-1].mT @ y[:-1]


# --- all layers held ----------------------------------------------------------------------------------------


def held_sums(net: Network, phi: Matrix, shortfalls: list[int], engine: Engine) -> dict[int, Sums]:
    """The sums of shortfalls in 0..T-1; holds every layer and four more arrays of that size."""
    survey = Survey(net, phi, (), engine)
    near = [m for m in shortfalls if m <= net.depth // 2]

    def sums() -> dict[int, Sums]:
        held = Held(survey)
        found = gather(survey, NearHeld(held, max(near)), near) if near else {}
        for m in shortfalls:
            if m not in found:
                found |= gather(survey, Far(held, m), [m])
        return found

    return rescaled(survey, sums)


class Held:
    """P_t, g_T(t) and Y_s of every layer."""

    def __init__(self, survey: Survey) -> None:
        depth, n, be = survey.net.depth, survey.net.width, survey.engine.backend
        self.survey = survey
        self.layers, self.states, self.gradients, self.terms = (be.empty(depth, n, n) for _ in range(4))
        self.terms = be.empty(depth + 1, n, n)
        costates = survey.costates()

        def fill(chunk: tuple[int, int]) -> None:
            layers, at, here = survey.layers(*chunk), survey.index(chunk[0]), slice(*chunk)
            self.layers[here] = layers.layers
            states = layers.states(survey.states[at])
            self.states[here] = states[:-1]
            be.matmul(layers.costates(costates[at + 1])[1:], states[:-1].mT, self.gradients[here])
            tails = layers.suffix_deviations(survey.tails[at + 1])
            self.terms[here] = tail_terms(survey, tails, states)[:-1]

        local_team(survey.engine).map(fill, survey.chunks(0, depth), "all layers")
        self.terms[depth] = 0


class NearHeld:
    """-delta(t) = L_t^T Z_s P_t^T for any m <= M, from what is held."""

    def __init__(self, held: Held, largest: int) -> None:
        self.survey, self.held = held.survey, held
        split, be = held.survey.net.depth - largest, held.survey.engine.backend
        identity = be.array(np.eye(held.survey.net.width))
        self.left = Chunk(held.layers[:split], be).costates(identity)[1 : largest + 1]
        self.z = Chunk(held.layers[split:], be).states(identity)[:-1].mT @ held.terms[split:-1]

    def visit(self, chunk: tuple[int, int]) -> Visit:
        """g_T(t) for the chunk's layers, and m -> -delta(t) for those with t < m."""
        held, (start, stop) = self.held, chunk

        def delta_of(m: int) -> Array:
            here = slice(start, max(start, min(stop, m)))
            first = start + len(self.z) - m
            z = self.z[first : first + here.stop - start]
            return self.left[here] @ z @ held.states[here].mT

        return held.gradients[start:stop], delta_of


class Far:
    """-delta(t) = (W_{t+1}^s)^T Y_s P_t^T for one m, by window products of all layers."""

    def __init__(self, held: Held, m: int) -> None:
        self.survey, self.held, self.horizon = held.survey, held, held.survey.net.depth - m
        self.windows = windows(held.layers[1:], self.horizon - 1, held.survey.engine.backend)

    def visit(self, chunk: tuple[int, int]) -> Visit:
        """g_T(t) for the chunk's layers, and m -> -delta(t) for those with t < m."""
        held, (start, stop) = self.held, chunk

        def delta_of(m: int) -> Array:
            stop_here = max(start, min(stop, m))
            back = (
                self.windows[start:stop_here].mT @ held.terms[start + self.horizon : stop_here + self.horizon]
            )
            return back @ held.states[start:stop_here].mT

        return held.gradients[start:stop], delta_of


def local_team(engine: Engine) -> Team:
    """The team for work whose results stay in this process."""
    local: Team = getattr(engine.team, "local", engine.team)
    return local
