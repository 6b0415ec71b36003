"""What one moment of training shows: every number of a `Trajectory` but those that need its past."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dlinear.dynamics import lines, signals
from dlinear.dynamics.spans import spans
from dlinear.engine.rule import HorizonRule
from dlinear.theory import limits

Floats = NDArray[np.float64]


def observe(
    deviations: Floats, phi: Floats, horizon: NDArray[np.int64], rule: HorizonRule
) -> dict[str, Floats]:
    """The records of B networks, (B, ...), by the names of `Trajectory`.

    Args:
        deviations: D(t), (B, T, n, n).
        phi: (B, n, n).
        horizon: h of each network, (B,).
        rule: which signal reaches a layer.
    """
    seen = signals.run(deviations, phi, horizon, rule)
    residual = np.linalg.norm(seen.residual, axis=(1, 2))
    imbalance = signals.imbalance(deviations)
    return {
        "loss": 0.5 * residual**2,
        "residual": residual,
        **angles(seen.gradient, seen.true),
        "steepness": _over(dot(seen.true, seen.true), 0.5 * residual**2),
        **_steps(deviations, phi, seen),
        "predicted_sin2": _predicted(deviations, seen, horizon, rule),
        "inner_residual": _inner(deviations, phi, horizon),
        "layer_norms": np.linalg.norm(deviations, axis=(2, 3)),
        "imbalance": np.linalg.norm(imbalance, axis=(2, 3)),
    }


def angles(gradient: Floats, true: Floats) -> dict[str, Floats]:
    """sin^2 without cancellation, eq. (S), cos, and ||g_h||/||g_T||, (B,) each; NaN where a gradient is 0."""
    gap = gradient - true
    square = dot(true, true)
    with np.errstate(divide="ignore", invalid="ignore"):
        along = dot(gap, true) / square
        across = gap - along[:, None, None, None] * true  # of g_h, across g_T
        length = dot(gradient, gradient)
        return {
            "sin2": np.minimum(1.0, dot(across, across) / length),
            "cos": np.clip((1 + along) * np.sqrt(square / length), -1.0, 1.0),
            "norm_ratio": np.sqrt(length / square),
        }


def best_rescaling(gradient: Floats, true: Floats) -> Floats:
    """c_h = <g_h, g_T>/||g_h||^2 of eq. (13), (B,); 0 where g_h = 0."""
    length = dot(gradient, gradient)
    factor: Floats = np.divide(dot(gradient, true), length, out=np.zeros_like(length), where=length > 0)
    return factor


def dot(a: Floats, b: Floats) -> Floats:
    """<a, b> of each network, summed over its layers."""
    found: Floats = np.einsum("btij,btij->b", a, b)
    return found


def _over(a: Floats, b: Floats) -> Floats:
    """a/b, NaN or infinite where b = 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient: Floats = a / b
    return quotient


def _steps(deviations: Floats, phi: Floats, seen: signals.Pass) -> dict[str, Floats]:
    """The best step along g_h beside the best step along g_T, and the curvatures along both."""
    start = np.zeros(len(deviations))
    downhill = np.sign(dot(seen.gradient, seen.true))  # a line has two directions: take the one that descends
    lines_of = (downhill[:, None, None, None] * seen.gradient, seen.true)
    falls, bends = [], []
    for direction in lines_of:
        loss, _, bend = lines.derivatives(deviations, direction, phi, start)
        _, least = lines.nearest_minimum(deviations, direction, phi)
        falls.append(loss - least)
        bends.append(_over(bend, dot(direction, direction)))
    return {"best_step": _over(falls[0], falls[1]), "curvature": _over(bends[1], bends[0])}


def _predicted(
    deviations: Floats, seen: signals.Pass, horizon: NDArray[np.int64], rule: HorizonRule
) -> Floats:
    """sin^2 of Theorems B, E1, E3, F2 from the networks at hand; NaN for rules that they are not about."""
    depth, eye = deviations.shape[1], np.eye(deviations.shape[-1])
    energies = dot(seen.true, seen.true) / depth
    found = np.full(len(deviations), np.nan)
    plain = HorizonRule(rule.anchored, rule.runs, rule.stride)  # averages of the unseen layers, or none
    if rule != plain:
        return found
    for net, h in enumerate(horizon.tolist()):
        if energies[net] > 0:
            here = limits.DepthLimit(
                seen.end[net] + eye, seen.residual[net], energies[net], depth * deviations[net, -1]
            )
            found[net] = limits.smooth_law(here, depth, h, rule.anchored, rule.runs, rule.stride)[0]
    return found


def _inner(deviations: Floats, phi: Floats, horizon: NDArray[np.int64]) -> Floats:
    """||P_h - Phi||_F of each network."""
    depth = deviations.shape[1]
    zero = np.zeros((len(horizon), 1), dtype=np.int64)
    state = spans(deviations, zero, np.minimum(horizon, depth)[:, None])[:, 0]
    gap = np.eye(phi.shape[-1]) - phi
    inner: Floats = np.linalg.norm(state + gap, axis=(1, 2))
    return inner
