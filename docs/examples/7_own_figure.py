"""
Your own figure
===============

A figure reads records and closed forms; it computes nothing else. Measured values are points, predictions
lines over them, and what it says stands in a caption beside the picture.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from dlinear.analysis import profiles
from dlinear.report import plotting
from dlinear.runs import collection
from dlinear.theory import limits

folder = Path(tempfile.mkdtemp())

# %%
# **Records** of a simulation, here a small run; in a shell:
# ``dlinear sim cubic_decay --ensembles gaussian --depths 100 1000 --seeds 3 --points 8``. The folder of your
# own sweep (:doc:`5_own_sweep`) does as well.

words = "--ensembles gaussian --depths 100 1000 --seeds 3 --points 8 --workers 0"
told = subprocess.run(
    [sys.executable, "-m", "dlinear", "sim", "cubic_decay", *words.split(), "--results", folder / "results"],
    capture_output=True,
    text=True,
)
print(told.stdout[-400:])  # "no verdict": so few networks are too few to judge by
run, data = collection.load_run(folder / "results" / "cubic_decay")
print(dict(data.sizes))

# %%
# **The figure**: one column wide. ``over_seeds`` draws means with their intervals, ``predicted`` a line over
# them: here Theorem C, whose constants the records hold.

with plotting.style():
    figure, axes = plotting.column()
    for number, depth in enumerate(data["depth"].values):
        found = profiles.from_records(data, ensemble="gaussian", depth=depth)
        m, part = found[0].shortfall, data.sel(ensemble="gaussian", depth=depth)
        law = [part[f"predicted_{order}"].mean().item() for order in ("quadratic", "cubic")]
        label = plotting.depth_label(int(depth))
        plotting.over_seeds(axes, m / depth, [profile.sin2 for profile in found], label, number)
        plotting.predicted(axes, m / depth, limits.decay_law(*law, m, int(depth)), None, number)
    axes.set(xscale="log", yscale="log", xlabel=r"$1-h/T$", ylabel=r"$\sin^2\theta_h$")
    plotting.verdict(figure, "Gaussian layers beside Theorem C (lines)", run.changed)
    plotting.legend(figure, axes)
    plotting.save(figure, "my_figure", folder / "figures")
for path in sorted((folder / "figures").iterdir()):
    print(path.name, path.stat().st_size, "bytes")

# %%
# **In a checkout** the figure becomes one of ``dlinear fig``: copy ``docs/templates/figure.py`` to
# ``paper_figs/NAME.py`` (CONTRIBUTING, "Add a figure").
