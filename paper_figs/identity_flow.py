"""Training from the identity: local learning rings, a longer horizon gets stuck on a plateau, anchored falls.

python -m paper_figs identity_flow      # after: python -m sims.identity_flow
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dlinear.report import plotting
from dlinear.runs import collection

NEEDS = "python -m sims.identity_flow"


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from results/identity_flow: end errors along the flow and Theorem G4's closed laws."""
    run, data = collection.load_run(Path(results) / "identity_flow", which)
    depth = data["depth"].values.max()
    data = data.sel(depth=depth)

    def curve(part: str, *names: str) -> tuple[Any, ...]:
        rows = data.sel(part=part)
        seen = rows[names[0]].dropna("tau", how="all")
        return (seen["tau"].values, *(rows[name].sel(tau=seen["tau"]).values for name in names))

    with plotting.style():
        figure, (top, bottom) = plotting.column(rows=2, height=4.4)
        tau, error, law, bessel = curve("ringing", "error", "law", "bessel")
        plotting.measured(top, tau[::6], error[::6], "$h=1$", 0)
        plotting.predicted(top, tau, law, r"$e^{-\tau}L_{T-1}(\tau)$", 0)
        top.plot(tau, bessel, ":", color="black", label=r"$J_0(2\sqrt{T\tau})$", zorder=1)
        top.axhline(0, color="black", linewidth=0.4, linestyle=":")
        top.set(ylabel="$R/R(0)$", xlabel=r"$\tau$")
        tau, error, law = curve("plateau", "error", "law")
        plotting.measured(bottom, tau[1::3], np.abs(error[1::3]), "$h=2T/3$", 1)
        plotting.predicted(bottom, tau[1:], np.abs(law[1:]), "two modes", 1)
        tau, falls = curve("anchored", "falls")
        first = falls.reshape(len(tau), -1)[:, 0] if falls.shape[0] == len(tau) else falls[0]
        keep = np.abs(first) > 1e-5
        plotting.measured(
            bottom, tau[keep][1::2], np.abs(first[keep][1::2]), r"anchored, $h=1$, $\phi=1/2$", 2
        )
        bottom.set(xscale="log", yscale="log", xlabel=r"$\tau$", ylabel="$|R/R(0)|$", ylim=(1e-4, 2))
        words = "From the identity local learning rings, a long horizon stops on a plateau, anchored falls"
        plotting.verdict(figure, f"{words} ($T={depth}$)", run.changed)
        handles = [axes.get_legend_handles_labels() for axes in (top, bottom)]
        figure.legend(
            handles[0][0] + handles[1][0], handles[0][1] + handles[1][1], loc="outside lower center", ncols=2
        )
        return list(plotting.save(figure, "identity_flow", figures))
