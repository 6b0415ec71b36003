"""Figure 5 in tables, and the paper's sentences about it beside what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from dlinear.analysis.comparison import REFERENCE
from dlinear.analysis.statistics import Estimate, mean_interval
from dlinear.bridge.selection.outcome import Algorithm, Floats, ModelRecords, Table
from dlinear.selection import INFEASIBLE

__all__ = [
    "CHOSEN",
    "LOSSES",
    "RATES",
    "chosen_rows",
    "estimate_lines",
    "loss_rows",
    "paper_lines",
    "rate_rows",
    "relative_rows",
    "rival_line",
]


COMPARABLE = 0.2  # difference of mean Rel(a) that counts as none


def over_seeds(values: Floats) -> Estimate:
    """Mean and interval over the seeds, those that are finite; NaN of none."""
    finite = values[np.isfinite(values)]
    return mean_interval(finite) if finite.size else Estimate(math.nan, math.nan, math.nan)


def said(estimate: Estimate, spec: str) -> str:
    """Mean and interval; the number alone of one seed, nothing of none."""
    if math.isnan(estimate.value):
        return ""
    return f"{estimate.value:{spec}}" if math.isnan(estimate.low) else f"{estimate:{spec}}"


CHOOSING = ("poly", "theory", "no g_T")
CHOSEN = ("model", "objective", *(f"{cost}, {name}" for cost in ("C1", "C2") for name in CHOOSING))


def chosen_rows(table: Table) -> list[list[str]]:
    """The horizons that were chosen, by seed, under `CHOSEN`."""
    choosing = [a for a, one in enumerate(table.algorithms) if one.estimator]
    rows: dict[tuple[str, str], list[str]] = {}
    for c, column in enumerate(table.columns):
        label = (column.model, str(column).partition(" ")[2])
        for a in choosing:
            crossed = ["x" if math.isinf(value) else "" for value in table.objectives[a, c]]
            marked = [f"{h:.0f}{x}" for h, x in zip(table.horizons[a, c], crossed, strict=True)]
            rows.setdefault(label, []).append(" ".join(marked))
    return [[*label, *cells] for label, cells in rows.items()]


RATES = ("model", "method", "r measured", "cos^2, mean in training", "cos^2 at the start", "memory")


def rate_rows(one: ModelRecords, algorithms: Sequence[Algorithm]) -> list[list[str]]:
    """Eq. (14) against what it approximates, under `RATES`: the horizons that were run, the other methods."""
    horizons = {int(name.rpartition("-")[2]) for name, _ in one.runs if name.startswith("horizon-")}
    fixed = [a.method for a in algorithms if a.method and a.method not in (REFERENCE, "horizon-1")]
    rows = []
    for name in [*(f"horizon-{h}" for h in sorted(horizons)), *fixed]:
        seeds = [seed for seed in one.seeds if (one.runner(name), seed) in one.runs]
        h = int(name.rpartition("-")[2]) if name.startswith("horizon-") else 0
        rate = over_seeds(np.array([one.rate(name, seed) for seed in seeds]))
        cosines = [
            said(over_seeds(squares(one, h, start, seeds)), ".2f") if h else "" for start in (False, True)
        ]
        share = one.memory[name] / one.memory[REFERENCE]
        rows.append([one.name, f"{name} ({len(seeds)})", said(rate, ".2f"), *cosines, f"{share:.0%}"])
    return rows


def squares(one: ModelRecords, horizon: int, start: bool, seeds: Sequence[int]) -> Floats:
    """cos^2 of each seed."""
    return np.array([one.cosine(seed, start)[horizon - 1] ** 2 for seed in seeds])


LOSSES = ("model", "method", "training loss", "test loss", "test accuracy", "r from the test loss")


def loss_rows(one: ModelRecords) -> list[list[str]]:
    """Where every training run ended, under `LOSSES`."""
    rows = []
    for name in dict.fromkeys(method for method, _ in one.runs):
        seeds = [seed for seed in one.seeds if (name, seed) in one.runs]
        parts = ("train_loss", "test_loss", "test_accuracy")
        ends = [
            over_seeds(np.array([one.runs[name, seed].arrays[f"final_{part}"] for seed in seeds]))
            for part in parts
        ]
        falls = [one.fall(name, s, "test_loss") / one.fall(REFERENCE, s, "test_loss") for s in seeds]
        row = [said(end, spec) for end, spec in zip(ends, (".4f", ".4f", ".1%"), strict=True)]
        row.append(said(over_seeds(np.array(falls)), ".2f"))
        rows.append([one.name, f"{name} ({len(seeds)})", *row])
    return rows


def means(table: Table, columns: Sequence[int], paper: bool) -> Floats:
    """(A, S) mean Rel(a) over some columns, infeasible as 1.5."""
    found: Floats = table.relative(INFEASIBLE, paper)[:, columns].mean(axis=1)
    return found


def relative_rows(table: Table, models: Sequence[str], paper: bool) -> list[list[str]]:
    """Mean Rel(a) by model and over all, and how often infeasible."""
    groups = [table.where(model=name) for name in models] + [list(range(len(table.columns)))]
    values = [means(table, some, paper) for some in groups]
    rows = []
    for a, one in enumerate(table.algorithms):
        if one.paper or not paper:
            lost = float(np.isinf(table.objectives[a]).mean())
            rows.append([one.label, *(said(over_seeds(part[a]), ".2f") for part in values), f"{lost:.0%}"])
    return rows


def estimate_lines(one: ModelRecords, algorithms: Sequence[Algorithm]) -> list[str]:
    """How well each estimator knows horizons that it has not seen: r, and memory."""
    unseen = np.setdiff1d(np.arange(1, one.depth + 1), one.horizons) - 1
    if not unseen.size:
        return [f"{one.name}: every horizon was measured"]
    memory = np.array([one.memory[f"horizon-{h}"] for h in range(1, one.depth + 1)])
    lines = []
    for algorithm in (a for a in algorithms if a.estimator):
        found = [one.estimate(seed, algorithm) for seed in one.seeds]
        true = [np.clip(one.cosine(seed), 0, 1) ** 2 for seed in one.seeds]
        errors = [np.sqrt(np.mean((a.rate - r)[unseen] ** 2)) for a, r in zip(found, true, strict=True)]
        apart = np.abs(found[0].memory / memory - 1)[unseen].max()
        lines.append(
            f"{one.name}, {algorithm.label}: at {unseen.size} unseen horizons cos^2 is off by "
            f"{said(over_seeds(np.array(errors)), '.3f')} (root mean square), memory by at most {apart:.1%}"
        )
    return lines


def agrees(gap: Estimate) -> str:
    """Whether a difference that the paper says is positive is so."""
    return "agrees" if gap.low > 0 else "does not agree" if gap.high < 0 else "cannot be said"


def comparable(gap: Estimate) -> str:
    """Whether a difference of means is small."""
    if gap.low >= -COMPARABLE and gap.high <= COMPARABLE:
        return "agrees"
    apart = gap.low > COMPARABLE or gap.high < -COMPARABLE
    return "does not agree" if apart else "cannot be said"


def paper_lines(table: Table, models: Mapping[str, str]) -> list[str]:
    """The sentences of section 5.3, each with the measured difference of mean Rel(a) and its interval.

    Args:
        table: the rows of the paper are compared among themselves.
        models: by their names, what to call them; the last is the difficult one.
    """
    lines = []
    for one in table.algorithms:
        if one.estimator and one.paper:
            for words, values in _sentences(table, one.label, models):
                gap = over_seeds(values)
                lines.append(f"paper: selection {words}; {one.label}: difference {gap:.2f}: {agrees(gap)}")
            for words, values in _comparisons(table, one.label):
                gap = over_seeds(values)
                lines.append(
                    f"paper: selection {words}; {one.label}: difference {gap:.2f}: {comparable(gap)}"
                )
    return lines


def _row(table: Table, label: str, columns: Sequence[int]) -> Floats:
    """(S,) mean Rel(a) of one row of the paper."""
    number = [one.label for one in table.algorithms].index(label)
    found: Floats = means(table, columns, paper=True)[number]
    return found


def _sentences(table: Table, label: str, models: Mapping[str, str]) -> list[tuple[str, Floats]]:
    """What the paper says of selection, and a difference over the seeds that is then positive."""
    every = list(range(len(table.columns)))
    row = partial(_row, table, label)
    lost = {one.label: np.isinf(table.objectives[a]).mean(axis=0) for a, one in enumerate(table.algorithms)}
    first, second = (row(table.where(objective=name)) for name in ("O1", "O2"))
    found = [
        ("achieves better objective values than BP", _row(table, "BP", every) - row(every)),
        ("is infeasible less often than FF", lost["FF (h = 1)"] - lost[label]),
        ("does better in objective 2 than in objective 1", first - second),
    ]
    hard = table.where(model=list(models)[-1])
    if easy := [c for c in every if c not in hard]:
        what = f"does better on {list(models.values())[-1]} than on the other models"
        found.append((what, row(easy) - row(hard)))
    return found


def _comparisons(table: Table, label: str) -> list[tuple[str, Floats]]:
    """The averages that the paper calls comparable."""
    every = list(range(len(table.columns)))
    own = _row(table, label, every)
    locos = [one.label for one in table.algorithms if one.label.startswith("LoCo")]
    what = f"(within {COMPARABLE:g})"
    return [(f"has an average comparable to {loco} {what}", _row(table, loco, every) - own) for loco in locos]


def rival_line(table: Table) -> str:
    """How often an exact method that the paper leaves out is better than everything that it has."""
    ours = [a for a, one in enumerate(table.algorithms) if one.paper]
    rivals = [a for a, one in enumerate(table.algorithms) if one.method and not one.paper]
    best = table.objectives[ours].min(axis=0)
    won = (table.objectives[rivals] < best).mean(axis=(1, 2))
    some = ", ".join(f"{table.algorithms[a].label} {share:.0%}" for a, share in zip(rivals, won, strict=True))
    any_ = float((table.objectives[rivals].min(axis=0) < best).mean())
    return (
        f"an exact method has a better objective than every row of the paper in {any_:.0%} of the problems "
        f"({some}); objectives count memory and epochs, not the time of a step"
    )
