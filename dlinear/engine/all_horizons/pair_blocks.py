"""Inner products over all pairs (t, s) of a block of layers and window ends, by s - t, every pair computed.

All windows of a block cross one layer p, so that -delta(t) for the window that ends at s is L_t^T Z_s P_t^T:

    <-delta, g_T(t)> = <C_t, Z_s>,                        C_t = L_t g_T(t) P_t
    ||delta||^2      = sum_{i<=k, j<=l} A_t[i,k] S_t[j,l] w_ik w_jl (Z_s[i,j] Z_s[k,l] + Z_s[i,l] Z_s[k,j])

with A = L L^T, S = P^T P, w = 2^(1/2) off the diagonal and 2^(-1/2) on it: n^2 and n^2 (n + 1)^2 / 4
channels, each a number that depends on t times a number that depends on s. So a block is one large matrix
product; n x n products take 4 n^3 operations a pair at a lower rate and serve short blocks and large n.

Channels that cancel lose digits: their sums come with a bound of the rounding error.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import numpy as np

from dlinear.engine.products import Chunk

# Norms outside of this range (zero apart) would leave float64 as products of four.
_SMALL, _LARGE = 1e-60, 1e60
_BY_PRODUCTS = 96  # blocks with fewer layers than this on one side: n x n products have less overhead
_WIDE = 14  # above this width, n x n products take less time than channels
GROUP = 1 << 18  # numbers of the arrays in one step, about the cache
EPS = float(np.finfo(np.float64).eps)
_ROUNDING = 8 * EPS  # of a matrix product, over the sum of its terms' absolute values


@dataclass
class Diagonals:
    """Sums by s - t = first, first + 1, ... of <delta, g_T> and ||delta||^2, and bounds of their rounding."""

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
        inner = self.left.swapaxes(1, 2) @ self.gradients @ self.states  # C_t = L_t g_T(t) P_t
        self.centre = np.ascontiguousarray(inner.reshape(len(inner), -1).T)

    def __len__(self) -> int:
        return len(self.left)

    @property
    def in_range(self) -> bool:
        """Whether their channels are float64 numbers."""
        return in_range(self.left) and in_range(self.states)

    def grams(self) -> tuple[np.ndarray, np.ndarray]:
        """w A and w S for the pairs of indices i <= k, each (n (n + 1)/2, k)."""
        return packed(self.left), packed(self.states)


@dataclass
class Ends:
    """What depends on the windows' ends s = first, first + 1, ..., k of them: Z_s, (n, n, k)."""

    first: int
    terms: np.ndarray

    @classmethod
    def of(cls, first: int, terms: np.ndarray) -> Ends:
        """From Z_s as (k, n, n)."""
        return cls(first, np.ascontiguousarray(np.moveaxis(terms, 0, -1)))

    def __len__(self) -> int:
        return int(self.terms.shape[-1])

    @property
    def in_range(self) -> bool:
        """Whether their channels are float64 numbers."""
        return in_range(np.moveaxis(self.terms, -1, 0))


def in_range(matrices: np.ndarray) -> bool:
    """Whether products of four such matrices, (k, n, n), stay in float64, zeros apart."""
    norms = np.abs(matrices).max(axis=(1, 2))
    return bool(((norms == 0) | ((norms >= _SMALL) & (norms <= _LARGE))).all())


def packed(factors: np.ndarray) -> np.ndarray:
    """w_ij (F^T F)[i, j] for i <= j, shape (n (n + 1)/2, k), of F with shape (k, n, n)."""
    n = factors.shape[-1]
    rows, columns = np.triu_indices(n)
    # F = L^T gives A = L L^T, F = P gives S = P^T P; both are symmetric, so the pairs i <= j say all
    grams = (factors.swapaxes(1, 2) @ factors)[:, rows, columns]
    weights = np.where(rows == columns, math.sqrt(0.5), math.sqrt(2.0))
    return np.ascontiguousarray((grams * weights).T)


def index_pairs(n: int) -> list[tuple[int, int]]:
    """(i, k) with i <= k, in the order of `packed`."""
    return list(itertools.combinations_with_replacement(range(n), 2))


def end_channels(terms: np.ndarray, i: int, k: int, j: int) -> np.ndarray:
    """Z[i,j] Z[k,l] + Z[i,l] Z[k,j] for l = j..n-1, shape (n - j, s)."""
    out: np.ndarray = terms[i, j] * terms[k, j:]
    out += terms[i, j:] * terms[k, j] if i != k else out
    return out


def by_pairs(starts: Starts, ends: Ends, channels: bool = True) -> Diagonals:
    """The sums of a block with every pair computed; without `channels`, as accurate as a single horizon."""
    n = len(ends.terms)
    out = Diagonals.zeros(ends.first - starts.first - len(starts) + 1, len(starts) + len(ends) - 1)
    few = min(len(starts), len(ends)) < _BY_PRODUCTS
    if not channels or n > _WIDE or few or not (starts.in_range and ends.in_range):
        cross, square = _by_products(starts, ends)
        out.cross -= diagonal_sums(cross)
        out.square += diagonal_sums(square)
        return out
    # <-delta, g_T(t)> = <C_t, Z_s>, and ||delta||^2 by its channels
    flat = ends.terms.reshape(n * n, -1)
    out.cross -= diagonal_sums(starts.centre.T @ flat)
    a, s = starts.grams()
    out.square += diagonal_sums(_by_channels(a, s, ends.terms))
    # rounding: |C_t|_F |Z_s|_F bounds the terms of the first,
    z, c = np.linalg.norm(flat, axis=0), np.linalg.norm(starts.centre, axis=0)
    out.cross_error += _ROUNDING * np.correlate(z, c, "full")
    # and |A|_F |S|_F |Z|_F^2 the sum of the absolute values of all channels of the second
    bound = np.linalg.norm(a, axis=0) * np.linalg.norm(s, axis=0)
    out.square_error += _ROUNDING * np.correlate(z * z, bound, "full")
    return out


def _by_channels(a: np.ndarray, s: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """||L_t^T Z_s P_t^T||^2, (t, s): the channels of t times those of s."""
    n, width = len(terms), len(s)
    pairs = index_pairs(n)
    values = np.zeros((s.shape[1], terms.shape[2]))
    group = max(1, GROUP // (width * max(values.shape)))
    for at in range(0, width, group):
        # the pairs i <= k of this group times all j <= l, in the order of `packed`
        of_starts = (a[at : at + group, None] * s).reshape(-1, len(values))
        rows = [end_channels(terms, i, k, j) for i, k in pairs[at : at + group] for j in range(n)]
        values += of_starts.T @ np.concatenate(rows)
    return values


def _by_products(starts: Starts, ends: Ends) -> tuple[np.ndarray, np.ndarray]:
    """<-delta, g_T> and ||delta||^2, (t, s): a product of all L with all Z and one product for each P."""
    n, count = len(ends.terms), len(ends)
    right = np.ascontiguousarray(ends.terms.transpose(0, 2, 1)).reshape(n, count * n)
    cross, square = np.empty((2, len(starts), count))
    step = max(1, GROUP // right.size)
    for at in range(0, len(starts), step):
        here = slice(at, at + step)
        # -delta = (L_t^T Z_s) P_t^T: every L_t^T of the group with every Z_s, then each t with its P_t^T
        inner = (starts.left[here].reshape(-1, n) @ right).reshape(-1, n * count, n)
        whole = (inner @ starts.states[here].swapaxes(1, 2)).reshape(-1, n, count, n)
        np.einsum("tisj,tij->ts", whole, starts.gradients[here], out=cross[here])
        np.einsum("tisj,tisj->ts", whole, whole, out=square[here])
    return cross, square


def diagonal_sums(values: np.ndarray) -> np.ndarray:
    """Sums of values[t, s] by s - t = -(rows - 1)..columns - 1: rows moved by one place each, then added."""
    rows, columns = values.shape
    count = rows + columns - 1
    # Row t is written rows - 1 - t places to the right: column j holds the pairs with s - t = j - rows + 1.
    skewed = np.zeros(rows * count)
    view = np.lib.stride_tricks.as_strided(
        skewed[rows - 1 :], shape=values.shape, strides=((count - 1) * 8, 8)
    )
    view[:] = values
    sums: np.ndarray = skewed.reshape(rows, count).sum(axis=0)
    return sums


@dataclass
class TileArrays:
    """Consecutive layers and, of each, D(t), P_t, g_T(t) and Y_s, all (k, n, n)."""

    first: int
    layers: np.ndarray
    states: np.ndarray
    gradients: np.ndarray
    terms: np.ndarray

    def starts(self, low: int, high: int, after: np.ndarray) -> Starts:
        """Of layers low..high-1 (counted from the tile's first), from `after` = W_high^p: L_t = W_{t+1}^p."""
        left = Chunk(self.layers[low:high]).costates(after.T)[1:]
        return Starts(self.first + low, left, self.states[low:high], self.gradients[low:high])

    def ends(self, low: int, high: int, before: np.ndarray) -> Ends:
        """Of s = low..high-1 (counted from the tile's first), from `before` = W_p^low: Z_s = U_s^T Y_s."""
        windows = Chunk(self.layers[low:high]).states(before)[:-1]
        return Ends.of(self.first + low, windows.swapaxes(1, 2) @ self.terms[low:high])

    def within(self, length: int, channels: bool = True) -> Diagonals:
        """All pairs t < s of the tile; the shortest windows in blocks of `length` layers."""
        count, eye = len(self.layers), np.eye(self.layers.shape[-1])
        out = Diagonals.zeros(1, max(count - 1, length - 1))
        out += self._short(length)

        def halves(low: int, high: int) -> None:
            if high - low <= length:
                return
            split = low + length * -(-(high - low) // (2 * length))
            nonlocal out
            out += by_pairs(self.starts(low, split, eye), self.ends(split, high, eye), channels)
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
            minus_delta = window.swapaxes(2, 3) @ terms[:, h:] @ states[:, :count]  # (W_{t+1}^s)^T Y_s P_t^T
            out.cross[h - 1] = -np.vdot(minus_delta, gradients[:, :count])
            out.square[h - 1] = np.vdot(minus_delta, minus_delta)
            window = window + layers[:, h:] @ window  # W_{t+1}^{t+h+1} = (I + D(t+h)) W_{t+1}^{t+h}
        return out
