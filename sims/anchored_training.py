"""Does a better angle train better? Deep models from scratch at tuned rates, by every rule and its rivals.

    python -m sims.anchored_training                            # nine tasks, half an hour on one core
    python -m sims.anchored_training --tasks tanh relu --steps 600 --seeds 10
    python -m sims.anchored_training --tasks mnist autoencoder cifar --data-folder data
    python -m sims.anchored_training --tasks tanh --methods horizon-1 anchored-1 loco-3 --rounds 3

Tasks: deep teacher and student (tanh, relu, linear; T = 16, n = 8, 128 samples, no trained readout), the
same with a trained head (tanh-head), parity of four signs (T = 16), digits through a narrow middle
(autoencoder, autoencoder-relu; T = 16, n = 64, 8 in the middle), digits in 32 blocks with a trained shared
head or with a fixed one (digits-fixed). With images in a folder also mnist, fashion, ... in that net, and
cifar, a convolutional net of 12 equal blocks. `dlinear/bridge/from_scratch/tasks.py` defines them.

- All rates and seeds of a method are trained at once, as members of one stack that nothing mixes: gradient
  descent with momentum, equal batches and starts for all methods.
- Each method takes its own best of the task's rates (or of `rates`), by the worst training loss over the
  tuning runs, which are used for nothing else; the test set has no say. Rates count in |g_T|/|g| at the start
  for each method. A best rate at an end of the grid is marked *. A run that diverges at the chosen rate is
  started again at the next smaller one, and so on; the table counts them.
- First the gap: how far local training ends above back-propagation, by horizon-1 or by greedy (a head of its
  own for each state), whichever ends lower. Where its interval holds 1, no rule can differ, and that is said.
  Parity and digits-fixed have no greedy: its trained last head would make another model of them.
- Equal time is read off the same curves, each with its best rate until then: as many steps as fit into the
  time of back-propagation, by the unit-cost model and as measured (blocks of `measured_width`, on one core).
- What has back-propagation's gradient (measured: relative difference below 1e-4) is not trained: the curves
  of back-propagation represent it.
- Fronts: which method ends lowest within a memory and a time. A place is only given to what is better than
  the place before, which takes less memory, by a 95 % interval over the seeds.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from dlinear import report
from dlinear.analysis import scratch, statistics
from dlinear.analysis.comparison import REFERENCE
from dlinear.report import scratch_words as words
from dlinear.runs import script
from dlinear.runs.knobs import POSITIVE, Constraint, Source, at_least, check
from dlinear.runs.launch import Launch
from dlinear.runs.records import Record
from dlinear.runs.stages import Stages

with script.imports():
    from dlinear.bridge import from_scratch
    from dlinear.bridge.from_scratch import METERS, TASKS, TRAIN, Cell
    from dlinear.bridge.tradeoff import SAME

NAME = "anchored_training"
EXACT = ("revolve-2", "revolve-4", "revolve-8", "checkpoint-4")
TOY = (  # seconds, for the tests
    "--tasks tanh digits --methods horizon-1 anchored-1 revolve-2 --depth 4 --units 4 --samples 24 "
    "--steps 8 --points 2 --seeds 3 --tuning 1 --rates 1 3 --measured-width 8 --measured-batch 8 --rounds 1"
)


@dataclass(frozen=True)
class Knobs(Source, Launch):
    """What to run; None takes the task's own value."""

    tasks: tuple[str, ...] = (  # what is learned: with and without need of depth, with and without a head
        *("tanh", "relu", "linear", "tanh-head", "parity", "autoencoder", "autoencoder-relu"),
        *("digits", "digits-fixed"),
    )
    methods: tuple[str, ...] = (  # names, beside back-propagation; exact ones are measured and not trained
        *("horizon-1", "greedy", "horizon-4", "stages-4", "anchored-1", "anchored-stages-4"),
        *("highway-1", "reconstruct-1", *EXACT),
    )
    depth: int | None = None  # T, blocks: 16, or 32 for images
    units: int | None = None  # n, units of a block: 8, 16 for parity, 24 for images
    samples: int | None = None  # training samples: 128, or 500 images
    batch: int | None = None  # samples of a step: all, or 50 images
    steps: int = 300  # of gradient descent; the gaps grow with it
    seeds: int = 5  # runs that are compared; enough for an interval
    tuning: int = 2  # further runs, on which the rate is chosen; two keep it off the edge of stability
    rates: tuple[float, ...] | None = None  # step lengths; a grid that has the best ones inside
    momentum: float = 0.9  # share of the last step that the next one keeps; without it 300 steps are too few
    points: int = 20  # evaluations of a run; they limit how exactly equal time is read
    measured_width: int = 256  # units of the blocks that are timed; of 8, Python's own time is seen
    measured_batch: int = 256  # samples of the steps that are timed
    rounds: int = 5  # interleaved rounds of timing; quartiles need a few


def check_all(knobs: Knobs) -> None:
    """Check the knobs.

    Raises:
        DomainError: one that makes no sense, an unknown task or method, or a method that cannot be trained
            with all seeds at once.
    """
    known = Constraint(lambda name: name in TASKS, f"one of {', '.join(TASKS)}")
    counts = ("units", "samples", "batch", "steps", "seeds", "tuning", "points", "rounds")
    given = [name for name in counts if getattr(knobs, name) is not None]
    check(
        knobs,
        **dict.fromkeys([*given, "measured_width", "measured_batch"], at_least(1)),
        **({} if knobs.depth is None else {"depth": at_least(2)}),
        tasks=known,
        **({} if knobs.rates is None else {"rates": POSITIVE}),
        momentum=Constraint(lambda value: 0 <= value < 1, "0 or more and less than 1"),
    )
    for name in knobs.methods:
        for task in knobs.tasks:
            from_scratch.check_method(name).cost(depth_of(knobs, task))  # refuses numbers that do not suit T


def depth_of(knobs: Knobs, task: str) -> int:
    """T of a task."""
    return knobs.depth or TASKS[task].depth


def cell_of(knobs: Knobs, part: str, task: str, method: str, depth: int) -> Cell:
    """One cell; that of the meters has no task."""
    digest, rates = "", knobs.rates or (TASKS[task].rates if task else ())
    if task and (kind := TASKS[task]).images:
        samples = knobs.samples or kind.samples
        digest = from_scratch.images(task, samples, knobs.data_folder, knobs.download).digest
    own = {"part": part, "task": task, "method": method, "depth": depth}
    own |= {"width": knobs.units, "rates": rates, "digest": digest, "edition": 1}
    rest = {f.name: getattr(knobs, f.name) for f in fields(Cell) if f.name not in own}
    return Cell(**own, **rest)


def names(knobs: Knobs) -> list[str]:
    """The methods, the reference first."""
    return list(dict.fromkeys([REFERENCE, *knobs.methods]))


def training(knobs: Knobs, measured: Sequence[Record]) -> list[Cell]:
    """Every task by every method whose gradient is not back-propagation's, if it leaves the same model."""
    same = {
        (r.knobs["method"], r.knobs["depth"])
        for r in measured
        if float(r.arrays["difference"]) < SAME and r.knobs["method"] != REFERENCE
    }
    return [
        cell_of(knobs, TRAIN, task, name, depth_of(knobs, task))
        for task in knobs.tasks
        for name in names(knobs)
        if (name, depth_of(knobs, task)) not in same
        and (TASKS[task].heads or from_scratch.check_method(name).readout is None)
    ]


def costs_at(measured: Sequence[Record], depth: int) -> list[scratch.MethodCost]:
    """The costs of all methods at a depth."""
    here = [record for record in measured if record.knobs["depth"] == depth]
    reference = next(record for record in here if record.knobs["method"] == REFERENCE)
    return [scratch.cost_of(record, reference) for record in here]


def judge(
    costs: Sequence[scratch.MethodCost], every: Mapping[str, Mapping[str, scratch.TrainedMethod]]
) -> list[report.Answer]:
    """What must hold of the measurement, and the claim: where there is a gap, anchoring narrows it."""
    apart = max(cost.difference for cost in costs if cost.exact)
    answers = [
        report.Answer(
            f"exact methods give back-propagation's gradient within {SAME:g}",
            apart < SAME,
            f"largest relative difference {apart:.1e}",
        )
    ]
    for task, trained in every.items():
        if words.comparable(trained) and words.has_gap(trained):
            local = words.local_rule(trained)
            plain, ours = (trained[name].after().train_loss for name in (local, words.ANCHORED))
            change = scratch.ratio(plain, ours, statistics.JUDGED)
            holds = True if change.low > 1 else False if change.high < 1 else None
            question = f"{task}: {local} ends above {words.ANCHORED}, factor"
            answers.append(report.Answer(question, holds, f"{words.fold(change)} (99.7 %)"))
    return answers


def show(
    task: str, trained: Mapping[str, scratch.TrainedMethod], costs: Sequence[scratch.MethodCost]
) -> None:
    """Print the table and the sentences of one task."""
    print(f"\n{task}")
    print(report.table(words.OUTCOMES, words.outcome_rows(trained, costs)))
    if words.comparable(trained):
        print(f"{words.gap_line(task, trained)}\n{words.test_line(task, trained)}")
        print(words.opening_line(task, trained))
        if line := words.accuracy_line(task, trained):
            print(line)
    for model in (True, False):
        print("\n".join(words.front_lines(task, trained, costs, model)))


def main(knobs: Knobs) -> int:
    """Run the missing cells, print tables, sentences and verdicts; 0 iff no verdict fails."""
    check_all(knobs)
    compute = functools.partial(from_scratch.compute, folder=knobs.data_folder, download=knobs.download)
    stages = Stages(NAME, knobs, compute)
    depths = sorted({depth_of(knobs, task) for task in knobs.tasks})
    meters = [cell_of(knobs, METERS, "", name, depth) for depth in depths for name in names(knobs)]
    measured = stages.gather(meters, alone=True)
    found = stages.gather(training(knobs, measured)) if measured else []
    if not found:
        return stages.failed
    print(f"{knobs.steps} steps, {knobs.seeds} seeds, momentum {knobs.momentum:g}; {stages.finish()}")
    costs = {depth: costs_at(measured, depth) for depth in depths}
    for depth, some in costs.items():
        print(f"\nT = {depth}, blocks of {knobs.measured_width}, batch {knobs.measured_batch}")
        print(report.table(words.COSTS, words.cost_rows(some)))
    every = {
        task: scratch.trained_methods(r for r in found if r.knobs["task"] == task) for task in knobs.tasks
    }
    for task, trained in every.items():
        show(task, trained, costs[depth_of(knobs, task)])
    complete = {task: trained for task, trained in every.items() if words.comparable(trained)}
    for part in ("train_loss", "test_loss") if complete else ():
        print(f"\n{words.summary(complete, part)}")
    return report.finish(judge([cost for some in costs.values() for cost in some], every))


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
