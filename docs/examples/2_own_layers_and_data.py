"""
Your own layers and data
========================

Anything with ``depth``, ``width`` and ``deviations(start, stop)`` is a network; any arrays are data.
"""

import numpy as np

import dlinear

# %%
# **Layers from an array.** (T, n, n), either the weights or their deviations from the identity.

rng = np.random.default_rng(0)
weights = np.eye(4) + rng.normal(size=(200, 4, 4)) / 200
net = dlinear.DenseNetwork.from_weights(weights)

# %%
# **Layers that are made when they are asked for**, so that depth costs no memory. Any chunk must give the
# same numbers: compute them from the position of the layer, not in turn.


class Waves:
    """D(t) = sin(2 pi f t/T) M/T: layers that come and go."""

    def __init__(self, depth, matrix, frequency):
        self.depth, self.width = depth, len(matrix)
        self.matrix, self.frequency = matrix, frequency

    def deviations(self, start, stop):
        """Layers start..stop-1, (stop - start, n, n)."""
        t = np.arange(start, stop)
        return np.sin(2 * np.pi * self.frequency * t / self.depth)[:, None, None] * self.matrix / self.depth


waves = Waves(100_000, rng.normal(size=(4, 4)), 2.25)

# %%
# **Data from arrays.** Inputs (N, p) and labels or targets; they are projected on their leading directions
# and whitened, because the theory speaks of whitened inputs.

inputs = rng.normal(size=(500, 12)) @ rng.normal(size=(12, 12))
labels = (inputs[:, 0] > 0).astype(int) + (inputs[:, 1] > 1)
task = dlinear.whitened_task(inputs, labels, width=4)
print(task.phi.shape)

# %%
# **Angles of both.**

for name, network in (("array", net), ("waves", waves)):
    missed = np.array([1, 2, 5, 10, 20])
    profile = dlinear.alignment(network, task.phi, network.depth - missed)
    print(name, profile.sin2)

# %%
# **Mistakes are refused in one line.**

try:
    dlinear.alignment(net, task.phi[:3], 100)
except dlinear.errors.DlinearError as error:
    print(error)
