"""g_h, eq. (27'), against the loop, autograd and finite differences; its two ends; its errors."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from strategies import cases_with_horizon

import dlinear
from dlinear.errors import HorizonError, NonFiniteError, ShapeError


@given(case_and_horizon=cases_with_horizon())
def test_equals_the_definition(case_and_horizon):
    case, horizon = case_and_horizon
    got = dlinear.horizon_gradients(dlinear.DenseNetwork(case.deviations), case.phi, horizon)
    want = reference.gradients(case.deviations, case.phi, horizon)
    assert got.shape == case.deviations.shape
    assert np.abs(got - want).max() <= 1e-13 * max(1, np.abs(want).max())


@given(case_and_horizon=cases_with_horizon(max_depth=8))
@settings(max_examples=25)
def test_equals_autograd_of_the_truncated_loss(case_and_horizon):
    case, horizon = case_and_horizon
    got = dlinear.horizon_gradients(dlinear.DenseNetwork(case.deviations), case.phi, horizon)
    want = reference.gradients_autograd(case.deviations, case.phi, horizon)
    assert np.abs(got - want).max() <= 1e-12 * max(1, np.abs(want).max())


def test_is_the_derivative_of_the_loss():
    rng = np.random.default_rng(0)
    deviations, phi = rng.normal(size=(5, 2, 2)) / 3, rng.normal(size=(2, 2))
    for horizon in range(1, 6):
        want = reference.gradients_by_differences(deviations, phi, horizon)
        got = dlinear.horizon_gradients(dlinear.DenseNetwork(deviations), phi, horizon)
        assert np.abs(got - want).max() < 1e-8


@pytest.mark.parametrize("depth", [1, 2, 63, 400])
def test_long_and_short_horizons_of_one_network(depth):
    rng = np.random.default_rng(depth)
    deviations, phi = rng.normal(size=(depth, 3, 3)) / depth, rng.normal(size=(3, 3))
    net = dlinear.DenseNetwork(deviations)
    for horizon in sorted({1, min(2, depth), (depth + 1) // 2, max(1, depth - 1), depth}):
        want = reference.gradients(deviations, phi, horizon) if depth < 100 else None
        got = dlinear.horizon_gradients(net, phi, horizon)
        if want is not None:
            assert np.abs(got - want).max() < 1e-13
        # the last h layers see the end of the network: their gradient is exact
        full = dlinear.horizon_gradients(net, phi, depth)
        assert np.allclose(got[depth - horizon :], full[depth - horizon :], rtol=1e-11, atol=1e-14)


def test_printed_equation_27_is_off_by_one_layer():
    """The false twin: W_0^{t-1} in place of W_0^t is another matrix."""
    rng = np.random.default_rng(3)
    deviations, phi = rng.normal(size=(4, 2, 2)), rng.normal(size=(2, 2))
    got = dlinear.horizon_gradients(dlinear.DenseNetwork(deviations), phi, 2)
    back = reference.window(deviations, 3, 4).T @ (reference.state(deviations, 4) - phi)
    assert np.allclose(got[2], back @ reference.state(deviations, 2).T)
    assert not np.allclose(got[2], back @ reference.state(deviations, 1).T)


@pytest.mark.parametrize("horizon", [0, -1, 6, 2.5, np.nan, "all", None, [1, 2], True])
def test_bad_horizons(horizon):
    net = dlinear.GaussianNetwork(depth=5, width=2)
    with pytest.raises(HorizonError, match=r"1\.\.5"):
        dlinear.horizon_gradients(net, np.eye(2), horizon)


@pytest.mark.parametrize("horizon", [0, 6, 2.5, np.nan, None, True])
def test_the_engine_and_the_formulas_refuse_a_horizon_in_the_same_words(horizon):
    said = []
    for call in (
        lambda: dlinear.horizon_gradients(dlinear.GaussianNetwork(depth=5, width=2), np.eye(2), horizon),
        lambda: dlinear.bounds.theorem_a(5, horizon, 0.5, 2, 1.0),
    ):
        with pytest.raises(HorizonError) as caught:
            call()
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_bad_phi():
    net = dlinear.GaussianNetwork(depth=5, width=2)
    with pytest.raises(ShapeError, match=r"\(3, 3\).*\(2, 2\)"):
        dlinear.horizon_gradients(net, np.eye(3), 1)
    with pytest.raises(NonFiniteError, match="phi"):
        dlinear.horizon_gradients(net, np.array([[1, np.nan], [0, 1]]), 1)
