"""sin^2(theta_h) of scalar networks beside Lemma C.5.

python -m paper_figs scalar_limit      # after: python -m sims.scalar_limit
"""

from pathlib import Path

from dlinear.report import plotting
from dlinear.runs import collection

NEEDS = "python -m sims.scalar_limit"  # named when its records are missing; "" when none are needed


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from results/scalar_limit. A figure reads records and closed forms; it never simulates."""
    run, data = collection.load_run(Path(results) / "scalar_limit", which)  # dimensions depth and alpha
    x = 1 - data["alpha"]
    with plotting.style():
        figure, axes = plotting.column()
        for number, depth in enumerate(data["depth"].values):
            sin2 = data["sin2"].sel(depth=depth)
            plotting.measured(axes, x, sin2, plotting.depth_label(depth), number)  # points
        law = data["predicted"].isel(depth=-1)
        plotting.predicted(axes, x, law, "Lemma C.5", number)  # a line over the points
        axes.set(xscale="log", yscale="log", xlabel=r"$1-h/T$", ylabel=r"$\sin^2\theta_h$")
        error = abs(data["sin2"] / data["predicted"] - 1).isel(depth=-1).max().item()
        text = f"Within {error:.1%} of Lemma C.5 at {plotting.depth_label(depth)}"
        plotting.verdict(figure, text, run.changed)  # a run that is not the default one is said to be so
        plotting.legend(figure, axes)
        return list(plotting.save(figure, "scalar_limit", figures))
