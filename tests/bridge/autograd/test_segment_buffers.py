"""Statistics of blocks that run twice are updated once, however a block comes by its modules."""

from __future__ import annotations

import functools
import sys
import threading
import types

import pytest
import torch
from torch import nn
from torch.nn import functional

from dlinear.bridge import Supervised, method
from dlinear.bridge.autograd.modules import modules_among, modules_and_loose_tensors
from dlinear.bridge.autograd.segment_buffers import SMALL, SegmentBuffers
from dlinear.errors import DomainError


class Attribute:
    def __init__(self, norm):
        self.norm = norm

    def __call__(self, z):
        return self.norm(z)


class Slots(Attribute):
    __slots__ = ("norm",)


class Private:
    __slots__ = ("__dict__", "__norm")

    def __init__(self, norm):
        self.__norm = norm

    def __call__(self, z):
        return self.__norm(z)


class Containers:
    def __init__(self, norm):
        self.things = {"a": [("x", (types.SimpleNamespace(norm=norm),))]}

    def __call__(self, z):
        return self.things["a"][0][1][0].norm(z)


class Unregistered(nn.Module):
    """torch finds no module in a list."""

    def __init__(self, norm):
        super().__init__()
        self.norms = [norm]

    def forward(self, z):
        return self.norms[0](z)


def of_class(norm):
    class Holder:
        kept = norm

        def __call__(self, z):
            return self.kept(z)

    return Holder()


def nested(norm):
    def outer():
        def inner(z):
            return norm(z)

        return inner

    return lambda z: outer()(z)


def chained(norm, times=12):
    block = norm
    for _ in range(times):
        block = functools.partial(lambda inner, z: inner(z), block)
    return block


def wrapped(norm):
    @functools.wraps(norm.forward)
    def block(z):
        return norm(z)

    return functools.wraps(block)(lambda *words: block(*words))


def imported(norm):
    """Nothing leads to it: it is looked up while the block runs."""
    sys.modules["looked_up"] = types.ModuleType("looked_up")
    sys.modules["looked_up"].norm = norm
    return lambda z: sys.modules["looked_up"].norm(z)


def compiled(function):
    return torch.compile(function, backend="eager")


WAYS = {
    "module": lambda norm: norm,
    "default": lambda norm: lambda z, norm=norm: norm(z),
    "keyword": lambda norm: lambda z, *, norm=norm: norm(z),
    "closure": lambda norm: lambda z: norm(z),
    "nested": nested,
    "partial": lambda norm: functools.partial(norm.forward),
    "keywords of a partial": lambda norm: functools.partial(lambda z, inner: inner(z), inner=norm),
    "method": lambda norm: norm.forward,
    "call": lambda norm: norm.__call__,
    "twelve partials": chained,
    "wrapped": wrapped,
    "attribute": Attribute,
    "slots": Slots,
    "private slot": Private,
    "class": of_class,
    "containers": Containers,
    "unregistered": Unregistered,
    "unregistered below": lambda norm: nn.Sequential(nn.Identity(), Unregistered(norm)),
    "imported": imported,
    "compiled": lambda norm: compiled(norm),
    "compiled function": lambda norm: compiled(lambda z, norm=norm: norm(z)),
    "compiled closure": lambda norm: compiled(lambda z: norm(z)),
    "a function that calls a compiled one": lambda norm: nested(compiled(norm)),
    "partial of a compiled one": lambda norm: functools.partial(compiled(norm).forward),
}


@pytest.fixture(autouse=True)
def nothing_looked_up():
    yield
    sys.modules.pop("looked_up", None)


def stepped(name, way, seed=0):
    """Running mean, count and the gradient of the scale after one step."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        norm, linear = nn.BatchNorm1d(3).double(), nn.Linear(3, 3).double()
        x = torch.randn(8, 3, dtype=torch.float64)
    loss_fn = Supervised(functional.mse_loss, torch.zeros(8, 3, dtype=torch.float64))
    method(name)([WAYS[way](norm), linear, torch.tanh], x, loss_fn)
    return norm.running_mean, norm.running_var, norm.num_batches_tracked, norm.weight.grad


@pytest.mark.parametrize("name", ["checkpoint-2", "checkpoint-3", "combined-2"])
@pytest.mark.parametrize("way", WAYS)
def test_statistics_are_those_of_one_pass(way, name):
    """Of back-propagation; of micro-batches those of micro-batches that are not checkpointed."""
    torch._dynamo.reset()
    wanted = stepped(name.replace("combined", "accumulate") if "combined" in name else "backprop", "module")
    for found, value in zip(stepped(name, way), wanted, strict=True):
        torch.testing.assert_close(found, value, rtol=1e-14, atol=0)


@pytest.mark.parametrize("way", [way for way in WAYS if way != "imported"])
def test_the_module_is_found(way):
    norm = nn.BatchNorm1d(3)
    found = modules_among([WAYS[way](norm)])
    assert norm in [part for module in found for part in module.modules()]


def test_modules_in_evaluation_mode_stay_as_they_are():
    norm = nn.BatchNorm1d(3).eval()
    before = norm.running_mean.clone()
    blocks = [lambda z: norm(z), nn.Linear(3, 3), nn.Identity()]
    method("checkpoint-2")(blocks, torch.randn(4, 3), lambda z: z.square().mean())
    assert torch.equal(norm.running_mean, before)
    assert SegmentBuffers([norm])._before == {}


def statistics(keep):
    """Batch norm on tensors of the block's own."""
    scale = torch.ones(3, requires_grad=True)
    return lambda z: functional.batch_norm(z, *keep, weight=scale, training=True)


def counter(keep):
    scale = torch.ones(3, requires_grad=True)

    def block(z):
        with torch.no_grad():
            keep[0].add_(1)
        return z * scale

    return block


def bare(shape=3):
    return [torch.zeros(shape), torch.ones(3)]


@pytest.mark.parametrize("block", [statistics, counter])
@pytest.mark.parametrize("name", ["checkpoint-2", "combined-2"])
def test_state_that_no_module_holds_is_refused(block, name):
    loss_fn = Supervised(functional.mse_loss, torch.zeros(8, 3))
    linear = nn.Linear(3, 3)
    with pytest.raises(DomainError, match=r"^block 1 writes into a tensor of shape \(3,\) that is no buffer"):
        method(name)([linear, block(bare()), nn.Tanh(), nn.Tanh()], torch.randn(8, 3), loss_fn)
    assert linear.weight.grad is None
    method("backprop")([linear, block(bare()), nn.Tanh()], torch.randn(8, 3), loss_fn)  # runs once


def test_a_large_state_is_known_by_its_version():
    large = bare(SMALL + 1)
    with pytest.raises(DomainError, match=rf"shape \({SMALL + 1},\)"):
        method("checkpoint-2")([counter(large), nn.Tanh(), nn.Tanh()], torch.randn(8, 3), lambda z: z.mean())


def test_tensors_that_a_block_only_reads_are_no_state():
    """NaN neither; nor what a module holds, nor what is trained."""
    shift, weight, norm = (
        torch.tensor([1.0, float("nan"), 0.0]),
        torch.ones(3, requires_grad=True),
        nn.BatchNorm1d(3),
    )
    block = lambda z: norm(z) * weight + shift.nan_to_num()  # noqa: E731
    assert [t is shift for t in modules_and_loose_tensors([block])[1]] == [True]
    method("checkpoint-2")([block, nn.Tanh(), nn.Tanh()], torch.randn(8, 3), lambda z: z.mean())
    assert int(norm.num_batches_tracked) == 1


def test_the_hook_is_taken_away_also_after_an_error():
    hooks = nn.modules.module._global_forward_pre_hooks
    before = len(hooks)

    def fail(z):
        assert len(hooks) == before + 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        method("checkpoint-2")([nn.Tanh(), fail, nn.Tanh(), nn.Tanh()], torch.randn(8, 3), lambda z: z.mean())
    assert len(hooks) == before


def test_modules_that_another_thread_runs_are_not_its_business():
    other = nn.BatchNorm1d(3)
    buffers = SegmentBuffers([torch.tanh])
    with buffers.contexts()[0]:
        thread = threading.Thread(target=other, args=(torch.randn(4, 3),))
        thread.start()
        thread.join()
        nn.BatchNorm1d(3)(torch.randn(4, 3))
    assert other not in buffers._before
    assert len(buffers._before) == 1


def test_what_refers_to_itself_is_searched_once():
    loop = {}
    loop["self"], loop["list"] = loop, [loop]
    holder = Attribute(loop)
    loop["holder"] = holder
    net = nn.Linear(2, 2)
    net.parent = [net, loop]
    assert modules_among([holder, net]) == [net]
    deep = net
    for _ in range(30):
        deep = [deep]
    assert modules_among([deep]) == []  # deeper than anybody means it


def test_a_shallow_way_is_found_after_a_deep_one():
    """The second way to the same list has more levels left."""
    norm = nn.BatchNorm1d(3)
    shared = [[[norm]]]
    deep = shared
    for _ in range(18):
        deep = [deep]
    assert modules_among([deep]) == []
    assert modules_among([deep, shared]) == [norm]
