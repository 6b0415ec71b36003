"""What does the overlap of horizons buy at equal memory? (Theorem F: losses at every k-th state only)

    python -m sims.horizon_strides                       # seconds
    python -m sims.horizon_strides --depth 1000 --memories 10 100 500
    python -m sims.horizon_strides --width 8 --seeds 4 --workers 1

A stride k takes losses at s = T, T - k, ... only; with h = M - k + 1 the memory is M blocks for every k. From
k = 1 (the plain horizon) to k = M (stages that do not overlap) the work falls from about M block calls for
each block to one, and sin^2 grows by (1 + (k - 1)/(2(T - M)))^3 only. Profiles go to results/horizon_strides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

import dlinear
from dlinear import report
from dlinear.analysis import statistics
from dlinear.networks import cosine_path
from dlinear.runs import script, sweeps
from dlinear.runs.knobs import Narrow, at_least, below, cell_from, check
from dlinear.runs.launch import LocalRun
from dlinear.theory import costs

Layers = Literal["smooth", "gaussian"]
NARROW = 8  # strides up to this part of the shortfall are judged: F3 is about k << T - M
WITHIN = 0.05  # relative tolerance of Theorem F3's factor there
TOY = "--depth 60 --width 2 --memories 4 20 --seeds 2"  # a second, for the tests


@dataclass(frozen=True)
class Knobs(Narrow, LocalRun):
    """What to run."""

    depth: int = 400  # T, layers; deep enough for the law of large T
    memories: tuple[int, ...] = (8, 32, 128)  # M, blocks that a step may hold; from few to a third of T
    seeds: int = 10  # networks of each kind, each with a target; enough for an interval


@dataclass(frozen=True)
class Cell:
    """One network at one memory."""

    layers: Layers
    memory: int
    seed: int
    depth: int
    width: int
    edition: int = 1  # raise it when the meaning of a cell changes


def strides(memory: int) -> np.ndarray:
    """1, 2, 4, ... and M."""
    return np.unique([*2 ** np.arange(int(np.log2(memory)) + 1), memory])


def compute(cell: Cell) -> sweeps.Arrays:
    """sin^2 and block calls of each stride, at h = M - k + 1."""
    rng = np.random.default_rng([cell.seed, cell.width])
    a0, a1, gap = rng.normal(scale=0.5 * cell.width**-0.5, size=(3, cell.width, cell.width))
    path = cosine_path(a0, a1)
    net: dlinear.Network = dlinear.SmoothNetwork(path, depth=cell.depth, vectorized=True)
    if cell.layers == "gaussian":
        net = dlinear.GaussianNetwork(cell.depth, cell.width, seed=cell.seed)
    phi, found, calls = np.eye(cell.width) + gap, [], []
    for k in strides(cell.memory).tolist():
        h, rule = cell.memory - k + 1, dlinear.HorizonRule(stride=k)
        found.append(dlinear.alignment(net, phi, h, rule=rule).sin2[0])
        calls.append(costs.strided_vjps(cell.depth, h, k))
    return {
        "stride": (("stride",), strides(cell.memory)),
        "sin2": (("stride",), np.array(found)),
        "calls": (("stride",), np.array(calls) / cell.depth),
    }


def factor(stride: Any, depth: int, memory: int) -> Any:
    """Theorem F3: sin^2 at stride k over that at k = 1, (1 + (k - 1)/(2(T - M)))^3."""
    return (1 + (stride - 1) / (2 * (depth - memory))) ** 3


def judge(data: Any, layers: str, memory: int, depth: int) -> tuple[list[list[str]], list[report.Answer]]:
    """Rows of the table and verdicts of one kind of layers at one memory, from the records alone."""
    part = data.sel(layers=layers, memory=memory, depth=depth).sel(stride=strides(memory))
    curves = part["sin2"].transpose("seed", "stride").values
    ratios, calls = curves / curves[:, :1], part["calls"].mean("seed").values
    law, k = factor(strides(memory), depth, memory), strides(memory)
    rows = [
        [layers, str(memory), str(stride), f"{n:.2f}", f"{mean:.3e}", f"{ratio:.4f}", f"{want:.4f}"]
        for stride, n, mean, ratio, want in zip(k, calls, curves.mean(0), ratios.mean(0), law, strict=True)
    ]
    narrow = k <= (depth - memory) / NARROW
    if layers == "gaussian":
        law = law ** (2 / 3)  # order 2 in place of 3
    share = statistics.mean_interval((ratios / law)[:, narrow].mean(axis=1), statistics.JUDGED)
    worst = float(np.abs((ratios / law)[:, narrow].mean(axis=0) - 1).max())
    close = worst <= WITHIN if layers == "smooth" else share.supports(1.0)
    answers = [
        report.Answer(
            f"{layers} layers, M = {memory}: factor of Theorem F3 for k <= (T - M)/{NARROW}",
            close,
            f"worst mean deviation {worst:.2%}, measured/law {share:.3f} (99.7 %)",
        )
    ]
    if k[-1] == memory and narrow[-1]:
        words = f"calls a block {calls[0]:.1f} -> {calls[-1]:.2f}, sin^2 {curves[:, 0].mean():.3g} -> "
        answers.append(
            report.Answer(
                f"{layers} layers, M = {memory}: stages call a block once and lose less than half of sin^2",
                bool(calls[-1] <= 1 + 1e-9 and ratios[:, -1].mean() < 1.5),
                words + f"{curves[:, -1].mean():.3g}",
            )
        )
    return rows, answers


def main(knobs: Knobs) -> int:
    """Run the missing cells, print the table and the verdicts; 0 iff no verdict fails."""
    check(knobs, depth=at_least(10), width=at_least(1), seeds=at_least(1), memories=below(knobs.depth))
    kinds = ("smooth", "gaussian")
    cells = [
        cell_from(Cell, knobs, layers=layers, memory=memory, seed=seed)
        for layers in kinds
        for memory in knobs.memories
        for seed in range(knobs.seeds)
    ]
    sweep, data = knobs.gather("horizon_strides", cells, compute)
    if data is None:
        return bool(sweep.failed or sweep.lost)
    print(f"T = {knobs.depth}, width {knobs.width}, {knobs.seeds} seeds; {sweep}")
    judged = [judge(data, layers, memory, knobs.depth) for layers in kinds for memory in knobs.memories]
    header = ("layers", "M", "k", "calls/block", "sin^2", "over k = 1", "Theorem F3")
    print(report.table(header, [row for rows, _ in judged for row in rows]))
    return report.finish([answer for _, answers in judged for answer in answers])


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
