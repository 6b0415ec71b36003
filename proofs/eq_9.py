"""Eq. (9): which blocks a horizon uses.

Problem. The text under (9) lets the window of block t be u(t), ..., u(min(t + h - 1, T)).

Statement. As printed the last index can be T, but blocks are numbered 0..T-1. With min(t + h - 1, T - 1)
the last block exists, it is the block before state s = min(t + h, T), and it is not before t.

Guarantee. Identity and bounds for all 0 <= t < T, h >= 1; counterexample for the printed index.

Method. Exact steps; exact values.

Reference. Text under eq. (9) of arXiv 2409.19561.
"""

from __future__ import annotations

from typing import Any

from dlinear.certify import Proof, claim, refutation
from dlinear.certify.claims import Form, Relation, Verdict
from dlinear.certify.prover.statements import LETTERS

SYMBOLS = {"t": "natural", "h": "posint", "T": "posint"}


def statement(last: str, *more: str) -> dict[str, Any]:
    """The last block of the window exists."""
    return {"symbols": SYMBOLS, "hypotheses": ["t <= T - 1"], "conclusions": [f"{last} <= T - 1", *more]}


PRINTED = statement("min(t+h-1, T)")
REPAIRED = statement("min(t+h-1, T-1)", "t <= min(t+h-1, T-1)", "min(t+h-1, T-1) == min(t+h, T) - 1")
TWIN = statement("min(t+h-1, T-1)", "t <= min(t+h-1, T-1)", "min(t+h-1, T-1) == min(t+h, T)")


def route(goal: dict[str, Any]) -> dict[str, Any]:
    """The certificate: each conclusion by the cases t + h <= T and T <= t + h."""
    p = Proof(goal)
    inside, first, last = p.assume("t <= T - 1"), "min(t+h-1, T-1)", "min(t+h, T)"
    short, long = p.assume("t + h <= T"), p.assume("T <= t + h")
    ends = (
        (
            p.order(p.linear("t+h-1 <= T-1", {short: "1"}), f"{first} == t+h-1"),
            p.order(short, f"{last} == t+h"),
        ),
        (p.order(p.linear("T-1 <= t+h-1", {long: "1"}), f"{first} == T-1"), p.order(long, f"{last} == T")),
    )
    below, after, index = goal["conclusions"]
    exists = p.linear(below, {p.axiom("min_right", "t+h-1", "T-1"): "1"})
    starts = [
        p.linear(after, {ends[0][0]: "-1", p.sort("h"): "1"}),
        p.linear(after, {ends[1][0]: "-1", inside: "1"}),
    ]
    equal = [p.linear(index, {one: "1", two: "-1"}) for one, two in ends]
    return p.finish(exists, p.cases("t + h <= T", *starts), p.cases("t + h <= T", *equal))


def example(goal: dict[str, Any]) -> dict[str, Any]:
    """Three blocks, the last one with horizon 2."""
    return refutation(goal, {"t": 2, "h": 2, "T": 3})


CLAIMS = (
    claim(
        "eq_9_printed",
        "(9), text",
        Form.PRINTED,
        "the window of block t is u(t), ..., u(min(t+h-1, T)), all of them blocks 0..T-1",
        Relation.IDENTITY,
        Verdict.REFUTED,
        goal=PRINTED,
        letters=LETTERS,
        route=example,
        twin_goal=REPAIRED,
        twin_statement="the repaired index, which the example must not refute",
        test="tests/certify/test_proofs.py",
    ),
    claim(
        "eq_9",
        "(9), text",
        Form.REPAIRED,
        "the window of block t is u(t), ..., u(min(t+h-1, T-1)); its last block is s - 1, s = min(t+h, T)",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=REPAIRED,
        letters=LETTERS,
        witness={"t": 1, "h": 2, "T": 3},
        route=route,
        twin_goal=TWIN,
        twin_statement="last block s instead of s - 1",
        evidence="every 0 <= t < T, h >= 1",
        function="dlinear.horizon_gradients",
        test="tests/certify/test_proofs.py",
    ),
)
