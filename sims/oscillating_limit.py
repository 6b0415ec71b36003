"""Need sin^2(theta_h)/(1 - h/T)^3 have a limit as h/T -> 1? (Theorem 3.4 takes it for granted)

    python -m sims.oscillating_limit                          # a million scalar layers, a few seconds
    python -m sims.oscillating_limit --depths 10000 100000
    python -m sims.oscillating_limit --b 0                    # constant layers: a limit, no swing

Scalar layers W(t) = 1 + A(t/T)/T with A(s) = a (1 + b cos(w log(1 - s))), bounded and without a limit at
s = 1. Deeper networks show more periods of the same height. Profiles go to results/oscillating_limit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

import dlinear
from dlinear import report
from dlinear.analysis import profiles
from dlinear.runs import script, sweeps
from dlinear.runs.knobs import FINITE, FRACTION, NONZERO, at_least, cell_from, check
from dlinear.runs.launch import LocalRun
from dlinear.theory.log_periodic import LogPeriodic

CLOSE = 0.03  # of the leading term, between the two shortfalls:
LEAST = 200  # below it the sum over layers is not yet an integral
MOST = 0.005  # of T; above it the next order in 1 - h/T is seen
SWING = 0.05  # relative: anything above cannot be a remainder of order 1/m or 1 - h/T
TOY = "--depths 1000 200000 --points 30"  # a second, for the tests


@dataclass(frozen=True)
class Knobs(LocalRun):
    """What to run."""

    depths: tuple[int, ...] = (10_000, 100_000, 1_000_000)  # T, layers; a decade adds a period and a half
    a: float = 0.7  # mean size of A(s); of order one
    b: float = 0.8  # relative swing of A(s); that of the ratio is about a quarter of it
    w: float = 4.0  # frequency in log(1 - s); one period is a factor e^(2 pi/w) = 4.8 in the shortfall
    y: float = 0.5  # target; away from X (no residual) and 2X (no cubic term)
    points: int = 100  # number of shortfalls m, evenly in ratio; 25 in each period
    largest: float = 0.2  # largest shortfall m, as a fraction of T; the leading term still shows there


@dataclass(frozen=True)
class Cell:
    """One network."""

    depth: int
    a: float
    b: float
    w: float
    y: float
    points: int
    largest: float
    edition: int = 1  # raise it when the meaning of a cell changes


def compute(cell: Cell) -> sweeps.Arrays:
    """The profile beside its leading term."""
    layers = LogPeriodic(cell.a, cell.b, cell.w)
    m = profiles.shortfalls(cell.depth, cell.points, cell.largest)
    net = dlinear.SmoothNetwork(layers.path, depth=cell.depth, vectorized=True)
    profile = dlinear.alignment(net, np.array([[cell.y]]), cell.depth - m)
    return {
        **profiles.as_arrays(profile),
        "predicted": (("shortfall",), layers.sin2(m / cell.depth, cell.y)),
    }


def main(knobs: Knobs) -> int:
    """Run the missing cells, print the table and the verdicts; 0 iff every verdict holds."""
    sizes = {"a": NONZERO, "b": FINITE, "w": NONZERO, "y": FINITE}
    check(knobs, depths=at_least(10), largest=FRACTION, points=at_least(3), **sizes)
    depths = sorted(knobs.depths)
    cells = [cell_from(Cell, knobs, depth=depth) for depth in depths]
    sweep, data = knobs.gather("oscillating_limit", cells, compute)
    if data is None:
        return bool(sweep.failed or sweep.lost)
    print(f"a = {knobs.a}, b = {knobs.b}, w = {knobs.w}, y = {knobs.y}; {sweep}")
    rows, answers = [], []
    for depth in depths:
        part = data.sel(depth=depth).dropna("shortfall", subset=["sin2"])
        m, sin2, predicted = (part[name].values for name in ("shortfall", "sin2", "predicted"))
        ratio, period = sin2 * (depth / m) ** 3, math.exp(2 * math.pi / knobs.w)
        last = ratio[(m >= LEAST) & (m <= LEAST * period)]  # the period nearest to h = T
        errors = np.abs(sin2 / predicted - 1)[(m >= LEAST) & (m <= MOST * depth)]
        swing = float(np.ptp(last) / last.mean()) if len(last) > 2 else math.nan
        worst = float(errors.max()) if len(errors) else math.nan
        span = f"{last.min():.3f} to {last.max():.3f}" if len(last) else "-"
        rows.append([str(depth), span, f"{swing:.3f}", f"{worst:.4f}"])
        if MOST * depth >= LEAST * period:
            text = f"T = {depth}: sin^2 follows its leading term within {CLOSE:.0%}"
            answers.append(report.Answer(text, worst <= CLOSE, f"{worst:.2%}"))
            text = f"T = {depth}: sin^2/(1 - h/T)^3 swings over the last period, so it has no limit"
            answers.append(report.Answer(text, swing >= SWING, f"relative swing {swing:.3f}"))
    header = ("T", "ratio over the last period", "relative swing", "error of the leading term")
    print(report.table(header, rows))
    return report.finish(answers)


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
