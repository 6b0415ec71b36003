"""The angle theta_h between the horizon gradient g_h and the true gradient g_T, without cancellation.

At T = 1e6 and shortfall m = 1, sin^2(theta_h) is of order 1e-18: `1 - cos**2` is noise in float64. Here the
small difference delta = g_h - g_T is itself computed from small quantities. With s = t + h, E_s = W_s^T - I,
R = P_T - Phi:

    delta(t) = -(W_{t+1}^s)^T Y_s P_t^T,   Y_s = E_s P_s + E_s^T R        for t < m = T - h, else 0   (D)
    sin^2    = ( ||delta||^2 - <delta, g_T>^2 / ||g_T||^2 ) / ||g_h||^2                               (S)

E_s and R are held as deviations from I; the other products only multiply.

Two ways to the windows W_{t+1}^s. If m <= T/2 they all cross the layers M..T-M (M the largest shortfall asked
for), so W_{t+1}^s = U_s C L_t with L_t = W_{t+1}^M, C = W_M^{T-M}, U_s = W_{T-M}^s: only the first and the
last M layers are held, the middle is streamed. If m > T/2 the windows are computed by block scans.
"""

from __future__ import annotations

import itertools
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
    final_state,
    states,
    suffix_deviations,
    total_deviation,
    windows,
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
    """The moments of every shortfall: those up to T/2 by the separable form, the others by windows."""
    near = {m for m in shortfalls if m <= net.depth // 2}
    found: dict[int, _Moments] = {}
    for group, held, delta_form in (
        (near, max(near, default=0), _separable_delta),
        (shortfalls - near, net.depth, _windowed_delta),
    ):
        if group:
            sweep = _scaled_sweep(net, phi, held)
            if sweep.true_is_zero:
                found |= dict.fromkeys(group, _Moments(0.0, 0.0, 0.0, 0.0, TRUE_GRADIENT_ZERO))
            else:
                delta_of = delta_form(net, sweep)
                found |= {m: _shortfall_moments(sweep, m, delta_of) for m in group}
    return found


def _scaled_sweep(net: Network, phi: Matrix, held: int) -> _Sweep:
    """`_sweep`, repeated with all gradients times a power of two where their squares leave float64."""
    sweep = _sweep(net, phi, held)
    if 0 < sweep.largest < 1e-120 or 1e120 < sweep.largest < math.inf:
        sweep = _sweep(net, phi, held, scale=2.0 ** -math.frexp(sweep.largest)[1])
    if not math.isfinite(sweep.true):
        _explain_overflow(net)
    return sweep


# --- one forward and one backward sweep: R, ||g_T||^2, and what the first layers need --------------------


@dataclass(frozen=True)
class _Sweep:
    """Results of the two sweeps; `held` is the number of first layers kept.

    Attributes:
        held: number of first layers kept.
        scale: power of two by which all gradients are multiplied.
        largest: largest entry of g_T in absolute value.
        residual: R = P_T - Phi.
        true: ||g_T||^2 over all layers; `true_held[t]` for each held layer; `true_rest` for the others.
        forward: P_t, t = 0..held-1.
        gradients: g_T(t), t = 0..held-1.
        middle: C = W_held^{T-held} (for held <= T/2).
        tail_state: P at layer T - held, where the tail begins.
        final_state: P_T.
    """

    held: int
    scale: float
    largest: float
    residual: Matrix
    true_is_zero: bool
    true: float
    true_held: np.ndarray
    true_rest: float
    forward: Layers
    gradients: Layers
    middle: Matrix
    tail_state: Matrix
    final_state: Matrix


def _sweep(net: Network, phi: Matrix, held: int, scale: float = 1.0) -> _Sweep:
    depth, n = net.depth, net.width
    identity = np.eye(n)
    edges = sorted({*range(0, depth, _chunk_layers(net)), min(held, depth), depth - held, depth})
    chunks = list(itertools.pairwise(edges))
    state, middle = [identity], np.zeros((n, n))  # P at each edge; W_held^t from t = held on
    for start, stop in chunks:
        if start == held:
            middle = identity
        both = final_state(net.deviations(start, stop), np.hstack([state[-1], middle]))
        state.append(both[:, :n])
        if stop <= depth - held:
            middle = both[:, n:]
    residual, is_zero = _residual(net, phi, state[-1], chunks)
    forward, gradients = np.empty((held, n, n)), np.empty((held, n, n))
    true_held, rest, largest = np.empty(held), [], 0.0
    costate = residual * scale
    for (start, stop), first in zip(reversed(chunks), reversed(state[:-1]), strict=True):
        layers = net.deviations(start, stop)
        before = states(layers, first)[:-1]
        adjoint = costates(layers, costate)
        costate = adjoint[0]
        gradient = np.matmul(adjoint[1:], np.swapaxes(before, 1, 2))
        largest = max(largest, float(np.abs(gradient).max()))
        if stop <= held:
            forward[start:stop], gradients[start:stop] = before, gradient
            true_held[start:stop] = _squares(gradient)
        else:
            rest.append(_dot(gradient, gradient))
    true_rest = math.fsum(rest)
    true = math.fsum([true_rest, *true_held])
    return _Sweep(
        held=held,
        scale=scale,
        largest=largest,
        residual=residual,
        true_is_zero=is_zero or true == 0,
        true=true,
        true_held=true_held,
        true_rest=true_rest,
        forward=forward,
        gradients=gradients,
        middle=middle,
        tail_state=state[edges.index(depth - held)],
        final_state=state[-1],
    )


def _residual(net: Network, phi: Matrix, final: Matrix, chunks: list[tuple[int, int]]) -> tuple[Matrix, bool]:
    """R = P_T - Phi and whether it is zero to working precision.

    Where P_T and Phi nearly agree, their difference has few digits: P_T - I is then taken as a deviation, and
    where that is not enough (a trained network) in the longest float of the machine (64-bit mantissa on x86).
    """
    residual, size = final - phi, float(np.linalg.norm(final))
    offset = np.eye(net.width) - phi
    for dtype in (np.float64, np.longdouble):
        if np.linalg.norm(residual) > 1e-4 * size or not math.isfinite(size):
            return residual, False
        deviation = np.zeros(phi.shape, dtype)
        for start, stop in chunks:
            deviation = compose(total_deviation(net.deviations(start, stop).astype(dtype)), deviation)
        residual = (deviation + offset).astype(np.float64)
        size = float(np.linalg.norm(deviation.astype(np.float64)))
    rounding = 16 * float(np.finfo(np.longdouble).eps) * math.sqrt(net.depth) * size
    return residual, bool(np.linalg.norm(residual) <= rounding)


def _explain_overflow(net: Network) -> None:
    """Name the layer that holds NaN or infinity, or say that the products overflow."""
    chunk = _chunk_layers(net)
    for start in range(0, net.depth, chunk):
        check_finite(net.deviations(start, min(start + chunk, net.depth)), start)
    raise NonFiniteError(
        "every layer is finite but their products leave the range of float64; "
        "make the deviations smaller (the theory takes ||D||_2 <= c/T)"
    )


# --- delta(t) for t < m, in chunks ----------------------------------------------------------------------

DeltaChunks = Iterator[tuple[slice, np.ndarray]]


def _separable_delta(net: Network, sweep: _Sweep) -> Callable[[int], DeltaChunks]:
    """-delta(t) = L_t^T Z_s P_t^T for every m <= held <= T/2, with Z_s = (U_s C)^T Y_s."""
    depth, held, chunk = net.depth, sweep.held, _chunk_layers(net)
    to_held = costates(net.deviations(0, held), np.eye(net.width))[1:]  # L_t^T
    tail = net.deviations(depth - held, depth)
    y = _tail_terms(suffix_deviations(tail), states(tail, sweep.tail_state), sweep)
    z = np.matmul(np.swapaxes(states(tail, sweep.middle), 1, 2), y)[:-1]
    forward = np.swapaxes(sweep.forward, 1, 2)

    def delta_of(m: int) -> DeltaChunks:
        for start in range(0, m, chunk):
            layers = slice(start, min(start + chunk, m))
            ends = z[held - m + start : held - m + layers.stop]
            yield layers, np.matmul(np.matmul(to_held[layers], ends), forward[layers])

    return delta_of


def _windowed_delta(net: Network, sweep: _Sweep) -> Callable[[int], DeltaChunks]:
    """-delta(t) = (W_{t+1}^s)^T Y_s P_t^T for any m, with everything held."""
    depth, chunk = net.depth, _chunk_layers(net)
    every = net.deviations(0, depth)
    ends = np.concatenate([sweep.forward, sweep.final_state[None]])
    y = _tail_terms(suffix_deviations(every), ends, sweep)
    forward = np.swapaxes(sweep.forward, 1, 2)

    def delta_of(m: int) -> DeltaChunks:
        if m == 0:
            return
        horizon = depth - m
        between = windows(every[1:], horizon - 1)  # W_{t+1}^{t+h}
        for start in range(0, m, chunk):
            layers = slice(start, min(start + chunk, m))
            terms = y[horizon + start : horizon + layers.stop]
            back = np.matmul(np.swapaxes(between[layers], 1, 2), terms)
            yield layers, np.matmul(back, forward[layers])

    return delta_of


def _tail_terms(tails: Layers, ends: Layers, sweep: _Sweep) -> Layers:
    """Y_s = E_s P_s + E_s^T R for each pair of E_s and P_s, times the scale."""
    terms: Layers = np.matmul(tails, ends)
    terms += np.matmul(np.swapaxes(tails, 1, 2), sweep.residual)
    terms *= sweep.scale
    return terms


def _shortfall_moments(sweep: _Sweep, m: int, delta_of: Callable[[int], DeltaChunks]) -> _Moments:
    """Gather <delta, g_T> and ||delta||^2, and once more where their difference would cancel."""
    crosses, squares = [], []
    for layers, minus_delta in delta_of(m):
        crosses.append(-_dot(minus_delta, sweep.gradients[layers]))
        squares.append(_dot(minus_delta, minus_delta))
    cross, square = math.fsum(crosses), math.fsum(squares)
    if not math.isfinite(square):
        raise NonFiniteError(
            f"shortfall {m}: the sizes of g_h and g_T differ by more than float64 can square; "
            "make the deviations smaller (the theory takes ||D||_2 <= c/T)"
        )
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


def _chunk_layers(net: Network) -> int:
    return max(1, _CHUNK_NUMBERS // net.width**2)


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.dot(a.reshape(-1), b.reshape(-1)))


def _squares(layers: np.ndarray) -> np.ndarray:
    squares: np.ndarray = np.einsum("kij,kij->k", layers, layers)
    return squares
