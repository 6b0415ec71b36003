"""Eq. (13): the best rescaling of g_h misses g_T by sin(theta_h) |g_T|.

Problem. Why is the angle the right measure of a truncated gradient?

Statement. For non-zero X, Y (g_h and g_T, stacked over the layers) with cosine kappa = <X, Y>/(|X||Y|):
|sX - Y|^2 >= (1 - kappa^2)|Y|^2 for every real s, with equality at s = kappa |Y|/|X|.

Guarantee. Tight, for stacks of any number of n x n matrices (n = 1: vectors of any length).

Method. |sX - Y|^2 = s^2 |X|^2 - 2 s <X, Y> + |Y|^2 by induction over the layers; then
|sX - Y|^2 - (1 - kappa^2)|Y|^2 = (s|X| - kappa|Y|)^2.

Reference. Eq. (13) of arXiv 2409.19561.
"""

from __future__ import annotations

from typing import Any

from dlinear.certify import Proof, claim
from dlinear.certify.claims import Form, Relation, Verdict

LETTERS = {
    "T": "number of layers",
    "X": "g_h(t), or any stack of matrices",
    "Y": "g_T(t), or any stack of matrices",
    "XX": "XX(T) = |g_h|^2",
    "XY": "XY(T) = <g_h, g_T>",
    "YY": "YY(T) = |g_T|^2",
    "x": "|g_h|",
    "y": "|g_T|",
    "kappa": "cos(theta_h) = <g_h, g_T>/(|g_h| |g_T|)",
    "s": "factor of g_h",
    "best": "cos(theta_h) |g_T|/|g_h|",
    "Miss": "Miss(T) = |s g_h - g_T|^2",
    "Least": "Least(T) = |best g_h - g_T|^2",
}


def missed(factor: str) -> str:
    """|factor*X(t) - Y(t)|^2, a term."""
    return f"ip({factor}*X(t) - Y(t), {factor}*X(t) - Y(t))"


def statement(share: str) -> dict[str, Any]:
    """The least distance and where it is attained."""
    terms = {"XX": "ip(X(t), X(t))", "XY": "ip(X(t), Y(t))", "YY": "ip(Y(t), Y(t))"}
    terms |= {"Miss": missed("s"), "Least": missed("best")}
    return {
        "symbols": {
            "T": "natural", **dict.fromkeys(("x", "y"), "positive"),
            **dict.fromkeys(("kappa", "s", "best"), "real"),
        },
        "families": {"X": None, "Y": None},
        "sums": {name: {"index": "t", "term": term} for name, term in terms.items()},
        "hypotheses": ["x**2 == XX(T)", "y**2 == YY(T)", "kappa*x*y == XY(T)", "best == kappa*y/x"],
        "conclusions": [f"{share}*y**2 <= Miss(T)", f"Least(T) == {share}*y**2"],
    }  # fmt: skip


def expanded(p: Proof, total: str, factor: str) -> int:
    """total(T) == factor**2*XX(T) - 2*factor*XY(T) + YY(T), by induction over the layers."""
    formula = f"{total}(k) == {factor}**2*XX(k) - 2*{factor}*XY(k) + YY(k)"
    weights = {"XX": f"-{factor}**2", "XY": f"2*{factor}", "YY": "-1", total: "1"}
    base = p.linear(formula.replace("k", "0"), {p.sum_empty(name): w for name, w in weights.items()})
    steps = {p.sum_step(name, "k"): w for name, w in weights.items()}
    onward = p.linear(formula.replace("k", "(k + 1)"), {p.assume(formula): "1", **steps})
    return p.instantiate(p.induction("k", formula, base, onward), k="T")


def route(goal: dict[str, Any]) -> dict[str, Any]:
    """The certificate."""
    p = Proof(goal, k="natural")
    x, y, cosine, best = (p.assume(text) for text in goal["hypotheses"])
    below, tight = goal["conclusions"]
    miss, least = expanded(p, "Miss", "s"), expanded(p, "Least", "best")
    bound = p.linear(
        below,
        {miss: "-1", x: "s**2", y: "1", cosine: "-2*s"},
        squares=[("1", "s*x - kappa*y")],
    )
    attained = p.linear(
        tight,
        {least: "1", x: "-best**2", y: "-1", cosine: "2*best", best: "(best - kappa*y/x)*x**2"},
    )
    return p.finish(bound, attained)


CLAIMS = (
    claim(
        "eq_13",
        "(13)",
        Form.PRINTED,
        "min_s |s g_h - g_T| = sin(theta_h) |g_T|, attained at s = cos(theta_h) |g_T|/|g_h| (g_h, g_T != 0)",
        Relation.TIGHT,
        Verdict.PROVED,
        goal=statement("(1 - kappa**2)"),
        letters=LETTERS,
        witness={"T": 2, "X": {0: [[3]], 1: [[4]]}, "Y": {0: [[1]]}}
        | {"x": 5, "y": 1, "kappa": "3/5", "s": 0, "best": "3/25"},
        route=route,
        twin_goal=statement("(1 - kappa)"),
        twin_statement="1 - cos in place of 1 - cos^2",
        evidence="every pair of non-zero gradients",
        function="dlinear.alignment",
        test="tests/certify/test_proofs.py",
    ),
)
