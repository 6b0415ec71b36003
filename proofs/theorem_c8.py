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
every sequence with gap(k+1) <= rho gap(k) + (1 - rho) K is K + rho^k (gap(0) - K - G(k)), where G sums
non-negative slacks; induction on k (rho > 0; where rho = 0 one iteration says it all)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlinear.certify import Proof, claim, refutation
from dlinear.certify.claims import Form, Relation, Verdict

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


def repaired(exponent: str) -> dict[str, Any]:
    """Goal of the repaired theorem with the given exponent of rho."""
    return {
        "symbols": {
            **dict.fromkeys(["eta", "c", "L", "mu", "muG", "rho"], "positive"),
            **dict.fromkeys(["M", "MV", "gap", "r", "d", "e", "v", "K", "gap0"], "nonneg"),
            **dict.fromkeys(["after", "inner"], "real"),
            "tau": "natural",
        },
        "families": {"Z": None},  # slack of step t: ip(Z(t), Z(t)), any non-negative number
        "sums": {"G": {"index": "t", "term": "ip(Z(t), Z(t))/rho**(t + 1)"}},
        "hypotheses": [*ONE_STEP, "rho == 1 - eta*c*mu", "K == eta*L*M/(2*c*mu)"],
        "conclusions": [
            "2*c*gap <= r**2",
            "after <= rho*gap + (1 - rho)*K",
            "K + rho**(tau + 1)*(gap0 - K - G(tau + 1)) "
            "== rho*(K + rho**tau*(gap0 - K - G(tau))) + (1 - rho)*K - ip(Z(tau), Z(tau))",
            f"K + rho**tau*(gap0 - K - G(tau)) <= K + rho**({exponent})*(gap0 - K)",
        ],
    }


def prove_repaired(goal: Mapping[str, Any]) -> dict[str, Any]:
    """The two steps of the module's docstring."""
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
    one = p.linear("after <= rho*gap + (1 - rho)*K", {once: "1", level: "1", rho: "-gap"})

    more = p.sum_step("G", "tau")
    affine = p.linear(goal["conclusions"][2], {more: "-rho**(tau + 1)"})
    square = p.axiom("F_square", "Z(tau)")
    before = p.assume("0 <= G(tau)")
    after = p.linear("0 <= G(tau + 1)", {before: "1", more: "-1", square: "rho**(-tau - 1)"})
    empty = p.sum_empty("G")
    slack = p.induction("tau", "0 <= G(tau)", p.linear("0 <= G(0)", {empty: "-1"}), after)
    return p.finish(dominated, one, affine, p.linear(goal["conclusions"][3], {slack: "rho**tau"}))


CLAIMS = (
    claim(
        id="theorem_c8_printed",
        reference="Theorem C.8, eq. (63)",
        form=Form.PRINTED,
        statement="J(u^tau) - J* <= (1 - eta c mu)^(tau-1) (J(u^0) - J*) - K + K, K = eta L M/(2 c mu)",
        relation=Relation.UPPER_BOUND,
        expected=Verdict.REFUTED,
        goal=PRINTED,
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
        route=first_step_harms,
        twin_goal=TRUE_BOUND,
        twin_statement="exponent tau, which the same example satisfies",
        function="dlinear.bounds.sgd_gap",
        test="tests/theory/test_bounds.py::test_false_twin_of_sgd_gap_fails",
    ),
    claim(
        id="theorem_c8_repaired",
        reference="Theorem C.8, eq. (63)",
        form=Form.REPAIRED,
        statement="E J(u^tau) - J* <= K + (1 - eta c mu)^tau (J(u^0) - J* - K), "
        "0 < eta <= mu/(L (M_V + mu_G^2)), eta c mu < 1",
        relation=Relation.UPPER_BOUND,
        expected=Verdict.PROVED,
        goal=repaired("tau"),
        witness={
            "eta": "1/2",
            "c": 1,
            "L": 1,
            "mu": "1/4",
            "muG": "1/2",
            "rho": "7/8",
            "M": 1,
            "MV": 0,
            "gap": "1/2",
            "r": 1,
            "d": 1,
            "e": "1/2",
            "v": 1,
            "K": 1,
            "gap0": 1,
            "after": 0,
            "inner": "1/4",
            "tau": 2,
        },
        route=prove_repaired,
        twin_goal=repaired("tau + 1"),
        twin_statement="exponent tau + 1",
        assumes="the descent inequality E J(u - eta g) <= J - eta <grad J, E g> + (eta^2 L/2) E||g||^2, from "
        "(61b); u* exists; total expectation; gap(k+1) <= rho gap(k) + (1 - rho) K is the form with slacks",
        evidence="one step from (61), (62); recursion by induction; equality when each inequality is one",
        function="dlinear.bounds.sgd_gap",
        test="tests/theory/test_bounds.py::test_sgd_gap",
    ),
)
