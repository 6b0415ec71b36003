"""FA, DFA, sign-DFA and DRTP against their formulas, with forward passes by hand and no autograd."""

from functools import partial

import numpy as np
import pytest
import torch
from plain_net import mean_outer, plain, worst
from torch import nn

from dlinear.bridge import Supervised, TaskShape, model
from dlinear.bridge.methods import method
from dlinear.bridge.methods.horizon import horizon_backward
from dlinear.errors import DomainError, ShapeError
from dlinear.rules.direct_feedback import dfa_backward, direct_matrix
from dlinear.rules.feedback_alignment import fa_backward, layer_matrix

ROUNDING = 1e-12
CASES = range(60)
DIRECT = {
    "dfa": lambda net, e: e,
    "sdfa": lambda net, e: np.sign(e),
    "drtp": lambda net, e: net.one_hot(),
}


def direct(net, name, seed):
    """G_l = mean (B_l v * sigma'_l) h_{l-1}^T; the output layer mean e h^T; biases likewise with h = 1."""
    h, a = net.forward(net.x)
    e = net.error(h[-1])
    v = DIRECT[name](net, e)
    posts = [
        v @ direct_matrix(net.w[t].shape[0], e.shape[1], seed, t).numpy().T * net.slope(a[t])
        for t in range(net.hidden)
    ]
    posts.append(e)
    return [mean_outer(post, pre) for post, pre in zip(posts, h, strict=False)], [p.mean(0) for p in posts]


@pytest.mark.parametrize("name", DIRECT)
def test_direct_feedback_is_its_formula(name):
    for seed in CASES:
        net = plain(seed)
        weights, biases = net.gradients(method(f"{name}-{seed + 1}"))
        expected, of_biases = direct(net, name, seed + 1)
        assert worst(weights, expected) < ROUNDING, seed
        assert not biases or worst(biases, of_biases) < ROUNDING, seed


@pytest.mark.parametrize("name", DIRECT)
def test_the_formula_of_another_rule_is_not_met(name):
    for other in set(DIRECT) - {name}:
        apart = [
            worst(net.gradients(method(name))[0], direct(net, other, 0)[0]) for net in map(plain, range(10))
        ]
        assert np.median(apart) > 1e-2, other


def by_alignment(net, matrices):
    """delta_l = (B_{l+1} delta_{l+1}) * sigma'_l with B_{l+1} = matrices[l]^T."""
    h, a = net.forward(net.x)
    deltas = [net.error(h[-1])]
    for t in reversed(range(net.hidden)):
        deltas.insert(0, deltas[0] @ matrices[t + 1] * net.slope(a[t]))
    return [mean_outer(delta, pre) for delta, pre in zip(deltas, h, strict=False)]


def fa_matrices(net, seed):
    return [layer_matrix(torch.from_numpy(w), seed, t).numpy() for t, w in enumerate(net.w)]


def test_feedback_alignment_is_its_formula():
    for seed in CASES:
        net = plain(seed)
        weights, _ = net.gradients(method(f"fa-{seed + 1}"))
        assert worst(weights, by_alignment(net, fa_matrices(net, seed + 1))) < ROUNDING, seed


def test_feedback_alignment_is_not_back_propagation_and_its_formula_with_w_is():
    apart = []
    for seed in CASES:
        net = plain(seed)
        true = by_alignment(net, net.w)
        assert worst(net.gradients(method("backprop"))[0], true) < ROUNDING
        apart.append(worst(net.gradients(method("fa"))[0][:1], true[:1]))
    assert sum(one > 1e-3 for one in apart) > 50, "all but nets whose first layer gets no gradient"
    assert np.median(apart) > 0.1


def test_the_seed_and_the_scale_are_knobs():
    net = plain(3, widths=[4, 5, 5, 3])
    for rule, name in ((dfa_backward, "dfa"), (fa_backward, "fa")):
        first = net.gradients(method(name))[0][0]
        assert np.abs(net.gradients(method(f"{name}-2"))[0][0] - first).max() > 1e-3
        assert np.array_equal(
            net.gradients(partial(rule, seed=2))[0][0], net.gradients(method(f"{name}-2"))[0][0]
        )
    twice = net.gradients(partial(dfa_backward, scale=2.0))[0][0]
    assert worst([twice], [2 * net.gradients(method("dfa"))[0][0]]) < ROUNDING
    for bad in ({"seed": -1}, {"seed": 0.5}, {"scale": 0.0}, {"scale": float("nan")}):
        for rule in (dfa_backward, fa_backward):
            with pytest.raises(DomainError, match=rf"^{next(iter(bad))} (is|=) "):
                net.gradients(partial(rule, **bad))


def convolutions(seed=0):
    torch.manual_seed(seed)
    return [
        nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Tanh()),
        nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU()),
        nn.Flatten(),
    ], nn.Linear(4 * 9, 3)


@pytest.mark.parametrize("name", ["fa", "dfa", "sdfa", "drtp"])
def test_convolutions_and_normalisation_are_trained(name):
    blocks, head = convolutions()
    loss_fn = Supervised(nn.functional.cross_entropy, torch.arange(5) % 3)
    loss = method(name)(blocks, torch.randn(5, 1, 8, 8), loss_fn, lambda z, s: head(z))
    assert loss.isfinite()
    for part in (*blocks, head):
        assert all(p.grad.abs().sum() > 0 for p in part.parameters() if p.ndim > 1)


def test_fa_with_w_for_b_is_back_propagation_through_convolutions():
    from dlinear.bridge.autograd.blocks import as_stack
    from dlinear.rules.feedback_alignment import pulled_back_by

    grads = []
    for run in (
        method("backprop"),
        lambda *step: pulled_back_by(
            lambda place, weight: weight.detach(), as_stack(step[0]), *step[1:], "fa"
        ),
    ):
        blocks, head = convolutions()
        torch.manual_seed(1)
        loss_fn = Supervised(nn.functional.cross_entropy, torch.arange(5) % 3)
        run(blocks, torch.randn(5, 1, 8, 8), loss_fn, lambda z, s, head=head: head(z))
        grads.append([p.grad for part in (*blocks, head) for p in part.parameters()])
    for one, other in zip(*grads, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_identity_feedback_is_the_anchored_horizon_of_one():
    """On linear residual layers G_t = R P_t^T for every t: the error goes to each layer as it is."""
    for seed in range(5):
        stack = model("linear", TaskShape((4,), 4), seed=seed, depth=6, width=4, dtype=torch.float64)
        torch.manual_seed(seed)
        x, y = torch.randn(7, 4, dtype=torch.float64), torch.randn(7, 4, dtype=torch.float64)
        method("dfa-identity")(stack.blocks, x, Supervised(nn.functional.mse_loss, y), stack.readout)
        ours = [p.grad.numpy() for p in stack.parameters()]
        h = [x.numpy()]
        for t, p in enumerate(stack.parameters()):
            h.append(h[-1] @ p.detach().numpy().T + (h[-1] if 0 < t < 5 else 0))
        e = 2 * (h[-1] - y.numpy()) / 4
        last = [*stack.parameters()][-1].detach().numpy()  # the last layer has no skip: passed exactly
        expected = [mean_outer(e @ last, pre) for pre in h[:-2]] + [mean_outer(e, h[-2])]
        assert worst(ours, expected) < ROUNDING
        assert worst(ours[:-1], [mean_outer(e, pre) for pre in h[:-2]]) > 1e-3  # false twin
        for p in stack.parameters():
            p.grad = None
        horizon_backward(
            stack.blocks, x, Supervised(nn.functional.mse_loss, y), 1, stack.readout, anchored=True
        )
        assert all(np.array_equal(a, p.grad.numpy()) for a, p in zip(ours, stack.parameters(), strict=True))


def test_what_a_rule_cannot_take_is_said_in_one_line():
    x, labels = torch.randn(5, 4), torch.arange(5) % 3
    blocks = [nn.Linear(4, 4)]
    with pytest.raises(DomainError, match=r"^drtp needs the targets: loss_fn is a function; expected"):
        method("drtp")(blocks, x, lambda z: z.square().mean(), lambda z, s: nn.functional.pad(z, (0, 0)))
    two = [nn.Linear(4, 4), nn.Linear(4, 4)]
    with pytest.raises(DomainError, match=r"^drtp has targets of torch.float32, shape \(5, 3\)"):
        method("drtp")(two, x, Supervised(lambda z, y: z.square().mean(), torch.ones(5, 3)))

    class Product(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4, 4))

        def forward(self, x):
            return x @ self.weight

    loss_fn = Supervised(nn.functional.cross_entropy, labels)
    with pytest.raises(
        DomainError, match=r"^fa replaces weights of linear .* shape \(4, 4\) is trained elsewh"
    ):
        method("fa")([nn.Linear(4, 4), Product()], x, loss_fn)
    with pytest.raises(ShapeError, match=r"^block 0 hands on a tuple; dfa takes one tensor"):
        method("dfa")([lambda x: (x, x), lambda x, y: blocks[0](x)], x, loss_fn)
    assert all(p.grad is None for p in (*blocks[0].parameters(), *two[0].parameters()))


@pytest.mark.parametrize("name", ["fa", "dfa", "sdfa", "drtp"])
def test_a_scaler_scales_all_and_a_sum_is_no_mean(name):
    net = plain(5, widths=[4, 5, 3], loss="cross_entropy", bias=False)
    plainly = net.gradients(method(name))[0]
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    scaled = net.gradients(partial(method(name), grad_scaler=scaler))[0]
    assert worst(scaled, [64 * g for g in plainly]) < ROUNDING
    net.loss_fn = lambda: Supervised(nn.CrossEntropyLoss(reduction="sum"), torch.from_numpy(net.y))
    assert worst(net.gradients(method(name))[0], [5 * g for g in plainly]) < ROUNDING


class _Overwriting(nn.Module):
    """Keeps its input for the gradient, and writes into it."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        return x.add_(self.linear(x))


@pytest.mark.parametrize("name", ["dfa", "sdfa"])
def test_an_output_layer_that_overwrites_what_it_keeps_is_named(name):
    blocks = [_Overwriting() for _ in range(3)]
    with pytest.raises(DomainError, match="the output layer keeps a tensor for its gradient"):
        method(name)(blocks, torch.ones(6, 4), lambda z: z.square().sum(), None)
