"""Forward-forward by hand: the formulas in numpy for the nets of `plain_net`, without autograd."""

from __future__ import annotations

import numpy as np
import torch
from plain_net import SIGMA, mean_outer, plain

from dlinear.rules.ff.labels import wrong_labels
from dlinear.rules.forward_forward import ff_backward

INTEGRAL = {
    "identity": lambda a: a**2 / 2,
    "relu": lambda a: np.maximum(a, 0) ** 2 / 2,
    "tanh": lambda a: np.log(np.cosh(a)),
}


def net_of(seed, **knobs):
    """A random net with as many inputs as classes, or more."""
    draw = np.random.default_rng([seed, 5])
    classes = int(draw.integers(2, 5))
    widths = [
        int(draw.integers(classes, 8)),
        *draw.integers(2, 7, size=draw.integers(1, 4)).tolist(),
        classes,
    ]
    return plain(seed, **{"widths": widths, "loss": "cross_entropy", **knobs})


def of_length(h, length):
    """The conventions of the input's length."""
    square = (h**2).sum(1, keepdims=True)
    size = {"rms": np.sqrt(square / h.shape[1]), "norm": np.sqrt(square), "none": 1.0}[length]
    return h / (size + (0 if length == "none" else 1e-8))


def labelled(net, labels, on):
    """x with the code of a label, or the neutral one, in its first inputs."""
    k = len(net.w[-1])
    x = net.x.copy()
    x[:, :k] = on / k if labels is None else on * np.eye(k)[labels]
    return x


def activities(net, x, length):
    """(what enters, a, h) of each hidden layer."""
    found, h = [], x
    for w, b in zip(net.w[:-1], net.b[:-1], strict=True):
        pre = of_length(h, length)
        a = pre @ w.T + b
        h = SIGMA[net.activation][0](a)
        found.append((pre, a, h))
    return found


def goodness_and_signal(net, a, h, goodness):
    """g of each sample, and dg/da."""
    if goodness == "matched":
        return INTEGRAL[net.activation](a).sum(1), h
    scale = 1 / h.shape[1] if goodness == "mean" else 1
    return scale * (h**2).sum(1), scale * 2 * h * net.slope(a)


def logistic(z):
    return 1 / (1 + np.exp(-z))


def ff(net, wrong, goodness="sum", length="rms", on=1.0, theta=None, peer=0.0, slope="full", start=0.5):
    """G of the weights and of the biases: the layers' own and the head's."""
    weights, biases = [], []
    passes = [activities(net, labelled(net, labels, on), length) for labels in (net.y, wrong)]
    for layer, (positive, negative) in enumerate(zip(*passes, strict=True)):
        n = len(net.w[layer])
        known = {"sum": n, "channels": n, "mean": 2.0, "matched": n / 2}
        threshold = known[goodness] if theta is None else theta
        total = [0.0, 0.0]
        for (pre, a, h), sign in ((positive, -1), (negative, 1)):
            g, signal = goodness_and_signal(net, a, h, goodness)
            post = 0.5 * (sign * logistic(sign * (g - threshold)))[:, None] * signal
            total = [total[0] + mean_outer(post, pre), total[1] + post.mean(0)]
        if peer:
            pre, a, h = positive
            r = 0.9 * start + 0.1 * h.mean(0)
            post = np.broadcast_to(peer * 2 / n * (r - r.mean()) * 0.1, h.shape)
            post = post * net.slope(a) if slope == "own" else post
            total = [total[0] + mean_outer(post, pre), total[1] + post.mean(0)]
        weights.append(total[0])
        biases.append(total[1])
    last = of_length(activities(net, labelled(net, None, on), length)[-1][2], length)
    e = net.error(last @ net.w[-1].T + net.b[-1])
    return [*weights, mean_outer(e, last)], [*biases, e.mean(0)]


def drawn(net, seed):
    """The wrong labels that a step draws after this seed."""
    torch.manual_seed(seed)
    return wrong_labels(torch.from_numpy(net.y), len(net.w[-1])).numpy()


def gradients(net, seed, knobs):
    def step(*given):
        torch.manual_seed(seed)  # after the weights of the stack
        return ff_backward(*given, knobs=knobs)

    return net.gradients(step)
