"""How far neighbouring layers leave their balance along the flow of a horizon, beside Theorem G5.

python -m paper_figs dynamics_balance      # after: python -m sims.dynamics
"""

from __future__ import annotations

from pathlib import Path

from dlinear.report import plotting
from dlinear.runs import collection

NEEDS = "python -m sims.dynamics"


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from results/dynamics: change of balance of the flows, and where P_h goes; medians over seeds."""
    run, data = collection.load_run(Path(results) / "dynamics", which)
    data = data.sel(depth=int(data["depth"].max()))
    flows = {name: data.sel(part=part) for name, part in (("", "flow"), ("anchored, ", "anchored flow"))}
    x = (data["depth"] * data["tau"].sel(part="flow").isel(seed=0)).values
    horizons = data["horizon"].values
    with plotting.style():
        figure, (top, bottom) = plotting.column(rows=2, height=4.4)
        number = 0
        for name, part in flows.items():
            for h in horizons[[0, len(horizons) // 2]]:
                here = part.sel(horizon=h).isel(epoch=slice(1, None))
                drift = here["drift"].transpose("seed", "epoch")
                plotting.quartiles_over_seeds(top, x[1:], drift, f"{name}$h={h}$", number)
                plotting.predicted(top, x[1:], here["predicted_drift"].median("seed"), None, number)
                distance = part["inner_residual"].sel(horizon=h).transpose("seed", "epoch")
                plotting.quartiles_over_seeds(bottom, x, distance / distance.sel(epoch=0), None, number)
                number += 1
        top.plot([], [], "-", color="black", zorder=3, label="Theorem G5, added up")
        top.set(yscale="log", ylabel="change of balance")
        bottom.set(xlabel=r"$T\tau$", ylabel=r"$\|P_h-\Phi\|$, relative to start", ylim=(0, None))
        plotting.legend(figure, top)
        ends = [part["drift"].isel(epoch=-1, horizon=0).median().item() for part in flows.values()]
        words = (
            f"A horizon $h=1$ changes the balance {ends[0] / ends[1]:.0f} times as much as its anchored form "
            f"($T={data['depth'].item()}$, flows, medians; bars: quartiles)"
        )
        plotting.verdict(figure, words, run.changed)
        return list(plotting.save(figure, "dynamics_balance", figures))
