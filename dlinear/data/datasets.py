"""Image data by name: digits (bundled with scikit-learn), MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100.

`load` looks in the `folder` argument, the environment variable DLINEAR_DATA and `./data`, in that order.
Each may hold, directly or in a sub-folder called like the data set,

1. `<name>.npz` or `<name>_*.npz` with the arrays x_train, y_train, x_test, y_test (never pickled), or
2. the official archives, checked against their published md5: the four gzipped idx files of MNIST and
   Fashion-MNIST, the *binary* tar of CIFAR (its Python version is a pickle and is not read), or
3. the idx files unpacked, in a sub-folder of the set's own, torchvision's MNIST/raw and FashionMNIST/raw
   included: their sizes and labels are checked, but not their bytes, for which no hash is published.

Nothing is fetched from the network unless `download=True`.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlinear import storage
from dlinear.checks import as_flag, as_known, in_short, shown
from dlinear.data.archives import Bytes, read_cifar, read_idx
from dlinear.errors import DataError
from dlinear.optional import needed

KEYS = ("x_train", "y_train", "x_test", "y_test")
VARIABLE = "DLINEAR_DATA"


@dataclass(frozen=True, repr=False)
class Dataset:
    """Images and labels, all uint8.

    Attributes:
        name: for example "mnist".
        x_train: (N, height, width) grey or (N, height, width, 3) colour images.
        y_train: (N,) labels 0..classes-1 (the fine ones of CIFAR-100).
        x_test: as x_train.
        y_test: as y_train.
    """

    name: str
    x_train: Bytes
    y_train: Bytes
    x_test: Bytes
    y_test: Bytes

    __repr__ = in_short

    @property
    def digest(self) -> str:
        """The sha256 of the four arrays: which numbers an experiment saw, whatever file they came from."""
        total = hashlib.sha256()
        for key in KEYS:
            array = np.ascontiguousarray(getattr(self, key))
            total.update(f"{key}{array.shape}".encode())
            total.update(array.data)
        return total.hexdigest()


@dataclass(frozen=True)
class _Archive:
    file: str
    md5: str
    url: str


@dataclass(frozen=True)
class _Source:
    image: tuple[int, ...]
    classes: int
    archives: tuple[_Archive, ...]


def _idx(host: str, *md5s: str) -> tuple[_Archive, ...]:
    stems = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    files = [f"{stem}-ubyte.gz" for stem in stems]
    return tuple(_Archive(file, md5, f"{host}/{file}") for file, md5 in zip(files, md5s, strict=True))


def _tar(file: str, md5: str) -> tuple[_Archive, ...]:
    return (_Archive(file, md5, f"https://www.cs.toronto.edu/~kriz/{file}"),)


_SOURCES = {
    "mnist": _Source(
        (28, 28),
        10,
        _idx(
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
    ),
    "fashion": _Source(
        (28, 28),
        10,
        _idx(
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
    ),
    "cifar10": _Source((32, 32, 3), 10, _tar("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530")),
    "cifar100": _Source(
        (32, 32, 3), 100, _tar("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8")
    ),
}
NAMES = ("digits", *_SOURCES)
_TORCHVISION = {"mnist": "MNIST/raw", "fashion": "FashionMNIST/raw"}


def load(name: str, folder: str | os.PathLike[str] | None = None, download: bool = False) -> Dataset:
    """The data set called `name`.

    Args:
        name: "digits", "mnist", "fashion", "cifar10" or "cifar100".
        folder: where to look first (and, with `download`, where to put the archives).
        download: fetch the official archives when no local copy is found; they are checked by md5.

    Raises:
        DataError: an unknown name, no copy found (with where it looked and the two ways to get one), or a
            file that is damaged, truncated or of another layout (with its name).
        DomainError: `download` is neither True nor False.
        MissingDependencyError: scikit-learn (digits) or pooch (download) is not installed.
    """
    as_known("data set", name, NAMES, DataError)
    places, download = _places(folder), as_flag("download", download)
    if name == "digits":
        return _digits()
    source = _SOURCES[name]
    for place in places:
        if (found := _inside(name, source, place)) is not None:
            return found
    if download:
        return _from_archives(name, source, _fetch(source, places[0] / name))
    looked = ", ".join(str(place) for place in places)
    raise DataError(
        f"{name} not found in {looked}: put {name}.npz or {source.archives[0].file} there "
        f"(or set {VARIABLE} to its folder), or call load({name!r}, download=True)"
    )


def _inside(name: str, source: _Source, place: Path) -> Dataset | None:
    """The data set in a folder, or in a sub-folder of its own; None if it is not there."""
    own = [place / name, *(place / sub for key, sub in _TORCHVISION.items() if key == name)]
    for inside in (*own, place):
        found = [*inside.glob(f"{name}.npz"), *sorted(inside.glob(f"{name}_*.npz"))]
        if found:
            return _checked(name, source, found[0], _read_npz(found[0]))
        files = [inside / archive.file for archive in source.archives]
        if any(file.exists() for file in files):
            if inside != place or _none_is_another_sets(files, source):
                return _from_archives(name, source, files)
        elif name in _TORCHVISION and inside != place:  # in `place` they may be either set's
            unpacked = [file.with_suffix("") for file in files]
            if any(file.exists() for file in unpacked):
                return _from_idx(name, source, unpacked)
    return None


def _places(folder: str | os.PathLike[str] | None) -> list[Path]:
    """The folders to look in, with ~ as the home folder."""
    if folder is not None and not isinstance(folder, str | Path):
        try:
            folder = os.fsdecode(os.fspath(folder))
        except (TypeError, ValueError):
            raise DataError(f"folder is {shown(folder)}; expected a path, or None") from None
    named = [folder, os.environ.get(VARIABLE) or None, "data"]
    return [Path(os.path.expanduser(place)) for place in named if place is not None]


def _digits() -> Dataset:
    """The 1797 digits in their order; the last fifth (360 images) is the test set."""
    with needed("the data set digits"):
        from sklearn.datasets import load_digits
    images, labels = load_digits(return_X_y=True)
    x, y = images.reshape(-1, 8, 8).astype(np.uint8), labels.astype(np.uint8)
    return Dataset("digits", x[:-360], y[:-360], x[-360:], y[-360:])


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    arrays = storage.read_npz(path, DataError)
    missing = [key for key in KEYS if key not in arrays]
    if missing:
        raise DataError(f"{path} has no {', '.join(missing)}; it must hold {', '.join(KEYS)}")
    return arrays


def _checked(name: str, source: _Source, path: Path, arrays: dict[str, NDArray[Any]]) -> Dataset:
    for key in KEYS:
        array = arrays[key]
        shape = source.image if key.startswith("x") else ()
        if array.dtype != np.uint8:
            raise DataError(f"{path}: {key} must be uint8, not {array.dtype}")
        if array.ndim != 1 + len(shape) or array.shape[1:] != shape or not len(array):
            allowed = "(" + ", ".join(["N >= 1", *map(str, shape)]) + ")"
            raise DataError(f"{path}: {key} must have shape {allowed}, not {array.shape}")
    for part in ("train", "test"):
        images, labels = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if len(images) != len(labels):
            raise DataError(f"{path}: {len(images)} {part} images but {len(labels)} labels")
        if labels.max() >= source.classes:
            raise DataError(
                f"{path}: y_{part} holds {labels.max()}; labels of {name} are 0..{source.classes - 1}"
            )
    return Dataset(name, *(arrays[key] for key in KEYS))


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _none_is_another_sets(files: list[Path], source: _Source) -> bool:
    """MNIST and Fashion-MNIST share file names: in a shared folder the hash tells whose they are."""
    known = {(a.file, a.md5) for other in _SOURCES.values() if other is not source for a in other.archives}
    return not any(file.is_file() and (file.name, _md5(file)) in known for file in files)


def _from_archives(name: str, source: _Source, files: list[Path]) -> Dataset:
    for file, archive in zip(files, source.archives, strict=True):
        _check_file(name, file)
        if (seen := _md5(file)) != archive.md5:
            raise DataError(f"{file} is damaged or another file: md5 {seen}, officially {archive.md5}")
    if name in _TORCHVISION:
        return _from_idx(name, source, files)
    return _checked(name, source, files[0], read_cifar(files[0], fine=name == "cifar100"))


def _from_idx(name: str, source: _Source, files: list[Path]) -> Dataset:
    for file in files:
        _check_file(name, file)
    ranks = (len(source.image) + 1, 1, len(source.image) + 1, 1)
    arrays = {key: read_idx(file, rank) for key, file, rank in zip(KEYS, files, ranks, strict=True)}
    return _checked(name, source, files[0], arrays)


def _check_file(name: str, file: Path) -> None:
    if not file.exists():
        raise DataError(f"{name} is incomplete: {file} is missing")
    if not file.is_file():
        what = "a folder" if file.is_dir() else "no regular file"
        raise DataError(f"{file} is {what}; expected the file of that name, as it was downloaded")


def _fetch(source: _Source, folder: Path) -> list[Path]:
    with needed("a download"):
        import pooch
    paths = []
    for archive in source.archives:
        try:
            known = f"md5:{archive.md5}"
            path = pooch.retrieve(archive.url, known_hash=known, fname=archive.file, path=folder)
        except (OSError, ValueError) as error:
            why = storage.reason(error)
            raise DataError(f"{archive.url} could not be fetched to {folder}: {why}") from error
        paths.append(Path(path))
    return paths
