"""The kernels of a width as functions of numpy arrays: contiguous float64, layers (k, n, n)."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from dlinear.engine.kernels import host, normals, sweeps, truncation
from dlinear.engine.kernels.ir import Code, module
from dlinear.engine.kernels.matrices import Writer
from dlinear.networks.philox import WORDS

WIDEST = 64  # above, BLAS is as fast
_NARROW = 16  # widths below have rows of 4 numbers: vectors of 8 would be empty in part
_TILE = 64  # layers of which P, L and g_T stay in cache while all horizons use them
_SOURCES: dict[str, Callable[[Writer], Code]] = {
    "fold": functools.partial(sweeps.fold, summed=False),
    "summed_fold": functools.partial(sweeps.fold, summed=True),
    "states": functools.partial(sweeps.forward, affine=False),
    "prefixes": functools.partial(sweeps.forward, affine=True),
    "costates": functools.partial(sweeps.backward, affine=False),
    "suffixes": functools.partial(sweeps.backward, affine=True),
    "gradients": functools.partial(sweeps.gradients, kept=False),
    "kept_gradients": functools.partial(sweeps.gradients, kept=True),
    "near": functools.partial(truncation.signals, case="near", turned=False),
    "plain": functools.partial(truncation.signals, case="plain", turned=False),
    "anchored": functools.partial(truncation.signals, case="anchored", turned=False),
    "near_turned": functools.partial(truncation.signals, case="near", turned=True),
    "plain_turned": functools.partial(truncation.signals, case="plain", turned=True),
    "anchored_turned": functools.partial(truncation.signals, case="anchored", turned=True),
    "deltas": truncation.deltas,
}


class Kernels:
    """The compiled kernels of one width; each is compiled when it is first called."""

    def __init__(self, n: int, lanes: int, registers: int) -> None:
        self.n = n
        self._functions: dict[str, Callable[..., None]] = {}
        self._shape, self._lock = (n, lanes, registers), threading.Lock()

    def call(self, name: str, *arguments: int | np.ndarray) -> None:
        """Call a kernel with integers and with arrays that are contiguous float64."""
        found = self._functions.get(name) or self._compiled(name)
        found(*(at(value) if isinstance(value, np.ndarray) else int(value) for value in arguments))

    def compile(self) -> None:
        """Compile all kernels of this width now."""
        for name in _SOURCES:
            self._compiled(name)

    def _compiled(self, name: str) -> Callable[..., None]:
        with self._lock:
            if name not in self._functions:
                n, lanes, registers = self._shape
                code = _SOURCES[name](Writer(n, lanes, registers))
                address = host.compiled(module([code], lanes))(name)
                self._functions[name] = host.function(address, code.arguments)
        return self._functions[name]


@functools.cache
def kernels_of(n: int) -> Kernels | None:
    """The kernels of a width; None where this host has none, or numpy is as fast."""
    here = host.host()
    if here is None or n > WIDEST:
        return None
    n = int(n)  # a network may say numpy's integers
    return Kernels(n, min(here.lanes, 4) if n < _NARROW else here.lanes, here.registers)


def at(array: np.ndarray) -> int:
    """The address of a contiguous array of float64 or int64."""
    assert array.itemsize == 8, array.dtype  # float64, or addresses
    assert array.flags.c_contiguous, array.strides
    address: Any = array.__array_interface__["data"][0]
    return int(address)


def contiguous(array: Any) -> np.ndarray:
    """Float64 numbers that lie one after another."""
    found: np.ndarray = np.ascontiguousarray(array, dtype=np.float64)
    return found


def delta_sums(
    kernels: Kernels, missed: list[int], signals: list[np.ndarray], layers: tuple[np.ndarray, ...]
) -> np.ndarray:
    """<-delta, g_T> and ||delta||^2 of each horizon over its first `missed` layers, (horizons, 2).

    Args:
        missed: how many layers of the chunk each horizon misses.
        signals: its Z_s for these, (missed, n, n).
        layers: P_t, L_t and g_T(t)^T of the chunk's layers, (k, n, n) each.
    """
    signals = [contiguous(each) for each in signals]
    addresses = np.array([at(each) for each in signals], dtype=np.int64)
    count = max(missed)
    length = min(_TILE, max(1, count))
    out = np.empty((-(-count // length), len(missed), 2))
    given = (np.array(missed, dtype=np.int64), addresses, *map(contiguous, layers))
    kernels.call("deltas", count, length, len(missed), *given, out)
    found: np.ndarray = out.sum(axis=0)
    return found


@functools.cache
def _generator(name: str) -> Callable[..., None] | None:
    """The kernel `normals` or `words`, or None."""
    here = host.host()
    if here is None:
        return None
    code = normals.normals(here.lanes) if name == "normals" else normals.words()
    return host.function(host.compiled(module([code], here.lanes))(name), code.arguments)


def scaled_normals(seed: int, stream: int, start: int, stop: int, scale: float) -> np.ndarray:
    """`networks.philox.scaled_normals` by a kernel: from the same integers, equal to rounding."""
    generate = _generator("normals")
    assert generate is not None
    first = start // WORDS
    quads = -(-stop // WORDS) - first
    room = np.empty(WORDS * -(-quads // normals.TILE) * normals.TILE)
    generate(_signed(seed), _signed(stream), first, quads, int(np.float64(scale).view(np.int64)), at(room))
    return room[start - first * WORDS : stop - first * WORDS]


def philox_words(seed: int, stream: int, first: int, quads: int) -> np.ndarray:
    """The four words of each counter first + 1, ..., first + quads, (quads, 4), uint64."""
    generate = _generator("words")
    assert generate is not None
    out = np.empty((quads, WORDS), dtype=np.uint64)
    generate(_signed(seed), _signed(stream), first, quads, at(out))
    return out


def _signed(word: int) -> int:
    """The integer of ctypes with the bits of an unsigned word."""
    return word - (1 << 64) if word >> 63 else word
