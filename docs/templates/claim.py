"""Sliding windows never do less work than back-propagation.

Problem. A horizon h saves memory. What does it cost in products of blocks?

Statement. For 1 <= h <= T the h (T - h + 1) products of all windows are at least the T of back-propagation.

Guarantee. Bound for every T >= 1, with equality at h = 1 and h = T.

Method. h (T - h + 1) - T = (h - 1)(T - h), a product of two numbers that are not negative.

Reference. Section E.1 of arXiv 2409.19561.
"""

from __future__ import annotations

from typing import Any

from dlinear.certify import Proof, claim
from dlinear.certify.claims import Form, Relation, Verdict


def statement(least: str) -> dict[str, Any]:
    """The formal goal, as `dlinear.certify` describes it; `least` is what the work is compared with."""
    return {
        "symbols": {"T": "posint", "h": "posint"},  # posint: an integer >= 1
        "hypotheses": ["h <= T"],
        "conclusions": [f"{least} <= h*(T - h + 1)"],
    }


def route(goal: dict[str, Any]) -> dict[str, Any]:
    """The certificate. Each line adds a step; one that the checker would refuse raises at once."""
    p = Proof(goal)
    inside = p.assume("h <= T")
    both = p.product(p.sort("h"), inside)  # 0 <= (h - 1)*(T - h), from 1 <= h and h <= T
    return p.finish(p.linear(goal["conclusions"][0], {both: "1"}))  # right - left is 1 times that product


CLAIMS = (
    claim(
        "window_work",  # lower case, unique in the ledger
        "Section E.1",
        Form.NEW,  # PRINTED as in the paper, REPAIRED, or NEW
        "windows of horizon h need at least the T products of back-propagation",
        Relation.UPPER_BOUND,
        Verdict.PROVED,  # what the ledger expects; the checker decides
        goal=statement("T"),
        witness={"T": 3, "h": 2},  # values that satisfy the hypotheses: they do not contradict each other
        letters={"T": "depth", "h": "horizon"},  # what each name of the goal stands for
        route=route,
        twin_goal=statement("T + 1"),  # slightly wrong: the same route must fail
        twin_statement="one product more, which fails at h = 1 and h = T",
        evidence="every 1 <= h <= T",
        function="dlinear.costs.block_vjps",  # computes the quantity in the library
        test="tests/theory/test_costs.py",  # tests that function beside the proof
    ),
)
