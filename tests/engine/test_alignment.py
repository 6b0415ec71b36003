"""sin^2(theta_h) against 60 digits, its undefined cases, and depths that only the difference form reaches."""

from __future__ import annotations

from types import SimpleNamespace

import mpmath
import numpy as np
import pytest
import reference
from hypothesis import given
from strategies import KINDS, build_case, cases_with_horizon

import dlinear
from dlinear.engine.backends import NumpyBackend, TorchBackend
from dlinear.engine.options import Engine
from dlinear.engine.parallel.threads import Threads
from dlinear.engine.single_horizon.edge_products import EdgeProducts
from dlinear.engine.single_horizon.in_memory import FarInMemory, LayerArrays, NearInMemory
from dlinear.engine.single_horizon.streaming import Short, Streamed
from dlinear.errors import DomainError, HorizonError, NonFiniteError, ShapeError, UndefinedAngleError


def relative_error(deviations, phi, horizon):
    """Of sin^2 against 60 digits, and sin^2; None where the exact angle is undefined or zero."""
    try:
        exact = reference.alignment_60(deviations, phi, horizon)
    except ZeroDivisionError:
        return None
    if exact == 0:
        return None
    got = dlinear.alignment(dlinear.DenseNetwork(deviations), phi, horizon).sin2[0]
    with mpmath.workdps(60):
        return float(abs(mpmath.mpf(float(got)) / exact - 1)), float(exact)


@pytest.mark.slow
def test_sixty_digits_over_random_cases(capsys):
    """At least 200 cases: depth, width, scale of the deviations (1e-12 to 1), structure, target, horizon."""
    rng = np.random.default_rng(2024)
    errors, smallest, skipped = [], 1.0, 0
    kinds = [kind for kind in KINDS if kind != "zero"]
    for i in range(330):
        depth, width = int(rng.integers(2, 41)), int(rng.integers(1, 5))
        c = min(0.9 * depth, 3.0) * 10.0 ** -rng.choice([0, 0.3, 1, 3, 7, 12])
        phi_kind = ["random", "small", "large", "identity", "near"][i % 5]
        case = build_case(i, depth, width, c, kinds[i % len(kinds)], phi_kind)
        horizon = int(rng.integers(1, depth)) if i % 3 else depth - int(rng.integers(1, min(depth, 4)))
        found = relative_error(case.deviations, case.phi, horizon)
        if found is None:
            skipped += 1
            continue
        errors.append(found[0])
        smallest = min(smallest, found[1])
    with capsys.disabled():
        print(
            f"\nsin^2 against 60 digits: worst relative error {max(errors):.1e} over {len(errors)} cases "
            f"({skipped} parallel or undefined), smallest sin^2 {smallest:.1e}"
        )
    assert len(errors) >= 200
    assert smallest < 1e-25
    assert max(errors) <= 1e-9


@given(case_and_horizon=cases_with_horizon(min_depth=2))
def test_equals_the_definition_in_float64(case_and_horizon):
    case, horizon = case_and_horizon
    net = dlinear.DenseNetwork(case.deviations)
    got = dlinear.alignment(net, case.phi, horizon, undefined="nan")
    a = reference.gradients(case.deviations, case.phi, horizon).ravel()
    b = reference.gradients(case.deviations, case.phi, case.depth).ravel()
    if got.undefined[0]:
        assert min(np.linalg.norm(a), np.linalg.norm(b)) <= 1e-12 * max(1, np.linalg.norm(case.phi))
        return
    cos = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    if np.linalg.norm(b) > 1e-9 * np.linalg.norm(case.phi):  # the definition itself has digits left
        assert abs(got.cos[0] - cos) < 1e-5
        assert abs(got.sin2[0] - (1 - cos**2)) < 1e-5
        assert got.norm_ratio[0] == pytest.approx(np.linalg.norm(a) / np.linalg.norm(b), rel=1e-5)
    assert 0 <= got.sin2[0] <= 1 + 1e-12
    assert got.cos[0] ** 2 + got.sin2[0] == pytest.approx(1, abs=1e-12)


def test_delta_is_the_difference_of_the_gradients_both_ways():
    """Near horizons go by the separable form, far ones by window scans: on the same m, against g_h - g_T."""
    rng = np.random.default_rng(0)
    engine = Engine(chunk_numbers=40)
    for depth in (2, 9, 40):
        net = dlinear.DenseNetwork(rng.normal(size=(depth, 3, 3)) / depth)
        phi = rng.normal(size=(3, 3))
        held = depth // 2
        near = Streamed(
            EdgeProducts(net, phi, (held, depth - held), engine), {depth - held}, depth - held, held
        )
        at_edges = EdgeProducts(net, phi, (), engine)
        full = LayerArrays(at_edges)
        for m in range(1, depth):
            truncated, true = (dlinear.horizon_gradients(net, phi, h) for h in (depth - m, depth))
            far = FarInMemory(full, m)
            splits = range(depth - m, depth, depth - m)
            streamed = Streamed(EdgeProducts(net, phi, (*splits, m), engine), splits, depth - m, m)
            ways = [far, streamed, Short(EdgeProducts(net, phi, (), engine), depth - m)]
            for slices in [*ways, near, NearInMemory(full, held)] if m <= held else ways:
                for start, stop in slices.at_edges.chunks(0, depth):
                    gradient, delta_of = slices.visit((start, stop))
                    assert np.allclose(gradient, true[start:stop], rtol=1e-11, atol=1e-13)
                    if start < m:
                        want = (truncated - true)[start : min(stop, m)]
                        assert np.allclose(-delta_of(m), want, rtol=1e-9, atol=1e-12)


ENGINES = {
    "small chunks": Engine(chunk_numbers=70),
    "one layer a chunk": Engine(chunk_numbers=9),
    "threads": Engine(team=Threads(3), chunk_numbers=400),
    "no memory": Engine(chunk_numbers=70, memory=1),
    "no memory, threads": Engine(team=Threads(2), chunk_numbers=70, memory=1),
    "torch": Engine(backend=TorchBackend("cpu"), chunk_numbers=400),
}


@pytest.mark.parametrize("name", ENGINES)
def test_how_the_work_is_done_changes_nothing(name):
    rng = np.random.default_rng(1)
    net = dlinear.DenseNetwork(rng.normal(size=(300, 3, 3)) / 300)
    phi, horizons = rng.normal(size=(3, 3)), [1, 20, 149, 150, 151, 260, 299, 300]
    want = dlinear.alignment(net, phi, horizons)
    got = dlinear.alignment(net, phi, horizons, engine=ENGINES[name])
    assert np.allclose(got.sin2, want.sin2, rtol=1e-12, atol=0)
    assert np.allclose(got.cos, want.cos, rtol=1e-12, atol=0)
    assert np.allclose(got.norm_ratio, want.norm_ratio, rtol=1e-12, atol=0)


def test_float32_is_as_accurate_as_its_rounding():
    rng = np.random.default_rng(2)
    net = dlinear.DenseNetwork(rng.normal(size=(2000, 4, 4)) / 2000)
    phi, horizons = rng.normal(size=(4, 4)), [1999, 1990, 1500, 700]
    want = dlinear.alignment(net, phi, horizons).sin2
    for backend in (NumpyBackend("float32"), TorchBackend("cpu", "float32")):
        got = dlinear.alignment(net, phi, horizons, engine=Engine(backend=backend)).sin2
        assert 1e-9 < np.abs(got / want - 1).max() < 2e-4


def test_profile_keeps_the_order_and_repeats_of_the_horizons():
    net, phi = dlinear.GaussianNetwork(depth=30, width=2, seed=1), np.diag([2.0, -1.0])
    profile = dlinear.alignment(net, phi, [30, 5, 28, 5])
    assert profile.horizons.tolist() == [30, 5, 28, 5]
    assert profile.shortfall.tolist() == [0, 25, 2, 25]
    assert profile.sin2[0] == 0
    assert profile.cos[0] == pytest.approx(1, abs=1e-15)
    assert profile.sin2[1] == profile.sin2[3] > profile.sin2[2] > 0
    assert profile.undefined == ("", "", "", "")


def test_scalar_network_follows_its_own_closed_form_at_great_depth():
    """n = 1: g_h(t) is phi(min(t + h, T)), so sin^2 is a ratio of sums known without the engine."""
    depth, c, y = 100_000, 0.7, 0.3
    net = dlinear.ConstantNetwork(np.array([[c]]), depth)
    powers = np.exp(np.arange(depth + 1) * np.log1p(c / depth))
    for m in (1, 10, 1000, 70_000):
        s = np.minimum(np.arange(depth) + depth - m, depth)
        gap = powers[s - 1] * (powers[s] - y) - powers[depth - 1] * (powers[depth] - y)
        mean = gap.mean()
        want = np.sum((gap - mean) ** 2) / np.sum((powers[s - 1] * (powers[s] - y)) ** 2)
        got = dlinear.alignment(net, np.array([[y]]), depth - m).sin2[0]
        assert got == pytest.approx(want, rel=1e-9 if m > 1 else 1e-6)


def test_deep_network_far_below_float64_of_one_minus_cos_squared():
    """T = 2e5, m = 1: sin^2 is near 1e-16 / T and still follows Theorem B's constant."""
    rng = np.random.default_rng(4)
    a, phi = rng.normal(size=(2, 3, 3))
    depth = 200_000
    got = dlinear.alignment(dlinear.ConstantNetwork(a, depth), phi, depth - 1).sin2[0]
    constant = dlinear.limits.cubic_constant(lambda s: a, phi)
    assert got == pytest.approx(dlinear.limits.decay_law(0, constant, 1, depth), rel=1e-3)
    assert got < 1e-14


ROTATION = np.array([[0.0, -1.0], [1.0, 0.0]])


@pytest.mark.parametrize(
    ("deviations", "phi", "reason"),
    [
        (np.zeros((6, 2, 2)), np.eye(2), "g_T = 0"),
        (np.tile(-np.eye(2), (6, 1, 1)), 0.3 * np.eye(2), "g_T = 0"),
        (np.tile(ROTATION - np.eye(2), (4, 1, 1)), np.eye(2), "g_T = 0"),
    ],
)
def test_a_vanishing_true_gradient_has_a_name(deviations, phi, reason):
    net = dlinear.DenseNetwork(deviations)
    with pytest.raises(UndefinedAngleError, match=f"horizon 2: {reason}"):
        dlinear.alignment(net, phi, [2, 3])
    profile = dlinear.alignment(net, phi, [2, 3], undefined="nan")
    assert profile.undefined == (reason, reason)
    assert np.isnan(profile.sin2).all()
    assert np.isnan(profile.cos).all()


def test_a_vanishing_horizon_gradient_has_a_name():
    """Singular layers can stop g_2 everywhere while g_T(0) = -W_1^T W_2^T [0, e_2] is not zero."""
    weights = np.array([np.diag([1.0, 0.0]), np.diag([1.0, 0.0]), [[1.0, 0.0], [1.0, 1.0]]])
    net, phi = dlinear.DenseNetwork.from_weights(weights), np.array([[1.0, 0.0], [1.0, 1.0]])
    assert not reference.gradients(weights - np.eye(2), phi, 2).any()
    assert reference.gradients(weights - np.eye(2), phi, 3).any()
    with pytest.raises(UndefinedAngleError, match="horizon 2: g_h = 0"):
        dlinear.alignment(net, phi, 2)
    profile = dlinear.alignment(net, phi, [2, 3], undefined="nan")
    assert profile.undefined == ("g_h = 0", "")
    assert np.isnan(profile.sin2[0])
    assert profile.sin2[1] == 0


def test_a_trained_network_keeps_digits_of_a_tiny_residual():
    rng = np.random.default_rng(5)
    deviations = rng.normal(size=(30, 3, 3)) / 30
    final = reference.state(deviations, 30)
    for size in (1e-4, 1e-8, 1e-12, 1e-16, 0.0):  # 0: Phi is P_T rounded to float64
        error, _ = relative_error(deviations, final + size * rng.normal(size=(3, 3)), 25)
        assert error <= 1e-10


@pytest.mark.parametrize("size", [1e-3, 1e-7, 1e-10, 1e-12])
def test_the_degenerate_target_keeps_its_digits(size):
    """Phi near 2I (y = 2e^c): the two halves of Y_s cancel to the next order of the deviations."""
    rng = np.random.default_rng(9)
    for depth, n in ((2, 1), (20, 1), (20, 3)):
        if n > 1 and size < 1e-7:  # sin^2 < 1e-40 then hangs on E - E^T, whose digits E does not hold
            continue
        layers = size * rng.normal(size=(depth, n, n)) / depth
        layers = layers + layers.swapaxes(1, 2)
        for phi in (2 * np.eye(n), 2 * reference.state(layers, depth)):
            for horizon in (1, depth - 1):
                found = relative_error(layers, phi, horizon)
                assert found is None or found[0] <= 1e-9, (depth, n, horizon)
    skew = size * np.array([[[0.0, 1.0], [-1.0, 0.0]]] * 12) / 12
    assert relative_error(skew, np.zeros((2, 2)), 9)[0] <= 1e-9


def test_layers_of_other_kinds_are_read_as_float64_or_refused():
    class Mine:
        depth, width = 12, 2

        def __init__(self, layers):
            self.layers = layers

        def deviations(self, start, stop):
            return self.layers[start:stop]

    single = np.random.default_rng(0).normal(size=(12, 2, 2)).astype(np.float32) / 12
    want = dlinear.alignment(dlinear.DenseNetwork(single.astype(float)), np.eye(2) / 3, [3, 9])
    assert np.array_equal(dlinear.alignment(Mine(single), np.eye(2) / 3, [3, 9]).sin2, want.sin2)
    for bad in (single.astype(complex), single > 0, single[:, :1], single.tolist()[:4]):
        with pytest.raises(ShapeError, match="deviations"):
            dlinear.alignment(Mine(bad), np.eye(2) / 3, 3)
        with pytest.raises(ShapeError, match="deviations"):
            dlinear.horizon_gradients(Mine(bad), np.eye(2) / 3, 3)
    for none in (None, single):
        with pytest.raises(ShapeError, match="depth, width and deviations"):
            dlinear.alignment(none, np.eye(2), 3)
    with pytest.raises(DomainError, match="'raise' or 'nan'"):
        dlinear.alignment(Mine(single), np.eye(2), 3, undefined="zero")
    with pytest.raises(NonFiniteError, match="leave the range"):
        dlinear.horizon_gradients(dlinear.DenseNetwork(np.full((30, 2, 2), 1e20)), np.eye(2), 30)


def test_gradients_whose_squares_leave_float64_are_rescaled():
    rng = np.random.default_rng(6)
    deviations = rng.normal(size=(20, 2, 2)) / 20
    phi = rng.normal(size=(2, 2))
    for factor in (1e180, 1e-3):
        error, _ = relative_error(deviations, factor * phi, 11)
        assert error < 1e-12
    shrinking = np.tile((1e-9 - 1) * np.eye(2), (30, 1, 1))
    error, _ = relative_error(shrinking, np.eye(2), 28)
    assert error < 1e-6  # 1e-9 - 1 itself keeps eight digits of the layer


def test_faults_are_named():
    rng = np.random.default_rng(7)
    deviations, phi = rng.normal(size=(20, 2, 2)) / 20, np.eye(2)
    deviations[13, 0, 1] = np.nan  # in a network of somebody else: found when the layers are read
    net = SimpleNamespace(depth=20, width=2, deviations=lambda start, stop: deviations[start:stop])
    with pytest.raises(NonFiniteError, match="layer 13 "):
        dlinear.alignment(net, phi, 5)
    with pytest.raises(NonFiniteError, match="products leave the range"):
        dlinear.alignment(dlinear.DenseNetwork(np.full((400, 2, 2), 1e3)), phi, 5)
    good = dlinear.GaussianNetwork(depth=20, width=2)
    for bad in (0, 21, 1.5, [3, 25], [], "all horizons"):
        with pytest.raises(HorizonError, match=r"1\.\.20"):
            dlinear.alignment(good, phi, bad)
    with pytest.raises(ShapeError, match=r"\(2, 3\)"):
        dlinear.alignment(good, np.ones((2, 3)), 5)


def test_the_naive_formula_would_fail():
    """False twin: 1 - cos^2 in float64 misses the accuracy that the difference form has."""
    rng = np.random.default_rng(8)
    deviations, phi = rng.normal(size=(30, 2, 2)) * 1e-7, rng.normal(size=(2, 2))
    exact = float(reference.alignment_60(deviations, phi, 29))
    naive = reference.sin2(deviations, phi, 29)
    assert abs(naive / exact - 1) > 1e-3
    assert relative_error(deviations, phi, 29)[0] < 1e-12
