"""The files of one run: its checkpoint and its lines of metrics, and the messages that name them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from dlinear import storage
from dlinear.bridge.training import checkpoints, metrics
from dlinear.bridge.training.checkpoints import Checkpoint
from dlinear.errors import RecordError

CHECKPOINT, METRICS = "checkpoint.pt", "metrics.jsonl"


class RunFolder:
    """Where a run keeps its files; with `path` None nothing is kept and nothing is found.

    Args:
        path: the folder, made when the first file is written.
        every: seconds after which the checkpoint is due again.
    """

    def __init__(self, path: Path | None, every: float) -> None:
        self.path, self.every = path, every
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
        return storage.WriteError(f"{error}; {self.contents()}, make room and run the same command again")
