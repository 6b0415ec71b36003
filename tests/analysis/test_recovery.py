"""Steps until a curve is back, with runs that never are."""

import math

import numpy as np
import pytest

from dlinear.analysis.recovery import recovery
from dlinear.errors import DomainError, ShapeError

CURVES = [[90.0, 10.0, 50.0, 91.0], [10.0, 60.0, 89.0, 88.0], [10.0, 20.0, math.nan, math.nan]]


def test_the_first_epoch_at_the_level_counts_and_what_is_not_back_is_cut_off():
    found = recovery(CURVES, 88.0, 7)
    assert found.limit == 21
    assert found.steps.tolist() == [0, 14, 21]
    assert found.back.tolist() == [True, True, False]
    mean = found.mean()
    assert mean.value == pytest.approx(35 / 3)
    assert mean.high - mean.value == pytest.approx(4.3026527 * np.std([0, 14, 21], ddof=1) / 3**0.5)
    assert str(found) == f"{mean:.0f}, 1 of 3 not back in 21"


def test_every_run_has_its_own_level():
    found = recovery(CURVES, [91.0, 60.0, 15.0], 1)
    assert found.steps.tolist() == [3, 1, 1]
    assert found.back.all()
    assert "not back" not in str(found)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: recovery([1.0], 0.0, 1), ShapeError, r"curves has shape \(1,\); expected"),
        (lambda: recovery(np.zeros((0, 3)), 0.0, 1), ShapeError, "curves has shape"),
        (lambda: recovery(CURVES, [1.0, 2.0], 1), ShapeError, r"expected one number, or \(3,\)"),
        (lambda: recovery(CURVES, 1.0, 0), DomainError, "each is 0; expected an integer >= 1"),
    ],
)
def test_what_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
