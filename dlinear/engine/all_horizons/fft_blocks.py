"""Sums over all pairs (t, s) of a long block, by s - t, by FFT.

The channels of `pair_blocks` are products of a function u of t and a function v of s, so that the sum over a
diagonal, sum_t u(t) v(t + h), is a cross-correlation: conj(F u) F v in Fourier space. Two transforms a
channel; the spectra are added up and transformed back once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dlinear.engine.all_horizons.pair_blocks import (
    EPS,
    GROUP,
    Diagonals,
    Ends,
    Starts,
    end_channels,
    index_pairs,
)
from dlinear.engine.parallel.threads import ParallelMap

Correlation = tuple[np.ndarray, float]  # a spectrum, and what bounds the size of its terms
_SPECTRA = 16  # that are in memory together before they are added up


@dataclass
class Channels:
    """A long block: the two factors of each channel, with t and s along the last axis.

    Attributes:
        distance: the first s less the first t.
        left, states: `Starts.grams`, w A and w S, (n (n + 1)/2, starts).
        centre: C_t, (n^2, starts).
        terms: Z_s, (n, n, ends).
    """

    distance: int
    left: np.ndarray
    states: np.ndarray
    centre: np.ndarray
    terms: np.ndarray

    @classmethod
    def empty(cls, distance: int, n: int, starts: int, ends: int) -> Channels:
        """To be filled."""
        grams = (n * (n + 1) // 2, starts)
        return cls(distance, *(np.empty(s) for s in (grams, grams, (n * n, starts), (n, n, ends))))

    @staticmethod
    def numbers(n: int, starts: int, ends: int) -> int:
        """How many numbers `empty` holds."""
        return starts * (2 * n * n + n) + ends * n * n

    def put_starts(self, at: int, starts: Starts) -> bool:
        """Those of `starts` from place `at`; whether they are float64 numbers."""
        here = slice(at, at + len(starts))
        self.centre[:, here] = starts.centre
        self.left[:, here], self.states[:, here] = starts.grams()
        return starts.in_range

    def put_ends(self, at: int, ends: Ends) -> bool:
        """Those of `ends` from place `at`; whether they are float64 numbers."""
        self.terms[..., at : at + len(ends)] = ends.terms
        return ends.in_range


def by_fft(block: Channels, parallel: ParallelMap) -> Diagonals:
    """The sums of a block by cross-correlation; absolute accuracy, so for blocks of comparable terms."""
    from scipy import fft

    n, starts, ends = len(block.terms), block.centre.shape[1], block.terms.shape[2]
    count = starts + ends - 1
    length = fft.next_fast_len(count, real=True)
    pairs = index_pairs(n)
    step = max(1, GROUP // length)

    def correlate(of_starts: np.ndarray, of_ends: np.ndarray) -> Correlation:
        """The spectrum of sum_t u(t) v(t + h), one channel a row, added up; |u| |v| bounds each sum."""
        size = float(np.linalg.norm(of_starts, axis=1) @ np.linalg.norm(of_ends, axis=1))
        spectrum = fft.rfft(of_starts, length)
        np.conjugate(spectrum, out=spectrum)
        spectrum *= fft.rfft(of_ends, length)
        return spectrum.sum(axis=0), size

    def square(index: int) -> Correlation:
        """The channels of ||delta||^2 with the pair (i, k) of A and every pair (j, l) of S."""
        (i, k), at, parts = pairs[index], 0, []
        for j in range(n):
            of_ends = end_channels(block.terms, i, k, j)
            for low in range(0, n - j, step):
                chosen = block.states[at + low : min(at + low + step, at + n - j)]
                parts.append(correlate(block.left[index] * chosen, of_ends[low : low + step]))
            at += n - j
        return _added(parts)

    def cross(i: int) -> Correlation:
        """The channels of <-delta, g_T> = <C_t, Z_s> in row i."""
        return _added([correlate(block.centre[i * n + j, None], block.terms[i, j, None]) for j in range(n)])

    def inverse(parts: list[Correlation]) -> tuple[np.ndarray, float]:
        """Sums by s - t, in the order of `Diagonals`, and a bound of their rounding errors."""
        spectrum, size = _added(parts)
        sums = np.roll(fft.irfft(spectrum, length), starts - 1)[:count]
        return sums, EPS * (4 + math.log2(length)) * size

    out = Diagonals.zeros(block.distance - starts + 1, count)
    sums, error = inverse(parallel.map(cross, range(n), "correlations with g_T"))
    out.cross -= sums
    out.cross_error += error
    spectra: list[Correlation] = []
    for low in range(0, len(pairs), _SPECTRA):
        some = range(low, min(low + _SPECTRA, len(pairs)))
        spectra = [_added([*spectra, *parallel.map(square, some, "correlations")])]
    sums, error = inverse(spectra)
    out.square += sums
    out.square_error += error
    return out


def _added(parts: list[Correlation]) -> Correlation:
    spectrum = parts[0][0]
    for more, _ in parts[1:]:
        spectrum += more
    return spectrum, math.fsum(size for _, size in parts)
