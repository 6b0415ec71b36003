"""Records of courses by model and method, means with intervals, and sizes in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dlinear.analysis import statistics
from dlinear.analysis.statistics import Estimate
from dlinear.bridge.paper.settings import TITLES, column, horizon_of, title
from dlinear.runs.records import Record

Floats = NDArray[np.float64]
Group = dict[int, list[Record]]  # horizon -> records by seed


def by_model(found: Iterable[Record]) -> dict[str, Group]:
    """model -> horizon -> records, in the order of `TITLES`, of the horizons and of the seeds."""
    groups: dict[str, Group] = {}
    for record in sorted(found, key=lambda r: (list(TITLES).index(r.knobs["model"]), r.knobs["seed"])):
        h = horizon_of(record.knobs["method"], record.knobs["depth"])
        groups.setdefault(record.knobs["model"], {}).setdefault(h, []).append(record)
    return {name: dict(sorted(group.items())) for name, group in groups.items()}


def depth_of(group: Group) -> int:
    """T."""
    return int(next(iter(group.values()))[0].knobs["depth"])


def stacked(some: Sequence[Record], name: str) -> Floats:
    """An array of all seeds, (S, ...)."""
    return np.stack([np.asarray(record.arrays[name], np.float64) for record in some])


def mean(values: ArrayLike, level: float = statistics.LEVEL) -> Estimate:
    """The mean and its interval; NaN where a run diverged."""
    numbers = np.asarray(values, np.float64)
    if not np.isfinite(numbers).all():
        return Estimate(np.nan, np.nan, np.nan)
    return statistics.mean_interval(numbers, level)


def means(values: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean and ends of the intervals of (S, K) values along K."""
    found = [mean(one) for one in values.T]
    value, low, high = (np.array([getattr(one, name) for one in found]) for name in Estimate._fields)
    return value, low, high


def size_of(record: Record, seeds: int) -> str:
    """Seeds and size of a run in words, beside Table D2."""
    knobs, table = record.knobs, column(record.knobs["model"])
    paper, less = table.training, []
    for name, words in (("samples", "samples"), ("epochs", "epochs")):
        own, wanted = knobs[name], getattr(paper, name)
        if own != wanted:
            less.append(f"{own:,} of {wanted:,} {words}")
    if knobs["data"] != table.data:
        less.append(f"{knobs['data']} in place of {table.data}")
    if knobs["model"] != table.model:
        less.append(f"{title(knobs['model'])}, T = {knobs['depth']}, in place of {title(table.model)}")
    elif knobs["blocks"] is not None or knobs["width"] is not None:
        less.append(f"blocks {knobs['blocks']}, width {knobs['width']}")
    if knobs["learning_rate"] != paper.learning_rate:
        less.append(f"learning rate {knobs['learning_rate']:g} in place of {paper.learning_rate:g}")
    if knobs["base_epochs"]:
        less.append(f"base trained for {knobs['base_epochs']} epochs on the other half of the classes")
    size = f"reduced: {'; '.join(less)}" if less else "Table D2, all of it"
    return f"{seeds} seeds; {size}"
