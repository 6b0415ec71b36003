"""Crossover from order 2 to order 3 at a shortfall m* that does not depend on the depth (Theorem C).

python -m paper_figs crossover      # after: python -m sims.rough_layers
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import dlinear
from dlinear.analysis import profiles
from dlinear.report import plotting
from dlinear.runs import collection
from dlinear.theory import limits

NEEDS = "python -m sims.rough_layers"


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from results/rough_layers: sin^2 in units of its cubic term, for all depths."""
    run, data = collection.load_run(Path(results) / "rough_layers", which)
    with plotting.style():
        figure, axes = plotting.column(height=3.0)
        measured_stars = []
        for number, depth in enumerate(data["depth"].values.tolist()):
            found = profiles.from_records(data, ensemble="crossover", depth=depth)
            part = data.sel(ensemble="crossover", depth=depth)
            law = [part[f"predicted_{name}"].mean().item() for name in ("quadratic", "cubic")]
            m = found[0].shortfall
            share = np.array([one.sin2 for one in found]) / limits.decay_law(0.0, law[1], m, depth)
            plotting.over_seeds(axes, m, share, plotting.depth_label(depth), number)
            measured_stars.append(dlinear.fit_decay(found).crossover)
        fine = np.geomspace(m[0], m[-1], 200)
        curve = limits.decay_law(*law, fine, depth) / limits.decay_law(0.0, law[1], fine, depth)
        star = limits.crossover(*law, depth)
        axes.plot(fine, curve, color="black", zorder=3, label="Theorem C")
        axes.axvline(star, linestyle=":", color="black", zorder=1, label=r"$m^*$ predicted")
        axes.set(xscale="log", yscale="log", xlabel=r"$m=T-h$", ylabel=r"$\sin^2\theta_h$ / its cubic term")
        seen = ", ".join(f"{value:.0f}" for value in measured_stars)
        judged = len(found) > 2 and data.sizes["depth"] > 1  # as the simulation that gives the verdict
        words = f"m* measured {seen}" if judged else "m* not measured: too few seeds or depths"
        plotting.verdict(figure, f"{words}; predicted {star:.0f} at every depth", run.changed)
        plotting.legend(figure, axes, columns=2)
        return list(plotting.save(figure, "crossover", figures))
