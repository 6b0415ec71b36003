"""highway-K against the sum over subsets of blocks, its bound, and back-propagation at K = T - 1."""

from __future__ import annotations

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stacks import KINDS, WIDTH, Residual, batch, grads, squares, stack_of, worst
from torch import nn

from dlinear.bridge import Supervised, load, method, model, step_calls
from dlinear.bridge.methods.highway import highway_backward
from dlinear.errors import DomainError

STACKS = {"count": 0, "worst": 0.0}


def jacobian(block, x):
    """(n, n): of one sample."""
    return torch.autograd.functional.jacobian(lambda z: block(z[None])[0], x)


def by_subsets(blocks, x, loss_fn, passed):
    """Block t receives the sum over subsets of at most K later blocks of the products of their D^T, on r."""
    states = [x]
    for block in blocks:
        states.append(block(states[-1]).detach())
    end = states[-1].clone().requires_grad_()
    (r,) = torch.autograd.grad(loss_fn(end), end)
    eye = torch.eye(x.shape[1], dtype=x.dtype)
    found = {}
    for t, block in enumerate(blocks):
        signal = torch.zeros_like(r)
        for i in range(len(x)):
            ds = [jacobian(blocks[j], states[j][i]) - eye for j in range(t + 1, len(blocks))]
            for size in range(min(passed, len(ds)) + 1):
                for some in itertools.combinations(ds, size):
                    v = r[i]
                    for d in reversed(some):
                        v = d.T @ v
                    signal[i] += v
        own = {f"{t}.{n}": p for n, p in block.named_parameters()}
        values = torch.autograd.grad((block(states[t]) * signal).sum(), list(own.values()))
        found |= dict(zip(own, values, strict=True))
    return found


@pytest.mark.parametrize("passed", [0, 1, 2, 4, 9])
def test_the_sum_over_paths(passed):
    blocks = nn.ModuleList(Residual() for _ in range(5)).double()
    x, loss_fn = batch(0), squares(batch(1))
    wanted = by_subsets(blocks, x, loss_fn, passed)
    highway_backward(blocks, x, loss_fn, passed=passed)
    assert worst(grads(blocks), wanted) < 1e-12


@pytest.mark.slow
@settings(max_examples=60)
@given(
    kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=8),
    seed=st.integers(0, 2**31),
    more=st.integers(0, 3),
)
def test_all_paths_are_back_propagation(kinds, seed, more):
    blocks = stack_of(kinds, seed)
    if not any(p.requires_grad for p in blocks.parameters()):
        return
    ours, theirs = copy.deepcopy(blocks), copy.deepcopy(blocks)
    highway_backward(ours, batch(seed), squares(batch(1)), passed=max(0, len(kinds) - 1) + more)
    method("backprop")(theirs, batch(seed), squares(batch(1)))
    deviation = worst(grads(ours), grads(theirs))
    STACKS["count"] += 1
    STACKS["worst"] = max(STACKS["worst"], deviation)
    assert deviation < 1e-12


def test_report_of_the_random_stacks():
    """Printed with -s: how many stacks the property test saw, and the worst deviation."""
    print(f"\n{STACKS['count']} random stacks, worst relative deviation {STACKS['worst']:.1e}")
    assert STACKS["worst"] < 1e-12


class Linear(nn.Module):
    def __init__(self, deviation):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(len(deviation), dtype=torch.float64) + deviation)

    def forward(self, z):
        return z @ self.weight.T


@pytest.mark.parametrize("passed", [0, 1, 2])
def test_the_bound(passed):
    """sin^2 <= e^{2c} c^{2K+2}/((2K+3) ((K+1)!)^2 (1 - c/T)^{2T-2}), ||D|| <= c/T; and it is not far off."""
    ratios = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        depth, width, c = 12, 4, 0.3
        d = rng.normal(size=(depth, width, width))
        if seed % 2:
            d[:] = rng.normal() * np.eye(width)
        d *= c / depth / np.linalg.norm(d, 2, axis=(1, 2))[:, None, None]
        blocks = nn.ModuleList(Linear(torch.from_numpy(one)) for one in d)
        x, phi = torch.eye(width, dtype=torch.float64), torch.from_numpy(rng.normal(size=(width, width)))
        flat = []
        for run in (lambda *a: highway_backward(*a, passed=passed), method("backprop")):
            blocks.zero_grad()
            run(blocks, x, lambda z, phi=phi: ((z.T - phi) ** 2).sum() / 2)
            flat.append(torch.cat([p.grad.flatten() for p in blocks.parameters()]))
        g, true = flat
        delta = g - true
        sin2 = float((delta @ delta - (delta @ true) ** 2 / (true @ true)) / (g @ g))
        bound = math.exp(2 * c) * c ** (2 * passed + 2) / ((2 * passed + 3) * math.factorial(passed + 1) ** 2)
        ratios.append(sin2 / (bound / (1 - c / depth) ** (2 * depth - 2)))
    assert max(ratios) <= 1
    assert max(ratios) > 0.01


def test_counts():
    for depth, passed in ((1, 1), (6, 1), (6, 2), (6, 5), (6, 40)):
        blocks = nn.ModuleList(Residual() for _ in range(depth)).double()
        counted = step_calls(method(f"highway-{passed}"), blocks, batch(0), squares(batch(1)))
        cost = method(f"highway-{passed}").cost(depth)
        assert (sum(counted.forwards), sum(counted.vjps)) == (cost.forwards, cost.vjps)
        assert counted.vjps == tuple(min(passed, depth - 1 - t) + 1 if t else 1 for t in range(depth))
    assert method("highway-1").predicted(10**6).time == pytest.approx(1, rel=1e-5)


def test_blocks_that_change_the_shape_or_have_no_skip_are_passed_exactly():
    """Then all of them together leave nothing out: K = 1 with one residual block after each is exact."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        no_skip = nn.Linear(WIDTH, WIDTH)
        no_skip.skip = False
        body = nn.ModuleList([Residual(), nn.Linear(3, 5), nn.Linear(5, WIDTH), no_skip, Residual()]).double()
    other = copy.deepcopy(body)
    x, y = batch(0).requires_grad_(), batch(0).requires_grad_()
    highway_backward(body, x, squares(batch(1)), passed=2)
    method("backprop")(other, y, squares(batch(1)))
    assert worst(grads(body), grads(other)) < 1e-13
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-12, atol=0)
    body.zero_grad()
    highway_backward(body, batch(0), squares(batch(1)), passed=0)
    assert worst(grads(body), grads(other)) > 1e-3


@pytest.mark.parametrize(("name", "passed"), [("gru", 5), ("graph", 5), ("gru", 0)])
def test_a_first_block_that_makes_a_state_of_two_tensors(name, passed):
    """x is one tensor, x(1) is two; with K = T - 1 the gradient is that of back-propagation."""
    split = load("digits" if name == "gru" else "communities", samples=20, dtype=torch.float64)
    depth = 4 if name == "gru" else 6
    stack = model(name, split.task, 0, depth=depth, width=5, dtype=torch.float64)
    loss = Supervised(nn.functional.cross_entropy, split.y_train)
    method("backprop")(stack.blocks, split.x_train, loss, stack.readout)
    wanted = {n: p.grad.clone() for n, p in stack.blocks.named_parameters()}
    stack.zero_grad(set_to_none=True)
    highway_backward(stack.blocks, split.x_train, loss, stack.readout, passed=passed)
    found = worst(grads(stack.blocks), wanted)
    assert found < 1e-12 if passed else found > 1e-3


def test_bad_numbers():
    for value in (-1, 1.5, True, "1"):
        with pytest.raises(DomainError, match=r"passed is .*; expected an integer >= 0"):
            highway_backward([Residual().double()], batch(0), squares(batch(1)), passed=value)
