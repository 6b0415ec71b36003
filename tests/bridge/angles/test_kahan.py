"""Kahan's angle: exact cases, small angles, and what has no angle."""

import math

import pytest
import torch

from dlinear.bridge.angles.kahan import angle, sin2
from dlinear.errors import NonFiniteError, ShapeError, UndefinedAngleError


@pytest.mark.parametrize("theta", [0.0, 1e-30, 1e-12, 1e-6, 0.3, math.pi / 2, 2.0, math.pi])
def test_known_angles(theta):
    a = [torch.tensor([3.0, 0.0], dtype=torch.float64), torch.zeros(2, 2)]
    b = [5 * torch.tensor([math.cos(theta), math.sin(theta)], dtype=torch.float64), torch.zeros(2, 2)]
    assert angle(a, b) == pytest.approx(theta, rel=1e-12, abs=1e-15 if theta > 3 else 0)
    assert angle(b, a) == pytest.approx(angle(a, b), rel=1e-12)


def test_a_small_angle_of_long_vectors_in_float32():
    """1 - cos^2 in float32 is noise here."""
    torch.manual_seed(0)
    a = torch.randn(1000)
    b = torch.randn(1000)
    b -= a * (a @ b) / (a @ a)
    tiny = 1e-5 * b
    wanted = float(tiny.double().norm() / a.double().norm())
    assert math.sqrt(sin2([a.double() + tiny.double()], [a])) == pytest.approx(wanted, rel=1e-6)


def test_mappings_take_what_is_missing_as_zero():
    p, q = torch.zeros(2), torch.zeros(3)
    a, b = {p: torch.ones(2)}, {p: torch.ones(2), q: torch.ones(3)}
    assert sin2(a, b) == pytest.approx(0.6, rel=1e-12)
    assert sin2(b, a) == pytest.approx(0.6, rel=1e-12)
    assert sin2(a, {q: torch.ones(3)}) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize(
    ("a", "b", "error"),
    [
        ([torch.zeros(2)], [torch.ones(2)], UndefinedAngleError),
        ([], [], UndefinedAngleError),
        ([torch.ones(2)], [torch.ones(3)], ShapeError),
        ([torch.ones(2)], [torch.ones(2), torch.ones(2)], ShapeError),
        ([torch.ones(2)], [torch.tensor([1.0, float("nan")])], NonFiniteError),
        ([torch.ones(2)], [torch.tensor([1.0, float("inf")])], NonFiniteError),
    ],
)
def test_errors(a, b, error):
    with pytest.raises(error):
        angle(a, b)
