"""Rules with another feedback against forward passes of samples, one at a time, and against the engine."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dlinear
from dlinear.engine import feedback_gradients as rules
from dlinear.errors import DlinearError, HorizonError, ShapeError, UndefinedAngleError

SIZES = dict(seed=st.integers(0, 10**6), depth=st.integers(1, 6), n=st.integers(1, 4))


def draw(seed, depth, n, size=0.4):
    rng = np.random.default_rng(seed)
    return rng, rng.normal(size=(depth, n, n)) * size, rng.normal(size=(n, n))


def forward(weights, x):
    """The activities h_0 = x, ..., h_T of one sample."""
    states = [x]
    for w in weights:
        states.append(w @ states[-1])
    return states


def mean_over_samples(layers, phi, update):
    """The mean of update(weights, h, e) over whitened samples x = sqrt(n) e_j, e = h_T - Phi x."""
    n = len(phi)
    weights = [np.eye(n) + layer for layer in layers]
    total = np.zeros_like(layers)
    for column in np.eye(n):
        h = forward(weights, np.sqrt(n) * column)
        total += np.array(update(weights, h, h[-1] - phi @ h[0])) / n
    return total


def backward(matrices, e, h):
    """delta_T = e, delta_l = M_{l+1} delta_{l+1} for the layer above; delta_l h_{l-1}^T."""
    signal, found = e, []
    for t in reversed(range(len(matrices))):
        found.append(np.outer(signal, h[t]))
        signal = matrices[t] @ signal
    return found[::-1]


def bp(weights, h, e):
    return backward([w.T for w in weights], e, h)


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-11)


@given(**SIZES)
def test_gaps_are_those_of_the_forward_passes(seed, depth, n):
    rng, layers, phi = draw(seed, depth, n)
    p = rules.passes(layers, phi)
    true = mean_over_samples(layers, phi, bp)
    close(p.true, true)
    close(p.true, dlinear.horizon_gradients(dlinear.DenseNetwork(layers), phi, depth))
    slow = mean_over_samples(layers, phi, lambda w, h, e: [np.outer(e, one) for one in h[:-1]])
    close(rules.broadcast_gap(p), slow - true)
    slow = mean_over_samples(
        layers, phi, lambda w, h, e: [np.outer(h[t + 1] - phi @ h[0], h[t]) for t in range(depth)]
    )
    close(rules.local_gap(p), slow - true)
    c = rng.normal(size=layers.shape) / 2
    feedback = [np.eye(n) + one for one in c]
    slow = mean_over_samples(layers, phi, lambda w, h, e: backward(feedback, e, h))
    close(rules.feedback_gap(p, c), slow - true)
    close(rules.feedback_gap(p, np.zeros((n, n))), rules.broadcast_gap(p))


@given(**SIZES, m=st.integers(0, 6))
def test_foton_is_two_forward_passes(seed, depth, n, m):
    """The input of the second pass is x - P_T^T e; the presynaptic term is the clean one."""
    _, layers, phi = draw(seed, depth, n)
    m = min(m, depth)

    def update(weights, h, e):
        f = np.linalg.multi_dot([*weights[::-1], np.eye(n)]).T
        moved = forward(weights, h[0] - f @ e)
        exact = bp(weights, h, e)
        return [np.outer(h[t + 1] - moved[t + 1], h[t]) if t < m else exact[t] for t in range(depth)]

    p = rules.passes(layers, phi)
    close(p.true + rules.foton_gap(p, m), mean_over_samples(layers, phi, update))


@given(**SIZES, h=st.integers(1, 6))
def test_feedback_behind_exact_layers(seed, depth, n, h):
    rng, layers, phi = draw(seed, depth, n)
    h, c = min(h, depth), rng.normal(size=layers.shape) / 2

    def update(weights, states, e):
        found = []
        for t in range(depth):
            matrices = [w.T if u < t + h else np.eye(n) + c[u] for u, w in enumerate(weights)]
            found.append(backward(matrices, e, states)[t])
        return found

    p = rules.passes(layers, phi)
    close(p.true + rules.feedback_gap(p, c, h), mean_over_samples(layers, phi, update))
    anchored = dlinear.horizon_gradients(
        dlinear.DenseNetwork(layers), phi, h, dlinear.HorizonRule(anchored=True)
    )
    close(p.true + rules.feedback_gap(p, np.zeros((n, n)), h), anchored)
    turned = layers.mT  # C = D^T: back-propagation
    assert np.abs(rules.feedback_gap(p, turned, h)).max() == 0


@given(**SIZES, sign=st.sampled_from([1, -1]))
def test_pepita_and_direct_feedback_are_their_forward_passes(seed, depth, n, sign):
    rng, layers, phi = draw(seed, depth, n)
    f, b = rng.normal(size=(n, n)), rng.normal(size=layers.shape)
    p = rules.passes(layers, phi)

    def pepita(weights, h, e, clean=False):
        moved = forward(weights, h[0] + sign * f @ e)
        before = h if clean else moved
        return [np.outer(h[t + 1] - moved[t + 1], before[t]) for t in range(depth)]

    close(rules.pepita_gradients(p, f, sign), mean_over_samples(layers, phi, pepita))
    clean = mean_over_samples(layers, phi, lambda w, h, e: pepita(w, h, e, clean=True))
    close(rules.pepita_gradients(p, f, sign, modulated=False), clean)
    slow = mean_over_samples(layers, phi, lambda w, h, e: [np.outer(b[t] @ e, h[t]) for t in range(depth)])
    close(rules.direct_gradients(p, b), slow)
    slow = mean_over_samples(
        layers, phi, lambda w, h, e: [np.outer(b[t] @ phi @ h[0], h[t]) for t in range(depth)]
    )
    close(rules.direct_gradients(p, b, phi), slow)
    close(rules.direct_gradients(p, np.eye(n)), p.true + rules.broadcast_gap(p))


def test_stacks_of_networks_are_the_networks_one_by_one():
    rng, _, phi = draw(3, 5, 3)
    stack = rng.normal(size=(2, 5, 3, 3)) / 5
    c = rng.normal(size=stack.shape) / 5
    p = rules.passes(stack, phi)
    for k in range(2):
        one = rules.passes(stack[k], phi)
        close(rules.feedback_gap(p, c, 2)[k], rules.feedback_gap(one, c[k], 2))
        for gap in (rules.broadcast_gap, rules.local_gap, rules.foton_gap):
            close(gap(p)[k], gap(one))
        close(rules.direct_gradients(p, c)[k], rules.direct_gradients(one, c[k]))
        close(rules.pepita_gradients(p, c[:, 0])[k], rules.pepita_gradients(one, c[k, 0]))


def test_no_digits_are_lost_where_the_angle_is_tiny():
    """T = 3000, one layer unseen: sin^2 of the engine, far below the rounding of 1 - cos^2."""
    rng = np.random.default_rng(1)
    layers = rng.normal(size=(3000, 3, 3)) / 3000
    phi = rng.normal(size=(3, 3))
    p = rules.passes(layers, phi)
    found = rules.angle(p.true, rules.feedback_gap(p, np.zeros((3, 3)), 2999))[0]
    wanted = dlinear.alignment(
        dlinear.DenseNetwork(layers), phi, [2999], rule=dlinear.HorizonRule(anchored=True)
    ).sin2[0]
    assert wanted < 1e-9
    assert found == pytest.approx(wanted, rel=1e-9)
    local = rules.angle(p.true, rules.local_gap(p))
    plain = dlinear.alignment(dlinear.DenseNetwork(layers), phi, [1])
    assert local == pytest.approx((plain.sin2[0], plain.cos[0]), rel=1e-9)
    skew = (layers - layers.mT) / 2
    p = rules.passes(skew, phi)
    state = np.longdouble(1) * np.eye(3)
    worst = 0.0
    for t, gap in enumerate(rules.foton_gap(p)):
        state = (np.eye(3) + skew[t].astype(np.longdouble)) @ state
        slow = ((state @ state.T - np.eye(3)) @ p.true[t]).astype(float)
        worst = max(worst, float(np.linalg.norm(gap - slow) / np.linalg.norm(slow)))
    assert worst < 1e-9


def test_the_angle_of_vectors_that_are_known():
    true = np.zeros((1, 2, 2))
    true[0, 0, 0] = 2.0
    gap = np.zeros_like(true)
    assert rules.angle(true, gap) == (0.0, 1.0)
    gap[0, 1, 1] = 2.0
    assert rules.angle(true, gap) == pytest.approx((0.5, 0.5**0.5))
    gap[0, 0, 0] = -4.0
    assert rules.angle(true, gap) == pytest.approx((0.5, -(0.5**0.5)))
    with pytest.raises(UndefinedAngleError, match="no angle"):
        rules.angle(true, -true)
    with pytest.raises(UndefinedAngleError, match="no angle"):
        rules.angle(0 * true, true)
    with pytest.raises(ShapeError, match="one shape"):
        rules.angle(true, np.zeros((2, 2, 2)))


P = rules.passes(np.zeros((3, 2, 2)), np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: rules.passes(np.zeros((2, 2)), np.eye(2)), DlinearError, "deviations must be"),
        (lambda: rules.passes(np.zeros((3, 2, 2)), np.eye(3)), ShapeError, "phi must be"),
        (lambda: rules.passes(np.full((3, 2, 2), np.nan), np.eye(2)), DlinearError, "finite"),
        (lambda: rules.passes(np.full((3, 2, 2), 1e200), np.eye(2)), DlinearError, "leaves float64"),
        (lambda: rules.foton_gap(P, 4), HorizonError, "layers is 4"),
        (lambda: rules.feedback_gap(P, np.eye(2), 0), HorizonError, "horizon is 0"),
        (lambda: rules.feedback_gap(P, np.eye(3)), ShapeError, "must broadcast"),
        (lambda: rules.feedback_gap(P, np.full((2, 2), np.inf)), DlinearError, "finite"),
        (lambda: rules.direct_gradients(P, np.eye(3)), ShapeError, "do not fit"),
        (lambda: rules.pepita_gradients(P, np.eye(2), 2), DlinearError, "sign"),
        (lambda: rules.pepita_gradients(P, np.eye(3)), ShapeError, "f must be"),
    ],
)
def test_a_bad_argument_is_one_line(call, error, said):
    with pytest.raises(error, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)
