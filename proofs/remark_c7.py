"""Remark C.7: the cosine and its derivative at the shortest horizons, alpha -> 0+.

Problem. The remark reports from experiments that lim cos(theta) != 0 and lim d cos(theta)/d alpha != 0.

Statement (scalar network). With x = e^c, phi(s) = e^{cs}(e^{cs} - y), G = phi(1), J_k = int_0^1 phi^k:

    f(0+)  = sign(G) J1/sqrt(J2),                    J1 = (x - 1)((x + 1)/2 - y)/c,
    f'(0+) = sign(G) y (x - 1)^4 (x + 1 - y)/(12 c J2^{3/2}).

So f(0+) = 0 exactly on y = (e^c + 1)/2, and f'(0+) = 0 exactly on c = 0, y = 0 (no target: Phi = 0) and
y = e^c + 1; elsewhere both are non-zero, and f'(0+) has either sign: a longer horizon may point further away.
The remark is right outside these curves, and false as a general statement.

Method. The definition gives f' = sign(G) ((G - phi(0))/sqrt(J2) - J1 (G^2 - phi(0)^2)/(2 J2^{3/2})), because
dI1/dalpha = G - phi(alpha) and dI2/dalpha = G^2 - phi(alpha)^2; exact steps do the rest.

In the commuting case (eigenvalues (c_i, y_i), sums of the same integrals) f(0+) = sum G_i J1_i/(|G|
sqrt(sum J2_i)): positive whenever every y_i < min(e^{c_i}, (e^{c_i} + 1)/2), because then each G_i and J1_i
is.

Reference. Remark C.7 of arXiv 2409.19561.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import sympy

from dlinear.certify import Proof, claim, refutation
from dlinear.certify.claims import Form, Relation, Verdict
from dlinear.certify.prover.eliminate import Atoms, equation
from dlinear.certify.prover.scalar_case import explicit, solved
from dlinear.theory import scalar

DERIVATIVE = (
    "f'(0+) = sign(G) ((G - phi(0))/sqrt(J2) - J1 (G^2 - phi(0)^2)/(2 J2^{3/2})), from "
    "dI1/dalpha = G - phi(alpha) and dI2/dalpha = G^2 - phi(alpha)^2"
)
TEST = "tests/theory/test_scalar.py"
POINT = {"c": "1", "y": "1/2"}
AT = Atoms()
X, C, R, Y, J1, J2 = (AT[text] for text in ("exp(c)", "c", "r", "y", "J1", "J2"))
G, START = X * (X - Y), 1 - Y  # phi(1), phi(0)


def slope_numerator() -> Any:
    """12 c J2^{3/2} |f'(0+)| up to sign(G), from `dlinear.scalar.remark_c7`."""
    root = sympy.Symbol("root")
    _, slope = scalar.remark_c7(C, Y, SimpleNamespace(exp=lambda x: X, sqrt=lambda x: root))
    return sympy.factor(sympy.cancel(slope * 12 * C * root**3))


def moments() -> tuple[Any, Any]:
    """2 c J1 and 12 c J2 from the closed form at alpha = 0."""
    xp = SimpleNamespace(exp=lambda x: X if x == C else sympy.Integer(1))
    i1, i2, _ = scalar.closed_form_integrals(sympy.Integer(0), C, Y, xp)
    return sympy.expand(2 * C * i1), sympy.expand(12 * C * i2)


def closed_goal(numerator: Any) -> dict[str, Any]:
    """J1 in factors, and 6c times the bracket of f'(0+) times G - phi(0)."""
    first, second = moments()
    bracket = f"({AT.text(G - START)})*(2*J2 - J1*({AT.text(G + START)}))"
    return {
        "symbols": {"c": "real", "r": "real", "y": "real", "J1": "real", "J2": "real"},
        "hypotheses": ["c*r == 1", f"2*c*J1 == {AT.text(first)}", f"12*c*J2 == {AT.text(second)}"],
        "conclusions": [
            "J1 == r*(exp(c) - 1)*((exp(c) + 1)/2 - y)",
            f"6*c**2*{bracket} == c*({AT.text(numerator)})",
        ],
    }


def closed_route(goal: Mapping[str, Any]) -> dict[str, Any]:
    """Polynomial identities in e^c and y."""
    p = Proof(goal)
    first, second = moments()
    unit = (p.assume("c*r == 1"), R, 1 - C * R)
    one = (p.assume(goal["hypotheses"][1]), first - 2 * C * J1)
    two = (p.assume(goal["hypotheses"][2]), second - 12 * C * J2)
    half = sympy.Rational(1, 2)
    product = R * (X - 1) * ((X + 1) * half - Y)
    value = equation(p, AT, J1, product, [unit], {one[0]: (half * R, one[1])})
    left = 6 * C**2 * (G - START) * (2 * J2 - J1 * (G + START))
    known = {two[0]: (C * (G - START), two[1]), one[0]: (-3 * C * (G - START) * (G + START), one[1])}
    slope = equation(p, AT, left, C * slope_numerator(), [], known)
    return p.finish(value, slope)


NONZERO = {
    "symbols": {"c": "positive", "y": "real"},
    "hypotheses": [
        "0 < y**2",
        "0 < (exp(c) + 1 - y)**2",
        "0 < (exp(-c) + 1 - y)**2",
        "0 < (exp(c) + 1 - 2*y)**2",
        "0 < (exp(-c) + 1 - 2*y)**2",
    ],
    "conclusions": [
        text
        for x in ("exp(c)", "exp(-c)")
        for text in (
            f"0 < (({x} - 1)*({x} + 1 - 2*y))**2",
            f"0 < (y*({x} - 1)**4*({x} + 1 - y))**2",
        )
    ],
}


def nonzero_route(goal: Mapping[str, Any]) -> dict[str, Any]:
    """e^c - 1 >= c > 0 and 1 - e^{-c} >= c e^{-c} > 0; then products of positive factors."""
    p = Proof(goal, u="real")
    line = p.instantiate(p.taylor("1 + u <= exp(u)", "u", 2), u="c")
    up = p.linear("0 < exp(c) - 1", {line: "1", p.sort("c"): "1"})
    down = p.linear("0 < 1 - exp(-c)", {up: "exp(-c)"})
    hypotheses = [p.assume(text) for text in goal["hypotheses"]]
    facts = []
    for x, rise, gaps in (("exp(c)", up, (1, 3)), ("exp(-c)", down, (2, 4))):
        square = p.product(rise, rise, f"0 < ({x} - 1)**2")
        fourth = p.product(square, square, f"0 < ({x} - 1)**4")
        eighth = p.product(fourth, fourth, f"0 < ({x} - 1)**8")
        slope = p.product(p.product(eighth, hypotheses[0]), hypotheses[gaps[0]])
        value = p.product(square, hypotheses[gaps[1]])
        wanted = goal["conclusions"][2 * (len(facts) // 2) : 2 * (len(facts) // 2) + 2]
        facts += [p.linear(wanted[0], {value: "1"}), p.linear(wanted[1], {slope: "1"})]
    return p.finish(*facts)


EVERYWHERE = {
    "symbols": {"c": "real", "y": "real"},
    "hypotheses": ["0 < c**2", "0 < (exp(c) - y)**2"],
    "conclusions": [f"0 < ({AT.text(slope_numerator())})**2"],
}

CLAIMS = [
    claim(
        "remark_c7_printed",
        "Remark C.7",
        Form.PRINTED,
        "lim d cos/d alpha != 0 as alpha -> 0+, whatever c != 0 and y != e^c",
        Relation.IDENTITY,
        Verdict.REFUTED,
        assumes="f'(0+) = 0 where its numerator is (remark_c7_closed_form)",
        goal=EVERYWHERE,
        route=lambda goal: refutation(goal, {"c": "1", "y": "0"}),
        twin_goal={**EVERYWHERE, "conclusions": ["0 < ((exp(c) - 1)*(exp(c) + 1 - 2*y))**2"]},
        twin_statement="lim cos != 0, which the same example satisfies",
        function="dlinear.scalar.slope_at_zero",
        test=f"{TEST}::test_remark_c7_zeros",
    ),
    claim(
        "remark_c7_closed_form",
        "Remark C.7",
        Form.NEW,
        "f(0+) = sign(G) J1/sqrt(J2), J1 = (e^c - 1)((e^c + 1)/2 - y)/c, "
        "f'(0+) = sign(G) y (e^c - 1)^4 (e^c + 1 - y)/(12 c J2^{3/2}), c != 0, y != e^c",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=closed_goal(slope_numerator()),
        witness={"c": "1/4", "y": "1/2", **solved(closed_goal(slope_numerator()))},
        route=closed_route,
        twin_goal=explicit(closed_goal(slope_numerator().subs(Y, -Y))),
        twin_statement="y with the opposite sign",
        twin_values=POINT,
        twin_fails=1,
        evidence="2 J2 - J1 (G + phi(0)) = y (e^c - 1)^3/(6c)",
        assumes=f"{DERIVATIVE}; J1 and J2 as in lemma_c5_closed_form at alpha = 0",
        function="dlinear.scalar.remark_c7",
        test=f"{TEST}::test_remark_c7_is_the_derivative_of_the_definition",
    ),
    claim(
        "remark_c7_repaired",
        "Remark C.7",
        Form.REPAIRED,
        "f(0+) != 0 unless y = (e^c + 1)/2, and f'(0+) != 0 unless y = 0 or y = e^c + 1 (c != 0, y != e^c)",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=NONZERO,
        witness={"c": 1, "y": 5},
        route=nonzero_route,
        twin_goal={**NONZERO, "hypotheses": ["0 <= y**2", *NONZERO["hypotheses"][1:]]},
        twin_statement="y = 0 allowed",
        twin_values={"c": "1", "y": "0"},
        twin_fails=1,
        evidence="at c and at -c for every c > 0; on these curves they do vanish",
        assumes="f(0+) and f'(0+) are these numerators over positive numbers (remark_c7_closed_form)",
        function="dlinear.scalar.limit_at_zero",
        test=f"{TEST}::test_remark_c7_against_exact_limits",
    ),
]
