"""Fixed points of horizon training (new): the optimum with an identity tail.

Problem. Where does training with g_h stop, and is it a minimum of the loss?

Statement. Layers invertible. (i) If t + h <= T, g_h(t) = 0 implies W_0^{t+h} = Phi. (ii) W_0^s = Phi at s
= min(t + h, T) implies g_h(t) = 0. (iii) If W_0^s = W_0^{s+1} is invertible then W(s) = I. So g_h vanishes
for all t iff W_0^s = Phi for every s >= h: the full loss is optimal and all layers from h on are the
identity (for invertible Phi). (iv) A shorter horizon h' < h is not stationary there: an exact example.

Guarantee. Equivalence for every network with invertible layers; (iv) exact counterexample.

Method. sigma_min(L) ||X||_F sigma_min(R) <= ||L X R||_F forces X = 0.

Reference. New; compare the remark after eq. (10) of arXiv 2409.19561.
"""

from __future__ import annotations

from typing import Any

from dlinear.certify import Proof, claim, refutation
from dlinear.certify.claims import Form, Relation, Verdict
from dlinear.certify.prover import lemmas
from dlinear.certify.prover.statements import LETTERS, TWO_LAYERS, network

INVERTIBLE = ["0 < S(W(t+1, t+h))", "0 < S(W(0, t))"]


def forward(end: str) -> dict[str, Any]:
    """(i)"""
    return network(
        [f"W(0, {end}) == Phi"],
        ["gh(t) == 0*I", "t + h <= T", *INVERTIBLE],
        bound=None,
        gradients=True,
        t="natural",
    )


def backward(states: tuple[str, str]) -> dict[str, Any]:
    """(ii), with the two cases of the end as one hypothesis each."""
    return network(
        ["gh(t) == 0*I", "gT(t) == 0*I"],
        [f"W(0, {state}) == Phi" for state in states] + ["t + h <= T"],
        bound=None,
        gradients=True,
        t="natural",
    )


def tail(layer: str) -> dict[str, Any]:
    """(iii)"""
    return network(
        [f"D({layer}) == 0*I"],
        ["W(0, s) == Phi", "W(0, s+1) == Phi", "0 < S(Phi)"],
        bound=None,
        s="natural",
        Phi="matrix",
    )


def shorter(horizon: int) -> dict[str, Any]:
    """(iv): at a fixed point of horizon 2 the horizon gradient of layer 0 vanishes."""
    return network(
        [f"W(1, {horizon}).T*(W(0, {horizon}) - Phi)*W(0, 0).T == 0*I"],
        ["W(0, 2) == Phi", "W(0, 3) == Phi", "T == 3"],
        bound=None,
        Phi="matrix",
    )


def prove_forward(goal: dict[str, Any]) -> dict[str, Any]:
    """The certificate of (i)."""
    p = Proof(goal, **lemmas.SYMBOLS)
    zero, inside, *positive = (p.assume(text) for text in goal["hypotheses"])
    after, before, loss = "W(t+1, t+h)", "W(0, t)", "(W(0, t+h) - Phi)"
    equal = p.definition("gh", "t", 0, [inside])
    vanish = p.linear("F(0*I) <= 0")
    vanish = p.substitute(zero, vanish, "F(gh(t)) <= 0")
    vanish = p.substitute(equal, vanish, f"F({after}.T*{loss}*{before}.T) <= 0")
    x, y = p.assume(f"x0 == S({after})"), p.assume(f"y0 == S({before})")
    none = p.linear(
        f"F{loss} <= 0",
        {
            vanish: "1/(x0*y0)",
            p.axiom("F_product_FS", f"{after}.T*{loss}", f"{before}.T"): "1/(x0*y0)",
            p.axiom("F_product_SF", f"{after}.T", loss): f"S({before}.T)/(x0*y0)",
            p.axiom("S_transpose", after): f"-S({before}.T)*F{loss}/(x0*y0)",
            p.axiom("S_transpose", before): f"-S({after})*F{loss}/(x0*y0)",
            x: f"S({before})*F{loss}/(x0*y0)",
            y: f"F{loss}/y0",
        },
    )
    sides = {"x0_side": str(positive[0]), "y0_side": str(positive[1])}
    none = lemmas.close(p, none, x0=f"S({after})", y0=f"S({before})", **sides)
    return p.finish(p.definite(none, goal["conclusions"][0]))


def prove_backward(goal: dict[str, Any]) -> dict[str, Any]:
    """The certificate of (ii)."""
    p = Proof(goal)
    near, full, inside = (p.assume(text) for text in goal["hypotheses"])
    first = p.matrix(
        "gh(t) == 0*I",
        {p.definition("gh", "t", 0, [inside]): ("I", "I"), near: ("W(t+1, t+h).T", "W(0, t).T")},
    )
    second = p.matrix(
        "gT(t) == 0*I", {p.definition("gT", "t"): ("I", "I"), full: ("W(t+1, T).T", "W(0, t).T")}
    )
    return p.finish(first, second)


def prove_tail(goal: dict[str, Any]) -> dict[str, Any]:
    """The certificate of (iii): D(s) Phi = 0 with Phi invertible."""
    p = Proof(goal, **lemmas.SYMBOLS)
    now, then, positive = (p.assume(text) for text in goal["hypotheses"])
    product = p.matrix(
        "D(s)*Phi == 0*I",
        {p.window_step("W", "0", "s"): ("-I", "I"), then: ("I", "I"), now: ("-(I + D(s))", "I")},
    )
    vanish = p.substitute(product, p.linear("F(0*I) <= 0"), "F(D(s)*Phi) <= 0")
    x = p.assume("x0 == S(Phi)")
    none = p.linear(
        "F(D(s)) <= 0",
        {vanish: "1/x0", p.axiom("F_product_FS", "D(s)", "Phi"): "1/x0", x: "F(D(s))/x0"},
    )
    none = lemmas.close(p, none, x0="S(Phi)", x0_side=str(positive))
    return p.finish(p.definite(none, goal["conclusions"][0]))


def example(goal: dict[str, Any]) -> dict[str, Any]:
    """Two layers reach Phi, the third is the identity; after one layer the state is not yet Phi."""
    layers = {0: [[0, 1], [0, 0]], 1: [[0, 0], [1, 0]]}
    return refutation(goal, {"n": 2, "T": 3, "Phi": [[1, 1], [1, 2]], "D": layers})


CLAIMS = (
    claim(
        "fixed_points_forward",
        "Fixed points (i)",
        Form.NEW,
        "g_h(t) = 0, t + h <= T and invertible W_{t+1}^{t+h}, W_0^t imply W_0^{t+h} = Phi",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=forward("t+h"),
        letters=LETTERS,
        witness=TWO_LAYERS | {"h": 1, "t": 0, "Phi": [["5/4"]]},
        route=prove_forward,
        twin_goal=forward("t"),
        twin_statement="W_0^t = Phi",
        evidence="every layer t with t + h <= T",
        function="dlinear.horizon_gradients",
        test="tests/certify/test_proofs.py",
    ),
    claim(
        "fixed_points_backward",
        "Fixed points (ii)",
        Form.NEW,
        "W_0^{t+h} = Phi and W_0^T = Phi imply g_h(t) = 0 and g_T(t) = 0 (t + h <= T)",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=backward(("t+h", "T")),
        letters=LETTERS,
        witness={"T": 2, "n": 1, "D": {0: [["1/4"]]}, "h": 1, "t": 0, "Phi": [["5/4"]]},
        route=prove_backward,
        twin_goal=backward(("t+h-1", "T")),
        twin_statement="Phi is reached one layer earlier only",
        evidence="every layer",
        function="dlinear.horizon_gradients",
        test="tests/certify/test_proofs.py",
    ),
    claim(
        "fixed_points_tail",
        "Fixed points (iii)",
        Form.NEW,
        "W_0^s = W_0^{s+1} = Phi invertible implies W(s) = I",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=tail("s"),
        letters=LETTERS,
        witness={"T": 2, "n": 1, "D": {0: [["1/4"]]}, "s": 1, "Phi": [["5/4"]]},
        route=prove_tail,
        twin_goal=tail("(s-1)"),
        twin_statement="the layer before",
        evidence="every s",
        test="tests/certify/test_proofs.py",
    ),
    claim(
        "fixed_points_shorter",
        "Fixed points (iv)",
        Form.NEW,
        "T = 3: W_0^2 = W_0^3 = Phi, a fixed point of horizon 2, is stationary for the horizon 1 (layer 0)",
        Relation.IDENTITY,
        Verdict.REFUTED,
        goal=shorter(1),
        letters=LETTERS,
        route=example,
        twin_goal=shorter(2),
        twin_statement="horizon 2 itself, which the example must not refute",
        function="dlinear.horizon_gradients",
        test="tests/certify/test_proofs.py",
    ),
)
