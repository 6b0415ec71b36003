"""The residual graph convolution: its formula, one graph for every batch, what is no node."""

import pytest
import torch
from torch import nn

from dlinear.bridge import Supervised, alignment, horizon_gradients, load, method, step_memory
from dlinear.bridge.models import TaskShape, model
from dlinear.data.graphs import communities
from dlinear.errors import DomainError, ShapeError

SPLIT = load("communities", dtype=torch.float64)


def network(**knobs):
    return model("graph", SPLIT.task, 0, **({"depth": 4, "width": 6, "dtype": torch.float64} | knobs))


def test_the_states_follow_the_formula():
    stack, found = network(), communities()
    x, numbers = SPLIT.x_test[:9], SPLIT.x_test[:9].flatten().long()
    adjacency = torch.from_numpy(found.propagation)
    z = stack.blocks[0].features
    state = x
    for block in stack.blocks:
        state = block(state)
        z = z + torch.relu(adjacency @ z @ block.weight) / 4
        torch.testing.assert_close(state[0], z, rtol=1e-12, atol=1e-13)
        assert torch.equal(state[1], numbers)
    torch.testing.assert_close(stack(x), stack.readout.inner(z[numbers], 4))
    start = torch.from_numpy(found.features)
    gram = torch.linalg.lstsq(start, stack.blocks[0].features).solution
    torch.testing.assert_close(gram.T @ gram, torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-10)


def test_a_batch_sees_the_whole_graph_and_its_own_rows():
    stack = network()
    one, all_ = stack(SPLIT.x_train[3:5]), stack(SPLIT.x_train)
    torch.testing.assert_close(one, all_[3:5])
    modules = {id(block.propagation) for block in stack.blocks}
    assert len(modules) == 1, "the matrix is held once"


def test_horizons_of_the_graph_end_in_back_propagation():
    stack = network()
    loss = Supervised(nn.functional.cross_entropy, SPLIT.y_train[:20])
    _, whole = horizon_gradients(stack.blocks, SPLIT.x_train[:20], loss, 4, stack.readout)
    loss(stack(SPLIT.x_train[:20])).backward()
    for leaf in stack.blocks.parameters():
        torch.testing.assert_close(whole[leaf], leaf.grad, rtol=1e-12, atol=1e-14)
    sin2 = alignment(stack.blocks, SPLIT.x_train[:20], loss, [1, 2, 3], stack.readout).sin2
    assert 0 < sin2[2] < sin2[1] < sin2[0] < 0.1


@pytest.mark.parametrize("x", [[[0.5]], [[-1.0]], [[240.0]], [[float("nan")]]])
def test_a_sample_that_is_no_node_is_refused(x):
    with pytest.raises(DomainError, match=r"numbers of nodes: expected 0\.\.239"):
        network()(torch.tensor(x, dtype=torch.float64))


@pytest.mark.parametrize(
    ("task", "knobs", "error", "words"),
    [
        (TaskShape((1, 8, 8), 4), {}, ShapeError, r"numbers of nodes, as load\('communities'\)"),
        (SPLIT.task, {"depth": 0}, DomainError, "depth is 0"),
        (SPLIT.task, {"width": 1.5}, DomainError, "width is 1.5"),
        (SPLIT.task, {"readout": "none"}, DomainError, "fixed, shared, exits"),
    ],
)
def test_what_is_refused(task, knobs, error, words):
    with pytest.raises(error, match=words):
        model("graph", task, **knobs)


def test_recomputation_keeps_no_copy_of_the_graph():
    """The matrix has 240^2 entries; two of four segments' states are far smaller."""
    stack = network(width=2).train()
    loss = Supervised(nn.functional.cross_entropy, SPLIT.y_train[:9])
    found = step_memory(method("checkpoint-2"), stack.blocks, SPLIT.x_train[:9], loss, stack.readout)
    assert found.activations < 240**2 * 8 / 2
