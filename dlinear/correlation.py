"""Sums over all pairs (t, s) of a block, by s - t: large matrix products for short blocks, FFT for long ones.

All windows of a block cross one layer p, so that -delta(t) for the window that ends at s is L_t^T Z_s P_t^T:

    <-delta, g_T(t)> = <C_t, Z_s>,                        C_t = L_t g_T(t) P_t
    ||delta||^2      = sum_{i<=k, j<=l} A_t[i,k] S_t[j,l] w_ik w_jl (Z_s[i,j] Z_s[k,l] + Z_s[i,l] Z_s[k,j])

with A = L L^T, S = P^T P, w = 2^(1/2) off the diagonal and 2^(-1/2) on it: n^2 and n^2 (n + 1)^2 / 4 channels, each
a number that depends on t times a number that depends on s. A pair costs one multiplication and addition a
channel in a matrix product, where it would cost 2 n^3 in two products of n x n matrices; over many pairs the sum
of each s - t is a cross-correlation, and the channels add up before the inverse FFT.

Both lose what cancels between channels; the sums come with a bound of their rounding error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from dlinear.products import Chunk
from dlinear.teams import Team

# Norms outside of this range (zero apart) would leave float64 as products of four.
_SMALL, _LARGE = 1e-60, 1e60
_BY_PRODUCTS = 96  # blocks with fewer layers than this on one side: n x n products have less overhead
_WIDE = 32  # from this width, n x n products take less time than channels
_GROUP = 1 << 20  # numbers of the arrays that are worked on at once, about the cache
_EPS = float(np.finfo(np.float64).eps)

Correlation = tuple[np.ndarray, float]  # a spectrum, and what bounds the size of its terms


class RangeError(ArithmeticError):
    """Products of the norms of L, Z and P leave the range of float64."""


@dataclass
class Diagonals:
    """Sums by s - t = first, first + 1, ...: <delta, g_T>, ||delta||^2, and bounds of their rounding errors."""

    first: int
    cross: np.ndarray
    square: np.ndarray
    cross_error: np.ndarray
    square_error: np.ndarray

    @classmethod
    def zeros(cls, first: int, count: int) -> Diagonals:
        """Nothing summed yet."""
        return cls(first, *(np.zeros(count) for _ in range(4)))

    def __iadd__(self, other: Diagonals) -> Diagonals:
        at = other.first - self.first
        for name in ("cross", "square", "cross_error", "square_error"):
            values = getattr(other, name)
            getattr(self, name)[at : at + len(values)] += values
        return self


@dataclass
class Starts:
    """What depends on the windows' first layers t = first, first + 1, ..., k of them.

    Attributes:
        left: L_t^T, (k, n, n).
        states: P_t, (k, n, n).
        centre: C_t, (n^2, k).
    """

    first: int
    left: np.ndarray
    states: np.ndarray
    gradients: np.ndarray
    centre: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        inner = self.left.swapaxes(1, 2) @ self.gradients @ self.states
        self.centre = np.ascontiguousarray(inner.reshape(len(inner), -1).T)

    def __len__(self) -> int:
        return len(self.left)

    def grams(self) -> tuple[np.ndarray, np.ndarray]:
        """w A and w S for the pairs of indices i <= k, each (n (n + 1)/2, k)."""
        check_range(self.left)
        check_range(self.states)
        return packed(self.left), packed(self.states)


@dataclass
class Ends:
    """What depends on the windows' ends s = first, first + 1, ..., k of them: Z_s, (n, n, k)."""

    first: int
    terms: np.ndarray

    @classmethod
    def of(cls, first: int, terms: np.ndarray) -> Ends:
        """From Z_s as (k, n, n)."""
        check_range(terms)
        return cls(first, np.ascontiguousarray(np.moveaxis(terms, 0, -1)))

    def __len__(self) -> int:
        return int(self.terms.shape[-1])


def check_range(matrices: np.ndarray) -> None:
    """Raise `RangeError` where a product of four such matrices might not be a float64 number."""
    norms = np.abs(matrices).max(axis=(1, 2))
    if ((norms > _LARGE) | ((norms < _SMALL) & (norms > 0))).any():
        raise RangeError


def packed(factors: np.ndarray) -> np.ndarray:
    """w_ij (F^T F)[i, j] for i <= j, shape (n (n + 1)/2, k), of F with shape (k, n, n)."""
    n = factors.shape[-1]
    rows, columns = np.triu_indices(n)
    grams = (factors.swapaxes(1, 2) @ factors)[:, rows, columns]
    weights = np.where(rows == columns, math.sqrt(0.5), math.sqrt(2.0))
    return np.ascontiguousarray((grams * weights).T)


def end_channels(terms: np.ndarray, i: int, k: int, j: int) -> np.ndarray:
    """Z[i,j] Z[k,l] + Z[i,l] Z[k,j] for l = j..n-1, shape (n - j, s)."""
    out: np.ndarray = terms[i, j] * terms[k, j:]
    out += terms[i, j:] * terms[k, j] if i != k else out
    return out


# --- direct ----------------------------------------------------------------------------------------------


def by_pairs(starts: Starts, ends: Ends) -> Diagonals:
    """The sums of a block with every pair worked out."""
    n = ends.terms.shape[0]
    out = Diagonals.zeros(ends.first - starts.first - len(starts) + 1, len(starts) + len(ends) - 1)
    flat = ends.terms.reshape(n * n, -1)
    out.cross -= diagonal_sums(starts.centre.T @ flat)
    z, c = np.linalg.norm(flat, axis=0), np.linalg.norm(starts.centre, axis=0)
    out.cross_error += 8 * _EPS * np.correlate(z, c, "full")
    if n > _WIDE or min(len(starts), len(ends)) < _BY_PRODUCTS:
        out.square += diagonal_sums(_squares_by_products(starts, ends))
        return out
    a, s = starts.grams()
    pairs = list(zip(*np.triu_indices(n), strict=True))
    values = np.zeros((len(starts), len(ends)))
    width = len(s)
    group = max(1, _GROUP // (width * max(values.shape)))
    for at in range(0, width, group):
        here = pairs[at : at + group]
        of_starts = (a[at : at + group, None] * s).reshape(-1, len(starts))
        of_ends = np.empty((len(here) * width, len(ends)))
        place = 0
        for i, k in here:
            for j in range(n):
                of_ends[place : place + n - j] = end_channels(ends.terms, i, k, j)
                place += n - j
        values += of_starts.T @ of_ends
    out.square += diagonal_sums(values)
    # |A|_F |S|_F |Z|_F^2 bounds the sum of the absolute values of all channels
    bound = np.linalg.norm(a, axis=0) * np.linalg.norm(s, axis=0)
    out.square_error += 8 * _EPS * np.correlate(z * z, bound, "full")
    return out


def _squares_by_products(starts: Starts, ends: Ends) -> np.ndarray:
    """||L_t^T Z_s P_t^T||^2, (t, s), by a product of all L with all Z and one product for each P."""
    n, count = ends.terms.shape[0], len(ends)
    right = np.ascontiguousarray(ends.terms.transpose(0, 2, 1)).reshape(n, count * n)
    values = np.empty((len(starts), count))
    step = max(1, _GROUP // right.size)
    for at in range(0, len(starts), step):
        left, states = starts.left[at : at + step], starts.states[at : at + step]
        inner = (left.reshape(-1, n) @ right).reshape(len(left), n * count, n)
        whole = (inner @ states.swapaxes(1, 2)).reshape(len(left), n, count, n)
        values[at : at + step] = np.einsum("tisj,tisj->ts", whole, whole)
    return values


def diagonal_sums(values: np.ndarray) -> np.ndarray:
    """Sums of values[t, s] over s - t = -(rows - 1)..columns - 1: each row one place to the right of the next."""
    rows, columns = values.shape
    count = rows + columns - 1
    skewed = np.zeros(rows * count)
    view = np.lib.stride_tricks.as_strided(
        skewed[rows - 1 :], shape=values.shape, strides=((count - 1) * 8, 8)
    )
    view[:] = values
    sums: np.ndarray = skewed.reshape(rows, count).sum(axis=0)
    return sums


@dataclass
class TileArrays:
    """Consecutive layers and what is known of each: D, P_t, g_T(t), Y_s, all (k, n, n)."""

    first: int
    layers: np.ndarray
    states: np.ndarray
    gradients: np.ndarray
    terms: np.ndarray

    def starts(self, low: int, high: int, after: np.ndarray) -> Starts:
        """Of layers low..high-1 (counted from the tile's first), `after` = W_high^p."""
        left = Chunk(self.layers[low:high]).costates(after.T)[1:]
        return Starts(self.first + low, left, self.states[low:high], self.gradients[low:high])

    def ends(self, low: int, high: int, before: np.ndarray) -> Ends:
        """Of s = low..high-1 (counted from the tile's first), `before` = W_p^low."""
        windows = Chunk(self.layers[low:high]).states(before)[:-1]
        return Ends.of(self.first + low, windows.swapaxes(1, 2) @ self.terms[low:high])

    def within(self, length: int) -> Diagonals:
        """All pairs t < s of the tile; the shortest windows in blocks of `length` layers."""
        count, eye = len(self.layers), np.eye(self.layers.shape[-1])
        out = Diagonals.zeros(1, max(count - 1, length - 1))
        out += self._short(length)

        def halves(low: int, high: int) -> None:
            if high - low <= length:
                return
            split = low + length * -(-(high - low) // (2 * length))
            nonlocal out
            out += by_pairs(self.starts(low, split, eye), self.ends(split, high, eye))
            halves(low, split)
            halves(split, high)

        halves(0, count)
        return out

    def _short(self, length: int) -> Diagonals:
        """Pairs within blocks of `length` layers, all blocks at once, by the window products themselves."""
        k, n, _ = self.layers.shape
        blocks = -(-k // length)

        def padded(values: np.ndarray) -> np.ndarray:
            out = np.zeros((blocks * length, n, n))
            out[:k] = values
            return out.reshape(blocks, length, n, n)

        layers, gradients, terms = padded(self.layers), padded(self.gradients), padded(self.terms)
        states = padded(self.states).swapaxes(2, 3)
        window = np.broadcast_to(np.eye(n), layers.shape)  # W_{t+1}^{t+h}
        out = Diagonals.zeros(1, length - 1)
        for h in range(1, length):
            count = length - h
            window = window[:, :count]
            minus_delta = window.swapaxes(2, 3) @ terms[:, h:] @ states[:, :count]
            out.cross[h - 1] = -np.vdot(minus_delta, gradients[:, :count])
            out.square[h - 1] = np.vdot(minus_delta, minus_delta)
            window = window + layers[:, h:] @ window
        return out


# --- FFT -------------------------------------------------------------------------------------------------


@dataclass
class Channels:
    """A long block: what each channel is a product of, with t and s along the last axis.

    Attributes:
        distance: the first s less the first t.
        left, states: `Starts.grams`, (n (n + 1)/2, starts).
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

    def put_starts(self, at: int, starts: Starts) -> None:
        """Those of `starts` from place `at`."""
        here = slice(at, at + len(starts))
        self.centre[:, here] = starts.centre
        self.left[:, here], self.states[:, here] = starts.grams()

    def put_ends(self, at: int, ends: Ends) -> None:
        """Those of `ends` from place `at`."""
        self.terms[..., at : at + len(ends)] = ends.terms


def by_fft(block: Channels, team: Team) -> Diagonals:
    """The sums of a block by cross-correlation; absolute accuracy, so for blocks of comparable terms."""
    from scipy import fft

    n, starts, ends = len(block.terms), block.centre.shape[1], block.terms.shape[2]
    count = starts + ends - 1
    length = fft.next_fast_len(count, real=True)
    pairs = list(zip(*np.triu_indices(n), strict=True))
    step = max(1, _GROUP // length)

    def correlate(of_starts: np.ndarray, of_ends: np.ndarray) -> Correlation:
        size = float(np.linalg.norm(of_starts, axis=1) @ np.linalg.norm(of_ends, axis=1))
        spectrum = fft.rfft(of_starts, length)
        np.conjugate(spectrum, out=spectrum)
        spectrum *= fft.rfft(of_ends, length)
        return spectrum.sum(axis=0), size

    def square(index: int) -> Correlation:
        (i, k), at, parts = pairs[index], 0, []
        for j in range(n):
            of_ends = end_channels(block.terms, i, k, j)
            for low in range(0, n - j, step):
                chosen = block.states[at + low : min(at + low + step, at + n - j)]
                parts.append(correlate(block.left[index] * chosen, of_ends[low : low + step]))
            at += n - j
        return _added(parts)

    def cross(i: int) -> Correlation:
        return _added([correlate(block.centre[i * n + j, None], block.terms[i, j, None]) for j in range(n)])

    def inverse(parts: list[Correlation]) -> tuple[np.ndarray, float]:
        spectrum, size = _added(parts)
        sums = np.roll(fft.irfft(spectrum, length), starts - 1)[:count]
        return sums, _EPS * math.log2(length) * size

    out = Diagonals.zeros(block.distance - starts + 1, count)
    sums, error = inverse(team.map(cross, range(n), "correlations with g_T"))
    out.cross -= sums
    out.cross_error += error
    sums, error = inverse(team.map(square, range(len(pairs)), "correlations"))
    out.square += sums
    out.square_error += error
    return out


def _added(parts: list[Correlation]) -> Correlation:
    spectrum = parts[0][0]
    for more, _ in parts[1:]:
        spectrum += more
    return spectrum, math.fsum(size for _, size in parts)
