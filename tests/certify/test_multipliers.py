"""Multipliers by linear programming: planted ones, none for false statements, messages with the remainder."""

import random
from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import linprog

from dlinear.certify import CertificateError, Proof
from dlinear.certify.prover import multipliers
from dlinear.certify.prover.simplex import maximise

WINDOW = {
    "symbols": {"T": "posint", "h": "posint"},
    "hypotheses": ["h <= T"],
    "conclusions": ["T <= h*(T - h + 1)"],
}
SORTED = {
    "symbols": {"x": "real", "y": "real", "z": "real", "a": "nonneg"},
    "hypotheses": ["x <= 2*y", "3*y <= z", "0 < z", "x == 5*a"],
    "conclusions": ["x < z"],
}


def started(goal):
    p = Proof(goal)
    return p, [p.assume(text) for text in goal["hypotheses"]]


@pytest.mark.parametrize("seed", range(60))
def test_the_simplex_method_finds_the_optimum(seed):
    draw = random.Random(seed)
    k, r = draw.randint(1, 7), draw.randint(1, 5)
    rows = [[Fraction(draw.randint(-3, 3)) for _ in range(k)] for _ in range(r)]
    rows.append([Fraction(1)] * k)  # bounded
    inside = [Fraction(draw.randint(0, 2)) for _ in range(k)]
    right = [sum(a * x for a, x in zip(row, inside, strict=True)) for row in rows]
    if seed % 4 == 0:
        right[0] += Fraction(1, 7)  # mostly out of reach
    goal = [Fraction(draw.randint(-3, 3)) for _ in range(k)]
    found = maximise(goal, rows, right)
    floats = linprog(-np.array(goal, float), A_eq=np.array(rows, float), b_eq=np.array(right, float))
    assert (found is None) == (floats.status == 2)
    if found is not None:
        assert min(found) >= 0
        assert [sum(a * x for a, x in zip(row, found, strict=True)) for row in rows] == right
        assert float(sum(a * x for a, x in zip(goal, found, strict=True))) == pytest.approx(-floats.fun)


def test_a_goal_without_bound_is_said():
    with pytest.raises(ValueError, match="no bound"):
        maximise([Fraction(1), Fraction(0)], [[Fraction(1), Fraction(-1)]], [Fraction(0)])


@pytest.mark.parametrize("seed", range(12))
def test_planted_multipliers_are_found(seed):
    draw = random.Random(seed)
    names = "xyzuvw"[: draw.randint(2, 6)]
    lines = [
        " + ".join(f"({draw.randint(-3, 3)})*{name}" for name in names) + f" + {draw.randint(0, 3)}"
        for _ in range(draw.randint(2, 6))
    ]
    goal = {"symbols": dict.fromkeys(names, "real"), "hypotheses": [f"0 <= {line}" for line in lines]}
    planted = [draw.choice(["0", "1", "2", "1/3"]) for _ in lines]
    conclusion = "0 <= " + " + ".join(f"({m})*({line})" for m, line in zip(planted, lines, strict=True))
    p, facts = started({**goal, "conclusions": [conclusion]})
    p.linear(conclusion, auto=facts)  # the checker accepts
    with pytest.raises(CertificateError, match="no multipliers"):
        p.linear(f"{conclusion} + x - y*x", auto=facts)  # a monomial that no fact has


@pytest.mark.parametrize(
    "conclusion", ["x < z", "3*x <= 2*z + 5*a", "x + y < 2*z", "10*a <= 4*y", "5*a + y == x + y"]
)
def test_what_follows_is_shown(conclusion):
    p, facts = started(SORTED)
    p.linear(conclusion, auto=facts)


@pytest.mark.parametrize("conclusion", ["z < x", "x < y", "z < 6*a", "0 < a", "x == z", "z <= 3*y", "0 < 0"])
def test_what_does_not_follow_is_not(conclusion):
    p, facts = started(SORTED)
    with pytest.raises(CertificateError, match="no multipliers"):
        p.linear(conclusion, auto=facts)


def test_terms_multiply_facts():
    p, facts = started(SORTED)
    with pytest.raises(CertificateError, match=r"right - left = -6\*a\*y \+ 2\*a\*z"):
        p.linear("6*a*y <= 2*a*z", auto=facts)
    p.linear("6*a*y <= 2*a*z", auto=facts, terms=["1", "a"])
    with pytest.raises(CertificateError, match="no multipliers"):
        p.linear("6*x*y <= 2*x*z", auto=facts, terms=["1", "x"])  # x may be negative


def test_the_template_needs_no_multiplier_by_hand():
    p, (inside,) = started(WINDOW)
    both = p.product(p.sort("h"), inside)
    p.finish(p.linear(WINDOW["conclusions"][0], auto=[both, inside]))
    assert p.steps[-1]["from"] == [both]
    with pytest.raises(CertificateError, match="no multipliers"):
        p.linear("T + 1 <= h*(T - h + 1)", auto=[both, inside])


def test_a_rejection_prints_the_remainder():
    p, (inside,) = started(WINDOW)
    both = p.product(p.sort("h"), inside)
    with pytest.raises(CertificateError, match=r"the remainder is -1$"):
        p.linear("T + 1 <= h*(T - h + 1)", {both: "1"})
    with pytest.raises(CertificateError, match=r"the remainder is -1 - T \+ T\*h \+ h - h\*\*2$"):
        p.linear("T + 1 <= h*(T - h + 1)")


def test_by_hand_or_by_search_not_both():
    p, (inside,) = started(WINDOW)
    with pytest.raises(CertificateError, match="not both"):
        p.linear("h <= T", {inside: "1"}, auto=[inside])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("exp(x)*2 - y", "2*e**(x) - y"),
        ("1/(x*x + 1) + x/3", "(1 + x**2)**-1 + 1/3*x"),
        ("sqrt(x) - floor(y)", "(x)**(1/2) - floor(y)"),
        ("0*x", "0"),
    ],
)
def test_remainders_are_readable(text, shown):
    p = Proof({"symbols": {"x": "real", "y": "real"}, "hypotheses": [], "conclusions": ["0 <= 1"]})
    assert multipliers.shown(p.kernel.normal.scalar(p.kernel.term(text))) == shown
