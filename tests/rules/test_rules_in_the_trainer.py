"""The rules in the trainer: each lowers a loss on the digits; what the trainer does for some of them."""

from functools import partial

import pytest
import torch
from torch import nn

from dlinear.bridge import Stack, Training, load, train
from dlinear.bridge.methods import method
from dlinear.bridge.models.readouts import Shared
from dlinear.errors import DomainError
from dlinear.rules.lengths import UnitLength
from dlinear.rules.pepita import pepita_backward

# Rule: learning rate. DRTP never stops to step, whatever the error: it needs units that saturate.
RATES = {
    **{"fa": 0.1, "dfa": 0.1, "sdfa": 0.1, "drtp": 0.1, "fa-mirror": 0.1},
    **{"pepita": 0.1, "pepita-hebbian": 0.1, "pepita-mirror": 0.1, "foton": 0.05},
    **{"oja": 0.03, "activation": 0.1},
}


@pytest.mark.parametrize("name", RATES)
def test_the_loss_falls(name):
    split = load("digits", samples=300, test_samples=100)
    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.Flatten(), nn.Linear(64, 40), nn.Tanh())]
    net = Stack(blocks, Shared(nn.Linear(40, 10)))
    before = blocks[0][1].weight.detach().clone()
    run = train(net, split, method(name), Training(epochs=6, batch_size=20, learning_rate=RATES[name]))
    assert run.test_accuracy[-1] > 0.5
    assert run.loss[-1] < 0.8 * run.loss[1]
    assert not torch.equal(before, blocks[0][1].weight.detach())


def deep_net(split, seed=0):
    """Two hidden layers of falling widths."""
    torch.manual_seed(seed)
    layers = [nn.Linear(64, 30, bias=False), nn.Linear(30, 20, bias=False)]
    return Stack(
        [nn.Sequential(nn.Flatten(), layers[0], nn.ReLU()), nn.Sequential(layers[1], nn.ReLU())],
        Shared(nn.Linear(20, 10)),
    )


def rows_apart(net):
    """How far the hidden layers are from orthonormal rows."""
    weights = [net.blocks[0][1].weight.detach(), net.blocks[1][0].weight.detach()]
    return max(float((w @ w.T - torch.eye(len(w))).abs().max()) for w in weights)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_foton_stays_orthonormal_and_the_optimizer_keeps_its_state(optimizer):
    split, net = load("digits", samples=200, test_samples=50), None
    net = deep_net(split)
    parameters, seen = list(net.parameters()), []

    def probe(epoch, stack, split):
        seen.append(rows_apart(stack))
        return {}

    training = Training(epochs=3, batch_size=20, learning_rate=0.01, optimizer=optimizer)
    run = train(net, split, method("foton"), training, probe=probe)
    assert run.loss[-1] < run.loss[1]
    assert len(seen) == 4  # before the first step too
    assert max(seen) < 1e-5
    assert all(a is b for a, b in zip(parameters, net.parameters(), strict=True))
    plainly = deep_net(split)
    train(plainly, split, lambda *step, **named: method("foton")(*step, **named), training)
    assert rows_apart(plainly) > 1e-2  # false twin: the same gradients without what comes after a step


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_foton_resumes_to_the_same_numbers(tmp_path, optimizer):
    split = load("digits", samples=100, test_samples=40)

    def run(epochs, folder):
        net = deep_net(split)
        training = Training(epochs=epochs, batch_size=20, optimizer=optimizer)
        return train(net, split, method("foton"), training, folder=folder), net

    whole, one = run(3, None)
    run(1, tmp_path)
    again, other = run(3, tmp_path)
    assert list(again.loss)[1:] == list(whole.loss)[1:]
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_an_output_layer_stays_as_it_is_and_so_do_weights_that_have_diverged():
    net = deep_net(None)
    head = net.readout.head.weight.detach().clone()
    method("foton").after_step(net.blocks, net.readout)
    assert rows_apart(net) < 1e-5
    assert torch.equal(head, net.readout.head.weight)
    with torch.no_grad():
        net.blocks[0][1].weight[0, 0] = float("inf")
    method("foton").after_step(net.blocks, net.readout)
    assert net.blocks[0][1].weight[0, 0] == float("inf")


@pytest.mark.parametrize(("optimizer", "expected"), [("sgd", 0.2), ("adam", 0.01)])
def test_the_rate_of_the_local_mode_is_that_of_plain_sgd(optimizer, expected):
    """The trainer's steps are those of the rule with this rate, and not with another."""
    split, nets = load("digits", samples=60, test_samples=20), []
    training = Training(epochs=2, batch_size=20, learning_rate=0.2, optimizer=optimizer)
    for run in (
        method("pepita-local"),
        partial(pepita_backward, mode="local", rate=expected),
        partial(pepita_backward, mode="local", rate=0.1),
    ):
        nets.append(deep_net(split))
        train(nets[-1], split, run, training)
    ours, same, other = ([p.detach() for p in net.parameters()] for net in nets)
    assert all(torch.equal(a, b) for a, b in zip(ours, same, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(ours, other, strict=True))
    fixed = method("fa")
    assert fixed.at_rate(0.3) is fixed


def test_normalised_activities_of_the_batch_depend_on_the_others():
    """The published module divides by the norm of the whole batch, ours sample by sample."""
    x = torch.randn(6, 5)
    assert torch.allclose(UnitLength()(x)[:3], UnitLength()(x[:3]))
    assert torch.allclose(UnitLength("batch")(x), x / torch.linalg.norm(x))
    assert not torch.allclose(UnitLength("batch")(x)[:3], UnitLength("batch")(x[:3]))
    with pytest.raises(DomainError, match=r"^over is 'row'; expected 'sample' or 'batch'$"):
        UnitLength("row")
    split = load("digits", samples=100, test_samples=40)
    net = deep_net(split)
    for block in net.blocks:
        block.append(UnitLength())
    run = train(net, split, method("pepita"), Training(epochs=3, batch_size=20, learning_rate=0.1))
    assert run.loss[-1] < run.loss[1]
