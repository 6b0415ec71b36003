"""Descent and flow against loops, closed laws, 60-digit arithmetic and what they must conserve."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import reference
from scipy.integrate import solve_ivp
from scipy.linalg import expm

import dlinear
from dlinear.dynamics import descent, flow, imbalance
from dlinear.engine import HorizonRule
from dlinear.errors import DomainError, HorizonError, NonFiniteError, ShapeError
from dlinear.theory import flows, limits

ANCHORED = HorizonRule(anchored=True)


def start(depth, width, seeds=2, size=0.3):
    rng = np.random.default_rng([depth, width, 1])
    nets = [dlinear.DenseNetwork(size * rng.normal(size=(depth, width, width))) for _ in range(seeds)]
    return nets, np.eye(width) + 0.4 * rng.normal(size=(seeds, width, width))


def steps_by_loops(layers, phi, horizon, eta, count, scaled=False):
    """Gradient descent from the definition of every gradient."""
    layers = layers.copy()
    for _ in range(count):
        g = reference.gradients(layers, phi, horizon)
        if scaled:
            g = g * np.sum(g * reference.gradients(layers, phi, len(layers))) / np.sum(g**2)
        layers -= eta * g
    return layers


@pytest.mark.parametrize("scaling", ["none", "best"])
def test_descent_is_the_loop(scaling):
    nets, phi = start(5, 2)
    path = descent(nets, phi, [1, 3, 5], step=0.02, steps=7, every=3, scaling=scaling)
    assert np.allclose(path.times, [0, 0.06, 0.12, 0.14])
    for i, h in enumerate((1, 3, 5)):
        for j in range(2):
            for k, count in enumerate((0, 3, 6, 7)):
                layers = steps_by_loops(nets[j].deviations(0, 5), phi[j], h, 0.02, count, scaling == "best")
                assert np.allclose(path.loss[k, i, j], reference.loss(layers, phi[j], 5), rtol=1e-10)
                assert np.allclose(path.sin2[k, i, j], reference.sin2(layers, phi[j], h), atol=1e-12)
                inner = np.linalg.norm(reference.state(layers, h) - phi[j])
                assert np.allclose(path.inner_residual[k, i, j], inner, rtol=1e-10)
            assert np.allclose(path.layers[i, j], layers, atol=1e-12)
    assert np.allclose(path.residual**2, 2 * path.loss)


def test_descent_in_sixty_digits():
    """Fifty steps of T = 4 layers, h = 2, in mpmath; float64 agrees to thirteen digits."""
    mpmath.mp.dps = 60
    nets, phi = start(4, 2, seeds=1)
    weights = [mpmath.matrix((np.eye(2) + one).tolist()) for one in nets[0].deviations(0, 4)]
    target, eta = mpmath.matrix(phi[0].tolist()), mpmath.mpf(0.05)
    for _ in range(50):
        states = [mpmath.eye(2)]
        for w in weights:
            states.append(w * states[-1])
        moves = []
        for t in range(4):
            s, window = min(t + 2, 4), mpmath.eye(2)
            for k in range(t + 1, s):
                window = weights[k] * window
            moves.append(window.T * (states[s] - target) * states[t].T)
        weights = [w - eta * move for w, move in zip(weights, moves, strict=True)]
    product = weights[3] * weights[2] * weights[1] * weights[0]
    loss = sum((product - target)[i, j] ** 2 for i in range(2) for j in range(2)) / 2
    path = descent(nets, phi[0], 2, step=0.05, steps=50, every=50)
    assert abs(path.loss[-1, 0, 0] / float(loss) - 1) < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("rule", [HorizonRule(), ANCHORED, HorizonRule(stride=2), HorizonRule(runs=1)])
def test_flow_is_that_of_each_network_alone(rule):
    nets, phi = start(4, 2)
    times = [0.0, 0.2, 0.7]
    path = flow(nets, phi, [1, 2, 4], times, rule=rule)
    for i, h in enumerate((1, 2, 4)):
        for j, net in enumerate(nets):

            def slope(_, flat, target=phi[j], h=h):
                here = dlinear.DenseNetwork(flat.reshape(4, 2, 2))
                return -dlinear.horizon_gradients(here, target, h, rule).ravel()

            alone = solve_ivp(
                slope, (0, 0.7), net.deviations(0, 4).ravel(), method="LSODA", rtol=1e-10, atol=1e-12
            )
            assert np.allclose(path.layers[i, j].ravel(), alone.y[:, -1], atol=1e-7)


def test_one_layer_falls_exponentially():
    """T = 1: R(tau) = R(0) e^{-tau}, and (1 - eta)^i in steps; all horizons are back-propagation."""
    nets, phi = start(1, 3)
    times = np.array([0.0, 0.5, 2.0])
    found = flow(nets, phi, [1], times).residual
    assert np.allclose(found / found[0], np.exp(-times)[:, None, None], rtol=1e-7)
    found = descent(nets, phi, [1], step=0.1, steps=4).residual
    assert np.allclose(found / found[0], 0.9 ** np.arange(5)[:, None, None], rtol=1e-12)


def test_two_scalar_layers_in_closed_form():
    """T = h = 2, n = 1, equal layers: p = w^2 follows p' = -2 p (p - phi), the logistic law."""
    net, phi, times = dlinear.DenseNetwork([[[0.2]], [[0.2]]]), 2.5, np.array([0.0, 0.1, 0.4, 1.0])
    path = flow(net, [[phi]], [2], times)
    p = phi / (1 + (phi / 1.44 - 1) * np.exp(-2 * phi * times))
    assert np.allclose(path.residual[:, 0, 0], phi - p, rtol=1e-7)
    assert (path.imbalance < 1e-8).all()


def test_commuting_networks_are_scalar_ones_side_by_side():
    diagonals = np.array([[0.1, -0.2], [0.3, 0.05], [-0.1, 0.2]])
    net, phi = dlinear.DenseNetwork(diagonals[:, :, None] * np.eye(2)), np.diag([1.5, 0.7])
    for rule in (HorizonRule(), ANCHORED):
        path = flow(net, phi, [1, 2, 3], [0.0, 0.5], rule=rule)
        for i in range(2):
            scalar = dlinear.DenseNetwork(diagonals[:, i, None, None])
            one = flow(scalar, phi[i : i + 1, i : i + 1], [1, 2, 3], [0.0, 0.5], rule=rule)
            assert np.allclose(path.layers[..., i, i], one.layers[..., 0, 0], atol=1e-8)
        assert np.abs(path.layers[..., 0, 1]).max() == 0


@pytest.mark.parametrize("horizon", [1, 3, 5, 8])
def test_near_the_identity_the_flow_is_the_linear_one(horizon):
    """Theorem G4: D' = -(K D + I - Phi) entry by entry, T = 8; the rest is of second order, 1e-6 of it."""
    gap, taus = 1e-6 * np.array([[1.0, 2.0], [-1.0, 0.5]]), [0.0, 0.1, 0.6, 2.0]
    path = flow(dlinear.ConstantNetwork(np.zeros((2, 2)), 8), np.eye(2) + gap, [horizon], taus)
    system = np.zeros((9, 9))
    system[:8, :8], system[:8, 8] = -flows.flow_matrix(8, horizon), 1
    for k, tau in enumerate(taus):
        ratio = 1 - (expm(system * tau) @ np.eye(9)[8])[:8].sum()  # R(tau)/R(0)
        assert np.allclose(path.residual[k, 0, 0], np.abs(ratio) * np.linalg.norm(gap), rtol=1e-4, atol=1e-11)
        if 2 * horizon >= 8:
            assert np.allclose(ratio, flows.two_modes(8, horizon, tau), atol=1e-12)


def test_back_propagation_keeps_the_balance_and_a_horizon_its_last_layers():
    """B(t) is constant along the flow for t >= T - h; before, its change is that of Theorem G5."""
    nets, phi = start(7, 3)
    horizons = np.array([1, 3, 7])
    for rule in (HorizonRule(), ANCHORED):
        path = flow(nets, phi, horizons, [0.0, 0.3, 1.0], rule=rule)
        for i, h in enumerate(horizons):
            assert path.drift[:, i, :, 7 - h :].max(initial=0) < 1e-9
        assert path.drift[-1, :2, :, 0].min() > 1e-3
        assert path.drift_error.max() < 1e-8
        for i, j in np.ndindex(3, 2):
            wanted = imbalance(dlinear.DenseNetwork(path.layers[i, j])) - imbalance(nets[j])
            assert np.allclose(path.drift[-1, i, j], np.linalg.norm(wanted, axis=(1, 2)), atol=1e-12)


def test_layers_that_share_an_end_stay_balanced():
    """Stages of 3: neighbours in one stage keep their balance, those across a border do not."""
    nets, phi = start(9, 2)
    path = flow(nets, phi, [1], [0.0, 0.5], rule=HorizonRule(stride=3))
    across = np.array([2, 5])
    assert np.delete(path.drift[-1, 0], across, axis=-1).max() < 1e-9
    assert path.drift[-1, 0][:, across].min() > 1e-3


def test_the_change_of_balance_in_steps_is_exact():
    nets, phi = start(6, 2)
    for scaling in ("none", "best"):
        path = descent(nets, phi, [1, 4, 6], step=0.05, steps=40, every=20, scaling=scaling)
        assert path.drift_error.max() < 1e-12
        assert path.drift[-1].max() > 1e-2


def test_small_steps_are_the_flow():
    """Halved steps halve the distance to the flow, which error control brings to rounding."""
    nets, phi = start(5, 2)
    exact = flow(nets, phi, [2, 5], [0.0, 0.4], accuracy=1e-11).layers
    gaps = [
        np.abs(descent(nets, phi, [2, 5], step=0.4 / n, steps=n, every=n).layers - exact).max()
        for n in (80, 160)
    ]
    assert 1.9 < gaps[0] / gaps[1] < 2.1


def test_recorded_angles_and_laws_are_those_of_the_library():
    """Also after training: `alignment` and Theorem B of the network at hand."""
    depth, n = 24, 2
    rng = np.random.default_rng(3)
    a, slope = rng.normal(size=(2, n, n)) / 2
    net, phi = dlinear.SmoothNetwork(lambda s: a + slope * s, depth), np.eye(n) + rng.normal(size=(n, n)) / 3
    for rule in (HorizonRule(), ANCHORED, HorizonRule(runs=1)):
        path = descent(net, phi, [8, 20, 24], step=0.2 / depth, steps=10, every=10, rule=rule)
        for i, h in enumerate(path.horizons):
            here = dlinear.DenseNetwork(path.layers[i, 0])
            found = dlinear.alignment(here, phi, [h], rule=rule)
            assert np.allclose(path.sin2[-1, i, 0], found.sin2[0], rtol=1e-7, atol=1e-25)
            end = reference.state(path.layers[i, 0], depth)
            energy = np.sum(reference.gradients(path.layers[i, 0], phi, depth) ** 2) / depth
            limit = limits.DepthLimit(end, end - phi, energy, depth * path.layers[i, 0][-1])
            law = limits.smooth_law(limit, depth, [h], rule.anchored, rule.runs)[0]
            assert np.allclose(path.predicted_sin2[-1, i, 0], law, rtol=1e-10)
    assert np.isnan(
        descent(net, phi, [8], step=0.01, steps=0, rule=HorizonRule(runs=1, shrink=0.5)).predicted_sin2
    )


@pytest.mark.slow
def test_best_step_by_a_fine_search():
    """The decreases of J along g_h and g_T, each at the best of 800 steps, and curvature by differences."""
    nets, phi = start(4, 2, seeds=3, size=0.2)
    path = descent(nets, phi, [1, 2, 4], step=0.1, steps=0)
    for i, h in enumerate((1, 2, 4)):
        for j, net in enumerate(nets):
            layers = net.deviations(0, 4)
            g, full = (reference.gradients(layers, phi[j], k) for k in (h, 4))
            falls, bends = [], []
            for v in (g * np.sign(np.sum(g * full)), full):
                before = reference.loss(layers, phi[j], 4)
                losses = [reference.loss(layers - s * v, phi[j], 4) for s in np.linspace(0, 1, 801)]
                first = int(np.argmax(np.diff(losses) > 0))
                falls.append(before - losses[first])
                e = 1e-4
                bend = sum(
                    w * reference.loss(layers + k * e * v, phi[j], 4) for k, w in ((1, 1), (0, -2), (-1, 1))
                )
                bends.append(bend / e**2 / np.sum(v**2))
            assert np.allclose(path.best_step[0, i, j], falls[0] / falls[1], rtol=1e-3)
            assert np.allclose(path.curvature[0, i, j], bends[1] / bends[0], rtol=1e-4)
            ratio = np.sum(g * full) / np.sum(full**2)
            assert np.allclose(path.equal_step[0, i, j], ratio, rtol=1e-10)
    assert np.allclose(path.best_step[:, 2], 1)


def test_where_the_angle_is_obtuse_the_best_step_goes_backwards():
    """W = (1, -3), Phi = 6: g_1 = (-5, -9), g_2 = (27, -9); along -g_1 J falls."""
    net = dlinear.DenseNetwork(np.array([0.0, -4.0]).reshape(2, 1, 1))
    path = descent(net, np.array([[6.0]]), [1, 2], step=0.1, steps=0)
    assert np.allclose(path.cos[0, 0, 0], -54 / np.sqrt((25 + 81) * (729 + 81)))
    s = np.linspace(0, 1, 100_001)
    along = [((1 - s * a) * (-3 - s * b) - 6) ** 2 / 2 for a, b in ((5, 9), (27, -9))]
    falls = [81 / 2 - one[: int(np.argmax(np.diff(one) > 0)) + 1].min() for one in along]
    assert np.allclose(path.best_step[0, 0, 0], falls[0] / falls[1], rtol=1e-6)


def test_the_law_of_the_best_step_holds_near_the_target():
    """Where the best step is short J is quadratic along it: decrease ~ <g, g_T>^2/(2 <g, J'' g>)."""
    nets, phi = start(6, 2, size=0.1)
    near = [
        reference.state(net.deviations(0, 6), 6) + 1e-5 * (one - np.eye(2))
        for net, one in zip(nets, phi, strict=True)
    ]
    path = descent(nets, near, [1, 3, 5], step=0.1, steps=0, rule=ANCHORED)
    assert np.allclose(path.best_step, path.best_step_law, rtol=1e-3)
    assert np.abs(path.best_step / path.cos2 - 1).max() > 0.01, "cos^2 alone is not it"


def test_rate_is_equation_14():
    nets, phi = start(5, 2)
    path = descent(nets, phi, [2, 5], step=0.02, steps=6, every=2)
    wanted = np.log(path.loss[2, 0] / path.loss[0, 0]) / np.log(path.loss[2, 1] / path.loss[0, 1])
    assert np.allclose(path.rate[2, 0], wanted, rtol=1e-12)
    assert np.allclose(path.rate[1:, 1], 1)
    assert np.isnan(path.rate[0]).all()
    with pytest.raises(HorizonError, match="train h = 5 beside the horizons"):
        _ = descent(nets, phi, [2], step=0.02, steps=1).rate


def test_rescaled_flow_falls_at_the_rate_of_cos2():
    """d ln J/dtau = -cos^2 ||g_T||^2/J along c_h g_h (the ledger's eq_14)."""
    nets, phi = start(5, 2)
    e = 1e-6
    path = flow(nets, phi, [1, 3, 5], [0.0, e, 2 * e], scaling="best", accuracy=1e-12)
    slope = (path.loss[2] - path.loss[0]) / (2 * e)
    for i, h in enumerate((1, 3, 5)):
        for j, net in enumerate(nets):
            full = reference.gradients(net.deviations(0, 5), phi[j], 5)
            cos2 = 1 - reference.sin2(net.deviations(0, 5), phi[j], h)
            assert np.allclose(slope[i, j], -cos2 * np.sum(full**2), rtol=1e-4)
            assert np.allclose(path.steepness[0, i, j], np.sum(full**2) / path.loss[0, i, j], rtol=1e-10)


@pytest.mark.slow
def test_a_network_that_diverges_leaves_the_others_as_they_are():
    """Too large a step for one target: NaN from then on, and the other start's numbers are unchanged."""
    nets, phi = start(6, 2)
    wild = phi.copy()
    wild[1] *= 20
    both = descent(nets, wild, [3, 6], step=0.05, steps=30, every=10)
    assert np.isfinite(both.diverged[:, 1]).all()
    assert np.isinf(both.diverged[:, 0]).all()
    assert np.isnan(both.loss[-1, :, 1]).all()
    assert np.isnan(both.tail_start(0.1)[-1, :, 1]).all()
    alone = descent(nets[0], wild[0], [3, 6], step=0.05, steps=30, every=10)
    assert (both.loss[:, :, 0] == alone.loss[:, :, 0]).all()
    path = flow(nets, wild, [3], [0.0, 0.05, 0.5], limit=5.0)
    assert 0 < path.diverged[0, 1] < 0.5
    assert np.isfinite(path.loss[-1, 0, 0])
    assert np.isnan(path.loss[-1, 0, 1])
    gone = descent(nets[1], wild[1], [3, 6], step=1.0, steps=30, every=10)
    assert np.isnan(gone.loss[-1]).all()
    assert gone.loss.shape == (4, 2, 1)
    calm = flow(nets[0], wild[0], [3], [0.0, 0.05, 0.5], limit=5.0)
    assert np.allclose(path.loss[:, 0, 0], calm.loss[:, 0, 0], rtol=1e-6)


def test_where_the_tail_of_identities_starts():
    layers = np.zeros((6, 2, 2))
    layers[1], layers[3] = 0.3 * np.eye(2), 0.01 * np.eye(2)
    path = descent(dlinear.DenseNetwork(layers), np.eye(2), [6], step=0.1, steps=0)
    assert path.tail_start(0.1)[0, 0, 0] == 2
    assert path.tail_start(1e-3)[0, 0, 0] == 4
    assert path.tail_start(1.0)[0, 0, 0] == 0
    assert np.allclose(path.layer_norms[0, 0, 0, 1], 0.3 * 2**0.5)


def test_a_fixed_point_stays():
    """Identity layers behind the horizon and P_h = Phi (theory of fixed points): nothing moves, no angle."""
    rng = np.random.default_rng(0)
    layers = np.concatenate([0.2 * rng.normal(size=(2, 2, 2)), np.zeros((3, 2, 2))])
    phi = reference.state(layers, 2)
    path = descent(dlinear.DenseNetwork(layers), phi, [2], step=0.1, steps=3)
    assert np.abs(path.layers[0, 0] - layers).max() < 1e-15
    assert (path.inner_residual < 1e-15).all()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"nets": 3}, ShapeError, "nets is 3; expected a network or a list"),
        ({"nets": []}, ShapeError, "nets is \\[\\]"),
        ({"phi": np.eye(3)}, ShapeError, "phi has shape \\(3, 3\\)"),
        ({"phi": np.full((2, 2), np.nan)}, NonFiniteError, "phi holds NaN"),
        ({"horizons": [0, 2]}, HorizonError, "horizons"),
        ({"horizons": [2, 2]}, DomainError, "each horizon once"),
        ({"step": 0}, DomainError, "step"),
        ({"step": [0.1, 0.2]}, DomainError, "step is an array of 2 values"),
        ({"steps": -1}, DomainError, "steps"),
        ({"every": 0}, DomainError, "every"),
        ({"rule": "plain"}, DomainError, "rule"),
        ({"scaling": "worst"}, DomainError, "scaling"),
        ({"limit": 0.01}, DomainError, "limit is 0.01"),
    ],
)
def test_what_makes_no_sense_is_refused(change, error, words):
    nets, phi = start(4, 2)
    good = {"nets": nets, "phi": phi, "horizons": [1, 4], "step": 0.1, "steps": 1}
    with pytest.raises(error, match=words):
        descent(**{**good, **change})


@pytest.mark.parametrize("times", [[0.1, 0.2], [0.0, 0.0], [], [0.0, np.nan], "soon", [[0.0, 1.0]]])
def test_times_that_make_no_sense_are_refused(times):
    nets, phi = start(4, 2)
    with pytest.raises(
        DomainError, match=r"times.*: allowed are increasing times|times.*allowed is increasing"
    ):
        flow(nets, phi, [1, 4], times)
    with pytest.raises(DomainError, match=r"accuracy is 0\.1"):
        flow(nets, phi, [1], [0.0], accuracy=0.1)


def test_networks_of_two_shapes_are_refused():
    with pytest.raises(ShapeError, match="one shape"):
        descent([start(4, 2)[0][0], start(5, 2)[0][0]], np.eye(2), [1], step=0.1, steps=1)
