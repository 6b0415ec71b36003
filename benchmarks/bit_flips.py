"""Bits that flip in the files of a run: a checkpoint of a training, the record of a cell."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import victims
from dlinear.bridge.training import checkpoints
from dlinear.errors import DlinearError
from dlinear.runs import records


@dataclasses.dataclass(frozen=True)
class Flips:
    """What became of a file's readings, one bit flipped in each.

    Attributes:
        refused: readings that ended with an error of the library.
        same: those that gave the numbers that were written.
        other: those that gave other numbers; must be 0.
    """

    refused: int
    same: int
    other: int


def equal(a: Any, b: Any) -> bool:
    """Whether two contents of files are the same, bit for bit; NaN equals NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        a, b = a.detach().numpy(), b.detach().numpy()
    if isinstance(a, np.ndarray):
        return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    if dataclasses.is_dataclass(a):
        a, b = vars(a), vars(b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(equal(a[name], b[name]) for name in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return repr(a) == repr(b)


def flip(path: Path, read: Callable[[Path], Any], count: int, seed: int) -> Flips:
    """Flip one bit of the file after the other, each in the whole file, and read it each time.

    Args:
        path: the file; it is as before afterwards.
        read: path -> content, or an error of the library.
        count: bits, drawn uniformly from the file.
        seed: of the draws.
    """
    good, known = path.read_bytes(), read(path)
    rng, refused, other = random.Random(seed), 0, 0
    for _ in range(count):
        data, bit = bytearray(good), rng.randrange(8 * len(good))
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        try:
            other += not equal(read(path), known)
        except DlinearError:
            refused += 1
    path.write_bytes(good)
    return Flips(refused, count - refused - other, other)


def of_checkpoint(folder: Path, count: int, seed: int) -> Flips:
    """`flip` in the checkpoint of a small training."""
    victims.train(str(folder), 2, 600.0)
    return flip(folder / "checkpoint.pt", checkpoints.load, count, seed)


def of_record(folder: Path, count: int, seed: int) -> Flips:
    """`flip` in the record of a cell: a profile of 20 points, and a number that is not defined."""
    m = np.unique(np.geomspace(1, 1000, 20).astype(int))
    arrays = {"m": (["m"], m), "sin2": (["m"], 1e-6 * m**2 / 7), "order": ([], np.nan)}
    path = records.write(folder, {"seed": 0, "depth": 10_000, "ensemble": "gaussian"}, arrays, seconds=0.5)
    return flip(path, records.read, count, seed)
