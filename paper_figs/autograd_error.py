"""Eq. (27') against autograd: relative error over the horizon, at the size of rounding.

python -m paper_figs autograd_error         # after: python -m sims.autograd_error
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from dlinear.report import plotting
from dlinear.runs import collection

NEEDS = "python -m sims.autograd_error"
EPSILON = float(np.finfo(np.float64).eps)


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from results/autograd_error."""
    run, data = collection.load_run(Path(results) / "autograd_error", which)
    error = data["error"].max([dim for dim in data["error"].dims if dim not in ("depth", "horizon")])
    with plotting.style():
        figure, axes = plotting.column(height=2.9)
        for number, depth in enumerate(data["depth"].values.tolist()):
            part = error.sel(depth=depth).dropna("horizon")
            plotting.measured(axes, part["horizon"] / depth, part, plotting.depth_label(depth), number)
            plotting.predicted(axes, [0, 1], [depth * EPSILON] * 2, r"$T\,\epsilon$", number)
        axes.set(yscale="log", xlabel="$h/T$", ylabel="largest relative error", xlim=(0, 1.02))
        worst = (error / data["depth"]).max().item() / EPSILON
        words = "is autograd's gradient" if worst < 16 else "is NOT autograd's gradient"
        formula = "(27) as printed" if json.loads(data.attrs["knobs"])["printed"] else "(27')"
        plotting.verdict(
            figure, f"Eq. {formula} {words}: error at most {worst:.2g} $T\\epsilon$", run.changed
        )
        plotting.legend(figure, axes, columns=3)
        return list(plotting.save(figure, "autograd_error", figures))
