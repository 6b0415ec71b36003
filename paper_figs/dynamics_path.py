"""Loss and angle along the path of each horizon: what cos^2 and Theorem B make of them, drawn over.

python -m paper_figs dynamics_path      # after: python -m sims.dynamics
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dlinear.report import plotting
from dlinear.runs import collection

NEEDS = "python -m sims.dynamics"


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from results/dynamics: the rescaled descent's loss, the plain flow's sin^2; medians over seeds."""
    run, data = collection.load_run(Path(results) / "dynamics", which)
    data = data.sel(depth=data["depth"].max())
    depth, horizons = data["depth"].item(), data["horizon"].values
    steps, flow = (data.sel(part=part) for part in ("rescaled", "flow"))
    x = depth * steps["tau"].isel(seed=0).values
    with plotting.style():
        figure, (top, bottom) = plotting.column(rows=2, height=4.4)
        for number, h in enumerate(horizons[[0, len(horizons) // 2 - 1, -2, -1]]):
            part = steps.sel(horizon=h)
            loss = (part["loss"] / part["loss"].sel(epoch=0)).transpose("seed", "epoch").values
            rate = ((1 - part["sin2"]) * part["steepness"]).values  # cos^2 lambda, (seed, epoch)
            falls = np.cumsum((rate[:, 1:] + rate[:, :-1]) / 2 * np.diff(x) / depth, axis=1)
            law = np.median(np.exp(-np.pad(falls, ((0, 0), (1, 0)))), axis=0)
            plotting.quartiles_over_seeds(top, x, loss, f"$h={h}$", number)
            plotting.predicted(top, x, law, None, number)
            if h == depth:
                continue
            sin2 = flow["sin2"].sel(horizon=h).transpose("seed", "epoch").values
            predicted = flow["predicted_sin2"].sel(horizon=h).median("seed").values
            plotting.quartiles_over_seeds(bottom, x, sin2, None, number)
            plotting.predicted(bottom, x[predicted < 1], predicted[predicted < 1], None, number)
        top.set(yscale="log", ylabel="$J/J_0$, rescaled")
        top.plot(
            [], [], "-", color="black", zorder=3, label=r"$e^{-\int\cos^2\!\theta_h\,\lambda}$; Theorem B"
        )
        bottom.set(yscale="log", ylabel=r"$\sin^2\theta_h$, plain flow", xlabel=r"$T\tau$")
        plotting.legend(figure, top, columns=3)
        at, past = x[len(x) // 2], flow["sin2"].isel(epoch=len(x) // 2, horizon=-2).median().item()
        words = (
            f"The angle opens while the loss falls: at $T\\tau={at:g}$, $h=T-{depth - horizons[-2]}$ has "
            f"$\\sin^2={past:.2g}$ ($T={depth}$, medians of {data.sizes['seed']} nets; bars: quartiles)"
        )
        plotting.verdict(figure, words, run.changed)
        return list(plotting.save(figure, "dynamics_path", figures))
