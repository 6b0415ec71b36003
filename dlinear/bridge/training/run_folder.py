"""The files of one run: its checkpoint and its lines of metrics, and the messages that name them."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Sequence
from pathlib import Path

from dlinear import storage
from dlinear.bridge.training import checkpoints, metrics
from dlinear.bridge.training.checkpoints import Checkpoint
from dlinear.checks import as_number
from dlinear.errors import DomainError, RecordError

CHECKPOINT, METRICS = "checkpoint.pt", "metrics.jsonl"


class RunFolder:
    """Where a run keeps its files; with `path` None nothing is kept and nothing is found.

    Args:
        path: the folder, made when the first file is written.
        every: seconds after which the checkpoint is due again, >= 0; infinity for never inside an epoch.

    Raises:
        DomainError: `every` is no such number.
    """

    def __init__(self, path: Path | None, every: float) -> None:
        number = as_number("every", every, None)
        if not number >= 0:
            raise DomainError(f"every is {every}; expected seconds >= 0")
        self.path, self.every = path, number
        self._saved = time.monotonic()

    def due(self) -> bool:
        """Whether a checkpoint should be written inside an epoch."""
        return self.path is not None and time.monotonic() - self._saved >= self.every

    def open(self, key: str, initial: str) -> Checkpoint | None:
        """The checkpoint of the run of this key, if there is one.

        Args:
            key: of the run.
            initial: `checkpoints.fingerprint` of the model as it was built.

        Raises:
            RecordError: a damaged checkpoint, one of another run, or rows of metrics without a checkpoint.
        """
        if self.path is None:
            return None
        path = self.path / CHECKPOINT
        storage.remove_leftovers(self.path)
        if not path.exists():
            metrics.restore(self.path / METRICS, "")  # refuses rows that no checkpoint explains
            return None
        found = checkpoints.load(path, key)
        if initial not in (found.initial, checkpoints.fingerprint(found.model)):
            raise RecordError(
                f"{path} is of a run that began with other weights; build the model with the same seed, "
                f"use another folder or {checkpoints.ADVICE}"
            )
        return found

    def check_writable(self) -> None:
        """Make the folder, before any work is done for it.

        Raises:
            WriteError: it cannot be made, is a file, or may not be written.
        """
        if self.path is None:
            return
        why = ""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = "it is a file" if self.path.is_file() else error.strerror or str(error)
        if not why and not os.access(self.path, os.W_OK | os.X_OK):
            why = os.strerror(errno.EACCES)
        if why:
            raise storage.WriteError(f"the run cannot be kept in {self.path}: {why}; use another folder")

    def refuse(self, what: str) -> RecordError:
        """The error that says what is wrong with the checkpoint."""
        assert self.path is not None
        return RecordError(f"{self.path / CHECKPOINT} {what}")

    def restore(self, lines: Sequence[str]) -> None:
        """Make the metrics file hold these lines, of which it may lack the last ones.

        Raises:
            RecordError: it holds other lines.
        """
        if self.path is not None:
            metrics.restore(self.path / METRICS, "".join(lines))

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint.

        Raises:
            WriteError: a full disk, for example; the checkpoint before is kept.
        """
        if self.path is None:
            return
        try:
            checkpoints.save(self.path / CHECKPOINT, checkpoint)
        except storage.WriteError as error:
            raise self._failed(error) from error
        self._saved = time.monotonic()

    def append(self, line: str) -> None:
        """Add a line to the metrics file.

        Raises:
            WriteError: a full disk, for example.
        """
        if self.path is None:
            return
        try:
            metrics.append(self.path / METRICS, line)
        except storage.WriteError as error:
            raise self._failed(error) from error

    def contents(self) -> str:
        """What the folder keeps, in words."""
        if self.path is None or not (self.path / CHECKPOINT).exists():
            return "nothing is kept"
        return f"the last checkpoint is kept in {self.path}"

    def _failed(self, error: storage.WriteError) -> storage.WriteError:
        full = getattr(error.__cause__, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        advice = f"{'make room and ' if full else ''}run the same command again"
        return storage.WriteError(f"{error}; {self.contents()}, {advice}")
