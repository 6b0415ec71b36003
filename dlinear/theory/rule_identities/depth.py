"""I13 and the bound of 3.4: broadcast descends, a short tail of identities is near; every width and depth."""

from __future__ import annotations

import numpy as np

from dlinear.theory.bounds.anchored import theorem_e1_closed
from dlinear.theory.feedback_laws import broadcast_descent
from dlinear.theory.rule_identities.nets import Bound, Case, Floats, case

TURN = np.array([[0.0, -1.0], [1.0, 0.0]])


def layers(rng: np.random.Generator) -> tuple[Floats, float]:
    """D(t), (T, n, n), and c = max ||T D||_2 < T, between 0.01 and 3."""
    depth, n = int(rng.integers(4, 30)), int(rng.integers(1, 5))
    d = rng.normal(size=(depth, n, n)) + rng.normal(size=(n, n))  # not all independent
    c = 10 ** rng.uniform(-2, 0.5)
    d *= c / depth / np.linalg.norm(d, 2, axis=(1, 2)).max()
    return d, c


def windows(d: Floats, end: Floats) -> tuple[list[Floats], list[Floats]]:
    """P_t at t = 0..T and (W_s^T)^T R at s = 0..T, for an end error R."""
    states, back = [np.eye(d.shape[1])], [end]
    for one in d:
        states.append(states[-1] + one @ states[-1])
    for one in d[::-1]:
        back.insert(0, back[0] + one.T @ back[0])
    return states, back


def tail(d: Floats, end: Floats, horizon: int) -> tuple[Floats, Floats]:
    """g_T and g - g_T of the anchored horizon (DF-h): R itself is handed to state min(t + h, T)."""
    depth = len(d)
    states, back = windows(d, end)
    true = np.stack([back[t + 1] @ states[t].T for t in range(depth)])
    gap = np.zeros_like(true)
    for t in range(depth - horizon):
        signal = end - back[t + horizon]
        for u in range(t + horizon - 1, t, -1):
            signal = signal + d[u].T @ signal
        gap[t] = signal @ states[t].T
    return true, gap


def sin2(true: Floats, gap: Floats) -> float:
    """sin^2 of the angle between g_T and g_T + gap."""
    size, cross = np.sum(true**2), np.sum(true * gap)
    across = np.sum((gap - cross / size * true) ** 2)
    return float(across / (across + (size + cross) ** 2 / size))


def end_error(rng: np.random.Generator, n: int) -> Floats:
    """R of any size: Phi = P_T - R."""
    r: Floats = 10 ** rng.uniform(-6, 1) * rng.normal(size=(n, n))
    return r


def uphill(d: Floats, end: Floats, t: int) -> tuple[float, int]:
    """1 - <G, g_T>/|G|^2 of broadcast in layer t, and k, the number of layers above it."""
    states, back = windows(d, end)
    broadcast, true = end @ states[t].T, back[t + 1] @ states[t].T
    return float(1 - np.sum(broadcast * true) / np.sum(broadcast**2)), len(d) - t - 1


def i13_descent(rng: np.random.Generator) -> Bound:
    """1 - <G, g_T>/|G|^2 <= (1 + c/T)^k - 1 for broadcast with k layers above; twin: k - 1.

    The twin at W = (1 - c/T) I.
    """
    d, c = layers(rng)
    depth = len(d)
    value, k = uphill(d, end_error(rng, d.shape[1]), int(rng.integers(depth - 1)))
    small = depth * rng.uniform(0.001, 0.05)
    shrinking = np.tile(-small / depth * np.eye(2), (depth, 1, 1))
    hard, few = uphill(shrinking, end_error(rng, 2), depth - 1 - int(rng.integers(2, 4)))
    bound, false = (1 - float(broadcast_descent(depth, *at)) for at in ((c, k), (small, few - 1)))
    return Bound(value, bound, hard, false)


def tail_bound(rng: np.random.Generator) -> Bound:
    """sin^2 of DF-h <= c^2 e^{2c} S_2(m)/((1 - c/T)^{2(T-1)} T^3) for any R != 0; twin: half of it.

    Theorem E1. The twin at rotations by a small angle.
    """
    d, c = layers(rng)
    depth = len(d)
    h = int(rng.integers(1, depth))
    value = sin2(*tail(d, end_error(rng, d.shape[1]), h))
    small = rng.uniform(0.005, 0.02)
    turned = np.tile(small / 60 * TURN, (60, 1, 1))
    missed = int(rng.integers(1, 4))
    hard = sin2(*tail(turned, end_error(rng, 2), 60 - missed))
    return Bound(
        value,
        float(theorem_e1_closed(depth, h, c)),
        hard,
        float(theorem_e1_closed(60, 60 - missed, small)) / 2,
    )


def tail_any_size(rng: np.random.Generator) -> Case:
    """sin^2 of DF-h does not change as R shrinks; twin: the plain horizon, whose missed part does not shrink.

    Of the plain horizon: g - g_T = (W^s)^T [(Z - E) P_s + (Z - E)^T R] P_t^T with Z = I, E = W_s^T.
    """
    d, _ = layers(rng)
    depth, n = len(d), d.shape[1]
    end, h = rng.normal(size=(n, n)), depth - 1
    states, _ = windows(d, end)

    def plain(r: Floats) -> float:  # at h = T - 1 the first layer alone misses something
        true, gap = tail(d, r, h)
        signal = states[h] - states[depth]
        for u in range(h - 1, 0, -1):
            signal = signal + d[u].T @ signal
        gap[0] += signal
        return sin2(true, gap)

    shrunk = 1e-4 * end
    values = [sin2(*tail(d, r, h)) for r in (end, shrunk)]
    return case([values[0]], [values[1]], [plain(shrunk)])
