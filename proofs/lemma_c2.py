"""Lemmas C.2 and C.3: the size of the horizon gradient of one layer.

Problem. Bound ||g_h(t)||_F above and below by exponentials of depth and by Phi.

Statement. With a = 1 + c/T, b = 1 - c/T > 0 and s = t + h <= T (Lemma C.2)

    ||g_h(t)||_F <= a^{h-1+t} (sqrt(n) a^s + ||Phi||_F),
    ||g_h(t)||_F >= b^{h-1+t} ||W_0^s - Phi||_F,   ||g_h(t)||_F >= b^{h-1+t} sqrt(n) (b^s - ||Phi||_2);

for t < T <= t + h (Lemma C.3) the same with s = T and h - 1 + t replaced by T - 1. The printed proof sets
lambda_1 = sigma_max(Phi), lambda_2 = -||Phi||_F; with these (55) is false already for W = I. Meant is
y_1 = sigma_max(Phi), y_2 = -||Phi||_F in (56), with rates lambda_1 <= lambda_2 that bound the windows as (55)
says. Read so, (56) is false for lambda_1 > 0, because its exponent counts t + h layers where the gradient has
h - 1 + t, and true for lambda_1 <= 0 <= lambda_2. (At n >= 2 no lambda_2 bounds the empty window: Lemma C.1.)
The printed lemmas themselves, (29) and (30), only say that some y_1, y_2 exist, which is true of every
y_1 >= max(1, e^{lambda_1}), for which the lower bound is not positive, and of y_2 negative enough.

Guarantee. Bounds for every layer; exact counterexamples for the printed assignment and for rates of any sign.

Method. Norm axioms on the three factors of (27'), window bounds of Lemma C.1.

Reference. Lemmas C.2, C.3, eqs. (29), (30), (52)-(56) of arXiv 2409.19561.
"""

from __future__ import annotations

from typing import Any

from dlinear.certify import Proof, claim, refutation
from dlinear.certify.claims import Claim, Form, Relation, Verdict
from dlinear.certify.prover import lemmas
from dlinear.certify.prover.statements import LETTERS, TWO_LAYERS, network

NAMES = LETTERS | {
    "beta": "b, in [0, 1]",
    "gamma": "g, in [b, 1]",
    "l1": "lambda_1",
    "l2": "lambda_2",
}


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


def meant(*signs: str, layers: str = "t+h") -> dict[str, Any]:
    """(56) with y_1 = sigma_max(Phi), y_2 = -||Phi||_F, given (55) for the three windows of g_h(t).

    `layers` is the number in the exponent of the outer factor, t + h as printed.
    """
    windows = (("W(t+1, t+h)", "(h-1)/T"), ("W(0, t)", "t/T"), ("W(0, t+h)", "(t+h)/T"))
    given = [f"exp(l1*{share}) <= S({window})" for window, share in windows]
    given += [f"F({window}) <= exp(l2*{share})" for window, share in windows]
    low, high = "exp(l1*(t+h)/T)", "exp(l2*(t+h)/T)"
    return network(
        [
            f"({low} - N(Phi))*exp(l1*({layers})/T) <= F(gh(t))",
            f"F(gh(t)) <= ({high} + F(Phi))*exp(l2*({layers})/T)",
        ],
        ["t + h <= T", *given, *signs],
        bound=None,
        gradients=True,
        t="natural",
        l1="real",
        l2="real",
    )


def growing(goal: dict[str, Any]) -> dict[str, Any]:
    """One layer W(0) = 3 of one neuron, Phi = 0: e <= 3 as (55) asks, and e^2 > 3."""
    values = {"T": 1, "h": 1, "t": 0, "n": 1, "l1": 1, "l2": 2, "Phi": [[0]], "D": {0: [[2]]}}
    return refutation(goal, values)


def meant_route(goal: dict[str, Any]) -> dict[str, Any]:
    """The norms of the three factors; e^{-lambda_1/T} >= 1, and a lower bound below 0 holds anyway."""
    p = Proof(goal, u="real")
    inside, *rest = (p.assume(text) for text in goal["hypotheses"])
    (s1, s2, s3, f1, f2, f3), (falling, rising) = rest[:6], rest[6:]
    after, before, state = "W(t+1, t+h)", "W(0, t)", "W(0, t+h)"
    loss, low, high = f"({state} - Phi)", "exp(l1*(t+h)/T)", "exp(l2*(t+h)/T)"
    whole = f"F({after}.T*{loss}*{before}.T)"
    equal = p.definition("gh", "t", 0, [inside])
    n1, n2 = f"N({after}.T)", f"N({before}.T)"
    e1 = "exp(l2*(h-1)/T)"
    size = f"({high} + F(Phi))"
    norms = {kind: [p.axiom(f"{kind}_transpose", x) for x in (after, before)] for kind in "NS"}
    u = p.taylor("1 + u <= exp(u)", "u", 2)
    more = p.linear("1 <= exp(l2/T)", {p.instantiate(u, u="l2/T"): "1", rising: "1/T"})
    above = p.linear(
        f"{whole} <= {size}*{high}",
        {
            p.axiom("F_product_FN", f"{after}.T*{loss}", f"{before}.T"): "1",
            p.axiom("F_product_NF", f"{after}.T", loss): n2,
            p.axiom("F_triangle", state, "-Phi"): f"{n1}*{n2}",
            p.axiom("F_negative", "Phi"): f"{n1}*{n2}",
            f3: f"{n1}*{n2}",
            norms["N"][0]: f"{n2}*{size}",
            norms["N"][1]: f"N({after})*{size}",
            p.axiom("N_below_F", after): f"N({before})*{size}",
            f1: f"N({before})*{size}",
            p.axiom("N_below_F", before): f"{e1}*{size}",
            f2: f"{e1}*{size}",
            more: f"exp(l2*(t+h-1)/T)*{size}",
        },
    )
    # from below: F(loss) >= S(loss) >= S(state) - N(Phi) >= low - N(Phi), times S(after)*S(before) >= low
    t2 = f"S({before}.T)"
    product = p.linear(
        f"exp(l1*(t+h-1)/T)*F{loss} <= {whole}",
        {
            p.axiom("F_product_FS", f"{after}.T*{loss}", f"{before}.T"): "1",
            p.axiom("F_product_SF", f"{after}.T", loss): t2,
            norms["S"][0]: f"-{t2}*F{loss}",
            norms["S"][1]: f"-S({after})*F{loss}",
            s1: f"S({before})*F{loss}",
            s2: f"exp(l1*(h-1)/T)*F{loss}",
        },
    )
    less = p.linear("1 <= exp(-l1/T)", {p.instantiate(u, u="-l1/T"): "1", falling: "1/T"})
    shorter = p.linear(f"{low}*F{loss} <= {whole}", {product: "1", less: f"{low}*F{loss}"})
    far = p.linear(
        f"{low} - N(Phi) <= F{loss}",
        {
            p.axiom("S_below_N", f"{state} - Phi"): "1",
            p.axiom("N_below_F", f"{state} - Phi"): "1",
            p.axiom("S_difference", state, "Phi"): "1",
            s3: "1",
        },
    )
    below = p.linear(f"({low} - N(Phi))*{low} <= {whole}", {shorter: "1", far: low})
    lower, upper = goal["conclusions"]
    return p.finish(p.substitute(equal, below, lower), p.substitute(equal, above, upper))


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
        letters=NAMES,
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
        letters=NAMES,
        route=example,
        twin_goal=assignment("(-c*T/(T-c))", "c"),
        twin_statement="rates -cT/(T-c) and c, which the example must not refute",
        function="dlinear.bounds.gradient_norm_bounds",
        test="tests/theory/test_bounds.py",
    ),
    claim(
        "lemma_c2_meant_printed",
        "Lemma C.2, proof, (56)",
        Form.PRINTED,
        "y_1 = sigma_max(Phi), y_2 = -||Phi||_F, the meant reading, for all rates l_1, l_2 that bound the "
        "windows of g_h(t) as in (55): (e^{s l_1} - y_1) e^{s l_1} <= ||g_h(t)||_F <= (e^{s l_2} - y_2) "
        "e^{s l_2}, s = (t + h)/T",
        Relation.UPPER_BOUND,
        Verdict.REFUTED,
        goal=meant(),
        letters=NAMES,
        route=growing,
        twin_goal=meant(layers="t+h-1"),
        twin_statement="an outer exponent that counts the h - 1 + t layers, which the example satisfies",
        function="dlinear.bounds.gradient_norm_bounds",
        test="tests/theory/test_bounds.py",
    ),
    claim(
        "lemma_c2_meant",
        "Lemma C.2, proof, (56)",
        Form.REPAIRED,
        "the meant reading y_1 = sigma_max(Phi), y_2 = -||Phi||_F of (56) holds for rates lambda_1 <= 0 <= "
        "lambda_2 that bound the windows of g_h(t) as in (55) (n >= 2: t > 0 and h > 1, because no rate "
        "bounds an empty window)",
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=meant("l1 <= 0", "0 <= l2"),
        letters=NAMES,
        witness={"T": 2, "h": 1, "t": 0, "n": 1, "l1": 0, "l2": 1, "Phi": [[3]], "D": {0: [["1/4"]]}},
        route=meant_route,
        twin_goal=meant("0 <= l2"),
        twin_statement="any lambda_1",
        twin_values={"T": 1, "h": 1, "t": 0, "n": 1, "l1": 1, "l2": 2, "Phi": [[0]], "D": {0: [[2]]}},
        evidence="every layer, horizon and Phi",
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
