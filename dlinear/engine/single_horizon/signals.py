"""The one function in which rules differ: Y_s, what the signal at the end s of a window misses.

With M_s = W_s^T - S_s (`coarse_tail`; S_s = I and M_s = E_s = W_s^T - I without runs), (D2) and (D3):

    -delta(t) = (W_{t+1}^s)^T Y_s P_t^T,    Y_s = S_s^T M_s P_s + M_s^T R    value rule, the plain horizon (D)
                                            Y_s = M_s^T R                    anchored
"""

from __future__ import annotations

import numpy as np

from dlinear.engine.backends import Array
from dlinear.engine.coarse_tail import coarse_tail
from dlinear.engine.kernels.chunk import CompiledChunk
from dlinear.engine.kernels.truncation import Case
from dlinear.engine.products import Chunk
from dlinear.engine.single_horizon.edge_products import EdgeProducts


def signal_terms(at_edges: EdgeProducts, layers: Chunk, start: int, stop: int) -> Array:
    """Y_s at the boundaries s = start..stop of a chunk, times the scale."""
    if at_edges.kernels is not None and at_edges.suffixes is None and len(layers):
        out = at_edges.engine.backend.empty(len(layers) + 1, *layers.layers.shape[1:])
        _by_kernel(at_edges, layers, start, stop, None, out[:-1])
        out[-1] = signal_terms(at_edges, at_edges.chunk(layers.layers[:0]), stop, stop)[0]
        return out
    be, rule = at_edges.engine.backend, at_edges.rule
    coarse: Array | None = None  # S_s - I
    if at_edges.suffixes is None:
        missed = layers.suffix_deviations(at_edges.tails[at_edges.index(stop)])
    else:
        coarse, missed = coarse_tail(rule, at_edges.suffixes, at_edges.net.depth, start, stop, be)
    if rule.anchored:
        terms = missed.mT @ be.array(at_edges.residual)
    else:
        terms = _value_terms(at_edges, layers, start, missed, coarse)
    terms *= at_edges.scale
    return terms


def turned_terms(
    at_edges: EdgeProducts, start: int, stop: int, turn: Array, out: Array | None = None
) -> Array:
    """Z_s = U_s^T Y_s at s = start..stop-1 of a chunk, times the scale; `turn` is U at `start`."""
    layers = at_edges.layers(start, stop)
    if at_edges.kernels is not None and at_edges.suffixes is None:
        return _by_kernel(at_edges, layers, start, stop, turn, out)
    terms = layers.states(turn)[:-1].mT @ signal_terms(at_edges, layers, start, stop)[:-1]
    if out is not None:
        out[:] = terms
    return terms


def _by_kernel(
    at_edges: EdgeProducts, layers: Chunk, start: int, stop: int, turn: Array | None, out: Array | None = None
) -> Array:
    """`turned_terms`, or Y_s without `turn`, by a compiled kernel."""
    first, last = at_edges.index(start), at_edges.index(stop)
    before, constant = at_edges.states[first], at_edges.residual
    case: Case = "anchored" if at_edges.rule.anchored else "plain"
    if case == "plain" and at_edges.near_identity:
        case, before = "near", at_edges.deviations[first]
        constant = 2 * np.eye(at_edges.net.width) - at_edges.phi + at_edges.tails[0]
    assert isinstance(layers, CompiledChunk)
    found = layers.signals(case, at_edges.tails[last], before, constant, turn, out)
    if at_edges.scale != 1:
        found *= at_edges.scale
    return found


def _value_terms(
    at_edges: EdgeProducts, layers: Chunk, start: int, missed: Array, coarse: Array | None
) -> Array:
    """S^T M P + M^T R.

    Near Phi = 2I its terms cancel. Where P stays near I they are therefore added in the order of size,
    (M - M^T) + M^T (2I - Phi) + M (P_s - I) + M^T (P_T - I) + (S - I)^T M P_s, each factor with its own
    digits.
    """
    be, first = at_edges.engine.backend, at_edges.index(start)
    if at_edges.near_identity:
        terms = missed - missed.mT
        terms += missed.mT @ be.array(2 * np.eye(at_edges.net.width) - at_edges.phi)
        before = layers.prefix_deviations(at_edges.deviations[first])
        terms += missed @ before + missed.mT @ at_edges.tails[0]
        if coarse is not None:
            terms += coarse.mT @ (missed + missed @ before)
        return terms
    ahead = missed @ layers.states(at_edges.states[first])  # M P
    terms = ahead + coarse.mT @ ahead if coarse is not None else ahead
    terms += missed.mT @ be.array(at_edges.residual)
    return terms
