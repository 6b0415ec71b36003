"""Train a stack of blocks with any method, so that a run can be killed, resumed, measured and repeated.

    from dlinear.bridge.training import Training, train
    run = train(stack, split, method, Training(epochs=5), folder="results/mine")

A run with a folder writes metrics.jsonl, one line an epoch, and checkpoint.pt; called again with the same
arguments it goes on from there, and the numbers are those of a run that was never interrupted (on CUDA as far
as its kernels are deterministic: `torch.use_deterministic_algorithms`). Randomness inside blocks must come
from torch's default generators. Two runs must not share a folder.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dlinear.bridge.autograd.blocks import GradientFunction
from dlinear.bridge.autograd.ranks import Group, alone
from dlinear.bridge.data.split import Split
from dlinear.bridge.training import checkpoints, metrics
from dlinear.bridge.training.batching import noise_seed
from dlinear.bridge.training.evaluation import device_generators
from dlinear.bridge.training.metrics import Run
from dlinear.bridge.training.run_folder import CHECKPOINT, METRICS, RunFolder
from dlinear.bridge.training.schedule import HorizonSchedule
from dlinear.bridge.training.session import Probe, Session, next_rate
from dlinear.bridge.training.settings import SETTINGS, Setting, Training, setting
from dlinear.checks import as_flag, as_integer, shown
from dlinear.errors import DomainError
from dlinear.optional import needed
from dlinear.runs import records

__all__ = [
    "CHECKPOINT",
    "METRICS",
    "SETTINGS",
    "HorizonSchedule",
    "Probe",
    "Run",
    "Setting",
    "Split",
    "Training",
    "next_rate",
    "setting",
    "train",
]


def train(
    stack: nn.Module,
    split: Split,
    method: GradientFunction,
    training: Training | None = None,
    *,
    folder: records.Folder | None = None,
    probe: Probe | None = None,
    probe_at: Collection[int] | None = None,
    identity: Mapping[str, Any] | None = None,
    horizon_schedule: HorizonSchedule | None = None,
    every: float = 600.0,
    progress: bool = True,
    process_group: Group = None,
) -> Run:
    """Train the stack in place, or go on where an earlier call with the same arguments stopped.

    A loss that becomes NaN or infinite, in a step or in the evaluation after an epoch, ends the run with the
    status "diverged at epoch e": a result.

    Args:
        stack: has `.blocks` and `.readout`; called, it gives the output that the loss compares.
        split: the data; its `classes` choose between cross-entropy and the mean squared error.
        method: (blocks, x, loss_fn, readout) -> detached loss, filling `.grad` like `backward()`; known to a
            checkpoint by its name (of `methods.Method`, a function, a `functools.partial`).
        training: the knobs, `Training()` by default.
        folder: where metrics and checkpoint go; None keeps nothing.
        probe: (epoch, stack, split) -> numbers or arrays by name, called at the end of epochs; 0 is before
            the first. What it does to the model, to gradients, random numbers or modes is undone.
        probe_at: the epochs at whose end it is called, all by default.
        identity: JSON values that tell this run from others beyond these arguments (the model's knobs).
        horizon_schedule: chooses the horizon again every few epochs (of the family of `method`); the rows say
            which one was used, and the time that this takes is counted with the steps.
        every: seconds after which a checkpoint is also written inside an epoch.
        progress: whether a terminal shows a progress bar.
        process_group: "none", where several processes of torch.distributed run: each trains a model of its
            own (and needs a folder of its own).

    Raises:
        DomainError, ShapeError: arguments that do not fit together.
        RecordError: a checkpoint or metrics file of something else, or a failed write (full disk); what is
            finished is kept.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once the step is done and the checkpoint written.
    """
    progress = as_flag("progress", progress)
    _check_extras(probe, identity, horizon_schedule)
    files = RunFolder(None if folder is None else _as_path(folder), every)
    session = Session(stack, split, method, _given(training), files, horizon_schedule)
    epochs = None if probe is None else "all" if probe_at is None else _as_epochs(probe_at)
    key = _key(session, epochs, identity)
    noise = torch.random.fork_rng(device_generators(session.device))
    with alone("train", process_group), session.interrupts, noise:
        torch.manual_seed(noise_seed(session.training.seed))
        session.open(key)
        try:
            _finish(session, probe, probe_at, progress)
        except KeyboardInterrupt:
            session.leave()
            raise
    return metrics.run_of(session.rows)


def _given(training: Training | None) -> Training:
    return Training() if training is None else training


def _check_extras(probe: object, identity: object, schedule: object) -> None:
    if schedule is not None and not isinstance(schedule, HorizonSchedule):
        raise DomainError(
            f"horizon_schedule is {shown(schedule)}; expected a dlinear.bridge.HorizonSchedule, or None"
        )
    if probe is not None and not callable(probe):
        raise DomainError(f"probe is {shown(probe)}; expected a function (epoch, stack, split), or None")
    named = isinstance(identity, Mapping) and all(isinstance(name, str) for name in identity)
    if identity is not None and not named:
        raise DomainError(f"identity is {shown(identity)}; expected JSON values by name, or None")


def _finish(session: Session, probe: Probe | None, probe_at: Collection[int] | None, progress: bool) -> None:
    """Run the epochs that are still to do; epoch 0 has no steps."""
    with needed("a training run"):
        from tqdm import tqdm

    total = session.training.epochs * len(session.batches)
    silent = None if progress else True  # None: silent unless a terminal is there
    with tqdm(total=total, initial=session.progress.steps, unit="step", disable=silent) as bar:
        if not session.rows:
            session.close_epoch(probe, probe_at)
        while session.going_on():
            session.run_epoch(bar)
            session.close_epoch(probe, probe_at)


def _as_path(folder: Any) -> Path:
    """The folder of a run, with ~ as the home folder."""
    try:
        return Path(folder).expanduser()
    except (TypeError, RuntimeError):  # no path; no home folder is known
        raise DomainError(f"folder is {shown(folder)}; expected a path, or None to keep nothing") from None


def _as_epochs(probe_at: Any) -> list[int]:
    """The epochs of a probe, each once, in order."""
    if isinstance(probe_at, str) or not isinstance(probe_at, Iterable):
        raise DomainError(f"probe_at is {shown(probe_at)}; expected epochs, such as (0, 5, 10), or None")
    return sorted({as_integer("an epoch of probe_at", epoch, 0) for epoch in probe_at})


def _key(session: Session, probed: Any, identity: Mapping[str, Any] | None) -> str:
    """The key of everything that the numbers depend on; `epochs` only says when to stop."""
    knobs = {name: value for name, value in asdict(session.training).items() if name != "epochs"}
    known = {
        "training": {**knobs, "device": session.device.type},
        "method": _name(session.method),
        "data": session.split.digest,
        "model": checkpoints.structure(session.stack),
        "probed": probed,
        "identity": dict(identity or {}),
    }
    if session.schedule is not None:  # without one the key is what it always was
        known["horizon_schedule"] = session.schedule.key
    return records.key(known)


def _name(method: Any) -> str:
    """What tells a method from others: its name, or the function and the arguments that it was bound to."""
    if isinstance(method, functools.partial):
        return f"{_name(method.func)} {method.args} {sorted(method.keywords.items())}"
    return str(getattr(method, "name", None) or getattr(method, "__qualname__", type(method).__qualname__))
