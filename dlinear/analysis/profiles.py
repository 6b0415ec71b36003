"""Alignment profiles to records and back, and what a set of seeds says about a number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dlinear.checks import as_integer, as_number, shown
from dlinear.engine.angle import AlignmentProfile
from dlinear.errors import DomainError, RecordError, UndefinedAngleError

if TYPE_CHECKING:
    import xarray


def shortfalls(depth: int, points: int, largest: float) -> np.ndarray[Any, np.dtype[np.int64]]:
    """About `points` shortfalls m, evenly in ratio, from 1 to the fraction `largest` of the depth.

    The last one is at least 8.

    Raises:
        DomainError: fewer than 3 points, a fraction outside (0, 1), or a depth below 10.
    """
    depth, points = as_integer("depth", depth, 10), as_integer("points", points, 3)
    if not 0 < as_number("largest", largest) < 1:
        raise DomainError(f"largest is {shown(largest)}; expected a number between 0 and 1")
    return np.unique(np.rint(np.geomspace(1, max(8.0, largest * depth), points)).astype(np.int64))


def as_arrays(profile: AlignmentProfile) -> dict[str, tuple[tuple[str, ...], np.ndarray[Any, Any]]]:
    """A profile as the arrays of one record, along the dimension shortfall.

    Raises:
        UndefinedAngleError: an angle is undefined: a gap in a record would pass for a value never asked for.
    """
    for m, why in zip(profile.shortfall, profile.undefined, strict=True):
        if why:
            raise UndefinedAngleError(f"the angle at the shortfall m = {m} is undefined: {why}")
    columns = ("shortfall", "sin2", "cos", "norm_ratio")
    return {name: (("shortfall",), getattr(profile, name)) for name in columns}


def from_records(data: xarray.Dataset, **labels: Any) -> list[AlignmentProfile]:
    """The profiles over the seeds of a dataset of records at the given labels (depth, ensemble, ...).

    Raises:
        RecordError: labels that leave more than seed and shortfall, or that no record has.
    """
    try:
        part = data.sel(labels)
    except (KeyError, ValueError) as error:
        raise RecordError(f"no record with {labels}") from error
    free = {str(dim) for dim in part["sin2"].dims} - {"seed", "shortfall"}
    if free:
        raise RecordError(f"{', '.join(sorted(free))} must be given a label")
    depth = int(part["depth"])
    found = []
    for seed in part["seed"].values if "seed" in part.dims else [None]:
        rows = (part if seed is None else part.sel(seed=seed)).dropna("shortfall", subset=["sin2"])
        if not rows.sizes["shortfall"]:
            continue
        m = rows["shortfall"].values.astype(np.int64)
        numbers = {name: rows[name].values for name in ("sin2", "cos", "norm_ratio")}
        found.append(AlignmentProfile(depth, depth - m, m, **numbers, undefined=("",) * len(m)))
    if not found:
        raise RecordError(f"no record with {labels}")
    return found
