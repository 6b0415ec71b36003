"""Eqs. (37), (38): the change of a product when the window grows.

Problem. Bound W_b^s - W_b^T and W_0^s - W_0^T by the distance of the tail W_s^T from the identity.

Statement. W_b^s - W_b^T = (I - W_s^T) W_b^s, so ||W_b^s - W_b^T||_F <= ||W_s^T - I||_F ||W_b^s||_2.
Printed is the other order,
||W_b^s - W_b^T||_F <= ||W_b^s (I - W_s^T)||_F, which is false; the bound by the product of the norms is fine.

Guarantee. Identity and bound for every window; exact counterexample for the printed order.

Method. W_b^T = W_s^T W_b^s by induction, then expansion.

Reference. Eqs. (37), (38) of arXiv 2409.19561.
"""

from __future__ import annotations

from typing import Any

from dlinear.certify import Proof, claim, refutation
from dlinear.certify.claims import Form, Relation, Verdict
from dlinear.certify.prover import lemmas
from dlinear.certify.prover.statements import LETTERS, TWO_LAYERS, network

NAMES = LETTERS | {"beta": "the layer b where the window begins", "s": "its end"}
WINDOW = ["beta <= s", "s <= T"]
LEFT = "W(beta, s) - W(beta, T)"


def statement(product: str, *more: str) -> dict[str, Any]:
    """The difference of two windows against a product, and further conclusions."""
    return network([f"F({LEFT}) <= F({product})", *more], WINDOW, beta="natural", s="natural")


BOUND = f"F({LEFT}) <= F(W(s, T) - I)*N(W(beta, s))"
REPAIRED = statement("(I - W(s, T))*W(beta, s)", f"{LEFT} == (I - W(s, T))*W(beta, s)", BOUND)
TWIN = statement("W(beta, s)*(I - W(s, T))", f"{LEFT} == W(beta, s)*(I - W(s, T))", BOUND)


def route(goal: dict[str, Any]) -> dict[str, Any]:
    """The certificate."""
    p = Proof(goal, **lemmas.SYMBOLS)
    size, shape, bound = goal["conclusions"]
    product = shape.split(" == ")[1]
    low, high = (p.assume(text) for text in WINDOW)
    rooms = [p.linear("0 <= s - beta", {low: "1"}), p.linear("0 <= T - s", {high: "1"})]
    cut = p.instantiate(lemmas.split(p), rooms, s0="beta", i0="s - beta", k0="T - s")
    equal = p.matrix(shape, {cut: ("-I", "I")})
    first = p.substitute(equal, p.linear(f"F({product}) <= F({product})"), size)
    norm = p.axiom("F_product_FN", "I - W(s, T)", "W(beta, s)")
    norm = p.linear(
        f"F({product}) <= F(W(s, T) - I)*N(W(beta, s))",
        {norm: "1", p.axiom("F_negative", "I - W(s, T)"): "-N(W(beta, s))"},
    )
    return p.finish(first, equal, p.substitute(equal, norm, bound))


def example(goal: dict[str, Any]) -> dict[str, Any]:
    """W_s^T = I + D(1) moves the first coordinate into the second, which W(0) halves: 1/2 against 1/4."""
    layers = {0: [[0, 0], [0, "-1/2"]], 1: [[0, 0], ["1/2", 0]]}
    return refutation(goal, {"n": 2, "T": 2, "c": 1, "beta": 0, "s": 1, "D": layers})


CLAIMS = (
    claim(
        "eq_37_printed",
        "(37), (38)",
        Form.PRINTED,
        "||W_b^s - W_b^T||_F <= ||W_b^s (I - W_s^T)||_F",
        Relation.UPPER_BOUND,
        Verdict.REFUTED,
        goal=statement("W(beta, s)*(I - W(s, T))"),
        letters=NAMES,
        route=example,
        twin_goal=REPAIRED,
        twin_statement="the repaired order, which the example must not refute",
        function="dlinear.bounds.window_change",
        test="tests/theory/test_bounds.py",
    ),
    claim(
        "eq_37",
        "(37), (38)",
        Form.REPAIRED,
        "W_b^s - W_b^T = (I - W_s^T) W_b^s, so its Frobenius norm is at most ||W_s^T - I||_F ||W_b^s||_2",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=REPAIRED,
        letters=NAMES,
        witness=TWO_LAYERS | {"c": 1, "beta": 0, "s": 1},
        route=route,
        twin_goal=TWIN,
        twin_statement="the printed order",
        evidence="every window; b = 0 gives (38)",
        function="dlinear.bounds.window_change",
        test="tests/theory/test_bounds.py",
    ),
)
