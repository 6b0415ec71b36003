"""A team of processes (`torch.distributed`): each rank owns a range of layers, and all get every result.

The ranks exchange what a task returns, a few n x n matrices or numbers, in one collective call at the end of
a map; no layers, and no pickle. Before that call each waits until the others are done. A rank that works for
an hour is waited for; one that gives no sign of life for `timeout` seconds (each has a thread that does) ends
the others' work with an error that names it.

    python -m torch.distributed.run --standalone --nproc-per-node 2 SCRIPT
"""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import json
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

import numpy as np

from dlinear import errors
from dlinear.errors import DistributedError, DlinearError
from dlinear.teams import Result, Task, Threads

Link = Literal["gloo", "nccl"]

TIMEOUT = 120.0  # seconds
_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_PIECE = 4 << 20  # bytes
_LEFT = b"left"  # the sign of life of a rank that went on purpose


def launched() -> bool:
    """Whether this process is one of several, by the variables that torchrun sets."""
    return os.environ.get("WORLD_SIZE", "1") not in ("", "1") and "RANK" in os.environ


@contextlib.contextmanager
def from_environment(
    timeout_seconds: float = TIMEOUT, *, local: Threads | None = None, link: Link = "gloo"
) -> Iterator[DistributedTeam]:
    """Join the ranks that torchrun started (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT); leave at the end.

    Args:
        timeout_seconds: how long to wait for a rank that has not come, or gives no sign of life.
        local: the threads of each process; only the first rank shows their progress.
        link: "gloo" for results through the CPU, "nccl" from GPU to GPU (one for each rank).

    Raises:
        DistributedError: variables that are missing, or a rank that does not come in time.
    """
    if not (math.isfinite(timeout_seconds) and timeout_seconds > 0):
        raise DistributedError(f"timeout_seconds is {timeout_seconds}; expected a finite number > 0")
    rank, world, host, port = _variables()
    local = local or Threads()
    signs = _Signs(_store(rank, world, host, port, timeout_seconds), rank, world, timeout_seconds)
    try:
        signs.wait(0, f"the ranks to meet at {host}:{port}")
        _initialise(signs, link, on_one_machine=_on_one_machine(host, world))
        yield DistributedTeam(signs, Threads(local.workers, local.progress and rank == 0), link)
        with contextlib.suppress(DistributedError):
            signs.done()
            signs.wait(signs.round, "the end")
    finally:
        signs.leave()
        from torch import distributed as dist

        if dist.is_initialized() and not signs.broken:
            dist.destroy_process_group()


@dataclass(frozen=True)
class DistributedTeam:
    """Ranks that share out the tasks of a map: `teams.Team`.

    Attributes:
        local: the threads of this process, for work whose results stay in it.
    """

    _signs: _Signs = field(repr=False)
    local: Threads = field(default_factory=Threads)
    _link: Link = "gloo"

    @property
    def rank(self) -> int:
        """Number of this process, 0..size-1; the first one speaks."""
        return self._signs.rank

    @property
    def size(self) -> int:
        """Number of processes."""
        return self._signs.world

    @property
    def broken(self) -> bool:
        """Whether a rank has gone, so that no further map can be."""
        return self._signs.broken is not None

    def map(self, function: Callable[[Task], Result], tasks: Sequence[Task], label: str) -> list[Result]:
        """[function(task) for task in tasks], on every rank.

        Results are numbers, arrays of float64, and tuples or lists of such, of one shape for all tasks.

        Raises:
            DistributedError: a rank has gone, or its task raised what is not a `DlinearError`.
            DlinearError: what a task raised, on every rank.
        """
        return self._share(self.local, function, tasks, label)

    def agree(self, number: int, label: str = "agreement") -> int:
        """The first rank's number, on every rank."""
        return int(self._share(Threads(), lambda _: float(number), range(self.size), label)[0])

    def _share(
        self, local: Threads, function: Callable[[Task], Result], tasks: Sequence[Task], label: str
    ) -> list[Result]:
        mine = shares(tasks, self.size)[self.rank]
        failure: Exception | None = None
        try:
            head, numbers = _pack(local.map(function, tasks[mine.start : mine.stop], label))
        except Exception as error:  # the other ranks wait for an answer
            failure = error
            head, numbers = {"error": [type(error).__name__, " ".join(str(error).split())]}, np.empty((0, 0))
        self._signs.done()
        self._signs.wait(self._signs.round, f"their part of {label!r}")
        self._signs.forget()
        with _as_one_line(self._signs, f"the exchange after {label!r}"):
            head["label"] = label
            heads = [json.loads(part.tobytes()) for part in self._exchange(_bytes_of(json.dumps(head)))]
            if len({head["label"] for head in heads}) > 1:
                raise DistributedError(f"ranks are at different work: {[head['label'] for head in heads]}")
            parts = None
            if not any("error" in head for head in heads):
                parts = self._exchange(numbers.view(np.uint8).reshape(-1))
        if failure is not None:
            raise failure
        if parts is None:
            rank, head = next((i, head) for i, head in enumerate(heads) if "error" in head)
            raise _error_of(rank, *head["error"])
        results: list[Result] = []
        for head, part in zip(heads, parts, strict=True):
            results += _unpack(head, part.view(np.float64))
        return results

    def _exchange(self, mine: np.ndarray) -> list[np.ndarray]:
        """The bytes of every rank: through the store, which outlives a rank; from GPU to GPU by nccl."""
        if self._link == "gloo":
            return self._signs.exchange(mine.tobytes())
        import torch

        place = "cuda"
        lengths = [torch.zeros(1, dtype=torch.int64, device=place) for _ in range(self.size)]
        torch.distributed.all_gather(lengths, torch.tensor([mine.size], device=place))
        counts = [int(length) for length in lengths]
        longest = max(1, *counts)
        padded = torch.zeros(longest, dtype=torch.uint8, device=place)
        padded[: mine.size] = torch.from_numpy(mine.copy())
        found = [torch.empty_like(padded) for _ in counts]
        torch.distributed.all_gather(found, padded)
        return [part.cpu().numpy()[:count] for part, count in zip(found, counts, strict=True)]


def shares(tasks: Sequence[Any], size: int) -> list[range]:
    """One contiguous range of task numbers for each rank, of about equally many layers.

    A task that is a pair (start, stop) weighs stop - start, any other one.
    """
    weights = [t[1] - t[0] if isinstance(t, tuple) and len(t) == 2 else 1 for t in tasks]
    ends = np.cumsum(weights, dtype=np.float64)
    total = ends[-1] if len(ends) else 0.0
    middles = ends - np.array(weights, dtype=np.float64) / 2
    cuts = np.searchsorted(middles, total * np.arange(size + 1) / size)
    return [range(int(a), int(b)) for a, b in itertools.pairwise(cuts)]


# --- signs of life ---------------------------------------------------------------------------------------


class _Signs:
    """What the ranks know of each other: a count that grows while one lives, and the rounds it has done."""

    def __init__(self, store: Any, rank: int, world: int, timeout: float) -> None:
        self.store, self.rank, self.world, self.timeout = store, rank, world, timeout
        self.round = self.sent = 0
        self._shown: list[str] = []
        self.broken: DistributedError | None = None
        self._stop = threading.Event()
        with _as_one_line(self, "the ranks to meet"):
            self._own = store.clone()  # a connection of its own: one that waits blocks the others
            self._own.set(f"life/{rank}", b"0")
            store.set(f"done/{rank}", b"0")
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def done(self) -> None:
        """Say that this rank has finished its part of a round."""
        if self.broken:
            raise self.broken
        self.round += 1
        with _as_one_line(self, "the other ranks"):
            self.store.set(f"done/{self.rank}", str(self.round).encode())

    def wait(self, number: int, what: str) -> None:
        """Return when every rank has done this round; raise when one gives no sign of life."""
        waiting = {rank: (b"", time.monotonic()) for rank in range(self.world) if rank != self.rank}
        pause = 1e-4
        with _as_one_line(self, what):
            while True:
                waiting = {rank: seen for rank, seen in waiting.items() if not self._has_done(rank, number)}
                if not waiting:
                    return
                now, silent = time.monotonic(), []
                for rank, (sign, since) in waiting.items():
                    here = self.store.check([f"life/{rank}"])
                    new = self.store.get(f"life/{rank}") if here else b""
                    if new == _LEFT:
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
        pieces = [mine[i : i + _PIECE] for i in range(0, len(mine), _PIECE)]
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
        """Take what this rank showed in earlier rounds out of the store.

        After `wait`, and before anything of the new round is shown: a rank is done with this round only after
        it has read all of the last one.
        """
        with _as_one_line(self, "the other ranks"):
            while self._shown:
                self.store.delete_key(self._shown.pop())

    def _show(self, key: str, value: bytes) -> None:
        self._shown.append(key)
        self.store.set(key, value)

    def leave(self) -> None:
        """Say that this rank ends."""
        self._stop.set()
        self._thread.join(self.timeout)  # a thread still inside torch aborts the interpreter's end
        with contextlib.suppress(RuntimeError):
            self.store.set(f"life/{self.rank}", _LEFT)

    def _has_done(self, rank: int, number: int) -> bool:
        return self.store.check([f"done/{rank}"]) and int(self.store.get(f"done/{rank}")) >= number

    def _silence(self, ranks: list[int], what: str) -> str:
        names = f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks))} of {self.world}"
        return f"no sign of life from {names} for {self.timeout:g} s; waited for {what}"

    def _live(self) -> None:
        count = 0
        with contextlib.suppress(RuntimeError):  # the store has gone: the main thread will say so
            while not self._stop.wait(min(1.0, self.timeout / 5)):
                count += 1
                self._own.set(f"life/{self.rank}", str(count).encode())


@contextlib.contextmanager
def _as_one_line(signs: _Signs, what: str) -> Iterator[None]:
    """torch's errors, which may be many lines, as one; the team cannot go on after any."""
    try:
        yield
    except DistributedError as error:
        signs.broken = error
        raise
    except RuntimeError as error:  # torch.distributed.DistError and what gloo raises
        line = " ".join(str(error).split())[:200]
        signs.broken = DistributedError(
            f"rank {signs.rank} of {signs.world} lost the others in {what}: {line}"
        )
        raise signs.broken from error


# --- joining ---------------------------------------------------------------------------------------------


def _variables() -> tuple[int, int, str, int]:
    """RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT."""
    missing = [name for name in _VARIABLES if not os.environ.get(name)]
    if missing:
        raise DistributedError(f"{', '.join(missing)} not set: start with python -m torch.distributed.run")
    rank, world, host, port = (os.environ[name] for name in _VARIABLES)
    if not (rank.isdecimal() and world.isdecimal() and port.isdecimal() and int(rank) < int(world)):
        raise DistributedError(
            f"RANK={rank} WORLD_SIZE={world} MASTER_PORT={port}: not a rank below the size"
        )
    return int(rank), int(world), host, int(port)


def _store(rank: int, world: int, host: str, port: int, timeout: float) -> Any:
    """The table that all ranks see: the launcher's, or else one that the first rank serves."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # its warnings come before our one line
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

    serves = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    words: dict[str, Any] = {"is_master": serves, "wait_for_workers": False, "use_libuv": True}
    try:
        if not serves:
            _reach(host, port, timeout)
        elif _is_loopback(host):  # torch itself would listen on every address
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            words["master_listen_fd"] = socket.create_server((host, port), family=family).detach()
        store = TCPStore(host, port, world, timeout=timedelta(seconds=timeout), **words)
    except (RuntimeError, OSError) as error:
        doing = "serve" if serves else f"reach, for {timeout:g} s,"
        line = " ".join(str(error).split())[:200]
        raise DistributedError(
            f"rank {rank} of {world} could not {doing} the meeting place {host}:{port}: {line}"
        ) from error
    return PrefixStore(f"dlinear/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def _reach(host: str, port: int, timeout: float) -> None:
    """Wait until someone serves there; torch would print a page of its own where nobody does."""
    end = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection((host, port), timeout=timeout).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def _initialise(signs: _Signs, link: Link, on_one_machine: bool) -> None:
    """The process group of torch, on loopback when all ranks are on one machine."""
    if link == "gloo":  # results go through the store: gloo aborts a process whose peer closes first
        return
    import torch

    if link == "nccl":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if on_one_machine:
        loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
        if loopback is not None:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
    with _as_one_line(signs, "the first meeting"):
        torch.distributed.init_process_group(
            link,
            store=signs.store,
            rank=signs.rank,
            world_size=signs.world,
            timeout=timedelta(seconds=signs.timeout),
        )


def _on_one_machine(host: str, world: int) -> bool:
    return _is_loopback(host) or os.environ.get("LOCAL_WORLD_SIZE") == str(world)


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


# --- results as bytes ------------------------------------------------------------------------------------


def _pack(results: list[Any]) -> tuple[dict[str, Any], np.ndarray]:
    """The form of a result, and the numbers of all, one row each."""
    if not results:
        return {"form": None, "count": 0}, np.empty((0, 0))
    form = _form(results[0])
    for result in results[1:]:
        if _form(result) != form:
            raise DistributedError("the results of a map differ in form from task to task")
    rows = [np.concatenate([np.empty(0), *_leaves(result)]) for result in results]
    return {"form": form, "count": len(results)}, np.stack(rows)


def _unpack(head: Mapping[str, Any], numbers: np.ndarray) -> list[Any]:
    if not head["count"]:
        return []
    return [_build(head["form"], row, 0)[0] for row in numbers.reshape(head["count"], -1)]


def _form(result: Any) -> Any:
    """What a result is made of, as JSON: a number, an array with its shape, a tuple or list of forms."""
    if isinstance(result, np.ndarray) and result.dtype == np.float64:
        return {"array": list(result.shape)}
    if isinstance(result, float):
        return "number"
    if isinstance(result, tuple | list):
        return {type(result).__name__: [_form(part) for part in result]}
    raise DistributedError(
        f"a task returned {type(result).__name__}; ranks exchange floats and float64 arrays"
    )


def _leaves(result: Any) -> Iterator[np.ndarray]:
    if isinstance(result, tuple | list):
        for part in result:
            yield from _leaves(part)
    else:
        yield np.ravel(result)


def _build(form: Any, row: np.ndarray, at: int) -> tuple[Any, int]:
    """A result from its numbers, which begin at `at`, and where they end."""
    if form == "number":
        return float(row[at]), at + 1
    ((kind, parts),) = form.items()
    if kind == "array":
        end = at + math.prod(parts)
        return row[at:end].reshape(parts).copy(), end
    found = []
    for part in parts:
        value, at = _build(part, row, at)
        found.append(value)
    return (tuple(found) if kind == "tuple" else found), at


def _bytes_of(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


def _error_of(rank: int, name: str, text: str) -> DlinearError:
    """What another rank's task raised."""
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, DlinearError):
        return kind(text)
    return DistributedError(f"rank {rank}: {name}: {text}")
