"""Networks by chunk: any chunk is the same numbers, ensembles have the law that they state."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dlinear
from dlinear.engine.backends import TorchBackend
from dlinear.engine.options import Engine
from dlinear.errors import DomainError, NonFiniteError, ShapeError
from dlinear.networks.philox import standard_normals

MATRIX = np.array([[0.3, -1.0, 0.2], [0.5, 0.1, 0.0], [-0.7, 0.4, 0.9]])


def path(s):
    return np.cos(s) * MATRIX + s * MATRIX.T


def vector_path(s):
    return np.cos(s)[:, None, None] * MATRIX + s[:, None, None] * MATRIX.T


def ensembles(depth):
    return {
        "dense": dlinear.DenseNetwork(np.random.default_rng(0).normal(size=(depth, 3, 3))),
        "smooth": dlinear.SmoothNetwork(path, depth=depth),
        "vectorized": dlinear.SmoothNetwork(vector_path, depth=depth, vectorized=True),
        "constant": dlinear.ConstantNetwork(MATRIX, depth=depth),
        "gaussian": dlinear.GaussianNetwork(depth=depth, width=3, seed=5),
        "gaussian matrix mean": dlinear.GaussianNetwork(depth=depth, width=3, mean=MATRIX, seed=5),
        "gaussian path mean": dlinear.GaussianNetwork(depth=depth, width=3, mean=path, seed=5),
        "mixed": dlinear.MixedNetwork(path, depth, sigma=0.5, scale="1/sqrt(T)", seed=7),
        "orthogonal": dlinear.OrthogonalNetwork(depth=depth, width=3, seed=5),
    }


@pytest.mark.parametrize("kind", ensembles(1))
@given(data=st.data())
def test_any_chunk_in_any_order_is_the_same_numbers(kind, data):
    depth = 5000
    net = ensembles(depth)[kind]
    start = data.draw(st.integers(0, depth))
    stop = data.draw(st.integers(start, min(depth, start + 40)))
    part = net.deviations(start, stop)
    around = net.deviations(max(0, start - 3), min(depth, stop + 5))
    assert part.shape == (stop - start, 3, 3)
    assert part.dtype == np.float64
    assert np.array_equal(part, around[start - max(0, start - 3) :][: stop - start])


def test_ensembles_state_their_depth_width_and_protocol():
    for net in ensembles(11).values():
        assert (net.depth, net.width) == (11, 3)
        assert isinstance(net, dlinear.Network)
        assert net.deviations(0, 11).shape == (11, 3, 3)


def test_smooth_layers_sample_the_path_at_midpoints():
    net = dlinear.SmoothNetwork(path, depth=8)
    assert np.allclose(net.deviations(3, 4)[0], path(3.5 / 8) / 8, rtol=1e-15)
    vectorized = dlinear.SmoothNetwork(vector_path, depth=8, vectorized=True)
    assert np.allclose(net.deviations(0, 8), vectorized.deviations(0, 8), rtol=1e-15)


@pytest.mark.parametrize(("scale", "power"), [("1/T", 1.0), ("1/sqrt(T)", 0.5)])
@pytest.mark.parametrize("kind", [dlinear.GaussianNetwork, dlinear.OrthogonalNetwork])
def test_random_layers_have_mean_zero_variance_one_over_n_and_no_correlation(kind, scale, power):
    depth, width, sigma = 20_000, 4, 1.5
    net = kind(depth=depth, width=width, scale=scale, sigma=sigma, seed=1)
    xi = net.deviations(0, depth) * depth**power / sigma
    covariance = np.cov(xi.reshape(depth, -1), rowvar=False) * width
    assert np.abs(xi.mean(axis=0)).max() < 5 / np.sqrt(depth * width)
    assert np.abs(covariance - np.eye(width**2)).max() < 6 / np.sqrt(depth)
    neighbours = np.mean(xi[:-1] * xi[1:]) * width
    assert abs(neighbours) < 5 / np.sqrt(depth * width**2)


def test_orthogonal_layers_are_orthogonal_and_haar():
    q = dlinear.OrthogonalNetwork(depth=4000, width=3, sigma=2.0, seed=3).deviations(0, 4000) * 4000 / 2
    assert np.abs(q @ np.swapaxes(q, 1, 2) - np.eye(3)).max() < 1e-12
    trace_square = np.mean(np.trace(q, axis1=1, axis2=2) ** 2)  # 1 for Haar, not so without the sign fix
    assert abs(trace_square - 1) < 5 * np.sqrt(2 / 4000)
    assert abs(np.mean(np.linalg.det(q))) < 5 / np.sqrt(4000)


def test_gaussian_numbers_are_normal_and_streams_differ():
    z = standard_normals(3, 0, 0, 400_000)
    for power, moment, spread in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(np.mean(z**power) - moment) < 5 * np.sqrt(spread / z.size)
    assert abs(np.mean(z[::2] * z[1::2])) < 5 / np.sqrt(z.size / 2)
    assert abs(np.mean(z[::2] ** 2 * z[1::2] ** 2) - 1) < 5 * np.sqrt(8 / (z.size / 2))
    for other in (standard_normals(4, 0, 0, 1000), standard_normals(3, 1, 0, 1000)):
        assert abs(np.corrcoef(z[:1000], other)[0, 1]) < 0.2
    first = np.random.Generator(np.random.Philox(key=np.array([3, 0], dtype=np.uint64))).random(2)
    radius, angle = np.sqrt(-2 * np.log(1 - first[0])), 2 * np.pi * (first[1] - 0.5)
    assert np.allclose(z[:2], [radius * np.cos(angle), radius * np.sin(angle)], rtol=1e-13)


def test_from_weights_and_mean_are_what_they_say():
    weights = np.random.default_rng(0).normal(size=(4, 2, 2))
    assert np.array_equal(dlinear.DenseNetwork.from_weights(weights).deviations(0, 4), weights - np.eye(2))
    plain = dlinear.GaussianNetwork(depth=9, width=3, seed=2).deviations(0, 9)
    moved = dlinear.GaussianNetwork(depth=9, width=3, seed=2, mean=MATRIX).deviations(0, 9)
    assert np.allclose(moved - plain, MATRIX / 9, atol=1e-16)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: dlinear.DenseNetwork(np.zeros((3, 2))), ShapeError, r"\(3, 2\).*\(T, n, n\)"),
        (lambda: dlinear.DenseNetwork(np.zeros((3, 2, 1))), ShapeError, r"\(3, 2, 1\)"),
        (lambda: dlinear.DenseNetwork(np.zeros((0, 2, 2))), ShapeError, "T >= 1"),
        (lambda: dlinear.DenseNetwork(np.zeros((1, 2, 2), dtype=complex)), ShapeError, "complex128"),
        (lambda: dlinear.DenseNetwork(np.array([[[0.0]], [[np.inf]]])), NonFiniteError, "layer 1 "),
        (lambda: dlinear.GaussianNetwork(depth=0, width=3), DomainError, "depth is 0"),
        (lambda: dlinear.GaussianNetwork(depth=3, width=-1), DomainError, "width is -1"),
        (lambda: dlinear.GaussianNetwork(depth=3, width=3, scale="T"), DomainError, "'1/T' or"),
        (
            lambda: dlinear.GaussianNetwork(depth=3, width=3, sigma=-1.0),
            DomainError,
            "sigma = -1.0: allowed is one finite number >= 0",
        ),
        (lambda: dlinear.GaussianNetwork(depth=3, width=3, seed=-1), DomainError, "seed is -1"),
        (lambda: dlinear.GaussianNetwork(depth=3, width=2, mean=MATRIX), ShapeError, "width 3"),
        (lambda: dlinear.SmoothNetwork(lambda s: np.zeros(3), depth=3), ShapeError, r"path\(s\)"),
        (lambda: dlinear.SmoothNetwork(path, depth=3).deviations(1, 4), ShapeError, "1..4"),
    ],
)
def test_bad_networks_say_what_was_received(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_numbers_of_small_types_do_not_wrap_around():
    want = dlinear.GaussianNetwork(10**6, 100, sigma=0.5).deviations(999_999, 10**6)
    got = dlinear.GaussianNetwork(np.int32(10**6), np.int8(100), sigma=np.float32(0.5))
    assert np.array_equal(got.deviations(np.int32(999_999), np.int32(10**6)), want)
    for name, value in (("sigma", None), ("sigma", "1"), ("sigma", 1j), ("depth", 2.0), ("seed", True)):
        knobs = {"depth": 3, "width": 2, name: value}
        with pytest.raises(DomainError, match=name):
            dlinear.GaussianNetwork(**knobs)
    for bad in (None, 1.5):
        with pytest.raises(ShapeError, match="integers"):
            dlinear.GaussianNetwork(5, 2).deviations(0, bad)
    with pytest.raises(ShapeError, match="path"):
        dlinear.SmoothNetwork(3.0, depth=3)
    with pytest.raises(ShapeError, match="ragged"):
        dlinear.DenseNetwork([[[1.0]], [[1.0, 2.0]]])


def test_huge_finite_layers_are_not_called_infinite():
    dlinear.DenseNetwork(np.full((2, 2, 2), 1e308))


def test_given_arrays_are_copied_and_what_is_kept_is_read_only():
    layers, matrix = np.zeros((3, 2, 2)), np.zeros((2, 2))
    dense, constant = dlinear.DenseNetwork(layers), dlinear.ConstantNetwork(matrix, 3)
    layers[:] = matrix[:] = np.nan
    assert not dense.deviations(0, 3).any()
    assert not constant.deviations(0, 3).any()
    with pytest.raises(ValueError, match="read-only"):
        dense.deviations(0, 3)[:] = 1


@pytest.mark.filterwarnings("error")
def test_torch_computes_with_layers_that_are_read_only():
    net, phi = dlinear.DenseNetwork(np.full((5, 2, 2), 0.1)), np.diag([2.0, 3.0])
    torch_engine = Engine(TorchBackend("cpu"))
    found = [dlinear.alignment(net, phi, [3, 4], engine=engine).sin2 for engine in (None, torch_engine)]
    assert np.allclose(*found, rtol=1e-12)
