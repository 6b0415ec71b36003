"""Eq. (45): from envelopes on the norms to a bound on the angle, and from c1 < 1 to c1 = 1.

Problem. Lemmas C.2 and C.3 put the norms ||g_h(beta T)|| between the members (lambda_1, y_1) and
(lambda_2, y_2) of the family g(.; c, y) of eq. (32). Eq. (45) concludes that 1 - cos^2 lies between the
smallest and the largest 1 - f^2(alpha; lambda, y) of the family, and lets c1 -> 1 after alpha -> 1.

Verdict. Both steps are gaps.

1. A profile between two envelopes is not a member of the family. lambda_1 = lambda_2 = 0, y_1 = 0, y_2 = -1:
   the envelopes are the constants 1 and 2, every member is constant (1 - f^2 = 0), but the profile that is 1
   on the window (measure eps = 1 - alpha) and 2 after has 1 - cos^2 = eps (1 - eps)/(4 - 3 eps): 1/10 at
   alpha = 1/2, of order 1, not 3, as alpha -> 1. The gap survives an interval of lambdas: for
   |lambda| <= 1/100, -1 <= y <= 0 every member has 1 - f^2 <= 1/1000 at alpha = 1/2 (ball arithmetic).
2. At fixed c1 < 1, (c1 - cos^2)/(1 - alpha)^3 -> -infinity whenever cos -> 1: the bound says nothing, and
   does not pass to c1 = 1. If 1 - cos^2 = u^2, u = 1 - alpha, it holds for every c1 < 1 and C > 0 as soon
   as u is small, and yet 1 - cos^2 is of order 2.

Theorem A replaces this part of the proof.

Reference. Eqs. (29), (30), (45), (46) of arXiv 2409.19561.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sympy

from dlinear.certify import Proof, claim, refutation
from dlinear.certify.claims import Form, Relation, Verdict
from dlinear.certify.prover.eliminate import equation
from dlinear.certify.prover.scalar_case import LETTERS, Language, bench, statement

# a profile that is p on the window (measure eps) and q after; g_T = q
SIN2 = "1 - (eps*p*q + (1 - eps)*q**2)**2/((eps*p**2 + (1 - eps)*q**2)*q**2)"

PROFILE = {
    "p": "|g_h(beta T)| on the window beta < 1 - alpha",
    "q": "|g_h(beta T)| after it, and |g_T|",
    "y1": "y of the lower member (0, y1), 1 - y1",
    "y2": "y of the upper member (0, y2), 1 - y2",
    "eps": "1 - alpha",
}
ENVELOPES: dict[str, Any] = {
    "symbols": {name: "real" for name in ("p", "q", "y1", "y2", "eps")},
    "hypotheses": [
        "0 < eps",
        "eps < 1",
        "0 < 1 - y1",
        *[f"1 - y1 <= {g}" for g in "pq"],
        *[f"{g} <= 1 - y2" for g in "pq"],
    ],
    "conclusions": [f"{SIN2} <= 0"],
}


def limits(small: str = "C*u < 1") -> dict[str, Any]:
    """With cos^2 = 1 - u^2: the premise at c1 holds and the conclusion at 1 fails."""
    return {
        "symbols": {"u": "positive", "c1": "real", "C": "positive"},
        "hypotheses": ["u**2 <= 1 - c1", small],
        "conclusions": ["c1 - (1 - u**2) <= C*u**3", "C*u**3 < 1 - (1 - u**2)"],
    }


def limits_route(goal: Mapping[str, Any]) -> dict[str, Any]:
    """The left side is at most 0 < C u^3; C u^3 < u^2."""
    p = Proof(goal)
    near, small = (p.assume(text) for text in goal["hypotheses"])
    first, second = goal["conclusions"]
    return p.finish(p.linear(first, {near: "1"}), p.linear(second, {small: "u**2"}))


BOX = {"c": ("-1/100", "1/100"), "y": ("-1", "0")}
EPS = sympy.Rational(1, 2)


STILL = (
    "Int(s, 1 - eps, 1, 1 - y) + (1 - eps)*(1 - y)",
    "Int(s, 1 - eps, 1, (1 - y)**2) + (1 - eps)*(1 - y)**2",
)
"""I1 and I2 at lambda = 0, where phi = 1 - y."""


def gap_goal(size: str) -> dict[str, Any]:
    """Members of the family have 1 - f^2 <= size at eps = 1/2; a profile between the envelopes has more."""
    profile = SIN2.replace("eps", "(1/2)").replace("p", "1").replace("q", "2")
    one, two = STILL
    return statement(
        [
            f"I2 - I1**2 <= {size}*I2",
            f"{two} - ({one})**2 <= {size}*({two})",
            f"{size} < {profile}",
            f"{profile} == 1/10",
        ],
        ["eps == 1/2", *[t for k, (lo, hi) in BOX.items() for t in (f"{lo} <= {k}", f"{k} <= {hi}")]],
    )


def gap_route(goal: Mapping[str, Any]) -> dict[str, Any]:
    """I2^ - I1^^2 <= size I2^ with entire functions, by ball arithmetic."""
    p = Proof(goal)
    b = bench(p, Language())
    lang, at = b.lang, b.lang.at
    size = sympy.Rational(goal["conclusions"][0].split("<= ")[1].split("*")[0])
    one, two = lang.hats()
    room = size * two - (two - one**2)
    fixed = p.assume("eps == 1/2")
    low, high = p.linear("1/2 <= eps", {fixed: "-1"}), p.linear("eps <= 1/2", {fixed: "1"})
    j1, j2 = lang.moments()
    shape = size * two - lang.c**2 * lang.eps**3 * (j2 - lang.eps * j1**2)
    ball = p.ball(f"0 <= {at.text(shape)}", {**BOX, "eps": ("1/2", "1/2")}, max_boxes=2_000)
    clear = p.cut(ball, low, high)
    left, right = lang["I2"] - lang["I1"] ** 2, size * lang["I2"]
    family = equation(p, at, left, right, b.moments, {clear: (lang.w**4, room)}, relation="<=")
    # lambda = 0: I1 = 1 - y, I2 = (1 - y)^2
    one, two = (p.ftc(f"Int(s, 1 - eps, 1, {body})", f"({body})*s") for body in ("1 - y", "(1 - y)**2"))
    first = p.linear(f"{STILL[0]} == 1 - y", {one: "1"})
    weights = {two: f"1 - {size}", first: f"-(({STILL[0]}) + 1 - y)"}
    still = p.linear(goal["conclusions"][1], weights, squares=[(str(size), "1 - y")])
    return p.finish(family, still, *(p.linear(text) for text in goal["conclusions"][2:]))


CLAIMS = [
    claim(
        "eq_45_family_printed",
        "Step to (45)",
        Form.PRINTED,
        "the rule used: norms between the members (0, y1), (0, y2) of the family (32) give 1 - cos^2 at most "
        "the maximum of 1 - f^2 over the members between, here 0",
        Relation.UPPER_BOUND,
        Verdict.REFUTED,
        goal=ENVELOPES,
        letters=PROFILE,
        route=lambda goal: refutation(goal, {"p": "1", "q": "2", "y1": "0", "y2": "-1", "eps": "1/2"}),
        twin_goal={**ENVELOPES, "conclusions": [f"{SIN2} <= eps*(p - q)**2/q**2"]},
        twin_statement="at most |g_h - g_T|^2/|g_T|^2, which the same example satisfies",
        function="dlinear.bounds.theorem_a",
        test="tests/theory/test_scalar.py::test_profiles_between_envelopes",
    ),
    claim(
        "eq_45_gap",
        "Eq. (45)",
        Form.NEW,
        "|lambda| <= 1/100, -1 <= y <= 0, alpha = 1/2: 1 - f^2 <= 1/1000 for all members of the family, and "
        "1/10 for the profile that is 1, then 2",
        Relation.UPPER_BOUND,
        Verdict.CERTIFIED,
        goal=gap_goal("1/1000"),
        letters=LETTERS | {"c": "lambda, not 0; the second conclusion is for lambda = 0"},
        witness={"eps": "1/2", "c": "1/100", "y": "-1/2", "s": 0, **Language().terms()},
        route=gap_route,
        twin_goal=gap_goal("1/5"),
        twin_statement="1/5 instead of 1/1000",
        evidence="1/1000 < 1/10, the value of a profile that is 1, then 2; lambda = 0 gives 1 - f^2 = 0",
        function="dlinear.scalar.sin2",
        test="tests/theory/test_scalar.py::test_profiles_between_envelopes",
    ),
    claim(
        "eq_45_limits",
        "Step from (45) to (46)",
        Form.NEW,
        "1 - cos^2 = u^2, u = 1 - alpha: for every c1 < 1 and C > 0 the bound c1 - cos^2 <= C u^3 of (45) "
        "holds for all u with u^2 <= 1 - c1 and C u < 1, while 1 - cos^2 <= C u^3, wanted in (46), fails",
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=limits(),
        letters={"u": "1 - alpha, sqrt(1 - cos^2)", "c1": "any number below 1", "C": "any constant"},
        witness={"u": "1/2", "c1": "1/2", "C": 1},
        route=limits_route,
        twin_goal=limits("C*u < 2"),
        twin_statement="C u < 2 in place of C u < 1",
        twin_values={"u": "1/10", "c1": "0", "C": "15"},
        twin_fails=1,
        evidence="small u: u^2 <= 1 - c1 and C u < 1",
        function="dlinear.bounds.theorem_a",
        test="tests/theory/test_scalar.py::test_profiles_between_envelopes",
    ),
]
