"""Eq. (18), objective 2: the weighted sum -r(h) + lambda C(M(h)).

**As printed** (max) the sum of losses is maximised. Under the paper's own ladder cost C(M) = ceil(M/M0) two
horizons can cost the same; then the printed problem picks the one that learns slower. T = 2, M(h) = h, M0 =
2: both cost one node, r(1) = 7/8, r(2) = 1, and h = 1 is chosen for every lambda.

**Repaired** (min). A solution is not dominated: a horizon that costs no more is not more accurate, and one
that is no less accurate does not cost less, for any r, any cost and any lambda > 0."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlinear.certify import Proof, claim, refutation
from dlinear.certify.claims import Form, Relation, Verdict


def objective(h: str) -> str:
    """-r + lambda C at a horizon, with the ladder cost of section 4, as text."""
    return f"(-(1 - c*(1 - ({h})/T)**3) + lam*(-floor(-({h})/M0)))"


def chosen(solves: str) -> dict[str, Any]:
    """h solves (18) over h and k, which cost the same; the conclusion is that it is the more accurate."""
    return {
        "symbols": {
            **dict.fromkeys(["c", "lam"], "positive"), **dict.fromkeys(["T", "h", "k", "M0"], "posint"),
        },
        "hypotheses": ["h <= T", "k <= T", "floor(-h/M0) == floor(-k/M0)", solves],
        "conclusions": ["1 - c*(1 - k/T)**3 <= 1 - c*(1 - h/T)**3"],
    }  # fmt: skip


def one_node(goal: Mapping[str, Any]) -> dict[str, Any]:
    """T = 2, nodes of two blocks: h = 1 is chosen, h = 2 learns faster at the same cost."""
    return refutation(goal, {"c": 1, "lam": 1, "T": 2, "h": 1, "k": 2, "M0": 2})


def repaired(solves: str) -> dict[str, Any]:
    """The solution has rate r and cost C; another horizon costs d less, or is more accurate by e."""
    return {
        "symbols": {
            **dict.fromkeys(["r", "C", "r1", "C1", "r2", "C2"], "real"),
            **{"lam": "positive", "d": "nonneg", "e": "nonneg"},
        },
        "hypotheses": [solves.format("1"), solves.format("2"), "C1 == C - d", "r2 == r + e"],
        "conclusions": ["r1 <= r - lam*d", "C + e/lam <= C2"],
    }  # fmt: skip


def prove_repaired(goal: Mapping[str, Any]) -> dict[str, Any]:
    """Rearranged; the second divided by lambda."""
    p = Proof(goal)
    one, two, cheaper, better = (p.assume(text) for text in goal["hypotheses"])
    return p.finish(
        p.linear(goal["conclusions"][0], {one: "1", cheaper: "lam"}),
        p.linear(goal["conclusions"][1], {two: "1/lam", better: "-1/lam"}),
    )


LETTERS = {
    "c": "constant of r(h) = 1 - c (1 - h/T)^3",
    "lam": "lambda",
    "T": "depth",
    "h": "the horizon that the problem chooses",
    "k": "another horizon",
    "M0": "memory of one node, C(M) = ceil(M/M0), M(h) = h",
    "r": "rate of the solution",
    "C": "cost of the solution",
    "r1": "rate of a horizon that costs d less",
    "C1": "its cost",
    "r2": "rate of a horizon that is more accurate by e",
    "C2": "its cost",
    "d": "what the first saves, not negative",
    "e": "what the second gains, not negative",
}

CLAIMS = (
    claim(
        id="eq_18_printed",
        reference="Eq. (18)",
        form=Form.PRINTED,
        statement="the h that maximises -r(h) + lambda C(M(h)) is the more accurate of two of equal cost",
        relation=Relation.UPPER_BOUND,
        expected=Verdict.REFUTED,
        goal=chosen(f"{objective('k')} <= {objective('h')}"),
        letters=LETTERS,
        route=one_node,
        twin_goal={
            **chosen(f"{objective('k')} <= {objective('h')}"),
            "conclusions": ["1 - c*(1 - h/T)**3 <= 1 - c*(1 - k/T)**3"],
        },
        twin_statement="the less accurate, which the same example satisfies",
        function="dlinear.costs.horizon_objective",
        test="tests/theory/test_costs.py::test_minimiser_of_the_weighted_objective_is_not_dominated",
    ),
    claim(
        id="eq_18_repaired",
        reference="Eq. (18)",
        form=Form.REPAIRED,
        statement="a minimiser of -r(h) + lambda C(M(h)), lambda > 0, is not dominated: a horizon that costs "
        "d less is less accurate by lambda d, one that is more accurate by e costs e/lambda more",
        relation=Relation.UPPER_BOUND,
        expected=Verdict.PROVED,
        goal=repaired("-r + lam*C <= -r{0} + lam*C{0}"),
        letters=LETTERS,
        witness={
            "r": 1,
            "C": 1,
            "r1": "1/4",
            "C1": "1/2",
            "r2": "3/2",
            "C2": 2,
            "lam": 1,
            "d": "1/2",
            "e": "1/2",
        },
        route=prove_repaired,
        twin_goal=repaired("-r{0} + lam*C{0} <= -r + lam*C"),
        twin_statement="max in place of min",
        evidence="d cheaper costs at least lambda d of accuracy; e more accurate costs at least e/lambda",
        function="dlinear.costs.horizon_objective",
        test="tests/theory/test_costs.py::test_minimiser_of_the_weighted_objective_is_not_dominated",
    ),
)
