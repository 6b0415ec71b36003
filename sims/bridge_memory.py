"""Does the memory of a horizon grow as M(h) = a h + b? (Eq. (11), on the 40-block MLP and on ResNet-62)

    python -m sims.bridge_memory                     # about a minute; inputs are random: no data are needed
    python -m sims.bridge_memory --models mlp --depth 100 --width 512 --points 21
    python -m sims.bridge_memory --models resnet62 --images 32 --workers 0

Saved bytes are those that autograd keeps for the backward pass at the peak of one step, every storage once,
without parameters and batch (`meters.step_memory`). The table also shows an independent count, the largest
window: the most that any h consecutive blocks keep when they are run alone up to their loss. Equal blocks
give a straight line. ResNet-62's do not: each stage halves the bytes of a block (a quarter of the pixels,
twice the channels), and the largest window consists of the large, first blocks: M(h) is concave, in three
straight parts, as the paper found for ResNet-50.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from dlinear import report
from dlinear.bridge import meters
from dlinear.bridge.data.losses import Supervised
from dlinear.bridge.methods import method
from dlinear.bridge.methods.horizon import horizon_backward
from dlinear.bridge.models import Stack, TaskShape, model
from dlinear.runs import collection, records, script, sweeps
from dlinear.runs.knobs import at_least, cell_from, check
from dlinear.runs.launch import LocalRun

CLASSES = 10
LEAST = 0.99  # R^2 of a line
QUARTER = 40  # blocks from which h = 4 is to need less than a quarter of back-propagation
WINDOW = 0.02  # relative tolerance of the largest window
TOY = "--depth 40 --width 8 --batch 5 --stage 2 --images 2 --points 5"  # seconds, for the tests


@dataclass(frozen=True)
class Knobs(LocalRun):
    """What to run."""

    models: tuple[Literal["mlp", "resnet62"], ...] = ("mlp", "resnet62")  # mlp has equal blocks, resnet62 not
    depth: int = 40  # T, number of blocks of the MLP; from 40 on h = 4 should need less than a quarter
    width: int = 256  # neurons in a layer of the MLP
    batch: int = 50  # samples in a batch of the MLP; bytes are proportional to it
    stage: int = 10  # blocks in each of the three stages of ResNet-62; ten in the paper
    images: int = 4  # samples in a batch of ResNet-62; few, since bytes are proportional to it
    points: int = 11  # horizons measured, evenly from 1 to T; 2, 4 and the ends of the stages are added


@dataclass(frozen=True)
class Cell:
    """One model."""

    model: str
    depth: int
    width: int
    batch: int
    points: int
    edition: int = 1  # raise it when the meaning of a cell changes


def cells(knobs: Knobs) -> list[Cell]:
    """A cell for each model."""
    resnet = {"depth": 3 * knobs.stage, "width": 16, "batch": knobs.images}
    return [
        cell_from(Cell, knobs, model=name, **(resnet if name == "resnet62" else {})) for name in knobs.models
    ]


def build(cell: Cell) -> tuple[Stack, Tensor, Supervised]:
    """The model in training mode, a random batch and its loss; bytes do not depend on the numbers in it."""
    inputs = (3, 32, 32) if cell.model == "resnet62" else (1, 8, 8)
    sizes = {"depth": cell.depth, "width": cell.width, "gain": 1 / cell.depth}
    if cell.model == "resnet62":
        sizes = {"depth_per_stage": cell.depth // 3, "base_channels": cell.width}
    stack = model(cell.model, TaskShape(inputs, CLASSES), readout="shared", **sizes).train()
    x = torch.randn(cell.batch, *inputs, generator=torch.Generator().manual_seed(0))
    target = torch.arange(cell.batch) % CLASSES
    return stack, x, Supervised(torch.nn.functional.cross_entropy, target)


def compute(cell: Cell) -> sweeps.Arrays:
    """Bytes over the horizons, and those of back-propagation and of checkpointing."""
    stack, x, loss = build(cell)
    even = np.rint(np.linspace(1, cell.depth, cell.points)).astype(int).tolist()
    thirds = [cell.depth // 3, 2 * cell.depth // 3]  # ends of ResNet-62's stages
    horizons = sorted({*even, *(h for h in (1, 2, 4, *thirds) if 1 <= h <= cell.depth)})
    watch = functools.partial(
        meters.step_memory, blocks=stack.blocks, x=x, loss_fn=loss, readout=stack.readout
    )
    found = [watch(functools.partial(horizon_backward, horizon=h, segment=1)) for h in horizons]  # eq. (11)
    states = meters.states_of(stack, x)
    fit = meters.fit_memory(horizons, [one.saved for one in found])
    return {
        "slope": ((), fit.slope),
        "offset": ((), fit.offset),
        "r_squared": ((), fit.r_squared),
        "horizon": (("horizon",), horizons),
        "saved": (("horizon",), [one.saved for one in found]),
        "activations": (("horizon",), [one.activations for one in found]),
        "window": (("horizon",), [meters.largest_window(stack, states, loss, h) for h in horizons]),
        "backprop": ((), watch(method("backprop")).saved),
        "backprop_activations": ((), watch(method("backprop")).activations),
        "checkpoint_activations": ((), watch(method("checkpoint")).activations),
    }


def judge(cell: Cell, data: dict[str, Any]) -> tuple[list[str], list[report.Answer]]:
    """Sentences about a model's numbers, and the verdicts."""
    h, saved = data["horizon"], data["saved"]
    slope, offset, r_squared, whole = (
        float(data[key]) for key in ("slope", "offset", "r_squared", "backprop")
    )
    name = f"{cell.model}, T = {cell.depth}"
    said = [
        f"{name}: M(h) = {slope / 1e6:.4g} MB h + {offset / 1e6:.4g} MB, R^2 = {r_squared:.5f}; "
        f"back-propagation keeps {whole / 1e6:.4g} MB"
    ]
    answers = []
    if cell.model == "mlp":
        answers.append(
            report.Answer(
                f"{name}: saved bytes are linear in h, R^2 >= {LEAST:g}",
                r_squared >= LEAST,
                f"{r_squared:.5f}",
            )
        )
    else:
        ends = [1, *(k * cell.depth // 3 for k in (1, 2, 3))]
        at = np.interp(ends, h, saved)
        slopes = np.diff(at) / np.diff(ends)
        said.append(
            f"{name}: not one line, for a block of stages 1, 2, 3 adds "
            + ", ".join(f"{slope / 1e6:.3g}" for slope in slopes)
            + f" MB: {slopes[0] / slopes[1]:.2f} and {slopes[1] / slopes[2]:.2f} times less with each stage; "
            f"half of T keeps {np.interp(cell.depth / 2, h, saved) / whole:.0%}"
        )
    if cell.depth >= QUARTER:
        share = float(saved[h.tolist().index(4)]) / whole
        answers.append(
            report.Answer(
                f"{name}: h = 4 keeps less than a quarter of back-propagation's bytes",
                share < 0.25,
                f"{share:.3f}",
            )
        )
    worst = float(np.abs(saved / data["window"] - 1).max())
    answers.append(
        report.Answer(
            f"{name}: saved bytes are those of the largest window of h blocks within {WINDOW:.0%}",
            worst <= WINDOW,
            f"worst {worst:.2%}",
        )
    )
    same = float(np.interp(float(data["checkpoint_activations"]), data["activations"], h))
    said.append(
        f"{name}: checkpointing in about sqrt(T) = {math.sqrt(cell.depth):.1f} segments has "
        f"{float(data['checkpoint_activations'] / data['backprop_activations']):.1%} of back-propagation's "
        f"activations, as a horizon of {same:.1f} blocks (2 sqrt(T) = {2 * math.sqrt(cell.depth):.1f})"
    )
    return said, answers


def main(knobs: Knobs) -> int:
    """Measure, print M(h), and the verdicts; 0 iff no verdict fails."""
    counts = dict.fromkeys(("width", "batch", "images"), at_least(1))
    check(knobs, depth=at_least(3), stage=at_least(2), points=at_least(3), **counts)
    every = cells(knobs)
    sweep = knobs.sweep("bridge_memory", every, compute)
    if sweep.waiting:
        print(f"{sweep}\nno verdict: {sweep.waiting}")
        return 1
    print(sweep)
    found = {record.key: record.arrays for record in collection.scan(sweep.folder, sweep.keys)}
    rows, said, answers = [], [], []
    for cell in every:
        data = found[records.key(cell)]
        whole = float(data["backprop"])
        columns = (data["horizon"], data["saved"], data["window"], data["activations"])
        for h, saved, window, alive in zip(*columns, strict=True):
            shares = [f"{saved / whole:.3f}", f"{h / cell.depth:.3f}"]
            rows.append([cell.model, str(h), *(f"{v / 1e6:.3f}" for v in (saved, window, alive)), *shares])
        new, verdicts = judge(cell, data)
        said += new
        answers += verdicts
    header = ("model", "h", "saved MB", "largest window MB", "activations MB", "of backprop", "h/T")
    print(report.table(header, rows), *said, sep="\n")
    return report.finish(answers)


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
