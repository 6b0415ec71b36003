"""The unrolled GRU: torch's own, one cell for all steps, and a horizon as truncation in time, by hand."""

import math

import pytest
import torch
from torch import nn

from dlinear.bridge import Supervised, alignment, horizon_gradients
from dlinear.bridge.models import TaskShape, model
from dlinear.errors import DomainError, ShapeError

TASK = TaskShape((1, 2, 6), 3)  # 12 values: T = 6 steps of 2
X = torch.randn(4, 1, 2, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
LOSS = Supervised(nn.functional.cross_entropy, torch.tensor([0, 2, 1, 0]))


def unrolled(**knobs):
    return model("gru", TASK, 3, **({"depth": 6, "width": 5, "dtype": torch.float64} | knobs))


def truncated(stack, h):
    """Back-propagation through time, cut by `detach` h steps before each of the losses
    L(x(s)) - L(x(s - 1)), s = 1..T; their gradients with respect to the cells added up.
    """
    leaves, total = list(stack.blocks.parameters()), None
    states = [X]
    with torch.no_grad():
        for block in stack.blocks:
            states.append(block(states[-1]))
    for s in range(1, stack.depth + 1):
        first = max(0, s - h)
        state = states[first] if first == 0 else tuple(part.detach() for part in states[first])
        before = LOSS(stack.readout(state, first)) if first else 0.0  # a constant
        for t in range(first, s):
            if t:
                before = LOSS(stack.readout(state, t))
            state = stack.blocks[t](state)
        loss = LOSS(stack.readout(state, s)) - before
        found = torch.autograd.grad(loss, leaves, allow_unused=True)
        found = [torch.zeros_like(p) if g is None else g for p, g in zip(leaves, found, strict=True)]
        total = found if total is None else [a + b for a, b in zip(total, found, strict=True)]
    return total


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("h", [1, 2, 4, 6])
def test_a_horizon_is_truncated_back_propagation_through_time(h, shared):
    stack = unrolled(shared=shared)
    _, found = horizon_gradients(stack.blocks, X, LOSS, h, stack.readout)
    wanted = truncated(stack, h)
    leaves = list(stack.blocks.parameters())
    assert len(leaves) == (4 if shared else 24)
    for leaf, g in zip(leaves, wanted, strict=True):
        torch.testing.assert_close(found[leaf], g, rtol=1e-10, atol=1e-13)


def test_a_shared_cell_receives_the_sum_over_the_steps():
    """Also in the angle: the profile of the shared cell is that of the summed gradients."""
    one, many = unrolled(), unrolled(shared=False)
    _, single = horizon_gradients(one.blocks, X, LOSS, 2, one.readout)
    _, each = horizon_gradients(many.blocks, X, LOSS, 2, many.readout)
    for name, leaf in one.blocks[0].cell.named_parameters():
        parts = [each[dict(block.cell.named_parameters())[name]] for block in many.blocks]
        torch.testing.assert_close(single[leaf], sum(parts), rtol=1e-10, atol=1e-13)
    found = alignment(one.blocks, X, LOSS, [2], one.readout)
    flat = [torch.cat([g.flatten() for g in truncated(one, h)]) for h in (2, 6)]
    assert float(found.cos[0]) == pytest.approx(float(torch.cosine_similarity(*flat, dim=0)), abs=1e-12)


def test_the_states_are_those_of_torchs_own_layer():
    stack = unrolled()
    layer = nn.GRU(2, 5, batch_first=True, dtype=torch.float64)
    cell = stack.blocks[0].cell
    layer.load_state_dict({f"{name}_l0": value for name, value in cell.state_dict().items()})
    states, _ = layer(X.flatten(1).unflatten(1, (6, 2)))
    state = X
    for t, block in enumerate(stack.blocks):
        state = block(state)
        torch.testing.assert_close(state[0], states[:, t], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(stack(X), stack.readout.inner(states[:, -1], 6))


def test_the_gate_starts_at_one_part_of_the_steps():
    """z = 1/T of new content at h = 0 and a zero input, whatever the width; `gate_bias` sets it."""
    for knobs, share in (({}, 1 / 6), ({"gate_bias": 2.0}, 1 / (1 + math.e**2))):
        cell = unrolled(**knobs).blocks[0].cell
        zero = torch.zeros(1, 5, dtype=torch.float64)
        moved = cell(torch.zeros(1, 2, dtype=torch.float64), zero)
        bias = cell.bias_ih[10:] + torch.sigmoid(cell.bias_ih[:5] + cell.bias_hh[:5]) * cell.bias_hh[10:]
        torch.testing.assert_close(moved[0], share * torch.tanh(bias), rtol=1e-6, atol=1e-9)
    own = unrolled(gate_bias=0.0).blocks[0].cell
    assert float(own.bias_hh[5:10].detach().abs().min()) > 0, "torch's draw"


@pytest.mark.parametrize(
    ("knobs", "error", "words"),
    [
        ({"depth": 5}, ShapeError, "12 values cannot be cut into depth = 5 steps"),
        ({"depth": 1}, DomainError, "depth is 1; expected an integer >= 2"),
        ({"width": 0}, DomainError, "width is 0"),
        ({"shared": 1}, DomainError, "shared is 1; expected True or False"),
        ({"gate_bias": math.inf}, DomainError, "gate_bias is inf; expected a finite number"),
        ({"readout": "none"}, DomainError, "fixed, shared, exits"),
    ],
)
def test_what_is_refused(knobs, error, words):
    with pytest.raises(error, match=words) as caught:
        unrolled(**knobs)
    assert "\n" not in str(caught.value)
