"""Why the angle at a fixed horizon grows in training: sin^2 against N = ||g_T||^2/T, with Theorem D.

python -m paper_figs bridge_training          # after: python -m sims.bridge_slopes
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dlinear.report import plotting
from dlinear.runs import collection, records
from dlinear.theory import limits

NEEDS = "python -m sims.bridge_slopes"
FOLLOWED = 0.03  # of T: the shortfall that is drawn
SHOWN = ("identity-smooth", "tanh-smooth", "relu-smooth")


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from results/bridge_slopes: each network from its start (right) to its last epoch (left)."""
    run, data = collection.load_run(Path(results) / "bridge_slopes", which)
    if "epochs" in data.dims:
        data = data.sel(epochs=data["epochs"].values.max())
    kinds = [kind for kind in SHOWN if kind in data["ensemble"].values]
    data = data.dropna("depth", subset=["sin2"], how="all")  # the depth that was trained
    if not kinds or data.sizes["epoch"] < 2:
        raise records.RecordError(f"the latest run trained none of {', '.join(SHOWN)}")
    data = data.isel(depth=-1)
    depth = int(data["depth"])
    with plotting.style():
        figure, axes = plotting.column(height=3.1)
        grown = []
        for number, kind in enumerate(kinds):
            part = data.sel(ensemble=kind).dropna("seed", subset=["energy"], how="all")
            part = part.dropna("epoch", subset=["energy"]).transpose("seed", "epoch", ...)
            m = max(int(k) for k in part["shortfall"].values if k <= max(1, FOLLOWED * depth))
            law = limits.decay_law(
                part["predicted_quadratic"].values, part["predicted_cubic"].values, m, depth
            )
            energy, sin2, law = (
                np.exp(np.log(values).mean(axis=0))
                for values in (part["energy"].values, part["sin2"].sel(shortfall=m).values, law)
            )
            plotting.measured(axes, energy, sin2, kind, number)
            plotting.predicted(axes, energy, law, "Theorem D", number)
            grown.append(f"{kind.split('-')[0]} {sin2[-1] / sin2.min():.2g}")
        least = min(line.get_xdata().min() for line in axes.lines)
        most = max(line.get_xdata().max() for line in axes.lines)
        top = max(line.get_ydata().max() for line in axes.lines)
        guide = np.array([least, min(most, 30 * least)])
        axes.plot(guide, 2 * top * least / guide, ":", color="black", zorder=1, label=r"$1/N$")
        axes.set(xscale="log", yscale="log", xlabel=r"$N=\Vert g_T\Vert^2/T$ (training goes left)")
        axes.set_ylabel(rf"$\sin^2\theta_h$, $m={m}$, {plotting.depth_label(depth)}")
        plotting.verdict(
            figure, f"In training sin² grows from its least value, times: {', '.join(grown)}", run.changed
        )
        plotting.legend(figure, axes, columns=2)
        return list(plotting.save(figure, "bridge_training", figures))
