"""A step that trains nothing is refused by every method; writes that torch does not count are seen."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dlinear.bridge import Supervised, horizon_backward
from dlinear.bridge.methods import method
from dlinear.errors import DomainError

METHODS = (
    *("backprop", "checkpoint-2", "accumulate-2", "combined-2"),
    *("horizon-1", "horizon-2", "horizon-3", "loco-2", "loco-3", "forward-2"),
)


def linear():
    return nn.Linear(3, 3)


def frozen():
    return linear().requires_grad_(False)


def detached():
    layer = linear()
    return lambda z: layer(z).detach()


def without_gradients():
    return torch.no_grad()(linear())


def plain():
    return lambda z: 2 * z


@pytest.mark.parametrize("make", [frozen, detached, without_gradients, plain])
@pytest.mark.parametrize("name", METHODS)
def test_a_stack_that_cannot_learn_is_refused(name, make):
    if name.startswith("forward") and make is without_gradients:
        return  # no_grad is of backward graphs: forward derivatives pass it, and train
    loss_fn = Supervised(nn.MSELoss(), torch.zeros(4, 3))
    with pytest.raises(DomainError, match=r"no gradient|no trainable parameter|nothing is trainable"):
        method(name)([make() for _ in range(3)], torch.rand(4, 3), loss_fn)


@pytest.mark.parametrize("name", METHODS)
def test_one_block_that_can_is_enough(name):
    blocks = [plain(), plain(), linear()]
    method(name)(blocks, torch.rand(4, 3), Supervised(nn.MSELoss(), torch.zeros(4, 3)))
    assert blocks[-1].weight.grad.abs().sum() > 0


WRITES = {
    "data": lambda z: z.data.mul_(2),
    "numpy": lambda z: z.detach().numpy().__imul__(2),
    "set item": lambda z: z.data.__setitem__(0, 0.0),
}


@pytest.mark.parametrize("where", ["readout", "loss"])
@pytest.mark.parametrize("how", WRITES)
@pytest.mark.parametrize("h", [1, 2, 3])
def test_states_are_safe_from_writes_that_are_not_counted(h, how, where):
    """The forward values of the blocks are those without any readout."""

    def writing(z, s=0):
        WRITES[how](z)
        return z

    seen, wanted = [], []
    blocks = [nn.Sequential(linear(), nn.Tanh()) for _ in range(3)]
    z = x = torch.rand(4, 3)
    for block in blocks:
        wanted.append(z)
        z = block(z).detach()
    for block in blocks:
        block.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))
    if where == "readout":
        horizon_backward(blocks, x, lambda z: z.square().sum(), h, writing)
    else:
        horizon_backward(blocks, x, lambda z: writing(z).square().sum(), h)
    for found, right in zip(seen, wanted, strict=True):
        assert torch.equal(found, right)
