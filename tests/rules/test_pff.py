"""Predictive forward-forward against its formula, by hand and without autograd; predictions, runs."""

import numpy as np
import pytest
import torch
from plain_net import SIGMA, mean_outer, plain, worst
from torch import nn

from dlinear.bridge import Stack, Supervised, TaskShape, Training, load, model, step_calls, train
from dlinear.bridge.methods import method
from dlinear.bridge.models.readouts import Shared
from dlinear.errors import DomainError
from dlinear.rules.ff.labels import wrong_labels
from dlinear.rules.pff import (
    SLOPES,
    Settling,
    head_scores,
    pff_backward,
    predictive_forward_forward,
    settled_scores,
)
from dlinear.rules.pff_circuit import circuit, inhibition

ROUNDING = 1e-12
OWN = ("weight", "bias", "weight_down", "weight_lateral", "weight_generative")


def unit(z):
    return z / (np.linalg.norm(z, axis=1, keepdims=True) + 1e-8)


def logistic(u):
    return 1 / (1 + np.exp(-u))


def signs(n):
    group = np.arange(n) // 10
    return (group[:, None] == group) - 2.0 * np.eye(n)


class ByHand:
    """The same circuit in numpy; the parameters by layer and name."""

    def __init__(self, net, stack, knobs):
        self.net, self.knobs = net, knobs
        self.p = [
            {name: value.detach().numpy().copy() for name, value in block[0].named_parameters()}
            for block in stack.blocks
        ]
        for one, b in zip(self.p, net.b, strict=False):
            one.setdefault("bias", b)

    def sigma(self, a, slope=False):
        return SIGMA[self.net.activation][int(slope)](a)

    def forward(self):
        z = [self.net.x]
        for one in self.p:
            z.append(self.sigma(unit(z[-1]) @ one["weight"].T + one["bias"]))
        return z[1:]

    def draws(self):
        """The noise before each activation and of each prediction, in the order of the rule."""
        knobs, shapes, found = self.knobs, [(len(self.net.x), len(one["weight"])) for one in self.p], []
        for shape in shapes:
            for deviation in (knobs.noise, knobs.generative_noise):
                some = torch.randn(*shape, dtype=torch.float64).numpy() if deviation else 0.0
                found.append(deviation * some)
        return found[::2], found[1::2]

    def step(self, z, label, noise=(0.0,) * 9):
        """New states, and of each layer a_l and what came down."""
        below, a, down, new = [self.net.x, *z], [], [], []
        for t, one in enumerate(self.p):
            down.append(label if t + 1 == len(z) else unit(z[t + 1]))
            m = np.maximum(one["weight_lateral"], 0) * signs(len(z[t][0]))
            drive = down[t] @ one["weight_down"].T - z[t] @ m + noise[t]
            a.append(unit(below[t]) @ one["weight"].T + one["bias"] + drive)
            new.append((1 - self.knobs.alpha) * self.sigma(a[t]) + self.knobs.alpha * z[t])
        return new, a, down

    def gradients(self, labels, wrong):
        net, knobs = self.net, self.knobs
        classes = net.w[-1].shape[0]
        total = [{name: 0.0 for name in OWN} for _ in self.p]
        head = 0.0
        for given, true in ((labels, 1.0), (wrong, 0.0)):
            z, label = self.forward(), knobs.scale * np.eye(classes)[given]
            for _ in range(knobs.steps):
                if true and (knobs.head == "settled" or _ == 0):
                    e = net.error(unit(z[-1]) @ net.w[-1].T + net.b[-1])
                    head = head + mean_outer(e, unit(z[-1])) / (knobs.steps if knobs.head == "settled" else 1)
                old = z
                noise, guessing = self.draws()
                z, a, down = self.step(old, label, noise)
                for t, one in enumerate(self.p):
                    p = logistic(knobs.theta - (z[t] ** 2).sum(1, keepdims=True))
                    delta = 2 * (true - p) * z[t] * (1 - knobs.alpha)
                    if knobs.slope == "own":
                        delta = delta * self.sigma(a[t], slope=True)
                    below = old[t - 1] if t else net.x
                    source = unit(np.maximum(z[t] + guessing[t], 0))
                    guess = source @ one["weight_generative"].T
                    lateral = -mean_outer(old[t], delta) * signs(len(delta[0])) * (one["weight_lateral"] > 0)
                    found = {
                        "weight": mean_outer(delta, unit(below)),
                        "bias": delta.mean(0),
                        "weight_down": mean_outer(delta, down[t]),
                        "weight_lateral": lateral,
                        "weight_generative": mean_outer(
                            2 * ((np.maximum(guess, 0) if t else guess) - below), source
                        ),
                    }
                    for name, value in found.items():
                        total[t][name] = total[t][name] + value / (2 * knobs.steps)
        return total, head


def case(seed, knobs, **given):
    """A net whose circuit has drawn parameters, negative ones too; its gradients by the rule and by hand."""
    net = plain(seed, loss="cross_entropy", **given)
    stack = net.stack()
    circuit(stack.blocks, stack.readout, seed)
    draw = np.random.default_rng([seed, 79])
    with torch.no_grad():
        for block in stack.blocks:
            block[0].weight_lateral += torch.from_numpy(draw.normal(size=block[0].weight_lateral.shape) * 0.1)
    torch.manual_seed(seed)
    pff_backward(stack.blocks, torch.from_numpy(net.x), net.loss_fn(), stack.readout, settling=knobs)
    ours = [
        {name: p.grad.numpy() for name, p in block[0].named_parameters() if p.grad is not None}
        for block in stack.blocks
    ]
    torch.manual_seed(seed)
    wrong = wrong_labels(torch.from_numpy(net.y), net.w[-1].shape[0]).numpy()
    theirs, head = ByHand(net, stack, knobs).gradients(net.y, wrong)
    return ours, stack.readout.head.weight.grad.numpy(), theirs, head


def test_pff_is_its_formula():
    for seed in range(60):
        slope = SLOPES[seed // 2 % 2]
        noise = {} if seed % 2 else {"noise": 0.0, "generative_noise": 0.0}
        head = "first" if seed % 3 else "settled"
        knobs = Settling(steps=2 + seed % 4, theta=1.0 + seed % 3, slope=slope, head=head, **noise)
        ours, our_head, theirs, their_head = case(seed, knobs)
        for one, other in zip(ours, theirs, strict=True):
            for name, value in one.items():
                assert worst([value], [other[name]]) < ROUNDING, (seed, name)
        assert worst([our_head], [their_head]) < ROUNDING, seed


def test_the_conventions_differ():
    given = {"widths": [6, 12, 11, 4], "activation": "relu"}
    plainly = case(1, Settling(noise=0.0, generative_noise=0.0), **given)[0]
    for change in ({"slope": "own"}, {"alpha": 0.1}, {"theta": 3.0}, {"scale": 1.0}, {"steps": 4}):
        other = case(1, Settling(noise=0.0, generative_noise=0.0, **change), **given)[0]
        assert worst([other[0]["weight"]], [plainly[0]["weight"]]) > 1e-3, change


def test_units_inhibit_their_group_and_excite_themselves():
    lateral = torch.rand(25, 25) - 0.2
    found = inhibition(lateral)
    assert torch.equal(found.diagonal(), -lateral.diagonal().clamp_min(0))
    assert found[0, 9] == max(lateral[0, 9], 0)
    assert found[3, 12] == 0  # of another group
    assert found[21, 24] == max(lateral[21, 24], 0)  # the last group is smaller


def test_predictions_are_by_the_smallest_goodness_and_by_the_head():
    knobs = Settling(steps=6)
    net = plain(3, widths=[5, 7, 6, 4], activation="relu", loss="cross_entropy")
    stack, x = net.stack(), torch.from_numpy(net.x)
    circuit(stack.blocks, stack.readout, 0)
    found = settled_scores(stack.blocks, x, stack.readout, knobs).numpy()
    hand = ByHand(net, stack, Settling(steps=6, noise=0.0))
    for k in range(4):
        z, total = hand.forward(), 0.0
        for step in range(4):
            z, _, _ = hand.step(z, knobs.scale * np.eye(4)[np.full(5, k)])
            if step in (2, 3):  # K/2 - 1 and K/2
                total = total - np.mean([(one**2).sum(1) for one in z], axis=0) / 3
        assert np.allclose(found[:, k], total, rtol=1e-12)
    logits = unit(hand.forward()[-1]) @ net.w[-1].T + net.b[-1]
    assert np.allclose(head_scores(stack.blocks, x, stack.readout, knobs).numpy(), logits, rtol=1e-12)


def digits_net():
    torch.manual_seed(0)
    return Stack(
        [
            nn.Flatten(),
            nn.Sequential(nn.Linear(64, 50), nn.ReLU()),
            nn.Sequential(nn.Linear(50, 40), nn.ReLU()),
        ],
        Shared(nn.Linear(40, 10)),
    )


def trained(epochs, samples, folder=None):
    split, net = load("digits", samples=samples, test_samples=200), digits_net()
    run = predictive_forward_forward(Settling(steps=4, theta=3.0, head="first"))
    knobs = Training(epochs=epochs, batch_size=50, learning_rate=0.01, optimizer="adam")
    return train(net, split, run, knobs, folder=folder), net


@pytest.mark.slow
def test_a_run_learns_with_its_circuit():
    run, net = trained(5, 500)
    assert run.test_accuracy[-1] > 0.5
    assert run.loss[-1] < run.loss[1] - 0.03
    start = digits_net()
    method("pff").prepare(start.blocks, start.readout)
    assert not torch.equal(start.blocks[1][0].weight_lateral, net.blocks[1][0].weight_lateral)


def test_a_run_resumes_with_its_circuit(tmp_path):
    whole, one = trained(2, 100)
    trained(1, 100, tmp_path)
    again, other = trained(2, 100, tmp_path)
    assert list(again.test_accuracy) == list(whole.test_accuracy)
    assert "blocks.1.0.weight_down" in one.state_dict()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_the_work_is_what_the_record_says():
    stack = model("deep", TaskShape((4,), 4), depth=6, width=4, readout="shared")
    blocks = [nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(6)]
    loss_fn = Supervised(nn.functional.cross_entropy, torch.arange(7) % 4)
    calls = step_calls(method("pff"), blocks, torch.randn(7, 4), loss_fn, stack.readout)
    cost = method("pff").cost(6)
    assert (sum(calls.forwards), sum(calls.vjps)) == (cost.forwards, cost.vjps)


@pytest.mark.parametrize("name", ["fa", "pepita", "oja", "foton", "ff"])
def test_other_rules_pass_over_the_circuit(name):
    net = plain(2, widths=[6, 5, 4, 3], loss="cross_entropy")
    stack = net.stack()
    torch.manual_seed(0)
    method(name)(stack.blocks, torch.from_numpy(net.x), net.loss_fn(), stack.readout)
    plainly = [p.grad.clone() for p in stack.parameters()]
    stack.zero_grad()
    circuit(stack.blocks, stack.readout)
    torch.manual_seed(0)
    method(name)(stack.blocks, torch.from_numpy(net.x), net.loss_fn(), stack.readout)
    ours = [p.grad for p in stack.parameters() if p.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(ours, plainly, strict=True))


def test_refusals_are_one_line():
    head, loss_fn = nn.Linear(4, 3), Supervised(nn.functional.cross_entropy, torch.arange(5) % 3)
    step = (torch.randn(5, 4), loss_fn, lambda z, s: head(z))
    for block in (
        nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)),
        nn.Sequential(nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 1, 1), nn.Flatten()),
        nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)),
    ):
        with pytest.raises(DomainError, match=r"^pff takes blocks of one linear layer .* block 0 is none"):
            pff_backward([block], *step)
    with pytest.raises(DomainError, match=r"^pff trains layers below the output layer; here is none"):
        pff_backward([nn.ReLU()], *step)
    with pytest.raises(DomainError, match=r"^pff needs labels \(N,\)"):
        pff_backward([nn.Linear(4, 4)], step[0], lambda z: z.square().mean(), step[2])
    frozen = [nn.Linear(4, 4), nn.Linear(4, 4)]
    circuit(frozen, step[2])
    frozen[1].requires_grad_(False)
    with pytest.raises(
        DomainError, match=r"^pff has a weight_down of shape \(4, 4\) in layer 1, which needs"
    ):
        pff_backward(frozen, *step)
    for knobs in (
        {"steps": 1},
        {"alpha": 1.0},
        {"noise": -1.0},
        {"slope": "none"},
        {"head": "no"},
        {"seed": -1},
    ):
        with pytest.raises(DomainError, match=rf"^{next(iter(knobs))} (is|=) "):
            Settling(**knobs)
    with pytest.raises(DomainError, match=r"^predict is 'both'"):
        predictive_forward_forward(predict="both")
