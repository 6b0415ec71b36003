"""The quadratic prefactor q of rough layers over Theorem C's, by depth: one, whatever q itself does.

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
    """Draw from results/rough_layers: measured/predicted q with 95 % intervals over seeds."""
    run, data = collection.load_run(Path(results) / "rough_layers", which)
    depths = data["depth"].values
    shift = 1.06  # in depth, so that the intervals of the two scales stand beside each other
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
            law = data["predicted_quadratic"].sel(ensemble=part, depth=depths).mean("seed").values
            ratios = np.transpose(each) / law
            plotting.over_seeds(axes, depths * shift ** (2 * number - 1), ratios, label, number)
            if len(depths) > 1:
                words.append(f"$T^{{{statistics.exponent(depths.tolist(), np.transpose(each)).value:.2f}}}$")
        plotting.predicted(axes, [depths[0] / 1.3, depths[-1] * 1.3], [1.0, 1.0], "Theorem C", 2)
        axes.set(xscale="log", xlabel="$T$", ylabel="$q$, measured/predicted")
        axes.set_xticks(depths, labels=[str(depth) for depth in depths])
        axes.set_xticks([], minor=True)
        plotting.verdict(
            figure,
            f"Order 2 with $q$ ~ {' and '.join(words)} (scales $1/\\sqrt{{T}}$, $1/T$; bars: 95 %)"
            if words
            else "One depth only: no power of $T$ to see",
            run.changed,
        )
        plotting.legend(figure, axes)
        return list(plotting.save(figure, "prefactor", figures))
