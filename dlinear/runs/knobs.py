"""Knobs of scripts: what they may be, and those that scripts share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np

from dlinear.data.tasks import TaskName, load_task
from dlinear.errors import DomainError

Cell = TypeVar("Cell")
Knobs = TypeVar("Knobs")


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
    for name, value in vars(knobs).items():
        option = f"--{name.replace('_', '-')}"
        items = value if isinstance(value, tuple) else (value,)
        if not items or len(set(items)) < len(items):
            raise DomainError(f"{option} must hold one value or more, each once; received {list(items)}")
        if name in rules and not all(map(rules[name].holds, items)):
            raise DomainError(f"{option} must be {rules[name].words}; received {value}")


def filled(knobs: Knobs, values: Mapping[str, Any]) -> Knobs:
    """The knobs with those that were left open (None, or "auto") taken from `values`."""
    open_ = {name: value for name, value in values.items() if getattr(knobs, name) in (None, "auto")}
    return replace(knobs, **open_)  # type: ignore[type-var]


def cell_from(kind: type[Cell], knobs: Any, **own: Any) -> Cell:
    """A cell (a dataclass) of its own values and of the knobs that have the names of its other fields."""
    names = [field.name for field in fields(kind) if field.name not in own]  # type: ignore[arg-type]
    return kind(**own, **{name: getattr(knobs, name) for name in names if hasattr(knobs, name)})


@dataclass(frozen=True)
class Source:
    """Where data sets that are not bundled come from."""

    data_folder: str | None = None  # where to look for them, before DLINEAR_DATA and ./data
    download: bool = False  # fetch the official archives when no copy is found


@dataclass(frozen=True)
class Target(Source):
    """The data whose whitened target Phi the networks are measured against, and the points of a profile."""

    data: TaskName = "digits"  # real labels and images, bundled with scikit-learn: no download
    width: int = 10  # the paper's; the labels of ten classes fill it exactly
    points: int = 20  # shortfalls, evenly in ratio

    def phi(self) -> tuple[np.ndarray, str]:
        """Phi, (n, n), and the identity of the data it comes from.

        Raises:
            DataError, DomainError, MissingDependencyError: as `tasks.load_task`.
        """
        task, identity = load_task(self.data, self.width, folder=self.data_folder, download=self.download)
        return task.phi, identity
