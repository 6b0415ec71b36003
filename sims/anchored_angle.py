"""Does a short horizon go blind as training proceeds, and do anchoring and averaging cure it? (Theorem E1)

    python -m sims.anchored_angle                        # seconds
    python -m sims.anchored_angle --depth 200 --seeds 20
    python -m sims.anchored_angle --near 0.1 --until 1e-6 --workers 1

A network of T layers, smooth in depth, is trained by gradient descent with back-propagation until the end
error ||R||, R = P_T - Phi, has fallen to --until. On the way the angle of four horizon rules is measured:
plain, anchored, and both with the unseen layers averaged. The true gradient falls with ||R||. What a plain
horizon misses does not, so that its sin^2 grows as 1/||R||^2 up to 1; anchored, it stays below the bound of
Theorem E1. Profiles go to results/anchored_angle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import dlinear
from dlinear import report
from dlinear.analysis import statistics
from dlinear.engine import products
from dlinear.runs import script, sweeps
from dlinear.runs.knobs import FRACTION, POSITIVE, Narrow, at_least, cell_from, check
from dlinear.runs.launch import LocalRun
from dlinear.theory import bounds, limits

RULES = {
    "plain": dlinear.HorizonRule(),
    "anchored": dlinear.HorizonRule(anchored=True),
    "averaged": dlinear.HorizonRule(runs=1),
    "anchored averaged": dlinear.HorizonRule(anchored=True, runs=1),
}
PER_DECADE = 4  # measurements for each factor 10 of ||R||
TOY = "--depth 60 --width 2 --seeds 2 --until 1e-4 --near 0.04"  # a second, for the tests


@dataclass(frozen=True)
class Knobs(Narrow, LocalRun):
    """What to run."""

    depth: int = 100  # T, layers; deep enough for the laws of large T, and trained in seconds
    near: float = 0.03  # shortfall m/T of the longer horizon; so small that its laws can be compared
    size: float = 0.5  # norm of W~ = T D at the start, about; training about doubles it
    until: float = 1e-12  # ||R||/||R(0)|| at which training ends; twelve decades leave no doubt
    seeds: int = 5  # networks, each with a target; enough for an interval


@dataclass(frozen=True)
class Cell:
    """One training."""

    depth: int
    width: int
    seed: int
    near: float
    size: float
    until: float
    edition: int = 1  # raise it when the meaning of a cell changes


def start(cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    """Layers D(t) = (A_0 cos(t/T) + A_1 t/T)/T and the target Phi = I + Gaussian."""
    rng = np.random.default_rng([cell.seed, cell.width])
    a0, a1, gap = rng.normal(scale=cell.size / (2 * cell.width**0.5), size=(3, cell.width, cell.width))
    s = (np.arange(cell.depth) / cell.depth)[:, None, None]
    return (a0 * np.cos(s) + a1 * s) / cell.depth, np.eye(cell.width) + gap


def compute(cell: Cell) -> sweeps.Arrays:
    """Train, and measure whenever ||R|| has fallen by another step of the grid."""
    deviations, phi = start(cell)
    horizons = np.array([1, cell.depth - max(1, round(cell.near * cell.depth))])
    error, rows = residual_norm(deviations, phi), []
    first, count = error, round(-np.log10(cell.until) * PER_DECADE) + 1
    grid = 10.0 ** (-np.arange(count) / PER_DECADE)
    while len(rows) < count:
        if error <= grid[len(rows)] * first:
            rows.append(measure(deviations, phi, horizons))
            continue
        true = dlinear.horizon_gradients(dlinear.DenseNetwork(deviations), phi, cell.depth)
        # ||R|| falls by the factor 1 - step T, about: steps end on the grid
        step = min(0.3, 1 - grid[len(rows)] * first / error * 0.999) / (np.sum(true**2) / error**2)
        deviations = deviations - step * true
        error = residual_norm(deviations, phi)
    dims = {
        "sin2": ("fall", "rule", "horizon"),
        "law": ("fall", "rule"),
        "bound": ("fall", "rule", "horizon"),
    }
    found = {name: (dims.get(name, ("fall",)), np.stack([row[name] for row in rows])) for name in rows[0]}
    return {
        "fall": (("fall",), grid),
        "rule": (("rule",), np.arange(len(RULES))),  # RULES by number
        "horizon": (("horizon",), horizons),
        **found,
    }


def residual_norm(deviations: np.ndarray, phi: np.ndarray) -> float:
    """||R||_F, R = (P_T - I) + (I - Phi)."""
    end = products.Chunk(deviations).prefix_deviations()[-1]
    return float(np.linalg.norm(end + (np.eye(len(phi)) - phi)))


def measure(deviations: np.ndarray, phi: np.ndarray, horizons: np.ndarray) -> dict[str, Any]:
    """sin^2 of every rule, its law at the longer horizon and, where there is one, its bound."""
    net, (depth, width, _) = dlinear.DenseNetwork(deviations), deviations.shape
    end = products.Chunk(deviations).prefix_deviations()[-1]
    rest = end + (np.eye(width) - phi)
    norm = float(np.linalg.norm(rest))
    energy = float(np.sum(dlinear.horizon_gradients(net, phi, depth) ** 2)) / depth
    here = limits.DepthLimit(end + np.eye(width), rest, energy, depth * deviations[-1])
    c = depth * float(np.linalg.norm(deviations, ord=2, axis=(1, 2)).max())
    bound = {
        "plain": bounds.theorem_a(depth, horizons, c, width, norm),
        "anchored": bounds.theorem_e1(depth, horizons, c),
        "averaged": bounds.theorem_e2(depth, horizons, c, 1, width, norm),
        "anchored averaged": bounds.theorem_e2(depth, horizons, c, 1),
    }
    law = [
        limits.smooth_law(here, depth, horizons[1], rule.anchored, rule.runs)[0] for rule in RULES.values()
    ]
    found = [dlinear.alignment(net, phi, horizons, rule=rule).sin2 for rule in RULES.values()]
    return {
        "sin2": np.stack(found),
        "law": np.array(law),
        "bound": np.stack([bound[name] for name in RULES]),
        "residual": norm,
        "largest_layer": c,
    }


def judge(data: Any) -> list[report.Answer]:
    """The verdicts, from the records alone."""
    share = data["sin2"] / data["bound"]
    worst = share.max().item()
    answers = [
        report.Answer(
            f"Theorems A, E1, E2 hold at {int(share.count())} points of training",
            worst <= 1,
            f"largest sin^2/bound {worst:.3f}",
        )
    ]
    for index, h in enumerate(data["horizon"].values):
        curves = data["sin2"].isel(horizon=index)
        before, after = (curves.sel(rule="anchored", fall=fall).values for fall in (1.0, data["fall"].min()))
        growth = statistics.mean_interval(np.log10(after / before), statistics.JUDGED)
        question = f"anchored, h = {h}: sin^2 after training/before within a factor 10, log10"
        answers.append(report.Answer(question, abs(growth.value) <= 1, f"{growth:.2f} (99.7 %)"))
        least = float(curves.sel(rule="plain", fall=data["fall"].min()).min())
        question = f"plain, h = {h}: blind after training (sin^2 > 1/2)"
        answers.append(report.Answer(question, least > 0.5, f"least {least:.3f}"))
    near = data["sin2"].isel(horizon=1)
    value = near.sel(rule="averaged").transpose("seed", "fall").values
    logs = np.log10(data["fall"].values)
    falling = ((value > 0) & (value < 0.1)).all(axis=0) & (logs <= -2)
    if falling.sum() >= 3:
        slopes = [np.polyfit(logs[falling], np.log10(one[falling]), 1)[0] for one in value]
        slope = statistics.mean_interval(slopes, statistics.JUDGED)
        question = "averaged, the longer horizon: sin^2 ~ ||R||^-2 while below 0.1, exponent +- 0.1"
        answers.append(report.Answer(question, abs(slope.value + 2) <= 0.1, f"{slope:.3f} (99.7 %)"))
    ratio = (near / data["law"]).where(near < 0.1)
    for rule in RULES:
        each = ratio.sel(rule=rule).mean("fall").values
        if np.isfinite(each).all():
            mean = statistics.mean_interval(each, statistics.JUDGED)
            answers.append(
                report.Answer(
                    f"{rule}, the longer horizon: measured/law within 15 %",
                    abs(mean.value - 1) <= 0.15,
                    f"{mean:.3f} (99.7 %)",
                )
            )
    return answers


def main(knobs: Knobs) -> int:
    """Run the missing cells, print the table and the verdicts; 0 iff no verdict fails."""
    check(
        knobs,
        depth=at_least(10),
        width=at_least(1),
        seeds=at_least(1),
        near=FRACTION,
        until=FRACTION,
        size=POSITIVE,
    )
    cells = [cell_from(Cell, knobs, seed=seed) for seed in range(knobs.seeds)]
    sweep, data = knobs.gather("anchored_angle", cells, compute)
    if data is None:
        return bool(sweep.failed or sweep.lost)
    data = data.sel(depth=knobs.depth).assign_coords(rule=list(RULES))
    print(f"T = {knobs.depth}, width {knobs.width}, {knobs.seeds} seeds; {sweep}")
    rows = []
    for fall in data["fall"].values[:: -2 * PER_DECADE]:
        part = data["sin2"].sel(fall=fall).mean("seed")
        cells_ = [f"{part.sel(rule=rule).isel(horizon=i).item():.2e}" for i in (0, 1) for rule in RULES]
        rows.append([f"{fall:.0e}", *cells_])
    header = [f"{name}, h = {h}" for h in data["horizon"].values for name in RULES]
    print(report.table(("||R||/||R(0)||", *header), rows))
    return report.finish(judge(data))


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
