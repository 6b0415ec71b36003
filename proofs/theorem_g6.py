"""Theorem G6 (new): the plain horizon descends as long as the residual is not small.

Problem. Theorem A bounds the angle by a constant that grows like 1/||R||. How far down is -g_h still a
descent direction?

Statement. T > c >= 0, T = h + m, ||D(t)||_2 <= c/T, b = 1 - c/T, R = W_0^T - Phi != 0, r = ||R||_F,

    kappa_A = c e^c sqrt(S_2(m)/T^3)/b^{T-1},   S_2(m) = m(m+1)(2m+1)/6. Then
    <g_h, g_T> >= (1 - kappa_A (sqrt(n) e^c + r)/r) ||g_T||^2,

and <g_h, g_T> > 0 if kappa_A < 1 and r > sqrt(n) e^c kappa_A/(1 - kappa_A): the flow of the plain horizon
descends to a ball of radius O(sqrt(n) c eps^{3/2}).

Guarantee. Bound for every T; below that radius nothing is said (fixed points need identity tails).

Method. Theorem A's bound of ||g_h(t) - g_T(t)||, summed; Cauchy-Schwarz as in Theorem E1.
"""

from __future__ import annotations

from typing import Any

from dlinear.certify import claim
from dlinear.certify.claims import Form, Relation, Verdict
from dlinear.certify.prover import lemmas, surrogates
from dlinear.certify.prover.statements import TWO_LAYERS
from dlinear.certify.prover.surrogates import GAP, GIVEN, Rule

PLAIN = Rule(anchored=False, surrogate="I")
SIZE = "(sqrt(n)*exp(c) + r)"
LEAST = "c**2*exp(2*c)*(m*(m+1)*(2*m+1)/6)/(T**3*b**(2*(T-1))) <= kap**2"


def statement(radius: str) -> dict[str, Any]:
    """<g_h, g_T> > 0 beyond a radius, for every kap > 0 that is at least kappa_A."""
    return surrogates.statement(
        PLAIN,
        [f"(1 - kap*{SIZE}/r)*TT(T) <= HT(T)", "0 < HT(T)"],
        [*GIVEN, LEAST, f"{radius} < (1 - kap)*r"],
        sums={"K": "(j+1)**2"},
        kap="positive",
    )


def prove(goal: dict[str, Any]) -> dict[str, Any]:
    """Layers, their sum, and the shift e = kap*SIZE/r."""
    p = surrogates.begin(goal, e="positive")
    depth, upper = p.assume("T == t + h + k"), lemmas.upper(p)
    bound = surrogates.gap_norm(p, PLAIN, depth, upper)
    near = surrogates.near_identity(p, depth, upper)
    first, _, whole = surrogates.first_order(p)
    more = lemmas.raise_to(p, p.linear("1 <= a", {p.assume(lemmas.UPPER): "-1"}), "1", "a", "k")
    gap, rest = "N(I - W(T-k, T))", "(sqrt(n)*a**(T-k) + r)"
    below = p.linear("a**(T-k) <= exp(c)", {more: "a**(T-k)", whole: "1"})
    layer = p.linear(
        f"F(gh(t) - gT(t)) <= exp(c)*c/T*{SIZE}*k",
        {
            bound: "1",
            p.axiom("N_identity"): f"a**(T-1-k)*{gap}*sqrt(n)*a**(T-k)",
            near: f"a**(T-1-k)*{rest}",
            first: rest,
            below: "exp(c)*c/T*k*sqrt(n)",
        },
    )
    square = surrogates.squared(p, f"exp(c)*c/T*{SIZE}*k", layer)
    factor = f"exp(2*c)*c**2/T**2*{SIZE}**2"
    total = surrogates.gap(p, square, p.assume("T == h + m"), "K", factor)
    sums = "K(j) == j*(j+1)*(2*j+1)/6"
    step = p.linear(sums.replace("j", "(j+1)"), {p.assume(sums): "1", p.sum_step("K", "j"): "1"})
    base = p.linear(sums.replace("j", "0"), {p.sum_empty("K"): "1"})
    closed = p.instantiate(p.induction("j", sums, base, step), j="m")
    least, energy, _ = surrogates.energies(p)
    ratio = p.assume(f"e == kap*{SIZE}/r")
    most = p.linear(
        f"{GAP.format('T')} <= r**2*(e**2*(T*b**(2*(T-1))))",
        {
            total: "1",
            closed: factor,
            p.assume(LEAST): f"T*b**(2*(T-1))*{SIZE}**2",
            ratio: f"-T*b**(2*(T-1))*r**2*(e + kap*{SIZE}/r)",
        },
    )
    _, along = surrogates.descent(p, most, least)
    along = lemmas.close(p, along, e=f"kap*{SIZE}/r")
    room = p.linear(f"0 < 1 - kap*{SIZE}/r", {p.assume(goal["hypotheses"][-1]): "1/r"})
    both = p.product(room, energy, f"0 < (1 - kap*{SIZE}/r)*TT(T)")
    return p.finish(along, p.linear("0 < HT(T)", {along: "1", both: "1"}))


CLAIMS = (
    claim(
        "theorem_g6",
        "Theorem G6",
        Form.NEW,
        "plain horizon: <g_h, g_T> > 0 if kappa_A < 1 and ||R||_F > sqrt(n) e^c kappa_A/(1 - kappa_A), "
        "kappa_A = c e^c sqrt(S_2(m)/T^3)/b^{T-1}, T > c",
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=statement("sqrt(n)*exp(c)*kap"),
        witness=TWO_LAYERS
        | {
            **{"h": 1, "m": 1, "a": "21/20", "b": "19/20", "r": 8, "kap": "1/2", "c": "1/10"},
            **{"D": {}, "Phi": [[9]]},
        },
        route=prove,
        twin_goal=statement("sqrt(n)*exp(c)*kap/2"),
        twin_statement="half of the radius",
        letters=surrogates.NAMES
        | {"kap": "any number > 0 that is at least kappa_A", "K": "K(m) = S_2(m)", "gh": "g_h(t)"},
        evidence="with every kap >= kappa_A, kap > 0, in place of kappa_A; n and Phi are any",
        function="dlinear.bounds.theorem_a",
        test="tests/certify/test_anchored_proofs.py::test_theorem_g6_holds_and_is_met",
    ),
)
