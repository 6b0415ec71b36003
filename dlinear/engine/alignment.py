"""The angle theta_h between the horizon gradient g_h and the true gradient g_T, without cancellation.

At T = 1e6 and shortfall m = 1, sin^2(theta_h) is of order 1e-18: `1 - cos**2` is noise in float64. Here the
small difference delta = g_h - g_T is itself computed from small quantities (`single_horizon`), and

    sin^2 = ( ||delta||^2 - <delta, g_T>^2 / ||g_T||^2 ) / ||g_h||^2                                  (S)
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from dlinear.checks import as_choice, as_horizons, shown
from dlinear.engine.all_horizons.triangle import all_inner_products
from dlinear.engine.angle import AlignmentProfile, profile_of
from dlinear.engine.options import Engine
from dlinear.engine.rule import PLAIN, HorizonRule, as_rule
from dlinear.engine.single_horizon.edge_products import explain_overflow
from dlinear.engine.single_horizon.strategy import inner_products
from dlinear.engine.vanishing import vanishing
from dlinear.errors import DomainError
from dlinear.networks.protocol import Network, as_phi


def alignment(
    net: Network,
    phi: np.ndarray,
    horizons: object,
    *,
    undefined: Literal["raise", "nan"] = "raise",
    engine: Engine | None = None,
    rule: HorizonRule = PLAIN,
) -> AlignmentProfile:
    """sin^2 and cos of the angle between g_h and g_T at each horizon.

    The relative error of sin^2 stays near T-independent rounding (below 1e-9 for networks whose products
    are well conditioned), down to sin^2 of 1e-25 and below. h = T gives exactly 0. Work: about four n x n
    products a layer for ||g_T||, two for each layer that a horizon misses (m <= T/2), six for m > T/2.
    Memory: six copies of the first M layers, M the largest shortfall <= T/2; of all layers if m > T/2.
    All horizons at once: a matrix product over every pair of layers, from a few thousand layers FFT, in time
    T log^2 T; bounded memory for a generated network (`all_horizons`; `crosscheck` compares a sample).
    Digits are lost where ||g_h|| is far below ||g_T||, in proportion; where rounding of the layers and Phi
    decides what g_h is, it counts as zero (`vanishing`). Always 0 <= sin^2 <= 1, sin^2 + cos^2 = 1.

    Args:
        net: depth T, width n.
        phi: (n, n), E[y x^T] of whitened inputs.
        horizons: integers in 1..T, any order, repeats allowed; or "all": each of 1..T-1, computed together
            (T = 1 has none).
        undefined: what to do where g_T or g_h is zero, so that there is no angle: "raise", or "nan" and
            say so in `AlignmentProfile.undefined`.
        rule: which signal reaches a layer: the plain horizon, anchored, rollouts, strides (`HorizonRule`).
        engine: backend, threads or processes, memory (default: numpy, on the cores of this process).

    Raises:
        UndefinedAngleError: a gradient is zero to working precision (unless `undefined="nan"`).
        ShapeError, HorizonError, NonFiniteError: see the message.
    """
    as_choice("undefined", undefined, ("raise", "nan"))
    if engine is not None and not isinstance(engine, Engine):
        raise DomainError(f"engine is {shown(engine)}; expected an Engine or None")
    phi, rule = as_phi(phi, net), as_rule(rule)
    every = isinstance(horizons, str) and horizons == "all" and net.depth > 1
    asked = as_horizons(range(1, net.depth) if every else horizons, net.depth)
    engine = engine or Engine()
    with np.errstate(over="ignore", invalid="ignore"):  # reported below, with the number of the layer
        if every:
            found = all_inner_products(net, phi, engine, rule)
        else:
            found = inner_products(net, phi, (net.depth - asked).tolist(), engine, rule)
        if not all(math.isfinite(one.true) for one in found.values()):
            explain_overflow(net, engine)
        zero = vanishing(net, phi, found, engine, rule)
    return profile_of(net.depth, asked, found, engine.backend.eps, undefined, zero)
