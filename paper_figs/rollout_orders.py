"""sin^2 over the shortfall for rules of order 3, 5 and 7 on smooth layers, with the laws.

python -m paper_figs rollout_orders      # after: python -m sims.rollout_orders
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dlinear.report import plotting
from dlinear.runs import collection

NEEDS = "python -m sims.rollout_orders"
RULES = {
    0: "plain",
    3: "anchored",
    1: "averaged",
    4: "anchored averaged",
    2: "degree 2",
    5: "anchored degree 2",
}


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from results/rollout_orders: the mean over seeds, the laws, and powers where there is no law."""
    run, data = collection.load_run(Path(results) / "rollout_orders", which)
    data = data.sel(layers="smooth", depth=data["depth"].max())
    m = data["shortfall"].values
    with plotting.style():
        figure, axes = plotting.column(height=3.5)
        orders = {}
        for colour, (number, label) in enumerate(RULES.items()):
            values = data[f"sin2_{number}"].transpose("seed", "shortfall").values
            mean = values.mean(axis=0)
            orders[number] = np.polyfit(np.log(m), np.log(mean), 1)[0]
            plotting.over_seeds(axes, m, values, label, colour)
            if f"law_{number}" in data:
                plotting.predicted(axes, m, data[f"law_{number}"].mean("seed"), None, colour)
            else:  # the power alone, through the middle
                middle = len(m) // 2
                plotting.predicted(axes, m, mean[middle] * (m / m[middle]) ** 7, None, colour)
        axes.set(xscale="log", yscale="log", xlabel="shortfall $m=T-h$", ylabel=r"$\sin^2\theta_h$")
        axes.set_xticks([], minor=True)
        axes.set_xticks(m[::2], labels=[str(one) for one in m[::2]])
        found = ", ".join(f"{orders[number]:.2f}" for number in (0, 1, 2))
        words = f"Orders {found}: plain, averages over the unseen layers, and their next term"
        plotting.verdict(figure, f"{words} ($T={data['depth'].item()}$)", run.changed)
        plotting.legend(figure, axes)
        return list(plotting.save(figure, "rollout_orders", figures))
