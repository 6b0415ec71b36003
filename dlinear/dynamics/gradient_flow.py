"""The flow along g_h, many horizons and starts at once.

    dW(t)/dtau = -c g_h(t)

c = 1, or c = <g_h, g_T>/||g_h||^2, the best rescaling of eq. (13). All networks share one adaptive step; one
that diverges is left out from then on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dlinear.checks import as_floats
from dlinear.dynamics import signals
from dlinear.dynamics.observation import best_rescaling
from dlinear.dynamics.recording import LIMIT, Recorder, Scaling, begin, positive
from dlinear.dynamics.stacks import as_problem
from dlinear.dynamics.trajectory import Trajectory
from dlinear.engine.rule import PLAIN, HorizonRule
from dlinear.errors import DomainError
from dlinear.networks.protocol import Network

Floats = NDArray[np.float64]


def flow(
    nets: Network | Sequence[Network],
    phi: ArrayLike,
    horizons: object,
    times: ArrayLike,
    *,
    rule: HorizonRule = PLAIN,
    scaling: Scaling = "none",
    limit: float = LIMIT,
    accuracy: float = 1e-9,
) -> Trajectory:
    """The flow along g_h from each start with each horizon, by DOP853 with error control.

    Args:
        nets, phi, horizons, rule, scaling, limit: as in `descent`.
        times: tau at which to record, increasing, the first 0. Back-propagation near the identity falls as
            exp(-T tau).
        accuracy: relative error that a step may have, in 1e-13..1e-2.

    Raises:
        ShapeError, NonFiniteError, HorizonError, DomainError: see the message.
    """
    problem = as_problem(nets, phi, horizons, rule)
    taus = _times(times)
    accuracy = float(positive("accuracy", accuracy))
    if not 1e-13 <= accuracy <= 1e-2:
        raise DomainError(f"accuracy is {accuracy:g}; expected a number in 1e-13..1e-2")
    state = begin(problem, scaling, limit)
    state.record(0.0)
    now = 0.0
    for then in taus[1:].tolist():
        while state.alive.size and now < then:
            now = _advance(state, now, then, scaling, accuracy)
            state.drop(now)
        now = then
        state.record(then)
    return state.trajectory()


def _advance(state: Recorder, now: float, then: float, scaling: Scaling, accuracy: float) -> float:
    """Integrate the networks that are alive to `then`, or to the time at which one reaches the limit."""
    from scipy.integrate import solve_ivp

    problem, some = state.problem, state.alive
    layers, balance = state.layers[some], state.predicted[some]
    shape, cut = layers.shape, layers.size

    def slope(_: float, flat: Floats) -> Floats:
        # (D, change of balance)' = (-c g, -c (X + X^T))
        here = flat[:cut].reshape(shape)
        seen = signals.run(here, problem.phi[some], problem.horizon[some], problem.rule)
        factor = -(best_rescaling(seen.gradient, seen.true) if scaling == "best" else np.ones(len(some)))
        factor = factor[:, None, None, None]
        change = factor * (seen.exchange + seen.exchange.mT)
        return np.concatenate([(factor * seen.gradient).ravel(), change.ravel()])

    def reaches(_: float, flat: Floats) -> float:
        return float(state.limit - np.linalg.norm(flat[:cut].reshape(shape), axis=(2, 3)).max())

    reaches.terminal = True  # type: ignore[attr-defined]
    start = np.concatenate([layers.ravel(), balance.ravel()])
    with np.errstate(over="ignore", invalid="ignore"):  # a step that overflows is refused and halved
        first = np.abs(slope(now, start)[:cut]).max() / problem.depth
        scale = max(np.abs(problem.layers).max(), first)
        path = solve_ivp(  # t_eval: the steps between are not kept
            slope, (now, then), start, method="DOP853", t_eval=[then], events=reaches,
            rtol=accuracy, atol=accuracy * 1e-3 * scale or 1e-300,
        )  # fmt: skip
    if path.status < 0:
        raise DomainError(
            f"the flow cannot be followed from tau = {now:g} to {then:g}: it needs steps below the spacing "
            "of float64; give earlier times or a smaller limit"
        )
    stopped = path.status == 1
    time, end = (path.t_events[0][-1], path.y_events[0][-1]) if stopped else (then, path.y[:, -1])
    state.layers[some], state.predicted[some] = end[:cut].reshape(shape), end[cut:].reshape(balance.shape)
    if stopped:  # the network that has come to the limit
        norms = np.linalg.norm(state.layers[some], axis=(2, 3)).max(axis=1)
        state.diverged[some[norms >= norms.max() * (1 - 1e-9)]] = time
    return float(time)


def _times(times: ArrayLike) -> Floats:
    allowed = "increasing times, the first 0"
    values: Floats = as_floats("times", times, allowed)
    inside = values.ndim == 1 and values.size > 0 and np.isfinite(values).all()
    if not inside or values[0] != 0 or not (np.diff(values) > 0).all():
        raise DomainError(f"times is {values.tolist()!s:.80}: allowed are {allowed}")
    return values
