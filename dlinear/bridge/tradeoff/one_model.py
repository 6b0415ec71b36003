"""One model and one batch, as `sims.select_horizon` asks about them: built, trained a little, measured."""

from __future__ import annotations

import copy
import functools
import math
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from dlinear.analysis.comparison import REFERENCE
from dlinear.bridge.angles.alignment import alignment
from dlinear.bridge.angles.forward import alignment_forward
from dlinear.bridge.autograd.isolation import one_thread
from dlinear.bridge.data.loading import LoadedSplit
from dlinear.bridge.data.loading import load as load_data
from dlinear.bridge.data.losses import Supervised, criterion_of
from dlinear.bridge.meters import step_memory, step_times
from dlinear.bridge.methods.registry import method
from dlinear.bridge.models import Stack, model
from dlinear.bridge.side_by_side import MethodProbe
from dlinear.bridge.training.settings import Training
from dlinear.bridge.training.trainer import train
from dlinear.errors import DomainError

__all__ = ["Rule", "built", "cosines", "costs", "loaded", "trained"]

Rule = Literal["horizon", "anchored", "stages", "anchored-stages"]
KEPT = 8  # trained models
WITHOUT_SIZES = ("resnet50", "vit")  # models whose depth and width are given


class Asked(Protocol):
    """What a cell has to say of the model, the method and the batch."""

    method: Any
    seed: Any
    model: Any
    depth: Any
    units: Any
    batch: Any
    angles: Any
    probes: Any
    steps: Any
    rate: Any
    rounds: Any


@functools.lru_cache(maxsize=2)
def loaded(data: str, samples: int | None, folder: str | None, download: bool) -> LoadedSplit:
    """The data set, kept for the next cell."""
    return load_data(data, samples=samples, folder=folder, download=download)


def built(cell: Asked, split: LoadedSplit) -> Stack:
    """The model with trained heads, from the seed.

    Raises:
        DomainError, ShapeError: a model that there is not, or that does not take such data.
    """
    sizes: dict[str, Any] = {"depth": cell.depth, "width": cell.units}
    if cell.model == "resnet62":
        sizes = {"depth_per_stage": cell.depth // 3, "base_channels": cell.units}
    elif cell.model == "mlp":
        sizes["gain"] = 1 / cell.depth
    elif cell.model in WITHOUT_SIZES:
        sizes = {}
    stack = model(cell.model, split.task, cell.seed, readout="shared", **sizes)
    if stack.depth != cell.depth:
        raise DomainError(f"{cell.model} has {stack.depth} blocks; ask with --depth {stack.depth}")
    return stack


_TRAINED: dict[tuple[Any, ...], Stack] = {}  # the last few, for the next cells of the same model


def trained(cell: Asked, split: LoadedSplit) -> Stack:
    """After so many steps of back-propagation, in training mode; the caller's own."""
    names = ("seed", "model", "depth", "units", "batch", "steps", "rate")
    key = (split.digest, *(getattr(cell, name) for name in names))
    if key not in _TRAINED:
        while len(_TRAINED) >= KEPT:
            del _TRAINED[next(iter(_TRAINED))]
        _TRAINED[key] = _trained(cell, split)
    return copy.deepcopy(_TRAINED[key])


def _trained(cell: Asked, split: LoadedSplit) -> Stack:
    stack = built(cell, split)
    if cell.steps:
        knobs = Training(cell.rate, cell.batch, cell.steps, steps=cell.steps, seed=cell.seed, device="cpu")
        with one_thread():
            run = train(stack, split, method("backprop"), knobs, progress=False)
        if run.diverged:
            raise DomainError(f"back-propagation {run.status} at rate {cell.rate:g}; take a smaller --rate")
    return stack.train()


def batch(cell: Asked, split: LoadedSplit) -> tuple[Tensor, Supervised]:
    """The batch of the seed, and its loss."""
    generator = torch.Generator().manual_seed(cell.seed)
    some = torch.randperm(len(split.x_train), generator=generator)[: cell.batch]
    return split.x_train[some], Supervised(criterion_of("auto", split.classes), split.y_train[some])


def cosines(cell: Asked, stack: Stack, split: LoadedSplit, asked: Sequence[int]) -> np.ndarray:
    """cos(theta) under the cell's rule at each horizon; of stages those are k."""
    x, loss_fn = batch(cell, split)
    anchored = cell.method.startswith("anchored")
    groups = [(1, k) for k in asked] if cell.method.endswith("stages") else []
    found = []
    for horizons, stride in [([h], k) for h, k in groups] or [(list(asked), 1)]:
        arguments: Any = (stack.blocks, x, loss_fn, horizons, stack.readout)
        words: Any = {"anchored": anchored, "stride": stride, "undefined": "nan"}
        with one_thread():
            if cell.angles == "exact":
                found += alignment(*arguments, **words).cos.tolist()
            else:
                found += alignment_forward(*arguments, probes=cell.probes, **words).cos.tolist()
    return np.array(found)


def costs(cell: Asked, stack: Stack, split: LoadedSplit) -> dict[str, float]:
    """Bytes of activations; processor time over back-propagation's, which other work on the machine does not
    enter, and as theory counts it ("unit"); and r = cos^2, 1 for exact methods. NaN, all of them, where the
    method refuses the model.
    """
    x, loss_fn = batch(cell, split)
    probe = MethodProbe(cell.method, stack, x, loss_fn)
    try:
        with one_thread(), torch.random.fork_rng():
            torch.manual_seed(cell.seed)
            cos = probe.cosine()
            memory = step_memory(probe.method, stack.blocks, x, loss_fn, stack.readout)
            steps = {REFERENCE: partial(probe.step, REFERENCE)} | {cell.method: probe.step}
            took = step_times(steps, cell.rounds, reference=REFERENCE, clock=time.process_time)[cell.method]
    except DomainError:
        return dict.fromkeys(("activations", "ratio", "unit", "rate"), math.nan)
    rate = 1.0 if probe.method.exact else max(0.0, cos) ** 2
    found = {"activations": float(memory.activations), "ratio": took.ratio, "rate": rate}
    return found | {"unit": probe.method.predicted(stack.depth).time}
