"""Losses by name: those of real targets take labels one-hot, and parts of a batch add up."""

import math

import pytest
import torch

from dlinear.bridge.data.losses import CRITERIA, ENCODED, HUBER, Supervised, criterion_of
from dlinear.bridge.training import Training
from dlinear.errors import DomainError, ShapeError

Z = torch.tensor([[2.0, 0.0, 0.0], [0.0, 3.0, 4.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 2])
BY_HAND = {
    "squared": (1 + 0 + 0 + 0 + 9 + 9) / 6,
    # r^2/2 up to delta, then delta (|r| - delta/2)
    "huber": (HUBER * (1 - HUBER / 2) + 2 * HUBER * (3 - HUBER / 2)) / 6,
    "cosine": ((1 - 1) + (1 - 4 / 5)) / 2,
}


@pytest.mark.parametrize("name", ENCODED)
def test_a_loss_of_one_hot_labels_is_the_formula(name):
    one_hot = torch.eye(3, dtype=torch.float64)[LABELS]
    for classes, target in ((3, LABELS), (None, one_hot)):
        criterion = criterion_of(name, classes)
        assert float(criterion(Z, target)) == pytest.approx(BY_HAND[name], rel=1e-14)


@pytest.mark.parametrize("name", ENCODED)
def test_micro_batches_add_up_to_the_batch(name):
    z = torch.randn(7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    loss = Supervised(criterion_of(name, 3), torch.arange(7) % 3)
    total = 0.0
    for part in (slice(2), slice(2, 7)):
        some, weight = loss.part(part)
        total += weight * float(some(z[part]))
    assert total == pytest.approx(float(loss(z)), rel=1e-14)


def test_every_name_is_a_knob_of_training():
    for name in CRITERIA:
        assert Training(loss=name).loss == name
    assert criterion_of("auto", 3) is criterion_of("cross_entropy", 3)
    assert criterion_of("auto", None) is criterion_of("mse", None)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: criterion_of("hubr", 3), DomainError, "unknown loss 'hubr'; .*; did you mean huber"),
        (
            lambda: criterion_of("mse", 3),
            DomainError,
            "loss mse received for data with 3 classes; allowed is",
        ),
        (lambda: criterion_of("cross_entropy", None), DomainError, "data with no classes; .* auto, mse, sq"),
        (lambda: CRITERIA["cosine"](Z, torch.tensor([0, 3])), DomainError, r"integers in 0\.\.2"),
        (lambda: CRITERIA["cosine"](Z, torch.tensor([0, -1])), DomainError, r"integers in 0\.\.2"),
        (lambda: CRITERIA["huber"](Z, torch.tensor([0.0, 1.0])), DomainError, r"integers in 0\.\.2"),
        (lambda: CRITERIA["squared"](Z, LABELS[:1]), ShapeError, r"shape \(2, 3\) and .* \(1,\) received"),
        (lambda: CRITERIA["squared"](Z[0], LABELS), ShapeError, r"takes \(N, k\)"),
        (lambda: Supervised(CRITERIA["huber"], LABELS + 1)(Z), DomainError, r"integers in 0\.\.2"),
    ],
)
def test_what_is_refused(call, error, words):
    with pytest.raises(error, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_cosine_loss_does_not_see_the_length():
    loss = criterion_of("cosine", 3)
    assert math.isclose(float(loss(7 * Z, LABELS)), float(loss(Z, LABELS)), rel_tol=1e-14)
