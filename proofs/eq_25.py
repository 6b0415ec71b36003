"""Appendix C.1, eqs. (22)-(25): terminal loss and trajectory loss are equivalent.

Problem. MPC minimises a sum of trajectory losses; a network has one terminal loss.

Statement. (24): if x_0(0) = 0 and x_0(t+1) = x_0(t) + l(t), then x_0(T) = sum_{t<T} l(t). (25): with the
split loss (8), l(t) = L(x(t+1)) - L(x(t)), the sum over t < T is L(x(T)) - L(x(0)), for an arbitrary real
sequence L(x(t)).

Guarantee. Identity for every T >= 0.

Method. Induction on T. Equation (22) is entered as l(t) = x_0(t+1) - x_0(t).

Reference. Eqs. (8), (22)-(25) of arXiv 2409.19561.
"""

from __future__ import annotations

from typing import Any

from dlinear.certify import Proof, claim
from dlinear.certify.claims import Form, Relation, Verdict


def statement(terminal: str) -> dict[str, Any]:
    """The two equivalences; `terminal` is what the split losses sum to."""
    return {
        "symbols": {"T": "natural"},
        "sequences": ["x0", "L"],
        "definitions": {
            "l": {"index": "t", "cases": [{"then": "x0(t+1) - x0(t)"}]},
            "split": {"index": "t", "cases": [{"then": "L(t+1) - L(t)"}]},
        },
        "sums": {"Jtra": {"index": "t", "term": "l(t)"}, "Jsplit": {"index": "t", "term": "split(t)"}},
        "hypotheses": ["x0(0) == 0"],
        "conclusions": ["x0(T) == Jtra(T)", f"Jsplit(T) == {terminal}"],
    }


def route(goal: dict[str, Any]) -> dict[str, Any]:
    """The certificate."""
    p = Proof(goal)
    first, second = goal["conclusions"]
    facts = []
    for formula, total, term, sign in ((first, "Jtra", "l", "-1"), (second, "Jsplit", "split", "1")):
        base = {p.sum_empty(total): sign} | ({p.assume("x0(0) == 0"): "1"} if term == "l" else {})
        steps = {p.assume(formula): "1", p.sum_step(total, "T"): sign, p.definition(term, "T"): sign}
        start = p.linear(formula.replace("(T)", "(0)"), base)
        onward = p.linear(formula.replace("(T)", "(T+1)"), steps)
        facts.append(p.induction("T", formula, start, onward))
    return p.finish(*facts)


CLAIMS = (
    claim(
        "eq_25",
        "C.1, eqs. (22)-(25)",
        Form.PRINTED,
        "sum of the split losses = terminal loss - L(x(0)); accumulated trajectory loss = terminal loss",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=statement("L(T) - L(0)"),
        letters={
            "T": "depth",
            "x0": "the accumulated loss x_0(t), x_0(0) = 0",
            "L": "L(t) = L(x(t)), any real sequence",
            "l": "l(t) = x_0(t+1) - x_0(t), eq. (22)",
            "split": "split(t) = L(x(t+1)) - L(x(t)), eq. (8)",
            "Jtra": "Jtra(T) = sum of l(t)",
            "Jsplit": "Jsplit(T) = sum of the split losses",
        },
        witness={"T": 3, "x0": {1: 5}, "L": {0: 1, 1: 2}},
        route=route,
        twin_goal=statement("L(T)"),
        twin_statement="without the constant L(x(0))",
        evidence="every T and every real sequence",
        test="tests/certify/test_proofs.py",
    ),
)
