"""The outcome of a comparison as tables and sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dlinear.analysis import statistics
from dlinear.analysis.comparison import REFERENCE
from dlinear.bridge.meters import words
from dlinear.report.verdicts import Answer
from dlinear.rules.compared.choice import HEAD_ONLY, family_name
from dlinear.rules.compared.outcome import NEAR, Outcome
from dlinear.rules.published import recipe_of

__all__ = [
    "COSTS",
    "RESULTS",
    "SYSTEM",
    "answers",
    "busy",
    "cost_rows",
    "result_rows",
    "sentences",
    "system_rows",
]

PARTS = {"train": "training", "infer": "prediction", "head": "prediction by the head"}
DISGUISE = 0.99  # a rule whose cosine to back-propagation exceeds it is back-propagation for most purposes
ALIGNING = ("fa", "dfa")  # rules whose weights are known to turn towards their feedback
NEVER = "not reached"

RESULTS = (
    *("rule", "rate", "epochs", "test % [95 %]", "published", "gap", "why"),
    "degrees to backprop's gradient: start, middle, end",
)
COSTS = (
    *("rule", "step time / backprop's [quartiles]", "activations / backprop's", "forwards", "vjps"),
    *("target: steps", "seconds", "/ backprop's"),
)
SYSTEM = (
    *("rule", "part", "samples/s", "cores busy", "of all cores", "process MB", "J CPU", "J GPU"),
    *("W GPU", "GPU busy", "GPU MB"),
)


def percent(value: statistics.Estimate) -> str:
    """A mean and its interval; "diverged" where there is none."""
    if math.isnan(value.value):
        return "diverged"
    return f"{value:.2f}" if math.isfinite(value.low) else f"{value.value:.2f}"


def degrees(outcome: Outcome) -> str:
    """The angles; "-" where a gradient is zero."""
    return ", ".join("-" if math.isnan(a) else f"{a:.1f}" for a in outcome.angles)


def result_rows(found: Sequence[Outcome], whole: int) -> list[list[str]]:
    """What training reached, under `RESULTS`; `whole`: all training images there are."""
    rows = []
    for one in found:
        gap = "" if math.isnan(one.gap) else f"{one.gap:+.2f}"
        published = "" if one.published is None else str(one.published)
        row = [one.rule, f"{one.recipe.rate:g}", f"{one.epochs.mean():.3g}", percent(one.interval)]
        rows.append([*row, published, gap, "; ".join(one.reasons(whole)), degrees(one)])
    return rows


def cost_rows(found: Sequence[Outcome]) -> list[list[str]]:
    """What a step costs and when the target is reached, under `COSTS`."""
    own = next(one for one in found if one.rule == REFERENCE)
    rows = []
    for one in found:
        if not one.costs or not own.costs:
            continue
        steps = one.steps_to_target.mean()  # NaN unless every seed reaches it
        seconds = steps * one.costs["step_seconds"]
        reference = own.steps_to_target.mean() * own.costs["step_seconds"]
        low, high = one.costs["ratio_low"], one.costs["ratio_high"]
        missed = math.isnan(steps)
        rows.append(
            [one.rule, f"{one.costs['ratio']:.2f} [{low:.2f}, {high:.2f}]"]
            + [share(one.activations(own))]
            + [f"{one.costs[name]:.0f}" for name in ("forwards", "vjps")]
            + [NEVER if missed else f"{steps:.0f}", "" if missed else f"{seconds:.3g}"]
            + ["" if missed or not reference > 0 else f"{seconds / reference:.2f}"]
        )
    return rows


def system_rows(found: Sequence[Outcome]) -> list[list[str]]:
    """Training and prediction apart, under `SYSTEM`; joules are for a million samples."""
    rows = []
    for one in found:
        for part, label in PARTS.items():
            if not one.costs or math.isnan(one.costs[f"{part}_per_second"]):
                continue
            get = {name: one.costs[f"{part}_{name}"] for name in _NAMES}
            rows.append(
                [
                    one.rule,
                    label,
                    f"{get['per_second']:.3g}",
                    f"{get['cores']:.2f}",
                    f"{get['utilisation']:.0%}",
                ]
                + [words(get["peak_memory"] / 1e6, spec=".0f"), words(get["cpu_joules"])]
                + [words(get[name]) for name in ("gpu_joules", "gpu_watts")]
                + [words(get["gpu_utilisation"], spec=".0%"), words(get["gpu_memory"] / 1e6, spec=".0f")]
            )
    return rows


_NAMES: tuple[str, ...] = ("per_second", "cores", "utilisation", "peak_memory", "cpu_joules")
_NAMES += ("gpu_joules", "gpu_watts", "gpu_utilisation", "gpu_memory")


def share(value: float) -> str:
    """A number over back-propagation's; "-" where that is not known."""
    return "-" if math.isnan(value) else f"{value:.2f}"


def busy(found: Sequence[Outcome]) -> str:
    """What a busy machine does to the numbers of `SYSTEM`; "" of one that was free."""
    load = max((one.costs.get("load", 0.0) for one in found), default=0.0)
    if not load > 1:
        return ""
    other = f"the machine had other work (load of {load:.1f} a core)"
    return f"{other}: samples/s and cores busy are lower than alone"


def sentences(found: Sequence[Outcome]) -> list[str]:
    """Which rules do better than the output layer alone, by differences seed by seed, and which are near
    back-propagation."""
    lines = []
    base = next((one for one in found if one.rule == HEAD_ONLY), None)
    if base is not None and len(base.accuracy) > 1:
        groups: dict[str, list[str]] = {"better": [], "not told apart": [], "worse": []}
        for one in found:
            if one.rule != HEAD_ONLY and np.isfinite(one.accuracy - base.accuracy).all():
                change = statistics.mean_interval(one.accuracy - base.accuracy)
                groups[_side(change)].append(one.rule)
        said = "; ".join(f"{side}: {', '.join(names)}" for side, names in groups.items() if names)
        lines.append(f"beside the output layer alone on hidden layers as they start (95 %): {said}")
    for one in found:
        if np.isfinite(one.head_accuracy).all():
            other = statistics.mean_interval(100 * one.head_accuracy)
            own = percent(one.interval)
            lines.append(f"{one.rule}: by its head, one pass, {percent(other)} %; by goodness {own} %")
    close = [one.rule for one in found if one.rule != REFERENCE and one.cos[:, -1].mean() > DISGUISE]
    if close:
        lines.append(f"nearly back-propagation at the end (cos > {DISGUISE}): {', '.join(close)}")
    return lines


def _side(change: statistics.Estimate) -> str:
    if change.low > 0:
        return "better"
    return "worse" if change.high < 0 else "not told apart"


def answers(found: Sequence[Outcome], whole: int) -> list[Answer]:
    """What is judged: whether a rule is back-propagation in disguise, whether weights turn towards fixed
    feedback, and, at published settings in full, whether the published number is met."""
    judged = [
        one for one in found if one.rule not in (REFERENCE, HEAD_ONLY) and family_name(one.rule) not in NEAR
    ]
    cosines = {one.rule: float(np.nanmax(one.cos.mean(axis=0))) for one in judged if _defined(one)}
    out = []
    if cosines:
        largest = max(cosines, key=lambda rule: cosines[rule])
        numbers = f"the largest cosine is {cosines[largest]:.3f} ({largest})"
        question = f"no rule of fixed or local feedback is back-propagation in disguise, cos < {DISGUISE}"
        out.append(Answer(question, cosines[largest] < DISGUISE, numbers))
    for one in found:
        if family_name(one.rule) in ALIGNING and len(one.cos) > 1 and _defined(one):
            rise = statistics.mean_interval(one.cos[:, -1] - one.cos[:, 0], statistics.JUDGED)
            holds = True if rise.low > 0 else False if rise.high < 0 else None
            out.append(Answer(f"{one.rule}: its cosine rises in training", holds, f"{rise:.3f} (99.7 %)"))
    return out + [met for one in found if (met := _met(one, whole)) is not None]


def _defined(one: Outcome) -> bool:
    return bool(np.isfinite(one.cos).all())


def _met(one: Outcome, whole: int) -> Answer | None:
    """Whether the published number is met within half a point; None of runs that are reduced."""
    recipe = recipe_of(family_name(one.rule))
    if one.published is None or recipe is None or recipe.text() != one.recipe.text():
        return None
    full = one.epochs.mean() > recipe.epochs - 0.5 and one.samples >= whole
    if not full or one.another_net or not math.isfinite(one.gap):
        return None
    question = f"{one.rule}: within half a percentage point of the published {one.published}"
    return Answer(question, abs(one.gap) <= 0.5, f"{percent(one.interval)}")
