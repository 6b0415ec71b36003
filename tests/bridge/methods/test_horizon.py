"""horizon_backward against its definition: each block's gradient by a forward pass of its own."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import weakref
from collections import OrderedDict, namedtuple

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from stacks import KINDS, MIXED, WIDTH, Pair, Residual, Spread, batch, grads, slow, squares, stack_of, worst
from torch import nn
from torch.utils.checkpoint import CheckpointFunction, checkpoint

from dlinear.bridge import horizon_backward, horizon_gradients
from dlinear.bridge.methods.horizon import horizon_targets, sweep
from dlinear.errors import DomainError, HorizonError, ShapeError
from dlinear.theory import costs

EXACT = 1e-12  # of the largest entry, float64
STACKS = {"count": 0, "worst": 0.0}


@pytest.mark.slow
@settings(max_examples=150)
@given(
    kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=9),
    h=st.integers(1, 9),
    seed=st.integers(0, 2**31),
)
@example(kinds=["residual"], h=1, seed=0)
@example(kinds=["tanh"], h=1, seed=0)
@example(kinds=["frozen", "frozen", "norm", "tanh", "frozen"], h=2, seed=1)
@example(kinds=["shared", "shared", "shared", "shared"], h=2, seed=1)
@example(kinds=["in place", "relu in place", "in place", "relu in place", "linear"], h=3, seed=2)
@example(kinds=["identity", "identity", "linear", "identity"], h=3, seed=2)
def test_random_stacks_meet_the_definition(kinds, h, seed):
    blocks, x, y = stack_of(kinds, seed), batch(seed), batch(seed + 1)
    h = min(h, len(blocks))
    wanted = slow(blocks, x, squares(y), h)
    terminal = squares(y)(nn.Sequential(*copy.deepcopy(blocks))(x.clone()))
    loss, found = horizon_gradients(blocks, x.clone(), squares(y), h)
    assert loss.shape == ()
    assert not loss.requires_grad
    assert torch.equal(loss, terminal.detach())
    deviation = worst(found, wanted)
    STACKS["count"] += 1
    STACKS["worst"] = max(STACKS["worst"], deviation)
    assert deviation <= EXACT


def test_report_of_the_random_stacks(request):
    """Printed with -s: how many stacks the property test saw, and the worst deviation."""
    print(f"\n{STACKS['count']} random stacks, worst relative deviation {STACKS['worst']:.1e}")
    assert STACKS["worst"] <= EXACT


def copies(blocks, count=2):
    return [copy.deepcopy(blocks) for _ in range(count)]


def assert_same(found, wanted, atol=1e-14):
    assert found.keys() == wanted.keys()
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-12, atol=atol)


# --- both ends of the family -------------------------------------------------------------------------------


def test_horizon_T_is_backward_with_stem_input_and_head():
    ours, theirs = copies(
        nn.ModuleDict({"stem": Residual(), "body": stack_of(MIXED, 3), "head": Residual()}).double()
    )
    x, y = batch(0), batch(1)
    inputs = [x.clone().requires_grad_(), x.clone().requires_grad_()]
    horizon_backward(ours["body"], ours["stem"](inputs[0]), squares(y), 8, lambda z, s: ours["head"](z))
    loss = squares(y)(theirs["head"](nn.Sequential(*theirs["body"])(theirs["stem"](inputs[1]))))
    loss.backward()
    assert_same(grads(ours), grads(theirs))
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-12, atol=1e-14)


def test_horizon_1_is_detached_local_losses_with_their_heads():
    ours, theirs = copies(nn.ModuleDict({"body": stack_of(MIXED, 3), "head": Residual()}).double())
    x, y = batch(0), batch(1)
    horizon_backward(ours["body"], x, squares(y), 1, lambda z, s: ours["head"](z) * s)
    z = x
    for s, block in enumerate(theirs["body"], start=1):
        z = block(z.detach())
        squares(y)(theirs["head"](z) * s).backward()
    assert_same(grads(ours), grads(theirs))


@pytest.mark.parametrize("h", range(1, 7))
def test_early_exits_of_a_stack_that_changes_shape(h):
    widths = (3, 5, 5, 2, 4, 4, 3)
    body = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths)).double()
    exits = nn.ModuleList(nn.Linear(width, 3) for width in widths[1:]).double()
    x, y = batch(4), batch(5)

    def readout(z, s):
        return exits[s - 1](z)

    loss, found = horizon_gradients(body, x, squares(y), h, readout)
    wanted = slow(body, x, squares(y), h, readout)
    for s in range(h, 7):  # each exit learns from its own loss
        z = nn.Sequential(*body[:s])(x).detach()
        parameters = list(exits[s - 1].parameters())
        wanted.update(
            zip(parameters, torch.autograd.grad(squares(y)(readout(z, s)), parameters), strict=True)
        )
    assert worst(found, wanted) < EXACT
    terminal = squares(y)(readout(nn.Sequential(*body)(x), 6)).detach()
    assert float(loss) == pytest.approx(float(terminal), rel=1e-14)


def test_a_weight_tied_to_the_head_counts_its_own_loss_alone():
    body, x, y = stack_of(("residual", "linear", "residual"), 0), batch(0), batch(1)
    tied = body[1].weight
    h = 1
    _, found = horizon_gradients(body, x, squares(y), h, lambda z, s: z @ tied)
    z = body[0](x).detach()
    (wanted,) = torch.autograd.grad(squares(y)(body[1](z) @ tied), [tied])
    torch.testing.assert_close(found[tied], wanted, rtol=1e-12, atol=1e-14)


@settings(max_examples=60)
@given(data=st.data(), depth=st.integers(1, 7), seed=st.integers(0, 1000))
def test_any_targets(data, depth, seed):
    """Blocks with several losses, or none, in any order (LoCo is one such choice)."""
    targets = []
    for s in range(1, depth + 1):
        low = data.draw(st.integers(0, s))
        targets.append(range(low, data.draw(st.integers(low, s))))
    kinds = data.draw(
        st.lists(
            st.sampled_from(("residual", "two", "tanh", "frozen", "norm")), min_size=depth, max_size=depth
        )
    )
    blocks, x, y = stack_of(kinds, seed), batch(seed), batch(seed + 1)
    found = sweep(list(blocks), x, squares(y), targets).gradients
    wanted = {}
    for s, receivers in enumerate(targets, start=1):
        for t in receivers:
            z = nn.Sequential(*blocks[:s])(x)
            own = [p for p in blocks[t].parameters() if p.requires_grad]
            if own:
                for p, g in zip(own, torch.autograd.grad(squares(y)(z), own), strict=True):
                    wanted[p] = wanted.get(p, 0) + g
    assert worst(found, wanted) < EXACT


# --- states of several tensors -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [tuple, list, dict, Spread])
@pytest.mark.parametrize("h", [1, 2, 4, 5])
def test_several_tensors_between_blocks(kind, h):
    make = Spread if kind is Spread else Pair
    blocks = nn.ModuleList(make(tuple if kind is Spread else kind) for _ in range(5)).double()
    x, y = (batch(0), batch(1), batch(2) > 0), batch(3)
    x = dict(zip("abc", x, strict=True)) if kind is dict else (list(x) if kind is list else x)

    def values(state):
        return list(state.values()) if isinstance(state, dict) else list(state)

    def loss_fn(state):
        return squares(y)(values(state)[0]) + values(state)[1].square().mean()

    _, found = horizon_gradients(blocks, x, loss_fn, h)
    wanted = {}
    for t in range(5):
        z = x
        for k, block in enumerate(blocks[: min(t + h, 5)]):
            z = block(*z) if kind is Spread else block(z)
            if k < t:
                parts = [value.detach() for value in values(z)]
                z = dict(zip("abc", parts, strict=True)) if kind is dict else type(z)(parts)
        own = list(blocks[t].parameters())
        wanted.update(zip(own, torch.autograd.grad(loss_fn(z), own), strict=True))
    assert worst(found, wanted) < EXACT


@pytest.mark.parametrize("first", [Residual, nn.Tanh])
@pytest.mark.parametrize("h", [1, 2, 3])
def test_what_makes_the_input_is_trained_with_block_0(first, h):
    stem, rest = Residual().double(), stack_of(("residual",) * 3, 0)
    blocks, y = [first().double(), *rest], batch(1)
    leaf = batch(0).requires_grad_()
    horizon_backward(blocks, stem(leaf), squares(y), h)
    trained = [leaf, *stem.parameters(), *blocks[0].parameters()]
    wanted = torch.autograd.grad(squares(y)(nn.Sequential(stem, *blocks[:h])(leaf)), trained)
    found = [tensor.grad for tensor in trained]
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_input_tensors_that_want_a_gradient_get_it_alone():
    blocks = nn.ModuleList(Pair(tuple) for _ in range(3)).double()
    z, skip = batch(0).requires_grad_(), batch(1)
    horizon_backward(blocks, (z, skip, batch(2) > 0), lambda s: s[0].sum(), 3)
    state = nn.Sequential(*blocks)((other := z.detach().clone().requires_grad_(), skip, batch(2) > 0))
    state[0].sum().backward()
    torch.testing.assert_close(z.grad, other.grad, rtol=1e-12, atol=1e-14)
    assert skip.grad is None


# --- one ordinary pass ------------------------------------------------------------------------------


@pytest.mark.parametrize("h", [1, 3, 6])
def test_forward_once_statistics_masks_hooks(h):
    def make():
        torch.manual_seed(0)
        return nn.ModuleList(
            nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)) for _ in range(6)
        )

    ours, theirs = make(), make()
    calls = []
    for t, block in enumerate(ours):
        block.register_forward_hook(lambda *_, t=t: calls.append(t))
    x, y = batch(0).float(), batch(1).float()
    torch.manual_seed(7)
    loss = horizon_backward(ours, x, squares(y), h)
    torch.manual_seed(7)
    wanted = squares(y)(nn.Sequential(*theirs)(x))
    assert torch.equal(loss, wanted)  # the same masks
    assert calls == list(range(6))
    for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
        assert torch.equal(a, b)


def test_gradients_accumulate_and_do_not_alias():
    blocks, x, y = stack_of(MIXED, 0), batch(0), batch(1)
    horizon_backward(blocks, x, squares(y), 3)
    once = {name: g.clone() for name, g in grads(blocks).items()}
    horizon_backward(blocks, x, squares(y), 3)
    assert_same(grads(blocks), {name: 2 * g for name, g in once.items()})


@pytest.mark.parametrize("join", [torch.add, lambda a, b: torch.cat([a, b])])
@pytest.mark.parametrize("loss_fn", [torch.sum, lambda z: (z + 1).square().sum() / 2])
def test_parameters_whose_gradients_are_one_tensor_get_their_own_memory(join, loss_fn):
    class Join(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(4))

        def forward(self, z):
            return z + join(self.a, self.b)

    block = Join()
    horizon_backward([block, nn.Identity()], torch.zeros(1), loss_fn, 1)
    block.a.grad.add_(5)
    assert block.b.grad.tolist() == [1, 1, 1, 1]
    for parameter in block.parameters():
        assert parameter.grad.stride() == parameter.stride()
        assert parameter.grad.untyped_storage().nbytes() == 16


def test_hooks_on_parameters_fire_once():
    blocks, x, y = stack_of(("residual",) * 4, 0), batch(0), batch(1)
    after = []
    blocks[1].linear.weight.register_hook(lambda g: 10 * g)
    blocks[1].linear.weight.register_post_accumulate_grad_hook(lambda p: after.append(p.grad.clone()))
    wanted = slow(copy.deepcopy(blocks), x, squares(y), 2)
    horizon_backward(blocks, x, squares(y), 2)
    weight = [g for p, g in wanted.items()][2]
    torch.testing.assert_close(blocks[1].linear.weight.grad, 10 * weight, rtol=1e-12, atol=1e-14)
    assert len(after) == 1
    assert torch.equal(after[0], blocks[1].linear.weight.grad)


def test_sparse_gradients_of_an_embedding():
    table = nn.Embedding(10, WIDTH, sparse=True).double()
    words, y = torch.tensor([1, 4, 4, 7, 9]), batch(0)
    for _ in range(2):
        horizon_backward([table, Residual().double()], words, squares(y), 1)
    wanted = torch.autograd.grad(squares(y)(table(words)), [table.weight])[0]
    torch.testing.assert_close(table.weight.grad.to_dense(), 2 * wanted.to_dense(), rtol=1e-12, atol=1e-14)


# --- work and memory ---------------------------------------------------------------------------------------


class Held:
    """Something that lives as long as a block's graph."""


class Watched(nn.Module):
    alive: weakref.WeakSet
    peak: int
    counts: list  # how many are alive at each backward

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(()))

    @classmethod
    def reset(cls):
        cls.alive, cls.peak, cls.counts = weakref.WeakSet(), 0, []

    def forward(self, z):
        class Scale(torch.autograd.Function):
            @staticmethod
            def forward(ctx, z, w):
                ctx.save_for_backward(z, w)
                ctx.held = Held()
                Watched.alive.add(ctx.held)
                Watched.peak = max(Watched.peak, len(Watched.alive))
                return z * w

            @staticmethod
            def backward(ctx, g):
                Watched.counts.append(len(Watched.alive))
                z, w = ctx.saved_tensors
                return g * w, (g * z).sum()

        return Scale.apply(z, self.weight)


@pytest.mark.parametrize("h", [1, 2, 5, 11, 12])
def test_at_most_h_graphs_are_alive_and_the_work_is_as_counted(h):
    Watched.reset()
    blocks = [Watched() for _ in range(12)]
    step = sweep(blocks, torch.rand(4), lambda z: z.sum(), horizon_targets(12, h))
    assert Watched.peak == h == costs.stored_blocks_eager(12, h)
    assert step.vjps == costs.block_vjps(12, h) == len(Watched.counts)
    assert Watched.counts[-h:] == list(range(h, 0, -1))  # the last window is freed on its way back
    assert not Watched.alive


def test_a_block_works_on_the_memory_of_the_one_before():
    seen = []
    blocks = stack_of(("residual",) * 3, 0)
    for block in blocks:
        block.register_forward_hook(lambda _, z, out: seen.append((z[0].data_ptr(), out.data_ptr())))
    horizon_backward(blocks, batch(0), squares(batch(1)), 2)
    assert seen[0][1] == seen[1][0]
    assert seen[1][1] == seen[2][0]


@pytest.mark.parametrize(
    ("h", "frozen", "wanted"), [(1, 0, "0000"), (2, 0, "0111"), (2, 1, "0011"), (4, 2, "0001")]
)
def test_gradients_pass_to_an_input_only_where_a_window_needs_it(h, frozen, wanted):
    seen = []
    blocks = stack_of(("residual",) * 4, 0)
    blocks[:frozen].requires_grad_(False)
    for block in blocks:
        block.register_forward_pre_hook(lambda _, z: seen.append("01"[z[0].requires_grad]))
    horizon_backward(blocks, batch(0), squares(batch(1)), h)
    assert "".join(seen) == wanted


def test_frozen_first_blocks_cost_nothing():
    blocks = [Watched() for _ in range(8)]
    for block in blocks[:5]:
        block.weight.requires_grad_(False)
    Watched.reset()
    step = sweep(blocks, torch.rand(4), lambda z: z.sum(), horizon_targets(8, 8))
    assert step.vjps == 3
    assert set(step.gradients) == {block.weight for block in blocks[5:]}


# --- precision, compilation, devices ------------------------------------------------------------------------


@pytest.mark.parametrize("h", [1, 2, 4])
def test_autocast(h):
    blocks, x, y = stack_of(("residual",) * 4, 0).float(), batch(0).float(), batch(1).float()
    with torch.autocast("cpu", torch.bfloat16):
        _, found = horizon_gradients(blocks, x, squares(y), h)
    for t in range(4):
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                z = nn.Sequential(*blocks[:t])(x)
            wanted = squares(y)(nn.Sequential(*blocks[t : t + h])(z))
        own = list(blocks[t].parameters())
        for p, g in zip(own, torch.autograd.grad(wanted, own), strict=True):
            assert torch.equal(found[p], g)
            assert g.dtype == torch.float32


def test_mixed_dtypes():
    class To(nn.Module):
        def __init__(self, dtype):
            super().__init__()
            self.linear = nn.Linear(WIDTH, WIDTH, dtype=dtype)

        def forward(self, z):
            return self.linear(z.to(self.linear.weight.dtype))

    blocks = nn.ModuleList(map(To, (torch.float32, torch.bfloat16, torch.float64, torch.float32)))
    y = batch(1)
    _, found = horizon_gradients(blocks, batch(0), squares(y), 2, lambda z, s: z.double())
    for t in range(4):
        z = nn.Sequential(*blocks[:t])(batch(0)).detach()
        z = nn.Sequential(*blocks[t : t + 2])(z)
        own = list(blocks[t].parameters())
        for p, g in zip(own, torch.autograd.grad(squares(y)(z.double()), own), strict=True):
            assert found[p].dtype == p.dtype
            assert torch.equal(found[p], g)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiled_blocks():
    blocks, x, y = stack_of(("residual",) * 5, 0), batch(0), batch(1)
    wanted = slow(blocks, x, squares(y), 3)
    compiled = [torch.compile(block, backend="aot_eager") for block in blocks]
    _, found = horizon_gradients(compiled, x, squares(y), 3)
    assert worst(found, wanted) < EXACT


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here")
def test_cuda():
    blocks, x, y = stack_of(MIXED, 0), batch(0), batch(1)
    wanted = [g for p, g in horizon_gradients(blocks, x, squares(y), 3)[1].items()]
    found = horizon_gradients(blocks.cuda(), x.cuda(), squares(y.cuda()), 3)[1]
    for a, b in zip(found.values(), wanted, strict=True):
        torch.testing.assert_close(a.cpu(), b, rtol=1e-10, atol=1e-12)


# --- errors leave .grad as it was -------------------------------------------------------------------


class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(WIDTH, 1)

    def forward(self, z):
        return self.linear(z)


class Boom(Residual):
    def forward(self, z):
        raise RuntimeError("boom")


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"horizon": 0}, HorizonError, "horizon = 0: allowed is an integer in 1..4"),
        ({"horizon": 5}, HorizonError, "horizon = 5: allowed"),
        ({"horizon": 1.5}, HorizonError, "horizon = 1.5: allowed"),
        ({"horizon": "two"}, HorizonError, "horizon = 'two': allowed"),
        ({"horizon": None}, HorizonError, "horizon = None: allowed"),
        ({"horizon": True}, HorizonError, "horizon = True: allowed"),
        ({"horizon": [1, 2]}, HorizonError, "one integer in 1..4"),
        ({"blocks": []}, ShapeError, "the stack is empty"),
        ({"blocks": nn.Linear(3, 3)}, ShapeError, "one Linear"),
        ({"blocks": [3]}, ShapeError, "block 0 is a int"),
        ({"loss_fn": lambda z: z}, ShapeError, r"the loss at s = 1 is torch.float64, shape \(5, 3\)"),
        ({"loss_fn": lambda z: 1.0}, ShapeError, "float"),
        ({"loss_fn": lambda z: z.sum().long()}, ShapeError, "int64"),
        ({"loss_fn": lambda z: z.detach().sum()}, DomainError, "the loss at s = 1 has no gradient"),
        ({"last": Wide}, ShapeError, r"x\(1\) has shape \(5, 3\) but x\(4\) has \(5, 1\).*readout"),
        ({"last": Boom}, RuntimeError, "boom"),
    ],
)
def test_errors(change, error, said):
    blocks = stack_of(("residual",) * 4, 0)
    horizon_backward(blocks, batch(0), squares(batch(1)), 2)
    before = {name: g.clone() for name, g in grads(blocks).items()}
    words = {"blocks": blocks, "x": batch(0), "loss_fn": squares(batch(1)), "horizon": 1, **change}
    if "last" in words:
        words["blocks"] = [*blocks[:3], words.pop("last")().double()]
    with pytest.raises(error, match=said) as caught:
        horizon_backward(**words)
    assert "\n" not in str(caught.value)
    assert_same(grads(blocks), before, atol=0)


@pytest.mark.parametrize("h", [1, 2, 3])
@pytest.mark.parametrize(
    ("widths", "said"),
    [
        ((3, 4), r"the readout of the loss at s = \d does not take a tensor of shape \(5, 3\): "),
        ((4, 3), r"the loss at s = \d does not take a tensor of shape \(5, 4\): "),
    ],
)
def test_a_readout_and_a_loss_that_do_not_fit_say_where_and_what_they_were_given(widths, said, h):
    needs, gives = widths[1] if widths[0] == 3 else 3, widths[0]
    head = nn.Linear(needs, gives).double()
    with pytest.raises(ShapeError, match=said):
        horizon_backward(stack_of(("residual",) * 3, 0), batch(0), squares(batch(1)), h, lambda z, s: head(z))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_switched_off(mode):
    with mode(), pytest.raises(DomainError, match="switched off"):
        horizon_backward([Residual().double()], batch(0), squares(batch(1)), 1)


def test_a_skip_outside_the_state_is_named():
    kept = []

    class Keep(Residual):
        def forward(self, z):
            kept.append(super().forward(z))
            return kept[-1]

    class Use(Residual):
        def forward(self, z):
            return super().forward(z) + kept[0]

    with pytest.raises(ShapeError, match="block 2 uses a tensor made in an earlier block"):
        horizon_backward([Residual(), Keep(), Use()], torch.rand(5, 3), lambda z: z.sum(), 2)


class Detached(nn.Module):
    """A block with parameters of which its output does not depend."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x):
        return self.linear(x).detach()


@pytest.mark.parametrize("h", [1, 2, 3])
@pytest.mark.parametrize(
    "blocks",
    [
        lambda: [nn.Tanh(), nn.Tanh(), nn.Tanh()],
        lambda: [nn.Linear(3, 3).requires_grad_(False) for _ in range(3)],
        lambda: [Detached() for _ in range(3)],
        lambda: [lambda z: z + 1, nn.Identity(), Detached()],
    ],
)
def test_nothing_to_train_is_said(blocks, h):
    """Also at h = T; the gradients themselves are then none, and no error."""
    some = blocks()
    assert horizon_gradients(some, torch.rand(5, 3), lambda z: z.sum(), h)[1] == {}
    with pytest.raises(DomainError, match="no gradient reaches a trainable tensor"):
        horizon_backward(some, torch.rand(5, 3), lambda z: z.sum(), h)


def test_what_can_be_trained_is_trained_among_frozen_and_detaching_blocks():
    """A block that detaches cuts off those before it, as in back-propagation."""
    blocks = [nn.Linear(3, 3), Detached(), nn.Linear(3, 3).requires_grad_(False), nn.Linear(3, 3)]
    for h in (1, 2, 4):
        copies_ = copy.deepcopy(blocks)
        horizon_backward(copies_, torch.rand(5, 3), lambda z: z.square().sum(), h)
        assert [any(p.grad is not None for p in b.parameters()) for b in copies_] == [
            h < 2,
            False,
            False,
            True,
        ]
    head = nn.Linear(3, 2)
    horizon_backward([nn.Tanh()], torch.rand(5, 3), lambda z: z.sum(), 1, lambda z, s: head(z))
    assert head.weight.grad is not None


IN_PLACE_ENDS = {
    "readout relu": (lambda z: z.square().sum(), lambda z, s: nn.functional.relu(z, inplace=True)),
    "readout module": (lambda z: z.square().sum(), lambda z, s: nn.ReLU(inplace=True)(z)),
    "readout slice": (lambda z: z.square().sum(), lambda z, s: z[:, :1].mul_(3) * z[:, 1:]),
    "loss": (lambda z: z.mul_(2).square().sum(), None),
    "loss and readout": (lambda z: z.add_(1).square().sum(), lambda z, s: z.mul_(s)),
    "only later": (lambda z: z.square().sum(), lambda z, s: z.mul_(2) if s > 2 else z * 2),
}


@pytest.mark.parametrize("h", [1, 2, 3, 4])
@pytest.mark.parametrize("name", IN_PLACE_ENDS)
def test_readout_and_loss_may_write_into_the_state(name, h):
    """As many gradients as with a copy, at every horizon; or a refusal, never others."""
    loss_fn, readout = IN_PLACE_ENDS[name]
    torch.manual_seed(0)
    blocks, x = [nn.Linear(3, 3) for _ in range(4)], torch.rand(5, 3)
    wanted = horizon_gradients(
        blocks,
        x,
        lambda z: loss_fn(z.clone()),
        h,
        None if readout is None else lambda z, s: readout(z.clone(), s),
    )
    if name == "only later" and h < 3:
        with pytest.raises(DomainError, match=r"write into x\(3\), but not into the states before"):
            horizon_gradients(blocks, x, loss_fn, h, readout)
        return
    found = horizon_gradients(blocks, x, loss_fn, h, readout)
    assert_same(found[1], wanted[1], atol=1e-6)
    assert torch.equal(found[0], wanted[0])


def test_a_write_into_what_a_block_keeps_is_named():
    """tanh keeps its output for its gradient; torch refuses as well, in more words."""
    blocks = [nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3), nn.Tanh()]
    with pytest.raises(DomainError, match="block 1 keeps a tensor for its gradient that was written into"):
        horizon_backward(blocks, torch.rand(5, 3), lambda z: z.mul_(2).sum(), 2)


class Writes(nn.Module):
    """Writes into the first part of its input."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, state):
        a, b = state
        a.mul_(2)
        return a * self.scale, b


class Twice(nn.Module):
    """Hands on its state and what overlaps it."""

    def __init__(self, other):
        super().__init__()
        self.scale, self.other = nn.Parameter(torch.ones(())), other

    def forward(self, x):
        z = x * self.scale
        return z, self.other(z)


@pytest.mark.parametrize("other", [lambda z: z, lambda z: z[:1], lambda z: z.T, lambda z: z.view(-1)])
def test_a_write_into_overlapping_parts_of_a_state_is_refused(other):
    def loss_fn(z):
        return z[0].sum() + z[1].sum()

    with pytest.raises(DomainError, match="block 1 writes into a part of its input that overlaps another"):
        horizon_backward([Twice(other), Writes()], torch.rand(2, 3), loss_fn, 1, lambda z, s: z)
    apart = [Twice(lambda z: other(z).clone()), Writes()]
    horizon_backward(apart, torch.rand(2, 3), loss_fn, 1, lambda z, s: z)
    assert all(p.grad is not None for block in apart for p in block.parameters())


def test_overlapping_parts_that_nobody_writes_into_are_fine():
    class Adds(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, state):
            return state[0] * self.scale + state[1]

    blocks, x = [Twice(lambda z: z), Adds(), nn.Linear(3, 3)], torch.rand(2, 3)
    nn.Sequential(*blocks)(x).sum().backward()
    wanted = {p: p.grad for block in blocks for p in block.parameters()}
    assert_same(horizon_gradients(blocks, x, lambda z: z.sum(), 3)[1], wanted, atol=1e-6)
    short = horizon_gradients(blocks, x, lambda z: z.sum(), 2, lambda z, s: z)[1]
    assert_same(
        {p: short[p] for p in blocks[2].parameters()},
        {p: wanted[p] for p in blocks[2].parameters()},
        atol=1e-6,
    )


@dataclasses.dataclass
class Box:
    z: torch.Tensor


class Bag(dict):
    pass


@pytest.mark.parametrize(
    "wrap",
    [
        Box,
        lambda z: Bag(z=z),
        lambda z: (z, Box(z)),
        lambda z: {"z": z, "more": object()},
        lambda z: z.detach().numpy(),
    ],
)
def test_a_state_that_hides_its_tensors_is_refused(wrap):
    with pytest.raises(DomainError, match=r"block 0 hands on a .*; a state is a tensor, or a tuple"):
        horizon_backward([lambda z: wrap(z), nn.Linear(3, 3)], torch.rand(2, 3), lambda z: z.sum(), 1)


@pytest.mark.parametrize(
    "wrap",
    [lambda z: {"z": z, "n": 3}, lambda z: [z, None], lambda z: OrderedDict(z=z), lambda z: Named(z, "name")],
)
def test_containers_of_tensors_are_states(wrap):
    linear = nn.Linear(3, 3)
    blocks = [lambda z: wrap(linear(z)), lambda s: next(iter(s.values() if isinstance(s, dict) else s))]
    horizon_backward(
        blocks,
        torch.rand(2, 3),
        lambda z: z.sum(),
        1,
        lambda z, s: z if s == 2 else next(iter(z.values() if isinstance(z, dict) else z)),
    )
    assert linear.weight.grad is not None


Named = namedtuple("Named", "z name")


class Reentrant(nn.Module):
    def __init__(self):
        super().__init__()
        self.f = nn.Linear(3, 3)

    def forward(self, x):
        return x + checkpoint(self.f, x, use_reentrant=True)


class ReentrantBeside(nn.Module):
    """A checkpoint whose input requires no gradient, beside a trained layer: no trace of it in the graph."""

    def __init__(self):
        super().__init__()
        self.inner, self.stem = nn.Sequential(Reentrant()), nn.Linear(3, 3)

    def forward(self, x):
        return self.stem(x) + self.inner(x.detach())


@pytest.mark.filterwarnings("ignore:None of the inputs")
@pytest.mark.parametrize("h", [1, 2, 3])
@pytest.mark.parametrize("name", ["block 0", "block 1", "the loss at s = [123]"])
def test_reentrant_checkpointing_without_a_trace_in_the_graph_is_refused(h, name):
    part, blocks, head = ReentrantBeside(), [nn.Linear(3, 3) for _ in range(3)], None
    if name.startswith("block"):
        blocks[int(name[-1])] = part
    else:
        head = lambda z, s: part(z)  # noqa: E731
    with pytest.raises(DomainError, match=f"{name} checkpoints in torch's reentrant way"):
        horizon_backward(blocks, torch.rand(2, 3), lambda z: z.square().sum(), h, head)
    assert all(p.grad is None for block in blocks for p in block.parameters())
    part(torch.rand(2, 3)).sum().backward()  # elsewhere torch's way is as it was
    assert "apply" not in vars(CheckpointFunction)


@pytest.mark.filterwarnings("ignore:None of the inputs")
@pytest.mark.parametrize("h", [1, 2])
@pytest.mark.parametrize("wrapped", [lambda b: b, lambda b: lambda x: b(x)])
def test_reentrant_checkpointing_in_a_block_is_refused(h, wrapped):
    blocks = [nn.Linear(3, 3), wrapped(Reentrant()), Reentrant()]
    with pytest.raises(
        DomainError, match=r"block 1 checkpoints in torch's reentrant way.*use_reentrant=False"
    ):
        horizon_backward(blocks, torch.rand(2, 3), lambda z: z.square().sum(), h)
    assert all(p.grad is None for p in blocks[0].parameters())


def test_sparse_and_dense_gradients_add_up_in_any_order():
    """As torch accumulates: a sparse .grad and then a dense gradient."""
    table = nn.Embedding(4, 3, sparse=True)
    ids, sums = torch.tensor([0, 2]), []
    for order in ((True, False), (False, True), (True, True)):
        table.weight.grad = None
        for sparse in order:
            table.sparse = sparse
            horizon_backward([table, nn.Linear(3, 3)], ids, lambda z: z.sum(), 1)
        grad = table.weight.grad
        sums.append(grad.to_dense() if grad.is_sparse else grad)
    assert torch.allclose(sums[0], sums[1])
    assert torch.allclose(sums[0], sums[2])
    tied = [table, lambda z: z @ table.weight.T]  # one weight, a sparse and a dense gradient in one pass
    table.sparse, table.weight.grad = True, None
    horizon_backward(tied, ids, lambda z: z.square().sum(), 2)
    found, table.weight.grad, table.sparse = table.weight.grad, None, False
    horizon_backward(tied, ids, lambda z: z.square().sum(), 2)
    assert torch.allclose(found.to_dense() if found.is_sparse else found, table.weight.grad)
