"""Lemma C.4, eq. (59): the tail of the network is near the identity.

Problem. How far is a window of k layers from the identity?

Statement. ||W_a^{a+k} - I||_2 <= (1 + c/T)^k - 1 <= e^{ck/T} - 1, hence ||.||_F <= sqrt(n) (e^{ck/T} - 1).
As printed, with alpha T rounded down, the exponent (1 - alpha) T can be smaller than the number of layers
T - floor(alpha T), and (59) fails; so does (31) "for all T > 0": at T = 1 any alpha < 1 leaves a whole layer.

Guarantee. Bounds for every window; exact counterexample for the printed exponent.

Method. Induction: (I + D) W - I = (W - I) + D W.

Reference. Lemma C.4, eqs. (31), (57)-(60) of arXiv 2409.19561.
"""

from __future__ import annotations

from typing import Any

from dlinear.certify import Proof, claim, refutation
from dlinear.certify.claims import Form, Relation, Verdict
from dlinear.certify.prover import lemmas
from dlinear.certify.prover.statements import LETTERS, network

NAMES = LETTERS | {"s": "the layer a where the window begins", "alpha": "a, in [0, 1]"}
WINDOW = "W(s, s+k)"
TAIL = "W(floor(alpha*T), T)"


def statement(power: str) -> dict[str, Any]:
    """(59) and (60) with layer counts."""
    return network(
        [
            f"N({WINDOW} - I) <= (1 + c/T)**{power} - 1",
            f"(1 + c/T)**{power} - 1 <= exp(c*{power}/T) - 1",
            f"F({WINDOW} - I) <= sqrt(n)*(exp(c*{power}/T) - 1)",
        ],
        s="integer",
        k="natural",
    )


def printed(share: str) -> dict[str, Any]:
    """(59) for a share of the depth."""
    return network([f"N({TAIL} - I) <= exp({share}*c) - 1"], ["0 <= alpha", "alpha <= 1"], alpha="real")


def route(goal: dict[str, Any]) -> dict[str, Any]:
    """The certificate."""
    p = Proof(goal, **lemmas.SYMBOLS)
    wanted = [text.replace("(1 + c/T)", "a") for text in goal["conclusions"]]
    near = lemmas.at(p, lemmas.near_identity(p, lemmas.upper(p)), "s", "k")
    grown = p.instantiate(lemmas.growth(p), k0="k")
    below = p.axiom("F_below_N", f"{WINDOW} - I")
    facts = [
        p.linear(wanted[0], {near: "1"}),
        p.linear(wanted[1], {grown: "1"}),
        p.linear(wanted[2], {below: "1", near: "sqrt(n)", grown: "sqrt(n)"}),
    ]
    return p.finish(*(lemmas.close(p, fact, a="1 + c/T") for fact in facts))


def example(goal: dict[str, Any]) -> dict[str, Any]:
    """Two layers, alpha = 0.9: one layer of size 1/2 is left."""
    return refutation(goal, {"T": 2, "c": 1, "alpha": "9/10", "D": {1: [["1/2"]]}})


CLAIMS = (
    claim(
        "lemma_c4_printed",
        "Lemma C.4, (59)",
        Form.PRINTED,
        "||W_{aT}^T - I||_2 <= e^{(1-a)c} - 1 with aT rounded down",
        Relation.UPPER_BOUND,
        Verdict.REFUTED,
        goal=printed("(1 - alpha)"),
        letters=NAMES,
        route=example,
        twin_goal=printed("((T - floor(alpha*T))/T)"),
        twin_statement="the number of layers, T - floor(aT), which the example must not refute",
        function="dlinear.bounds.tail_deviation",
        test="tests/theory/test_bounds.py",
    ),
    claim(
        "lemma_c4",
        "Lemma C.4, (59), (60)",
        Form.REPAIRED,
        "||W_a^{a+k} - I||_2 <= (1 + c/T)^k - 1 <= e^{ck/T} - 1, and sqrt(n) times that for ||.||_F",
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=statement("k"),
        letters=NAMES,
        route=route,
        twin_goal=statement("(k-1)"),
        twin_statement="k - 1 in place of k",
        evidence="every window of every network",
        function="dlinear.bounds.tail_deviation",
        test="tests/theory/test_bounds.py",
    ),
)
