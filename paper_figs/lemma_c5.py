"""Lemma C.5: 1 - f^2 of the scalar network with its leading term, cubic and (at y = 2e^c) of order five.

python -m paper_figs lemma_c5       # needs no records: finite networks and closed forms
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

import dlinear
from dlinear.report import plotting
from dlinear.theory import scalar

NEEDS = ""
DEPTH = 20_000  # of the measured networks: W(t) = 1 + c/T


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from the closed form; `results` and `which` are not used."""
    c = 1.0
    cases = ((0.5, "y=0.5"), (4.0, "y=4"), (2 * math.exp(c), "y=2e^c"))
    m = np.unique(np.rint(np.geomspace(20, 0.9 * DEPTH, 22)).astype(int))
    eps = np.geomspace(m[0] / DEPTH, 1, 300)
    with plotting.style():
        figure, axes = plotting.column(height=3.2)
        worst = 0.0
        for number, (y, name) in enumerate(cases):
            net = dlinear.ConstantNetwork(np.array([[c]]), depth=DEPTH)
            # the finite network's own degenerate target is 2 (1 + c/T)^T
            goal = y if number < 2 else 2 * math.exp(DEPTH * math.log1p(c / DEPTH))
            sin2 = dlinear.alignment(net, np.array([[goal]]), DEPTH - m).sin2
            plotting.measured(axes, m / DEPTH, sin2, f"${name}$", number)
            plotting.predicted(axes, eps, scalar.sin2_of_gap(eps, c, y), "exact", number)
            order, factor = (3, scalar.constant(c, y)) if number < 2 else (5, scalar.constant5(c))
            leading = "leading term" if number == len(cases) - 1 else None
            axes.plot(eps, factor * eps**order, ":", color="black", zorder=4, linewidth=0.9, label=leading)
            seen = m > 1000
            worst = max(worst, float(np.abs(sin2 / scalar.sin2_of_gap(m / DEPTH, c, y) - 1)[seen].max()))
        axes.set(xscale="log", yscale="log", xlabel=r"$1-\alpha$", ylabel=r"$1-f^2$", ylim=(1e-17, 3))
        network = plotting.depth_label(DEPTH)
        text = (
            f"Cubic, but order 5 at $y=2e^c$ ($c=1$): networks with {network} within {worst:.1%} of Lemma C.5"
        )
        plotting.verdict(figure, text)
        plotting.legend(figure, axes, columns=4)
        return list(plotting.save(figure, "lemma_c5", figures))
