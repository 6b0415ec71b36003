"""Figure E1: memory over the horizon, eager and static, in the paper's three models.

python -m paper_figs paper_memory          # after: python -m sims.paper_memory
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dlinear.bridge.paper import memory, settings
from dlinear.report import plotting
from dlinear.runs import collection

NEEDS = "python -m sims.paper_memory"


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from results/paper_memory: eager above with lines in h, static below with h (T - h + 1)."""
    run = collection.run_of(Path(results) / "paper_memory", which)
    found = memory.read(run.records())
    with plotting.style():
        figure, (eager, static) = plotting.column(rows=2, height=4.6)
        for number, one in enumerate(found):
            share, fine = one.h / one.depth, np.linspace(1, one.depth, 100)
            name = settings.title(one.model)
            plotting.measured(eager, share, one.eager / one.whole, name, number)
            plotting.predicted(eager, fine / one.depth, one.line()(fine) / one.whole, "fit", number)
            plotting.measured(static, share, one.static / one.whole, name, number)
            plotting.predicted(static, fine / one.depth, one.windows(fine) / one.whole, "fit", number)
        eager.set(ylabel="eager / back-propagation", ylim=(0, None))
        static.set(xlabel="$h/T$", ylabel="static / back-propagation", ylim=(0, None))
        lines = ", ".join(f"{settings.title(one.model)} {one.line().r_squared:.3f}" for one in found)
        text = f"Eager: $R^2$ of a line: {lines}. Static: (ah + b)(T - h + 1)"
        plotting.verdict(figure, text, run.changed)
        plotting.legend(figure, eager)
        return list(plotting.save(figure, "paper_memory", figures))
