"""Figures 3 and 4: test accuracy and memory over the horizon, of a ResNet-50 and of a ViT with LoRA."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dlinear.analysis.statistics import Estimate
from dlinear.bridge import meters
from dlinear.bridge.paper import losses
from dlinear.bridge.paper.experiment import Reading
from dlinear.bridge.paper.reading import Floats, Group, by_model, depth_of, mean, stacked
from dlinear.bridge.paper.settings import title
from dlinear.report.reproduction import Finding
from dlinear.report.verdicts import Answer
from dlinear.runs.records import Record

HEADER = (
    *(
        "model",
        "h",
        "test accuracy [95 %]",
        "less backprop's [95 %]",
        "test loss [95 %]",
        "train loss [95 %]",
    ),
    *("MB", "of backprop", "saved, of backprop"),
)
CLOSE = 0.02  # difference of accuracies from which performance counts as another
LINE = 0.99  # R^2 from which points are called a line
NEARLY = 0.1  # relative tolerance of "reciprocal"


def horizons_of(depth: int) -> list[int]:
    """1, T/3, 2 T/3, T - 1 and T."""
    return sorted({1, round(depth / 3), round(2 * depth / 3), depth - 1, depth} - {0})


def accuracy_gap(group: Group, h: int) -> Estimate:
    """Final test accuracy at horizon h less back-propagation's, seed by seed."""
    own, whole = (stacked(group[k], "test_accuracy")[:, -1] for k in (h, depth_of(group)))
    return mean(own - whole)


def memory(group: Group, name: str = "activations") -> Floats:
    """Bytes of a step over back-propagation's, (K,), one for each horizon.

    Args:
        group: horizon -> records.
        name: "activations", all that a step keeps beside the model and its gradients; or "saved", what
            autograd keeps for the backward pass, the subject of eq. (11).
    """
    found = np.array([stacked(some, name)[0] for some in group.values()])
    share: Floats = found / stacked(group[depth_of(group)], name)[0]
    return share


def checkpointed(group: Group) -> float:
    """Activations of checkpointed back-propagation over those of back-propagation."""
    whole = group[depth_of(group)][0].arrays
    return float(whole["checkpoint"] / whole["activations"])


def rows(found: Sequence[Record]) -> list[list[str]]:
    """Lines of the table with HEADER."""
    return [
        [
            *(name, str(h), f"{mean(stacked(some, 'test_accuracy')[:, -1]):.3f}"),
            f"{accuracy_gap(group, h):+.3f}",
            *(f"{mean(stacked(some, part)[:, -1]):.3g}" for part in ("test_loss", "train_loss")),
            f"{stacked(some, 'activations')[0] / 1e6:.3g}",
            *(f"{share:.3f}", f"{saved:.3f}"),
        ]
        for name, group in by_model(found).items()
        for (h, some), share, saved in zip(group.items(), memory(group), memory(group, "saved"), strict=True)
    ]


def findings(found: Sequence[Record]) -> list[Finding]:
    """What the records say of Figures 3 and 4."""
    out = []
    for name, group in losses.complete(found).items():
        out += [_converges(name, group), _depends(name, group)]
        out += [_line(name, group), _batch(name, group), _local(name, group), _rival(name, group)]
        out += [
            losses.early(name, group, "figure4-early"),
            losses.late(name, group, "figure4-diverge"),
            losses.converges(name, group, "figure4-large"),
        ]
    return out


def _converges(name: str, group: Group) -> Finding:
    """h = T - 1 reaches the test accuracy of back-propagation."""
    h = max(k for k in group if k < depth_of(group))
    gap = accuracy_gap(group, h)
    holds = True if gap.low > -CLOSE and gap.high < CLOSE else False if gap.high < -CLOSE else None
    measured = f"test accuracy at h = {h} of T = {depth_of(group)} less back-propagation's {gap:+.3f}"
    return Finding("figure3-converges", title(name), measured, holds)


def _depends(name: str, group: Group) -> Finding:
    """Small horizons reach less."""
    gaps = {h: accuracy_gap(group, h) for h in group if h < depth_of(group)}
    shown = "; ".join(f"h = {h}: {gap:+.3f}" for h, gap in gaps.items())
    least = gaps[min(gaps)]
    holds = True if least.high < 0 else False if least.low > 0 else None
    return Finding("figure3-depends", title(name), f"test accuracy less back-propagation's {shown}", holds)


def _line(name: str, group: Group) -> Finding:
    """Memory is a line in h for equal blocks, and concave where stages halve it."""
    h, share, kept = np.array(list(group)), memory(group, "saved"), memory(group)
    equal = h < depth_of(group) if "vit" in name else h > 0  # the frozen embedding keeps nothing
    if equal.sum() < 3:
        return Finding("figure3-memory", title(name), "fewer than three horizons", None)
    fit = meters.fit_memory(h[equal], share[equal])
    shown = ", ".join(f"{k}: {one:.2f}" for k, one in zip(h, share, strict=True))
    line = fit.r_squared >= LINE
    holds = bool(line if "vit" in name else not line and (np.diff(share) > 0).all())
    linear = f"R^2 of a line, h <= {h[equal][-1]}: {fit.r_squared:.4f}"
    measured = f"of what autograd keeps at h = T, at h = {shown}; {linear}"
    more = (
        f"with all that a step keeps it is {kept[-2]:.2f} at h = {h[-2]}: gradients that are added up count"
    )
    return Finding("figure3-memory", title(name), measured, holds, more)


def _batch(name: str, group: Group) -> Finding:
    """Within the same memory the batch is in inverse proportion to h: M(T)/M(h) = T/h."""
    depth, share = depth_of(group), memory(group, "saved")
    h = min(group)
    times = 1 / share[0]
    holds = bool(abs(times * h / depth - 1) < NEARLY)
    measured = f"at h = {h} {times:.2f} times back-propagation's batch fits, T/h = {depth / h:.1f}"
    return Finding("figure3-batch", title(name), measured, holds, "" if holds else "M(h) = a h + b has b > 0")


def _local(name: str, group: Group) -> Finding:
    """The reviewers' reading: a factor of 3 to 4 in memory at a large loss of accuracy."""
    gap, times = accuracy_gap(group, min(group)), 1 / memory(group)[0]
    measured = f"{times:.2f} times less memory, test accuracy {gap:+.3f}"
    holds = bool(3 <= round(times, 1) <= 4) and (True if gap.high < -CLOSE else None)  # 4.004 is 4
    return Finding("review-local", title(name), measured, holds)


def _rival(name: str, group: Group) -> Finding:
    """Is there a horizon that needs less than checkpointing, and what does it reach?"""
    share = checkpointed(group)
    below = [h for h, one in zip(group, memory(group), strict=True) if one < share]
    best = max(below, default=None)
    reached = "none" if best is None else f"h <= {best}, test accuracy {accuracy_gap(group, best):+.3f}"
    measured = f"checkpointing, exact, has {share:.2f} of back-propagation's activations; less: {reached}"
    holds = None if best is None else (True if accuracy_gap(group, best).low > -CLOSE else None)
    if best is None or accuracy_gap(group, best).high < 0:
        holds = False
    return Finding("review-checkpointing", title(name), measured, holds)


def answers(found: Sequence[Record]) -> list[Answer]:
    """What must hold of the measurement."""
    out = losses.answers(found)
    for name, group in by_model(found).items():
        share = memory(group)
        question = f"{name}: the least horizon keeps no more than back-propagation"
        out.append(Answer(question, bool(share[0] <= 1), f"{share[0]:.3f} of it"))
    return out


READING = Reading(HEADER, rows, findings, answers)
