"""What goes wrong inside a block, a readout or a loss names the part and its input, in one line."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from dlinear.bridge import Supervised, alignment, angle, horizon_gradients, step_calls, step_memory
from dlinear.bridge.autograd.naming import in_words
from dlinear.bridge.meters.memory import fit_memory
from dlinear.bridge.methods import method
from dlinear.errors import DlinearError, DomainError, ShapeError

METHODS = ("backprop", "checkpoint-2", "horizon-1", "horizon-2", "horizon-3", "forward-1", "loco-2")
PARTS = {
    "width": (nn.Linear(4, 3), r"block 1 does not take a tensor of shape \(5, 3\): .*cannot be multiplied"),
    "axes": (nn.Conv2d(3, 3, 1), r"block 1 does not take a tensor of shape \(5, 3\): Expected 3D"),
    "type": (nn.Linear(3, 3).double(), r"block 1 does not take a tensor of shape \(5, 3\): .*dtype"),
    "none": (lambda z: None, r"(block 2|the loss at s = 2) is given a NoneType|block 1 hands on NoneType"),
    "number": (
        lambda z: 1.0,
        r"(block 2|the loss at s = 2) is given a float|block 1 hands on float",
    ),
    "list": (lambda z: [nn.Linear(4, 3)(z)], r"block 1 does not take a tensor of shape \(5, 3\)"),
}


def linears(count=3):
    return [nn.Linear(3, 3) for _ in range(count)]


def squares(z):
    return z.square().sum()


def refused(words, call, *arguments):
    with pytest.raises(DlinearError, match=words) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", METHODS)
def test_the_block_that_fails_is_named(name, part):
    wrong, words = PARTS[part]
    blocks = [nn.Linear(3, 3), wrong, nn.Linear(3, 3)]
    refused(words, method(name), blocks, torch.rand(5, 3), squares)
    assert all(p.grad is None for p in blocks[0].parameters())


@pytest.mark.parametrize("name", METHODS)
def test_the_loss_that_fails_is_named(name):
    words = r"the loss at s = \d does not take a tensor of shape \(5, 3\)"
    refused(words, method(name), linears(), torch.rand(5, 3), lambda z: squares(z - torch.ones(4, 3)))
    refused(words, method(name), linears(), torch.rand(5, 3), squares, lambda z, s: nn.Linear(4, 2)(z))


def test_a_segment_names_its_blocks_by_their_place_in_the_stack():
    blocks = [*linears(4), nn.Linear(4, 3), *linears(1)]
    for segments in (1, 2, 3, 6):
        words = "block 4 does not take"
        refused(words, method(f"checkpoint-{segments}"), blocks, torch.rand(5, 3), squares)


class Refusal(RuntimeError):
    """A user's own error, which speaks of a shape."""


@pytest.mark.parametrize("error", [Refusal, KeyError, ZeroDivisionError, TypeError])
@pytest.mark.parametrize("name", METHODS)
def test_other_errors_stay_what_they_are_and_are_told_where(name, error):
    def broken(z):
        raise error("shape of my own")

    with pytest.raises(error) as caught:
        method(name)([nn.Linear(3, 3), broken, nn.Linear(3, 3)], torch.rand(5, 3), squares)
    assert caught.type is error
    assert caught.value.__notes__ == ["raised by block 1, which was given a tensor of shape (5, 3)"]


def test_states_in_words():
    z = torch.ones(2, 3)
    assert in_words(z) == "a tensor of shape (2, 3)"
    assert in_words((z, z[0])) == "a tuple of tensors of shape (2, 3), (3,)"
    assert in_words(None) == "a NoneType"


LABELS = {
    3: "the target holds label 3; expected 0..2",
    -1: "the target holds label -1; expected 0..2",
}


@pytest.mark.parametrize("criterion", [functional.cross_entropy, nn.CrossEntropyLoss(), nn.NLLLoss()])
@pytest.mark.parametrize("label", LABELS)
def test_labels_that_are_no_class(label, criterion):
    target = torch.tensor([0, 1, 2, label])
    refused(LABELS[label], method("horizon-2"), linears(), torch.rand(4, 3), Supervised(criterion, target))


def test_the_ends_of_the_classes_and_what_is_left_out_are_fine():
    target, z = torch.tensor([0, 2, -100, 1]), torch.rand(4, 3)
    loss = Supervised(functional.cross_entropy, target)
    assert torch.equal(loss(z), functional.cross_entropy(z, target))
    other = Supervised(nn.CrossEntropyLoss(ignore_index=7), torch.tensor([0, 2, -100, 1]))
    with pytest.raises(DomainError, match=r"label -100; expected 0\.\.2, .* \(or 7, which is left out\)"):
        other(z)


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize(
    ("criterion", "target", "words"),
    [
        (functional.cross_entropy, torch.rand(4), r"expected \(N, classes, \.\.\.\) and int64 labels"),
        (functional.cross_entropy, torch.zeros(5, dtype=torch.int64), r"shape \(4, 3\) and a target of"),
        (functional.mse_loss, torch.rand(5, 3), "expected shapes that broadcast together"),
    ],
)
def test_predictions_and_targets_that_do_not_fit(criterion, target, words):
    refused(words, Supervised(criterion, target), torch.rand(4, 3))


@pytest.mark.parametrize(
    "measure",
    [
        lambda blocks, x: alignment(blocks, x, squares, "all"),
        lambda blocks, x: step_memory(method("horizon-2"), blocks, x, squares),
        lambda blocks, x: step_calls(method("horizon-2"), blocks, x, squares),
        lambda blocks, x: alignment(linears(), x, squares, "all", lambda z, s: blocks[0](z)),
    ],
)
def test_lazy_modules_are_built_before_they_are_measured(measure):
    blocks = [nn.LazyLinear(3), nn.Sequential(nn.LazyLinear(3)), nn.Linear(3, 3)]
    refused("a LazyLinear has no parameters yet: run the model once", measure, blocks, torch.rand(5, 3))
    nn.Sequential(*blocks)(torch.rand(5, 3))
    measure(blocks, torch.rand(5, 3))


def test_a_step_builds_lazy_modules():
    blocks = [nn.LazyLinear(3) for _ in range(3)]
    method("horizon-2")(blocks, torch.rand(5, 3), squares)
    assert all(p.grad is not None for block in blocks for p in block.parameters())


def test_the_memory_of_sparse_gradients_is_that_of_their_indices_and_values():
    ids = torch.tensor([0, 1, 1, 4])
    blocks = [nn.Embedding(1000, 3, sparse=True), nn.Linear(3, 3), nn.Linear(3, 3)]
    found = step_memory(method("horizon-2"), blocks, ids, squares)
    rows = 4 * 8 + 4 * 3 * 4  # int64 indices, float32 rows
    assert found.gradients == rows + 2 * (9 + 3) * 4
    blocks[0].sparse = False
    dense = step_memory(method("horizon-2"), blocks, ids, squares)
    assert dense.gradients - found.gradients == 1000 * 3 * 4 - rows
    assert dense.saved == found.saved
    assert found.gradients <= found.total < dense.total
    assert blocks[0].weight.grad is None


@pytest.mark.parametrize("value", [1, "ab", None, [1.0], [torch.ones(2), "x"], {1: 2}], ids=str)
def test_an_angle_is_between_tensors(value):
    refused("expected a sequence or mapping of tensors", angle, value, [torch.ones(2)])
    refused("expected a sequence or mapping of tensors", angle, [torch.ones(2)], value)


def test_angles_of_sparse_complex_and_missing_parts():
    a, b = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])
    assert angle([a.to_sparse()], [b]) == pytest.approx(np.pi / 2)
    assert angle([torch.complex(a, b)], [torch.complex(b, a)]) == pytest.approx(np.pi / 2)
    assert angle([torch.complex(a, b)], [torch.complex(-a, -b).conj().conj()]) == pytest.approx(np.pi)
    assert angle([torch.complex(a, b)], [torch.complex(a, -b).conj()]) == pytest.approx(0.0, abs=1e-7)
    assert angle({1: a}, {1: a, 2: 3 * torch.ones(1)}) == pytest.approx(np.pi / 4)
    with pytest.raises(ShapeError, match="different shapes"):
        angle({1: a}, {1: torch.ones(3)})


def test_angles_of_an_embedding_are_the_same_sparse_or_not():
    found = []
    for sparse in (True, False):
        torch.manual_seed(0)
        blocks = [nn.Embedding(5, 3, sparse=sparse), *linears(2)]
        ids = torch.tensor([0, 1, 1, 4])
        one, three = (horizon_gradients(blocks, ids, squares, h)[1] for h in (1, 3))
        found.append((angle(one, three), alignment(blocks, ids, squares, "all").sin2[0]))
    assert found[0] == pytest.approx(found[1], rel=1e-12)


@pytest.mark.parametrize(
    "value", [("a", "b", "c"), None, [[1], [2, 3]], [1, 2, 3j], torch.ones(3, requires_grad=True)], ids=str
)
def test_memory_is_fitted_to_numbers(value):
    refused("horizons = .*: allowed is a sequence of real numbers", fit_memory, value, [1, 2, 3])
    refused("memory = .*: allowed is a sequence of real numbers", fit_memory, [1, 2, 3], value)
