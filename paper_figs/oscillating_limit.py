"""A bounded network whose sin^2(theta_h)/(1 - h/T)^3 swings for ever: the limit need not exist.

python -m paper_figs oscillating_limit      # after: python -m sims.oscillating_limit
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from dlinear import plotting, records
from dlinear.logperiodic import LogPeriodic

NEEDS = "python -m sims.oscillating_limit"


def draw(results: str, figures: str) -> list[Path]:
    """Draw from results/oscillating_limit."""
    data = records.load_latest(Path(results) / "oscillating_limit")
    knobs = json.loads(data.attrs["knobs"])
    layers = LogPeriodic(*(knobs[name] for name in ("a", "b", "w")))
    with plotting.style():
        figure, axes = plotting.column(height=2.9)
        for number, depth in enumerate(data["depth"].values.tolist()):
            part = data.sel(depth=depth).dropna("shortfall", subset=["sin2"])
            eps = part["shortfall"].values / depth
            seen = part["shortfall"].values >= 100
            plotting.measured(
                axes, eps[seen], (part["sin2"].values / eps**3)[seen], plotting.depth_label(depth), number
            )
        fine = np.geomspace(100 / depth, 0.2, 400)
        axes.plot(
            fine, layers.sin2(fine, knobs["y"]) / fine**3, color="black", zorder=3, label="leading term"
        )
        axes.set(xscale="log", xlabel=r"$1-h/T$", ylabel=r"$\sin^2\theta_h\,/\,(1-h/T)^3$")
        swing = np.ptp(layers.ratio(fine)) / layers.ratio(fine).mean()
        plotting.verdict(figure, f"No limit as $h/T\\to 1$: relative swing {swing:.2f} in every period")
        plotting.legend(figure, axes)
        return list(plotting.save(figure, "oscillating_limit", figures))
