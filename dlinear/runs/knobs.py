"""Knobs of scripts: what they may be, and those that scripts share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np

from dlinear.data.tasks import TaskName, load_task
from dlinear.errors import DomainError

CellType = TypeVar("CellType")
Knobs = TypeVar("Knobs")


WHERE = {  # knobs that say where and how a run is computed, not what
    *("results", "workers", "scheduler", "scheduler_file", "answer", "patience", "shard"),
    *("data_folder", "download", "threads", "memory", "timeout", "keep", "docs"),
}


class Constraint(NamedTuple):
    """What a knob may be, as a test and in words."""

    holds: Callable[[Any], bool]
    words: str


def at_least(low: int) -> Constraint:
    """Numbers from `low` on."""
    return Constraint(lambda value: low <= value < math.inf, f"{low} or more")


def below(high: float) -> Constraint:
    """Positive numbers below `high`."""
    return Constraint(lambda value: 0 < value < high, f"more than 0 and less than {high:g}")


WORKERS = Constraint(lambda value: value is None or value >= 0, "0 or more")


FINITE = Constraint(math.isfinite, "finite")


NONZERO = Constraint(lambda value: math.isfinite(value) and value != 0, "finite and not 0")


POSITIVE = Constraint(lambda value: 0 < value < math.inf, "finite and more than 0")


FRACTION = below(1)


PROFILE = {
    "width": at_least(1),
    "seeds": at_least(1),
    "points": at_least(3),
}  # of every sim that draws profiles


def check(knobs: Any, **rules: Constraint) -> None:
    """Check the knobs of a script by their names, every item of those that hold several.

    Raises:
        DomainError: a value that its rule excludes, or a list (of depths, for example) that is empty or names
            something twice.
    """
    for name in (field.name for field in fields(knobs)):
        option, value = f"--{name.replace('_', '-')}", getattr(knobs, name)
        items = value if isinstance(value, tuple) else (value,)
        if not items or len(set(items)) < len(items):
            raise DomainError(f"{option} must hold one value or more, each once; received {list(items)}")
        rule = {"workers": WORKERS, **rules}.get(name)
        if rule is not None and not all(map(rule.holds, items)):
            raise DomainError(f"{option} must be {rule.words}; received {value}")


def filled(knobs: Knobs, values: Mapping[str, Any]) -> Knobs:
    """The knobs with those that were left open (None, or "auto") taken from `values`."""
    open_ = {name: value for name, value in values.items() if getattr(knobs, name) in (None, "auto")}
    settled = replace(knobs, **open_)  # type: ignore[type-var]
    # they were not chosen: `changed` leaves them out
    object.__setattr__(settled, "_filled", {*open_, *getattr(knobs, "_filled", ())})
    return settled


def changed(knobs: Any) -> str:
    """The options that turn the default run into this one, "--depths 300 --seeds 2"; empty for that itself.

    Options that only say where and how a run is computed are left out.
    """
    words = []
    for field in fields(knobs):
        value, default = getattr(knobs, field.name), field.default
        if field.name in WHERE or field.name in getattr(knobs, "_filled", ()) or value == default:
            continue
        option = field.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            items = value if isinstance(value, tuple) else (value,)
            words.append(f"--{option} {' '.join(map(str, items))}")
    return " ".join(words)


def cell_from(kind: type[CellType], knobs: Any, **own: Any) -> CellType:
    """A cell (a dataclass) of its own values and of the knobs that have the names of its other fields."""
    names = [field.name for field in fields(kind) if field.name not in own]  # type: ignore[arg-type]
    return kind(**own, **{name: getattr(knobs, name) for name in names if hasattr(knobs, name)})


@dataclass(frozen=True)
class Source:
    """Where data sets that are not bundled come from."""

    data_folder: str | None = None  # folder of data sets, searched before DLINEAR_DATA and ./data
    download: bool = False  # whether official archives are fetched when no copy is found


@dataclass(frozen=True)
class Images(Source):
    """The labelled images that a model is trained on."""

    data: str = "digits"  # images with labels; digits are real and bundled with scikit-learn


@dataclass(frozen=True)
class Target(Source):
    """The data whose whitened target Phi the networks are measured against, and the points of a profile."""

    data: TaskName = "digits"  # data set of the target; digits are real and bundled with scikit-learn
    width: int = 10  # n, rows of a layer; 10 is the paper's, and ten classes fill it exactly
    points: int = 20  # number of shortfalls m, evenly in ratio; 20 resolve two decades

    def phi(self) -> tuple[np.ndarray, str]:
        """Phi, (n, n), and the identity of the data it comes from.

        Raises:
            DataError, DomainError, MissingDependencyError: as `tasks.load_task`.
        """
        task, identity = load_task(self.data, self.width, folder=self.data_folder, download=self.download)
        return task.phi, identity


@dataclass(frozen=True)
class Narrow:
    """The width of networks whose law does not depend on it."""

    width: int = 4  # n, rows of a layer; a few are fast, and the laws do not depend on it


@dataclass(frozen=True)
class ProfileCell:
    """What names the profile of one network against one target; a sim's own cell adds its other knobs.

    Attributes:
        ensemble: kind of layers.
        depth: T.
        seed: of the layers.
        data_identity: content of the data that Phi comes from.
        width: n.
        data: name of the data set.
        points: number of shortfalls.
    """

    ensemble: str
    depth: int
    seed: int
    data_identity: str
    width: int
    data: str
    points: int
