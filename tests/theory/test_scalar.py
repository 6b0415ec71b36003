"""Lemma C.5, Remark C.7 and the commuting case against many digits, exact series and the definition."""

from fractions import Fraction
from itertools import pairwise

import mpmath
import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from dlinear.errors import DlinearError, DomainError, NonFiniteError, ShapeError, UndefinedAngleError
from dlinear.theory import scalar

CASES = [
    (1.0, 0.5),
    (-0.7, 3.0),
    (0.3, -1.0),
    (1e-6, 3.0),
    (-1e-3, 0.0),
    (4.0, 2.0),
    (-12.0, 0.4),
    (50.0, 3.0),
]


@pytest.fixture(autouse=True)
def _digits():
    with mpmath.workdps(150):
        yield


def exact(alpha, c, y):
    """1 - f^2 by quadrature-free elementary functions in 150 digits, from the float64 arguments."""
    return scalar.sin2_closed_form(mpmath.mpf(alpha), mpmath.mpf(c), mpmath.mpf(y), mpmath)


def relative(got, want):
    return abs(float(mpmath.mpf(float(got)) / want - 1))


# ---------------------------------------------------------------- the closed form is the definition


@pytest.mark.parametrize(("c", "y", "alpha"), [(1.0, 0.5, 0.3), (-0.7, 3.0, 0.9), (2.0, 9.0, 0.05)])
def test_closed_form_is_the_definition(c, y, alpha):
    """Eqs. (32), (33) integrated as printed."""
    with mpmath.workdps(30):
        c, y, alpha = mpmath.mpf(c), mpmath.mpf(y), mpmath.mpf(alpha)

        def g(beta, a):
            s = a + beta if beta < 1 - a else mpmath.mpf(1)
            return mpmath.exp(c * s) * (mpmath.exp(c * s) - y)

        edges = [0, 1 - alpha, 1]
        top = mpmath.quad(lambda b: g(b, alpha) * g(b, 1), edges)
        norms = mpmath.quad(lambda b: g(b, alpha) ** 2, edges) * mpmath.quad(lambda b: g(b, 1) ** 2, edges)
        want = 1 - top**2 / norms
        assert abs(scalar.sin2_closed_form(alpha, c, y, mpmath) / want - 1) < mpmath.mpf(10) ** -20


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.9, 1 - 1e-4, 1 - 1e-8, 1 - 1e-12])
@pytest.mark.parametrize(("c", "y"), CASES)
def test_fast_path_against_the_closed_form(c, y, alpha):
    assert relative(scalar.sin2(alpha, c, y), exact(alpha, c, y)) < 1e-13


@given(
    st.floats(-4, 1.7),
    st.sampled_from([-1, 1]),
    st.floats(-5, 5),
    st.booleans(),
    st.one_of(st.floats(0, 1), st.floats(-12, 0).map(lambda k: 1 - 10**k)),
)
def test_fast_path_anywhere(log_c, sign, y, grow, alpha):
    """The error is rounding times the conditioning of the question in y."""
    c = sign * 10**log_c
    y = float(y * np.exp(c)) if grow else y
    z = float(mpmath.mpf(y) / mpmath.exp(c))
    if alpha == 1 or min(abs(z - 1), abs(z - 2)) < 1e-3:
        return
    amplified = 1 + 1 / abs(2 - z) + 1 / abs(1 - z)
    assert relative(scalar.sin2(alpha, c, y), exact(alpha, c, y)) < 1e-13 * amplified


@pytest.mark.parametrize(
    ("c", "y"), [(300.0, 2.0), (-300.0, 0.5), (800.0, -3.0), (-800.0, 2.0), (-800.0, 0.0), (1e-9, 1.0)]
)
@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.999, 1 - 1e-9])
def test_extreme_scales_neither_overflow_nor_cancel(c, y, alpha):
    assert relative(scalar.sin2(alpha, c, y), exact(alpha, c, y)) < 1e-11


def test_gap_and_broadcasting():
    eps = np.array([1e-3, 1e-20, 1.0])
    c = np.array([[0.5], [-2.0]])
    table = scalar.sin2_of_gap(eps, c, 0.3)
    assert table.shape == (2, 3)
    assert table[1, 1] == scalar.sin2_of_gap(1e-20, -2.0, 0.3)
    assert (
        relative(table[0, 1], mpmath.mpf(float(scalar.constant(0.5, 0.3))) * mpmath.mpf(1e-20) ** 3) < 1e-13
    )
    assert scalar.sin2(np.array([]), 1.0, 2.0).shape == (0,)
    assert scalar.sin2(1.0, 1.0, 2.0) == 0.0


# ---------------------------------------------------------------- series


def test_series_coefficients_are_the_taylor_coefficients():
    """mpmath differentiates the closed form; sympy's series through a Piecewise is not trusted."""
    with mpmath.workdps(60):
        for c, y in [(1.0, 0.5), (-0.7, 3.0), (0.3, -1.0)]:
            cc, yy = mpmath.mpf(c), mpmath.mpf(y)
            taylor = mpmath.taylor(lambda e, c=cc, y=yy: scalar.sin2_closed_form(1 - e, c, y, mpmath), 0, 5)
            want = scalar.series_coefficients(cc, yy * mpmath.exp(-cc))
            for k in range(3):
                assert abs(taylor[k]) < mpmath.mpf(10) ** -15
            for got, k in zip(taylor[3:], want, strict=True):
                assert abs(got / k - 1) < mpmath.mpf(10) ** -8


def test_series_order_by_regression():
    """The remainder after eps^5 is of order 6; with a wrong k5 it would be of order 5."""
    c, y = mpmath.mpf("0.8"), mpmath.mpf("-0.4")
    k3, k4, k5 = scalar.series_coefficients(c, y * mpmath.exp(-c))
    sizes = [mpmath.mpf(2) ** -k for k in range(8, 14)]
    rest = [
        abs(scalar.sin2_closed_form(1 - e, c, y, mpmath) - k3 * e**3 - k4 * e**4 - k5 * e**5) for e in sizes
    ]
    slopes = [float(mpmath.log(a / b) / mpmath.log(2)) for a, b in pairwise(rest)]
    assert abs(slopes[-1] - 6) < 0.01


def test_series_is_exact_arithmetic_over_rationals_and_symbols():
    k3, k4, k5 = scalar.series_coefficients(Fraction(3), Fraction(2))
    assert (k3, k4, k5) == (0, 0, Fraction(81, 5))
    c, z = sympy.symbols("c z", nonzero=True)
    assert sympy.simplify(scalar.series_coefficients(c, z)[0] - (c * (2 - z) / (1 - z)) ** 2 / 3) == 0
    assert scalar.constant5(Fraction(3)) == Fraction(81, 5)


@pytest.mark.parametrize("eps", [1.0, 1e-3])
@pytest.mark.parametrize(("c", "y"), [(1.0, 0.5), (-2.0, 3.0)])
def test_entire_moments_are_the_closed_form(c, y, eps):
    c, y, eps = mpmath.mpf(c), mpmath.mpf(y), mpmath.mpf(eps)
    w = mpmath.exp(c)
    z = y / w

    def phi(k, x):
        return mpmath.hyp1f1(1, k + 1, x) / mpmath.factorial(k)

    j1, j2 = scalar.entire_moments(c, z, eps, phi)
    i1, i2, _ = scalar.closed_form_integrals(1 - eps, c, y, mpmath)
    assert abs(w**2 * (1 - z + c * eps**2 * j1) / i1 - 1) < mpmath.mpf(10) ** -100
    assert abs(w**4 * c**2 * eps**3 * (j2 - eps * j1**2) / (i2 - i1**2) - 1) < mpmath.mpf(10) ** -100


# ---------------------------------------------------------------- constants and degenerate cases


@pytest.mark.parametrize(("c", "y"), CASES)
def test_constant_is_the_limit(c, y):
    e = mpmath.mpf(10) ** -40
    want = exact(1 - e, c, y) / e**3
    assert relative(scalar.constant(c, y), want) < 1e-12


def test_constant_of_huge_c():
    assert scalar.constant(800.0, 3.0) == pytest.approx((800.0 * 2) ** 2 / 3, rel=1e-12)
    assert scalar.constant(-800.0, 3.0) == pytest.approx(800.0**2 / 3, rel=1e-12)
    assert scalar.constant(-800.0, 0.0) == pytest.approx((800.0 * 2) ** 2 / 3, rel=1e-12)


@pytest.mark.parametrize("c", [0.01, 1.0, -2.0, 7.0])
def test_order_five_degenerate_case(c):
    y = 2 * float(np.exp(c))
    assert scalar.degeneracy(c, y) is scalar.Degeneracy.ORDER_FIVE
    assert scalar.constant(c, y) == 0.0
    eps = 2.0 ** -np.arange(6, 12)
    values = scalar.sin2_of_gap(eps, c, y)
    assert np.log2(values[-2] / values[-1]) == pytest.approx(5, abs=0.02)
    assert values[-1] / eps[-1] ** 5 == pytest.approx(scalar.constant5(c), rel=20 * abs(c) * eps[-1])


def test_identity_layers():
    assert scalar.degeneracy(0.0, 0.3) is scalar.Degeneracy.IDENTITY_LAYERS
    assert scalar.constant(0.0, 0.3) == 0.0
    np.testing.assert_array_equal(scalar.sin2(np.linspace(0, 1, 5), 0.0, 0.3), 0.0)
    assert scalar.degeneracy(0.0, 2.0) is scalar.Degeneracy.IDENTITY_LAYERS
    assert scalar.degeneracy(0.0, 1.0) is scalar.Degeneracy.UNDEFINED


@pytest.mark.parametrize("c", [0.0, 1.0, -3.5, 20.0, 300.0])
def test_no_residual_is_an_error_with_a_name(c):
    y = float(np.exp(c))
    assert scalar.degeneracy(c, y) is scalar.Degeneracy.UNDEFINED
    for call in (
        lambda: scalar.constant(c, y),
        lambda: scalar.sin2(0.5, [c, c], [y + 1, y]),
        lambda: scalar.limit_at_zero(c, y),
        lambda: scalar.slope_at_zero(c, y),
        lambda: scalar.sin2_commuting(0.5, [c, c], [y, y]),
    ):
        with pytest.raises(UndefinedAngleError, match="undefined"):
            call()


def test_ordinary_point_is_not_degenerate():
    assert scalar.degeneracy(1.0, 0.5) is scalar.Degeneracy.NONE
    assert scalar.degeneracy(1.0, float(np.exp(1.0)) * (1 + 1e-12)) is scalar.Degeneracy.NONE


def test_bad_input():
    with pytest.raises(DomainError, match=r"\[0, 1\]; got 1.5"):
        scalar.sin2(1.5, 1.0, 2.0)
    with pytest.raises(DomainError, match="got 100000"):
        scalar.sin2(0.5, 1e5, 2.0)
    with pytest.raises(NonFiniteError, match="c must be finite"):
        scalar.sin2(0.5, np.nan, 2.0)
    with pytest.raises(ShapeError, match="one"):
        scalar.degeneracy([1.0, 2.0], 0.0)
    with pytest.raises(ShapeError, match=r"\(2,\) and \(3,\)"):
        scalar.sin2_commuting(0.5, [1, 2], [1, 2, 3])


# ---------------------------------------------------------------- Remark C.7


@pytest.mark.parametrize(("c", "y"), [*CASES, (1.0, 4.0), (2.0, 5.0), (300.0, 2.0), (-300.0, 0.7)])
def test_remark_c7_against_exact_limits(c, y):
    sign = 1 if mpmath.exp(c) > y else -1
    value, slope = scalar.remark_c7(mpmath.mpf(c), mpmath.mpf(y), mpmath)
    assert scalar.limit_at_zero(c, y) == pytest.approx(float(sign * value), rel=1e-12)
    assert scalar.slope_at_zero(c, y) == pytest.approx(float(sign * slope), rel=1e-11, abs=0)
    assert 1 - scalar.limit_at_zero(c, y) ** 2 == pytest.approx(float(scalar.sin2(0.0, c, y)), abs=1e-12)


@pytest.mark.parametrize(("c", "y"), [(1.0, 0.5), (-0.7, 3.0), (1.0, 4.0)])
def test_remark_c7_is_the_derivative_of_the_definition(c, y):
    with mpmath.workdps(40):
        cc, yy = mpmath.mpf(c), mpmath.mpf(y)

        def f(a):
            i1, i2, full = scalar.closed_form_integrals(a, cc, yy, mpmath)
            return mpmath.sign(full) * i1 / mpmath.sqrt(i2)

        assert scalar.limit_at_zero(c, y) == pytest.approx(float(f(mpmath.mpf(0))), rel=1e-12)
        assert scalar.slope_at_zero(c, y) == pytest.approx(float(mpmath.diff(f, 0, direction=1)), rel=1e-8)


@pytest.mark.parametrize("c", [0.4, -1.5])
def test_remark_c7_zeros(c):
    x = float(np.exp(c))
    assert abs(scalar.limit_at_zero(c, (x + 1) / 2)) < 1e-13
    assert scalar.slope_at_zero(c, 0.0) == 0.0
    assert abs(scalar.slope_at_zero(c, x + 1)) < 1e-13
    assert scalar.slope_at_zero(c, x + 1.1) * scalar.slope_at_zero(c, x + 0.9) < 0
    assert (scalar.limit_at_zero(0.0, 0.3), scalar.slope_at_zero(0.0, 0.3)) == (1.0, 0.0)


# ---------------------------------------------------------------- commuting case


def commuting_exact(alpha, a, p):
    parts = [
        scalar.closed_form_integrals(mpmath.mpf(alpha), mpmath.mpf(c), mpmath.mpf(y), mpmath)
        for c, y in zip(a, p, strict=True)
    ]
    inner = sum(i1 * g for i1, _, g in parts)
    return 1 - inner**2 / (sum(i2 for _, i2, _ in parts) * sum(g**2 for _, _, g in parts))


@given(st.integers(0, 10**6), st.integers(1, 5), st.sampled_from([0.0, 0.4, 1 - 1e-5, 1 - 1e-9]))
def test_commuting_case_is_the_sum_over_eigenvalues(seed, n, alpha):
    rng = np.random.default_rng(seed)
    a, p = rng.normal(size=n) * 2, rng.normal(size=n)
    gaps = np.abs(np.exp(a) - p) / np.exp(a)
    got = scalar.sin2_commuting(alpha, a, p)
    assert relative(got, commuting_exact(alpha, a, p)) < 1e-12 * (1 + 1 / gaps.max()) + 1e-12 * np.exp(
        np.ptp(a)
    )


def test_commuting_constant_and_one_eigenvalue():
    a, p = np.array([1.0, -0.5, 40.0]), np.array([0.2, 0.3, 1e17])
    e = 1e-9
    assert scalar.sin2_commuting(1 - e, a[:2], p[:2]) / (1 - (1 - e)) ** 3 == pytest.approx(
        scalar.constant_commuting(a[:2], p[:2]), rel=1e-7
    )
    assert scalar.constant_commuting(a[:1], p[:1]) == pytest.approx(scalar.constant(1.0, 0.2), rel=1e-14)
    assert scalar.constant_commuting([0.0, 1.0], [1.0, 0.2]) == pytest.approx(
        scalar.constant(1.0, 0.2), rel=1e-14
    )
    assert scalar.sin2_commuting(0.3, a[2:], p[2:]) == pytest.approx(scalar.sin2(0.3, 40.0, 1e17), rel=1e-14)


# ---------------------------------------------------------------- the box of the certified bound


@pytest.mark.parametrize("name", ["below", "above"])
def test_certified_bound(name):
    """The bound of `proofs/lemma_c5.py` holds on a grid, and fails there at a quarter of M."""
    from proofs.lemma_c5 import BOXES

    ends, bound = BOXES[name]
    c, y, eps = np.meshgrid(
        *[np.linspace(float(Fraction(lo)), float(Fraction(hi)), 22) for lo, hi in ends], indexing="ij"
    )
    inside = eps > 0
    gap = scalar.sin2_of_gap(eps, c, y)[inside] - (scalar.constant(c, y) * eps**3)[inside]
    worst = np.max(np.abs(gap) / eps[inside] ** 4)
    assert float(Fraction(bound)) / 4 < worst <= float(Fraction(bound))


def test_profiles_between_envelopes():
    """Eq. (45): the family with |lambda| <= 1/100 stays below 1/1000, the profile 1 then 2 reaches 1/10."""
    c, y = np.meshgrid(np.linspace(-0.01, 0.01, 9), np.linspace(-1, 0, 9))
    assert scalar.sin2(0.5, c, y).max() < 1e-3
    eps = np.array([0.5, 1e-2, 1e-3])
    profile = 1 - (eps * 2 + (1 - eps) * 4) ** 2 / ((eps + (1 - eps) * 4) * 4)
    np.testing.assert_allclose(profile, eps * (1 - eps) / (4 - 3 * eps), rtol=1e-9)
    assert profile[0] == pytest.approx(0.1)


# ---------------------------------------------------------------- one formula, four arithmetics


@pytest.mark.parametrize(("c", "y", "alpha"), [("13/10", "2/5", "9/10"), ("-7/10", "3", "1/2")])
def test_closed_form_over_every_namespace(c, y, alpha):
    """sympy, mpmath, numpy and arb run the same function; the ball contains the exact value."""
    import flint

    from dlinear.theory.bounds import ARB

    exact_args = [Fraction(v) for v in (alpha, c, y)]
    want = scalar.sin2_closed_form(*[mpmath.mpf(v.numerator) / v.denominator for v in exact_args], mpmath)
    symbolic = scalar.sin2_closed_form(*[sympy.Rational(v) for v in (alpha, c, y)], sympy)
    assert abs(float(symbolic.evalf(40)) / float(want) - 1) < 1e-14
    ball = scalar.sin2_closed_form(
        *[flint.arb(flint.fmpq(v.numerator, v.denominator)) for v in exact_args], ARB
    )
    assert abs(float(ball.mid()) - float(want)) <= float(ball.rad()) + 1e-17
    assert float(ball.rad()) < 1e-10
    assert scalar.sin2_closed_form(*map(float, exact_args), np) == pytest.approx(float(want), rel=1e-9)
    assert scalar.sin2(*map(float, exact_args)) == pytest.approx(float(want), rel=1e-13)


@pytest.mark.parametrize("number", [np.uint8, np.int64, np.float32, np.float64, int, np.array])
def test_the_type_of_a_number_does_not_matter(number):
    for function in (scalar.slope_at_zero, scalar.limit_at_zero):
        assert function(number(2), number(1)) == function(2.0, 1.0)
    assert 0 < scalar.slope_at_zero(2, 10**30) < 1e-29


@pytest.mark.parametrize("bad", ["2", True, 1j, None, 10**400, np.array([1j]), [[1.0], [1.0, 2.0]]])
def test_what_is_no_real_number_is_refused(bad):
    for call in (
        lambda: scalar.slope_at_zero(bad, 1.0),
        lambda: scalar.slope_at_zero(2.0, bad),
        lambda: scalar.sin2(bad, 1.0, 2.0),
        lambda: scalar.constant(1.0, bad),
        lambda: scalar.constant_commuting([bad], [2.0]),
    ):
        with pytest.raises(DlinearError):
            call()


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(
        ShapeError,
        match=r"^c of shape \(3,\), y of shape \(2,\): allowed are shapes that",
    ):
        scalar.constant([1.0, 2.0, 3.0], [4.0, 5.0])
    with pytest.raises(ShapeError, match="broadcast"):
        scalar.sin2([0.1, 0.2, 0.3], [1.0, 2.0], 2.0)
