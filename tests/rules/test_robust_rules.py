"""Every rule on blocks as users have them: compiled, under autocast, without bias, frozen in part."""

import pytest
import torch
from every_rule import AUTOENCODERS, apart, batch_of, prepared, rule_names, stack_of, step
from torch import nn

from dlinear.bridge import Stack, Supervised, step_memory
from dlinear.bridge.methods import method
from dlinear.bridge.models.readouts import Shared
from dlinear.rules.pff import Settling, predictive_forward_forward

NAMES = rule_names()
COMPILED = ("fa", "pepita", "ff-matched")  # one of each way to look into a block
# Only the forward passes of these rules run in half precision; the others switch autocast off inside.
ROUGH = 0.05


def run(name, samples=9, dtype=torch.float64, change=None, bias=True):
    stack = prepared(name, stack_of(name, bias, dtype))
    if change is not None:
        change(stack)
    return step(name, stack, *batch_of(name, samples, dtype))


@pytest.mark.parametrize("name", NAMES)
def test_autocast_keeps_the_digits_of_a_difference(name):
    plainly = run(name, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = run(name, dtype=torch.float32)
    assert apart(mixed, plainly) < ROUGH
    assert all(value.dtype == torch.float32 for value in mixed.values() if value is not None)


@pytest.mark.parametrize("name", NAMES)
def test_single_and_double_precision_agree(name, monkeypatch):
    def drawn(like):
        return torch.randn(like.shape, dtype=torch.float64).to(like)

    monkeypatch.setattr(torch, "randn_like", drawn)  # torch draws other numbers in another precision
    assert apart(run(name, dtype=torch.float32), run(name)) < 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_layers_without_bias_and_batches_of_any_size(name):
    """A last smaller batch, also of one sample, needs nothing of the batch before it."""
    stack = prepared(name, stack_of(name, bias=False))
    for samples in (9, 4, 1):
        found = step(name, stack, *batch_of(name, samples))
        assert all(value is not None and value.isfinite().all() for value in found.values())
        assert found["blocks.0.0.weight"].abs().sum() > 0


FROZEN = {
    "first block": lambda stack: stack.blocks[0],
    "second block": lambda stack: stack.blocks[1],
    "a bias": lambda stack: stack.blocks[1][0].bias,
    "output layer": lambda stack: stack.readout,
}


@pytest.mark.parametrize("what", FROZEN)
@pytest.mark.parametrize("name", NAMES)
def test_what_is_frozen_gets_no_gradient_and_the_rest_one(name, what):
    if what == "output layer" and name.startswith(("ff", "hybrid")):
        pytest.skip("the last block would be the head, and it has no output for each class")
    stack = stack_of(name)
    FROZEN[what](stack).requires_grad_(False)
    prepared(name, stack)
    found = step(name, stack, *batch_of(name))
    for key, parameter in stack.named_parameters():
        assert (found[key] is not None and bool(found[key].abs().sum() > 0)) == parameter.requires_grad, key


def compiled(stack):
    """A block, a layer inside a block, and the head."""
    stack.blocks[0] = torch.compile(stack.blocks[0], backend="eager")
    stack.blocks[1][0] = torch.compile(stack.blocks[1][0], backend="eager")
    stack.readout.head = torch.compile(stack.readout.head, backend="eager")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # of torch itself
@pytest.mark.parametrize("name", COMPILED)
def test_compiled_modules_are_seen_through(name):
    """A rule that reads the layers of a block finds them in a compiled one; the numbers are the same."""
    plainly = run(name)
    torch._dynamo.reset()
    found = {key.replace("_orig_mod.", ""): value for key, value in run(name, change=compiled).items()}
    assert apart(found, plainly) < 1e-12


def states_alive(name, depth):
    """Peak of the activations of a step, in states of one block; parameters are small beside a state."""
    width, samples = 16, 512
    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.Linear(width, width), nn.Tanh()) for _ in range(depth)]
    stack = prepared(name, Stack(blocks, Shared(nn.Linear(width, width))))
    x = torch.randn(samples, width)
    labels = Supervised(nn.functional.cross_entropy, torch.arange(samples) % width)
    loss_fn = Supervised(nn.functional.mse_loss, x) if name in AUTOENCODERS else labels
    rule = predictive_forward_forward(Settling(steps=3)) if name == "pff" else method(name)
    peak = step_memory(rule, stack.blocks, x, loss_fn, stack.readout).activations
    return peak / (4 * samples * width)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["backprop", *NAMES])
def test_predicted_memory_is_measured(name):
    """What each further block adds to the peak of the activations, in states, is what the record predicts."""
    shallow, deep = 5, 8
    measured = (states_alive(name, deep) - states_alive(name, shallow)) / (deep - shallow)
    predicted = [method(name).predicted(depth).memory * depth for depth in (shallow, deep)]
    expected = (predicted[1] - predicted[0]) / (deep - shallow)
    assert measured == pytest.approx(expected, abs=0.08 + 0.1 * expected)
