"""The horizon gradient g_h, eq. (27) with its state map corrected to P_t = W_0^t."""

from __future__ import annotations

import numpy as np

from dlinear.checks import as_horizon
from dlinear.engine.backends import NumpyBackend
from dlinear.engine.coarse_tail import WholeTail, coarse_tail
from dlinear.engine.options import Engine
from dlinear.engine.products import Chunk, compose, windows_to_grid
from dlinear.engine.rule import PLAIN, HorizonRule, as_rule
from dlinear.engine.single_horizon.edge_products import explain_overflow
from dlinear.networks.protocol import Layers, Matrix, Network, as_phi, read_layers


def horizon_gradients(net: Network, phi: np.ndarray, horizon: int, rule: HorizonRule = PLAIN) -> Layers:
    """g_h(t) for every layer: the gradient of 1/2 ||P_s - Phi||_F^2 in W(t), s = min(t + h, T).

        g_h(t) = (W_{t+1}^s)^T (P_s - Phi) P_t^T                                    (27')

    h = 1 is the local gradient of each layer's own output, h = T is back-propagation (eq. (10)).
    Takes about seven products of n x n matrices a layer, and memory for about five copies of the layers.

    Args:
        net: depth T, width n.
        phi: (n, n), E[y x^T] of whitened inputs.
        horizon: integer in 1..T.
        rule: which signal reaches a layer (`HorizonRule`); the plain horizon by default.

    Returns:
        Gradients, shape (T, n, n).

    Raises:
        ShapeError, HorizonError, NonFiniteError: see the message.
    """
    phi, rule = as_phi(phi, net), as_rule(rule)
    h = as_horizon(horizon, net.depth)
    with np.errstate(over="ignore", invalid="ignore"):  # reported below, with the number of the layer
        gradients = _gradients(read_layers(net, 0, net.depth), phi, h, rule)
    if not np.isfinite(gradients).all():
        explain_overflow(net, Engine())
    return gradients


def _gradients(deviations: Layers, phi: Matrix, h: int, rule: HorizonRule) -> Layers:
    depth, width, _ = deviations.shape
    identity, layers = np.eye(width), Chunk(deviations)
    # P_t for t = 0..T
    forward = layers.states(identity)
    before = layers.prefix_deviations()  # P_s - I: P_s - Phi = (P_s - I) + (I - Phi) keeps its digits
    # (W_{t+1}^s)^T V_s: s = T for the layers that see the end, the end of their window for those before
    blind = rule.blind_layers(depth, h)
    back = np.empty_like(deviations)
    back[blind:] = Chunk(deviations[blind:]).costates(before[-1] + (identity - phi))[1:]
    if blind:
        ends = rule.ends(depth, h, np.arange(blind))
        between = windows_to_grid(deviations[1:], ends - 1, h - 1, rule.stride)  # W_{t+1}^s
        np.matmul(between.mT, _signals(layers, before, phi, h, rule)[ends - h], out=back[:blind])
    gradients: Layers = back @ forward[:-1].mT
    return gradients


def _signals(layers: Chunk, before: Layers, phi: Matrix, h: int, rule: HorizonRule) -> Layers:
    """V_s of the rule at s = h..T."""
    depth, eye = len(layers), np.eye(len(phi))
    ends = np.broadcast_to(before[-1], before[h:].shape) if rule.anchored else before[h:]
    if not rule.runs:
        plain: Layers = ends + (eye - phi)
        return plain
    tail = WholeTail(layers, NumpyBackend(), rule.degree)
    coarse, _ = coarse_tail(rule, tail, depth, h, depth, NumpyBackend())
    ends = ends if rule.anchored else compose(coarse, ends)  # P_T - I, or S_s P_s - I
    signals: Layers = ends + (eye - phi)
    signals += coarse.mT @ signals
    return signals
