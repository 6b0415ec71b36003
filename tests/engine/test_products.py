"""Products in deviation form against loops of plain products."""

from __future__ import annotations

import numpy as np
import pytest
from reference import window

from dlinear.engine import products
from dlinear.engine.products import Chunk


def layers(k, n, size, seed=0):
    return np.random.default_rng(seed).normal(size=(k, n, n)) * size


CASES = [(k, n, size) for k in (0, 1, 2, 3, 5, 8, 9, 16, 17, 30, 101) for n in (1, 3) for size in (0.05, 0.6)]


@pytest.mark.parametrize(("k", "n", "size"), CASES)
def test_every_product_equals_the_loop(k, n, size):
    deviations, start = layers(k, n, size), np.random.default_rng(1).normal(size=(n, n))
    prefix = np.array([window(deviations, 0, t) for t in range(k + 1)])
    suffix = np.array([window(deviations, t, k) for t in range(k + 1)])
    tolerance = 1e-13 * (k + 1) * max(1, np.abs(prefix).max(), np.abs(suffix).max())
    identity, chunk = np.eye(n), Chunk(deviations)
    for name, got, want in (
        ("prefix", chunk.prefix_deviations(), prefix - identity),
        ("suffix", chunk.suffix_deviations(), suffix - identity),
        ("suffix after", chunk.suffix_deviations(start), (identity + start) @ suffix - identity),
        ("states", chunk.states(start), prefix @ start),
        ("costates", chunk.costates(start), np.swapaxes(suffix, 1, 2) @ start),
        ("final", chunk.final_state(start), prefix[-1] @ start),
        ("total deviation", chunk.total_deviation(), prefix[-1] - identity),
        ("both", np.array(chunk.total_both()), np.array([prefix[-1] - identity, prefix[-1]])),
    ):
        assert np.abs(got - want).max() <= tolerance, name


@pytest.mark.parametrize("k", [1, 2, 7, 20, 33])
def test_windows_of_every_length(k):
    deviations = layers(k, 2, 0.3)
    for length in range(k + 1):
        want = np.array([window(deviations, t, t + length) for t in range(k - length + 1)])
        assert np.allclose(products.windows(deviations, length), want, rtol=1e-12, atol=1e-13), length


def test_deviations_keep_the_digits_that_plain_products_lose():
    tiny = np.full((1000, 1, 1), 1e-20)
    assert Chunk(tiny).total_deviation()[0, 0] == pytest.approx(1e-17, rel=1e-13)
    assert Chunk(tiny).suffix_deviations()[999, 0, 0] == 1e-20


@pytest.mark.parametrize("rate", [-0.999, -0.5, -0.02])
def test_contracting_states_keep_their_relative_accuracy(rate):
    k = 60
    deviations = np.full((k, 2, 2), 0.0) + rate * np.eye(2)
    want = (1 + rate) ** np.arange(k + 1)
    assert np.allclose(Chunk(deviations).states(np.eye(2))[:, 0, 0], want, rtol=1e-11)
    assert np.allclose(Chunk(deviations).total_both()[1][1, 1], want[-1], rtol=1e-11)


def test_scanning_a_million_layers_is_as_accurate_as_the_exponential():
    k = 1_000_000
    total = Chunk(np.full((k, 1, 1), 1.0 / k)).prefix_deviations()[-1, 0, 0]
    assert total == pytest.approx(np.expm1(k * np.log1p(1 / k)), rel=1e-14)
