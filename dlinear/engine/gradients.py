"""The horizon gradient g_h, eq. (27) with its state map corrected to P_t = W_0^t."""

from __future__ import annotations

import numpy as np

from dlinear.checks import as_horizon
from dlinear.engine.options import Engine
from dlinear.engine.products import Chunk, windows
from dlinear.engine.single_horizon.edge_products import explain_overflow
from dlinear.networks.protocol import Layers, Matrix, Network, as_phi, read_layers


def horizon_gradients(net: Network, phi: np.ndarray, horizon: int) -> Layers:
    """g_h(t) for every layer: the gradient of 1/2 ||P_s - Phi||_F^2 in W(t), s = min(t + h, T).

        g_h(t) = (W_{t+1}^s)^T (P_s - Phi) P_t^T                                    (27')

    h = 1 is the local gradient of each layer's own output, h = T is back-propagation (eq. (10)).
    Takes about seven products of n x n matrices a layer, and memory for about five copies of the layers.

    Args:
        net: depth T, width n.
        phi: (n, n), E[y x^T] of whitened inputs.
        horizon: integer in 1..T.

    Returns:
        Gradients, shape (T, n, n).

    Raises:
        ShapeError, HorizonError, NonFiniteError: see the message.
    """
    phi = as_phi(phi, net)
    h = as_horizon(horizon, net.depth)
    with np.errstate(over="ignore", invalid="ignore"):  # reported below, with the number of the layer
        gradients = _gradients(read_layers(net, 0, net.depth), phi, h)
    if not np.isfinite(gradients).all():
        explain_overflow(net, Engine())
    return gradients


def _gradients(deviations: Layers, phi: Matrix, h: int) -> Layers:
    depth, width, _ = deviations.shape
    identity, layers = np.eye(width), Chunk(deviations)
    # P_t for t = 0..T
    forward = layers.states(identity)
    # P_s - Phi = (P_s - I) + (I - Phi) for s = h..T: no small difference of two numbers near 1
    residuals = layers.prefix_deviations()[h:] + (identity - phi)
    # (W_{t+1}^s)^T (P_s - Phi): s = T for the last h layers, s = t + h for those before
    back = np.empty_like(deviations)
    back[depth - h :] = Chunk(deviations[depth - h :]).costates(residuals[-1])[1:]
    if h < depth:
        between = windows(deviations[1:], h - 1)[: depth - h]  # W_{t+1}^{t+h}
        np.matmul(between.mT, residuals[:-1], out=back[: depth - h])
    gradients: Layers = back @ forward[:-1].mT
    return gradients
