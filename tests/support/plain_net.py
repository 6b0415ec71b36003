"""Plain layers h_l = sigma(W_l h_{l-1} + b_l) twice: as a stack of torch blocks, and by hand in numpy."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from dlinear.bridge import Stack, Supervised
from dlinear.bridge.models.readouts import Shared

SIGMA = {
    "identity": (lambda a: a, np.ones_like),
    "relu": (lambda a: np.maximum(a, 0), lambda a: (a > 0).astype(float)),
    "tanh": (np.tanh, lambda a: 1 - np.tanh(a) ** 2),
}
MODULES = {"identity": nn.Identity, "relu": nn.ReLU, "tanh": nn.Tanh}


@dataclass
class Plain:
    """A net and a batch.

    Attributes:
        w: W_1, ..., W_L, each (n_l, n_{l-1}); `b`: the biases, zeros where there are none.
        x: (N, n_0); `y`: labels (N,) for "cross_entropy", targets (N, K) for "mse".
    """

    w: list[np.ndarray]
    b: list[np.ndarray]
    x: np.ndarray
    y: np.ndarray
    activation: str
    loss: str
    bias: bool

    @property
    def hidden(self):
        return len(self.w) - 1

    def forward(self, x):
        """[h_0, ..., h_L] and [a_1, ..., a_L]; the output layer is linear."""
        h, a = [x], []
        for layer, (w, b) in enumerate(zip(self.w, self.b, strict=True)):
            a.append(h[-1] @ w.T + b)
            h.append(SIGMA[self.activation][0](a[-1]) if layer < self.hidden else a[-1])
        return h, a

    def slope(self, a):
        return SIGMA[self.activation][1](a)

    def error(self, z):
        """e of each sample: softmax - onehot, or 2 (z - y)/K."""
        if self.loss == "mse":
            return 2 * (z - self.y) / z.shape[1]
        p = np.exp(z - z.max(1, keepdims=True))
        return p / p.sum(1, keepdims=True) - self.one_hot()

    def one_hot(self):
        return self.y if self.loss == "mse" else np.eye(self.w[-1].shape[0])[self.y]

    def stack(self):
        """The same net in torch, float64; the output layer is the readout."""
        layers = []
        for w, b in zip(self.w, self.b, strict=True):
            linear = nn.Linear(w.shape[1], w.shape[0], bias=self.bias).double()
            linear.weight.data = torch.from_numpy(w.copy())
            if self.bias:
                linear.bias.data = torch.from_numpy(b.copy())
            layers.append(linear)
        hidden = [nn.Sequential(layer, MODULES[self.activation]()) for layer in layers[:-1]]
        return Stack(hidden, Shared(layers[-1]))

    def loss_fn(self):
        criterion = nn.functional.mse_loss if self.loss == "mse" else nn.functional.cross_entropy
        return Supervised(criterion, torch.from_numpy(self.y))

    def gradients(self, method):
        """What a method of the library puts into `.grad`: of the weights, and of the biases."""
        stack = self.stack()
        method(stack.blocks, torch.from_numpy(self.x), self.loss_fn(), stack.readout)
        linears = [*(block[0] for block in stack.blocks), stack.readout.head]
        return (
            [layer.weight.grad.numpy() for layer in linears],
            [layer.bias.grad.numpy() for layer in linears] if self.bias else [],
        )


def plain(seed, widths=None, activation=None, loss=None, bias=None):
    """A random net: what is not given is drawn from the seed, 1 to 4 layers of 2 to 6 units."""
    draw = np.random.default_rng([seed, 77])
    widths = widths or draw.integers(2, 7, size=draw.integers(3, 6)).tolist()
    activation = activation or str(draw.choice(list(SIGMA)))
    loss = loss or str(draw.choice(["mse", "cross_entropy"]))
    bias = bool(draw.integers(2)) if bias is None else bias
    w = [draw.normal(size=(n, m)) / np.sqrt(m) for m, n in itertools.pairwise(widths)]
    b = [draw.normal(size=n) * bias for n in widths[1:]]
    x = draw.normal(size=(5, widths[0]))
    y = draw.normal(size=(5, widths[-1])) if loss == "mse" else draw.integers(widths[-1], size=5)
    return Plain(w, b, x, y, activation, loss, bias)


def mean_outer(post, pre):
    """mean over samples of post pre^T."""
    return post.T @ pre / len(post)


def worst(ours, theirs):
    """The largest deviation of a list of matrices, relative to the largest entry."""
    size = max(np.abs(one).max() for one in theirs) or 1.0
    return max(np.abs(one - other).max() for one, other in zip(ours, theirs, strict=True)) / size
