"""Is eq. (27'), g_h(t) = (W_{t+1}^s)^T (P_s - Phi) P_t^T, the gradient that autograd computes?

    python -m sims.autograd_error                             # a few seconds
    python -m sims.autograd_error --depths 16 --widths 3 --printed
    python -m sims.autograd_error --depths 8 128 --seeds 5

For every layer t the loss 1/2 ||P_s - Phi||_F^2 of its own window, s = min(t + h, T), is differentiated by
torch in float64; the error is the largest over t of ||g_h(t) - autograd||_F/||autograd||_F. `--printed`
measures eq. (27) as printed instead, whose state map W_0^{t-1} misses a layer: then the verdict must fail.
Errors go to results/autograd_error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import dlinear
from dlinear import report
from dlinear.engine import products
from dlinear.runs import script, sweeps
from dlinear.runs.knobs import at_least, cell_from, check
from dlinear.runs.launch import LocalRun

EPSILON = float(np.finfo(np.float64).eps)
TOY = "--depths 3 6 --widths 2 3 --points 4 --seeds 2"  # a second, for the tests


@dataclass(frozen=True)
class Knobs(LocalRun):
    """What to run."""

    depths: tuple[int, ...] = (8, 32, 96)  # T, layers; autograd over all windows costs T h products
    widths: tuple[int, ...] = (4,)  # n, rows of a layer; the identity holds for any
    points: int = 12  # number of horizons h, evenly from 1 to T; both ends are among them
    seeds: int = 3  # networks of each size, each with a target; an error shows in every one
    printed: bool = False  # eq. (27) as printed, whose right factor misses a layer; the verdict must fail


@dataclass(frozen=True)
class Cell:
    """One network."""

    depth: int
    width: int
    seed: int
    points: int
    printed: bool
    edition: int = 1  # raise it when the meaning of a cell changes


def by_autograd(weights: np.ndarray, phi: np.ndarray, horizon: int) -> np.ndarray:
    """The gradient of each layer's own window loss, (T, n, n), by torch."""
    import torch

    layers, target = torch.from_numpy(weights), torch.from_numpy(phi)
    depth, state = len(layers), torch.eye(len(phi), dtype=torch.float64)
    gradients = []
    for t in range(depth):
        leaf = layers[t].clone().requires_grad_(True)
        output = leaf @ state
        for later in range(t + 1, min(t + horizon, depth)):
            output = layers[later] @ output
        loss = 0.5 * ((output - target) ** 2).sum()
        gradients.append(torch.autograd.grad(loss, leaf)[0])
        state = layers[t] @ state
    return torch.stack(gradients).numpy()


def by_formula(net: dlinear.Network, phi: np.ndarray, horizon: int, printed: bool) -> np.ndarray:
    """Eq. (27'), or eq. (27) with the state map one layer short."""
    gradients = dlinear.horizon_gradients(net, phi, horizon)
    if not printed:
        return gradients
    states = products.Chunk(net.deviations(0, net.depth)).states(np.eye(net.width))[:-1]
    short = np.concatenate([states[:1], states[:-1]])
    adjoints = gradients @ np.linalg.inv(np.swapaxes(states, 1, 2))
    return adjoints @ np.swapaxes(short, 1, 2)


def compute(cell: Cell) -> sweeps.Arrays:
    """The largest relative error over the layers, for each horizon."""
    rng = np.random.default_rng([cell.seed, cell.depth, cell.width])
    deviations = rng.normal(size=(cell.depth, cell.width, cell.width)) / (cell.depth * cell.width) ** 0.5
    phi = rng.normal(scale=cell.width**-0.5, size=(cell.width, cell.width))
    net = dlinear.DenseNetwork(deviations)
    horizons = np.unique(np.rint(np.linspace(1, cell.depth, min(cell.points, cell.depth))).astype(int))
    errors = []
    for horizon in horizons:
        reference = by_autograd(np.eye(cell.width) + deviations, phi, int(horizon))
        difference = by_formula(net, phi, int(horizon), cell.printed) - reference
        sizes = [np.linalg.norm(part, axis=(1, 2)) for part in (difference, reference)]
        errors.append(float((sizes[0] / sizes[1]).max()))
    return {"horizon": (("horizon",), horizons), "error": (("horizon",), np.array(errors))}


def allowed(depth: int) -> float:
    """The rounding error to expect of a product of T layers and a difference: a small multiple of T eps."""
    return 16 * depth * EPSILON


def main(knobs: Knobs) -> int:
    """Run the missing cells, print the table and the verdicts; 0 iff every error is rounding."""
    check(knobs, **dict.fromkeys(("depths", "widths", "points", "seeds"), at_least(1)))
    cells = [
        cell_from(Cell, knobs, depth=depth, width=width, seed=seed)
        for depth in knobs.depths
        for width in knobs.widths
        for seed in range(knobs.seeds)
    ]
    sweep, data = knobs.gather("autograd_error", cells, compute)
    if data is None:
        return bool(sweep.failed or sweep.lost)
    formula = "(27) as printed" if knobs.printed else "(27')"
    print(f"eq. {formula}, {knobs.seeds} seeds; {sweep}")
    worst = {depth: data["error"].sel(depth=depth).max().item() for depth in sorted(knobs.depths)}
    rows = [[str(depth), f"{error:.2e}", f"{allowed(depth):.2e}"] for depth, error in worst.items()]
    print(report.table(("T", "largest relative error", "rounding 16 T eps"), rows))
    return report.finish(
        [
            report.Answer(
                f"eq. {formula} is autograd's gradient, T = {depth}", error <= allowed(depth), f"{error:.2e}"
            )
            for depth, error in worst.items()
        ]
    )


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
