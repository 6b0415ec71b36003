"""The coarse tail S_s of a rule and what it misses, M_s = W_s^T - S_s, without cancellation.

The k = T - s unseen layers are cut into q runs (`theory.anchored.run_edges`), run 1 the last:

    S_s = (I + C_1) ... (I + C_q),    C_r = shrink * (sum of D over run r, or a multiple of one layer).

Degree 2 adds (Sigma_r^2 - sum of D^2 over run r)/2 to C_r. With a_r and b_r the start and end of run r,
Sigma_r the sum of its deviations and, of all layers from s on,

    A_s = W_s^T - I,    Sigma_s = D(s) + ... + D(T-1),    Q_s = A_s - Sigma_s = sum_{i >= s} A_{i+1} D(i),

what is missed telescopes over the runs, and each term is small by itself:

    M_s = sum_r [W_{b_r}^T (Sigma_r - C_r) + Q_{a_r} - Q_{b_r} - A_{b_r} Sigma_r] (I + C_{r+1}) ... (I + C_q).

The last three terms are W_{b_r}^T (W_{a_r}^{b_r} - I - Sigma_r), the second-order part of a run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dlinear.engine.backends import Array, Backend
from dlinear.engine.products import Chunk, compose
from dlinear.engine.rule import HorizonRule
from dlinear.theory.bounds.anchored import run_edges

_EXACT = {"start": 1, "middle": 2, "end": 1}  # layers of a run up to which j times the sample is the sum


@dataclass(frozen=True)
class Suffixes:
    """A_s, Sigma_s and Q_s at consecutive s, (k, n, n) each; for degree 2 the sums of D^2 too."""

    deviations: Array
    sums: Array
    remainders: Array
    squares: Array | None = None

    def __getitem__(self, places: slice | np.ndarray) -> Suffixes:
        return Suffixes(*(None if part is None else part[places] for part in self.parts()))

    def parts(self) -> tuple[Array, Array, Array, Array | None]:
        """The four fields."""
        return self.deviations, self.sums, self.remainders, self.squares


def no_suffixes(width: int, degree: int, backend: Backend) -> Suffixes:
    """Those at s = T, where no layer is left."""
    zero = backend.array(np.zeros((1, width, width)))
    return Suffixes(zero, zero, zero, zero if degree > 1 else None)


class Tail(Protocol):
    """What a coarse tail is made of, by ranges of layers."""

    def suffixes(self, low: int, high: int) -> Suffixes:
        """At s = low..high, both included; 0 at T."""

    def layers(self, low: int, high: int) -> Array:
        """D(low), ..., D(high - 1)."""


def suffixes_of(layers: Chunk, after: Suffixes, backend: Backend) -> Suffixes:
    """At the k + 1 boundaries of a chunk, `after` being those at its end (one boundary, (1, n, n) each)."""
    deviations = layers.suffix_deviations(after.deviations[0])
    steps = deviations[1:] @ layers.layers  # A_{i+1} D(i)
    return Suffixes(
        deviations,
        backend.suffix_sums(layers.layers, after.sums[0]),
        backend.suffix_sums(steps, after.remainders[0]),
        None
        if after.squares is None
        else backend.suffix_sums(layers.layers @ layers.layers, after.squares[0]),
    )


class WholeTail:
    """The tail of a network that is held in memory."""

    def __init__(self, layers: Chunk, backend: Backend, degree: int = 1) -> None:
        self._layers = layers.layers
        none = no_suffixes(layers.layers.shape[-1], degree, backend)
        self._suffixes = suffixes_of(layers, none, backend)

    def suffixes(self, low: int, high: int) -> Suffixes:
        """At s = low..high, both included."""
        return self._suffixes[slice(low, high + 1)]

    def layers(self, low: int, high: int) -> Array:
        """D(low), ..., D(high - 1)."""
        return self._layers[low:high]


def coarse_tail(
    rule: HorizonRule, tail: Tail, depth: int, low: int, high: int, be: Backend
) -> tuple[Array, Array]:
    """S_s - I and M_s at s = low..high, (high - low + 1, n, n) each; the rule has runs."""
    edges = run_edges(depth - np.arange(low, high + 1), rule.runs)
    product = missed = None
    for r in range(rule.runs, 0, -1):  # from the first layers to the last
        starts, ends = depth - edges[r], depth - edges[r - 1]  # a_r, b_r
        first, last = (_at(tail, places) for places in (starts, ends))
        sums = first.sums - last.sums
        length = ends - starts
        # W_b (W_a^b - I - Sigma) is 0 for runs of one layer or none, where its terms would leave rounding
        term = be.scaled(first.remainders - last.remainders - last.deviations @ sums, length > 1)
        coarse = sums
        if rule.sampling != "average":
            coarse = _sampled(rule, tail, starts, ends, depth, be)
            gap = be.scaled(sums - coarse, length > _EXACT[rule.sampling])
            term += gap + last.deviations @ gap
        if first.squares is not None and last.squares is not None:  # degree 2
            second = be.scaled(0.5 * (sums @ sums - (first.squares - last.squares)), length > 1)
            term -= second + last.deviations @ second
            coarse = sums + second
        if rule.shrink != 1:
            gap = (1 - rule.shrink) * coarse
            term += gap + last.deviations @ gap
            coarse = rule.shrink * coarse
        if product is None:
            product, missed = coarse, term
        else:
            missed = missed + term + term @ product
            product = compose(coarse, product)
    assert product is not None
    return product, missed


def _at(tail: Tail, places: np.ndarray) -> Suffixes:
    """The suffixes at places that lie within a short range."""
    low, high = int(places.min()), int(places.max())
    return tail.suffixes(low, high)[places - low]


def _sampled(
    rule: HorizonRule, tail: Tail, starts: np.ndarray, ends: np.ndarray, depth: int, be: Backend
) -> Array:
    """j times the layer that stands for each run of j layers."""
    left, right = {
        "start": (starts, starts),
        "middle": ((starts + ends - 1) // 2, (starts + ends) // 2),
        "end": (ends - 1, ends - 1),
    }[rule.sampling]
    left, right = np.minimum(left, depth - 1), np.minimum(right, depth - 1)  # of runs without layers: any
    low, high = int(left.min()), int(right.max()) + 1
    layers = tail.layers(low, high)
    some = layers[left - low] if left is right else 0.5 * (layers[left - low] + layers[right - low])
    return be.scaled(some, ends - starts)
