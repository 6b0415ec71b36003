"""All horizons at once against each by itself: each way to sum blocks, its error bound, the guard, memory."""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import reference
from strategies import KINDS, build_case

import dlinear
from dlinear.engine.all_horizons import fft_blocks, pair_blocks, triangle
from dlinear.engine.all_horizons.pair_blocks import Ends, Starts
from dlinear.engine.backends import TorchBackend
from dlinear.engine.crosscheck import check_against_direct
from dlinear.engine.options import Engine
from dlinear.engine.parallel.threads import Threads
from dlinear.engine.single_horizon.in_memory import inner_products_in_memory
from dlinear.engine.single_horizon.streaming import near_inner_products
from dlinear.errors import HorizonError, UndefinedAngleError


def engine(tile=1024, width=3, **knobs):
    """Tiles of so many layers."""
    return Engine(chunk_numbers=tile * width**2, **knobs)


def gaussian(seed, depth, width, c=1.0):
    rng = np.random.default_rng(seed)
    layers = rng.normal(size=(depth, width, width)) * c / depth
    return dlinear.DenseNetwork(layers), rng.normal(size=(width, width))


def worst(got, want):
    """Largest relative difference of sin^2; cos and the ratio of norms must agree too."""
    assert got.horizons.tolist() == want.horizons.tolist()
    assert got.undefined == want.undefined
    assert np.allclose(got.cos, want.cos, rtol=1e-10, atol=1e-15, equal_nan=True)
    assert np.allclose(got.norm_ratio, want.norm_ratio, rtol=1e-10, atol=0, equal_nan=True)
    defined = (want.sin2 > 0) | (got.sin2 > 0)
    return np.abs(got.sin2[defined] / want.sin2[defined] - 1).max(initial=0.0)


DIRECT, FFT = {"fft_from": math.inf}, {"fft_from": 8}


@pytest.mark.parametrize("knobs", [DIRECT, FFT], ids=["direct", "FFT"])
@pytest.mark.parametrize("depth", [2, 3, 4, 5, 16, 17, 32, 33, 61, 128])
def test_equals_each_horizon_by_itself(depth, knobs, monkeypatch):
    monkeypatch.setattr(pair_blocks, "_BY_PRODUCTS", 4)  # channels in short blocks too
    for seed, (c, kind) in enumerate(
        [(1.0, "dense"), (1e-7, "dense"), (0.7, "cumulative"), (1.0, "orthogonal")]
    ):
        case = build_case(seed, depth, 3, c, kind)
        net = dlinear.DenseNetwork(case.deviations)
        want = dlinear.alignment(net, case.phi, range(1, depth), undefined="nan")
        for tile in (7, 16, 1024) if depth > 20 else (1, 7, 1024):
            got = dlinear.alignment(net, case.phi, "all", undefined="nan", engine=engine(tile, **knobs))
            assert worst(got, want) < 1e-10, (kind, c, tile)


def test_each_sum_is_that_of_the_horizon_by_itself():
    net, phi = gaussian(2, 50, 3)
    found = triangle.all_inner_products(net, phi, engine(8))
    want = near_inner_products(net, phi, list(range(1, 26)), Engine()) | inner_products_in_memory(
        net, phi, list(range(26, 50)), Engine()
    )
    assert found.keys() == want.keys()
    for m, sums in want.items():
        for name in ("true", "rest", "cross", "square"):
            assert getattr(found[m], name) == pytest.approx(getattr(sums, name), rel=1e-11), (m, name)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_network(kind, monkeypatch):
    monkeypatch.setattr(pair_blocks, "_BY_PRODUCTS", 4)
    for seed, phi_kind in enumerate(["random", "near", "identity", "zero"]):
        case = build_case(seed, 45, 1 + seed, 2.0, kind, phi_kind)
        net = dlinear.DenseNetwork(case.deviations)
        want = dlinear.alignment(net, case.phi, range(1, 45), undefined="nan")
        for knobs in (DIRECT, FFT):
            got = dlinear.alignment(
                net, case.phi, "all", undefined="nan", engine=engine(9, case.width, **knobs)
            )
            assert worst(got, want) < 1e-10, (phi_kind, knobs)


def test_sixty_digits():
    case = build_case(5, 20, 3, 1e-6, "dense")
    net = dlinear.DenseNetwork(case.deviations)
    got = dlinear.alignment(net, case.phi, "all", engine=engine(6, fft_from=4)).sin2
    exact = [float(reference.alignment_60(case.deviations, case.phi, h)) for h in range(1, 20)]
    assert np.abs(got / exact - 1).max() < 1e-10


ENGINES = {
    "small tiles": engine(4, 4),
    "threads": engine(37, 4, team=Threads(2), fft_from=60),
    "little memory": engine(16, 4, memory=20_000, fft_from=30),
    "torch": engine(64, 4, backend=TorchBackend("cpu")),
    "default": Engine(),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES)
def test_how_the_work_is_done_changes_nothing(name):
    net, phi = gaussian(1, 300, 4)
    want = dlinear.alignment(net, phi, range(1, 300))
    assert worst(dlinear.alignment(net, phi, "all", engine=ENGINES[name]), want) < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["smooth", "rough", "Brownian"])
def test_fft_against_direct(kind, capsys):
    rng = np.random.default_rng(3)
    a, b, phi = rng.normal(size=(3, 4, 4)) / 2
    net = {
        "smooth": dlinear.SmoothNetwork(lambda s: a + math.sin(5 * s) * b, 3000),
        "rough": dlinear.GaussianNetwork(depth=3000, width=4, seed=1),
        "Brownian": dlinear.GaussianNetwork(depth=3000, width=4, seed=1, scale="1/sqrt(T)"),
    }[kind]
    by_fft = dlinear.alignment(net, phi, "all", engine=engine(128, 4, fft_from=200))
    direct = dlinear.alignment(net, phi, "all", engine=engine(1024, 4, fft_from=math.inf))
    error = worst(by_fft, direct)
    sample = check_against_direct(net, phi, by_fft)
    with capsys.disabled():
        print(
            f"\nall horizons, {kind}, T = 3000: FFT against direct {error:.1e}, "
            f"against {len(sample.horizons)} horizons by themselves {sample.worst:.1e}"
        )
    assert error < 1e-8
    assert len(sample.horizons) >= 12
    assert sample.worst < 1e-8


def test_wide_networks_go_by_products():
    net, phi = gaussian(4, 120, pair_blocks._WIDE + 2)
    want = dlinear.alignment(net, phi, range(1, 120))
    assert worst(dlinear.alignment(net, phi, "all"), want) < 1e-10


@pytest.mark.parametrize("tiles", [1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize("fft_from", [0, 9, math.inf])
def test_blocks_hold_every_pair_of_tiles_once(tiles, fft_from):
    edges = [*range(0, 5 * tiles, 5), 5 * tiles - 2]
    seen = np.zeros((edges[-1], edges[-1]), dtype=int)
    for block in triangle.blocks(edges, fft_from):
        assert block.starts[1] <= block.split <= block.ends[0]
        assert {*block.starts, block.split, *block.ends} <= set(edges)
        seen[slice(*block.starts), slice(*block.ends)] += 1
    t = np.arange(edges[-1]) // 5
    assert (seen == (t[:, None] < t)).all()


def random_block(seed, n, starts, ends, spread=1.0):
    """Starts and ends with factors about I; `spread` is the ratio of their singular values."""
    rng = np.random.default_rng(seed)
    squeeze = np.diag(np.geomspace(1, 1 / spread, n))

    def factors(k):
        return (np.eye(n) + rng.normal(size=(k, n, n)) / (4 * n)) @ squeeze

    gradients, terms = rng.normal(size=(starts, n, n)), rng.normal(size=(ends, n, n))
    decay = np.arange(ends, 0, -1)[:, None, None] / ends
    return Starts(2, factors(starts), factors(starts), gradients), Ends.of(starts + 5, terms * decay)


def exact_diagonals(starts, ends):
    """<delta, g_T> and ||delta||^2 by s - t, pair by pair in extended precision."""
    out = np.zeros((2, len(starts) + len(ends) - 1), dtype=np.longdouble)
    wide = [x.astype(np.longdouble) for x in (starts.left, starts.states, starts.gradients, ends.terms)]
    for t in range(len(starts)):
        for s in range(len(ends)):
            delta = -wide[0][t] @ wide[3][..., s] @ wide[1][t].T
            out[:, s - t + len(starts) - 1] += (delta * wide[2][t]).sum(), (delta * delta).sum()
    return out


@pytest.mark.parametrize("spread", [1.0, 1e3])
@pytest.mark.parametrize("way", ["channels", "FFT", "products"])
def test_sums_of_a_block_lie_within_their_error_bounds(way, spread, monkeypatch):
    monkeypatch.setattr(pair_blocks, "_BY_PRODUCTS", 0)
    for seed, (n, k, m) in enumerate([(3, 30, 17), (2, 5, 40), (1, 9, 9), (4, 1, 1)]):
        starts, ends = random_block(seed, n, k, m, spread)
        if way == "FFT":
            block = fft_blocks.Channels.empty(ends.first - starts.first, n, k, m)
            assert block.put_starts(0, starts)
            assert block.put_ends(0, ends)
            got = fft_blocks.by_fft(block, Threads())
        else:
            got = pair_blocks.by_pairs(starts, ends, channels=way == "channels")
        cross, square = exact_diagonals(starts, ends)
        assert got.first == ends.first - (starts.first + k - 1)
        allowance = 1e-14 if way == "products" else 0.0
        assert (np.abs(got.cross - cross) <= got.cross_error + allowance * np.abs(cross).max()).all()
        assert (np.abs(got.square - square) <= got.square_error + allowance * square).all()


def test_an_index_off_by_one_would_fail(monkeypatch):
    """False twins: diagonals shifted by one place, in each way to sum them."""
    net, phi = gaussian(6, 200, 3)
    want = dlinear.alignment(net, phi, range(1, 200))
    fft, direct = engine(25, fft_from=30), engine(25, fft_from=math.inf)
    monkeypatch.setattr(triangle, "by_fft", shifted(fft_blocks.by_fft))
    assert worst_sin2(net, phi, fft, want) > 1e-6
    assert worst_sin2(net, phi, direct, want) < 1e-10
    monkeypatch.setattr(triangle, "by_pairs", shifted(pair_blocks.by_pairs))
    assert worst_sin2(net, phi, direct, want) > 1e-6


def shifted(function):
    def twin(*args):
        sums = function(*args)
        for values in (sums.cross, sums.square):
            values[:] = np.roll(values, 1)
        return sums

    return twin


def worst_sin2(net, phi, how, want):
    return np.abs(dlinear.alignment(net, phi, "all", engine=how).sin2 / want.sin2 - 1).max()


def test_the_guard_finds_what_the_largest_sum_drowns(monkeypatch):
    """Layers that fade away: within a shell of shortfalls ||delta||^2 spans 20 decades, FFT gives 15."""
    rng = np.random.default_rng(7)
    fading = 10.0 ** -np.linspace(0, 30, 240)[:, None, None]
    net, phi = dlinear.DenseNetwork(rng.normal(size=(240, 3, 3)) * fading / 10), rng.normal(size=(3, 3))
    want = dlinear.alignment(net, phi, range(1, 240))
    how = engine(8, fft_from=0)
    assert worst_sin2(net, phi, how, want) < 1e-10
    monkeypatch.setattr(triangle, "TOLERANCE", math.inf)
    assert worst_sin2(net, phi, how, want) > 1e-3, "without the guard"


def test_the_guard_finds_channels_that_cancel(monkeypatch):
    """A layer before the split stops the direction that the last layers act in: |L^T Z| << |L| |Z|."""
    monkeypatch.setattr(pair_blocks, "_BY_PRODUCTS", 0)
    rng = np.random.default_rng(8)
    layers = 1e-6 * rng.normal(size=(64, 2, 2))
    turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    layers[20] = -turn @ np.diag([0.0, 1.0]) @ turn.T
    layers[48:] += turn @ np.diag([0.0, 0.1]) @ turn.T
    net, phi = dlinear.DenseNetwork(layers), rng.normal(size=(2, 2))
    want = dlinear.alignment(net, phi, range(1, 64))
    exact = [float(reference.alignment_60(layers, phi, horizon)) for horizon in want.horizons]
    want = replace(want, sin2=np.array(exact))  # both ways stay within 1e-10 of it, not of each other
    how = engine(16, 2, fft_from=math.inf)
    assert worst_sin2(net, phi, how, want) < 1e-10
    monkeypatch.setattr(triangle, "TOLERANCE", math.inf)
    assert worst_sin2(net, phi, how, want) > 1e-8, "without the guard"


def test_products_that_leave_float64_in_channels_do_not_in_sin2(monkeypatch):
    monkeypatch.setattr(pair_blocks, "_BY_PRODUCTS", 4)
    rng = np.random.default_rng(9)
    weights = 0.05 * (np.eye(2) + 0.1 * rng.normal(size=(60, 2, 2)))
    net, phi = dlinear.DenseNetwork.from_weights(weights), rng.normal(size=(2, 2))
    want = dlinear.alignment(net, phi, range(1, 60))
    for knobs in (DIRECT, FFT):
        got = dlinear.alignment(net, phi, "all", engine=engine(6, 2, **knobs))
        assert worst(got, want) < 1e-10


def test_undefined_cases_have_their_names():
    zero = dlinear.DenseNetwork(np.zeros((6, 2, 2)))
    with pytest.raises(UndefinedAngleError, match="horizon 1: g_T = 0"):
        dlinear.alignment(zero, np.eye(2), "all")
    profile = dlinear.alignment(zero, np.eye(2), "all", undefined="nan")
    assert profile.undefined == ("g_T = 0",) * 5
    weights = np.array([np.diag([1.0, 0.0]), np.diag([1.0, 0.0]), [[1.0, 0.0], [1.0, 1.0]]])
    net, phi = dlinear.DenseNetwork.from_weights(weights), np.array([[1.0, 0.0], [1.0, 1.0]])
    profile = dlinear.alignment(net, phi, "all", undefined="nan")
    assert profile.undefined == dlinear.alignment(net, phi, [1, 2], undefined="nan").undefined
    assert profile.undefined[1] == "g_h = 0"


def test_one_layer_has_no_shorter_horizon():
    with pytest.raises(HorizonError, match=r"1\.\.1"):
        dlinear.alignment(*gaussian(0, 1, 2), "all")


@pytest.mark.slow
def test_memory_keeps_to_its_budget():
    """FarInMemory below all pairs (T^2 numbers) and all channels (T n^2 (n + 1)^2 / 4)."""
    depth, width = 6000, 4
    net, phi = dlinear.GaussianNetwork(depth=depth, width=width, seed=1), np.eye(width)
    peaks = []
    for memory in (1 << 30, 1 << 30, 1 << 20):  # the first call also imports
        tracemalloc.start()
        dlinear.alignment(net, phi, "all", engine=engine(256, width, memory=memory, fft_from=500))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 8e6
    assert peaks[2] < (1 << 20) + 1000 * depth  # the budget, and what every horizon needs


def test_the_sampled_check_sees_an_error():
    net, phi = gaussian(10, 100, 2)
    profile = dlinear.alignment(net, phi, "all")
    found = check_against_direct(net, phi, profile)
    assert {99, 1} <= set(found.horizons.tolist())
    assert found.worst < 1e-10
    profile.sin2[-1] *= 1 + 1e-6
    assert check_against_direct(net, phi, profile).worst == pytest.approx(1e-6, rel=1e-3)
