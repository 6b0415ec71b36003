"""The decay of sin^2 under four losses, with Theorem D over the points.

python -m paper_figs losses_and_horizons          # after: python -m sims.losses_and_horizons
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

import dlinear
from dlinear.analysis import profiles
from dlinear.report import plotting
from dlinear.runs import collection, records
from dlinear.theory import limits

NEEDS = "python -m sims.losses_and_horizons"
MODEL = "tanh"  # the one that Theorem D predicts
NEAR = 1 / 3  # of T: the shortfalls where the law is drawn


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from results/losses_and_horizons: the residual network after training."""
    run, data = collection.load_run(Path(results) / "losses_and_horizons", which)
    if "ensemble" in data.dims:
        if MODEL not in data["ensemble"].values:
            raise records.RecordError(f"the {which} run has no model {MODEL}")
        data = data.sel(ensemble=MODEL)
    data = data.dropna("shortfall", subset=["sin2"], how="all").isel(epoch=-1)
    if "depth" in data.dims:
        data = data.dropna("depth", subset=["sin2"], how="all").isel(depth=0)
    depth, losses = int(data["depth"]), np.atleast_1d(data["loss"].values)
    with plotting.style():
        figure, axes = plotting.column(height=3.1)
        orders = []
        for number, loss in enumerate(losses):
            part = data.sel(loss=loss) if "loss" in data.dims else data
            found = profiles.from_records(part)
            m, sin2 = found[0].shortfall, np.mean([one.sin2 for one in found], axis=0)
            shown = np.unique(np.rint(np.geomspace(1, depth - 1, 14)).astype(int)) - 1
            plotting.measured(axes, m[shown], sin2[shown], str(loss).replace("_", "-"), number)
            law = [part[f"predicted_{name}"].mean().item() for name in ("quadratic", "cubic")]
            fine = np.geomspace(1, NEAR * depth, 100)
            plotting.predicted(axes, fine, limits.decay_law(*law, fine, depth), "Theorem D", number)
            tangents = [replace(one, sin2=one.sin2 / (1 - one.sin2)) for one in found]  # sin^2 saturates
            order = dlinear.fit_decay(tangents, max_fraction=NEAR).order
            orders.append(f"{loss} {order:.2f}".replace("_", "-"))
        axes.set(xscale="log", yscale="log", xlabel=r"$m=T-h$", ylabel=r"$\sin^2\theta_h$ after training")
        text = f"Order of $\\tan^2$ at {plotting.depth_label(depth)}: {', '.join(orders)}"
        plotting.verdict(figure, text, run.changed)
        plotting.legend(figure, axes, columns=3)
        return list(plotting.save(figure, "losses_and_horizons", figures))
