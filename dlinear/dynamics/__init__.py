"""Training dynamics of deep linear networks along horizon gradients, many horizons and starts at once.

    path = dlinear.dynamics.descent(nets, phi, horizons, step=eta, steps=200, every=10)
    path = dlinear.dynamics.flow(nets, phi, horizons, times)
    path.loss, path.cos2, path.rate, path.drift, ...         # (times, horizons, starts)

numpy; the flow is integrated by scipy.
"""

from dlinear.dynamics.balance import imbalance, imbalance_rate
from dlinear.dynamics.gradient_descent import descent
from dlinear.dynamics.gradient_flow import flow
from dlinear.dynamics.trajectory import Trajectory

__all__ = ["Trajectory", "descent", "flow", "imbalance", "imbalance_rate"]
