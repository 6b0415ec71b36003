"""r(h) of eq. (14) against cos^2(theta_h), epoch by epoch, and against what replaces it.

python -m paper_figs dynamics_rate      # after: python -m sims.dynamics
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dlinear.report import plotting
from dlinear.runs import collection

NEEDS = "python -m sims.dynamics"


def running(values: Any) -> Any:
    """Integrals up to each epoch by trapezoids, epochs on the last axis."""
    steps = (values[..., 1:] + values[..., :-1]) / 2
    return np.concatenate([np.zeros_like(values[..., :1]), np.cumsum(steps, axis=-1)], axis=-1)


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from results/dynamics: every network and h < T of the rescaled descent at a few epochs."""
    run, data = collection.load_run(Path(results) / "dynamics", which)
    part = data.sel(part="rescaled", depth=data["depth"].max())
    rate, sin2, steep = (
        part[name].transpose("seed", "horizon", "epoch").values for name in ("rate", "sin2", "steepness")
    )
    epochs, cos2 = part["epoch"].values, 1 - sin2
    falls = running(cos2 * steep)
    law = np.divide(falls, falls[:, -1:], out=np.ones_like(falls), where=falls[:, -1:] > 0)
    times = part["depth"].item() * part["tau"].isel(seed=0).values
    chosen = sorted({2, len(epochs) // 5, len(epochs) // 2, len(epochs) - 1})
    with plotting.style():
        figure, (top, bottom) = plotting.column(rows=2, height=4.4)
        for number, epoch in enumerate(chosen):
            seen, at = rate[:, :-1, epoch].ravel(), cos2[:, :-1, epoch].ravel()
            plotting.measured(top, at, seen, rf"$T\tau={times[epoch]:g}$", number)
            plotting.measured(bottom, law[:, :-1, epoch].ravel(), seen, None, number)
        for axes in (top, bottom):
            axes.plot([0, 1], [0, 1], "-", color="black", zorder=3, label="equal" if axes is top else None)
            axes.set(ylabel="$r(h)$")
        top.set_xlabel(r"$\cos^2\theta_h$ at that time")
        bottom.set_xlabel(r"$\int\cos^2\theta_h\,\lambda_h\,/\int\lambda_T$, $\lambda=\|g_T\|^2/J$")
        gaps = [np.abs(rate - other)[:, :-1, -1].max() for other in (cos2, law)]
        words = (
            f"$r(h)$ of (14) is not $\\cos^2\\theta_h$: off by up to {gaps[0]:.2f} at the end, "
            f"its law by {gaps[1]:.3f} ($T={part['depth'].item()}$, rescaled, {len(rate)} nets)"
        )
        plotting.verdict(figure, words, run.changed)
        plotting.legend(figure, top, columns=3)
        return list(plotting.save(figure, "dynamics_rate", figures))
