"""How do horizons train from the identity: overshoot, plateau, ringing, drift? (Theorems G1 to G4)

    python -m sims.identity_flow                         # under a minute
    python -m sims.identity_flow --depth 24
    python -m sims.identity_flow --depth 8 --workers 1

Scalar layers w(t) = 1 + d(t) follow the flow w' = -g_h of a target phi. Five parts: `overshoot`, the plain
horizon reaches phi, crosses it and the loss rises again, for every h < T (G3), the anchored one never does;
`plateau`, T/2 <= h: two modes (G4 b); `ringing`, h = 1: e^{-tau} L_{T-1}(tau), a Bessel function in the limit
(G4 c); `drift`, h = T/4 and unequal layers: weights grow like tau^{T/h - 1} though the end error falls (G4 d,
linearised); `anchored`, the loss falls at least at the rate of G2. Curves go to results/identity_flow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

import dlinear
from dlinear import report
from dlinear.runs import script, sweeps
from dlinear.runs.knobs import at_least, cell_from, check
from dlinear.runs.launch import LocalRun
from dlinear.theory import flows

Part = Literal["overshoot", "plateau", "ringing", "drift", "anchored"]
TARGETS = (0.5, 2.0)  # phi below and above the start
NEAR = 1e-4  # phi - 1 of the linearised laws; they are exact as it falls
TOY = "--depth 8"  # seconds, for the tests


@dataclass(frozen=True)
class Knobs(LocalRun):
    """What to run."""

    depth: int = 12  # T, layers, a multiple of 4; the laws hold for any, and small T integrates fast


@dataclass(frozen=True)
class Cell:
    """One part."""

    part: Part
    depth: int
    edition: int = 1  # raise it when the meaning of a cell changes


def flow(depth: int, horizon: int, phi: float, taus: np.ndarray, rule: dlinear.HorizonRule) -> np.ndarray:
    """w(tau), (T, times), of the flow w' = -g from w = 1, relative error 1e-9."""
    from scipy.integrate import solve_ivp

    def slope(_: float, layers: np.ndarray) -> np.ndarray:
        net = dlinear.DenseNetwork(layers.reshape(depth, 1, 1))
        return -dlinear.horizon_gradients(net, np.array([[phi]]), horizon, rule).ravel()

    span = (0.0, float(taus[-1]))
    path = solve_ivp(slope, span, np.zeros(depth), t_eval=taus, rtol=1e-9, atol=1e-13, method="DOP853")
    layers: np.ndarray = 1 + path.y
    return layers


def end_error(depth: int, horizon: int, phi: float, taus: np.ndarray, anchored: bool = False) -> np.ndarray:
    """R(tau)/R(0) of the flow."""
    layers = flow(depth, horizon, phi, taus, dlinear.HorizonRule(anchored=anchored))
    error: np.ndarray = (np.prod(layers, axis=0) - phi) / (1 - phi)
    return error


def compute(cell: Cell) -> sweeps.Arrays:
    """The curves of one part."""
    return {
        "overshoot": overshoot,
        "plateau": plateau,
        "ringing": ringing,
        "drift": drift,
        "anchored": anchored,
    }[cell.part](cell.depth)


def overshoot(depth: int) -> sweeps.Arrays:
    """Least R/R(0) along the flow for every h, plain and anchored: below 0 it has crossed the target."""
    taus, horizons = np.linspace(0, 12, 1500), np.arange(1, depth)
    least = [
        [[end_error(depth, h, phi, taus, flag).min() for h in horizons] for phi in TARGETS]
        for flag in (False, True)
    ]
    dims = ("target", "horizon")
    return {
        "horizon": (("horizon",), horizons),
        "target": (("target",), np.array(TARGETS)),
        "least_plain": (dims, np.array(least[0])),
        "least_anchored": (dims, np.array(least[1])),
    }


def plateau(depth: int) -> sweeps.Arrays:
    """R/R(0) for h = 2T/3 beside the two modes."""
    taus, h = np.concatenate([[0.0], np.geomspace(1e-3, 30, 120)]), -(-2 * depth // 3)  # T <= 2h
    return {
        "tau": (("tau",), taus),
        "error": (("tau",), end_error(depth, h, 1 + NEAR, taus)),
        "law": (("tau",), flows.two_modes(depth, h, taus)),
    }


def ringing(depth: int) -> sweeps.Arrays:
    """R/R(0) for h = 1 beside Laguerre's polynomial and the Bessel function."""
    from scipy.special import j0

    taus = np.linspace(0, 3, 200)
    return {
        "tau": (("tau",), taus),
        "error": (("tau",), end_error(depth, 1, 1 + NEAR, taus)),
        "law": (("tau",), flows.ringing(depth, taus)),
        "bessel": (("tau",), j0(2 * np.sqrt(depth * taus))),
    }


def drift(depth: int) -> sweeps.Arrays:
    """max |d| and max |e_s| of the linear flow from unequal layers, h = T/4, to tau = 1000."""
    from scipy.linalg import expm

    taus, h = np.geomspace(30, 1000, 12), depth // 4
    begin = np.random.default_rng(depth).normal(size=depth)
    system = -flows.flow_matrix(depth, h)
    paths = np.array([expm(system * tau) @ begin for tau in taus])  # Phi = I
    errors = np.cumsum(paths, axis=1)
    return {
        "tau": (("tau",), taus),
        "weights": (("tau",), np.abs(paths).max(axis=1)),
        "errors": (("tau",), np.abs(errors[:, h - 1 : -1]).max(axis=1)),
        "end": (("tau",), np.abs(errors[:, -1])),
    }


def anchored(depth: int) -> sweeps.Arrays:
    """R/R(0) of the anchored flow at h = 1 beside the bound of G2."""
    taus = np.linspace(0, 1, 60)
    error = np.array([end_error(depth, 1, phi, taus, True) for phi in TARGETS])
    bound = np.exp(-depth * np.minimum(1, np.square(TARGETS))[:, None] * taus)
    dims = ("target", "tau")
    return {
        "tau": (("tau",), taus),
        "target": (("target",), np.array(TARGETS)),
        "falls": (dims, error),
        "bound": (dims, bound),
    }


def judge(parts: dict[str, Any], depth: int) -> list[report.Answer]:
    """The verdicts, from the records alone."""
    over, flat, ring = parts["overshoot"], parts["plateau"], parts["ringing"]
    crossed = over["least_plain"] < 0
    calm = float(over["least_anchored"].min())
    deviation = float(np.abs(flat["error"] - flat["law"]).max())
    least = float(flat["error"].min())
    rung = float(np.abs(ring["error"] - ring["law"]).max())
    bessel = float(np.abs(ring["law"] - ring["bessel"]).max())
    logs, far = np.log(parts["drift"]["tau"].values), slice(6, None)
    powers = [
        np.polyfit(logs[far], np.log(parts["drift"][name].values)[far], 1)[0]
        for name in ("weights", "errors")
    ]
    share = float((parts["anchored"]["falls"] / parts["anchored"]["bound"]).max())
    ends = depth // (depth // 4)
    return [
        report.Answer(
            f"G3: the plain flow crosses the target for every h < T = {depth}, phi in {TARGETS}",
            bool(crossed.all()),
            f"{int(crossed.sum())} of {crossed.size}, deepest {float(over['least_plain'].min()):.3f} R(0)",
        ),
        report.Answer(
            "the anchored flow never crosses, but for the integration's error",
            calm > -1e-6,
            f"least R/R(0) {calm:.1e}",
        ),
        report.Answer(
            "G4 b: fall and plateau of two modes, +- 1e-3",
            deviation < 1e-3,
            f"largest gap {deviation:.1e}; plateau {least:.3f} R(0), of the wrong sign",
        ),
        report.Answer(
            "G4 c: h = 1 rings like Laguerre's polynomial, +- 1e-3",
            rung < 1e-3,
            f"largest gap {rung:.1e}; to the Bessel function {bessel:.2f}",
        ),
        report.Answer(
            f"G4 d: h = T/4 drifts, weights ~ tau^{ends - 1}, inner errors ~ tau^{ends - 2}, +- 0.3",
            bool(np.abs(np.subtract(powers, (ends - 1, ends - 2))).max() <= 0.3),
            f"exponents {powers[0]:.2f}, {powers[1]:.2f}; end error {float(parts['drift']['end'][-1]):.1e}",
        ),
        report.Answer(
            "G2: the anchored flow at h = 1 is at least as fast as its bound",
            share <= 1 + 1e-6,
            f"largest R/bound {share:.6f}",
        ),
    ]


def main(knobs: Knobs) -> int:
    """Run the missing cells and print the verdicts; 0 iff none fails."""
    check(knobs, depth=at_least(8))
    if knobs.depth % 4:
        raise dlinear.errors.DomainError(f"--depth must be a multiple of 4; received {knobs.depth}")
    names = ("overshoot", "plateau", "ringing", "drift", "anchored")
    cells = [cell_from(Cell, knobs, part=part) for part in names]
    sweep, data = knobs.gather("identity_flow", cells, compute)
    if data is None:
        return bool(sweep.failed or sweep.lost)
    print(f"T = {knobs.depth}; {sweep}")
    parts = {}
    for name in names:
        part = data.sel(part=name, depth=knobs.depth)
        part = part.drop_vars([key for key in part.data_vars if part[key].isnull().all()])
        some = [dim for dim in part.dims if dim != "part"]
        for dim in some:
            part = part.dropna(dim, how="all")
        parts[name] = part
    return report.finish(judge(parts, knobs.depth))


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
