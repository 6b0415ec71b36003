"""Oja's rule, activation learning and LAC against their formulas, by hand and without autograd."""

from functools import partial

import numpy as np
import pytest
import torch
from plain_net import mean_outer, plain, worst
from torch import nn

from dlinear.bridge import Supervised, TaskShape, model, step_calls
from dlinear.bridge.methods import method
from dlinear.errors import DomainError, ShapeError
from dlinear.rules.activation import Competing, activation_backward
from dlinear.rules.lac import lac_backward
from dlinear.rules.lengths import UnitLength
from dlinear.rules.oja import COMPETITIONS, oja_backward
from dlinear.rules.pepita import pepita_with

ROUNDING = 1e-12
MASKS = {"subspace": lambda c: c, "sanger": np.tril, "single": lambda c: np.diag(np.diag(c))}


def autoencoder(seed, **given):
    """A random net with as many outputs as inputs, its targets its inputs."""
    draw = np.random.default_rng([seed, 78])
    widths = draw.integers(2, 7, size=draw.integers(3, 6)).tolist()
    net = plain(seed, widths=given.pop("widths", [*widths, widths[0]]), loss="mse", **given)
    net.y = net.x
    return net


def competing(net, mode="subspace", unit=False):
    """-(mean a x^T - mask(mean a a^T) W) of each hidden layer, a bias being the weight of a 1."""
    h, _ = net.forward(net.x)
    weights, biases = [], []
    for t in range(net.hidden):
        x = h[t] / np.linalg.norm(h[t], axis=1, keepdims=True) if unit else h[t]
        a = x @ net.w[t].T + net.b[t]
        rivals = MASKS[mode](mean_outer(a, a))
        weights.append(rivals @ net.w[t] - mean_outer(a, x))
        biases.append(rivals @ net.b[t] - a.mean(0))
    e = net.error(h[-1])
    return [*weights, mean_outer(e, h[-2])], [*biases, e.mean(0)]


@pytest.mark.parametrize("mode", COMPETITIONS)
def test_oja_is_its_formula(mode):
    for seed in range(60):
        net = plain(seed)
        weights, biases = net.gradients(partial(oja_backward, mode=mode))
        expected, of_biases = competing(net, mode)
        assert worst(weights, expected) < ROUNDING, seed
        assert not biases or worst(biases, of_biases) < ROUNDING, seed


@pytest.mark.parametrize("normalise", [True, False])
def test_activation_learning_is_its_formula(normalise):
    for seed in range(60):
        net = plain(seed)
        if net.activation == "relu":
            net.activation = "tanh"  # all units of a layer may be silent: no length to divide by
        weights, biases = net.gradients(partial(activation_backward, normalise=normalise))
        expected, of_biases = competing(net, unit=normalise)
        assert worst(weights, expected) < ROUNDING, seed
        assert not biases or worst(biases, of_biases) < ROUNDING, seed


def test_the_modes_differ():
    net = plain(11, widths=[6, 8, 7, 3], activation="tanh")
    found = [net.gradients(partial(oja_backward, mode=mode))[0] for mode in COMPETITIONS]
    found.append(net.gradients(method("activation"))[0])
    for i, one in enumerate(found):
        for other in found[:i]:
            assert worst(one, other) > 1e-3
    same = net.gradients(partial(activation_backward, normalise=False))[0]
    assert worst(same, found[0]) < ROUNDING
    assert worst(net.gradients(method("oja"))[0], found[0]) == 0


def test_i12_competition_makes_the_rows_orthonormal():
    """On whitened data singular values follow s' = s - s^3: they go to 1, whatever the weights were."""
    for seed in range(50):
        draw = np.random.default_rng(seed)
        n = int(draw.integers(2, 6))
        net = plain(seed, widths=[6, n, 3], activation="identity", loss="mse", bias=False)
        whitened, _ = np.linalg.qr(draw.normal(size=(40, 6)))
        net.x = whitened * np.sqrt(40)
        net.y = draw.normal(size=(40, 3))
        net.w[0] = draw.normal(size=(n, 6)) + draw.normal(size=6)  # rows that are alike
        net.w[0] *= 1.5 / np.linalg.norm(net.w[0], 2)
        s = np.linalg.svd(net.w[0], compute_uv=False)
        moved = net.w[0] - 0.1 * net.gradients(oja_backward)[0][0]
        assert np.allclose(np.linalg.svd(moved, compute_uv=False), s + 0.1 * (s - s**3), atol=ROUNDING)
        single = net.w[0] - 0.1 * net.gradients(partial(oja_backward, mode="single"))[0][0]
        off = np.linalg.svd(single, compute_uv=False) - (s + 0.1 * (s - s**3))
        assert np.abs(off).max() > 1e-4  # false twin: units that do not compete
    for _ in range(400):
        net.w[0] -= 0.3 * net.gradients(oja_backward)[0][0]
    assert np.abs(net.w[0] @ net.w[0].T - np.eye(n)).max() < 1e-13
    assert np.abs(net.gradients(oja_backward)[0][0]).max() < 1e-13
    net.x = net.x * np.linspace(0.5, 1.5, 6)  # false twin: inputs that are not white
    assert np.abs(net.gradients(oja_backward)[0][0]).max() > 1e-2


def contrast(net, slope_of=None, second=True):
    """mean 2 ((h2 - h1) * sigma'(a2)) h2^T from the reconstruction; output mean e h1^T."""
    h1, _ = net.forward(net.x)
    h2, a2 = net.forward(h1[-1])
    e = net.error(h1[-1])
    slope = slope_of or net.slope
    posts = [2 * (h2[t + 1] - h1[t + 1]) * slope(a2[t]) for t in range(net.hidden)]
    pres = h2 if second else h1
    weights = [mean_outer(post, pre) for post, pre in zip(posts, pres, strict=False)]
    return [*weights, mean_outer(e, h1[-2])], [*(post.mean(0) for post in posts), e.mean(0)]


def test_lac_is_its_formula():
    for seed in range(60):
        net = autoencoder(seed)
        weights, biases = net.gradients(lac_backward)
        expected, of_biases = contrast(net)
        assert worst(weights, expected) < ROUNDING, seed
        assert not biases or worst(biases, of_biases) < ROUNDING, seed
    for twin in ({"slope_of": np.ones_like}, {"second": False}):
        net = autoencoder(3, activation="tanh")
        assert worst(net.gradients(lac_backward)[0], contrast(net, **twin)[0]) > 1e-3


def test_i6_lac_is_minus_twice_pepita_that_adds_the_difference():
    """In a linear autoencoder; s F = -I has the presynaptic term h - P e in place of h + P e."""

    def pepita(net, sign):
        def run(blocks, x, loss_fn, readout):
            return pepita_with(lambda last: sign * (last.z.detach() - x), list(blocks), x, loss_fn, readout)

        return net.gradients(run)[0][:-1]

    for seed in range(50):
        net = autoencoder(seed, activation="identity", bias=False)
        ours = net.gradients(lac_backward)[0][:-1]
        assert worst(ours, [-2 * g for g in pepita(net, 1)]) < ROUNDING, seed
        assert worst(ours, [2 * g for g in pepita(net, -1)]) > 1e-3, seed  # false twin


def test_convolutions_are_the_formula_position_by_position():
    torch.manual_seed(0)
    for groups in (1, 2):
        conv = nn.Conv2d(2, 4, 3, padding=1, groups=groups).double()
        blocks, head = [nn.Sequential(conv, nn.ReLU()), nn.Flatten()], nn.Linear(4 * 16, 3).double()
        x, y = torch.randn(5, 2, 4, 4, dtype=torch.float64), torch.arange(5) % 3
        loss_fn = Supervised(nn.functional.cross_entropy, y)
        oja_backward(blocks, x, loss_fn, lambda z, s, head=head: head(z))
        patches = nn.functional.unfold(x, 3, padding=1).numpy()  # (N, 2*9, positions)
        w, b = conv.weight.detach().flatten(1).numpy(), conv.bias.detach().numpy()
        for group in range(groups):
            of = slice(group * 4 // groups, (group + 1) * 4 // groups)
            seen = patches.reshape(5, groups, -1, 16)[:, group]
            a = np.einsum("oi,nip->nop", w[of], seen) + b[of, None]
            rivals = np.einsum("nop,nqp->oq", a, a) / 5
            expected = rivals @ w[of] - np.einsum("nop,nip->oi", a, seen) / 5
            assert worst([conv.weight.grad.flatten(1)[of].numpy()], [expected]) < ROUNDING
            assert worst([conv.bias.grad[of].numpy()], [rivals @ b[of] - a.sum((0, 2)) / 5]) < ROUNDING


def test_the_activation_of_the_source_keeps_lengths():
    a = torch.randn(6, 5, dtype=torch.float64)
    kept = Competing()(a)
    assert torch.allclose(kept.norm(dim=1), a.norm(dim=1), rtol=1e-12)
    centred = a.abs() - a.abs().mean(1, keepdim=True)
    assert torch.allclose(nn.functional.cosine_similarity(kept, centred), torch.ones(6, dtype=torch.float64))
    assert torch.allclose(UnitLength()(a).norm(dim=1), torch.ones(6, dtype=torch.float64))
    assert UnitLength()(torch.zeros(2, 3)).isfinite().all()


def test_the_work_of_lac_is_what_the_record_says():
    stack, x = model("deep", TaskShape((4,), 4), depth=6, width=4, readout="shared"), torch.randn(7, 4)
    calls = step_calls(method("lac"), stack.blocks, x, Supervised(nn.functional.mse_loss, x), stack.readout)
    cost = method("lac").cost(6)
    assert (sum(calls.forwards), sum(calls.vjps)) == (cost.forwards, cost.vjps)


def test_dropout_is_the_same_in_both_passes_of_lac():
    """A dropped unit is 0 in both passes: its row gets nothing."""
    torch.manual_seed(0)
    block, head = nn.Sequential(nn.Linear(6, 40), nn.Dropout(0.5)), nn.Linear(40, 6)
    x = torch.randn(1, 6)
    before = torch.get_rng_state()
    lac_backward([block], x, Supervised(nn.functional.mse_loss, x), lambda z, s: head(z))
    torch.set_rng_state(before)
    mask = block(x)[0] != 0
    assert 5 < mask.sum() < 35
    assert torch.equal(block[0].weight.grad.abs().sum(1) > 0, mask)


def test_refusals_are_one_line():
    head, loss_fn = nn.Linear(4, 3), Supervised(nn.functional.cross_entropy, torch.arange(5) % 3)
    step = ([nn.Sequential(nn.Linear(4, 4), nn.ReLU())], torch.randn(5, 4), loss_fn, lambda z, s: head(z))
    with pytest.raises(ShapeError, match=r"^the output has shape \(5, 3\) for inputs \(5, 4\); lac trains"):
        lac_backward(*step)
    with pytest.raises(DomainError, match=r"^mode is 'all'; expected 'subspace' or 'sanger' or 'single'$"):
        oja_backward(*step, mode="all")
    with pytest.raises(DomainError, match=r"^normalise is "):
        activation_backward(*step, normalise="yes")
    for rule in (oja_backward, activation_backward, lac_backward):
        with pytest.raises(ShapeError, match=r"^x is shape \(5,\)"):
            rule(step[0], torch.ones(5), *step[2:])
    two = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    with pytest.raises(DomainError, match=r"^oja takes blocks of one linear .* block 0 has 2 such layers"):
        oja_backward([two], *step[1:])
    assert all(p.grad is None for p in (*two.parameters(), *head.parameters()))
