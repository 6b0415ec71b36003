"""The measured rows H1, H2, H3 and G4 d against their definitions: enumeration, exact numbers, flows."""

from __future__ import annotations

import itertools
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import scipy.linalg

import dlinear
from dlinear.theory import bounds


@pytest.mark.parametrize(("width", "unseen"), [(1, 1), (1, 4), (2, 2)])
def test_h1_the_mean_of_the_true_gradient_over_all_signs_of_the_unseen_layers(width, unseen):
    """Entries +-rho/sqrt(n), every combination once: exact moments, through the library's gradients."""
    rng, seen, rho = np.random.default_rng(unseen), 3, 0.7
    depth, horizon = seen + unseen, seen
    visible, phi = rng.normal(size=(seen, width, width)) / 3, rng.normal(size=(width, width))
    states = [np.eye(width)]
    for layer in visible:
        states.append(states[-1] + layer @ states[-1])
    entries = unseen * width**2
    found = []
    for signs in itertools.product((-1.0, 1.0), repeat=entries):
        tail = np.reshape(signs, (unseen, width, width)) * rho / np.sqrt(width)
        net = dlinear.DenseNetwork(np.concatenate([visible, tail]))
        found.append(dlinear.horizon_gradients(net, phi, depth)[0])
    after = np.linalg.solve(states[1].T, states[seen].T).T  # W_1^s
    best = after.T @ ((1 + rho**2) ** unseen * states[seen] - phi)
    np.testing.assert_allclose(np.mean(found, axis=0), best, rtol=1e-12, atol=1e-12)
    plain = dlinear.horizon_gradients(
        dlinear.DenseNetwork(np.concatenate([visible, 0 * tail])), phi, horizon
    )[0]
    errors = [np.mean(np.sum((np.array(found) - guess) ** 2, axis=(1, 2))) for guess in (best, plain)]
    assert errors[0] < errors[1]  # the best prediction, and the one of the plain horizon
    assert errors[1] - errors[0] == pytest.approx(np.sum((plain - best) ** 2), rel=1e-9)


def test_h2_the_variance_of_the_unseen_runs_by_enumeration():
    """Signs constant on [2^i, 2^{i+1}) from the end; a run with one layer in sight is known."""
    total = {0: 0}
    for k in range(1, 65):
        runs = [range(2**i, 2 ** (i + 1)) for i in range(8) if 2**i <= k]
        hidden = [len(run) for run in runs if run[-1] <= k]
        sums = [
            sum(map(int.__mul__, signs, hidden)) for signs in itertools.product((-1, 1), repeat=len(hidden))
        ]
        variance = Fraction(sum(x * x for x in sums), len(sums))
        j = (k + 1).bit_length() - 1
        assert sum(sums) == 0
        assert variance == Fraction(4**j - 1, 3)
        total[k] = total[k - 1] + variance
    squares = {m: Fraction(m * (m + 1) * (2 * m + 1), 6) for m in total}
    assert all(7 * total[m] >= squares[m] for m in range(1, 65))
    assert 6 * total[62] < squares[62]  # 1/7 is what is approached, just before a run is whole


@pytest.mark.parametrize("c", [0.05, 0.4])
@pytest.mark.parametrize("missed", [1, 5])
def test_h3_the_bound_is_attained_up_to_e_to_4c(c, missed):
    """Scalar layers 1 + c/T by the definition in 60 digits; the limit by extrapolation in 1/T."""
    ratios = []
    with mpmath.workdps(60):
        for depth in (300, 600):
            w, radius, inner, square = 1 + mpmath.mpf(c) / depth, mpmath.mpf(1) / 2, 0, 0
            power = [w**k for k in range(depth + 1)]
            phi, true = power[depth] - radius, power[depth - 1] * radius
            for t in range(depth):
                s = min(t + depth - missed, depth)
                ours = power[s - 1] * (power[s] - phi)
                inner, square = inner + ours * true, square + ours**2
            sin2 = 1 - inner**2 / (square * depth * true**2)
            ratios.append(float(sin2) / float(bounds.theorem_a(depth, depth - missed, c, 1, float(radius))))
    assert 2 * ratios[1] - ratios[0] == pytest.approx(np.exp(-4 * c), rel=2e-3)
    assert ratios[0] < 1


def flow(depth, horizon):
    """e' = -M e for e_1..e_T: every layer t < s moves along -e_{min(t+h, T)}."""
    m = np.zeros((depth, depth))
    for s, t in itertools.product(range(1, depth + 1), range(depth)):
        if t < s:
            m[s - 1, min(t + horizon, depth) - 1] += 1
    return m


@pytest.mark.parametrize(("depth", "horizon"), [(6, 3), (7, 2), (9, 4), (12, 3), (10, 8)])
def test_g4_d_the_zero_modes_are_the_residuals_that_no_layer_sees(depth, horizon):
    """e_s = 0 for s >= 2h and the sum of e_{min(t+h, T)} over t < h is 0: min(h, m) - 1 dimensions."""
    inner = flow(depth, horizon)[horizon - 1 :, horizon - 1 :]
    size = depth - horizon + 1
    kernel = scipy.linalg.null_space(inner)
    assert kernel.shape[1] == min(horizon, depth - horizon) - 1
    for e in kernel.T:
        assert abs(e[horizon:]).max(initial=0.0) < 1e-12
        assert abs(sum(e[min(t, size - 1)] for t in range(horizon))) < 1e-12


@pytest.mark.parametrize(("depth", "horizon"), [(6, 2), (8, 2), (9, 3)])
def test_g4_d_residuals_between_grow_like_a_power_while_the_end_is_reached(depth, horizon):
    """h | T, J = T/h > 2, unequal layers: e like tau^{J-2}, layers like tau^{J-1}, e_T -> 0."""
    rng = np.random.default_rng(depth)
    start, times = rng.normal(size=depth), (2e3, 4e3)
    states = [scipy.linalg.expm(-tau * flow(depth, horizon)) @ start for tau in times]
    steps = depth // horizon
    grown = [np.log2(abs(b).max() / abs(a).max()) for a, b in [[e[horizon - 1 :] for e in states]]]
    assert grown[0] == pytest.approx(steps - 2, abs=0.05)
    assert abs(states[1][-1]) < 1e-6 * abs(start[-1])
    layers = [np.diff(e, prepend=0) - np.diff(start, prepend=0) for e in states]
    assert np.log2(abs(layers[1]).max() / abs(layers[0]).max()) == pytest.approx(steps - 1, abs=0.05)
