"""projected-h against the projection of the true gradient, never uphill, and what it costs."""

from __future__ import annotations

import copy
import random
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stacks import KINDS, Residual, batch, grads, slow, squares, stack_of, worst
from torch import nn

from dlinear.bridge import horizon_backward, method, step_calls, step_memory
from dlinear.bridge.methods.projected import projected_backward
from dlinear.errors import DomainError, HorizonError
from dlinear.theory.decay_law import DecayConstants


def inner(a, b):
    return sum(float((g * b[p]).sum()) for p, g in a.items() if p in b)


def found_by(run, blocks, x, loss_fn, readout=None, **knobs):
    trained = [*blocks.parameters(), *(readout.parameters() if isinstance(readout, nn.Module) else ())]
    for p in trained:
        p.grad = None
    loss = run(blocks, x.clone(), loss_fn, readout=readout, **knobs)
    return loss, {p: p.grad for p in trained if p.grad is not None}


@settings(max_examples=25)
@given(
    kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=2, max_size=5),
    h=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_it_is_the_projection_of_the_true_gradient_on_the_line_of_g_h(kinds, h, seed):
    blocks, x, loss_fn = stack_of(["residual", *kinds], seed), batch(seed), squares(batch(seed + 1))
    h = min(h, len(blocks) - 1)
    true, own = (slow(blocks, x, loss_fn, some) for some in (len(blocks), h))
    scale = inner(true, own) / inner(own, own)
    _, found = found_by(projected_backward, blocks, x, loss_fn, horizon=h)
    assert worst(found, {p: scale * g for p, g in own.items()}) < 1e-8


class Head(nn.Module):
    """A readout that turns round on the way: what lowers an inner loss may raise the last one."""

    def __init__(self, width=3):
        super().__init__()
        self.linear = nn.Linear(width, 2)

    def forward(self, z, s):
        return self.linear(z) * (1 if s == 6 else -4)


@pytest.mark.parametrize("h", [1, 2, 4])
def test_a_step_is_never_uphill_where_the_horizon_is(h):
    """On some of the stacks g_h itself points uphill."""
    uphill = 0
    for seed in range(15):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            blocks = nn.ModuleList(nn.Sequential(nn.Linear(3, 3), nn.Tanh()) for _ in range(6)).double()
            head = Head().double()
        x, loss_fn = batch(seed), squares(batch(seed + 1, 2))
        _, true = found_by(method("backprop"), blocks, x, loss_fn, head)
        _, plain = found_by(method(f"horizon-{h}"), blocks, x, loss_fn, head)
        loss, found = found_by(method(f"projected-{h}"), blocks, x, loss_fn, head)
        inside = set(blocks.parameters())
        for p in head.parameters():  # exact: the head learns from the loss at x(T) alone
            torch.testing.assert_close(found[p], true[p], rtol=1e-12, atol=1e-14)
        own = {p: g for p, g in found.items() if p in inside}
        assert inner(own, true) > 0
        assert inner(own, true) == pytest.approx(inner(own, own), rel=1e-9)  # an orthogonal projection
        uphill += inner({p: g for p, g in plain.items() if p in inside}, true) < 0
        with torch.no_grad():  # and a small step does lower the loss
            for p, g in found.items():
                p -= 1e-6 * g / max(1e-3, float(g.norm()))
        assert float(found_by(method("backprop"), blocks, x, loss_fn, head)[0]) < float(loss)
    assert uphill > 0 or h == 4  # at h = 4 of 6 most blocks see the last loss


def test_a_weight_that_blocks_share_with_the_readout_is_never_uphill():
    blocks, x, loss_fn = stack_of(("residual",) * 4, 0), batch(0), squares(batch(1))

    def readout(z, s):
        return z @ blocks[1].linear.weight.T + z

    _, true = found_by(method("backprop"), blocks, x, loss_fn, readout)
    _, found = found_by(method("projected-1"), blocks, x, loss_fn, readout)
    assert inner(found, true) == pytest.approx(inner(found, found), rel=1e-9)


def test_masks_statistics_loss_and_random_numbers_are_those_of_one_pass():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = [nn.Sequential(Residual(), nn.BatchNorm1d(3), nn.Dropout(0.4)) for _ in range(5)]
    blocks, x, loss_fn = nn.ModuleList(body).double(), batch(0), squares(batch(1))
    after = {}
    for name in ("backprop", "projected-2"):
        ours = copy.deepcopy(blocks)
        torch.manual_seed(1)
        loss, found = found_by(method(name), ours, x, loss_fn)
        after[name] = (float(loss), torch.get_rng_state(), dict(ours.named_buffers()), list(found.values()))
    one, two = after.values()
    assert one[0] == pytest.approx(two[0], rel=1e-14)
    assert torch.equal(one[1], two[1])
    assert all(torch.equal(one[2][name], two[2][name]) for name in one[2])
    products = [
        sum(float((a * b).sum()) for a, b in zip(some, two[3], strict=True)) for some in (one[3], two[3])
    ]
    assert products[0] == pytest.approx(products[1], rel=1e-9)  # of the gradient at these masks


def at_input(run, at, blocks, _, loss_fn, readout):
    return run(blocks, at, loss_fn, readout)


def test_an_input_that_is_trained_belongs_to_the_line():
    blocks, x, loss_fn = stack_of(("residual", "two", "residual"), 3), batch(0), squares(batch(1))
    gradients = {}
    for name in ("backprop", "projected-1"):
        at = x.clone().requires_grad_()
        _, found = found_by(partial(at_input, method(name), at), blocks, x, loss_fn)
        gradients[name] = [*found.values(), at.grad]
    true, own = gradients.values()
    products = [sum(float((a * b).sum()) for a, b in zip(some, own, strict=True)) for some in (true, own)]
    assert products[0] == pytest.approx(products[1], rel=1e-9)


@pytest.mark.parametrize("name", ["projected-1", "projected-3", "projected-6"])
def test_counts_and_predictions(name):
    depth, one = 6, method(name)
    blocks, x, loss_fn = stack_of(("residual",) * depth, 0), batch(0), squares(batch(1))
    calls = step_calls(one, blocks, x, loss_fn)
    cost = one.cost(depth)
    counted = (sum(calls.forwards), sum(calls.vjps), sum(calls.jvps))
    assert counted == (cost.forwards, cost.vjps, cost.jvps)
    assert one.predicted(depth) == pytest.approx(
        {
            "projected-1": (1 / 6, (12 + 6 + 18) / 18),
            "projected-3": (3 / 6, (12 + 12 + 18) / 18),
            "projected-6": (1, 1),
        }[name]
    )
    law = DecayConstants(0.3, 0.2)
    assert one.sin2(law, depth) == method(name.replace("projected", "horizon")).sin2(law, depth)


def test_memory_is_that_of_the_horizon_at_any_depth():
    def deep(depth):
        with torch.random.fork_rng():
            torch.manual_seed(depth)
            return nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(depth))

    x = torch.rand(4000, 4)

    def memory(name, depth):
        return (
            step_memory(method(name), deep(depth), x, lambda z: z.square().sum()).activations / 4 / x.numel()
        )

    assert memory("projected-2", 32) < memory("projected-2", 8) + 0.2
    assert memory("projected-2", 32) < memory("horizon-2", 32) + 3
    assert memory("projected-2", 32) < memory("backprop", 32) / 3


def test_a_scaler_scales_and_nothing_else():
    blocks, x, loss_fn = stack_of(("residual",) * 4, 0), batch(0), squares(batch(1))
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    _, plain = found_by(method("projected-2"), blocks, x, loss_fn)
    plain = {p: g.clone() for p, g in plain.items()}
    loss, scaled = found_by(method("projected-2"), blocks, x, loss_fn, grad_scaler=scaler)
    assert worst(scaled, {p: 8 * g for p, g in plain.items()}) < 1e-12
    assert float(loss) == pytest.approx(float(found_by(method("backprop"), blocks, x, loss_fn)[0]), rel=1e-14)


def test_an_orthogonal_gradient_and_a_zero_one_give_none():
    blocks, x = stack_of(("residual",) * 3, 0), batch(0)
    _, found = found_by(method("projected-1"), blocks, x, lambda z: (0 * z).sum())
    assert all(not g.any() for g in found.values())


def test_what_is_refused():
    blocks, x, loss_fn = stack_of(("residual",) * 3, 0), batch(0), squares(batch(1))
    with pytest.raises(HorizonError, match=r"1\.\.3"):
        method("projected-4")(blocks, x, loss_fn)
    with pytest.raises(DomainError, match="block 3 has no forward-mode rule"):
        method("projected-1")([*blocks, lambda z: z + torch.cdist(z, z)[:, :3], blocks[0]], x, loss_fn)
    assert not grads(blocks)  # nothing was added by half


def test_a_line_search_along_g_h_finds_the_same_length():
    """The quotient of differences along g_h, without forward mode."""
    rng = random.Random(0)
    blocks, x, loss_fn = (
        stack_of(("residual", "two", "linear", "tanh"), rng.randrange(99)),
        batch(0),
        squares(batch(1)),
    )
    _, own = found_by(horizon_backward, blocks, x, loss_fn, horizon=2)
    own = {p: g.clone() for p, g in own.items()}
    _, found = found_by(method("projected-2"), blocks, x, loss_fn)
    losses, t = [], 1e-6
    for sign in (1, -1):
        with torch.no_grad():
            for p, g in own.items():
                p += sign * t * g
            z = x
            for block in blocks:
                z = block(z)
            losses.append(float(loss_fn(z)))
            for p, g in own.items():
                p -= sign * t * g
    scale = (losses[0] - losses[1]) / (2 * t) / inner(own, own)
    assert worst(found, {p: scale * g for p, g in own.items()}) < 1e-5
