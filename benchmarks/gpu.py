"""Is the engine right on a GPU, and how fast is it?

    python -m benchmarks.gpu --out results/gpu                      # at most six minutes
    python -m benchmarks.gpu --out results/gpu --compare ../before  # and the times of another checkout
    python -m benchmarks.gpu --device cpu --small --out results/gpu # a dry run on CPU tensors
    python -m benchmarks.gpu --page docs/gpu.json           # docs/gpu.md of a record

Parts, in this order, each left out when the time is out; tables are printed as they come, and OUT/gpu.json
and OUT/gpu.md hold those that there are at any time:

    card       the device and the versions; which packages are missing
    generator  standard normals against numpy's
    angles     sin^2 of all ensembles against numpy's, near, far and all horizons, 1 and 4 workers
    floor      peak of float64 products, bandwidth, and batches of small products
    times      profiles at T = 1e6, 1e7, 1e8, against the floor, numpy and another checkout
    widths     profiles at n = 4, 10, 32, 64, 96
    lengths    blocks of 8 to 128 layers
    launches   kernels, copies to the host, idle share
    deepest    T = 1e9, if there is time for it
    tests      the tests of the repository that need CUDA

The exit status is 1 where a number is wrong or a part breaks off.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import gpu_checks, gpu_floor, gpu_record, gpu_times
from benchmarks.gpu_record import Table
from dlinear.engine import Engine, backend_for, device_chunk
from dlinear.report import table as plain_table

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("card", "generator", "angles", "floor", "times", "widths", "lengths", "launches", "deepest", "tests")
PRODUCTS = 5  # products a layer that cannot be avoided, see `benchmarks.large_depth`
PASSES = 5  # arrays of the layers that cannot but be written and read again: D twice, P, Q, g


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; no package beyond numpy and torch is needed for it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help='torch device ("cuda", "cuda:1", "cpu")')
    parser.add_argument("--budget", type=float, default=360.0, metavar="SECONDS", help="of the whole script")
    parser.add_argument("--out", type=Path, default=Path("results/gpu"), help="folder of gpu.json and gpu.md")
    parser.add_argument(
        "--compare", type=Path, metavar="PATH", help="another checkout, timed in the same run"
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--tests", nargs="+", default=list(gpu_checks.CUDA_TESTS), help="files of part tests")
    parser.add_argument("--small", action="store_true", help="small sizes, for a dry run")
    parser.add_argument(
        "--page", type=Path, metavar="RECORD", help="print the page of a record and do no more"
    )
    return parser.parse_args(words)


def worker(
    checkout: Path, device: str | None, depths: Sequence[int], seconds: float, *more: str, kernels: str = ""
) -> list[dict[str, Any]]:
    """The lines of `benchmarks/gpu_times.py` with the package of a checkout, `kernels` "off" or as usual."""
    script = Path(__file__).resolve().parent / "gpu_times.py"
    command = [
        sys.executable,
        str(script),
        "--depths",
        *map(str, depths),
        "--seconds",
        f"{seconds:.0f}",
        *more,
    ]
    command += ["--device", device] if device else []
    off = {"DLINEAR_GPU_KERNELS": kernels} if kernels else {}
    path = f"{checkout}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    process = subprocess.Popen(
        command,
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **off},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said, complaint = process.communicate(timeout=seconds + 30)
    except subprocess.TimeoutExpired:
        process.kill()
        said, complaint = process.communicate()
        complaint += f"ended after {seconds + 30:.0f} s"
    found = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    if process.returncode:
        found.append({"error": complaint.strip().splitlines()[-1][:300] if complaint.strip() else "ended"})
    return found


WAYS = {
    "here": "kernels of this version",
    "products": "the same without kernels (`DLINEAR_GPU_KERNELS=off`)",
    "before": "the other checkout",
    "numpy": "this version on the CPU",
}


FLOOR = (
    "Floor: five products a layer at the measured peak, or the layers (twice), states, costates and "
    "gradients written once and read once at the measured bandwidth, whichever takes longer."
)


def times(
    asked: argparse.Namespace, depths: Sequence[int], rates: dict[str, float], left: Callable[[], float]
) -> Table:
    """Seconds of a profile in processes one after another (`WAYS`)."""
    share = max(5.0, left() - (50 if asked.device.startswith("cuda") else 5))
    few = [depth for depth in depths if depth <= 10**7]
    runs = {"here": worker(ROOT, asked.device, depths, 0.4 * share)}
    runs["products"] = worker(ROOT, asked.device, depths, 0.2 * share, kernels="off")
    if asked.compare:
        # as its simulation of large depth set it: chunks of 2^24 numbers, one thread
        more = ["--chunk", str(1 << 24), "--threads", "1"]
        runs["before"] = worker(asked.compare.resolve(), asked.device, few, 0.2 * share, *more)
    runs["numpy"] = worker(ROOT, None, few, 0.2 * share)
    rows, failures = [], []
    by_depth = {name: {one.get("depth"): one for one in found} for name, found in runs.items()}
    for depth in depths:
        ours, numpys = (by_depth[name].get(depth, {}) for name in ("here", "numpy"))
        least, error = _least(depth, 10, rates), _error(ours, numpys)
        if not math.isnan(error) and not error <= gpu_checks.RELATIVE:
            failures.append(f"T = {depth}: sin^2 differs from numpy by {error:.1e}")
        cells = [_seconds(by_depth.get(name, {}).get(depth, {})) for name in WAYS]
        ratio = ours["seconds"] / least if "seconds" in ours and least else math.nan
        memory = f"{ours['bytes'] / 2**20:.0f} MiB" if ours.get("bytes") else "-"
        last = [_or("{:.3f} s", least), _or("{:.1f}", ratio), memory, _or("{:.1e}", error)]
        rows.append([f"{depth:.0e}", *cells, *last])
    failures += [f"{name}: {one['error']}" for name, found in runs.items() for one in found if "error" in one]
    header = ["T", *WAYS, "floor", "here/floor", "memory of the device", "difference from numpy"]
    first = next((one["first_call"] for one in runs["here"] if "first_call" in one), math.nan)
    kernels = {
        name: one["kernel"] for name in runs for one in runs[name] if one.get("kernel", "none") != "none"
    }
    ways = "; ".join(f"{name}: {words}" for name, words in WAYS.items() if name in runs)
    used = ", ".join(f"{name} {kernel}" for name, kernel in kernels.items())
    notes = [
        "Generated Gaussian layers, n = 10, 16 shortfalls up to T/100, one call each after smaller ones.",
        f"{ways}.",
        f"Kernels: {used}. The first call of a process (T = {min(depths[0], 10**5):.0e}; start of the "
        f"device, compilation) took {first:.1f} s.",
        FLOOR,
    ]
    return Table("times", "Time of a profile", header, rows, notes, failures, runs)


def widths(device: str, numbers: int, rates: dict[str, float]) -> Table:
    """Seconds of a profile of `numbers` numbers of layers at several widths, in this process."""
    rows, found = [], {}
    engine = Engine(backend_for(device))
    for n in (4, 10, 32, 64, 96):
        depth = max(100, numbers // n**2)
        for _ in range(2):  # the first call compiles and takes memory
            one = gpu_times.measure(depth, n, engine, device)
        least = _least(depth, n, rates)
        found[str(n)] = {"depth": depth, "seconds": one["seconds"], "bytes": one["bytes"], "floor": least}
        ratio = "-" if math.isnan(least) else f"{one['seconds'] / least:.1f}"
        scans = device_chunk.scans_of(engine.backend, n).__name__.split("_")[-1]
        rows.append([str(n), f"{depth:.1e}", f"{one['seconds']:.3f} s", _or("{:.3f} s", least), ratio, scans])
    header = ["n", "T", "time", "floor", "time/floor", "scans by"]
    return Table("widths", "Widths", header, rows, ["As above, the second call of each."], (), found)


def deepest(asked: argparse.Namespace, depth: int, last: Table, left: Callable[[], float]) -> Table:
    """T = 1e9, if the times so far say that it fits."""
    title = f"T = {depth:.0e}"
    known = [one for one in last.numbers.get("here", []) if "seconds" in one]
    expected = known[-1]["seconds"] * depth / known[-1]["depth"] if known else math.inf
    if expected + 15 > left():
        return Table(
            "deepest", title, notes=[f"Not run: expected {expected:.0f} s, {left():.0f} s were left."]
        )
    found = worker(ROOT, asked.device, [depth], left() - 5)
    failures = [one["error"] for one in found if "error" in one]
    rows = [[_seconds(one), f"{one['bytes'] / 2**20:.0f} MiB"] for one in found if "seconds" in one]
    return Table("deepest", title, ["time", "memory of the device"], rows, (), failures, {"runs": found})


def _least(depth: int, n: int, rates: dict[str, float]) -> float:
    """Seconds of the floor; NaN where it was not measured."""
    if "peak" not in rates:
        return math.nan
    return depth * max(2 * PRODUCTS * n**3 / rates["peak"], 16 * PASSES * n**2 / rates["bandwidth"])


def _error(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    if "sin2" not in ours or "sin2" not in theirs:
        return math.nan
    return max(abs(a / b - 1) for a, b in zip(ours["sin2"], theirs["sin2"], strict=True))


def _seconds(one: dict[str, Any]) -> str:
    return f"{one['seconds']:.2f} s" if "seconds" in one else one.get("skipped", "-")


def _or(form: str, value: float) -> str:
    return "-" if math.isnan(value) else form.format(value)


def main(words: Sequence[str] | None = None) -> int:
    """Run the parts that are asked for, as long as there is time."""
    asked, begin = arguments(words), time.monotonic()
    if asked.page:
        print(gpu_record.page(gpu_record.read(asked.page)), end="")
        return 0
    small, found = asked.small, {}

    def left() -> float:
        return asked.budget - (time.monotonic() - begin)

    depths = [2000, 4000] if small else [10**6, 10**7, 10**8]
    count = 10_000 if small else 1_000_000

    def rates() -> dict[str, float]:
        return dict(found["floor"].numbers) if "floor" in found else {}

    known: dict[str, Callable[[], Table]] = {
        "card": functools.partial(gpu_floor.card, asked.device),
        "generator": functools.partial(gpu_checks.generator, asked.device, count),
        "angles": lambda: gpu_checks.angles(
            asked.device, 200 if small else 1000, 1 if small else 0.3 * asked.budget
        ),
        "floor": lambda: gpu_floor.floor(asked.device, 128 if small else 8192, 20_000 if small else 1 << 27),
        "times": lambda: times(asked, depths, rates(), left),
        "widths": lambda: widths(asked.device, 20_000 if small else 10**9, rates()),
        "lengths": lambda: gpu_floor.lengths(asked.device, 300 if small else 10**8),
        "launches": lambda: gpu_floor.launches(asked.device, 300 if small else 10**8, 10),
        "tests": lambda: gpu_checks.tests(asked.tests, min(70.0, left() - 2)),
        "deepest": lambda: deepest(asked, 10 * depths[-1], found.get("times", Table("times", "")), left),
    }
    for name in (part for part in PARTS if part in asked.parts):
        if left() < (0 if small else 8):
            found[name] = Table(name, name, notes=[f"Not run: {left():.0f} s were left."])
        else:
            found[name] = _run(name, known[name])
        show(found[name], asked.budget - left())
        gpu_record.write(found.values(), asked.out / "gpu.json")
        (asked.out / "gpu.md").write_text(gpu_record.page(found.values()), encoding="utf-8")
    return 1 if any(one.failures for one in found.values()) else 0


def _run(name: str, part: Callable[[], Table]) -> Table:
    """The part, or what broke it off: the parts after it are run all the same."""
    try:
        return part()
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        print(traceback.format_exc(), file=sys.stderr, flush=True)
        said = " ".join(str(error).split())[:300]
        return Table(
            name,
            name,
            failures=[f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}: {said}"],
        )


def show(table: Table, seconds: float) -> None:
    """Print a part's table."""
    print(f"\n{table.title}  [{seconds:.0f} s]", flush=True)
    if table.rows:
        print(plain_table(table.header, table.rows))
    for line in (*table.notes, *(f"FAILED: {line}" for line in table.failures)):
        print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
