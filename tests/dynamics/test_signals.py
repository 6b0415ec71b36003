"""Gradients of many networks at once, their balance, lines through the weights, against slow definitions."""

from __future__ import annotations

import numpy as np
import pytest
import reference
import strategies
from hypothesis import given, settings

import dlinear
from dlinear.dynamics import imbalance, imbalance_rate, lines, signals
from dlinear.dynamics.observation import angles, best_rescaling
from dlinear.dynamics.spans import spans
from dlinear.dynamics.stacks import as_problem
from dlinear.engine import HorizonRule

RULES = {
    "plain": HorizonRule(),
    "anchored": HorizonRule(anchored=True),
    "stages": HorizonRule(stride=3),
    "anchored stages": HorizonRule(anchored=True, stride=2),
    "averaged": HorizonRule(runs=2),
    "anchored sampled": HorizonRule(anchored=True, runs=1, sampling="middle", shrink=0.5),
}
IDS = [name.replace(" ", "-") for name in RULES]


def some(depth, width, seeds=2, size=0.4):
    """Random networks of one shape, and a target for each."""
    rng = np.random.default_rng([depth, width])
    nets = [dlinear.DenseNetwork(size * rng.normal(size=(depth, width, width))) for _ in range(seeds)]
    return nets, rng.normal(size=(seeds, width, width))


def test_spans_are_products_of_consecutive_layers():
    (net, other), _ = some(11, 3)
    layers = np.stack([net.deviations(0, 11), other.deviations(0, 11)])
    rng = np.random.default_rng(0)
    starts = rng.integers(0, 12, size=(2, 40))
    lengths = rng.integers(0, 12 - starts)
    found = spans(layers, starts, lengths)
    for b, k in np.ndindex(2, 40):
        wanted = reference.window(layers[b], starts[b, k], starts[b, k] + lengths[b, k])
        assert np.allclose(found[b, k] + np.eye(3), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", RULES.values(), ids=IDS)
@pytest.mark.parametrize(("depth", "width"), [(1, 3), (2, 1), (9, 2)])
def test_gradients_of_all_networks_are_those_of_each(depth, width, rule):
    nets, phi = some(depth, width)
    problem = as_problem(nets, phi, range(1, depth + 1), rule)
    seen = signals.run(problem.layers, problem.phi, problem.horizon, rule)
    for b, h in enumerate(problem.horizon):
        net, target = nets[b % 2], phi[b % 2]
        one = dlinear.horizon_gradients(net, target, h, rule)
        full = reference.gradients(net.deviations(0, depth), target, depth)
        assert np.allclose(seen.gradient[b], one, rtol=1e-11, atol=1e-12)
        assert np.allclose(seen.true[b], full, rtol=1e-11, atol=1e-12)
        sees = rule.ends(depth, h, np.arange(depth)) == depth
        assert (seen.gradient[b][sees] == seen.true[b][sees]).all()
        end = reference.state(net.deviations(0, depth), depth)
        assert np.allclose(seen.residual[b], end - target, atol=1e-12)
        assert np.allclose(seen.end[b], end - np.eye(width), atol=1e-12)


def test_gradients_are_derivatives_of_the_loss_at_the_end_of_each_window():
    nets, phi = some(5, 2)
    problem = as_problem(nets, phi, [1, 3, 5], HorizonRule())
    seen = signals.run(problem.layers, problem.phi, problem.horizon, problem.rule)
    for b, h in enumerate(problem.horizon):
        wanted = reference.gradients_by_differences(nets[b % 2].deviations(0, 5), phi[b % 2], h)
        assert np.allclose(seen.gradient[b], wanted, atol=1e-8)


@pytest.mark.parametrize("rule", RULES.values(), ids=IDS)
def test_the_exchange_of_neighbours_is_its_definition(rule):
    """X = W(t+1)^T g(t+1) - g(t) W(t)^T against its closed form, and 0 where two layers share an end."""
    nets, phi = some(9, 3)
    for h in range(1, 10):
        for net, target in zip(nets, phi, strict=True):
            weights = np.eye(3) + net.deviations(0, 9)
            g = dlinear.horizon_gradients(net, target, h, rule)
            x = np.array([weights[t + 1].T @ g[t + 1] - g[t] @ weights[t].T for t in range(8)])
            found = imbalance_rate(net, target, h, rule)
            assert np.allclose(found, -(x + x.mT), rtol=1e-10, atol=1e-10)
            ends = rule.ends(9, h, np.arange(9))
            assert (found[np.diff(ends) == 0] == 0).all()


def test_a_small_exchange_keeps_its_digits():
    """Layers near the identity: the closed form is of order 1e-9, where X as a difference has lost them."""
    rng = np.random.default_rng(5)
    deviations, phi = 1e-9 * rng.normal(size=(6, 2, 2)), np.eye(2) + rng.normal(size=(2, 2))
    found = imbalance_rate(dlinear.DenseNetwork(deviations), phi, 2, HorizonRule(anchored=True))
    residual = reference.state(deviations, 6) - phi
    for t in range(4):  # D(s)^T R, to first order in the layers
        x = deviations[t + 2].T @ residual
        assert np.allclose(found[t], -(x + x.T), rtol=1e-7, atol=0)


@settings(max_examples=40)
@given(case_and_horizon=strategies.cases_with_horizon())
def test_the_anchored_drift_is_bounded_and_the_bound_is_met(case_and_horizon):
    """2 a^{T-1} (c/T) ||R||_F for every pair of layers, horizon and network."""
    case, horizon = case_and_horizon
    net = dlinear.DenseNetwork(case.deviations)
    rates = np.linalg.norm(imbalance_rate(net, case.phi, horizon, HorizonRule(anchored=True)), axis=(1, 2))
    bound = dlinear.bounds.balance_drift(case.depth, case.c, case.residual_norm)
    assert rates.max(initial=0) <= bound * (1 + 1e-9) + 1e-12


def test_the_bound_of_the_anchored_drift_is_sharp():
    """One neuron, all layers 1 + c/T: the pair before the last one meets it for h = 1."""
    net, depth, c = dlinear.ConstantNetwork(np.eye(1) * 0.7, 6), 6, 0.7
    residual = (1 + c / depth) ** depth - 0.2
    rate = abs(imbalance_rate(net, np.array([[0.2]]), 1, HorizonRule(anchored=True))[-1, 0, 0])
    assert np.allclose(rate, dlinear.bounds.balance_drift(depth, c, residual), rtol=1e-12)


def test_balance_by_definition():
    (net, _), _ = some(6, 3)
    weights = np.eye(3) + net.deviations(0, 6)
    wanted = [weights[t + 1].T @ weights[t + 1] - weights[t] @ weights[t].T for t in range(5)]
    assert np.allclose(imbalance(net), wanted, atol=1e-13)


def test_a_step_changes_the_balance_by_two_orders():
    nets, phi = some(7, 2)
    problem = as_problem(nets, phi, [1, 4, 7], HorizonRule())
    seen = signals.run(problem.layers, problem.phi, problem.horizon, problem.rule)
    eta = np.linspace(0.01, 0.3, len(problem.horizon))
    moved = problem.layers - eta[:, None, None, None] * seen.gradient
    change = signals.imbalance(moved) - signals.imbalance(problem.layers)
    assert np.allclose(signals.balance_change(seen.exchange, seen.gradient, eta), change, atol=1e-12)


def test_angles_against_the_library_and_the_definition():
    nets, phi = some(12, 3, size=0.05)
    problem = as_problem(nets, phi, [1, 6, 11, 12], HorizonRule())
    seen = signals.run(problem.layers, problem.phi, problem.horizon, problem.rule)
    found = angles(seen.gradient, seen.true)
    for b, h in enumerate(problem.horizon):
        profile = dlinear.alignment(nets[b % 2], phi[b % 2], [h])
        assert np.allclose(found["sin2"][b], profile.sin2[0], rtol=1e-9, atol=0)
        assert np.allclose(found["cos"][b], profile.cos[0], rtol=1e-12)
        assert np.allclose(found["norm_ratio"][b], profile.norm_ratio[0], rtol=1e-12)
    scale = best_rescaling(seen.gradient, seen.true)
    gap = scale[:, None, None, None] * seen.gradient - seen.true
    wanted = np.sqrt(found["sin2"] * np.sum(seen.true**2, axis=(1, 2, 3)))  # eq. (13)
    assert np.allclose(np.sqrt(np.sum(gap**2, axis=(1, 2, 3))), wanted, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("depth", [1, 2, 5, 8])
def test_derivatives_along_a_line_by_differences(depth):
    nets, phi = some(depth, 2, seeds=3)
    layers = np.stack([net.deviations(0, depth) for net in nets])
    direction = np.random.default_rng(depth).normal(size=layers.shape)
    at, step = np.array([0.0, 0.1, -0.2]), 1e-5

    def loss(s):
        moved = layers - np.asarray(s)[:, None, None, None] * direction
        return np.array([reference.loss(one, target, depth) for one, target in zip(moved, phi, strict=True)])

    value, slope, bend = lines.derivatives(layers, direction, phi, at)
    assert np.allclose(value, loss(at), rtol=1e-12)
    assert np.allclose(slope, (loss(at + step) - loss(at - step)) / (2 * step), rtol=1e-7, atol=1e-7)
    assert np.allclose(
        bend, (loss(at + step) - 2 * loss(at) + loss(at - step)) / step**2, rtol=1e-4, atol=1e-4
    )


def test_the_nearest_minimum_of_a_line():
    """Against a fine grid: no point up to it is lower, and the slope there is 0."""
    nets, phi = some(4, 2, seeds=6)
    layers = np.stack([net.deviations(0, 4) for net in nets])
    gradient = signals.run(layers, phi, np.full(6, 4), HorizonRule()).true
    at, least = lines.nearest_minimum(layers, gradient, phi)
    start, first, _ = lines.derivatives(layers, gradient, phi, np.zeros(6))
    assert (at > 0).all()
    assert (np.abs(lines.derivatives(layers, gradient, phi, at)[1]) <= 1e-9 * np.abs(first)).all()
    grid = [lines.derivatives(layers, gradient, phi, at * f)[0] for f in np.linspace(0, 1, 101)]
    assert (least <= np.min(grid, axis=0) + 1e-12).all()
    assert (least < start).all()


def test_uphill_there_is_no_step():
    nets, phi = some(4, 2)
    layers = np.stack([net.deviations(0, 4) for net in nets])
    gradient = signals.run(layers, phi, np.full(2, 4), HorizonRule()).true
    at, least = lines.nearest_minimum(layers, -gradient, phi)
    assert (at == 0).all()
    assert (least == lines.derivatives(layers, gradient, phi, at)[0]).all()
