"""Gradients that vanish: named in rounded data on every path; angles just above the threshold are right."""

from __future__ import annotations

import math

import numpy as np
import pytest
import reference
from strategies import KINDS, build_case

import dlinear
from dlinear.engine import vanishing
from dlinear.engine.angle import InnerProducts, profile_of
from dlinear.engine.backends import NumpyBackend, TorchBackend
from dlinear.engine.options import Engine
from dlinear.engine.parallel.threads import Threads

SINGLE = NumpyBackend("float32")
PATHS = {
    "in memory": Engine(),
    "streaming": Engine(chunk_numbers=40, memory=1),
    "a layer a chunk": Engine(chunk_numbers=9),
    "threads": Engine(team=Threads(2), chunk_numbers=50),
    "torch": Engine(TorchBackend("cpu")),
    "float32": Engine(SINGLE),
    "float32, streaming": Engine(SINGLE, chunk_numbers=40, memory=1),
    "torch float32": Engine(TorchBackend("cpu", "float32")),
}
ALL = {"products": math.inf, "FFT": 0.0}


def singular(seed, depth, n, m, action=1.0, spread=0.0, c=1.0):
    """Layers and Phi, rotated at random, with g_h = 0 exactly before rounding; g_T too for action 0.

    Layer 1 projects q away, the others up to T - m - 1 act beside it, then I, and W(T-1) = I + q a^T. So
    (W_1^s)^T q = 0 for s in h..T-1 and A = W_1^{T-1}; W(0) removes v ~ A^T a. With Phi = P_T + q v^T every
    (P_s - Phi) P_t^T, t > 0, vanishes and g_T(0) = -|A^T a| v v^T, g_h(0) = 0. `spread` is a relative change
    of all entries, which takes g_h away from 0.
    """
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(n, n)))[0]
    layers = np.zeros((depth, n, n))
    between = max(0, depth - m - 2)
    layers[2 : depth - m, :-1, :-1] = rng.normal(size=(between, n - 1, n - 1)) * c / depth
    layers[1, -1, -1] = -1
    a = action * np.append(rng.normal(size=n - 1), 0)
    v = reference.window(layers, 1, depth - 1).T @ a if action else rng.normal(size=n)
    v /= np.linalg.norm(v)
    layers[0] = -np.outer(v, v)
    layers[-1, -1] = a
    q, v, layers = turn[:, -1], turn @ v, turn @ layers @ turn.T
    layers *= 1 + spread * rng.normal(size=layers.shape)
    return layers, reference.state(layers, depth) + np.outer(q, v)


SHAPES = [(3, 2, 1), (8, 3, 1), (8, 3, 5), (40, 3, 2), (40, 4, 19), (40, 3, 30)]  # (T, n, m): near and far


@pytest.mark.parametrize("name", PATHS)
def test_a_rotated_singular_network_has_no_angle(name):
    for seed, (depth, n, m) in enumerate(SHAPES):
        layers, phi = singular(seed, depth, n, m)
        net = dlinear.DenseNetwork(layers)
        profile = dlinear.alignment(net, phi, [depth - m, depth], undefined="nan", engine=PATHS[name])
        assert profile.undefined == ("g_h = 0", ""), (depth, n, m)
        if "32" not in name:  # g_T is small as well, so that rounding is larger against it
            layers, phi = singular(seed, depth, n, m, action=1e-4, c=5)
            net = dlinear.DenseNetwork(layers)
            profile = dlinear.alignment(net, phi, [depth - m], undefined="nan", engine=PATHS[name])
            assert profile.undefined == ("g_h = 0",), (depth, n, m)
        layers, phi = singular(seed, depth, n, m, action=0)
        profile = dlinear.alignment(
            dlinear.DenseNetwork(layers), phi, [depth - m], undefined="nan", engine=PATHS[name]
        )
        assert profile.undefined[0] in ("g_T = 0", "g_h = 0")


@pytest.mark.parametrize("name", ALL)
def test_a_rotated_singular_network_has_no_angle_among_all_horizons(name):
    for seed, (depth, n, m) in enumerate(SHAPES):
        layers, phi = singular(seed, depth, n, m)
        how = Engine(chunk_numbers=5 * n * n, fft_from=ALL[name])
        net = dlinear.DenseNetwork(layers)
        profile = dlinear.alignment(net, phi, "all", undefined="nan", engine=how)
        assert profile.undefined[depth - m - 1] == "g_h = 0"
        defined = np.array([not reason for reason in profile.undefined])
        assert defined.any() or depth == 3
        assert ((profile.sin2[defined] >= 0) & (profile.sin2[defined] <= 1)).all()


@pytest.mark.parametrize("spread", [1e-11, 1e-9, 1e-6])
def test_just_above_the_threshold_the_angle_is_right(spread):
    """Digits are lost as ||g_h|| falls below ||g_T||, and no more of them than that."""
    for seed, (depth, n, m) in enumerate(SHAPES):
        layers, phi = singular(seed, depth, n, m, spread=spread)
        exact = float(reference.alignment_60(layers, phi, depth - m))
        for name, how in PATHS.items():
            if "32" in name:
                continue
            profile = dlinear.alignment(dlinear.DenseNetwork(layers), phi, depth - m, engine=how)
            assert abs(profile.sin2[0] / exact - 1) <= 1e-14 / profile.norm_ratio[0], (depth, n, m, name)
            assert profile.sin2[0] + profile.cos[0] ** 2 == pytest.approx(1, abs=1e-12)


def test_exact_zeros_in_the_layers_leave_small_gradients_defined():
    """Diagonal layers have no rounding to amplify: g_h or g_T is small, not zero."""
    layers = np.tile(np.diag([0.0, -0.99]), (6, 1, 1))
    layers[0, 0, 0] = -1.0
    profile = dlinear.alignment(dlinear.DenseNetwork(layers), np.diag([0.0, 5.0]), [3])
    exact = float(reference.alignment_60(layers, np.diag([0.0, 5.0]), 3))
    assert profile.sin2[0] == pytest.approx(exact, rel=1e-12)
    phi = np.diag([1.0, 5.0])
    contracting = np.tile(-0.999 * np.eye(2), (5, 1, 1))
    profile = dlinear.alignment(dlinear.DenseNetwork(contracting), phi, [2])
    assert profile.undefined == ("",)
    exact = float(reference.alignment_60(contracting, phi, 2))
    assert profile.sin2[0] == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("name", [*PATHS, *ALL])
def test_every_defined_angle_is_one(name):
    """0 <= sin^2 <= 1 and sin^2 + cos^2 = 1, whatever network, target, horizon and path."""
    how = PATHS.get(name) or Engine(chunk_numbers=40, fft_from=ALL[name])
    seen = 0
    for seed, kind in enumerate(KINDS):
        for phi_kind in ("random", "identity", "near", "zero"):
            case = build_case(seed, 14, 1 + seed % 3, (1e-7, 0.5, 3.0, 12.0)[seed % 4], kind, phi_kind)
            asked = "all" if name in ALL else [1, 6, 8, 13, 14]
            net = dlinear.DenseNetwork(case.deviations)
            profile = dlinear.alignment(net, case.phi, asked, undefined="nan", engine=how)
            defined = np.array([not reason for reason in profile.undefined])
            seen += defined.sum()
            sin2, cos = profile.sin2[defined], profile.cos[defined]
            assert ((sin2 >= 0) & (sin2 <= 1) & (np.abs(cos) <= 1)).all(), (kind, phi_kind)
            assert np.allclose(sin2 + cos**2, 1, rtol=0, atol=1e-10), (kind, phi_kind)
    assert seen > 100


def products(ratio, angle, **more):
    """Inner products of g_T of length 1 and g_h of length `ratio` at `angle` to it."""
    along, across = ratio * math.cos(angle), ratio * math.sin(angle)
    return InnerProducts(1.0, 1.0, along - 1, (along - 1) ** 2 + across**2, **more)


def reason(sums, eps, depth=4):
    return profile_of(depth, np.array([depth - 1]), {1: sums}, eps, "nan").undefined[0]


def test_the_threshold_of_vectors_that_were_rounded():
    """||g_h|| <= 64 eps sqrt(T) ||g_T||, both sides, for single precision summed in double."""
    eps = float(np.finfo(np.float32).eps)
    limit = 64 * eps * 2  # T = 4
    for ratio, expected in ((0.9 * limit, "g_h = 0"), (1.1 * limit, "")):
        for angle in (0.1, 1.0, 2.0):
            assert reason(products(ratio, angle), eps) == expected
            parts = {"parted": (ratio * math.sin(angle)) ** 2, "direct": ratio * math.cos(angle)}
            assert reason(products(ratio, angle, **parts), eps) == expected


def test_the_threshold_of_squares_that_were_subtracted():
    """Without the vectors ||g_h||^2 is a difference of squares: no angle below 64 eps of them."""
    eps = float(np.finfo(np.float64).eps)
    limit = math.sqrt(64 * eps)
    for angle in (0.3, 1.2, 3.0):
        assert reason(products(0.8 * limit, angle), eps) == "g_h = 0"
        for ratio in (1.2 * limit, 10 * limit, 0.5, 3.0):
            profile = profile_of(4, np.array([3]), {1: products(ratio, angle)}, eps, "nan")
            assert profile.undefined == ("",)
            assert 0 <= profile.sin2[0] <= 1
            assert profile.sin2[0] + profile.cos[0] ** 2 == pytest.approx(1, abs=1e-12)
    exact = products(1e-12, 1.0, parted=(1e-12 * math.sin(1.0)) ** 2, direct=1e-12 * math.cos(1.0))
    profile = profile_of(4, np.array([3]), {1: exact}, eps, "nan")
    assert profile.sin2[0] == pytest.approx(math.sin(1.0) ** 2, rel=1e-12)


@pytest.mark.parametrize(("constant", "value"), [("MARGIN", 0.0), ("MARGIN", 1e9), ("SMALL", 1.0)])
def test_other_constants_would_fail(constant, value, monkeypatch):
    """False twins: no margin or no examination report noise as an angle, a huge margin refuses a good one."""
    layers, phi = singular(3, 40, 3, 2, action=1e-4, spread=1e-11 if value == 1e9 else 0.0)
    right = dlinear.alignment(dlinear.DenseNetwork(layers), phi, 38, undefined="nan").undefined
    monkeypatch.setattr(vanishing, constant, value)
    wrong = dlinear.alignment(dlinear.DenseNetwork(layers), phi, 38, undefined="nan").undefined
    assert (right, wrong) == ((("",), ("g_h = 0",)) if value == 1e9 else (("g_h = 0",), ("",)))


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_bridge_names_it_too(precision):
    """The same layers as a torch model: no noise as an angle, and right angles above the threshold."""
    torch = pytest.importorskip("torch")
    from dlinear.bridge import alignment

    dtype = getattr(torch, precision)
    for seed, (depth, n, m) in enumerate(SHAPES[:4]):
        for spread in (0.0, 0.01):
            layers, phi = singular(seed, depth, n, m, spread=spread)
            blocks = [torch.nn.Linear(n, n, bias=False, dtype=dtype) for _ in range(depth)]
            for block, layer in zip(blocks, layers, strict=True):
                block.weight.data = torch.as_tensor(np.eye(n) + layer, dtype=dtype)
            x, target = torch.eye(n, dtype=dtype), torch.as_tensor(phi.T, dtype=dtype)
            profile = alignment(
                blocks, x, lambda z, y=target: 0.5 * (z - y).square().sum(), [depth - m], undefined="nan"
            )
            if not spread:
                assert profile.undefined == ("g_h = 0",), (depth, m)
                continue
            exact = float(reference.alignment_60(layers, phi, depth - m))
            assert profile.sin2[0] == pytest.approx(exact, rel=1e-3)
            assert profile.sin2[0] + profile.cos[0] ** 2 == pytest.approx(1, abs=1e-10)
