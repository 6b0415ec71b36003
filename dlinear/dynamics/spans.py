"""Products of consecutive layers of many networks at once, from any start, of any length.

A stack of B networks is one array (B, T, n, n) of deviations, W(t) = I + D(t). The products of 2^k layers
from every start come from those of 2^(k-1); a product of any length is made of them by the binary digits of
the length. So all products of all networks take log2(T) rounds of batched multiplication and no loop over
layers. Wide layers (n >= 16 or so) are faster one network at a time: the scans of `dlinear.engine.products`
take fewer multiplications.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dlinear.engine.products import compose

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def spans(deviations: Floats, starts: Integers, lengths: Integers) -> Floats:
    """W_a^{a+l} - I for a = starts, l = lengths, (B, K, n, n); a length 0 gives 0.

    Args:
        deviations: (B, T, n, n).
        starts: a, (B, K), 0 <= a and a + l <= T.
        lengths: l >= 0, (B, K).
    """
    stacks, count = starts.shape
    out = np.zeros((stacks, count, *deviations.shape[-2:]))
    place, table = starts.copy(), deviations
    longest = int(lengths.max(initial=0))
    for digit in range(longest.bit_length()):
        # table[:, a] is W_a^{a + 2^digit} - I
        which = np.nonzero(lengths >> digit & 1)
        out[which] = compose(table[which[0], place[which]], out[which])
        place[which] += 1 << digit
        if longest >> (digit + 1):
            half = 1 << digit
            table = compose(table[:, half:], table[:, :-half])
    return out
