"""Lemmas C.2 and C.3: the size of the horizon gradient of one layer.

Problem. Bound ||g_h(t)||_F above and below by exponentials of depth and by Phi.

Statement. With a = 1 + c/T, b = 1 - c/T > 0 and s = t + h <= T (Lemma C.2)

    ||g_h(t)||_F <= a^{h-1+t} (sqrt(n) a^s + ||Phi||_F),
    ||g_h(t)||_F >= b^{h-1+t} ||W_0^s - Phi||_F,   ||g_h(t)||_F >= b^{h-1+t} sqrt(n) (b^s - ||Phi||_2);

for t < T <= t + h (Lemma C.3) the same with s = T and h - 1 + t replaced by T - 1. The printed proof sets
lambda_1 = sigma_max(Phi), lambda_2 = -||Phi||_F (meant: y_1, y_2); with these (55) is false already for W
= I. The printed lemmas themselves, (29) and (30), only say that some y_1, y_2 exist, which is true of every
y_1 >= max(1, e^{lambda_1}), for which the lower bound is not positive, and of y_2 negative enough.

Guarantee. Bounds for every layer; exact counterexample for the printed assignment.

Method. Norm axioms on the three factors of (27'), window bounds of Lemma C.1.

Reference. Lemmas C.2, C.3, eqs. (29), (30), (52)-(56) of arXiv 2409.19561.
"""

from __future__ import annotations

from typing import Any

from dlinear.certify import Proof, claim, refutation
from dlinear.certify.claims import Claim, Form, Relation, Verdict
from dlinear.certify.prover import lemmas
from dlinear.certify.prover.statements import TWO_LAYERS, network


def statement(end: str, blocks: str, window: str, factor: str = "sqrt(n)") -> dict[str, Any]:
    """Bounds of g_h(t) for an end s and s - 1 blocks around the layer."""
    low = f"(1 - c/T)**({blocks})"
    return network(
        [
            f"F(gh(t)) <= (1 + c/T)**({blocks})*({factor}*(1 + c/T)**({end}) + F(Phi))",
            f"{low}*F(W(0, {end}) - Phi) <= F(gh(t))",
            f"{low}*sqrt(n)*((1 - c/T)**({end}) - N(Phi)) <= F(gh(t))",
        ],
        ["c < T", *window.split("; ")],
        gradients=True,
        t="natural",
    )


C2 = ("t+h", "h-1+t", "t + h <= T")
C3 = ("T", "T-1", "T <= t + h; t + 1 <= T")


def route(goal: dict[str, Any], end: str, inner: str, case: int) -> dict[str, Any]:
    """The certificate: the bounds of the three factors, for the definition of g_h(t)."""
    p = Proof(goal, **lemmas.SYMBOLS)
    room, *window = (p.assume(text) for text in goal["hypotheses"])
    if case:
        side = p.linear(f"0 <= {inner}", {window[1]: "1"})
    else:
        side = p.linear(f"0 <= {inner}", {p.sort("h"): "1"})
    bounds = lemmas.gradient_bounds(p, "t", end, inner, side)
    equal = p.definition("gh", "t", case, [window[0]])
    positive = str(p.linear("0 < 1 - c/T", {room: "1/T"}))
    facts = []
    for bound, formula in zip(bounds, goal["conclusions"], strict=True):
        wanted = formula.replace("(1 + c/T)", "a").replace("(1 - c/T)", "b")
        whole = f"W(t+1, {end}).T*(W(0, {end}) - Phi)*W(0, t).T"
        fact = p.linear(wanted.replace("gh(t)", whole), {bound: "1"})
        fact = p.substitute(equal, fact, wanted)
        upper = "a**" in wanted
        facts.append(
            lemmas.close(p, fact, **({"a": "1 + c/T"} if upper else {"b": "1 - c/T", "b_side": positive}))
        )
    return p.finish(*facts)


def assignment(low: str, high: str) -> dict[str, Any]:
    """(55) for given rates lambda_1, lambda_2."""
    return network(
        [f"exp((gamma - beta)*{low}) <= S(W(floor(beta*T), floor(gamma*T)))",
         f"F(W(floor(beta*T), floor(gamma*T))) <= sqrt(n)*exp((gamma - beta)*{high})"],
        ["c < T", "0 <= beta", "beta <= gamma", "gamma <= 1"],
        beta="real",
        gamma="real",
        Phi="matrix",
    )  # fmt: skip


def example(goal: dict[str, Any]) -> dict[str, Any]:
    """One neuron, identity layers, Phi = 1: sigma_min = 1 < e."""
    return refutation(goal, {"T": 2, "c": 1, "beta": 0, "gamma": 1, "Phi": [[1]], "D": {}})


def size(name: str, reference: str, window: tuple[str, str, str], inner: str, case: int, text: str) -> Claim:
    """The repaired form of one of the two lemmas."""
    return claim(
        name,
        reference,
        Form.REPAIRED,
        text,
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=statement(*window),
        witness=TWO_LAYERS | {"c": 1, "h": 1, "t": 1, "Phi": [[3]]},
        route=lambda goal: route(goal, window[0], inner, case),
        twin_goal=statement(*window, factor="1"),
        twin_statement="without the factor sqrt(n)",
        evidence="every layer, horizon and Phi, T > c",
        function="dlinear.bounds.gradient_norm_bounds",
        test="tests/theory/test_bounds.py",
    )


CLAIMS = (
    claim(
        "lemma_c2_printed",
        "Lemma C.2, proof, (55)",
        Form.PRINTED,
        "lambda_1 = sigma_max(Phi), lambda_2 = -||Phi||_F bound the window products as in (55)",
        Relation.UPPER_BOUND,
        Verdict.REFUTED,
        goal=assignment("N(Phi)", "(-F(Phi))"),
        route=example,
        twin_goal=assignment("(-c*T/(T-c))", "c"),
        twin_statement="rates -cT/(T-c) and c, which the example must not refute",
        function="dlinear.bounds.gradient_norm_bounds",
        test="tests/theory/test_bounds.py",
    ),
    size(
        "lemma_c2", "Lemma C.2", C2, "h-1", 0,
        "b^{h-1+t} max(||W_0^s - Phi||_F, sqrt(n)(b^s - ||Phi||_2)) <= ||g_h(t)||_F"
        " <= a^{h-1+t} (sqrt(n) a^s + ||Phi||_F), s = t + h <= T, for T > c",
    ),
    size(
        "lemma_c3", "Lemma C.3", C3, "T-1-t", 1,
        "b^{T-1} max(||R||_F, sqrt(n)(b^T - ||Phi||_2)) <= ||g_h(t)||_F"
        " <= a^{T-1} (sqrt(n) a^T + ||Phi||_F), t < T <= t + h, for T > c",
    ),
)  # fmt: skip
