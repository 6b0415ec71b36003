"""One cell of the comparison: what a method costs, or one training run with it."""

from __future__ import annotations

import dataclasses
import functools
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dlinear.analysis import comparison
from dlinear.bridge.autograd.isolation import one_thread
from dlinear.bridge.data.loading import LoadedSplit
from dlinear.bridge.data.loading import load as load_data
from dlinear.bridge.data.losses import Supervised, criterion_of
from dlinear.bridge.methods import Method, method
from dlinear.bridge.methods.registry import family_of, load
from dlinear.bridge.models import Stack, model
from dlinear.bridge.side_by_side import MethodProbe
from dlinear.bridge.tradeoff.plan import TUNING, Plan, method_names
from dlinear.bridge.training import batching
from dlinear.bridge.training.settings import Training, device_of
from dlinear.bridge.training.trainer import train
from dlinear.errors import DomainError
from dlinear.runs import records, sweeps
from dlinear.runs.knobs import cell_from

__all__ = ["Cell", "compute", "plan_of"]


@dataclass(frozen=True)
class Cell:
    """One method: its costs (part meters), or one training run (parts tune, epochs, time)."""

    part: str
    method: str
    seed: int
    rate: float
    steps: int
    model: str
    data: str
    digest: str
    samples: int | None
    test_samples: int | None
    depth: int
    width: int
    batch: int
    epochs: int
    rounds: int
    readout: str
    edition: int = 1  # raise it when the meaning of a cell changes


def plan_of(knobs: Any, split: LoadedSplit) -> Plan:
    """The plan of settled knobs: those of `Plan`, of `method_names` and of `Cell`."""

    def cell(part: str, method: str, seed: int, rate: float, steps: int) -> Cell:
        """Without epochs it is of the meters, without rounds a training run."""
        unused = "epochs" if part == "meters" else "rounds"
        own = {"part": part, "method": method, "seed": seed, "rate": rate, "steps": steps, unused: 0}
        return cell_from(Cell, knobs, digest=split.digest, **own)

    refused = {name: why for name in method_names(knobs) if (why := _refusal(cell, name, split))}
    return Plan(
        [name for name in method_names(knobs) if name not in refused],
        knobs.rates,
        knobs.seeds,
        knobs.epochs,
        _steps_in(split, knobs.batch),
        knobs.train_exact,
        cell,
        refused,
    )


def _refusal(cell: Callable[..., Cell], name: str, split: LoadedSplit) -> str:
    """Why a method that is to be tried first refuses the model; "" if it does not."""
    if not _tried(name):
        return ""
    meters: Cell = cell("meters", name, TUNING, 0.0, 0)
    try:
        with torch.random.fork_rng():
            _probe(meters, split, _build(meters, split, TUNING)).gradient()
    except DomainError as error:
        return str(error)
    return ""


def _tried(name: str) -> bool:
    """Whether a method may refuse a model, or a step at a rate that is too large."""
    family = family_of(name)
    return family is not None and family.tried


def _diverging(rule: Method) -> Method:
    """A method whose refused steps have a loss that is not finite: the run counts as diverged there."""
    if not _tried(rule.name):
        return rule

    def run(*given: Any, **more: Any) -> torch.Tensor:
        try:
            return rule.run(*given, **more)
        except DomainError:
            return torch.tensor(math.nan)

    return dataclasses.replace(rule, run=run)


def _steps_in(split: LoadedSplit, batch: int) -> int:
    """Steps of an epoch."""
    return len(batching.batches(len(split.x_train), batch, 0, 1))


loaded = functools.lru_cache(maxsize=1)(load_data)


def compute(
    cell: Cell, folder: str | None, download: bool, place: str | None, plugins: Sequence[str] = ()
) -> sweeps.Arrays:
    """The arrays of a cell.

    Args:
        cell: what to compute.
        folder, download: where the data are, as of `data.load`.
        place: keeps the checkpoints of a training run until it is done; None keeps none.
        plugins: modules that register methods, imported first.
    """
    load(plugins)
    split = loaded(
        cell.data, samples=cell.samples, test_samples=cell.test_samples, folder=folder, download=download
    )
    with one_thread(), torch.random.fork_rng():  # workers side by side have a core each
        if cell.part != "meters":
            return _trained(cell, split, place)
        probe = _probe(cell, split, _build(cell, split, cell.seed))
        numbers = probe.costs(cell.rounds) | {"difference": probe.difference(), "unit": _unit(cell, split)}
        return {name: ((), value) for name, value in numbers.items()}


def _build(cell: Cell, split: LoadedSplit, seed: int) -> Stack:
    """The model of a cell, from a seed."""
    readout = method(cell.method).readout or cell.readout
    sizes: dict[str, Any] = {"depth": cell.depth, "width": cell.width}
    if cell.model == "mlp":
        sizes["gain"] = 1 / cell.depth
    elif cell.model == "resnet62":
        sizes = {"depth_per_stage": cell.depth // 3, "base_channels": cell.width}
    return model(cell.model, split.task, seed, readout=readout, **sizes)


def _probe(cell: Cell, split: LoadedSplit, stack: Stack) -> MethodProbe:
    """The cell's method and back-propagation on the first batch."""
    device, some = device_of("auto"), slice(cell.batch)
    criterion = criterion_of("auto", split.classes)
    loss = Supervised(criterion, split.y_train[some].to(device))
    torch.manual_seed(cell.seed)  # of forward gradients
    return MethodProbe(cell.method, stack.to(device).train(), split.x_train[some].to(device), loss)


def _unit(cell: Cell, split: LoadedSplit) -> float:
    """What a rate of 1 is for the cell's method: |g_T|/|g| on the model of the tuning seed."""
    tuning = dataclasses.replace(cell, seed=TUNING)
    return _probe(tuning, split, _build(cell, split, TUNING)).norm_ratio()


def _trained(cell: Cell, split: LoadedSplit, place: str | None) -> sweeps.Arrays:
    """One run, by epochs, and the angles before and after it."""
    rate = cell.rate if cell.method == comparison.REFERENCE else cell.rate * _unit(cell, split)
    epochs = max(cell.epochs, math.ceil(cell.steps / _steps_in(split, cell.batch)))
    training = Training(rate, cell.batch, epochs, steps=cell.steps or None, seed=cell.seed)

    def probe(_epoch: int, stack: Any, data: Any) -> Mapping[str, float]:
        try:
            return {"cos": _probe(cell, data, stack).cosine()}
        except DomainError:
            if not _tried(cell.method):
                raise
            return {"cos": math.nan}

    folder = None if place is None else f"{place}/{records.key(cell)}"
    run = train(
        _build(cell, split, cell.seed),
        split,
        _diverging(method(cell.method)),
        training,
        folder=folder,
        probe=probe,
        probe_at=(0, epochs) if cell.part == "epochs" else (),
        progress=False,
    )
    found: dict[str, Any] = {"epoch": (("epoch",), run.epochs)}
    found["loss"] = (("epoch",), run.loss)
    for name in comparison.METRICS:
        values = getattr(run, name)
        found |= {name: (("epoch",), values), f"final_{name}": ((), math.nan if run.diverged else values[-1])}
    for name, epoch in (("cos_start", 0), ("cos_end", epochs)):
        found[name] = ((), run.probes[epoch]["cos"] if epoch in run.probes else math.nan)
    if folder is not None:
        shutil.rmtree(folder)
    return found | {"learning_rate": ((), rate), "steps": ((), run.steps[-1])}
