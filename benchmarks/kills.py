"""Processes that are killed at random times (SIGKILL), in sweeps and in training, and started again.

Of every kill it is asked whether something was lost that had been there, whether the numbers in the end are
those of a run that was not disturbed, and whether files or processes are left over.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

from benchmarks import victims
from dlinear.errors import RecordError

CELLS, SECONDS = 40, 0.05  # of a sweep: a second of work for two workers
EPOCHS = 12  # of a training, 10 steps each
IN_A_ROW = 5  # kills of one sweep, or of one training, before it is compared
LIMIT = 60.0  # seconds after which a process that does not end is an error


@dataclass
class Kills:
    """What became of runs whose processes were killed.

    Attributes:
        workers: kills of a worker alone.
        parents: kills of the process that asks for the work.
        lost: records or steps that had been kept and are gone, and cells that a finished sweep lacks.
        wrong: records, or runs of training, whose numbers differ from those of an undisturbed run.
        files: files beside those of an undisturbed run, after the next start.
        processes: workers that outlived their parent.
    """

    workers: int = 0
    parents: int = 0
    lost: int = 0
    wrong: int = 0
    files: int = 0
    processes: int = 0
    names: list[str] = field(default_factory=list)


def files_of(folder: Path) -> set[str]:
    """The names of all files below the folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def compare_sweeps(found: Kills, folder: Path, whole: Path) -> None:
    """Count what a finished sweep lacks, has otherwise or has beside the undisturbed one."""
    want, have = victims.numbers_of_sweep(whole), victims.numbers_of_sweep(folder)
    found.lost += len(set(want) - set(have))
    found.wrong += sum(have[key] != want[key] for key in set(want) & set(have))
    _count_files(found, folder, whole)


def compare_trainings(found: Kills, folder: Path, whole: Path) -> None:
    """The same of two runs of training."""
    found.wrong += victims.numbers_of_training(folder) != victims.numbers_of_training(whole)
    _count_files(found, folder, whole)


def _count_files(found: Kills, folder: Path, whole: Path) -> None:
    others = files_of(folder) - files_of(whole)
    found.files += len(others)
    found.names += sorted(others)


@contextlib.contextmanager
def running(target: object, *given: object) -> Iterator[BaseProcess]:
    """A process of `victims.start`, which has ended after the block."""
    process = victims.start(target, *given)  # type: ignore[arg-type]
    try:
        yield process
    finally:
        if process.is_alive():
            process.kill()
        process.join(LIMIT)


def kill_workers(folder: Path, whole: Path, count: int, rng: random.Random) -> Kills:
    """Kill so many workers of sweeps, each at a random time; the sweeps go on by themselves.

    Args:
        folder: of the sweeps, new.
        whole: of the undisturbed sweep.
        count: kills.
        rng: of the times.
    """
    found, number = Kills(), 0
    while found.workers < count:
        place, number = folder / f"sweep-{number}", number + 1
        with running(victims.sweep, str(place), CELLS, SECONDS) as process:
            for _ in range(min(IN_A_ROW, count - found.workers)):
                time.sleep(rng.uniform(0.0, 0.6))
                found.workers += _kill_one(process, rng)
            process.join(LIMIT)
            if process.exitcode != 0:
                raise RecordError(f"a sweep whose workers were killed ended with {process.exitcode}")
        compare_sweeps(found, place, whole)
    return found


def _kill_one(process: BaseProcess, rng: random.Random) -> bool:
    """Kill one worker of the sweep, once there is one; False if the sweep has ended before."""
    while process.is_alive():
        if team := sorted(victims.workers_of(process.pid or 0)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(team), signal.SIGKILL)
                return True
        time.sleep(0.01)
    return False


def kill_parents(folder: Path, whole: Path, count: int, rng: random.Random) -> Kills:
    """Kill sweeps as a whole, by their parent, each at a random time, and start them again.

    Args:
        folder, whole, count, rng: as `kill_workers`.
    """
    found, number = Kills(), 0
    while found.parents < count:
        place, number = folder / f"sweep-{number}", number + 1
        before: set[str] = set()
        for _ in range(min(IN_A_ROW, count - found.parents)):
            with running(victims.sweep, str(place), CELLS, SECONDS) as process:
                process.join(rng.uniform(0.2, 2.5))
                team = victims.workers_of(process.pid or 0)
                process.kill()
                process.join(LIMIT)
                found.parents += process.exitcode == -signal.SIGKILL
            found.processes += _outlive(team)
            now = set(victims.numbers_of_sweep(place))  # all of them can be read
            found.lost += len(before - now)
            before = now
        with running(victims.sweep, str(place), CELLS, SECONDS) as process:
            process.join(LIMIT)
        compare_sweeps(found, place, whole)
    return found


def _outlive(team: set[int], seconds: float = 10.0) -> int:
    """How many of the processes still run after so many seconds."""
    end = time.monotonic() + seconds
    while (left := sum(map(victims.alive, team))) and time.monotonic() < end:
        time.sleep(0.02)
    return left


def kill_trainings(folder: Path, whole: Path, seconds: float, count: int, rng: random.Random) -> Kills:
    """Kill training at random times, half of the runs with a checkpoint after each step, and go on.

    Args:
        folder, whole, count, rng: as `kill_workers`.
        seconds: that the undisturbed run took.
    """
    found, number = Kills(), 0
    while found.parents < count:
        place, every, number = folder / f"run-{number}", 600.0 * (number % 2), number + 1
        steps = 0
        for _ in range(min(IN_A_ROW, count - found.parents)):
            with running(victims.train, str(place), EPOCHS, every) as process:
                process.join(rng.uniform(0.0, 0.6 * seconds))
                kept = victims.steps_of(place)
                process.kill()
                process.join(LIMIT)
                found.parents += process.exitcode == -signal.SIGKILL
            found.lost += max(steps, kept) > victims.steps_of(place)
            steps = victims.steps_of(place)
        with running(victims.train, str(place), EPOCHS, every) as process:
            process.join(LIMIT)
        compare_trainings(found, place, whole)
    return found


def slowdown(folder: Path, cells: int, pairs: int, rng: random.Random) -> list[float]:
    """Time of a sweep one of whose workers is killed, over that of one that is not, for each pair.

    Args:
        folder: of the sweeps, new.
        cells: of each sweep, `SECONDS` each.
        pairs: how many; which comes first alternates.
        rng: of the times of the kills.
    """
    ratios = []
    for pair in range(pairs):
        seconds = {}
        for kill in (False, True) if pair % 2 else (True, False):
            here, there = get_context("forkserver").Pipe(duplex=False)
            place = folder / f"pair-{pair}-{kill}"
            with running(victims.sweep, str(place), cells, SECONDS, there) as process:
                if kill:
                    while not any(place.glob("cells/*.npz")) and process.is_alive():
                        time.sleep(0.01)
                    time.sleep(rng.uniform(0.0, 0.3 * cells * SECONDS))
                    _kill_one(process, rng)
                if not here.poll(LIMIT):
                    raise RecordError("a sweep has not ended in time")
                seconds[kill], missing = here.recv()
            if missing:
                raise RecordError(f"a sweep ended with {missing} cells missing")
        ratios.append(seconds[True] / seconds[False])
    return ratios
