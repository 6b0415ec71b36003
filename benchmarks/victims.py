"""What `benchmarks.faults` kills: a sweep of small cells, and the training of a small model.

Both run in processes of their own; the numbers of both are determined, so that a run that was killed and
started again can be compared with one that was not. The workers of the sweep import this file: torch is
imported where it is used.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dlinear.errors import RecordError
from dlinear.runs import records, sweeps

NUMBERS = 20_000  # of each record: it takes milliseconds to write, so that kills fall into writing too
WORKERS = 2

tqdm.set_lock(threading.RLock())  # its own is a semaphore, which outlives a killed process


@dataclass(frozen=True)
class Cell:
    """One cell of the sweep.

    Attributes:
        seed: of its numbers.
        seconds: that it takes.
    """

    seed: int
    seconds: float


def compute(cell: Cell) -> sweeps.Arrays:
    """Normal variates of the seed, after the seconds that a real cell would take."""
    time.sleep(cell.seconds)
    values = np.random.default_rng(cell.seed).standard_normal(NUMBERS)
    return {"i": (["i"], np.arange(NUMBERS)), "values": (["i"], values)}


def sweep(folder: str, cells: int, seconds: float, end: Connection | None = None) -> None:
    """Compute the cells over two processes; sends the seconds that this took."""
    start = time.perf_counter()
    done = sweeps.run(folder, [Cell(seed, seconds) for seed in range(cells)], compute, workers=WORKERS)
    if end is not None:
        end.send((time.perf_counter() - start, len(done.failed) + len(done.lost)))


def train(folder: str, epochs: int, every: float) -> None:
    """Train a small model, or go on; a checkpoint each `every` seconds and after each epoch."""
    import torch

    from dlinear import bridge

    torch.set_num_threads(1)
    split = bridge.load("linear", samples=200, test_samples=50, width=8)
    model = bridge.model("mlp", split.task, depth=4, width=16)
    training = bridge.Training(0.05, 20, epochs, optimizer="adam", device="cpu")
    bridge.train(
        model, split, bridge.method("horizon-2"), training, folder=folder, every=every, progress=False
    )


def start(target: Callable[..., None], *given: Any) -> multiprocessing.Process:
    """A running process; torch has been imported when it starts."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "dlinear.bridge"])
    process = context.Process(target=target, args=given)
    process.start()
    return process  # type: ignore[return-value]


def workers_of(pid: int) -> set[int]:
    """The processes that compute for the sweep of this process."""
    found = set()
    for place in Path("/proc").iterdir():
        if not place.name.isdigit():
            continue
        try:
            stat, words = (place / "stat").read_text(), (place / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        state, parent = stat.rpartition(")")[2].split()[:2]
        if int(parent) == pid and state != "Z" and b"spawn_main" in words:
            found.add(int(place.name))
    return found


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and that nobody has asked for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def numbers_of_sweep(folder: str | os.PathLike[str]) -> dict[str, bytes]:
    """The numbers of each record of a sweep by key; a record that cannot be read is not there."""
    found = {}
    for path in sorted(records.cells(folder).glob("*.npz")):
        with contextlib.suppress(RecordError):
            record = records.read(path)
            found[record.key] = b"".join(record.arrays[name].tobytes() for name in sorted(record.arrays))
    return found


def numbers_of_training(folder: str | os.PathLike[str]) -> tuple[str, int, list[dict[str, Any]]]:
    """Weights and state of the optimizer as a hash, steps, and the rows without the wall clock's columns."""
    from dlinear.bridge.training import checkpoints, metrics

    found = checkpoints.load(Path(folder) / "checkpoint.pt")
    state = {f"{i} {name}": v for i, s in found.optimizer["state"].items() for name, v in s.items()}
    rows = [
        {name: value for name, value in row.items() if name not in metrics.CLOCK}
        for row in metrics.read(Path(folder) / "metrics.jsonl")
    ]
    weights = checkpoints.fingerprint({**found.model, **found.generators, **state})
    return weights, steps_of(folder), rows


def steps_of(folder: str | os.PathLike[str]) -> int:
    """Steps that the checkpoint of a training holds; 0 before the first one, -1 where it cannot be read."""
    from dlinear.bridge.training import checkpoints

    path = Path(folder) / "checkpoint.pt"
    try:
        return int(checkpoints.load(path).progress["steps"]) if path.exists() else 0
    except RecordError:
        return -1
