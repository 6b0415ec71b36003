"""Forward-forward against its formula in numpy, without autograd; conventions, negatives, predictions."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from ff_by_hand import activities, drawn, ff, goodness_and_signal, gradients, labelled, net_of, of_length
from plain_net import plain, worst
from scipy.integrate import quad
from torch import nn

from dlinear.bridge import Stack, Supervised, Training, load, step_calls, train
from dlinear.bridge.methods import method
from dlinear.bridge.models.readouts import Shared
from dlinear.errors import DomainError, ShapeError
from dlinear.rules.ff.goodness import GOODNESS, LENGTHS, layer_pass
from dlinear.rules.ff.labels import hard_labels, overlaid, wrong_labels
from dlinear.rules.ff.network import Knobs, goodness_scores, head_scores
from dlinear.rules.forward_forward import ff_backward, forward_forward
from dlinear.rules.pepita import input_matrix, pepita_backward

ROUNDING = 1e-12


@pytest.mark.parametrize("goodness", GOODNESS)
def test_ff_is_its_formula(goodness):
    for seed in range(60):
        net, length = net_of(seed), LENGTHS[seed // 2 % 3]
        knobs = {"goodness": goodness, "length": length, "on": 1.5, "theta": None if seed % 2 else 0.7}
        weights, biases = gradients(net, seed, Knobs(**knobs))
        expected, of_biases = ff(net, drawn(net, seed), **knobs)
        assert worst(weights, expected) < ROUNDING, seed
        assert not biases or worst(biases, of_biases) < ROUNDING, seed


@pytest.mark.parametrize("slope", ["full", "own"])
def test_peer_normalisation_is_its_formula_and_changes_the_gradient(slope):
    apart = []
    for seed in range(60):
        net = net_of(seed, activation=("relu", "tanh")[seed % 2])
        wrong, goodness = drawn(net, seed), GOODNESS[seed % 4]
        weights, biases = gradients(net, seed, Knobs(goodness=goodness, peer=30.0, peer_slope=slope))
        expected, of_biases = ff(net, wrong, goodness, peer=30.0, slope=slope)
        assert worst(weights, expected) < ROUNDING, seed
        assert not biases or worst(biases, of_biases) < ROUNDING, seed
        apart.append(worst(weights[:-1], ff(net, wrong, goodness)[0][:-1]))
    assert np.quantile(apart, 0.2) > 1e-2, "false twin: the rule without it"


def test_peer_normalisation_keeps_running_means_of_the_positive_samples():
    net = net_of(7, activation="relu")
    stack, one = net.stack(), forward_forward(Knobs(peer=0.03))
    one.prepare(stack.blocks, stack.readout)
    assert all(torch.equal(block.peer_mean, torch.full_like(block.peer_mean, 0.5)) for block in stack.blocks)
    expected = [np.full(len(w), 0.5) for w in net.w[:-1]]
    for _ in range(3):
        one(stack.blocks, torch.from_numpy(net.x), net.loss_fn(), stack.readout)
        positive = activities(net, labelled(net, net.y, 1.0), "rms")
        expected = [0.9 * r + 0.1 * h.mean(0) for r, (_, _, h) in zip(expected, positive, strict=True)]
    assert worst([block.peer_mean.numpy() for block in stack.blocks], expected) < ROUNDING


def test_the_modes_differ():
    net = net_of(12, widths=[6, 8, 7, 4], activation="relu")
    modes = [
        *({}, {"goodness": "mean"}, {"goodness": "matched"}, {"length": "norm"}, {"length": "none"}),
        *({"theta": 1.0}, {"on": 2.0}, {"peer": 3.0}, {"peer": 3.0, "peer_slope": "own"}),
    ]
    found = [gradients(net, 3, Knobs(**one))[0] for one in modes]
    for i, one in enumerate(found):
        for other in found[:i]:
            assert worst(one[:-1], other[:-1]) > 1e-3
    backprop = net.gradients(method("backprop"))[0]
    assert all(worst(one, backprop) > 0.1 for one in found), "it is not back-propagation"


def test_rms_and_norm_differ_by_the_root_of_the_width():
    """Without bias, the norm's input is shorter by sqrt(n): its a too, and for ReLU its g by n."""
    net = net_of(3, widths=[6, 5, 4], activation="relu", bias=False)
    x = labelled(net, net.y, 1.0)
    (_, a, h), (_, b, k) = (activities(net, x, length)[0] for length in ("rms", "norm"))
    assert np.allclose(a, math.sqrt(6) * b)
    assert np.allclose((h**2).sum(1), 6 * (k**2).sum(1))


@pytest.mark.parametrize(
    "activation", [nn.Tanh, nn.ReLU, nn.Sigmoid, nn.GELU, nn.SiLU, nn.Identity, nn.Softsign]
)
def test_the_matched_goodness_is_the_integral_of_the_activation(activation):
    torch.manual_seed(1)
    layer, x = nn.Linear(4, 5).double(), 3 * torch.randn(6, 4, dtype=torch.float64)
    found = layer_pass(nn.Sequential(layer, activation()), x, 0, "matched", "ff")

    def sigma(t):
        return float(activation()(torch.tensor(t, dtype=torch.float64)))

    a = layer(x).detach().numpy()
    expected = [sum(quad(sigma, 0, value, epsabs=1e-12)[0] for value in row) for row in a]
    assert found.goodness.numpy() == pytest.approx(np.array(expected), rel=1e-9)
    products = found.products(torch.ones(6, dtype=torch.float64))
    h = activation()(layer(x)).detach().numpy()
    assert worst([products[layer.weight].numpy()], [h.T @ x.numpy()]) < ROUNDING


def test_the_matched_goodness_of_a_layer_with_dropout_has_one_mask():
    """E: h = mask sigma(a)/(1 - p), so that g is the mask's part of the integral."""
    torch.manual_seed(2)
    block = nn.Sequential(nn.Linear(4, 50), nn.Softsign(), nn.Dropout(0.5)).double()
    x = torch.randn(1, 4, dtype=torch.float64)
    found = layer_pass(block, x, 0, "matched", "ff")
    a, kept = block[0](x), found.output != 0
    whole = 2 * (a.abs() - torch.log1p(a.abs()))  # of Softsign, over the kept share
    assert 10 < kept.sum() < 40
    assert found.goodness.item() == pytest.approx(whole[kept].sum().item(), rel=1e-9)


@pytest.mark.parametrize("goodness", ["sum", "matched"])
def test_layers_that_learn_alone_leave_autocast(goodness):
    """At 2000 a number of bfloat16 has steps of 8; what the logistic weight sees is of order 1."""
    torch.manual_seed(0)
    blocks, head = [nn.Sequential(nn.Linear(50, 2000), nn.ReLU())], nn.Linear(2000, 3)
    x, loss_fn = torch.randn(20, 50), Supervised(nn.functional.cross_entropy, torch.arange(20) % 3)
    found = []
    for autocast in (False, True):
        torch.manual_seed(1)
        blocks[0].zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            ff_backward(blocks, x, loss_fn, lambda z, s: head(z), Knobs(goodness=goodness))
            scores = goodness_scores(blocks, x, lambda z, s: head(z), Knobs(goodness=goodness, classes=3))
        found.append((scores, blocks[0][0].weight.grad.clone()))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_the_goodness_of_a_model_in_half_precision_is_a_single_number():
    block = nn.Sequential(nn.Linear(50, 2000), nn.ReLU()).bfloat16()
    for goodness in GOODNESS:
        assert (
            layer_pass(block, torch.randn(5, 50).bfloat16(), 0, goodness, "ff").goodness.dtype
            == torch.float32
        )


def test_wrong_labels_are_never_the_true_one_and_uniform_on_the_others():
    torch.manual_seed(0)
    labels = torch.arange(3).repeat(20_000)
    counts = torch.zeros(3, 3)
    for draw in (wrong_labels(labels, 3), hard_labels(labels, torch.zeros(len(labels), 3))):
        assert not (draw == labels).any()
        counts.zero_().index_put_((labels, draw), torch.ones(len(labels)), accumulate=True)
        shares = counts[~torch.eye(3, dtype=torch.bool)] / 20_000
        assert shares.sub(0.5).abs().max() < 0.015


def test_hard_labels_follow_the_scores():
    torch.manual_seed(0)
    labels, scores = torch.zeros(40_000, dtype=torch.int64), torch.tensor([9.0, 0.0, 1.0, 2.0])
    draw = hard_labels(labels, scores.expand(len(labels), 4))
    shares = torch.bincount(draw, minlength=4) / len(labels)
    assert shares[0] == 0, "the true label has the largest score"
    assert torch.allclose(shares[1:], scores[1:].softmax(0), atol=0.01)
    assert not (hard_labels(labels[:9], torch.full((9, 4), torch.nan)) == 0).any()


@pytest.mark.parametrize("negatives", ["neutral", "hard"])
def test_hard_negatives_are_drawn_from_the_net(negatives):
    for seed in range(10):
        net, knobs = net_of(seed), Knobs(negatives=negatives)
        stack, x = net.stack(), torch.from_numpy(net.x)
        scores = {"neutral": head_scores, "hard": goodness_scores}[negatives](stack.blocks, x, stack.readout)
        torch.manual_seed(seed)
        wrong = hard_labels(torch.from_numpy(net.y), scores).numpy()
        assert (wrong != net.y).all()
        assert worst(gradients(net, seed, knobs)[0], ff(net, wrong)[0]) < ROUNDING


def test_the_two_predictions_by_hand():
    for seed in range(20):
        net, length = net_of(seed), LENGTHS[seed % 3]
        stack, x = net.stack(), torch.from_numpy(net.x)
        for goodness in GOODNESS:
            knobs = Knobs(goodness=goodness, length=length, on=1.5, first=bool(seed % 2))
            expected = np.zeros((len(x), len(net.w[-1])))
            for k in range(expected.shape[1]):
                found = activities(net, labelled(net, np.full(len(x), k), 1.5), length)
                for _, a, h in found if knobs.first or len(found) == 1 else found[1:]:
                    expected[:, k] += goodness_and_signal(net, a, h, goodness)[0]
            ours = goodness_scores(stack.blocks, x, stack.readout, knobs)
            assert worst([ours.numpy()], [expected]) < 1e-11
        neutral = activities(net, labelled(net, None, 1.5), length)
        for head in (
            ("last", "all") if len({len(w) for w in net.w[1:-1]}) < 2 and len(net.w) == 3 else ("last",)
        ):
            ours = head_scores(stack.blocks, x, stack.readout, Knobs(length=length, on=1.5, head=head))
            last = of_length(neutral[-1][2], length)
            assert worst([ours.numpy()], [last @ net.w[-1].T + net.b[-1]]) < ROUNDING


def test_a_head_on_all_layers_but_the_first():
    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.Linear(m, n), nn.ReLU()) for m, n in ((6, 5), (5, 4), (4, 7))]
    head, x = Shared(nn.Linear(11, 3)), torch.randn(5, 6)
    found = head_scores(blocks, x, head, Knobs(head="all"))
    h, seen = overlaid(x, None, 3), []
    for block in blocks:
        h = block(h / (h.pow(2).mean(1, keepdim=True).sqrt() + 1e-8))
        seen.append(h / (h.pow(2).mean(1, keepdim=True).sqrt() + 1e-8))
    assert torch.allclose(found, head(torch.cat(seen[1:], 1), 3), atol=1e-6)
    ff_backward(
        blocks, x, Supervised(nn.functional.cross_entropy, torch.arange(5) % 3), head, Knobs(head="all")
    )
    assert head.head.weight.grad.shape == (3, 11)


def test_images_have_the_label_in_each_channel_or_in_planes():
    x, labels = torch.randn(2, 3, 4, 5), torch.tensor([2, 0])
    pixels = overlaid(x, labels, 4, "pixels", 2.0)
    assert torch.equal(pixels[0, :, 0, :4], torch.tensor([0.0, 0, 2, 0]).expand(3, 4))
    assert torch.equal(pixels[:, :, 0, 4], x[:, :, 0, 4])
    assert torch.equal(pixels[:, :, 1:], x[:, :, 1:])
    planes = overlaid(x, labels, 4, "planes", 2.0)
    assert torch.equal(planes[:, :3], x)
    assert torch.equal(planes[1, 3:, 2, 3], torch.tensor([2.0, 0, 0, 0]))
    assert torch.equal(overlaid(x, None, 4, "planes")[0, 3:].unique(), torch.tensor([0.25]))
    assert torch.equal(
        overlaid(torch.zeros(2, 3), labels, 3, "planes")[0], torch.tensor([0.0, 0, 0, 0, 0, 1])
    )


@pytest.mark.parametrize("name", ["ff", "ff-mean", "ff-matched", "ff-hard"])
def test_the_work_is_what_the_record_says(name):
    net = plain(1, widths=[6, 5, 5, 5, 4], activation="tanh", loss="cross_entropy")
    stack = net.stack()
    calls = step_calls(method(name), stack.blocks, torch.from_numpy(net.x), net.loss_fn(), stack.readout)
    cost = method(name).cost(3)
    assert (sum(calls.forwards), sum(calls.vjps)) == (cost.forwards, cost.vjps)


REFUSED = {
    "ff needs labels .*: loss_fn is a function": {"loss_fn": lambda z: z.sum()},
    "ff needs labels .* targets of torch.float32": {
        "loss_fn": Supervised(nn.functional.mse_loss, torch.zeros(5, 3))
    },
    "x has 2 inputs; ff writes a label of 3 classes": {"x": torch.zeros(5, 2), "blocks": [nn.Linear(2, 4)]},
    "x is a tuple; ff takes one floating tensor": {"x": (torch.zeros(5, 4),)},
    "ff trains layers below the output layer; here is none": {"blocks": [nn.ReLU()]},
    "the head gives 3 outputs; ff has labels of 4 classes": {"knobs": Knobs(classes=4)},
    "ff takes blocks of one linear or convolutional layer .* block 0 has 2 such": {
        "blocks": [nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))],
        "knobs": Knobs(goodness="matched"),
    },
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_is_refused_is_one_line(words):
    head = nn.Linear(4, 3)
    step = {
        "blocks": [nn.Sequential(nn.Linear(4, 4), nn.ReLU())],
        "x": torch.randn(5, 4),
        "loss_fn": Supervised(nn.functional.cross_entropy, torch.arange(5) % 3),
        "readout": lambda z, s: head(z),
    }
    with pytest.raises((DomainError, ShapeError), match=f"^{words}"):
        ff_backward(**{**step, **REFUSED[words]})
    assert head.weight.grad is None


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"goodness": "max"}, "goodness is 'max'; expected 'sum' or 'mean' or 'channels'"),
        ({"length": "two"}, "length is 'two'"),
        ({"negatives": None}, "negatives is None"),
        ({"peer": -1}, "peer = -1: allowed is one finite number >= 0"),
        ({"peer_momentum": 1}, "peer_momentum is 1; expected a number >= 0 and < 1"),
        ({"classes": 1}, "classes is 1"),
        ({"first": 1}, "first is 1"),
    ],
)
def test_knobs_outside_their_range(knobs, words):
    with pytest.raises(DomainError, match=f"^{words}"):
        Knobs(**knobs)


@pytest.mark.parametrize("predict", ["goodness", "head"])
def test_a_run_is_judged_by_forward_forwards_own_prediction(predict):
    """Training accuracy in the trainer is that of the prediction by hand, and not of the plain net."""
    split = load("digits", samples=300, test_samples=100)
    torch.manual_seed(0)
    blocks = [
        nn.Sequential(nn.Flatten(), nn.Linear(64, 60), nn.ReLU()),
        nn.Sequential(nn.Linear(60, 60), nn.ReLU()),
    ]
    net = Stack(blocks, Shared(nn.Linear(60, 10)))
    one = forward_forward(Knobs(on=3.0), predict)
    run = train(
        net,
        split,
        one,
        Training(epochs=12, batch_size=20, learning_rate=0.01, optimizer="adam", evaluated=100),
    )
    score = {"goodness": goodness_scores, "head": head_scores}[predict]
    own = score(net.blocks, split.x_test, net.readout, Knobs(on=3.0)).argmax(1)
    assert run.test_accuracy[-1] == pytest.approx((own == split.y_test).double().mean().item())
    plain_net = (net(split.x_test).argmax(1) == split.y_test).double().mean().item()
    assert run.test_accuracy[-1] != pytest.approx(plain_net)
    assert run.test_accuracy[-1] > 0.6


def test_the_mean_activity_is_that_of_a_weight():
    with pytest.raises(DomainError, match=r"^block 0 trains no weight; peer normalisation takes layers"):
        forward_forward(Knobs(peer=0.1)).prepare([nn.LayerNorm(4)], nn.Linear(4, 3))


def test_runs_with_other_knobs_have_other_names():
    names = [forward_forward(Knobs(**knobs)).name for knobs in ({}, {"peer": 0.1}, {"goodness": "mean"})]
    assert len({*names, forward_forward(predict="head").name}) == 4


def locally(net, x, goodness):
    """The layers of forward-forward on x, each on what the one below hands on: no length, no label."""
    found, state = [], torch.from_numpy(x)
    for t, block in enumerate(net.stack().blocks):
        found.append(layer_pass(block, state, t, goodness, "ff"))
        state = found[-1].output
    return found


def test_i3_with_equal_weights_matched_goodness_is_hebbian_pepita_for_every_activation():
    """The clean pass as the negative sample, the modulated one as the positive; sum: only where sigma sigma'
    = sigma. (The logistic weights put factors 1 - p+ and p- before the two terms.)"""
    for seed in range(60):
        activation = ("identity", "relu", "tanh")[seed % 3]
        net = plain(seed, widths=[6, 5, 4, 3], activation=activation, bias=False)
        h, _ = net.forward(net.x)
        f = input_matrix(6, 3, seed, 2.0).numpy()
        shifted = net.x + net.error(h[-1]) @ f.T
        pepita = net.gradients(partial(pepita_backward, seed=seed, scale=2.0, mode="hebbian"))[0][:-1]

        def contrast(goodness, factor, net=net, shifted=shifted):
            ones = torch.ones(len(net.x), dtype=torch.float64) * factor / len(net.x)
            pairs = zip(locally(net, net.x, goodness), locally(net, shifted, goodness), strict=True)
            both = [(list(a.products(ones).values()), list(b.products(-ones).values())) for a, b in pairs]
            return [(a[0] + b[0]).numpy() for a, b in both]

        assert worst(contrast("matched", 1.0), pepita) < ROUNDING
        assert (worst(contrast("sum", 0.5), pepita) < ROUNDING) == (activation != "tanh")
