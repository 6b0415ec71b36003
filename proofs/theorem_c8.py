"""Theorem C.8, eq. (63): biased stochastic gradient descent on a strongly convex loss.

**As printed** the two noise terms cancel, so that the bound claims convergence to the optimum under a
constant step and persistent noise. Counterexample: J(u) = c u^2/2, g = mu J'(u) + noise of variance M, for
which E u^2 is known in closed form.

**The exponent.** With the terms restored as in Bottou, Curtis and Nocedal (Theorem 4.6) the exponent tau - 1
still belongs to their start at the first iterate. Measured from u^0 it is false: at u^0 = u*, tau = 1 it says
that the first noisy step does no harm.

**Repaired**, for 0 < eta <= mu/(L (M_V + mu_G^2)) and rho = 1 - eta c mu:

    E J(u^tau) - J* <= K + rho^tau (J(u^0) - J* - K),   K = eta L M/(2 c mu)

Two steps. One iteration, from the descent inequality (the standard consequence of (61b)), (62a-c) and the
gradient domination 2c(J - J*) <= ||grad J||^2, which is derived here from (61a). Then the affine recursion:
every real sequence J is K + rho^k (J(0) - K - G(k)), where G sums its slacks rho J(t) + (1 - rho) K - J(t+1)
over rho^(t+1); induction on k (rho > 0; where rho = 0 one iteration says it all)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlinear.certify import Proof, claim, refutation
from dlinear.certify.claims import Form, Relation, Verdict
from dlinear.certify.letters import assumed

# E J(u^tau) for J = c u^2/2, exactly: E u^2 -> (1 - eta c mu)^2 E u^2 + eta^2 M
NOISY_QUADRATIC: dict[str, Any] = {
    "symbols": {
        "eta": "positive", "c": "positive", "L": "positive", "mu": "positive", "M": "nonneg", "u": "real",
        "tau": "posint", "K": "nonneg", "gap": "nonneg", "step": "nonneg",
    },
    "sums": {"G": {"index": "j", "term": "(1 - eta*c*mu)**(2*j)"}},
    "hypotheses": ["L == c", "eta*L*mu**2 <= mu", "K == eta*L*M/(2*c*mu)", "gap == c*u**2/2"],
}  # fmt: skip
EXPECTED = "c/2*((1 - eta*c*mu)**(2*tau)*u**2 + eta**2*M*G(tau))"


def _about(bound: str) -> dict[str, Any]:
    symbols = {k: v for k, v in NOISY_QUADRATIC["symbols"].items() if k != "step"}
    return {**NOISY_QUADRATIC, "symbols": symbols, "conclusions": [f"{EXPECTED} <= {bound}"]}


PRINTED = _about("(1 - eta*c*mu)**(tau - 1)*gap - K + K")
EXPONENT = _about("K + (1 - eta*c*mu)**(tau - 1)*(gap - K)")
TRUE_BOUND = _about("K + (1 - eta*c*mu)**tau*(gap - K)")


def noise_stays(goal: Mapping[str, Any]) -> dict[str, Any]:
    """Half steps on u^2/2 with unit noise from u^0 = 1, after three steps: 11/64 against 1/8."""
    values = {"eta": "1/2", "c": 1, "L": 1, "mu": 1, "M": 1, "u": 1, "tau": 3, "K": "1/4", "gap": "1/2"}
    return refutation(goal, values)


def first_step_harms(goal: Mapping[str, Any]) -> dict[str, Any]:
    """The same from the optimum, after one step: 1/8 against 0."""
    values = {"eta": "1/2", "c": 1, "L": 1, "mu": 1, "M": 1, "u": 0, "tau": 1, "K": "1/4", "gap": 0}
    return refutation(goal, values)


ONE_STEP = [
    "gap <= r*d - c/2*d**2",  # (61a) between u and u*, with <grad J, u* - u> >= -r d
    "after <= gap - eta*inner + eta**2*L/2*(v + e**2)",  # descent; E||g||^2 = variance + ||E g||^2
    "mu*r**2 <= inner",  # (62a)
    "e <= muG*r",  # (62b)
    "v <= M + MV*r**2",  # (62c)
    "eta*L*(MV + muG**2) <= mu",
]


def one_step(share: str = "(1 - rho)*K") -> dict[str, Any]:
    """Gradient domination, and one iteration."""
    return {
        "symbols": {
            **dict.fromkeys(["eta", "c", "L", "mu", "muG"], "positive"),
            **dict.fromkeys(["M", "MV", "gap", "r", "d", "e", "v", "K"], "nonneg"),
            **dict.fromkeys(["after", "inner", "rho"], "real"),
        },
        "hypotheses": [*ONE_STEP, "rho == 1 - eta*c*mu", "K == eta*L*M/(2*c*mu)"],
        "conclusions": ["2*c*gap <= r**2", f"after <= rho*gap + {share}"],
    }


def prove_one_step(goal: Mapping[str, Any]) -> dict[str, Any]:
    """2c gap <= r^2 from (61a), then (62a-c) in the descent inequality."""
    p = Proof(goal)
    convex, descent, align, size, noise, small = (p.assume(text) for text in ONE_STEP)
    rho, floor = p.assume("rho == 1 - eta*c*mu"), p.assume("K == eta*L*M/(2*c*mu)")
    dominated = p.linear("2*c*gap <= r**2", {convex: "2*c"}, squares=[("1", "r - c*d")])
    squared = p.linear("e**2 <= muG**2*r**2", {size: "e + muG*r"})
    loss = p.linear(
        "after <= gap - eta*mu/2*r**2 + eta**2*L*M/2",
        {descent: "1", align: "eta", noise: "eta**2*L/2", squared: "eta**2*L/2", small: "eta*r**2/2"},
    )
    once = p.linear("after <= (1 - eta*c*mu)*gap + eta**2*L*M/2", {loss: "1", dominated: "eta*mu/2"})
    level = p.linear("eta**2*L*M/2 == (1 - rho)*K", {floor: "-eta*c*mu", rho: "K"})
    return p.finish(
        dominated, p.linear("after <= rho*gap + (1 - rho)*K", {once: "1", level: "1", rho: "-gap"})
    )


def recursion(exponent: str) -> dict[str, Any]:
    """Any sequence J is K + rho^tau (J(0) - K - G(tau)), G the sum of its slacks over rho^(t+1)."""
    return {
        "symbols": {"rho": "positive", "K": "real", "tau": "natural"},
        "sequences": ["J"],
        "families": {"Z": None},
        "definitions": {"slack": {"index": "t", "cases": [{"then": "rho*J(t) + (1 - rho)*K - J(t + 1)"}]}},
        "sums": {
            "G": {"index": "t", "term": "slack(t)/rho**(t + 1)"},
            "H": {"index": "t", "term": "ip(Z(t), Z(t))/rho**(t + 1)"},
        },
        "hypotheses": ["G(tau) == H(tau)"],
        "conclusions": [
            "J(tau) == K + rho**tau*(J(0) - K - G(tau))",
            f"J(tau) <= K + rho**({exponent})*(J(0) - K)",
        ],
    }


def prove_recursion(goal: Mapping[str, Any]) -> dict[str, Any]:
    """Inductions for the form of J and for 0 <= H."""
    p = Proof(goal, k="natural")
    formula = goal["conclusions"][0].replace("tau", "k")
    more = p.sum_step("G", "k")
    base = p.linear(formula.replace("k", "0"), {p.sum_empty("G"): "1"})
    onward = p.linear(
        formula.replace("k", "(k + 1)"),
        {p.assume(formula): "rho", more: "rho**(k + 1)", p.definition("slack", "k"): "1"},
    )
    form = p.instantiate(p.induction("k", formula, base, onward), k="tau")
    more, square = p.sum_step("H", "k"), p.axiom("F_square", "Z(k)")
    onward = p.linear("0 <= H(k + 1)", {p.assume("0 <= H(k)"): "1", more: "-1", square: "rho**(-k - 1)"})
    start = p.linear("0 <= H(0)", {p.sum_empty("H"): "-1"})
    slack = p.instantiate(p.induction("k", "0 <= H(k)", start, onward), k="tau")
    equal = p.assume(goal["hypotheses"][0])
    return p.finish(
        form, p.linear(goal["conclusions"][1], {form: "1", slack: "rho**tau", equal: "-rho**tau"})
    )


CLOSED = (
    "J(u) = c u^2/2 in one dimension, g = mu J'(u) + noise of variance M: then the left side is E J(u^tau)"
)
LETTERS = {
    "eta": "size of the step",
    "c": "constant of strong convexity, (61a)",
    "L": "Lipschitz constant of the gradient, (61b)",
    "mu": "constant of (62a), <grad J, E g> >= mu ||grad J||^2",
    "muG": "constant of (62b), ||E g|| <= mu_G ||grad J||",
    "M": "constant of (62c), Var g <= M + M_V ||grad J||^2",
    "MV": "constant of (62c)",
    "u": assumed("the start u^0; E J(u^tau) is c/2 ((1 - eta c mu)^(2 tau) u^2 + eta^2 M G(tau)), J* = 0"),
    "tau": "number of steps",
    "K": "eta L M/(2 c mu)",
    "G": "G(tau) = sum of (1 - eta c mu)^(2j), the noise of tau steps over eta^2 M",
    "gap": "J(u^0) - J*",
}

CLAIMS = (
    claim(
        id="theorem_c8_printed",
        reference="Theorem C.8, eq. (63)",
        form=Form.PRINTED,
        statement="J(u^tau) - J* <= (1 - eta c mu)^(tau-1) (J(u^0) - J*) - K + K, K = eta L M/(2 c mu)",
        relation=Relation.UPPER_BOUND,
        expected=Verdict.REFUTED,
        goal=PRINTED,
        letters=LETTERS,
        assumes=CLOSED,
        route=noise_stays,
        twin_goal=TRUE_BOUND,
        twin_statement="the repaired bound, which the same example satisfies",
        function="dlinear.bounds.sgd_gap",
        test="tests/theory/test_bounds.py::test_false_twin_of_sgd_gap_fails",
    ),
    claim(
        id="theorem_c8_exponent",
        reference="Theorem C.8, eq. (63), exponent",
        form=Form.PRINTED,
        statement="E J(u^tau) - J* <= K + (1 - eta c mu)^(tau-1) (J(u^0) - J* - K), measured from u^0",
        relation=Relation.UPPER_BOUND,
        expected=Verdict.REFUTED,
        goal=EXPONENT,
        letters=LETTERS,
        assumes=CLOSED,
        route=first_step_harms,
        twin_goal=TRUE_BOUND,
        twin_statement="exponent tau, which the same example satisfies",
        function="dlinear.bounds.sgd_gap",
        test="tests/theory/test_bounds.py::test_false_twin_of_sgd_gap_fails",
    ),
    claim(
        id="theorem_c8_one_step",
        reference="Theorem C.8, eq. (63), one step",
        form=Form.REPAIRED,
        statement="E J(u^{k+1}) - J* <= rho (J(u^k) - J*) + (1 - rho) K given u^k, rho = 1 - eta c mu, "
        "mu > 0, 0 < eta <= mu/(L (M_V + mu_G^2))",
        relation=Relation.UPPER_BOUND,
        expected=Verdict.PROVED,
        goal=one_step(),
        letters=LETTERS
        | {
            "gap": "J(u^k) - J*",
            "after": assumed("E J(u^{k+1}) - J*, which keeps the descent inequality"),
            "inner": "<grad J, E g>",
            "r": "||grad J(u^k)||",
            "d": assumed("||u^k - u*||"),
            "e": "||E g||",
            "v": "Var g = E||g||^2 - ||E g||^2",
            "rho": "1 - eta c mu",
        },
        witness={"eta": "1/2", "c": 1, "L": 1, "mu": "1/4", "muG": "1/2", "rho": "7/8", "M": 1, "MV": 0}
        | {"gap": "1/2", "r": 1, "d": 1, "e": "1/2", "v": 1, "K": 1, "after": 0, "inner": "1/4"},
        route=prove_one_step,
        twin_goal=one_step("(1 - rho)*K/2"),
        twin_statement="half the noise",
        assumes="the descent inequality E J(u - eta g) <= J - eta <grad J, E g> + (eta^2 L/2) E||g||^2, from "
        "(61b); u* exists",
        evidence="from (61), (62); 2c(J - J*) <= ||grad J||^2 is a conclusion",
        function="dlinear.bounds.sgd_gap",
        test="tests/theory/test_bounds.py::test_sgd_gap",
    ),
    claim(
        id="theorem_c8_repaired",
        reference="Theorem C.8, eq. (63)",
        form=Form.REPAIRED,
        statement="E J(u^tau) - J* <= K + (1 - eta c mu)^tau (J(u^0) - J* - K), mu > 0, "
        "0 < eta <= mu/(L (M_V + mu_G^2)), eta c mu < 1",
        relation=Relation.UPPER_BOUND,
        expected=Verdict.PROVED,
        goal=recursion("tau"),
        letters={
            "rho": "1 - eta c mu, positive",
            "K": "eta L M/(2 c mu)",
            "tau": "number of steps",
            "J": "J(t) = E J(u^t) - J*, any real sequence",
            "slack": "slack(t) = rho J(t) + (1 - rho) K - J(t + 1)",
            "Z": assumed("Z(t), with slack(t) = ip(Z(t), Z(t)): a number that is not negative"),
            "G": "sum of slack(t)/rho^(t + 1)",
            "H": "the same sum of squares",
        },
        witness={"rho": "7/8", "K": 1, "tau": 1, "J": {0: 2, 1: "13/8"}, "Z": {0: [["1/2"]]}},
        route=prove_recursion,
        twin_goal=recursion("tau + 1"),
        twin_statement="exponent tau + 1",
        twin_values={"rho": "1/2", "K": 0, "tau": 1, "J": {0: 1, 1: "1/2"}, "Z": {0: [[0]]}},
        twin_fails=1,
        uses=("theorem_c8_one_step",),
        assumes="total expectation, so that no slack is negative (theorem_c8_one_step)",
        evidence="the recursion by induction; equality when each inequality is one",
        function="dlinear.bounds.sgd_gap",
        test="tests/theory/test_bounds.py::test_sgd_gap",
    ),
)
