import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dlinear
from dlinear.errors import DomainError, UndefinedAngleError
from dlinear.theory import scalar
from dlinear.theory.log_periodic import LogPeriodic

small = st.floats(-1.5, 1.5)


NODES, WEIGHTS = np.polynomial.legendre.leggauss(120)
X, Q = 20.0 * (NODES + 1), 20.0 * WEIGHTS  # of 0..40: what is left out is of size e^-40


@settings(deadline=None, max_examples=40)
@given(a=small, b=small, w=st.floats(0.0, 6.0), eps=st.floats(1e-6, 1.0))
def test_integrals_against_quadrature(a, b, w, eps):
    """In x, with u = eps e^{-x}, every integrand is smooth."""
    layers = LogPeriodic(a, b, w)

    def inner(u):
        v = u[:, None] * np.exp(-X)
        return np.sum(Q * a * (1 + b * np.cos(w * np.log(v))) * v, axis=1)

    assert layers.total == pytest.approx(inner(np.array([1.0]))[0], abs=1e-9)
    u = eps * np.exp(-X)
    outer = np.sum(Q * inner(u) ** 2 * u)
    assert layers.ratio(eps) == pytest.approx(outer / eps**3, abs=1e-9)


def test_path_is_the_stated_one():
    v = np.array([0.5, 1e-3])
    path = LogPeriodic(0.7, 0.8, 4.0).path(1 - v)
    assert path.shape == (2, 1, 1)
    assert np.allclose(path[:, 0, 0], 0.7 * (1 + 0.8 * np.cos(4.0 * np.log(v))), rtol=1e-9)


def test_constant_layers_give_lemma_c5():
    layers = LogPeriodic(0.7, 0.0, 4.0)
    assert layers.sin2(1e-3, 0.5) == pytest.approx(scalar.constant(0.7, 0.5) * 1e-9, rel=1e-12)


def test_measured_sin2_follows_and_swings():
    layers, depth = LogPeriodic(0.7, 0.8, 4.0), 100_000
    m = np.unique(np.geomspace(300, 500, 12).astype(int))
    net = dlinear.SmoothNetwork(layers.path, depth=depth, vectorized=True)
    sin2 = dlinear.alignment(net, np.array([[0.5]]), depth - m).sin2
    assert np.allclose(sin2, layers.sin2(m / depth, 0.5), rtol=0.02)
    eps = np.exp(-np.arange(0, 400, 0.05))[:7000]
    ratio = layers.ratio(eps)
    assert np.ptp(ratio[-100:]) == pytest.approx(np.ptp(ratio[:100]), rel=1e-2)
    assert np.ptp(ratio[-100:]) > 0.4 * ratio.mean()


def test_refusals():
    with pytest.raises(DomainError, match="finite"):
        LogPeriodic(np.nan, 0.0, 1.0)
    layers = LogPeriodic(0.0, 0.0, 1.0)
    with pytest.raises(UndefinedAngleError, match="X"):
        layers.sin2(0.1, 1.0)
