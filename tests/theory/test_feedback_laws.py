"""Depth laws of rules with another feedback: exact cases, simulation, and rates in the depth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlinear.engine import feedback_gradients as rules
from dlinear.errors import DlinearError, DomainError, ShapeError, UndefinedAngleError
from dlinear.theory import feedback_laws, limits

RNG = np.random.default_rng(5)
A0, A1, C0, PHI = (RNG.normal(size=(3, 3)) / 2 for _ in range(4))


def path(s):
    return A0 * np.cos(s) + A1 * s


def skew(s):
    return path(s) - path(s).T


def passes_of(of, depth):
    return rules.passes(np.array([of(t / depth) for t in range(depth)]) / depth, PHI)


def ratios(gap, law, shortfalls=3):
    """measured/law at two depths, for a law of (m/T)^3 at m = 3: 3 S_2(3)/T^3 = 42/T^3."""
    found = []
    for depth in (200, 800):
        p = passes_of(path, depth)
        unit = limits.decay_law(0.0, law, shortfalls, depth)
        found.append(rules.angle(p.true, gap(p, depth))[0] / unit)
    return np.array(found)


@pytest.mark.parametrize("kind", ["anchored", "feedback", "foton"])
def test_smooth_layers_reach_their_constant_at_the_rate_one_over_depth(kind):
    laws = {
        "anchored": limits.anchored_constant(path, PHI),
        "feedback": feedback_laws.feedback_tail_constant(path, C0, PHI),
        "foton": feedback_laws.foton_head_constant(path, PHI),
    }
    gaps = {
        "anchored": lambda p, depth: rules.feedback_gap(p, np.zeros((3, 3)), depth - 3),
        "feedback": lambda p, depth: rules.feedback_gap(p, C0 / depth, depth - 3),
        "foton": lambda p, depth: rules.foton_gap(p, 3),
    }
    error = np.abs(ratios(gaps[kind], laws[kind]) - 1)
    assert error[0] < 0.06
    assert error[1] < error[0] / 3  # 1/T: a quarter


def test_the_identity_as_feedback_is_the_anchored_horizon_and_the_transpose_is_exact():
    zero = np.zeros((3, 3))
    assert feedback_laws.feedback_tail_constant(path, zero, PHI) == pytest.approx(
        limits.anchored_constant(path, PHI), rel=1e-12
    )
    assert feedback_laws.feedback_tail_constant(path, path(1.0).T, PHI) == 0
    assert feedback_laws.foton_head_constant(skew, PHI) < 1e-25


def test_foton_in_every_layer():
    def measured(of, depth):
        p = passes_of(of, depth)
        return rules.angle(p.true, rules.foton_gap(p))[0]

    law = feedback_laws.foton_limit(path, PHI)
    error = [abs(measured(path, depth) / law - 1) for depth in (200, 800)]
    assert error[1] < error[0] / 3 < 0.01
    law = feedback_laws.foton_antisymmetric(skew, PHI)
    error = [abs(measured(skew, depth) * depth**2 / law - 1) for depth in (200, 800)]
    assert error[1] < error[0] / 3 < 0.01
    assert feedback_laws.foton_limit(skew, PHI) < 1e-15
    with pytest.raises(DomainError, match="not antisymmetric; use foton_limit"):
        feedback_laws.foton_antisymmetric(path, PHI)


def test_foton_with_a_jump_between_two_kinds_of_layers():
    """Symmetric equal layers s for s < 1/2, then nothing: V = e^{2as} - 1 by hand, n = 1."""
    a, phi = 0.7, np.array([[0.2]])
    law = feedback_laws.foton_limit(lambda s: [[a if s < 0.5 else 0.0]], phi, breaks=[0.5])
    b = np.linspace(0, 1, 200_001)
    v = np.exp(2 * a * np.minimum(b, 0.5))  # the gain over g_T, which is constant for n = 1
    assert law == pytest.approx(1 - np.mean(v) ** 2 / np.mean(v**2), rel=1e-4)


@pytest.mark.parametrize(("n", "value"), [(1, (1 / 6, 1 / 3, 2 / 3)), (2, (1 / 2 - 1 / 12, 5 / 6, 7 / 6))])
def test_the_start_in_closed_form_for_a_residual_that_is_the_identity(n, value):
    """kappa = 1/n: 1/2 - 1/(3n^2), 1 - 2/(3n^2), 1 + 1/n - 4/(3n^2)."""
    found = [feedback_laws.start_law(rule, np.eye(n)) for rule in ("broadcast", "feedback", "foton")]
    assert found == pytest.approx(value)


@pytest.mark.slow
@pytest.mark.parametrize("rule", feedback_laws.START_RULES)
def test_the_start_is_what_is_measured(rule):
    depth, count, n = 150, 600, 2
    rng = np.random.default_rng(11)
    phi = np.array([[-0.6, -0.4], [0.9, -0.2]])  # tr R = 2.8: every term of a law counts
    scale = 1 / (depth * np.sqrt(n))
    p = rules.passes(rng.normal(size=(count, depth, n, n)) * scale, phi)
    gap = {
        "broadcast": rules.broadcast_gap,
        "foton": rules.foton_gap,
        "local": rules.local_gap,
        "feedback": lambda p: rules.feedback_gap(p, rng.normal(size=p.layers.shape) * scale),
    }[rule](p)
    found = depth * np.array([rules.angle(g, d)[0] for g, d in zip(p.true, gap, strict=True)])
    law = feedback_laws.start_law(rule, np.eye(n) - phi)
    assert abs(found.mean() - law) < 4 * found.std() / np.sqrt(count) + law * 3 / depth


@given(seed=st.integers(0, 10**6), n=st.integers(1, 4), copies=st.integers(1, 5))
def test_random_feedback_between_its_limits(seed, n, copies):
    """The least possible kappa is 1/n (an orthogonal R), the largest 1; both are exact at leading order."""
    rng = np.random.default_rng(seed)
    q = np.linalg.qr(rng.normal(size=(n, n)))[0] * 3.0
    wanted = 1 / (n * n * copies)
    assert feedback_laws.random_feedback_cos2(q, copies) == pytest.approx(wanted, rel=1e-7)
    assert feedback_laws.random_feedback_leading(q, copies) == pytest.approx(wanted)
    line = np.outer(rng.normal(size=n), rng.normal(size=n))
    assert feedback_laws.random_feedback_cos2(line, copies) == pytest.approx(1 / (n * copies), rel=1e-7)
    r = rng.normal(size=(n, n))
    found = feedback_laws.random_feedback_cos2(r, copies)
    assert found <= feedback_laws.random_feedback_leading(r, copies) * (1 + 1e-9)
    assert feedback_laws.random_feedback_cos2(5 * r, copies, 2 * r) == pytest.approx(found, rel=1e-7)


def test_random_feedback_is_the_mean_over_matrices():
    """Exact where the leading order in 1/n is off by more than three per cent."""
    rng = np.random.default_rng(2)
    r, m = np.diag([3.0, 1.0]), np.array([[1.0, 0.5], [-0.2, 0.3]])
    b = rng.normal(size=(200_000, 2, 2))
    for signal in (r, m):
        moved = b @ signal
        cos2 = np.sum(moved * r, axis=(1, 2)) ** 2 / np.sum(moved**2, axis=(1, 2)) / np.sum(r**2)
        law = feedback_laws.random_feedback_cos2(r, 1, signal)
        assert abs(cos2.mean() - law) < 4 * cos2.std() / np.sqrt(len(b))
    assert feedback_laws.random_feedback_cos2(r) < 0.97 * feedback_laws.random_feedback_leading(r)
    moved = b.reshape(50_000, 4, 2, 2) @ r
    cos2 = np.sum(moved * r, axis=(1, 2, 3)) ** 2 / np.sum(moved**2, axis=(1, 2, 3)) / (4 * np.sum(r**2))
    assert abs(cos2.mean() - feedback_laws.random_feedback_cos2(r, 4)) < 4 * cos2.std() / np.sqrt(50_000)


@pytest.mark.slow
@pytest.mark.parametrize("rule", feedback_laws.ROUGH_RULES)
def test_rough_layers(rule):
    """E sin^2 = rho^2 v S_1(m)/(T N) around a network whose other layers are given."""
    depth, count, n, m = 400, 300, 2, 3
    rng = np.random.default_rng(7)
    phi = np.array([[0.3, -0.4], [0.9, 1.8]])
    rho = 1 / depth
    layers, c = rng.normal(size=(2, count, depth, n, n)) * rho / np.sqrt(n)
    p = rules.passes(layers, phi)
    gap = {
        "anchored": lambda: rules.feedback_gap(p, np.zeros((n, n)), depth - m),
        "feedback": lambda: rules.feedback_gap(p, c, depth - m),
        "foton": lambda: rules.foton_gap(p, m),
    }[rule]()
    found = []
    for k in range(count):
        energy = np.sum(p.true[k] ** 2) / depth
        v = feedback_laws.rough_variance(rule, p.states[k, -1], p.residual[k])
        law = rho**2 * v * m * (m + 1) / 2 / (depth * energy)
        found.append(rules.angle(p.true[k], gap[k])[0] / law)
    assert abs(np.mean(found) - 1) < 4 * np.std(found) / np.sqrt(count)
    assert np.std(found) / np.sqrt(count) < 0.06


@given(seed=st.integers(0, 10**6), depth=st.integers(1, 8), n=st.integers(1, 3), c=st.floats(0, 2))
def test_broadcast_descends_as_it_says(seed, depth, n, c):
    rng = np.random.default_rng(seed)
    layers = rng.normal(size=(depth, n, n))
    layers *= c / depth / np.maximum(np.linalg.norm(layers, 2, axis=(1, 2), keepdims=True), 1e-9)
    p = rules.passes(layers, rng.normal(size=(n, n)))
    gap = rules.broadcast_gap(p)
    broadcast = p.true + gap
    along, size = np.sum(broadcast * p.true, axis=(1, 2)), np.sum(broadcast**2, axis=(1, 2))
    factor = feedback_laws.broadcast_descent(depth, c, depth - 1 - np.arange(depth))
    assert (along >= factor * size - 1e-12 * size).all()
    for k, value in enumerate(np.atleast_1d(feedback_laws.broadcast_descent(depth, c, np.arange(depth)))):
        assert value == pytest.approx(2 - (1 + c / depth) ** k, abs=1e-12)


def test_broadcast_descent_is_reached_by_equal_scalar_layers():
    """W = 1 - c/T: the ratio is (1 - c/T)^k."""
    depth, c = 5, 0.5
    p = rules.passes(np.full((depth, 1, 1), -c / depth), np.array([[3.0]]))
    broadcast = p.true + rules.broadcast_gap(p)
    ratio = (broadcast * p.true).sum(axis=(1, 2)) / (broadcast**2).sum(axis=(1, 2))
    bound = feedback_laws.broadcast_descent(depth, c, depth - 1 - np.arange(depth))
    np.testing.assert_allclose(ratio, (1 - c / depth) ** (depth - 1 - np.arange(depth)))
    assert (ratio >= bound - 1e-12).all()
    assert ratio[-2] == pytest.approx(bound[-2])  # one layer above: equality


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: feedback_laws.start_law("fa", np.eye(2)), DomainError, "rule is 'fa'; expected 'broadcast'"),
        (lambda: feedback_laws.start_law("foton", np.zeros((2, 2))), UndefinedAngleError, "no angle"),
        (lambda: feedback_laws.start_law("foton", [[1, 2]]), ShapeError, "residual must be"),
        (lambda: feedback_laws.rough_variance("dfa", np.eye(2), np.eye(2)), DomainError, "rule is 'dfa'"),
        (lambda: feedback_laws.random_feedback_cos2(np.eye(2), 0), DomainError, "copies is 0"),
        (lambda: feedback_laws.random_feedback_cos2(np.eye(2), 1, np.eye(3)), ShapeError, "signal must be"),
        (
            lambda: feedback_laws.random_feedback_leading(np.eye(2), 1, np.zeros((2, 2))),
            UndefinedAngleError,
            "signal is zero",
        ),
        (lambda: feedback_laws.feedback_tail_constant(path, np.eye(2), PHI), ShapeError, "feedback must be"),
        (lambda: feedback_laws.broadcast_descent(3, -1, 0), DomainError, "c"),
        (lambda: feedback_laws.broadcast_descent(3, 1, 3), DomainError, "above"),
    ],
)
def test_a_bad_argument_is_one_line(call, error, said):
    with pytest.raises(error, match=said) as caught:
        call()
    assert isinstance(caught.value, DlinearError)
    assert "\n" not in str(caught.value)
