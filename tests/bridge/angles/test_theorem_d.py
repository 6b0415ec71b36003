"""Theorem D: its ingredients against definitions, Theorems B and C, and the profiles of real networks."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch
from torch import nn

import dlinear
from dlinear.bridge import alignment
from dlinear.bridge.angles import theorem_d
from dlinear.bridge.data.losses import Supervised
from dlinear.bridge.models import TaskShape, model
from dlinear.errors import DomainError, ShapeError, UndefinedAngleError
from dlinear.theory import limits

WIDTH = 4


@pytest.fixture(scope="module")
def whitened():
    """A whitened task of width 4, and its batch as a loss."""
    task = dlinear.data.tasks.random_task(WIDTH, 3, samples=40)
    x, y = torch.from_numpy(task.x), torch.from_numpy(task.y + 0.1)
    return task, x, Supervised(nn.functional.mse_loss, y), y


def deep(depth, seed=0, **knobs):
    task = TaskShape((WIDTH,), WIDTH)
    return model("deep", task, seed, depth=depth, width=WIDTH, dtype=torch.float64, **knobs)


def state_of(stack, x):
    with torch.no_grad():
        for block in stack.blocks:
            x = block(x)
    return x


def test_increment_is_the_first_order_of_what_one_block_adds(whitened):
    """r(s) - J^T r(s + 1), by autograd through one block, as the block shrinks."""
    _, x, loss, _ = whitened
    branch = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH)).double()

    def gap(size):
        z = x.clone().requires_grad_()
        (plain,) = torch.autograd.grad(loss(z), z)
        (through,) = torch.autograd.grad(loss(z + size * branch(z)), z)
        return (plain - through) / size

    b = theorem_d.increment(branch, x, loss)
    errors = [float((gap(size) - b).norm() / b.norm()) for size in (1e-2, 1e-3, 1e-4)]
    assert errors[0] < 0.1
    assert np.allclose(np.array(errors[:-1]) / errors[1:], 10, rtol=0.05)  # what is left is of second order


def test_linear_smooth_layers_give_theorem_b(whitened):
    """The same C as the depth limit's formula at the finite network's X, R and N."""
    _, x, loss, y = whitened
    stack = deep(60, activation="identity", layers="smooth")
    phi = (y.T @ x / len(x)).numpy()
    net = dlinear.DenseNetwork(stack.deviations())
    final = np.eye(WIDTH)
    for layer in stack.deviations():
        final = final + layer @ final
    energy = float(np.sum(dlinear.horizon_gradients(net, phi, 60) ** 2)) / 60
    last = stack.network.path(1.0)
    expected = limits.constants_of(limits.DepthLimit(final, final - phi, energy, last)).cubic
    law = theorem_d.initial_law(stack, x, loss)
    assert law.quadratic == 0
    # The theorem's way back is X^T; block 0 sees all blocks but itself: the only difference.
    assert law.cubic == pytest.approx(expected, rel=0.1)
    with torch.no_grad():
        stack.blocks[0].weight.zero_()  # now there is none
    final = np.eye(WIDTH)
    for layer in stack.deviations():
        final = final + layer @ final
    net = dlinear.DenseNetwork(stack.deviations())
    energy = float(np.sum(dlinear.horizon_gradients(net, phi, 60) ** 2)) / 60
    expected = limits.constants_of(limits.DepthLimit(final, final - phi, energy, last)).cubic
    assert theorem_d.initial_law(stack, x, loss).cubic == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("scale", ["1/T", "1/sqrt(T)"])
def test_linear_rough_layers_give_theorem_c(whitened, scale):
    _, x, loss, y = whitened
    depth, sigma, draws = 40, 0.8, 1000
    stack = deep(depth, activation="identity", layers="rough", scale=scale, sigma=sigma)
    with torch.no_grad():
        stack.blocks[0].weight.zero_()
    phi = (y.T @ x / len(x)).numpy()
    net = dlinear.DenseNetwork(stack.deviations())
    final = np.eye(WIDTH)
    for layer in stack.deviations():
        final = final + layer @ final
    energy = float(np.sum(dlinear.horizon_gradients(net, phi, depth) ** 2)) / depth
    rho = sigma if scale == "1/sqrt(T)" else sigma / math.sqrt(depth)
    expected = limits.realised_constants(final, final - phi, energy, rho)
    law = theorem_d.initial_law(stack, x, loss, draws=draws)
    assert law.cubic == 0
    assert law.quadratic == pytest.approx(expected.quadratic, rel=4 * math.sqrt(2 / (WIDTH * draws)))


@pytest.mark.parametrize("activation", ["identity", "tanh", "relu", "gelu"])
def test_mean_activation(activation):
    from dlinear.bridge.models.deep import ACTIVATIONS

    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    tau = torch.tensor([0.2, 1.0, 2.5], dtype=torch.float64)
    values = ACTIVATIONS[activation](tau[:, None] * torch.from_numpy(nodes))
    expected = values @ torch.from_numpy(weights) / math.sqrt(2 * math.pi)
    # relu has a corner, where Gauss-Hermite is slow
    tolerance = 1e-2 if activation == "relu" else 1e-9
    assert torch.allclose(theorem_d.mean_activation(activation, tau), expected, rtol=tolerance, atol=1e-12)


def test_drift_is_the_mean_of_fresh_increments(whitened):
    """The closed form against 4,000 layers, in units of its standard error."""
    _, x, loss, _ = whitened
    z, relu, sigma = x[:3].contiguous(), torch.relu, 0.5
    small = Supervised(nn.functional.mse_loss, loss.target[:3])
    weights = sigma * torch.randn(4_000, WIDTH, WIDTH, dtype=torch.float64, generator=torch.manual_seed(0))

    def mean(state):
        return torch.stack([relu(state @ w.T) for w in weights]).mean(0)

    sampled = theorem_d.increment(mean, z, small)
    closed = theorem_d.increment(
        lambda s: theorem_d.mean_activation("relu", sigma * s.norm(dim=1, keepdim=True)).expand_as(s),
        z,
        small,
    )
    assert float((sampled - closed).norm() / closed.norm()) < 0.04


def test_response_energies_are_the_squares_of_gradients(whitened):
    _, x, _, _ = whitened
    stack = deep(6, activation="gelu", layers="rough", scale="1/sqrt(T)")
    signals = torch.randn(2, *x.shape, dtype=torch.float64, generator=torch.manual_seed(1))
    found, end = theorem_d.response_energies(stack.blocks, x, signals, first=3)
    assert torch.equal(end, state_of(stack, x))
    for signal, energy in zip(signals, found, strict=True):
        stack.zero_grad()
        z = x
        for block in stack.blocks:
            z = block(z)
        (z * signal).sum().backward()
        slow = sum(float(block.weight.grad.square().sum()) for block in stack.blocks[:3]) / 3
        assert energy == pytest.approx(slow, rel=1e-12)


def test_gradient_square_counts_the_blocks_alone(whitened):
    _, x, _, _ = whitened
    task = TaskShape((WIDTH,), 3)
    stack = model("deep", task, 0, depth=5, width=WIDTH, readout="shared", dtype=torch.float64)
    loss = Supervised(nn.functional.cross_entropy, torch.arange(len(x)) % 3)
    loss(stack(x)).backward()
    slow = sum(float(p.grad.square().sum()) for p in stack.blocks.parameters())
    found = theorem_d.gradient_square(stack.blocks, x, loss, stack.readout)
    assert found == pytest.approx(slow, rel=1e-12)


CASES = [(a, layers) for layers in ("smooth", "rough") for a in ("identity", "tanh", "relu", "gelu")]


@pytest.mark.slow
@pytest.mark.parametrize(("activation", "layers"), CASES)
def test_theorem_d_holds(whitened, activation, layers):
    """Measured over predicted, against Theorem D and against a false twin (another order)."""
    _, x, loss, _ = whitened
    depth, seeds = 60, 2 if layers == "smooth" else 12
    m = np.array([1, 2, 4])
    ratios, twins = [], []
    for seed in range(seeds):
        stack = deep(depth, seed, activation=activation, layers=layers)
        sin2 = alignment(stack.blocks, x, loss, depth - m, stack.readout).sin2
        law = theorem_d.initial_law(stack, x, loss, draws=32, first=4, seed=seed)
        ratios.append(sin2 / limits.decay_law(*law, m, depth))
        twins.append(sin2 / limits.decay_law(law.cubic, law.quadratic, m, depth))
    mean, error = np.mean(ratios, 0), np.std(ratios, 0) / math.sqrt(seeds)
    reach = 0.2 if layers == "smooth" else 4 * error + 0.1
    assert (abs(mean - 1) < reach).all(), mean
    assert max(abs(np.log(np.mean(twins, 0)))) > 1


def test_realised_law_of_one_block_is_that_of_smooth_layers(whitened):
    _, x, loss, _ = whitened
    stack = deep(200, activation="tanh", layers="smooth")
    law = theorem_d.realised_law(stack.blocks, x, loss, stack.readout, last=1)
    expected = theorem_d.initial_law(stack, x, loss)
    assert law.quadratic == 0
    assert law.cubic == pytest.approx(expected.cubic, rel=0.02)  # A(1 - 1/2T) for A(1)


def test_realised_law_finds_drift_and_variance(whitened):
    """Many i.i.d. layers behind the same state: q and C of the law that they were drawn from."""
    _, x, loss, _ = whitened
    depth = 600
    stack = deep(depth, activation="relu", layers="rough")
    found = theorem_d.realised_law(stack.blocks, x, loss, stack.readout, last=300, first=20)
    expected = theorem_d.initial_law(stack, x, loss, draws=300, first=20)
    assert found.quadratic == pytest.approx(expected.quadratic, rel=0.2)
    assert found.cubic == pytest.approx(expected.cubic, rel=0.2)


def test_realised_law_of_a_few_blocks_is_free_of_bias(whitened):
    """Q(b') from pairs of different increments, v from halved squares of their differences."""
    _, x, loss, _ = whitened
    depth, last = 12, 3
    stack = deep(depth, activation="relu", layers="rough")
    end = state_of(stack, x)
    b = [theorem_d.increment(lambda z, f=f: f(z) - z, end, loss) for f in stack.blocks[-last:]]
    pairs = [(i, j) for i in range(last) for j in range(last) if i < j]

    def energies(signals):
        return np.array(theorem_d.response_energies(stack.blocks, x, torch.stack(signals), 2)[0])

    differences = energies([b[i] - b[j] for i, j in pairs])
    products = (energies([b[i] + b[j] for i, j in pairs]) - differences) / 4
    gradient = theorem_d.gradient_square(stack.blocks, x, loss, stack.readout)
    expected = theorem_d.theorem_d(products.mean(), differences.mean() / 2, gradient, depth)
    found = theorem_d.realised_law(stack.blocks, x, loss, stack.readout, last=last, first=2)
    assert tuple(found) == pytest.approx(tuple(expected), rel=1e-10)


def test_theorem_d_is_the_decay_law():
    law = theorem_d.theorem_d(3.0, 5.0, 7.0, 11)
    m = np.arange(1, 5)
    expected = [(3.0 * sum(k * k for k in range(1, j + 1)) + 5.0 * sum(range(1, j + 1))) / 7.0 for j in m]
    assert np.allclose(limits.decay_law(*law, m, 11), expected)
    assert limits.crossover(*law, 11) == pytest.approx(3 * 5 / (2 * 3) - 0.5)


def test_refused(whitened):
    _, x, loss, _ = whitened
    stack = deep(3)
    with pytest.raises(UndefinedAngleError, match="g_T = 0"):
        theorem_d.theorem_d(1.0, 1.0, 0.0, 5)
    with pytest.raises(DomainError, match="must be >= 0"):
        theorem_d.theorem_d(1.0, math.nan, 1.0, 5)
    with pytest.raises(DomainError, match="activation must be"):
        theorem_d.mean_activation("sine", torch.ones(1))
    with pytest.raises(DomainError, match="untrained 'deep'"):
        theorem_d.initial_law(deep(3, layers="mixed"), x, loss)
    with pytest.raises(DomainError, match="draws"):
        theorem_d.initial_law(stack, x, loss, draws=0)
    with pytest.raises(DomainError, match=r"last must be in 1\.\.3"):
        theorem_d.realised_law(stack.blocks, x, loss, last=4)
    with pytest.raises(ShapeError, match="do not fit"):
        theorem_d.response_energies(stack.blocks, x, torch.zeros(2, 3))
    with pytest.raises(ShapeError, match="nothing to train"):
        theorem_d.response_energies([nn.Identity()], x, x[None])


@pytest.mark.parametrize(
    "wrapped", [lambda b: lambda z: b(z), lambda b: functools.partial(b), lambda b: b.forward]
)
def test_blocks_may_be_functions(whitened, wrapped):
    """Parameters behind a function count as those of a module; a function without any has none."""
    _, x, loss, _ = whitened
    modules = list(deep(4).blocks)
    blocks = [wrapped(modules[0]), *modules[1:3], wrapped(modules[3])]
    assert theorem_d.gradient_square(blocks, x, loss) == theorem_d.gradient_square(modules, x, loss) > 0
    signals = torch.ones((2, *x.shape), dtype=x.dtype)
    for first in (1, 2):
        found, end = theorem_d.response_energies(blocks, x, signals, first)
        wanted, same = theorem_d.response_energies(modules, x, signals, first)
        assert found == pytest.approx(wanted, rel=1e-12)
        assert found[0] > 0
        assert torch.equal(end, same)
    with_plain = [torch.clone, *modules]
    assert theorem_d.gradient_square(with_plain, x, loss) == pytest.approx(
        theorem_d.gradient_square(modules, x, loss), rel=1e-12
    )
    with pytest.raises(ShapeError, match="the first 1 blocks hold nothing to train"):
        theorem_d.response_energies(with_plain, x, signals)
