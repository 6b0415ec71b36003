"""Appendix A of arXiv 2409.19561: a residual MLP of five layers, h = 1, 3, 5; gradients by hand in numpy.

f_t(x) = x + relu(W_t x + b_t), t = 0..4, L = MSE, J^h the sum of the trajectory losses as the appendix prints
them. Misprints met on the way, none of which changes a gradient:

- eq. (6) lets the sum run to t + h - 1; the example cuts it at T - 1, as it must;
- u_t^h under eq. (9) ends with u(min(t + h - 1, T)); there is no u(T), it is u(min(t + h - 1, T - 1));
- f(., u) is composed in its first argument, but g(.) o f(x, .)(y) = g(f(x, y)) explains one in the second;
- l is called the loss decrement and printed as the increment L(x(t + 1)) - L(x(t)).
"""

import numpy as np
import pytest
import torch
from torch import nn

from dlinear.bridge import horizon_gradients

T, WIDTH, SAMPLES = 5, 4, 6
STEP = 1e-6  # of the central differences


class Layer(nn.Module):
    """x + relu(W x + b)."""

    def __init__(self, weight, bias):
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(weight))
        self.bias = nn.Parameter(torch.from_numpy(bias))

    def forward(self, x):
        return x + torch.relu(x @ self.weight.T + self.bias)


@pytest.fixture
def example():
    """W (5, n, n), b (5, n), x(0) and y (N, n)."""
    rng = np.random.default_rng(2409)
    layers = [(0.2 * rng.normal(size=(WIDTH, WIDTH)), 0.1 * rng.normal(size=WIDTH)) for _ in range(T)]
    return layers, rng.normal(size=(SAMPLES, WIDTH)), rng.normal(size=(SAMPLES, WIDTH))


def states(layers, x):
    """x(0), ..., x(5)."""
    out = [x]
    for weight, bias in layers:
        out.append(out[-1] + np.maximum(out[-1] @ weight.T + bias, 0.0))
    return out


def mse(x, y):
    return np.mean((x - y) ** 2)


def gradient_by_hand(layers, xs, y, t, s):
    """grad_{u(t)} L(x(s)), s > t, by the chain rule through layers s - 1, ..., t: (weight, bias)."""
    signal = 2.0 * (xs[s] - y) / y.size
    for k in range(s - 1, t - 1, -1):
        weight, bias = layers[k]
        through = signal * (xs[k] @ weight.T + bias > 0)
        found = through.T @ xs[k], through.sum(axis=0)
        signal = signal + through @ weight
    return found


# The right-hand sides of the appendix: g_h(u(t)) = grad_{u(t)} L(x(PRINTED[h][t])).
PRINTED = {1: (1, 2, 3, 4, 5), 3: (3, 4, 5, 5, 5), 5: (5, 5, 5, 5, 5)}


@pytest.mark.parametrize("h", PRINTED)
def test_every_gradient_of_the_example(example, h):
    layers, x, y = example
    xs = states(layers, x)
    blocks = nn.ModuleList(Layer(*layer) for layer in layers)
    target = torch.from_numpy(y)
    loss, found = horizon_gradients(
        blocks, torch.from_numpy(x), lambda z: nn.functional.mse_loss(z, target), h
    )
    assert float(loss) == pytest.approx(mse(xs[T], y), rel=1e-14)
    for t, block in enumerate(blocks):
        weight, bias = gradient_by_hand(layers, xs, y, t, PRINTED[h][t])
        np.testing.assert_allclose(found[block.weight].numpy(), weight, rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(found[block.bias].numpy(), bias, rtol=1e-12, atol=1e-15)


def trajectory_sum(layers, x, y, t, h):
    """J^h(t, x(t), u_t^h): the layers before t have given x(t), the sum ends at T - 1."""
    start, total = states(layers, x)[t], 0.0
    for s in range(t, min(t + h, T)):
        (after,) = states(layers[s : s + 1], start)[1:]
        total += mse(after, y) - mse(start, y)
        start = after
    return total


@pytest.mark.parametrize("h", PRINTED)
@pytest.mark.parametrize("t", range(T))
def test_the_trajectory_losses_add_up_and_have_that_gradient(example, h, t):
    """J^h = L(x(s)) - L(x(t)), and central differences of the printed sum itself, in every weight of u(t)."""
    layers, x, y = example
    xs, s = states(layers, x), PRINTED[h][t]
    assert trajectory_sum(layers, x, y, t, h) == pytest.approx(mse(xs[s], y) - mse(xs[t], y), rel=1e-12)
    wanted = gradient_by_hand(layers, xs, y, t, s)
    for part, gradient in enumerate(wanted):
        for index in np.ndindex(gradient.shape):
            ends = []
            for sign in (1, -1):
                moved = [tuple(np.copy(array) for array in layer) for layer in layers]
                moved[t][part][index] += sign * STEP
                ends.append(trajectory_sum(moved, x, y, t, h))
            assert (ends[0] - ends[1]) / (2 * STEP) == pytest.approx(gradient[index], abs=1e-8)


def test_the_horizons_of_the_example_differ(example):
    """That the test above can fail: at h = 1 and 3 the early layers have another gradient than at h = 5."""
    layers, x, y = example
    xs = states(layers, x)
    for h, differing in ((1, 4), (3, 2)):
        pairs = [
            (gradient_by_hand(layers, xs, y, t, s)[0], gradient_by_hand(layers, xs, y, t, T)[0])
            for t, s in enumerate(PRINTED[h])
        ]
        assert sum(not np.allclose(own, true, rtol=1e-3) for own, true in pairs) == differing
