"""Blocks that share a graph: the gradients of graphs apart, to the bit, with h + g - 1 blocks alive."""

from __future__ import annotations

import functools

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from stacks import KINDS, MIXED, Pair, Residual, Spread, batch, squares, stack_of
from test_horizon import Watched
from torch import nn

from dlinear.bridge import horizon_backward, horizon_gradients, step_calls
from dlinear.bridge.autograd import engine
from dlinear.bridge.autograd.gradient_sum import GradientSum
from dlinear.bridge.autograd.signals import OwnLosses
from dlinear.bridge.autograd.window import Segments
from dlinear.bridge.methods import method
from dlinear.bridge.methods.horizon import horizon_targets, kept_blocks, segments_of, windowed_pass
from dlinear.errors import DomainError
from dlinear.theory import costs

T = 9


def step(make, h, g, rule):
    """Loss, buffers and gradients by place of make() = (blocks, x, loss_fn, readout, modules)."""
    torch.manual_seed(7)
    blocks, x, loss_fn, readout, modules = make()
    torch.manual_seed(3)
    loss, gradients = horizon_gradients(blocks, x, loss_fn, h, readout, segment=g, **rule)
    parameters, buffers = list(modules.parameters()), list(modules.buffers())
    assert set(gradients) <= set(parameters)
    return [loss, *buffers, *(gradients.get(p) for p in parameters)]


def assert_same_bits(make, h, g=None, **rule):
    found, wanted = step(make, h, g, rule), step(make, h, 1, rule)
    assert any(g is not None for g in wanted[1:])
    for a, b in zip(found, wanted, strict=True):
        assert (a is None and b is None) or torch.equal(a, b)


def plain(kinds, seed=0):
    blocks = stack_of(kinds, seed).float()
    return blocks, batch(seed).float(), squares(batch(seed + 1).float()), None, blocks


@settings(max_examples=25)
@given(
    kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=2, max_size=9),
    h=st.integers(1, 8),
    g=st.sampled_from((None, 2, 3, 9)),
    seed=st.integers(0, 2**31),
)
@example(kinds=["shared"] * 6, h=4, g=3, seed=0)
@example(kinds=["linear", "identity", "relu in place", "linear", "in place", "linear"], h=4, g=3, seed=1)
@example(kinds=["frozen", "frozen", "norm", "tanh", "residual", "frozen"], h=3, g=2, seed=1)
def test_random_stacks(kinds, h, g, seed):
    if any(p.requires_grad for p in stack_of(kinds, seed).parameters()):
        assert_same_bits(lambda: plain(kinds, seed), min(h, len(kinds)), g)


RULES = {
    "anchored": {"anchored": True},
    "stride 2": {"stride": 2},
    "stride 4": {"stride": 4},
    "runs": {"runs": 2},
    "anchored stages": {"anchored": True, "stride": 4},
    "anchored runs": {"anchored": True, "runs": 2},
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("h", [1, 4, 6])
@pytest.mark.parametrize("g", [None, 3])
def test_rules(rule, h, g):
    kinds = ("residual",) * T if "runs" in rule else (*MIXED, "norm")
    assert_same_bits(lambda: plain(kinds), h, g, **RULES[rule])


def with_readout(kind):
    """A stack whose losses train something beside the blocks, or together with them."""
    blocks, x, loss_fn, _, _ = plain(("residual", "linear", "norm") * 3)
    head, exits = nn.Linear(3, 3), nn.ModuleList(nn.Linear(3, 3) for _ in range(T))
    readout = {
        "head": lambda z, s: head(z),
        "exits": lambda z, s: exits[s - 1](z),
        "tied to one block": lambda z, s: z @ blocks[1].weight,
        "tied to each block": lambda z, s: z @ next(blocks[s - 1].parameters()).reshape(-1)[:3].diag(),
        "dropout": lambda z, s: nn.functional.dropout(head(z)),
        "in place": lambda z, s: head(z).relu_(),
        "writes": lambda z, s: z.mul_(2),
    }[kind]
    return blocks, x, loss_fn, readout, nn.ModuleList([blocks, head, exits])


@pytest.mark.parametrize("h", [1, 3, 8])
@pytest.mark.parametrize(
    "kind", ["head", "exits", "tied to one block", "tied to each block", "dropout", "in place", "writes"]
)
def test_readouts(kind, h):
    assert_same_bits(lambda: with_readout(kind), h, None if h != 3 else 2)


class Constant(nn.Module):
    def __init__(self):
        super().__init__()
        self.value = nn.Parameter(torch.rand(5, 3))

    def forward(self, z):
        return self.value


def captured(kind):
    """Blocks that are no plain modules."""
    blocks, x, loss_fn, _, _ = plain(("residual", "linear", "linear") * 3)
    parts = list(blocks)
    if kind == "functions":
        parts = [lambda z, b=b: b(z) for b in blocks]
    elif kind == "partials of one module":
        parts = [functools.partial(lambda b, z: b(z), blocks[0])] * T
    elif kind == "mixed":
        parts[2:5] = [lambda z, b=b: b(z) for b in blocks[2:5]]
    elif kind == "another module in an attribute":
        blocks[4].other = (blocks[3],)  # a tuple: not registered
        blocks[4].forward = lambda z: z + blocks[3](z)
    elif kind == "hooks":
        blocks[3].register_full_backward_hook(lambda *_: None)
    elif kind == "views":
        blocks[3] = nn.Unflatten(1, (3, 1))
        blocks[4] = nn.Flatten()
        blocks[5] = nn.ReLU(inplace=True)
        parts = list(blocks)
    elif kind == "hands on a parameter":
        blocks[3] = Constant()
        parts = list(blocks)
    return parts, x, loss_fn, lambda z, s: z.reshape(-1, 3), blocks


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize("h", [1, 4, 8])
@pytest.mark.parametrize(
    "kind",
    [
        "functions",
        "partials of one module",
        "mixed",
        "another module in an attribute",
        "hooks",
        "views",
        "hands on a parameter",
    ],
)
def test_blocks_that_are_cut_apart(kind, h):
    assert_same_bits(lambda: captured(kind), h, 3)


@pytest.mark.parametrize("h", [1, 3, 8])
@pytest.mark.parametrize("kind", [tuple, list, dict, Spread])
def test_several_tensors(kind, h):
    def make():
        blocks = nn.ModuleList(Spread(tuple) if kind is Spread else Pair(kind) for _ in range(T))
        x = (batch(0).float(), batch(1).float(), batch(2) > 0)
        x = dict(zip("abc", x, strict=True)) if kind is dict else list(x) if kind is list else x

        def loss_fn(state):
            z, skip, _ = state.values() if isinstance(state, dict) else state
            return squares(batch(3).float())(z) + skip.square().mean()

        return blocks, x, loss_fn, None, blocks

    assert_same_bits(make, h, None if h == 8 else 2)


@pytest.mark.parametrize("h", [1, 3, 8])
def test_masks_statistics_and_autocast(h):
    def make():
        blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)) for _ in range(T)
        )
        return blocks, batch(0).float(), squares(batch(1).float()), None, blocks

    assert_same_bits(make, h, None if h == 8 else 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert_same_bits(make, h, None if h == 8 else 2)


@pytest.mark.parametrize("rule", ["plain", *RULES])
@pytest.mark.parametrize(("h", "g"), [(2, 2), (4, 3), (6, 2), (8, None), (7, 9)])
def test_signals_that_go_back_together_are_the_same_up_to_rounding(rule, h, g):
    kinds, own = ("residual", "linear", "norm") * 3, RULES.get(rule, {})
    kinds = ("residual",) * T if "runs" in own else kinds

    def make():
        blocks = stack_of(kinds, 0)
        return blocks, batch(0).requires_grad_(), squares(batch(1)), None, blocks

    found = together(make, h, g, own, batched=True)
    for a, b in zip(found, together(make, h, g, own), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("end", [(), ("identity", "identity")], ids=["trained end", "end without parameters"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_every_signal_arrives_that_waits_for_others(stride, end):
    """Also where the next signal needs the graphs that it waits at, and where it is the last one."""
    blocks = stack_of(("residual",) * (8 - len(end)) + end, 0)

    def make():
        return blocks, batch(0), squares(batch(1)), None, blocks

    for h in range(1, 8 - len(end)):
        wanted = together(make, h, 1, {"stride": stride})
        for g in (2, 3):
            for a, b in zip(together(make, h, g, {"stride": stride}, True), wanted, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


class Twin(nn.Module):
    """Hands on one tensor twice."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, a, b):
        c = a + torch.tanh(self.linear(b))
        return (c, c) if self.twice else (c, torch.sin(a) * torch.cos(b))

    twice = True


def test_a_tensor_that_a_state_holds_twice():
    """The order in which its signals are summed is that of graphs apart."""

    def make():
        blocks = nn.ModuleList(Twin() for _ in range(8))
        for block in blocks[1::2]:
            block.twice = False
        target = batch(1).float()
        return (
            blocks,
            (batch(0).float(), batch(2).float()),
            lambda z: squares(target)(z[0] * z[1]),
            None,
            blocks,
        )

    for h in (3, 5, 7):
        assert_same_bits(make, h, 3)


def together(make, h, g, rule, batched=False):
    blocks, x, loss_fn, _, _ = make()
    gradients = horizon_gradients(blocks, x, loss_fn, h, segment=g, batched=batched, **rule)[1]
    return [gradients.get(p) for p in (x, *blocks.parameters())]


def test_tuples_go_back_together():
    blocks = nn.ModuleList(Pair(tuple) for _ in range(T)).double()
    x, loss_fn = (batch(0), batch(1), batch(2) > 0), lambda z: (z[0] * batch(3)).sum() + z[1].square().mean()
    found, wanted = (
        horizon_gradients(blocks, x, loss_fn, 6, segment=2, batched=one)[1] for one in (True, False)
    )
    for leaf in wanted:
        torch.testing.assert_close(found[leaf], wanted[leaf], rtol=1e-12, atol=1e-13)


def test_together_fewer_calls_are_made_and_a_block_that_cannot_is_named(monkeypatch):
    count, real = [], torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: count.append(k) or real(*a, **k))
    blocks = stack_of(("residual",) * 16, 0)
    found = [horizon_gradients(blocks, batch(0), squares(batch(1)), 8, segment=4, batched=True)]
    assert [k["is_grads_batched"] for k in count] == [True, True]
    monkeypatch.undo()
    found.append(horizon_gradients(blocks, batch(0), squares(batch(1)), 8, segment=1))
    for leaf, gradient in found[1][1].items():
        torch.testing.assert_close(found[0][1][leaf], gradient, rtol=1e-12, atol=1e-13)
    with pytest.raises(DomainError, match=r"block \d+, or what follows it, cannot take several signals"):
        horizon_backward(
            [Counts() for _ in range(16)], batch(0), squares(batch(1)), 8, segment=4, batched=True
        )


class Counts(Residual):
    """Looks at the numbers of the gradient that passes, which a batch of gradients does not allow."""

    def forward(self, z):
        class Look(torch.autograd.Function):
            @staticmethod
            def forward(ctx, z):
                return z.clone()

            @staticmethod
            def backward(ctx, g):
                return g * (1.0 if g.sum().item() > -1e9 else 2.0)

        return Look.apply(z) + self.linear(z).double() / 9

    def __init__(self):
        super().__init__()
        self.double()


@pytest.mark.parametrize("g", [2, 3, 4])
def test_blocks_alive_when_signals_wait(g):
    Watched.reset()
    blocks = [Watched() for _ in range(16)]
    horizon_backward(blocks, torch.rand(4), lambda z: z.sum(), 8, segment=g, batched=True)
    assert kept_blocks(16, 8, segment=g) <= Watched.peak <= 8 + 2 * (g - 1)
    assert not Watched.alive


# --- memory and work ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("h", [1, 2, 5, 8, 11])
@pytest.mark.parametrize("g", [None, 1, 2, 3, 12])
def test_blocks_alive_and_the_work(h, g):
    Watched.reset()
    blocks, loss_fn = [Watched() for _ in range(12)], lambda z: z.sum()
    x, segments = torch.rand(4), segments_of(h, segment=g)
    found = windowed_pass(blocks, x, horizon_targets(12, h), OwnLosses(blocks, loss_fn, None), segments)
    assert Watched.peak == min(12, h + segments.size - 1) == kept_blocks(12, h, segment=g)
    assert found.vjps == costs.block_vjps(12, h) == len(Watched.counts)
    assert not Watched.alive


@pytest.mark.parametrize("stride", [2, 3, 5])
def test_a_stage_shares_its_graph_for_nothing(stride):
    Watched.reset()
    blocks = [Watched() for _ in range(12)]
    horizon_backward(blocks, torch.rand(4), lambda z: z.sum(), 1, stride=stride)
    assert Watched.peak == stride == kept_blocks(12, 1, stride)


@pytest.mark.parametrize(("h", "stride"), [(8, 1), (8, 2), (8, 3), (4, 3), (9, 1)])
def test_blocks_alive_of_rules(h, stride):
    Watched.reset()
    horizon_backward([Watched() for _ in range(16)], torch.rand(4), lambda z: z.sum(), h, stride=stride)
    assert Watched.peak == kept_blocks(16, h, stride)
    assert method(f"horizon-{h}").predicted(16).memory == kept_blocks(16, h) / 16


def test_horizon_1_frees_each_block_before_the_next_runs():
    Watched.reset()
    blocks = [Watched() for _ in range(12)]
    horizon_backward(blocks, torch.rand(4), lambda z: z.sum(), 1)
    assert Watched.peak == 1
    assert len(Watched.counts) == 12


def calls_of_the_engine(monkeypatch, h, g):
    count, blocks = [], stack_of(("residual",) * 16, 0)
    real = engine.gradients
    monkeypatch.setattr(engine, "gradients", lambda *a: count.append(1) or real(*a))
    horizon_backward(blocks, batch(0), squares(batch(1)), h, segment=g)
    monkeypatch.undo()
    return len(count)


def test_one_call_for_each_segment_that_is_crossed(monkeypatch):
    """Of 9 windows of 8 blocks: 8 and the loss with graphs apart; in pairs at most 5, the loss included."""
    assert calls_of_the_engine(monkeypatch, 8, 1) == 9 * (8 + 1)
    assert calls_of_the_engine(monkeypatch, 8, None) <= 9 * 5 + 1  # the first loss is cut off
    assert calls_of_the_engine(monkeypatch, 8, 16) == 9 + 1
    assert calls_of_the_engine(monkeypatch, 1, None) == 16 + 1


def test_counted_calls_are_those_of_the_model():
    blocks = stack_of(("residual",) * 12, 0)
    for h in (1, 8, 11):
        found = step_calls(method(f"horizon-{h}"), blocks, batch(0), squares(batch(1)))
        assert sum(found.vjps) == costs.block_vjps(12, h)


# --- what would give other gradients is refused ------------------------------------------------------------


class Borrower(nn.Module):
    """Trains another block's tensor, which nothing shows before it runs."""

    def __init__(self, lent):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.key = lent

    def forward(self, z):
        return self.linear(z) + z @ LENT[self.key]


LENT = {}


def test_a_hidden_parameter_of_another_block_is_refused_and_may_be_kept_apart():
    blocks = [Residual(), Residual(), Borrower("w"), Residual(), Residual()]
    LENT["w"] = blocks[1].linear.weight
    x, loss_fn = batch(0).float(), squares(batch(1).float())
    with pytest.raises(
        DomainError, match=r"block 2 and block 1 train one tensor of shape \(3, 3\).*segment=1"
    ):
        horizon_backward(blocks, x, loss_fn, 3, segment=4)
    assert all(p.grad is None for block in blocks for p in block.parameters())
    horizon_backward(blocks, x, loss_fn, 3, segment=1)
    assert blocks[1].linear.weight.grad is not None


@pytest.mark.parametrize(("h", "lent"), [(3, 1), (3, 3), (1, 1)])
def test_a_loss_that_begins_to_train_a_block_is_refused(h, lent):
    blocks = [Residual() for _ in range(5)]
    x, loss_fn = batch(0).float(), squares(batch(1).float())
    tied = lambda z, s: z @ blocks[lent].linear.weight if s > 3 else z * 2  # noqa: E731
    with pytest.raises(DomainError, match=r"the loss at s = 4 and .* train one tensor.*segment=1"):
        horizon_backward(blocks, x, loss_fn, h, tied, segment=None if h == 1 else 4)
    horizon_backward(blocks, x, loss_fn, h, tied, segment=1)


def test_a_loss_may_begin_to_train_its_own_block():
    blocks = [Residual() for _ in range(5)]
    x, loss_fn = batch(0).float(), squares(batch(1).float())
    tied = lambda z, s: z @ blocks[s - 1].linear.weight if s > 3 else z * 2  # noqa: E731
    found, wanted = (horizon_gradients(blocks, x, loss_fn, 1, tied, segment=g)[1] for g in (None, 1))
    for leaf in wanted:
        torch.testing.assert_close(found[leaf], wanted[leaf], rtol=1e-6, atol=1e-7)


def test_shared_parameters_would_be_mixed_up(monkeypatch):
    """The false twin: without the cut between blocks that share, the graph names what it would mix."""
    monkeypatch.setattr(GradientSum, "share", lambda *_: False)
    with pytest.raises(DomainError, match="train one tensor"):
        step(lambda: plain(["shared"] * 6), 4, 3, {})


@pytest.mark.parametrize("g", [0, -1, 1.5, "2", True])
def test_no_such_segment(g):
    with pytest.raises(DomainError, match="segment"):
        horizon_backward([Residual(), Residual()], batch(0).float(), lambda z: z.sum(), 1, segment=g)


def test_the_default_is_a_quarter_of_the_horizon():
    assert [segments_of(h).size for h in (1, 3, 4, 8, 15, 32)] == [1, 1, 1, 2, 3, 8]
    assert segments_of(1, segment=5) == Segments(5, joined=True)


def test_without_torch_s_inner_function_gradients_are_the_same(monkeypatch):
    wanted = step(lambda: plain(MIXED), 4, 2, {})
    monkeypatch.setattr(engine, "_inner", None)
    for a, b in zip(step(lambda: plain(MIXED), 4, 2, {}), wanted, strict=True):
        assert (a is None and b is None) or torch.equal(a, b)
