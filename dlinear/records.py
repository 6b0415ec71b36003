"""One atomic file per result: results/<experiment>/cells/<key>.npz.

A *cell* is one setting of an experiment's knobs. Its key is the sha256 of the knobs' sorted JSON; its
file holds the numbers and, as UTF-8 bytes in the array `record`, their metadata (knobs, dimensions,
versions, git revision, seconds). A file is written beside its place, synced and renamed, so that it is
either whole or absent. Damaged, foreign and newer files are named by a `RecordWarning` and skipped.

Each array names its own dimensions; a scalar knob that differs between cells (and always seed, depth
and ensemble) becomes a dimension of the labelled dataset that `load` returns.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import platform
import subprocess
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dlinear import storage
from dlinear.errors import RecordError
from dlinear.optional import needed
from dlinear.storage import replacing

if TYPE_CHECKING:
    import xarray

FORMAT = "dlinear record"
VERSION = 1
DIMENSIONS = ("seed", "depth", "ensemble")  # always dimensions, also when all cells share one value
RESERVED = ("record", "file", "allow_pickle")  # the header, and words that numpy.savez keeps for itself
LIMIT = 10**8  # values of one array of the labelled dataset

Knobs = Mapping[str, Any]
Folder = str | os.PathLike[str]


class NewerRecordError(RecordError):
    """A result file was written by a newer version of this library."""


class RecordWarning(UserWarning):
    """A result file was skipped; the message names it and says why."""


@dataclass(frozen=True)
class Record:
    """One cell as it was read.

    Attributes:
        key: sha256 of the knobs.
        knobs: the setting, JSON values only.
        arrays: the numbers by name.
        dimensions: the dimensions of each array, () for a scalar.
        meta: versions, git revision, seconds.
    """

    key: str
    knobs: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    dimensions: dict[str, tuple[str, ...]]
    meta: dict[str, Any]


def plain(knobs: Any) -> dict[str, Any]:
    """The knobs (a dataclass or a mapping) as the JSON values that their key is made of.

    Raises:
        RecordError: a value that JSON cannot hold exactly (an array, a function, NaN).
    """
    values = dataclasses.asdict(knobs) if dataclasses.is_dataclass(knobs) else dict(knobs)  # type: ignore[arg-type]
    try:
        out: dict[str, Any] = json.loads(_canonical(values))
    except (TypeError, ValueError) as error:
        raise RecordError(f"knobs must be JSON values (numbers, strings, lists): {error}") from error
    return out


def key(knobs: Any) -> str:
    """The cell key: sha256 of the sorted JSON of the knobs, 64 hexadecimal digits."""
    return hashlib.sha256(_canonical(plain(knobs)).encode()).hexdigest()


def _canonical(values: Any) -> str:
    return json.dumps(values, sort_keys=True, allow_nan=False, separators=(",", ":"))


def cells(folder: Folder) -> Path:
    """The folder of the cell files of results/<experiment>."""
    return Path(folder) / "cells"


def write(
    folder: Folder,
    knobs: Any,
    arrays: Mapping[str, tuple[Sequence[str], ArrayLike]],
    seconds: float | None = None,
) -> Path:
    """Write one cell atomically and return its path; an existing file of the same key is replaced.

    Args:
        folder: results/<experiment>; made when missing.
        knobs: a frozen dataclass or a mapping of JSON values.
        arrays: name -> (dimensions, values); a dimension named like an array takes its labels from it.
        seconds: how long the cell took.

    Raises:
        RecordError: values that are not real numbers, dimensions that do not fit, or a failed write
            (for example a full disk), which leaves no trace.
    """
    values = plain(knobs)
    numbers: dict[str, NDArray[Any]] = {}
    for name, (_, content) in arrays.items():
        array = np.asarray(content)
        if not isinstance(name, str) or name in RESERVED:
            raise RecordError(f"an array must not be called {name!r}; reserved are {', '.join(RESERVED)}")
        numbers[name] = array
    if fault := _fault(numbers, {name: dims for name, (dims, _) in arrays.items()}):
        raise RecordError(fault)
    head = {
        "format": FORMAT,
        "version": VERSION,
        "key": key(values),
        "knobs": values,
        "dimensions": {name: list(dims) for name, (dims, _) in arrays.items()},
        "meta": {"versions": _versions(), "revision": _revision(), "seconds": seconds},
    }
    numbers["record"] = np.frombuffer(json.dumps(head, sort_keys=True).encode(), np.uint8)
    path = cells(folder) / f"{head['key']}.npz"
    with replacing(path) as stream:
        np.savez_compressed(stream, **numbers)  # type: ignore[arg-type]
    return path


def _fault(arrays: Mapping[str, NDArray[Any]], dimensions: Mapping[str, Any]) -> str:
    """What keeps arrays and dimensions from forming a record; empty when nothing does."""
    for name, array in arrays.items():
        dims = dimensions[name]
        if array.dtype.kind not in "fiub":
            return f"array {name!r} must hold real numbers, not {array.dtype}"
        if not isinstance(dims, list | tuple) or len(dims) != array.ndim:
            return f"array {name!r} has {array.ndim} axes but dimensions {dims!r}"
        for dim, size in zip(dims, array.shape, strict=True):
            if not isinstance(dim, str) or dim not in arrays or arrays[dim].shape != (size,):
                return f"array {name!r} needs a label array {dim!r} of length {size}"
    return ""


def read(path: Folder) -> Record:
    """Read one cell and check that it is what its name says.

    Raises:
        NewerRecordError: written by a newer version.
        RecordError: damaged or foreign (not a record, or a record under another key's name).
    """
    path = Path(path)
    arrays = storage.read_npz(path, RecordError)
    try:
        head = json.loads(arrays.pop("record").tobytes())
    except (KeyError, ValueError):
        head = None
    if not isinstance(head, dict) or head.get("format") != FORMAT or type(head.get("version")) is not int:
        raise RecordError(f"{path} is not a {FORMAT}")
    if head["version"] > VERSION:
        raise NewerRecordError(f"{path} is of version {head['version']}; this library reads up to {VERSION}")
    try:
        knobs, meta, dimensions = head["knobs"], head["meta"], head["dimensions"]
        own = path.stem == head["key"] == key(knobs)
        fault = "" if set(dimensions) == set(arrays) else "its dimensions are not those of its arrays"
        fault = fault or _fault(arrays, dimensions)
        if not isinstance(meta["versions"], dict) or not isinstance(meta["revision"], str | None):
            fault = fault or "its versions or its revision are not of their type"
    except (KeyError, TypeError, ValueError, AttributeError, RecordError) as error:
        raise RecordError(f"{path} has an incomplete header") from error
    if not own:
        raise RecordError(f"{path} is a record of another cell: its knobs do not give its name")
    if fault:
        raise RecordError(f"{path} is damaged: {fault}")
    return Record(head["key"], knobs, arrays, {name: tuple(dims) for name, dims in dimensions.items()}, meta)


def scan(folder: Folder, keys: Iterable[str] | None = None) -> list[Record]:
    """All readable records of results/<experiment>, sorted by key; the others are named by a warning."""
    wanted = None if keys is None else set(keys)
    found = []
    for path in sorted(cells(folder).glob("*.npz")):
        if wanted is not None and path.stem not in wanted:
            continue
        try:
            found.append(read(path))
        except RecordError as error:
            warnings.warn(f"skipped: {error}", RecordWarning, stacklevel=2)
    return found


def mark_latest(folder: Folder, keys: Sequence[str]) -> None:
    """Write down which cells the latest complete run consists of (results/<experiment>/latest.json).

    Raises:
        RecordError: keys that are not a sequence of strings, or a failed write.
    """
    if isinstance(keys, str) or not _all(list(keys), str):
        raise RecordError(f"keys must be a sequence of strings, not {keys!r:.60}")
    content = {"format": FORMAT, "version": VERSION, "keys": list(keys)}
    with replacing(Path(folder) / "latest.json") as stream:
        stream.write(json.dumps(content, indent=1).encode())


def latest(folder: Folder) -> list[str]:
    """The cell keys of the latest complete run.

    Raises:
        RecordError: no run has been completed here, or its list is damaged or newer.
    """
    path = Path(folder) / "latest.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version, keys = content["version"], content["keys"]
        if type(version) is not int or not isinstance(keys, list) or not _all(keys, str):
            raise TypeError("version or keys")
    except FileNotFoundError:
        raise RecordError(f"{path} does not exist: no run has been completed in {folder}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path} is damaged; run the experiment again") from error
    if version > VERSION:
        raise NewerRecordError(f"{path} is of version {version}; this library reads up to {VERSION}")
    return list(keys)


def load_latest(folder: Folder) -> xarray.Dataset:
    """`load` of the cells of the latest complete run.

    Raises:
        RecordError: no complete run, or some of its cells are missing or unreadable.
    """
    keys = latest(folder)
    data = load(folder, keys)
    if data.attrs["cells"] != len(set(keys)):
        raise RecordError(
            f"{data.attrs['cells']} of the {len(set(keys))} cells of the latest run are in {folder}"
        )
    return data


def load(folder: Folder, keys: Iterable[str] | None = None) -> xarray.Dataset:
    """The records of results/<experiment> as one labelled dataset, float64, NaN where no cell has a value.

    Args:
        folder: results/<experiment>.
        keys: only these cells, for example `latest(folder)`; all of them by default.

    Returns:
        Dimensions seed, depth, ensemble, every other scalar knob that differs between the cells, and the
        arrays' own ones (shortfall or horizon). Knobs that all cells share, the versions and the git
        revisions are attributes.

    Raises:
        RecordError: no readable record, or cells that are too unlike to fit in one array.
    """
    with needed("a labelled data set"):
        import xarray

    found = scan(folder, keys)
    if not found:
        raise RecordError(f"no readable record in {cells(folder)}")
    shared, varying = _split_knobs([record.knobs for record in found], _labels_of(found))
    labels: dict[str, list[Any]] = {
        name: sorted({record.knobs[name] for record in found if name in record.knobs}) for name in varying
    }
    inner = sorted({dim for record in found for dims in record.dimensions.values() for dim in dims})
    for dim in inner:
        labels[dim] = sorted({value for r in found if dim in r.arrays for value in r.arrays[dim].tolist()})
    variables = _filled(found, varying, labels)
    attributes = {"cells": len(found), "knobs": json.dumps(shared, sort_keys=True)}
    for name in ("versions", "revision"):
        attributes[name] = json.dumps(_distinct([record.meta[name] for record in found]), sort_keys=True)
    return xarray.Dataset(
        variables, coords={name: (name, label) for name, label in labels.items()}, attrs=attributes
    )


def _filled(
    found: list[Record], outer: list[str], labels: dict[str, list[Any]]
) -> dict[str, tuple[tuple[str, ...], NDArray[np.float64]]]:
    """Each array of the records in its place along the labels, NaN elsewhere."""
    variables: dict[str, tuple[tuple[str, ...], NDArray[np.float64]]] = {}
    for record in found:
        place = tuple(labels[name].index(record.knobs[name]) for name in outer)
        for name in sorted(set(record.arrays) - set(labels)):
            inner = record.dimensions[name]
            dims = (*outer, *inner)
            shape = tuple(len(labels[dim]) for dim in dims)
            if np.prod(shape, dtype=np.float64) > LIMIT:
                raise RecordError(f"{name} would need {shape} values; load fewer cells by their keys")
            known, values = variables.setdefault(name, (dims, np.full(shape, np.nan)))
            if known != dims:
                raise RecordError(f"{name} has dimensions {dims} in one cell and {known} in another")
            index = [np.searchsorted(labels[dim], record.arrays[dim]) for dim in inner]
            corner: NDArray[np.float64] = values[(*place, ...)]  # type: ignore[arg-type]
            corner[np.ix_(*index)] = record.arrays[name]
    return variables


def consolidate(folder: Folder, target: Folder | None = None, keys: Iterable[str] | None = None) -> Path:
    """Write what `load` returns to one netCDF file, by default results/<experiment>/<experiment>.nc.

    Raises:
        RecordError: as `load`, or a failed write.
    """
    dataset = load(folder, keys)
    path = Path(target) if target is not None else Path(folder) / f"{Path(folder).name}.nc"
    content = dataset.to_netcdf(engine="h5netcdf")
    with replacing(path) as stream:
        stream.write(content)
    return path


def _labels_of(found: list[Record]) -> set[str]:
    return {dim for record in found for dims in record.dimensions.values() for dim in dims}


def _split_knobs(knobs: list[dict[str, Any]], inner: set[str]) -> tuple[dict[str, Any], list[str]]:
    """The knobs that all cells share, and the names of those that are dimensions."""
    names = list(dict.fromkeys(name for values in knobs for name in values))
    shared, varying = {}, []
    for name in names:
        values = _distinct([setting.get(name) for setting in knobs])
        if name in inner:
            raise RecordError(f"{name!r} is both a knob and a dimension of an array")
        if len(values) == 1 and name not in DIMENSIONS:
            shared[name] = values[0]
        elif not (_all(values, str) or _all(values, int | float)):
            shown = json.dumps(values[:2])
            raise RecordError(f"cells differ in {name!r} ({shown}): load those of one run by their keys")
        else:
            varying.append(name)
    order = [name for name in DIMENSIONS if name in varying]
    return shared, order + sorted(name for name in varying if name not in DIMENSIONS)


def _all(values: list[Any], kind: Any) -> bool:
    return all(isinstance(value, kind) for value in values)


def _distinct(values: Iterable[Any]) -> list[Any]:
    return [json.loads(text) for text in sorted({json.dumps(value, sort_keys=True) for value in values})]


@functools.cache
def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version(), "numpy": np.__version__}
    with contextlib.suppress(PackageNotFoundError):
        found["dlinear"] = version("dlinear")
    return found


@functools.cache
def _revision() -> str | None:
    """The commit of the checkout that this library runs from (+changes when it has any), or None."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None

    def git(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None
