"""The angle to back-propagation of rules with another feedback, against the depth, beside their laws.

python -m paper_figs rules_depth      # after: python -m sims.rules_depth
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dlinear.analysis import statistics
from dlinear.report import plotting
from dlinear.runs import collection

NEEDS = "python -m sims.rules_depth"
START = ("broadcast", "feedback alignment", "FOTON", "horizon 1")  # the numbers of the records
NO_SKIP = {0: "no skip, a fresh B a layer", 2: "no skip, one B; PEPITA"}


def course(axes: Any, values: Any, law: Any, label: str, number: int, key: Any = None) -> None:
    """Means with 95 % intervals over seeds, and the law over them; `key` is where the label is shown."""
    depths = values["depth"].values
    found = [statistics.mean_interval(values.sel(depth=depth)) for depth in depths]
    middle, low, high = np.array(found).T
    plotting.interval(axes, depths, middle, low, high, label if key is None else None, number)
    plotting.predicted(axes, depths, law.mean("seed"), None, number)
    if key is not None:  # the legend is that of the upper axes
        plotting.measured(key, [], [], label, number)


def draw(results: str, figures: str, which: str = "latest") -> list[Path]:
    """Draw from results/rules_depth: T sin^2 with the skip, cos^2 without it."""
    run, data = collection.load_run(Path(results) / "rules_depth", which)
    with plotting.style():
        figure, (top, bottom) = plotting.column(rows=2, height=4.4)
        for number, label in enumerate(START):
            part = data.isel(start_rule=number)
            course(top, part["start"].mean("net"), part["start_law"], label, number)
        for number, (rule, label) in enumerate(NO_SKIP.items(), start=len(START)):
            part = data.isel(no_skip_rule=rule)
            course(bottom, (part["cos"] ** 2).mean("net"), part["cos_law"], label, number, top)
        top.set(xscale="log", ylabel=r"with the skip: $T\,\sin^2/\sigma^2$")
        bottom.set(xscale="log", yscale="log", ylabel=r"without: $\cos^2$", xlabel=r"depth $T$")
        for axes in (top, bottom):
            axes.set_xticks(data["depth"].values, [f"{depth}" for depth in data["depth"].values])
            axes.xaxis.set_minor_formatter(lambda *_: "")
        seen = [
            float((data["start"] / data["start_law"]).isel(start_rule=k, depth=-1).mean()) for k in range(4)
        ]
        words = (
            rf"At the start every rule with the skip has $\sin^2 \sim 1/T$: measured/predicted "
            f"{', '.join(f'{value:.2f}' for value in seen)}; without it the depth does not help "
            "(lines: laws; bars: 95 %)"
        )
        plotting.legend(figure, top)
        plotting.verdict(figure, words, run.changed)
        return list(plotting.save(figure, "rules_depth", figures))
