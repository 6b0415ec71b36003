"""Angles by forward mode against the exact ones: inner products, intervals, cost, memory, what is refused."""

from __future__ import annotations

import copy
import random
from functools import partial

import numpy as np
import pytest
import torch
from stacks import KINDS, Pair, Residual, Two, batch, grads, squares, stack_of
from torch import nn

from dlinear.bridge import (
    TaskShape,
    alignment,
    alignment_forward,
    horizon_gradients,
    model,
    step_calls,
    step_memory,
)
from dlinear.bridge.methods.horizon import horizon_backward
from dlinear.errors import DomainError, HorizonError, NonFiniteError, ShapeError, UndefinedAngleError
from dlinear.theory import costs

RULES = ({}, {"anchored": True}, {"stride": 2}, {"anchored": True, "stride": 3})
STACKS = 50


def random_stack(seed):
    rng = random.Random(seed)
    kinds = ["residual", *(rng.choice(sorted(KINDS)) for _ in range(rng.randrange(2, 6)))]
    return stack_of(kinds, seed), batch(seed), squares(batch(seed + 1)), RULES[seed % len(RULES)]


def exact_products(blocks, x, loss_fn, horizons, **rule):
    """<g_T, g_h> from two back-propagations, and |g_T| |g_h|."""
    _, true = horizon_gradients(blocks, x.clone(), loss_fn, len(blocks))
    found = []
    for h in horizons:
        _, own = horizon_gradients(blocks, x.clone(), loss_fn, h, **rule)
        sizes = [sum(float(g.square().sum()) for g in some.values()) ** 0.5 for some in (true, own)]
        found.append((sum(float((g * true[p]).sum()) for p, g in own.items() if p in true), *sizes))
    return np.array(found)


@pytest.mark.slow
def test_inner_products_on_random_stacks_are_those_of_back_propagation():
    """And the exact angle is that of `alignment`: 50 stacks, short and long horizons, four rules."""
    worst, angles = 0.0, 0.0
    for seed in range(STACKS):
        blocks, x, loss_fn, rule = random_stack(seed)
        horizons = sorted({1, len(blocks) // 2, len(blocks) - 1})
        want = exact_products(copy.deepcopy(blocks), x, loss_fn, horizons, **rule)
        known = alignment(blocks, x.clone(), loss_fn, horizons, undefined="nan", **rule)
        got = alignment_forward(
            blocks, x.clone(), loss_fn, horizons, exact_norm=True, undefined="nan", **rule
        )
        there = ~np.isnan(got.inner) & ~np.isnan(known.cos)
        worst = max(
            worst, np.max(np.abs(got.inner - want[:, 0]) / np.abs(want[:, 0]), where=there, initial=0)
        )
        angles = max(angles, np.max(np.abs(got.cos - known.cos), where=there, initial=0))
        np.testing.assert_allclose(got.sin2[there], known.sin2[there], rtol=1e-8, atol=1e-20)
        assert there.any()
    assert worst < 1e-8
    assert angles < 1e-12


def test_exact_ratios_and_signs_need_no_norm():
    blocks, x, loss_fn, _ = random_stack(4)
    depth = len(blocks)
    known = alignment(blocks, x, loss_fn, range(1, depth))
    got = alignment_forward(blocks, x, loss_fn, range(1, depth))
    assert np.isnan(got.cos).all()
    assert np.isnan(got.sin2).all()
    np.testing.assert_allclose(got.along / got.along[0], known.cos / known.cos[0], rtol=1e-10)
    np.testing.assert_allclose(got.scale, known.cos / known.norm_ratio, rtol=1e-10)


class Noisy(nn.Module):
    """Dropout, batch norm and a count that the output depends on."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm, self.drop = nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.4)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, z):
        self.count += 1
        return z + self.drop(torch.tanh(self.norm(self.linear(z)))) * (1 + 0.1 * self.count)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_masks_statistics_and_counts_are_those_of_one_pass(rule):
    """Readout and loss draw as well; nothing is left changed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        blocks = nn.ModuleList(Noisy() for _ in range(5)).double()
        head = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.3)).double()
    x, loss_fn = batch(0), squares(batch(1, 2))

    def readout(z, s):
        return head(z)

    before, state = copy.deepcopy(blocks.state_dict()), torch.get_rng_state()
    got = alignment_forward(blocks, x, loss_fn, [1, 2, 5], readout, exact_norm=True, **rule)
    again = alignment_forward(blocks, x, loss_fn, [1, 2, 5], readout, probes=3, **rule)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in blocks.state_dict().items())
    assert not grads(blocks)
    np.testing.assert_allclose(again.inner, got.inner, rtol=1e-12)
    assert got.inner[2] == pytest.approx(got.square[2], rel=1e-12)  # h = T: <g_T, g_T>
    assert got.sin2[2] < 1e-24
    np.testing.assert_allclose(got.true_norm, got.true_norm[2], rtol=1e-12)
    if rule.get("anchored"):
        known = alignment(blocks, x, loss_fn, [1, 2], readout, **rule)
        np.testing.assert_allclose(got.cos[:2], known.cos, rtol=1e-10)


def test_states_of_several_tensors_heads_and_ties():
    """A block's weight that the readout uses, too, counts for the blocks alone, as in `alignment`."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        blocks = nn.ModuleList(Pair(tuple) for _ in range(5)).double()
    x, y = (batch(0), batch(1), batch(2) > 0), batch(3)

    def readout(state, s):
        return state[0] @ blocks[1].linear.weight * s + state[1]

    known = alignment(blocks, x, squares(y), [1, 3], readout)
    got = alignment_forward(blocks, x, squares(y), [1, 3], readout, exact_norm=True)
    np.testing.assert_allclose(got.cos, known.cos, rtol=1e-12)
    np.testing.assert_allclose(got.sin2, known.sin2, rtol=1e-9)


def test_tensors_of_functions_and_regions_without_gradients():
    """What forward mode alone would get wrong: closures, `no_grad`, `detach`, writes into the state."""
    weight = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weight.requires_grad_()

    def first(z):
        with torch.no_grad():
            scale = (z @ weight).norm()
        return z + torch.tanh(z @ weight) / scale

    def second(z):
        with torch.no_grad():
            z = z.mul_(1.5)
        return z + (weight.detach() @ z.T).T / 9 + torch.sin(z * weight[0])

    blocks, x, loss_fn = (
        [Residual().double(), first, second, Residual().double()],
        batch(0),
        squares(batch(1)),
    )
    with torch.random.fork_rng():
        torch.manual_seed(2)
    known = alignment(blocks, x.clone(), loss_fn, [1, 2, 3])
    got = alignment_forward(blocks, x.clone(), loss_fn, [1, 2, 3], exact_norm=True)
    np.testing.assert_allclose(got.cos, known.cos, rtol=1e-12)
    np.testing.assert_allclose(got.scale, known.cos / known.norm_ratio, rtol=1e-12)


def test_autocast_and_float32_keep_their_digits():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        blocks = nn.ModuleList(Residual() for _ in range(6))
    x, loss_fn = batch(0).float(), squares(batch(1).float())
    known = alignment(blocks, x, loss_fn, [2, 4])
    got = alignment_forward(blocks, x, loss_fn, [2, 4], exact_norm=True)
    np.testing.assert_allclose(got.cos, known.cos, rtol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        coarse = alignment_forward(blocks, x, loss_fn, [2, 4], exact_norm=True)
    np.testing.assert_allclose(coarse.cos, known.cos, atol=0.03)
    assert not np.allclose(coarse.inner, got.inner, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "inputs", "knobs"),
    [
        ("resnet62", (3, 8, 8), {"depth_per_stage": 1, "base_channels": 4}),
        ("conv", (3, 8, 8), {"depth": 3, "width": 4, "patch": 2}),
        ("gru", (1, 2, 4), {"depth": 4, "width": 5}),
        ("small_vit", (1, 4, 4), {"depth": 3, "width": 8, "heads": 2}),
    ],
)
def test_models_of_the_registry_meet_the_exact_angle(name, inputs, knobs):
    stack = model(name, TaskShape(inputs, 5), **knobs).double().train()
    x = torch.randn(6, *inputs, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    words = stack.blocks, x, lambda z: z.square().mean(), [1, 2], stack.readout
    got = alignment_forward(*words, exact_norm=True)
    np.testing.assert_allclose(got.cos, alignment(*words).cos, rtol=1e-10)


@pytest.mark.slow
def test_attention_without_a_rule_is_named_and_eager_attention_has_one():
    pytest.importorskip("transformers")
    pytest.importorskip("peft")
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8}
    config = sizes | {"image_size": 8, "patch_size": 4}
    x = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for attention in ("sdpa", "eager"):
        stack = model("vit", TaskShape((3, 8, 8), 5), config=config, attention=attention)
        words = stack.blocks, x, lambda z: z.square().mean(), [1, 2], stack.readout
        if attention == "sdpa":
            with pytest.raises(DomainError, match=r"block 1 has no forward-mode rule .*eager attention"):
                alignment_forward(*words)
        else:
            got = alignment_forward(*words, exact_norm=True)
            np.testing.assert_allclose(got.cos, alignment(*words).cos, rtol=1e-4)


# --- random directions ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("probes", [1, 3])
def test_the_interval_covers_as_often_as_it_says(probes):
    """80 % intervals over draws of directions, to the error of the count."""
    blocks, x, loss_fn = stack_of(("residual", "linear"), 8), batch(0), squares(batch(1))
    true = alignment(blocks, x, loss_fn, [1]).cos[0]
    inside = wide = 0
    draws = 150
    for seed in range(draws):
        got = alignment_forward(blocks, x, loss_fn, [1], probes=probes, seed=seed, level=0.8)
        low, high = got.cos_interval
        inside += int(low[0] <= true <= high[0])
        below, above = got.sin2_interval
        wide += int(below[0] <= 1 - true**2 <= above[0])
        assert low[0] <= got.cos[0] <= high[0]
    assert wide == inside
    assert abs(inside / draws - 0.8) < 3.3 * (0.16 / draws) ** 0.5


def test_directions_come_from_the_seed_and_their_number_narrows_the_interval():
    blocks, x, loss_fn, _ = random_stack(8)
    take = partial(alignment_forward, blocks, x, loss_fn, [1, 2])
    assert repr(take(probes=3)) == repr(take(probes=3))
    assert take(probes=3).cos[0] != take(probes=3, seed=1).cos[0]
    widths = [np.subtract(*take(probes=k).sin2_interval[::-1])[0] for k in (2, 8, 64)]
    assert widths[0] > widths[1] > widths[2]


# --- what it costs ----------------------------------------------------------------------------------------


def deep(depth, width=4):
    with torch.random.fork_rng():
        torch.manual_seed(depth)
        return nn.ModuleList(nn.Sequential(nn.Linear(width, width), nn.Tanh()) for _ in range(depth))


def test_calls_are_those_of_a_horizon_and_a_run_in_forward_mode():
    depth, horizons, probes = 8, (1, 3), 5
    run = partial(alignment_forward, horizons=horizons, probes=probes)

    def step(blocks, x, loss_fn, readout):
        run(blocks, x, loss_fn, readout=readout)

    calls = step_calls(step, deep(depth), torch.rand(6, 4), lambda z: z.square().sum())
    runs = len(horizons) + probes
    assert sum(calls.jvps) == runs * depth
    assert sum(calls.forwards) == (len(horizons) + runs) * depth
    assert sum(calls.vjps) == sum(costs.block_vjps(depth, h) for h in horizons)


def test_memory_is_that_of_the_window_at_any_depth():
    """Beside parameter-sized vectors: with a large batch those do not show, and T does not enter."""
    x = torch.rand(4000, 4)
    state = 4 * x.numel()

    def loss_fn(z):
        return z.square().sum()

    def step(blocks, x, loss_fn, readout):
        alignment_forward(blocks, x, loss_fn, [2], probes=2)

    shallow, long = (step_memory(step, deep(t), x, loss_fn).activations / state for t in (8, 32))
    own = step_memory(partial(horizon_backward, horizon=2), deep(32), x, loss_fn).activations / state
    all_of_it = step_memory(partial(horizon_backward, horizon=32), deep(32), x, loss_fn).activations / state
    assert long < shallow + 0.5
    assert long < own + 3  # x(0) again, the state and its tangent
    assert long < all_of_it / 3


# --- what it refuses --------------------------------------------------------------------------------------


class NoRule(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z):
        return 2 * z

    @staticmethod
    def backward(ctx, signal):
        return 2 * signal


class Derived(nn.Module):
    """It computes with a tensor that was made from its weight before."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(3, dtype=torch.float64))
        self.double_weight = self.weight * 2

    def forward(self, z):
        return z @ self.double_weight


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (NoRule.apply, "block 2 has no forward-mode rule .*jvp.*dlinear.bridge.alignment"),
        (lambda z: z + torch.cdist(z, z)[:, :3], "block 2 has no forward-mode rule .*_cdist_forward"),
        (Derived(), "block 2 uses a tensor that was computed from a trainable one"),
        (lambda z: z + torch.rand(3, generator=COUNTER), "block 2 does not repeat itself"),
    ],
    ids=["function", "operation", "derived", "random"],
)
def test_a_block_that_cannot_be_run_in_forward_mode_is_named(block, said):
    blocks = [Residual().double(), Two().double(), block, Residual().double()]
    with pytest.raises(DomainError, match=said) as caught:
        alignment_forward(blocks, batch(0), squares(batch(1)), [1])
    assert "\n" not in str(caught.value)


COUNTER = torch.Generator().manual_seed(0)


def test_a_loss_without_a_rule_is_named():
    with pytest.raises(DomainError, match="the loss has no forward-mode rule"):
        alignment_forward([Residual().double()] * 2, batch(0), lambda z: NoRule.apply(z).sum(), [1])


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"horizons": [0]}, HorizonError, "1..4"),
        ({"probes": -1}, DomainError, "probes"),
        ({"level": 1}, DomainError, "level = 1; allowed"),
        ({"seed": 0.5}, DomainError, "seed"),
        ({"undefined": "skip"}, DomainError, "undefined is 'skip'"),
        ({"x": batch(0) * float("nan")}, NonFiniteError, "NaN"),
        ({"loss_fn": lambda z: (0 * z).sum()}, UndefinedAngleError, "horizon 1: g_h = 0"),
        ({"blocks": []}, ShapeError, "empty"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_errors(change, error, said):
    words = {
        "blocks": stack_of(("residual",) * 4, 0),
        "x": batch(0),
        "loss_fn": squares(batch(1)),
        "horizons": [1, 2],
    }
    with pytest.raises(error, match=said):
        alignment_forward(**{**words, **change})


def test_it_prints_within_a_screen():
    blocks, x, loss_fn, _ = random_stack(8)
    text = repr(alignment_forward(blocks, x, loss_fn, [1, 2] * 20, probes=2))
    assert len(text.splitlines()) == 22
    assert max(map(len, text.splitlines())) <= 110
    assert "2 probes, 95% intervals" in text
    assert "cos" not in repr(alignment_forward(blocks, x, loss_fn, [1]))
