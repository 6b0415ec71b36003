"""Whether a gradient vanishes to working precision: what a change of the data in the last digits does to it.

Layers and Phi are known to a relative rounding eps at best, and the engine computes with the same eps. How
much of that reaches g_h depends on the depth and on the norms of the products, so it is measured: the entries
of W(t) and Phi are multiplied by 1 + CHANGE eps z, z independent standard normals, and the size

    rho = ||g_h|| / max(||g_T||, ||delta||)

is computed again. |rho' - rho|/CHANGE is what one rounding of the data does to it; g_h counts as zero where
rho is at most MARGIN of these. Above, digits are lost in proportion: the relative error of sin^2 is about one
of these over rho, at most 1/MARGIN.

A gradient that vanishes because entries are exactly zero (a zero layer, diagonal layers) still does so: only
nonzero entries change. For g_T the same with ||g_T||/||R||, R = P_T - Phi: a small R alone is no reason, so a
trained network keeps its angle.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from dlinear.engine.angle import HORIZON_GRADIENT_ZERO, TRUE_GRADIENT_ZERO, InnerProducts
from dlinear.engine.options import Engine
from dlinear.engine.rule import PLAIN, HorizonRule
from dlinear.engine.single_horizon.strategy import inner_products
from dlinear.networks.philox import standard_normals
from dlinear.networks.protocol import Layers, Matrix, Network, read_layers

CHANGE = 4096  # roundings: far above those of the computation, far below what is measured
MARGIN = 256  # roundings: those of the data and of the computation of a few thousand layers are below 10
SMALL = 2.0**32  # roundings: gradients of this relative size (1e-6), and at most 1e-2, are examined

_LAYERS, _TARGET = 2, 3  # streams of random numbers beside those of the ensembles


class Changed:
    """The layers of a network with the entries of W(t) = I + D(t) changed by relative normal numbers."""

    def __init__(self, net: Network, size: float) -> None:
        self.net, self.size = net, size
        self.depth, self.width = net.depth, net.width
        self.nbytes = getattr(net, "nbytes", 0)  # the same memory budget, so the same algorithm

    def deviations(self, start: int, stop: int) -> Layers:
        """Layers start..stop-1, shape (stop - start, n, n)."""
        layers, n = read_layers(self.net, start, stop), self.width
        change = standard_normals(0, _LAYERS, start * n * n, stop * n * n).reshape(layers.shape)
        change *= self.size
        changed: Layers = layers + change * (layers + np.eye(n))
        return changed


def vanishing(
    net: Network,
    phi: Matrix,
    found: Mapping[int, InnerProducts],
    engine: Engine,
    rule: HorizonRule = PLAIN,
) -> dict[int, str]:
    """The shortfalls at which a gradient is zero to working precision, and which one it is."""
    small = min(0.01, SMALL * engine.backend.eps)
    wanted = {m: reasons for m, one in found.items() if (reasons := _suspected(one, small))}
    if not wanted:
        return {}
    size = CHANGE * engine.backend.eps
    n = net.width
    target = phi * (1 + size * standard_normals(0, _TARGET, 0, n * n).reshape(n, n))
    again = inner_products(Changed(net, size), target, sorted(wanted), engine, rule)
    zero: dict[int, str] = {}
    for m, reasons in wanted.items():
        for reason in reasons:
            rho, changed = (_size(one, reason) for one in (found[m], again[m]))
            if rho <= MARGIN * abs(changed - rho) / CHANGE:
                zero.setdefault(m, reason)
    return zero


def _suspected(one: InnerProducts, small: float) -> list[str]:
    """The gradients that are so small that they may be zero."""
    if not one.is_finite or one.true == 0:
        return []
    return [g for g in (TRUE_GRADIENT_ZERO, HORIZON_GRADIENT_ZERO) if _size(one, g) < small]


def _size(one: InnerProducts, gradient: str) -> float:
    """||g_h|| / max(||g_T||, ||delta||), or ||g_T|| / ||R||."""
    if gradient == TRUE_GRADIENT_ZERO:
        return math.sqrt(one.true) / one.residual if one.residual else 1.0
    return math.sqrt(one.truncated / max(one.true, one.square))
