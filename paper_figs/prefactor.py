"""The quadratic prefactor q of rough layers over the depth: ~ 1/T at scale 1/T, constant at 1/sqrt(T).

python -m paper_figs prefactor      # after: python -m sims.rough_layers
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dlinear.analysis import profiles, statistics
from dlinear.report import plotting
from dlinear.runs import collection
from dlinear.theory import limits

NEEDS = "python -m sims.rough_layers"
PARTS = {"brownian": r"scale $1/\sqrt{T}$", "prefactor": r"scale $1/T$"}


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from results/rough_layers: q with its 95 % interval over seeds."""
    run, data = collection.load_run(Path(results) / "rough_layers", which)
    depths = data["depth"].values.tolist()
    with plotting.style():
        figure, axes = plotting.column(height=2.9)
        words = []
        for number, (part, label) in enumerate(PARTS.items()):
            each = []
            for depth in depths:
                found = profiles.from_records(data, ensemble=part, depth=depth)
                each.append(
                    [np.mean(one.sin2 / limits.decay_law(1.0, 0.0, one.shortfall, depth)) for one in found]
                )
            means = [statistics.mean_interval(values) for values in each]
            plotting.interval(axes, depths, *np.transpose(means), label=label, number=number)
            law = data["predicted_quadratic"].sel(ensemble=part, depth=depths).mean("seed")
            span = depths if len(depths) > 1 else [depths[0] / 1.3, depths[0] * 1.3]  # a point is no line
            plotting.predicted(axes, span, np.resize(law, len(span)), "Theorem C", number)
            if len(depths) > 1:
                words.append(f"$T^{{{statistics.exponent(depths, np.transpose(each)).value:.2f}}}$")
        axes.set(xscale="log", yscale="log", xlabel="$T$", ylabel="prefactor $q$")
        axes.set_xticks(depths, labels=[str(depth) for depth in depths])
        axes.set_xticks([], minor=True)
        plotting.verdict(
            figure,
            f"Order 2 with $q$ ~ {' and '.join(words)}"
            if words
            else "One depth only: no power of $T$ to see",
            run.changed,
        )
        plotting.legend(figure, axes)
        return list(plotting.save(figure, "prefactor", figures))
