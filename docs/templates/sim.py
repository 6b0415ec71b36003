"""Does a scalar network of depth T come near the angle of Lemma C.5 at the rate 1/T?

    python -m sims.scalar_limit                          # three depths, a few seconds
    python -m sims.scalar_limit --depths 1000 100000
    python -m sims.scalar_limit --workers 2

Layers w(t) = 1 + 1/T, target y = 1/2. One cell is one network; its record goes to results/scalar_limit.
"""

from dataclasses import dataclass

import numpy as np

import dlinear
from dlinear import report
from dlinear.runs import script, sweeps
from dlinear.runs.knobs import at_least, check
from dlinear.runs.launch import LocalRun

TOY = "--depths 100 300"  # a second, for the tests


@dataclass(frozen=True)
class Knobs(LocalRun):  # the command line; LocalRun adds --results and --workers
    """What to run. The comment of a knob is its help: the meaning first, then why this default."""

    depths: tuple[int, ...] = (100, 1000, 10_000)  # T, numbers of layers; two decades show the rate


@dataclass(frozen=True)
class Cell:
    """One network. Its values are the key of its record: every knob that changes a number stands here."""

    depth: int
    edition: int = 1  # raise it when the meaning of a cell changes: older records are then not used


def compute(cell: Cell) -> sweeps.Arrays:
    """Arrays by name, each as (dimensions, values); an array that is named like a dimension labels it."""
    horizons = cell.depth * np.arange(1, 10) // 10  # alpha = h/T is the same at every depth
    net, y = dlinear.ConstantNetwork(np.eye(1), cell.depth), 0.5  # y = e has no gradient
    sin2 = dlinear.alignment(net, np.array([[y]]), horizons).sin2
    alpha, law = horizons / cell.depth, dlinear.scalar.sin2(horizons / cell.depth, 1.0, y)
    return {"alpha": (["alpha"], alpha), "sin2": (["alpha"], sin2), "predicted": (["alpha"], law)}


def main(knobs: Knobs) -> int:
    """Compute what is missing, print the table and the verdict; 0 iff no verdict fails."""
    check(knobs, depths=at_least(100))  # refused in one line before any work
    sweep, data = knobs.gather("scalar_limit", [Cell(depth) for depth in knobs.depths], compute)
    if data is None:
        return 1  # a cell failed: the line that says so is printed already
    error = abs(data["sin2"] / data["predicted"] - 1).max("alpha").to_series()  # by depth
    print(sweep, report.table(("T", "error"), [[f"{t}", f"{e:.3g}"] for t, e in error.items()]), sep="\n")
    rate = np.polyfit(np.log(error.index), np.log(error), 1)[0]  # error ~ T^rate
    return report.finish([report.Answer("error ~ T^-1, +- 0.05", abs(rate + 1) <= 0.05, f"{rate:.3f}")])


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
