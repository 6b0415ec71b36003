"""How far are broadcast, feedback alignment, FOTON, PEPITA from back-propagation in a net of T layers?

    python -m sims.rules_depth                              # three depths, half a minute
    python -m sims.rules_depth --depths 100 400 1600 --workers 2
    python -m sims.rules_depth --width 8 --nets 400         # narrower intervals at another width

Deep linear networks, layers W(t) = I + D(t), whitened data. Four parts, each beside its law:
start, D = (sigma/T) Xi: sin^2 of rules with the skip falls as 1/T, with constants of their own;
no skip, random feedback B or F: cos^2 ~ 1/T for a fresh B in each layer, the same at every depth for one
matrix, and of either sign;
smooth, D = A(t/T)/T: (m/T)^3 where a rule is wrong for the last m layers (identity, feedback I + C/T) or the
first m (FOTON), and FOTON in every layer, for any A and for antisymmetric ones;
rough, D = (sigma/T) Xi: the same with sum of k in place of the sum of k^2.
A cell is a depth and a seed: --nets networks, one smooth path. Records go to results/rules_depth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlinear import report
from dlinear.analysis import statistics
from dlinear.engine import feedback_gradients as rules
from dlinear.runs import script, sweeps
from dlinear.runs.knobs import POSITIVE, Narrow, at_least, cell_from, check
from dlinear.runs.launch import LocalRun
from dlinear.theory import feedback_laws, limits

START = {
    "broadcast": "broadcast, B = I",
    "feedback": "feedback alignment, B = I + C",
    "foton": "FOTON",
    "local": "horizon 1",
}
NO_SKIP = ("a fresh B in each layer", "a fresh B, target (DRTP)", "one B for all layers", "PEPITA, small F")
SMOOTH = (
    "identity in the last m",
    "I + C/T in the last m",
    "FOTON in the first m",
    "FOTON",
    "FOTON, A^T = -A",
)
ROUGH = {
    "anchored": "identity in the last m",
    "feedback": "I + C in the last m",
    "foton": "FOTON in the first m",
}
SMALL = 1e-6  # size of PEPITA's F: its law is of first order in F
CLOSE = 0.02  # of a ratio of smooth networks, which has no noise
TOY = "--depths 20 40 80 --seeds 4 --nets 30 --width 2"  # seconds, for the tests


@dataclass(frozen=True)
class Knobs(Narrow, LocalRun):
    """What to run."""

    depths: tuple[int, ...] = (50, 200, 800)  # T, layers; the corrections are of order 1/T
    seeds: int = 8  # groups of networks, each with one smooth path; enough for an interval
    nets: int = 200  # random networks of a group; the mean of 1600 is known to about one per cent
    sigma: float = 1.0  # size of random layers (sigma/T) Xi; the laws are in sigma^2
    missed: int = 2  # m, layers in which a rule of the parts smooth and rough is wrong; m << T


@dataclass(frozen=True)
class Cell:
    """One group of networks."""

    depth: int
    width: int
    seed: int
    nets: int
    sigma: float
    missed: int
    edition: int = 2  # raise it when the meaning of a cell changes


def target(width: int) -> np.ndarray:
    """Phi, one for all seeds: I - Phi has entries of variance 1."""
    return np.eye(width) - np.random.default_rng(width).normal(size=(width, width))


def squares(p: rules.Passes, gap: np.ndarray) -> np.ndarray:
    """sin^2 of each network of a stack."""
    return np.array([rules.angle(g, d)[0] for g, d in zip(p.true, gap, strict=True)])


def compute(cell: Cell) -> sweeps.Arrays:
    """Measured values of each part beside their laws."""
    depth, n = cell.depth, cell.width
    rng, phi = np.random.default_rng([cell.seed, depth, n]), target(cell.width)
    scale = cell.sigma / (depth * np.sqrt(n))
    layers, copy = rng.normal(size=(2, cell.nets, depth, n, n)) * scale
    p = rules.passes(layers, phi)
    gaps = {
        "broadcast": rules.broadcast_gap(p),
        "feedback": rules.feedback_gap(p, copy),
        "foton": rules.foton_gap(p),
        "local": rules.local_gap(p),
    }
    start = np.stack([depth / cell.sigma**2 * squares(p, gaps[rule]) for rule in START])
    start_law = [feedback_laws.start_law(rule, np.eye(n) - phi) for rule in START]
    cos, cos_law = no_skip(p, phi, rng)
    smooth, smooth_law = smooth_part(cell, np.random.default_rng([cell.seed, n]), phi)
    rough, rough_law = rough_part(cell, p, copy)
    names = {"start_rule": START, "no_skip_rule": NO_SKIP, "smooth_rule": SMOOTH, "rough_rule": ROUGH}
    return {
        **{dim: ((dim,), np.arange(len(some))) for dim, some in names.items()},  # rules by number
        "net": (("net",), np.arange(cell.nets)),
        "start": (("start_rule", "net"), start),
        "start_law": (("start_rule",), np.array(start_law)),
        "cos": (("no_skip_rule", "net"), cos),
        "cos_law": (("no_skip_rule",), cos_law),
        "smooth": (("smooth_rule",), smooth),
        "smooth_law": (("smooth_rule",), smooth_law),
        "rough": (("rough_rule", "net"), rough),
        "rough_law": (("rough_rule", "net"), rough_law),
    }


def no_skip(p: rules.Passes, phi: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """cos of NO_SKIP for each network, and E cos^2 at W = I."""
    b, residual = rng.normal(size=p.layers.shape), np.eye(len(phi)) - phi
    found = [
        rules.direct_gradients(p, b),
        rules.direct_gradients(p, b, phi),
        rules.direct_gradients(p, b[:, :1]),
        rules.pepita_gradients(p, SMALL * b[:, 0]),
    ]
    law = [
        feedback_laws.random_feedback_cos2(residual, p.depth),
        feedback_laws.random_feedback_cos2(residual, p.depth, phi),
        feedback_laws.random_feedback_cos2(residual),
        feedback_laws.random_feedback_cos2(residual),
    ]
    true = p.true.reshape(len(b), -1)
    flat = np.stack([g.reshape(true.shape) for g in found])
    cos = np.sum(flat * true, axis=-1) / (np.linalg.norm(flat, axis=-1) * np.linalg.norm(true, axis=-1))
    return cos, np.array(law)


def smooth_part(cell: Cell, rng: np.random.Generator, phi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """sin^2 of SMOOTH on one path A(s) = A_0 cos s + A_1 s, and the laws."""
    depth, n, m = cell.depth, cell.width, cell.missed
    a0, a1, c = rng.normal(size=(3, n, n)) / np.sqrt(n)

    def path(s: float) -> np.ndarray:
        return a0 * np.cos(s) + a1 * s

    def skew(s: float) -> np.ndarray:
        return path(s) - path(s).T

    def network(of: Callable[[float], np.ndarray]) -> rules.Passes:
        return rules.passes(np.array([of(t / depth) for t in range(depth)]) / depth, phi)

    p, turned = network(path), network(skew)
    gaps = [
        (p, rules.feedback_gap(p, np.zeros((n, n)), depth - m)),
        (p, rules.feedback_gap(p, c / depth, depth - m)),
        (p, rules.foton_gap(p, m)),
        (p, rules.foton_gap(p)),
        (turned, rules.foton_gap(turned)),
    ]
    cubic = [
        limits.anchored_constant(path, phi),
        feedback_laws.feedback_tail_constant(path, c, phi),
        feedback_laws.foton_head_constant(path, phi),
    ]
    law = [*(limits.decay_law(0.0, constant, m, depth) for constant in cubic)]
    law += [feedback_laws.foton_limit(path, phi), feedback_laws.foton_antisymmetric(skew, phi) / depth**2]
    return np.array([rules.angle(net.true, gap)[0] for net, gap in gaps]), np.array(law)


def rough_part(cell: Cell, p: rules.Passes, copy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """sin^2 of ROUGH for each network, and its law, with the X, R and N of that network."""
    m, depth = cell.missed, cell.depth
    gaps = {
        "anchored": rules.feedback_gap(p, np.zeros((cell.width, cell.width)), depth - m),
        "feedback": rules.feedback_gap(p, copy, depth - m),
        "foton": rules.foton_gap(p, m),
    }
    # rho^2 v S_1(m)/(T N), T N = ||g_T||^2
    size = (cell.sigma / depth) ** 2 * limits.faulhaber(m, 1) / np.sum(p.true**2, axis=(1, 2, 3))
    ends = list(zip(p.states[:, -1], p.residual, strict=True))
    v = np.array([[feedback_laws.rough_variance(rule, x, r) for x, r in ends] for rule in ROUGH])
    return np.stack([squares(p, gaps[rule]) for rule in ROUGH]), size * v


def limit_of(depths: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The values at T = infinity, (seeds,), from those of the two deepest, (depths, seeds), free of 1/T."""
    if len(depths) < 2:
        return np.asarray(values[-1])
    (a, b), (x, y) = depths[-2:], values[-2:]
    return np.asarray((b * y - a * x) / (b - a))


def answer(name: str, depths: np.ndarray, ratio: np.ndarray, law: np.ndarray, noisy: bool) -> report.Answer:
    """One row: measured [95 %] and predicted at each depth; `ratio` is measured/law, (depths, seeds)."""
    seen = []
    for depth, row, predicted in zip(depths, ratio, law, strict=True):
        measured = statistics.mean_interval(row * predicted)
        seen.append(f"{measured:.3g} against {predicted:.3g} at T = {depth}")
    end = statistics.mean_interval(limit_of(depths, ratio), statistics.JUDGED)
    good = end.supports(1.0) if noisy else abs(end.value - 1) <= CLOSE
    return report.Answer(name, good, f"{'; '.join(seen)}; T to infinity: ratio {end:.3f} (99.7 %)")


def judge(data: Any) -> list[report.Answer]:
    """A verdict for each rule of each part, from the records alone."""
    data = data.sortby("depth")
    depths, answers = data["depth"].values, []

    def row(name: str, measured: Any, law: Any, noisy: bool = True) -> None:
        """`measured` over depth and seed, `law` too."""
        order = ("depth", "seed")
        ratio = (measured / law).transpose(*order).values
        answers.append(answer(name, depths, ratio, law.mean("seed").values, noisy))

    for k, name in enumerate(START.values()):
        part = data.isel(start_rule=k)
        row(f"start, {name}: T sin^2/sigma^2", part["start"].mean("net"), part["start_law"])
    for k, name in enumerate(NO_SKIP):
        part = data.isel(no_skip_rule=k)
        row(f"no skip, {name}: cos^2", (part["cos"] ** 2).mean("net"), part["cos_law"])
    uphill = (data["cos"].isel(no_skip_rule=2) < 0).mean(("depth", "net")).values
    share = statistics.mean_interval(uphill, statistics.JUDGED)
    answers.append(
        report.Answer(
            "no skip, one B: half of all B start uphill", share.supports(0.5), f"{share:.3f} (99.7 %)"
        )
    )
    for k, name in enumerate(SMOOTH):
        part = data.isel(smooth_rule=k)
        row(f"smooth layers, {name}: sin^2", part["smooth"], part["smooth_law"], noisy=False)
    for k, name in enumerate(ROUGH.values()):
        part = data.isel(rough_rule=k)
        law = part["rough_law"].mean("net")  # the mean of the ratios, times the mean law
        row(f"rough layers, {name}: sin^2", (part["rough"] / part["rough_law"]).mean("net") * law, law)
    return answers


def main(knobs: Knobs) -> int:
    """Compute what is missing, print the verdicts; 0 iff no verdict fails."""
    check(
        knobs,
        depths=at_least(max(3, knobs.missed + 2)),
        width=at_least(1),
        seeds=at_least(1),
        nets=at_least(1),
        sigma=POSITIVE,
        missed=at_least(1),
    )
    cells = [
        cell_from(Cell, knobs, depth=depth, seed=seed)
        for depth in knobs.depths
        for seed in range(knobs.seeds)
    ]
    sweep, data = knobs.gather("rules_depth", cells, compute)
    if data is None:
        return bool(sweep.failed or sweep.lost)
    print(f"width {knobs.width}, {knobs.seeds} groups of {knobs.nets} networks, m = {knobs.missed}; {sweep}")
    return report.finish(judge(data))


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
