"""How far from the best is the horizon that Algorithm 1 chooses from a few measured ones?

    python -m sims.selection_regret                         # 200 networks, half a minute
    python -m sims.selection_regret --curves 1000 --points 4 --noise 0.1 0.5
    python -m sims.selection_regret --ensembles smooth rough --deepest 200

A curve is cos^2(theta_h) at every h of one random deep linear network (smooth layers: Theorem B; rough ones
of scale 1/T and 1/sqrt(T): Theorem C; both mixed) and the memory of its windows: equal blocks, or three
stages of sizes 4, 2, 1 as of a ResNet. Each estimator sees a few horizons, evenly from 1 to T, with noise:
tan^2(theta) is multiplied by exp(noise N(0, 1)), anew for each horizon. It chooses; the oracle chooses on the
true curve; regret is the true objective of the first less that of the second, where one node holds all
(linear cost) or 0.3 of it (ladder cost, Table D3). A choice that the true curve does not allow is infeasible
and has no regret. Beside them fixed horizons. Numbers are means over the networks, of each over all
objectives of a kind, with 95 % intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

import dlinear
from dlinear import report, selection
from dlinear.analysis import statistics
from dlinear.runs import script, sweeps
from dlinear.runs.knobs import POSITIVE, Constraint, at_least, cell_from, check
from dlinear.runs.launch import Launch

NAME = "selection_regret"
RULES = ("polynomial", "theory", "h = 1", "h = T/2", "h = T")
SHARES = (1.0, 0.3)  # M_0 over the memory of all blocks, for the linear and the ladder cost (Table D3)
STAGES = (4.0, 2.0, 1.0)  # sizes of the blocks of a ResNet's stages
TOY = "--curves 16 --deepest 24 --points 5 --noise 0 0.2"  # a second, for the tests
Ensemble = Literal["smooth", "rough", "root", "mixed"]


@dataclass(frozen=True)
class Knobs(Launch):
    """What to run."""

    curves: int = 200  # random networks; the intervals of means are then about a tenth of them
    ensembles: tuple[Ensemble, ...] = ("smooth", "rough", "root", "mixed")  # layers, in turn
    deepest: int = 64  # largest T; each network draws its own from 12 on
    points: tuple[int, ...] = (4, 6, 10)  # measured horizons; a cubic needs four
    noise: tuple[float, ...] = (0.0, 0.1, 0.3)  # in ln tan^2(theta), standard deviation; 0.3: one small batch
    epsilons: tuple[float, ...] = (0.02, 0.05, 0.2)  # allowed loss of rate, objective (17)
    weights: tuple[float, ...] = (0.1, 0.3, 1.0)  # lambda of (18): from near T down to the smallest horizons


@dataclass(frozen=True)
class Cell:
    """One network."""

    ensemble: str
    stages: bool
    seed: int
    deepest: int
    points: tuple[int, ...]
    noise: tuple[float, ...]
    epsilons: tuple[float, ...]
    weights: tuple[float, ...]
    edition: int = 1  # raise it when the meaning of a cell changes


def curve(cell: Cell) -> np.ndarray:
    """cos(theta_h), h = 1, ..., T, of the network of a cell against a random target."""
    rng = np.random.default_rng([cell.seed, 0])
    depth, width = int(rng.integers(12, cell.deepest + 1)), int(rng.integers(3, 9))
    a, b = rng.uniform(0.5, 1.5) * rng.normal(size=(2, width, width)) / np.sqrt(width)
    size, phi = rng.uniform(0.5, 1.5), rng.normal(size=(width, width)) / np.sqrt(width)

    def path(s: float) -> np.ndarray:
        return np.asarray(a + b * np.sin(np.pi * s))

    net: dlinear.Network
    if cell.ensemble == "smooth":
        net = dlinear.SmoothNetwork(path, depth=depth)
    elif cell.ensemble == "mixed":
        net = dlinear.MixedNetwork(path, depth=depth, sigma=size, seed=cell.seed)
    elif cell.ensemble == "rough":
        net = dlinear.GaussianNetwork(depth, width, sigma=size, seed=cell.seed)
    else:
        net = dlinear.GaussianNetwork(depth, width, scale="1/sqrt(T)", sigma=size / 2, seed=cell.seed)
    return np.append(dlinear.alignment(net, phi, "all").cos, 1.0)


def objectives(cell: Cell, whole: float) -> list[Any]:
    """(17) for every epsilon, then (18) for every lambda; each with the linear and the ladder cost."""
    linear, ladder = (
        selection.LinearCost(1.0, SHARES[0] * whole),
        selection.LadderCost(1.0, SHARES[1] * whole),
    )
    return [selection.AccuracyConstraint(e, cost) for e in cell.epsilons for cost in (linear, ladder)] + [
        selection.WeightedObjective(w, cost) for w in cell.weights for cost in (linear, ladder)
    ]


def memory_of(cell: Cell, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """M(h), the largest window and an offset, and the sizes of the blocks."""
    blocks = np.repeat(STAGES, -(-depth // 3))[:depth] if cell.stages else np.ones(depth)
    ends = np.concatenate([[0.0], np.cumsum(blocks)]) / blocks.sum()
    offset = np.random.default_rng([cell.seed, 2]).uniform(0, 0.2)
    return np.array([offset + (ends[h:] - ends[:-h]).max() for h in range(1, depth + 1)]), blocks


def noisy(cos: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Cosines of angles whose tangents are multiplied by exp(noise/2 N(0, 1))."""
    sine = np.sqrt(np.maximum(1 - cos**2, 0)) * np.exp(noise / 2 * rng.normal(size=len(cos)))
    return np.asarray(cos / np.hypot(cos, sine))


def compute(cell: Cell) -> sweeps.Arrays:
    """Regret of each rule (inf: infeasible), the error of r at unseen horizons, and the curves."""
    cos = curve(cell)
    depth, every = len(cos), np.arange(1, len(cos) + 1)
    memory, blocks = memory_of(cell, depth)
    true = selection.estimate_curves(every, cos, memory, depth, "measured")
    wanted = objectives(cell, float(memory[-1]))
    oracles = [selection.best_horizon(true, one) for one in wanted]
    rng = np.random.default_rng([cell.seed, 1])
    regret = np.empty((len(cell.noise), len(cell.points), len(RULES), len(wanted)))
    error = np.empty((*regret.shape[:2], 2))
    shown = np.full((4, cell.deepest), np.nan)  # r: true, measured, by both estimators
    for i, j in np.ndindex(*regret.shape[:2]):
        some = np.unique(np.rint(np.linspace(1, depth, cell.points[j])).astype(np.int64))
        measured = (some, noisy(cos[some - 1], cell.noise[i], rng), memory[some - 1], depth)
        found = [
            selection.estimate_curves(*measured, RULES[0]),
            selection.estimate_curves(*measured, RULES[1], blocks=blocks),
        ]
        for k, one in enumerate(wanted):
            chosen = [selection.best_horizon(curves, one).horizon for curves in found]
            chosen += [1, (depth + 1) // 2, depth]
            regret[i, j, :, k] = [selection.regret(h, oracles[k]) for h in chosen]
        unseen = ~np.isin(every, some)
        error[i, j] = [np.linalg.norm((one.rate - true.rate)[unseen]) for one in found]
        error[i, j] /= np.sqrt(max(1, unseen.sum()))
        if (i, j) == (len(cell.noise) - 1, 0):
            shown[0, :depth], shown[2:, :depth] = true.rate, [one.rate for one in found]
            shown[1, some - 1] = np.clip(measured[1], 0, 1) ** 2
    return {
        "regret": (("tangent", "measured", "rule", "objective"), regret),
        "error": (("tangent", "measured", "estimator"), error),
        "shown": (("line", "horizon"), shown),
        "tangent": (("tangent",), np.array(cell.noise)),  # noise of it
        "measured": (("measured",), np.array(cell.points)),
        "rule": (("rule",), np.arange(len(RULES))),
        "objective": (("objective",), np.arange(len(wanted))),
        "estimator": (("estimator",), np.arange(2)),
        "line": (("line",), np.arange(len(shown))),
        "horizon": (("horizon",), np.arange(1, cell.deepest + 1)),
        "depth_drawn": ((), depth),
    }


def interval(values: np.ndarray, level: float = statistics.LEVEL) -> statistics.Estimate:
    """The mean of those that are finite."""
    finite = values[np.isfinite(values)]
    nothing = statistics.Estimate(np.nan, np.nan, np.nan)
    return statistics.mean_interval(finite, level) if finite.size else nothing


@dataclass(frozen=True, eq=False)
class Outcome:
    """One rule at one noise and number of points; rows are networks.

    Attributes:
        lost: (K,) share of the constraints (17) that the choice does not meet.
        constrained: (K,) mean regret of (17) where it does, NaN where it never does.
        weighted: (K,) mean regret of (18).
    """

    lost: np.ndarray
    constrained: np.ndarray
    weighted: np.ndarray


def outcome(regret: np.ndarray, constraints: int) -> Outcome:
    """From the regrets (K, objectives), the constraints first."""
    first, second = regret[:, :constraints], regret[:, constraints:]
    met = np.isfinite(first)
    total = np.where(met, first, 0).sum(1)
    mean = np.divide(total, met.sum(1), out=np.full(len(met), np.nan), where=met.any(1))
    return Outcome(1 - met.mean(1), mean, second.mean(1))


HEADER = (
    "noise",
    "points",
    "rule",
    "error of r",
    "infeasible (17)",
    "regret (17)",
    "regret (18), equal blocks",
)
HEADER += ("regret (18), stages",)


def row(label: Sequence[str], error: np.ndarray | None, one: Outcome, stages: np.ndarray) -> list[str]:
    """One line of the table."""
    return [
        *label,
        "" if error is None else f"{interval(error):.4f}",
        f"{interval(one.lost):.1%}",
        f"{interval(one.constrained):.3f}",
        *(f"{interval(one.weighted[stages == kind]):.4f}" for kind in (False, True)),
    ]


def judge(
    knobs: Knobs, every: dict[tuple[int, int, int], Outcome], stages: np.ndarray
) -> list[report.Answer]:
    """Without noise the choice is near the best; with noise, which estimate chooses better."""
    answers, last = [], len(knobs.noise) - 1
    if 0 in knobs.noise:
        here = knobs.noise.index(0)
        for rule in (0, 1):
            most = max(
                interval(every[here, j, rule].weighted[~stages]).value for j in range(len(knobs.points))
            )
            question = f"no noise, equal blocks: {RULES[rule]} loses less than 0.005 of (18) to the best"
            answers.append(report.Answer(question, most < 0.005, f"at most {most:.2g}"))
    first, second = every[last, 0, 0], every[last, 0, 1]
    where = f"noise {knobs.noise[last]:g}, {knobs.points[0]} points"
    questions = [
        ("equal blocks: regret of (18), polynomial less theory", (first.weighted - second.weighted)[~stages]),
        ("stages: regret of (18), polynomial less theory", (first.weighted - second.weighted)[stages]),
        ("share that is infeasible, polynomial less theory", first.lost - second.lost),
    ]
    for question, values in questions:
        gap = interval(values, statistics.JUDGED)
        holds = True if gap.low > 0 else False if gap.high < 0 else None
        answers.append(report.Answer(f"{where}, {question} > 0", holds, f"{gap:.4f} (99.7 %)"))
    return answers


def cells_of(knobs: Knobs) -> list[Cell]:
    """The networks: ensembles in turn, every other round with stages."""
    count = len(knobs.ensembles)
    return [
        cell_from(Cell, knobs, ensemble=knobs.ensembles[k % count], stages=bool(k // count % 2), seed=k)
        for k in range(knobs.curves)
    ]


def main(knobs: Knobs) -> int:
    """Compute what is missing, print the table and the verdicts; 0 iff no verdict fails."""
    check(
        knobs,
        curves=at_least(4 * len(knobs.ensembles)),
        deepest=at_least(16),
        points=at_least(2),
        noise=Constraint(lambda value: 0 <= value < 10, "0 or more and less than 10"),
        epsilons=Constraint(lambda value: 0 <= value <= 1, "in [0, 1]"),
        weights=POSITIVE,
    )
    cells = cells_of(knobs)
    sweep, data = knobs.gather(NAME, cells, compute)
    if data is None:
        return bool(sweep.failed or sweep.lost)
    print(f"{knobs.curves} networks, T = 12..{knobs.deepest}; {sweep}")
    data = in_order(data, cells)
    stages, constraints = np.array([cell.stages for cell in cells]), 2 * len(knobs.epsilons)
    every, rows = {}, []
    for i, noise in enumerate(knobs.noise):
        for j, points in enumerate(knobs.points):
            for rule, name in enumerate(RULES):
                one = outcome(data["regret"][:, i, j, rule], constraints)
                every[i, j, rule] = one
                if rule < 2 or (i, j) == (0, 0):  # what sees nothing does not depend on noise
                    label = [f"{noise:g}", str(points), name] if rule < 2 else ["", "", name]
                    rows.append(row(label, data["error"][:, i, j, rule] if rule < 2 else None, one, stages))
    rows.sort(key=lambda line: not line[0])
    print(report.table(HEADER, rows))
    return report.finish(judge(knobs, every, stages))


def in_order(data: Any, cells: Sequence[Cell]) -> dict[str, np.ndarray]:
    """Arrays over the networks, in the order of the cells; each has its own ensemble and kind of blocks."""
    kinds = [{name: getattr(cell, name) for name in ("ensemble", "stages", "seed")} for cell in cells]
    return {name: np.stack([data[name].sel(one).values for one in kinds]) for name in ("regret", "error")}


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
