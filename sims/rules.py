"""What do learning rules reach and cost beside back-propagation, and are they it in disguise?

    python -m sims.rules                                    # plain MLP, digits, all rules: minutes
    python -m sims.rules --model cnn --methods backprop fa dfa pepita
    python -m sims.rules --published --data mnist --data-folder data --epochs 5
    python -m sims.rules --published --data mnist --device cuda --workers 12 --seeds 1 --until 280
    python -m sims.rules --published --data mnist_10k --epochs 3 --docs docs    # and rewrite docs/rules.md

Every rule of `dlinear.rules`, back-propagation, horizon 1, and the output layer alone on hidden layers as
they start ("head-only"), train the same plain network from scratch. A rule that refuses the model is left
out with a line. Measured are:

- test accuracy after the last epoch, with 95 % intervals over the seeds, beside the published number, with
  what is not as there. A number that could not be read in its source carries the word "recalled";
- the angle of the hidden layers' gradient to back-propagation's, at the start, in the middle, at the end;
- costs, alone on the machine and in a process for each rule: time of a step (interleaved with
  back-propagation), activations, memory of the process, cores in use, energy where there is a counter, in
  training and in prediction apart (forward-forward predicts by one pass for each class);
- the time to a target accuracy: steps of the run times the time of a step.

By default each rule takes its own best of --rates, by accuracy on a held-out fifth of the training set, on a
seed that is used for nothing else. --published takes the published hyper-parameters
(dlinear/rules/published.py), with --epochs in place of theirs; plans of the rate keep their shares of the
run. --until ends every run at its share of so many seconds; the table says how many epochs there were.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dlinear import report
from dlinear.runs import collection, records, script
from dlinear.runs.knobs import POSITIVE, Constraint, Images, at_least, cell_from, check, filled
from dlinear.runs.launch import Launch
from dlinear.runs.records import Record
from dlinear.runs.stages import Stages

with script.imports():
    import psutil

    from dlinear.bridge.data.loading import LoadedSplit
    from dlinear.bridge.training.settings import device_of
    from dlinear.rules.compared import cells, choice, outcome, page, tables
    from dlinear.rules.published import WHOLE, Recipe, recipe_of

NAME, TUNING = "rules", 1000
TOY = (
    "--methods backprop head-only dfa pepita --depth 1 --units 8 --samples 60 --test-samples 40 --batch 20 "
    "--epochs 2 --seeds 2 --rates 0.1 --rounds 1 --probed 20 --measured 0.01"
)
MODELS = {"mlp": "layers", "cnn": "conv_layers"}
DEFAULTS = {  # what an open knob becomes without --published
    "mlp": {"depth": 2, "units": 100, "batch": 50, "epochs": 6},
    "cnn": {"depth": 4, "units": 16, "batch": 50, "epochs": 6},
}
OWN = {"depth": "depth", "units": "width", "activation": "activation", "batch": "batch", "epochs": "epochs"}
# Seconds of --until: before the first step, for the costs of one rule, for the tables at the end.
START_UP, COSTLY, END = 20.0, 4.0, 8.0


@dataclass(frozen=True)
class Knobs(Images, Launch):
    """What to run; None takes what suits the model, or the publication."""

    model: Literal["mlp", "cnn"] = "mlp"  # plain layers; cnn: convolutions, means over pixels after each
    published: bool = False  # published hyper-parameters of each rule in place of the best of --rates
    methods: tuple[str, ...] | None = None  # names of rules; all that the model allows by default
    samples: int | None = None  # training samples; all by default
    test_samples: int | None = None  # test samples; all by default
    depth: int | None = None  # T, hidden layers: 2; blocks of the cnn: 4
    units: int | None = None  # neurons in a layer: 100; channels of the cnn: 16
    activation: Literal["relu", "tanh"] | None = None  # between layers: relu; drtp is made for tanh
    batch: int | None = None  # samples in a step: 50
    epochs: int | None = None  # passes through the training set: 6, or the published number
    seeds: int = 3  # runs of each rule; the fewest for an interval that says something
    rates: tuple[float, ...] = (0.01, 0.03, 0.1)  # learning rates that each rule tries
    probed: int = 200  # samples on which angles are measured
    rounds: int = 7  # interleaved rounds of timing; quartiles need a few
    measured: float = 0.3  # seconds of steps, and of predictions, whose throughput is measured; 1.2 on a card
    costs: bool = True  # measure what a step costs
    target: float | None = None  # test accuracy whose time is told, 0..1: 95 % of back-propagation's
    device: Literal["cpu", "cuda"] = "cpu"  # where tensors are; data are moved there once
    until: float | None = None  # seconds after which the command is to have ended; each run gets a share
    docs: str | None = None  # folder with rules.md, whose tables are rewritten from this run


def recipes(knobs: Knobs) -> dict[str, Recipe]:
    """The recipe of each rule that is asked for, by name; the rate is the first that is tried."""
    open_ = filled(knobs, {} if knobs.published else DEFAULTS[knobs.model])
    given = {field: getattr(open_, knob) for knob, field in OWN.items()}
    own = {field: value for field, value in given.items() if value is not None}
    names = knobs.methods or choice.compared_rules(own.get("depth", 2), own.get("batch", 50))
    found: dict[str, Recipe] = {}
    for name in names:
        recipe = recipe_of(choice.family_name(name)) if knobs.published else Recipe(rate=knobs.rates[0])
        if recipe is None:
            print(f"{name} is left out: no published setting is known here")
        else:
            changed = {k: v for k, v in own.items() if k != "epochs" or not knobs.published}
            found[name] = dataclasses.replace(recipe, **changed)
    return found


def check_all(knobs: Knobs) -> None:
    """Refuse knobs that make no sense.

    Raises:
        DomainError: such a one.
    """
    share = Constraint(lambda value: value is None or 0 < value <= 1, "more than 0 and at most 1")
    some = Constraint(lambda value: value is None or value >= 1, "1 or more")
    counts = ("seeds", "probed", "rounds")
    check(
        knobs,
        rates=POSITIVE,
        target=share,
        measured=POSITIVE,
        until=Constraint(lambda value: value is None or 1 <= value < math.inf, "1 or more, seconds"),
        **dict.fromkeys(counts, at_least(1)),
        **dict.fromkeys(("depth", "units", "batch", "epochs", "samples", "test_samples"), some),
    )
    choice.check_names(knobs.methods or (outcome.REFERENCE,))


def limit_of(knobs: Knobs, rules: int) -> float:
    """Seconds of each run, so that all end in time; 0 for no limit."""
    if knobs.until is None:
        return 0.0
    workers = max(1, os.cpu_count() or 1 if knobs.workers is None else knobs.workers)
    turns = math.ceil(rules * knobs.seeds / workers)
    left = knobs.until - START_UP - (COSTLY * rules if knobs.costs else 0.0)
    return max(1.0, math.floor(0.95 * left / turns))


def deadline_of(knobs: Knobs) -> float | None:
    """When runs have to end, as `time.time`, counted from the start of this process; None for no time."""
    if knobs.until is None:
        return None
    return psutil.Process().create_time() + max(knobs.until - END, 1.0)


class Plan:
    """The cells of each stage."""

    def __init__(self, knobs: Knobs, split: LoadedSplit, asked: Mapping[str, Recipe]) -> None:
        self.knobs, self.split, self.recipes = knobs, split, dict(asked)
        for name in asked:
            if why := cells.refusal(self.cell(cells.COSTS, name, 0), split):
                print(f"{name} is left out, it refuses the model: {why}")
                del self.recipes[name]
        self.limit = limit_of(knobs, len(self.recipes))

    def cell(self, part: str, name: str, seed: int, rate: float | None = None) -> cells.Cell:
        """Costs have no epochs, runs no rounds."""
        recipe, knobs = self.recipes[name], self.knobs
        recipe = recipe if rate is None else dataclasses.replace(recipe, rate=rate)
        own: dict[str, Any] = {"epochs": 0, "seconds": 0.0, "probed": 0}
        if part != cells.COSTS:
            epochs = knobs.epochs if knobs.published and knobs.epochs else recipe.epochs
            seconds = self.limit if part == cells.TRAIN else 0.0
            own = {"epochs": epochs, "seconds": seconds, "probed": knobs.probed, "rounds": 0, "measured": 0.0}
        own |= {"model": MODELS[knobs.model], "depth": recipe.depth, "recipe": recipe.text()}
        own |= {"part": part, "method": name, "seed": seed, "digest": self.split.digest}
        return cell_from(cells.Cell, knobs, **own)

    def costs(self) -> list[cells.Cell]:
        """What every rule costs."""
        return [self.cell(cells.COSTS, name, 0) for name in self.recipes] if self.knobs.costs else []

    def tuning(self) -> list[cells.Cell]:
        """Every rate on a seed of its own; none of published rates, or where there is one alone."""
        rates = self.knobs.rates
        if self.knobs.published or len(rates) == 1:
            return []
        return [self.cell(cells.TUNE, name, TUNING, rate) for name in self.recipes for rate in rates]

    def training(self, tuned: Sequence[Record]) -> list[cells.Cell]:
        """The runs that are compared."""
        rates: dict[str, float] = {}
        for name in self.recipes:
            own = [record for record in tuned if record.knobs["method"] == name]
            rates |= {name: outcome.best_rate(own)} if own else {}
        seeds = range(self.knobs.seeds)
        return [
            self.cell(cells.TRAIN, name, seed, rates.get(name)) for seed in seeds for name in self.recipes
        ]


def check_device(knobs: Knobs, planned: Sequence[cells.Cell]) -> None:
    """A device that is not there is refused, unless all is computed already: records can be read anywhere.

    Raises:
        DomainError: it is not there.
    """
    place = records.cells(knobs.folder(NAME))
    if any(not (place / f"{records.key(cell)}.npz").exists() for cell in planned):
        device_of(knobs.device)


def show(found: Sequence[outcome.Outcome], whole: int, target: float) -> None:
    """The tables and what they say."""
    print(report.table(tables.RESULTS, tables.result_rows(found, whole)))
    if any(one.costs for one in found):
        print(f"\ncosts of a step, and the time to a test accuracy of {target:.1%}:")
        print(report.table(tables.COSTS, tables.cost_rows(found)))
        print("\nthe machine, one rule at a time; joules for a million samples:")
        print(report.table(tables.SYSTEM, tables.system_rows(found)))
        if said := tables.busy(found):
            print(said)
    print("\n".join(["", *tables.sentences(found)]))


def gathered(stages: Stages, planned: Sequence[cells.Cell], **words: bool) -> list[Record]:
    """The records of a stage; where cells have failed, which is said, those of the others."""
    found = stages.gather(planned, **words) if planned else []
    if planned and not found and stages.failed:
        return collection.scan(stages.run.folder(NAME), map(records.key, planned))
    return found


def main(knobs: Knobs) -> int:
    """Measure, tune, train, print the tables and the verdicts; 0 iff no verdict fails and no cell has."""
    check_all(knobs)
    where = {"folder": knobs.data_folder, "download": knobs.download}
    split = cells.data_of(knobs.data, knobs.samples, knobs.test_samples, **where)
    plan = Plan(knobs, split, recipes(knobs))
    check_device(knobs, [*plan.costs(), *(plan.training([]) if knobs.published else plan.tuning())])
    stages = Stages(NAME, knobs, functools.partial(cells.compute, **where, deadline=deadline_of(knobs)))
    apart = knobs.device == "cpu" and knobs.workers not in (0, 1)
    measured = gathered(stages, plan.costs(), alone=True, apart=apart)
    tuned = gathered(stages, plan.tuning())
    if len(tuned) < len(plan.tuning()) and not stages.failed:
        return 0  # another shard's
    runs = gathered(stages, plan.training(tuned))
    if not any(run.knobs["method"] == outcome.REFERENCE for run in runs):
        return stages.failed
    target = outcome.default_target(runs) if knobs.target is None else knobs.target
    found = outcome.outcomes([*measured, *runs], len(split.x_train), target)
    whole = WHOLE.get(knobs.data.partition("_")[0], len(split.x_train))
    kind = ", published settings" if knobs.published else ""
    size = f"{len(split.x_train)} training samples"
    done = "some cells have failed" if stages.failed else stages.finish()
    print(f"{knobs.model}, {knobs.data} ({size}), {knobs.seeds} seeds{kind}, {knobs.device}; {done}")
    show(found, whole, target)
    if knobs.docs is not None:
        name = page.write(Path(knobs.docs), page.extract_of(knobs, found, whole, runs[0]))
        print(f"{name} is written, and the tables of {Path(knobs.docs) / 'rules.md'}")
    return report.finish(tables.answers(found, whole)) or int(stages.failed)


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
