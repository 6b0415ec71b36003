"""Eq. (42): a small relative difference bounds the cosine.

Problem. From |a - b| <= sqrt(1 - c1^2) |b| to <a, b> >= c1 |a||b|, 0 <= c1 <= 1.

Statement. True as stated. The first line of its printed proof lacks parentheses: 1 - c1^2 |b|^2 should be
(1 - c1^2) |b|^2.

Guarantee. Bound for all vectors (stacks of matrices a(t), b(t), t < T; n = 1: any two vectors);
counterexample for the printed line.

Method. |a - b|^2 = |a|^2 - 2<a, b> + |b|^2 by induction, squared hypothesis, (|a| - c1 |b|)^2 >= 0.

Reference. Eq. (42) of arXiv 2409.19561.
"""

from __future__ import annotations

from typing import Any

from dlinear.certify import Proof, claim, refutation
from dlinear.certify.claims import Form, Relation, Verdict

LETTERS = {
    "T": "length of the stacks",
    "A": "entries a(t) of the first vector, numbers or matrices",
    "B": "entries b(t) of the second",
    "AA": "AA(T) = |a|^2",
    "AB": "AB(T) = <a, b>",
    "BB": "BB(T) = |b|^2",
    "Gap": "Gap(T) = |a - b|^2",
    "p": "|a|",
    "q": "|b|",
    "d": "|a - b|",
    "c1": "a number in [0, 1]",
}
NEAR = "d <= sqrt(1 - c1**2)*q"
EXPANDED = "Gap(k) == AA(k) - 2*AB(k) + BB(k)"


def statement(conclusion: str) -> dict[str, Any]:
    """A conclusion from the hypothesis of (42)."""
    gap = "ip(A(t) - B(t), A(t) - B(t))"
    terms = {"AA": "ip(A(t), A(t))", "AB": "ip(A(t), B(t))", "BB": "ip(B(t), B(t))", "Gap": gap}
    return {
        "symbols": {"T": "natural", **dict.fromkeys(("c1", "p", "q", "d"), "nonneg")},
        "families": {"A": None, "B": None},
        "sums": {name: {"index": "t", "term": term} for name, term in terms.items()},
        "hypotheses": ["p**2 == AA(T)", "q**2 == BB(T)", "d**2 == Gap(T)", "c1 <= 1", NEAR],
        "conclusions": [conclusion],
    }


PRINTED_LINE = statement("p**2 - 2*AB(T) + q**2 <= 1 - c1**2*q**2")
REPAIRED_LINE = statement("p**2 - 2*AB(T) + q**2 <= (1 - c1**2)*q**2")


def route(goal: dict[str, Any]) -> dict[str, Any]:
    """The certificate of the conclusion of (42)."""
    proof = Proof(goal, k="natural")
    first, second, apart, most, near = (proof.assume(text) for text in goal["hypotheses"])
    weights = {"Gap": "1", "AA": "-1", "AB": "2", "BB": "-1"}
    base = proof.linear(EXPANDED.replace("k", "0"), {proof.sum_empty(x): w for x, w in weights.items()})
    steps = {proof.sum_step(x, "k"): w for x, w in weights.items()}
    onward = proof.linear(EXPANDED.replace("k", "(k + 1)"), {proof.assume(EXPANDED): "1", **steps})
    gap = proof.instantiate(proof.induction("k", EXPANDED, base, onward), k="T")
    # |a|^2 - 2<a, b> + |b|^2 = d^2 <= (1 - c1^2) |b|^2
    room = proof.linear("0 <= 1 - c1**2", {most: "1 + c1"})
    squared = proof.linear(
        "p**2 - 2*AB(T) + q**2 <= (1 - c1**2)*q**2",
        {
            near: "sqrt(1 - c1**2)*q + d", proof.root("1 - c1**2", room): "q**2",
            gap: "-1", apart: "-1", first: "1", second: "1",
        },
    )  # fmt: skip
    [formula] = goal["conclusions"]
    return proof.finish(proof.linear(formula, {squared: "1/2"}, squares=[("1/2", "p - c1*q")]))


def example(goal: dict[str, Any]) -> dict[str, Any]:
    """a = b = 2, c1 = 1."""
    values = {"T": 1, "A": {0: [[2]]}, "B": {0: [[2]]}, "c1": 1, "p": 2, "q": 2, "d": 0}
    return refutation(goal, values)


CLAIMS = (
    claim(
        "eq_42",
        "(42)",
        Form.PRINTED,
        "|a - b| <= sqrt(1 - c1^2) |b|, 0 <= c1 <= 1, implies <a, b> >= c1 |a||b|",
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=statement("c1*p*q <= AB(T)"),
        letters=LETTERS,
        witness={"T": 1, "A": {0: [["5/4"]]}, "B": {0: [[1]]}, "c1": "1/2", "p": "5/4", "q": 1, "d": "1/4"},
        route=route,
        twin_goal=statement("sqrt(c1)*p*q <= AB(T)"),
        twin_statement="sqrt(c1) in place of c1",
        evidence="every a, b and 0 <= c1 <= 1",
        function="dlinear.bounds.cosine_lower",
        test="tests/theory/test_bounds.py",
    ),
    claim(
        "eq_42_line",
        "(42), first line of the proof",
        Form.PRINTED,
        "|a|^2 - 2<a, b> + |b|^2 <= 1 - c1^2 |b|^2",
        Relation.UPPER_BOUND,
        Verdict.REFUTED,
        goal=PRINTED_LINE,
        letters=LETTERS,
        route=example,
        twin_goal=REPAIRED_LINE,
        twin_statement="with the parentheses, which the example must not refute",
        test="tests/certify/test_proofs.py",
    ),
)
