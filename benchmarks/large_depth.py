"""What does an angle cost, against the least work possible and against what a user would write?

    python -m benchmarks.large_depth                       # every part, about ten minutes on two cores
    python -m benchmarks.large_depth --parts floor peers
    python -m benchmarks.large_depth --device cuda --parts floor growth
    python -m benchmarks.large_depth --parts growth --growth 100000000 --width 4 --anchored

Parts, each measured side by side in this one run, medians of alternating repeats, ratios first:

    floor   alignment at 16 log-spaced shortfalls against five batched n x n products a layer (matmul of the
            same shapes, in place): products of the layers, states, costates, and two for g_T
    peers   the same numbers by per-horizon autograd, and by eq. (27) in a double loop
    growth  time and peak extra memory against T for a generated network, each T in a process of its own
    all     every horizon at once: by matrix products and by FFT
    layers  generation of Gaussian layers alone
"""

from __future__ import annotations

import itertools
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from types import SimpleNamespace
from typing import Literal

import numpy as np

import dlinear
from dlinear import report
from dlinear.analysis import profiles
from dlinear.engine.backends import backend_for
from dlinear.engine.crosscheck import check_against_direct
from dlinear.engine.options import Engine
from dlinear.engine.parallel.threads import Threads
from dlinear.runs import script

Part = Literal["floor", "peers", "growth", "all", "layers"]


@dataclass(frozen=True)
class Knobs:
    """What to measure."""

    parts: tuple[Part, ...] = ("floor", "peers", "growth", "all", "layers")  # parts to measure; all of them
    floor: tuple[tuple[int, int], ...] = ((1_000_000, 10), (100_000, 32))  # (T, n) of part floor
    peers: tuple[int, ...] = (64, 128, 256, 512)  # T of part peers; autograd takes minutes beyond
    growth: tuple[int, ...] = (100_000, 1_000_000, 10_000_000)  # T of part growth, layers generated
    everything: tuple[int, ...] = (1024, 4096)  # T of part all; at 4096 FFT and products take equal time
    seed: int = 0  # of layers and target; times hardly depend on it
    repeats: int = 5  # measurements of each time; odd, so that the median is one of them
    device: str | None = None  # torch device of the engine ("cpu", "cuda"); None is numpy
    threads: int | None = None  # number of threads; one per core
    width: int = 10  # n of part growth
    anchored: bool = False  # part growth of the anchored rule, not of the plain horizon


def medians(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each call; the calls alternate, so that a slow spell meets all of them."""
    for call in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def engine_of(knobs: Knobs) -> Engine:
    """The engine that is measured."""
    return Engine(backend=backend_for(knobs.device), team=Threads(knobs.threads))


def dense(depth: int, width: int, seed: int) -> tuple[dlinear.DenseNetwork, np.ndarray]:
    """Gaussian layers of scale 1/T as one array, and a random target."""
    rng = np.random.default_rng(seed)
    deviations = rng.standard_normal((depth, width, width))
    deviations /= depth * np.sqrt(width)
    return dlinear.DenseNetwork(deviations), rng.standard_normal((width, width))


def measure_floor(knobs: Knobs) -> list[list[str]]:
    """Profile over floor, for shortfalls up to T/100, T/10 and T/2."""
    rows = []
    engine = engine_of(knobs)
    for depth, width in knobs.floor:
        net, phi = dense(depth, width, knobs.seed)
        layers = engine.backend.layers(net, 0, depth)
        right, out = engine.backend.empty(*layers.shape), engine.backend.empty(*layers.shape)
        right[:] = layers

        def floor(layers: object = layers, right: object = right, out: object = out) -> None:
            for _ in range(5):
                engine.backend.matmul(layers, right, out)
            engine.backend.numpy(out[0])  # waits for a device

        for fraction in (100, 10, 2):
            m = profiles.shortfalls(depth, 16, 1 / fraction)
            calls = {
                "profile": partial(dlinear.alignment, net, phi, depth - m, engine=engine),
                "floor": floor,
            }
            found = medians(calls, knobs.repeats)
            ratio = found["profile"] / found["floor"]
            rows.append([f"{depth:.0e}", str(width), f"T/{fraction}", *_show(found), f"{ratio:.2f}"])
    return rows


def by_autograd(net: dlinear.DenseNetwork, phi: np.ndarray, horizons: np.ndarray) -> list[float]:
    """1 - cos^2 as a torch user writes it: layer by layer, the gradient of its own truncated loss."""
    import torch

    target, eye = torch.as_tensor(phi), torch.eye(net.width, dtype=torch.float64)
    weights = [(eye + layer).requires_grad_() for layer in torch.as_tensor(net.deviations(0, net.depth))]
    states = [eye]
    with torch.no_grad():
        for weight in weights:
            states.append(weight @ states[-1])

    def gradient(horizon: int) -> torch.Tensor:
        found = []
        for t, weight in enumerate(weights):
            x = states[t]
            for k in range(t, min(t + horizon, net.depth)):
                x = weights[k] @ x
            found.append(torch.autograd.grad(0.5 * ((x - target) ** 2).sum(), weight)[0])
        return torch.stack(found).flatten()

    true, angles = gradient(net.depth), []
    for horizon in horizons:
        g = gradient(int(horizon))
        angles.append(float(1 - (g @ true) ** 2 / (g @ g) / (true @ true)))
    return angles


def by_loops(net: dlinear.DenseNetwork, phi: np.ndarray, horizons: np.ndarray) -> list[float]:
    """1 - cos^2 from eq. (27) as it stands: two loops over layers for each horizon."""
    depth, weights = net.depth, np.eye(net.width) + net.deviations(0, net.depth)
    states = [np.eye(net.width)]
    for weight in weights:
        states.append(weight @ states[-1])

    def gradient(horizon: int) -> np.ndarray:
        layers = []
        for t in range(depth):
            end = min(t + horizon, depth)
            back = states[end] - phi
            for k in range(end - 1, t, -1):
                back = weights[k].T @ back
            layers.append(back @ states[t].T)
        return np.ravel(layers)

    true, found = gradient(depth), []
    for horizon in horizons:
        g = gradient(int(horizon))
        found.append(float(1 - (g @ true) ** 2 / (g @ g) / (true @ true)))
    return found


def measure_peers(knobs: Knobs) -> list[list[str]]:
    """The same profile at 12 log-spaced horizons, three ways."""
    rows = []
    for depth, spaced in itertools.product(knobs.peers, ("m", "h")):
        net, phi = dense(depth, 10, knobs.seed)
        horizons = np.unique(np.round(np.geomspace(1, depth - 1, 12)).astype(int))
        horizons = depth - horizons if spaced == "m" else horizons
        want = dlinear.alignment(net, phi, horizons).sin2
        seconds = {}
        for name, peer in (("autograd", by_autograd), ("loops", by_loops)):
            start = time.perf_counter()
            got = peer(net, phi, horizons)
            seconds[name] = time.perf_counter() - start
            if np.abs(np.array(got) - want).max() > 1e-9:
                raise AssertionError(f"{name} does not give the same numbers")
        ours = medians({"ours": partial(dlinear.alignment, net, phi, horizons)}, knobs.repeats)
        rows.append(
            [
                str(depth),
                f"{len(horizons)}, log in {spaced}",
                f"{1e3 * ours['ours']:.1f} ms",
                *(f"{seconds[name]:.2f} s" for name in seconds),
                *(f"{seconds[name] / ours['ours']:.0f}x" for name in seconds),
            ]
        )
    return rows


GROWTH = """
import json, re, sys, time
import numpy as np
import dlinear
from dlinear.analysis import profiles
from dlinear.engine import Engine, Threads, backend_for

depth, threads, device = int(sys.argv[1]), int(sys.argv[2]) or None, sys.argv[3] or None
width, rule = int(sys.argv[4]), dlinear.HorizonRule(anchored=bool(int(sys.argv[5])))
phi = np.random.default_rng(0).standard_normal((width, width))
engine = Engine(backend=backend_for(device), team=Threads(threads))
peak = lambda: 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
net = dlinear.GaussianNetwork(depth=1000, width=width)
dlinear.alignment(net, phi, [999, 990, 900], rule=rule, engine=engine)
before, start = peak(), time.perf_counter()
net = dlinear.GaussianNetwork(depth=depth, width=width)
dlinear.alignment(net, phi, depth - profiles.shortfalls(depth, 16, 1 / 100), rule=rule, engine=engine)
print(json.dumps({"seconds": time.perf_counter() - start, "extra": peak() - before}))
"""


def measure_growth(knobs: Knobs) -> tuple[list[list[str]], float]:
    """Seconds and extra memory at each depth, and the exponent of the time; draws figures/growth."""
    rows, seconds, memory = [], [], []
    for depth in knobs.growth:
        command = [sys.executable, "-c", GROWTH, str(depth), str(knobs.threads or 0), knobs.device or ""]
        command += [str(knobs.width), str(int(knobs.anchored))]
        runs = [
            json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            for _ in range(1 if depth >= 10_000_000 else 3)
        ]
        seconds.append(statistics.median(run["seconds"] for run in runs))
        extra = max(run["extra"] for run in runs) / 2**20
        memory.append(extra)
        rows.append(
            [
                f"{depth:.0e}",
                f"{seconds[-1]:.2f} s",
                f"{1e6 * seconds[-1] / depth:.2f} us",
                f"{extra:.0f} MiB",
            ]
        )
    if len(seconds) < 2:
        return rows, float("nan")
    exponent = float(np.polyfit(np.log(knobs.growth), np.log(seconds), 1)[0])
    draw_growth(knobs, seconds, memory, exponent)
    return rows, exponent


def growth_words(exponent: float, memory: Sequence[float], most: Sequence[float]) -> str:
    """What was measured, the memory against what `Engine.most` allows; both in MiB."""
    time = f"Time grows as $T^{{{exponent:.2f}}}$"
    over = [f"{a:.0f} of {b:.0f} MiB" for a, b in zip(memory, most, strict=True) if a > b]
    if over:
        return f"{time}, memory exceeds what is said: {', '.join(over)}"
    return f"{time}, memory from {min(memory):.0f} to {max(memory):.0f} MiB, within its law"


def draw_growth(knobs: Knobs, seconds: list[float], memory: list[float], exponent: float) -> None:
    """Time with the line of exponent 1 through its last point, and peak extra memory, against T."""
    from dlinear.report import plotting

    depths = knobs.growth
    with plotting.style():
        figure, (upper, lower) = plotting.column(rows=2, height=3.6)
        plotting.measured(upper, depths, seconds, "measured", 0)
        line = [seconds[-1] * depth / depths[-1] for depth in depths]
        plotting.predicted(upper, depths, line, "proportional to $T$", 1)
        upper.set(xscale="log", yscale="log", ylabel="time (s)")
        plotting.measured(lower, depths, memory, None, 0)
        lower.set(xscale="log", xlabel="$T$", ylabel="extra memory (MiB)", ylim=(0, None))
        engine = Engine(team=Threads(knobs.threads))
        most = [engine.most(SimpleNamespace(depth=d, width=knobs.width)) / 2**20 for d in depths]
        plotting.predicted(lower, depths, most, "at most, by `Engine.most`", 1)
        plotting.verdict(figure, growth_words(exponent, memory, most))
        plotting.legend(figure, upper)
        plotting.save(figure, "growth")


def measure_all(knobs: Knobs) -> list[list[str]]:
    """All horizons by matrix products (up to T = 20,000) and by FFT, against single horizons."""
    rows = []
    for depth in knobs.everything:
        phi = np.random.default_rng(knobs.seed).standard_normal((10, 10))
        net = dlinear.GaussianNetwork(depth=depth, width=10, seed=knobs.seed)
        ways = {"direct": math.inf, "FFT": 0.0} if depth <= 20_000 else {"FFT": 0.0}
        for name, fft_from in ways.items():
            engine = Engine(team=Threads(knobs.threads), fft_from=fft_from)
            start = time.perf_counter()
            profile = dlinear.alignment(net, phi, "all", engine=engine)
            seconds = time.perf_counter() - start
            worst = check_against_direct(net, phi, profile).worst
            rows.append([str(depth), str(len(profile.horizons)), name, f"{seconds:.2f} s", f"{worst:.1e}"])
    return rows


def measure_layers(knobs: Knobs) -> list[list[str]]:
    """Time to generate a layer and a number."""
    net = dlinear.GaussianNetwork(depth=10**8, width=10, seed=knobs.seed)
    count, step = 200_000, 5000

    def generate() -> None:
        for start in range(0, count, step):
            net.deviations(start, start + step)

    seconds = medians({"generate": generate}, knobs.repeats)["generate"]
    return [[f"{1e6 * seconds / count:.2f} us", f"{1e9 * seconds / count / 100:.1f} ns"]]


def _show(found: dict[str, float]) -> list[str]:
    return [f"{value:.2f} s" for value in found.values()]


def main(knobs: Knobs) -> int:
    """Measure and print."""
    print(f"knobs: {asdict(knobs)}")
    if "floor" in knobs.parts:
        print("\n(a) 16 log-spaced shortfalls over five products a layer")
        print(report.table(["T", "n", "largest m", "profile", "floor", "ratio"], measure_floor(knobs)))
    if "peers" in knobs.parts:
        print("\n(b) against what a user would write, n = 10")
        header = ["T", "horizons", "here", "autograd", "loops", "autograd/here", "loops/here"]
        print(report.table(header, measure_peers(knobs)))
    if "growth" in knobs.parts:
        rows, exponent = measure_growth(knobs)
        rule = "anchored" if knobs.anchored else "plain"
        print(f"\n(c) generated network, n = {knobs.width}, {rule} horizons, one process each")
        print(report.table(["T", "time", "a layer", "extra memory"], rows))
        print(f"exponent of the time in T: {exponent:.3f}")
    if "all" in knobs.parts:
        print("\n(d) every horizon at once, n = 10; error of sin^2 against a sample of single horizons")
        header = ["T", "horizons", "way", "time", "worst error"]
        print(report.table(header, measure_all(knobs)))
    if "layers" in knobs.parts:
        print("\n(e) generation, one thread")
        print(report.table(["layers", "numbers"], measure_layers(knobs)))
    return 0


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
