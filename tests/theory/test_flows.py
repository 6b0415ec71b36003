"""Laws of the flow near the identity, against the matrix exponential and the flow of a real network."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from scipy.special import j0

import dlinear
from dlinear.errors import DomainError, HorizonError
from dlinear.theory import flows

TAUS = np.array([0.0, 0.05, 0.3, 1.0, 4.0])


def linear_flow(depth, horizon):
    """R(tau)/R(0) of D' = -(K D + c), D(0) = 0, K from its definition entry by entry."""
    system = np.zeros((depth + 1, depth + 1))
    for t in range(depth):
        for other in range(depth):
            system[t, other] = -float(other < min(t + horizon, depth))
        system[t, depth] = -1
    start = np.r_[np.zeros(depth), 1.0]
    return np.array([1 + (expm(system * tau) @ start)[:depth].sum() for tau in TAUS])


@pytest.mark.parametrize(("depth", "horizon"), [(1, 1), (2, 1), (6, 3), (9, 5), (12, 8), (12, 12)])
def test_two_modes_are_the_matrix_exponential(depth, horizon):
    assert np.allclose(flows.two_modes(depth, horizon, TAUS), linear_flow(depth, horizon), atol=1e-13)


@pytest.mark.parametrize("depth", [1, 2, 7, 20])
def test_ringing_is_the_matrix_exponential_and_tends_to_bessel(depth):
    assert np.allclose(flows.ringing(depth, TAUS), linear_flow(depth, 1), atol=1e-12)
    scaled = np.array([0.5, 3.0, 10.0])
    assert np.allclose(flows.ringing(4000, scaled / 4000), j0(2 * np.sqrt(scaled)), atol=1e-3)


@pytest.mark.parametrize(("depth", "horizon"), [(5, 2), (8, 8), (7, 1)])
def test_the_matrix_is_its_definition(depth, horizon):
    matrix = flows.flow_matrix(depth, horizon)
    for t in range(depth):
        assert matrix[t].sum() == min(t + horizon, depth)
        assert (np.diff(matrix[t]) <= 0).all()


def test_a_network_near_the_identity_follows_the_law():
    """The flow W' = -g_h of T = 8 scalar layers towards 1.001; its error is of the order of the target's."""
    depth, horizon, phi = 8, 5, np.array([[1.001]])

    def slope(_, layers):
        net = dlinear.DenseNetwork(layers.reshape(depth, 1, 1))
        return -dlinear.horizon_gradients(net, phi, horizon).ravel()

    taus = np.array([0.0, 0.1, 0.5, 2.0])
    path = solve_ivp(slope, (0, 2), np.zeros(depth), t_eval=taus, rtol=1e-10, atol=1e-14).y
    ratio = (np.prod(1 + path, axis=0) - 1.001) / -0.001
    assert np.allclose(ratio, flows.two_modes(depth, horizon, taus), atol=2e-3)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(HorizonError, match="two modes need h >= T/2"):
        flows.two_modes(10, 4, 1.0)
    with pytest.raises(HorizonError):
        flows.flow_matrix(5, 6)
    with pytest.raises(DomainError):
        flows.ringing(0, 1.0)
