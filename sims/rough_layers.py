"""What do layers that are rough in depth change? (Theorem C: order 2, prefactor, crossover)

    python -m sims.rough_layers                               # digits, width 10, under a minute
    python -m sims.rough_layers --seeds 100 --depths 3000 10000 30000 100000
    python -m sims.rough_layers --data random --seeds 5 --depths 1000 3000 --workers 1
    python -m sims.rough_layers --scheduler-file scheduler.json      # on a Dask cluster: docs/cluster.md
    python -m sims.rough_layers --shard 1/8                   # one of eight jobs; verdicts when all are done

Three parts, each D(t) = A/T + rho Xi_t with independent Gaussian Xi_t of entry variance 1/n:
prefactor, A = 0 and rho = sigma/T (the paper's Gaussian initialisation): sin^2 ~ q (1 - h/T)^2, q ~ 1/T;
crossover, A != 0 and rho = sigma/T: order 2 below and 3 above m* = 3 sigma^2 v/(2 ||B(A)||^2), whatever T;
brownian, A = 0 and rho = sigma/sqrt(T) (standard residual scaling): order 2 with q of order one.
One cell is one network; its profile of sin^2 goes to results/rough_layers.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

import dlinear
from dlinear import report
from dlinear.analysis import profiles, statistics
from dlinear.engine import products
from dlinear.runs import script, sweeps
from dlinear.runs.knobs import POSITIVE, PROFILE, ProfileCell, Target, at_least, below, cell_from, check
from dlinear.runs.launch import Launch
from dlinear.theory import limits

PARTS = ("prefactor", "crossover", "brownian")
GROUPS = 10  # of seeds, left out in turn
ORDER = 0.15  # tolerance of the order 2
TOY = "--data random --width 3 --depths 300 1000 --seeds 4 --points 8 --largest 30"  # seconds, for the tests


@dataclass(frozen=True)
class Knobs(Target, Launch):
    """What to run."""

    depths: tuple[int, ...] = (3000, 10_000, 30_000)  # T, layers; a decade, deep enough for m* << T
    seeds: int = 40  # networks of each part and depth; the crossing of two noisy laws needs many
    largest: int = 300  # largest shortfall m, layers; ten times m* and a tenth of the least depth
    sigma: float = 1.0  # size of the layers of the part prefactor (rho = sigma/T); q is in sigma^2
    brownian_sigma: float = 0.5  # the same with rho = sigma/sqrt(T); 0.5: their product varies twofold
    crossover: float = 30.0  # m*, layers, of the part crossover, whose sigma follows; inside the range


@dataclass(frozen=True)
class Cell(ProfileCell):
    """One network; `ensemble` is the part."""

    largest: int
    sigma: float
    brownian_sigma: float
    crossover: float
    edition: int = 1  # raise it when the meaning of a cell changes


def build(cell: Cell, phi: np.ndarray) -> tuple[dlinear.Network, limits.DecayConstants]:
    """The network of a cell and what Theorem C predicts for it."""
    depth, width, seed = cell.depth, cell.width, cell.seed
    if cell.ensemble == "prefactor":
        net = dlinear.GaussianNetwork(depth, width, sigma=cell.sigma, seed=seed)
        return net, limits.rough_constants(None, cell.sigma, phi, depth)
    if cell.ensemble == "crossover":
        mean = np.random.default_rng(width).normal(scale=width**-0.5, size=(width, width))  # one for all
        unit = limits.rough_constants(mean, 1.0, phi, depth)
        sigma = ((cell.crossover + 0.5) / (limits.crossover(*unit, depth) + 0.5)) ** 0.5
        net = dlinear.GaussianNetwork(depth, width, sigma=sigma, mean=mean, seed=seed)
        return net, limits.rough_constants(mean, sigma, phi, depth)
    net = dlinear.GaussianNetwork(depth, width, scale="1/sqrt(T)", sigma=cell.brownian_sigma, seed=seed)
    final = products.Chunk(net.deviations(0, depth)).total()
    energy = float(np.sum(dlinear.horizon_gradients(net, phi, depth) ** 2)) / depth
    return net, limits.realised_constants(final, final - phi, energy, cell.brownian_sigma)


def compute(cell: Cell, phi: np.ndarray) -> sweeps.Arrays:
    """The profile of one network beside its predicted constants; Phi is that of the cell's data."""
    net, law = build(cell, phi)
    m = profiles.shortfalls(cell.depth, cell.points, cell.largest / cell.depth)
    return {
        **profiles.as_arrays(dlinear.alignment(net, phi, cell.depth - m)),
        "predicted_quadratic": ((), law.quadratic),
        "predicted_cubic": ((), law.cubic),
    }


Profiles = list[dlinear.AlignmentProfile]


def prefactors(found: Profiles) -> np.ndarray:
    """q of each seed: the mean over its curve of sin^2 in units of the quadratic law (unbiased)."""
    return np.array(
        [np.mean(one.sin2 / limits.decay_law(1.0, 0.0, one.shortfall, one.depth)) for one in found]
    )


def judge_quadratic(part: str, found: dict[int, Profiles], predicted: np.ndarray) -> list[report.Answer]:
    """Order and prefactor of a part without a mean; `predicted` is q over (depth, seed)."""
    scale, wanted = ("1/T", -1.0) if part == "prefactor" else ("1/sqrt(T)", 0.0)
    measured = np.array([prefactors(of_depth) for of_depth in found.values()])
    power = statistics.exponent(list(found), measured.T, statistics.JUDGED)
    ratio = statistics.mean_interval((measured / predicted).mean(axis=0), statistics.JUDGED)
    deepest = max(found)
    fit = dlinear.fit_decay(found[deepest])
    return [
        report.Answer(
            f"scale {scale}: order 2 +- {ORDER:g} at T = {deepest}",
            abs(fit.order - 2) <= ORDER,
            f"{fit.order:.3f}",
        ),
        report.Answer(
            f"scale {scale}: prefactor ~ T^{wanted:g}",
            power.supports(wanted),
            f"exponent {power:.3f} (99.7 %)",
        ),
        report.Answer(
            f"scale {scale}: q of Theorem C, measured/predicted", ratio.supports(1.0), f"{ratio:.3f} (99.7 %)"
        ),
    ]


def judge_crossover(found: dict[int, Profiles], predicted: float) -> tuple[list[str], list[report.Answer]]:
    """m* at each depth, from the mean over all seeds; intervals from leaving out a tenth of the seeds."""
    depths, count = list(found), min(len(some) for some in found.values())
    groups = np.array_split(np.arange(count), min(count, GROUPS))

    @functools.cache
    def logs(some: tuple[int, ...]) -> np.ndarray:
        seeds = np.concatenate([groups[i] for i in some])
        stars = [dlinear.fit_decay([of_depth[i] for i in seeds]).crossover for of_depth in found.values()]
        with np.errstate(divide="ignore"):  # m* + 1/2 is 0 where only the cubic term was found
            return np.log((np.array(stars) + 0.5) / (predicted + 0.5))

    every = tuple(range(len(groups)))
    stars = [f"{star:.1f}" for star in np.exp(logs(every)) * (predicted + 0.5) - 0.5]
    question = "crossover: m* of Theorem C, measured/predicted"
    if not np.isfinite([logs(every), *(logs(every[:i] + every[i + 1 :]) for i in every)]).all():
        return stars, [report.Answer(question, False, "one of the two terms was not seen: take more seeds")]
    level = statistics.jackknife(lambda some: logs(tuple(some)).mean(), every, statistics.JUDGED)
    centred = np.log(depths) - np.mean(np.log(depths))
    slope = statistics.jackknife(
        lambda some: logs(tuple(some)) @ centred / (centred @ centred), every, statistics.JUDGED
    )
    ratio = statistics.Estimate(*np.exp(level))
    return stars, [
        report.Answer(
            "crossover: m* of Theorem C, measured/predicted", ratio.supports(1.0), f"{ratio:.3f} (99.7 %)"
        ),
        report.Answer(
            "crossover: m* does not depend on T", slope.supports(0.0), f"exponent {slope:.3f} (99.7 %)"
        ),
    ]


def main(knobs: Knobs) -> int:
    """Run the missing cells, print the table and the verdicts; 0 iff no verdict fails."""
    sizes = dict.fromkeys(("sigma", "brownian_sigma", "crossover"), POSITIVE)
    check(knobs, depths=at_least(10), largest=below(min(knobs.depths, default=0)), **sizes, **PROFILE)
    phi, identity = knobs.phi()
    depths = sorted(knobs.depths)
    cells = [
        cell_from(Cell, knobs, ensemble=part, depth=depth, seed=seed, data_identity=identity)
        for depth in reversed(depths)
        for part in PARTS
        for seed in range(knobs.seeds)
    ]
    sweep, data = knobs.gather("rough_layers", cells, functools.partial(compute, phi=phi))
    if data is None:
        return bool(sweep.failed or sweep.lost)
    print(f"{knobs.data}, width {knobs.width}, {knobs.seeds} seeds; {sweep}")
    rows, answers = [], []
    for part in PARTS:
        found = {depth: profiles.from_records(data, ensemble=part, depth=depth) for depth in depths}
        laws = data.sel(ensemble=part, depth=depths).transpose("depth", "seed", ...)
        quadratic, cubic = laws["predicted_quadratic"].values, laws["predicted_cubic"].values
        enough = len(depths) > 1 and knobs.seeds > 2
        if part == "crossover":
            predicted = limits.crossover(quadratic[0].mean(), cubic[0].mean(), depths[0])
            measured, new = judge_crossover(found, predicted) if enough else (["-"] * len(depths), [])
            rows += [
                [part, str(depth), "m*", star, f"{predicted:.1f}"]
                for depth, star in zip(depths, measured, strict=True)
            ]
        else:
            new = judge_quadratic(part, found, quadratic) if enough else []
            for depth, law in zip(depths, quadratic, strict=True):
                q = statistics.mean_interval(prefactors(found[depth]))
                rows.append([part, str(depth), "q", f"{q:.3g}", f"{law.mean():.3g}"])
        answers += new
    print(report.table(("part", "T", "", "measured [95 %]", "predicted"), rows))
    return report.finish(answers)


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
