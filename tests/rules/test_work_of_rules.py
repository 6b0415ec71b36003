"""Each rule runs as many forward passes and products of blocks as its record says."""

import pytest
import torch
from torch import nn

from dlinear.bridge import Supervised, TaskShape, model, step_calls
from dlinear.bridge.methods import method

NAMES = (
    "oja",
    "activation",
    "fa",
    "dfa",
    "sdfa",
    "drtp",
    "dfa-identity",
    "pepita",
    "pepita-hebbian",
    "pepita-local",
    "pepita-mirror",
    "fa-mirror",
    "foton",
)


@pytest.mark.parametrize("name", NAMES)
def test_the_work_is_what_the_record_says(name):
    stack = model("deep", TaskShape((4,), 4), depth=6, width=4, readout="shared")
    loss_fn = Supervised(nn.functional.cross_entropy, torch.arange(7) % 4)
    calls = step_calls(method(name), stack.blocks, torch.randn(7, 4), loss_fn, stack.readout)
    cost = method(name).cost(6)
    assert (sum(calls.forwards), sum(calls.vjps)) == (cost.forwards, cost.vjps)
