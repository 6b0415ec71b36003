"""delta(t) with every layer held: for networks of one chunk, and for far horizons that memory allows.

Far horizons, m > T/2, take the windows W_{t+1}^s themselves by block scans; near ones one split p = T - M as
in `streamed`. P_t, g_T(t) and Y_s of all layers are made once and serve all horizons.
"""

from __future__ import annotations

import numpy as np

from dlinear.backends import Array
from dlinear.networks.protocol import Matrix, Network
from dlinear.products import Chunk, windows
from dlinear.truncation import Engine, Sums, Survey, Visit, gather, local_team, rescaled, tail_terms

ARRAYS = 6  # of the size of the layers, held at once


def held_bytes(net: Network) -> int:
    """Bytes that `held_sums` needs."""
    return ARRAYS * 8 * net.depth * net.width**2


def held_sums(net: Network, phi: Matrix, shortfalls: list[int], engine: Engine) -> dict[int, Sums]:
    """The sums of shortfalls in 0..T-1; holds every layer and four more arrays of that size."""
    survey = Survey(net, phi, (), engine)
    near = [m for m in shortfalls if m <= net.depth // 2]

    def sums() -> dict[int, Sums]:
        held = Held(survey)
        found = gather(survey, NearHeld(held, max(near)), near) if near else {}
        for m in shortfalls:
            if m not in found:
                found |= gather(survey, Far(held, m), [m])
        return found

    return rescaled(survey, sums)


class Held:
    """P_t, g_T(t) and Y_s of every layer."""

    def __init__(self, survey: Survey) -> None:
        depth, n, be = survey.net.depth, survey.net.width, survey.engine.backend
        self.survey = survey
        self.layers, self.states, self.gradients, self.terms = (be.empty(depth, n, n) for _ in range(4))
        self.terms = be.empty(depth + 1, n, n)
        costates = survey.costates()

        def fill(chunk: tuple[int, int]) -> None:
            layers, at, here = survey.layers(*chunk), survey.index(chunk[0]), slice(*chunk)
            self.layers[here] = layers.layers
            states = layers.states(survey.states[at])[:-1]
            self.states[here] = states
            be.matmul(layers.costates(costates[at + 1])[1:], states.mT, self.gradients[here])
            self.terms[here] = tail_terms(survey, layers, *chunk)[:-1]

        local_team(survey.engine).map(fill, survey.chunks(0, depth), "all layers")
        self.terms[depth] = 0


class NearHeld:
    """-delta(t) = L_t^T Z_s P_t^T for any m <= M, from what is held."""

    def __init__(self, held: Held, largest: int) -> None:
        self.survey, self.held = held.survey, held
        split, be = held.survey.net.depth - largest, held.survey.engine.backend
        identity = be.array(np.eye(held.survey.net.width))
        self.left = Chunk(held.layers[:split], be).costates(identity)[1 : largest + 1]
        self.z = Chunk(held.layers[split:], be).states(identity)[:-1].mT @ held.terms[split:-1]

    def visit(self, chunk: tuple[int, int]) -> Visit:
        """g_T(t) for the chunk's layers, and m -> -delta(t) for those with t < m."""
        held, (start, stop) = self.held, chunk

        def delta_of(m: int) -> Array:
            here = slice(start, max(start, min(stop, m)))
            first = start + len(self.z) - m
            z = self.z[first : first + here.stop - start]
            return self.left[here] @ z @ held.states[here].mT

        return held.gradients[start:stop], delta_of


class Far:
    """-delta(t) = (W_{t+1}^s)^T Y_s P_t^T for one m, by window products of all layers."""

    def __init__(self, held: Held, m: int) -> None:
        self.survey, self.held, self.horizon = held.survey, held, held.survey.net.depth - m
        self.windows = windows(held.layers[1:], self.horizon - 1, held.survey.engine.backend)

    def visit(self, chunk: tuple[int, int]) -> Visit:
        """g_T(t) for the chunk's layers, and m -> -delta(t) for those with t < m."""
        held, (start, stop) = self.held, chunk

        def delta_of(m: int) -> Array:
            stop_here = max(start, min(stop, m))
            back = (
                self.windows[start:stop_here].mT @ held.terms[start + self.horizon : stop_here + self.horizon]
            )
            return back @ held.states[start:stop_here].mT

        return held.gradients[start:stop], delta_of
