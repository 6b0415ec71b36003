"""What a run has measured: one line of JSON for each epoch in a file that survives a crash, and its arrays.

NaN and infinities are written as null (JSON has neither) and read as NaN.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dlinear import storage
from dlinear.errors import DomainError, RecordError
from dlinear.runs import records
from dlinear.storage.reading import reading

OK = "ok"  # the status of an epoch that ran to its end
FINISHED = "finished"
CLOCK = ("seconds", "step_seconds")  # columns that the wall clock writes: they differ between equal runs
COLUMNS = (
    "learning_rate",
    "loss",
    "train_loss",
    "train_accuracy",
    "test_loss",
    "test_accuracy",
    "seconds",
)
EpochRow = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Run:
    """What `train` measured, by epoch; epoch 0 is the untrained model.

    Attributes:
        status: "finished", "diverged at epoch e", "out of time at epoch e" or "out of steps at epoch e".
        epochs: (E,) 0, 1, ...
        steps: (E,) optimizer steps until the epoch's end.
        learning_rate: (E,) during the epoch.
        loss: (E,) mean over the samples of the epoch, at the weights of their steps; NaN for epoch 0.
        train_loss: (E,) of the training set at the epoch's end, in evaluation mode.
        train_accuracy: (E,) likewise, NaN where there are no classes.
        test_loss: (E,) of the test set.
        test_accuracy: (E,) of the test set.
        seconds: (E,) that the steps have taken until the epoch's end.
        step_seconds: seconds of a step: the median over the epochs of their medians, NaN without a step.
        probes: epoch -> what the probe returned, as arrays.
        horizons: (E,) of the epoch's steps where a `HorizonSchedule` chose it, 0 where there were none; empty
            without a schedule.
        cosines: epoch -> horizon -> cos(theta_h) as the schedule measured it at the epoch's end.
    """

    status: str
    epochs: NDArray[np.int64]
    steps: NDArray[np.int64]
    learning_rate: NDArray[np.float64]
    loss: NDArray[np.float64]
    train_loss: NDArray[np.float64]
    train_accuracy: NDArray[np.float64]
    test_loss: NDArray[np.float64]
    test_accuracy: NDArray[np.float64]
    seconds: NDArray[np.float64]
    step_seconds: float
    probes: Mapping[int, Mapping[str, NDArray[np.float64]]] = field(default_factory=dict)
    horizons: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    cosines: Mapping[int, Mapping[int, float]] = field(default_factory=dict)

    @property
    def diverged(self) -> bool:
        """Whether a loss became NaN or infinite."""
        return self.status.startswith("diverged")

    @property
    def best_epoch(self) -> int:
        """The first epoch of the largest test accuracy; of the least test loss where there are no classes."""
        rows = zip(self.epochs, self.test_loss, self.test_accuracy, strict=True)
        found = best([{"epoch": int(e), "test_loss": x, "test_accuracy": a} for e, x, a in rows])
        return int(found["epoch"])


def run_of(rows: Sequence[EpochRow]) -> Run:
    """The arrays of the rows of a run that has ended.

    Raises:
        RecordError: not a single row.
    """
    if not rows:
        raise RecordError("no epoch is there; expected the rows of a run, from epoch 0 on")
    columns = {name: np.array([row[name] for row in rows], np.float64) for name in COLUMNS}
    medians = [row["step_seconds"] for row in rows if row["step_seconds"] is not None]
    return Run(
        status=FINISHED if rows[-1]["status"] == OK else rows[-1]["status"],
        epochs=np.array([row["epoch"] for row in rows], np.int64),
        steps=np.array([row["steps"] for row in rows], np.int64),
        step_seconds=float(np.median(medians)) if medians else math.nan,
        probes={
            row["epoch"]: {name: np.array(value, np.float64) for name, value in row["probe"].items()}
            for row in rows
            if "probe" in row
        },
        horizons=np.array([row["horizon"] or 0 for row in rows if "horizon" in row], np.int64),
        cosines={row["epoch"]: _cosines(row) for row in rows if "cos" in row},
        **columns,
    )


def _cosines(row: EpochRow) -> dict[int, float]:
    """cos(theta_h) by horizon, NaN where it was undefined."""
    pairs = zip(row["measured"], row["cos"], strict=True)
    return {h: math.nan if cos is None else cos for h, cos in pairs}


def best(rows: Sequence[EpochRow]) -> EpochRow:
    """Epoch, test loss and test accuracy of the best row."""

    def worse(row: EpochRow) -> tuple[float, float]:
        loss, accuracy = (
            math.inf if row[name] is None or math.isnan(row[name]) else sign * row[name]
            for name, sign in (("test_loss", 1), ("test_accuracy", -1))
        )
        return accuracy, loss if math.isinf(accuracy) else 0.0

    row = min(rows, key=worse)
    return {name: row[name] for name in ("epoch", "test_loss", "test_accuracy")}


def plain(value: Any) -> Any:
    """A number, an array or nested lists of numbers as JSON values, null for NaN and infinities.

    Raises:
        DomainError: anything else.
    """
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().double() if value.is_floating_point() else value.detach().cpu()
    if isinstance(value, torch.Tensor | np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, int | float):
        return value if math.isfinite(value) else None
    raise DomainError(f"a probe must return numbers or arrays by name; received {value!r:.60}")


def line(row: EpochRow) -> str:
    """One row as one line."""
    return json.dumps(row, allow_nan=False) + "\n"


def parse(text: str) -> EpochRow:
    """The row of one line."""
    row: EpochRow = json.loads(text)
    return row


def read(path: records.Folder) -> list[EpochRow]:
    """The rows of a metrics file; a last line that a crash cut short is left out.

    Raises:
        RecordError: no such file, or a damaged line before the last.
    """
    with reading(Path(path), RecordError) as stream:
        lines = stream.read().split(b"\n")
    rows: list[EpochRow] = []
    for number, text in enumerate(lines[:-1], 1):  # what follows the last end of line was cut short
        try:
            row = json.loads(text)
            if not isinstance(row, dict) or row["epoch"] != number - 1:
                raise TypeError
        except (ValueError, KeyError, TypeError) as error:
            raise RecordError(f"{path} is damaged at line {number}: no row of epoch {number - 1}") from error
        rows.append(row)
    return rows


def append(path: Path, text: str) -> None:
    """Add lines to the file and write them through to the disk.

    Raises:
        WriteError: a full disk, for example.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as stream:
            stream.write(text.encode())
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise storage.WriteError(f"cannot write {path}: {error.strerror or error}") from error


def restore(path: Path, text: str) -> None:
    """Complete the file to `text`; it may lack the end, where a crash came before that was written.

    Raises:
        RecordError: the file has other content, which is not overwritten, or cannot be read or written.
    """
    present = b""
    if path.exists():
        with reading(path, RecordError) as stream:
            present = stream.read()
    wanted = text.encode()
    if not wanted.startswith(present):
        pairs = itertools.zip_longest(present.splitlines(), wanted.splitlines())
        line = next(number for number, (found, known) in enumerate(pairs, 1) if found != known)
        raise RecordError(
            f"{path} holds rows that its checkpoint does not know, from line {line} on; move it away to go on"
        )
    if wanted != present:
        with storage.replacing(path) as stream:
            stream.write(wanted)
