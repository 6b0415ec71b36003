"""
Your own sweep
==============

Cells times a function: every cell is computed once, kept in a file of its own, and found again. The same
sweep runs in this process, over processes, on a Dask cluster or as the jobs of an array.
"""

import tempfile
from dataclasses import dataclass

import numpy as np

import dlinear
from dlinear.runs import collection, sweeps

# %%
# **A cell** is a frozen dataclass; its values name its record. Raise ``edition`` when its meaning changes.


@dataclass(frozen=True)
class Cell:
    """One network."""

    depth: int
    width: int
    seed: int
    edition: int = 1


def compute(cell):
    """Arrays by name, with their dimensions."""
    net = dlinear.GaussianNetwork(depth=cell.depth, width=cell.width, seed=cell.seed)
    missed = np.array([1, 2, 4, 8, 16])
    phi = np.random.default_rng(cell.seed).normal(size=(cell.width, cell.width)) / np.sqrt(cell.width)
    profile = dlinear.alignment(net, phi, cell.depth - missed)
    return {"shortfall": (("shortfall",), missed), "sin2": (("shortfall",), profile.sin2)}


cells = [Cell(depth, width, seed) for depth in (100, 1000) for width in (2, 5) for seed in range(4)]
folder = tempfile.mkdtemp()

# %%
# **Run it.** ``workers=0`` stays in this process; ``workers=2`` starts two others, which import what they
# compute. Then ``Cell`` and ``compute`` live in a module, here ``my_sweep.py``, and the script guards the
# call:
#
# .. code-block:: python
#
#     from my_sweep import Cell, compute
#     if __name__ == "__main__":
#         sweeps.run("results/my_sweep", cells, compute, workers=2)

sweep = sweeps.run(folder, cells, compute, workers=0)
print(sweep)

# %%
# **Run it again**: nothing is computed. A sweep that was killed goes on where it was.

print(sweeps.run(folder, cells, compute, workers=0))

# %%
# **As one data set**, with the fields of the cells as dimensions.

data = collection.load(folder)
print(data)
print(data["sin2"].mean("seed").sel(width=5).round(8).values)

# %%
# **On a cluster.** A Dask scheduler, or job arrays that share a file system:
#
# .. code-block:: python
#
#     from dlinear.runs.dask_cluster import Cluster
#     sweeps.run(folder, cells, compute, executor=Cluster("tcp://HOST:8786"))
#     sweeps.run(folder, cells, compute, shard="3/16")        # the third of sixteen jobs
