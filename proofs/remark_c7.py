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
from dlinear.certify.prover.scalar_case import LETTERS as LETTERS_C5
from dlinear.certify.prover.scalar_case import explicit
from dlinear.theory import scalar

DERIVATIVE = (
    "f(0+) = sign(G) J1/sqrt(J2) and "
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


PHI = "exp(c*s)*(exp(c*s) - y)"
UNIT = "c*r == 1"
INTEGRALS = {"J1": f"Int(s, 0, 1, {PHI})", "J2": f"Int(s, 0, 1, ({PHI})**2)"}
BRACKET = f"({AT.text(G - START)})*(2*J2 - J1*({AT.text(G + START)}))"  # 2 J2^{3/2} |f'(0+)| up to sign(G)
SYMBOLS = dict.fromkeys(("c", "r", "y", "J1", "J2", "s"), "real")


def closed_terms() -> dict[str, str]:
    """r, J1 and J2 by the closed form at alpha = 0, for rational c and y."""
    exact = SimpleNamespace(exp=lambda x: AT[f"exp({AT.text(x)})"])
    i1, i2, _ = scalar.closed_form_integrals(sympy.Integer(0), C, Y, exact)
    return {"r": "1/c", "J1": AT.text(i1), "J2": AT.text(i2)}


def about(conclusions: list[str], *hypotheses: str) -> dict[str, Any]:
    """A goal about J1 and J2, the integrals of phi and phi^2 over [0, 1], for c != 0."""
    given = [UNIT, *[f"{name} == {text}" for name, text in INTEGRALS.items()]]
    return {"symbols": SYMBOLS, "hypotheses": [*given, *hypotheses], "conclusions": conclusions}


def closed_goal(numerator: Any) -> dict[str, Any]:
    """J1 in factors, and the bracket of f'(0+) as a multiple of `numerator`."""
    return about(
        ["J1 == r*(exp(c) - 1)*((exp(c) + 1)/2 - y)", f"{BRACKET} == r/6*({AT.text(numerator)})"],
    )


def integral(p: Proof, name: str, unit: int, body: str, primitive: str, value: Any) -> tuple[int, Any]:
    """A fact `name == r*value` and its right - left; the derivative of r*primitive is c*r*body."""
    fact = p.ftc(f"Int(s, 0, 1, (c*r)*({body}))", f"r*({primitive})")
    closed = p.substitute(unit, fact, f"{INTEGRALS[name]} == {p.text(fact).split(' == ')[1]}")
    given = p.assume(f"{name} == {INTEGRALS[name]}")
    window, letter = AT[INTEGRALS[name]], AT[name]
    known = {closed: (1, R * value - window), given: (1, window - letter)}
    return equation(p, AT, letter, R * value, [], known), R * value - letter


def closed_forms(p: Proof) -> tuple[int, int]:
    """The two conclusions of `closed_goal` as facts: polynomial identities in e^c and y."""
    unit = p.assume(UNIT)
    e = [f"exp({k}*c*s)" for k in range(1, 5)]
    one = integral(p, "J1", unit, f"{e[1]} - y*{e[0]}", f"{e[1]}/2 - y*{e[0]}", (X**2 - 1) / 2 - Y * (X - 1))
    two = integral(
        p, "J2", unit,
        f"{e[3]} - 2*y*{e[2]} + y**2*{e[1]}",
        f"{e[3]}/4 - 2*y*{e[2]}/3 + y**2*{e[1]}/2",
        (X**4 - 1) / 4 - 2 * Y * (X**3 - 1) / 3 + Y**2 * (X**2 - 1) / 2,
    )  # fmt: skip
    product = R * (X - 1) * ((X + 1) / 2 - Y)
    value = equation(p, AT, J1, product, [], {one[0]: (1, one[1])})
    bracket = (G - START) * (2 * J2 - J1 * (G + START))
    known = {two[0]: (2 * (G - START), two[1]), one[0]: (-(G - START) * (G + START), one[1])}
    slope = equation(p, AT, bracket, R * slope_numerator() / 6, [], known)
    return value, slope


def closed_route(goal: Mapping[str, Any]) -> dict[str, Any]:
    """Both closed forms."""
    p = Proof(goal)
    return p.finish(*closed_forms(p))


def value_goal(size: str = "J1**2") -> dict[str, Any]:
    """J1 != 0 where y is not (e^c + 1)/2."""
    return about([f"0 < {size}"], "0 < (exp(c) + 1 - 2*y)**2")


def slope_goal(power: str = "**2") -> dict[str, Any]:
    """The bracket of f'(0+) does not vanish where y is neither 0 nor e^c + 1."""
    return about([f"0 < ({BRACKET}){power}"], "0 < y**2", "0 < (exp(c) + 1 - y)**2")


def rise(p: Proof) -> int:
    """c*phi(1, c) == exp(c) - 1, where phi(1, c) is positive for every c."""
    return p.linear("c*phi(1, c) == exp(c) - 1", {p.phi_step(1, "c"): "1", p.axiom("phi_zero", "c"): "1"})


def nonzero(p: Proof) -> int:
    """0 < c**2 from c r = 1: if c^2 <= 1/(2 (1 + r^2)), then 1 = c^2 r^2 <= 1/2."""
    unit, least = p.assume(UNIT), "1/2*(1/(1 + r**2))"
    small = p.assume(f"c**2 <= {least}")
    false = p.linear("1 <= 1/2", {small: "r**2", unit: "-(1 + c*r)", p.reciprocal("1 + r**2"): "1/2"})
    large = p.linear("0 < c**2", {p.assume(f"{least} <= c**2"): "1"})
    return p.cases(f"c**2 <= {least}", p.absurd(false, "0 < c**2"), large)


def squared(p: Proof, equal: int, left: str, right: str, positive: int, weight: str) -> int:
    """0 < left**2 from left == right and the fact 0 < q, where right**2 = weight*q, weight positive."""
    return p.linear(f"0 < ({left})**2", {positive: weight, equal: f"-(({left}) + ({right}))"})


def value_route(goal: Mapping[str, Any]) -> dict[str, Any]:
    """J1 = phi(1, c)*((e^c + 1)/2 - y)."""
    p = Proof(goal)
    unit, apart = p.assume(UNIT), p.assume(goal["hypotheses"][-1])
    value, up = closed_forms(p)[0], rise(p)
    right = "phi(1, c)*((exp(c) + 1)/2 - y)"
    middle = "((exp(c) + 1)/2 - y)"
    equal = p.linear(f"J1 == {right}", {value: "1", up: f"-r*{middle}", unit: f"phi(1, c)*{middle}"})
    return p.finish(squared(p, equal, "J1", right, apart, "phi(1, c)**2/4"))


def slope_route(goal: Mapping[str, Any]) -> dict[str, Any]:
    """The bracket is c^3 phi(1, c)^4 y (e^c + 1 - y)/6."""
    p = Proof(goal)
    unit, (target, apart) = p.assume(UNIT), (p.assume(text) for text in goal["hypotheses"][-2:])
    slope, up, c2 = closed_forms(p)[1], rise(p), nonzero(p)
    rest = "y*(exp(c) + 1 - y)/6"
    fourth = p.linear(
        "(exp(c) - 1)**4 == c**4*phi(1, c)**4",
        {up: "-((exp(c) - 1)**2 + c**2*phi(1, c)**2)*(exp(c) - 1 + c*phi(1, c))"},
    )
    right = f"c**3*phi(1, c)**4*{rest}"
    equal = p.linear(
        f"{BRACKET} == {right}",
        {slope: "1", fourth: f"r*{rest}", unit: right},
    )
    c6 = p.product(p.product(c2, c2), c2)
    positive = p.product(p.product(c6, target), apart)
    return p.finish(squared(p, equal, BRACKET, right, positive, "phi(1, c)**8/36"))


EVERYWHERE = {
    "symbols": {"c": "real", "y": "real"},
    "hypotheses": ["0 < c**2", "0 < (exp(c) - y)**2"],
    "conclusions": [f"0 < ({AT.text(slope_numerator())})**2"],
}
LETTERS = {
    **LETTERS_C5,
    "J1": "int_0^1 phi",
    "J2": "int_0^1 phi^2",
}
WITNESS = {"c": "1/4", "y": "1/2", "s": 0, "r": 4, **INTEGRALS}

CLAIMS = [
    claim(
        "remark_c7_printed",
        "Remark C.7",
        Form.PRINTED,
        "lim d cos/d alpha != 0 as alpha -> 0+, whatever c != 0 and y != e^c",
        Relation.IDENTITY,
        Verdict.REFUTED,
        goal=EVERYWHERE,
        letters=LETTERS,
        uses=("remark_c7_closed_form",),  # f'(0+) is a multiple of the numerator in the goal
        assumes=DERIVATIVE,
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
        letters=LETTERS,
        witness=WITNESS,
        route=closed_route,
        twin_goal=explicit(closed_goal(slope_numerator().subs(Y, -Y)), closed_terms()),
        twin_statement="y with the opposite sign",
        twin_values=POINT,
        twin_fails=1,
        evidence="2 J2 - J1 (G + phi(0)) = y (e^c - 1)^3/(6c)",
        assumes=DERIVATIVE,
        function="dlinear.scalar.remark_c7",
        test=f"{TEST}::test_remark_c7_is_the_derivative_of_the_definition",
    ),
    claim(
        "remark_c7_value",
        "Remark C.7",
        Form.REPAIRED,
        "f(0+) != 0, that is J1 != 0, unless y = (e^c + 1)/2 (c != 0, y != e^c)",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=value_goal(),
        letters=LETTERS,
        witness=WITNESS,
        route=value_route,
        twin_goal=explicit(value_goal("J1"), closed_terms()),
        twin_statement="J1 > 0",
        twin_values={"c": "1", "y": "5"},
        evidence="on that curve it does vanish: remark_c7_closed_form",
        assumes="f(0+) = sign(G) J1/sqrt(J2)",
        function="dlinear.scalar.limit_at_zero",
        test=f"{TEST}::test_remark_c7_against_exact_limits",
    ),
    claim(
        "remark_c7_repaired",
        "Remark C.7",
        Form.REPAIRED,
        "f'(0+) != 0 unless y = 0 or y = e^c + 1 (c != 0, y != e^c)",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=slope_goal(),
        letters=LETTERS,
        witness=WITNESS,
        route=slope_route,
        twin_goal=explicit(slope_goal(""), closed_terms()),
        twin_statement="sign(G) f'(0+) > 0",
        twin_values={"c": "1", "y": "5"},
        evidence="on these curves it does vanish: remark_c7_closed_form",
        assumes=DERIVATIVE,
        function="dlinear.scalar.limit_at_zero",
        test=f"{TEST}::test_remark_c7_against_exact_limits",
    ),
]
