"""Random numbers and angles on a device against numpy's, and the tests that need CUDA."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import dlinear
from benchmarks.gpu_record import Table
from dlinear.engine import Engine, Threads, backend_for
from dlinear.networks.deterministic import cosine_path
from dlinear.networks.philox import standard_normals
from dlinear.networks.philox_torch import standard_normals_on

ROOT = Path(__file__).resolve().parent.parent
SEEDS, STARTS = (0, 7, 2**64 - 1), (0, 3, 2**40 + 1)
NORMALS, RELATIVE = 1e-14, 1e-9  # largest errors: of a normal, absolute; of sin^2, relative
WIDTHS = (10, 4, 32, 1)
CUDA_TESTS = (
    "tests/networks/test_philox_torch.py",
    "tests/engine/test_torch_device.py",
    "tests/bridge/methods/test_horizon.py",
    "tests/bridge/meters/test_meters.py",
    "tests/bridge/training/test_trainer.py",
)


def generator(device: str, count: int) -> Table:
    """Standard normals of the counter-based generator, `count` from each start of each seed."""
    rows, failures, worst = [], [], 0.0
    for seed, start in itertools.product(SEEDS, STARTS):
        ours = standard_normals_on(device, seed, 0, start, start + count).cpu().numpy()
        error = float(np.abs(ours - standard_normals(seed, 0, start, start + count)).max())
        worst = max(worst, error)
        rows.append([str(seed), str(start), f"{count:.0e}", f"{error:.1e}"])
        if not error <= NORMALS:
            failures.append(f"seed {seed}, start {start}: normals differ by {error:.1e}, above {NORMALS}")
    header = ["seed", "start", "numbers", "largest difference"]
    notes = [f"Differences from numpy are absolute; allowed are {NORMALS}."]
    title = "Random numbers against numpy"
    return Table("generator", title, header, rows, notes, failures, {"worst": worst})


def ensembles(depth: int, n: int) -> dict[str, dlinear.Network]:
    """One network of each kind."""
    rng = np.random.default_rng(n)
    a, b = rng.standard_normal((2, n, n)) / np.sqrt(n)
    path = cosine_path(a, b)
    return {
        "Gaussian, 1/T": dlinear.GaussianNetwork(depth, n, seed=3),
        "Gaussian, 1/sqrt(T)": dlinear.GaussianNetwork(depth, n, "1/sqrt(T)", 0.5, seed=3),
        "Gaussian with a mean": dlinear.GaussianNetwork(depth, n, mean=a, seed=3),
        "Gaussian about a path": dlinear.GaussianNetwork(depth, n, mean=path, seed=3),
        "orthogonal": dlinear.OrthogonalNetwork(depth, n, seed=3),
        "mixed": dlinear.MixedNetwork(path, depth, seed=3),
        "smooth": dlinear.SmoothNetwork(path, depth),
        "constant": dlinear.ConstantNetwork(a, depth),
        "dense": dlinear.DenseNetwork(dlinear.GaussianNetwork(depth, n, seed=4).deviations(0, depth)),
    }


def cases(depth: int) -> dict[str, object]:
    """Horizons: near the end of the network, far from it, and every one of a shallower network."""
    near = depth - np.array([1, 2, 7, depth // 100, depth // 10, depth // 2])
    return {"near": near, "far": np.array([1, 3, depth // 50, depth // 3]), "all": "all"}


def angles(device: str, depth: int, limit: float) -> Table:
    """sin^2 of every ensemble, width and kind of horizon against numpy, with 1 and 4 workers.

    Chunks are short, so that edges between them are met. After `limit` seconds no further case is begun.
    """
    begin, worst, failures, done = time.monotonic(), {}, [], 0
    every = list(itertools.product(WIDTHS, ensembles(100, 1), ("near", "far", "all"), (1, 4)))
    # every network, width and kind with 1 or 4 workers in turn, then with the other number; in any order,
    # so that what there is time for is a sample of all
    turns = [[one for i, one in enumerate(every) if (i // 2 + i + turn) % 2 == 0] for turn in (0, 1)]
    for turn in turns:
        random.Random(0).shuffle(turn)
    every = [one for turn in turns for one in turn]
    for n, name, kind, workers in every:
        if time.monotonic() - begin > limit:
            break
        size = depth if kind != "all" else depth // 5
        net, phi = ensembles(size, n)[name], np.random.default_rng(n + 1).standard_normal((n, n))
        chunk = size * n * n // 5
        found = []
        for backend in (None, device):
            engine = Engine(backend_for(backend), Threads(workers), chunk_numbers=chunk)
            found.append(dlinear.alignment(net, phi, cases(size)[kind], undefined="nan", engine=engine).sin2)
        error = difference(*found)
        done += 1
        key = (name, kind)
        worst[key] = max(worst.get(key, 0.0), error)
        if not error <= RELATIVE:
            failures.append(f"{name}, n = {n}, {kind}, {workers} workers: sin^2 differs by {error:.1e}")
    names = list(dict.fromkeys(name for name, _ in worst))
    kinds = ("near", "far", "all")
    rows = [
        [name, *(f"{worst[name, k]:.1e}" if (name, k) in worst else "not run" for k in kinds)]
        for name in names
    ]
    notes = [
        f"Largest relative difference of sin^2 from numpy over n = {', '.join(map(str, sorted(WIDTHS)))} "
        f"and 1 and 4 workers, T = {depth} (all horizons: T = {depth // 5}), five chunks; allowed are "
        f"{RELATIVE}. {done} of {len(every)} cases were run."
    ]
    header = ["network", "near horizons", "far horizons", "all horizons"]
    numbers = {"worst": max(worst.values(), default=0.0), "done": done, "cases": len(every)}
    return Table("angles", "sin^2 against numpy", header, rows, notes, failures, numbers)


def difference(want: np.ndarray, got: np.ndarray) -> float:
    """Largest relative difference; infinite where one of the two is zero or undefined alone."""
    same = (want == got) | (np.isnan(want) & np.isnan(got))
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = np.where(same, 0.0, np.abs(got / want - 1))
    return float(np.where(np.isnan(errors), np.inf, errors).max(initial=0.0))


def tests(paths: Sequence[str], limit: float) -> Table:
    """The tests of the repository that need CUDA."""
    present = [path for path in paths if (ROOT / path.partition("::")[0]).exists()]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-k", "cuda", *present]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    title, begin = "Tests that need CUDA", time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=max(1.0, limit)
        )
    except subprocess.TimeoutExpired:
        return Table("tests", title, notes=[f"They took more than {limit:.0f} s and were ended."])
    lines = done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or ["no output"]
    failures = [line[:400] for line in lines if line.startswith(("FAILED", "ERROR"))]
    if done.returncode and not failures:
        failures = lines[-8:]
    if done.returncode:
        print("\n".join(lines[-80:]), flush=True)
    seconds = time.monotonic() - begin
    notes = [f"`pytest -k cuda`: {lines[-1].strip('= ')} ({seconds:.0f} s with the imports)."]
    return Table("tests", title, notes=notes, failures=failures, numbers={"seconds": seconds})
