"""Which horizon, and which rule, for a model of mine within so many MB? Or does something else serve better?

    python -m sims.select_horizon                                     # residual MLP, a quarter of its memory
    python -m sims.select_horizon --model mlp --data digits --depth 32 --units 128 --budget-mb 1.5
    python -m sims.select_horizon --model resnet62 --data cifar10 --depth 30 --units 8 --objective accuracy
    python -m sims.select_horizon --angles forward --probes 16        # without back-propagation
    python -m sims.select_horizon --objective weighted --weight 2 --steps 500

Measured on the model after `steps` steps of back-propagation: the angle of a few horizons under each rule
(own losses "horizon", the end's gradient handed on "anchored", losses at every k-th state "stages", both
"anchored-stages"), over `seeds` models and batches; bytes of activations and processor time of a step.
Algorithm 1 (`dlinear.selection`) then takes a horizon for each rule, and of the rules the best one. The
choice is measured too: a horizon that was only predicted must keep what was promised. Beside it what a user
would pick instead within the same memory: checkpointing, micro-batches, recursive checkpointing,
reconstructed states.

Progress is r/time, r = cos^2, which is the paper's heuristic (14), not a theorem. Where blocks are small, the
time is mostly that of Python: unit costs say what large ones come to. MB are 10^6 bytes of
activations of a step (`meters.step_memory`): parameters, gradients and the optimizer come on top for all.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from dlinear import report
from dlinear.analysis import statistics
from dlinear.runs import script, sweeps
from dlinear.runs.knobs import FRACTION, POSITIVE, Constraint, Source, at_least, cell_from, check, filled
from dlinear.runs.launch import LocalRun
from dlinear.runs.stages import Stages

with script.imports():
    from dlinear.bridge.tradeoff import one_model
    from dlinear.bridge.tradeoff.advice import Offer, advice, megabytes
    from dlinear.bridge.tradeoff.question import RIVALS, Question, cosine, rate_of

NAME = "select_horizon"
WITHIN = 0.1  # of r, between what was promised of the chosen horizon and what was measured
TOY = "--depth 6 --units 8 --samples 60 --batch 10 --steps 2 --seeds 2 --rounds 1 --horizons 1 2 "
TOY += "--rules horizon anchored-stages"


@dataclass(frozen=True)
class Knobs(Source, LocalRun):
    """What to ask."""

    model: str = "mlp"  # a name of the registry: mlp, linear, conv, resnet62, ...
    data: str = "digits"  # data set; digits are bundled with scikit-learn
    samples: int | None = None  # training samples; all by default
    depth: int = 16  # T, blocks (a multiple of 3 for resnet62)
    units: int = 256  # neurons of a layer, or channels; of small ones the time is that of Python
    batch: int = 128  # samples in a step; bytes are proportional to it
    budget_mb: float | None = None  # MB of activations; None is a quarter of what back-propagation takes
    rules: tuple[one_model.Rule, ...] = ("horizon", "anchored", "stages", "anchored-stages")  # to choose from
    horizons: tuple[int, ...] | None = None  # measured h, or k of stages: powers of two, T/2 and 3T/4
    objective: Literal["budget", "accuracy", "weighted"] = "budget"  # most r within the budget, (17) or (18)
    epsilon: float = 0.1  # share of r that "accuracy" may lose
    weight: float = 1.0  # lambda of "weighted", memory over back-propagation's
    estimator: Literal["theory", "polynomial"] = "theory"  # of horizons that are not measured
    angles: Literal["exact", "forward"] = "exact"  # forward: within the memory of the horizons themselves
    probes: int = 16  # random directions of "forward"
    steps: int = 50  # of back-propagation before the angles are measured; they get worse with training
    rate: float = 0.1  # learning rate of those steps
    seeds: int = 3  # models and batches; enough for an interval
    rounds: int = 7  # interleaved rounds of timing


@dataclass(frozen=True)
class Cell:
    """The angles of one rule on one model ("angles"), or what a step of one method costs ("costs")."""

    part: str
    method: str
    seed: int
    model: str
    data: str
    digest: str
    samples: int | None
    depth: int
    units: int
    batch: int
    horizons: tuple[int, ...]
    chosen: int  # the one horizon of the cell; 0 for all of `horizons`
    angles: str
    probes: int
    steps: int
    rate: float
    rounds: int
    edition: int = 1  # raise it when the meaning of a cell changes


def compute(cell: Cell, folder: str | None, download: bool) -> sweeps.Arrays:
    """Cosines by horizon, or costs; NaN where a method refuses the model."""
    split = one_model.loaded(cell.data, cell.samples, folder, download)
    stack = one_model.trained(cell, split)
    if cell.part == "costs":
        return {name: ((), value) for name, value in one_model.costs(cell, stack, split).items()}
    horizons = [cell.chosen] if cell.chosen else list(cell.horizons)
    return {"h": (("h",), horizons), "cos": (("h",), one_model.cosines(cell, stack, split, horizons))}


def settled(knobs: Knobs) -> Knobs:
    """The knobs with the horizons filled in."""
    powers = {2**k for k in range(knobs.depth.bit_length()) if 2 ** (k + 1) < knobs.depth}
    measured = {*powers, knobs.depth // 2, 3 * knobs.depth // 4} - {0}
    return filled(knobs, {"horizons": tuple(sorted(measured))})


def check_all(knobs: Knobs) -> None:
    """Refuse settled knobs that make no sense.

    Raises:
        DomainError: such a one.
    """
    counts = dict.fromkeys(("units", "batch", "probes", "seeds", "rounds"), at_least(1))
    blocks = Constraint(lambda h: 1 <= h < knobs.depth, f"in 1..{knobs.depth - 1}")
    budget = Constraint(lambda value: value is None or 0 < value < math.inf, "finite and more than 0")
    numbers = {"epsilon": FRACTION, "rate": POSITIVE, "weight": at_least(0), "budget_mb": budget}
    check(knobs, depth=at_least(3), steps=at_least(0), horizons=blocks, **counts, **numbers)
    two = Constraint(lambda _: len(knobs.horizons or ()) > 1, "two different ones or more")
    check(knobs, horizons=two)


def rows_of(question: Question) -> list[list[str]]:
    """The curve of each rule at the measured horizons."""
    rows = []
    for rule in question.knobs.rules:
        cos, choice = question.cos(rule), question.choices[rule]
        for i, h in enumerate(question.knobs.horizons or ()):
            one = question.costs[f"{rule}-{h}"]
            interval = cosine(cos[:, i])
            value = choice.objective[h - 1]
            rows.append([rule, str(h), f"{interval:.4f}", megabytes(float(one["activations"]))])
            rows[-1] += [
                f"{float(one['ratio']):.2f}",
                f"{value:.4g}" if np.isfinite(value) else "not allowed",
            ]
        mark, at = "chosen" if rule == question.rule else "best of its rule", choice.horizon - 1
        known = "measured" if choice.horizon in (question.knobs.horizons or ()) else "predicted"
        rows.append([rule, f"{choice.horizon} {mark}", f"{known} r {choice.rate[at]:.3f}"])
        rows[-1] += [megabytes(float(choice.memory[at])), "", "" if choice.feasible else "not allowed"]
    return rows


def answers_of(question: Question, rate: statistics.Estimate, chosen: Offer) -> list[report.Answer]:
    """Whether the choice keeps what was promised of it."""
    at, choice = question.choice.horizon - 1, question.choice
    error = abs(rate.value - float(choice.rate[at]))
    name = chosen.method
    answers = []
    if question.choice.horizon not in (question.knobs.horizons or ()):
        text = f"{rate:.3f}, predicted {choice.rate[at]:.3f}"
        asked = f"{name}: r as measured is that which was predicted, +- {WITHIN:g}"
        answers.append(report.Answer(asked, error <= WITHIN, text))
    if question.knobs.objective == "budget" and choice.feasible:
        fits = chosen.memory <= question.budget * 1.02
        text = f"{megabytes(chosen.memory)} of {megabytes(question.budget)}"
        answers.append(report.Answer(f"{name}: fits into the budget as measured, within 2 %", fits, text))
    return answers


def main(knobs: Knobs) -> int:
    """Measure, choose, say what serves better; 0 iff no verdict fails."""
    knobs = settled(knobs)
    check_all(knobs)
    split = one_model.loaded(knobs.data, knobs.samples, knobs.data_folder, knobs.download)

    def cell(part: str, name: str, seed: int = 0, chosen: int = 0) -> Cell:
        return cell_from(Cell, knobs, part=part, method=name, seed=seed, chosen=chosen, digest=split.digest)

    one_model.trained(cell("costs", "backprop"), split)  # refused here, in one line, or kept for the cells
    stages = Stages(
        NAME, knobs, functools.partial(compute, folder=knobs.data_folder, download=knobs.download)
    )
    measured, seeds = knobs.horizons or (), range(knobs.seeds)
    ours = [f"{rule}-{h}" for rule in knobs.rules for h in measured]
    costs = stages.gather([cell("costs", name) for name in ("backprop", *ours, *RIVALS)], alone=True)
    angles = stages.gather([cell("angles", rule, s) for rule in knobs.rules for s in seeds]) if costs else []
    if not angles:
        return stages.failed
    question = Question(knobs, angles, costs)
    h = question.choice.horizon
    if h not in measured and h < knobs.depth:
        costs += stages.gather([cell("costs", question.method)], alone=True)
    again = stages.gather([cell("angles", question.rule, s, h) for s in seeds])
    question = Question(knobs, angles, costs)
    return show(question, rate_of(np.array([r.arrays["cos"][0] for r in again])), stages)


def show(question: Question, rate: statistics.Estimate, stages: Stages) -> int:
    """Print the curve, the choice, what serves better, and the verdicts."""
    knobs, choice = question.knobs, question.choice
    name = "backprop" if choice.horizon == knobs.depth else question.method
    chosen = replace(question.offer(name, rate.value), method=question.method)
    print(
        f"{knobs.model}, T = {knobs.depth}, batch {knobs.batch}, after {knobs.steps} steps; {stages.finish()}"
    )
    print(report.table(("rule", "h", "cos [95 %]", "memory", "time", "objective"), rows_of(question)))
    r, memory = question.misfit()
    print(
        f"the estimate ({knobs.estimator}) misses what was measured by up to {r:.2g} in r, "
        f"{memory:.0%} in memory"
    )
    saved = 1 - chosen.memory / question.whole
    print(
        f"choice: {chosen}: saves {saved:.0%} of the {megabytes(question.whole)} of back-propagation"
        if choice.feasible
        else f"no horizon is allowed; nearest: {chosen}"
    )
    budget = question.budget if knobs.objective == "budget" else chosen.memory
    print("\n".join(advice(chosen, question.rivals(), budget)))
    unit = replace(chosen, time=question.offer(name, rate.value, "unit").time)
    print(f"at unit costs (products with weights alone): {advice(unit, question.rivals('unit'), budget)[-1]}")
    return report.finish(answers_of(question, rate, chosen))


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
