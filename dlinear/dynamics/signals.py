"""g_h, g_T and what they change in the balance of neighbouring layers, for many networks at once.

    g(t) = (W_{t+1}^s)^T V_s P_t^T       s: the end of the window of layer t, V_s: the rule's signal     (27')

Balance. With B(t) = W(t+1)^T W(t+1) - W(t) W(t)^T and s, s' the ends of layers t and t + 1 (Theorem G5):

    X(t) = W(t+1)^T g(t+1) - g(t) W(t)^T = (W_{t+1}^s)^T [ (W_s^{s'})^T V_{s'} - V_s ] P_{t+1}^T      (X)

Layers that share an end have X = 0. Along the flow W' = -g it is B' = -(X + X^T); a step W - eta g adds
eta^2 (g(t+1)^T g(t+1) - g(t) g(t)^T) to -eta (X + X^T).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dlinear.dynamics.spans import spans
from dlinear.engine.backends import NumpyBackend
from dlinear.engine.coarse_tail import WholeTail, coarse_tail
from dlinear.engine.products import Chunk, compose
from dlinear.engine.rule import HorizonRule

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Pass:
    """One forward and backward pass over B networks.

    Attributes:
        gradient: g_h, (B, T, n, n).
        true: g_T, (B, T, n, n); equal to `gradient` bit for bit where a layer sees the end.
        exchange: X(t) by its right side in (X), (B, T - 1, n, n).
        end: P_T - I, (B, n, n).
        residual: R = P_T - Phi, (B, n, n).
    """

    gradient: Floats
    true: Floats
    exchange: Floats
    end: Floats
    residual: Floats


def run(deviations: Floats, phi: Floats, horizon: NDArray[np.int64], rule: HorizonRule) -> Pass:
    """Gradients of B networks.

    Args:
        deviations: D(t), (B, T, n, n).
        phi: (B, n, n).
        horizon: h of each network, (B,).
        rule: which signal reaches a layer.
    """
    nets, depth, n, _ = deviations.shape
    layers = np.arange(depth)
    # s(t), (B, T); no network is allowed: all may have diverged
    ends = np.array([rule.ends(depth, int(h), layers) for h in horizon], dtype=np.int64).reshape(nets, depth)
    # in one table: P_t - I for t = 0..T, W_{t+1}^s - I, W_{t+1}^T - I, and W_s^{s'} - I, (B, n, n) each
    starts = [np.zeros(depth + 1, dtype=np.int64), layers + 1, layers + 1, ends[:, :-1]]
    lengths = [np.arange(depth + 1), ends - layers - 1, depth - 1 - layers, np.diff(ends)]
    found = spans(deviations, _side_by_side(starts, nets), _side_by_side(lengths, nets))
    cuts = np.cumsum([depth + 1, depth, depth])
    states, windows, tails, steps = np.split(found, cuts, axis=1)

    gap = (np.eye(n) - phi)[:, None]  # P_s - Phi = (P_s - I) + (I - Phi) keeps its digits
    residual = states[:, -1:] + gap
    signals = _signals(deviations, states, phi, horizon, rule)
    own = np.take_along_axis(signals, ends[:, :, None, None], axis=1)  # V_s at the end of each layer
    before = states[:, :-1]
    gradient = _pulled(windows, own, before)
    true = _pulled(tails, residual, before)
    # layers that see the end have g_h = g_T for every rule
    sees = ends == depth
    gradient[sees] = true[sees]
    # (W_s^{s'})^T V_{s'} - V_s = (W_s^{s'} - I)^T V_{s'} + (V_{s'} - V_s)
    bracket = steps.mT @ own[:, 1:] + _change(steps, own, states, ends, rule)
    exchange = _pulled(windows[:, :-1], bracket, before[:, 1:])
    return Pass(gradient, true, exchange, states[:, -1], residual[:, 0])


def imbalance(deviations: Floats) -> Floats:
    """B(t) = W(t+1)^T W(t+1) - W(t) W(t)^T, (B, T - 1, n, n), from deviations."""
    later, earlier = deviations[:, 1:], deviations[:, :-1]
    found: Floats = (later + later.mT + later.mT @ later) - (earlier + earlier.mT + earlier @ earlier.mT)
    return found


def exchange_of(deviations: Floats, gradient: Floats) -> Floats:
    """X(t) = W(t+1)^T g(t+1) - g(t) W(t)^T, the left side of (X), (B, T - 1, n, n)."""
    weights = deviations + np.eye(deviations.shape[-1])
    found: Floats = weights[:, 1:].mT @ gradient[:, 1:] - gradient[:, :-1] @ weights[:, :-1].mT
    return found


def balance_change(exchange: Floats, gradient: Floats, step: Floats) -> Floats:
    """B after a step W - eta g, less B before: -eta (X + X^T) + eta^2 (g(t+1)^T g(t+1) - g(t) g(t)^T).

    Args:
        exchange: X, (B, T - 1, n, n).
        gradient: g, (B, T, n, n).
        step: eta of each network, (B,).
    """
    eta = step[:, None, None, None]
    squares = gradient[:, 1:].mT @ gradient[:, 1:] - gradient[:, :-1] @ gradient[:, :-1].mT
    change: Floats = eta**2 * squares - eta * (exchange + exchange.mT)
    return change


def _pulled(window: Floats, signal: Floats, before: Floats) -> Floats:
    """(I + window)^T signal (I + before)^T."""
    back = signal + window.mT @ signal
    pulled: Floats = back + back @ before.mT
    return pulled


def _side_by_side(parts: list[NDArray[np.int64]], nets: int) -> NDArray[np.int64]:
    """Rows (K,) or (B, K), one after another, for every network."""
    return np.concatenate([np.broadcast_to(part, (nets, part.shape[-1])) for part in parts], axis=1)


def _signals(
    deviations: Floats, states: Floats, phi: Floats, horizon: NDArray[np.int64], rule: HorizonRule
) -> Floats:
    """V_s at s = 0..T, (B, T + 1, n, n): P_s - Phi, R, or those of the rollouts, which start at s = h."""
    gap = (np.eye(phi.shape[-1]) - phi)[:, None]
    ends = np.broadcast_to(states[:, -1:], states.shape) if rule.anchored else states
    if not rule.runs:
        plain: Floats = ends + gap
        return plain
    depth, backend = deviations.shape[1], NumpyBackend()
    coarse = np.zeros_like(states)  # S_s - I
    for net, h in enumerate(horizon.tolist()):
        if not rule.blind_layers(depth, h):
            continue
        tail = WholeTail(Chunk(deviations[net]), backend, rule.degree)
        coarse[net, h:] = coarse_tail(rule, tail, depth, h, depth, backend)[0]
    ends = ends if rule.anchored else compose(coarse, ends)
    signals: Floats = ends + gap
    signals = signals + coarse.mT @ signals
    return signals


def _change(
    steps: Floats, own: Floats, states: Floats, ends: NDArray[np.int64], rule: HorizonRule
) -> Floats | float:
    """V_{s'} - V_s without cancellation where it has a closed form: (W_s^{s'} - I) P_s, or 0 (anchored)."""
    if rule.runs:
        return own[:, 1:] - own[:, :-1]
    if rule.anchored:
        return 0.0
    state = np.take_along_axis(states, ends[:, :-1, None, None], axis=1)
    change: Floats = steps + steps @ state
    return change
