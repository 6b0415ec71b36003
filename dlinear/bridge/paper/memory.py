"""Figure E1: bytes that autograd keeps over the horizon, eager and static, in the paper's three models."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dlinear.bridge import meters
from dlinear.bridge.data.losses import Supervised, criterion_of
from dlinear.bridge.methods import method
from dlinear.bridge.methods.horizon import horizon_backward
from dlinear.bridge.models import Stack, TaskShape, model
from dlinear.bridge.paper.experiment import Reading
from dlinear.bridge.paper.settings import TITLES, title
from dlinear.report.reproduction import Finding
from dlinear.report.verdicts import Answer
from dlinear.runs import sweeps
from dlinear.runs.records import Record
from dlinear.theory import costs

HEADER = (
    "model",
    "h",
    "eager MB",
    "window MB",
    "static MB",
    "h (T-h+1)",
    "eager/backprop",
    "static/backprop",
)
SHAPES = {  # inputs, outputs, whether outputs are classes: those of Table D2's data
    "linear": ((10,), 10, False),
    "mlp": ((1,), 4, False),
    "resnet62": ((3, 32, 32), 10, True),
}
LINE = 0.99  # R^2 from which points are called a line
SAME = 0.02  # relative tolerance of two counts


@dataclass(frozen=True)
class Cell:
    """One model; `blocks` as of its builder, None for its own."""

    model: str
    batch: int
    points: int
    blocks: int | None
    edition: int = 1  # raise it when the meaning of a cell changes


def build(cell: Cell) -> tuple[Stack, Supervised, torch.Tensor]:
    """The model in training mode, a loss and a batch of random numbers, which bytes do not depend on."""
    inputs, outputs, classes = SHAPES[cell.model]
    knob = "depth_per_stage" if classes else "depth"
    sizes: dict[str, Any] = {} if cell.blocks is None else {knob: cell.blocks}
    stack = model(cell.model, TaskShape(inputs, outputs), **sizes).train()
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(cell.batch, *inputs, generator=draw)
    target = (
        torch.arange(cell.batch) % outputs if classes else torch.randn(cell.batch, outputs, generator=draw)
    )
    return stack, Supervised(criterion_of("auto", outputs if classes else None), target), x


def compute(cell: Cell) -> sweeps.Arrays:
    """Bytes at horizons from 1 to T, by the meter of a step and by the windows alone."""
    stack, loss, x = build(cell)
    depth = stack.depth
    even = np.rint(np.linspace(1, depth, min(cell.points, depth))).astype(int).tolist()
    horizons = sorted({*even, *(k * depth // 3 for k in (1, 2))} - {0})
    watch = functools.partial(
        meters.step_memory, blocks=stack.blocks, x=x, loss_fn=loss, readout=stack.readout
    )
    states = meters.states_of(stack, x)
    found: dict[str, Any] = {"horizon": (("horizon",), horizons), "depth": ((), depth)}
    found["eager"] = (("horizon",), [watch(windows(h, depth)).saved for h in horizons])
    for name, count in (("window", meters.largest_window), ("static", meters.all_windows)):
        found[name] = (("horizon",), [count(stack, states, loss, h) for h in horizons])
    return found


def windows(h: int, depth: int) -> Callable[..., torch.Tensor]:
    """The step that keeps h blocks, as in eq. (11): no graph is shared by several (`segment=1`)."""
    return method("backprop") if h == depth else functools.partial(horizon_backward, horizon=h, segment=1)


@dataclass(frozen=True, eq=False)
class Bytes:
    """One model.

    Attributes:
        model: its name.
        depth: T.
        h: (K,) horizons.
        eager, window, static: (K,) bytes.
    """

    model: str
    depth: int
    h: np.ndarray
    eager: np.ndarray
    window: np.ndarray
    static: np.ndarray

    @property
    def whole(self) -> float:
        """Bytes of back-propagation, h = T."""
        return float(self.eager[self.h == self.depth][0])

    @property
    def stored(self) -> np.ndarray:
        """h (T - h + 1), blocks of a static graph."""
        return np.asarray(costs.stored_blocks_static(self.depth, self.h))

    def line(self) -> meters.MemoryFit:
        """M(h) = a h + b."""
        return meters.fit_memory(self.h, self.eager)

    def windows(self, h: np.ndarray) -> np.ndarray:
        """Static bytes (a h + b)(T - h + 1), fitted: T - h + 1 windows, each of them a line in h."""
        many = self.depth - self.h + 1
        slope, offset = np.linalg.lstsq(np.stack([many * self.h, many], axis=1), self.static, rcond=None)[0]
        return np.asarray((slope * h + offset) * (self.depth - h + 1))

    def parabola(self) -> float:
        """R^2 of `windows`."""
        rest = self.static - self.windows(self.h)
        return float(1 - (rest**2).sum() / ((self.static - self.static.mean()) ** 2).sum())


def read(found: Sequence[Record]) -> list[Bytes]:
    """The models of a run."""
    order = sorted(found, key=lambda record: list(TITLES).index(record.knobs["model"]))
    names = ("horizon", "eager", "window", "static")
    return [
        Bytes(r.knobs["model"], int(r.arrays["depth"]), *(r.arrays[name] for name in names)) for r in order
    ]


def rows(found: Sequence[Record]) -> list[list[str]]:
    """Lines of the table with HEADER."""
    return [
        [
            *(one.model, str(h)),
            *(f"{value / 1e6:.4g}" for value in (eager, window, static)),
            str(stored),
            *(f"{value / one.whole:.3f}" for value in (eager, static)),
        ]
        for one in read(found)
        for h, eager, window, static, stored in zip(
            one.h, one.eager, one.window, one.static, one.stored, strict=True
        )
    ]


def findings(found: Sequence[Record]) -> list[Finding]:
    """What the records say of Figure E1. Bytes are counts: they have no interval."""
    out = []
    for one in read(found):
        line, parabola, name = one.line(), one.parabola(), title(one.model)
        measured = (
            f"{line.slope / one.whole:.4f} of back-propagation's bytes a block, R^2 = {line.r_squared:.4f}"
        )
        concave = (
            "a block of stage 2 keeps half of one of stage 1, of stage 3 half again: concave, three pieces"
        )
        holds = bool(line.r_squared >= LINE)
        out.append(Finding("figureE1-eager", name, measured, holds, "" if holds else concave))
        worst = one.h[one.static.argmax()]
        measured = (
            f"all graphs kept alive: R^2 = {parabola:.4f} of (a h + b)(T - h + 1); h = 1 keeps "
            f"{one.static[0] / one.whole:.2f} times back-propagation's bytes, h = {worst} "
            f"{one.static.max() / one.whole:.2f} times"
        )
        out.append(
            Finding(
                *("figureE1-static", name, measured, parabola >= LINE),
                "built all at once, no horizon saves memory: already h = 1 keeps more than back-propagation",
            )
        )
    return out


def answers(found: Sequence[Record]) -> list[Answer]:
    """What must hold of the measurement: the step keeps the largest window, and T windows of 1 are all."""
    return [answer for one in read(found) for answer in _checks(one)]


def _checks(one: Bytes) -> list[Answer]:
    """Those of one model."""
    apart = float(np.abs(one.eager / one.window - 1).max())
    ends = abs(float(one.static[one.h == one.depth][0]) / one.whole - 1)
    questions = {
        f"{one.model}: eager bytes are those of the largest window within {SAME:.0%}": apart,
        f"{one.model}: at h = T the one static window is back-propagation within {SAME:.0%}": ends,
    }
    return [Answer(question, off <= SAME, f"{off:.2%}") for question, off in questions.items()]


READING = Reading(HEADER, rows, findings, answers)
