"""The rules in the trainer: each lowers the loss of a plain net on the digits."""

import pytest
import torch
from torch import nn

from dlinear.bridge import Stack, Training, load, train
from dlinear.bridge.methods import method
from dlinear.bridge.models.readouts import Shared

# Rule: learning rate. DRTP never stops to step, whatever the error: it needs units that saturate.
RATES = {
    **{"fa": 0.1, "dfa": 0.1, "sdfa": 0.1, "drtp": 0.1, "fa-mirror": 0.1},
    **{"pepita": 0.1, "pepita-hebbian": 0.1, "pepita-mirror": 0.1, "foton": 0.05},
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
