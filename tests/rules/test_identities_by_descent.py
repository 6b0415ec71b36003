"""I10, I11, I13 for the rules in torch: what DRTP and forward-forward do not see, when broadcast descends."""

import numpy as np
import torch
from plain_net import mean_outer, plain, worst
from torch import nn

from dlinear.bridge import Supervised
from dlinear.bridge.methods import method
from dlinear.rules.direct_feedback import direct_matrix
from dlinear.theory.feedback_laws import broadcast_descent

CASES = range(50)


def test_i10_drtp_moves_a_linear_layer_whatever_the_error():
    """W_1(k) = W_1(0) - k rate mean B_1 y x^T, though all other layers change; twin: dfa."""
    twins = []
    for seed in CASES:
        ends = {}
        for rule in ("drtp", "dfa"):
            net = plain(seed, activation="identity", bias=False)
            start, steps, rate = net.w[0], 5, 0.05
            for _ in range(steps):
                grads = net.gradients(method(rule))[0]
                net.w = [w - rate * g for w, g in zip(net.w, grads, strict=True)]
            b = direct_matrix(len(start), len(net.w[-1]), 0, 0).numpy()
            law = start - steps * rate * mean_outer(net.one_hot() @ b.T, net.x)
            ends[rule] = worst([net.w[0]], [law])
        assert ends["drtp"] < 1e-13, seed
        twins.append(ends["dfa"])
    assert min(twins) > 1e-3


def test_i11_forward_forward_learns_the_same_from_a_turned_layer():
    """A linear layer O W has the gradient O G: goodness depends on W^T W alone; twin: a stretched layer."""
    twins = []
    for seed in CASES:
        net = plain(seed, widths=[5, 4, 3], activation="identity", loss="cross_entropy", bias=False)
        turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(4, 4)))[0]
        found = []
        for change in (np.eye(4), turn, np.diag([1.0, 1.1, 1.0, 1.0])):
            other = plain(seed, widths=[5, 4, 3], activation="identity", loss="cross_entropy", bias=False)
            other.w[0] = change @ net.w[0]
            torch.manual_seed(seed)  # the wrong labels
            found.append(other.gradients(method("ff"))[0][0])
        assert worst([found[1]], [turn @ found[0]]) < 1e-13, seed
        twins.append(worst([found[2]], [np.diag([1.0, 1.1, 1.0, 1.0]) @ found[0]]))
    assert min(twins) > 1e-4


class Residual(nn.Module):
    """x + D x."""

    def __init__(self, d):
        super().__init__()
        self.d = nn.Linear(len(d), len(d), bias=False).double()
        self.d.weight.data = torch.from_numpy(d.copy())

    def forward(self, x):
        return x + self.d(x)


def shares(layers, x, y):
    """<G, g_T>/|G|^2 of each layer, broadcast against back-propagation."""
    blocks, found = [Residual(d) for d in layers], []
    for rule in ("dfa-identity", "backprop"):
        for block in blocks:
            block.zero_grad()
        method(rule)(blocks, x, Supervised(nn.functional.mse_loss, y))
        found.append([block.d.weight.grad.clone() for block in blocks])
    return np.array([float((g * true).sum() / (g * g).sum()) for g, true in zip(*found, strict=True)])


def test_i13_broadcast_descends_in_every_layer_of_a_residual_net():
    """<G, g_T> >= (2 - (1 + c/T)^k) |G|^2, k layers above; twin: k - 1, at W = (1 - c/T) I."""
    twins = []
    for seed in CASES:
        rng = np.random.default_rng(seed)
        depth, n, c = int(rng.integers(3, 7)), int(rng.integers(2, 4)), rng.uniform(0.1, np.log(2))
        d = rng.normal(size=(depth, n, n))
        d *= c / depth / np.linalg.norm(d, 2, axis=(1, 2)).max()
        x, y = torch.from_numpy(rng.normal(size=(2, 6, n)))
        above = np.arange(depth)[::-1]
        found = shares(d, x, y)
        assert np.all(found >= broadcast_descent(depth, c, above) - 1e-12), seed
        assert found.min() > 0
        hard = shares(-c / depth * np.tile(np.eye(n), (depth, 1, 1)), x, y)
        assert np.all(hard >= broadcast_descent(depth, c, above) - 1e-12)
        twins.append(hard[-2] - broadcast_descent(depth, c, 0))  # one layer above, none in the twin
    assert max(twins) < -1e-3
