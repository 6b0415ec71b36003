"""Which power of 1 - h/T does the angle of a rule follow: 2, 3, 5 or 7? (Theorems C, E1 to E4)

    python -m sims.rollout_orders                        # under a minute
    python -m sims.rollout_orders --depth 100000 --seeds 20
    python -m sims.rollout_orders --width 8 --seeds 4 --workers 1

A rule that lets q averages stand for the unseen layers misses terms of second order only: order 5 in place of
3, without one more visible layer. With the next term of each run (degree 2) it is 7. On independent Gaussian
layers an average halves nothing of the fluctuation's square: order 3 in place of 2, with a prefactor that is
smaller by T^2. Anchoring changes constants, not orders. Profiles go to results/rollout_orders.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

import dlinear
from dlinear import report
from dlinear.analysis import statistics
from dlinear.networks import cosine_path
from dlinear.runs import script, sweeps
from dlinear.runs.knobs import POSITIVE, Narrow, at_least, below, cell_from, check
from dlinear.runs.launch import LocalRun
from dlinear.theory import limits

Layers = Literal["smooth", "gaussian"]
ORDERS = {  # of each kind of layers and of rule: no runs, averages, averages of degree 2
    "smooth": {"plain": 3, "averaged": 5, "degree 2": 7},
    "gaussian": {"plain": 2, "averaged": 3},
}
TOLERANCE = 0.15  # of the orders of smooth layers; those of Gaussian ones must lie in the interval
LAW = 0.1  # relative tolerance of a constant at finite T
TOY = "--depth 4000 --width 2 --seeds 4 --shortest 16 --longest 160"  # seconds, for the tests


@dataclass(frozen=True)
class Knobs(Narrow, LocalRun):
    """What to run."""

    depth: int = 20_000  # T, layers; so deep that m/T is small where m is large
    runs: int = 2  # q, coarse layers for the unseen ones; any number from 1 on has the same order
    shortest: int = 32  # least shortfall m, layers; many layers a run, so that the power of m shows
    longest: int = 320  # largest shortfall m, layers; a decade above, and far below T
    seeds: int = 20  # networks of each kind, each with a target; rough layers need some for an interval


@dataclass(frozen=True)
class Cell:
    """One network."""

    layers: Layers
    seed: int
    depth: int
    width: int
    runs: int
    shortest: int
    longest: int
    edition: int = 1  # raise it when the meaning of a cell changes


def rules(runs: int) -> dict[str, dlinear.HorizonRule]:
    """The rules that are compared, by name."""
    kinds = {"plain": {}, "averaged": {"runs": runs}, "degree 2": {"runs": runs, "degree": 2}}
    return {
        f"{'anchored, ' if anchored else ''}{kind}": dlinear.HorizonRule(anchored=anchored, **knobs)
        for anchored in (False, True)
        for kind, knobs in kinds.items()
    }


def compute(cell: Cell) -> sweeps.Arrays:
    """sin^2 of each rule over shortfalls, beside the law where there is one."""
    rng = np.random.default_rng([cell.seed, cell.width])
    a0, a1, phi = rng.normal(scale=0.5 * cell.width**-0.5, size=(3, cell.width, cell.width))
    phi = phi + np.eye(cell.width)
    path = cosine_path(a0, a1)
    net: dlinear.Network
    if cell.layers == "smooth":
        net = dlinear.SmoothNetwork(path, depth=cell.depth, vectorized=True)
    else:
        net = dlinear.GaussianNetwork(cell.depth, cell.width, seed=cell.seed)
    m = np.unique(np.round(np.geomspace(cell.shortest, cell.longest, 8)).astype(int))
    arrays: sweeps.Arrays = {"shortfall": (("shortfall",), m)}
    limit = limits.depth_limit(path, phi) if cell.layers == "smooth" else None
    for number, rule in enumerate(rules(cell.runs).values()):
        arrays[f"sin2_{number}"] = (
            ("shortfall",),
            dlinear.alignment(net, phi, cell.depth - m, rule=rule).sin2,
        )
        if limit is not None and rule.degree == 1:
            law = limits.smooth_law(limit, cell.depth, cell.depth - m, rule.anchored, rule.runs)
            arrays[f"law_{number}"] = (("shortfall",), law)
    return arrays


def judge(data: Any, layers: str, runs: int) -> tuple[list[list[str]], list[report.Answer]]:
    """Rows of the table and verdicts of one kind of layers, from the records alone."""
    part, rows, answers = data.sel(layers=layers), [], []
    logs = np.log(part["shortfall"].values)
    for number, name in enumerate(rules(runs)):
        kind = name.removeprefix("anchored, ")
        if kind not in ORDERS[layers]:
            continue
        curves = part[f"sin2_{number}"].transpose("seed", "shortfall", ...).values
        curves = curves.reshape(len(curves), -1)
        slopes = [np.polyfit(logs, np.log(one), 1)[0] for one in curves]
        order, wanted = statistics.mean_interval(slopes, statistics.JUDGED), ORDERS[layers][kind]
        smooth = layers == "smooth"
        close = abs(order.value - wanted) <= TOLERANCE if smooth else order.supports(wanted)
        question = f"{layers} layers, {name}: order {wanted}{f' +- {TOLERANCE:g}' if smooth else ''}"
        answers.append(report.Answer(question, close, f"{order:.3f} (99.7 %)"))
        ratio = "-"
        if layers == "smooth" and kind != "degree 2":
            law = part[f"law_{number}"].transpose("seed", "shortfall", ...).values.reshape(curves.shape)
            share = statistics.mean_interval((curves / law).mean(axis=1), statistics.JUDGED)
            ratio = f"{share:.4f}"
            question = f"{layers} layers, {name}: measured/law within {LAW:.0%}"
            answers.append(report.Answer(question, abs(share.value - 1) <= LAW, f"{ratio} (99.7 %)"))
        ends = [f"{curves[:, i].mean():.2e}" for i in (0, -1)]
        rows.append([layers, name, *ends, f"{order.value:.3f}", ratio.split()[0]])
    return rows, answers


def main(knobs: Knobs) -> int:
    """Run the missing cells, print the table and the verdicts; 0 iff no verdict fails."""
    least = at_least(1)
    check(knobs, depth=at_least(100), longest=below(knobs.depth), shortest=below(knobs.longest))
    check(knobs, width=least, runs=least, seeds=least, longest=POSITIVE)
    cells = [
        cell_from(Cell, knobs, layers=layers, seed=seed) for layers in ORDERS for seed in range(knobs.seeds)
    ]
    sweep, data = knobs.gather("rollout_orders", cells, compute)
    if data is None:
        return bool(sweep.failed or sweep.lost)
    print(f"T = {knobs.depth}, width {knobs.width}, q = {knobs.runs}, {knobs.seeds} seeds; {sweep}")
    rows, answers = [], []
    for layers in ORDERS:
        more, said = judge(data, layers, knobs.runs)
        rows, answers = rows + more, answers + said
    header = ("layers", "rule", f"m = {knobs.shortest}", f"m = {knobs.longest}", "order", "measured/law")
    table = report.table(header, rows)
    print(table)
    return report.finish(answers)


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
