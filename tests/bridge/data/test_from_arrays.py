"""A user's own arrays as data: checked, copied, with a digest, trained on like the sets of the library."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dlinear.bridge import Training, method, model, train
from dlinear.bridge.data import from_arrays
from dlinear.errors import DomainError, ShapeError

RNG = np.random.default_rng(0)
X, Y, LABELS = RNG.normal(size=(12, 3)), RNG.normal(size=12), np.arange(12) % 4


def test_labels_and_real_targets():
    some = from_arrays(X, LABELS, X[:5].tolist(), LABELS[:5].tolist())
    assert (some.classes, some.y_train.dtype, some.x_train.dtype) == (4, torch.int64, torch.float32)
    assert np.allclose(some.x_test, X[:5])
    assert (some.task.inputs, some.task.outputs) == ((3,), 4)
    real = from_arrays(X, Y, torch.from_numpy(X[:5]), Y[:5], dtype=torch.float64)
    assert (real.classes, tuple(real.y_train.shape), real.y_test.dtype) == (None, (12, 1), torch.float64)
    assert from_arrays(X, LABELS, X, LABELS, classes=7).classes == 7


def test_the_digest_is_of_the_numbers_and_the_arrays_are_copied():
    own = X.astype(np.float32)
    one = from_arrays(own, LABELS, own, LABELS)
    assert one.digest == from_arrays(own.copy(), LABELS, own, LABELS).digest
    own[0, 0] += 1
    assert one.digest != from_arrays(own, LABELS, own, LABELS).digest
    assert float(one.x_train[0, 0]) == pytest.approx(X[0, 0])


def test_it_is_trained_on(tmp_path):
    split = from_arrays(X, LABELS, X, LABELS)
    stack = model("mlp", split.task, seed=0, depth=2, width=4, readout="shared")
    run = train(stack, split, method("horizon-1"), Training(epochs=1, batch_size=6), folder=tmp_path / "run")
    assert run is not None
    assert (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"x_train": "text"}, DomainError, "x_train is 'text'; expected an array"),
        ({"x_train": X[:, 0]}, ShapeError, r"x_train has shape \(12,\)"),
        ({"x_test": X[:, :2]}, ShapeError, r"x_test has shape \(12, 2\).*both parts"),
        ({"y_train": LABELS[:3]}, ShapeError, "12 inputs and 3 targets in the train set"),
        ({"x_train": X * np.inf}, DomainError, "x_train holds numbers that are not finite"),
        ({"y_train": LABELS - 1}, DomainError, "y_train"),
        ({"classes": 2}, DomainError, "y_t"),
        ({"dtype": torch.int64}, DomainError, "floating torch dtype"),
    ],
    ids=[
        "text",
        "one axis",
        "other axes",
        "other count",
        "infinite",
        "negative label",
        "few classes",
        "dtype",
    ],
)
def test_what_is_no_such_data_is_refused_in_one_line(change, error, said):
    words = {"x_train": X, "y_train": LABELS, "x_test": X, "y_test": LABELS, **change}
    with pytest.raises(error, match=said) as caught:
        from_arrays(**words)
    assert "\n" not in str(caught.value)
