"""A bounded network whose sin^2(theta_h)/(1 - h/T)^3 swings for ever: the limit need not exist.

python -m paper_figs oscillating_limit      # after: python -m sims.oscillating_limit
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from dlinear.report import plotting
from dlinear.runs import collection
from dlinear.theory.log_periodic import LogPeriodic

NEEDS = "python -m sims.oscillating_limit"
SWING = 0.05  # relative: less may be a remainder of order 1/m or 1 - h/T


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from results/oscillating_limit."""
    run, data = collection.load_run(Path(results) / "oscillating_limit", which)
    knobs = json.loads(data.attrs["knobs"])
    layers = LogPeriodic(*(knobs[name] for name in ("a", "b", "w")))
    with plotting.style():
        figure, axes = plotting.column(height=2.9)
        swing, last = float("nan"), 100 * math.exp(2 * math.pi / abs(knobs["w"]))  # shortfalls of one period
        for number, depth in enumerate(data["depth"].values.tolist()):
            part = data.sel(depth=depth).dropna("shortfall", subset=["sin2"])
            eps = part["shortfall"].values / depth
            m, ratio = part["shortfall"].values, part["sin2"].values / eps**3
            seen = m >= 100
            plotting.measured(axes, eps[seen], ratio[seen], plotting.depth_label(depth), number)
            if m[-1] >= last:
                period = ratio[seen & (m <= last)]
                swing = float(np.ptp(period) / period.mean())
        fine = np.geomspace(100 / depth, 0.2, 400)
        axes.plot(
            fine, layers.sin2(fine, knobs["y"]) / fine**3, color="black", zorder=3, label="leading term"
        )
        axes.set(xscale="log", xlabel=r"$1-h/T$", ylabel=r"$\sin^2\theta_h\,/\,(1-h/T)^3$")
        if math.isnan(swing):
            words = "Too shallow to see a whole period: no verdict"
        elif swing < SWING:
            words = f"No swing is seen: {swing:.2f} of the mean in the period next to $h=T$"
        else:
            words = f"No limit as $h/T\\to 1$: measured swing {swing:.2f} of the mean in a period"
        plotting.verdict(figure, words, run.changed)
        plotting.legend(figure, axes)
        return list(plotting.save(figure, "oscillating_limit", figures))
