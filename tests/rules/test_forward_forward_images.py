"""Forward-forward on convolutions: goodness over channels and positions; the published nets and plan."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from plain_net import worst
from torch import nn
from torch.nn import functional

from dlinear.bridge import Supervised, TaskShape, load, model
from dlinear.bridge.models.readouts import Shared
from dlinear.errors import DomainError, ShapeError
from dlinear.rules.ff.course import train_published
from dlinear.rules.ff.goodness import GOODNESS
from dlinear.rules.ff.labels import overlaid, wrong_labels
from dlinear.rules.ff.network import Knobs, goodness_scores, head_scores
from dlinear.rules.ff.published import SETTINGS, Setting, cooled, published_stack, unit_pixels
from dlinear.rules.forward_forward import ff_backward

ROUNDING = 1e-12


def unit_length(h):
    return h / (h.flatten(1).pow(2).mean(1).sqrt() + 1e-8).reshape(-1, 1, 1, 1)


def expected_of(conv, x, weight, goodness):
    """sum over samples of weight dg/dW of one layer with ReLU, patch by patch: no autograd."""
    h = conv(x).relu()
    units = h[0].numel()
    per = {"sum": 2, "mean": 2 / units, "channels": 2 * len(conv.weight) / units, "matched": 1}[goodness]
    slope = per * h  # ReLU: sigma sigma' = sigma
    patches = functional.unfold(x, conv.kernel_size, padding=conv.padding)
    found = torch.einsum("n,nop,nip->oi", weight, slope.flatten(2), patches).reshape(conv.weight.shape)
    return found, torch.einsum("n,nop->o", weight, slope.flatten(2))


@torch.no_grad()
def by_hand(layers, x, labels, wrong, goodness, theta, peer):
    """Weights and biases of conv - ReLU - max - conv - ReLU."""
    found, states = [], [overlaid(x, y, 3, "planes") for y in (labels, wrong)]
    for t, conv in enumerate(layers):
        total = [0.0, 0.0]
        entering = [unit_length(state) for state in states]
        outputs = [conv(state).relu() for state in entering]
        for state, h, sign in zip(entering, outputs, (-1, 1), strict=True):
            g = h.pow(2).flatten(1).sum(1)
            share = {"sum": 1, "mean": h[0].numel(), "channels": h[0, 0].numel(), "matched": 2}
            g = g / share[goodness]
            parts = expected_of(conv, state, 0.5 / len(x) * sign * (sign * (g - theta)).sigmoid(), goodness)
            total = [a + b for a, b in zip(total, parts, strict=True)]
        channels, positions = outputs[0].shape[1], outputs[0][0, 0].numel()
        r = 0.45 + 0.1 * outputs[0].mean((0, 2, 3))
        post = 0.1 * peer * 2 / channels * (r - r.mean()) / (len(x) * positions)
        patches = functional.unfold(entering[0], 3, padding=1).sum((0, 2))
        total[0] = total[0] + torch.outer(post, patches).reshape(conv.weight.shape)
        total[1] = total[1] + post * len(x) * positions
        found += total
        states = [functional.max_pool2d(h, 2) if t == 0 else h for h in outputs]
    return [part.numpy() for part in found]


@pytest.mark.parametrize("goodness", GOODNESS)
def test_convolutions_are_the_formula_patch_by_patch(goodness):
    for seed in range(17):
        torch.manual_seed(seed)
        layers = [nn.Conv2d(5, 4, 3, padding=1).double(), nn.Conv2d(4, 3, 3, padding=1).double()]
        first, second = (nn.Sequential(layer, nn.ReLU()) for layer in layers)
        head = nn.Linear(12, 3).double()
        x, y = torch.randn(4, 2, 4, 4, dtype=torch.float64), torch.arange(4) % 3
        theta, peer = 5.0, float(seed % 2)
        knobs = Knobs(goodness=goodness, overlay="planes", theta=theta, peer=peer)
        blocks = [first, nn.MaxPool2d(2), second, nn.Flatten()]
        torch.manual_seed(seed)
        ff_backward(blocks, x, Supervised(functional.cross_entropy, y), Shared(head), knobs)
        torch.manual_seed(seed)
        expected = by_hand(layers, x, y, wrong_labels(y, 3), goodness, theta, peer)
        ours = [p.grad.numpy() for layer in layers for p in layer.parameters()]
        assert worst(ours, expected) < ROUNDING, seed


def test_the_published_net_and_where_its_weights_start():
    torch.manual_seed(0)
    net = published_stack(TaskShape((1, 28, 28), 10))
    linears = [block[-2] for block in net.blocks]
    assert [tuple(layer.weight.shape) for layer in linears] == [(1000, 784), (1000, 1000), (1000, 1000)]
    for layer in linears:
        assert layer.weight.std().item() == pytest.approx(1000**-0.5, rel=0.01)
        assert not layer.bias.any()
    assert net.readout.head.weight.shape == (10, 2000)
    assert net.readout.head.bias is None
    assert not net.readout.head.weight.any()
    setting = SETTINGS["layers"]
    assert (setting.rate, setting.decay, setting.head_rate, setting.head_decay) == (1e-3, 3e-4, 1e-2, 3e-3)
    assert (setting.batch, setting.momentum, setting.knobs.peer, setting.knobs.goodness) == (
        100,
        0.9,
        0.03,
        "sum",
    )


def test_the_published_plan_of_the_rates():
    """Constant to epoch 50 of 100, then linear: 1 at 51, 0.04 in the last."""
    plan = [cooled(e, 100) for e in range(100)]
    assert plan[:52] == [1.0] * 52
    assert plan[99] == pytest.approx(0.04)
    assert plan[75] == pytest.approx(0.52)
    assert [cooled(e, 3) for e in range(3)] == pytest.approx([1, 1, 4 / 3]), "as the code has it"


def test_unit_pixels_are_those_of_the_bytes():
    split = load("digits", samples=100, test_samples=50)
    found = unit_pixels(split)
    assert found.x_train.min() == 0
    assert found.x_train.max() == 1
    levels = found.x_test * 16  # the digits have grey levels 0..16
    assert (levels - levels.round()).abs().max() < 1e-5
    assert found.digest != split.digest


MOST = {"layers": {"goodness": 0.45, "head": 0.4}, "conv": {"goodness": 0.88, "head": 0.5}}


@pytest.mark.slow
@pytest.mark.parametrize("kind", MOST)
def test_a_net_of_each_kind_learns(kind):
    """The classical failure of forward-forward stays at 90 % error; the goodness of convolutions is slow."""
    split = unit_pixels(load("digits", samples=600, test_samples=200))
    setting = replace(SETTINGS[kind], width=60 if kind == "layers" else 6, kernel=3, batch=20, rate=1e-2)
    seen = []
    net, found = train_published(split, setting, 4, evaluate_every=2, report=seen.append, device="cpu")
    assert [one.epoch for one in found] == [2, 4]
    assert found == seen
    assert all(found[-1].error[name] < most for name, most in MOST[kind].items())
    assert found[-1].passes == {"goodness": 10, "head": 1}
    for name, scores in (("goodness", goodness_scores), ("head", head_scores)):
        own = scores(net.eval().blocks, split.x_test, net.readout, setting.knobs).argmax(1)
        assert found[-1].error[name] == pytest.approx((own != split.y_test).double().mean().item())
    assert 0 < found[0].seconds < found[1].seconds
    assert all(value > 0 for value in found[-1].inference.values())


def test_a_run_repeats_itself_and_leaves_the_generator():
    split = unit_pixels(load("digits", samples=100, test_samples=50))
    setting = Setting(width=20, depth=2, batch=10)
    before = torch.get_rng_state()
    runs = [train_published(split, setting, 2, seed=seed, device="cpu")[0].state_dict() for seed in (0, 0, 1)]
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(value, runs[1][name]) for name, value in runs[0].items())
    assert not torch.equal(runs[0]["readout.head.weight"], runs[2]["readout.head.weight"])


def test_what_the_published_course_refuses():
    split = load("digits", samples=20, test_samples=20)
    with pytest.raises(DomainError, match=r"^model is 'mlp'; expected 'layers' or 'conv'"):
        Setting("mlp")
    with pytest.raises(DomainError, match=r"^kernel is 4; expected an odd number"):
        Setting(kernel=4)
    with pytest.raises(ShapeError, match=r"takes images \(channels, height, width\)"):
        published_stack(TaskShape((9,), 3), SETTINGS["conv"])
    with pytest.raises(DomainError, match=r"^epochs"):
        train_published(split, epochs=0)
    values = {name: getattr(split, name) for name in ("x_train", "x_test", "digest")}
    real = SimpleNamespace(
        **values, y_train=split.x_train[:, 0, 0], y_test=split.x_test[:, 0, 0], classes=None
    )
    with pytest.raises(DomainError, match=r"^forward-forward learns classes"):
        train_published(real)


def test_a_convolutional_model_of_the_library_takes_planes_or_pixels():
    """Any stack: its first block is asked for K more channels with planes."""
    task = TaskShape((1 + 3, 6, 6), 3)
    net = model("conv", task, 0, depth=2, width=4, patch=2, readout="shared")
    x, y = torch.randn(5, 1, 6, 6), torch.arange(5) % 3
    loss_fn = Supervised(functional.cross_entropy, y)
    assert math.isfinite(ff_backward(net.blocks, x, loss_fn, net.readout, Knobs(overlay="planes")))
    assert head_scores(net.blocks, x, net.readout, Knobs(overlay="planes")).shape == (5, 3)
