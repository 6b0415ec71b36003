"""Theorem A's bound over the measured sin^2(theta_h), at every horizon from 1 to T - 1.

python -m paper_figs theorem_a      # after: python -m sims.theorem_a
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from dlinear.report import plotting
from dlinear.runs import collection

NEEDS = "python -m sims.theorem_a"
LABELS = {
    "identical": r"$\tilde W=cI$",
    "smooth": "smooth",
    "gaussian": "Gaussian",
    "orthogonal": "orthogonal",
}


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from results/theorem_a: for each kind of layers the seed that comes nearest to its bound."""
    run, data = collection.load_run(Path(results) / "theorem_a", which)
    depth = int(data["depth"].max())
    data = data.sel(depth=depth)
    share = data["sin2"] / data["bound"]
    c = json.loads(data.attrs["knobs"])["c"]
    with plotting.style():
        figure, axes = plotting.column(height=3.3)
        x = 1 - (depth - data["shortfall"].values) / depth
        kinds = [kind for kind in LABELS if kind in data["ensemble"].values]
        bounds = []
        for number, kind in enumerate(kinds):
            worst = share.sel(ensemble=kind).max("shortfall").argmax("seed").item()
            part = data.sel(ensemble=kind).isel(seed=worst)
            plotting.measured(axes, x, part["sin2"], LABELS[kind], number)
            bounds.append(part["bound"].values)
        axes.plot(x, np.min(bounds, axis=0), color="black", zorder=3, label="Theorem A (least of the bounds)")
        axes.set(xscale="log", yscale="log", xlabel=r"$1-h/T$", ylabel=r"$\sin^2\theta_h$")
        broken = int((share > 1).sum())
        state = f"No violation in {int(share.count())} cases" if not broken else f"{broken} VIOLATIONS"
        largest = f"the largest $\\sin^2\\theta_h$ is {share.max().item():.2f} of its bound"
        plotting.verdict(figure, f"{state}; {largest} ($T={depth}$, $c={c:g}$)", run.changed)
        plotting.legend(figure, axes)
        return list(plotting.save(figure, "theorem_a", figures))
