"""What a horizon truncates: delta(t) = g_h(t) - g_T(t), from small quantities, and the sweeps it needs.

With s = t + h, E_s = W_s^T - I, R = P_T - Phi and m = T - h, for t < m (delta(t) = 0 for the other layers):

    delta(t) = -(W_{t+1}^s)^T Y_s P_t^T,   Y_s = E_s P_s + E_s^T R                                    (D)

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

import numpy as np

from dlinear.errors import NonFiniteError
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

_CHUNK_NUMBERS = 1 << 18  # float64 numbers of one streamed chunk of layers: 2 MiB, about one L2 cache

DeltaChunks = Iterator[tuple[slice, np.ndarray]]
DeltaOf = Callable[[int], DeltaChunks]  # m -> (layers, -delta of those layers), chunk by chunk


@dataclass(frozen=True)
class Sweep:
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


def scaled_sweep(net: Network, phi: Matrix, held: int) -> Sweep:
    """`_sweep`, repeated with all gradients times a power of two where their squares leave float64."""
    sweep = _sweep(net, phi, held)
    if 0 < sweep.largest < 1e-120 or 1e120 < sweep.largest < math.inf:
        sweep = _sweep(net, phi, held, scale=2.0 ** -math.frexp(sweep.largest)[1])
    if not math.isfinite(sweep.true):
        _explain_overflow(net)
    return sweep


def _sweep(net: Network, phi: Matrix, held: int, scale: float = 1.0) -> Sweep:
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
    residual = _residual(net, phi, state[-1], chunks)
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
            true_held[start:stop] = squares(gradient)
        else:
            rest.append(dot(gradient, gradient))
    true_rest = math.fsum(rest)
    true = true_rest + float(true_held.sum())
    return Sweep(
        held=held,
        scale=scale,
        largest=largest,
        residual=residual,
        true_is_zero=true == 0,
        true=true,
        true_held=true_held,
        true_rest=true_rest,
        forward=forward,
        gradients=gradients,
        middle=middle,
        tail_state=state[edges.index(depth - held)],
        final_state=state[-1],
    )


def _residual(net: Network, phi: Matrix, final: Matrix, chunks: list[tuple[int, int]]) -> Matrix:
    """R = P_T - Phi with its relative accuracy kept where P_T and Phi nearly agree.

    Their float64 difference has few digits then: P_T - I is taken as a deviation, and where that is not
    enough either (a trained network, R -> 0) P_T is multiplied out with 77 digits, 50 us a layer for n = 10.
    """
    residual: Matrix = final - phi
    size = float(np.linalg.norm(final))
    if np.linalg.norm(residual) > 1e-4 * size or not math.isfinite(size):
        return residual
    deviation = np.zeros_like(phi)
    for start, stop in chunks:
        deviation = compose(total_deviation(net.deviations(start, stop)), deviation)
    residual = deviation + (np.eye(net.width) - phi)
    if np.linalg.norm(residual) > 1e-4 * np.linalg.norm(deviation):
        return residual
    import flint

    with flint.ctx.workprec(256):
        state = flint.arb_mat(np.eye(net.width).tolist())
        for start, stop in chunks:
            for layer in net.deviations(start, stop):
                state += flint.arb_mat(layer.tolist()) * state
        difference = state - flint.arb_mat(phi.tolist())
        return np.array([[float(entry.mid()) for entry in row] for row in difference.table()])


def _explain_overflow(net: Network) -> None:
    """Name the layer that holds NaN or infinity, or say that the products overflow."""
    chunk = _chunk_layers(net)
    for start in range(0, net.depth, chunk):
        check_finite(net.deviations(start, min(start + chunk, net.depth)), start)
    raise NonFiniteError(
        "every layer is finite but their products leave the range of float64; "
        "make the deviations smaller (the theory takes ||D||_2 <= c/T)"
    )


def separable_delta(net: Network, sweep: Sweep) -> DeltaOf:
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


def windowed_delta(net: Network, sweep: Sweep) -> DeltaOf:
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


def _tail_terms(tails: Layers, ends: Layers, sweep: Sweep) -> Layers:
    """Y_s = E_s P_s + E_s^T R for each pair of E_s and P_s, times the scale."""
    terms: Layers = np.matmul(tails, ends)
    terms += np.matmul(np.swapaxes(tails, 1, 2), sweep.residual)
    terms *= sweep.scale
    return terms


def _chunk_layers(net: Network) -> int:
    return max(1, _CHUNK_NUMBERS // net.width**2)


def dot(a: np.ndarray, b: np.ndarray) -> float:
    """Inner product of two stacks of layers."""
    return float(np.dot(a.reshape(-1), b.reshape(-1)))


def squares(layers: np.ndarray) -> np.ndarray:
    """Squared Frobenius norm of each layer, shape (k,)."""
    norms: np.ndarray = np.einsum("kij,kij->k", layers, layers)
    return norms
