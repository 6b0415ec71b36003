"""sin^2 and work at equal memory, from the plain horizon (k = 1) to stages that do not overlap (k = M).

python -m paper_figs horizon_strides      # after: python -m sims.horizon_strides
"""

from __future__ import annotations

from pathlib import Path

from dlinear.report import plotting
from dlinear.runs import collection

NEEDS = "python -m sims.horizon_strides"


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from results/horizon_strides, smooth layers: ratios over seeds and Theorem F3's factor."""
    run, data = collection.load_run(Path(results) / "horizon_strides", which)
    depth = int(data["depth"].max())
    data = data.sel(layers="smooth", depth=depth)
    with plotting.style():
        figure, axes = plotting.column(height=3.2)
        losses = []
        for number, memory in enumerate(data["memory"].values.tolist()):
            part = data.sel(memory=memory).dropna("stride")
            ratio = part["sin2"] / part["sin2"].sel(stride=1)
            x, mean = part["calls"].mean("seed").values, ratio.mean("seed").values
            label = f"$M={memory}$"
            plotting.interval(axes, x, mean, ratio.min("seed"), ratio.max("seed"), label, number)
            law = (1 + (part["stride"].values - 1) / (2 * (depth - memory))) ** 3
            plotting.predicted(axes, x, law, None, number)
            losses.append(f"{100 * (mean[-1] - 1):.0f} %")
        axes.set(
            xscale="log", xlabel="block calls for each block", ylabel=r"$\sin^2$ over the plain horizon's"
        )
        axes.invert_xaxis()
        words = f"Without overlap a block is called once, and $\\sin^2$ grows by {', '.join(losses)}"
        plotting.verdict(figure, f"{words} ($T={depth}$; lines: Theorem F3)", run.changed)
        plotting.legend(figure, axes, columns=3)
        return list(plotting.save(figure, "horizon_strides", figures))
