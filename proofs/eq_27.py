"""Eq. (27): the horizon gradient of a deep linear network.

Problem. The gradient of 1/2 ||W_0^s - Phi||_F^2 with respect to the layer W(t), t < s = min(t + h, T).

Statement. (27'): it is (W_{t+1}^s)^T (W_0^s - Phi) (W_0^t)^T. The right factor printed in (27),
(W_0^{t-1})^T, is wrong by one layer under the paper's own convention W_a^b = W(b-1) ... W(a).

Guarantee. Identity for every layer, direction and end s; counterexample for the printed factor.

Method. Along W(t) + e E the loss is a polynomial in e; non-commutative expansion, with traces up to
rotation and transposition, gives J(e) = J(0) + e <G, E> + (e^2/2) ||W_{t+1}^s E W_0^t||^2 for every E, so
G is the gradient.

Reference. Eq. (27) of arXiv 2409.19561.
"""

from __future__ import annotations

from typing import Any

from dlinear.certify import Proof, claim, refutation
from dlinear.certify.claims import Form, Relation, Verdict
from dlinear.certify.prover import lemmas
from dlinear.certify.prover.statements import LETTERS, TWO_LAYERS, network

NAMES = LETTERS | {
    "s": "the end min(t + h, T) of the window: any t < s <= T",
    "e": "size of the change",
    "E": "direction of the change of W(t)",
}


def statement(factor: str, layer: str = "natural") -> dict[str, Any]:
    """The loss along W(t) + e E, with the right factor of its gradient, for t of the sort `layer`."""
    moved = "W(t+1, s)*(I + D(t) + e*E)*W(0, t) - Phi"
    fixed = "W(0, s) - Phi"
    second = "W(t+1, s)*E*W(0, t)"
    return network(
        [
            f"1/2*ip({moved}, {moved}) == 1/2*ip({fixed}, {fixed})"
            f" + e*ip(W(t+1, s).T*({fixed})*{factor}.T, E) + 1/2*e**2*ip({second}, {second})"
        ],
        ["t + 1 <= s", "s <= T"],
        bound=None,
        t=layer,
        s="natural",
        e="real",
        E="matrix",
        Phi="matrix",
    )


def route(goal: dict[str, Any]) -> dict[str, Any]:
    """The certificate: W_0^s = W_{t+1}^s W(t) W_0^t, then expansion."""
    p = Proof(goal, **lemmas.SYMBOLS)
    [formula] = goal["conclusions"]
    room = p.linear("0 <= s - t - 1", {p.assume("t + 1 <= s"): "1"})
    cut = p.instantiate(lemmas.split(p), [room], s0="0", i0="t+1", k0="s-t-1")
    whole = "W(t+1, s)*(I + D(t))*W(0, t)"
    path = p.matrix(
        f"W(0, s) == {whole}", {cut: ("I", "I"), p.window_step("W", "0", "t"): ("W(t+1, s)", "I")}
    )
    plain = p.linear(formula.replace("W(0, s)", f"({whole})"))
    return p.finish(p.substitute(path, plain, formula))


def example(goal: dict[str, Any]) -> dict[str, Any]:
    """One neuron: W(0) = 2, W(1) = 1, Phi = 0, t = 1, s = 2, direction 1."""
    one = [[1]]
    return refutation(goal, {"T": 3, "t": 1, "s": 2, "e": 1, "E": one, "Phi": [[0]], "D": {0: one}})


CLAIMS = (
    claim(
        "eq_27_printed",
        "(27)",
        Form.PRINTED,
        "the gradient of layer t >= 1 is (W_{t+1}^s)^T (W_0^s - Phi) (W_0^{t-1})^T (at t = 0 undefined)",
        Relation.IDENTITY,
        Verdict.REFUTED,
        goal=statement("W(0, t-1)", "posint"),
        letters=NAMES,
        route=example,
        twin_goal=statement("W(0, t)", "posint"),
        twin_statement="the repaired factor (W_0^t)^T, which the example must not refute",
        assumes="the gradient is the linear part of the loss along W(t) + e E",
        function="dlinear.horizon_gradients",
        test="tests/certify/test_proofs.py",
        figure="autograd_error",
    ),
    claim(
        "eq_27",
        "(27')",
        Form.REPAIRED,
        "the gradient of layer t = 0, 1, ... is (W_{t+1}^s)^T (W_0^s - Phi) (W_0^t)^T, s = min(t + h, T)",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=statement("W(0, t)"),
        letters=NAMES,
        witness=TWO_LAYERS
        | {
            "t": 0,
            "s": 1,
            "e": 1,
            "E": [[1]],
            "Phi": [[3]],
        },
        route=route,
        twin_goal=statement("W(0, t+1)"),
        twin_statement="right factor (W_0^{t+1})^T",
        evidence="every direction, layer 0 <= t < s and end s <= T",
        assumes="the gradient is the linear part of the loss along W(t) + e E",
        function="dlinear.horizon_gradients",
        test="tests/certify/test_proofs.py",
        figure="autograd_error",
    ),
)
