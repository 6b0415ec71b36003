"""The map over chunks in several processes (`torch.distributed`): each rank computes a range of layers.

The ranks exchange what a task returns, a few n x n matrices or numbers, in one collective call at the end of
a map, so that all get every result; no layers, and no pickle. Before that call each waits until the others
are done. A rank may compute for an hour; one whose heartbeat is missing for `timeout` seconds ends the work
of the others with an error that names it.

    python -m torch.distributed.run --standalone --nproc-per-node 2 SCRIPT

(docs/guide.md has a line whose launcher does not listen beyond the loopback interface.)
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dlinear import errors
from dlinear.engine.parallel.heartbeat import Heartbeat, as_one_line
from dlinear.engine.parallel.rendezvous import Link, initialise, on_one_machine, store, variables
from dlinear.engine.parallel.threads import Item, Result, Threads, workers
from dlinear.errors import DistributedError, DlinearError

TIMEOUT = 120.0  # seconds


def launched() -> bool:
    """Whether this process is one of several ranks, by the variables that torchrun sets."""
    return os.environ.get("WORLD_SIZE", "1") not in ("", "1") and "RANK" in os.environ


@contextlib.contextmanager
def from_environment(
    timeout_seconds: float = TIMEOUT, *, local: Threads | None = None, link: Link = "gloo"
) -> Iterator[DistributedTeam]:
    """Join the ranks that torchrun started (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT); leave at the end.

    Args:
        timeout_seconds: how long to wait for a rank that has not joined, or whose heartbeat is missing.
        local: the threads of each process; only the first rank shows their progress.
        link: "gloo" for results through the CPU, "nccl" from GPU to GPU (one for each rank).

    Raises:
        DistributedError: variables that are missing, or a rank that does not come in time.
    """
    if not (math.isfinite(timeout_seconds) and timeout_seconds > 0):
        raise DistributedError(f"timeout_seconds is {timeout_seconds}; expected a finite number > 0")
    rank, world, host, port = variables()
    local = local or Threads()
    heartbeat = Heartbeat(store(rank, world, host, port, timeout_seconds), rank, world, timeout_seconds)
    try:
        heartbeat.wait(0, f"the ranks to meet at {host}:{port}")
        initialise(heartbeat, link, on_one_machine=on_one_machine(host, world))
        team = DistributedTeam(heartbeat, Threads(local.workers, local.progress and rank == 0), link)
        yield replace(team, workers=team.agree(workers(local), "threads"))
        with contextlib.suppress(DistributedError):
            heartbeat.done()
            heartbeat.wait(heartbeat.round, "the end")
    finally:
        heartbeat.leave()
        from torch import distributed as dist

        if dist.is_initialized() and not heartbeat.broken:
            dist.destroy_process_group()


@dataclass(frozen=True)
class DistributedTeam:
    """The ranks of a run, each with its share of the tasks of a map: a `threads.ParallelMap`.

    Attributes:
        local: the threads of this process, for work whose results stay in it.
        workers: the first rank's number of threads, by which every rank cuts the layers into chunks.
    """

    _heartbeat: Heartbeat = field(repr=False)
    local: Threads = field(default_factory=Threads)
    _link: Link = "gloo"
    workers: int | None = None

    @property
    def rank(self) -> int:
        """Number of this process, 0..size-1; rank 0 prints and writes."""
        return self._heartbeat.rank

    @property
    def size(self) -> int:
        """Number of processes."""
        return self._heartbeat.world

    @property
    def broken(self) -> bool:
        """Whether a rank is lost, so that no further map is possible."""
        return self._heartbeat.broken is not None

    def map(self, function: Callable[[Item], Result], tasks: Sequence[Item], label: str) -> list[Result]:
        """[function(task) for task in tasks], on every rank.

        Results are numbers, arrays of float64, and tuples or lists of such, of one shape for all tasks.

        Raises:
            DistributedError: a rank is lost, or its task raised what is not a `DlinearError`.
            DlinearError: what a task raised, on every rank.
        """
        return self._share(self.local, function, tasks, label)

    def agree(self, number: int, label: str = "agreement") -> int:
        """The first rank's number, on every rank."""
        return int(self._share(Threads(), lambda _: float(number), range(self.size), label)[0])

    def _share(
        self, local: Threads, function: Callable[[Item], Result], tasks: Sequence[Item], label: str
    ) -> list[Result]:
        # 1. this rank's share of the tasks, as one array of numbers
        mine = shares(tasks, self.size)[self.rank]
        failure: Exception | None = None
        try:
            head, numbers = _pack(local.map(function, tasks[mine.start : mine.stop], label))
        except Exception as error:  # the other ranks wait for an answer
            failure = error
            head, numbers = {"error": [type(error).__name__, " ".join(str(error).split())]}, np.empty((0, 0))
        # 2. wait until every rank has computed its own
        self._heartbeat.done()
        self._heartbeat.wait(self._heartbeat.round, f"their part of {label!r}")
        self._heartbeat.forget()
        # 3. exchange the form of the results or the error of each rank, then the numbers
        with as_one_line(self._heartbeat, f"the exchange after {label!r}"):
            head["label"] = label
            heads = [json.loads(part.tobytes()) for part in self._exchange(_bytes_of(json.dumps(head)))]
            if len({head["label"] for head in heads}) > 1:
                raise DistributedError(f"ranks are in different maps: {[head['label'] for head in heads]}")
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
            return self._heartbeat.exchange(mine.tobytes())
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
    # a task goes to the rank on whose share of the total weight its middle lies
    ends = np.cumsum(weights, dtype=np.float64)
    total = ends[-1] if len(ends) else 0.0
    middles = ends - np.array(weights, dtype=np.float64) / 2
    cuts = np.searchsorted(middles, total * np.arange(size + 1) / size)
    return [range(int(a), int(b)) for a, b in itertools.pairwise(cuts)]


# --- signs of life ---------------------------------------------------------------------------------------


# --- joining ---------------------------------------------------------------------------------------------


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
