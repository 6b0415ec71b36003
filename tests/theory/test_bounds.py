"""Every inequality of `dlinear.bounds`: it holds over random structured networks, it is attained where it
should be, and a slightly wrong version of it fails by the same route."""

from __future__ import annotations

import itertools
from fractions import Fraction

import flint
import numpy as np
import pytest
import reference
import sympy
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import build_case, cases, cases_with_horizon, cases_with_window

from dlinear.errors import DomainError, HorizonError, ShapeError
from dlinear.theory import bounds

SLACK = 1e-10  # relative rounding of the slow float64 quantities


def leq(x, y, scale=0.0):
    """x <= y up to rounding of numbers of size `scale`."""
    return bool(np.all(np.asarray(x) <= np.asarray(y) + SLACK * (np.abs(y) + scale)))


def norms(matrix):
    """(sigma_min, spectral, Frobenius)."""
    values = np.linalg.svd(matrix, compute_uv=False)
    return values[-1], values[0], np.linalg.norm(matrix)


def layer_norms(case, horizon):
    """||g_h(t)||_F for every t."""
    return np.linalg.norm(reference.gradients(case.deviations, case.phi, horizon), axis=(1, 2))


# -------------------------------------- each route returns True if the bound holds
# The formula is an argument: the property tests hand in the library's, the twins a wrong one.


def product_chain(case, start, end, formula=bounds.product_norm_bounds):
    least, largest, _ = norms(reference.window(case.deviations, start, end))
    b = formula(case.depth, end - start, case.c)
    return all(itertools.starmap(leq, itertools.pairwise([b.exp_lower, b.lower, least]))) and all(
        itertools.starmap(leq, itertools.pairwise([largest, b.upper, b.exp_upper]))
    )


def product_frobenius(case, start, end, formula=bounds.product_frobenius_bounds):
    *_, frobenius = norms(reference.window(case.deviations, start, end))
    lower, upper = formula(case.depth, end - start, case.c, case.width)
    return leq(lower, frobenius) and leq(frobenius, upper)


def gradient_norm(case, horizon, formula=bounds.gradient_norm_bounds):
    ends = np.minimum(np.arange(case.depth) + horizon, case.depth)
    local = np.array([np.linalg.norm(reference.state(case.deviations, s) - case.phi) for s in ends])
    lower, upper = formula(case.depth, ends, case.c, local)
    measured = layer_norms(case, horizon)
    return leq(lower, measured, 1e-3) and leq(measured, upper, 1e-3)


def gradient_envelopes(case, horizon, lower=bounds.gradient_norm_lower, upper=bounds.gradient_norm_upper):
    ends = np.minimum(np.arange(case.depth) + horizon, case.depth)
    _, spectral, frobenius = norms(case.phi)
    measured = layer_norms(case, horizon)
    return leq(lower(case.depth, ends, case.c, case.width, spectral), measured, 1e-3) and leq(
        measured, upper(case.depth, ends, case.c, case.width, frobenius), 1e-3
    )


def tail(case, start, formula=bounds.tail_deviation):
    off = norms(reference.window(case.deviations, start, case.depth) - np.eye(case.width))[1]
    power, exponential = formula(case.depth, case.depth - start, case.c)
    return leq(off, power, 1e-3) and leq(power, exponential, 1e-3)


def window_difference(case, start, end, formula=bounds.window_change):
    change = reference.window(case.deviations, start, end) - reference.window(
        case.deviations, start, case.depth
    )
    return leq(np.linalg.norm(change), formula(case.depth, start, end, case.c, case.width), 1e-3)


def gradient_difference(case, horizon, formula=bounds.gradient_change):
    ends = np.minimum(np.arange(case.depth) + horizon, case.depth)
    a, b = (reference.gradients(case.deviations, case.phi, h) for h in (horizon, case.depth))
    change = np.linalg.norm(a - b, axis=(1, 2))
    size = np.linalg.norm(b) + np.linalg.norm(a)  # what the subtraction rounds
    return leq(change, formula(case.depth, ends, case.c, case.width, case.residual_norm), size * 1e-3)


def theorem_a(case, horizon, formula=bounds.theorem_a):
    try:
        sin2 = reference.alignment_60(case.deviations, case.phi, horizon)
    except ZeroDivisionError:
        return True  # no angle, nothing claimed
    return leq(float(sin2), formula(case.depth, horizon, case.c, case.width, case.residual_norm))


# ----------------------------------------------------------------- the bounds hold


@given(cases_with_window())
def test_product_bounds(drawn):
    assert product_chain(*drawn)
    assert product_frobenius(*drawn)


@given(cases_with_horizon())
def test_gradient_norm_bounds(drawn):
    assert gradient_norm(*drawn)
    assert gradient_envelopes(*drawn)


@given(cases())
def test_gradient_domination(case):
    """2T b^{2(T-1)} J <= ||grad J||^2 <= 2T a^{2(T-1)} J (repair of eq. (14)): Lemma C.3 over all layers."""
    depth, loss = case.depth, 0.5 * case.residual_norm**2
    size = np.sum(reference.gradients(case.deviations, case.phi, depth) ** 2)
    layer = bounds.gradient_norm_bounds(depth, depth, case.c, case.residual_norm)
    assert leq(depth * layer.lower**2, size, 1e-3)
    assert leq(size, depth * layer.upper**2, 1e-3)
    assert layer.lower**2 == pytest.approx(2 * loss * (1 - case.c / depth) ** (2 * depth - 2))
    assert layer.upper**2 == pytest.approx(2 * loss * (1 + case.c / depth) ** (2 * depth - 2))


@given(cases_with_window())
def test_tail_and_window_changes(drawn):
    case, start, end = drawn
    assert tail(case, start)
    assert window_difference(case, start, end)
    assert bounds.state_change(case.depth, end, case.c, case.width) == bounds.window_change(
        case.depth, 0, end, case.c, case.width
    )


@given(cases(), st.floats(1e-3, 2))
def test_tail_start(case, tolerance):
    alpha = bounds.tail_start(tolerance, case.c, case.width)
    first = max(0, int(np.ceil(alpha * case.depth - 1e-12)))
    for s in range(first, case.depth + 1):
        off = norms(reference.window(case.deviations, s, case.depth) - np.eye(case.width))[2]
        assert leq(off, tolerance)


@given(cases_with_horizon())
def test_gradient_change_and_its_simpler_form(drawn):
    case, horizon = drawn
    assert gradient_difference(case, horizon)
    k = np.arange(case.depth)
    sharp = bounds.gradient_change(case.depth, case.depth - k, case.c, case.width, case.residual_norm)
    simple = bounds.theorem_a_per_layer(case.depth, k, case.c, case.width, case.residual_norm)
    assert leq(sharp, simple)


@given(cases_with_horizon())
def test_theorem_a(drawn):
    case, horizon = drawn
    assume(case.residual_norm > 1e-9)
    assert theorem_a(case, horizon)
    args = (case.depth, horizon, case.c, case.width, case.residual_norm)
    assert leq(bounds.theorem_a(*args), bounds.theorem_a_cubic(*args))


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.floats(0, 1))
def test_cosine_lower(seed, n, r):
    rng = np.random.default_rng(seed)
    v, off = rng.normal(size=(2, n))
    u = v + off * (r * np.linalg.norm(v) / np.linalg.norm(off))
    size = np.linalg.norm(u) * np.linalg.norm(v)
    assert u @ v >= bounds.cosine_lower(r) * size - 1e-12 * (v @ v)


# ---------------------------------------------------------------- and are attained

TIGHT = {"rel": 1e-10}


@pytest.mark.parametrize(("depth", "n", "c"), [(1, 1, 0.5), (5, 3, 2.0), (9, 2, 0.01)])
def test_extreme_networks_attain_the_bounds(depth, n, c):
    plus = build_case(0, depth, n, c, "plus identity", "zero")
    minus = build_case(0, depth, n, c, "minus identity", "zero")
    for k in range(depth + 1):
        chain = bounds.product_norm_bounds(depth, k, c)
        frobenius = bounds.product_frobenius_bounds(depth, k, c, n)
        high, low = (norms(reference.window(net.deviations, 0, k)) for net in (plus, minus))
        assert high[1] == pytest.approx(chain.upper, **TIGHT)
        assert low[0] == pytest.approx(chain.lower, **TIGHT)
        assert high[2] == pytest.approx(frobenius.upper, **TIGHT)
        assert low[2] == pytest.approx(frobenius.lower, **TIGHT)
        off = norms(reference.window(plus.deviations, depth - k, depth) - np.eye(n))[1]
        assert off == pytest.approx(bounds.tail_deviation(depth, k, c).power, rel=1e-9, abs=1e-15)
        change = reference.window(plus.deviations, 0, k) - reference.state(plus.deviations, depth)
        assert np.linalg.norm(change) == pytest.approx(
            bounds.state_change(depth, k, c, n), rel=1e-9, abs=1e-15
        )
    for h in range(1, depth + 1):
        ends = np.minimum(np.arange(depth) + h, depth)
        assert layer_norms(plus, h) == pytest.approx(
            bounds.gradient_norm_upper(depth, ends, c, n, 0), **TIGHT
        )
        assert layer_norms(minus, h) == pytest.approx(
            bounds.gradient_norm_lower(depth, ends, c, n, 0), **TIGHT
        )


def test_gradient_change_is_attained():
    # layers + c/T I and Phi = -2 I: every factor of eq. (39) is a positive multiple of the identity
    plus = build_case(0, 6, 3, 1.5, "plus identity")
    case = type(plus)(plus.deviations, -2 * np.eye(3), 1.5, 0, "plus identity", "")
    for h in range(1, 7):
        ends = np.minimum(np.arange(6) + h, 6)
        a, b = (reference.gradients(case.deviations, case.phi, k) for k in (h, 6))
        want = bounds.gradient_change(6, ends, 1.5, 3, case.residual_norm)
        assert np.linalg.norm(a - b, axis=(1, 2)) == pytest.approx(want, rel=1e-9, abs=1e-13)


def test_theorem_a_constant_is_sharp():
    # small c, large T, m fixed: the ratio of sin^2 to the bound tends to one
    depth, c = 300, 1e-4
    plus = build_case(0, depth, 1, c, "plus identity")
    case = type(plus)(plus.deviations, -np.eye(1), c, 0, "plus identity", "")
    ratio = [
        float(reference.alignment_60(case.deviations, case.phi, depth - m))
        / bounds.theorem_a(depth, depth - m, c, 1, case.residual_norm)
        for m in (1, 2)
    ]
    assert min(ratio) > 0.98
    assert max(ratio) < 1


def test_cosine_lower_is_attained():
    r = 0.6
    v = np.array([1.0, 0.0])
    u = v + r * np.array([-r, np.sqrt(1 - r**2)])  # the tangent from the origin to the ball
    assert u @ v / np.linalg.norm(u) == pytest.approx(bounds.cosine_lower(r), rel=1e-14)


def test_bounds_at_a_hand_computed_point():
    # T = 2, c = 1, k = 1, n = 4: a = 3/2, b = 1/2
    chain = bounds.product_norm_bounds(2, 1, 1)
    assert chain == pytest.approx((np.exp(-1), 0.5, 1.5, np.exp(0.5)))
    assert bounds.product_frobenius_bounds(2, 1, 1, 4) == pytest.approx((1, 3))
    assert bounds.gradient_change(2, 1, 1, 4, 5) == pytest.approx(0.5 * (2 * 1.5 + 5))
    assert bounds.theorem_a_constant(2, 1, 4, 5) == pytest.approx(np.e**2 * (2 * np.e + 5) ** 2 / (0.25 * 25))
    assert bounds.theorem_a(2, 1, 1, 4, 5) == pytest.approx(bounds.theorem_a_constant(2, 1, 4, 5) / 8)
    assert bounds.theorem_a_cubic(3, 1, 1, 4, 5) == pytest.approx(
        bounds.theorem_a_constant(3, 1, 4, 5) * 8 / 27
    )
    assert bounds.theorem_a_per_layer(4, 3, 2, 4, 5) == pytest.approx(np.e**2 * 1.5 * (2 * np.e**2 + 5))
    assert bounds.tail_deviation(2, 1, 1) == pytest.approx((0.5, np.exp(0.5) - 1))
    assert bounds.tail_start(0.5, 2, 4) == pytest.approx(1 - np.log(1.25) / 2)


# --------------------------------------------------------------------- false twins


def sweep(depths=(1, 2, 5), widths=(1, 2, 3), kinds=("plus identity", "minus identity", "dense", "zero")):
    """A fixed grid of networks, small and extreme."""
    for depth, n, kind, ratio, phi in itertools.product(
        depths, widths, kinds, (1e-4, 0.5, 0.9), ("zero", "random", "identity")
    ):
        yield build_case(1, depth, n, ratio * min(depth, 2), kind, phi)


def windows(case):
    return itertools.combinations_with_replacement(range(case.depth + 1), 2)


def fails_somewhere(route, places, formula, nets=None):
    return any(not route(case, *place, formula) for case in nets or sweep() for place in places(case))


def horizons(case):
    return ((h,) for h in range(1, case.depth + 1))


def starts(case):
    return ((s,) for s in range(case.depth + 1))


def _swap(formula, **changes):
    """`formula` with fields of its result computed by a wrong expression of the arguments."""
    return lambda *args: formula(*args)._replace(**{k: f(*args) for k, f in changes.items()})


chain, frobenius = bounds.product_norm_bounds, bounds.product_frobenius_bounds
TWINS = {
    "(50) as printed: e^{-ck/T} below (1-c/T)^k": (
        product_chain,
        windows,
        _swap(chain, exp_lower=lambda T, k, c: np.exp(-c * k / T)),
    ),
    "upper exponent k - 1": (
        product_chain,
        windows,
        _swap(chain, upper=lambda T, k, c: (1 + c / T) ** (k - 1)),
    ),
    "lower exponent k - 1": (
        product_chain,
        windows,
        _swap(chain, lower=lambda T, k, c: (1 - c / T) ** (k - 1)),
    ),
    "(1+c/T)^k below 1 + ck/T": (product_chain, windows, _swap(chain, upper=lambda T, k, c: 1 + c * k / T)),
    "(51) as printed, without sqrt(n)": (
        product_frobenius,
        windows,
        _swap(frobenius, upper=lambda T, k, c, n: np.exp(c * k / T)),
    ),
    "(51) with n below": (
        product_frobenius,
        windows,
        _swap(frobenius, lower=lambda T, k, c, n: n * (1 - c / T) ** k),
    ),
    "(59) one layer short": (tail, starts, lambda T, k, c: bounds.tail_deviation(T, max(k - 1, 0), c)),
    "(59) linear": (tail, starts, lambda T, k, c: bounds.TailBounds(c * k / T, np.exp(c * k / T) - 1)),
    "(37) without sqrt(n)": (
        window_difference,
        windows,
        lambda T, t, s, c, n: bounds.window_change(T, t, s, c, 1),
    ),
    "(37) window one layer short": (
        window_difference,
        windows,
        lambda T, t, s, c, n: bounds.window_change(T, min(t + 1, s), s, c, n),
    ),
    "Lemma C.2 from the loss, exponent s - 2": (
        gradient_norm,
        horizons,
        lambda T, s, c, x: bounds.gradient_norm_bounds(T, np.maximum(s - 1, 1), c, x),
    ),
    "(39) exponent s - 2": (
        gradient_difference,
        horizons,
        lambda T, s, c, n, r: bounds.gradient_change(T, s, c, n, r) / (1 + c / T),
    ),
    "(39) without the residual": (
        gradient_difference,
        horizons,
        lambda T, s, c, n, r: bounds.gradient_change(T, s, c, n, 0),
    ),
    "Theorem A with (m-1)m(2m-1)": (
        theorem_a,
        horizons,
        lambda T, h, c, n, r: bounds.theorem_a(T, min(h + 1, T), c, n, r),
    ),
    "Theorem A with half its constant": (
        theorem_a,
        horizons,
        lambda T, h, c, n, r: bounds.theorem_a(T, h, c, n, r) / 2,
    ),
    "Theorem A without sqrt(n)": (theorem_a, horizons, lambda T, h, c, n, r: bounds.theorem_a(T, h, c, 1, r)),
    "Theorem A with c^3": (theorem_a, horizons, lambda T, h, c, n, r: bounds.theorem_a(T, h, c, n, r) * c),
    "Theorem A, order four": (
        theorem_a,
        horizons,
        lambda T, h, c, n, r: bounds.theorem_a(T, h, c, n, r) * (1 - h / T),
    ),
}


def _small_c_deep():
    """Where Theorem A is nearly attained: target -x I, deep, small c, x = sqrt(n) ||P_T|| / n."""
    for n, c in itertools.product((1, 4), (1e-3, 0.3)):
        plus = build_case(0, 12, n, c, "plus identity")
        yield type(plus)(plus.deviations, -np.eye(n), c, 0, "plus identity", "")


@pytest.mark.slow
@pytest.mark.parametrize("name", list(TWINS))
def test_false_twin_fails(name):
    route, places, formula = TWINS[name]
    nets = list(_small_c_deep()) if route in (theorem_a, gradient_difference) else None
    right = {
        product_chain: chain,
        product_frobenius: frobenius,
        tail: bounds.tail_deviation,
        window_difference: bounds.window_change,
        gradient_norm: bounds.gradient_norm_bounds,
        gradient_difference: bounds.gradient_change,
        theorem_a: bounds.theorem_a,
    }[route]
    assert not fails_somewhere(route, places, right, nets), "the library's formula fails on the same nets"
    assert fails_somewhere(route, places, formula, nets)


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrong",
    [
        {"upper": lambda T, s, c, n, y: bounds.gradient_norm_upper(T, s, c, 1, y)},  # (56) without sqrt(n)
        {"upper": lambda T, s, c, n, y: bounds.gradient_norm_upper(T, s, c, n, y) / (1 + c / T)},
        {"lower": lambda T, s, c, n, y: bounds.gradient_norm_lower(T, s, c, n, y) / (1 - c / T)},
        {"lower": lambda T, s, c, n, y: bounds.gradient_norm_lower(T, s, c, n, y / 2)},
    ],
)
def test_false_twin_of_the_envelopes_fails(wrong):
    nets = [*sweep(), build_case(0, 3, 2, 0.1, "minus identity", "small")]
    nets += [type(n)(n.deviations, 0.5 * np.eye(n.width), n.c, 0, n.kind, "") for n in nets]
    assert all(gradient_envelopes(case, *h) for case in nets for h in horizons(case))
    assert any(not gradient_envelopes(case, *h, **wrong) for case in nets for h in horizons(case))


def test_printed_exponential_bound_by_numbers():
    # c = 1, T = 10, k = 10: (1 - 1/10)^10 = .3487 < e^{-1} = .3679
    assert bounds.product_norm_bounds(10, 10, 1).lower < np.exp(-1)
    assert bounds.product_norm_bounds(10, 10, 1).exp_lower < bounds.product_norm_bounds(10, 10, 1).lower


# ------------------------------------------------------------ Theorem C.8 repaired


def quadratic_gaps(h, align, start, step, noise, noise_slope, steps):
    """E J(u^tau) - J* for tau = 0..steps, exactly, for J = sum h_i u_i^2/2 and E g = align * grad J.

    Products are by coordinate; coordinate i has noise of variance noise/n + noise_slope (h_i u_i)^2.
    """
    second = np.array(start, dtype=float) ** 2
    gaps = []
    for _ in range(steps + 1):
        gaps.append(0.5 * np.sum(h * second))
        second = (1 - step * align * h) ** 2 * second + step**2 * (
            noise / len(h) + noise_slope * h**2 * second
        )
    return np.array(gaps)


@st.composite
def quadratics(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(1, 4))
    h = rng.uniform(0.1, 3, size=n)
    align = rng.uniform(0.2, 1.5, size=n)
    return {
        "h": h,
        "align": align,
        "start": rng.normal(size=n) * draw(st.sampled_from([0, 1e-3, 1, 10])),
        "noise": draw(st.sampled_from([0, 1e-2, 1])),
        "noise_slope": draw(st.sampled_from([0, 0.5, 2])),
    }


def sgd_route(problem, formula=bounds.sgd_gap, fraction=1.0, steps=12):
    c, smooth = problem["h"].min(), problem["h"].max()
    mu, mu_g = problem["align"].min(), problem["align"].max()
    step = fraction * bounds.sgd_largest_step(smooth, mu, mu_g, problem["noise_slope"])
    gaps = quadratic_gaps(step=step, steps=steps, **problem)
    bound = formula(np.arange(steps + 1), gaps[0], step, c, smooth, mu, problem["noise"])
    return leq(gaps, bound, 1e-3)


def test_expected_gap_by_enumeration_of_the_noise():
    """The recursion of `quadratic_gaps` and the counterexample to (63): all sign sequences, exactly."""
    step, steps = Fraction(1, 2), 3
    total = Fraction(0)
    for signs in itertools.product((-1, 1), repeat=steps):
        u = Fraction(1)
        for sign in signs:
            u -= step * (u + sign)  # J = u^2/2, unit noise
        total += u**2 / 2 / 2**steps
    assert total == Fraction(11, 64)
    got = quadratic_gaps(np.ones(1), np.ones(1), [1.0], 0.5, 1.0, 0.0, steps)[-1]
    assert got == pytest.approx(float(total))
    assert total > (1 - step) ** (steps - 1) / 2  # what (63) claims as printed
    assert total <= bounds.sgd_gap(steps, 0.5, 0.5, 1.0, 1.0, 1.0, 1.0)


@given(quadratics(), st.sampled_from([1e-3, 0.3, 1.0]))
def test_sgd_gap(problem, fraction):
    assert sgd_route(problem, fraction=fraction)


SGD_TWINS = {
    "(63) as printed: the noise cancels": lambda k, g, e, c, L, mu, M: (1 - e * c * mu) ** (k - 1.0) * g,
    "exponent tau - 1 from u^0": lambda k, g, e, c, L, mu, M: (
        bounds.sgd_floor(e, c, L, mu, M)
        + (1 - e * c * mu) ** (k - 1.0) * (g - bounds.sgd_floor(e, c, L, mu, M))
    ),
    "half the floor": lambda k, g, e, c, L, mu, M: bounds.sgd_gap(k, g, e, c, L, mu, M / 2),
    "twice the rate": lambda k, g, e, c, L, mu, M: bounds.sgd_gap(k, g, e, 2 * c, L, mu, M),
}


@pytest.mark.parametrize("name", list(SGD_TWINS))
def test_false_twin_of_sgd_gap_fails(name):
    problems = [
        {"h": np.ones(1), "align": np.ones(1), "start": [u], "noise": noise, "noise_slope": 0}
        for u, noise in [(0.0, 1.0), (1.0, 1.0), (1.0, 0.0)]
    ]
    fractions = (0.01, 1.0)
    assert all(sgd_route(p, fraction=f) for p in problems for f in fractions)
    assert any(not sgd_route(p, SGD_TWINS[name], f, 500) for p in problems for f in fractions)


def test_sgd_gap_approaches_its_floor():
    floor = bounds.sgd_floor(0.1, 0.5, 2.0, 0.8, 0.3)
    assert floor == pytest.approx(0.1 * 2 * 0.3 / (2 * 0.5 * 0.8))
    gaps = bounds.sgd_gap(np.array([0, 10_000]), 7.0, 0.1, 0.5, 2.0, 0.8, 0.3)
    assert gaps == pytest.approx([7.0, floor])


# --------------------------------------------- one formula, three kinds of numbers

Q = Fraction
CALLS = {
    "product_norm_bounds": (7, 3, Q(3, 2)),
    "product_frobenius_bounds": (7, 3, Q(3, 2), 2),
    "gradient_norm_bounds": (7, 3, Q(3, 2), Q(5, 7)),
    "gradient_norm_upper": (7, 3, Q(3, 2), 2, Q(5, 7)),
    "gradient_norm_lower": (7, 3, Q(3, 10), 2, Q(1, 7)),
    "tail_deviation": (7, 3, Q(3, 2)),
    "tail_start": (Q(1, 10), Q(3, 2), 3),
    "window_change": (7, 1, 4, Q(3, 2), 2),
    "state_change": (7, 4, Q(3, 2), 2),
    "gradient_change": (7, 4, Q(3, 2), 2, Q(5, 7)),
    "cosine_lower": (Q(1, 3),),
    "theorem_a_constant": (7, Q(3, 2), 3, Q(5, 7)),
    "theorem_a": (7, 4, Q(3, 2), 3, Q(5, 7)),
    "theorem_a_cubic": (7, 4, Q(3, 2), 3, Q(5, 7)),
    "theorem_a_per_layer": (7, 4, Q(3, 2), 3, Q(5, 7)),
    "theorem_e1": (7, 3, Q(3, 2)),
    "theorem_e1_closed": (7, 3, Q(3, 2)),
    "balance_drift": (7, Q(3, 2), Q(5, 7)),
    "theorem_e2": (7, 1, Q(3, 2), 2, 3, Q(5, 7)),
    "theorem_e2_closed": (7, 1, Q(3, 2), 2, 3, Q(5, 7)),
}
NAMESPACED = {
    name
    for name in bounds.__all__
    if callable(getattr(bounds, name)) and not isinstance(getattr(bounds, name), type)
} - {"sgd_floor", "sgd_gap", "sgd_largest_step"}


def test_every_formula_is_called_in_three_namespaces():
    assert set(CALLS) == NAMESPACED


@pytest.mark.parametrize("name", list(CALLS))
def test_same_value_through_numpy_sympy_and_arb(name):
    formula, args = getattr(bounds, name), CALLS[name]

    def convert(to):
        return [to(x) if isinstance(x, Fraction) else x for x in args]

    with flint.ctx.workprec(200):
        plain = np.atleast_1d(formula(*convert(float)))
        symbolic = formula(*convert(lambda q: sympy.Rational(q.numerator, q.denominator)), xp=sympy)
        balls = formula(*convert(lambda q: flint.arb(q.numerator) / q.denominator), xp=bounds.ARB)
        symbolic = symbolic if isinstance(symbolic, tuple) else (symbolic,)
        balls = balls if isinstance(balls, tuple) else (balls,)
        for number, expression, ball in zip(plain, symbolic, balls, strict=True):
            assert not expression.has(sympy.Float), "a float literal crept into exact work"
            exact = expression.evalf(50)
            assert float(exact) == pytest.approx(number, rel=1e-13)
            assert ball.rel_accuracy_bits() > 150
            assert ball.overlaps(flint.arb(str(exact), 0) * flint.arb(1, 1e-45))


@pytest.mark.parametrize("xp", [sympy, bounds.ARB])
def test_integers_stay_exact(xp):
    value = bounds.tail_deviation(3, 2, 1, xp=xp).power  # (4/3)^2 - 1 = 7/9, not a float's neighbour of it
    assert value == sympy.Rational(7, 9) if xp is sympy else (9 * value - 7).contains(0)


def test_symbols_pass_unchecked():
    T, h, c, n, r = sympy.symbols("T h c n r", positive=True)
    expression = bounds.theorem_a(T, h, c, n, r, xp=sympy)
    numbers = {T: 7, h: 4, c: sympy.Rational(3, 2), n: 3, r: 2}
    assert float(expression.subs(numbers)) == pytest.approx(bounds.theorem_a(7, 4, 1.5, 3, 2))


def test_arrays_broadcast():
    hs = np.array([[1, 4], [6, 7]])
    got = bounds.theorem_a(7, hs, 1.5, 3, 2.0)
    assert got.shape == (2, 2)
    for index, h in np.ndenumerate(hs):
        assert got[index] == bounds.theorem_a(7, int(h), 1.5, 3, 2.0)
    assert bounds.theorem_a(7, 2, np.array([0.1, 0.2, 0.3]), 3, 2.0).shape == (3,)


def test_large_depth_does_not_overflow_integers():
    depth = 10**7  # m(m+1)(2m+1) is above 2^63
    got = bounds.theorem_a(depth, np.array([1]), 1.0, 2, 1.0)[0]
    assert got == pytest.approx(bounds.theorem_a(depth, 1, 1.0, 2, 1.0), rel=1e-12)
    assert got == pytest.approx(bounds.theorem_a_constant(depth, 1.0, 2, 1.0) / 3, rel=1e-6)


# ----------------------------------------------------------------------- bad input

BAD = [
    (
        lambda: bounds.theorem_a(10, 0, 1.0, 3, 2.0),
        HorizonError,
        r"horizon = 0: allowed is an integer in 1\.\.10",
    ),
    (lambda: bounds.theorem_a(10, 11, 1.0, 3, 2.0), HorizonError, "11"),
    (lambda: bounds.theorem_a(10, 2.5, 1.0, 3, 2.0), HorizonError, "2.5"),
    (lambda: bounds.theorem_a(10, [1, 11], 1.0, 3, 2.0), HorizonError, r"holds 11 \(2 values\)"),
    (lambda: bounds.theorem_a(10, np.arange(500), 1.0, 3, 2.0), HorizonError, r"holds 0 \(500 values\)"),
    (lambda: bounds.theorem_a(10, [[1], [2, 3]], 1.0, 3, 2.0), HorizonError, "1..10"),
    (lambda: bounds.theorem_a(10, 2, np.full(500, -1.0), 3, 2.0), DomainError, r"holds -1.0 \(500 values\)"),
    (lambda: bounds.theorem_a(10, "3", 1.0, 3, 2.0), HorizonError, "'3'"),
    (lambda: bounds.theorem_a(10, True, 1.0, 3, 2.0), HorizonError, "True"),
    (lambda: bounds.theorem_a(10, float("nan"), 1.0, 3, 2.0), HorizonError, "nan"),
    (lambda: bounds.theorem_a(10, 2, 10, 3, 2.0), DomainError, "allowed is 0 <= c < depth"),
    (lambda: bounds.theorem_a(10, 2, [1.0, 10.0], 3, 2.0), DomainError, "allowed is 0 <= c < depth"),
    (lambda: bounds.theorem_a(10, 2, -0.1, 3, 2.0), DomainError, "c = -0.1"),
    (lambda: bounds.theorem_a(10, 2, float("nan"), 3, 2.0), DomainError, "c = nan"),
    (lambda: bounds.theorem_a(10, 2, None, 3, 2.0), DomainError, "c = None"),
    (lambda: bounds.theorem_a(10, 2, 1.0, 0, 2.0), DomainError, "width = 0"),
    (lambda: bounds.theorem_a(10, 2, 1.0, 1.5, 2.0), DomainError, "width = 1.5"),
    (lambda: bounds.theorem_a(10, 2, 1.0, 3, 0.0), DomainError, "residual_norm = 0.0: allowed is .* > 0"),
    (lambda: bounds.theorem_a(10, 2, 1.0, 3, float("inf")), DomainError, "inf"),
    (lambda: bounds.theorem_a(0, 1, 0.0, 3, 1.0), DomainError, "depth = 0"),
    (lambda: bounds.theorem_a([5, 6], 1, 0.0, 3, 1.0), DomainError, "depth is an array"),
    (lambda: bounds.product_norm_bounds(10, 11, 1.0), DomainError, "layers = 11"),
    (lambda: bounds.gradient_norm_upper(10, 0, 1.0, 2, 1.0), DomainError, "end = 0"),
    (lambda: bounds.gradient_norm_upper(10, 1, 1.0, 2, -1.0), DomainError, "phi_frobenius = -1.0"),
    (lambda: bounds.gradient_norm_lower(10, 1, 1.0, 2, -1.0), DomainError, "phi_spectral = -1.0"),
    (lambda: bounds.gradient_norm_bounds(10, 1, 1.0, -1.0), DomainError, "loss_norm = -1.0"),
    (lambda: bounds.gradient_change(10, 1, 1.0, 2, -1.0), DomainError, "residual_norm = -1.0"),
    (lambda: bounds.window_change(10, 3, 2, 1.0, 2), DomainError, "start <= end"),
    (lambda: bounds.tail_start(0.0, 1.0, 2), DomainError, "tolerance = 0.0"),
    (lambda: bounds.tail_start(0.1, 0.0, 2), DomainError, "c = 0.0"),
    (lambda: bounds.cosine_lower(1.5), DomainError, "1.5"),
    (lambda: bounds.sgd_gap(-1, 1.0, 0.1, 1.0, 1.0, 1.0, 0.0), DomainError, "steps = -1"),
    (lambda: bounds.sgd_gap(1, -1.0, 0.1, 1.0, 1.0, 1.0, 0.0), DomainError, "gap = -1.0"),
    (
        lambda: bounds.sgd_gap(1, 1.0, 1.1, 1.0, 1.0, 1.0, 0.0),
        DomainError,
        r"mu = 1\.1: allowed is at most 1",
    ),
    (lambda: bounds.sgd_floor(0.0, 1.0, 1.0, 1.0, 0.0), DomainError, "step = 0.0"),
    (lambda: bounds.sgd_largest_step(1.0, 2.0, 1.0, 0.0), DomainError, "mu <= mu_g"),
    (lambda: bounds.product_norm_bounds(10_000, 10_000, 5e3), DomainError, "exceeds the range of float64"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_input_says_what_was_received_and_allowed(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert "allowed" in str(caught.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda: bounds.theorem_a(10, 3, 10**400, 2, 1.0),
        lambda: bounds.theorem_a(10, 3, 0.1, 1e308, 1.0),
        lambda: bounds.theorem_a(10, 3, 0.1, 2, 10**400),
        lambda: bounds.theorem_a(10, 3, np.array([0.1j]), 2, 1.0),
        lambda: bounds.cosine_lower("0.5"),
        lambda: bounds.cosine_lower(True),
        lambda: bounds.sgd_gap(3, 1.0, "2", 1.0, 1.0, 0.5, 0.1),
        lambda: bounds.sgd_gap(3, 1.0, 0.1, 1.0, 1.0, 1e-320, 0.1),
    ],
)
def test_what_is_no_usable_number_is_refused(call):
    with pytest.raises(DomainError, match="allowed"):
        call()


TWO, THREE = np.array([1.0, 2.0]), np.array([1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("call", "first", "second"),
    [
        (lambda: bounds.product_norm_bounds(10, TWO, THREE), "layers", "c"),
        (lambda: bounds.product_frobenius_bounds(10, TWO, 0.5, THREE), "layers", "width"),
        (lambda: bounds.gradient_norm_bounds(10, TWO, 0.5, THREE), "end", "loss_norm"),
        (lambda: bounds.gradient_norm_upper(10, TWO, 0.5, 2, THREE), "end", "phi_frobenius"),
        (lambda: bounds.gradient_norm_lower(10, TWO, 0.5, 2, THREE), "end", "phi_spectral"),
        (lambda: bounds.tail_deviation(10, TWO, THREE), "layers", "c"),
        (lambda: bounds.tail_start(TWO, THREE, 2), "tolerance", "c"),
        (lambda: bounds.window_change(10, TWO, THREE, 0.5, 2), "start", "end"),
        (lambda: bounds.state_change(10, TWO, 0.5, THREE), "end", "width"),
        (lambda: bounds.gradient_change(10, TWO, THREE, 2, 1.0), "end", "c"),
        (lambda: bounds.theorem_a_constant(10, TWO, THREE, 1.0), "c", "width"),
        (lambda: bounds.theorem_a(10, TWO, 0.5, THREE, 1.0), "horizon", "width"),
        (lambda: bounds.theorem_a_cubic(10, TWO, 0.5, 2, THREE), "horizon", "residual_norm"),
        (lambda: bounds.theorem_a_per_layer(10, TWO, THREE, 2, 1.0), "shortfall", "c"),
        (lambda: bounds.sgd_largest_step(1.0, TWO, THREE, 0.1), "mu", "mu_g"),
        (lambda: bounds.sgd_floor(TWO, 1.0, THREE, 1.0, 1.0), "step", "smoothness"),
        (lambda: bounds.sgd_gap(TWO, THREE, 0.1, 0.1, 0.1, 0.1, 0.1), "steps", "gap"),
    ],
)
def test_shapes_that_do_not_broadcast_are_named(call, first, second):
    """By the arguments of the formula that was called, not of those that it uses."""
    wanted = (
        rf"^{first} of shape \(2,\), {second} of shape \(3,\): allowed are shapes that broadcast together$"
    )
    with pytest.raises(ShapeError, match=wanted):
        call()


@pytest.mark.parametrize("name", ["step", "convexity", "smoothness", "mu"])
def test_the_floor_of_theorem_c8_needs_positive_numbers(name):
    good = {"step": 0.5, "convexity": 1.0, "smoothness": 2.0, "mu": 0.8, "noise": 0.3}
    assert bounds.sgd_floor(**good) == pytest.approx(0.5 * 2.0 * 0.3 / (2 * 1.0 * 0.8), rel=1e-15)
    assert bounds.sgd_floor(**good | {"noise": 0}) == 0
    with pytest.raises(DomainError, match=name):
        bounds.sgd_floor(**good | {name: 0})


def test_the_anchored_bounds_fall_with_the_horizon_to_zero():
    horizons = np.arange(1, 21)
    for found in (
        bounds.theorem_e1(20, horizons, 0.7),
        bounds.theorem_e1_closed(20, horizons, 0.7),
        bounds.theorem_e2(20, horizons, 0.7, 2, 3, 0.5),
        bounds.theorem_e2_closed(20, horizons, 0.7, 2, 3, 0.5),
    ):
        assert (np.diff(found) <= 0).all()
        assert found[0] > found[-2]
        assert found[-1] == 0


def test_the_closed_forms_take_an_array_of_c_and_the_sums_one_number():
    several = np.array([0.3, 0.7])
    for found, one in (
        (bounds.theorem_e1_closed(20, 5, several), lambda c: bounds.theorem_e1_closed(20, 5, c)),
        (bounds.theorem_e2_closed(20, 5, several, 2), lambda c: bounds.theorem_e2_closed(20, 5, c, 2)),
    ):
        assert found.tolist() == pytest.approx([one(0.3), one(0.7)], rel=1e-14)
    for refused in (lambda: bounds.theorem_e1(20, 5, several), lambda: bounds.theorem_e2(20, 5, several, 2)):
        with pytest.raises(DomainError, match="c is an array of 2: allowed is one number"):
            refused()
