"""Many records as one: which make a run, and a labelled data set of them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dlinear.errors import RecordError
from dlinear.optional import needed
from dlinear.runs.records import FORMAT, VERSION, Folder, NewerRecordError, Record, cells, read
from dlinear.storage import replacing

if TYPE_CHECKING:
    import xarray


DIMENSIONS = ("seed", "depth", "ensemble")  # always dimensions, also when all cells share one value


LIMIT = 10**8  # values of one array of the labelled dataset


class RecordWarning(UserWarning):
    """A result file was skipped; the message names it and says why."""


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
