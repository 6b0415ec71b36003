"""A profile's time against what the machine can do, numpy's products, and the engine without kernels.

    python -m benchmarks.roofline                     # n = 4, 10, 16, 32, 64; about two minutes on one core
    python -m benchmarks.roofline --widths 10 --rounds 9
    python -m benchmarks.roofline --numbers 2000000 --widths 4 32
    python -m benchmarks.roofline --record docs/roofline.json    # and the table of docs/benchmarks.md

Processor time of one thread. Ways alternate within each round, ratios are taken round by round, and medians
are shown: what disturbs the machine disturbs all of them.

    of peak     operations that are counted below, a second, over fused multiplications in registers, measured
    five        five products of n x n matrices a layer by numpy.matmul, in place: the floor without kernels
    off         the same profile with `Engine(kernels="off")`: the version before, number by number

Counted for a dense network, 2 n^3 each: products of layers, states, costates and g_T for every layer;
W_{t+1}^p and the states, deviations and signals of the tail for the largest shortfall M; two for each layer
that a horizon misses.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import dlinear
from benchmarks import machine
from dlinear import report
from dlinear.analysis import profiles
from dlinear.engine.options import Engine
from dlinear.engine.parallel.threads import Threads
from dlinear.report import blocks
from dlinear.runs import provenance, script
from dlinear.storage import write_text

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
BLOCK = "roofline"  # of the page, see `dlinear.report.blocks`
_AHEAD = 4  # products of every layer: of layers, states, costates, g_T
_TAIL = 7  # products of each of the last M layers: E, P or P - I, two for Y, U, Z; and L of the first M


@dataclass(frozen=True)
class Knobs:
    """What to measure."""

    widths: tuple[int, ...] = (4, 10, 16, 32, 64)  # n
    fractions: tuple[int, ...] = (100, 10, 2)  # the largest shortfall is T over this
    numbers: int = 20_000_000  # T n^2: 160 MB, which no cache holds
    rounds: int = 5  # odd, so that the median is one of them
    seed: int = 0  # of layers and target; times hardly depend on it
    record: str | None = None  # file for the numbers as JSON, from which docs/benchmarks.md is written anew


@dataclass(frozen=True)
class Row:
    """One width and largest shortfall: seconds of each round, and what was counted."""

    width: int
    depth: int
    fraction: int
    operations: float
    seconds: dict[str, list[float]]

    def ratio(self, over: str, under: str) -> float:
        """The median over rounds of one time over another."""
        pairs = zip(self.seconds[over], self.seconds[under], strict=True)
        return statistics.median(a / b for a, b in pairs)

    def of_peak(self, peak: float | None) -> float | None:
        """Operations a second over the peak."""
        return None if peak is None else self.operations / statistics.median(self.seconds["on"]) / peak


def operations(depth: int, width: int, shortfalls: np.ndarray) -> float:
    """Floating-point operations of the products that are counted."""
    products = _AHEAD * depth + _TAIL * float(shortfalls.max()) + 2 * float(shortfalls.sum())
    return 2 * width**3 * products


def dense(depth: int, width: int, seed: int) -> tuple[dlinear.DenseNetwork, np.ndarray]:
    """Gaussian layers of scale 1/T as one array, and a random target."""
    rng = np.random.default_rng(seed)
    deviations = rng.standard_normal((depth, width, width))
    deviations /= depth * np.sqrt(width)
    return dlinear.DenseNetwork(deviations), rng.standard_normal((width, width))


def alternate(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call in each round, after one that is not counted."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            start = time.thread_time()
            call()
            if turn:
                found[name].append(time.thread_time() - start)
    return found


def measure(knobs: Knobs) -> list[Row]:
    """Every width and largest shortfall."""
    rows = []
    for width in knobs.widths:
        depth = knobs.numbers // width**2
        net, phi = dense(depth, width, knobs.seed)
        layers = net.deviations(0, depth)
        out = np.empty_like(layers)

        def five(layers: np.ndarray = layers, out: np.ndarray = out) -> None:
            for _ in range(5):
                np.matmul(layers, layers, out=out)

        for fraction in knobs.fractions:
            m = profiles.shortfalls(depth, 16, 1 / fraction)
            calls: dict[str, Callable[[], object]] = {"five": five}
            for name in ("off", "on"):
                engine = Engine(team=Threads(1), kernels=name)  # type: ignore[arg-type]
                calls[name] = partial(dlinear.alignment, net, phi, depth - m, engine=engine)
            seconds = alternate(calls, knobs.rounds)
            rows.append(Row(width, depth, fraction, operations(depth, width, m), seconds))
    return rows


HEADER = ("n", "T", "largest m", "here", "a layer", "of peak", "five over here", "off over here")


def shown(rows: list[Row], peak: float | None) -> list[list[str]]:
    """The table."""
    lines = []
    for row in rows:
        here = statistics.median(row.seconds["on"])
        share = row.of_peak(peak)
        lines.append(
            [
                str(row.width),
                f"{row.depth:.2g}",
                f"T/{row.fraction}",
                f"{here:.2f} s",
                f"{1e6 * here / row.depth:.3g} us",
                "" if share is None else f"{share:.0%}",
                f"{row.ratio('five', 'on'):.2f}",
                f"{row.ratio('off', 'on'):.2f}",
            ]
        )
    return lines


def core(peak: float | None, bandwidth: float | None) -> str:
    """What one core can do, in words."""
    if peak is None or bandwidth is None:
        return "no compiled kernels here: one core was not measured"
    return f"one core: {peak / 1e9:.1f} GFLOP/s in registers, {bandwidth / 1e9:.1f} GB/s from memory"


def block(record: Mapping[str, Any]) -> str:
    """What the page says of a record, between its marks."""
    rows = [Row(**row) for row in record["rows"]]
    words = f"{record['machine']}, {core(record['peak'], record['bandwidth'])}."
    return f"{words}\n\n{blocks.markdown_table(HEADER, shown(rows, record['peak']))}"


def main(knobs: Knobs) -> int:
    """Measure, print, and keep."""
    peak, bandwidth = machine.peak(), machine.bandwidth()
    print(core(peak, bandwidth))
    rows = measure(knobs)
    print(report.table(HEADER, shown(rows, peak)))
    if knobs.record is not None:
        found = {
            "machine": f"{provenance.machine(False)['cpu']}, numpy {np.__version__}, one thread",
            "peak": peak,
            "bandwidth": bandwidth,
            "rows": [asdict(row) for row in rows],
        }
        write_text(Path(knobs.record), json.dumps(found, indent=1) + "\n")
        blocks.write_block(PAGE, BLOCK, block(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
