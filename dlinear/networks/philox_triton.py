"""The numbers of `philox` in one launch on a GPU: Philox4x64-10 and Box-Muller in registers, by Triton.

Equal to numpy's to rounding: 1 - u is exact for a uniform u of 53 bits, so that log(1 - u) is log1p(-u), and
r cos(a), r sin(a) are what `philox.box_muller` computes by the tangent of a/2.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import triton
import triton.language as tl

COUNTERS = 256  # counter values of one program, each four numbers
WORDS = 4
LAUNCH = threading.Lock()  # one thread compiles or launches at a time


@triton.jit(do_not_specialize=["first", "start", "stop", "low0", "high0", "low1", "high1", "factor"])
def _normals(
    out,
    first: tl.int64,  # all integers of 64 bits: one kernel for numbers on both sides of 2^31
    start: tl.int64,
    stop: tl.int64,
    low0: tl.int64,
    high0: tl.int64,
    low1: tl.int64,
    high1: tl.int64,
    factor: tl.int64,
    size: tl.constexpr,
):
    """out[i - start] = factor * (number i), start <= i < stop.

    `first` is the counter value of number start; `factor` holds the bits of a float64, for Triton would take
    a Python float as float32.
    """
    place = tl.program_id(0).to(tl.int64) * size + tl.arange(0, size).to(tl.int64)
    counter = (place + first + 1).to(tl.uint64)  # numpy adds one before each four words
    zero = counter * 0
    key0 = zero + ((high0.to(tl.uint64) << 32) | low0.to(tl.uint64))
    key1 = zero + ((high1.to(tl.uint64) << 32) | low1.to(tl.uint64))
    a, b, c, d = tl.philox_impl(counter, zero, zero, zero, key0, key1, 10)
    z0, z1 = _pair(a, b)
    z2, z3 = _pair(c, d)
    # word w of counter value k is number 4 k + w
    numbers = tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))
    numbers *= factor.to(tl.int64).to(tl.float64, bitcast=True)
    index = (tl.program_id(0).to(tl.int64) * size + first) * 4 + tl.arange(0, 4 * size).to(tl.int64)
    tl.store(out + (index - start), numbers, mask=(index >= start) & (index < stop))


@triton.jit
def _pair(u, v):
    """Two words to two independent normals."""
    unit: tl.constexpr = 1.1102230246251565e-16  # 2^-53
    radius = tl.sqrt(-2.0 * tl.log(1.0 - (u >> 11).to(tl.float64) * unit))
    angle = 6.283185307179586 * ((v >> 11).to(tl.float64) * unit - 0.5)
    return radius * tl.cos(angle), radius * tl.sin(angle)


def fill_normals(out: Any, seed: int, stream: int, start: int, stop: int, factor: float = 1.0) -> None:
    """out[i] = factor times number start + i of stream (seed, stream), i = 0..stop - start - 1.

    Args:
        out: float64 tensor on the device, (stop - start,), contiguous.
    """
    if stop == start:
        return
    first = start // WORDS
    programs = triton.cdiv(-(-stop // WORDS) - first, COUNTERS)
    halves = [part for word in (seed, stream) for part in (int(word) & 0xFFFFFFFF, int(word) >> 32)]
    bits = int(np.float64(factor).view(np.int64))
    with LAUNCH:
        _normals[(programs,)](out, first, start, stop, *halves, bits, size=COUNTERS, num_warps=4)
