from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlinear.data import datasets
from dlinear.data.tasks import TaskName, load_task, random_task, whitened_task
from dlinear.errors import DataError, DomainError, NonFiniteError, ShapeError


def data(seed, samples, features, spread=1.0):
    """Correlated, uncentred inputs with singular values from 1 down to `spread`."""
    rng = np.random.default_rng(seed)
    scales = np.geomspace(1.0, spread, features)
    return (
        (rng.normal(size=(samples, features)) + 0.5) @ np.diag(scales) @ rng.normal(size=(features, features))
    )


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000), width=st.integers(1, 6), extra=st.integers(0, 5), columns=st.integers(1, 9)
)
def test_whitened_and_loss_identity(seed, width, extra, columns):
    rng = np.random.default_rng(seed)
    x, y = data(seed, 40, width + extra, 1e-3), rng.normal(size=(40, columns))
    task = whitened_task(x, y, width)
    assert np.abs(task.x.T @ task.x / 40 - np.eye(width)).max() < 1e-13
    assert np.allclose(task.phi, task.y.T @ task.x / 40, atol=1e-15)
    for _ in range(3):
        p = rng.normal(size=(width, width))
        loss = 0.5 * np.mean(np.sum((task.x @ p.T - task.y) ** 2, axis=1))
        assert loss == pytest.approx(0.5 * np.sum((p - task.phi) ** 2) + task.offset, rel=1e-12)


def test_projection_is_on_the_leading_singular_vectors():
    x = data(3, 60, 7, 1e-2)
    white = whitened_task(x, np.ones(60), 4).x
    u, _, vt = np.linalg.svd(x, full_matrices=False)
    for j in range(4):
        sign = np.sign(vt[j][np.abs(vt[j]).argmax()])
        assert np.allclose(white[:, j], sign * u[:, j] * 60**0.5, atol=1e-9)


def test_blockwise_factor_is_the_whole_one():
    x = data(5, 1000, 3)  # many blocks of 4 * 3 rows
    u = np.linalg.svd(x, full_matrices=False)[0]
    white = whitened_task(x, np.ones(1000), 3).x / 1000**0.5
    assert np.allclose(white @ white.T, u @ u.T, atol=1e-12)


def test_whitening_survives_bad_conditioning_and_scale():
    x = data(7, 200, 8, 1e-9) * 1e200
    white = whitened_task(x, np.ones(200), 8).x
    assert np.abs(white.T @ white / 200 - np.eye(8)).max() < 1e-13


def test_labels_become_one_hot_in_sorted_order():
    x, labels = data(1, 30, 5), np.arange(30) % 3 * 7
    task = whitened_task(x, labels, 5)
    assert np.array_equal(task.y[:, :3], np.eye(3)[np.arange(30) % 3])
    assert not task.y[:, 3:].any()
    assert np.array_equal(task.phi, whitened_task(x, task.y[:, :3], 5).phi)


def test_real_targets_of_one_dimension_are_not_labels():
    x = data(1, 30, 5)
    task = whitened_task(x, np.arange(30.0), 5)
    assert np.array_equal(task.y[:, 0], np.arange(30.0))


def test_more_targets_than_width_lose_nothing():
    """The gradient with respect to any map of full output size has the same norm in the reduced task."""
    rng = np.random.default_rng(4)
    x, y = data(4, 50, 6), rng.normal(size=(50, 11))
    task = whitened_task(x, y, 3)
    phi = y.T @ task.x / 50
    assert np.allclose(np.linalg.svd(task.phi)[1], np.linalg.svd(phi)[1], rtol=1e-12)
    assert np.allclose(task.phi.T @ task.phi, phi.T @ phi, rtol=1e-12)


def test_integer_images_are_flattened():
    images = np.random.default_rng(0).integers(0, 256, size=(40, 4, 4), dtype=np.uint8)
    task = whitened_task(images, np.arange(40) % 4, 4)
    assert np.array_equal(task.x, whitened_task(images.reshape(40, 16).astype(float), np.arange(40) % 4, 4).x)


def test_deterministic_and_scale_free():
    x, y = data(2, 50, 6), np.arange(50) % 5
    a, b = whitened_task(x, y, 4), whitened_task(x.copy(), y, 4)
    assert np.array_equal(a.phi, b.phi)
    assert np.array_equal(a.x, whitened_task(4.0 * x, y, 4).x)


GOOD = data(0, 20, 5)


@pytest.mark.parametrize(
    ("x", "y", "width", "error", "words"),
    [
        (np.where(np.arange(20)[:, None] == 7, np.nan, GOOD), np.ones(20), 3, NonFiniteError, "x .*row 7"),
        (GOOD, np.where(np.arange(20) == 3, np.inf, 1.0), 3, NonFiniteError, "y .*row 3"),
        (GOOD[:, [0, 0, 1, 1, 1]], np.ones(20), 3, DomainError, "numerical rank 2"),
        (np.zeros((20, 5)), np.ones(20), 3, DomainError, "numerical rank 0"),
        (GOOD[:2], np.ones(2), 3, ShapeError, "at least 3 samples"),
        (GOOD[:, :2], np.ones(20), 3, ShapeError, "3 features"),
        (GOOD, np.ones(19), 3, ShapeError, "20 samples but y has 19"),
        (np.empty((0, 5)), np.empty(0), 3, ShapeError, "empty"),
        (GOOD, np.empty((20, 0)), 3, ShapeError, "y is empty"),
        (GOOD[:, 0], np.ones(20), 1, ShapeError, r"\(N, d\)"),
        (GOOD, np.ones((20, 1, 1)), 3, ShapeError, r"\(N, k\)"),
        (GOOD.astype(str), np.ones(20), 3, ShapeError, "real numbers"),
        (GOOD, np.ones(20), 0, DomainError, "width is 0; expected an integer >= 1"),
        (GOOD, np.ones(20), True, DomainError, "width is True; expected an integer >= 1"),
        (GOOD, np.ones(20), 2.5, DomainError, "2.5"),
    ],
)
def test_bad_data_is_refused_in_one_line(x, y, width, error, words):
    with pytest.raises(error, match=words) as caught:
        whitened_task(x, y, width)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["linear", "trigonometric"])
def test_random_task(kind):
    task = random_task(6, 3, kind=kind, samples=500)
    assert task.phi.shape == (6, 6)
    assert task.x.shape == (500, 6)
    assert np.abs(task.x.T @ task.x / 500 - np.eye(6)).max() < 1e-13
    assert np.array_equal(task.phi, random_task(6, 3, kind=kind, samples=500).phi)
    assert not np.array_equal(task.phi, random_task(6, 4, kind=kind, samples=500).phi)


def test_linear_task_is_noise_free_and_scaled_as_read():
    """y = W_0 x exactly, so the least loss is 0; the variance reading is n^{1/4} times larger twice."""
    a, b = random_task(9, 1, samples=400), random_task(9, 1, samples=400, reading="variance")
    assert abs(a.offset) < 1e-14
    assert np.allclose(b.phi, 3.0 * a.phi, rtol=1e-12)
    assert np.sum(a.phi**2) == pytest.approx(
        1.0, rel=0.4
    )  # n^2 entries of W_0 of variance 1/n, x of variance 1/n


def test_trigonometric_targets_have_the_printed_columns():
    """Mean squares of (1 + eps) cos and sin over whole periods are (1 + 0.03^2) / 2."""
    task = random_task(5, 2, kind="trigonometric", samples=20_000)
    assert np.allclose(np.mean(task.y[:, :4] ** 2, axis=0), 0.5 * (1 + 0.03**2), rtol=0.02)
    assert np.mean(np.sum(task.y**2, axis=1)) == pytest.approx(2.0 * (1 + 0.03**2), rel=2e-3)
    assert not task.y[:, 4:].any()
    cos1, sin1, cos2, sin2 = task.y[:, :4].T
    factor = np.hypot(cos1, sin1)  # 1 + eps, one for each sample
    assert np.std(factor) == pytest.approx(0.03, rel=0.02)
    assert np.allclose(factor * cos2, cos1**2 - sin1**2, atol=1e-12)
    assert np.allclose(factor * sin2, 2 * sin1 * cos1, atol=1e-12)


def test_too_few_samples_are_refused_before_any_number_is_drawn(monkeypatch):
    monkeypatch.setattr(np.random, "default_rng", lambda *_: pytest.fail("numbers are drawn"))
    with pytest.raises(ShapeError, match="width 20000 needs at least 20000 samples, not 10000"):
        random_task(20_000)


def test_as_many_samples_as_the_width_are_enough():
    """The least legal number; one less is refused."""
    assert random_task(5, samples=5).x.shape == (5, 5)
    with pytest.raises(ShapeError, match="width 5 needs at least 5 samples, not 4"):
        random_task(5, samples=4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "cubic"}, "kind"),
        ({"reading": "both"}, "reading"),
        ({"seed": -1}, "seed"),
        ({"width": 0}, "width"),
        ({"samples": 0}, "samples"),
    ],
)
def test_random_task_refuses(change, words):
    with pytest.raises(DomainError, match=words):
        random_task(**({"width": 4, "seed": 0} | change))


def test_load_task_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(datasets.VARIABLE, raising=False)
    task, identity = load_task("digits", 10)
    data = datasets.load("digits")
    assert identity == data.digest
    assert set(get_args(TaskName)) == {*datasets.NAMES, "random", "trigonometric"}
    assert np.array_equal(task.phi, whitened_task(data.x_train, data.y_train, 10).phi)
    assert 0.1 < np.linalg.norm(task.phi) < 1.0
    assert np.array_equal(load_task("random", 4, seed=3)[0].phi, random_task(4, 3).phi)
    wave = random_task(4, 3, kind="trigonometric")
    assert np.array_equal(load_task("trigonometric", 4, seed=3)[0].phi, wave.phi)
    assert (
        len({load_task(name, 4, seed=seed)[1] for name in ("random", "trigonometric") for seed in (1, 2)})
        == 4
    )
    with pytest.raises(DataError, match="imagenet"):
        load_task("imagenet", 4)
    with pytest.raises(DataError, match="mnist not found"):
        load_task("mnist", 4, folder=tmp_path)
