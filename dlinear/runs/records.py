"""One atomic file per result: results/<experiment>/cells/<key>.npz.

A *cell* is one setting of an experiment's knobs. Its key is the sha256 of the knobs' sorted JSON; its
file holds the numbers and, as UTF-8 bytes in the array `record`, their metadata (knobs, dimensions,
versions, git revision, machine, seconds) with the sha256 of all that. A file is written under another name
in the same folder, synced and renamed, so that it is either whole or absent. Damaged, foreign and newer
files are named by a `RecordWarning` and skipped.

Each array names its own dimensions; a scalar knob that differs between cells (and always seed, depth
and ensemble) becomes a dimension of the labelled dataset that `load` returns.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dlinear import storage
from dlinear.checks import as_number, as_place, shown
from dlinear.errors import DomainError, RecordError
from dlinear.runs import provenance

FORMAT = "dlinear record"
VERSION = 1
RESERVED = ("record", "file", "allow_pickle")  # the header, and words that numpy.savez keeps for itself

Knobs = Mapping[str, Any]
Folder = str | os.PathLike[str]


class NewerRecordError(RecordError):
    """A result file was written by a newer version of this library."""


@dataclass(frozen=True)
class Record:
    """One cell as it was read.

    Attributes:
        key: sha256 of the knobs.
        knobs: the setting, JSON values only.
        arrays: the numbers by name.
        dimensions: the dimensions of each array, () for a scalar.
        meta: versions, git revision, machine, seconds.
        sealed: whether its content has been compared with a hash; not in files of early versions.
    """

    key: str
    knobs: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    dimensions: dict[str, tuple[str, ...]]
    meta: dict[str, Any]
    sealed: bool = True


def plain(knobs: Any) -> dict[str, Any]:
    """The knobs (a dataclass or a mapping) as the JSON values that their key is made of.

    Raises:
        RecordError: no such thing, or a value that JSON cannot hold exactly (an array, a function, NaN).
    """
    if dataclasses.is_dataclass(knobs) and not isinstance(knobs, type):
        values = dataclasses.asdict(knobs)
    elif isinstance(knobs, Mapping) and all(isinstance(name, str) for name in knobs):
        values = dict(knobs)
    else:
        raise RecordError(
            f"knobs must be a dataclass or a mapping of names to JSON values; received {shown(knobs, 60)}"
        )
    try:
        out: dict[str, Any] = json.loads(_canonical(values))
    except (TypeError, ValueError, RecursionError) as error:
        raise RecordError(
            f"knobs must be JSON values (numbers, strings, lists): {storage.reason(error)}"
        ) from error
    return out


def key(knobs: Any) -> str:
    """The cell key: sha256 of the sorted JSON of the knobs, 64 hexadecimal digits."""
    return hashlib.sha256(_canonical(plain(knobs)).encode()).hexdigest()


def _canonical(values: Any) -> str:
    return json.dumps(values, sort_keys=True, allow_nan=False, separators=(",", ":"))


def cells(folder: Folder) -> Path:
    """The folder of the cell files of results/<experiment>."""
    return as_place("folder", folder, RecordError) / "cells"


def write(
    folder: Folder,
    knobs: Any,
    arrays: Mapping[str, tuple[Sequence[str], ArrayLike]],
    seconds: float | None = None,
    origin: Mapping[str, Any] | None = None,
) -> Path:
    """Write one cell atomically and return its path; an existing file of the same key is replaced.

    Args:
        folder: results/<experiment>; made when missing.
        knobs: a frozen dataclass or a mapping of JSON values.
        arrays: name -> (dimensions, values); a dimension named like an array takes its labels from it.
        seconds: how long the cell took.
        origin: versions, revision and machine of the process that computed it; by default of this one.

    Raises:
        RecordError: values that are not real numbers, dimensions that do not fit, or a failed write
            (for example a full disk), which leaves no trace.
    """
    values, place = plain(knobs), cells(folder)
    if seconds is not None:
        seconds = _as_seconds(seconds)
    numbers, dimensions = _as_numbers(arrays)
    if fault := _fault(numbers, dimensions):
        raise RecordError(fault)
    head: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "key": key(values),
        "knobs": values,
        "dimensions": {name: list(dims) for name, dims in dimensions.items()},
        "meta": {**(provenance.of_this_process() if origin is None else origin), "seconds": seconds},
    }
    head["content"] = _digest(head, numbers)
    numbers["record"] = np.frombuffer(json.dumps(head, sort_keys=True).encode(), np.uint8)
    path = place / f"{head['key']}.npz"
    with storage.replacing(path) as stream:
        np.savez_compressed(stream, **numbers)  # type: ignore[arg-type]
    return path


def _as_seconds(value: object) -> float:
    try:
        return as_number("seconds", value)
    except DomainError:
        raise RecordError(f"seconds must be a finite number >= 0, not {shown(value, 60)}") from None


def _as_numbers(arrays: Any) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The arrays, and the dimensions that are given with them, both by name."""
    numbers: dict[str, NDArray[Any]] = {}
    dimensions: dict[str, Any] = {}
    if not isinstance(arrays, Mapping):
        raise RecordError(f"arrays must map names to (dimensions, values), not {shown(arrays, 60)}")
    for name, pair in arrays.items():
        if not isinstance(name, str) or name in RESERVED or not name or not name.isprintable():
            raise RecordError(f"an array must not be called {name!r}; reserved are {', '.join(RESERVED)}")
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise RecordError(f"array {name!r} must be given as (dimensions, values), not {shown(pair, 60)}")
        dimensions[name] = pair[0]
        try:
            numbers[name] = np.asarray(pair[1])
        except Exception as error:  # ragged lists; tensors of another device or with a gradient
            raise RecordError(f"array {name!r} must hold real numbers: {storage.reason(error)}") from error
    return numbers, dimensions


def _digest(head: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    """sha256 of the header and of all numbers with their names, types and shapes."""
    found = hashlib.sha256(_canonical({name: head[name] for name in head if name != "content"}).encode())
    for name in sorted(arrays):
        array = arrays[name]
        found.update(_canonical([name, array.dtype.str, list(array.shape)]).encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


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
    path = as_place("path", path, RecordError)
    arrays = storage.read_npz(path, RecordError)
    try:
        head = json.loads(arrays.pop("record").tobytes())
    except (KeyError, ValueError, RecursionError):
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
        if "content" in head and head["content"] != _digest(head, arrays):
            fault = fault or "its numbers are not those that were written"
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise RecordError(f"{path} has an incomplete header") from error
    if not own:
        raise RecordError(f"{path} is a record of another cell: its knobs do not give its name")
    if fault:
        raise RecordError(f"{path} is damaged: {fault}; remove it and run the experiment again")
    found = {name: tuple(dims) for name, dims in dimensions.items()}
    return Record(head["key"], knobs, arrays, found, meta, "content" in head)
