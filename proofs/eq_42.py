"""Eq. (42): a small relative difference bounds the cosine.

Problem. From |a - b| <= sqrt(1 - c1^2) |b| to <a, b> >= c1 |a||b|, 0 <= c1 <= 1.

Statement. True as stated. The first line of its printed proof lacks parentheses: 1 - c1^2 |b|^2 should be
(1 - c1^2) |b|^2.

Guarantee. Bound for all vectors (matrices with the Frobenius inner product); counterexample for the
printed line.

Method. Square the hypothesis, expand, and use (|a| - c1 |b|)^2 >= 0.

Reference. Eq. (42) of arXiv 2409.19561.
"""

from __future__ import annotations

from typing import Any

from dlinear.certify import Proof, claim, refutation
from dlinear.certify.claims import Form, Relation, Verdict


def statement(conclusion: str) -> dict[str, Any]:
    """A conclusion from the hypothesis of (42)."""
    return {
        "symbols": {"A": "matrix", "B": "matrix", "c1": "nonneg"},
        "hypotheses": ["c1 <= 1", "F(A - B) <= sqrt(1 - c1**2)*F(B)"],
        "conclusions": [conclusion],
    }


PRINTED_LINE = statement("F(A)**2 - 2*ip(A, B) + F(B)**2 <= 1 - c1**2*F(B)**2")
REPAIRED_LINE = statement("F(A)**2 - 2*ip(A, B) + F(B)**2 <= (1 - c1**2)*F(B)**2")


def squared(p: Proof) -> int:
    """|a|^2 - 2<a, b> + |b|^2 <= (1 - c1^2) |b|^2."""
    most, near = p.assume("c1 <= 1"), p.assume("F(A - B) <= sqrt(1 - c1**2)*F(B)")
    room = p.linear("0 <= 1 - c1**2", {most: "1 + c1"})
    root = p.root("1 - c1**2", room)
    return p.linear(
        "F(A)**2 - 2*ip(A, B) + F(B)**2 <= (1 - c1**2)*F(B)**2",
        {
            near: "sqrt(1 - c1**2)*F(B) + F(A - B)",
            root: "F(B)**2",
            p.axiom("F_square", "A - B"): "-1",
            p.axiom("F_square", "A"): "1",
            p.axiom("F_square", "B"): "1",
        },
    )


def route(goal: dict[str, Any]) -> dict[str, Any]:
    """The certificate of the conclusion of (42)."""
    p = Proof(goal)
    [formula] = goal["conclusions"]
    return p.finish(p.linear(formula, {squared(p): "1/2"}, squares=[("1/2", "F(A) - c1*F(B)")]))


def example(goal: dict[str, Any]) -> dict[str, Any]:
    """a = b = 2, c1 = 1."""
    return refutation(goal, {"A": [[2]], "B": [[2]], "c1": 1})


CLAIMS = (
    claim(
        "eq_42",
        "(42)",
        Form.PRINTED,
        "|a - b| <= sqrt(1 - c1^2) |b| implies <a, b> >= c1 |a||b|",
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=statement("c1*F(A)*F(B) <= ip(A, B)"),
        witness={"A": [["5/4"]], "B": [[1]], "c1": "1/2"},
        route=route,
        twin_goal=statement("sqrt(c1)*F(A)*F(B) <= ip(A, B)"),
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
        route=example,
        twin_goal=REPAIRED_LINE,
        twin_statement="with the parentheses, which the example must not refute",
        test="tests/certify/test_proofs.py",
    ),
)
