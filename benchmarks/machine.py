"""What one core of this machine can do: fused multiplications a second, and bytes a second from memory.

Measured by kernels of their own, written like those of the engine; without compiled kernels (`dlinear[fast]`)
there is no answer, and tables then have no column "of peak".
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from dlinear.engine.kernels import host
from dlinear.engine.kernels.ir import Code, Part, module

_CHAINS = 24  # independent sums: more than latency times units, fewer than registers (12 where there are 16)
_STEPS = 2_000_000


def peak() -> float | None:
    """Fused multiplications count twice: floating-point operations a second on data in registers."""
    here = host.host()
    if here is None:
        return None
    part, chains = Part(0, here.lanes, here.lanes), _CHAINS if here.registers > 16 else 12
    code = Code("peak", [("i64", "steps"), ("ptr", "out")])
    vectors = [code.load(part, code.at("%out", i * here.lanes)) for i in range(chains + 2)]
    with code.loop("%steps", *((part.type, value) for value in vectors[2:])) as (_, sums, ahead):
        ahead += [code.fma(part, value, vectors[0], vectors[1]) for value in sums]
    for i, value in enumerate(sums):
        code.store(part, code.at("%out", i * here.lanes), value)
    run = host.function(host.compiled(module([code], here.lanes))("peak"), code.arguments)
    data = np.full((chains + 2) * here.lanes, 0.5)
    seconds = median(lambda: run(_STEPS, data.ctypes.data))
    return 2.0 * _STEPS * chains * here.lanes / seconds


def bandwidth(numbers: int = 1 << 26) -> float | None:
    """Bytes a second that a sum over an array reads which no cache holds."""
    here = host.host()
    if here is None:
        return None
    part, chains = Part(0, here.lanes, here.lanes), 8
    code = Code("bandwidth", [("i64", "steps"), ("ptr", "data"), ("ptr", "out")])
    with code.loop("%steps", *((part.type, "zeroinitializer") for _ in range(chains))) as (i, sums, ahead):
        base = code.at("%data", code.mul(i, chains * here.lanes))
        for j, value in enumerate(sums):
            ahead.append(code.plus(part, value, code.load(part, code.at(base, j * here.lanes))))
    for i, value in enumerate(sums):
        code.store(part, code.at("%out", i * here.lanes), value)
    run = host.function(host.compiled(module([code], here.lanes))("bandwidth"), code.arguments)
    data, out = np.ones(numbers), np.empty(chains * here.lanes)
    steps = numbers // (chains * here.lanes)
    seconds = median(lambda: run(steps, data.ctypes.data, out.ctypes.data))
    if out.sum() != steps * chains * here.lanes:
        raise AssertionError("the sum over the array is wrong")
    return 8.0 * steps * chains * here.lanes / seconds


def median(call: Callable[[], object], repeats: int = 7) -> float:
    """Processor seconds of this thread, so that other processes count little."""
    found = []
    for _ in range(repeats):
        start = time.thread_time()
        call()
        found.append(time.thread_time() - start)
    return statistics.median(found)
