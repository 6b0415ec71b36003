"""How do deep linear networks train along g_h: is r(h) of eq. (14) cos^2, what becomes of the balance (G5)?

    python -m sims.dynamics                              # about a minute
    python -m sims.dynamics --depth 64 --seeds 10 --workers 2
    python -m sims.dynamics --depth 16 --gap 1 --until 20

Layers that are smooth in depth are trained towards I + Gaussian, by descent along g_h (`plain`), along
<g_h, g_T>/|g_h|^2 g_h (`rescaled`, eq. (13)), along the anchored g_h (`anchored`), and by the flows of the
first and the last (`flow`, `anchored flow`), eight horizons at once. Seen on the way: r(h) =
ln(J_h/J_0)/ln(J_T/J_0) beside cos^2(theta_h) and beside what it is along the rescaled flow,

    r(h) = int cos^2 lambda_h dtau / int lambda_T dtau,   lambda = ||g_T||^2/J  (h, T: along whose path);

the best single step, cos^2 kappa(g_T)/kappa(g_h) to second order (kappa: curvature of J along a gradient);
the balance W(t+1)^T W(t+1) - W(t) W(t)^T beside Theorem G5; sin^2 beside Theorem B's constant of the network
at hand. An epoch is half a time unit 1/T of back-propagation. Records go to results/dynamics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

import dlinear
from dlinear import dynamics, report
from dlinear.analysis import statistics
from dlinear.errors import DomainError
from dlinear.runs import script, sweeps
from dlinear.runs.knobs import POSITIVE, Narrow, at_least, below, cell_from, check
from dlinear.runs.launch import LocalRun

Part = Literal["plain", "rescaled", "anchored", "flow", "anchored flow"]
PARTS: tuple[Part, ...] = ("plain", "rescaled", "anchored", "flow", "anchored flow")
EPOCH = 0.5  # length of an epoch in time units 1/T of back-propagation
NEAR = 1 / 8  # m/T up to which Theorem B is compared
SMALL = 0.1  # of Theorem B's law: where sin^2 is meant to be it
TOY = "--depth 16 --width 2 --seeds 2 --until 4 --step 0.1"  # seconds, for the tests


@dataclass(frozen=True)
class Knobs(Narrow, LocalRun):
    """What to run."""

    depth: int = 32  # T, layers; deep enough for a range of horizons, and trained in seconds
    size: float = 0.5  # norm of W~ = T D at the start, about
    gap: float = 0.5  # entries of Phi - I times sqrt(n); a half is far from linear and yet trainable
    until: float = 10.0  # T tau at which training ends; back-propagation's loss falls by three decades
    step: float = 0.05  # eta T of descent; so small that what is seen is the horizon's doing
    seeds: int = 8  # networks, each with a target; enough for an interval


@dataclass(frozen=True)
class Cell:
    """One network and one way to train it."""

    part: Part
    depth: int
    width: int
    seed: int
    size: float
    gap: float
    until: float
    step: float
    edition: int = 1  # raise it when the meaning of a cell changes


def start(cell: Cell) -> tuple[dlinear.SmoothNetwork, np.ndarray]:
    """Layers D(t) = A(t/T)/T, A(s) = A_0 cos s + A_1 s, and the target Phi = I + Gaussian."""
    rng = np.random.default_rng([cell.seed, cell.width])
    a0, a1, away = rng.normal(size=(3, cell.width, cell.width)) / cell.width**0.5
    half = cell.size / 2

    def path(s: float) -> np.ndarray:
        return half * (a0 * np.cos(s) + a1 * s)

    return dlinear.SmoothNetwork(path, cell.depth), np.eye(cell.width) + cell.gap * away


def horizons_of(depth: int) -> list[int]:
    """Eight horizons, T among them."""
    some = (1, depth // 8, depth // 4, depth // 2, 3 * depth // 4, 7 * depth // 8, depth - 2, depth)
    return sorted(set(some))


def compute(cell: Cell) -> sweeps.Arrays:
    """Train with every horizon and record each epoch."""
    net, phi = start(cell)
    horizons, rule = horizons_of(cell.depth), dlinear.HorizonRule(anchored=cell.part.startswith("anchored"))
    epochs = round(cell.until / EPOCH)
    times = np.arange(epochs + 1) * EPOCH / cell.depth
    if cell.part.endswith("flow"):
        path = dynamics.flow(net, phi, horizons, times, rule=rule)
    else:
        every = max(1, round(EPOCH / cell.step))
        path = dynamics.descent(
            net,
            phi,
            horizons,
            step=EPOCH / cell.depth / every,
            steps=epochs * every,
            every=every,
            rule=rule,
            scaling="best" if cell.part == "rescaled" else "none",
        )
    both = ("epoch", "horizon")
    names = ("loss", "residual", "sin2", "steepness", "curvature", "best_step", "predicted_sin2", "rate")
    found = {name: (both, getattr(path, name)[..., 0]) for name in (*names, "inner_residual", "equal_step")}
    blind = np.arange(cell.depth - 1) < cell.depth - path.horizons[:, None]  # t < T - h
    drift, wrong = path.drift[:, :, 0], path.drift_error[:, :, 0]
    found["drift"] = (both, np.sqrt(np.sum(drift**2 * blind, axis=-1)))
    found["predicted_drift"] = (both, np.sqrt(np.sum(path.predicted_drift[:, :, 0] ** 2 * blind, axis=-1)))
    found["drift_error"] = (both, np.sqrt(np.sum(wrong**2, axis=-1)))
    found["tail_drift"] = (both, np.max(drift * ~blind, axis=-1))
    found["largest_layer"] = (both, cell.depth * path.layer_norms[:, :, 0].max(axis=-1))
    return {
        "epoch": (("epoch",), np.arange(epochs + 1)),
        "horizon": (("horizon",), path.horizons),
        "tau": (("epoch",), times),
        **found,
    }


def running(values: Any) -> Any:
    """The integral up to each epoch, by trapezoids, in epochs."""
    return ((values + values.shift(epoch=1)) / 2).fillna(0).cumsum("epoch")


def mean_cos2(part: Any) -> Any:
    """The time average of cos^2(theta_h) up to each epoch."""
    return running(1 - part["sin2"]) / part["epoch"]


def rate_law(part: Any) -> Any:
    """int lambda_h cos^2 / int lambda_T of the rescaled runs; of others <g_h, g_T>/||g_T||^2 for cos^2."""
    share = 1 - part["sin2"] if part["part"] == "rescaled" else part["equal_step"]
    falls = running(share * part["steepness"])
    return falls / falls.sel(horizon=part["horizon"].max())


def compared(part: Any, epoch: int) -> dict[str, statistics.Estimate]:
    """r(h), h < T, beside cos^2 at one epoch: correlations over h, worst differences, means over seeds.

    Correlations are averaged as arctanh (Fisher), so that the interval stays in [-1, 1].
    """
    short = part["horizon"][:-1]
    now, means, law = (
        values.sel(epoch=epoch, horizon=short) for values in (part, mean_cos2(part), rate_law(part))
    )
    columns: dict[str, list[float]] = {}
    for seed in now["seed"].values:
        here = now.sel(seed=seed)
        cos2 = 1 - here["sin2"]
        pairs = {
            "mean": (here["rate"], means.sel(seed=seed)),
            "now": (here["rate"], cos2),
            "best": (here["best_step"], cos2),
            "law": (here["rate"], law.sel(seed=seed)),
        }
        for name, (one, other) in pairs.items():
            correlation = float(np.corrcoef(one, other)[0, 1])
            columns.setdefault(f"{name} correlation", []).append(np.arctanh(correlation * (1 - 1e-9)))
            columns.setdefault(f"{name} worst", []).append(float(abs(one - other).max()))
    found = {name: statistics.mean_interval(values) for name, values in columns.items()}
    return {
        name: statistics.Estimate(*np.tanh(value)) if name.endswith("correlation") else value
        for name, value in found.items()
    }


def by_epoch(part: Any) -> str:
    """The table of r(h) against cos^2."""
    last, rows = int(part["epoch"].max()), []
    for epoch in sorted({1, 2, 4, last // 2, last}):
        found = compared(part, epoch)
        rows.append([f"{epoch * EPOCH:g}", *(f"{found[column]:.2f}" for column in COLUMNS)])
    return report.table(("T tau", *COLUMNS.values()), rows)


COLUMNS = {
    "mean correlation": "corr(r, mean cos^2)",
    "mean worst": "worst",
    "now worst": "worst |r - cos^2 now|",
    "best correlation": "best step: corr",
    "best worst": "worst",
    "law worst": "law of r: worst",
}


def of_rates(parts: dict[str, Any]) -> list[report.Answer]:
    """Eq. (14): what r(h) is, and what it is not."""
    last = int(parts["plain"]["epoch"].max())
    first, late = (compared(parts["rescaled"], epoch) for epoch in (2, last))
    plain = compared(parts["plain"], last)
    end = parts["anchored"].isel(epoch=-1)
    least = float(end["rate"].min())
    first_rate, cosine = (
        statistics.mean_interval(values.isel(horizon=0)) for values in (end["rate"], 1 - end["sin2"])
    )
    short = parts["rescaled"].isel(horizon=slice(0, -1))
    cos2 = 1 - short["sin2"]
    gaps = [float(abs(short["best_step"] / law - 1).median()) for law in (cos2 * short["curvature"], cos2)]
    return [
        report.Answer(
            "(14) rescaled, one time unit 1/T: r(h) is the mean of cos^2, +- 0.1",
            first["mean worst"].value < 0.1,
            f"worst over h {first['mean worst']:.3f}, correlation {first['mean correlation']:.3f}",
        ),
        report.Answer(
            "(14) later on: r(h) is not cos^2(theta_h) at the weights reached, worst gap > 0.2",
            late["now worst"].value > 0.2,
            f"rescaled {late['now worst']:.2f}, to the mean {late['mean worst']:.2f}; "
            f"steps along g_h as it is {plain['now worst']:.2f}",
        ),
        report.Answer(
            "instead: r(h) = int cos^2 lambda_h / int lambda_T, lambda = |g_T|^2/J, +- 0.05",
            late["law worst"].value < 0.05,
            f"worst over h {late['law worst']:.4f}",
        ),
        report.Answer(
            "the best single step: cos^2 kappa(g_T)/kappa(g_h) is nearer to its gain than cos^2",
            gaps[0] < gaps[1],
            f"median relative error {gaps[0]:.3f}, of cos^2 {gaps[1]:.3f}",
        ),
        report.Answer(
            "anchored steps are not slower than back-propagation's, though cos^2 < 1",
            least > 0.95,
            f"least r(h) {least:.3f}, r(1) {first_rate:.2f} at cos^2 {cosine:.2f}",
        ),
    ]


def of_balance(parts: dict[str, Any], depth: int) -> list[report.Answer]:
    """Theorem G5 along flows and steps."""
    wrong = max(float((part["drift_error"] / part["drift"].max()).max()) for part in parts.values())
    kept = max(float(parts[name]["tail_drift"].max()) for name in ("flow", "anchored flow"))
    moved = [parts[name]["drift"].isel(epoch=-1, horizon=0) for name in ("flow", "anchored flow")]
    ratio = statistics.mean_interval(np.log10(moved[0] / moved[1]))
    share = bound_share(parts["anchored flow"], depth)
    return [
        report.Answer(
            "G5: the balance of all neighbours changes as predicted, 1e-6 of the largest change",
            wrong < 1e-6,
            f"largest error {wrong:.1e}",
        ),
        report.Answer(
            "G5: along the flow the last h layers keep their balance, 1e-9",
            kept < 1e-9,
            f"largest change {kept:.1e}",
        ),
        report.Answer(
            "the anchored flow stays below 2 a^{T-1} (c/T) int ||R||; the plain one moves further",
            share <= 1 and ratio.value > 0,
            f"largest share of the bound {share:.2f}; h = 1: plain/anchored 10^{ratio:.2f}",
        ),
    ]


def bound_share(part: Any, depth: int) -> float:
    """Largest change of balance over its bound 2 a^{T-1} (c/T) int ||R||, c the largest layer on the path.

    The bound is that of a pair; the change is of all T - h pairs that may change, whose squares add up.
    """
    rate = dlinear.bounds.balance_drift(depth, float(part["largest_layer"].max()), 1.0)
    bound = rate * running(part["residual"]) * EPOCH / depth
    short = part["horizon"].values < depth
    pairs = np.sqrt(np.maximum(depth - part["horizon"], 1))
    return float((part["drift"] / (bound * pairs)).isel(horizon=short, epoch=slice(1, None)).max())


def of_angles(parts: dict[str, Any], depth: int) -> list[report.Answer]:
    """Theorem B along the path, and where the plain flow goes."""
    answers = []
    for name in ("flow", "anchored flow"):
        part = parts[name]
        near = part.sel(horizon=[h for h in part["horizon"].values if depth * (1 - NEAR) <= h < depth])
        ratio = (near["sin2"] / near["predicted_sin2"]).where(near["predicted_sin2"] < SMALL)
        growth = near["sin2"].max() / near["sin2"].min()
        low, high = float(ratio.min()), float(ratio.max())
        mean = statistics.mean_interval(ratio.mean(["epoch", "horizon"]))
        answers.append(
            report.Answer(
                f"Theorem {'B' if name == 'flow' else 'E1'} along the {name}: the law of the network at hand "
                f"is sin^2 for T - h <= T/8 while below {SMALL}, +- 40 %",
                low > 0.6 and high < 1.4,
                f"sin^2/law {mean:.2f} in {low:.2f}..{high:.2f}, {int(ratio.count())} points; "
                f"sin^2 grows {float(growth):.0f}-fold",
            )
        )
    ends = parts["flow"]["inner_residual"].isel(horizon=slice(0, -1))
    fall = (ends.isel(epoch=-1) / ends.isel(epoch=0)).mean("seed")
    answers.append(
        report.Answer(
            "the plain flow moves towards its fixed points, P_h = Phi and a tail of identities, for every h",
            bool((fall < 1).all()),
            f"||P_h - Phi|| falls to {float(fall.min()):.2f}..{float(fall.max()):.2f} of its start",
        )
    )
    return answers


def main(knobs: Knobs) -> int:
    """Run the missing cells, print the table and the verdicts; 0 iff none fails."""
    check(
        knobs,
        depth=at_least(8),
        width=at_least(2),
        seeds=at_least(2),
        size=POSITIVE,
        gap=below(10),
        until=at_least(4 * EPOCH),
        step=below(EPOCH),
    )
    cells = [cell_from(Cell, knobs, part=part, seed=seed) for part in PARTS for seed in range(knobs.seeds)]
    sweep, data = knobs.gather("dynamics", cells, compute)
    if data is None:
        return bool(sweep.failed or sweep.lost)
    gone = int(np.isnan(data["loss"]).any("epoch").sum())
    if gone:
        raise DomainError(
            f"{gone} of {data['loss'].isel(epoch=0).size} trainings diverged: nothing to compare with them; "
            "take a smaller --gap, --step or --until"
        )
    parts = {part: data.sel(part=part, depth=knobs.depth) for part in PARTS}
    print(f"T = {knobs.depth}, n = {knobs.width}, h = {horizons_of(knobs.depth)}; {sweep}")
    for part in ("rescaled", "plain", "anchored"):
        print(f"\n{part}: r(h) of (14) against cos^2, mean over seeds [95 %]\n{by_epoch(parts[part])}")
    print()
    depth = knobs.depth
    return report.finish(of_rates(parts) + of_balance(parts, depth) + of_angles(parts, depth))


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
