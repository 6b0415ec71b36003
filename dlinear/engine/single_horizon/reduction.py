"""What a horizon truncates: delta(t) = g_h(t) - g_T(t), from small quantities, layer chunk by layer chunk.

With s = t + h, E_s = W_s^T - I, R = P_T - Phi and m = T - h, for t < m (delta(t) = 0 for the other layers):

    delta(t) = -(W_{t+1}^s)^T Y_s P_t^T,   Y_s = E_s P_s + E_s^T R                                    (D)

E_s and R are stored as deviations from I; the other products only multiply. One map over chunks for their
products and a scan over chunk edges (`EdgeProducts`), then a map over chunks for the sums of ||g_T||^2,
<delta, g_T> and ||delta||^2 (`gather`). `streaming` and `in_memory` compute the windows W_{t+1}^s.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from dlinear.engine.angle import InnerProducts
from dlinear.engine.backends import Array
from dlinear.engine.single_horizon.edge_products import EdgeProducts

Visit = tuple[Array, Callable[[int], Array]]  # g_T of a chunk's layers; m -> -delta of those below m


class Slices(Protocol):
    """g_T and delta, a chunk of layers at a time; a method `norm` gives ||g_T||^2 of a chunk alone."""

    def visit(self, chunk: tuple[int, int]) -> Visit:
        """g_T(t) for the chunk's layers (k, n, n), and a function m -> -delta(t) for those with t < m."""

    def factors(self, chunk: tuple[int, int]) -> Factors:
        """What g_T and delta are made of, for compiled kernels."""


@dataclass
class Factors:
    """Of a chunk's layers, what kernels sum up without writing g_T and delta.

    Attributes:
        true: the sum of ||g_T(t)||^2.
        norms: ||g_T(t)||^2 of each layer; None where no horizon misses any of them.
        layers: P_t, L_t and g_T(t)^T, (k, n, n) each, -delta(t)^T = P_t (Z_s^T L_t); likewise.
        signals: (m, count) -> Z_s of the first `count` layers.
        together: whether the signals of all horizons are in memory anyway.
    """

    true: float
    norms: np.ndarray | None = None
    layers: tuple[np.ndarray, ...] = ()
    signals: Callable[[int, int], Array] | None = None
    together: bool = False


def gather(at_edges: EdgeProducts, slices: Slices, shortfalls: list[int]) -> dict[int, InnerProducts]:
    """The inner products of each shortfall; a second pass where a difference of squares would cancel."""
    be = at_edges.engine.backend
    inner, squares, largest = be.inner, be.squares, at_edges.blind(max(shortfalls))

    def add(chunk: tuple[int, int]) -> tuple[float, np.ndarray]:
        """A chunk's share of ||g_T||^2 and, for each m, of `rest`, <delta, g_T> and ||delta||^2."""
        if (fused := _fused_sums(at_edges, slices, chunk, shortfalls)) is not None:
            return fused
        gradient, delta_of = slices.visit(chunk)
        true, rows = inner(gradient, gradient), []
        norms = squares(gradient) if chunk[0] < largest else None
        for m in shortfalls:
            if norms is None or chunk[0] >= at_edges.blind(m):  # delta = 0 here
                rows.append((true, 0.0, 0.0))
                continue
            minus_delta = delta_of(m)
            below = gradient[: len(minus_delta)]
            rest = norms[len(minus_delta) :].sum()
            rows.append((rest, -inner(minus_delta, below), inner(minus_delta, minus_delta)))
        numbers = be.numbers([true, *itertools.chain.from_iterable(rows)])
        return float(numbers[0]), numbers[1:].reshape(-1, 3)

    chunks = at_edges.chunks(0, at_edges.net.depth)
    parts = at_edges.engine.scans.map(add, chunks, "gradients")
    true = math.fsum(part[0] for part in parts)
    found = {
        m: InnerProducts(true, *(math.fsum(rows[i, j] for _, rows in parts) for j in range(3)))
        for i, m in enumerate(shortfalls)
    }
    found = {m: replace(one, residual=at_edges.residual_norm) for m, one in found.items()}
    again = [m for m in shortfalls if found[m].cancels]
    if again:
        # delta nearly parallel to g_T, or g_h nearly zero: with k = <delta, g_T>/||g_T||^2 the vectors
        # delta - k g_T and g_h = g_T + delta are formed; the square of the first is the numerator of (S),
        # <g_h, g_T> gives the rest of its denominator.
        shares = {m: found[m].cross / true for m in again}

        def part(chunk: tuple[int, int]) -> list[tuple[float, float]]:
            """A chunk's share of both over its layers t < m."""
            gradient, delta_of = slices.visit(chunk)
            rows = []
            for m in again:
                minus_delta = delta_of(m)
                below = gradient[: len(minus_delta)]
                parted = squares(minus_delta + shares[m] * below).sum()
                rows += [parted, inner(below - minus_delta, below)]
            return [(float(a), float(b)) for a, b in be.numbers(rows).reshape(-1, 2)]

        sums = at_edges.engine.scans.map(
            part, [c for c in chunks if c[0] < at_edges.blind(max(again))], "gradients again"
        )
        for i, m in enumerate(again):
            # Over the layers where delta = 0, they are k^2 ||g_T||^2 and ||g_T||^2.
            rest = found[m].rest
            parted = shares[m] ** 2 * rest + math.fsum(rows[i][0] for rows in sums)
            found[m] = replace(found[m], parted=parted, direct=rest + math.fsum(rows[i][1] for rows in sums))
    return found


def _fused_sums(
    at_edges: EdgeProducts, slices: Slices, chunk: tuple[int, int], shortfalls: list[int]
) -> tuple[float, np.ndarray] | None:
    """A chunk's share where g_T need not be written: by kernels, or where no horizon misses a layer."""
    if at_edges.kernels is not None:
        return _compiled_sums(at_edges, slices.factors(chunk), chunk, shortfalls)
    norm = getattr(slices, "norm", None)
    if norm is None or chunk[0] < at_edges.blind(max(shortfalls)):
        return None
    true = float(at_edges.engine.backend.numbers([norm(chunk)])[0])
    return true, np.array([(true, 0.0, 0.0)] * len(shortfalls))


def _compiled_sums(
    at_edges: EdgeProducts, factors: Factors, chunk: tuple[int, int], shortfalls: list[int]
) -> tuple[float, np.ndarray]:
    """A chunk's share of ||g_T||^2 and, for each m, of `rest`, <delta, g_T> and ||delta||^2, by kernels."""
    from dlinear.engine.kernels.library import delta_sums

    rows = np.array([(factors.true, 0.0, 0.0)] * len(shortfalls))
    missed = [max(0, min(chunk[1], at_edges.blind(m)) - chunk[0]) for m in shortfalls]
    some = [i for i, count in enumerate(missed) if count]
    if not some:
        return factors.true, rows
    assert factors.norms is not None
    assert factors.signals is not None
    assert at_edges.kernels is not None
    for group in [some] if factors.together else [[i] for i in some]:
        counts = [missed[i] for i in group]
        signals = [factors.signals(shortfalls[i], missed[i]) for i in group]
        found = delta_sums(at_edges.kernels, counts, signals, factors.layers)
        for i, (cross, square) in zip(group, found, strict=True):
            rows[i] = factors.norms[missed[i] :].sum(), -cross, square
    return factors.true, rows


def rescaled(
    at_edges: EdgeProducts, sums: Callable[[], dict[int, InnerProducts]]
) -> dict[int, InnerProducts]:
    """The inner products; again with all gradients times a power of two where their squares leave float64."""
    found = sums()
    true = next(iter(found.values())).true
    if at_edges.residual.any() and not 1e-200 < true < 1e200:
        at_edges.scale = _scale(at_edges)
        found = sums()
    return found


def _scale(at_edges: EdgeProducts) -> float:
    """The power of two that brings the largest entry of g_T to about 1."""
    costates, be = at_edges.costates(), at_edges.engine.backend

    def largest(chunk: tuple[int, int]) -> float:
        """max |g_T(t)| over a chunk's layers, g_T(t) = (W_{t+1}^T)^T R P_t^T."""
        layers, at = at_edges.layers(*chunk), at_edges.index(chunk[0])
        gradient = layers.costates(costates[at + 1])[1:] @ layers.states(at_edges.states[at])[:-1].mT
        return float(np.abs(be.numpy(gradient)).max())

    found = max(at_edges.engine.scans.map(largest, at_edges.chunks(0, at_edges.net.depth), "scale"))
    return 2.0 ** -math.frexp(found)[1] if 0 < found < math.inf else 1.0
