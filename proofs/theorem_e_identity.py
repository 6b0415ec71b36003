"""(D2), (D3) (new): what a horizon with a surrogate tail misses, exactly.

Problem. A rule puts Z_s in the place of the tail E_s = W_s^T that block t's window, up to s = t + h < T, does
not see, and hands the signal V_s to the end of the window: g(t) = (W_{t+1}^s)^T V_s (W_0^t)^T. The value rule
takes V_s = Z_s^T (Z_s P_s - Phi), the gradient of the loss after the rollout; the anchored rule V_s = Z_s^T R
with the true end error R = P_T - Phi. What do they miss of the full gradient, P_s = W_0^s?

Statement. With M_s = Z_s - E_s, for any surrogate, layers, Phi:

    value:     g(t) - g_T(t) = (W_{t+1}^s)^T [Z_s^T M_s P_s + M_s^T R] (W_0^t)^T                    (D2)
    anchored:  g(t) - g_T(t) = (W_{t+1}^s)^T  M_s^T R  (W_0^t)^T                                    (D3)

Guarantee. Identities. Z = I, value: identity (D) of the plain horizon. Z = E: both are back-propagation.

Method. W_{t+1}^T = E_s W_{t+1}^s, P_T = E_s P_s by induction; then expansion in the free algebra.
"""

from __future__ import annotations

from typing import Any

from dlinear.certify import claim
from dlinear.certify.claims import Form, Relation, Verdict
from dlinear.certify.prover import surrogates
from dlinear.certify.prover.statements import TWO_LAYERS
from dlinear.certify.prover.surrogates import LOSS, Rule

VALUE, ANCHORED = Rule(anchored=False), Rule(anchored=True)
SIDES = "gh(t) - gT(t) == W(t+1, t+h).T*({})*W(0, t).T"
MISSED = "(Z(t+h) - W(t+h, T))"


def statement(rule: Rule, missed: str) -> dict[str, Any]:
    """(D2) or (D3) for a layer whose window ends before T."""
    return surrogates.statement(
        rule, [SIDES.format(missed)], ["t + h + 1 <= T"], extra={"Z": None}, t="natural"
    )


def route(rule: Rule, goal: dict[str, Any]) -> dict[str, Any]:
    """`surrogates.identity` at k = T - t - h."""
    p = surrogates.begin(goal)
    found = surrogates.identity(p, rule, p.assume("T == t + h + k"))
    some = p.linear("1 <= T - t - h", {p.assume("t + h + 1 <= T"): "1"})
    found = p.instantiate(found, [some], k="T - t - h")
    found = p.cut(found, p.linear("T == t + h + (T - t - h)"))
    return p.finish(p.matrix(goal["conclusions"][0], {found: ("I", "I")}))


D2 = f"Z(t+h).T*{MISSED}*W(0, t+h) + {MISSED}.T*{LOSS}"
D3 = f"{MISSED}.T*{LOSS}"
WITNESS = TWO_LAYERS | {"c": 1, "h": 1, "t": 0, "Phi": [[3]], "Z": {1: [["1/2"]]}}
TEST = "tests/certify/test_anchored_proofs.py::test_the_identities_hold_for_the_rules_of_the_library"

CLAIMS = (
    claim(
        "theorem_e_identity_value",
        "(D2)",
        Form.NEW,
        "value rule, any surrogate Z_s of E_s = W_s^T, s = t + h < T: "
        "g - g_T = (W_{t+1}^s)^T [Z_s^T (Z_s - E_s) P_s + (Z_s - E_s)^T R] P_t^T",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=statement(VALUE, D2),
        letters=surrogates.NAMES,
        witness=WITNESS,
        route=lambda goal: route(VALUE, goal),
        twin_goal=statement(VALUE, D2.replace("Z(t+h).T*", "", 1)),
        twin_statement="without Z_s^T before the first term",
        evidence="every surrogate, layer, Phi; Z_s = I is identity (D) of the plain horizon",
        function="dlinear.horizon_gradients",
        test=TEST,
    ),
    claim(
        "theorem_e_identity_anchored",
        "(D3)",
        Form.NEW,
        "anchored rule, any surrogate: g - g_T = (W_{t+1}^s)^T (Z_s - E_s)^T R P_t^T",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=statement(ANCHORED, D3),
        letters=surrogates.NAMES,
        witness=WITNESS,
        route=lambda goal: route(ANCHORED, goal),
        twin_goal=statement(ANCHORED, D2),
        twin_statement="with the term of the value rule",
        evidence="every surrogate, layer, Phi: neither P_s nor Phi enters but through R",
        function="dlinear.horizon_gradients",
        test=TEST,
    ),
)
