"""Whitened data as a split."""

from __future__ import annotations

import numpy as np
import pytest

from dlinear.bridge.data.whitened import whitened
from dlinear.errors import DataError


@pytest.mark.parametrize("name", ["linear", "digits"])
def test_whitened_split_is_white_and_its_loss_is_that_of_phi(name):
    split = whitened(name, 60, 5)
    x, y = split.x_train.numpy(), split.y_train.numpy()
    assert np.allclose(x.T @ x / 60, np.eye(5), atol=1e-12)
    p = np.random.default_rng(0).normal(size=(5, 5))
    phi = y.T @ x / 60
    gap = 2 * (np.mean((x @ p.T - y) ** 2) - np.mean(y**2)) * 5 / 2
    assert gap == pytest.approx(np.sum((p - phi) ** 2) - np.sum(phi**2), rel=1e-10)
    assert split.digest == whitened(name, 60, 5).digest != whitened(name, 61, 5).digest
    assert split.classes is None


def test_whitened_digits_are_balanced():
    split = whitened("digits", 50, 10)
    kinds, counts = np.unique(split.y_train.numpy(), axis=0, return_counts=True)
    assert len(kinds) == 10
    assert (counts == 5).all()


def test_unknown_data():
    with pytest.raises(DataError, match="unknown data 'nothing'"):
        whitened("nothing", 10, 3)
