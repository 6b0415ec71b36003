"""Is anything wrong in silence after a flipped bit or a kill, and what does a dead worker cost?

    python -m benchmarks.faults                              # every part, about ten minutes on two cores
    python -m benchmarks.faults --parts bits --flips 10000
    python -m benchmarks.faults --parts training --training-kills 5

Parts:

    bits      flips of one bit in the checkpoint of a training and in the record of a cell, each then read:
              refused, accepted with the same numbers, accepted with other numbers (must be 0)
    sweeps    SIGKILL at random times, half of the times of a worker alone and else of the whole sweep, which
              is then started again: what is lost, wrong or left over (must be 0)
    training  the same of training runs, half of them with a checkpoint after each step
    slowdown  time of a sweep one of whose two workers is killed over that of one that is not; side by side

Exit status 0 iff every count that must be 0 is, and the slowdown is at most the target.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from dlinear.errors import DomainError
from dlinear.runs import script
from dlinear.runs.knobs import at_least, check

with script.imports():
    from benchmarks import kills, victims
    from dlinear import report

Part = Literal["bits", "sweeps", "training", "slowdown"]
TARGET = 1.3  # of the slowdown: a new process takes about a second to start, the sweep six


@dataclass(frozen=True)
class Knobs:
    """What to damage, and how often."""

    parts: tuple[Part, ...] = ("bits", "sweeps", "training", "slowdown")  # parts to measure; all of them
    flips: int = 1000  # bits of each kind of file; 1,000 find a fault of 3 in 1,000 with 95 %
    sweep_kills: int = 100  # kills of sweeps, half of them of a worker alone
    training_kills: int = 50  # kills of training runs
    cells: int = 200  # of a sweep whose time is taken, 0.05 s each: five seconds for two workers
    pairs: int = 5  # of times; odd, so that the median is one of them
    seed: int = 0  # of bits and times; the times also depend on the machine


def bits(knobs: Knobs, folder: Path) -> report.Answer:
    """Part `bits`."""
    from benchmarks import bit_flips  # torch, which the workers of a sweep would import too

    rows, others = [], 0
    for name, measure in {"checkpoint": bit_flips.of_checkpoint, "record": bit_flips.of_record}.items():
        found = measure(folder / name, knobs.flips, knobs.seed)
        rows.append([name, str(knobs.flips), *(str(value) for value in asdict(found).values())])
        others += found.other
    print(report.table(["file", "flips", "refused", "same numbers", "other numbers"], rows))
    return report.Answer(
        "a flipped bit never gives other numbers", others == 0, f"{others} of {2 * knobs.flips}"
    )


def sweeps(knobs: Knobs, folder: Path) -> report.Answer:
    """Part `sweeps`."""
    whole, rng = folder / "whole", random.Random(knobs.seed)
    victims.sweep(str(whole), kills.CELLS, kills.SECONDS)
    alone = (knobs.sweep_kills + 1) // 2
    found = [kills.kill_workers(folder / "workers", whole, alone, rng)]
    found.append(kills.kill_parents(folder / "parents", whole, knobs.sweep_kills - alone, rng))
    return judged("a sweep that is killed loses nothing", found)


def training(knobs: Knobs, folder: Path) -> report.Answer:
    """Part `training`."""
    whole, rng = folder / "whole", random.Random(knobs.seed)
    with kills.running(victims.train, str(folder / "first"), kills.EPOCHS, 0.0) as process:
        process.join()  # imports, and the first step, are not what is timed
    start = time.perf_counter()
    with kills.running(victims.train, str(whole), kills.EPOCHS, 0.0) as process:
        process.join()
    seconds = time.perf_counter() - start
    found = kills.kill_trainings(folder / "killed", whole, seconds, knobs.training_kills, rng)
    return judged("training that is killed goes on to the same numbers", [found])


def judged(question: str, found: list[kills.Kills]) -> report.Answer:
    """The counts of kills as a table, and whether all that must be 0 are."""
    header = ["kills of workers", "of parents", "lost", "wrong", "files left", "processes left"]
    rows = [[k.workers, k.parents, k.lost, k.wrong, k.files, k.processes] for k in found]
    print(report.table(header, [list(map(str, row)) for row in rows]))
    for name in {name for k in found for name in k.names}:
        print(f"left over: {name}", file=sys.stderr)
    bad = sum(sum(row[2:]) for row in rows)
    count = sum(sum(row[:2]) for row in rows)
    return report.Answer(question, bad == 0, f"{bad} faults in {count} kills")


def slowdown(knobs: Knobs, folder: Path) -> report.Answer:
    """Part `slowdown`."""
    ratios = kills.slowdown(folder, knobs.cells, knobs.pairs, random.Random(knobs.seed))
    print("with a dead worker over without:", " ".join(f"{ratio:.2f}" for ratio in ratios))
    median = statistics.median(ratios)
    question = (
        f"a dead worker costs a sweep of {knobs.cells * kills.SECONDS / 2:g} s at most {TARGET:g} times"
    )
    return report.Answer(question, median <= TARGET, f"median {median:.2f} of {knobs.pairs}")


MEASURES = {"bits": bits, "sweeps": sweeps, "training": training, "slowdown": slowdown}


def main(knobs: Knobs) -> int:
    """Damage and kill, print the counts, judge."""
    one = at_least(1)
    check(knobs, flips=one, sweep_kills=one, training_kills=one, cells=one, pairs=one, seed=at_least(0))
    if sys.platform != "linux":
        raise DomainError(f"on {sys.platform}: processes are found in /proc, which Linux alone has")
    print(f"knobs: {asdict(knobs)}")
    answers = []
    with tempfile.TemporaryDirectory(prefix="dlinear-faults-") as folder:
        for part in knobs.parts:
            print(f"\n{part}")
            (Path(folder) / part).mkdir()
            answers.append(MEASURES[part](knobs, Path(folder) / part))
    print()
    return report.finish(answers)


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
