"""Many records as one: which make a run, and a labelled data set of them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlinear.checks import as_known, as_place, shown
from dlinear.errors import RecordError
from dlinear.runs.dataset import RecordWarning as RecordWarning
from dlinear.runs.dataset import as_dataset, library
from dlinear.runs.records import FORMAT, VERSION, Folder, NewerRecordError, Record, cells, read
from dlinear.storage import read_json, replacing

if TYPE_CHECKING:
    import xarray

FIRST = {"data": 0, "model": 1, "depth": 2, "width": 3, "seed": 4}  # place of a field in a description
WORDS = {"depth": "T", "width": "n"}
UNSAID = {
    "edition",
    "data_identity",
    "digest",
    "points",
    "part",
    "measured",
    "rounds",
    "probed",
}  # how, not what
RUNS = ("latest", "default")  # the last complete run of all, and of those with all knobs at their defaults


@dataclass(frozen=True)
class Run:
    """A complete run of an experiment.

    Attributes:
        folder: results/<experiment>.
        keys: of its cells.
        changed: the options that make it differ from the default run; empty for that, or if none were noted.
        which: one of `RUNS`.
    """

    folder: Path
    keys: tuple[str, ...]
    changed: str = ""
    which: str = "latest"

    def records(self) -> list[Record]:
        """Its records, sorted by key.

        Raises:
            RecordError: some are missing or unreadable.
        """
        found, count = scan(self.folder, self.keys), len(set(self.keys))
        if len(found) != count:
            raise RecordError(
                f"{len(found)} of the {count} cells of the {self.which} run are in {self.folder}"
            )
        return found

    def described(self) -> str:
        """What its cells have in common and where they differ, in words: data, T, n, seeds, then the rest.

        Raises:
            RecordError: some are missing or unreadable.
        """
        values: dict[str, set[Any]] = {}
        for record in self.records():
            for name, value in record.knobs.items():
                if isinstance(value, bool | int | float | str) or value is None:
                    values.setdefault(name, set()).add(value)
        parts = []
        for name in sorted(values, key=lambda name: (FIRST.get(name, len(FIRST)), name)):
            some = values[name] - {None, ""}
            if name in UNSAID or not some:
                continue
            if name == "seed":
                parts.append(f"{len(some)} seed" + "s" * (len(some) > 1))
            elif name in FIRST or len(some) == 1:
                parts.append(f"{WORDS.get(name, name)} {_range(some)}")
        return "; ".join(parts)

    def load(self) -> xarray.Dataset:
        """Its records as a data set, see `load`.

        Raises:
            RecordError: some are missing or unreadable.
        """
        library()  # a missing package is said before a missing record
        return as_dataset(self.records())


def _range(values: set[Any]) -> str:
    """Few values one by one, many numbers as the least and the largest."""
    ordered = sorted(values, key=lambda value: (isinstance(value, str), value))
    if len(ordered) > 4 and not isinstance(ordered[-1], str):
        return f"{ordered[0]} to {ordered[-1]}"
    return ", ".join(map(str, ordered))


def scan(folder: Folder, keys: Iterable[str] | None = None) -> list[Record]:
    """All readable records of results/<experiment>, sorted by key; the others are named by a warning."""
    wanted = None if keys is None else set(_as_keys(keys))
    found = []
    for path in sorted(cells(folder).glob("*.npz")):
        if wanted is not None and path.stem not in wanted:
            continue
        try:
            found.append(read(path))
        except RecordError as error:
            warnings.warn(f"skipped: {error}", RecordWarning, stacklevel=2)
    return found


def _as_keys(keys: object) -> list[str]:
    """Keys of cells as a list, or `RecordError`."""
    if isinstance(keys, Iterable) and not isinstance(keys, str | bytes):
        found = list(keys)
        if all(isinstance(key, str) for key in found):
            return found
    raise RecordError(f"keys must be a sequence of strings, not {shown(keys, 60)}")


def mark_latest(folder: Folder, keys: Sequence[str], changed: str | None = None) -> None:
    """Write down which cells the latest complete run consists of (results/<experiment>/latest.json).

    A run with all knobs at their defaults is written to default.json too, so that a later, smaller one does
    not take its place there.

    Args:
        folder: results/<experiment>.
        keys: of the cells.
        changed: the options that make the run differ from the default one, empty for that, None if unknown.

    Raises:
        RecordError: keys that are not a sequence of strings, or a failed write.
    """
    place = as_place("folder", folder, RecordError)
    content = {"format": FORMAT, "version": VERSION, "keys": _as_keys(keys), "changed": changed}
    for name in RUNS if changed == "" else RUNS[:1]:
        with replacing(place / f"{name}.json") as stream:
            stream.write(json.dumps(content, indent=1).encode())


def run_of(folder: Folder, which: str = "latest") -> Run:
    """The latest complete run of an experiment, or the latest one that was the default.

    Raises:
        RecordError: no such run has been completed here, or its list is damaged or newer.
        DomainError: `which` is neither "latest" nor "default".
    """
    folder = as_place("folder", folder, RecordError)
    path = folder / f"{as_known('run', which, RUNS)}.json"
    try:
        content = read_json(path, RecordError)
        version, keys, changed = content["version"], content["keys"], content.get("changed")
        right = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
        if type(version) is not int or not right or not isinstance(changed, str | None):
            raise TypeError("version, keys or changed")
    except FileNotFoundError:
        kind = "run" if which == "latest" else "run with all knobs at their defaults"
        raise RecordError(f"{path} does not exist: no {kind} has been completed in {folder}") from None
    except (RecordError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"{path} is damaged; run the experiment again") from error
    if version > VERSION:
        raise NewerRecordError(f"{path} is of version {version}; this library reads up to {VERSION}")
    return Run(folder, tuple(keys), changed or "", which)


def latest(folder: Folder) -> list[str]:
    """The cell keys of the latest complete run.

    Raises:
        RecordError: no run has been completed here, or its list is damaged or newer.
    """
    return list(run_of(folder).keys)


def load_run(folder: Folder, which: str = "latest") -> tuple[Run, xarray.Dataset]:
    """`run_of`, and its records as a data set.

    Raises:
        RecordError: no such run, or some of its cells are missing or unreadable.
    """
    run = run_of(folder, which)
    return run, run.load()


def load_latest(folder: Folder) -> xarray.Dataset:
    """`load` of the cells of the latest complete run.

    Raises:
        RecordError: no complete run, or some of its cells are missing or unreadable.
    """
    return run_of(folder).load()


def load(folder: Folder, keys: Iterable[str] | None = None) -> xarray.Dataset:
    """The records of results/<experiment> as one labelled dataset, float64, NaN where no cell has a value.

    Args:
        folder: results/<experiment>.
        keys: only these cells, for example `latest(folder)`; all of them by default.

    Returns:
        Dimensions seed, depth, ensemble, every other scalar knob that differs between the cells, and the
        arrays' own ones (shortfall or horizon). Knobs that all cells share, the versions, the git revisions
        and the machines are attributes.

    Raises:
        RecordError: no readable record, or cells that are too unlike to fit in one array.
    """
    found = scan(folder, keys)
    if not found:
        raise RecordError(f"no readable record in {cells(folder)}")
    return as_dataset(found)


def consolidate(folder: Folder, target: Folder | None = None, keys: Iterable[str] | None = None) -> Path:
    """Write what `load` returns to one netCDF file, by default results/<experiment>/<experiment>.nc.

    Raises:
        RecordError: as `load`, or a failed write.
    """
    place = as_place("folder", folder, RecordError)
    path = place / f"{place.name}.nc" if target is None else as_place("target", target, RecordError)
    dataset = load(place, keys)
    content = dataset.to_netcdf(engine="h5netcdf")
    with replacing(path) as stream:
        stream.write(content)
    return path
