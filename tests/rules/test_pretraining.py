"""Pre-training of hidden layers without labels: what it changes, what it leaves, and that it resumes."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from dlinear.bridge import Stack, Training, load, train
from dlinear.bridge.methods import method
from dlinear.bridge.models.readouts import Shared
from dlinear.errors import DomainError
from dlinear.rules.pretraining import measured
from dlinear.rules.pretraining.reconstruction import autoencoder_of, pretrain


def net(seed=0):
    torch.manual_seed(seed)
    return Stack(
        [
            nn.Sequential(nn.Flatten(), nn.Linear(64, 40), nn.Tanh()),
            nn.Sequential(nn.Linear(40, 30), nn.Tanh()),
        ],
        Shared(nn.Linear(30, 10)),
    )


def weights(stack):
    return {name: p.detach().clone() for name, p in stack.named_parameters()}


@pytest.mark.parametrize("name", ["lac", "backprop", "oja"])
def test_hidden_layers_learn_to_give_the_input_back_and_the_head_stays(name):
    split, stack = load("digits", samples=200, test_samples=60), net()
    before = weights(stack)
    run = pretrain(stack, split, Training(epochs=4, batch_size=20, learning_rate=0.03), method=name)
    assert run.loss[-1] < run.loss[1]
    after = weights(stack)
    assert after.keys() == before.keys()
    for key, value in after.items():
        assert torch.equal(value, before[key]) == key.startswith("readout"), key
    assert train(stack, split, method("backprop"), Training(epochs=2)).test_accuracy[-1] > 0


def test_a_convolutional_net_is_pretrained():
    split = load("digits", samples=60, test_samples=20)
    torch.manual_seed(0)
    stack = Stack(
        [nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU()), nn.MaxPool2d(2), nn.Flatten()],
        Shared(nn.Linear(64, 10)),
    )
    before = stack.blocks[0][0].weight.detach().clone()
    run = pretrain(stack, split, Training(epochs=5, batch_size=20, learning_rate=0.01))
    assert run.loss[-1] < run.loss[1]
    assert not torch.equal(before, stack.blocks[0][0].weight)


def test_the_decoder_has_a_seed_and_nothing_else_is_drawn():
    split, stack = load("digits", samples=20, test_samples=10), net()
    state = torch.get_rng_state()
    one, same, other = (autoencoder_of(stack, split.x_train, seed) for seed in (0, 0, 1))
    assert torch.equal(state, torch.get_rng_state())
    first, again, different = (a.readout.head[1].weight for a in (one, same, other))
    assert torch.equal(first, again)
    assert not torch.equal(first, different)
    assert one.blocks[0] is stack.blocks[0]


def test_it_resumes_to_the_same_numbers(tmp_path):
    split = load("digits", samples=60, test_samples=20)
    whole, one = None, net()
    whole = pretrain(one, split, Training(epochs=3, batch_size=20))
    pretrain(net(), split, Training(epochs=1, batch_size=20), folder=tmp_path)
    other = net()
    again = pretrain(other, split, Training(epochs=3, batch_size=20), folder=tmp_path)
    assert list(again.loss)[1:] == list(whole.loss)[1:]
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_what_cannot_be_pretrained_is_said():
    split = load("digits", samples=20, test_samples=10)
    alone = Stack([nn.Flatten()], Shared(nn.Linear(64, 10)))
    with pytest.raises(
        DomainError, match=r"^no hidden block trains anything: there is nothing to pre-train$"
    ):
        pretrain(alone, split)
    with pytest.raises(DomainError, match=r"^seed (is|=) "):
        pretrain(net(), split, seed=-1)
    with pytest.raises(DomainError, match=r"^method 'no': allowed are"):
        pretrain(net(), split, method="no")


def cell(**changed):
    knobs = {
        **{"start": "scratch", "labelled": 30, "seed": 0, "before": 2, "epochs": 2, "rates": (0.003, 0.03)},
        **{"rate": 0.05, "depth": 2, "units": 12, "batch": 10},
        **{"data": "digits", "digest": "", "samples": 80, "test_samples": 40},
    }
    return measured.Cell(**{**knobs, **changed})


def test_every_start_has_the_same_net_samples_and_batches():
    """A pre-training at a rate of nearly 0 leaves what scratch does; the best of two rates is taken."""
    scratch = measured.compute(cell())
    still = measured.compute(cell(start="lac", rates=(1e-30,)))
    assert list(still["accuracy"][1]) == list(scratch["accuracy"][1])
    other = measured.compute(cell(start="lac"))
    assert other["rate_before"][1] == 0.03
    assert other["reconstruction_end"][1] < other["reconstruction_start"][1]
    assert list(measured.compute(cell(seed=1))["accuracy"][1]) != list(scratch["accuracy"][1])


def record(start, seed, accuracy, end):
    arrays = {"accuracy": np.array(accuracy), "reconstruction_start": 1.0, "reconstruction_end": end}
    knobs = {"start": start, "labelled": 30, "seed": seed, "epochs": 2}
    return SimpleNamespace(knobs=knobs, arrays={**arrays, "rate_before": 0.1})


def test_words_follow_the_numbers():
    runs = [record("scratch", seed, (0.1, 0.2 + seed / 50, 0.5), math.nan) for seed in range(4)]
    runs += [record("lac", seed, (0.1, 0.4 + seed / 49, 0.5), 0.5) for seed in range(4)]
    first, last = measured.differences(runs)
    assert first.seen
    assert first.estimate.value == pytest.approx(20, abs=0.1)
    assert not last.seen
    assert last.estimate.value == 0
    assert [answer.holds for answer in measured.answers(runs)] == [True]
    worse = [*runs, record("lac", 4, (0.1, 0.4, 0.5), 1.1)]  # false twin: one that forgot its inputs
    assert [answer.holds for answer in measured.answers(worse)] == [False]
    gone = [*runs, record("lac", 4, (0.1, 0.4, 0.5), math.nan)]
    assert [answer.holds for answer in measured.answers(gone)] == [None]
    short = [*runs[:4], *(record("lac", seed, (0.1,), 0.5) for seed in range(4))]
    assert not measured.differences(short)
    assert measured.rows(short)[1][-1] == "diverged"
