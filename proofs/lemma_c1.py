"""Lemma C.1, eqs. (47), (50), (51): norms of products of near-identity layers.

Problem. Bound sigma_min, ||.||_2 and ||.||_F of a window W_a^{a+k} of k layers W(t) = I + D(t), ||D(t)||_2
<= c/T.

Statement. For integers a, k >= 0, and T > c where the bound is from below,

    e^{-ck/(T-c)} <= (1 - c/T)^k <= sigma_min(W_a^{a+k}) <= ||W_a^{a+k}||_2 <= (1 + c/T)^k <= e^{ck/T},
    sqrt(n) (1 - c/T)^k <= ||W_a^{a+k}||_F <= sqrt(n) (1 + c/T)^k.

As printed: (47) omits floors, and floor(gT) - floor(bT) can exceed (g - b)T; (50) says (1 - c/T)^k >
e^{-ck/T}, but ln(1 - x) < -x; (51) has no factor sqrt(n), and ||I||_F = sqrt(n) > 1 at g = b whatever
lambda_2.

Guarantee. Bounds for every window; exact or ball-certified counterexamples.

Method. Induction on k with submultiplicativity and sigma_min(AB) >= sigma_min(A) sigma_min(B); exp(u) >= 1
+ u.

Reference. Lemma C.1, eqs. (28), (47)-(51) of arXiv 2409.19561.
"""

from __future__ import annotations

from typing import Any

from dlinear.certify import Proof, claim, refutation
from dlinear.certify.claims import Form, Relation, Verdict
from dlinear.certify.prover import lemmas
from dlinear.certify.prover.statements import LETTERS, TWO_LAYERS, network

NAMES = LETTERS | {
    "s": "the layer a where the window begins",
    "beta": "b, in [0, 1]",
    "gamma": "g, in [b, 1]",
    "lambda_2": "any real number, left open",
}
WINDOW = "W(s, s+k)"
PRINTED_WINDOW = "W(floor(beta*T), floor(gamma*T))"
RANGE = ["0 <= beta", "beta <= gamma", "gamma <= 1"]
TEST = "tests/theory/test_bounds.py"


def counts(*conclusions: str, hypotheses: tuple[str, ...] = ()) -> dict[str, Any]:
    """A statement about a window of k layers."""
    return network(conclusions, hypotheses, s="integer", k="natural")


def upper(power: str) -> dict[str, Any]:
    """(47) with layer counts."""
    return counts(f"N({WINDOW}) <= (1 + c/T)**{power}", f"(1 + c/T)**{power} <= exp(c*{power}/T)")


def lower(exponent: str) -> dict[str, Any]:
    """(50) with layer counts."""
    chain = (f"{exponent} <= (1 - c/T)**k", f"(1 - c/T)**k <= S({WINDOW})", f"S({WINDOW}) <= N({WINDOW})")
    return counts(*chain, hypotheses=("c < T",))


def frobenius(factor: str) -> dict[str, Any]:
    """(51) with layer counts and a factor."""
    return counts(f"F({WINDOW}) <= {factor}*(1 + c/T)**k")


def frobenius_lower(power: str) -> dict[str, Any]:
    """The bound from below that goes with (51)."""
    return counts(f"sqrt(n)*(1 - c/T)**({power}) <= F({WINDOW})", hypotheses=("c < T",))


def printed(
    conclusion: str, *hypotheses: str, exists: tuple[str, ...] = (), **symbols: str
) -> dict[str, Any]:
    """A statement about the window of a printed formula, with floors."""
    goal = network([conclusion], [*RANGE, *hypotheses], beta="real", gamma="real", **symbols)
    return {**goal, "exists": list(exists)} if exists else goal


def prove_upper(goal: dict[str, Any]) -> dict[str, Any]:
    """The certificate of the repaired (47)."""
    p = Proof(goal, **lemmas.SYMBOLS)
    first, second = goal["conclusions"]
    size = lemmas.at(p, lemmas.upper(p), "s", "k")
    grown = p.instantiate(lemmas.growth(p), k0="k")
    facts = [p.linear(f.replace("(1 + c/T)", "a"), {x: "1"}) for f, x in ((first, size), (second, grown))]
    return p.finish(*(lemmas.close(p, fact, a="1 + c/T") for fact in facts))


def prove_lower(goal: dict[str, Any]) -> dict[str, Any]:
    """The certificate of the repaired (50); w = T - c."""
    p = Proof(goal, **lemmas.SYMBOLS, w="positive")
    first = goal["conclusions"][0]
    rest, rate = p.assume("w == T - c"), p.assume(lemmas.LOWER)
    # b (1 + c/w) = 1, so exp(-c/w) <= b
    below = p.linear(
        "exp(-c/w) <= b",
        {lemmas.exponential(p, "c/w"): "exp(-c/w)*w/T", rest: "1/T - exp(-c/w)/T", rate: "-1"},
    )
    power = lemmas.raise_to(p, below, "exp(-c/w)", "b", "k")
    power = p.linear(first.replace("(1 - c/T)", "b").replace("(T-c)", "w"), {power: "1"})
    size = lemmas.at(p, lemmas.lower(p), "s", "k")
    room = p.assume("c < T")
    sides = {
        "b_side": str(p.linear("0 < 1 - c/T", {room: "1/T"})),
        "w_side": str(p.linear("0 < T - c", {room: "1"})),
    }
    power = lemmas.close(p, power, b="1 - c/T", w="T - c", **sides)
    size = lemmas.close(p, size, b="1 - c/T", b_side=sides["b_side"])
    return p.finish(power, size, p.axiom("S_below_N", WINDOW))


def prove_frobenius(goal: dict[str, Any]) -> dict[str, Any]:
    """The certificate of the repaired (51)."""
    p = Proof(goal, **lemmas.SYMBOLS)
    [formula] = goal["conclusions"]
    high = lemmas.at(p, lemmas.upper(p), "s", "k")
    above = p.linear(formula.replace("(1 + c/T)", "a"), {high: "sqrt(n)", p.axiom("F_below_N", WINDOW): "1"})
    return p.finish(lemmas.close(p, above, a="1 + c/T"))


def prove_frobenius_lower(goal: dict[str, Any]) -> dict[str, Any]:
    """The certificate of its counterpart from below."""
    p = Proof(goal, **lemmas.SYMBOLS)
    [formula] = goal["conclusions"]
    low = lemmas.at(p, lemmas.lower(p), "s", "k")
    below = p.linear(formula.replace("(1 - c/T)", "b"), {low: "sqrt(n)", p.axiom("F_above_S", WINDOW): "1"})
    side = str(p.linear("0 < 1 - c/T", {p.assume("c < T"): "1/T"}))
    return p.finish(lemmas.close(p, below, b="1 - c/T", b_side=side))


def floors(goal: dict[str, Any]) -> dict[str, Any]:
    """One layer of size 1/2 between bT = 0.8 and gT = 1."""
    return refutation(goal, {"T": 2, "c": 1, "beta": "2/5", "gamma": "1/2", "D": {0: [["1/2"]]}})


def shrinking(goal: dict[str, Any]) -> dict[str, Any]:
    """Ten layers of -1/10: 0.9^10 < 1/e."""
    layers = {t: [["-1/10"]] for t in range(10)}
    return refutation(goal, {"T": 10, "c": 1, "beta": 0, "gamma": 1, "D": layers})


def empty(goal: dict[str, Any]) -> dict[str, Any]:
    """The empty window at width 2: ||I||_F = sqrt(2)."""
    return refutation(goal, {"n": 2, "T": 2, "c": 1, "beta": "1/2", "gamma": "1/2"})


def repaired_here(conclusion: str) -> dict[str, Any]:
    """A repaired statement in the letters of the printed one, for the example to fail on."""
    return printed(conclusion, "c < T")


LENGTH = "(floor(gamma*T) - floor(beta*T))"

CLAIMS = (
    claim(
        "lemma_c1_upper_printed",
        "Lemma C.1, (47)",
        Form.PRINTED,
        "||W_{bT}^{gT}||_2 <= e^{(g-b)c} with bT and gT rounded down",
        Relation.UPPER_BOUND,
        Verdict.REFUTED,
        goal=printed(f"N({PRINTED_WINDOW}) <= exp((gamma - beta)*c)"),
        letters=NAMES,
        route=floors,
        twin_goal=printed(f"N({PRINTED_WINDOW}) <= exp(c*{LENGTH}/T)"),
        twin_statement="the repaired bound with layer counts, which the example must not refute",
        function="dlinear.bounds.product_norm_bounds",
        test=TEST,
    ),
    claim(
        "lemma_c1_upper",
        "Lemma C.1, (47)",
        Form.REPAIRED,
        "||W_a^{a+k}||_2 <= (1 + c/T)^k <= e^{ck/T}",
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=upper("k"),
        letters=NAMES,
        route=prove_upper,
        twin_goal=upper("(k-1)"),
        twin_statement="k - 1 in place of k",
        evidence="every window of every network",
        function="dlinear.bounds.product_norm_bounds",
        test=TEST,
    ),
    claim(
        "lemma_c1_lower_printed",
        "Lemma C.1, (50)",
        Form.PRINTED,
        "sigma_min(W_{bT}^{gT}) > e^{-(g-b)c}",
        Relation.UPPER_BOUND,
        Verdict.REFUTED,
        goal=printed(f"exp(-(gamma - beta)*c) < S({PRINTED_WINDOW})", "c < T"),
        letters=NAMES,
        route=shrinking,
        twin_goal=repaired_here(f"exp(-c*{LENGTH}/(T-c)) <= S({PRINTED_WINDOW})"),
        twin_statement="the repaired rate c/(T - c), which the example must not refute",
        function="dlinear.bounds.product_norm_bounds",
        test=TEST,
    ),
    claim(
        "lemma_c1_lower",
        "Lemma C.1, (50)",
        Form.REPAIRED,
        "e^{-ck/(T-c)} <= (1 - c/T)^k <= sigma_min(W_a^{a+k}) <= ||W_a^{a+k}||_2 for T > c",
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=lower("exp(-c*k/(T-c))"),
        witness=TWO_LAYERS | {"c": 1, "s": 0, "k": 2},
        letters=NAMES,
        route=prove_lower,
        twin_goal=lower("exp(-c*k/T)"),
        twin_statement="the printed rate c/T",
        evidence="every window of every network with T > c",
        function="dlinear.bounds.product_norm_bounds",
        test=TEST,
    ),
    claim(
        "lemma_c1_frobenius_printed",
        "Lemma C.1, (51)",
        Form.PRINTED,
        "there is lambda_2 with ||W_{bT}^{gT}||_F <= e^{(g-b) lambda_2}",
        Relation.UPPER_BOUND,
        Verdict.REFUTED,
        goal=printed(
            f"F({PRINTED_WINDOW}) <= exp((gamma - beta)*lambda_2)", exists=("lambda_2",), lambda_2="real"
        ),
        letters=NAMES,
        route=empty,
        twin_goal=printed(
            f"F({PRINTED_WINDOW}) <= sqrt(n)*exp((gamma - beta)*lambda_2)",
            exists=("lambda_2",),
            lambda_2="real",
        ),
        twin_statement="with the factor sqrt(n), which the example must not refute",
        function="dlinear.bounds.product_frobenius_bounds",
        test=TEST,
    ),
    claim(
        "lemma_c1_frobenius",
        "Lemma C.1, (51)",
        Form.REPAIRED,
        "||W_a^{a+k}||_F <= sqrt(n) (1 + c/T)^k",
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=frobenius("sqrt(n)"),
        letters=NAMES,
        route=prove_frobenius,
        twin_goal=frobenius("1"),
        twin_statement="without the factor sqrt(n)",
        evidence="every window of every network",
        function="dlinear.bounds.product_frobenius_bounds",
        test=TEST,
    ),
    claim(
        "lemma_c1_frobenius_lower",
        "Lemma C.1, (51), from below",
        Form.NEW,
        "sqrt(n) (1 - c/T)^k <= ||W_a^{a+k}||_F for T > c",
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=frobenius_lower("k"),
        witness=TWO_LAYERS | {"c": 1, "s": 0, "k": 2},
        letters=NAMES,
        route=prove_frobenius_lower,
        twin_goal=frobenius_lower("k - 1"),
        twin_statement="k - 1 in place of k",
        evidence="every window of every network with T > c",
        function="dlinear.bounds.product_frobenius_bounds",
        test=TEST,
    ),
)
