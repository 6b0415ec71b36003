"""reconstruct-p: what the fixed-point steps give, what they measure, and what they refuse."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stacks import WIDTH, Pair, Residual, Spread, batch, grads, squares, worst
from torch import nn

from dlinear.bridge import Supervised, TaskShape, method, model, step_calls, step_memory
from dlinear.bridge.methods.reconstruct import reconstructed_backward
from dlinear.errors import DomainError

STACKS = {"count": 0, "worst": 0.0}


class Block(nn.Module):
    def __init__(self, norm=False, drop=0.0, size=3.0):
        super().__init__()
        self.linear, self.size = nn.Linear(WIDTH, WIDTH), size
        self.norm = nn.BatchNorm1d(WIDTH) if norm else nn.Identity()
        self.drop = nn.Dropout(drop)

    def forward(self, z):
        return z + torch.tanh(self.drop(self.norm(self.linear(z)))) / self.size


def build(depth, seed=0, **kind):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.ModuleList(Block(**kind) for _ in range(depth)).double()


def step(run, blocks, x, loss_fn, **knobs):
    own = copy.deepcopy(blocks)
    torch.manual_seed(4)
    loss = run(own, x.clone(), loss_fn, **knobs)
    return loss, grads(own), dict(own.named_buffers()), torch.rand(1)


def by_hand(blocks, x, loss_fn, steps):
    """x(t) by p steps from x(t+1), then the gradient of <signal, block(x(t))>, block after block."""
    states = [x]
    for block in blocks:
        states.append(block(states[-1]).detach())
    z = states[-1].clone().requires_grad_()
    loss_fn(z).backward()
    signal, after = z.grad, states[-1]
    for t in reversed(range(len(blocks))):
        before = after
        with torch.no_grad():
            for _ in range(steps):
                before = after - (blocks[t](before) - before)
        before = (before if t else x).detach().clone().requires_grad_()
        (blocks[t](before) * signal).sum().backward()
        signal, after = before.grad, before.detach()
    return grads(blocks)


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_the_fixed_point_steps_by_hand(steps):
    blocks, x, loss_fn = build(6), batch(0), squares(batch(1))
    loss, found, _, _ = step(method(f"reconstruct-{steps}"), blocks, x, loss_fn)
    assert worst(found, by_hand(blocks, x, loss_fn, steps)) < 1e-12
    assert float(loss) == pytest.approx(float(loss_fn(nn.Sequential(*blocks)(x)).detach()), rel=1e-14)


@pytest.mark.slow
@settings(max_examples=60)
@given(
    depth=st.integers(1, 8),
    norm=st.booleans(),
    drop=st.sampled_from([0.0, 0.4]),
    seed=st.integers(0, 2**31),
    ends=st.sampled_from(["", "stem", "head", "both"]),
)
def test_many_steps_are_back_propagation(depth, norm, drop, seed, ends):
    """With dropout, batch norm and ends that change the shape; masks, statistics and randomness once."""
    blocks = build(depth, seed, norm=norm, drop=drop, size=80.0 if norm else 8.0)
    if ends in ("stem", "both"):
        blocks.insert(0, nn.Linear(5, WIDTH).double())
    if ends in ("head", "both"):
        blocks.append(nn.Linear(WIDTH, 2).double())
    x, y = (
        batch(seed, 5 if ends in ("stem", "both") else WIDTH),
        batch(1, 2 if ends in ("head", "both") else 3),
    )
    ours = step(reconstructed_backward, blocks, x, squares(y), steps=60)
    theirs = step(method("backprop"), blocks, x, squares(y))
    # A bias before batch norm has no gradient but rounding: relative to the whole.
    flat = [torch.cat([g.flatten() for g in one[1].values()]) for one in (ours, theirs)]
    deviation = float((flat[0] - flat[1]).norm() / flat[1].norm())
    assert ours[1].keys() == theirs[1].keys()
    STACKS["count"] += 1
    STACKS["worst"] = max(STACKS["worst"], deviation)
    assert deviation < 1e-9
    assert torch.equal(ours[0], theirs[0])
    assert torch.equal(ours[3], theirs[3])
    assert all(torch.equal(ours[2][name], theirs[2][name]) for name in theirs[2])


def test_report_of_the_random_stacks():
    """Printed with -s: how many stacks the property test saw, and the worst deviation."""
    print(f"\n{STACKS['count']} random stacks, worst relative deviation {STACKS['worst']:.1e}")
    assert STACKS["worst"] < 1e-9


@pytest.mark.parametrize("activation", ["tanh", "identity"])
def test_the_error_falls_by_c_over_t_a_step(activation):
    """Relative error of the gradient O((c/T)^p) over the depth: slopes -1 and -2 for p = 1, 2."""
    errors = {}
    for depth in (20, 80):
        knobs = {"depth": depth, "width": 6, "activation": activation, "layers": "smooth"}
        net = model("deep", TaskShape((6,), 6), 0, dtype=torch.float64, **knobs)
        x = torch.randn(12, 6, generator=torch.Generator().manual_seed(1)).double()
        loss_fn = Supervised(nn.functional.mse_loss, torch.zeros(12, 6, dtype=torch.float64))
        true = step(method("backprop"), net.blocks, x, loss_fn)[1]
        for steps in (1, 2):
            found = step(method(f"reconstruct-{steps}"), net.blocks, x, loss_fn)[1]
            apart = sum(float(((found[n] - true[n]) ** 2).sum()) for n in true)
            errors[steps, depth] = (apart / sum(float((g**2).sum()) for g in true.values())) ** 0.5
    for steps in (1, 2):
        assert errors[steps, 20] / errors[steps, 80] == pytest.approx(4**steps, rel=0.35)


def test_what_is_measured():
    blocks, x, loss_fn, reports = build(5), batch(0), squares(batch(1)), []
    step(reconstructed_backward, blocks, x, loss_fn, steps=3, report=reports.append)
    (report,) = reports
    states = [x]
    with torch.no_grad():
        for block in blocks:
            states.append(block(states[-1]))
        after, factors, residuals = states[-1], [], []
        for t in (4, 3, 2, 1):
            z = after
            first = (blocks[t](z) - after).norm()
            for _ in range(3):
                z = after - (blocks[t](z) - z)
            last = (blocks[t](z) - after).norm()
            factors.append(float(last / first) ** (1 / 3))
            residuals.append(float(last / after.norm()))
            after = z
    assert report.inverted == 4
    assert report.contraction == pytest.approx(max(factors), rel=1e-9)
    assert report.residual == pytest.approx(max(residuals), rel=1e-9)
    assert report.error == pytest.approx(float((after - states[1]).norm() / states[1].norm()), rel=1e-9)
    assert 0 < report.error < 0.1


def test_counts_and_memory():
    for depth, steps in ((1, 2), (6, 1), (6, 3)):
        name = f"reconstruct-{steps}"
        counted = step_calls(method(name), build(depth), batch(0), squares(batch(1)))
        cost = method(name).cost(depth)
        assert (sum(counted.forwards), sum(counted.vjps)) == (cost.forwards, cost.vjps)
        assert cost.forwards == 2 * depth + steps * (depth - 1)
    assert method("reconstruct-2").predicted(10**6).time == pytest.approx(2, rel=1e-5)
    peaks = [
        step_memory(method("reconstruct-1"), build(depth), torch.rand(64, WIDTH).double(), lambda z: z.sum())
        for depth in (6, 24)
    ]
    assert peaks[1].activations <= 1.15 * peaks[0].activations, "no stored states"


def test_blocks_that_change_the_shape_or_say_so_keep_their_input():
    reports = []
    last = nn.Linear(WIDTH, WIDTH)
    last.skip = False
    body = nn.ModuleList(
        [Residual(), nn.Linear(3, 5), nn.Linear(5, WIDTH), Residual(), Residual(), last]
    ).double()
    ours = step(reconstructed_backward, body, batch(0), squares(batch(1)), steps=40, report=reports.append)
    assert worst(ours[1], step(method("backprop"), body, batch(0), squares(batch(1)))[1]) < 1e-11
    assert reports[0].inverted == 2


@pytest.mark.parametrize("kind", [tuple, dict, list])
def test_states_of_several_tensors(kind):
    """A state that is a residual one as a whole; what is no floating-point tensor is handed on."""

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(WIDTH, WIDTH)

        def forward(self, state):
            z, skip, mask = state.values() if kind is dict else state
            new = z + torch.tanh(self.linear(z * mask)) / 5, skip + z / 9, mask
            return dict(zip("abc", new, strict=True)) if kind is dict else kind(new)

    blocks = nn.ModuleList(Both() for _ in range(4)).double()
    parts = (batch(0), batch(2), torch.tensor([True, False, True]))
    x = dict(zip("abc", parts, strict=True)) if kind is dict else kind(parts)
    results = []
    for run in (method("reconstruct-40"), method("backprop")):
        own = copy.deepcopy(blocks)
        run(own, x, squares(batch(1)), lambda s, _: s["a"] + s["b"] if kind is dict else s[0] + s[1])
        results.append(grads(own))
    assert worst(*results) < 1e-11


def refused(words, blocks, steps, x=None):
    with pytest.raises(DomainError, match=words) as caught:
        reconstructed_backward(blocks, batch(0) if x is None else x, squares(batch(1)), steps=steps)
    assert "\n" not in str(caught.value)
    assert all(p.grad is None for p in nn.ModuleList(blocks).parameters())


def linear(factor):
    block = nn.Linear(WIDTH, WIDTH, bias=False).double()
    block.weight.data = factor * torch.eye(WIDTH, dtype=torch.float64)
    return block


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_what_does_not_contract_is_refused(steps):
    """2.2 x and -0.1 x: f is 1.2 x and -1.1 x."""
    for factor in (2.2, -0.1):
        refused("block 1 cannot be inverted: .*checkpoint or revolve", [linear(1.0), linear(factor)], steps)
    step(
        reconstructed_backward,
        nn.ModuleList([linear(1.0), linear(1.9)]),
        batch(0),
        squares(batch(1)),
        steps=60,
    )


def test_states_that_are_lost_are_refused():
    """f = 0.7 x contracts, slowly: one step a block leaves 0.49/1.7 of a state, three blocks nearly all."""
    refused(r"x\(1\) is lost: .* by 1 fixed-point step a block", [linear(1.7) for _ in range(4)], 1)


def test_an_identity_and_rounding_are_no_failure():
    blocks = nn.ModuleList([linear(0.9), nn.Identity(), linear(1.0 + 1e-16), linear(1.1)])
    found = step(reconstructed_backward, blocks, batch(0), squares(batch(1)), steps=80)[1]
    assert worst(found, step(method("backprop"), blocks, batch(0), squares(batch(1)))[1]) < 1e-12


def test_a_loss_that_is_none_is_no_error_of_the_states():
    """A run that diverges ends with its loss, as with every method."""
    blocks = build(3)
    blocks[1].linear.weight.data.fill_(float("nan"))
    assert reconstructed_backward(blocks, batch(0), squares(batch(1))).isnan()


def test_a_generator_of_its_own_is_noticed():
    generator = torch.Generator().manual_seed(0)
    inner = linear(0.1)

    def noisy(z):
        return z + inner(z) + torch.rand(z.shape, generator=generator, dtype=z.dtype)

    with pytest.raises(DomainError, match=r"cannot be inverted|is lost"):
        reconstructed_backward([linear(1.1), *[noisy] * 3], batch(0), squares(batch(1)), steps=30)


def test_blocks_that_write_into_their_input():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(WIDTH, WIDTH)

        def forward(self, z):
            f = torch.tanh(self.linear(z * 1)) / 6
            return z.add_(f)

    blocks = nn.ModuleList(InPlace() for _ in range(4)).double()
    found = step(reconstructed_backward, blocks, batch(0), squares(batch(1)), steps=40)[1]
    assert worst(found, step(method("backprop"), blocks, batch(0), squares(batch(1)))[1]) < 1e-11


def test_spread_arguments():
    blocks = nn.ModuleList([Spread(tuple), Pair(tuple)]).double()
    x = (batch(0), batch(2), torch.tensor([True, True, True]))
    with pytest.raises(DomainError, match="block 1 cannot be inverted"):
        reconstructed_backward(blocks, x, squares(batch(1)), lambda s, _: s[0], steps=3)
