"""Random numbers on a device against numpy's: every word of Philox, the normals, the layers."""

import itertools

import numpy as np
import pytest
import torch

import dlinear
from dlinear.networks.philox import standard_normals
from dlinear.networks.philox_torch import philox, standard_normals_on

LARGE = 2**64 - 1
CUDA = pytest.param(
    "cuda",
    marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here"),
)
DEVICES = ["cpu", CUDA]
MATRIX = np.array([[1.0, -2.0], [0.5, 0.25]])


def path(s):
    return MATRIX * np.cos(s) + s


NETWORKS = [
    dlinear.GaussianNetwork(depth=900, width=3, seed=5),
    dlinear.GaussianNetwork(depth=900, width=2, seed=5, sigma=0.3, scale="1/sqrt(T)", mean=MATRIX),
    dlinear.GaussianNetwork(depth=900, width=2, seed=LARGE, mean=path),
    dlinear.OrthogonalNetwork(depth=900, width=3, seed=5, sigma=0.7),
    dlinear.MixedNetwork(path, depth=900, sigma=2.0, seed=5),
]


def words(value):
    """The four words of a counter, as the int64 of equal bits."""
    return [np.array([value >> 64 * i & LARGE], dtype=np.uint64).view(np.int64)[0] for i in range(4)]


@pytest.mark.parametrize("device", DEVICES)
def test_every_word_is_numpys(device):
    keys = [(0, 0), (1, 0), (0, 1), (7, LARGE), (LARGE, LARGE), (2**63, 2**32 - 1)]
    counters = [0, 1, 2**32 - 2, 2**63 - 3, 2**64 - 3, 2**128 - 2, 3**150, 2**256 - 9]
    count = 5  # so that carries over 2^64 are met
    for key, counter in itertools.product(keys, counters):
        theirs = np.random.Philox(key=np.array(key, dtype=np.uint64), counter=counter).random_raw(4 * count)
        table = np.array([words((counter + 1 + i) % 2**256) for i in range(count)])
        ours = philox(tuple(torch.tensor(column, device=device) for column in table.T.copy()), key)
        assert np.array_equal(torch.stack(ours, dim=1).cpu().numpy().view(np.uint64).ravel(), theirs)


@pytest.mark.parametrize("device", DEVICES)
def test_normals_are_numpys(device):
    cases = [(0, 20_000), (3, 4), (5, 5), (16_381, 16_391), (10**10 + 1, 10**10 + 999)]
    for (start, stop), (seed, stream) in itertools.product(cases, [(11, 1), (LARGE, LARGE)]):
        ours = standard_normals_on(device, seed, stream, start, stop).cpu().numpy()
        theirs = standard_normals(seed, stream, start, stop)
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max(initial=0) < 1e-14


@pytest.mark.parametrize("device", DEVICES)
def test_layers_are_numpys(device):
    for net in NETWORKS:
        tolerance = 30e-14 if isinstance(net, dlinear.OrthogonalNetwork) else 1e-14  # QR of bad Gaussians
        for start, stop in ((0, 900), (17, 18), (899, 900)):
            ours, theirs = net.deviations_on(start, stop, device).cpu().numpy(), net.deviations(start, stop)
            assert np.abs(ours - theirs).max() < tolerance * np.abs(theirs).max()


def test_layers_that_are_not_there_are_refused():
    with pytest.raises(dlinear.errors.ShapeError, match="7\\.\\.11"):
        dlinear.GaussianNetwork(depth=10, width=2).deviations_on(7, 11, "cpu")
