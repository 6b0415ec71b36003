"""Eq. (13): the best rescaling of g_h misses g_T by sin(theta_h) |g_T|.

Problem. Why is the angle the right measure of a truncated gradient?

Statement. For non-zero X, Y (g_h and g_T, stacked) with cosine kappa = <X, Y>/(|X||Y|):
|sX - Y|^2 >= (1 - kappa^2)|Y|^2 for every real s, with equality at s = kappa |Y|/|X|.

Guarantee. Tight. (Vectors of any length are matrices with the Frobenius inner product.)

Method. |sX - Y|^2 - (1 - kappa^2)|Y|^2 = (s|X| - kappa|Y|)^2.

Reference. Eq. (13) of arXiv 2409.19561.
"""

from __future__ import annotations

from typing import Any

from dlinear.certify import Proof, claim
from dlinear.certify.claims import Form, Relation, Verdict


def statement(share: str) -> dict[str, Any]:
    """The least distance and where it is attained."""
    return {
        "symbols": {
            "X": "matrix",
            "Y": "matrix",
            "x": "positive",
            "y": "positive",
            "kappa": "real",
            "s": "real",
        },
        "hypotheses": ["x == F(X)", "y == F(Y)", "kappa == ip(X, Y)/(x*y)"],
        "conclusions": [f"{share}*y**2 <= F(s*X - Y)**2", f"F(kappa*y/x*X - Y)**2 == {share}*y**2"],
    }


def route(goal: dict[str, Any]) -> dict[str, Any]:
    """The certificate."""
    p = Proof(goal)
    x, y, cosine = (p.assume(text) for text in goal["hypotheses"])
    below, tight = goal["conclusions"]
    distance = p.linear(
        "F(s*X - Y)**2 == s**2*x**2 - 2*s*kappa*x*y + y**2",
        {
            p.axiom("F_square", "s*X - Y"): "1",
            p.axiom("F_square", "X"): "-s**2",
            p.axiom("F_square", "Y"): "-1",
            x: "-s**2*(x + F(X))",
            y: "-(y + F(Y))",
            cosine: "2*s*x*y",
        },
    )
    bound = p.linear(below, {distance: "-1"}, squares=[("1", "s*x - kappa*y")])
    attained = p.linear(tight, {p.instantiate(distance, s="kappa*y/x"): "1"})
    return p.finish(bound, attained)


CLAIMS = (
    claim(
        "eq_13",
        "(13)",
        Form.PRINTED,
        "min_s |s g_h - g_T| = sin(theta_h) |g_T|, attained at s = cos(theta_h) |g_T|/|g_h|",
        Relation.TIGHT,
        Verdict.PROVED,
        goal=statement("(1 - kappa**2)"),
        witness={"X": [[3, 0], [4, 0]], "Y": [[1, 0], [0, 0]], "x": 5, "y": 1, "kappa": "3/5", "s": 0},
        route=route,
        twin_goal=statement("(1 - kappa)"),
        twin_statement="1 - cos in place of 1 - cos^2",
        evidence="every pair of non-zero gradients",
        function="dlinear.alignment",
        test="tests/certify/test_proofs.py",
    ),
)
