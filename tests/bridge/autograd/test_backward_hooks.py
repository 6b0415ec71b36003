"""Backward hooks of modules see the loss that their block learns from, once; hooks on tensors see all."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stacks import Residual, batch, grads, slow, squares, stack_of, worst
from torch import nn
from torch.nn.modules.module import register_module_full_backward_hook

from dlinear.bridge import alignment, horizon_backward, horizon_gradients, step_calls, step_memory
from dlinear.bridge.methods import method
from dlinear.errors import DomainError

# torch's own warning, about the first block of any stack whose input requires no gradient
pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook is firing")

KINDS = ("residual", "two", "nested", "norm", "tanh", "linear", "unused", "half frozen")
T = 5


def signals(blocks, x, loss_fn, h):
    """(dL/dx(t), dL/dx(t + 1)) of L(x(min(t + h, T))) for each t, by a pass of its own."""
    found, blocks = [], copy.deepcopy(blocks)
    for t in range(len(blocks)):
        trial, z = copy.deepcopy(blocks), x
        for block in trial[:t]:
            z = block(z).detach()
        before = z.detach().requires_grad_()
        after = z = trial[t](before)
        for block in copy.deepcopy(blocks)[t + 1 : t + h]:
            z = block(z)
        found.append(torch.autograd.grad(loss_fn(z), [before, after]))
    return found


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


@settings(max_examples=40)
@given(
    kinds=st.lists(st.sampled_from(KINDS), min_size=2, max_size=6),
    h=st.integers(1, 6),
    seed=st.integers(0, 2**31),
    wrapped=st.booleans(),
)
def test_a_block_hook_sees_its_own_loss_once(kinds, h, seed, wrapped):
    blocks, x, loss_fn = stack_of(kinds, seed), batch(seed), squares(batch(seed + 1))
    h = min(h, len(blocks))
    wanted, gradients = signals(blocks, x, loss_fn, h), slow(blocks, x, loss_fn, h)
    seen, order = {}, []
    for t, block in enumerate(blocks):
        block.register_full_backward_pre_hook(lambda m, out, t=t: order.append((t, out)))
        block.register_full_backward_hook(lambda m, *pair, t=t: seen.setdefault(t, []).append(pair))
    parts = [functools.partial(lambda b, z: b(z), block) for block in blocks] if wrapped else blocks
    _, found = horizon_gradients(parts, x, loss_fn, h)
    assert worst(found, gradients) < 1e-12
    trained = [t for t, block in enumerate(blocks) if any(p.requires_grad for p in block.parameters())]
    first = trained[0] if trained else len(blocks)
    for t in trained:
        ((into, out),) = seen[t]
        close(out[0], wanted[t][1])
        assert into[0] is None if t == 0 else close(into[0], wanted[t][0]) is None
    for t, calls in seen.items():
        assert t in trained or t > first  # the last losses pass through blocks with nothing to train as well
        assert len(calls) == 1
    assert len(order) == len(seen)


@pytest.mark.parametrize("h", range(1, T + 1))
def test_factors_of_each_layer_multiply_to_its_gradient(h):
    """What Kronecker factors and per-sample gradients rest on: .grad = sum of grad_output x input."""
    blocks, x = stack_of(("nested", "residual", "norm", "two", "linear"), 3), batch(0)
    inputs, outputs = {}, {}
    layers = [module for module in blocks.modules() if isinstance(module, nn.Linear)]
    for layer in layers:
        layer.register_forward_hook(lambda m, given, _: inputs.setdefault(m, []).append(given[0].detach()))
        layer.register_full_backward_hook(lambda m, _, out: outputs.setdefault(m, []).append(out[0]))
    horizon_backward(blocks, x, squares(batch(1)), h)
    for layer in layers:
        (into,), (out,) = inputs[layer], outputs[layer]
        close(layer.weight.grad, out.T @ into)
        close(layer.bias.grad, out.sum(0))


class Factors:
    """K-FAC's running factors of linear layers: A += a^T a forward, G += g^T g backward."""

    def __init__(self, model):
        self.layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
        self.a, self.g = ({layer: 0.0 for layer in self.layers} for _ in range(2))
        for layer in self.layers:
            layer.register_forward_pre_hook(self.forward)
            layer.register_full_backward_hook(self.backward)

    def forward(self, layer, given):
        self.a[layer] = self.a[layer] + given[0].detach().T @ given[0].detach()

    def backward(self, layer, _, out):
        self.g[layer] = self.g[layer] + out[0].T @ out[0]


@pytest.mark.parametrize("h", range(1, T + 1))
def test_kronecker_factors_are_those_of_each_blocks_own_window(h):
    """For the slow way each block is run alone with the loss of its window, by ordinary backward passes."""
    kinds = ("nested", "residual", "norm", "two", "linear")
    blocks, x, loss_fn = stack_of(kinds, 3), batch(0), squares(batch(1))
    ours, z = Factors(blocks), x
    horizon_backward(blocks, x, loss_fn, h)
    slow_blocks = stack_of(kinds, 3)
    theirs = [Factors(block) for block in slow_blocks]
    above = stack_of(kinds, 3)
    for t, block in enumerate(slow_blocks):
        after = block(z)
        end = after
        for later in above[t + 1 : t + h]:
            end = later(end)
        loss_fn(end).backward()
        z = after.detach()
    for name in ("a", "g"):
        wanted = [matrix for factors in theirs for matrix in getattr(factors, name).values()]
        for found, right in zip(getattr(ours, name).values(), wanted, strict=True):
            close(found, right)


class PerSample:
    """dL/dW for each sample: the outer product of the layer's output gradient and its input."""

    def __init__(self, model):
        self.inputs, self.gradients = {}, {}
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.register_forward_pre_hook(lambda m, given: self.inputs.update({m: given[0].detach()}))
                module.register_full_backward_hook(self.backward)

    def backward(self, layer, _, out):
        assert layer not in self.gradients
        self.gradients[layer] = torch.einsum("ni,nj->nij", out[0], self.inputs[layer])


@pytest.mark.parametrize("h", range(1, T + 1))
def test_gradients_of_each_sample_are_those_of_a_batch_of_one(h):
    kinds = ("nested", "residual", "two", "linear", "residual")
    x, y = batch(0), batch(1)
    blocks = stack_of(kinds, 3)
    tool = PerSample(blocks)
    horizon_backward(blocks, x, squares(y), h)
    for n in range(len(x)):
        alone = stack_of(kinds, 3)
        horizon_backward(alone, x[n : n + 1], squares(y[n : n + 1]), h)
        layers = [module for module in alone.modules() if isinstance(module, nn.Linear)]
        of = dict(zip([m for m in blocks.modules() if isinstance(m, nn.Linear)], layers, strict=True))
        for layer, found in tool.gradients.items():
            close(found[n], of[layer].weight.grad)


@pytest.mark.filterwarnings("ignore:Using a non-full backward hook")
def test_hooks_of_all_modules_and_of_the_old_kind_see_it_too():
    blocks, x, loss_fn = stack_of(("linear",) * T, 0), batch(0), squares(batch(1))
    wanted, seen, old = signals(blocks, x, loss_fn, 3), {}, {}
    for block in blocks[::2]:
        block.register_backward_hook(lambda m, _, out: old.setdefault(m, []).append(out[0]))
    horizon_backward(blocks, x, loss_fn, 3)
    assert [len(old[block]) for block in blocks[::2]] == [1, 1, 1]
    for t in (0, 2, 4):
        close(old[blocks[t]][0], wanted[t][1])
    for block in blocks:
        block._backward_hooks.clear()
        block._is_full_backward_hook = None
    handle = register_module_full_backward_hook(lambda m, _, out: seen.setdefault(m, []).append(out[0]))
    try:
        horizon_backward(blocks, x, loss_fn, 3)
    finally:
        handle.remove()
    for t, block in enumerate(blocks):
        (out,) = seen[block]
        close(out, wanted[t][1])


def hooked(blocks, hook):
    blocks[2].register_full_backward_hook(hook)
    return blocks


@pytest.mark.parametrize("h", [1, T])
def test_a_hook_that_changes_gradients_acts_where_every_gradient_meets_it(h):
    def twice(module, into, out):
        return tuple(None if g is None else 2 * g for g in into)

    ours, theirs = (hooked(stack_of(("residual",) * T, 0), twice) for _ in range(2))
    x, loss_fn = batch(0), squares(batch(1))
    horizon_backward(ours, x, loss_fn, h)
    if h == T:
        loss_fn(nn.Sequential(*theirs)(x)).backward()
    else:
        z = x
        for block in theirs:
            z = block(z.detach())
            loss_fn(z).backward()
    for name, found in grads(ours).items():
        close(found, grads(theirs)[name])


@pytest.mark.parametrize("kind", ["register_full_backward_hook", "register_full_backward_pre_hook"])
@pytest.mark.parametrize("h", [2, 3, 4])
def test_a_hook_that_changes_gradients_is_refused_where_some_pass_without_it(h, kind):
    blocks, x, loss_fn = stack_of(("residual",) * T, 0), batch(0), squares(batch(1))
    handle = getattr(blocks[2], kind)(lambda m, *g: tuple(None if one is None else 2 * one for one in g[0]))
    with pytest.raises(DomainError, match=r"block 2 has a backward hook that changes gradients.*on a tensor"):
        horizon_backward(blocks, x, loss_fn, h)
    assert all(p.grad is None for p in blocks.parameters())
    handle.remove()
    getattr(blocks[2], kind)(lambda m, *g: g[0])  # what it received
    horizon_backward(blocks, x, loss_fn, h)
    assert all(p.grad is not None for p in blocks.parameters())


def test_the_first_block_may_change_what_reaches_it_last():
    """No gradient passes through block 0 to an earlier one."""
    blocks = stack_of(("residual",) * 3, 0)
    blocks[0].register_full_backward_pre_hook(lambda m, out: (3 * out[0],))
    x, loss_fn = batch(0), squares(batch(1))
    wanted = slow(stack_of(("residual",) * 3, 0), x, loss_fn, 2)
    horizon_backward(blocks, x, loss_fn, 2)
    close(blocks[0].linear.weight.grad, 3 * next(iter(wanted.values())))


def test_hooks_are_put_back_and_an_error_in_one_leaves_gradients_alone():
    blocks, x, loss_fn = stack_of(("residual",) * 3, 0), batch(0), squares(batch(1))

    def broken(*_):
        raise ArithmeticError("from the hook")

    blocks[1].register_full_backward_hook(broken)
    before = dict(blocks[1]._backward_hooks)
    with pytest.raises(ArithmeticError, match="from the hook"):
        horizon_backward(blocks, x, loss_fn, 2)
    assert dict(blocks[1]._backward_hooks) == before
    assert all(p.grad is None for p in blocks.parameters())
    blocks[1].register_forward_hook(broken)
    with pytest.raises(ArithmeticError, match="from the hook"):
        horizon_backward(blocks, x, loss_fn, 2)
    assert dict(blocks[1]._backward_hooks) == before


def test_a_hook_that_a_forward_run_removes_stays_removed():
    blocks = stack_of(("residual",) * 3, 0)
    handle = blocks[1].register_full_backward_hook(lambda *_: None)
    blocks[1].register_forward_hook(lambda *_: handle.remove())
    horizon_backward(blocks, batch(0), squares(batch(1)), 2)
    assert not blocks[1]._backward_hooks


@pytest.mark.parametrize("measure", [step_memory, step_calls])
def test_a_measured_step_calls_no_hook(measure):
    blocks = stack_of(("residual",) * T, 0)
    for block in blocks:
        block.register_full_backward_hook(lambda *_: pytest.fail("called"))
    measure(method("horizon-2"), blocks, batch(0), squares(batch(1)))
    with pytest.raises(pytest.fail.Exception, match="called"):
        horizon_backward(blocks, batch(0), squares(batch(1)), 2)


def test_a_measurement_calls_no_hook_and_is_not_changed_by_one():
    blocks, head = stack_of(("residual",) * T, 0), Residual().double()
    x, loss_fn = batch(0), squares(batch(1))
    without = alignment(blocks, x, loss_fn, "all", lambda z, s: head(z))
    for block in (*blocks, head):
        block.register_full_backward_hook(lambda *_: pytest.fail("called"))
        block.register_full_backward_pre_hook(lambda *_: pytest.fail("called"))
    assert list(alignment(blocks, x, loss_fn, "all", lambda z, s: head(z)).sin2) == list(without.sin2)


def test_a_readout_sees_every_loss():
    blocks, head, calls = stack_of(("residual",) * T, 0), Residual().double(), []
    head.register_full_backward_hook(lambda *_: calls.append(1))
    horizon_backward(blocks, batch(0), squares(batch(1)), 2, lambda z, s: head(z))
    assert len(calls) == T - 2 + 1


@pytest.mark.parametrize(("name", "calls"), [("loco-3", [1, 1, 2, 2, 1, 1]), ("horizon-2", [1] * 6)])
def test_a_block_with_several_losses_sees_each(name, calls):
    """LoCo: the middle stage learns from two."""
    blocks, seen = stack_of(("linear",) * 6, 0), [0] * 6
    for t, block in enumerate(blocks):
        block.register_full_backward_hook(lambda *_, t=t: seen.__setitem__(t, seen[t] + 1))
    method(name)(blocks, batch(0), squares(batch(1)))
    assert seen == calls


def test_a_module_of_two_blocks_sees_the_loss_of_each():
    shared, outs = Residual().double(), []
    blocks = [Residual().double(), shared, shared, Residual().double()]
    inputs = []
    shared.linear.register_forward_hook(lambda m, given, _: inputs.append(given[0].detach()))
    shared.linear.register_full_backward_hook(lambda m, _, out: outs.append(out[0]))
    horizon_backward(blocks, batch(0), squares(batch(1)), 2)
    assert len(outs) == 2
    close(shared.linear.weight.grad, sum(out.T @ into for out, into in zip(outs, inputs, strict=True)))


@pytest.mark.parametrize("h", range(1, T + 1))
def test_a_hook_on_a_tensor_sees_every_gradient_that_passes(h):
    """Block 2 has h windows above it, less those that end before or after the stack."""
    blocks, seen = stack_of(("residual",) * T, 0), []
    blocks[2].register_forward_hook(lambda m, _, out: out.register_hook(seen.append) and None)
    horizon_backward(blocks, batch(0), squares(batch(1)), h)
    assert len(seen) == min(h, 3, T - h + 1)


def test_blocks_without_hooks_are_run_as_before():
    """A hook in one block costs the others nothing: their inputs require no gradient at h = 1."""
    blocks, seen = stack_of(("residual",) * 4, 0), []
    blocks[2].register_full_backward_hook(lambda *_: None)
    for block in blocks:
        block.register_forward_pre_hook(lambda _, z: seen.append(z[0].requires_grad))
    horizon_backward(blocks, batch(0), squares(batch(1)), 1)
    assert seen == [False, False, True, False]
