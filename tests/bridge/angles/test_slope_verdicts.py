"""Rows and verdicts about slopes, on curves whose orders, constants and exponents are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

import dlinear
from dlinear.analysis.statistics import Estimate
from dlinear.bridge.angles.slope_verdicts import (
    HEADER,
    ShallowSlope,
    TrainingCourse,
    exponents,
    predicted_order,
    slope_answers,
    slope_row,
    widened,
)
from dlinear.bridge.angles.slopes import Slope
from dlinear.theory.decay_law import DecayConstants, decay_law

M = np.array([1, 2, 4, 8, 16])


def profile_of(sin2, depth=400, m=M):
    sin2 = np.asarray(sin2, dtype=np.float64)
    return dlinear.AlignmentProfile(
        depth, depth - m, m, sin2, np.sqrt(1 - sin2), sin2 * 0 + 1, ("",) * len(m)
    )


def slope_with(factors, law, depth=400):
    """Seeds whose sin^2 is the law times a factor."""
    curve = decay_law(law.quadratic, law.cubic, M, depth)
    return Slope([profile_of(f * curve, depth) for f in factors], [law] * len(factors))


def test_an_interval_is_longer_at_both_ends():
    assert tuple(widened(Estimate(2.0, 1.5, 2.75), 0.25)) == (2.0, 1.25, 3.0)


@pytest.mark.parametrize(
    ("law", "words"),
    [
        (DecayConstants(0.0, 2.0), "order 3"),
        (DecayConstants(0.1, 0.0), "order 2"),
        (DecayConstants(1e-4, 1.0), "m* < 1"),  # 1e-4 x 400 - 1/2 < 1
        (DecayConstants(0.02, 1.0), "m* = 7.5"),
    ],
)
def test_the_prediction_in_a_word(law, words):
    assert predicted_order(slope_with([1.0, 1.01, 0.99], law)) == words


def test_a_row_has_a_cell_for_each_column_and_shows_both_sides():
    row = slope_row("tanh-rough", 3, slope_with([0.8, 0.8, 0.8], DecayConstants(0.02, 1.0)))
    assert len(row) == len(HEADER)
    assert row[:4] == ["tanh-rough", "400", "3", "m* = 7.5"]
    assert row[6] == "q 0.02, C 1"
    assert row[7] == "0.016, 0.8"  # the fit returns what was put in
    assert row[8].startswith("0.80 [0.80, 0.80]")
    cubic = slope_row("tanh-smooth", 0, slope_with([1.0, 1.0, 1.0], DecayConstants(0.0, 1.0)))
    assert cubic[4] == "3.00"
    assert cubic[6] == "C 1"  # no q is predicted, and none is shown


@pytest.mark.parametrize(("factor", "holds"), [(1.0, True), (1.012, True), (1.05, False), (0.95, False)])
def test_a_constant_is_judged_within_5_over_T(factor, holds):
    """5/400 = 0.0125."""
    law = DecayConstants(0.0, 1.0)
    order, constant = slope_answers("x", 0, slope_with(factor * np.array([1.0, 1.0001, 0.9999]), law))
    assert order.holds is True
    assert constant.holds is holds
    assert "x, T = 400, epoch 0: constant" in constant.question


def test_an_order_is_judged_against_the_predicted_one():
    cubic, quadratic = DecayConstants(0.0, 1.0), DecayConstants(0.01, 0.0)
    measured = slope_with([1.0, 1.001, 0.999], cubic)
    order, _ = slope_answers("x", 0, measured)
    assert order.holds is True
    assert "order 3.00 of Theorem D (order 3)" in order.question
    order, _ = slope_answers("x", 0, Slope(measured.found, [quadratic] * 3))
    assert order.holds is False
    assert "order 2.00 of Theorem D (order 2)" in order.question


def test_exponents_take_the_later_half_of_each_seed():
    driver = np.array([[8.0, 4.0, 2.0, 1.0], [1.0, 1.0, 3.0, 9.0]])
    sin2 = np.where(np.arange(4) < 2, 7.0, driver ** np.array([[-1.5], [0.5]]))
    assert exponents(driver, sin2) == pytest.approx([-1.5, 0.5])


def course(power=-1.0, law_power=-1.0, residual=True):
    """Three seeds whose N and ||R||^2 halve at each probe, sin^2 = N^power, the formula N^law_power."""
    epochs = np.array([0, 1, 2, 4, 8, 16])
    energy = np.array([[1.0], [1.1], [0.9]]) * 0.5 ** np.arange(6)
    curves = {
        "sin2": 1e-6 * energy**power,
        "law": 1e-6 * energy**law_power,
        "energy": energy,
        "residual": energy if residual else energy * np.nan,
        "batch_loss": energy / 2,
    }
    return TrainingCourse("relu-smooth", 3, epochs, curves)


def test_a_course_of_training_gives_rows_of_geometric_means():
    rows = course().rows()
    assert [row[1] for row in rows] == ["0", "1", "2", "4", "8", "16"]
    mean = math.prod((1.0, 1.1, 0.9)) ** (1 / 3)
    sin2, energy = f"{1e-6 / mean:.3g}", f"{mean:.3g}"
    assert rows[0][2:] == [sin2, sin2, energy, energy, f"{mean / 2:.3g}"]
    assert course(residual=False).rows()[0][5] == "-"


@pytest.mark.parametrize(
    ("power", "law_power", "against_energy", "against_residual"),
    [
        (-1.0, -1.0, True, True),
        (-1.0, -1.05, True, True),
        (-1.0, -1.2, False, True),
        (-0.7, -0.7, True, False),
    ],
)
def test_a_course_is_judged_by_exponents_within_a_tenth(power, law_power, against_energy, against_residual):
    answers = course(power, law_power).answers()
    assert [answer.holds for answer in answers] == [against_energy, against_residual]
    assert len(course(residual=False).answers()) == 1


def test_a_course_says_how_much_the_angle_has_grown_since_its_least_value():
    """sin^2 falls 2 times until epoch 2, then grows 8 times while N falls 8 times."""
    sin2 = np.array([[2.0, 1.5, 1.0, 2.0, 4.0, 8.0]] * 3)
    one = course()
    said = TrainingCourse(one.name, 3, one.epochs, {**one.curves, "sin2": sin2}).answers()[0].numbers
    assert "from epoch 2 on sin^2 goes up 8 times: N falls 8 times" in said
    assert said.endswith("only 1 times")


SHALLOW, NO_LAW = np.array([1, 2, 3, 5, 8, 10, 20, 29]), DecayConstants(math.nan, math.nan)


def shallow(tangents, law=NO_LAW):
    """Seeds with these tan^2, at T = 30."""
    return ShallowSlope([profile_of(t / (1 + t), 30, SHALLOW) for t in tangents], law)


def test_a_shallow_model_is_measured_by_tan2_up_to_a_third_of_its_depth():
    slope = shallow([f * (SHALLOW / 30) ** 2 for f in (1.0, 1.02, 0.98)])
    assert slope.shown() == (1, 2, 10)
    assert slope.near.tolist() == [True] * 6 + [False] * 2
    t = (1 / 30) ** 2
    assert next(slope.row()) == f"{np.mean([f * t / (1 + f * t) for f in (1, 1.02, 0.98)]):.3g}"
    assert list(slope.row())[3:5] == ["-", "-"]
    assert list(slope.row())[6] == "-"


def test_the_law_is_compared_with_tan2():
    law = DecayConstants(0.5, 2.0)
    words = list(shallow([0.7 * decay_law(law.quadratic, law.cubic, SHALLOW, 30)] * 3, law).row())
    assert words[3] == "m* = 7.0"
    assert words[4] == words[5].split()[0]  # tan^2 has the order of the law
    assert words[6].startswith("0.70 [0.70, 0.70]")


@pytest.mark.parametrize(
    ("tangent", "holds"),
    [
        (decay_law(1.0, 0.0, SHALLOW, 30), True),
        (decay_law(1.0, 1.0, SHALLOW, 30), True),
        (decay_law(0.0, 1.0, SHALLOW, 30), True),
        ((SHALLOW / 30) ** 1.2, False),
        ((SHALLOW / 30) ** 4, False),
    ],
)
def test_an_order_outside_2_to_3_is_refused(tangent, holds):
    seeds = [tangent * (SHALLOW / 30) ** change for change in (-0.02, 0.0, 0.02)]
    answer = shallow(seeds).answer("resnet62, epoch 1", "; a remark")
    assert answer.holds is holds
    assert answer.question.startswith("resnet62, epoch 1: order of tan^2")
    assert answer.numbers.endswith("(95 %); a remark")


def test_an_order_with_a_long_interval_is_no_verdict():
    assert shallow([(SHALLOW / 30) ** p for p in (1.6, 2.5, 3.4)]).answer("x").holds is None
