"""Heartbeats and results of the ranks, through the key-value store that all of them see."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from dlinear.errors import DistributedError

PIECE = 4 << 20  # bytes of one value in the store
LEFT = b"left"  # the last heartbeat of a rank that ended on purpose


class Heartbeat:
    """What a rank writes for the others: a count that grows while it runs, and the rounds it has finished."""

    def __init__(self, store: Any, rank: int, world: int, timeout: float) -> None:
        self.store, self.rank, self.world, self.timeout = store, rank, world, timeout
        self.round = self.sent = 0
        self._shown: list[str] = []
        self.broken: DistributedError | None = None
        self._stop = threading.Event()
        with as_one_line(self, "the ranks to meet"):
            self._own = store.clone()  # a connection for the thread: a waiting call blocks its connection
            self._own.set(f"life/{rank}", b"0")
            store.set(f"done/{rank}", b"0")
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def done(self) -> None:
        """Say that this rank has finished its part of a round."""
        if self.broken:
            raise self.broken
        self.round += 1
        with as_one_line(self, "the other ranks"):
            self.store.set(f"done/{self.rank}", str(self.round).encode())

    def wait(self, number: int, what: str) -> None:
        """Return when every rank has finished this round; raise when the heartbeat of one is missing."""
        waiting = {rank: (b"", time.monotonic()) for rank in range(self.world) if rank != self.rank}
        pause = 1e-4
        with as_one_line(self, what):
            while True:
                waiting = {rank: seen for rank, seen in waiting.items() if not self._has_done(rank, number)}
                if not waiting:
                    return
                now, silent = time.monotonic(), []
                for rank, (sign, since) in waiting.items():
                    here = self.store.check([f"life/{rank}"])
                    new = self.store.get(f"life/{rank}") if here else b""
                    if new == LEFT:
                        raise DistributedError(f"rank {rank} of {self.world} has left; waited for {what}")
                    if new != sign:
                        waiting[rank] = (new, now)
                    elif now - since > self.timeout:
                        silent.append(rank)
                if silent:
                    raise DistributedError(self._silence(silent, what))
                time.sleep(pause)
                pause = min(0.05, 1.5 * pause)

    def exchange(self, mine: bytes) -> list[np.ndarray]:
        """The bytes of every rank, in pieces that the store takes (8 MiB at most)."""
        self.sent += 1
        pieces = [mine[i : i + PIECE] for i in range(0, len(mine), PIECE)]
        for i, piece in enumerate(pieces):
            self._show(f"part/{self.sent}/{self.rank}/{i}", piece)
        self._show(f"parts/{self.sent}/{self.rank}", str(len(pieces)).encode())
        found = []
        for rank in range(self.world):
            count = int(self.store.get(f"parts/{self.sent}/{rank}"))
            parts = (self.store.get(f"part/{self.sent}/{rank}/{i}") for i in range(count))
            found.append(np.frombuffer(b"".join(parts), dtype=np.uint8))
        return found

    def forget(self) -> None:
        """Delete what this rank wrote in earlier rounds from the store.

        To be called after `wait` and before anything of the new round is written: a rank finishes this round
        only after it has read all of the last one.
        """
        with as_one_line(self, "the other ranks"):
            while self._shown:
                self.store.delete_key(self._shown.pop())

    def _show(self, key: str, value: bytes) -> None:
        self._shown.append(key)
        self.store.set(key, value)

    def leave(self) -> None:
        """Tell the others that this rank ends."""
        self._stop.set()
        self._thread.join(self.timeout)  # a thread still inside torch aborts the interpreter's end
        with contextlib.suppress(RuntimeError):
            self.store.set(f"life/{self.rank}", LEFT)

    def _has_done(self, rank: int, number: int) -> bool:
        return self.store.check([f"done/{rank}"]) and int(self.store.get(f"done/{rank}")) >= number

    def _silence(self, ranks: list[int], what: str) -> str:
        names = f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks))} of {self.world}"
        return f"no heartbeat from {names} for {self.timeout:g} s; waited for {what}"

    def _live(self) -> None:
        count = 0
        with contextlib.suppress(RuntimeError):  # the store is gone: the main thread raises the error
            while not self._stop.wait(min(1.0, self.timeout / 5)):
                count += 1
                self._own.set(f"life/{self.rank}", str(count).encode())


@contextlib.contextmanager
def as_one_line(heartbeat: Heartbeat, what: str) -> Iterator[None]:
    """torch's errors, which may be many lines, as one line; no map is possible after any."""
    try:
        yield
    except DistributedError as error:
        heartbeat.broken = error
        raise
    except RuntimeError as error:  # torch.distributed.DistError and what gloo raises
        line = " ".join(str(error).split())[:200]
        heartbeat.broken = DistributedError(
            f"rank {heartbeat.rank} of {heartbeat.world} lost the others in {what}: {line}"
        )
        raise heartbeat.broken from error
