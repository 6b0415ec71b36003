"""Theorem G4: training from the identity with horizon h, to first order in the layers, in closed form.

To first order in D(t) and Phi - I the end error after s layers is e_s = I - Phi + sum_{t<s} D(t), and the
flow of the plain horizon is, entry by entry,

    D(t)' = -e_{min(t+h, T)} = -(K D + (I - Phi))(t),    K_{tt'} = 1 iff t' < min(t+h, T).

The anchored flow is D(t)' = -e_T: that of back-propagation. Time tau is that of the flow W' = -g_h.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import eval_laguerre

from dlinear.checks import as_depth, as_floats, as_integer
from dlinear.errors import HorizonError

Floats = NDArray[np.float64]


def flow_matrix(depth: int, horizon: int) -> Floats:
    """K of the linear flow D' = -(K D + (I - Phi)), (T, T): 1 where layer t' lies below the end of window t.

    Args:
        depth: T.
        horizon: h in 1..T.

    Raises:
        DomainError, HorizonError: an argument outside its domain.
    """
    depth, horizon = _sizes(depth, horizon)
    t = np.arange(depth)
    matrix: Floats = (t < np.minimum(t[:, None] + horizon, depth)).astype(float)
    return matrix


def two_modes(depth: int, horizon: int, tau: ArrayLike) -> Floats:
    """R(tau)/R(0) of equal initial layers for T <= 2h (Theorem G4 b): a fast fall, then a plateau.

    With m = T - h and lam+- = (T +- sqrt(T^2 - 2m(m+1)))/2 it is (1 + g) e^{-lam+ tau} - g e^{-lam- tau},
    g = lam-/(lam+ - lam-). The plateau has the wrong sign, height S_1(m)/T^2 about, and the slow rate lam-.

    Args:
        depth: T.
        horizon: h with T/2 <= h <= T.
        tau: times >= 0, any shape.

    Raises:
        DomainError, HorizonError: an argument outside its domain.
    """
    depth, horizon = _sizes(depth, horizon)
    if 2 * horizon < depth:
        raise HorizonError(f"horizon is {horizon}: two modes need h >= T/2 = {depth / 2:g}")
    m, times = depth - horizon, as_floats("tau", tau, "real numbers")
    root = np.sqrt(depth**2 - 2 * m * (m + 1))
    slow = m * (m + 1) / (depth + root)  # lam-, without cancellation
    # (e^{-lam- tau} - e^{-lam+ tau})/(lam+ - lam-), which is tau e^{-tau} for T = 2, h = 1
    between = np.exp(-slow * times) * (-np.expm1(-root * times) / root if root else times)
    found: Floats = np.exp(-(depth - slow) * times) - slow * between
    return found


def ringing(depth: int, tau: ArrayLike) -> Floats:
    """R(tau)/R(0) = e^{-tau} L_{T-1}(tau) of equal initial layers for h = 1 (Theorem G4 c).

    L is Laguerre's polynomial. For T -> infinity with T tau fixed it is J_0(2 sqrt(T tau)).

    Args:
        depth: T.
        tau: times >= 0, any shape.

    Raises:
        DomainError: an argument outside its domain.
    """
    depth, times = as_depth(depth), as_floats("tau", tau, "real numbers")
    found: Floats = np.exp(-times) * eval_laguerre(depth - 1, times)
    return found


def _sizes(depth: int, horizon: int) -> tuple[int, int]:
    depth = as_depth(depth)
    return depth, as_integer("horizon", horizon, 1, depth, HorizonError)
