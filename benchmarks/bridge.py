"""What does a horizon step of the bridge cost, over back-propagation and over what a user would write?

    python -m benchmarks.bridge                                   # about two minutes on one core
    python -m benchmarks.bridge --before ../old                   # another checkout, in the same run
    python -m benchmarks.bridge --device cuda --rounds 31
    python -m benchmarks.bridge --widths 32 --horizons 8 --segment 1 --rounds 5

T residual blocks, one batch. Processor time of one thread (time until the device has finished, on a GPU).
The ways alternate within each round; ratios are taken round by round, and their medians are shown.

    by hand     at h = 1 detached local losses; at h > 1 each block's window run anew, as users write it
    g           consecutive blocks that share an autograd graph: h + g - 1 blocks are kept
    bits        whether gradients with shared graphs are those of graphs kept apart, to the bit
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dlinear import report
from dlinear.errors import DomainError
from dlinear.runs import script

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Knobs:
    """What to measure."""

    widths: tuple[int, ...] = (
        32,
        256,
    )  # units of a block: Python's time shows in small ones
    horizons: tuple[int, ...] = (1, 8, 32)  # h
    depth: int = 64  # T
    batch: int = 50  # samples
    segment: int | None = None  # g of the steps; the library's own choice
    rounds: int = 15  # measurements of each time; odd, so that the median is one of them
    device: str = "cpu"  # torch device ("cpu", "cuda")
    before: str | None = None  # folder of another checkout, whose steps are timed too


@contextlib.contextmanager
def worker(checkout: Path) -> Iterator[Any]:
    """A function that asks a process which imports the library from a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / "bridge_worker.py")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=checkout
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(**request: Any) -> Any:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if not line:
                raise DomainError(f"the steps of {checkout} cannot be run; what Python said stands above")
            return json.loads(line)

        try:
            yield ask
        finally:
            process.stdin.close()


def measure(knobs: Knobs, asks: dict[str, Any], width: int) -> tuple[list[list[str]], str]:
    """The rows of one width, and the name of the device."""
    now, device = asks["now"], ""
    for ask in asks.values():
        size = {"width": width, "depth": knobs.depth, "batch": knobs.batch, "device": knobs.device}
        device = ask(case=size)
    ways = {"backprop": (now, {"way": "backprop"})}
    for h in knobs.horizons:
        ways[f"hand {h}"] = (now, {"way": "hand", "horizon": h})
        for name, ask in asks.items():
            own = knobs.segment if name == "now" else None
            ways[f"{name} {h}"] = (ask, {"way": "step", "horizon": h, "segment": own})
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(knobs.rounds + 1):  # the first one warms up
        for name, (ask, request) in ways.items():
            took = ask(**request)
            if round_:
                seconds[name].append(took)

    def ratio(one: str, other: str) -> str:
        pairs = zip(seconds[one], seconds[other], strict=True)
        return f"{statistics.median(a / b for a, b in pairs):.2f}"

    rows = []
    for h in knobs.horizons:
        step, hand, before = f"now {h}", f"hand {h}", f"before {h}"
        bits = {True: "equal", False: "DIFFER", None: "-"}[now(same=h)]
        own = knobs.segment or max(1, h // 4)
        row = [str(width), str(h), str(own), f"{1e3 * statistics.median(seconds[step]):.1f}"]
        row += [ratio(step, "backprop"), ratio(step, hand), bits]
        if "before" in asks:
            row += [ratio(before, "backprop"), ratio(before, hand), ratio(before, step)]
        rows.append(row)
    return rows, device


def main(knobs: Knobs) -> int:
    """Measure and print; 1 if gradients differ."""
    print(f"knobs: {asdict(knobs)}")
    folders = {"now": HERE.parent} | ({"before": Path(knobs.before).resolve()} if knobs.before else {})
    if knobs.before and not (folders["before"] / "dlinear" / "bridge").is_dir():
        raise DomainError(f"--before {knobs.before}: expected the folder of a checkout, with dlinear/bridge")
    with contextlib.ExitStack() as stack:
        asks = {name: stack.enter_context(worker(folder)) for name, folder in folders.items()}
        found = [measure(knobs, asks, width) for width in knobs.widths]
    header = ["width", "h", "g", "ms", "/ back-propagation", "/ by hand", "bits"]
    header += ["before / back-propagation", "before / by hand", "before / now"] if knobs.before else []
    print(f"\nT = {knobs.depth}, batch {knobs.batch}, {found[0][1]}; medians of {knobs.rounds} rounds")
    rows = [row for rows, _ in found for row in rows]
    print(report.table(header, rows))
    return int(any("DIFFER" in row for row in rows))


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
