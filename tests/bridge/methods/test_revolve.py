"""revolve-S: back-propagation bit for bit, within S states, with the fewest runs of blocks."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stacks import KINDS, MIXED, WIDTH, Pair, Residual, Spread, batch, grads, squares, stack_of, worst
from torch import nn

from dlinear.bridge import method, step_calls, step_memory
from dlinear.bridge.methods.revolve import _Reversal, revolve_backward
from dlinear.bridge.methods.revolve_schedule import block_runs
from dlinear.errors import DomainError, ShapeError

DEPTHS, STATES = range(1, 65), range(1, 11)
STACKS = {"count": 0, "worst": 0.0}


@functools.cache
def runs(length, room):
    """F(l, M) as it stands in the theory, without a table."""
    if length <= max(room, 1):
        return length
    if room == 0:
        return 10**9
    return min(j + runs(length - j, room - 1) + runs(j, room) for j in range(1, length))


@pytest.mark.slow
def test_block_runs_are_the_dynamic_programme():
    """And those of the published table: time 11.6, 3.19, 1.98, 1.50, 1.27, 1.18 at T = 64."""
    for depth in DEPTHS:
        assert [block_runs(depth, room) for room in STATES] == [runs(depth, room) for room in STATES]
    times = [round(method(f"revolve-{room}").predicted(64).time, 2) for room in (1, 2, 4, 6, 8, 16, 32, 64)]
    assert times == [11.55, 3.19, 1.98, 1.63, 1.5, 1.27, 1.18, 1.0]


class Counted:
    """In place of the blocks: what a schedule runs, and what it holds at once."""

    def __init__(self, reversal):
        self.reversal, self.forwards, self.recorded, self.peak = reversal, 0, 0, 0

    def advance(self, start, stop, state, keep):
        assert state == start
        assert keep
        self.forwards += stop - start
        return stop

    def record(self, t, state, follow):
        assert state == t
        self.forwards += 1
        self.recorded += 1
        self.peak = max(self.peak, self.recorded + len(self.reversal.kept) - (0 in self.reversal.kept))
        return t + 1, self

    leaves = ()

    def vjp(self, signal, leaves, through, hooks):
        self.recorded -= 1
        return signal, []


def test_a_step_runs_blocks_as_often_as_the_programme_and_holds_no_more(monkeypatch):
    for depth in DEPTHS:
        for room in STATES:
            step = _Reversal([torch.sin] * depth, torch.zeros(1), lambda z: z, None)
            step.replay = counted = Counted(step)
            step.kept = {0: 0}

            def end(state, s, loss_fn, readout, follow, counted=counted, depth=depth):
                assert state == s == depth
                counted.recorded += 1
                return torch.zeros(()), counted

            monkeypatch.setattr("dlinear.bridge.methods.revolve.end_of", end)
            step.run(room)
            assert counted.forwards == runs(depth, room), (depth, room)
            assert counted.recorded == 0
            assert counted.peak <= min(room, depth), (depth, room)
            assert not step.kept


@pytest.mark.parametrize(("depth", "room"), [(1, 1), (7, 1), (7, 3), (16, 2), (16, 5), (16, 16), (9, 40)])
def test_blocks_run_that_often(depth, room):
    blocks = nn.ModuleList(Residual() for _ in range(depth)).double()
    counted = step_calls(method(f"revolve-{room}"), blocks, batch(0), squares(batch(1)))
    cost = method(f"revolve-{room}").cost(depth)
    assert (
        (sum(counted.forwards), sum(counted.vjps)) == (cost.forwards, cost.vjps) == (runs(depth, room), depth)
    )


def test_memory_is_that_of_the_states():
    """A linear block keeps its input: S units, beside the loss and what is on its way."""
    depth, width, samples = 32, 32, 32
    blocks = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(depth))
    x, unit = torch.rand(samples, width), samples * width * 4

    def activations(name):
        return step_memory(method(name), blocks, x, lambda z: z.square().mean()).activations / unit

    fixed = activations("backprop") - depth
    for room in (1, 2, 4, 8, 16, 32):
        assert activations(f"revolve-{room}") <= room + fixed + 1.1, room


class Everything(nn.Module):
    """Batch norm, dropout, and a change of shape."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.linear, self.norm, self.drop = (
            nn.Linear(inputs, outputs),
            nn.BatchNorm1d(outputs),
            nn.Dropout(0.4),
        )

    def forward(self, z):
        return torch.tanh(self.drop(self.norm(self.linear(z))))


def two(run, parts, x, loss_fn, readout):
    """Gradients, buffers, loss and the next random number of a method and of back-propagation."""
    found = []
    for one in (run, method("backprop")):
        own = copy.deepcopy(parts)
        torch.manual_seed(3)
        inputs = x.clone().requires_grad_()
        loss = one(own["body"], own["stem"](inputs), loss_fn, lambda z, s, own=own: own["head"](z) * s)
        tensors = (
            {"loss": loss, "next": torch.rand(1), "x": inputs.grad} | grads(own) | dict(own.named_buffers())
        )
        found.append(tensors)
    return found


@pytest.mark.parametrize("room", [1, 2, 3, 6, 50])
def test_stem_head_shapes_masks_and_statistics_bit_for_bit(room):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = [
            Everything(3, 6),
            *(Everything(6, 6) for _ in range(5)),
            Everything(6, 4),
            nn.Tanh(),
            Everything(4, 3),
        ]
        parts = nn.ModuleDict(
            {"stem": Everything(3, 3), "body": nn.ModuleList(body), "head": nn.Linear(3, 3)}
        )
    found, wanted = two(method(f"revolve-{room}"), parts.double(), batch(0), squares(batch(1)), None)
    assert found.keys() == wanted.keys()
    for name in wanted:
        assert torch.equal(found[name], wanted[name]), name


def test_spectral_norm_sees_the_estimate_of_the_first_run_each_time():
    """A block at the start of the stack runs many times; its estimate changes in every run."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        body = nn.ModuleList(nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3)) for _ in range(7))
        parts = nn.ModuleDict({"stem": nn.Identity(), "body": body, "head": nn.Identity()}).double()
    found, wanted = two(method("revolve-1"), parts, batch(0), squares(batch(1)), None)
    for name in wanted:
        assert torch.equal(found[name], wanted[name]), name


@pytest.mark.slow
@settings(max_examples=80)
@given(
    kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=9),
    room=st.integers(1, 9),
    seed=st.integers(0, 2**31),
)
def test_random_stacks_are_back_propagated(kinds, room, seed):
    blocks, x, y = stack_of(kinds, seed), batch(seed), batch(seed + 1)
    if not any(p.requires_grad for p in blocks.parameters()):
        return
    ours, theirs = copy.deepcopy(blocks), copy.deepcopy(blocks)
    for one, name in ((ours, f"revolve-{room}"), (theirs, "backprop")):
        method(name)(one, x.clone(), squares(y))
    found, wanted = grads(ours), grads(theirs)
    deviation = worst(found, wanted)
    STACKS["count"] += 1
    STACKS["worst"] = max(STACKS["worst"], deviation)
    assert deviation <= 1e-12
    for one, other in zip(ours.buffers(), theirs.buffers(), strict=True):
        assert torch.equal(one, other)


def test_report_of_the_random_stacks():
    """Printed with -s: how many stacks the property test saw, and the worst deviation."""
    print(f"\n{STACKS['count']} random stacks, worst relative deviation {STACKS['worst']:.1e}")
    assert STACKS["worst"] <= 1e-12


@pytest.mark.parametrize("kind", [tuple, dict, list])
def test_states_of_several_tensors(kind):
    block = Spread if kind is tuple else Pair
    blocks = nn.ModuleList(block(kind) for _ in range(5)).double()
    z, mask = batch(0), torch.tensor([True, False, True])
    parts = (z, z * 2, mask)
    x = dict(zip("abc", parts, strict=True)) if kind is dict else kind(parts)
    wanted = copy.deepcopy(blocks)
    for one, name in ((blocks, "revolve-2"), (wanted, "backprop")):
        method(name)(one, x, squares(batch(1)), lambda s, _: next(iter(s.values())) if kind is dict else s[0])
    assert worst(grads(blocks), grads(wanted)) == 0


def test_a_weight_of_several_blocks_and_of_the_head():
    body = stack_of(MIXED, 4)
    body.append(body[0])
    ours, theirs = copy.deepcopy(body), copy.deepcopy(body)
    for one, name in ((ours, "revolve-2"), (theirs, "backprop")):
        method(name)(one, batch(0), squares(batch(1)), lambda z, s, one=one: z @ one[0].weight)
    assert worst(grads(ours), grads(theirs)) < 1e-13


def test_functions_that_capture_what_they_train():
    w = torch.eye(3, dtype=torch.float64, requires_grad=True)
    method("revolve-1")([lambda z: z @ w + z] * 6, batch(0), squares(batch(1)))
    found, w.grad = w.grad, None
    method("backprop")([lambda z: z @ w + z] * 6, batch(0), squares(batch(1)))
    torch.testing.assert_close(found, w.grad, rtol=1e-13, atol=0)


def test_the_input_stays_as_it_is_while_it_is_needed():
    """Blocks that write into their input: x(0) is read seven times."""
    body = stack_of(("in place", "linear", "residual", "residual"), 0)
    x, other = batch(0), copy.deepcopy(body)
    method("revolve-1")(body, x.clone(), squares(batch(1)))
    method("backprop")(other, x.clone(), squares(batch(1)))
    assert worst(grads(body), grads(other)) == 0


def test_a_part_that_is_handed_on_and_written_into_later():
    """Block 0 hands z on, block 1 writes into it: x(0), the same memory, is read again after that."""

    class Beside(nn.Module):
        def __init__(self, writes):
            super().__init__()
            self.linear, self.writes = nn.Linear(WIDTH, WIDTH), writes

        def forward(self, state):
            z, a = state
            a = a + torch.tanh(self.linear(z * 1))
            return (z.mul_(0.5) if self.writes else z), a

    body = nn.ModuleList(Beside(writes) for writes in (False, True, False, True)).double()
    other, x = copy.deepcopy(body), (batch(0), batch(1))
    for one, name in ((body, "revolve-1"), (other, "backprop")):
        method(name)(one, tuple(part.clone() for part in x), squares(batch(2)), lambda s, _: s[0] + s[1])
    assert worst(grads(body), grads(other)) == 0


def test_autocast_gives_every_weight_its_gradient():
    """Also where autocast keeps what it cast in a run whose graph is gone."""
    body = nn.ModuleList(Residual() for _ in range(6))
    other, x, y = copy.deepcopy(body), batch(0).float(), batch(1).float()
    for one, name in ((body, "revolve-2"), (other, "backprop")):
        with torch.autocast("cpu", torch.bfloat16):
            method(name)(one, x, squares(y))
    assert worst(grads(body), grads(other)) < 0.02


@pytest.mark.parametrize("kind", ["generator", "counter"])
def test_a_block_that_does_not_repeat_itself_is_refused(kind):
    generator, count = torch.Generator().manual_seed(0), [0]
    linear = nn.Linear(WIDTH, WIDTH).double()

    def block(z):
        count[0] += 1
        noise = torch.rand(z.shape, generator=generator, dtype=z.dtype) if kind == "generator" else count[0]
        return linear(z) + noise

    with pytest.raises(DomainError, match="block 1 does not repeat itself") as caught:
        revolve_backward([nn.Identity(), block, nn.Tanh()], batch(0), squares(batch(1)), states=1)
    assert "\n" not in str(caught.value)
    assert linear.weight.grad is None


def test_a_tensor_of_an_earlier_block_is_refused():
    linear, kept = nn.Linear(WIDTH, WIDTH).double(), []
    stack = [torch.sin, lambda z: kept.append(linear(z)) or kept[-1], lambda z: z + kept[-1]]
    for room in (1, 2, 3):
        with pytest.raises(ShapeError, match="block 2 uses a tensor made in an earlier block"):
            revolve_backward(stack, batch(0), squares(batch(1)), states=room)
    assert linear.weight.grad is None


def test_nothing_to_train():
    with pytest.raises(DomainError, match="no gradient reaches a trainable tensor"):
        method("revolve-2")([torch.tanh] * 4, batch(0), squares(batch(1)))


def test_backward_hooks_see_one_gradient_of_each_block():
    body, seen = nn.ModuleList(Residual() for _ in range(5)).double(), []
    for t, block in enumerate(body):
        block.register_full_backward_hook(lambda *_, t=t: seen.append(t))
    method("revolve-1")(body, batch(0).requires_grad_(), squares(batch(1)))
    assert seen == [4, 3, 2, 1, 0]
