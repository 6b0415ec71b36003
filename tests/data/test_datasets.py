import functools
import gzip
import hashlib
import http.server
import io
import tarfile
import threading
from dataclasses import replace

import children
import numpy as np
import pytest

from dlinear.data import datasets
from dlinear.errors import DataError, DomainError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """No data folder of this machine: an empty working directory and no environment variable."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(datasets.VARIABLE, raising=False)


def arrays(shape, seed=0, classes=10):
    rng = np.random.default_rng(seed)
    out = {}
    for part, count in (("train", 7), ("test", 3)):
        out[f"x_{part}"] = rng.integers(0, 256, size=(count, *shape), dtype=np.uint8)
        out[f"y_{part}"] = rng.integers(0, classes, size=count, dtype=np.uint8)
    return out


def idx_bytes(array):
    sizes = b"".join(int(size).to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def write_tar(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(f"some-folder/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def cifar_records(x, *labels):
    pixels = x.transpose(0, 3, 1, 2).reshape(len(x), 3072)
    return np.concatenate([*(label[:, None] for label in labels), pixels], axis=1).tobytes()


def accept(monkeypatch, name, folder, host="http://127.0.0.1:9"):
    """Take the files in `folder` for the official ones."""
    source = datasets._SOURCES[name]
    archives = tuple(
        replace(a, md5=hashlib.md5((folder / a.file).read_bytes()).hexdigest(), url=f"{host}/{a.file}")
        for a in source.archives
    )
    monkeypatch.setitem(datasets._SOURCES, name, replace(source, archives=archives))


def idx_folder(folder, content):
    folder.mkdir(parents=True, exist_ok=True)
    for key, archive in zip(datasets.KEYS, datasets._SOURCES["mnist"].archives, strict=True):
        (folder / archive.file).write_bytes(gzip.compress(idx_bytes(content[key])))
    return folder


def same(data, content):
    return all(np.array_equal(getattr(data, key), content[key]) for key in datasets.KEYS)


def test_digits_are_bundled():
    data = datasets.load("digits")
    assert data.x_train.shape == (1437, 8, 8)
    assert data.x_test.shape == (360, 8, 8)
    assert {getattr(data, key).dtype for key in datasets.KEYS} == {np.dtype(np.uint8)}
    assert int(data.x_train.sum()) + int(data.x_test.sum()) == 561718
    assert set(data.y_train) == set(data.y_test) == set(range(10))
    assert data.digest == datasets.load("digits").digest


def test_places_are_searched_in_order(tmp_path, monkeypatch):
    made = {}
    for seed, place in enumerate(("given", "environment", "data")):
        (tmp_path / place).mkdir()
        made[place] = arrays((28, 28), seed)
        np.savez(tmp_path / place / "mnist.npz", **made[place])
    monkeypatch.setenv(datasets.VARIABLE, str(tmp_path / "environment"))
    assert same(datasets.load("mnist", tmp_path / "given"), made["given"])
    assert same(datasets.load("mnist", tmp_path / "nowhere"), made["environment"])
    monkeypatch.delenv(datasets.VARIABLE)
    assert same(datasets.load("mnist"), made["data"])


def test_the_complete_file_goes_before_a_subset(tmp_path):
    whole, part = arrays((28, 28), 1), arrays((28, 28), 2)
    np.savez(tmp_path / "mnist_10k.npz", **part)
    assert same(datasets.load("mnist", tmp_path), part)
    np.savez(tmp_path / "mnist.npz", **whole)
    assert same(datasets.load("mnist", tmp_path), whole)
    assert datasets.load("mnist", tmp_path).digest != datasets.Dataset("mnist", **part).digest


def test_cifar10_is_not_cifar100(tmp_path):
    np.savez(tmp_path / "cifar100_12k.npz", **arrays((32, 32, 3), classes=100))
    with pytest.raises(DataError, match="cifar10 not found"):
        datasets.load("cifar10", tmp_path)
    assert datasets.load("cifar100", tmp_path).x_train.shape == (7, 32, 32, 3)


@pytest.mark.parametrize("sub", ["", "mnist"])
def test_idx_archives(tmp_path, monkeypatch, sub):
    content = arrays((28, 28))
    accept(monkeypatch, "mnist", idx_folder(tmp_path / sub, content))
    assert same(datasets.load("mnist", tmp_path), content)


def test_mnist_is_never_taken_for_fashion(tmp_path, monkeypatch):
    accept(monkeypatch, "mnist", idx_folder(tmp_path, arrays((28, 28))))
    with pytest.raises(DataError, match="fashion not found"):
        datasets.load("fashion", tmp_path)


def test_cifar_archives(tmp_path, monkeypatch):
    content = arrays((32, 32, 3))
    x, y = content["x_train"], content["y_train"]
    parts = {f"data_batch_{i + 1}.bin": cifar_records(x[[i]], y[[i]]) for i in range(4)}
    parts["data_batch_5.bin"] = cifar_records(x[4:], y[4:])
    write_tar(
        tmp_path / "cifar-10-binary.tar.gz",
        parts | {"test_batch.bin": cifar_records(content["x_test"], content["y_test"]), "readme.html": b"no"},
    )
    accept(monkeypatch, "cifar10", tmp_path)
    assert same(datasets.load("cifar10", tmp_path), content)


def test_cifar100_takes_the_fine_labels(tmp_path, monkeypatch):
    content = arrays((32, 32, 3), classes=100)
    parts = {
        f"{part}.bin": cifar_records(
            content[f"x_{part}"], np.zeros_like(content[f"y_{part}"]), content[f"y_{part}"]
        )
        for part in ("train", "test")
    }
    write_tar(tmp_path / "cifar-100-binary.tar.gz", parts)
    accept(monkeypatch, "cifar100", tmp_path)
    assert same(datasets.load("cifar100", tmp_path), content)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def host(tmp_path):
    (tmp_path / "served").mkdir()
    handler = functools.partial(Quiet, directory=tmp_path / "served")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_download_only_when_asked_and_checked(tmp_path, monkeypatch, host):
    content = arrays((28, 28))
    accept(monkeypatch, "mnist", idx_folder(tmp_path / "served", content), host)
    with pytest.raises(DataError, match="download=True"):
        datasets.load("mnist", tmp_path / "here")
    assert not (tmp_path / "here").exists()
    assert same(datasets.load("mnist", tmp_path / "here", download=True), content)
    for file in (tmp_path / "served").iterdir():
        file.unlink()
    assert same(datasets.load("mnist", tmp_path / "here"), content)  # kept, and no second download


def test_download_of_another_file_is_refused(tmp_path, monkeypatch, host):
    accept(monkeypatch, "mnist", idx_folder(tmp_path / "served", arrays((28, 28))), host)
    idx_folder(tmp_path / "served", arrays((28, 28), seed=5))
    with pytest.raises(DataError, match="could not be fetched"):
        datasets.load("mnist", tmp_path / "here", download=True)
    assert not list((tmp_path / "here").rglob("*.gz"))


def test_download_without_a_server_is_one_line(tmp_path, monkeypatch):
    accept(monkeypatch, "mnist", idx_folder(tmp_path / "served", arrays((28, 28))))
    with pytest.raises(DataError, match="could not be fetched") as caught:
        datasets.load("mnist", tmp_path / "here", download=True)
    assert "\n" not in str(caught.value)


def test_missing_says_where_it_looked_and_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv(datasets.VARIABLE, "/nowhere/at/all")
    with pytest.raises(DataError) as caught:
        datasets.load("fashion", tmp_path / "given")
    message = str(caught.value)
    for part in ("given", "/nowhere/at/all", "data", "fashion.npz", "DLINEAR_DATA", "download=True"):
        assert part in message
    assert "\n" not in message


def test_unknown_name():
    with pytest.raises(DataError, match="digits, mnist, fashion, cifar10, cifar100"):
        datasets.load("imagenet")


GOOD = arrays((28, 28))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x_train": GOOD["x_train"].astype(np.float32)}, "x_train must be uint8, not float32"),
        ({"y_test": GOOD["y_test"].astype(np.int64)}, "y_test must be uint8"),
        ({"x_train": GOOD["x_train"][:, :27]}, r"x_train must have shape .*28, 28.*27"),
        ({"x_train": GOOD["x_train"][..., None]}, "x_train must have shape"),
        ({"x_test": GOOD["x_test"][:0], "y_test": GOOD["y_test"][:0]}, "N >= 1"),
        ({"y_train": GOOD["y_train"][:-1]}, "7 train images but 6 labels"),
        ({"y_test": np.full(3, 10, np.uint8)}, "y_test holds 10"),
        ({"x_train": np.array([None])}, "damaged"),  # an object array, which would have to be unpickled
    ],
)
def test_wrong_layout_names_the_file(tmp_path, change, words):
    np.savez(tmp_path / "mnist.npz", **(GOOD | change))
    with pytest.raises(DataError, match=words) as caught:
        datasets.load("mnist", tmp_path)
    assert "mnist.npz" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_key_names_the_file(tmp_path):
    np.savez(tmp_path / "mnist.npz", x_train=GOOD["x_train"])
    with pytest.raises(DataError, match=r"mnist.npz has no y_train, x_test, y_test"):
        datasets.load("mnist", tmp_path)


@pytest.mark.parametrize("keep", [0, 3, 200, 4000, -1])
def test_truncated_npz_names_the_file(tmp_path, keep):
    path = tmp_path / "mnist.npz"
    np.savez_compressed(path, **GOOD)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"mnist.npz is damaged"):
        datasets.load("mnist", tmp_path)


def test_flipped_bytes_name_the_file(tmp_path):
    path = tmp_path / "mnist.npz"
    np.savez(path, **GOOD)
    raw = bytearray(path.read_bytes())
    raw[1000:1010] = bytes(10)
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"mnist.npz is damaged"):
        datasets.load("mnist", tmp_path)


def test_text_file_is_not_data(tmp_path):
    (tmp_path / "mnist.npz").write_text("<html>not found</html>")
    with pytest.raises(DataError, match=r"mnist.npz is damaged"):
        datasets.load("mnist", tmp_path)


def test_changed_archive_is_refused_by_its_hash(tmp_path):
    idx_folder(tmp_path, GOOD)
    with pytest.raises(DataError, match=r"md5 .*, officially f68b3c2d"):
        datasets.load("mnist", tmp_path)


def test_incomplete_archives_name_the_missing_one(tmp_path, monkeypatch):
    accept(monkeypatch, "mnist", idx_folder(tmp_path, GOOD))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="t10k-labels"):
        datasets.load("mnist", tmp_path)


@pytest.mark.parametrize("cut", [slice(0, 0), slice(0, 3), slice(0, 9), slice(0, -1), slice(1, None)])
def test_bad_idx(tmp_path, cut):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx_bytes(GOOD["x_train"])[cut]))
    with pytest.raises(DataError, match=r"images\.gz"):
        datasets.read_idx(path, 3)


@pytest.mark.parametrize("cut", [0, 5, -20])
def test_truncated_gzip(tmp_path, cut):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx_bytes(GOOD["x_train"]))[:cut])
    with pytest.raises(DataError, match=r"images\.gz"):
        datasets.read_idx(path, 3)


def test_bad_cifar(tmp_path):
    path = tmp_path / "cifar.tar.gz"
    write_tar(path, {"train.bin": bytes(3074)})
    with pytest.raises(DataError, match=r"cifar.tar.gz has no test.bin"):
        datasets.read_cifar(path, fine=True)
    write_tar(path, {"train.bin": bytes(3074), "test.bin": bytes(3000)})
    with pytest.raises(DataError, match=r"test\.bin is truncated"):
        datasets.read_cifar(path, fine=True)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match="damaged"):
        datasets.read_cifar(path, fine=True)


def test_importing_the_library_module_needs_neither_scikit_learn_nor_pooch():
    import sys

    code = "import sys, dlinear.data.datasets as _; print({'sklearn', 'pooch', 'torch'} & set(sys.modules))"
    done = children.run([sys.executable, "-c", code], check=True)
    assert done.stdout.strip() == "set()"


def unpacked(folder, content):
    folder.mkdir(parents=True)
    for key, archive in zip(datasets.KEYS, datasets._SOURCES["mnist"].archives, strict=True):
        (folder / archive.file.removesuffix(".gz")).write_bytes(idx_bytes(content[key]))
    return folder


@pytest.mark.parametrize(
    ("name", "sub"),
    [("mnist", "MNIST/raw"), ("fashion", "FashionMNIST/raw"), ("mnist", "mnist"), ("fashion", "fashion")],
)
def test_unpacked_files_and_the_folders_of_torchvision(tmp_path, monkeypatch, name, sub):
    content, other = arrays((28, 28)), "fashion" if name == "mnist" else "mnist"
    unpacked(tmp_path / sub, content)
    assert same(datasets.load(name, tmp_path), content)
    with pytest.raises(DataError, match=f"{other} not found"):
        datasets.load(other, tmp_path)
    second = arrays((28, 28), seed=1)  # torchvision keeps the archives beside them
    accept(monkeypatch, name, idx_folder(tmp_path / sub, second))
    assert same(datasets.load(name, tmp_path), second)


def test_unpacked_files_that_may_be_either_set_are_not_taken(tmp_path):
    unpacked(tmp_path / "raw", arrays((28, 28)))
    for name in ("mnist", "fashion"):
        with pytest.raises(DataError, match=f"{name} not found"):
            datasets.load(name, tmp_path / "raw")


def test_unpacked_files_that_are_incomplete_or_cut_are_named(tmp_path):
    folder = unpacked(tmp_path / "MNIST" / "raw", arrays((28, 28)))
    labels = folder / "train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1])
    with pytest.raises(DataError, match="train-labels-idx1-ubyte is truncated or too long"):
        datasets.load("mnist", tmp_path)
    labels.unlink()
    with pytest.raises(DataError, match=r"mnist is incomplete: .*train-labels-idx1-ubyte is missing"):
        datasets.load("mnist", tmp_path)


@pytest.mark.parametrize("sub", ["", "NAME"])
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("cifar10", "cifar-10-binary.tar.gz"),
        ("cifar100", "cifar-100-binary.tar.gz"),
        ("mnist", "train-images-idx3-ubyte.gz"),
        ("mnist", "mnist.npz"),
    ],
)
def test_a_folder_in_place_of_a_file_is_named(tmp_path, name, file, sub):
    (tmp_path / sub.replace("NAME", name) / file).mkdir(parents=True)
    with pytest.raises(DataError, match=f"{file} is a folder"):
        datasets.load(name, tmp_path)


def test_the_home_folder_is_known(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    content = arrays((28, 28))
    unpacked(tmp_path / "sets" / "mnist", content)
    assert same(datasets.load("mnist", "~/sets"), content)
    monkeypatch.setenv(datasets.VARIABLE, "~/sets")
    assert same(datasets.load("mnist"), content)
    with pytest.raises(DataError, match=f"fashion not found in {tmp_path}/others"):
        datasets.load("fashion", "~/others")


@pytest.mark.parametrize("folder", [3, 2.5, [], object(), True], ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_a_folder_is_a_path(name, folder):
    with pytest.raises(DataError, match=r"folder is .*; expected a path, or None"):
        datasets.load(name, folder)


def test_folders_of_bytes_are_paths(tmp_path):
    content = arrays((28, 28))
    unpacked(tmp_path / "mnist", content)
    assert same(datasets.load("mnist", bytes(tmp_path)), content)


@pytest.mark.parametrize("name", [b"mnist", 3, None, ["mnist"]], ids=str)
def test_a_name_is_a_word(name):
    with pytest.raises(DataError, match="unknown data set") as caught:
        datasets.load(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("download", ["yes", 1, None])
def test_download_is_a_flag(download):
    with pytest.raises(DomainError, match="download"):
        datasets.load("digits", download=download)


def test_archives_are_fetched_by_https():
    for source in datasets._SOURCES.values():
        for archive in source.archives:
            assert archive.url.startswith("https://")
            assert archive.url.endswith(f"/{archive.file}")
