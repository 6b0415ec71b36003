"""Figure 5: what the records of `sims.bridge_selection` say of the sentences of section 5.3."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dlinear.analysis.statistics import Estimate
from dlinear.bridge.paper.reading import Floats, mean
from dlinear.bridge.paper.settings import title
from dlinear.bridge.selection.outcome import ModelRecords, Table, rows_of_records
from dlinear.bridge.selection.words import COMPARABLE, means
from dlinear.report.reproduction import Finding
from dlinear.runs.records import Record

CHOOSING = ("polynomial", "theory")
HARD = "resnet62"


def tables(found: Sequence[Record]) -> tuple[dict[str, ModelRecords], Table]:
    """The models and Figure 5."""
    models, algorithms, columns = rows_of_records(found)
    return models, Table.of(models, algorithms, columns)


def findings(found: Sequence[Record]) -> list[Finding]:
    """What the records say of Figure 5; fewer than three seeds say nothing."""
    _, table = tables(found)
    if table.objectives.shape[2] < 3:
        return []
    return [finding for label in CHOOSING for finding in _of(table, label)] + [_rivals(table)]


def _of(table: Table, label: str) -> list[Finding]:
    """The sentences about selection, for one estimator."""
    every, labels = list(range(len(table.columns))), [one.label for one in table.algorithms]
    lost = {one: np.isinf(table.objectives[a]).mean(axis=0) for a, one in enumerate(labels)}

    def row(name: str, columns: Sequence[int]) -> Floats:
        """(S,) mean Rel(a) among the paper's rows."""
        found: Floats = means(table, columns, True)[labels.index(name)]
        return found

    first, second = (row(label, table.where(objective=name)) for name in ("O1", "O2"))
    hard = table.where(model=HARD)
    easy = [c for c in every if c not in hard]
    gaps = {
        "figure5-better": ("mean Rel(a): BP less selection", row("BP", every) - row(label, every)),
        "figure5-stable": (
            "share of infeasible runs: h = 1 less selection",
            lost["FF (h = 1)"] - lost[label],
        ),
        "figure5-objective": ("mean Rel(a): objective 1 less objective 2", first - second),
    }
    if hard and easy:
        apart = row(label, easy) - row(label, hard)
        gaps["figure5-difficult"] = (f"mean Rel(a): the other models less {title(HARD)}", apart)
    who = f"all, selection by {label}"
    out = [
        Finding(claim, who, f"{words} {mean(gap):+.2f}", _positive(mean(gap)))
        for claim, (words, gap) in gaps.items()
    ]
    for loco in (one for one in labels if one.startswith("LoCo")):
        gap = mean(row(loco, every) - row(label, every))
        holds = True if gap.low >= -COMPARABLE and gap.high <= COMPARABLE else None
        holds = False if gap.low > COMPARABLE or gap.high < -COMPARABLE else holds
        out.append(Finding("figure5-loco", who, f"mean Rel(a): {loco} less selection {gap:+.2f}", holds))
    return out


def _positive(gap: Estimate) -> bool | None:
    """Whether a difference is positive."""
    return True if gap.low > 0 else False if gap.high < 0 else None


def _rivals(table: Table) -> Finding:
    """In how many problems an exact method of less memory is better than every row of the paper."""
    ours = [a for a, one in enumerate(table.algorithms) if one.paper]
    rivals = [a for a, one in enumerate(table.algorithms) if one.method and not one.paper]
    won = table.objectives[rivals].min(axis=0) < table.objectives[ours].min(axis=0)
    share = mean(won.mean(axis=0))
    holds = True if share.low > 0.5 else False if share.high < 0.5 else None
    measured = f"checkpointing, revolve or micro-batches are better in {share:.2f} of the problems"
    return Finding("review-exact", "all", measured, holds, "objectives count memory, not the time of a step")
