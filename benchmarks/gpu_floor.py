"""What a device can do at most, and how many kernels a profile launches on it."""

from __future__ import annotations

import contextlib
import importlib
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

import dlinear
from benchmarks import gpu_times
from benchmarks.gpu_record import Table
from benchmarks.launches import Launches
from dlinear.analysis import profiles
from dlinear.engine import Engine, Threads, backend_for, device_chunk

PACKAGES = (
    "numpy",
    "torch",
    "triton",
    "scipy",
    "jaxtyping",
    "tyro",
    "flint",
    "xarray",
    "h5netcdf",
    "pooch",
    "pytest",
)
REPEATS = 7


def card(device: str) -> Table:
    """The device and the versions of what is installed."""
    rows = [["machine", f"{platform.machine()}, Python {platform.python_version()}"]]
    numbers: dict[str, Any] = {}
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(device)
        rows += [
            ["card", f"{properties.name}, {properties.multi_processor_count} multiprocessors"],
            ["memory", f"{properties.total_memory / 2**30:.0f} GiB"],
            ["CUDA", str(torch.version.cuda)],
        ]
        numbers["card"] = properties.name
    missing = []
    for name in PACKAGES:
        try:
            rows.append([name, str(getattr(importlib.import_module(name), "__version__", "there"))])
        except ImportError:
            missing.append(name)
    notes = [f"Not installed: {', '.join(missing)}."] if missing else []
    return Table("card", "Card and versions", ["", ""], rows, notes, numbers={**numbers, "missing": missing})


def seconds_of(call: Callable[[], object], device: str, repeats: int = REPEATS) -> float:
    """Median seconds of a call, of which the device is done."""
    wait = (lambda: torch.cuda.synchronize(device)) if device.startswith("cuda") else (lambda: None)
    call()
    found = []
    for _ in range(repeats):
        wait()
        start = time.perf_counter()
        call()
        wait()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def floor(device: str, size: int, count: int) -> Table:
    """Peak of float64 products, by one large product; bandwidth, by a copy; batches of small products.

    Args:
        size: of the square matrices of the large product.
        count: numbers of an array that is copied, and of each array of small matrices.
    """
    large = torch.randn(size, size, dtype=torch.float64, device=device)
    peak = 2 * size**3 / seconds_of(lambda: large @ large, device)
    array, copy = (
        torch.randn(count, dtype=torch.float64, device=device),
        torch.empty(count, dtype=torch.float64),
    )
    copy = copy.to(device)
    bandwidth = 16 * count / seconds_of(lambda: copy.copy_(array), device)
    rows = [
        [f"product of {size} x {size} matrices", f"{peak / 1e12:.2f} TFLOP/s", "1"],
        ["copy", f"{bandwidth / 1e12:.3f} TB/s", "1"],
    ]
    numbers: dict[str, float] = {"peak": peak, "bandwidth": bandwidth}
    for n in (4, 10, 32, 64):
        batch = max(1, count // 2 // n**2)
        a, b = array[: 2 * batch * n * n].view(2, batch, n, n)
        out = torch.empty_like(a)
        seconds = seconds_of(partial(torch.matmul, a, b, out=out), device)
        least = max(2 * batch * n**3 / peak, 24 * batch * n**2 / bandwidth)
        numbers[f"bmm{n}"] = 2 * batch * n**3 / seconds
        rows.append(
            [
                f"{batch} products, n = {n}",
                f"{numbers[f'bmm{n}'] / 1e12:.3f} TFLOP/s",
                f"{least / seconds:.2f}",
            ]
        )
    notes = [
        "Share: the least time, by the peak or by reading two arrays and writing one, over the measured time."
    ]
    return Table(
        "floor",
        "What the device can do (float64)",
        ["work", "rate", "share of the floor"],
        rows,
        notes,
        (),
        numbers,
    )


def launches(device: str, depth: int, width: int) -> Table:
    """Kernels and copies to the host of a profile with m up to T/100, and how long the device is idle."""
    net, phi = dlinear.GaussianNetwork(depth, width), np.random.default_rng(0).standard_normal((width, width))
    engine = Engine(backend_for(device), Threads(None if device.startswith("cuda") else 1))
    horizons = depth - profiles.shortfalls(depth, 16, 1 / 100)
    chunks = -(-depth // engine.chunk_layers(net))
    call = partial(dlinear.alignment, net, phi, horizons, engine=engine)
    wall = seconds_of(call, device, 3 if device.startswith("cuda") else 1)
    with counted(device) as found:
        call()
    found["wall"] = wall
    rows = [
        ["chunks of layers, each met twice", str(chunks)],
        ["kernels a chunk", f"{found['kernels'] / chunks:.0f}"],
        ["copies to the host a chunk", f"{found['reads'] / chunks:.1f}"],
    ]
    if "busy" in found:
        rows += [
            ["time of the kernels, by the profiler", f"{1e3 * found['busy']:.1f} ms"],
            ["time of the profile, without it", f"{1e3 * found['wall']:.1f} ms"],
            ["device idle", f"{1 - found['busy'] / found['wall']:.0%}"],
        ]
    rows += [
        [f"  {name}", f"{share:.0%} of the kernels' time"] for name, share in found.get("names", {}).items()
    ]
    title = f"Launches, T = {depth:.0e}, n = {width}"
    notes = ["Both passes together; kernels that run at once count once."]
    return Table("launches", title, ["", ""], rows, notes, (), {**found, "chunks": chunks})


@contextlib.contextmanager
def counted(device: str) -> Iterator[dict[str, Any]]:
    """Fills in kernels, reads and, on a GPU, its busy seconds and the kernels that take most."""
    found: dict[str, Any] = {}
    if not device.startswith("cuda"):
        with Launches() as counter:
            yield found
        found.update(kernels=counter.kernels, reads=counter.reads)
        return
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as prof:
        yield found
        torch.cuda.synchronize(device)
    events = [event for event in prof.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    kernels = [event for event in events if not event.name.startswith(("Memcpy", "Memset"))]
    spans = sorted((event.time_range.start, event.time_range.end) for event in events)
    busy, last = 0.0, float("-inf")
    for begin, end in spans:  # microseconds; streams may overlap
        busy += max(0.0, end - max(begin, last))
        last = max(last, end)
    total: dict[str, float] = {}
    for event in kernels:
        total[event.name[:70]] = total.get(event.name[:70], 0.0) + event.time_range.elapsed_us()
    most = sorted(total, key=lambda name: -total[name])[:8]
    found.update(
        kernels=len(kernels),
        reads=sum("DtoH" in event.name for event in events),
        busy=busy / 1e6,
        names={name: total[name] / max(1e-9, sum(total.values())) for name in most},
    )


def lengths(device: str, depth: int) -> Table:
    """Seconds of a profile with blocks of other lengths than the one that is set."""
    engine = Engine(backend_for(device))
    scans = device_chunk.scans_of(engine.backend, 10)
    usual, found = scans.LENGTH, {}
    try:
        for scans.LENGTH in (8, 16, 32, 64, 128):
            both = [gpu_times.measure(depth, 10, engine, device)["seconds"] for _ in range(2)]
            found[str(scans.LENGTH)] = min(both)
    finally:
        scans.LENGTH = usual
    rows = [[length, f"{seconds:.3f} s"] for length, seconds in found.items()]
    notes = [f"T = {depth:.0e}, n = 10, the faster of two calls; {usual} is what is used."]
    return Table("lengths", "Layers of a block", ["layers", "time"], rows, notes, (), found)
