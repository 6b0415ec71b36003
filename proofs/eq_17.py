"""Eq. (17), objective 1: the horizon of least cost among those with r(h) >= 1 - epsilon.

**As printed** (max) the cost is maximised. With the model of section 3.3, r(h) = 1 - c (1 - h/T)^3 and a
cost C = a h: for T = 2 and epsilon = 1/4 both horizons are feasible and the printed problem chooses h = 2,
which costs twice as much. The text beside it ("using minimum cost", "the smallest horizon that can meet the
constraint") and line 17 of Algorithm 1 (argmin) show that min is meant.

**Repaired** (min). A solution is feasible and costs no more than any feasible horizon; under a strictly
increasing cost it is the smallest feasible one, which a cost with ties does not ensure; and where r does not
decrease the feasible horizons are all those above a threshold. Strictly increasing enters by the slope
between two horizons, which is positive. The model of section 3.3 is of this kind."""

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


LETTERS = {
    "c": "constant of r(h) = 1 - c (1 - h/T)^3",
    "a": "cost of one block, C(M(h)) = a h",
    "epsilon": "1 - epsilon is the least rate",
    "T": "depth",
    "h": "the horizon that the problem chooses",
    "k": "another feasible horizon",
    "d": "k + d is a larger horizon",
    "y": "T - k - d",
    "Ch": "cost of h",
    "Ck": "cost of k",
    "slope": "(C(h) - C(k))/(h - k), positive for a strictly increasing cost",
    "rk": "r(k)",
    "rd": "r(k + d)",
    "gain": "(r(k + d) - r(k))/d, not negative where r does not decrease",
}


def repaired(solves: str) -> dict[str, Any]:
    """h costs no more than any feasible k, for a strictly increasing cost and a rate that does not fall."""
    return {
        "symbols": {
            **dict.fromkeys(["h", "k"], "posint"),
            **dict.fromkeys(["epsilon", "Ch", "Ck", "rk", "rd"], "real"),
            **{"d": "natural", "slope": "positive", "gain": "nonneg"},
        },
        "hypotheses": [solves, "1 - epsilon <= rk", "Ch - Ck == slope*(h - k)", "rd - rk == gain*d"],
        "conclusions": ["h <= k", "rk <= rd", "1 - epsilon <= rd"],
    }  # fmt: skip


def prove_repaired(goal: Mapping[str, Any]) -> dict[str, Any]:
    """Division by the slope; the gain is not negative."""
    p = Proof(goal)
    solves, feasible, cost, rate = (p.assume(text) for text in goal["hypotheses"])
    smallest, monotone, upward = goal["conclusions"]
    rising = p.linear(monotone, {rate: "-1"})
    return p.finish(
        p.linear(smallest, {solves: "1/slope", cost: "-1/slope"}),
        rising,
        p.linear(upward, {rising: "1", feasible: "1"}),
    )


def model(power: str) -> dict[str, Any]:
    """The model of section 3.3 at k and at k + d, d >= 1, with T = k + d + y."""
    return {
        "symbols": {
            **dict.fromkeys(["c", "a"], "positive"),
            **dict.fromkeys(["T", "k", "d"], "posint"),
            "y": "natural",
        },
        "hypotheses": ["T == k + d + y"],
        "conclusions": [f"a*k < a*(k + d){power}", f"{r('k')} <= {r('k + d')}"],
    }


def prove_model(goal: Mapping[str, Any]) -> dict[str, Any]:
    """(d + y)^3 >= y^3 with T - k = d + y and T - k - d = y."""
    p = Proof(goal)
    depth = p.assume("T == k + d + y")
    sides = [p.linear(text, {depth: "1"}) for text in ("T - k == d + y", "T - k - d == y")]
    grow = p.linear("y**3 <= (d + y)**3")
    wide = p.substitute(sides[0], grow, "y**3 <= (T - k)**3", reverse=True)
    cubes = p.substitute(sides[1], wide, "(T - k - d)**3 <= (T - k)**3", reverse=True)
    cost, rate = goal["conclusions"]
    return p.finish(p.linear(cost), p.linear(rate, {cubes: "c/T**3"}))


CLAIMS = (
    claim(
        id="eq_17_printed",
        reference="Eq. (17)",
        form=Form.PRINTED,
        statement="the h that maximises C(M(h)) with r(h) >= 1 - epsilon meets the constraint at least cost",
        relation=Relation.UPPER_BOUND,
        expected=Verdict.REFUTED,
        goal=chosen("a*k <= a*h"),
        letters=LETTERS,
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
        statement="where the cost C increases strictly and r does not decrease: a feasible h "
        "(r(h) >= 1 - epsilon) of least cost is the smallest feasible horizon, and every horizon above a "
        "feasible one is feasible",
        relation=Relation.UPPER_BOUND,
        expected=Verdict.PROVED,
        goal=repaired("Ch <= Ck"),
        letters=LETTERS,
        witness={"h": 2, "k": 2, "d": 1, "epsilon": "1/2", "Ch": 2, "Ck": 2, "slope": 1}
        | {"rk": "7/8", "rd": 1, "gain": "1/8"},
        route=prove_repaired,
        twin_goal=repaired("Ck <= Ch"),
        twin_statement="max in place of min",
        evidence="with ties (the ladder cost) a larger h may be chosen",
        function="dlinear.costs.decay_model",
        test="tests/theory/test_costs.py::test_least_cost_is_the_smallest_feasible_horizon",
    ),
    claim(
        id="eq_17_model",
        reference="Eq. (17), model of section 3.3",
        form=Form.NEW,
        statement="C(M(h)) = a h increases strictly, and r(h) = 1 - c (1 - h/T)^3 does not decrease",
        relation=Relation.UPPER_BOUND,
        expected=Verdict.PROVED,
        goal=model(""),
        letters=LETTERS,
        witness={"c": 1, "a": 1, "T": 4, "k": 2, "d": 1, "y": 1},
        route=prove_model,
        twin_goal=model(" - a*d"),
        twin_statement="C(k) < C(k)",
        evidence="the costs and rates of the section are of the kind that eq_17_repaired asks for",
        function="dlinear.costs.decay_model",
        test="tests/theory/test_costs.py::test_least_cost_is_the_smallest_feasible_horizon",
    ),
)
