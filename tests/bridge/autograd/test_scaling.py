"""Gradients with the factor of a GradScaler, and the steps that it takes with them."""

from __future__ import annotations

import copy

import pytest
import torch
from rank_checks import METHODS, WIDTH, batch, build, gradients
from torch import nn
from torch.nn import functional

from dlinear.bridge import Supervised, horizon_backward, method
from dlinear.errors import DomainError, ShapeError


def scaler(factor=2.0**10, **more):
    return torch.amp.GradScaler("cpu", init_scale=factor, **more)


def step(name, net, grad_scaler=None):
    x, loss_fn = batch()
    torch.manual_seed(3)
    return method(name)(net[:-1], x, loss_fn, net[-1], grad_scaler=grad_scaler)


@pytest.mark.parametrize("name", METHODS)
def test_gradients_have_the_factor_and_the_step_takes_it_out(name):
    """Powers of two: to the last bit."""
    plain, ours = build(), build()
    one = scaler()
    assert torch.equal(step(name, plain), step(name, ours, one)), "the loss is not scaled"
    for key, wanted in gradients(plain).items():
        assert torch.equal(gradients(ours)[key], 2.0**10 * wanted), key
    torch.optim.SGD(plain.parameters(), 0.1).step()
    one.step(torch.optim.SGD(ours.parameters(), 0.1))
    one.update()
    for p, q in zip(plain.parameters(), ours.parameters(), strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize("name", ["horizon-2", "backprop", "forward-2"])
def test_an_infinite_gradient_is_no_step(name):
    net, one = build().float(), scaler(2.0**127)
    x, loss_fn = batch()
    before, optimizer = copy.deepcopy(net), torch.optim.SGD(net.parameters(), 0.1)
    method(name)(net[:-1], x.float(), lambda z: 100 * loss_fn(z), net[-1], grad_scaler=one)
    one.step(optimizer)
    one.update()
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), before.parameters(), strict=True))
    assert one.get_scale() == 2.0**126


def test_small_gradients_survive_in_half_precision():
    block = nn.Linear(WIDTH, WIDTH, bias=False).half()
    x = torch.full((2, WIDTH), 0.01, dtype=torch.float16)

    def tiny(z):
        return 1e-7 * z.sum()

    horizon_backward([block], x, tiny, 1)
    assert (block.weight.grad == 0).all()
    block.weight.grad = None
    horizon_backward([block], x, tiny, 1, grad_scaler=scaler())
    assert block.weight.grad.float().mean() == pytest.approx(2e-9 * 2**10, rel=0.05)


def test_scaling_what_is_returned_scales_nothing():
    """Why the argument is there."""
    net = build()
    scaler().scale(step("horizon-2", net))
    plain = build()
    step("horizon-2", plain)
    assert torch.equal(net[0].linear.weight.grad, plain[0].linear.weight.grad)


def test_a_scaler_that_is_off_changes_nothing():
    plain, ours = build(), build()
    step("horizon-2", plain)
    step("horizon-2", ours, scaler(enabled=False))
    for key, wanted in gradients(plain).items():
        assert torch.equal(gradients(ours)[key], wanted)


class Loss(nn.Module):
    """A loss with a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.log_width = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, z):
        return z.square().mean() * torch.exp(-self.log_width) + self.log_width


@pytest.mark.parametrize("name", ["horizon-2", "backprop", "checkpoint-2", "forward-1", "loco-2"])
def test_a_loss_that_is_a_module_is_trained_with_the_factor(name):
    found = []
    for grad_scaler in (None, scaler()):
        net, loss_fn = build()[:-1], Loss()
        torch.manual_seed(3)
        method(name)(net, batch()[0], loss_fn, grad_scaler=grad_scaler)
        found.append([loss_fn.log_width.grad, net[0].linear.weight.grad])
    assert all(torch.equal(2**10 * a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("one", [2.0, "scaler", torch.optim.SGD, object()])
def test_no_scaler_is_refused(one):
    net = build()
    with pytest.raises(DomainError, match=r"grad_scaler is a \w+; expected a torch\.amp\.GradScaler or None"):
        step("horizon-2", net, one)
    assert not gradients(net)


def test_errors_are_those_without_a_scaler():
    net, (x, loss_fn) = build(), batch()
    with pytest.raises(ShapeError, match="float; expected a real scalar tensor"):
        method("horizon-2")(net[:-1], x, lambda z: 0.5, net[-1], grad_scaler=scaler())
    with pytest.raises(DomainError, match=r"accumulate needs a loss with \.part"):
        method("accumulate-2")(net[:-1], x, functional.mse_loss, net[-1], grad_scaler=scaler())
    some = Supervised(functional.cross_entropy, loss_fn.target[:3])
    with pytest.raises(ShapeError, match="samples"):
        method("accumulate-2")(net[:-1], x, some, net[-1], grad_scaler=scaler())
