"""Does sin^2(theta_h) fall as (1 - h/T)^3, and with the predicted constant? (Theorem 3.4, Theorems B and C)

    python -m sims.cubic_decay                                  # digits, width 10, under a minute
    python -m sims.cubic_decay --data mnist --data-folder data --download
    python -m sims.cubic_decay --data random --depths 100 1000 --seeds 3 --workers 1

Layers W(t) = I + D(t) over four ensembles: smooth in depth, D = A(t/T)/T with A(s) = A_0 cos s + A_1 s;
Gaussian and orthogonal, D = sigma Xi_t/T with independent Xi_t; mixed, smooth plus Gaussian, the latter so
large that the order changes from 2 to 3 at a shortfall of `crossover`. The target is Phi of whitened data.
One cell is one network; its profile of sin^2 over shortfalls m = T - h goes to results/cubic_decay.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

import dlinear
from dlinear import report
from dlinear.analysis import profiles, statistics
from dlinear.networks import cosine_path
from dlinear.runs import script, sweeps
from dlinear.runs.knobs import FRACTION, POSITIVE, PROFILE, ProfileCell, Target, at_least, cell_from, check
from dlinear.runs.launch import Launch
from dlinear.theory import limits

Ensemble = Literal["smooth", "gaussian", "orthogonal", "mixed"]

ORDERS = {"smooth": (3.0, 0.05), "gaussian": (2.0, 0.15), "orthogonal": (2.0, 0.15)}  # target, tolerance
QUANTITIES = {  # what is compared: the attribute of the fit, its symbol, the theorem that predicts it
    "smooth": ("cubic", "C", "B"),
    "gaussian": ("quadratic", "q", "C"),
    "orthogonal": ("quadratic", "q", "C"),
    "mixed": ("crossover", "m*", "C"),
}
CONSTANT = 0.03  # relative tolerance of Theorem B's constant at finite T
JUDGED_FROM = 1000  # shallower networks are shown but not judged: the theorems are about large T
TOY = "--data random --width 4 --depths 100 1000 --seeds 3 --points 10"  # seconds, for the tests


@dataclass(frozen=True)
class Knobs(Target, Launch):
    """What to run."""

    depths: tuple[int, ...] = (100, 1000, 10_000, 100_000)  # T, layers; three decades would show a drift
    ensembles: tuple[Ensemble, ...] = ("smooth", "gaussian", "orthogonal", "mixed")  # kinds of layers; all
    seeds: int = 10  # networks of each kind and depth; enough for an interval of a noisy constant
    largest: float = 0.02  # largest shortfall m, as a fraction of T; beyond it the next order in m/T shows
    sigma: float = 1.0  # size of Gaussian and orthogonal layers (D = sigma Xi/T); the law is in sigma^2
    crossover: float = 30.0  # shortfall m* at which mixed layers change their order; inside every range


@dataclass(frozen=True)
class Cell(ProfileCell):
    """One network."""

    largest: float
    sigma: float
    crossover: float
    edition: int = 1  # raise it when the meaning of a cell changes


def smooth_path(width: int, seed: int) -> Callable[[Any], np.ndarray]:
    """A(s) = A_0 cos s + A_1 s with entries of variance 1/n; s a number or an array."""
    rng = np.random.default_rng([seed, width])
    return cosine_path(*rng.normal(scale=width**-0.5, size=(2, width, width)))


def build(cell: Cell, phi: np.ndarray) -> tuple[dlinear.Network, limits.DecayConstants]:
    """The network of a cell and what Theorems B and C predict for it."""
    depth, width, seed = cell.depth, cell.width, cell.seed
    if cell.ensemble in ("gaussian", "orthogonal"):
        kind = dlinear.GaussianNetwork if cell.ensemble == "gaussian" else dlinear.OrthogonalNetwork
        net = kind(depth=depth, width=width, sigma=cell.sigma, seed=seed)
        return net, limits.rough_constants(None, cell.sigma, phi, depth)
    path = smooth_path(width, seed if cell.ensemble == "smooth" else 0)  # mixed: many draws about one mean
    if cell.ensemble == "smooth":
        net = dlinear.SmoothNetwork(path, depth=depth, vectorized=True)
        return net, limits.DecayConstants(0.0, limits.cubic_constant(path, phi))
    unit = limits.rough_constants(path, 1.0, phi, depth)
    sigma = ((cell.crossover + 0.5) / (limits.crossover(*unit, depth) + 0.5)) ** 0.5
    mixed = dlinear.MixedNetwork(path, depth=depth, sigma=sigma, seed=seed, vectorized=True)
    return mixed, limits.rough_constants(path, sigma, phi, depth)


def compute(cell: Cell, phi: np.ndarray) -> sweeps.Arrays:
    """The profile of one network beside its predicted constants; Phi is that of the cell's data."""
    net, law = build(cell, phi)
    m = profiles.shortfalls(cell.depth, cell.points, cell.largest)
    profile = dlinear.alignment(net, phi, cell.depth - m)
    return {
        **profiles.as_arrays(profile),
        "predicted_quadratic": ((), law.quadratic),
        "predicted_cubic": ((), law.cubic),
    }


def judge(data: Any, ensemble: str, depth: int) -> tuple[list[str], list[report.Answer]]:
    """One row of the table and the verdicts, from the records alone."""
    found = profiles.from_records(data, ensemble=ensemble, depth=depth)
    fit = dlinear.fit_decay(found)
    part = data.sel(ensemble=ensemble, depth=depth)
    laws = {name: part[f"predicted_{name}"].dropna("seed").values for name in ("quadratic", "cubic")}
    name, symbol, theorem = QUANTITIES[ensemble]
    mean_law = [float(law.mean()) for law in laws.values()]
    predicted = mean_law[list(laws).index(name)] if name in laws else limits.crossover(*mean_law, depth)
    measured = getattr(fit, name)
    order = f"{statistics.Estimate(fit.order, *fit.order_interval):.3f}"
    row = [ensemble, str(depth), order, symbol]
    row += [f"{measured:.4g}", f"{predicted:.4g}", f"{measured / predicted:.3f}", fit.kind]
    if depth < JUDGED_FROM or len(found) < 2:
        return row, []
    answers = []
    if ensemble in ORDERS:
        wanted, tolerance = ORDERS[ensemble]
        close = abs(fit.order - wanted) <= tolerance
        question = f"{ensemble} layers, T = {depth}: order {wanted:g} +- {tolerance:g}"
        answers.append(report.Answer(question, close, order))
    question = f"{ensemble} layers, T = {depth}: Theorem {theorem}, measured/predicted"
    if ensemble == "smooth":
        each = [dlinear.fit_decay(one).cubic for one in found] / laws["cubic"]
        ratio = statistics.mean_interval(each, statistics.JUDGED)
        answers.append(report.Answer(question, abs(ratio.value - 1) <= CONSTANT, f"{ratio:.4f} (99.7 %)"))
    else:  # the theorem is about the expectation: each seed gives one number, its mean over the curve
        curve = zip(found, *laws.values(), strict=True)
        each = [
            float(np.mean(one.sin2 / limits.decay_law(q, c, one.shortfall, depth))) for one, q, c in curve
        ]
        ratio = statistics.mean_interval(each, statistics.JUDGED)
        answers.append(report.Answer(question, ratio.supports(1.0), f"{ratio:.3f} (99.7 %)"))
    return row, answers


def main(knobs: Knobs) -> int:
    """Run the missing cells, print the table and the verdicts; 0 iff no verdict fails."""
    check(knobs, depths=at_least(10), largest=FRACTION, crossover=POSITIVE, sigma=POSITIVE, **PROFILE)
    phi, identity = knobs.phi()
    cells = [
        cell_from(Cell, knobs, ensemble=ensemble, depth=depth, seed=seed, data_identity=identity)
        for depth in sorted(knobs.depths, reverse=True)
        for ensemble in knobs.ensembles
        for seed in range(knobs.seeds)
    ]
    sweep, data = knobs.gather("cubic_decay", cells, functools.partial(compute, phi=phi))
    if data is None:
        return bool(sweep.failed or sweep.lost)
    judged = [judge(data, ensemble, depth) for ensemble in knobs.ensembles for depth in sorted(knobs.depths)]
    print(f"{knobs.data}, width {knobs.width}, mean over {knobs.seeds} seeds; {sweep}")
    header = ("ensemble", "T", "order [95 %]", "", "measured", "predicted", "ratio", "verdict")
    print(report.table(header, [row for row, _ in judged]))
    return report.finish([answer for _, answers in judged for answer in answers])


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
