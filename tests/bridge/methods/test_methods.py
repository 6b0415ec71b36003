"""Every method against its definition: exact ones against backward(), LoCo against eq. (21) by autograd."""

from __future__ import annotations

import copy
import functools
import itertools
import pickle
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn
from torch.nn import functional

from dlinear.bridge.autograd.blocks import even_bounds
from dlinear.bridge.autograd.modules import modules_among
from dlinear.bridge.data.losses import Supervised
from dlinear.bridge.methods.checkpointing import default_segments
from dlinear.bridge.methods.forward_gradient import forward_gradient
from dlinear.bridge.methods.loco import loco_targets
from dlinear.bridge.methods.registry import NAMES, method
from dlinear.errors import DlinearError, DomainError, HorizonError, ShapeError

WIDTH, DEPTH = 4, 7
KINDS = ({}, {"norm": True}, {"dropout": 0.4}, {"norm": True, "dropout": 0.4})
EVERY = (
    "backprop",
    "horizon-3",
    "checkpoint",
    "checkpoint-7",
    "accumulate-3",
    "combined-3",
    "loco-3",
    "forward",
    "forward-2",
    "greedy",
    "revolve-2",
    "reconstruct-2",
    "highway-1",
    "anchored-2",
    "stages-2",
    "anchored-stages-3",
    "projected-2",
)


class Block(nn.Module):
    def __init__(self, norm=False, dropout=0.0):
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.norm = nn.BatchNorm1d(WIDTH) if norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)

    def forward(self, z):
        return z + torch.tanh(self.dropout(self.norm(self.linear(z)))) / 3


class Net(nn.Module):
    def __init__(self, depth=DEPTH, seed=0, **kind):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.blocks = nn.ModuleList(Block(**kind) for _ in range(depth))
            self.head = nn.Linear(WIDTH, 3)
        self.double()

    def readout(self, z, s):
        return self.head(z)


def batch(samples=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, WIDTH, generator=generator, dtype=torch.float64)
    return x, torch.randint(3, (samples,), generator=generator)


def step(name, net, x, loss_fn, seed=0):
    """The loss, the gradients and the buffers after one step."""
    net = copy.deepcopy(net)
    torch.manual_seed(seed)
    loss = method(name)(net.blocks, x, loss_fn, net.readout)
    assert loss.shape == ()
    assert not loss.requires_grad
    gradients = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
    return loss, gradients, dict(net.named_buffers())


def ordinary(net, x, loss_fn, seed=0):
    net = copy.deepcopy(net)
    torch.manual_seed(seed)
    loss = loss_fn(net.head(nn.Sequential(*net.blocks)(x)))
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in net.named_parameters()}, dict(net.named_buffers())


def assert_close(found, wanted, rtol=1e-12, atol=1e-15):
    assert found.keys() == wanted.keys()
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], rtol=rtol, atol=atol)


# --- the exact ones ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [{}, {"norm": True}, {"dropout": 0.4}, {"norm": True, "dropout": 0.4}], ids=str
)
@pytest.mark.parametrize("name", ["backprop", "checkpoint", *(f"checkpoint-{k}" for k in (1, 2, 5, 7))])
def test_checkpointing_is_back_propagation_bit_for_bit(name, kind):
    """Gradients, masks and running statistics (a plain torch checkpoint updates these twice)."""
    net, (x, y) = Net(**kind), batch()
    loss_fn = Supervised(nn.CrossEntropyLoss(), y)
    for found, wanted in zip(step(name, net, x, loss_fn), ordinary(net, x, loss_fn), strict=True):
        assert_close(*({"": one} if isinstance(one, torch.Tensor) else one for one in (found, wanted)), 0, 0)


def test_torch_alone_would_count_a_batch_twice():
    """Why the buffers are exchanged during recomputation: if torch mends it, this one goes."""
    block = Block(norm=True).double()
    x, _ = batch()
    torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False).sum().backward()
    assert int(block.norm.num_batches_tracked) == 2


def test_checkpointing_recomputes_with_the_buffers_of_the_first_pass():
    """Spectral norm's estimate changes in every forward pass, and enters the gradient."""
    net, (x, y) = Net(depth=4), batch()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for block in net.blocks:
            nn.utils.parametrizations.spectral_norm(block.linear)
    loss_fn = Supervised(functional.cross_entropy, y)
    found, wanted = step("checkpoint-4", net, x, loss_fn), ordinary(net, x, loss_fn)
    assert_close(found[1], wanted[1], 0, 0)
    assert_close(found[2], wanted[2], 0, 0)


BEHIND = {
    "lambda": lambda norm: lambda z: norm(z),
    "default": lambda norm: lambda z, n=norm: n(z),
    "partial": lambda norm: functools.partial(nn.Module.__call__, norm),
    "bound method": lambda norm: norm.forward,
    "object": lambda norm: Calls([{"norm": norm}]),
    "nested": lambda norm: (lambda f: lambda z: f(z))(lambda z: norm(z)),
    "wrapped": lambda norm: functools.wraps(norm.forward)(lambda z: norm(z)),
    "module": lambda norm: norm,
}


class Calls:
    def __init__(self, parts):
        self.parts = parts

    def __call__(self, z):
        return self.parts[0]["norm"](z)


@pytest.mark.parametrize("name", ["checkpoint-3", "combined-1"])
@pytest.mark.parametrize("how", BEHIND)
def test_batch_statistics_are_taken_once_wherever_the_module_hides(name, how):
    norms = [nn.BatchNorm1d(2) for _ in range(3)]
    x, loss_fn = torch.tensor([[1.0, 2.0], [3.0, 5.0]]), Supervised(nn.functional.mse_loss, torch.zeros(2, 2))
    method(name)([BEHIND[how](norm) for norm in norms], x, loss_fn)
    assert [int(norm.num_batches_tracked) for norm in norms] == [1, 1, 1]
    once = nn.BatchNorm1d(2)
    once(x)
    assert torch.equal(norms[0].running_mean, once.running_mean)
    assert len(modules_among([BEHIND[how](norms[0])])) == 1


GLOBAL_NORM = nn.BatchNorm1d(2)


def by_global(z):
    return GLOBAL_NORM(z)


def test_modules_behind_a_global_and_those_that_are_none():
    assert modules_among([by_global]) == [GLOBAL_NORM]
    assert modules_among([lambda z: by_global(z)]) == [GLOBAL_NORM]
    loop = []
    loop.append(loop)  # refers to itself
    assert modules_among([loop, None, 3, "text", torch.tanh, nn.Linear]) == []


def test_forward_gradients_reach_modules_behind_functions():
    linear = nn.Linear(3, 3)
    method("forward-2")([lambda z: linear(z)], torch.rand(4, 3), lambda z: z.square().sum())
    assert linear.weight.grad is not None


def test_a_block_in_two_segments_sees_its_own_buffers_in_each():
    net, (x, y) = Net(depth=2, norm=True, dropout=0.3), batch()
    net.blocks = nn.ModuleList([net.blocks[0], net.blocks[1], net.blocks[0], net.blocks[0]])
    loss_fn = Supervised(functional.cross_entropy, y)
    found, wanted = step("checkpoint-4", net, x, loss_fn), ordinary(net, x, loss_fn)
    assert_close(found[1], wanted[1], 0, 0)
    assert_close(found[2], wanted[2], 0, 0)


def test_checkpointing_runs_every_segment_but_the_last_twice():
    net, (x, y) = Net(), batch()
    runs = [0] * DEPTH
    for t, block in enumerate(net.blocks):
        block.register_forward_pre_hook(lambda *_, t=t: runs.__setitem__(t, runs[t] + 1))
    method("checkpoint-3")(net.blocks, x, Supervised(functional.cross_entropy, y), net.readout)
    assert runs == [2, 2, 2, 2, 1, 1, 1]
    assert method("checkpoint-3").cost(DEPTH).forwards == sum(runs)


@pytest.mark.parametrize("parts", [1, 3, 4])
def test_micro_batches_through_segments_are_micro_batches(parts):
    """Bit for bit, with batch norm and dropout; each block but those of the last segment runs twice."""
    net, (x, y) = Net(norm=True, dropout=0.3), batch()
    loss_fn, runs = Supervised(functional.cross_entropy, y), [0] * DEPTH
    found = step(f"combined-{parts}", net, x, loss_fn)
    for one, two in zip(found, step(f"accumulate-{parts}", net, x, loss_fn), strict=True):
        assert_close(*({"": part} if isinstance(part, torch.Tensor) else part for part in (one, two)), 0, 0)
    for t, block in enumerate(net.blocks):
        block.register_forward_pre_hook(lambda *_, t=t: runs.__setitem__(t, runs[t] + 1))
    method(f"combined-{parts}")(net.blocks, x, loss_fn, net.readout)
    assert sum(runs) == parts * method(f"combined-{parts}").cost(DEPTH).forwards


def test_default_segments_store_least():
    for depth in range(1, 200):
        stored = [k + -(-depth // k) for k in range(1, depth + 1)]
        assert stored[default_segments(depth) - 1] <= min(stored) + 1, depth


@pytest.mark.parametrize("name", ["checkpoint-3", "accumulate-2"])
def test_states_of_several_tensors_and_an_input_that_something_else_made(name):
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(WIDTH, WIDTH)

        def forward(self, state):
            z = torch.tanh(self.linear(state["z"]))
            return {"z": z + state["skip"], "skip": state["skip"] * 0.5}

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.ModuleDict(
            {"stem": nn.Linear(WIDTH, WIDTH), "body": nn.ModuleList(Pair() for _ in range(5))}
        )
    ours, theirs = copy.deepcopy(net).double(), copy.deepcopy(net).double()
    x, _ = batch()
    loss_fn = Supervised(functional.mse_loss, torch.zeros(9, WIDTH, dtype=torch.float64))
    for one, run in ((ours, method(name)), (theirs, method("backprop"))):
        run(one["body"], {"z": one["stem"](x), "skip": x}, loss_fn, lambda state, s: state["z"])
    assert_close(*({n: p.grad for n, p in one.named_parameters()} for one in (ours, theirs)))


CRITERIA = {
    "cross entropy": nn.CrossEntropyLoss(),
    "weighted": nn.CrossEntropyLoss(weight=torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)),
    "some left out": nn.CrossEntropyLoss(ignore_index=1),
    "smoothed": nn.CrossEntropyLoss(
        weight=torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64), label_smoothing=0.2
    ),
    "sum": nn.CrossEntropyLoss(reduction="sum"),
    "function": functional.cross_entropy,
}


@pytest.mark.slow
@settings(max_examples=60)
@given(
    samples=st.integers(1, 13),
    parts=st.integers(1, 15),
    criterion=st.sampled_from(sorted(CRITERIA)),
    seed=st.integers(0, 1000),
)
def test_micro_batches_add_up(samples, parts, criterion, seed):
    net, (x, y) = Net(depth=3, seed=seed), batch(samples, seed)
    y[0] = 0  # not all left out: the mean over nothing is NaN in one batch as well
    loss_fn = Supervised(CRITERIA[criterion], y)
    found, wanted = step(f"accumulate-{parts}", net, x, loss_fn), ordinary(net, x, loss_fn)
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-12, atol=1e-14)
    assert_close(found[1], wanted[1], 1e-10, 1e-14)


def test_micro_batches_of_images_with_pixels_left_out():
    target = torch.randint(3, (5, 2, 2), generator=torch.Generator().manual_seed(0))
    target[1] = -100
    z = torch.randn(5, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    whole = Supervised(functional.cross_entropy, target)
    total = 0.0
    for samples in (slice(0, 1), slice(1, 2), slice(2, 5)):
        some, weight = whole.part(samples)
        total += weight * float(some(z[samples])) if weight else 0.0
    assert total == pytest.approx(float(whole(z)), rel=1e-14)


def test_accumulation_calls_small_batches():
    net, (x, y) = Net(depth=2), batch(7)
    sizes = []
    net.blocks[0].register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    method("accumulate-3")(net.blocks, x, Supervised(functional.cross_entropy, y), net.readout)
    assert sorted(sizes) == [2, 2, 3]


@given(st.integers(1, 60), st.integers(1, 60))
def test_even_parts(total, parts):
    parts = min(total, parts)
    bounds = even_bounds("blocks", total, parts)
    sizes = [b - a for a, b in itertools.pairwise(bounds)]
    assert (bounds[0], bounds[-1], len(sizes)) == (0, total, parts)
    assert max(sizes) - min(sizes) <= 1


# --- horizons, greedy, LoCo -------------------------------------------------------------------------------


def test_horizon_T_is_back_propagation_and_greedy_is_horizon_1():
    net, (x, y) = Net(), batch()
    loss_fn = Supervised(functional.cross_entropy, y)
    assert_close(step(f"horizon-{DEPTH}", net, x, loss_fn)[1], ordinary(net, x, loss_fn)[1])
    assert_close(step("greedy", net, x, loss_fn)[1], step("horizon-1", net, x, loss_fn)[1], 0, 0)


def test_greedy_trains_each_head_on_its_own_loss():
    net, (x, y) = Net(depth=3), batch()
    with torch.random.fork_rng():
        torch.manual_seed(5)
        heads = nn.ModuleList(nn.Linear(WIDTH, 3) for _ in range(3)).double()
    method("greedy")(net.blocks, x, Supervised(functional.cross_entropy, y), lambda z, s: heads[s - 1](z))
    theirs, z = copy.deepcopy(nn.ModuleDict({"blocks": net.blocks, "heads": heads})), x
    theirs.zero_grad()
    for block, head in zip(theirs["blocks"], theirs["heads"], strict=True):
        z = block(z.detach())
        functional.cross_entropy(head(z), y).backward()
    for ours, other in zip([*net.blocks, *heads], [*theirs["blocks"], *theirs["heads"]], strict=True):
        assert_close(*({n: p.grad for n, p in one.named_parameters()} for one in (ours, other)))


@pytest.mark.parametrize(("depth", "stages"), [(15, 3), (15, 5), (7, 3), (2, 2), (9, 2), (5, 5), (6, 4)])
def test_loco_is_eq_21(depth, stages):
    """J^2(t) = l(t) + l(t + 1) over stages, l(0) = 0, l(t) = L(x(t + 1)): each by an autograd call."""
    net, (x, y) = Net(depth=depth), batch()
    loss_fn = Supervised(functional.cross_entropy, y)
    sizes = [len(part) for part in torch.arange(depth).tensor_split(stages)]
    if depth % stages:  # the longer stages may stand anywhere
        bounds = even_bounds("blocks", depth, stages)
    else:
        bounds = [sum(sizes[:j]) for j in range(stages + 1)]
    states = [x]
    for block in net.blocks:
        states.append(block(states[-1]))

    def trajectory(t):
        return loss_fn(net.head(states[bounds[t + 1]])) if t else torch.zeros((), dtype=torch.float64)

    wanted = {}
    for t in range(stages):
        objective = sum(trajectory(s) for s in range(t, min(t + 2, stages)))
        own = {
            f"blocks.{i}.{n}": p
            for i in range(bounds[t], bounds[t + 1])
            for n, p in net.blocks[i].named_parameters()
        }
        found = torch.autograd.grad(objective, list(own.values()), retain_graph=True)
        wanted |= dict(zip(own, found, strict=True))
    head = sum(trajectory(t) for t in range(1, stages))
    wanted["head.weight"], wanted["head.bias"] = torch.autograd.grad(head, list(net.head.parameters()))
    loss, found, _ = step(f"loco-{stages}", net, x, loss_fn)
    assert_close(found, wanted, 1e-12, 1e-14)
    assert float(loss) == pytest.approx(float(loss_fn(net.head(states[-1].detach())).detach()), rel=1e-14)


def test_loco_asks_the_readout_for_layers_of_the_stack():
    net, (x, y) = Net(depth=15), batch()
    asked = []

    def readout(z, s):
        asked.append(s)
        return net.head(z)

    method("loco-5")(net.blocks, x, Supervised(functional.cross_entropy, y), readout)
    assert asked == [6, 9, 12, 15]
    assert loco_targets(15, 3)[9] == range(10)
    assert loco_targets(15, 3)[14] == range(5, 15)
    assert sum(map(len, loco_targets(15, 3))) == 20


# --- forward gradients ------------------------------------------------------------------------------------


def tangents_of(net, seed):
    """The directions that a forward gradient of this seed takes."""
    torch.manual_seed(seed)
    order = {f"modules_among.{n}": p for n, p in net.blocks.named_parameters()}
    order |= {f"head.{n}": p for n, p in net.head.named_parameters()}
    return [torch.randn_like(p) for p in order.values()], list(order.values())


@pytest.mark.parametrize(
    "kind", [{}, {"norm": True}, {"dropout": 0.4}, {"norm": True, "dropout": 0.4}], ids=str
)
def test_forward_gradient_is_the_slope_along_v_times_v(kind):
    """Exactly, for the masks and batch statistics of an ordinary pass after the tangents were drawn."""
    net, (x, y) = Net(depth=4, **kind), batch()
    ours, loss_fn = copy.deepcopy(net), Supervised(functional.cross_entropy, y)
    torch.manual_seed(3)
    loss = forward_gradient(ours.blocks, x, loss_fn, Head(ours.head))
    v, parameters = tangents_of(net, 3)
    theirs = loss_fn(net.head(nn.Sequential(*net.blocks)(x)))
    theirs.backward()
    slope = sum((p.grad * w).sum() for p, w in zip(parameters, v, strict=True))
    assert float(loss) == pytest.approx(float(theirs.detach()), rel=1e-14)
    for p, w in zip([*ours.blocks.parameters(), *ours.head.parameters()], v, strict=True):
        torch.testing.assert_close(p.grad, slope * w, rtol=1e-10, atol=1e-14)
    assert_close(dict(ours.named_buffers()), dict(net.named_buffers()), 0, 0)


class Head(nn.Module):
    def __init__(self, linear):
        super().__init__()
        self.linear = linear

    def forward(self, z, s):
        return self.linear(z)


def projections(count, tangents, wrong=None):
    """Estimates of dL . u for a fixed direction u, over dL . u itself."""
    net, (x, y) = Net(depth=2), batch()
    loss_fn = Supervised(functional.cross_entropy, y)
    net.blocks[0].linear.bias.requires_grad_(False)
    parameters = [p for p in [*net.blocks.parameters(), *net.head.parameters()] if p.requires_grad]
    loss_fn(net.head(nn.Sequential(*net.blocks)(x))).backward()
    u = [p.grad.clone() for p in parameters]
    squared = float(sum((w**2).sum() for w in u))
    torch.manual_seed(0)
    found = []
    for _ in range(count):
        net.zero_grad()
        forward_gradient(net.blocks, x, loss_fn, Head(net.head), tangents)
        assert net.blocks[0].linear.bias.grad is None
        found.append(float(sum((p.grad * w).sum() for p, w in zip(parameters, u, strict=True))) / squared)
    return torch.tensor(found, dtype=torch.float64).numpy()


@pytest.mark.slow
def test_forward_gradient_is_unbiased_and_averaging_narrows_it():
    """Along dL the estimate is |dL|^2 chi^2_1: mean 1, variance 2, over K tangents 2/K. 99.9 % intervals."""
    one, four = projections(1500, 1), projections(400, 4)
    for sample, variance in ((one, 2.0), (four, 0.5)):
        reach = stats.t.ppf(0.9995, len(sample) - 1) * sample.std(ddof=1) / len(sample) ** 0.5
        assert reach < 0.15
        assert abs(sample.mean() - 1) < reach
        assert not abs(sample.mean() / 2 - 1) < reach  # a twin: each tangent counted half
        assert sample.var(ddof=1) == pytest.approx(variance, rel=0.35)


@pytest.mark.parametrize("sharing", ["block", "module", "weight"])
def test_forward_gradient_gives_a_shared_parameter_one_tangent(sharing):
    net, (x, y) = Net(depth=3, norm=True), batch()
    if sharing == "block":
        net.blocks[2] = net.blocks[0]
    elif sharing == "module":
        net.blocks[2].linear, net.blocks[2].norm = net.blocks[0].linear, net.blocks[0].norm
    else:
        net.blocks[2].linear.weight = net.blocks[0].linear.weight
    ours, loss_fn = copy.deepcopy(net), Supervised(functional.cross_entropy, y)
    before = {n: (p, p.clone()) for n, p in ours.named_parameters(remove_duplicate=False)}
    torch.manual_seed(0)
    forward_gradient(ours.blocks, x, loss_fn, Head(ours.head))
    for n, p in ours.named_parameters(remove_duplicate=False):
        assert p is before[n][0], "what was there is there again"
        assert torch.equal(p, before[n][1])
    v, parameters = tangents_of(net, 0)
    loss_fn(net.head(nn.Sequential(*net.blocks)(x))).backward()
    slope = sum((p.grad * w).sum() for p, w in zip(parameters, v, strict=True))
    for p, w in zip([*ours.blocks.parameters(), *ours.head.parameters()], v, strict=True):
        torch.testing.assert_close(p.grad, slope * w, rtol=1e-10, atol=1e-14)
    assert_close(dict(ours.named_buffers()), dict(net.named_buffers()), 0, 0)


def test_all_tangents_of_a_step_see_the_same_masks():
    """With zero learning the losses of all passes agree, and the statistics are those of one pass."""
    net, (x, y) = Net(depth=3, norm=True, dropout=0.5), batch()
    losses = []

    def loss_fn(z):
        losses.append(float(torch.func.debug_unwrap(functional.cross_entropy(z, y)).detach()))
        return functional.cross_entropy(z, y)

    forward_gradient(net.blocks, x, loss_fn, Head(net.head), tangents=5)
    assert len(losses) == 5
    assert len(set(losses)) == 1
    assert int(net.blocks[0].norm.num_batches_tracked) == 1


def test_steps_draw_new_tangents_and_masks():
    net, (x, y) = Net(depth=3, dropout=0.5), batch()
    loss_fn = Supervised(functional.cross_entropy, y)
    seen = set()
    for _ in range(5):
        seen.add(float(forward_gradient(net.blocks, x, loss_fn, Head(net.head), 2)))
    assert len(seen) == 5


# --- one shape for all ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_gradients_accumulate_and_the_head_is_trained(name):
    net, (x, y) = Net(), batch()
    loss_fn, run = Supervised(functional.cross_entropy, y), method(name)
    head = Head(net.head)
    torch.manual_seed(0)
    run(net.blocks, x, loss_fn, head)
    once = {n: p.grad.clone() for n, p in net.named_parameters()}
    torch.manual_seed(0)
    run(net.blocks, x, loss_fn, head)
    assert_close({n: p.grad for n, p in net.named_parameters()}, {n: 2 * g for n, g in once.items()})


@pytest.mark.parametrize("name", EVERY)
def test_frozen_parameters_and_blocks_without_any_stay_so(name):
    net, (x, y) = Net(), batch()
    net.blocks[2].requires_grad_(False)
    stack = [*net.blocks, nn.Tanh()]
    method(name)(stack, x, Supervised(functional.cross_entropy, y), Head(net.head))
    for n, p in net.named_parameters():
        assert (p.grad is None) == (not p.requires_grad), n


@pytest.mark.parametrize("name", EVERY)
def test_without_readout_and_with_functions(name):
    net, (x, _) = Net(depth=4), batch()
    stack = [net.blocks[0], torch.tanh, *net.blocks[1:], torch.sin]
    stack += [torch.sin] if name == "checkpoint-7" else []
    loss = method(name)(stack, x, Supervised(functional.mse_loss, torch.zeros_like(x)))
    z = x
    with torch.no_grad():
        for block in stack:
            z = block(z)
    assert float(loss) == pytest.approx(float(functional.mse_loss(z, torch.zeros_like(x))), rel=1e-13)
    assert all(p.grad is not None for p in net.blocks.parameters())


@pytest.mark.parametrize("name", EVERY)
def test_autocast_and_float32(name):
    net, (x, y) = Net().float(), batch()
    loss_fn = Supervised(functional.cross_entropy, y)
    with torch.autocast("cpu", torch.bfloat16):
        method(name)(net.blocks, x.float(), loss_fn, Head(net.head))
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("name", EVERY)
def test_a_name_is_data(name):
    one = method(name)
    assert one.name == name
    assert one.description
    assert "\n" not in one.description
    assert one.exact == name.startswith(("backprop", "checkpoint", "accumulate", "combined", "revolve"))
    again = pickle.loads(pickle.dumps(one))  # as processes hand it on
    assert (again.name, again.cost(DEPTH)) == (one.name, one.cost(DEPTH))
    assert any(name == known or name.startswith(known.removesuffix("N")) for known in NAMES)


@pytest.mark.parametrize(
    "name",
    [
        "", "bp", "horizon", "horizon-0", "horizon--1", "horizon-04", "horizon-2.5", "horizon-4 ", "loco",
        "loco-1", "accumulate", "greedy-2", "backprop-1", "forward-0", "checkpoint-", None, 4,
    ],
)  # fmt: skip
def test_unknown_names_list_the_known(name):
    with pytest.raises(DomainError) as caught:
        method(name)
    message = str(caught.value)
    assert "\n" not in message
    assert repr(name) in message
    for known in ("backprop", "horizon-N", "checkpoint,", "checkpoint-N", "accumulate-N", "loco-N", "greedy"):
        assert known in message


def not_a_scalar(run, net, x, loss_fn):
    run(net.blocks, x, Supervised(lambda z, t: z, loss_fn.target))


def not_a_tensor(run, net, x, loss_fn):
    run(net.blocks, x, Supervised(lambda z, t: 0.5, loss_fn.target))


def detached(run, net, x, loss_fn):
    run(net.blocks, x, Supervised(lambda z, t: z.detach().sum(), loss_fn.target))


def no_block(run, net, x, loss_fn):
    run([], x, loss_fn)


def for_all(call, error, words, but=()):
    return [(partial(call, method(name)), error, words) for name in EVERY if name not in but]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda net, x, y: method("horizon-9")(net.blocks, x, y), HorizonError, "9"),
        (
            lambda net, x, y: method("checkpoint-9")(net.blocks, x, y),
            DomainError,
            r"segments is 9; expected an integer in 1\.\.7",
        ),
        (
            lambda net, x, y: method("loco-9")(net.blocks, x, y),
            DomainError,
            r"stages is 9; expected an integer in 2\.\.7",
        ),
        (lambda net, x, y: method("accumulate-2")(net.blocks, x, torch.sum), DomainError, "part"),
        (lambda net, x, y: method("accumulate-2")(net.blocks, x[:5], y), ShapeError, r"\[5, 9\] samples"),
        (
            lambda net, x, y: method("accumulate-2")(net.blocks, x[:0], y.part(slice(0))[0]),
            ShapeError,
            r"\[0\] samples",
        ),
        (lambda net, x, y: Supervised(torch.sub, torch.zeros(())).part(slice(1)), ShapeError, "one number"),
        (
            lambda net, x, y: forward_gradient(net.blocks, x, y, None, 0),
            DomainError,
            "tangents is 0; expected an integer >= 1",
        ),
        (lambda net, x, y: forward_gradient([torch.tanh], x, y), DomainError, "no trainable"),
        *for_all(no_block, ShapeError, "empty"),
        *for_all(not_a_scalar, ShapeError, "expected a real scalar"),
        *for_all(not_a_tensor, ShapeError, "float; expected a real scalar"),
        *for_all(detached, DomainError, "no gradient", but=("forward", "forward-2")),
    ],
)
def test_bad_calls_say_why_and_touch_no_gradient(call, error, words):
    net, (x, y) = Net(), batch()
    with pytest.raises(error, match=words) as caught:
        call(net, x, Supervised(functional.cross_entropy, y))
    assert isinstance(caught.value, DlinearError)
    assert "\n" not in str(caught.value)
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("name", [n for n in EVERY if not n.startswith("forward")])
def test_no_grad_is_refused(name):
    net, (x, y) = Net(), batch()
    with torch.no_grad(), pytest.raises(DomainError, match="switched off"):
        method(name)(net.blocks, x, Supervised(functional.cross_entropy, y), net.readout)
