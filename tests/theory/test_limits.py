"""Theorems B and C in the depth limit against slow definitions, and their rates in T by regression."""

from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import expm

import dlinear
from dlinear.errors import (
    DlinearError,
    DomainError,
    HorizonError,
    NonFiniteError,
    ShapeError,
    UndefinedAngleError,
)
from dlinear.theory import limits, scalar


def matrices(seed, *count, n=4):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n, n)) / np.sqrt(n) for _ in range(*count)]


A0, A1, PHI = matrices(0, 3)


def smooth(s):
    return A0 * np.cos(s) + A1 * s


def jump(s):
    return A0 if s < 0.37 else A1


def sin2_slow(deviations, phi, shortfalls):
    """Eq. (27') and the difference form, layer by layer."""
    depth, n, _ = deviations.shape
    w = np.eye(n) + deviations
    state = [np.eye(n)]
    for layer in w:
        state.append(layer @ state[-1])
    residual = state[-1] - phi
    tail = [np.zeros((n, n))]  # W_s^T - I, s = T, T-1, ...
    for layer in deviations[::-1]:
        tail.append(tail[-1] + layer + tail[-1] @ layer)
    tail = tail[::-1]
    full = [(np.eye(n) + tail[t + 1]).T @ residual @ state[t].T for t in range(depth)]
    out = []
    for m in shortfalls:
        delta = []
        for t in range(m):
            s, window = t + depth - m, np.eye(n)
            for layer in w[t + 1 : s]:
                window = layer @ window
            delta.append(-window.T @ (tail[s] @ state[s] + tail[s].T @ residual) @ state[t].T)
        dd, dg = sum(np.sum(d * d) for d in delta), sum(np.sum(d * full[t]) for t, d in enumerate(delta))
        gg = sum(np.sum(g * g) for g in full)
        out.append((dd - dg**2 / gg) / (gg + 2 * dg + dd))
    return np.array(out)


# ---------------------------------------------------------------- law of decay


def test_faulhaber_and_decay_law():
    for m in (0, 1, 2, 7, 40):
        assert limits.faulhaber(m, 1) == sum(range(m + 1))
        assert limits.faulhaber(m, 2) == sum(k * k for k in range(m + 1))
    assert limits.faulhaber(10**6, 2) == pytest.approx(sum(k * k for k in range(10**6 + 1)), rel=1e-15)
    with pytest.raises(DomainError, match="p = 3"):
        limits.faulhaber(2, 3)
    m, depth = np.array([1e5, 2e5]), 10**6
    np.testing.assert_allclose(
        limits.decay_law(2.0, 5.0, m, depth), 2 * (m / depth) ** 2 + 5 * (m / depth) ** 3, rtol=3e-5
    )
    assert limits.decay_law(0.0, 1.0, 1, 10) == pytest.approx(3e-3)
    assert limits.decay_law(1.0, 0.0, 1, 10) == pytest.approx(2e-2)


@given(st.floats(1e-6, 10), st.floats(1e-3, 10), st.integers(10, 10**6))
def test_crossover_makes_the_terms_equal(q, c, depth):
    m = limits.crossover(q, c, depth)
    if m > 0:
        assert limits.decay_law(q, 0, m, depth) == pytest.approx(limits.decay_law(0, c, m, depth), rel=1e-9)


def test_crossover_edges():
    assert limits.crossover(1.0, 0.0, 10) == float("inf")
    for q, c, said in [(-1.0, 1.0, "not both 0"), (0.0, 0.0, "not both 0"), (np.nan, 1.0, "one real number")]:
        with pytest.raises(DomainError, match=said):
            limits.crossover(q, c, 10)


# ---------------------------------------------------------------- propagator and energy


def test_propagator_of_constant_and_commuting_paths():
    np.testing.assert_allclose(limits.propagator(lambda s: A0), expm(A0), rtol=1e-11)
    np.testing.assert_allclose(limits.propagator(lambda s: 3 * s**2 * A0), expm(A0), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("breaks", [(), (0.37,)])
def test_propagator_across_a_jump(breaks):
    want = expm(0.63 * A1) @ expm(0.37 * A0)
    np.testing.assert_allclose(
        limits.propagator(jump, breaks=breaks),
        want,
        rtol=0,
        atol=(3e-15 if breaks else 2e-11) * np.abs(want).max(),
    )
    got = limits.cubic_constant(jump, PHI, breaks=breaks)
    assert got == pytest.approx(limits.cubic_constant(jump, PHI, breaks=(0.37, 0.37, 0.5)), rel=1e-10)


def test_narrow_spike_is_not_stepped_over():
    def spike(s):
        return A0 if abs(s - 0.513) < 0.03 else 0 * A0

    np.testing.assert_allclose(limits.propagator(spike), expm(0.06 * A0), rtol=0, atol=1e-11)


def test_propagator_is_the_limit_of_products_at_rate_two():
    errors = []
    for depth in (200, 400, 800):
        x = np.eye(4)
        for t in range(depth):
            x += smooth((t + 0.5) / depth) @ x / depth
        errors.append(np.linalg.norm(x - limits.propagator(smooth)))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.05)
    assert np.log2(errors[1] / errors[2]) == pytest.approx(1, abs=0.03)


def test_gradient_energy_is_the_integral_of_the_definition():
    x = expm(A0)
    residual = x - PHI
    nodes, weights = np.polynomial.legendre.leggauss(30)
    want = sum(
        w / 2 * np.sum((expm(A0 * (1 - b)).T @ residual @ expm(A0 * b).T) ** 2)
        for b, w in zip((nodes + 1) / 2, weights, strict=True)
    )
    assert limits.gradient_energy(lambda s: A0, x, residual) == pytest.approx(want, rel=1e-11)
    assert limits.gradient_energy(lambda s: A0, x, 0 * x) == 0.0


# ---------------------------------------------------------------- Theorem B


@pytest.mark.slow
@given(st.floats(-3, 3), st.floats(-3, 3))
def test_one_dimension_is_lemma_c5(c, y):
    if min(abs(np.exp(c) - y), abs(2 * np.exp(c) - y)) < 1e-2 * np.exp(c):
        return
    got = limits.cubic_constant(lambda s: np.array([[c]]), [[y]])
    assert got == pytest.approx(float(scalar.constant(c, y)), rel=1e-9, abs=1e-20)


@pytest.mark.slow
@given(st.integers(0, 10**6))
def test_commuting_case(seed):
    rng = np.random.default_rng(seed)
    a, p = rng.normal(size=3), rng.normal(size=3)
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    got = limits.cubic_constant(lambda s: q @ np.diag(a) @ q.T, q @ np.diag(p) @ q.T)
    assert got == pytest.approx(scalar.constant_commuting(a, p), rel=1e-9)


@pytest.mark.parametrize("path", [smooth, jump], ids=["smooth", "jump"])
def test_theorem_b_constant_and_its_rate_in_depth(path):
    """sin^2 over its law tends to 1 like 1/T at fixed m, in a net computed layer by layer."""
    cubic = limits.cubic_constant(path, PHI, breaks=(0.37,) if path is jump else ())
    shortfalls = np.array([1, 3, 8])
    errors = []
    for depth in (100, 200, 400):
        layers = np.array([path((t + 0.5) / depth) for t in range(depth)]) / depth
        ratio = sin2_slow(layers, PHI, shortfalls) / limits.decay_law(0.0, cubic, shortfalls, depth)
        errors.append(np.abs(ratio - 1))
    assert np.all(errors[-1] < 0.15)
    rates = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    if path is smooth:
        np.testing.assert_allclose(rates[-1], 1, atol=0.15)


def test_theorem_b_vanishes_iff_the_response_does():
    """Phi = X + A^{-T} A X makes A X + A^T R = 0."""
    x = expm(A0)
    phi = x + np.linalg.solve(A0.T, A0 @ x)
    assert limits.cubic_constant(lambda s: A0, phi) < 1e-18


# ---------------------------------------------------------------- Theorem C


def test_response_variance_by_sampling():
    x, residual = expm(A0), expm(A0) - PHI
    noise = np.random.default_rng(1).normal(size=(100_000, 4, 4)) / 2
    energies = np.sum(limits.response(x, residual, noise) ** 2, axis=(1, 2))
    got = limits.response_variance(x, residual)
    assert abs(energies.mean() - got) < 4 * energies.std() / np.sqrt(len(energies))


def test_response_variance_exactly():
    """Sum over the n^2 unit layers: E||B(Xi)||^2 = (1/n) sum_ij ||B(E_ij)||^2."""
    x, residual = expm(A1), expm(A1) - PHI
    units = np.eye(16).reshape(16, 4, 4)
    want = np.sum(limits.response(x, residual, units) ** 2) / 4
    assert limits.response_variance(x, residual) == pytest.approx(want, rel=1e-13)


def test_rough_constants_zero_mean():
    residual = np.eye(4) - PHI
    want = 1.7**2 * limits.response_variance(np.eye(4), residual) / (2 * 500 * np.sum(residual**2))
    quadratic, cubic = limits.rough_constants(None, 1.7, PHI, 500)
    assert (quadratic, cubic) == (pytest.approx(want, rel=1e-12), 0.0)


def test_rough_constants_with_mean():
    got = limits.rough_constants(A0, 0.5, PHI, 1000)
    same = limits.rough_constants(lambda s: A0, 0.5, PHI, 1000)
    assert got.quadratic == same.quadratic
    assert got.cubic == pytest.approx(limits.cubic_constant(lambda s: A0, PHI), rel=1e-14)
    deeper = limits.rough_constants(A0, 0.5, PHI, 4000)
    assert limits.crossover(*got, 1000) == pytest.approx(limits.crossover(*deeper, 4000), rel=1e-12)
    limit = limits.depth_limit(lambda s: A0, PHI)
    state = limits.realised_constants(limit.x, limit.residual, limit.energy, 0.5, A0)
    assert state.quadratic == pytest.approx(1000 * got.quadratic, rel=1e-12)
    assert state.cubic == pytest.approx(got.cubic, rel=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["1/T", "1/sqrt(T)"])
def test_theorem_c_prefactor_by_simulation(scale):
    """Mean of sin^2 over its law, over seeds: 1 within four standard errors (and a loose absolute band)."""
    rng = np.random.default_rng(5)
    depth, shortfalls, ratios = 300, np.array([2, 5, 10]), []
    for _ in range(60):
        noise = rng.normal(size=(depth, 4, 4)) / 2
        if scale == "1/T":
            layers = noise / depth
            pair = limits.rough_constants(None, 1.0, PHI, depth)
        else:
            layers = 0.5 * noise / np.sqrt(depth)
            pair = realised(layers, 0.5)
        law = limits.decay_law(*pair, shortfalls, depth)
        ratios.append(sin2_slow(layers, PHI, shortfalls) / law)
    mean, error = np.mean(ratios, axis=0), np.std(ratios, axis=0) / np.sqrt(len(ratios))
    assert np.all(error < 0.1)
    np.testing.assert_array_less(np.abs(mean - 1), 4 * error + 0.05)


def realised(layers, sigma):
    depth, n, _ = layers.shape
    state, tail = [np.eye(n)], [np.eye(n)]
    for layer in layers:
        state.append(state[-1] + layer @ state[-1])
    for layer in layers[::-1]:
        tail.append(tail[-1] + tail[-1] @ layer)
    residual = state[-1] - PHI
    energy = np.mean([np.sum((tail[depth - t - 1].T @ residual @ state[t].T) ** 2) for t in range(depth)])
    return limits.realised_constants(state[-1], residual, energy, sigma)


# ---------------------------------------------------------------- errors


def test_errors():
    with pytest.raises(ShapeError, match=r"phi must be \(4, 4\); got \(3, 3\)"):
        limits.cubic_constant(smooth, np.eye(3))
    with pytest.raises(ShapeError, match=r"path\(1\)"):
        limits.propagator(lambda s: np.ones(3))
    with pytest.raises(ShapeError, match="path"):
        limits.propagator(lambda s: np.eye(3) if s > 0.5 else np.eye(2))
    with pytest.raises(NonFiniteError, match="nan"):
        limits.propagator(lambda s: A0 * (np.nan if s < 0.5 else 1.0))
    with pytest.raises(NonFiniteError, match="phi"):
        limits.cubic_constant(smooth, np.full((4, 4), np.inf))
    with pytest.raises(UndefinedAngleError, match="R = X"):
        limits.cubic_constant(lambda s: A0, expm(A0))
    with pytest.raises(UndefinedAngleError, match="R = X"):
        limits.rough_constants(None, 1.0, np.eye(3), 10)
    with pytest.raises(UndefinedAngleError, match="N = 0"):
        limits.realised_constants(np.eye(2), np.eye(2), 0.0, 1.0)
    with pytest.raises(DomainError, match="sigma"):
        limits.rough_constants(None, -1.0, PHI, 10)
    with pytest.raises(DomainError, match="depth"):
        limits.rough_constants(None, 1.0, PHI, 0)
    with pytest.raises(DomainError, match="energy"):
        limits.realised_constants(np.eye(2), np.eye(2), -1.0, 1.0)
    with pytest.raises(DomainError, match="breaks"):
        limits.propagator(smooth, breaks=(1.5,))
    with pytest.raises(ShapeError, match="mean"):
        limits.rough_constants(np.eye(3), 1.0, PHI, 10)


EYE = np.eye(2)


@pytest.mark.parametrize(
    "call",
    [
        lambda: limits.decay_law(1, 1, -1, 10),
        lambda: limits.decay_law(1, 1, 1, 0),
        lambda: limits.decay_law(1, 1, np.nan, 10),
        lambda: limits.decay_law(np.nan, 1, 1, 10),
        lambda: limits.decay_law("1", 1, 1, 10),
        lambda: limits.faulhaber("3", 1),
        lambda: limits.faulhaber(-3, 1),
        lambda: limits.faulhaber(np.array([1.0, -1e-9]), 2),
        lambda: limits.faulhaber(np.nan, 2),
        lambda: limits.decay_law(np.ones(2), np.ones(3), 1, 10),
        lambda: limits.response("a", EYE, EYE),
        lambda: limits.response(EYE, None, EYE),
        lambda: limits.response(EYE, EYE, [["a", 1], [1, 1]]),
        lambda: limits.response(EYE, 1j * EYE, EYE),
        lambda: limits.response(EYE, np.eye(3), EYE),
        lambda: limits.response(EYE, EYE, np.eye(3)),
        lambda: limits.response(EYE, EYE, np.ones((5, 2, 3))),
        lambda: limits.response(np.ones((5, 2, 2)), EYE, EYE),
        lambda: limits.response(EYE, np.nan * EYE, EYE),
        lambda: limits.response(3, 3, 3),
        lambda: limits.response_variance("a", EYE),
        lambda: limits.response_variance(EYE, np.eye(3)),
        lambda: limits.response_variance(EYE, [[1, 2], [3]]),
        lambda: limits.crossover("1", 1, 10),
        lambda: limits.crossover(None, 1, 10),
        lambda: limits.crossover(1j, 1, 10),
        lambda: limits.crossover(np.ones(2), 1, 10),
        lambda: limits.crossover(1, 1, None),
        lambda: limits.crossover(10**400, 1, 10),
        lambda: limits.realised_constants(EYE, EYE, 1.0, "1"),
        lambda: limits.realised_constants(EYE, EYE, None, 1.0),
        lambda: limits.rough_constants(None, "1", 2 * EYE, 10),
        lambda: limits.rough_constants(None, [1], 2 * EYE, 10),
        lambda: limits.rough_constants(None, 1j, 2 * EYE, 10),
        lambda: limits.rough_constants(None, 1, 2 * EYE, 2.5),
        lambda: limits.rough_constants(None, 1, 2 * EYE, np.inf),
        lambda: limits.rough_constants("a", 1, 2 * EYE, 10),
        lambda: limits.rough_constants(lambda s: EYE, 1, 9 * EYE, 10, breaks=["a"]),
        lambda: limits.rough_constants(lambda s: EYE, 1, 9 * EYE, 10, breaks=None),
        lambda: limits.cubic_constant(lambda s: EYE, 2j * EYE),
        lambda: limits.cubic_constant(lambda s: None, EYE),
        lambda: limits.cubic_constant(lambda s: [[1], [1, 2]], EYE),
        lambda: limits.cubic_constant(3, EYE),
        lambda: limits.gradient_energy(3, EYE, EYE),
        lambda: limits.gradient_energy(lambda s: EYE, None, EYE),
        lambda: limits.gradient_energy(lambda s: EYE, np.eye(3), EYE),
    ],
)
def test_what_is_no_number_or_matrix_is_refused(call):
    with pytest.raises(DlinearError) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_maps_of_any_real_numbers():
    """Lists, integers, fractions and stacks; the type of the numbers stays."""
    x, r, m = [[1, 2], [3, 5]], [[1, 0], [2, -1]], [[0, 1], [4, 3]]
    want = np.array([[71, 61], [122, 102]])  # X^T (M X + M^T R) by hand
    assert (limits.response(x, r, m) == want).all()
    exact = [np.array([[Fraction(v, 7) for v in row] for row in rows]) for rows in (x, r, m)]
    cube = limits.response(exact[0], exact[1] * 0, exact[2]) * 7**3
    assert (cube == limits.response(x, np.zeros((2, 2), int), m)).all()
    assert isinstance(cube[0, 0], Fraction)
    stack = np.array([m, np.eye(2)])
    assert (limits.response(x, r, stack)[0] == want).all()
    by_sympy = limits.response(*(sympy.Matrix(rows) for rows in (x, r, m)))
    assert (np.array(by_sympy.tolist()) == want).all()
    symbols = np.array(sympy.symbols("x0:4")).reshape(2, 2)
    values = dict(zip(symbols.flat, np.ravel(x), strict=True))
    assert [entry.subs(values) for entry in limits.response(symbols, np.array(r), np.array(m)).flat] == [
        *want.flat
    ]


@pytest.mark.parametrize(
    "rule", [{}, {"anchored": True}, {"runs": 1}, {"runs": 2, "anchored": True}, {"stride": 4}]
)
def test_the_law_of_every_rule_is_what_deep_smooth_networks_come_near(rule):
    """Ratios tend to 1 like T^-1: Theorems B, E1, E3 and F2; a wrong sum or response is off by a factor."""
    rng = np.random.default_rng(4)
    a0, a1, phi = rng.normal(scale=0.5, size=(3, 3, 3))

    def path(s):
        position = np.asarray(s, dtype=float)[..., None, None]
        return a0 * np.cos(position) + a1 * position

    limit, errors = limits.depth_limit(path, phi), []
    for depth in (400, 1600):
        net = dlinear.SmoothNetwork(path, depth=depth, vectorized=True)
        horizons = depth - np.array([5, 8])
        seen = dlinear.alignment(net, phi, horizons, rule=dlinear.HorizonRule(**rule)).sin2
        errors.append(np.abs(seen / limits.smooth_law(limit, depth, horizons, **rule) - 1).max())
    assert errors[1] < 0.03
    assert errors[1] < 0.35 * errors[0]


def test_the_law_of_the_plain_horizon_is_theorem_b():
    limit = limits.DepthLimit(np.eye(2), np.array([[1.0, 2.0], [0.0, 1.0]]), 3.0, np.ones((2, 2)))
    law = limits.decay_law(0.0, limits.constants_of(limit).cubic, np.array([1, 7]), 100)
    assert np.allclose(limits.smooth_law(limit, 100, [99, 93]), law, rtol=1e-14)
    assert limits.smooth_law(limit, 100, 100)[0] == 0
    with pytest.raises(HorizonError):
        limits.smooth_law(limit, 100, 0)
