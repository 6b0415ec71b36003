"""Records as one labelled data set."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dlinear.errors import RecordError
from dlinear.optional import needed
from dlinear.runs.meanings import attributes_of
from dlinear.runs.records import Record

if TYPE_CHECKING:
    import xarray

DIMENSIONS = ("seed", "depth", "ensemble")  # always dimensions, also when all cells share one value
LIMIT = 10**8  # values of one array of the labelled dataset


class RecordWarning(UserWarning):
    """A result file was skipped or is doubtful; the message names it and says why."""


def library() -> Any:
    """xarray.

    Raises:
        MissingDependencyError: it is not installed.
    """
    with needed("a labelled data set"):
        import xarray
    return xarray


def as_dataset(found: list[Record]) -> xarray.Dataset:
    """The records as one dataset, float64, NaN where no cell has a value; see `collection.load`.

    Variables that are known say what they are (`long_name`, `units`).

    Raises:
        RecordError: cells that are too unlike to fit in one array, or of which one lacks an array.
    """
    lib = library()
    check_alike(found)
    _warn_of_gaps(found)
    shared, varying = _split_knobs([record.knobs for record in found], _labels_of(found))
    labels: dict[str, list[Any]] = {
        name: sorted({record.knobs[name] for record in found if name in record.knobs}) for name in varying
    }
    inner = sorted({dim for record in found for dims in record.dimensions.values() for dim in dims})
    for dim in inner:
        labels[dim] = sorted({value for r in found if dim in r.arrays for value in r.arrays[dim].tolist()})
    variables = _filled(found, varying, labels)
    attributes = {"cells": len(found), "knobs": json.dumps(shared, sort_keys=True)}
    for name in ("versions", "revision", "machine"):
        attributes[name] = json.dumps(_distinct([record.meta.get(name) for record in found]), sort_keys=True)
    made: xarray.Dataset = lib.Dataset(
        variables, coords={name: (name, label) for name, label in labels.items()}, attrs=attributes
    )
    for variable in made.variables:
        made[variable].attrs.update(attributes_of(str(variable)))
    return made


def check_alike(found: Iterable[Record]) -> None:
    """Check that cells of one kind hold the same arrays; another version may have written fewer.

    Cells are of one kind when their knobs that are words or switches, and their edition, are equal.

    Raises:
        RecordError: an array that some cells of a kind hold and others do not.
    """
    kinds: dict[str, list[Record]] = {}
    for record in found:
        words = {
            name: v for name, v in record.knobs.items() if isinstance(v, str | bool) or name == "edition"
        }
        kinds.setdefault(json.dumps(words, sort_keys=True), []).append(record)
    for alike in kinds.values():
        for name, count in Counter(name for record in alike for name in record.arrays).items():
            if count < len(alike):
                odd = [record for record in alike if (name in record.arrays) == (2 * count < len(alike))]
                raise RecordError(
                    f"{count} of {len(alike)} cells of one kind hold {name!r}, so that versions of the code "
                    f"differ: remove {odd[0].key} (revision {odd[0].meta['revision']})"
                    f"{f' and {len(odd) - 1} more' if len(odd) > 1 else ''} and run the experiment again"
                )


def _warn_of_gaps(found: Iterable[Record]) -> None:
    """NaN in a record whose content has no hash may be a gap that was never computed."""
    doubtful = {}
    for record in found:
        gaps = [n for n, a in record.arrays.items() if a.dtype.kind == "f" and np.isnan(a).any()]
        if gaps and not record.sealed:
            doubtful[record.key] = gaps
    if doubtful:
        key, gaps = next(iter(doubtful.items()))
        warnings.warn(
            f"{len(doubtful)} records of an early version hold NaN, the first {key} in {', '.join(gaps)}: "
            "if that array should have none, remove them and run the experiment again",
            RecordWarning,
            stacklevel=4,
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
