"""Figures E2 and 4: training and test loss by epoch at several horizons, beside back-propagation's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dlinear.analysis.scratch import ratio
from dlinear.analysis.statistics import Estimate
from dlinear.bridge.paper.experiment import Reading
from dlinear.bridge.paper.reading import Group, by_model, depth_of, mean, stacked
from dlinear.bridge.paper.settings import title
from dlinear.report.reproduction import Finding
from dlinear.report.verdicts import Answer
from dlinear.runs.records import Record

HEADER = (
    *("model", "h", "train loss, epoch 1", "end [95 %]", "test loss, epoch 1", "end [95 %]"),
    *("test accuracy", "train/backprop, epoch 1 [95 %]", "end [95 %]", "test/backprop, end [95 %]"),
)
ALIGNED = 1.5  # ratio of losses up to which two runs count as aligned


def against(group: Group, h: int, name: str, epoch: int) -> Estimate:
    """Geometric mean over the seeds of the loss at horizon h over back-propagation's."""
    own, whole = (stacked(group[k], name)[:, epoch] for k in (h, depth_of(group)))
    return ratio(own, whole)


def rows(found: Sequence[Record]) -> list[list[str]]:
    """Lines of the table with HEADER."""
    lines = []
    for name, group in by_model(found).items():
        for h, some in group.items():
            train, test = (stacked(some, part) for part in ("train_loss", "test_loss"))
            accuracy = mean(stacked(some, "test_accuracy")[:, -1])
            lines.append(
                [
                    *(name, str(h)),
                    *(
                        f"{values[:, 1].mean():.4g}" if k else f"{mean(values[:, -1]):.3g}"
                        for values in (train, test)
                        for k in (1, 0)
                    ),
                    "-" if np.isnan(accuracy.value) else f"{accuracy:.3f}",
                    *(f"{against(group, h, *which):.3g}" for which in _SHOWN),
                ]
            )
    return lines


_SHOWN = (("train_loss", 1), ("train_loss", -1), ("test_loss", -1))


def early(name: str, group: Group, claim: str) -> Finding:
    """After the first epoch all horizons have lowered the loss alike."""
    found = {h: against(group, h, "train_loss", 1) for h in group if h < depth_of(group)}
    holds: bool | None = None
    if all(one.high < ALIGNED and one.low > 1 / ALIGNED for one in found.values()):
        holds = True
    elif any(one.low > ALIGNED or one.high < 1 / ALIGNED for one in found.values()):
        holds = False
    shown = "; ".join(f"h = {h}: {one:.3g}" for h, one in found.items())
    return Finding(claim, title(name), f"training loss over back-propagation's after epoch 1: {shown}", holds)


def late(name: str, group: Group, claim: str) -> Finding:
    """At the end the smallest horizon is further from back-propagation than after the first epoch."""
    least = min(group)
    first, end = (against(group, least, "train_loss", epoch) for epoch in (1, -1))
    test = against(group, least, "test_loss", -1)
    whole = depth_of(group)
    logs = [
        np.log(stacked(group[least], "train_loss")[:, e] / stacked(group[whole], "train_loss")[:, e])
        for e in (1, -1)
    ]
    growth = mean(logs[1] - logs[0])
    holds = True if growth.low > 0 else False if growth.high < 0 else None
    measured = (
        f"h = {least} over back-propagation: {first:.3g} after epoch 1, {end:.3g} at the end; "
        f"test loss at the end {test:.3g}"
    )
    return Finding(claim, title(name), measured, holds)


def converges(name: str, group: Group, claim: str) -> Finding:
    """The largest horizon below T ends where back-propagation does."""
    below = [h for h in group if h < depth_of(group)]
    ends = {h: against(group, h, "train_loss", -1) for h in below}
    tests = {h: against(group, h, "test_loss", -1) for h in below}
    near = ends[below[-1]]
    holds = True if near.high < ALIGNED and near.low > 1 / ALIGNED else None
    holds = False if near.low > ALIGNED or near.high < 1 / ALIGNED else holds
    shown = "; ".join(f"h = {h}: {ends[h]:.3g} (test {tests[h]:.3g})" for h in below)
    why = ""
    if holds is False and near.value > ends[below[0]].value:
        why = f"h = {below[-1]} ends no nearer than h = {below[0]}"
    return Finding(
        claim, title(name), f"final loss over back-propagation's, train (test): {shown}", holds, why
    )


def complete(found: Sequence[Record]) -> dict[str, Group]:
    """The models with three seeds or more, back-propagation and another horizon, none of it diverged."""
    return {
        name: group
        for name, group in by_model(found).items()
        if depth_of(group) in group and len(group) > 1 and len(group[depth_of(group)]) > 2
    }


def findings(found: Sequence[Record]) -> list[Finding]:
    """What the records say of Figure E2."""
    groups = complete(found)
    out = [
        finding
        for name, group in groups.items()
        for finding in (
            early(name, group, "figureE2-early"),
            late(name, group, "figureE2-diverge"),
            converges(name, group, "figureE2-large"),
        )
    ]
    if len(groups) > 1:
        ends = {name: against(group, min(group), "train_loss", -1) for name, group in groups.items()}
        lows, highs = max(one.low for one in ends.values()), min(one.high for one in ends.values())
        shown = "; ".join(f"{title(name)} {one:.3g}" for name, one in ends.items())
        measured = f"h = 1 over back-propagation at the end: {shown}"
        out.append(Finding("figureE2-varies", "all", measured, True if lows > highs else None))
    return out


def answers(found: Sequence[Record]) -> list[Answer]:
    """What must hold of the measurement: back-propagation learns, on the training set."""
    out = []
    for name, group in by_model(found).items():
        whole = stacked(group.get(depth_of(group), next(iter(group.values()))), "train_loss")
        fallen = float((whole[:, -1] / whole[:, 0]).mean())
        question = f"{name}: the training loss of the largest horizon falls"
        out.append(Answer(question, fallen < 1, f"to {fallen:.3g} of the start"))
    return out


READING = Reading(HEADER, rows, findings, answers)
