"""Seconds and memory of one profile at growing depth on one device, as one line of JSON a depth.

    python benchmarks/gpu_times.py --device cuda --depths 1000000 10000000 --width 10 --seconds 100

`benchmarks.gpu` starts it, in a process of its own and with the package of a checkout on the path, so that
two versions of the library are measured side by side. It uses public names only. A depth that would take
longer than what is left of `--seconds` is left out: time grows in proportion to T.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import dlinear
from dlinear.analysis import profiles
from dlinear.engine import Engine, Threads, backend_for

FIRST = 100_000  # T of the first call, which compiles kernels and fills caches
LARGE = 10_000_000  # T up to which the next call is as large as the first one that is measured
POINTS = 16  # shortfalls of a profile, evenly in ratio up to T/100


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--device", help="a torch device; without, numpy")
    parser.add_argument("--depths", type=int, nargs="+", required=True)
    parser.add_argument("--width", type=int, default=10)
    parser.add_argument("--chunk", type=int, help="numbers of a chunk; without, the engine's own choice")
    parser.add_argument("--threads", type=int, help="threads of the engine; without, the engine's own choice")
    parser.add_argument("--seconds", type=float, default=60.0, help="time that all depths may take together")
    return parser.parse_args()


def waiting(device: str | None) -> Callable[[], None]:
    """A function that waits until the device is idle."""
    if device is None or not device.startswith("cuda"):
        return lambda: None
    import torch

    return lambda: torch.cuda.synchronize(device)


def device_memory(device: str | None) -> float:
    """Bytes that tensors have taken at most on a GPU since the last call; 0 elsewhere."""
    if device is None or not device.startswith("cuda"):
        return 0.0
    import torch

    most = float(torch.cuda.max_memory_allocated(device))
    torch.cuda.reset_peak_memory_stats(device)
    return most


def measure(depth: int, width: int, engine: Engine, device: str | None) -> dict[str, Any]:
    """One profile of a generated network with m up to T/100."""
    net = dlinear.GaussianNetwork(depth=depth, width=width)
    phi = np.random.default_rng(0).standard_normal((width, width))
    wait = waiting(device)
    wait()
    device_memory(device)
    start = time.perf_counter()
    found = dlinear.alignment(net, phi, depth - profiles.shortfalls(depth, POINTS, 1 / 100), engine=engine)
    wait()
    return {
        "depth": depth,
        "seconds": time.perf_counter() - start,
        "bytes": device_memory(device),
        "sin2": found.sin2.tolist(),
        "kernel": getattr(engine.backend, "kernel", "none"),
    }


def main() -> None:
    """Measure each depth, after two calls that warm up."""
    asked = arguments()
    begin = time.perf_counter()
    team = Threads(asked.threads)
    words = {} if asked.chunk is None else {"chunk_numbers": asked.chunk}
    engine = Engine(backend=backend_for(asked.device), team=team, **words)
    measure(min(FIRST, min(asked.depths)), asked.width, engine, asked.device)
    first = time.perf_counter() - begin
    measure(min(LARGE, *asked.depths), asked.width, engine, asked.device)  # at the size of its arrays
    last: dict[str, Any] | None = None
    for depth in sorted(asked.depths):
        left = asked.seconds - (time.perf_counter() - begin)
        wanted = last["seconds"] * depth / last["depth"] if last else 0.0
        if wanted > left:
            print(
                json.dumps({"depth": depth, "skipped": f"needs {wanted:.0f} s, {left:.0f} s are left"}),
                flush=True,
            )
            continue
        last = measure(depth, asked.width, engine, asked.device)
        print(json.dumps({**last, "first_call": first}), flush=True)


if __name__ == "__main__":
    main()
