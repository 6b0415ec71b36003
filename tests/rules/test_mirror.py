"""Weight mirroring: the step against its formula, what B goes to and how near, checkpoints, both rules."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from plain_net import SIGMA, mean_outer, plain, worst
from torch import nn

from dlinear.bridge import Supervised, Training, load, model, train
from dlinear.bridge.methods import method
from dlinear.errors import DomainError
from dlinear.rules.feedback_alignment import layer_matrix
from dlinear.rules.mirror import MIRRORS, fa_mirror_backward, pepita_mirror_backward, prepare

ROUNDING = 1e-12
RATES = {"mirror_rate": 0.3, "decay": 0.2, "noise": 0.7}


def step(rule, net, times=1, seed=0, **knobs):
    """Gradients of the last of several steps, and the B_l^T before each of them."""
    stack, before = net.stack(), []
    torch.manual_seed(5)
    for _ in range(times):
        stack.zero_grad()
        before.append([b.numpy().copy() for b in prepare(stack.blocks, stack.readout, seed).values()])
        rule(stack.blocks, torch.from_numpy(net.x), net.loss_fn(), stack.readout, seed=seed, **knobs)
    linears = [*(block[0] for block in stack.blocks), stack.readout.head]
    return [layer.weight.grad.numpy() for layer in linears], before


def by_fa(net, b):
    h, a = net.forward(net.x)
    deltas = [net.error(h[-1])]
    for t in reversed(range(net.hidden)):
        deltas.insert(0, deltas[0] @ b[t + 1] * net.slope(a[t]))
    return [mean_outer(delta, pre) for delta, pre in zip(deltas, h, strict=False)]


def by_pepita(net, b):
    h, _ = net.forward(net.x)
    e = net.error(h[-1])
    back = e
    for one in reversed(b):
        back = back @ one
    herr, _ = net.forward(net.x - 0.3 * back)
    posts = [*(h[t + 1] - herr[t + 1] for t in range(net.hidden)), e]
    return [mean_outer(post, pre) for post, pre in zip(posts, herr, strict=False)]


RULES = {
    "fa-mirror": (partial(fa_mirror_backward, **RATES), by_fa),
    "pepita-mirror": (partial(pepita_mirror_backward, scale=0.3, **RATES), by_pepita),
}


@pytest.mark.parametrize("name", RULES)
def test_the_step_is_its_formula(name):
    """The gradient by the B_l of before, then B_l <- (1 - decay) B_l + rate mean xi (W_l xi)^T."""
    rule, formula = RULES[name]
    for seed in range(50):
        net = plain(seed)
        grads, before = step(rule, net, times=3, seed=seed)
        first = [layer_matrix(torch.from_numpy(w), seed, t).numpy() for t, w in enumerate(net.w)]
        assert worst(before[0], first) == 0
        assert worst(grads, formula(net, before[-1])) < ROUNDING, seed
        torch.manual_seed(5)
        for now, after in pairwise(before):
            for t, w in enumerate(net.w):
                xi = 0.7 * torch.randn(len(net.x), w.shape[1], dtype=torch.float64).numpy()
                expected = 0.8 * now[t] + 0.3 * mean_outer(xi @ w.T, xi)
                assert worst([after[t]], [expected]) < ROUNDING
    assert worst(grads, formula(net, before[0])) > 1e-3  # false twin: feedback that stays
    assert SIGMA[net.activation]


def sin2(b, w):
    cosine = (b * w).sum() / np.linalg.norm(b) / np.linalg.norm(w)
    return 1 - cosine**2


def test_the_feedback_goes_to_the_weights_as_predicted():
    """E B = W for rate s^2 = decay; stationary sin^2 = decay c/((2 - decay) b), and 1/(k b) without decay."""
    net = plain(1, widths=[8, 6, 5], activation="identity", loss="mse", bias=False)
    net.x = np.random.default_rng(0).normal(size=(200, 8))
    net.y = np.zeros((200, 5))
    _, before = step(fa_mirror_backward, net, times=400)
    for t, w in enumerate(net.w):
        c = w.shape[1] + 1 - 2 * ((w @ w.T) ** 2).sum() / (w**2).sum() ** 2
        late = np.mean([sin2(b[t], w) for b in before[100:]])
        assert late == pytest.approx(0.1 * c / (1.9 * 200), rel=0.15)
        assert late < 0.1 * c / (1.9 * 200) * 1.5 < sin2(before[0][t], w)
        mean = np.mean([b[t] for b in before[100:]], axis=0)
        assert np.abs(mean - w).max() < 0.02


@pytest.mark.parametrize("name", RULES)
def test_mirrored_activities_are_their_formula(name):
    """B_l <- (1 - decay) B_l + rate mean xi sigma(W_l xi)^T; the output layer shows its logits."""
    for seed in range(50 if name == "fa-mirror" else 10):
        net = plain(seed)
        _, (now, after) = step(RULES[name][0], net, times=2, seed=seed, mirror="activity")
        torch.manual_seed(5)
        for t, w in enumerate(net.w):
            xi = 0.7 * torch.randn(len(net.x), w.shape[1], dtype=torch.float64).numpy()
            shown = SIGMA[net.activation][0](xi @ w.T) if t < net.hidden else xi @ w.T
            assert worst([after[t]], [0.8 * now[t] + 0.3 * mean_outer(shown, xi)]) < ROUNDING, seed
    net = plain(4, widths=[4, 5, 3], activation="tanh")
    linear, active = (step(RULES[name][0], net, 2, mirror=one)[1][1] for one in MIRRORS)
    assert worst(active[:1], linear[:1]) > 1e-3  # the modes differ


def test_mirrored_activities_go_to_the_weights_times_the_mean_slope():
    """Stein: E xi sigma(w xi) = w E sigma'(w xi): 1/2 for ReLU, for tanh a factor of each unit's own."""
    for activation in ("relu", "tanh"):
        net = plain(1, widths=[8, 6, 5], activation=activation, loss="mse", bias=False)
        net.x, net.y = np.random.default_rng(0).normal(size=(400, 8)), np.zeros((400, 5))
        net.w[0] *= np.linspace(0.5, 2, 6)[:, None]
        _, before = step(fa_mirror_backward, net, times=150, mirror="activity")
        mean, w = np.mean([b[0] for b in before[50:]], axis=0), net.w[0]
        z = np.random.default_rng(1).normal(size=100_000)
        slopes = [SIGMA[activation][1](np.linalg.norm(row) * z).mean() for row in w]
        assert np.abs(mean - np.array(slopes)[:, None] * w).max() < 0.03
        assert np.abs(mean - w).max() > 0.2


def test_a_skip_adds_nothing_to_what_is_mirrored():
    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(5, 5)

        def forward(self, h):
            return h + self.layer(h).relu()

    blocks, head = [Skip()], nn.Linear(5, 3)
    x, loss_fn = 50 + torch.randn(64, 5), Supervised(nn.functional.cross_entropy, torch.arange(64) % 3)
    for _ in range(100):
        fa_mirror_backward(blocks, x, loss_fn, lambda z, s: head(z), mirror="activity")
    assert sin2(blocks[0].layer.weight_mirror.numpy(), blocks[0].layer.weight.detach().numpy()) < 0.05


def test_a_convolution_is_mirrored():
    """Padding with zeros: a tap is seen at the share of the positions where it lies inside the image."""
    torch.manual_seed(0)
    conv, head = nn.Conv2d(2, 3, 3, padding=1), nn.Linear(3 * 16, 4)
    blocks = [nn.Sequential(conv, nn.ReLU(), nn.Flatten())]
    loss_fn = Supervised(nn.functional.cross_entropy, torch.arange(32) % 4)
    for _ in range(150):
        fa_mirror_backward(blocks, torch.randn(32, 2, 4, 4), loss_fn, lambda z, s: head(z))
    share = np.outer([0.75, 1, 0.75], [0.75, 1, 0.75])  # of 4 x 4 positions
    assert sin2(conv.weight_mirror.numpy(), share * conv.weight.detach().numpy()) < 0.01
    assert sin2(conv.weight_mirror.numpy(), conv.weight.detach().numpy()) > 0.02
    assert sin2(head.weight_mirror.numpy(), head.weight.detach().numpy()) < 0.15


@pytest.mark.parametrize("name", RULES)
def test_a_run_resumes_with_its_mirror(tmp_path, name):
    split = load("digits", samples=60, test_samples=40)

    def run(epochs, folder):
        net = model("deep", split.task, depth=3, width=6, readout="shared")
        return train(net, split, method(name), Training(epochs=epochs, batch_size=20), folder=folder), net

    whole, one = run(3, None)
    run(1, tmp_path)
    again, other = run(3, tmp_path)
    assert list(again.loss)[1:] == list(whole.loss)[1:]
    assert any("mirror" in key for key in one.state_dict())
    for key, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


def test_knobs_outside_their_range_are_refused():
    net = plain(0)
    for rule in (fa_mirror_backward, pepita_mirror_backward):
        for bad in (
            {"decay": 1.0},
            {"decay": -0.1},
            {"mirror_rate": -1.0},
            {"noise": float("nan")},
            {"mirror": "both"},
            {"seed": -1},
        ):
            with pytest.raises(DomainError, match=rf"^{next(iter(bad))} (is|=) "):
                net.gradients(partial(rule, **bad))
