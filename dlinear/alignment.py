"""The angle theta_h between the horizon gradient g_h and the true gradient g_T, without cancellation.

At T = 1e6 and shortfall m = 1, sin^2(theta_h) is of order 1e-18: `1 - cos**2` is noise in float64. Here the
small difference delta = g_h - g_T is itself computed from small quantities. With s = t + h, E_s = W_s^T - I,
R = P_T - Phi (all products held as deviations from I, see `products`):

    delta(t) = -(W_{t+1}^s)^T Y_s P_t^T,   Y_s = E_s P_s + E_s^T R        for t < m = T - h, else 0   (D)
    sin^2    = ( ||delta||^2 - <delta, g_T>^2 / ||g_T||^2 ) / ||g_h||^2                               (S)

Two ways to the windows W_{t+1}^s. If m <= T/2 they all cross the layers M..T-M (M the largest shortfall asked
for), so W_{t+1}^s = U_s C L_t with L_t = W_{t+1}^M, C = W_M^{T-M}, U_s = W_{T-M}^s: only the first and the last
M layers are held, the middle is streamed. If m > T/2 the windows are computed by block scans.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from dlinear.errors import NonFiniteError, UndefinedAngleError
from dlinear.networks import Layers, Matrix, Network, check_finite
from dlinear.products import (
    compose,
    costates,
    states,
    suffix_deviations,
    total_deviation,
    window_deviations,
)
from dlinear.validation import as_horizons, as_phi

_CHUNK_NUMBERS = 1 << 18  # float64 numbers of one streamed chunk of layers: 2 MiB, about one L2 cache
_EPS = float(np.finfo(np.float64).eps)

TRUE_GRADIENT_ZERO = "g_T = 0"
HORIZON_GRADIENT_ZERO = "g_h = 0"


@dataclass(frozen=True)
class AlignmentProfile:
    """Angles over horizons; entry i of each array belongs to `horizons[i]`.

    Attributes:
        depth: T.
        horizons: h, as asked for.
        shortfall: m = T - h.
        sin2: sin^2(theta_h) = 1 - cos^2(theta_h), with relative (not only absolute) accuracy.
        cos: cos(theta_h), signed.
        norm_ratio: ||g_h|| / ||g_T||; g_h cos(theta_h) / norm_ratio is the best rescaling in eq. (13).
        undefined: for each horizon "" or the gradient that vanishes ("g_T = 0", "g_h = 0"), in which case
            sin2 and cos are NaN.
    """

    depth: int
    horizons: Int[np.ndarray, " k"]
    shortfall: Int[np.ndarray, " k"]
    sin2: Float[np.ndarray, " k"]
    cos: Float[np.ndarray, " k"]
    norm_ratio: Float[np.ndarray, " k"]
    undefined: tuple[str, ...]


def alignment(
    net: Network,
    phi: np.ndarray,
    horizons: object,
    *,
    undefined: Literal["raise", "nan"] = "raise",
) -> AlignmentProfile:
    """sin^2 and cos of the angle between g_h and g_T at each horizon.

    The relative error of sin^2 stays near T-independent rounding (below 1e-9 for networks whose products
    are well conditioned), down to sin^2 of 1e-25 and below. h = T gives exactly 0. Work: about four n x n
    products a layer for ||g_T||, two for each layer that a horizon misses (m <= T/2), six for m > T/2.
    Memory: six copies of the first M layers, M the largest shortfall <= T/2; of all layers if m > T/2.

    Args:
        net: depth T, width n.
        phi: (n, n), E[y x^T] of whitened inputs.
        horizons: integers in 1..T, any order, repeats allowed.
        undefined: what to do where g_T or g_h is zero, so that there is no angle: "raise", or "nan" and
            say so in `AlignmentProfile.undefined`.

    Raises:
        UndefinedAngleError: a gradient is zero to working precision (unless `undefined="nan"`).
        ShapeError, HorizonError, NonFiniteError: see the message.
    """
    phi = as_phi(phi, net)
    asked = as_horizons(horizons, net.depth)
    shortfalls = net.depth - asked
    with np.errstate(over="ignore", invalid="ignore"):  # reported below, with the layer at fault
        moments = _moments(net, phi, {int(m) for m in shortfalls})
    rows = [moments[int(m)] for m in shortfalls]
    reasons = tuple(row.undefined for row in rows)
    if undefined == "raise" and any(reasons):
        first = next(i for i, reason in enumerate(reasons) if reason)
        raise UndefinedAngleError(
            f"horizon {asked[first]}: {reasons[first]} to working precision, so there is no angle; "
            'pass undefined="nan" to keep the other horizons'
        )
    return AlignmentProfile(
        depth=net.depth,
        horizons=asked,
        shortfall=shortfalls,
        sin2=np.array([row.sin2 for row in rows]),
        cos=np.array([row.cos for row in rows]),
        norm_ratio=np.array([row.norm_ratio for row in rows]),
        undefined=reasons,
    )


@dataclass(frozen=True)
class _Moments:
    """What one shortfall contributes: ||g_T||^2, ||g_h||^2, <g_h, g_T> and the numerator of (S)."""

    true: float
    truncated: float
    inner: float
    numerator: float
    undefined: str = ""

    @property
    def sin2(self) -> float:
        return math.nan if self.undefined else max(0.0, self.numerator) / self.truncated

    @property
    def cos(self) -> float:
        if self.undefined:
            return math.nan
        return min(1.0, max(-1.0, self.inner / math.sqrt(self.true) / math.sqrt(self.truncated)))

    @property
    def norm_ratio(self) -> float:
        return math.nan if self.true == 0 else math.sqrt(self.truncated / self.true)


def _moments(net: Network, phi: Matrix, shortfalls: set[int]) -> dict[int, _Moments]:
    """The moments of every shortfall; largest shortfall first decides how much is held in memory."""
    depth = net.depth
    near = {m for m in shortfalls if m <= depth // 2}
    held = depth if near != shortfalls else max(near)
    sweep = _sweep(net, phi, held)
    if not np.isfinite(sweep.true):
        _explain_overflow(net)
    if sweep.true_is_zero:
        zero = _Moments(0.0, 0.0, 0.0, 0.0, TRUE_GRADIENT_ZERO)
        return dict.fromkeys(shortfalls, zero)
    if held < depth:
        delta_of = _separable_delta(net, sweep, held)
    else:
        delta_of = _windowed_delta(net, sweep)
    return {m: _shortfall_moments(sweep, m, delta_of) for m in shortfalls}


# --- one forward and one backward sweep: R, ||g_T||^2, and what the first layers need --------------------


@dataclass(frozen=True)
class _Sweep:
    """Results of the two sweeps; `held` is the number of first layers kept.

    Attributes:
        residual: R = P_T - Phi.
        true: ||g_T||^2 over all layers; `true_held[t]` for each held layer; `true_rest` for the others.
        forward: P_t, t = 0..held-1. gradients: g_T(t), t = 0..held-1.
        middle: P at layer `depth - held`, where the tail begins (I if held = depth).
    """

    residual: Matrix
    true_is_zero: bool
    true: float
    true_held: np.ndarray
    true_rest: float
    forward: Layers
    gradients: Layers
    tail_state: Matrix


def _sweep(net: Network, phi: Matrix, held: int) -> _Sweep:
    depth, n = net.depth, net.width
    chunk = max(1, _CHUNK_NUMBERS // n**2)
    edges = sorted({*range(0, depth, chunk), min(held, depth), depth - held, depth})
    chunks = list(zip(edges[:-1], edges[1:], strict=True))
    starts = [np.zeros((n, n))]  # deviation of P at each edge
    for start, stop in chunks:
        starts.append(compose(total_deviation(net.deviations(start, stop)), starts[-1]))
    residual, is_zero = _residual(net, phi, starts[-1], chunks)
    identity = np.eye(n)
    forward, gradients = np.empty((held, n, n)), np.empty((held, n, n))
    true_held, rest = np.empty(held), []
    costate = residual
    for (start, stop), deviation in zip(reversed(chunks), reversed(starts[:-1]), strict=True):
        layers = net.deviations(start, stop)
        state = states(layers, identity + deviation)[:-1]
        adjoint = costates(layers, costate)
        costate = adjoint[0]
        gradient = np.matmul(adjoint[1:], np.swapaxes(state, 1, 2))
        if stop <= held:
            forward[start:stop], gradients[start:stop] = state, gradient
            true_held[start:stop] = _squares(gradient)
        else:
            rest.append(_dot(gradient, gradient))
    true_rest = math.fsum(rest)
    true = math.fsum([true_rest, *true_held])
    tail_state = identity + starts[edges.index(depth - held)]
    return _Sweep(residual, is_zero or true == 0, true, true_held, true_rest, forward, gradients, tail_state)


def _residual(
    net: Network, phi: Matrix, deviation: Matrix, chunks: list[tuple[int, int]]
) -> tuple[Matrix, bool]:
    """R = P_T - Phi and whether it is zero to working precision.

    Where P_T and Phi nearly agree (a trained network), float64 leaves few digits of R: the product is then
    taken again in the longest float of the machine (64-bit mantissa on x86).
    """
    offset = np.eye(net.width) - phi
    residual = deviation + offset
    size = float(np.linalg.norm(deviation))
    if np.linalg.norm(residual) > 1e-4 * size or not np.isfinite(size):
        return residual, not residual.any()
    long = np.zeros_like(deviation, dtype=np.longdouble)
    for start, stop in chunks:
        long = compose(total_deviation(net.deviations(start, stop).astype(np.longdouble)), long)
    precise = long + offset.astype(np.longdouble)
    rounding = 16 * float(np.finfo(np.longdouble).eps) * math.sqrt(net.depth) * size
    return precise.astype(np.float64), bool(np.linalg.norm(precise.astype(np.float64)) <= rounding)


def _explain_overflow(net: Network) -> None:
    """Name the layer that holds NaN or infinity, or say that the products overflow."""
    chunk = max(1, _CHUNK_NUMBERS // net.width**2)
    for start in range(0, net.depth, chunk):
        check_finite(net.deviations(start, min(start + chunk, net.depth)), start)
    raise NonFiniteError(
        "every layer is finite but their products leave the range of float64; "
        "make the deviations smaller (the theory takes ||D||_2 <= c/T)"
    )


# --- delta(t) for t < m, in chunks ----------------------------------------------------------------------

DeltaChunks = Iterator[tuple[slice, np.ndarray]]


def _separable_delta(net: Network, sweep: _Sweep, held: int) -> Callable[[int], DeltaChunks]:
    """-delta(t) = L_t^T Z_s P_t^T for every m <= held <= T/2, with Z_s = (U_s C)^T Y_s."""
    depth, n = net.depth, net.width
    chunk = max(1, _CHUNK_NUMBERS // n**2)
    to_held = np.swapaxes(np.eye(n) + suffix_deviations(net.deviations(0, held))[1:], 1, 2)  # L_t^T
    middle = np.zeros((n, n))  # C - I
    for start in range(held, depth - held, chunk):
        part = net.deviations(start, min(start + chunk, depth - held))
        middle = compose(total_deviation(part), middle)
    tail = net.deviations(depth - held, depth)
    y = _tail_terms(suffix_deviations(tail), states(tail, sweep.tail_state), sweep.residual)
    z = np.matmul(np.swapaxes(states(tail, np.eye(n) + middle), 1, 2), y)[:-1]
    forward = np.swapaxes(sweep.forward, 1, 2)

    def delta_of(m: int) -> DeltaChunks:
        for start in range(0, m, chunk):
            layers = slice(start, min(start + chunk, m))
            ends = z[held - m + start : held - m + layers.stop]
            yield layers, np.matmul(np.matmul(to_held[layers], ends), forward[layers])

    return delta_of


def _windowed_delta(net: Network, sweep: _Sweep) -> Callable[[int], DeltaChunks]:
    """-delta(t) = (W_{t+1}^s)^T Y_s P_t^T for any m, with everything held."""
    depth, n = net.depth, net.width
    chunk = max(1, _CHUNK_NUMBERS // n**2)
    layers_all = net.deviations(0, depth)
    ends = np.concatenate([sweep.forward, (np.eye(n) + total_deviation(layers_all))[None]])
    y = _tail_terms(suffix_deviations(layers_all), ends, sweep.residual)
    forward = np.swapaxes(sweep.forward, 1, 2)

    def delta_of(m: int) -> DeltaChunks:
        if m == 0:
            return
        horizon = depth - m
        windows = window_deviations(layers_all[1:], horizon - 1)
        for start in range(0, m, chunk):
            layers = slice(start, min(start + chunk, m))
            terms = y[horizon + start : horizon + layers.stop]
            back = terms + np.matmul(np.swapaxes(windows[layers], 1, 2), terms)
            yield layers, np.matmul(back, forward[layers])

    return delta_of


def _tail_terms(tails: Layers, ends: Layers, residual: Matrix) -> Layers:
    """Y_s = E_s P_s + E_s^T R for each pair of E_s and P_s."""
    return np.matmul(tails, ends) + np.matmul(np.swapaxes(tails, 1, 2), residual)


def _shortfall_moments(sweep: _Sweep, m: int, delta_of: Callable[[int], DeltaChunks]) -> _Moments:
    """Gather <delta, g_T> and ||delta||^2, and once more where their difference would cancel."""
    crosses, squares = [], []
    for layers, minus_delta in delta_of(m):
        crosses.append(-_dot(minus_delta, sweep.gradients[layers]))
        squares.append(_dot(minus_delta, minus_delta))
    cross, square = math.fsum(crosses), math.fsum(squares)
    numerator = square - cross * cross / sweep.true
    rest = math.fsum([sweep.true_rest, *sweep.true_held[m:]])
    if numerator < 1e-4 * square:  # delta nearly parallel to g_T: subtract the vectors, not the squares
        share = cross / sweep.true
        numerator = share * share * rest + math.fsum(
            float(_squares(minus_delta + share * sweep.gradients[layers]).sum())
            for layers, minus_delta in delta_of(m)
        )
    truncated = math.fsum([sweep.true, 2 * cross, square])
    if truncated < 1e-4 * max(sweep.true, square):  # g_h nearly zero: the same remedy
        truncated = rest + math.fsum(
            float(_squares(sweep.gradients[layers] - minus_delta).sum())
            for layers, minus_delta in delta_of(m)
        )
    is_zero = truncated <= (64 * _EPS) ** 2 * max(sweep.true, square)
    return _Moments(
        sweep.true, truncated, sweep.true + cross, numerator, HORIZON_GRADIENT_ZERO if is_zero else ""
    )


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.dot(a.reshape(-1), b.reshape(-1)))


def _squares(layers: np.ndarray) -> np.ndarray:
    return np.einsum("kij,kij->k", layers, layers)
