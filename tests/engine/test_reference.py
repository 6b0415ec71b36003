"""The references themselves: four independent routes to g_h agree, and the strategies keep their promises."""

import mpmath
import numpy as np
import pytest
import reference
from hypothesis import assume, given
from strategies import DOMAIN, EXTREME_KINDS, KINDS, build_case, cases, cases_with_horizon


@given(cases_with_horizon(max_depth=8, max_width=3))
def test_gradients_by_formula_and_by_autograd(drawn):
    case, horizon = drawn
    want = reference.gradients_autograd(case.deviations, case.phi, horizon)
    got = reference.gradients(case.deviations, case.phi, horizon)
    assert np.abs(got - want).max() <= 1e-12 * max(1, np.abs(want).max())


@pytest.mark.parametrize("horizon", [1, 2, 4, 5])
def test_gradients_by_finite_differences(horizon):
    case = build_case(3, 5, 3, 2.0, "dense")
    got = reference.gradients(case.deviations, case.phi, horizon)
    assert np.allclose(got, reference.gradients_by_differences(case.deviations, case.phi, horizon), atol=1e-7)


def test_gradients_of_a_hand_computed_net():
    # W(0) = 2, W(1) = 3, Phi = 1: L(x(1)) = (2-1)^2/2, L(x(2)) = (6-1)^2/2
    deviations = np.array([1.0, 2.0]).reshape(2, 1, 1)
    assert reference.gradients(deviations, np.eye(1), 1).ravel().tolist() == [1, 10]
    assert reference.gradients(deviations, np.eye(1), 2).ravel().tolist() == [15, 10]
    assert float(reference.alignment_60(deviations, np.eye(1), 1)) == pytest.approx(
        1 - 115**2 / (101 * 325), rel=1e-14
    )


@given(cases_with_horizon(max_depth=10))
def test_sixty_digits_agree_with_float64(drawn):
    case, horizon = drawn
    for h in (horizon, case.depth):
        assume(np.linalg.norm(reference.gradients(case.deviations, case.phi, h)) > 1e-2)
    got = reference.sin2(case.deviations, case.phi, horizon)
    assert float(reference.alignment_60(case.deviations, case.phi, horizon)) == pytest.approx(got, abs=1e-11)


def test_sixty_digits_are_sixty():
    # exact rationals: the hand-computed net once more
    deviations = np.array([1.0, 2.0]).reshape(2, 1, 1)
    with mpmath.workdps(70):
        want = mpmath.mpf(101 * 325 - 115**2) / (101 * 325)
        assert abs(reference.alignment_60(deviations, np.eye(1), 1) / want - 1) < mpmath.mpf(10) ** -60


def test_sixty_digits_at_the_scale_of_cancellation():
    case = build_case(0, 20, 2, 1e-11, "dense")
    value = reference.alignment_60(case.deviations, case.phi, 19)
    assert 0 < value < 1e-24


def test_vanishing_gradient_is_an_error_and_parallel_gradients_are_zero():
    identity = np.zeros((3, 2, 2))
    with pytest.raises(ZeroDivisionError):
        reference.alignment_60(identity, np.eye(2), 1)
    assert reference.alignment_60(identity, 3 * np.eye(2), 1) == 0


@given(cases())
def test_layers_keep_their_bound(case):
    norms = np.linalg.norm(case.deviations, 2, axis=(1, 2)) * case.depth
    assert np.all(norms <= case.c)
    if case.kind in EXTREME_KINDS:
        assert norms.max() == pytest.approx(case.c, rel=1e-12)
    assert case.depth <= DOMAIN.max_depth
    assert case.width <= DOMAIN.max_width
    assert case.c < case.depth


@pytest.mark.parametrize("kind", list(KINDS))
def test_cases_are_rebuilt_from_their_seed(kind):
    one, two = (build_case(7, 4, 3, 1.0, kind, "near") for _ in range(2))
    assert np.array_equal(one.deviations, two.deviations)
    assert np.array_equal(one.phi, two.phi)
