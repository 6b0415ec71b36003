r"""Does sin^2(theta_h) keep its order at depths far beyond any network in use? (Theorems B and C)

    python -m sims.large_depth --depth 1e8 --width 10                   # minutes on two cores
    python -m sims.large_depth --depth 1e6 1e7 --data random --threads 2
    python -m sims.large_depth --depth 1e8 --device cuda --precision float32
    python -m sims.large_depth --depth 1e6 --ensemble smooth-constant

    TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 python -m torch.distributed.run --nproc-per-node 2 \
        --local-addr 127.0.0.1 --rdzv-backend c10d --rdzv-conf store_type=file \
        --rdzv-endpoint "$(mktemp -u)" -m sims.large_depth --depth 1e7

Layers W(t) = I + D(t) are generated chunk by chunk and never stored together: Gaussian or orthogonal, with
D = sigma Xi_t/T, or smooth and constant, D = A/T. Under torchrun each process computes a range of layers; the
numbers are the same to rounding, and the line above listens on the loopback interface only. One cell is one
network, recorded in results/large_depth at its end.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np

import dlinear
from dlinear import report
from dlinear.analysis import profiles
from dlinear.engine.backends import Precision, backend_for
from dlinear.engine.options import LAUNCHING, Engine
from dlinear.engine.parallel import distributed, rendezvous
from dlinear.engine.parallel.threads import ParallelMap, Threads
from dlinear.errors import DlinearError, DomainError
from dlinear.runs import collection, records, script, sweeps
from dlinear.runs.knobs import POSITIVE, ProfileCell, Target, at_least, cell_from, changed, check
from dlinear.theory import limits

with script.imports():
    import tyro

Ensemble = Literal["gaussian", "orthogonal", "smooth-constant"]
Device = Literal["cpu", "torch-cpu", "cuda"]
Count = Annotated[int | None, tyro.conf.arg(aliases=["--workers"])]

DEVICES = {"cpu": None, "torch-cpu": "cpu", "cuda": "cuda"}  # as `backend_for` names them
ORDERS = {"gaussian": (2.0, 0.15), "orthogonal": (2.0, 0.15), "smooth-constant": (3.0, 0.05)}
CONSTANT = 0.03  # relative tolerance of Theorem B's constant at finite T
SINGLE = 0.01  # relative error of sin^2 that a float32 run may have
COMPARED = 100_000  # depth, at most, at which float32 is compared with float64
TOY = "--data random --width 3 --depth 30000 100000 --points 8"  # a second, for the tests


@dataclass(frozen=True)
class Knobs(Target):
    """What to run; not `Launch`, for the processes here work on each cell together."""

    depth: tuple[float, ...] = (1e8,)  # T, number of layers, a cell each; 1e8 exceeds any network in use
    ensemble: Ensemble = "gaussian"  # kind of layers; Theorem C, the one about Gaussian layers, needs depth
    largest: float | None = None  # largest shortfall m; 1e6 or T/100: beyond it the next order shows
    sigma: float = 1.0  # size of the random layers; sin^2 is proportional to its square
    seed: int = 0  # seed of the layers; one network suffices where the shortfalls span six decades
    precision: Precision = "float64"  # numbers that are computed with; float32 is faster on a GPU
    device: Device = "cpu"  # cpu: numpy, fastest below width 64; torch-cpu: for comparison; cuda: a GPU
    threads: Count = None  # number of threads; one per core, two that launch on a GPU
    memory: float = 256.0  # MiB for the engine's arrays; 256 fit anywhere and cost no time
    timeout: float = distributed.TIMEOUT  # seconds without a heartbeat until a rank counts as lost
    results: str = "results"  # folder; records go to <results>/large_depth


@dataclass(frozen=True)
class Cell(ProfileCell):
    """One network, and what its times were taken on."""

    largest: int
    sigma: float
    precision: Precision
    device: str
    edition: int = 1  # raise it when the meaning of a cell changes


def whole(name: str, value: float) -> int:
    """1e8 as an integer."""
    if not 1 <= value <= 2**53 or value != int(value):
        raise DomainError(f"{name} is {value:g}; expected a whole number >= 1")
    return int(value)


def cell_of(knobs: Knobs, depth: int, identity: str) -> Cell:
    """The cell of one depth."""
    if depth < 1000:
        raise DomainError(f"depth is {depth}; expected at least 1000: the theorems are about large T")
    largest = max(10, min(10**6, depth // 100)) if knobs.largest is None else whole("largest", knobs.largest)
    if not 8 <= largest <= depth // 2:
        raise DomainError(f"largest is {largest}; expected a shortfall in 8..T/2 = {depth // 2}")
    return cell_from(Cell, knobs, depth=depth, largest=largest, data_identity=identity)


def build(cell: Cell, phi: np.ndarray) -> tuple[dlinear.Network, limits.DecayConstants]:
    """The network of a cell and what Theorems B and C predict for it."""
    depth, width = cell.depth, cell.width
    if cell.ensemble == "smooth-constant":
        a = np.random.default_rng([cell.seed, width]).normal(scale=width**-0.5, size=(width, width))
        return dlinear.ConstantNetwork(a, depth), limits.DecayConstants(
            0.0, limits.cubic_constant(lambda s: a, phi)
        )
    kind = dlinear.GaussianNetwork if cell.ensemble == "gaussian" else dlinear.OrthogonalNetwork
    net = kind(depth=depth, width=width, sigma=cell.sigma, seed=cell.seed)
    return net, limits.rough_constants(None, cell.sigma, phi, depth)


def engine_of(cell: Cell, team: ParallelMap, memory: float) -> Engine:
    """Backend, threads and memory of a cell."""
    name = DEVICES[cell.device]
    if name == "cuda" and distributed.launched():
        import torch

        name = f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % max(1, torch.cuda.device_count())}"
    backend = backend_for(name, cell.precision)
    return Engine(backend, team, int(memory * 2**20))


def profile_of(cell: Cell, phi: np.ndarray, engine: Engine) -> dlinear.AlignmentProfile:
    """sin^2 over the shortfalls of a cell."""
    m = profiles.shortfalls(cell.depth, cell.points, cell.largest / cell.depth)
    return dlinear.alignment(build(cell, phi)[0], phi, cell.depth - m, engine=engine)


def compute(cell: Cell, phi: np.ndarray, team: ParallelMap, memory: float) -> sweeps.Arrays:
    """The profile of one network, its predicted constants, and what it cost in time and memory."""
    law = build(cell, phi)[1]
    engine, start = engine_of(cell, team, memory), time.perf_counter()
    profile = profile_of(cell, phi, engine)
    seconds = time.perf_counter() - start
    return {
        **profiles.as_arrays(profile),
        "predicted_quadratic": ((), law.quadratic),
        "predicted_cubic": ((), law.cubic),
        "seconds": ((), seconds),
        "peak_memory": ((), peak_memory()),
        "device_memory": ((), device_memory(getattr(engine.backend, "device", "cpu"))),
        "triton": ((), getattr(engine.backend, "kernel", "") == "triton"),
        "ranks": ((), getattr(team, "size", 1)),
        "single_error": ((), single_error(cell, phi, team, memory)),
    }


def single_error(cell: Cell, phi: np.ndarray, team: ParallelMap, memory: float) -> float:
    """The largest relative error of sin^2 in float32, where it is compared with float64; 0 for float64."""
    if cell.precision == "float64":
        return 0.0
    depth = min(cell.depth, COMPARED)
    small = replace(cell, depth=depth, largest=min(cell.largest, depth // 100))
    double = replace(small, precision="float64")
    a, b = (profile_of(one, phi, engine_of(one, team, memory)).sin2 for one in (small, double))
    return float(np.abs(a / b - 1).max())


def peak_memory() -> float:
    """The largest memory of this process so far, MiB; NaN where the system does not report it."""
    try:
        import resource
    except ImportError:  # not a Unix
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def device_memory(device: str) -> float:
    """The largest memory that torch has allocated on a device ("cuda:0"), MiB; 0 on the CPU."""
    if not device.startswith("cuda"):
        return 0.0
    import torch

    return float(torch.cuda.max_memory_allocated(device) / 2**20)


def judge(data: Any, cell: Cell) -> tuple[str, list[report.Answer]]:
    """The tables of one depth and the verdicts, from the record alone."""
    (found,) = profiles.from_records(data, ensemble=cell.ensemble, depth=cell.depth)
    part = data.sel(ensemble=cell.ensemble, depth=cell.depth, seed=cell.seed)
    law = limits.DecayConstants(float(part["predicted_quadratic"]), float(part["predicted_cubic"]))
    curve = limits.decay_law(*law, found.shortfall, cell.depth)
    rows = [
        [str(m), f"{s:.6e}", f"{p:.6e}", f"{s / p:.4f}"]
        for m, s, p in zip(found.shortfall, found.sin2, curve, strict=True)
    ]
    fit = dlinear.fit_decay(found, max_fraction=0.5)
    low, high = fit.order_interval
    order = f"{fit.order:.3f} [{low:.3f}, {high:.3f}]"
    theorem, symbol = ("B", "cubic") if cell.ensemble == "smooth-constant" else ("C", "quadratic")
    ratio = getattr(fit, symbol) / getattr(law, symbol)
    ends = [end / getattr(law, symbol) for end in getattr(fit, f"{symbol}_interval")]
    lines = [
        report.table(("m", "sin^2", "predicted", "ratio"), rows),
        f"T = {cell.depth}: order {order} (95 %); "
        f"Theorem {theorem}, measured/predicted {ratio:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]",
        f"T = {cell.depth}: {float(part['seconds']):.1f} s on {cell.device}, {cell.precision}, "
        f"{int(part['ranks'])} processes; peak memory {float(part['peak_memory']):.0f} MiB a process"
        + (f", {float(part['device_memory']):.0f} MiB on the GPU" if cell.device == "cuda" else "")
        + (", Triton kernels" if bool(part.get("triton", False)) else ""),
    ]
    wanted, tolerance = ORDERS[cell.ensemble]
    name = f"{cell.ensemble} layers, T = {cell.depth}"
    close = abs(fit.order - wanted) <= tolerance
    answers = [report.Answer(f"{name}: order {wanted:g} +- {tolerance:g}", close, order)]
    if cell.ensemble == "smooth-constant":
        question = f"{name}: Theorem {theorem}, measured/predicted"
        answers.append(report.Answer(question, abs(ratio - 1) <= CONSTANT, f"{ratio:.4f}"))
    if cell.precision == "float32":
        error, depth = float(part["single_error"]), min(cell.depth, COMPARED)
        question = f"{name}: float32 against float64 at T = {depth}, relative error of sin^2 <= {SINGLE:g}"
        answers.append(report.Answer(question, error <= SINGLE, f"{error:.1e}"))
    return "\n".join(lines), answers


@contextlib.contextmanager
def team_of(knobs: Knobs) -> Any:
    """The threads of this process, or the ranks that torchrun started with theirs."""
    together = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if distributed.launched() else 1
    cores = max(1, (os.cpu_count() or 1) // together)
    usual = {"cpu": cores, "torch-cpu": 1, "cuda": LAUNCHING}[knobs.device]
    threads = Threads(knobs.threads or usual, progress=True)
    if not distributed.launched():
        yield threads
        return
    with distributed.from_environment(knobs.timeout, local=threads, link=link_of(knobs, together)) as team:
        yield team


def link_of(knobs: Knobs, together: int) -> rendezvous.Link:
    """nccl where each rank on this machine has a GPU of its own."""
    if knobs.device != "cuda":
        return "gloo"
    import torch

    return "nccl" if torch.cuda.device_count() >= together else "gloo"


def follow(team: distributed.DistributedTeam, cells: Sequence[Cell], run: Any) -> int:
    """Compute the cells that rank 0 names."""
    while (number := team.agree(-1, "the next cell")) >= 0:
        try:
            run(cells[number])
        except Exception:  # the first rank has the same error, and reports it
            if team.broken:
                raise
    return 0


def work(knobs: Knobs, team: Any) -> int:
    """Run the missing cells, print the tables and the verdicts; 0 iff every verdict holds."""
    phi, identity = knobs.phi()
    cells = [cell_of(knobs, whole("depth", depth), identity) for depth in knobs.depth]
    run = functools.partial(compute, phi=phi, team=team, memory=knobs.memory)
    shared = isinstance(team, distributed.DistributedTeam)
    if shared and team.rank:
        return follow(team, cells, run)

    def announced(cell: Cell) -> sweeps.Arrays:
        if shared:
            team.agree(cells.index(cell), "the next cell")
        return run(cell)

    folder = f"{knobs.results}/large_depth"
    sweep = sweeps.run(folder, cells, announced, workers=0, changed=changed(knobs))
    if shared and not team.broken:
        team.agree(-1, "the next cell")
    print(f"{knobs.data}, width {knobs.width}, {knobs.ensemble} layers, seed {knobs.seed}; {sweep}")
    if sweep.failed:
        return report.finish([report.Answer("every cell is computed", False, f"{len(sweep.failed)} failed")])
    judged = [judge(collection.load(folder, [records.key(cell)]), cell) for cell in cells]
    print("\n\n".join(text for text, _ in judged))
    return report.finish([answer for _, answers in judged for answer in answers])


def main(knobs: Knobs) -> int:
    """`work`, in one process or several; what stops it (2, or 130 for Ctrl-C) is one line on stderr."""
    try:
        check(
            knobs,
            depth=at_least(10),
            sigma=POSITIVE,
            width=at_least(1),
            points=at_least(3),
            memory=at_least(1),
            timeout=POSITIVE,
        )
        with team_of(knobs) as team:
            return work(knobs, team)
    except DlinearError as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # `sweeps.run` has said what is kept
        return 130


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__, ranks=True))
