"""What a rule makes of a batch: sums and means of a loss, no samples, labels of no class, frozen layers."""

from functools import partial

import numpy as np
import pytest
import torch
from plain_net import plain, worst
from torch import nn

from dlinear.bridge import Supervised
from dlinear.bridge.methods import method
from dlinear.errors import DlinearError, DomainError
from dlinear.rules import matrices
from dlinear.rules.direct_feedback import direct_matrix
from dlinear.rules.mirror import prepare

RULES = ("dfa", "sdfa", "drtp", "pepita", "pepita-hebbian", "foton", "oja", "activation", "ff")


def gradients(rule, stack, x, loss_fn):
    torch.manual_seed(1)
    stack.zero_grad()
    method(rule)(stack.blocks, x, loss_fn, stack.readout)
    return [None if p.grad is None else p.grad.numpy().copy() for p in stack.parameters()]


def case(seed=3):
    net = plain(seed, widths=[5, 4, 4, 3], activation="tanh", loss="cross_entropy", bias=True)
    return net.stack(), torch.from_numpy(net.x), torch.from_numpy(net.y)


@pytest.mark.parametrize("rule", RULES)
def test_a_sum_is_known_as_one_however_it_is_asked_for(rule):
    """reduction="sum" by a module and by partial: N times the mean, in the hidden layers too."""
    stack, x, y = case()
    mean = gradients(rule, stack, x, Supervised(nn.functional.cross_entropy, y))
    for total in (
        nn.CrossEntropyLoss(reduction="sum"),
        partial(nn.functional.cross_entropy, reduction="sum"),
    ):
        found = gradients(rule, stack, x, Supervised(total, y))
        assert worst(found, [len(x) * g for g in mean]) < 1e-12
    same = gradients(rule, stack, x, Supervised(partial(nn.functional.cross_entropy, reduction="mean"), y))
    assert worst(same, mean) == 0


@pytest.mark.parametrize("rule", [*RULES, "pepita-mirror", "lac"])
def test_an_empty_batch_is_refused_in_one_line(rule):
    stack, x, y = case()
    with pytest.raises(DlinearError, match=r"^[^\n]*no samples[^\n]*$"):
        gradients(rule, stack, x[:0], Supervised(nn.functional.cross_entropy, y[:0]))
    assert all(p.grad is None for p in stack.parameters())


def test_an_empty_batch_leaves_a_mirror_with_its_decay():
    stack, x, y = case()
    before = [b.clone() for b in prepare(stack.blocks, stack.readout).values()]
    gradients("fa-mirror", stack, x[:0], Supervised(nn.functional.cross_entropy, y[:0]))
    after = prepare(stack.blocks, stack.readout).values()
    assert all(torch.allclose(b, 0.9 * a) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("label", [-100, 3])
def test_a_target_of_no_class_is_refused(label):
    stack, x, y = case()
    y[2] = label
    criterion = nn.CrossEntropyLoss(ignore_index=label)
    with pytest.raises(DomainError, match=rf"^drtp has labels .*{label}.*; expected 0\.\.2$"):
        gradients("drtp", stack, x, Supervised(criterion, y))


@pytest.mark.parametrize("rule", ["fa", "fa-mirror", "dfa"])
def test_feedback_stays_when_another_layer_is_frozen(rule):
    stack, x, y = case()
    loss_fn = Supervised(nn.functional.cross_entropy, y)
    free = gradients(rule, stack, x, loss_fn)
    frozen, _, _ = case()
    frozen.blocks[0].requires_grad_(False)
    found = gradients(rule, frozen, x, loss_fn)
    assert found[:2] == [None, None]
    assert worst(found[2:], free[2:]) == 0


def test_matrices_drawn_in_inference_mode_serve_training():
    stack, x, y = case()
    matrices.uniform.cache_clear()
    with torch.inference_mode():
        assert not direct_matrix(4, 3, 0, 0).is_inference()
    for rule in ("dfa", "fa"):
        found = gradients(rule, stack, x, Supervised(nn.functional.cross_entropy, y))
        assert all(np.isfinite(g).all() for g in found)
