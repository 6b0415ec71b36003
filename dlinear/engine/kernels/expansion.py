"""||g_T||^2 of blocks of layers near I from what one pass over the layers leaves: no layer is read twice.

In a block of l layers let X_t = W_a^t - I, T = X_l, M = P_a Q_b with Q_b = R^T W_b^T at the end of the block.
Then g_T(t)^T = (I + X_t) M (I + Y_t) for t = 0..l-1, and with V_t = T - X_{t+1}

    Y_t = W_{t+1}^b - I = (I + T)(I + X_{t+1})^{-1} - I = V_t - V_t X_{t+1} (I + X_{t+1})^{-1}.

To first order

    sum ||g_T(t)||^2 = l ||M||^2 + 2 <M, A M> + 2 <M, M B>,   A = sum X_t,  B = sum V_t = (l - 1) T - A.   (O)

With x^2 = sum ||X_t||^2 over t = 1..l and v^2 = sum ||V_t||^2 in Frobenius norms (each is at most x, v),
f = x + v and q = x v (1 + (1 + x)/(1 - x)), what is left out is at most

    (f^2 + 2 q + (2 f + q) q) ||M||^2.                                                                     (B)

For g_T(t)^T = M + F + G with F = X M + M V, G = X M V + (I + X) M (Y - V): left out are ||F||^2 + 2 <M, G> +
2 <F, G> + ||G||^2, and ||F|| <= (x_t + v_t) ||M||, ||G|| <= (x_t v_t + (1 + x_t) v_t x_{t+1}/(1 - x)) ||M||.
Sums of products are at most products of roots of sums of squares (Cauchy, Schwarz).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dlinear.engine.backends import Array
from dlinear.engine.kernels.library import Kernels, contiguous

TOLERANCE = 1e-10  # of what is left out, over l ||M||^2 of each block


@dataclass(frozen=True)
class Expansion:
    """What (O) needs of a chunk's blocks.

    Attributes:
        lengths: l of each block.
        totals: T, (blocks, n, n).
        sums: A, (blocks, n, n).
        error: the largest bound (B) over l ||M||^2.
    """

    lengths: np.ndarray
    totals: np.ndarray
    sums: np.ndarray
    error: float

    def square(self, kernels: Kernels, start: Array, end: Array) -> float:
        """(O) summed over the blocks, from P before the chunk and (W^T)^T R after it."""
        count = len(self.totals)
        before, after = np.empty((2, count + 1, *self.totals.shape[1:]))
        before[0], after[-1] = start, end.T
        kernels.call("states", self.totals, count, count, 1, before)
        kernels.call("costates", self.totals, count, count, 1, after)
        m = before[:-1] @ after[1:]
        lengths = self.lengths[:, None, None]
        change = self.sums @ m + m @ ((lengths - 1) * self.totals - self.sums)
        return float((m * (lengths * m + 2 * change)).sum())


def expansion(layers: np.ndarray, length: int, kernels: Kernels) -> Expansion:
    """The expansion of blocks of `length` layers, the last one shorter, in one pass."""
    layers = contiguous(layers)
    k = len(layers)
    count = -(-k // length)
    totals, sums = np.empty((2, count, *layers.shape[1:]))
    squares = np.empty(count)
    kernels.call("summed_fold", layers, k, length, count, totals, sums, squares)
    lengths = np.full(count, float(length))
    lengths[-1] = k - length * (count - 1)
    firsts = layers[::length]
    squares += np.einsum("bij,bij->b", firsts, firsts)
    sums -= totals  # X_1 + ... + X_l less X_l; X_0 = 0
    return Expansion(lengths, totals, sums, _left_out(lengths, totals, sums, squares))


def _left_out(lengths: np.ndarray, totals: np.ndarray, sums: np.ndarray, squares: np.ndarray) -> float:
    """The largest bound (B), over l; infinite where it says nothing."""
    # v^2 = sum ||T - X_t||^2, t = 1..l
    inner = np.einsum("bij,bij->b", totals, sums + totals)
    v = np.sqrt(np.maximum(0.0, lengths * np.einsum("bij,bij->b", totals, totals) - 2 * inner + squares))
    x = np.sqrt(squares)
    if not x.max() < 0.5:
        return float("inf")
    f, q = x + v, x * v * (1 + (1 + x) / (1 - x))
    return float(((f * f + 2 * q + (2 * f + q) * q) / lengths).max())
