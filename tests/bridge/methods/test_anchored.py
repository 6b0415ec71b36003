"""Anchored horizons, strides and coarse tails against the engine, their definitions, and back-propagation."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from stacks import KINDS, WIDTH, Pair, Residual, batch, grads, squares, stack_of, worst
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

import dlinear
from dlinear import HorizonRule
from dlinear.bridge import Supervised, horizon_backward, horizon_gradients, method, step_calls, step_memory
from dlinear.bridge.methods.anchored import strided_law, window_pulls
from dlinear.bridge.methods.horizon import horizon_targets
from dlinear.errors import DomainError, HorizonError, ShapeError
from dlinear.theory.decay_law import DecayConstants, decay_law

STACKS = {"count": 0, "worst": 0.0}


class Linear(nn.Module):
    """x + D x."""

    def __init__(self, deviation):
        super().__init__()
        self.deviation = nn.Parameter(torch.from_numpy(deviation.copy()))

    def forward(self, z):
        return z + z @ self.deviation.T


class Exact(nn.Module):
    """Another shape, or no skip connection, with batch norm and dropout."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.linear, self.norm, self.drop = (
            nn.Linear(inputs, outputs),
            nn.BatchNorm1d(outputs),
            nn.Dropout(0.3),
        )
        self.skip = inputs != outputs  # a change of the shape is seen without that

    def forward(self, z):
        return torch.tanh(self.drop(self.norm(self.linear(z)))) * 0.9


class Dropped(Residual):
    """Dropout and batch norm beside a skip connection."""

    def __init__(self):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm1d(WIDTH), nn.Dropout(0.4)

    def forward(self, z):
        return z + self.drop(torch.tanh(self.norm(self.linear(z)))) / 3


# --- against the engine -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "width"), [(1, 3), (4, 3), (9, 2)])
def test_linear_stacks_meet_the_engine(depth, width):
    rng = np.random.default_rng(depth)
    deviations, phi = rng.normal(size=(depth, width, width)) / depth, rng.normal(size=(width, width))
    net, blocks = dlinear.DenseNetwork(deviations), nn.ModuleList(map(Linear, deviations))

    def loss_fn(z):
        return ((z.T - torch.from_numpy(phi)) ** 2).sum() / 2

    for h, anchored, k, q in itertools.product(
        range(1, depth + 1), (False, True), (1, 2, 3, 7, 40), (0, 1, 3, 50)
    ):
        want = dlinear.horizon_gradients(net, phi, h, HorizonRule(anchored, q, k))
        x = torch.eye(width, dtype=torch.float64)
        _, found = horizon_gradients(blocks, x, loss_fn, h, None, anchored, k, q)
        got = np.stack([found[block.deviation].numpy() for block in blocks])
        assert np.abs(got - want).max() <= 1e-12 * np.abs(want).max(), (h, anchored, k, q)


# --- against slow definitions -----------------------------------------------------------------------------


def first_end(t, h, k, depth):
    """The first of T, T - k, ... at or after t + h; T if there is none."""
    return min((s for s in range(depth, 0, -k) if s >= t + h), default=depth)


def seeded(seed, t, block, z):
    """Block t with masks of its own."""
    torch.manual_seed(1000 * seed + t)
    return block(z)


def slow(blocks, x, loss_fn, h, k, anchored, exact=()):
    """Each block's gradient by forward passes of its own; blocks in `exact` pass the end's gradient on."""
    depth, total = len(blocks), {}
    fresh, states = copy.deepcopy(blocks), [x]
    with torch.no_grad():
        for t, block in enumerate(fresh):
            states.append(seeded(0, t, block, states[-1].clone()))

    def signal(s):
        end = states[-1].clone().requires_grad_()
        (r,) = torch.autograd.grad(loss_fn(end), end)
        for j in reversed([j for j in exact if j >= s]):
            z = states[j].clone().requires_grad_()
            (r,) = torch.autograd.grad((seeded(0, j, copy.deepcopy(blocks)[j], z * 1) * r).sum(), z)
        return r

    for t in range(depth):
        s = first_end(t, h, k, depth)
        trial = copy.deepcopy(blocks)[t]
        own = {name: p for name, p in trial.named_parameters() if p.requires_grad}
        z = states[t].clone()
        for i, block in enumerate([trial, *(copy.deepcopy(block) for block in blocks[t + 1 : s])], t):
            z = seeded(0, i, block, z)
        value = (z * signal(s)).sum() if anchored else loss_fn(z)
        if not own or not value.requires_grad:
            continue
        for (name, _), g in zip(
            own.items(), torch.autograd.grad(value, list(own.values()), allow_unused=True), strict=True
        ):
            if g is not None:
                real = dict(blocks[t].named_parameters())[name]
                total[real] = total.get(real, 0) + g
    return total


class Seeded(nn.Module):
    """A block whose masks are those of `seeded`, wherever and how often it runs."""

    def __init__(self, t, block):
        super().__init__()
        self.t, self.block = t, block
        self.skip = getattr(block, "skip", True)

    def forward(self, z):
        with torch.random.fork_rng():
            return seeded(0, self.t, self.block, z)


@pytest.mark.slow
@settings(max_examples=80)
@given(
    kinds=st.lists(st.sampled_from([*sorted(KINDS), "dropped", "exact", "wide"]), min_size=1, max_size=9),
    h=st.integers(1, 9),
    k=st.integers(1, 9),
    anchored=st.booleans(),
    seed=st.integers(0, 2**31),
)
@example(["residual"] * 6, 1, 1, True, 0)
@example(["residual", "exact", "residual", "exact", "residual", "residual"], 1, 1, True, 0)
@example(["shared"] * 5, 2, 2, True, 0)
@example(["in place", "relu in place", "in place", "relu in place", "linear"], 1, 2, True, 2)
@example(["residual", "wide", "residual", "residual", "wide", "dropped", "residual"], 2, 2, True, 1)
@example(["identity", "identity", "linear", "identity", "residual"], 1, 1, True, 3)
def test_random_stacks_meet_the_definition(kinds, h, k, anchored, seed):
    some = stack_of([kind if kind in KINDS else "residual" for kind in kinds], seed)
    blocks = nn.ModuleList()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for kind, block in zip(kinds, some, strict=True):
            if kind == "wide" and anchored:  # losses of inner states would need a readout
                blocks += [Exact(WIDTH, 5).double(), Exact(5, WIDTH).double()]
            elif kind in ("exact", "wide"):
                blocks.append(Exact(WIDTH, WIDTH).double())
            else:
                blocks.append(Dropped().double() if kind == "dropped" else block)
    h, exact = min(h, len(blocks)), [t for t, block in enumerate(blocks) if isinstance(block, Exact)]
    x, loss_fn = batch(seed), squares(batch(seed + 1))
    wanted = slow(blocks, x, loss_fn, h, k, anchored, exact)
    stack = [Seeded(t, block) for t, block in enumerate(blocks)]
    _, found = horizon_gradients(stack, x.clone(), loss_fn, h, None, anchored, k)
    assert found.keys() == wanted.keys()
    scale = max(
        (float(g.abs().max()) for g in wanted.values()), default=1.0
    )  # a bias before batch norm has none
    deviation = max((float((found[p] - wanted[p]).abs().max()) for p in wanted), default=0.0) / (scale or 1.0)
    STACKS["count"] += 1
    STACKS["worst"] = max(STACKS["worst"], deviation)
    assert deviation <= 1e-12


def test_report_of_the_random_stacks():
    """Printed with -s: how many stacks the property test saw, and the worst deviation."""
    print(f"\n{STACKS['count']} random stacks, worst relative deviation {STACKS['worst']:.1e}")
    assert STACKS["worst"] <= 1e-12


def test_anchored_horizon_1_is_its_formula():
    """g(t) = (d block_t/d theta)^T r at x(t), r = grad L(x(T))."""
    blocks, x, loss_fn = nn.ModuleList(Residual() for _ in range(5)).double(), batch(0), squares(batch(1))
    states = [x]
    for block in blocks:
        states.append(block(states[-1]).detach())
    end = states[-1].clone().requires_grad_()
    (r,) = torch.autograd.grad(loss_fn(end), end)
    wanted = {}
    for t, block in enumerate(blocks):
        own = list(block.parameters())
        wanted |= dict(zip(own, torch.autograd.grad((block(states[t]) * r).sum(), own), strict=True))
    loss, found = horizon_gradients(blocks, x, loss_fn, 1, anchored=True)
    assert worst(found, wanted) < 1e-13
    assert float(loss) == pytest.approx(float(loss_fn(end).detach()), rel=1e-14)


@pytest.mark.parametrize("rule", [(True, 1, 0), (False, 1, 1), (True, 3, 2), (False, 5, 0), (True, 9, 0)])
def test_a_window_that_holds_all_is_back_propagation(rule):
    anchored, k, q = rule
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.ModuleList(
            [Exact(3, 5), *(Dropped() for _ in range(0)), Exact(5, 3), Dropped(), Dropped()]
        ).double()
    ours, theirs = copy.deepcopy(net), copy.deepcopy(net)
    torch.manual_seed(2)
    horizon_backward(ours, batch(0), squares(batch(1)), max(1, 5 - k) if k > 1 else 4, None, anchored, k, q)
    torch.manual_seed(2)
    method("backprop")(theirs, batch(0), squares(batch(1)))
    assert all(
        torch.equal(p.grad, q.grad) for p, q in zip(ours.parameters(), theirs.parameters(), strict=True)
    )
    assert all(torch.equal(p, q) for p, q in zip(ours.buffers(), theirs.buffers(), strict=True))


@pytest.mark.parametrize("anchored", [False, True])
@pytest.mark.parametrize("h", [1, 2, 4])
def test_a_run_for_each_unseen_block_is_the_true_tail(anchored, h):
    """q >= T - h: both rules are back-propagation, for any blocks that are alike."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        blocks = nn.ModuleList(Residual() for _ in range(6)).double()
        head = nn.Linear(WIDTH, 2).double()
    _, found = horizon_gradients(
        blocks, batch(0), squares(batch(1, 2)), h, lambda z, s: head(z), anchored, 2, 6
    )
    _, true = horizon_gradients(blocks, batch(0), squares(batch(1, 2)), 6, lambda z, s: head(z))
    assert (
        worst({p: found[p] for p in blocks.parameters()}, {p: true[p] for p in blocks.parameters()}) < 1e-12
    )


@pytest.mark.parametrize("anchored", [False, True])
def test_a_coarse_tail_of_nonlinear_blocks_by_hand(anchored):
    """q = 1, h = 2, T = 5: x(s) -> x + k (mean(x) - x), the block of mean parameters."""
    blocks, x, loss_fn = nn.ModuleList(Residual() for _ in range(5)).double(), batch(0), squares(batch(1))
    states = [x]
    for block in blocks:
        states.append(block(states[-1]).detach())
    end = states[-1].clone().requires_grad_()
    (r,) = torch.autograd.grad(loss_fn(end), end)
    _, found = horizon_gradients(blocks, x, loss_fn, 2, None, anchored, 1, 1)
    for t in range(5):
        s, z = min(t + 2, 5), states[t]
        for block in blocks[t:s]:
            z = block(z)
        if s < 5:
            mean = copy.deepcopy(blocks[0])
            with torch.no_grad():
                for name, p in mean.named_parameters():
                    p.copy_(sum(dict(b.named_parameters())[name] for b in blocks[s:]) / (5 - s))
            z = z + (5 - s) * (mean(z) - z)
        own = list(blocks[t].parameters())
        wanted = torch.autograd.grad((z * r).sum() if anchored else loss_fn(z), own)
        for p, g in zip(own, wanted, strict=True):
            torch.testing.assert_close(found[p], g, rtol=1e-11, atol=1e-15)


# --- costs ------------------------------------------------------------------------------------------------


def test_ends_and_pulls_for_every_stack_up_to_forty_blocks():
    """F1: s is the first end at or after t + h, windows have h..h+k-1 blocks; the counts in closed form."""
    for depth in range(1, 40):
        for h, k in itertools.product(range(1, depth + 1), (1, 2, 3, 5, 8, 13, 21, 40)):
            targets = horizon_targets(depth, h, HorizonRule(stride=k))
            assert [t for receivers in targets for t in receivers] == list(range(depth))
            for s, receivers in enumerate(targets, start=1):
                assert all(first_end(t, h, k, depth) == s for t in receivers)
                assert s == depth or all(h <= s - t <= h + k - 1 for t in receivers)
            spans = [s - receivers[0] for s, receivers in enumerate(targets, start=1) if receivers]
            assert window_pulls(depth, h, k) == (sum(spans), sum(spans) - len(spans))


def test_the_law_of_a_strided_horizon():
    """F2: over the plain horizon's, smooth layers, within 2 per cent; stride 1 is the law itself."""
    depth, width = 600, 3
    path, phi = constant_path(width), np.diag([1.0, -0.5, 0.3])
    net = dlinear.SmoothNetwork(path, depth=depth)
    law = DecayConstants(0.0, dlinear.limits.cubic_constant(path, phi))
    for m, k in ((24, 4), (30, 8), (24, 12)):
        plain = dlinear.alignment(net, phi, [depth - m]).sin2[0]
        measured = dlinear.alignment(net, phi, [depth - m], rule=HorizonRule(stride=k)).sin2[0] / plain
        expected = strided_law(depth - m, k, law, depth) / strided_law(depth - m, 1, law, depth)
        assert measured == pytest.approx(expected, rel=0.02)
        assert expected < 0.9
    for quadratic, cubic in ((1.0, 0.0), (0.0, 1.0), (0.3, 2.0)):
        law = DecayConstants(quadratic, cubic)
        assert strided_law(5, 1, law, 20) == pytest.approx(decay_law(quadratic, cubic, 15, 20), rel=1e-12)
        assert method("stages-1").sin2(law, 20) == pytest.approx(method("horizon-1").sin2(law, 20), rel=1e-12)
        shortfalls = [4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12]  # of j = 4..15; 1, 2, 3 see the end
        value = quadratic * 2 * sum(shortfalls) / 20**2 + cubic * 3 * sum(s**2 for s in shortfalls) / 20**3
        assert strided_law(5, 4, law, 20) == pytest.approx(value, rel=1e-12)
    assert strided_law(20, 4, law, 20) == 0
    assert method("anchored-2").sin2 is None


def constant_path(width):
    matrix = np.random.default_rng(3).normal(size=(width, width)) / width
    return lambda s: matrix


@pytest.mark.parametrize("name", ["anchored-1", "anchored-3", "stages-1", "stages-4", "anchored-stages-3"])
@pytest.mark.parametrize("depth", [1, 3, 4, 11])
def test_counts(name, depth):
    if name == "anchored-3" and depth < 3:
        return
    blocks = nn.ModuleList(Residual() for _ in range(depth)).double()
    counted = step_calls(method(name), blocks, batch(0), squares(batch(1)))
    cost = method(name).cost(depth)
    assert (sum(counted.forwards), sum(counted.vjps)) == (cost.forwards, cost.vjps)


class Multiplied(nn.Module):
    """x + x W^T."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(WIDTH, dtype=torch.float64) / 9)

    def forward(self, z):
        return z + z @ self.weight.T


class Products(TorchDispatchMode):
    """Counts matrix products, whoever asks for them: forward, for a state, for a weight."""

    done = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.done += function.overloadpacket is torch.ops.aten.mm
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("depth", [2, 7, 16])
@pytest.mark.parametrize(
    "name",
    [
        "backprop",
        "anchored-1",
        "anchored-2",
        "stages-1",
        "stages-3",
        "anchored-stages-1",
        "anchored-stages-5",
    ],
)
def test_the_products_of_a_step_are_those_of_the_unit_cost_model(name, depth):
    """Counted one by one: none is done twice, so that what a step takes beyond the model is overhead."""
    blocks = nn.ModuleList(Multiplied() for _ in range(depth))
    with Products() as counted:
        method(name)(blocks, batch(0), squares(batch(1)))
    if name == "backprop":
        assert counted.done == 3 * depth - 1
    else:
        assert method(name).predicted(depth).time * (3 * depth - 1) == pytest.approx(counted.done, abs=1e-9)


def test_predicted_times_are_those_of_the_unit_cost_model():
    """The published table at T = 64: 0.67 to 1.33 times back-propagation."""
    for name, times in (
        ("stages", (0.67, 0.84, 0.92, 0.96, 0.98, 0.99)),
        ("anchored-stages", (1.01, 1.17, 1.26, 1.3, 1.32, 1.32)),
        ("anchored", (1.01, None, 1.96)),
    ):
        for k, time in zip((1, 2, 4, 8, 16, 32), times, strict=False):
            if time is not None:
                found = method(f"{name}-{k}").predicted(64)
                assert found.time == pytest.approx(time, abs=0.0105), (name, k)
                assert found.memory == k / 64


def test_memory_is_that_of_m_blocks_and_a_vector():
    """M = h + k - 1 blocks that keep their input, the vector r, and what a loss takes for a moment."""
    depth, width, samples = 24, 32, 32
    blocks = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(depth))
    x, unit = torch.rand(samples, width), samples * width * 4

    def activations(*rule):
        def run(blocks, x, loss_fn, readout=None):
            return horizon_backward(blocks, x, loss_fn, rule[0], readout, *rule[1:])

        return step_memory(run, blocks, x, lambda z: z.square().mean()).activations / unit

    fixed = activations(depth) - depth  # of back-propagation: the loss
    for h, k in ((1, 1), (4, 1), (1, 4), (5, 6)):
        plain, anchored = activations(h, False, k), activations(h, True, k)
        assert plain <= h + k - 1 + fixed + 1.1, (h, k)
        assert anchored <= h + k - 1 + fixed + 2.1, (h, k)
        assert anchored >= h + k - 1


# --- one step as others see it ----------------------------------------------------------------------------


def test_masks_statistics_loss_and_random_numbers_are_those_of_one_pass():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = nn.ModuleList(
            [Exact(3, 3), Dropped(), Dropped(), Exact(3, 5), Exact(5, 3), Dropped(), Dropped()]
        )
        net = nn.ModuleDict({"body": body, "head": Exact(3, 3)}).double()
    results = []
    for run in (lambda *a: horizon_backward(*a[:3], 2, a[3], True, 2), method("backprop")):
        own = copy.deepcopy(net)
        torch.manual_seed(5)
        loss = run(own["body"], batch(0), squares(batch(1)), lambda z, s, own=own: own["head"](z))
        results.append(
            (loss, torch.rand(1), dict(own.named_buffers()), grads(own["head"]), grads(own["body"][6]))
        )
    ours, theirs = results
    assert torch.equal(ours[0], theirs[0])
    assert torch.equal(ours[1], theirs[1])
    for i in (2, 3, 4):  # the last window sees the end: those blocks and the head have their true gradient
        assert ours[i].keys() == theirs[i].keys()
        for name in ours[i]:
            torch.testing.assert_close(ours[i][name], theirs[i][name], rtol=1e-13, atol=1e-18)


def test_the_readout_is_asked_for_the_last_state_alone():
    asked, head = [], nn.Linear(WIDTH, 2).double()

    def readout(z, s):
        asked.append(s)
        return head(z)

    blocks = nn.ModuleList(Residual() for _ in range(6)).double()
    horizon_backward(blocks, batch(0), squares(batch(1, 2)), 1, readout, anchored=True)
    assert asked == [6]
    asked.clear()
    horizon_backward(blocks, batch(0), squares(batch(1, 2)), 2, readout, stride=3)
    assert asked == [3, 6]


def test_widths_that_change_need_no_readout():
    """Anchored: L(x(s)) does not exist for inner states, and is not needed."""
    blocks = nn.ModuleList([nn.Linear(3, 6), nn.Linear(6, 6), nn.Linear(6, 2)]).double()
    x, loss_fn = batch(0), squares(batch(1, 2))
    with pytest.raises(ShapeError, match="the loss at s = 1 does not take"):
        horizon_backward(blocks, x, loss_fn, 1)
    _, found = horizon_gradients(blocks, x, loss_fn, 1, anchored=True)
    z1, z2 = blocks[0](x).detach(), blocks[1](blocks[0](x)).detach()
    end = blocks[2](z2)
    (r,) = torch.autograd.grad(loss_fn(end), end, retain_graph=True)
    r = r @ blocks[2].weight.detach()
    wanted = torch.autograd.grad((blocks[0](x) * r).sum() + (blocks[1](z1) * r).sum() + loss_fn(end),
                                 list(blocks.parameters()))  # fmt: skip
    assert worst(found, dict(zip(blocks.parameters(), wanted, strict=True))) < 1e-13


def test_an_input_that_requires_a_gradient_and_a_stem():
    stem, blocks = nn.Linear(3, 3).double(), nn.ModuleList(Residual() for _ in range(4)).double()
    horizon_backward(blocks, stem(batch(0)), squares(batch(1)), 1, anchored=True)
    x = stem(batch(0)).detach().requires_grad_()
    _, found = horizon_gradients(blocks, x, squares(batch(1)), 1, anchored=True)
    torch.testing.assert_close(stem.bias.grad, found[x].sum(0), rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", [tuple, dict])
def test_states_of_several_tensors(kind):
    blocks = nn.ModuleList(Pair(kind) for _ in range(4)).double()
    parts = (batch(0), batch(2), torch.tensor([True, False, True]))
    x = dict(zip("abc", parts, strict=True)) if kind is dict else parts

    def readout(state, s):
        return state["a"] + state["b"] if kind is dict else state[0] + state[1]

    _, found = horizon_gradients(blocks, x, squares(batch(1)), 1, readout, anchored=True)
    states = [x]
    for block in blocks:
        states.append(block(states[-1]))
    end = states[-1].values() if kind is dict else states[-1]
    a, b, _ = end
    r = torch.autograd.grad(squares(batch(1))(a + b), [a, b], retain_graph=True)
    for t, block in enumerate(blocks):
        with torch.no_grad():
            inputs = x
            for other in blocks[:t]:
                inputs = other(inputs)
        after = block(inputs)
        after = list(after.values() if kind is dict else after)
        own = list(block.parameters())
        wanted = torch.autograd.grad((after[0] * r[0]).sum() + (after[1] * r[1]).sum(), own)
        for p, g in zip(own, wanted, strict=True):
            torch.testing.assert_close(found[p], g, rtol=1e-12, atol=1e-16)


def test_backward_hooks_see_one_gradient_of_each_block():
    blocks, seen = nn.ModuleList(Residual() for _ in range(6)).double(), []
    for t, block in enumerate(blocks):
        block.register_full_backward_hook(lambda *_, t=t: seen.append(t))
    horizon_backward(blocks, batch(0).requires_grad_(), squares(batch(1)), 2, anchored=True)
    assert sorted(seen) == list(range(6))
    seen.clear()
    horizon_backward(blocks, batch(0).requires_grad_(), squares(batch(1)), 2, anchored=True, runs=1)
    assert sorted(seen) == list(range(6)), "not those of rollouts"


@pytest.mark.parametrize(
    "knobs", [{"anchored": True}, {"anchored": True, "runs": 1}, {"runs": 2, "stride": 2}], ids=str
)
def test_autocast(knobs):
    blocks = nn.ModuleList(Residual() for _ in range(5))
    x, loss_fn = batch(0).float(), squares(batch(1).float())
    _, exact = horizon_gradients(blocks, x, loss_fn, 2, None, **knobs)
    with torch.autocast("cpu", torch.bfloat16):
        _, found = horizon_gradients(blocks, x, loss_fn, 2, None, **knobs)
    assert worst(found, exact) < 0.1
    assert all(g.dtype == torch.float32 for g in found.values())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiled_blocks():
    blocks = nn.ModuleList(Residual() for _ in range(4)).double()
    _, wanted = horizon_gradients(blocks, batch(0), squares(batch(1)), 1, anchored=True)
    compiled = [torch.compile(block, backend="aot_eager") for block in blocks]
    _, found = horizon_gradients(compiled, batch(0), squares(batch(1)), 1, anchored=True)
    assert worst(found, wanted) < 1e-13


def test_rollouts_leave_masks_statistics_and_hooks_alone():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.ModuleList(Dropped() for _ in range(5)).double()
    results = []
    for q in (0, 2):
        own = copy.deepcopy(net)
        torch.manual_seed(1)
        loss = horizon_backward(own, batch(0), squares(batch(1)), 1, None, True, 2, q)
        results.append((loss, torch.rand(1), *own.buffers()))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_a_scaler_and_accumulation():
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    blocks = nn.ModuleList(Residual() for _ in range(4)).double()
    once, scaled = copy.deepcopy(blocks), copy.deepcopy(blocks)
    horizon_backward(once, batch(0), squares(batch(1)), 1, anchored=True)
    for _ in range(2):
        horizon_backward(scaled, batch(0), squares(batch(1)), 1, anchored=True, grad_scaler=scaler)
    for p, q in zip(once.parameters(), scaled.parameters(), strict=True):
        torch.testing.assert_close(q.grad, 8 * p.grad, rtol=1e-13, atol=0)


# --- refusals ---------------------------------------------------------------------------------------------


class Other(Residual):
    pass


class Named(Residual):
    def __init__(self, gain):
        super().__init__()
        self.gain = gain


def no_skip():
    block = Residual()
    block.skip = False
    return block


UNLIKE = {
    "a function": (
        [Residual(), Residual(), torch.tanh],
        "block 2 is a builtin_function_or_method and no module",
    ),
    "a type": ([Residual(), Residual(), Other()], "block 2 is unlike block 1 (Other, not Residual)"),
    "a shape": ([Residual(), nn.Linear(3, 3), nn.Linear(3, 4)], "(out_features=4, not out_features=3)"),
    "a number": ([Residual(), Named(0.5), Named(2.0)], "block 2 is unlike block 1 (gain=2.0, not gain=0.5)"),
    "a dtype": ([Residual(), Residual(), Residual().half()], "torch.float16, not"),
    "no skip": ([Residual(), Residual(), no_skip()], "block 2 has no skip connection"),
    "no form": ([Residual(), nn.Linear(3, 4), nn.Linear(3, 4)], "block 1 changes the form of its state"),
}


@pytest.mark.parametrize("anchored", [False, True])
@pytest.mark.parametrize("what", UNLIKE)
def test_only_blocks_that_are_alike_are_averaged(what, anchored):
    blocks, words = UNLIKE[what]
    if what == "no form":
        blocks = [blocks[0], nn.Linear(3, 3), nn.Flatten(0)]
        words = "block 2 is unlike"
    with pytest.raises(DomainError) as caught:
        horizon_backward(blocks, batch(0).float(), lambda z: z.sum(), 1, None, anchored, 1, 2)
    assert words in str(caught.value)
    assert "use runs=0" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert all(p.grad is None for block in blocks if isinstance(block, nn.Module) for p in block.parameters())


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"anchored": 1}, "anchored is 1; expected True or False"),
        ({"anchored": "yes"}, "anchored is 'yes'; expected True or False"),
        ({"stride": 0}, "stride is 0; expected an integer >= 1"),
        ({"stride": 2.5}, "stride is 2.5; expected an integer >= 1"),
        ({"runs": -1}, "runs is -1; expected an integer >= 0"),
        ({"runs": True}, "runs is True; expected an integer >= 0"),
    ],
)
def test_knobs_that_are_none(knobs, words):
    for call in (horizon_backward, horizon_gradients):
        with pytest.raises(DomainError) as caught:
            call([Residual().double()], batch(0), squares(batch(1)), 1, **knobs)
        assert str(caught.value) == words


def test_a_horizon_beyond_the_depth():
    with pytest.raises(HorizonError, match=r"an integer in 1\.\.3"):
        method("anchored-4")([torch.sin] * 3, batch(0), squares(batch(1)))
    method("stages-4")(nn.ModuleList([Residual()]).double(), batch(0), squares(batch(1)))  # one stage


@pytest.mark.parametrize("kind", ["generator", "counter"])
def test_a_block_that_does_not_repeat_itself_is_refused(kind):
    generator, count, linear = torch.Generator().manual_seed(0), [0], nn.Linear(WIDTH, WIDTH).double()

    def block(z):
        count[0] += 1
        noise = torch.rand(z.shape, generator=generator, dtype=z.dtype) if kind == "generator" else count[0]
        return linear(z) + noise

    with pytest.raises(DomainError, match="block 1 does not repeat itself"):
        horizon_backward([torch.sin, block, torch.tanh], batch(0), squares(batch(1)), 1, anchored=True)
    assert linear.weight.grad is None


def test_a_second_pass_that_fails_touches_no_gradient():
    blocks, runs = nn.ModuleList(Residual() for _ in range(3)).double(), [0]

    def fails(z):
        runs[0] += 1
        if runs[0] == 2:
            raise RuntimeError("the second time")
        return z

    with pytest.raises(RuntimeError, match="the second time"):
        horizon_backward([*blocks, fails], batch(0), squares(batch(1)), 1, anchored=True)
    assert all(p.grad is None for p in blocks.parameters())


def test_nothing_to_train_and_no_gradient_mode():
    with pytest.raises(DomainError, match="no gradient reaches a trainable tensor"):
        horizon_backward([torch.sin] * 3, batch(0), squares(batch(1)), 1, anchored=True)
    with torch.no_grad(), pytest.raises(DomainError, match="switched off"):
        horizon_backward([Residual().double()] * 3, batch(0), squares(batch(1)), 1, anchored=True)


def test_cross_entropy_with_a_shared_head_and_a_tied_weight():
    """What readout and loss train has its true gradient, also a weight that a block uses as well."""
    blocks = nn.ModuleList(Residual() for _ in range(4)).double()
    loss_fn = Supervised(functional.cross_entropy, torch.arange(5) % 3)
    tied = blocks[3].linear.weight
    _, found = horizon_gradients(blocks, batch(0), loss_fn, 1, lambda z, s: z @ tied, anchored=True)
    _, true = horizon_gradients(blocks, batch(0), loss_fn, 4, lambda z, s: z @ tied)
    torch.testing.assert_close(found[tied], true[tied], rtol=1e-12, atol=0)
