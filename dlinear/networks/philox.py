"""Standard normals addressed by their index, so that any chunk of an ensemble is the same numbers.

Number `i` of stream `(seed, stream)` depends on nothing else: uniforms come from the counter-based
generator Philox4x64-10 (Salmon et al., SC 2011), four per counter value, and pairs (2k, 2k+1) become
normals by the Box-Muller transform with the half-angle tangent (one `tan` replaces sine and cosine).
A fixed number of uniforms per normal is what makes an index addressable; rejection samplers are not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

# (seed, stream, start, stop, scale): the numbers of a stream, scaled; ensembles take them from
# `scaled_normals`, or from a kernel that gives the same integers and normals to rounding
Normals = Callable[[int, int, int, int, float], np.ndarray]

WORDS = 4  # 64-bit words that Philox4x64 emits for one counter value
# Numbers are generated in aligned blocks: each is computed at the same place of its block whatever chunk asks
# for it (vectorised log and tan may round differently at the end of a loop), and a block stays in cache.
_BLOCK = 1 << 14


def standard_normals(seed: int, stream: int, start: int, stop: int) -> np.ndarray:
    """Numbers `start..stop-1` of stream `(seed, stream)`, shape (stop - start,), float64.

    `seed` and `stream` are integers in 0..2^64-1 (the two words of the Philox key).
    """
    first = start - start % _BLOCK
    out = np.empty(stop - start)
    # uniform number i is word i % 4 of the counter value i // 4
    key = np.array([seed, stream], dtype=np.uint64)
    philox = np.random.Philox(key=key, counter=first // WORDS)
    generator = np.random.Generator(philox)
    for block in range(first, stop, _BLOCK):
        normals = box_muller(generator.random(_BLOCK))
        low, high = max(start, block), min(stop, block + _BLOCK)
        out[low - start : high - start] = normals[low - block : high - block]
    return out


def scaled_normals(seed: int, stream: int, start: int, stop: int, scale: float) -> np.ndarray:
    """`standard_normals` times a factor: a `Normals`."""
    out = standard_normals(seed, stream, start, stop)
    out *= scale
    return out


def box_muller(uniforms: Any, xp: Any = np) -> Any:
    """Pairs of uniforms (u, v) on [0, 1) to pairs of independent standard normals, in numpy or torch.

    r cos(a) and r sin(a) with r = sqrt(-2 ln(1 - u)), a = 2 pi (v - 1/2), by t = tan(a/2):
    cos(a) = (1 - t^2)/(1 + t^2), sin(a) = 2t/(1 + t^2).
    """
    pairs = uniforms.reshape(-1, 2)
    radius = xp.sqrt(-2.0 * xp.log1p(-pairs[:, 0]))
    half_angle_tangent = xp.tan(np.pi * (pairs[:, 1] - 0.5))
    squared = half_angle_tangent * half_angle_tangent
    radius /= 1.0 + squared
    out = xp.empty_like(pairs)
    xp.multiply(radius, 1.0 - squared, out=out[:, 0])
    xp.multiply(2.0 * radius, half_angle_tangent, out=out[:, 1])
    return out.ravel()
