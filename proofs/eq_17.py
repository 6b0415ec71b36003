"""Eq. (17), objective 1: the horizon of least cost among those with r(h) >= 1 - epsilon.

**As printed** (max) the cost is maximised. With the model of section 3.3, r(h) = 1 - c (1 - h/T)^3 and a
cost C = a h: for T = 2 and epsilon = 1/4 both horizons are feasible and the printed problem chooses h = 2,
which costs twice as much. The text beside it ("using minimum cost", "the smallest horizon that can meet the
constraint") and line 17 of Algorithm 1 (argmin) show that min is meant.

**Repaired** (min). A solution is feasible and costs no more than any feasible horizon; under a strictly
increasing cost (here C = a h) it is the smallest feasible one, which a cost with ties does not ensure; and
the feasible horizons are all those above a threshold, because r does not decrease."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlinear.certify import Proof, claim, refutation
from dlinear.certify.claims import Form, Relation, Verdict


def r(h: str) -> str:
    """The rate of section 3.3 at a horizon, as text."""
    return f"(1 - c*(1 - ({h})/T)**3)"


def chosen(solves: str) -> dict[str, Any]:
    """h solves (17) over the feasible horizons h and k; the conclusion is that it is the cheaper of them."""
    return {
        "symbols": {
            **dict.fromkeys(["c", "a", "epsilon"], "positive"), **dict.fromkeys(["T", "h", "k"], "posint"),
        },
        "hypotheses": ["h <= T", "k <= T", f"1 - epsilon <= {r('h')}", f"1 - epsilon <= {r('k')}", solves],
        "conclusions": ["a*h <= a*k"],
    }  # fmt: skip


def two_horizons(goal: Mapping[str, Any]) -> dict[str, Any]:
    """T = 2, epsilon = 1/4: both feasible, the dearer is chosen."""
    return refutation(goal, {"c": 1, "a": 1, "epsilon": "1/4", "T": 2, "h": 2, "k": 1})


def repaired(solves: str) -> dict[str, Any]:
    """h solves min over h and any feasible k; k + d is any horizon above k, y + k + d = T."""
    return {
        "symbols": {
            **dict.fromkeys(["c", "a", "epsilon"], "positive"),
            **dict.fromkeys(["T", "h", "k"], "posint"),
            **dict.fromkeys(["d", "y"], "natural"),
        },
        "hypotheses": [
            solves,
            "T == k + d + y",
            f"1 - epsilon <= {r('k')}",
            "h <= T",
            f"1 - epsilon <= {r('h')}",
        ],
        "conclusions": ["h <= k", f"{r('k')} <= {r('k + d')}", f"1 - epsilon <= {r('k + d')}"],
    }


def prove_repaired(goal: Mapping[str, Any]) -> dict[str, Any]:
    """Division by a > 0; (d + y)^3 >= y^3."""
    p = Proof(goal)
    solves, depth, feasible = (p.assume(text) for text in goal["hypotheses"][:3])
    smallest, monotone, upward = goal["conclusions"]
    # T r(k) with T - k = d + y and T - k - d = y
    sides = [p.linear(text, {depth: "1"}) for text in ("T - k == d + y", "T - k - d == y")]
    grow = p.linear("y**3 <= (d + y)**3")
    wide = p.substitute(sides[0], grow, "y**3 <= (T - k)**3", reverse=True)
    cubes = p.substitute(sides[1], wide, "(T - k - d)**3 <= (T - k)**3", reverse=True)
    rising = p.linear(monotone, {cubes: "c/T**3"})
    return p.finish(
        p.linear(smallest, {solves: "1/a"}), rising, p.linear(upward, {rising: "1", feasible: "1"})
    )


CLAIMS = (
    claim(
        id="eq_17_printed",
        reference="Eq. (17)",
        form=Form.PRINTED,
        statement="the h that maximises C(M(h)) with r(h) >= 1 - epsilon meets the constraint at least cost",
        relation=Relation.UPPER_BOUND,
        expected=Verdict.REFUTED,
        goal=chosen("a*k <= a*h"),
        route=two_horizons,
        twin_goal={**chosen("a*k <= a*h"), "conclusions": ["a*k <= a*h"]},
        twin_statement="at the greatest cost, which the same example satisfies",
        function="dlinear.costs.memory_model",
        test="tests/theory/test_costs.py::test_least_cost_is_the_smallest_feasible_horizon",
    ),
    claim(
        id="eq_17_repaired",
        reference="Eq. (17)",
        form=Form.REPAIRED,
        statement="a feasible h (r(h) >= 1 - epsilon) of least cost C(M(h)) = a h is the smallest feasible "
        "horizon; every horizon above a feasible one is feasible",
        relation=Relation.UPPER_BOUND,
        expected=Verdict.PROVED,
        goal=repaired("a*h <= a*k"),
        witness={"c": 1, "a": 1, "epsilon": "1/2", "T": 4, "h": 2, "k": 2, "d": 1, "y": 1},
        route=prove_repaired,
        twin_goal=repaired("a*k <= a*h"),
        twin_statement="max in place of min",
        evidence="a strictly increasing cost; with ties (the ladder cost) a larger h may be chosen",
        assumes="r(h) = 1 - c (1 - h/T)^3, the model of section 3.3",
        function="dlinear.costs.decay_model",
        test="tests/theory/test_costs.py::test_least_cost_is_the_smallest_feasible_horizon",
    ),
)
