"""The example of section 3.3: where -r(h) + lambda M(h) is smallest, r(h) = 1 - c (1 - h/T)^3, M(h) = a h +
b.

**As printed**, h* = T (1 - sqrt(a lambda/(3c))), inside [2, T-1] for 3c/(aT^2) < lambda < 3c(T-2)^2/(aT^2).
Both lack a factor T (they hold if memory is counted per fraction h/T). Counterexamples: T = 10, a = c = 1,
lambda = 3/4, where the printed optimum h* = 5 costs 2.875 and h = 1 costs 0.479; and T = 4, lambda = 1/2
inside the printed interval, where the best of the four horizons is 1.

**Repaired.** With w = sqrt(a lambda T/(3c)) and h* = T(1 - w), for h = T(1 - x), x >= 0 (every h <= T)

    f(h) - f(h*) = c (x - w)^2 (x + 2w) >= 0,

so h* is the minimum over h <= T; and 2 <= h* <= T - 1 iff 3c/(aT^3) <= lambda <= 3c(T-2)^2/(aT^3), because
the differences of both sides are positive multiples of each other.

**Integers** (new). The best integer is neither 1 nor T iff c/(aT^3) < lambda < c(3T^2 - 9T + 7)/(aT^3), a
wider interval: f is convex, so f(2) < f(1) and f(T-1) < f(T) decide; the steps below give the exact values
of both differences and the secant inequalities f(h) - f(1) >= (h-1) (f(2) - f(1)), f(h) - f(T) >= (T-h)
(f(T-1) - f(T))."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlinear.certify import Proof, claim, refutation
from dlinear.certify.claims import Form, Relation, Verdict


def f(h: str) -> str:
    """The objective at a horizon, as text."""
    return f"(-(1 - c*(1 - ({h})/T)**3) + lam*(a*({h}) + b))"


LETTERS = {
    "c": "constant of r(h) = 1 - c (1 - h/T)^3",
    "a": "slope of M(h) = a h + b",
    "b": "what M does not owe to h",
    "lam": "lambda",
    "T": "depth",
    "h": "any horizon",
    "best": "h* as printed",
    "f": "f(h) = -r(h) + lambda M(h)",
    "w": "sqrt(a lambda T/(3c)), h* = T (1 - w)",
    "x": "1 - h/T for any horizon h <= T, whole or not",
    "p": "T - 2",
    "y": "T - h for a horizon h >= 2",
    "d": "h - 2",
    "z": "T - 1 - h for a horizon h < T",
}
SYMBOLS = {**dict.fromkeys(["c", "a", "lam"], "positive"), "b": "nonneg", "T": "posint"}


def printed(best: str) -> dict[str, Any]:
    """The claim that a horizon is optimal for weights in the printed interval; `best` is the printed one."""
    return {
        "symbols": {**SYMBOLS, "h": "posint", "best": "real"},
        "hypotheses": [
            "3*c/(a*T**2) < lam",
            "lam < 3*c*(T - 2)**2/(a*T**2)",
            "h <= T",
            "best == T*(1 - sqrt(a*lam/(3*c)))",
        ],
        "conclusions": [f"{f(best)} <= {f('h')}"],
    }


def at_ten(goal: Mapping[str, Any]) -> dict[str, Any]:
    """T = 10, lambda = 3/4: printed optimum 5, better horizon 1."""
    values = {"c": 1, "a": 1, "b": 0, "lam": "3/4", "T": 10, "h": 1, "best": 5}
    return refutation(goal, values)


def four_horizons(conclusion: str) -> dict[str, Any]:
    """A claim about the best of the four horizons for T = 4 and weights in the printed interval."""
    return {
        "symbols": SYMBOLS,
        "definitions": {"f": {"index": "t", "cases": [{"then": f("t")}]}},
        "hypotheses": ["T == 4", "3*c/(a*T**2) < lam", "lam < 3*c*(T - 2)**2/(a*T**2)"],
        "conclusions": [conclusion],
    }


def at_four(goal: Mapping[str, Any]) -> dict[str, Any]:
    """T = 4, lambda = 1/2."""
    return refutation(goal, {"c": 1, "a": 1, "b": 0, "lam": "1/2", "T": 4})


STAR, OTHER = "T*(1 - w)", "T*(1 - x)"


def repaired(scale: str) -> dict[str, Any]:
    """Optimality of h* and the ends of the interval, with w^2 = a lambda scale/(3c)."""
    return {
        "symbols": {**SYMBOLS, "x": "nonneg", "w": "nonneg", "p": "posint"},
        "hypotheses": [f"3*c*w**2 == a*lam*{scale}", "T == p + 2"],
        "conclusions": [
            f"{f(OTHER)} - {f(STAR)} == c*(x - w)**2*(x + 2*w)",
            f"{f(STAR)} <= {f(OTHER)}",
            f"lam - 3*c/(a*T**3) == 3*c/(a*T**2)*(w + 1/T)*(T - 1 - {STAR})",
            f"3*c*p**2/(a*T**3) - lam == 3*c/(a*T**2)*(w + p/T)*({STAR} - 2)",
        ],
    }


def prove_repaired(goal: Mapping[str, Any]) -> dict[str, Any]:
    """Expansion; a square times a non-negative factor."""
    p = Proof(goal)
    root, depth = (p.assume(text) for text in goal["hypotheses"])
    gap, least, low, high = goal["conclusions"]
    exact = p.linear(gap, {root: "x - w"})
    return p.finish(
        exact,
        p.linear(least, {exact: "-1"}, squares=[("c*(x + 2*w)", "x - w")]),
        p.linear(low, {root: "-1/(a*T)"}),
        p.linear(high, {root: "1/(a*T)", depth: "-3*c/(a*T**2)*(w + p/T)"}),
    )


INSIDE = ["3*c <= a*lam*T**3", "a*lam*T**3 <= 3*c*p**2"]
BETWEEN = [f"2 <= {STAR}", f"{STAR} <= T - 1"]


def interior(hypotheses: list[str], conclusions: list[str], scale: str = "T") -> dict[str, Any]:
    """One direction of: h* is in [2, T - 1] iff lambda is in the interval."""
    return {
        "symbols": {**SYMBOLS, "w": "nonneg", "p": "posint"},
        "hypotheses": [f"3*c*w**2 == a*lam*{scale}", "T == p + 2", *hypotheses],
        "conclusions": conclusions,
    }


def prove_inside(goal: Mapping[str, Any]) -> dict[str, Any]:
    """1 <= (w T)^2 <= p^2, and square roots: w T - 1 = ((w T)^2 - 1)/(w T + 1)."""
    p = Proof(goal)
    root, depth, low, high = (p.assume(text) for text in goal["hypotheses"])
    least = p.linear("1 <= (w*T)**2", {low: "1/(3*c)", root: "-T**2/(3*c)"})
    most = p.linear("(w*T)**2 <= p**2", {high: "1/(3*c)", root: "T**2/(3*c)"})
    above, below = p.reciprocal("w*T + 1"), p.reciprocal("p + w*T")
    one = p.linear("1 <= w*T", {least: "1/(w*T + 1)", above: "w*T - 1"})
    two = p.linear("w*T <= p", {most: "1/(p + w*T)", below: "p - w*T"})
    return p.finish(
        p.linear(goal["conclusions"][0], {two: "1", depth: "-1"}),
        p.linear(goal["conclusions"][1], {one: "1"}),
    )


def prove_only_inside(goal: Mapping[str, Any]) -> dict[str, Any]:
    """Squares of 1 <= w T <= p."""
    p = Proof(goal)
    root, depth, low, high = (p.assume(text) for text in goal["hypotheses"])
    one = p.linear("1 <= w*T", {high: "1"})
    two = p.linear("w*T <= p", {low: "1", depth: "1"})
    return p.finish(
        p.linear(goal["conclusions"][0], {one: "3*c*(w*T + 1)", root: "T**2"}),
        p.linear(goal["conclusions"][1], {two: "3*c*(p + w*T)", root: "-T**2"}),
    )


def integers(count: str) -> dict[str, Any]:
    """Differences at both ends and the secant inequalities, for T = y + d + 2 and h = d + 2, T - h = y."""
    return {
        "symbols": {**SYMBOLS, "y": "natural", "d": "natural", "z": "natural"},
        "hypotheses": ["T == y + d + 2"],
        "conclusions": [
            f"{f('1')} - {f('2')} == a*(c*({count})/(a*T**3) - lam)",
            f"{f('T')} - {f('T - 1')} == a*(lam - c/(a*T**3))",
            f"(d + 1)*({f('2')} - {f('1')}) <= {f('T - y')} - {f('1')}",
            f"(z + 1)*({f('T - 1')} - {f('T')}) <= {f('T - z - 1')} - {f('T')}",
        ],
    }


COUNT = "3*T**2 - 9*T + 7"


def inner(*hypotheses: str) -> dict[str, Any]:
    """For lambda strictly inside, 2 is better than 1, and T - 1 better than T."""
    return {
        "symbols": SYMBOLS,
        "hypotheses": list(hypotheses),
        "conclusions": [f"{f('2')} < {f('1')}", f"{f('T - 1')} < {f('T')}"],
    }


def prove_inner(goal: Mapping[str, Any]) -> dict[str, Any]:
    """The differences are c count/T^3 - a lambda and a lambda - c/T^3."""
    p = Proof(goal)
    low, high = (p.assume(text) for text in goal["hypotheses"])
    two, last = goal["conclusions"]
    return p.finish(p.linear(two, {high: "1/T**3"}), p.linear(last, {low: "1/T**3"}))


def outer(hypothesis: str, conclusion: str) -> dict[str, Any]:
    """For lambda outside, one end is as good as every other horizon."""
    return {
        "symbols": {**SYMBOLS, "y": "natural", "d": "natural", "z": "natural"},
        "hypotheses": ["T == y + d + 2", hypothesis],
        "conclusions": [conclusion],
    }


def prove_first(goal: Mapping[str, Any]) -> dict[str, Any]:
    """The secant from 1 with f(2) - f(1) >= 0."""
    p = Proof(goal)
    depth, large = (p.assume(text) for text in goal["hypotheses"])
    secant = secants(p, depth)[0]
    return p.finish(p.linear(goal["conclusions"][0], {secant: "1", large: "(d + 1)/T**3"}))


def prove_last(goal: Mapping[str, Any]) -> dict[str, Any]:
    """The secant from T with f(T - 1) - f(T) >= 0."""
    p = Proof(goal)
    depth, small = (p.assume(text) for text in goal["hypotheses"])
    secant = secants(p, depth)[1]
    return p.finish(p.linear(goal["conclusions"][0], {secant: "1", small: "(z + 1)/T**3"}))


def prove_integers(goal: Mapping[str, Any]) -> dict[str, Any]:
    """Expansion, and the secants."""
    p = Proof(goal)
    first, last, _, _ = goal["conclusions"]
    return p.finish(p.linear(first), p.linear(last), *secants(p, p.assume("T == y + d + 2")))


def secants(p: Proof, depth: int) -> tuple[int, int]:
    """The secant inequalities from 1 and from T; T is replaced by y + d + 2 only where the sign needs it."""
    _, _, from_one, from_end = integers(COUNT)["conclusions"]
    # the secant leaves c/T^3 (d+1) d (3y + 2d + 1) once T - 1 and T - 2 are written as y + d + 1 and y + d
    whole = f"{f('T - y')} - {f('1')} - (d + 1)*({f('2')} - {f('1')})"
    sides = ["T - 1 == y + d + 1", "T - 2 == y + d"]
    shorter = [p.linear(text, {depth: "1"}) for text in sides]
    cubes = "(y**3 - (T - 1)**3 - (d + 1)*((T - 2)**3 - (T - 1)**3))"
    expand = p.linear(f"{whole} == c*{cubes}/T**3 + lam*a*(T - y - 2 - d)")
    same = "c*(y**3 - (y + d + 1)**3 - (d + 1)*((y + d)**3 - (y + d + 1)**3))/T**3 + lam*a*(T - y - 2 - d)"
    half = p.substitute(shorter[0], expand, f"{whole} == {same.replace('((y + d)**3', '((T - 2)**3')}")
    moved = p.substitute(shorter[1], half, f"{whole} == {same}")
    return p.linear(from_one, {moved: "-1", depth: "-a*lam"}), p.linear(from_end)


CLAIMS = (
    claim(
        id="example_33_printed",
        reference="Section 3.3, example",
        form=Form.PRINTED,
        statement="h* = T(1 - sqrt(a lambda/(3c))) minimises -r(h) + lambda M(h)",
        relation=Relation.IDENTITY,
        expected=Verdict.REFUTED,
        goal=printed("best"),
        letters=LETTERS,
        route=at_ten,
        twin_goal=printed("T*(1 - sqrt(a*lam*T/(3*c)))"),
        twin_statement="h* with the factor T, which costs no more than h = 1 in the same example",
        function="dlinear.costs.optimal_horizon",
        test="tests/theory/test_costs.py::test_optimal_horizon_is_stationary",
    ),
    claim(
        id="example_33_interval_printed",
        reference="Section 3.3, example, interval",
        form=Form.PRINTED,
        statement="for 3c/(aT^2) < lambda < 3c(T-2)^2/(aT^2) the optimal horizon is neither 1 nor T",
        relation=Relation.IDENTITY,
        expected=Verdict.REFUTED,
        goal=four_horizons("min(f(2), min(f(3), f(4))) < f(1)"),
        letters=LETTERS,
        route=at_four,
        twin_goal=four_horizons("f(1) < min(f(2), min(f(3), f(4)))"),
        twin_statement="the best horizon is 1, which the same example satisfies",
        function="dlinear.costs.integer_interior_interval",
        test="tests/theory/test_costs.py::test_printed_interval_does_not_give_an_interior_optimum",
    ),
    claim(
        id="example_33_repaired",
        reference="Section 3.3, example",
        form=Form.REPAIRED,
        statement="h* = T(1 - sqrt(a lambda T/(3c))) minimises f over all h <= T, whole or not (T >= 3)",
        relation=Relation.IDENTITY,
        expected=Verdict.PROVED,
        goal=repaired("T"),
        letters=LETTERS,
        witness={"c": 1, "a": 1, "lam": 1, "b": 1, "T": 3, "x": 1, "w": 1, "p": 1},
        route=prove_repaired,
        twin_goal=repaired("1"),
        twin_statement="the printed h*, without the factor T",
        evidence="f(h) - f(h*) = c (x - w)^2 (x + 2w), x = 1 - h/T, w = 1 - h*/T",
        function="dlinear.costs.optimal_horizon",
        test="tests/theory/test_costs.py::test_optimal_horizon_is_the_best",
    ),
    claim(
        id="example_33_interior",
        reference="Section 3.3, example, interval",
        form=Form.REPAIRED,
        statement="3c <= a lambda T^3 <= 3c(T-2)^2 implies that h* is in [2, T-1] (T >= 3)",
        relation=Relation.IDENTITY,
        expected=Verdict.PROVED,
        goal=interior(INSIDE, BETWEEN),
        letters=LETTERS,
        witness={"c": 1, "a": 1, "lam": "1/9", "b": 1, "T": 3, "w": "1/3", "p": 1},
        route=prove_inside,
        twin_goal=interior(INSIDE, BETWEEN, "1"),
        twin_statement="the printed h*, without the factor T",
        twin_values={"c": 1, "a": 1, "lam": "3/64", "b": 0, "T": 4, "w": "1/8", "p": 2},
        twin_fails=1,
        function="dlinear.costs.interior_interval",
        test="tests/theory/test_costs.py::test_interior_intervals",
    ),
    claim(
        id="example_33_interior_only",
        reference="Section 3.3, example, interval",
        form=Form.REPAIRED,
        statement="h* in [2, T-1] implies 3c <= a lambda T^3 <= 3c(T-2)^2 (T >= 3)",
        relation=Relation.IDENTITY,
        expected=Verdict.PROVED,
        goal=interior(BETWEEN, INSIDE),
        letters=LETTERS,
        witness={"c": 1, "a": 1, "lam": "1/9", "b": 1, "T": 3, "w": "1/3", "p": 1},
        route=prove_only_inside,
        twin_goal=interior(BETWEEN, [INSIDE[0], "a*lam*T**3 < 3*c*p**2"]),
        twin_statement="strictly below the upper end",
        twin_values={"c": 1, "a": 1, "lam": "1/9", "b": 1, "T": 3, "w": "1/3", "p": 1},
        twin_fails=1,
        function="dlinear.costs.interior_interval",
        test="tests/theory/test_costs.py::test_interior_intervals",
    ),
    claim(
        id="example_33_integers",
        reference="Section 3.3, example, whole horizons",
        form=Form.NEW,
        statement="f(1) - f(2) = c(3T^2 - 9T + 7)/T^3 - a lambda, f(T) - f(T-1) = a lambda - c/T^3, and f(h) "
        "lies above the secants through 1, 2 and through T-1, T (whole h in [2, T], in [1, T-1])",
        relation=Relation.IDENTITY,
        expected=Verdict.PROVED,
        goal=integers(COUNT),
        letters=LETTERS,
        witness={"c": 1, "a": 1, "lam": 1, "b": 1, "T": 3, "y": 1, "d": 0, "z": 0},
        route=prove_integers,
        twin_goal=integers("3*T**2 - 12*T + 12"),
        twin_statement="the interval of the continuous h* in place of the integers' one",
        evidence="f convex, f(1) - f(2) = c(3T^2-9T+7)/T^3 - a lambda, f(T) - f(T-1) = a lambda - c/T^3",
        function="dlinear.costs.integer_interior_interval",
        test="tests/theory/test_costs.py::test_interior_intervals",
    ),
    claim(
        id="example_33_integers_inner",
        reference="Section 3.3, example, whole horizons",
        form=Form.NEW,
        statement="c < a lambda T^3 < c(3T^2 - 9T + 7) implies f(2) < f(1) and f(T-1) < f(T): the best "
        "whole horizon is neither 1 nor T",
        relation=Relation.IDENTITY,
        expected=Verdict.PROVED,
        goal=inner("c < a*lam*T**3", f"a*lam*T**3 < c*({COUNT})"),
        letters=LETTERS,
        witness={"c": 1, "a": 1, "lam": "2/27", "b": 1, "T": 3},
        route=prove_inner,
        twin_goal=inner("c <= a*lam*T**3", f"a*lam*T**3 < c*({COUNT})"),
        twin_statement="with the lower end",
        twin_values={"c": 1, "a": 1, "lam": "1/27", "b": 1, "T": 3},
        twin_fails=1,
        function="dlinear.costs.integer_interior_interval",
        test="tests/theory/test_costs.py::test_interior_intervals",
    ),
    claim(
        id="example_33_integers_first",
        reference="Section 3.3, example, whole horizons",
        form=Form.NEW,
        statement="a lambda T^3 >= c(3T^2 - 9T + 7) implies f(1) <= f(h) for every whole h in [2, T]",
        relation=Relation.IDENTITY,
        expected=Verdict.PROVED,
        goal=outer(f"c*({COUNT}) <= a*lam*T**3", f"{f('1')} <= {f('T - y')}"),
        letters=LETTERS,
        witness={"c": 1, "a": 1, "lam": "7/27", "b": 1, "T": 3, "y": 1, "d": 0, "z": 0},
        route=prove_first,
        twin_goal=outer(f"c*({COUNT} - 1) <= a*lam*T**3", f"{f('1')} <= {f('T - y')}"),
        twin_statement="from a smaller lambda on",
        twin_values={"c": 1, "a": 1, "lam": "6/27", "b": 1, "T": 3, "y": 1, "d": 0, "z": 0},
        function="dlinear.costs.integer_interior_interval",
        test="tests/theory/test_costs.py::test_interior_intervals",
    ),
    claim(
        id="example_33_integers_last",
        reference="Section 3.3, example, whole horizons",
        form=Form.NEW,
        statement="a lambda T^3 <= c implies f(T) <= f(h) for every whole h < T",
        relation=Relation.IDENTITY,
        expected=Verdict.PROVED,
        goal=outer("a*lam*T**3 <= c", f"{f('T')} <= {f('T - z - 1')}"),
        letters=LETTERS,
        witness={"c": 1, "a": 1, "lam": "1/27", "b": 1, "T": 3, "y": 1, "d": 0, "z": 0},
        route=prove_last,
        twin_goal=outer("a*lam*T**3 <= 2*c", f"{f('T')} <= {f('T - z - 1')}"),
        twin_statement="up to twice that lambda",
        twin_values={"c": 1, "a": 1, "lam": "2/27", "b": 1, "T": 3, "y": 1, "d": 0, "z": 0},
        function="dlinear.costs.integer_interior_interval",
        test="tests/theory/test_costs.py::test_interior_intervals",
    ),
)
