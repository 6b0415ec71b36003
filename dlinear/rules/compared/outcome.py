"""What the records of a comparison say of each rule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dlinear.analysis import statistics
from dlinear.analysis.comparison import REFERENCE
from dlinear.bridge.meters import time_to
from dlinear.rules.compared.cells import COSTS, TRAIN
from dlinear.rules.compared.choice import family_name
from dlinear.rules.published import Recipe, Result, recipe_of, result_of
from dlinear.runs.records import Record

__all__ = ["NEAR", "Outcome", "best_rate", "default_target", "outcomes"]

# Rules that have, or learn, the transposed weights, or are exact in the last hidden layer: to be near
# back-propagation is their aim.
NEAR = ("fa-mirror", "pepita-mirror", "foton", "dfa-identity", "horizon")
SHARE = 0.95  # of back-propagation's final accuracy: the target whose time is told where none is asked for


@dataclass(frozen=True, eq=False)
class Outcome:
    """One rule.

    Attributes:
        rule: its name.
        recipe: of its runs.
        epochs: passes through the training set, (S,); not whole where a limit of time ended the run.
        samples: of the training set.
        accuracy: on the test set at the end, (S,), 0..1; NaN where the run diverged.
        best: the highest of the epochs, (S,).
        head_accuracy: forward-forward's by its head, (S,); NaN of other rules.
        cos: to back-propagation at the start, in the middle, at the end, (S, 3).
        steps_to_target: (S,), NaN where it is not reached.
        costs: numbers of `costs.costs`, empty where they were not measured.
        published: accuracy in percent, where there is one.
        seconds: of all steps, the mean over the seeds, as they ran beside others.
    """

    rule: str
    recipe: Recipe
    epochs: np.ndarray
    samples: int
    accuracy: np.ndarray
    best: np.ndarray
    head_accuracy: np.ndarray
    cos: np.ndarray
    steps_to_target: np.ndarray
    costs: Mapping[str, float]
    published: Result | None
    seconds: float

    @property
    def interval(self) -> statistics.Estimate:
        """Of the final accuracy in percent; NaN where a run diverged."""
        if not np.isfinite(self.accuracy).all():
            return statistics.Estimate(math.nan, math.nan, math.nan)
        return statistics.mean_interval(100 * self.accuracy)

    @property
    def angles(self) -> np.ndarray:
        """Degrees to back-propagation's gradient, start, middle, end: the means over the seeds."""
        return np.asarray(np.degrees(np.arccos(np.clip(self.cos, -1, 1))).mean(axis=0))

    @property
    def gap(self) -> float:
        """Ours less the published number, percentage points; NaN without one."""
        return math.nan if self.published is None else self.interval.value - self.published.accuracy

    def activations(self, reference: Outcome) -> float:
        """Of a step, over back-propagation's on the same net and batch; NaN where they were not measured."""
        if not self.costs or not reference.costs:
            return math.nan
        own, known = self.recipe, reference.recipe
        whole = self.costs.get("reference_activations", math.nan)
        if math.isnan(whole) and (own.depth, own.width, own.batch) == (known.depth, known.width, known.batch):
            whole = reference.costs["activations"]
        return self.costs["activations"] / whole

    @property
    def another_net(self) -> bool:
        """Whether the published number belongs to another network than that of the runs."""
        net = "" if self.published is None else self.published.net
        return net not in ("", f"{self.recipe.depth} x {self.recipe.width}")

    def reasons(self, whole: int) -> list[str]:
        """What is not as in the publication, in words; `whole` is the number of all training images."""
        if self.published is None:
            return []
        found, recipe = [], recipe_of(family_name(self.rule))
        epochs = float(self.epochs.mean())
        if recipe is None or recipe.text() != self.recipe.text():
            found.append("other hyper-parameters")
        if recipe is not None and epochs < recipe.epochs - 0.5:
            found.append(f"{epochs:.3g} of {recipe.epochs} epochs")
        if self.samples < whole:
            found.append(f"{self.samples} of {whole} images")
        if self.another_net:
            found.append(f"another net ({self.published.net})")
        if not self.published.verified:
            found.append("the published number is recalled")
        return found or ["none known: the same settings"]


def best_rate(tuned: Sequence[Record]) -> float:
    """The rate of the highest accuracy on held-out images; of equal ones the smallest, diverged ones last."""

    def order(record: Record) -> tuple[float, float]:
        failed = bool(record.arrays["diverged"])
        return -1.0 if failed else float(record.arrays["accuracy"][-1]), -rate_of(record)

    return rate_of(max(tuned, key=order))


def rate_of(record: Record) -> float:
    """The learning rate of a run's recipe."""
    return Recipe.read(record.knobs["recipe"]).rate


def default_target(found: Sequence[Record]) -> float:
    """The share `SHARE` of back-propagation's final accuracy."""
    runs = [r for r in found if r.knobs["part"] == TRAIN and r.knobs["method"] == REFERENCE]
    return SHARE * float(np.mean([r.arrays["accuracy"][-1] for r in runs]))


def outcomes(found: Sequence[Record], samples: int, target: float) -> list[Outcome]:
    """One for each rule that has runs, in the order of the records.

    Args:
        found: records of costs and of training.
        samples: of the training set.
        target: accuracy whose time is told.
    """
    names = dict.fromkeys(str(r.knobs["method"]) for r in found if r.knobs["part"] == TRAIN)
    return [
        _outcome(name, [r for r in found if r.knobs["method"] == name], samples, target) for name in names
    ]


def _outcome(name: str, found: Sequence[Record], samples: int, target: float) -> Outcome:
    runs = [r for r in found if r.knobs["part"] == TRAIN]
    measured = [r for r in found if r.knobs["part"] == COSTS]
    recipe = Recipe.read(runs[0].knobs["recipe"])
    last, best, cos, reached = [], [], [], []
    for run in runs:
        accuracy = run.arrays["accuracy"]
        diverged = bool(run.arrays["diverged"])
        last.append(math.nan if diverged else float(accuracy[-1]))
        best.append(float(np.nanmax(accuracy)))
        cos.append(run.arrays["cos"][[0, len(accuracy) // 2, -1]])
        steps = time_to(target, run.arrays["steps"].tolist(), accuracy.tolist())
        reached.append(math.nan if steps is None else steps)
    knobs = runs[0].knobs
    return Outcome(
        name,
        recipe,
        np.array([r.arrays["steps"][-1] for r in runs]) / math.ceil(samples / recipe.batch),
        samples,
        np.array(last),
        np.array(best),
        np.array([float(r.arrays["head_accuracy"]) for r in runs]),
        np.array(cos),
        np.array(reached),
        _costs(measured[0]) if measured else {},
        result_of(family_name(name), str(knobs["data"]), str(knobs["model"])),
        float(np.mean([r.arrays["seconds"][-1] for r in runs])),
    )


def _costs(record: Record) -> dict[str, float]:
    """The numbers of a record of costs; on a card all rules share a process, whose memory is that of none."""
    found = {name: float(value) for name, value in record.arrays.items()}
    if record.knobs.get("device") == "cuda":
        found |= {name: math.nan for name in found if name.endswith("_peak_memory")}
    return found
