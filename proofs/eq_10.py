"""Eq. (10): horizon 1 is the local loss, horizon T is back-propagation.

Problem. g_FF = g_1 and g_BP = g_T.

Statement. For h = 1 and 0 <= t < T, g_1(t) = (W_0^{t+1} - Phi)(W_0^t)^T is the gradient of the local loss
1/2 ||W(t) W_0^t - Phi||_F^2 with respect to W(t); for h >= T, g_h(t) = g_T(t).

Guarantee. Identity. (h = 1 is the gradient of a local *terminal* loss, not Hinton's contrastive objective.)

Method. Expansion in the free algebra: the loss along W(t) + e E is a polynomial in e whose linear
coefficient is <g_1(t), E> for every direction E.

Reference. Eqs. (3), (4), (10) of arXiv 2409.19561.
"""

from __future__ import annotations

from typing import Any

from dlinear.certify import Proof, claim
from dlinear.certify.claims import Form, Relation, Verdict
from dlinear.certify.prover.statements import LETTERS, TWO_LAYERS, network


def local(slope: str) -> dict[str, Any]:
    """The loss after layer t, along a direction E."""
    moved = "(I + D(t) + e*E)*W(0, t) - Phi"
    fixed = "W(0, t+1) - Phi"
    return network(
        [
            f"1/2*ip({moved}, {moved}) == 1/2*ip({fixed}, {fixed}) + e*ip({slope}, E)"
            " + 1/2*e**2*ip(E*W(0, t), E*W(0, t))"
        ],
        ["h == 1", "t + 1 <= T"],
        bound=None,
        gradients=True,
        t="natural",
        e="real",
        E="matrix",
    )


def full(least: str) -> dict[str, Any]:
    """The full horizon."""
    return network(
        ["gh(t) == gT(t)"], [f"{least} <= t + h", "t + 1 <= T"], bound=None, gradients=True, t="natural"
    )


def forward(goal: dict[str, Any]) -> dict[str, Any]:
    """The certificate for h = 1."""
    p = Proof(goal)
    [formula] = goal["conclusions"]
    one = p.assume("h == 1")
    step = p.window_step("W", "0", "t")
    inside = p.linear("t + h <= T", {p.assume("t + 1 <= T"): "1", one: "1"})
    near = p.definition("gh", "t", 0, [inside])
    near = p.substitute(one, near, "gh(t) == W(t+1, t+1).T*(W(0, t+1) - Phi)*W(0, t).T")
    near = p.substitute(p.window_empty("W", "t+1"), near, "gh(t) == (W(0, t+1) - Phi)*W(0, t).T")
    opened = formula.replace("gh(t)", "((W(0, t+1) - Phi)*W(0, t).T)")
    plain = p.linear(opened.replace("W(0, t+1)", "((I + D(t))*W(0, t))"))
    return p.finish(p.substitute(near, p.substitute(step, plain, opened), formula))


def backward(goal: dict[str, Any]) -> dict[str, Any]:
    """The certificate for a horizon that reaches the end."""
    p = Proof(goal)
    near = p.definition("gh", "t", 1, [p.assume(goal["hypotheses"][0])])
    same = p.matrix("gh(t) == gT(t)", {near: ("I", "I"), p.definition("gT", "t"): ("-I", "I")})
    return p.finish(same)


CLAIMS = (
    claim(
        "eq_10_forward",
        "(10), g_FF = g_1",
        Form.PRINTED,
        "g_1(t) is the gradient of the loss 1/2 ||W(t) W_0^t - Phi||_F^2 of block t alone",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=local("gh(t)"),
        letters=LETTERS | {"e": "size of the change", "E": "direction of the change of W(t)"},
        witness=TWO_LAYERS
        | {
            "h": 1,
            "t": 0,
            "e": 1,
            "E": [[1]],
            "Phi": [[3]],
        },
        route=forward,
        twin_goal=local("2*gh(t)"),
        twin_statement="twice the gradient",
        evidence="a terminal loss per block, not Hinton's contrastive objective",
        assumes="the gradient is the linear part of the loss along W(t) + e E",
        function="dlinear.horizon_gradients",
        test="tests/certify/test_proofs.py",
    ),
    claim(
        "eq_10_backward",
        "(10), g_BP = g_T",
        Form.PRINTED,
        "g_h(t) = g_T(t) as soon as t + h >= T, so that g_h = g_T for h >= T",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=full("T"),
        letters=LETTERS,
        witness=TWO_LAYERS | {"h": 2, "t": 0, "Phi": [[3]]},
        route=backward,
        twin_goal=full("T - 1"),
        twin_statement="already for t + h >= T - 1",
        evidence="every layer and every horizon that reaches the end",
        function="dlinear.horizon_gradients",
        test="tests/certify/test_proofs.py",
    ),
)
