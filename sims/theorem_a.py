"""Does Theorem A's bound hold at every horizon, and how much room is left?

    python -m sims.theorem_a                                  # 80 networks, every kind, a few seconds
    python -m sims.theorem_a --depth 50 --seeds 200 --c 2.0
    python -m sims.theorem_a --width 1 --seeds 5

sin^2(theta_h) <= K_A m(m+1)(2m+1)/(6 T^3) with m = T - h, over layers of ||W~(t)||_2 <= c: identical
(W~ = c I), smooth in depth, Gaussian and orthogonal, the random ones scaled so that the largest norm is c.
The target Phi has independent entries of variance 1/n. Profiles and bounds go to results/theorem_a.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import dlinear
from dlinear import report
from dlinear.analysis import profiles
from dlinear.engine import products
from dlinear.runs import script, sweeps
from dlinear.runs.knobs import PROFILE, at_least, below, cell_from, check
from dlinear.runs.launch import LocalRun
from dlinear.theory import bounds

ENSEMBLES = ("identical", "smooth", "gaussian", "orthogonal")
TOY = "--depth 40 --width 3 --seeds 2 --points 8"  # a second, for the tests


@dataclass(frozen=True)
class Knobs(LocalRun):
    """What to run."""

    depth: int = 300  # T, layers; every horizon of a network this deep is cheap
    width: int = 5  # n, rows of a layer; the bound holds for any
    c: float = 0.5  # bound on ||W~||_2, below T; the room between bound and angle grows like e^(6c)
    seeds: int = 20  # networks of each kind, each with a target; one close to the bound should be among them
    points: int = 40  # number of shortfalls m, evenly in ratio up to T - 1; all scales are seen


@dataclass(frozen=True)
class Cell:
    """One network."""

    ensemble: str
    depth: int
    seed: int
    width: int
    c: float
    points: int
    edition: int = 1  # raise it when the meaning of a cell changes


def layers(cell: Cell) -> np.ndarray:
    """W~(t) of the cell, scaled to a largest norm of c."""
    n, depth = cell.width, cell.depth
    if cell.ensemble == "identical":
        raw = np.broadcast_to(np.eye(n), (depth, n, n))
    elif cell.ensemble == "smooth":
        a, b = np.random.default_rng([cell.seed, 1]).normal(size=(2, n, n))
        position = ((np.arange(depth) + 0.5) / depth)[:, None, None]
        raw = a * np.cos(position) + b * position
    else:
        kind = dlinear.GaussianNetwork if cell.ensemble == "gaussian" else dlinear.OrthogonalNetwork
        raw = kind(depth=depth, width=n, seed=cell.seed).deviations(0, depth)
    return raw * (cell.c / np.linalg.norm(raw, ord=2, axis=(1, 2)).max())


def compute(cell: Cell) -> sweeps.Arrays:
    """The profile over all horizons beside the bound."""
    n, depth = cell.width, cell.depth
    phi = np.random.default_rng([cell.seed, 2]).normal(scale=n**-0.5, size=(n, n))
    net = dlinear.DenseNetwork(layers(cell) / depth)
    m = profiles.shortfalls(depth, cell.points, (depth - 1) / depth)
    residual = float(np.linalg.norm(products.Chunk(net.deviations(0, depth)).total() - phi))
    bound = bounds.theorem_a(depth, depth - m, cell.c, n, residual)
    return {
        **profiles.as_arrays(dlinear.alignment(net, phi, depth - m)),
        "bound": (("shortfall",), bound),
        "residual": ((), residual),
    }


def main(knobs: Knobs) -> int:
    """Run the missing cells, print the table and the verdict; 0 iff the bound holds everywhere."""
    check(knobs, depth=at_least(10), c=below(knobs.depth), **PROFILE)
    cells = [
        cell_from(Cell, knobs, ensemble=kind, seed=seed) for kind in ENSEMBLES for seed in range(knobs.seeds)
    ]
    sweep, data = knobs.gather("theorem_a", cells, compute)
    if data is None:
        return bool(sweep.failed or sweep.lost)
    share = data["sin2"] / data["bound"]
    print(f"T = {knobs.depth}, width {knobs.width}, c = {knobs.c}, {knobs.seeds} seeds; {sweep}")
    rows = []
    for kind in ENSEMBLES:
        part = share.sel(ensemble=kind)
        nearest = part.sel(shortfall=1).mean().item()
        rows.append([kind, f"{part.max().item():.4f}", f"{nearest:.4f}", str(int((part > 1).sum()))])
    print(report.table(("layers", "largest sin^2/bound", "mean at m = 1", "violations"), rows))
    worst, count = share.max().item(), int(share.count())
    question = f"Theorem A holds at {count} pairs of a network and a horizon"
    return report.finish([report.Answer(question, worst <= 1, f"largest sin^2/bound {worst:.4f}")])


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
