"""The numbers of `philox`, generated on a torch device: equal to numpy's to rounding, whatever the device.

Philox4x64-10 in signed 64-bit integers that wrap around (torch multiplies no unsigned ones). Ten rounds of a
few operations on whole arrays; where there is Triton, `philox_triton` does the same in one launch.

A round takes the words (c0, c1, c2, c3) and the key (k0, k1) to

    ( high(M1 c2) ^ c1 ^ k0,  low(M1 c2),  high(M0 c0) ^ c3 ^ k1,  low(M0 c0) )

and adds the Weyl constants to the key (Salmon et al., SC 2011).
"""

from __future__ import annotations

import functools
import importlib.util
import os
from typing import Any

import numpy as np

from dlinear.networks.philox import WORDS, box_muller

Tensor = Any
Words = tuple[Tensor, Tensor, Tensor, Tensor]

_ROUNDS = 10
_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)  # of Salmon et al., SC 2011
_WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)  # added to the key after each round
_LOW = 0xFFFFFFFF


def philox(counter: Words, key: tuple[int, int]) -> Words:
    """The four 64-bit words of Philox4x64-10 at each counter value.

    Args:
        counter: its four words, lowest first, int64 tensors that broadcast (the bits of unsigned ones).
        key: two integers in 0..2^64-1.

    Returns:
        int64 tensors that hold the bits of the unsigned words. `numpy.random.Philox(key, counter)` adds one
        to its counter before each four words.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = (int(word) for word in key)  # numpy integers would overflow
    for _ in range(_ROUNDS):
        high0, low0 = _multiply(c0, _MULTIPLIERS[0])
        high1, low1 = _multiply(c2, _MULTIPLIERS[1])
        c0, c1 = (high1 ^ c1).bitwise_xor_(_signed(k0)), low1
        c2, c3 = (high0 ^ c3).bitwise_xor_(_signed(k1)), low0
        k0, k1 = k0 + _WEYL[0], k1 + _WEYL[1]
    return c0, c1, c2, c3


def standard_normals_on(
    device: str, seed: int, stream: int, start: int, stop: int, factor: float = 1.0
) -> Tensor:
    """`factor` times numbers start..stop-1 of stream (seed, stream) of `philox.standard_normals`.

    float64; in one launch where `compiled_on` says so, else by operations on whole arrays.
    """
    import torch

    if compiled_on(device):
        from dlinear.networks.philox_triton import fill_normals

        out = torch.empty(stop - start, dtype=torch.float64, device=device)
        with torch.cuda.device_of(out):  # type: ignore[no-untyped-call]  # kernels are launched on the current device
            fill_normals(out, seed, stream, start, stop, factor)
        return out
    first = start - start % WORDS
    counters = torch.arange(first // WORDS + 1, -(-stop // WORDS) + 1, device=device)
    zero = torch.zeros(1, dtype=torch.int64, device=device)
    words = torch.stack(philox((counters, zero, zero, zero), (seed, stream)), dim=1)
    uniforms = _shifted(words, 11).to(torch.float64) * 2.0**-53  # the upper 53 bits, as numpy takes them
    normals = box_muller(uniforms.reshape(-1), torch)[start - first : stop - first]
    return normals if factor == 1 else normals.mul_(factor)


def compiled_on(device: str) -> bool:
    """Whether kernels are compiled for a device: CUDA with Triton, unless DLINEAR_GPU_KERNELS is "off".

    With TRITON_INTERPRET=1 Triton runs on tensors of the CPU, slowly, for tests.
    """
    if os.environ.get("DLINEAR_GPU_KERNELS") == "off" or not _triton():
        return False
    return device.startswith("cuda") or os.environ.get("TRITON_INTERPRET") == "1"


@functools.cache
def _triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def on_device(values: np.ndarray, device: str) -> Tensor:
    """A numpy array as a tensor on the device."""
    import torch

    return torch.as_tensor(np.ascontiguousarray(values)).to(device)


def haar(gaussian: Tensor) -> Tensor:
    """The orthogonal factors of (k, n, n) Gaussian matrices, as `networks.OrthogonalNetwork` takes them."""
    import torch

    q, r = torch.linalg.qr(gaussian)
    signs = torch.where(r.diagonal(dim1=1, dim2=2) < 0, -1.0, 1.0).to(q.dtype)
    return q * signs[:, None, :]


def _multiply(x: Tensor, multiplier: int) -> tuple[Tensor, Tensor]:
    """High and low word of the 128-bit products of unsigned words, by halves of 32 bits.

    With x = x1 2^32 + x0 and m = m1 2^32 + m0: middle = x1 m0 + high(x0 m0), and the high word is
    x1 m1 + high(middle) + high(low(middle) + x0 m1); no sum exceeds 64 bits.
    """
    m_high, m_low = multiplier >> 32, multiplier & _LOW
    x_high, x_low = _shifted(x, 32), x & _LOW
    middle = _shifted(x_low * m_low, 32).add_(x_high * m_low)
    upper = _shifted(middle, 32)
    middle.bitwise_and_(_LOW).add_(x_low.mul_(m_high))
    high = x_high.mul_(m_high).add_(upper).add_(_shifted(middle, 32))
    return high, x * _signed(multiplier)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """x >> bits without its sign."""
    return (x >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def _signed(word: int) -> int:
    """The int64 with the bits of a word (taken modulo 2^64)."""
    word %= 1 << 64
    return word - (1 << 64) if word >> 63 else word
