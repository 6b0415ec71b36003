"""A run in progress: its state between two steps, the steps, and the end of an epoch."""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dlinear.bridge.autograd.blocks import GradientFunction, check_fills
from dlinear.bridge.autograd.isolation import generators, set_generators, step_isolated
from dlinear.bridge.data.losses import Supervised, criterion_of
from dlinear.bridge.data.split import Split, check_split, random_part
from dlinear.bridge.methods.base import Method
from dlinear.bridge.training import batching, checkpoints, metrics
from dlinear.bridge.training.evaluation import Score, evaluate, precision
from dlinear.bridge.training.interrupts import Interrupts
from dlinear.bridge.training.run_folder import RunFolder
from dlinear.bridge.training.schedule import HorizonSchedule
from dlinear.bridge.training.settings import Training, device_of
from dlinear.checks import shown
from dlinear.errors import DomainError, ShapeError

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
}

Probe = Callable[[int, Any, Any], Mapping[str, Any]]  # (epoch, stack, split) -> numbers and arrays by name
clock = time.perf_counter  # of the steps


@dataclass
class Progress:
    """Where a run is, between two steps.

    Attributes:
        epoch: the one under way.
        step: steps done in it.
        seen: samples of these steps.
        total: sum of these samples' losses; NaN or infinite when the run has diverged.
        steps: all steps.
        seconds: that all steps have taken.
        rate: learning rate of this epoch.
        last: mean loss of the epoch before, NaN when there is none.
    """

    epoch: int
    step: int
    seen: int
    total: float
    steps: int
    seconds: float
    rate: float
    last: float


def _as_loss(found: Any) -> float:
    """What a method returned, as a number; it may be NaN or infinite."""
    value = found.detach().cpu() if isinstance(found, Tensor) else found
    if isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex():
        return float(value)
    if isinstance(value, float | int) and not isinstance(value, bool):
        return float(value)
    raise DomainError(f"the method returned {shown(found)}; expected the loss, a tensor of one number")


def next_rate(rate: float, loss: float, last: float, decay: float) -> float:
    """The learning rate after an epoch: smaller if its mean loss rose (the paper, appendix D.2).

    NaN stands for the loss of an epoch that never was and compares false: the rate stays.
    """
    return rate * decay if loss > last else rate


class Session:
    """A run in progress.

    Between two steps the model, the optimizer, torch's generators, `progress` and `lines` are its whole
    state: that is what a checkpoint contains, and why a run can be resumed anywhere with the same numbers.

    Args:
        stack: the model, moved to the device and put into training mode.
        split: the data.
        method: fills `.grad`, one call a step.
        training: the knobs.
        folder: the run's files.
        schedule: chooses the horizon of the epochs, if any.

    Attributes:
        progress: where the run is.
        rows: one for each epoch that has ended.
        lines: the same as lines of JSON.
        batches: the indices of each batch of the epoch.
        durations: seconds of each step of the epoch.
        unfinished: whether a step, or the change of epoch, has begun and not ended: the state is then no
            state between two steps, and is not saved.
        interrupts: defers signals to the end of a step.
        key: of the run; `initial`: fingerprint of the model before the first step.
    """

    def __init__(
        self,
        stack: nn.Module,
        split: Split,
        method: GradientFunction,
        training: Training,
        folder: RunFolder,
        schedule: HorizonSchedule | None = None,
    ) -> None:
        if not isinstance(stack, nn.Module) or not hasattr(stack, "blocks") or not hasattr(stack, "readout"):
            raise ShapeError(
                f"the model is a {type(stack).__name__}; expected a module with .blocks and .readout"
            )
        if not any(leaf.requires_grad for leaf in stack.parameters()):
            raise DomainError("the model has no trainable parameter; allowed is one or more")
        check_fills(method)
        if not isinstance(training, Training):
            raise DomainError(f"training is a {type(training).__name__}; expected a Training(...) or None")
        check_split(split, training.samples)
        self.stack, self.split, self.method, self.training = stack, split, method, training
        self.folder, self.schedule = folder, schedule
        if schedule is not None:
            schedule.check(method, stack)
        self.device = device_of(training.device)
        self.criterion = criterion_of(training.loss, split.classes)
        self.x, self.y = random_part(split.x_train, split.y_train, training.samples)
        self.evaluated = [
            random_part(x, y, training.evaluated) for x, y in ((self.x, self.y), (split.x_test, split.y_test))
        ]
        stack.to(self.device).train()
        if isinstance(method, Method) and method.prepare is not None:
            method.prepare(stack.blocks, stack.readout)
        leaves = [leaf for leaf in stack.parameters() if leaf.requires_grad]
        self.optimizer = OPTIMIZERS[training.optimizer](leaves, lr=training.learning_rate)
        self.progress = Progress(0, 0, 0, 0.0, 0, 0.0, training.learning_rate, math.nan)
        self.batches = self._batches(1)
        self.lines: list[str] = []
        self.rows: list[metrics.EpochRow] = []
        self.durations: list[float] = []
        self.unfinished = False
        self.key = self.initial = ""
        self.interrupts = Interrupts()

    def _batches(self, epoch: int) -> list[Tensor]:
        return batching.batches(len(self.x), self.training.batch_size, self.training.seed, epoch)

    def open(self, key: str) -> None:
        """Take up the run of this key in the folder, if there is one.

        Raises:
            RecordError: a file of something else, or a damaged one.
        """
        self.key = key
        self.initial = checkpoints.fingerprint(self.stack.state_dict())
        found = self.folder.open(key, self.initial)
        if found is None:
            self.folder.check_writable()
            return
        self.initial = found.initial
        try:
            self._resume(found)
        except Exception as error:  # parts that do not fit together raise nearly anything
            raise self.folder.refuse(f"is damaged ({type(error).__name__}); {checkpoints.ADVICE}") from error
        if len(self.rows) > self.training.epochs + 1:
            raise self.folder.refuse(
                f"has {len(self.rows) - 1} epochs, {self.training.epochs} were asked for; "
                f"ask for as many or more, use another folder or {checkpoints.ADVICE}"
            )
        if self.going_on():
            self.folder.check_writable()
        self.folder.restore(self.lines)

    def _resume(self, found: checkpoints.Checkpoint) -> None:
        self.progress = Progress(**found.progress)
        self.lines = found.history
        self.rows = [metrics.parse(line) for line in self.lines]
        self.stack.load_state_dict(found.model)
        with torch.no_grad():
            for name, buffer in checkpoints.unlisted(self.stack).items():
                buffer.copy_(found.unlisted[name])
        self.optimizer.load_state_dict(found.optimizer)
        set_generators(found.generators, self.device)

    def going_on(self) -> bool:
        """Whether there is an epoch to run, or to finish."""
        return self.rows[-1]["status"] == metrics.OK and len(self.rows) <= self.training.epochs

    def out_of_time(self) -> bool:
        """Whether the steps have used up the time that they were given."""
        return self.training.seconds is not None and self.progress.seconds >= self.training.seconds

    def out_of_steps(self) -> bool:
        """Whether all steps that were allowed have been done."""
        return self.training.steps is not None and self.progress.steps >= self.training.steps

    def stopped(self) -> bool:
        """Whether the time or the steps have run out."""
        return self.out_of_time() or self.out_of_steps()

    @property
    def current(self) -> GradientFunction:
        """The method of this epoch: as the last row has chosen, where there is a schedule."""
        if self.schedule is None or not isinstance(self.method, Method):
            return self.method
        return self.schedule.method(self.method, self.horizon)

    @property
    def horizon(self) -> int:
        """The horizon of this epoch, where there is a schedule."""
        assert isinstance(self.method, Method)
        assert self.method.number is not None
        return int(self.rows[-1]["next_horizon"]) if self.rows else self.method.number

    def run_epoch(self, bar: Any) -> None:
        """The steps of the epoch that are still to do, unless a loss, the time or their number stops them."""
        at = self.progress
        self.batches = self._batches(at.epoch)
        while at.step < len(self.batches) and math.isfinite(at.total) and not self.stopped():
            with self.interrupts.deferred():
                self._step(self.batches[at.step])
                if self.folder.due():
                    self.save()
            bar.update()
            bar.set_postfix_str(f"epoch {at.epoch}, loss {at.total / at.seen:.4g}", refresh=False)

    def _step(self, chosen: Tensor) -> None:
        at, stack = self.progress, self.stack
        start = clock()
        self.unfinished = True
        x, target = self.x[chosen].to(self.device), self.y[chosen].to(self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = at.rate
        self.optimizer.zero_grad(set_to_none=True)
        method = self.current
        if isinstance(method, Method) and self.training.optimizer == "sgd":
            method = method.at_rate(at.rate)
        with precision(self.training.autocast, self.device):
            found = method(stack.blocks, x, Supervised(self.criterion, target), stack.readout)
        loss = _as_loss(found)
        if math.isfinite(loss):  # otherwise the weights are left as they are
            self.optimizer.step()
            if isinstance(self.method, Method) and self.method.after_step is not None:
                self.method.after_step(stack.blocks, stack.readout)
        at.total += loss * len(x)
        at.seen += len(x)
        at.step += 1
        at.steps += 1
        self.durations.append(clock() - start)
        at.seconds += self.durations[-1]
        self.unfinished = False

    def close_epoch(self, probe: Probe | None, probe_at: Collection[int] | None) -> None:
        """Evaluate, probe, write the epoch's row, and begin the next epoch."""
        at = self.progress
        loss = at.total / at.seen if at.seen else math.nan
        chosen = self._choose()  # before the row, whose time includes it
        scores = [Score(math.nan, math.nan)] * 2
        if math.isfinite(at.total):
            scores = [self._score(x, y) for x, y in self.evaluated]
        row = self._row(loss, *scores) | chosen
        if probe is not None and math.isfinite(at.total) and (probe_at is None or at.epoch in probe_at):
            row["probe"] = self._probe(probe)
        with self.interrupts.deferred():
            self._begin_next(row, loss)

    def _choose(self) -> metrics.EpochRow:
        """The columns of the epoch's row that say which horizon it had, and which one the next has."""
        at, schedule = self.progress, self.schedule
        if schedule is None or not isinstance(self.method, Method):
            return {}
        row = {"horizon": self.horizon if at.step else None, "next_horizon": self.horizon}
        if at.epoch % schedule.every or not math.isfinite(at.total):
            return row
        start = clock()
        x, y = (part[: schedule.samples].to(self.device) for part in (self.x, self.y))
        loss_fn = Supervised(self.criterion, y)
        with step_isolated(self.stack, self.device, (self.x, self.y), self.interrupts.deferred):
            row |= schedule.choose(self.method, self.stack, x, loss_fn, self.horizon)
        at.seconds += clock() - start
        return row

    def _row(self, loss: float, train: Score, test: Score) -> metrics.EpochRow:
        """The epoch's line of metrics, without a probe."""
        at = self.progress
        return {
            "epoch": at.epoch,
            "status": self._status(train, test),
            "steps": at.steps,
            "learning_rate": at.rate,
            "loss": metrics.plain(loss),
            "train_loss": metrics.plain(train.loss),
            "train_accuracy": metrics.plain(train.accuracy),
            "test_loss": metrics.plain(test.loss),
            "test_accuracy": metrics.plain(test.accuracy),
            "seconds": at.seconds,
            "step_seconds": statistics.median(self.durations) if self.durations else None,
        }

    def _status(self, train: Score, test: Score) -> str:
        """How the epoch ended."""
        epoch = self.progress.epoch
        # Batch norm without statistics may overflow in evaluation mode: epoch 0 is not judged.
        if epoch and not (math.isfinite(train.loss) and math.isfinite(test.loss)):
            return f"diverged at epoch {epoch}"
        if self.out_of_time():
            return f"out of time at epoch {epoch}"
        return f"out of steps at epoch {epoch}" if self.out_of_steps() else metrics.OK

    def _begin_next(self, row: metrics.EpochRow, loss: float) -> None:
        at = self.progress
        rate = next_rate(at.rate, loss, at.last, self.training.decay)
        self.unfinished = True
        self.lines.append(metrics.line(row))
        self.rows.append(row)
        self.progress = Progress(at.epoch + 1, 0, 0, 0.0, at.steps, at.seconds, rate, loss)
        self.durations = []
        self.unfinished = False
        self.save()  # before the row: a checkpoint knows every row of the file
        self.folder.append(self.lines[-1])

    def _score(self, x: Tensor, y: Tensor) -> Score:
        return evaluate(
            self.stack,
            x,
            y,
            self.criterion,
            classes=self.split.classes is not None,
            batch=self.training.evaluation_batch,
            device=self.device,
            autocast=self.training.autocast,
            predict=self.method.predict if isinstance(self.method, Method) else None,
        )

    def _probe(self, probe: Probe) -> dict[str, Any]:
        split = self.split
        data = (split.x_train, split.y_train, split.x_test, split.y_test, self.x, self.y)
        with step_isolated(self.stack, self.device, data, self.interrupts.deferred):
            found = probe(self.progress.epoch, self.stack, split)
            if not isinstance(found, Mapping):
                raise DomainError(f"a probe must return numbers by name; received a {type(found).__name__}")
            return {str(name): metrics.plain(value) for name, value in found.items()}

    def save(self) -> None:
        """Write the checkpoint.

        Raises:
            WriteError: a full disk, for example; the one before is kept.
        """
        if self.folder.path is None:
            return
        checkpoint = checkpoints.Checkpoint(
            key=self.key,
            initial=self.initial,
            history=self.lines,
            progress=asdict(self.progress),
            best=metrics.best(self.rows) if self.rows else {},
            model=self.stack.state_dict(),
            unlisted=checkpoints.unlisted(self.stack),
            optimizer=self.optimizer.state_dict(),
            generators=generators(self.device),
        )
        self.folder.save(checkpoint)

    def leave(self) -> None:
        """After an interrupt: keep the steps that are done and say how to go on."""
        at, path, kept = self.progress, self.folder.path, self.folder.contents()
        if path is not None and not self.unfinished:
            with self.interrupts.deferred():
                self.save()
            kept = f"epoch {at.epoch}, step {at.step} of {len(self.batches)} is kept in {path}"
        again = "pass a folder" if path is None else "run the same command again"
        print(f"interrupted: {kept}; {again} to go on", file=sys.stderr)
