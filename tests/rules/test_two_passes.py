"""PEPITA and FOTON against their formulas, with both passes by hand and no autograd."""

from functools import partial

import numpy as np
import pytest
import torch
from plain_net import SIGMA, mean_outer, plain, worst
from torch import nn

from dlinear.bridge import Supervised
from dlinear.bridge.methods import method
from dlinear.errors import DomainError, ShapeError
from dlinear.rules.foton import foton_backward, make_orthonormal
from dlinear.rules.pepita import MODES, OUTPUTS, input_matrix, pepita_backward

ROUNDING = 1e-12


def pepita(net, seed, mode="original", output="clean", sign=1, scale=0.05, rate=0.01):
    """G of the weights and of the biases, a bias being the weight of a 1."""
    h, _ = net.forward(net.x)
    e = net.error(h[-1])
    f = input_matrix(net.x.shape[1], e.shape[1], seed, scale).numpy()
    herr = [net.x + sign * e @ f.T]
    weights, biases = [], []
    for t in range(net.hidden):
        w, b = net.w[t], net.b[t]
        first = mean_outer(h[t + 1], h[t]), h[t + 1].mean(0)
        if mode == "local":
            w, b = w - rate * first[0], b - rate * first[1] * net.bias
        herr.append(SIGMA[net.activation][0](herr[-1] @ w.T + b))
        if mode == "original":
            post = h[t + 1] - herr[-1]
            g = mean_outer(post, herr[-2]), post.mean(0)
        else:
            g = first[0] - mean_outer(herr[-1], herr[-2]), first[1] - herr[-1].mean(0)
        weights.append(g[0])
        biases.append(g[1])
    if output == "modulated":
        e = net.error(herr[-1] @ net.w[-1].T + net.b[-1])
    return [*weights, mean_outer(e, herr[-1])], [*biases, e.mean(0)]


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("mode", MODES)
def test_pepita_is_its_formula(mode, output):
    for seed in range(60):
        net = plain(seed)
        knobs = {"mode": mode, "output": output, "sign": (-1) ** seed, "scale": 0.3, "rate": 0.2}
        weights, biases = net.gradients(partial(pepita_backward, seed=seed, **knobs))
        expected, of_biases = pepita(net, seed, **knobs)
        assert worst(weights, expected) < ROUNDING, seed
        assert not biases or worst(biases, of_biases) < ROUNDING, seed


@pytest.mark.parametrize("mode", MODES)
def test_the_names_are_the_modes(mode):
    name = "pepita" if mode == "original" else f"pepita-{mode}"
    net = plain(4)
    assert worst(net.gradients(method(f"{name}-3"))[0], pepita(net, 3, mode)[0]) < ROUNDING
    assert worst(net.gradients(method(name))[0], pepita(net, 0, mode)[0]) < ROUNDING


def test_two_modes_and_two_outputs_differ():
    net = plain(11, widths=[6, 8, 7, 3], activation="relu", loss="cross_entropy")
    knobs = [{"mode": mode} for mode in MODES] + [{"output": "modulated"}, {"sign": -1}, {"seed": 1}]
    found = [net.gradients(partial(pepita_backward, rate=0.1, **one))[0] for one in knobs]
    for i, one in enumerate(found):
        for other in found[:i]:
            assert worst(one, other) > 1e-3
    clean, modulated = found[0], found[3]
    assert all(np.array_equal(a, b) for a, b in zip(clean[:-1], modulated[:-1], strict=True))


def foton(net):
    """(h_l - hmod_l) h_{l-1}^T, hmod_0 = x - (W_L ... W_1)^T e; output e h_{L-1}^T."""
    h, _ = net.forward(net.x)
    e = net.error(h[-1])
    back = e
    for w in reversed(net.w):
        back = back @ w
    hmod, _ = net.forward(net.x - back)
    posts = [*(h[t + 1] - hmod[t + 1] for t in range(net.hidden)), e]
    return [mean_outer(post, pre) for post, pre in zip(posts, h, strict=False)], [p.mean(0) for p in posts]


def test_foton_is_its_formula():
    for seed in range(60):
        net = plain(seed)
        weights, biases = net.gradients(method("foton"))
        expected, of_biases = foton(net)
        assert worst(weights, expected) < ROUNDING, seed
        assert not biases or worst(biases, of_biases) < ROUNDING, seed
    assert worst(net.gradients(method("foton"))[0], pepita(net, 0)[0]) > 1e-3  # false twin


def test_both_passes_have_one_dropout_mask():
    """The dropped units of the clean pass are those of the modulated one: their rows get nothing at all."""
    torch.manual_seed(0)
    blocks = [
        nn.Sequential(nn.Linear(6, 40), nn.Dropout(0.5)),
        nn.Sequential(nn.Linear(40, 30), nn.Dropout(0.5)),
    ]
    head, x = nn.Linear(30, 3), torch.randn(1, 6)
    loss_fn = Supervised(nn.functional.cross_entropy, torch.tensor([1]))
    for name in ("pepita", "pepita-hebbian", "foton"):
        for layer in (*blocks, head):
            layer.zero_grad()
        before = torch.get_rng_state()
        method(name)(blocks, x, loss_fn, lambda z, s: head(z))
        after = torch.get_rng_state()
        torch.set_rng_state(before)
        state, masks = x, []
        for block in blocks:
            state = block(state)
            masks.append(state[0] != 0)
        assert torch.equal(torch.get_rng_state(), after), "the second pass draws nothing"
        for block, mask in zip(blocks, masks, strict=True):
            assert 5 < mask.sum() < 35
            assert torch.equal(block[0].weight.grad.abs().sum(1) > 0, mask), name


def test_convolutions_are_the_formula_position_by_position():
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 3, 3, padding=1, bias=False).double()
    blocks, head = [nn.Sequential(conv, nn.ReLU()), nn.MaxPool2d(2), nn.Flatten()], nn.Linear(12, 3).double()
    x, y = torch.randn(4, 2, 4, 4, dtype=torch.float64), torch.arange(4) % 3
    method("pepita")(blocks, x, Supervised(nn.functional.cross_entropy, y), lambda z, s: head(z))
    with torch.no_grad():
        z = head(nn.functional.max_pool2d(conv(x).relu(), 2).flatten(1))
        e = z.softmax(1) - nn.functional.one_hot(y, 3)
        shifted = x + (e @ input_matrix(32, 3, 0).T).reshape(x.shape)
        post = conv(x).relu() - conv(shifted).relu()
        patches = nn.functional.unfold(shifted, 3, padding=1)  # (N, 2*9, positions)
        expected = torch.einsum("nop,nip->oi", post.flatten(2), patches) / 4
    assert worst([conv.weight.grad.flatten(1).numpy()], [expected.numpy()]) < ROUNDING


def test_orthonormal_rows_and_the_same_parameters():
    net = plain(2, widths=[6, 5, 4, 3])
    stack = net.stack()
    before = list(stack.parameters())
    make_orthonormal(stack.blocks)
    assert all(a is b for a, b in zip(before, stack.parameters(), strict=True))
    for block in stack.blocks:
        w = block[0].weight.detach()
        assert torch.allclose(w @ w.T, torch.eye(len(w), dtype=w.dtype), atol=1e-12)
    assert np.array_equal(stack.readout.head.weight.detach().numpy(), net.w[-1])


BLOCKS = {
    "2 such layers": lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)),
    "other trained parameters too": lambda: nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)),
    "a layer and a change of shape after it: put pooling into": lambda: nn.Sequential(
        nn.Linear(4, 8), nn.Unflatten(1, (1, 8)), nn.AvgPool1d(2), nn.Flatten()
    ),
}


@pytest.mark.parametrize("words", BLOCKS)
@pytest.mark.parametrize("rule", [pepita_backward, foton_backward])
def test_a_block_that_is_no_layer_is_refused(rule, words):
    block, head = BLOCKS[words](), nn.Linear(4, 3)
    loss_fn = Supervised(nn.functional.cross_entropy, torch.arange(5) % 3)
    with pytest.raises(DomainError, match=f"takes blocks of one linear .* block 0 has {words}"):
        rule([block], torch.randn(5, 4), loss_fn, lambda z, s: head(z))
    assert all(p.grad is None for p in (*block.parameters(), *head.parameters()))


@pytest.mark.parametrize("name", ["foton", "pepita", "pepita-mirror", "fa", "dfa"])
def test_weights_that_have_diverged_give_a_loss_that_is_no_number(name):
    """The trainer ends such a run and says so; it is no error of the net."""
    net = plain(3)
    net.w[0][:] = np.nan
    stack = net.stack()
    assert method(name)(stack.blocks, torch.from_numpy(net.x), net.loss_fn(), stack.readout).isnan()


def test_other_refusals_are_one_line():
    head, loss_fn = nn.Linear(4, 3), Supervised(nn.functional.cross_entropy, torch.arange(5) % 3)
    step = ([nn.Sequential(nn.Linear(4, 4), nn.ReLU())], torch.randn(5, 4), loss_fn, lambda z, s: head(z))
    for knobs, words in (
        ({"mode": "both"}, "mode is 'both'; expected 'original' or 'hebbian' or 'local'"),
        ({"output": None}, "output is None; expected 'clean' or 'modulated'"),
        ({"sign": 0}, "sign is 0; expected 1 or -1"),
        ({"seed": -1}, "seed is -1"),
    ):
        with pytest.raises(DomainError, match=f"^{words}"):
            pepita_backward(*step, **knobs)
    with pytest.raises(ShapeError, match=r"^x is a tuple; pepita takes one floating tensor"):
        pepita_backward([lambda x, y: x], (torch.ones(5, 4), torch.ones(5, 4)), *step[2:])
    norm = nn.LayerNorm(4, elementwise_affine=False)
    with pytest.raises(DomainError, match=r"^foton takes linear layers with activations"):
        foton_backward([*step[0], norm], *step[1:])
