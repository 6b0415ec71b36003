"""Every rule on a GPU gives the gradients that it gives on the CPU. Skipped where there is no card."""

from unittest import mock

import pytest
import torch
from every_rule import apart, batch_of, prepared, rule_names, stack_of, step

from dlinear.bridge import Training, load, train
from dlinear.bridge.methods import method

ROUNDING = 1e-10
needs_card = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DRAWS = {name: getattr(torch, name) for name in ("randn", "rand", "randn_like", "rand_like")}


def on_both(name):
    """(draw on the CPU, move): the same random numbers on every device."""

    def drawn(*shape, device=None, **options):
        if name.endswith("_like"):
            like = shape[0]
            draw = DRAWS[name.removesuffix("_like")](like.shape, dtype=options.get("dtype", like.dtype))
            return draw.to(device or like.device)
        return DRAWS[name](*shape, **options).to(device or "cpu")

    return drawn


def stepped(name, device, samples):
    """One step with the random numbers of the CPU, whatever the device."""
    stack = prepared(name, stack_of(name).to(device))
    x, y = (part.to(device) for part in batch_of(name, samples))
    with mock.patch.multiple(torch, **{draw: on_both(draw) for draw in DRAWS}):
        found = step(name, stack, x, y)
    return found, {key: buffer.clone() for key, buffer in stack.named_buffers()}


@needs_card
@pytest.mark.parametrize("samples", [9, 2])
@pytest.mark.parametrize("name", rule_names())
def test_cuda_gives_the_gradients_of_the_cpu(name, samples):
    here, buffers = stepped(name, "cpu", samples)
    there, moved = stepped(name, "cuda", samples)
    assert all(value.is_cuda for value in there.values() if value is not None)
    assert apart(there, here) < ROUNDING
    assert apart(moved, buffers) < ROUNDING


@needs_card
@pytest.mark.parametrize("name", ["fa", "pepita", "fa-mirror", "foton"])
def test_cuda_runs_in_the_trainer(name):
    from dlinear.bridge import Stack
    from dlinear.bridge.models.readouts import Shared

    split = load("digits", samples=300, test_samples=100)
    torch.manual_seed(0)
    block = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 40), torch.nn.Tanh())
    net = Stack([block], Shared(torch.nn.Linear(40, 10)))
    run = train(net, split, method(name), Training(epochs=4, learning_rate=0.05, device="cuda"))
    assert run.loss[-1] < run.loss[1]


@pytest.mark.parametrize("name", rule_names())
def test_cuda_comparison_is_one_of_equals_on_the_cpu(name):
    """What the comparison rests on: two runs on one device agree, those of two batches do not."""
    one, two = (stepped(name, "cpu", 9)[0] for _ in range(2))
    assert apart(one, two) == 0
    assert apart(stepped(name, "cpu", 2)[0], one) > 1e-3
