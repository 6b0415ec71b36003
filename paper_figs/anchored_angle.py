"""sin^2 of horizon rules while training drives ||R|| to zero: plain goes blind, anchored does not.

python -m paper_figs anchored_angle      # after: python -m sims.anchored_angle
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dlinear.report import plotting
from dlinear.runs import collection

NEEDS = "python -m sims.anchored_angle"
RULES = ("plain", "anchored", "averaged", "anchored averaged")  # the numbers of the records


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from results/anchored_angle: the mean over seeds and its range, laws and Theorem E1's bound."""
    run, data = collection.load_run(Path(results) / "anchored_angle", which)
    data = data.sel(depth=data["depth"].max()).assign_coords(rule=list(RULES))
    x, horizons = data["fall"].values, data["horizon"].values
    with plotting.style():
        figure, (top, bottom) = plotting.column(rows=2, height=4.4)
        for axes, index in ((top, 0), (bottom, 1)):
            for number, rule in enumerate(RULES):
                part = data["sin2"].sel(rule=rule).isel(horizon=index)
                mean, low, high = part.mean("seed"), part.min("seed"), part.max("seed")
                plotting.interval(axes, x, mean, low, high, rule if index == 0 else None, number)
                if index == 1:
                    law = data["law"].sel(rule=rule).mean("seed")
                    plotting.predicted(axes, x[law < 0.1], law[law < 0.1], None, number)
            axes.set(xscale="log", yscale="log", ylabel=rf"$\sin^2\theta_h$, $h={horizons[index]}$")
            axes.invert_xaxis()
        bound = data["bound"].sel(rule="anchored").isel(horizon=0).max("seed")
        top.plot(x, bound, color="black", zorder=3, label="Theorem E1")
        bottom.set_xlabel(r"$\|R\|/\|R(0)\|$, training from left to right")
        ends = data["sin2"].sel(fall=x.min()).isel(horizon=0).mean("seed")
        plain, anchored = (ends.sel(rule=rule).item() for rule in ("plain", "anchored"))
        words = (
            rf"When $\|R\|$ has fallen to $10^{{{round(np.log10(x.min()))}}}$, $\sin^2\theta_1$ is "
            f"{plain:.2f} plain and {anchored:.2g} anchored ($T={data['depth'].item()}$; bars: all seeds)"
        )
        plotting.verdict(figure, words, run.changed)
        plotting.legend(figure, top)
        return list(plotting.save(figure, "anchored_angle", figures))
