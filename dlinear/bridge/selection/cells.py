"""One cell of Figure 5: what a method costs, the angles on the way of a training run, or a run alone.

The curve of a model is measured along back-propagation's run. Without g_T ("forward") it is measured along
the run of the largest measured horizon below T, in forward mode (`bridge.alignment_forward`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from dlinear.bridge.angles.alignment import alignment
from dlinear.bridge.angles.forward import alignment_forward
from dlinear.bridge.autograd.isolation import one_thread
from dlinear.bridge.data.loading import LoadedSplit
from dlinear.bridge.data.loading import load as load_data
from dlinear.bridge.data.losses import Supervised, criterion_of
from dlinear.bridge.meters import block_sizes, step_memory
from dlinear.bridge.methods import Method, method
from dlinear.bridge.methods.base import Cost, Predicted
from dlinear.bridge.methods.horizon import horizon_backward
from dlinear.bridge.models import Stack, model
from dlinear.bridge.selection.columns import Problems
from dlinear.bridge.side_by_side import MethodProbe
from dlinear.bridge.training.settings import Training, device_of
from dlinear.bridge.training.trainer import train
from dlinear.errors import DomainError
from dlinear.runs import sweeps

__all__ = ["Cell", "Setting", "compute", "loco_of_the_paper", "method_of"]

PAPER_LOCO = "paper-loco"
METERS, CURVE, FORWARD, RUN = "meters", "curve", "forward", "run"  # parts
PROBES = 8  # random directions that give |g_T| in forward mode


@dataclass(frozen=True)
class Setting:
    """How one model is built and trained.

    Attributes:
        model: as `bridge.model` reads it.
        data: as `bridge.load` reads it.
        depth: T.
        width: units of a layer, or channels of the first stage.
        samples, test_samples: of the sets.
        batch, epochs, rate: of training (SGD, the rate times 0.9 after an epoch whose loss rose).
    """

    model: str
    data: str
    depth: int
    width: int
    samples: int | None
    test_samples: int | None
    batch: int
    epochs: int
    rate: float

    def words(self, trained: bool) -> str:
        """All of it in words; without `trained` what a single step depends on."""
        text = f"{self.data} n={self.width} N={self.samples} N'={self.test_samples} B={self.batch}"
        return f"{text} E={self.epochs} rate={self.rate:g}" if trained else text

    def load(self, folder: str | None, download: bool) -> LoadedSplit:
        """The data.

        Raises:
            DataError, DomainError: as `bridge.load`.
        """
        return _loaded(self.data, self.samples, self.test_samples, folder, download)

    def build(self, split: LoadedSplit, seed: int) -> Stack:
        """The untrained model."""
        sizes: dict[str, Any] = {"depth": self.depth, "width": self.width}
        if self.model == "resnet62":
            sizes = {"depth_per_stage": self.depth // 3, "base_channels": self.width}
        return model(self.model, split.task, seed, **sizes)


@functools.lru_cache(maxsize=4)
def _loaded(
    data: str, samples: int | None, tests: int | None, folder: str | None, download: bool
) -> LoadedSplit:
    return load_data(data, samples=samples, test_samples=tests, folder=folder, download=download)


@dataclass(frozen=True)
class Cell:
    """One method on one model.

    Attributes:
        setting: `Setting.words`, so that it names every number.
        problems: `Problems.words` for a curve, from which horizons are chosen; "" for the other parts.
    """

    part: str
    ensemble: str
    method: str
    seed: int
    depth: int
    setting: str
    digest: str
    problems: str
    edition: int = 1  # raise it when the meaning of a cell changes


def cell_of(part: str, setting: Setting, name: str, seed: int, digest: str, problems: Problems) -> Cell:
    """A cell of a part; `digest` is that of the data."""
    words = setting.words(trained=part != METERS)
    asked = problems.words if part in (CURVE, FORWARD) else ""
    return Cell(part, setting.model, name, seed, setting.depth, words, digest, asked)


def loco_of_the_paper(stages: int, depth: int) -> Method:
    """LoCo K as the paper runs it (appendices B and D.1): horizon 2 over K stages, with split losses.

    A block of stage j sees the loss at the end of stage j + 1: stride k = T/K and horizon k + 1. (The method
    "loco-K" takes the losses of eq. (20) instead.)

    Raises:
        DomainError: K stages of equal size cannot be made of T blocks.
    """
    if stages < 2 or depth % stages:
        raise DomainError(f"{depth} blocks make no {stages} equal stages: take a multiple of {stages}")
    size = depth // stages
    return Method(
        name=f"{PAPER_LOCO}-{stages}",
        family=PAPER_LOCO,
        number=stages,
        description=f"horizon 2 over {stages} stages",
        exact=False,
        run=partial(horizon_backward, horizon=size + 1, stride=size),
        cost=lambda depth: Cost(depth, 2 * depth - size),
        predicted=lambda depth: Predicted(2 / stages, 1.0),
    )


def method_of(name: str, depth: int) -> Method:
    """A method by its name, those of this module too."""
    family, _, number = name.rpartition("-")
    return loco_of_the_paper(int(number), depth) if family == PAPER_LOCO else method(name)


def probed(epochs: int) -> list[int]:
    """0, the powers of 2 below the last epoch, and that."""
    return sorted({0, *(2**k for k in range(epochs.bit_length()) if 2**k < epochs), epochs})


def compute(cell: Cell, settings: Mapping[str, Setting], folder: str | None, download: bool) -> sweeps.Arrays:
    """The arrays of a cell.

    Args:
        cell: what to compute.
        settings: of each model, by the name that the cell has.
        folder, download: where the data are, as of `data.load`.
    """
    setting = settings[cell.ensemble]
    split = setting.load(folder, download)
    with one_thread(), torch.random.fork_rng():  # workers side by side have a core each
        if cell.part == METERS:
            return _metered(cell, setting, split)
        return _trained(cell, setting, split)


def _batch(setting: Setting, split: LoadedSplit) -> tuple[Any, Supervised]:
    """The first batch and its loss."""
    device, some = device_of("auto"), slice(setting.batch)
    loss = Supervised(criterion_of("auto", split.classes), split.y_train[some].to(device))
    return split.x_train[some].to(device), loss


def _metered(cell: Cell, setting: Setting, split: LoadedSplit) -> sweeps.Arrays:
    """Memory of a step, the sizes of the blocks, the relative difference to back-propagation's gradient."""
    x, loss = _batch(setting, split)
    stack = setting.build(split, cell.seed).to(x.device).train()
    chosen = method_of(cell.method, cell.depth)
    memory = step_memory(chosen, stack.blocks, x, loss, stack.readout)
    return {
        "activations": ((), memory.activations),
        "difference": ((), MethodProbe(chosen, stack, x, loss).difference()),
        "blocks": (("block",), block_sizes(stack.blocks, x)),
        "block": (("block",), np.arange(cell.depth)),
    }


def _trained(cell: Cell, setting: Setting, split: LoadedSplit) -> sweeps.Arrays:
    """One run, by epochs; of a curve also the cosines of its horizons on the way, NaN after divergence."""
    measured = {CURVE: _cosines, FORWARD: _cosines_forward}.get(cell.part)
    horizons = np.arange(1, cell.depth + 1)
    if cell.part == FORWARD:
        horizons = np.array(Problems.read(cell.problems).measured(cell.depth)[:-1])

    def probe(epoch: int, stack: Any, data: Any) -> Mapping[str, Any]:
        x, loss = _batch(setting, data)
        return {"cos": measured(stack, x, loss, horizons, epoch) if measured else np.empty(0)}

    epochs = probed(setting.epochs) if measured else []
    run = train(
        setting.build(split, cell.seed),
        split,
        method_of(cell.method, cell.depth),
        Training(setting.rate, setting.batch, setting.epochs, seed=cell.seed),
        probe=probe,
        probe_at=epochs,
        progress=False,
    )
    every: dict[str, Any] = {"epoch": (("epoch",), run.epochs)}
    for name in ("train_loss", "test_loss", "test_accuracy"):
        values = getattr(run, name)
        every[name] = (("epoch",), values)
        every[f"final_{name}"] = ((), math.nan if run.diverged else values[-1])
    if measured:
        nothing = np.full(len(horizons), np.nan)
        seen = [run.probes[e]["cos"] if e in run.probes else nothing for e in epochs]
        every["cos"] = (("probed", "horizon"), np.array(seen))
        every |= {"probed": (("probed",), np.array(epochs)), "horizon": (("horizon",), horizons)}
    return every


def _cosines(stack: Any, x: Any, loss: Supervised, horizons: Any, epoch: int) -> Any:
    """cos(theta_h) exactly, which needs g_T."""
    return alignment(stack.blocks, x, loss, horizons, stack.readout, undefined="nan").cos


def _cosines_forward(stack: Any, x: Any, loss: Supervised, horizons: Any, epoch: int) -> Any:
    """cos(theta_h) without g_T: exact ratios, and |g_T| as the largest horizon estimates it best."""
    found = alignment_forward(
        stack.blocks, x, loss, horizons, stack.readout, probes=PROBES, seed=epoch, undefined="nan"
    )
    return found.along / found.true_norm[-1]
