"""K(c, y) of Lemma C.5 as a map, with the curves on which the cubic law degenerates.

python -m paper_figs k_map          # needs no records
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dlinear.report import plotting
from dlinear.theory import scalar

NEEDS = ""
SIZE = 401  # cells a side: odd, so that no cell centre lies on a degenerate curve


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from the closed form; `results` and `which` are not used."""
    from matplotlib.colors import LogNorm

    c = np.linspace(-1.5, 1.5, SIZE + 1)
    y = np.linspace(-2.0, 6.0, SIZE + 1)
    middle = [0.5 * (edges[1:] + edges[:-1]) for edges in (c, y)]
    k = scalar.constant(*np.meshgrid(*middle))
    with plotting.style():
        figure, axes = plotting.column(height=3.3)
        image = axes.pcolormesh(c, y, k, norm=LogNorm(1e-3, 1e2), cmap="cividis", rasterized=True)
        bar = figure.colorbar(image, ax=axes, extend="both", pad=0.02)
        bar.set_label(r"$K(c,y)$")
        curve = np.linspace(c[0], c[-1], 300)
        for values, line, label in (
            (np.exp(curve), "-", r"$y=e^c$: no angle"),
            (2 * np.exp(curve), "--", r"$y=2e^c$: order 5"),
        ):
            axes.plot(curve, values, "-", color="white", linewidth=2.4)
            axes.plot(curve, values, line, color=plotting.COLOURS["red"], label=label)
        axes.axvline(0.0, color="white", linewidth=2.4)
        axes.axvline(0.0, linestyle=":", color=plotting.COLOURS["red"], label=r"$c=0$: angle 0")
        axes.set(xlabel=r"$c$", ylabel=r"$y$", xlim=(c[0], c[-1]), ylim=(y[0], y[-1]))
        plotting.verdict(figure, r"$1-f^2\sim K(1-\alpha)^3$: no decay constant holds for all targets")
        plotting.legend(figure, axes, columns=3)
        return list(plotting.save(figure, "k_map", figures))
