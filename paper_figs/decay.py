"""Decay of sin^2(theta_h) for smooth, Gaussian and mixed layers, with Theorems B and C over the points.

python -m paper_figs decay          # after: python -m sims.cubic_decay
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import dlinear
from dlinear.analysis import profiles
from dlinear.report import plotting
from dlinear.runs import collection
from dlinear.theory import limits

NEEDS = "python -m sims.cubic_decay"
SHOWN = ("smooth", "mixed", "gaussian")
DEPTH = 10_000  # drawn if the run has it, else the deepest


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from results/cubic_decay."""
    run, data = collection.load_run(Path(results) / "cubic_decay", which)
    depths = data["depth"].values.tolist()
    depth = DEPTH if DEPTH in depths else max(depths)
    with plotting.style():
        figure, axes = plotting.column(height=3.1)
        words = []
        for number, ensemble in enumerate(kind for kind in SHOWN if kind in data["ensemble"].values):
            found = profiles.from_records(data, ensemble=ensemble, depth=depth)
            m, sin2 = found[0].shortfall, [one.sin2 for one in found]
            part = data.sel(ensemble=ensemble, depth=depth)
            law = [part[f"predicted_{name}"].mean().item() for name in ("quadratic", "cubic")]
            plotting.over_seeds(axes, m / depth, sin2, ensemble, number)
            fine = np.geomspace(m[0], m[-1], 200)
            theorem = "B" if ensemble == "smooth" else "C"
            plotting.predicted(
                axes, fine / depth, limits.decay_law(*law, fine, depth), f"Theorem {theorem}", number
            )
            words.append(f"{ensemble}\N{NO-BREAK SPACE}{dlinear.fit_decay(found).order:.2f}")
        axes.set(xscale="log", yscale="log", xlabel=r"$1-h/T$", ylabel=r"$\sin^2\theta_h$")
        plotting.verdict(
            figure, f"Measured order at {plotting.depth_label(depth)}: {', '.join(words)}", run.changed
        )
        plotting.legend(figure, axes, columns=3)
        return list(plotting.save(figure, "decay", figures))
