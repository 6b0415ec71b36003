"""The balance of neighbouring layers of one network, and how fast g_h changes it (Theorem G5)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dlinear.checks import as_horizon
from dlinear.dynamics import signals
from dlinear.dynamics.stacks import as_problem
from dlinear.engine.rule import PLAIN, HorizonRule
from dlinear.errors import ShapeError
from dlinear.networks.protocol import Network, read_layers

Floats = NDArray[np.float64]


def imbalance(net: Network) -> Floats:
    """B(t) = W(t+1)^T W(t+1) - W(t) W(t)^T for t = 0..T-2, (T - 1, n, n). The flow of g_T keeps it.

    Raises:
        ShapeError: no network.
    """
    if not isinstance(net, Network):
        raise ShapeError(f"the network is a {type(net).__name__}; expected depth, width and deviations")
    found: Floats = signals.imbalance(read_layers(net, 0, net.depth)[None])[0]
    return found


def imbalance_rate(net: Network, phi: ArrayLike, horizon: int, rule: HorizonRule = PLAIN) -> Floats:
    """dB(t)/dtau along the flow W' = -g_h, (T - 1, n, n), by the closed form of Theorem G5.

        -(X + X^T),    X(t) = (W_{t+1}^s)^T [ (W_s^{s'})^T V_{s'} - V_s ] P_{t+1}^T

    s and s' are the ends of the windows of layers t and t + 1, V the signal of the rule. With stride 1 and
    s < T the bracket is D(s)^T R (anchored) or D(s)^T (P_s - Phi) + W(s)^T D(s) P_s (plain). It is 0 where
    s = s'.

    Args:
        net: depth T, width n.
        phi: (n, n).
        horizon: h in 1..T.
        rule: which signal reaches a layer.

    Raises:
        ShapeError, NonFiniteError, HorizonError, DomainError: see the message.
    """
    problem = as_problem(net, phi, horizon, rule)
    as_horizon(horizon, problem.depth)  # one, where `as_problem` takes several
    exchange = signals.run(problem.layers, problem.phi, problem.horizon, problem.rule).exchange[0]
    found: Floats = -(exchange + exchange.mT)
    return found
