"""Decay of sin^2(theta_h) in nonlinear residual networks, with Theorem D over the points.

python -m paper_figs bridge_slopes          # after: python -m sims.bridge_slopes
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import dlinear
from dlinear.analysis import profiles
from dlinear.report import plotting
from dlinear.runs import collection, records
from dlinear.theory import limits

NEEDS = "python -m sims.bridge_slopes"
SHOWN = ("tanh-smooth", "relu-rough", "tanh-rough")  # order 3, the crossover, order 2


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from results/bridge_slopes: the deepest untrained networks."""
    run, data = collection.load_run(Path(results) / "bridge_slopes", which)
    kinds = [kind for kind in SHOWN if kind in data["ensemble"].values]
    if not kinds:
        raise records.RecordError(f"the latest run has none of {', '.join(SHOWN)}")
    depth = int(data["depth"].values.max())
    start = {"epochs": 0} if "epochs" in data.dims else {}
    data = data.sel(depth=depth, epoch=0, **start)
    with plotting.style():
        figure, axes = plotting.column(height=3.1)
        words = []
        for number, kind in enumerate(kinds):
            found = profiles.from_records(data, ensemble=kind)
            m, sin2 = found[0].shortfall, np.mean([one.sin2 for one in found], axis=0)
            part = data.sel(ensemble=kind)
            law = [part[f"predicted_{name}"].mean().item() for name in ("quadratic", "cubic")]
            plotting.measured(axes, m, sin2, kind, number)
            fine = np.geomspace(m[0], m[-1], 200)
            plotting.predicted(axes, fine, limits.decay_law(*law, fine, depth), "Theorem D", number)
            words.append(f"{kind} {dlinear.fit_decay(found).order:.2f}")
        axes.set(xscale="log", yscale="log", xlabel=r"$m=T-h$", ylabel=r"$\sin^2\theta_h$")
        plotting.verdict(
            figure, f"Measured order at {plotting.depth_label(depth)}: {', '.join(words)}", run.changed
        )
        plotting.legend(figure, axes, columns=2)
        return list(plotting.save(figure, "bridge_slopes", figures))
