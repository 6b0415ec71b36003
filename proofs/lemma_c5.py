"""Lemma C.5: the scalar network in the depth limit.

Problem. How fast does f^2(alpha; c, y) of eqs. (32), (33) tend to 1 as alpha -> 1?

Statement. With eps = 1 - alpha, phi(s) = e^{cs}(e^{cs} - y), G = phi(1), I1 = int_alpha^1 phi + alpha G and
I2 = int_alpha^1 phi^2 + alpha G^2, f^2 = I1^2/I2; if e^c != y,

    1 - f^2 = k3 eps^3 + k4 eps^4 + k5 eps^5 + O(eps^6),   k3 = K(c, y) = (1/3)(c (2e^c - y)/(e^c - y))^2.

If y = 2e^c, 1 - f^2 = (c^4/5) eps^5 + O(eps^6). If e^c = y the angle is undefined (the lemma is printed for
arbitrary c, y). On the boxes of `BOXES`, |1 - f^2 - K eps^3| <= M eps^4.

Guarantee. The closed form, the series and the degenerate case are exact identities between entire functions
(phi(k, x) = sum_j x^j/(j+k)!), so that O(.) is continuity: I2 -> G^2 > 0. The bound is ball arithmetic.

Method. sympy only writes; the checker expands every identity again. Each e^{-k c eps} becomes its Taylor
polynomial plus phi, so eps^3, eps^4 or eps^6 factors out exactly and nothing is divided by eps.

Reference. Lemma C.5, eqs. (32)-(34) of arXiv 2409.19561.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sympy

from dlinear.certify import Proof, claim, refutation
from dlinear.certify.claims import Form, Relation, Verdict
from dlinear.certify.prover.eliminate import Equation, equation
from dlinear.certify.prover.scalar_case import LETTERS, Language, bench, divide, explicit, statement
from dlinear.theory import scalar

REFERENCE = "Lemma C.5"
TEST = "tests/theory/test_scalar.py"
NAMES = ("c", "y", "eps")

#: id -> (ends of c, of y, of eps), M: e^c - y keeps one sign; the second box meets the curve y = 2e^c.
BOXES = {
    "below": ((("-1", "1"), ("-1", "1/4"), ("0", "1")), "8"),
    "above": ((("-1", "1/2"), ("3", "6"), ("0", "1")), "1/2"),
}
#: id -> an M that is too small, and a point of the box that shows it
TOO_SMALL = {
    "below": ("6", {"c": "-1", "y": "1/4", "eps": "1/2"}),
    "above": ("1/5", {"c": "-1", "y": "6", "eps": "1"}),
}
MAX_BOXES = 4_000  # of one inequality; the true ones need about half


# ---------------------------------------------------------------- closed form


def closed_form_goal(factor: int = 1) -> dict[str, Any]:
    """The integrals of the lemma and what they are equal to, at c and at -c, c > 0."""
    c, y, eps = sympy.symbols("c y eps", positive=True)
    conclusions = []
    for sign in (1, -1):
        i1, i2, full = scalar.closed_form_integrals(1 - eps, sign * c, y, sympy)
        phi = f"exp({sign}*c*s)*(exp({sign}*c*s) - y)"
        conclusions += [
            f"Int(s, 1 - eps, 1, {phi}) + (1 - eps)*({full}) == {factor * i1}",
            f"Int(s, 1 - eps, 1, ({phi})**2) + (1 - eps)*({full})**2 == {i2}",
        ]
    return {
        "symbols": {"c": "positive", "y": "real", "eps": "real", "s": "real"},
        "conclusions": conclusions,
    }


def closed_form_route(goal: Mapping[str, Any]) -> dict[str, Any]:
    """Each integral by a primitive that the checker differentiates."""
    p, facts = Proof(goal), []
    c, y, s = sympy.symbols("c y s", positive=True)
    for at, conclusion in enumerate(goal["conclusions"]):
        sign, square = (1, -1)[at // 2], at % 2
        i1, i2, full = scalar.closed_form_integrals(s, sign * c, y, sympy)
        primitive = sympy.expand(s * full**2 - i2) if square else sympy.expand(s * full - i1)
        integral = conclusion[: conclusion.index(" + (1 - eps)")]
        facts.append(p.linear(conclusion, {p.ftc(integral, str(primitive)): "1"}))
    return p.finish(*facts)


# ---------------------------------------------------------------- the order and the series


def order_goal(power: int = 3) -> dict[str, Any]:
    """I2 - I1^2 = eps^3 c^2 e^{4c} (j2 - eps j1^2), I1 = e^{2c} I1^ and I2 = e^{4c} I2^."""
    lang = Language()
    j1, j2 = lang.moments()
    factor = lang.at.text(lang.c**2 * lang.w**4 * (j2 - lang.eps * j1**2))
    hats = [lang.at.text(lang.w**k * hat) for k, hat in zip((2, 4), lang.hats(), strict=True)]
    return statement([f"I2 - I1**2 == eps**{power}*{factor}", f"I1 == {hats[0]}", f"I2 == {hats[1]}"])


def order_route(goal: Mapping[str, Any]) -> dict[str, Any]:
    """The factor eps^3 c^2 comes out of I2 - I1^2."""
    b = bench(Proof(goal), Language())
    lang = b.lang
    j1, j2 = lang.moments()
    power = int(goal["conclusions"][0].split("eps**")[1].split("*")[0])
    right = lang.eps**power * lang.c**2 * lang.w**4 * (j2 - lang.eps * j1**2)
    fact = equation(b.p, lang.at, lang["I2"] - lang["I1"] ** 2, right, b.moments)
    return b.p.finish(fact, b.moments[0][0], b.moments[1][0])


SERIES_ORDER = 6  # phi(6, .) leaves a remainder eps^6


def series_sides(z: Any, lang: Language, *, slip: int = 1) -> tuple[Any, Any]:
    """60 g^3 (I2 - I1^2 - (k3 eps^3 + k4 eps^4 + k5 eps^5) I2), eps^6 e^{4c} P, P entire; k5 times `slip`."""
    c, eps = lang.c, lang.eps
    g = 1 - z
    k3, k4, k5 = scalar.series_coefficients(c, z)
    scaled = [sympy.expand(sympy.cancel(60 * g**3 * k)) for k in (k3, k4, slip * k5)]
    series = sum(k * eps**power for power, k in enumerate(scaled, 3))
    left = 60 * g**3 * (lang["I2"] - lang["I1"] ** 2) - series * lang["I2"]

    def phi(order: int, x: Any) -> Any:
        head = sum(x**j / sympy.factorial(order + j) for j in range(SERIES_ORDER - order))
        return head + x ** (SERIES_ORDER - order) * lang.phi(SERIES_ORDER, x)

    j1, j2 = scalar.entire_moments(c, z, eps, phi)
    one, two = g + c * eps**2 * j1, g**2 + 2 * g * c * eps**2 * j1 + c**2 * eps**3 * j2
    rest = sympy.Poly(sympy.expand(60 * g**3 * (two - one**2) - series * two), eps)
    quotient = sum(value * eps ** (power - 6) for (power,), value in rest.terms() if power >= 6)
    return left, eps**6 * lang.w**4 * quotient


def series_goal(*, degenerate: bool = False, slip: int = 1) -> dict[str, Any]:
    """The expansion through eps^5 with its remainder; at y = 2e^c it starts with (c^4/5) eps^5."""
    lang = Language()
    left, right = series_sides(sympy.Integer(2) if degenerate else lang.z, lang, slip=slip)
    target = ["y == 2*exp(c)"] if degenerate else []
    return statement([f"{lang.at.text(left)} == {lang.at.text(right)}"], target)


def series_route(degenerate: bool) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """The two sides agree once every phi is written through phi(6, .)."""

    def route(goal: Mapping[str, Any]) -> dict[str, Any]:
        b = bench(Proof(goal), Language(), order=SERIES_ORDER)
        lang = b.lang
        left, right = series_sides(sympy.Integer(2) if degenerate else lang.z, lang)
        equations = [*b.moments]
        if degenerate:
            equations.append((b.p.assume("y == 2*exp(c)"), lang.z, 2 * lang.w - lang.y))
        return b.p.finish(equation(b.p, lang.at, left, right, [*equations, *b.through(SERIES_ORDER)]))

    return route


# ---------------------------------------------------------------- the certified bound


def bound_goal(ends: tuple[tuple[str, str], ...], constant: str) -> dict[str, Any]:
    """|sin2 - K eps^3| <= M eps^4 over a box, with sin2 = 1 - f^2 and K = K(c, y) by their equations."""
    sides = zip(NAMES, ends, strict=True)
    return statement(
        [f"sin2 - K*eps**3 <= {constant}*eps**4", f"K*eps**3 - sin2 <= {constant}*eps**4"],
        [
            "sin2*I2 == I2 - I1**2",
            "3*K*(exp(c) - y)**2 == c**2*(2*exp(c) - y)**2",
            *[text for name, (lo, hi) in sides for text in (f"{lo} <= {name}", f"{name} <= {hi}")],
        ],
        sin2="real",
        K="real",
    )


def bound_route(ends: tuple[tuple[str, str], ...]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """(M eps^4 -+ (sin2 - K eps^3)) g^2 I2^ = eps^4 (an entire function), whose sign is ball arithmetic."""
    box = dict(zip(NAMES, ends, strict=True))

    def route(goal: Mapping[str, Any]) -> dict[str, Any]:
        p = Proof(goal)
        b = bench(p, Language(), order=4)
        lang, at = b.lang, b.lang.at
        c, eps, w, z, sin2, k = lang.c, lang.eps, lang.w, lang.z, lang["sin2"], lang["K"]
        size = sympy.Rational(goal["conclusions"][0].split("<= ")[1].split("*")[0])
        (one, two), (j1, j2) = lang.hats(), lang.moments()
        g, slope = 1 - z, (2 - z) ** 2 / 3  # K g^2 = c^2 slope, j2 = slope + c eps k2
        _, deeper = scalar.entire_moments(
            c, z, eps, lambda order, x: 1 / sympy.factorial(order) + x * lang.phi(order + 1, x)
        )
        k2 = sympy.collect(sympy.expand(sympy.cancel((deeper - slope) / (c * eps))), z)
        excess = c**2 * (g**2 * (c * k2 - j1**2) - slope * eps * c * (2 * g * j1 + eps * c * j2))
        nonzero = p.ball(f"0 < {at.text(g**2)}", {name: box[name] for name in ("c", "y")})
        positive = p.product(nonzero, p.ball(f"0 < {at.text(two)}", box))
        given = p.assume("sin2*I2 == I2 - I1**2")
        gap = lang["I2"] - lang["I1"] ** 2 - sin2 * lang["I2"]
        shape = equation(p, at, w**4 * sin2 * two, w**4 * (two - one**2), b.moments, {given: (1, gap)})
        leading = p.assume("3*K*(exp(c) - y)**2 == c**2*(2*exp(c) - y)**2")
        equations: list[Equation] = [
            (shape, sin2, w**4 * (two - one**2 - sin2 * two)),
            (leading, k, c**2 * (2 * w - lang.y) ** 2 - 3 * k * (w - lang.y) ** 2),
            *b.through(4),
        ]
        facts = []
        for sign, conclusion in zip((1, -1), goal["conclusions"], strict=True):
            room = size * eps**4 - sign * (sin2 - k * eps**3)
            inside = size * g**2 * two - sign * excess
            ball = p.ball(f"0 <= {at.text(inside)}", box, max_boxes=MAX_BOXES)
            known = {ball: (w**4 * eps**4, inside)}
            whole = equation(p, at, sympy.S.Zero, w**4 * room * g**2 * two, equations, known, relation="<=")
            q = at.text(g**2 * two)
            whole = p.linear(f"0 <= ({at.text(room)})*({q})", {whole: "exp(-4*c)"})
            facts.append(p.linear(conclusion, {divide(p, at.text(room), q, positive, whole): "1"}))
        return p.finish(*facts)

    return route


# ---------------------------------------------------------------- claims

RATIO = {"sin2": "(I2 - I1**2)/I2", "K": "c**2*(2*exp(c) - y)**2/(3*(exp(c) - y)**2)"}
POINT = {"c": "1", "y": "1/2", "eps": "1/2"}
CLOSED = Language().closed_terms()  # r, I1, I2
TERMS = {"s": 0, **Language().terms()}  # the same for a witness, by the integrals themselves

UNDEFINED = {
    "symbols": {"c": "real", "y": "real"},
    "conclusions": ["0 < (exp(c)*(exp(c) - y))**2"],
}


WITNESS = {
    "below": {"y": 0, "K": "1/12"},
    "above": {"y": "4*exp(c)", "K": "1/108"},
}  # in the boxes, at eps = 0


def bound_claim(name: str) -> Any:
    """The certified bound on one box."""
    ends, constant = BOXES[name]
    sides = ", ".join(f"{letter} in [{lo}, {hi}]" for letter, (lo, hi) in zip(NAMES, ends, strict=True))
    tight, point = TOO_SMALL[name]
    return claim(
        f"lemma_c5_bound_{name}",
        REFERENCE,
        Form.NEW,
        f"|1 - f^2 - K eps^3| <= {constant} eps^4 for {sides}, c != 0 (at c = 0, f = 1 and K = 0)",
        Relation.UPPER_BOUND,
        Verdict.CERTIFIED,
        goal=bound_goal(ends, constant),
        letters=LETTERS,
        witness={"eps": 0, "c": "1/4", **WITNESS[name], **TERMS, "sin2": 0},
        route=bound_route(ends),
        twin_goal=explicit(bound_goal(ends, tight), CLOSED | RATIO),
        twin_statement=f"M = {tight}",
        twin_values=point,
        twin_fails=1,
        evidence=f"M = {constant}",
        function="dlinear.scalar.constant",
        test=f"{TEST}::test_certified_bound",
        figure="lemma_c5",
    )


CLAIMS = [
    claim(
        "lemma_c5_printed",
        "Lemma C.5, eq. (34)",
        Form.PRINTED,
        "f^2 = 1 + O((1 - alpha)^3), c != 0, e^c != y: I2 - I1^2 = eps^3 c^2 e^{4c} (j2 - eps j1^2), "
        "I1 = e^{2c} I1^, I2 = e^{4c} I2^, with entire j1, j2, I1^, I2^",
        Relation.ASYMPTOTIC,
        Verdict.PROVED,
        goal=order_goal(),
        letters=LETTERS,
        witness={"eps": "1/8", "c": "1/4", "y": "1/2", **TERMS},
        route=order_route,
        twin_goal=explicit(order_goal(4), CLOSED),
        twin_statement="order 4 with the same coefficient",
        twin_values=POINT,
        evidence="where e^c != y, so that G != 0; at c = 0, f = 1",
        assumes="O(.) from the identity: phi(k, x) is continuous, I2 -> G^2 > 0 as eps -> 0",
        function="dlinear.scalar.entire_moments",
        test=f"{TEST}::test_entire_moments_are_the_closed_form",
        figure="lemma_c5",
    ),
    claim(
        "lemma_c5_domain_printed",
        "Lemma C.5, eq. (33)",
        Form.PRINTED,
        "f is defined for arbitrary c, y: int g_T^2 = (e^c (e^c - y))^2 > 0",
        Relation.UPPER_BOUND,
        Verdict.REFUTED,
        goal=UNDEFINED,
        letters=LETTERS,
        route=lambda goal: refutation(goal, {"c": "0", "y": "1"}),
        twin_goal={**UNDEFINED, "conclusions": ["0 <= (exp(c)*(exp(c) - y))**2"]},
        twin_statement="int g_T^2 >= 0, which the same example satisfies",
        function="dlinear.scalar.degeneracy",
        test=f"{TEST}::test_no_residual_is_an_error_with_a_name",
    ),
    claim(
        "lemma_c5_closed_form",
        "Lemma C.5, eqs. (32), (33)",
        Form.NEW,
        "I1 = int_alpha^1 phi + alpha G, I2 = int_alpha^1 phi^2 + alpha G^2 in elementary functions, c != 0",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=closed_form_goal(),
        letters=LETTERS,
        route=closed_form_route,
        twin_goal=closed_form_goal(factor=-1),
        twin_statement="I1 with the opposite sign",
        evidence="at c and at -c for every c > 0",
        function="dlinear.scalar.closed_form_integrals",
        test=f"{TEST}::test_closed_form_is_the_definition",
    ),
    claim(
        "lemma_c5_series",
        REFERENCE,
        Form.NEW,
        "1 - f^2 = k3 eps^3 + k4 eps^4 + k5 eps^5 + O(eps^6), k3 = K = (1/3)(c (2e^c - y)/(e^c - y))^2, "
        "c != 0, e^c != y",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=series_goal(),
        letters=LETTERS,
        witness={"eps": "1/8", "c": "1/4", "y": "1/2", **TERMS},
        route=series_route(False),
        twin_goal=explicit(series_goal(slip=-1), CLOSED),
        twin_statement="k5 with the opposite sign",
        twin_values=POINT,
        evidence="the remainder is eps^6 times an explicit entire function over 60 (1 - z)^3 I2",
        assumes="O(.) from the identity: phi(k, x) is continuous, I2 -> G^2 > 0 as eps -> 0",
        function="dlinear.scalar.series_coefficients",
        test=f"{TEST}::test_series_order_by_regression",
        figure="lemma_c5",
    ),
    claim(
        "lemma_c5_order_five",
        REFERENCE,
        Form.NEW,
        "y = 2e^c, c != 0: 1 - f^2 = (c^4/5) eps^5 + O(eps^6), so the order is 5, not 3",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=series_goal(degenerate=True),
        letters=LETTERS,
        witness={"eps": "1/8", "c": "1/4", "y": "2*exp(c)", **TERMS},
        route=series_route(True),
        twin_goal=explicit(series_goal(degenerate=True, slip=2), {"y": "2*exp(c)", **CLOSED}),
        twin_statement="coefficient 2 c^4/5",
        twin_values={"c": "1", "eps": "1/2"},
        evidence="k3 = k4 = 0, k5 = c^4/5",
        assumes="O(.) from the identity: phi(k, x) is continuous, I2 -> G^2 > 0 as eps -> 0",
        function="dlinear.scalar.constant5",
        test=f"{TEST}::test_order_five_degenerate_case",
    ),
    *[bound_claim(name) for name in BOXES],
]
