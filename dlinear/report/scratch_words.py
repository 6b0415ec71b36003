"""Tables and sentences about training from scratch (`sims.anchored_training`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from dlinear.analysis import statistics
from dlinear.analysis.comparison import REFERENCE, steps_within
from dlinear.analysis.scratch import MethodCost, Outcome, TrainedMethod, front_within, ratio

__all__ = [
    "ANCHORED",
    "COSTS",
    "LOCAL",
    "OUTCOMES",
    "accuracy_line",
    "comparable",
    "cost_rows",
    "fold",
    "front_lines",
    "gap_line",
    "has_gap",
    "local_rule",
    "opening_line",
    "outcome_rows",
    "summary",
    "test_line",
]

LOCAL = ("horizon-1", "greedy")  # local training: one readout for all states, or a head for each
ANCHORED = "anchored-1"  # what it is compared with, of one block of memory too
TIMES = (1.0, 1.5, 4.0)  # of training, over that of all steps of back-propagation, for which fronts are told
OPENING = (0.05, 0.2, 1.0)  # shares of the steps at which the difference is told
Trained = Mapping[str, TrainedMethod]

COSTS = ("method", "memory", "unit-cost memory", "time [quartiles]", "unit-cost time", "|g-g_T|")
OUTCOMES = (
    *("method", "rate", "restarted", "cos start -> end", "loss/backprop", "test loss/backprop", "test %"),
    *("equal time, unit costs", "equal time, measured"),
)


def fold(value: statistics.Estimate) -> str:
    """A ratio with its interval to two digits."""
    if not math.isfinite(value.value) or value.value == 0:
        return "the other diverged" if value.value == 0 else "diverged"
    middle, low, high = (f"{end:.0f}" if 99.5 <= end < 1e5 else f"{end:.2g}" for end in value)
    return middle + (f" [{low}, {high}]" if math.isfinite(value.low) else "")


def cost_rows(costs: Sequence[MethodCost]) -> list[list[str]]:
    """Costs of one depth under `COSTS`, in the order of memory."""
    rows = []
    for one in sorted(costs, key=lambda cost: (cost.memory, cost.method)):
        took = f"{one.time:.2f} [{one.time_range[0]:.2f}, {one.time_range[1]:.2f}]"
        row = [one.method, f"{one.memory:.1%}", f"{one.model_memory:.1%}", took]
        rows.append([*row, f"{one.model_time:.2f}", f"{one.difference:.1e}"])
    return rows


def outcome_rows(trained: Trained, costs: Sequence[MethodCost]) -> list[list[str]]:
    """One task under `OUTCOMES`: every method that was trained, the reference first."""
    reference = trained[REFERENCE].after()
    total = int(trained[REFERENCE].steps[-1])
    rows = []
    for cost in sorted((c for c in costs if c.method in trained), key=lambda c: c.method != REFERENCE):
        one = trained[cost.method]
        end = one.after()
        cut = [one.after(min(total, steps_within(total, t))) for t in (cost.model_time, cost.time)]
        start, last = end.cos.mean(axis=0)
        rows.append(
            [cost.method, f"{one.rates[end.rate]:g}" + "*" * one.at_an_end(end.rate), str(end.restarted)]
            + [f"{start:.3f} -> {last:.3f}", fold(ratio(end.train_loss, reference.train_loss))]
            + [fold(ratio(end.test_loss, reference.test_loss)), _percent(end)]
            + [fold(ratio(part.train_loss, reference.train_loss)) for part in cut]
        )
    return rows


def _percent(end: Outcome) -> str:
    """Mean accuracy over the runs, in percent."""
    values = end.test_accuracy
    return f"{100 * values.mean():.1f}" if np.isfinite(values).all() else "-"


def comparable(trained: Trained) -> bool:
    """Whether a local rule and the anchored one were trained, and back-propagation did not diverge."""
    fine = np.isfinite(trained[REFERENCE].after().train_loss).all()
    return bool(fine) and ANCHORED in trained and any(name in trained for name in LOCAL)


def local_rule(trained: Trained) -> str:
    """The local rule that ends lowest, in the geometric mean over the runs."""

    def level(name: str) -> float:
        loss = trained[name].after().train_loss
        return float(np.log(loss).mean()) if np.isfinite(loss).all() else math.inf

    return min((name for name in LOCAL if name in trained), key=level)


def has_gap(trained: Trained) -> bool | None:
    """Whether local training ends above back-propagation; None where the interval does not say."""
    gap = _fold_of(trained, local_rule(trained), REFERENCE)
    return True if gap.low > 1 else False if gap.high < 1 else None


def _fold_of(trained: Trained, one: str, other: str, part: str = "train_loss") -> statistics.Estimate:
    """Final loss of one method over another's."""
    return ratio(getattr(trained[one].after(), part), getattr(trained[other].after(), part))


def _folds(trained: Trained, part: str) -> str:
    """Losses of the local rules and of the anchored one over back-propagation's."""
    level = float(np.exp(np.log(getattr(trained[REFERENCE].after(), part)).mean()))
    names = [name for name in (*LOCAL, ANCHORED) if name in trained]
    parts = [f"of {name} {fold(_fold_of(trained, name, REFERENCE, part))}" for name in names]
    return f"loss over back-propagation's ({level:.1e}): {', '.join(parts)}"


def gap_line(task: str, trained: Trained) -> str:
    """Final losses over back-propagation's, the gap first, and what the anchored rule changes."""
    line = f"{task}: final {_folds(trained, 'train_loss')}"
    if has_gap(trained) is not True:
        return f"{line}: no gap to local training is shown, so no rule can differ here"
    local = local_rule(trained)
    gained, change = _fold_of(trained, local, ANCHORED), _fold_of(trained, ANCHORED, local)
    if not math.isfinite(change.value):
        return f"{line}: {ANCHORED} diverged"
    said = "buys" if change.high < 1 else "costs" if change.low > 1 else "is not shown to change"
    angles = [float(np.nanmean(trained[name].after().cos[:, 1])) for name in (local, ANCHORED)]
    line += f"; cos at the end {angles[0]:.2f} of {local}, {angles[1]:.2f} of {ANCHORED}"
    return f"{line}: against {local} anchoring {said} a factor {fold(gained)}"


def opening_line(task: str, trained: Trained) -> str:
    """How the local rule and the anchored one part, each at its best rate until then."""
    local, total = local_rule(trained), int(trained[REFERENCE].steps[-1])
    parts = []
    for share in OPENING:
        step = max(1, round(share * total))
        plain, ours = (trained[name].after(step).train_loss for name in (local, ANCHORED))
        parts.append(f"{fold(ratio(plain, ours))} after {step} steps")
    return f"{task}: training loss of {local} over {ANCHORED}'s: {', '.join(parts)}"


def test_line(task: str, trained: Trained) -> str:
    """The same for the test loss."""
    return f"{task}: test {_folds(trained, 'test_loss')}"


def accuracy_line(task: str, trained: Trained) -> str:
    """Test accuracy of classes: differences from back-propagation's in percent; empty without classes."""
    reference = trained[REFERENCE].after().test_accuracy
    if not np.isfinite(reference).all():
        return ""
    parts = []
    for name in (name for name in (*LOCAL, ANCHORED) if name in trained):
        values = trained[name].after().test_accuracy
        said = "diverged"
        if np.isfinite(values).all():
            gap = statistics.mean_interval(100 * (values - reference))
            said = f"{gap:+.1f}" if len(values) > 1 else f"{gap.value:+.1f}"
        parts.append(f"{name} {said}")
    level = f"{100 * reference.mean():.1f} %"
    return f"{task}: test accuracy of back-propagation {level}, difference in % of {', of '.join(parts)}"


def front_lines(task: str, trained: Trained, costs: Sequence[MethodCost], model: bool) -> list[str]:
    """For which memory and time which method is on the front, one line for each time."""
    where = "unit costs" if model else "measured"
    lines = []
    for time in TIMES:
        places = front_within(trained, costs, time, model)
        parts = [f"from {place.memory:.1%} {place.method} ({fold(place.loss)})" for place in places]
        said = "; ".join(parts) or "no method trains"
        lines.append(f"{task}, {where}, time <= {time:g}: memory {said}")
    return lines


def summary(every: Mapping[str, Trained], part: str = "train_loss") -> str:
    """On which tasks a better angle buys loss, and on which not.

    Args:
        every: methods of each task, those that are `comparable`.
        part: "train_loss", or "test_loss" of the same runs.
    """
    what = part.replace("_loss", "ing loss" if part == "train_loss" else " loss")
    groups: dict[str, list[str]] = {"buys": [], "does not": [], "no gap": []}
    for task, trained in every.items():
        local = local_rule(trained)
        gap = _fold_of(trained, local, REFERENCE, part).low > 1
        shown = "buys" if _fold_of(trained, ANCHORED, local, part).high < 1 else "does not"
        groups[shown if gap else "no gap"].append(task)
    words = {
        "buys": f"anchoring buys {what}",
        "does not": f"it buys no {what} that is shown",
        "no gap": f"no gap in {what} between back-propagation and local training is shown",
    }
    return "; ".join(f"{words[name]}: {', '.join(tasks)}" for name, tasks in groups.items() if tasks)
