"""Theorem B (new): the sharp constant of the cubic decay for layers smooth in depth.

Statement. W(t) = I + A(t/T)/T, A piecewise continuous, continuous at 1; X' = A X, X(0) = I, X = X(1),
R = X - Phi != 0; B(M) = X^T (M X + M^T R), N = int_0^1 ||G(b)||_F^2 db, G(b) = (X X(b)^{-1})^T R X(b)^T. Then

    sin^2(theta_h) ~ ||B(A(1))||_F^2/(3N) (1 - h/T)^3,  at finite m = T - h: ||B||^2 S_2(m)/(T^3 N).

Guarantee. Exact for its steps: the response to one missed layer, the equation of G, the commuting case with
two eigenvalues in full and with any number of them by sums, n = 1 as K(c, y). The limit
itself for general paths is supported by a rate: |measured/law - 1| falls like 1/T at fixed m.

Method. With s = t + h and E = W_s^T - I, g_h(t) - g_T(t) = -(W_{t+1}^s)^T (E P_s + E^T R)(P_t)^T; for one
layer E = D. As T -> infinity, E ~ (k/T) A(1), k = T - s, and the sum of k^2 gives S_2(m).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import sympy

import dlinear
from dlinear.certify import Proof, claim
from dlinear.certify.claims import Claim, Form, Outcome, Relation, Verdict
from dlinear.certify.letters import assumed, shown
from dlinear.certify.prover.eliminate import Atoms, equation
from dlinear.certify.prover.scalar_case import LETTERS as LETTERS_C5
from dlinear.certify.prover.scalar_case import Language, bench, explicit, statement
from dlinear.theory import limits, scalar

TEST = "tests/theory/test_limits.py"

# ---------------------------------------------------------------- one missed layer, and the equation of G


def response_goal(sign: str = "-") -> dict[str, Any]:
    """g_h - g_T for m = 1: L = W_{t+1}^{T-1}, P = P_{T-1}, Q = P_t, D the last deviation, R = P_T - Phi."""
    return {
        "symbols": dict.fromkeys(("D", "L", "P", "Q", "Phi", "R"), "matrix"),
        "hypotheses": ["R == (I + D)*P - Phi"],
        "conclusions": [
            f"L.T*(P - Phi)*Q.T - ((I + D)*L).T*((I + D)*P - Phi)*Q.T == {sign}L.T*(D*P + D.T*R)*Q.T",
        ],
    }


def response_route(goal: Mapping[str, Any]) -> dict[str, Any]:
    """Expansion in the free algebra."""
    p = Proof(goal)
    given = p.assume(goal["hypotheses"][0])
    return p.finish(p.matrix(goal["conclusions"][0], {given: ("L.T*D.T", "Q.T")}))


def flow_goal(sign: str = "-") -> dict[str, Any]:
    """G = Z^T R X_b^T with X_b' = A X_b, Z = X X_b^{-1}, Z' = -Z A: G' = G A^T - A^T G."""
    return {
        "symbols": dict.fromkeys(("A", "Z", "R", "X"), "matrix"),
        "conclusions": [
            f"(-(Z*A)).T*R*X.T + Z.T*R*(A*X).T == Z.T*R*X.T*A.T {sign} A.T*Z.T*R*X.T",
        ],
    }


def flow_route(goal: Mapping[str, Any]) -> dict[str, Any]:
    """Expansion in the free algebra."""
    p = Proof(goal)
    return p.finish(p.matrix(goal["conclusions"][0]))


# ---------------------------------------------------------------- commuting case

TAGS = ("1", "2")
POINT = {"c1": "1", "y1": "1/2", "c2": "-1", "y2": "2", "eps": "1/2"}


def commuting_sides(at: Atoms, power: int) -> tuple[Any, Any, Any]:
    """Numerator and ||g_T||^2 of sin^2 for two eigenvalues, and eps^power times what is left (entire)."""
    parts = [Language(at, tag) for tag in TAGS]
    energy = sum(part.full**2 for part in parts)
    inner = sum(part["I1"] * part.full for part in parts)
    left = energy * sum(part["I2"] for part in parts) - inner**2
    squares, cross = 0, 0
    for part in parts:
        j1, j2 = part.moments()
        squares += part.w**4 * part.c**2 * j2
        cross += part.w**2 * part.c * j1 * part.full
    eps = parts[0].eps
    return left, energy, eps**power * (energy * squares - eps * cross**2)


def commuting_goal(power: int = 3) -> dict[str, Any]:
    """||g_T||^2 ||g_h||^2 - <g_h, g_T>^2 = eps^3 (||g_T||^2 sum c_i^2 e^{4 c_i} j2_i - eps (...)^2)."""
    at = Atoms()
    left, _, right = commuting_sides(at, power)
    return statement([f"{at.text(left)} == {at.text(right)}"], tags=TAGS)


def commuting_route(goal: Mapping[str, Any]) -> dict[str, Any]:
    """I1, I2 of each eigenvalue in entire form."""
    p, at = Proof(goal), Atoms()
    equations = [found for tag in TAGS for found in bench(p, Language(at, tag)).moments]
    left, _, right = commuting_sides(at, 3)
    return p.finish(equation(p, at, left, right, equations))


def all_goal(power: int) -> dict[str, Any]:
    """The same numerator for q eigenvalues, in sequences G, X, Y over them."""
    parts = {"I1": "G(i) + eps**2*X(i)", "I2": "G(i)**2 + 2*eps**2*G(i)*X(i) + eps**3*Y(i)"}
    terms = {"GG": "G(i)**2", "SG": "I1(i)*G(i)", "SI": "I2(i)", "YY": "Y(i)", "GX": "X(i)*G(i)"}
    return {
        "symbols": {"q": "posint", "eps": "real"},
        "sequences": ["G", "X", "Y"],
        "definitions": {name: {"index": "i", "cases": [{"then": term}]} for name, term in parts.items()},
        "sums": {name: {"index": "i", "term": term} for name, term in terms.items()},
        "conclusions": [f"GG(q)*SI(q) - SG(q)**2 == eps**{power}*(GG(q)*YY(q) - eps*GX(q)**2)"],
    }


def all_route(goal: Mapping[str, Any]) -> dict[str, Any]:
    """SG = GG + eps^2 GX and SI = GG + 2 eps^2 GX + eps^3 YY, by induction."""
    p = Proof(goal, k="natural")
    one, two = p.definition("I1", "k"), p.definition("I2", "k")
    facts = []
    for total, value, own in (
        ("SG", {"GG": "1", "GX": "eps**2"}, {one: "G(k)"}),
        ("SI", {"GG": "1", "GX": "2*eps**2", "YY": "eps**3"}, {two: "1"}),
    ):
        formula = f"{total}(k) == {' + '.join(f'{w}*{name}(k)' for name, w in value.items())}"
        weights = {total: "1", **{name: f"-{w}" for name, w in value.items()}}
        base = p.linear(formula.replace("k", "0"), {p.sum_empty(name): w for name, w in weights.items()})
        steps = {p.sum_step(name, "k"): w for name, w in weights.items()}
        onward = p.linear(formula.replace("k", "(k + 1)"), {p.assume(formula): "1", **steps, **own})
        facts.append(p.instantiate(p.induction("k", formula, base, onward), k="q"))
    inner, size = facts
    weights = {size: "GG(q)", inner: "-(SG(q) + GG(q) + eps**2*GX(q))"}
    return p.finish(p.linear(goal["conclusions"][0], weights))


def leading_goal(factor: int = 1) -> dict[str, Any]:
    """At eps = 0: e^{4c} c^2 j2 = B^2/3 with B of Theorem B, and K is B^2/3 over ||g_T||^2 (n = 1)."""
    x, y, c = sympy.symbols("x y c")
    phi = lambda order, _: 1 / sympy.factorial(order)  # noqa: E731 - phi(k, 0)
    _, j2 = scalar.entire_moments(c, y / x, sympy.Integer(0), phi)
    b = limits.response(*(sympy.Matrix([[v]]) for v in (x, x - y, c)))[0]
    k3, _, _ = scalar.series_coefficients(c, y / x)
    energy = (x * (x - y)) ** 2
    return {
        "symbols": {"x": "positive", "y": "real", "c": "real"},
        "conclusions": [
            f"3*({sympy.expand(x**4 * c**2 * j2)}) == {factor}*({b})**2",
            f"{sympy.cancel(3 * k3 * energy)} == {factor}*({b})**2",
        ],
    }


def leading_route(goal: Mapping[str, Any]) -> dict[str, Any]:
    """Polynomial identities."""
    p = Proof(goal)
    return p.finish(*[p.linear(text) for text in goal["conclusions"]])


# ---------------------------------------------------------------- measured rate

DEPTHS = (500, 1000, 2000, 4000)
SHORTFALLS = np.array([1, 4, 16])


def measured(constant: Callable[[limits.DepthLimit], float]) -> Outcome:
    """Regression of log max_m |sin^2/law - 1| on log T, over three random smooth paths of width 4."""
    slopes, finals = [], []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        a0, a1, phi = (rng.normal(size=(4, 4)) / 2 for _ in range(3))
        path = lambda s, a0=a0, a1=a1: a0 * np.cos(3 * s) + a1 * s  # noqa: E731
        cubic = constant(limits.depth_limit(path, phi))
        errors = []
        for depth in DEPTHS:
            net = dlinear.SmoothNetwork(path, depth=depth)
            sin2 = dlinear.alignment(net, phi, depth - SHORTFALLS).sin2
            errors.append(np.max(np.abs(sin2 / limits.decay_law(0.0, cubic, SHORTFALLS, depth) - 1)))
        slopes.append(np.polyfit(np.log(DEPTHS), np.log(errors), 1)[0])
        finals.append(errors[-1])
    good = all(abs(slope + 1) < 0.1 for slope in slopes) and max(finals) < 0.05
    evidence = (
        f"|measured/law - 1| ~ T^({min(slopes):.2f} .. {max(slopes):.2f}), "
        f"at most {max(finals):.1%} at T = {DEPTHS[-1]}"
    )
    method = f"3 random paths, T = {DEPTHS[0]}..{DEPTHS[-1]}, regression in T"
    return Outcome(Verdict.SUPPORTED if good else Verdict.UNDECIDED, method, evidence)


def theorem_b(limit: limits.DepthLimit) -> float:
    """||B(A(1))||^2/(3N)."""
    return limits.constants_of(limit).cubic


def end_energy(limit: limits.DepthLimit) -> float:
    """The twin: N replaced by ||G(1)||^2 = ||R X^T||^2."""
    return theorem_b(limit) * limit.energy / float(np.sum((limit.residual @ limit.x.T) ** 2))


CLAIMS = [
    Claim(
        id="theorem_b",
        reference="Theorem B",
        form=Form.NEW,
        statement="layers smooth in depth: sin^2 ~ ||B(A(1))||_F^2/(3N) (1 - h/T)^3, S_2(m) at finite m",
        relation=Relation.ASYMPTOTIC,
        expected=Verdict.SUPPORTED,
        prove=lambda: measured(theorem_b),
        twin=lambda: measured(end_energy),
        twin_statement="N replaced by ||R X^T||^2, the energy at the last layer only",
        function="dlinear.limits.cubic_constant",
        test=f"{TEST}::test_theorem_b_constant_and_its_rate_in_depth",
        figure="decay",
    ),
    claim(
        "theorem_b_response",
        "Theorem B",
        Form.NEW,
        "a horizon that misses one layer I + D: g_h - g_T = -(W_{t+1}^{T-1})^T (D P_{T-1} + D^T R) P_t^T",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=response_goal(),
        letters={
            "D": "deviation of the last layer",
            "L": "W_{t+1}^{T-1}",
            "P": "P_{T-1}",
            "Q": "P_t",
            "Phi": "target",
            "R": "P_T - Phi, P_T = (I + D) P_{T-1}",
        },
        witness={"D": [["1/4"]], "L": [[1]], "P": [[2]], "Q": [[1]], "Phi": [[1]], "R": [["3/2"]]},
        route=response_route,
        twin_goal=response_goal(""),
        twin_statement="the opposite sign",
        function="dlinear.limits.response",
        test=f"{TEST}::test_theorem_b_constant_and_its_rate_in_depth",
    ),
    claim(
        "theorem_b_flow",
        "Theorem B",
        Form.NEW,
        "G' = G A^T - A^T G for G(b) = Z^T R X_b^T, Z = X X(b)^{-1}, given X_b' = A X_b and Z' = -Z A",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=flow_goal(),
        letters={
            "A": "A(b)",
            "X": assumed("X_b, X_b' = A X_b"),
            "Z": assumed("Z = X X(b)^{-1}, Z' = -Z A"),
            "R": "R, which does not depend on b",
        },
        route=flow_route,
        twin_goal=flow_goal("+"),
        twin_statement="G' = G A^T + A^T G",
        assumes="X_b' = A X_b, the product rule, and Z' = -Z A for Z = X X(b)^{-1}",
        function="dlinear.limits.gradient_energy",
        test=f"{TEST}::test_gradient_energy_is_the_integral_of_the_definition",
    ),
    claim(
        "theorem_b_commuting",
        "Theorem B, Lemma C.5 in n dimensions",
        Form.NEW,
        "constant layers that commute with Phi, two eigenvalues (c_i, y_i), c_i != 0: |g_T|^2 sum I2_i - "
        "(sum I1_i G_i)^2 = eps^3 (|g_T|^2 sum c_i^2 e^{4c_i} j2_i - eps (sum c_i e^{2c_i} j1_i G_i)^2)",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=commuting_goal(),
        letters={
            "eps": LETTERS_C5["eps"],
            "s": LETTERS_C5["s"],
            **{f"{name}{tag}": f"{LETTERS_C5[name]}, i = {tag}" for name in LETTERS_C5 for tag in TAGS},
        },
        witness={"s": 0, **POINT, **Language(tag="1").terms(), **Language(tag="2").terms()},
        route=commuting_route,
        twin_goal=explicit(
            commuting_goal(4), Language(tag="1").closed_terms() | Language(tag="2").closed_terms()
        ),
        twin_statement="order 4",
        twin_values=POINT,
        evidence="at eps = 0 the bracket is ||g_T||^2 sum ||B_i||^2/3: theorem_b_leading",
        function="dlinear.scalar.sin2_commuting",
        test=f"{TEST}::test_commuting_case",
    ),
    claim(
        "theorem_b_commuting_all",
        "Theorem B, Lemma C.5 in n dimensions",
        Form.NEW,
        "the same for any number of eigenvalues: |g_T|^2 sum I2_i - (sum I1_i G_i)^2 = eps^3 (|g_T|^2 "
        "sum S_i - eps (sum X_i G_i)^2), S_i = c_i^2 e^{4c_i} j2_i, X_i = c_i e^{2c_i} j1_i",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=all_goal(3),
        letters={
            "q": "number of eigenvalues",
            "eps": LETTERS_C5["eps"],
            "G": "G_i = e^{c_i} (e^{c_i} - y_i), any real sequence",
            "X": "X_i, any real sequence",
            "Y": "S_i, any real sequence",
            "I1": shown("G_i + eps^2 X_i is I1 of the eigenvalue i", "lemma_c5_printed"),
            "I2": shown("G_i^2 + 2 eps^2 G_i X_i + eps^3 S_i is its I2", "lemma_c5_printed"),
            "GG": "GG(q) = |g_T|^2",
            "SG": "SG(q) = sum I1_i G_i = <g_h, g_T>",
            "SI": "SI(q) = sum I2_i = |g_h|^2",
            "YY": "YY(q) = sum S_i",
            "GX": "GX(q) = sum X_i G_i",
        },
        route=all_route,
        twin_goal=all_goal(4),
        twin_statement="order 4",
        twin_values={"q": 1, "eps": 2, "G": {0: 1}, "Y": {0: 1}},
        evidence="sums over the eigenvalues, by induction",
        function="dlinear.scalar.sin2_commuting",
        test=f"{TEST}::test_commuting_case",
    ),
    claim(
        "theorem_b_leading",
        "Theorem B, Lemma C.5",
        Form.NEW,
        "c^2 e^{4c} j2(0) = B^2/3 = K G^2, B = x (c x + c (x - y)), x = e^c: at n = 1 the constant of "
        "Theorem B is K(c, y)",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=leading_goal(),
        letters={"x": "e^c", "y": LETTERS_C5["y"], "c": LETTERS_C5["c"]},
        route=leading_route,
        twin_goal=leading_goal(2),
        twin_statement="twice B^2",
        assumes="N = G^2 at n = 1, because the gradient of every layer is G; phi(k, 0) = 1/k!",
        function="dlinear.limits.response",
        test=f"{TEST}::test_one_dimension_is_lemma_c5",
    ),
]
