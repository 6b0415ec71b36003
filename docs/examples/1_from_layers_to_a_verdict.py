"""
Tutorial: from a layer path to a verdict
========================================

How fast does the gradient of a short horizon approach the true one? Take a network whose layers change
smoothly with depth, predict the decay, measure it, and let the library say what it sees.
"""

import numpy as np

import dlinear

# %%
# **The layers.** W(t) = I + A(t/T)/T, with A any function from [0, 1] to matrices; here a slow rotation
# that weakens towards the end.


def path(s):
    """A(s), a 3 x 3 matrix."""
    turn = np.array([[0.0, -1.0, 0.3], [1.0, 0.0, 0.0], [-0.3, 0.0, 0.2]])
    return (1 - 0.4 * s) * turn


# %%
# **The target.** Phi is all that the data say; here the mean of y x^T of whitened handwritten digits.

from sklearn.datasets import load_digits

x, labels = load_digits(return_X_y=True)
task = dlinear.whitened_task(x, labels, width=3)
print(task.phi.round(2))

# %%
# **The prediction.** Theorem B: sin^2(theta_h) is C (1 - h/T)^3, and this is C.

constant = dlinear.limits.cubic_constant(path, task.phi)
print(f"C = {constant:.4f}")

# %%
# **The measurement**, at shortfalls m = T - h from one layer to a tenth of the network. The smallest
# angles are of order 1e-12: they are computed from the difference of the two gradients, without
# cancellation.

T = 4000
net = dlinear.SmoothNetwork(path, T)
missed = np.array([1, 2, 4, 8, 16, 32, 64, 128, 256, 400])
profile = dlinear.alignment(net, task.phi, T - missed)
law = dlinear.limits.decay_law(0.0, constant, missed, T)
for m, measured, predicted in zip(missed, profile.sin2, law, strict=True):
    print(
        f"m = {m:4}   sin^2 = {measured:.3e}   predicted {predicted:.3e}   ratio {measured / predicted:.3f}"
    )

# %%
# **The verdict**, in words and as numbers with intervals.

fit = dlinear.fit_decay(profile)
print(fit.verdict)
print(f"order {fit.order:.3f}, cubic constant {fit.cubic:.4f}")
assert abs(fit.order - 3) < 0.05

# %%
# **And rough layers?** Independent Gaussian layers of the same size decay with order two, however deep the
# network is: Theorem C.

rough = dlinear.GaussianNetwork(depth=T, width=3, seed=0)
fit = dlinear.fit_decay(dlinear.alignment(rough, task.phi, T - missed))
print(fit.verdict)
assert fit.order < 2.5

# %%
# **A bound that holds for every network** of layers with ||W~(t)||_2 <= c: Theorem A.

P = np.eye(3)
for D in net.deviations(0, T):
    P = P + D @ P
R = np.linalg.norm(P - task.phi)
c = max(np.linalg.norm(path(s), 2) for s in np.linspace(0, 1, 50))
bound = dlinear.bounds.theorem_a(T, T - missed, c, 3, R)
print(f"measured/bound: {np.min(profile.sin2 / bound):.1e} to {np.max(profile.sin2 / bound):.1e}")
assert np.all(profile.sin2 <= bound)
