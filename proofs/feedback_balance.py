"""Identities I8 (new): what feedback alignment and PEPITA conserve, linear layers.

Problem. Along back-propagation's flow W(t+1)^T W(t+1) - W(t) W(t)^T does not change. What do other rules
keep?

Statement. (a) Feedback alignment with the feedback B between the neighbours W (below) and V: a step of size
eta changes W W^T - B V - (B V)^T by eta^2 G G^T alone, G the step of W. From zero the symmetric part of B V
is W W^T/2 along the flow: alignment is forced. Direct feedback: the same with B1 B2^{-1} (I4). (b) PEPITA
with the clean presynaptic term: the step of the next layer is W(t+1) G(t) W(t)^T, exactly, and G(t) W(t)^T
= -s P_{t+1} F U, U the step of the last layer if that is the next one.

Guarantee. For every size of the step, layers, feedback and data. Layers of other shapes are these with rows
or columns of zeros.

Method. G W^T = B E H^T W^T = B U; one layer more on both sides; expansion.
"""

from __future__ import annotations

from typing import Any

from dlinear.certify import Proof, claim
from dlinear.certify.claims import Form, Relation, Verdict
from dlinear.certify.prover.statements import LETTERS, network


def conserved(order: str) -> dict[str, Any]:
    """I8, feedback alignment: neighbours W, V with the feedback B between them."""
    after = "(W - eta*G)*(W - eta*G).T - B*(V - eta*U) - (B*(V - eta*U)).T"
    before = f"W*W.T - B*V - (B*V).T + {order}*G*G.T"
    return {
        "symbols": {"eta": "real", **dict.fromkeys("WVBEHGU", "matrix")},
        "hypotheses": ["G == B*E*H.T", "U == E*(W*H).T"],
        "conclusions": ["G*W.T == B*U", f"{after} == {before}"],
    }


def prove_conserved(goal: dict[str, Any]) -> dict[str, Any]:
    """G W^T = B E H^T W^T = B U."""
    p = Proof(goal)
    first, second = (p.assume(text) for text in goal["hypotheses"])
    same = p.matrix(goal["conclusions"][0], {first: ("I", "W.T"), second: ("-B", "I")})
    turned = p.matrix("W*G.T == (B*U).T", {same: ("I", "I")}, transposed=[same])
    return p.finish(same, p.matrix(goal["conclusions"][1], {same: ("-eta*I", "I"), turned: ("-eta*I", "I")}))


def pepita(right: str) -> dict[str, Any]:
    """I8, PEPITA with the clean presynaptic term."""
    conclusions = [
        f"g(t+1) == (I + D(t+1))*g(t)*{right}",
        "g(t)*(I + D(t)).T == -s*W(0, t+1)*Z*(E*X.T*W(0, t+1).T)",
    ]
    goal = network(conclusions, [], bound=None, t="natural", s="real", X="matrix", E="matrix", Z="matrix")
    term = "(W(0, t+1)*X - W(0, t+1)*(X + s*Z*E))*(W(0, t)*X).T"
    return {**goal, "definitions": {"g": {"index": "t", "cases": [{"if": [], "then": term}]}}}


def prove_pepita(goal: dict[str, Any]) -> dict[str, Any]:
    """One layer more on both sides."""
    p = Proof(goal)
    near, after = p.definition("g", "t"), p.definition("g", "t+1")
    state, more = p.window_step("W", "0", "t"), p.window_step("W", "0", "t+1")
    step = p.matrix(
        goal["conclusions"][0],
        {
            after: ("I", "I"),
            near: ("-(I + D(t+1))", "(I + D(t)).T"),
            more: ("-s*I", "Z*E*X.T*W(0, t+1).T"),
            state: ("-s*(I + D(t+1))*W(0, t+1)*Z*E*X.T", "I"),
        },
        transposed=[state],
    )
    factors = {near: ("I", "(I + D(t)).T"), state: ("s*W(0, t+1)*Z*E*X.T", "I")}
    return p.finish(step, p.matrix(goal["conclusions"][1], factors, transposed=[state]))


NAMES = LETTERS | {
    "E": "errors of the last layer, a sample in each column",
    "X": "inputs, a sample in each column",
    "H": "activities that enter the layer",
    "eta": "size of the step",
}
TEST = "tests/certify/test_rule_proofs.py"

CLAIMS = (
    claim(
        "balance_feedback",
        "I8",
        Form.NEW,
        "feedback alignment, W below V, steps G and U: G W^T = B U, and a step of size eta changes "
        "W W^T - B V - (B V)^T by eta^2 G G^T alone",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=conserved("eta**2"),
        witness={"eta": 1, **{name: [[1]] for name in "WVBEHGU"}},
        route=prove_conserved,
        twin_goal=conserved("eta"),
        twin_statement="eta in place of eta^2",
        letters=NAMES
        | {
            "W": "the layer below",
            "V": "the layer above",
            "B": "feedback between them; for direct feedback B1 B2^{-1}",
            "E": "signal at the layer above",
            "G": "step of W, B E H^T",
            "U": "step of V, E (W H)^T",
        },
        evidence="along the flow from zero the symmetric part of B V is W W^T/2: alignment is forced",
        test=TEST,
    ),
    claim(
        "balance_pepita",
        "I8",
        Form.NEW,
        "PEPITA, clean presynaptic term: G(t+1) = W(t+1) G(t) W(t)^T, and G(t) W(t)^T = -s P_{t+1} F U with "
        "U = e h_{t+1}^T, the step of the last layer if that is layer t + 1",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=pepita("(I + D(t)).T"),
        witness=None,
        route=prove_pepita,
        twin_goal=pepita("(I + D(t))"),
        twin_statement="W(t) in place of W(t)^T",
        letters=NAMES
        | {"g": "(h - herr) h^T of layer t, summed over samples", "Z": "F", "s": "sign of the error"},
        evidence="scalars: the flow conserves w(t)^2/2 - ln|w(t+1)|; two layers: w(0) + s F w(1), exactly",
        function="dlinear.engine.feedback_gradients.pepita_gradients",
        test=TEST,
    ),
)
