"""Kernels of a device against products of torch: the same checks on a GPU and, interpreted, on the CPU.

TRITON_INTERPRET=1 python tests/support/device_checks.py     # where Triton is installed
"""

from __future__ import annotations

import builtins
import json
import sys
from pathlib import Path

import numpy as np
import torch

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

import dlinear
from benchmarks.launches import Launches
from dlinear.engine import Engine, Threads, backend_for
from dlinear.engine.device_chunk import DeviceChunk
from dlinear.engine.products import Chunk
from dlinear.engine.single_horizon.gradient import gradients_of, square_of_gradients
from dlinear.networks.philox import standard_normals
from dlinear.networks.philox_torch import standard_normals_on

SCANS = ("states", "costates", "prefix_deviations", "suffix_deviations", "final_state")


def scans(device: str, widths: tuple[int, ...], depths: tuple[int, ...]) -> float:
    """Largest relative difference of scans by `DeviceChunk` from those by `Chunk`; layers contract too.

    And of ||g_T||^2 and g_T from the products of states and costates.
    """
    backend, rng, worst = backend_for(device), np.random.default_rng(0), 0.0
    for n in widths:
        for depth in depths:
            for size, contraction in ((0.01, 0.0), (0.5, 0.6)):
                layers = rng.normal(size=(depth, n, n)) * size / np.sqrt(n) - contraction * np.eye(n)
                value = backend.array(rng.normal(size=(n, n)))
                pair = [kind(backend.array(layers), backend) for kind in (Chunk, DeviceChunk)]
                found = [[getattr(one, name)(value) for name in SCANS] for one in pair]
                for kept, one in zip(found, pair, strict=True):
                    kept += one.total_both()
                    square = square_of_gradients(one, value, value.mT, backend)
                    kept += [square[None], *gradients_of(one, value, value.mT)]
                for want, got in zip(*found, strict=True):
                    worst = max(worst, float((want - got).abs().max() / want.abs().max()))
    return worst


def normals(device: str, count: int) -> float:
    """Largest difference of the normals from numpy's."""
    worst = 0.0
    for seed in (0, 7, 2**64 - 1):
        for start in (0, 3, 4093, 2**40 + 1):
            got = standard_normals_on(device, seed, 1, start, start + count, 0.1).cpu().numpy()
            worst = max(
                worst, float(np.abs(got - 0.1 * standard_normals(seed, 1, start, start + count)).max())
            )
    return worst


def angles(device: str, depth: int, n: int, length: int) -> float:
    """Largest relative difference of sin^2 from numpy, chunks of about `length` layers."""
    net, phi = dlinear.GaussianNetwork(depth, n, seed=2), np.random.default_rng(1).standard_normal((n, n))
    found = []
    for name in (None, device):
        engine = Engine(backend_for(name), Threads(2), chunk_numbers=length * n * n)
        for horizons in ([1, depth // 3, depth - 3, depth - 1], "all"):
            found.append(dlinear.alignment(net, phi, horizons, engine=engine).sin2)
    return max(float(np.abs(b / a - 1).max()) for a, b in zip(found[:2], found[2:], strict=True))


def launches(device: str, chunks: int = 3, length: int = 500) -> tuple[float, float]:
    """Launches and reads by the host, for each chunk that no horizon cuts, both passes together."""
    n, depth = 4, chunks * length
    net, phi = dlinear.GaussianNetwork(depth, n), np.eye(n) + np.arange(n * n).reshape(n, n)
    engine = Engine(backend_for(device), Threads(1), chunk_numbers=length * n * n)
    dlinear.alignment(net, phi, [depth], engine=engine)
    with Launches() as counter:
        dlinear.alignment(net, phi, [depth], engine=engine)
    return counter.kernels / chunks, counter.reads / chunks


def _old_interpreter() -> None:
    """Triton's interpreter makes integers of arrays of one entry, which numpy refuses from 2.4 on."""
    from triton.runtime import interpreter

    class Integers(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, builtins.int)

    class Int(metaclass=Integers):
        def __new__(cls, value: object = 0, *base: int) -> int:  # type: ignore[misc]
            return builtins.int(value.item() if isinstance(value, np.ndarray) else value, *base)  # type: ignore

    interpreter.int = Int


if __name__ == "__main__":
    import triton

    from dlinear.engine import scan_triton

    _old_interpreter()
    scan_triton.LENGTH, scan_triton.TOP = 6, 9  # so that a few layers have three levels
    print(
        json.dumps(
            {
                "triton": triton.__version__,
                "kernel": backend_for("cpu").kernel,
                "scans": scans("cpu", (1, 17), (1, 10, 60)),
                "normals": normals("cpu", 1001),
                "angles": angles("cpu", 40, 3, 15),
                "launches": launches("cpu", length=150),
                "torch": torch.__version__,
            }
        )
    )
