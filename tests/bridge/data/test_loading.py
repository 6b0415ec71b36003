import numpy as np
import pytest
import torch

from dlinear.bridge.data.loading import (
    NAMES,
    SAMPLES,
    TEST_SAMPLES,
    LoadedSplit,
    balanced_part,
    channel_moments,
    load,
)
from dlinear.data import datasets
from dlinear.data.graphs import communities
from dlinear.data.tasks import synthetic_samples
from dlinear.errors import DataError, DomainError

KEYS = datasets.KEYS


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(datasets.VARIABLE, raising=False)


def equal(a, b):
    return all(torch.equal(getattr(a, key), getattr(b, key)) for key in KEYS)


def images(folder, name="cifar10", train=200, test=50, seed=0):
    """A small unbalanced set in the layout of the development copies."""
    rng = np.random.default_rng(seed)
    shape = (32, 32, 3) if name.startswith("cifar") else (28, 28)
    labels = np.minimum(rng.geometric(0.25, size=train + test) - 1, 9).astype(np.uint8)
    labels[:10] = labels[train : train + 10] = np.arange(10)
    x = rng.integers(0, 256, size=(train + test, *shape), dtype=np.uint8)
    if len(shape) == 3:
        x[..., 1] //= 3  # channels of different means and deviations
    arrays = dict(zip(KEYS, (x[:train], labels[:train], x[train:], labels[train:]), strict=True))
    np.savez(folder / f"{name}.npz", **arrays)
    return arrays


# Synthetic sets


def test_linear_is_footnote_one():
    data = load("linear", dtype=torch.float64)
    assert (data.x_train.shape, data.x_test.shape) == ((10_000, 10), (TEST_SAMPLES, 10))
    assert data.classes is None
    assert (data.task.inputs, data.task.outputs) == ((10,), 10)
    weights = torch.linalg.lstsq(data.x_train, data.y_train).solution.T
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        assert torch.allclose(x @ weights.T, y, rtol=0, atol=1e-12), "one W_0 for both parts, and no noise"
    assert float(data.x_train.std()) == pytest.approx(10**-0.5, rel=0.02)
    many = torch.cat([_weights(seed).ravel() for seed in range(40)])
    assert float(many.std()) == pytest.approx(10**-0.5, rel=0.06), "a deviation, not a variance"


def _weights(seed):
    part = load("linear", samples=20, seed=seed, dtype=torch.float64)
    return torch.linalg.lstsq(part.x_train, part.y_train).solution


def test_trigonometric_is_footnote_two():
    data = load("trigonometric", dtype=torch.float64)
    assert (data.x_train.shape, data.y_train.shape) == ((100_000, 1), (100_000, 4))
    assert (data.task.inputs, data.task.outputs, data.classes) == ((1,), 4, None)
    x, y = data.x_train[:, 0], data.y_train
    assert float(x.abs().max()) <= 2
    assert float(x.std()) == pytest.approx(4 / 12**0.5, rel=0.01)
    waves = torch.stack(
        [(np.pi * x).cos(), (np.pi * x).sin(), (2 * np.pi * x).cos(), (2 * np.pi * x).sin()], 1
    )
    factor = (y * waves).sum(1) / 2  # the squares of the four waves add up to 2
    assert torch.allclose(y, factor[:, None] * waves, rtol=0, atol=1e-12), "one factor for the four targets"
    assert float(factor.mean()) == pytest.approx(1, abs=5e-4)
    assert float(factor.std()) == pytest.approx(0.03, rel=0.02)


@pytest.mark.parametrize("name", SAMPLES)
def test_synthetic_parts_are_nested_and_share_their_test_set(name):
    whole, part = load(name, seed=3), load(name, seed=3, samples=70, test_samples=9)
    assert torch.equal(part.x_train, whole.x_train[:70])
    assert torch.equal(part.y_train, whole.y_train[:70])
    assert torch.equal(part.x_test, whole.x_test[:9])
    assert torch.equal(part.y_test, whole.y_test[:9])
    seen = {float(v) for v in whole.x_train[:, 0]}
    assert sum(float(v) in seen for v in whole.x_test[:, 0]) < 20, (
        "test samples are others (up to equal floats)"
    )
    assert len(load(name, samples=SAMPLES[name] + 5).x_train) == SAMPLES[name] + 5


def test_synthetic_samples_are_the_ones_that_are_whitened():
    x, y = synthetic_samples("linear", 4, 2_000 + 10_000, 7)
    data = load("linear", width=4, seed=7, dtype=torch.float64)
    assert np.array_equal(data.x_train.numpy(), x[2_000:])
    assert np.array_equal(data.y_test.numpy(), y[:2_000])


# Images


def test_images_are_normalised_by_the_training_images(tmp_path):
    raw = images(tmp_path)
    data = load("cifar10", folder=tmp_path, dtype=torch.float64)
    assert (data.x_train.shape, data.x_test.shape) == ((200, 3, 32, 32), (50, 3, 32, 32))
    assert (data.task.inputs, data.task.outputs, data.classes) == ((3, 32, 32), 10, 10)
    mean = raw["x_train"].astype(float).mean(axis=(0, 1, 2))
    deviation = raw["x_train"].astype(float).std(axis=(0, 1, 2))
    for key in ("x_train", "x_test"):
        expected = ((raw[key] - mean) / deviation).transpose(0, 3, 1, 2)
        assert np.allclose(getattr(data, key).numpy(), expected, rtol=0, atol=1e-12)
    assert data.y_train.dtype == torch.int64
    assert np.array_equal(data.y_test.numpy(), raw["y_test"])
    single = load("cifar10", folder=tmp_path)
    assert single.x_train.dtype == torch.float32
    assert torch.equal(single.x_train, data.x_train.float())
    assert single.x_train.is_contiguous()


def test_the_moments_are_those_of_the_part_that_is_used(tmp_path):
    images(tmp_path)
    part = load("cifar10", folder=tmp_path, samples=30, dtype=torch.float64)
    assert part.x_train.mean((0, 2, 3)).abs().max() < 1e-12
    assert (part.x_train.var((0, 2, 3), correction=0) - 1).abs().max() < 1e-12
    assert part.x_test.mean((0, 2, 3)).abs().max() > 1e-4


def test_moments_are_exact_and_a_constant_channel_is_left():
    x = np.random.default_rng(0).integers(0, 256, size=(50, 2, 5, 5), dtype=np.uint8)
    x[:, 1] = 7
    mean, deviation = channel_moments(x)
    assert mean[0] == pytest.approx(x[:, 0].mean(), rel=1e-15)
    assert deviation[0] == pytest.approx(x[:, 0].std(), rel=1e-14)
    assert (mean[1], deviation[1]) == (7.0, 1.0)


def test_grey_images_have_one_channel(tmp_path):
    images(tmp_path, "mnist")
    data = load("mnist", folder=tmp_path, samples=40)
    assert data.x_train.shape == (40, 1, 28, 28)
    assert data.task.features == 784


def test_a_part_is_balanced_nested_and_in_order(tmp_path):
    raw = images(tmp_path)
    labels = raw["y_train"]
    available = np.bincount(labels, minlength=10)
    before = set()
    for samples in (7, 10, 40, 93, 150, 200):
        part = balanced_part(labels, samples, 3, "it")
        assert len(part) == samples
        assert (np.diff(part) > 0).all()
        counts = np.bincount(labels[part], minlength=10)
        short = counts < counts.max() - 1
        assert (counts[short] == available[short]).all(), "only a class that ran out has fewer"
        assert before <= set(part)
        before = set(part)
    assert not np.array_equal(balanced_part(labels, 40, 3, "it"), balanced_part(labels, 40, 4, "it"))
    assert np.array_equal(balanced_part(labels, None, 3, "it"), np.arange(200))


def test_a_part_holds_images_with_their_labels(tmp_path):
    raw = images(tmp_path)
    part = load("cifar10", folder=tmp_path, samples=35, test_samples=20, seed=2, dtype=torch.float64)
    where = {image.tobytes(): label for image, label in zip(raw["x_train"], raw["y_train"], strict=True)}
    chosen = balanced_part(raw["y_train"], 35, 2, "it")
    pixels = raw["x_train"][chosen].transpose(0, 3, 1, 2)
    mean, deviation = channel_moments(pixels)
    back = part.x_train.numpy() * np.array(deviation)[:, None, None] + np.array(mean)[:, None, None]
    for image, label in zip(np.rint(back).astype(np.uint8), part.y_train.tolist(), strict=True):
        assert where[np.ascontiguousarray(image.transpose(1, 2, 0)).tobytes()] == label
    assert len(part.x_test) == 20


def test_digits_need_no_file():
    data = load("digits")
    assert data.x_train.shape == (1437, 1, 8, 8)
    assert (len(data.x_test), data.classes) == (360, 10)
    assert float(data.x_train.mean()) == pytest.approx(0, abs=1e-5)
    assert float(data.x_train.std(correction=0)) == pytest.approx(1, abs=1e-5)


# What every set keeps


@pytest.mark.parametrize("name", ["linear", "trigonometric", "digits"])
def test_the_seed_determines_the_numbers(name):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, again, other = (load(name, samples=100, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert equal(first, again)
    assert not torch.equal(first.x_train, other.x_train)
    assert first.digest == again.digest
    assert first.digest != other.digest


def test_the_digest_sees_every_number_and_the_precision():
    base = load("digits", samples=50)
    digests = {
        base.digest,
        load("digits", samples=50, test_samples=359).digest,
        load("digits", samples=51).digest,
        load("digits", samples=50, dtype=torch.float64).digest,
        load("digits", samples=50, dtype=torch.bfloat16).digest,
    }
    assert len(digests) == 5
    assert all(len(d) == 64 for d in digests)


def test_a_split_moves_to_a_device():
    data = load("digits", samples=20)
    moved = data.to("meta")
    assert isinstance(moved, LoadedSplit)
    assert {getattr(moved, key).device.type for key in KEYS} == {"meta"}
    assert moved.digest == data.digest


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"name": "cifar"}, DataError, "unknown data 'cifar'; the names are linear, trigonometric, digits"),
        ({"name": "digits", "samples": 1438}, DataError, "digits train has 1437 images; 1438 were asked for"),
        ({"name": "digits", "test_samples": 361}, DataError, "digits test has 360 images"),
        ({"name": "linear", "test_samples": 2001}, DataError, "linear has 2000 test samples; 2001"),
        ({"name": "digits", "samples": 0}, DomainError, "samples is 0; expected an integer >= 1"),
        ({"name": "digits", "samples": 2.5}, DomainError, "samples is .*; expected an integer"),
        ({"name": "digits", "seed": None}, DomainError, "seed is None; expected an integer >= 0"),
        ({"name": "linear", "width": 0}, DomainError, "width is 0; expected an integer >= 1"),
        ({"name": "digits", "dtype": torch.uint8}, DomainError, "floating torch dtype, not torch.uint8"),
        ({"name": "mnist"}, DataError, "mnist not found"),
    ],
)
def test_what_is_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        load(**arguments)


def test_names_are_those_of_the_issue():
    images = {"digits", "mnist", "fashion", "cifar10", "cifar100"}
    assert set(NAMES) == {"linear", "trigonometric", *images, "communities"}


def test_nodes_of_a_graph_are_split_in_half():
    data = load("communities")
    both = torch.cat([data.x_train, data.x_test]).flatten().long()
    assert sorted(both.tolist()) == list(range(240))
    assert (data.classes, data.task.inputs, data.task.outputs) == (4, (1,), 4)
    labels = torch.from_numpy(communities().labels)
    assert torch.equal(labels[data.x_test.flatten().long()], data.y_test)
    part = load("communities", samples=40, test_samples=8)
    assert torch.bincount(part.y_train).tolist() == [10] * 4
    assert set(part.x_test.flatten().tolist()) < set(data.x_test.flatten().tolist())
    assert not torch.equal(load("communities", seed=1).x_train, data.x_train)
    with pytest.raises(DataError, match=r"communities train has 120 .*; 121 were asked for"):
        load("communities", samples=121)
