"""Theorem G5 (new): what replaces the balancedness of neighbouring layers.

Problem. Along back-propagation's flow W(t)' = -g_T(t), W(t+1)^T W(t+1) - W(t) W(t)^T does not change. What
does it do along the flow of a horizon, g(t) = (W_{t+1}^s)^T rho_s P_t^T, s = t + h, with rho_s = P_s - Phi
(plain) or R = P_T - Phi (anchored)?

Statement. Along W(t)' = -g(t) the derivative of W(t+1)^T W(t+1) - W(t) W(t)^T is -(X + X^T),

    X = W(t+1)^T g(t+1) - g(t) W(t)^T = (W_{t+1}^s)^T [W(s)^T rho_{s+1} - rho_s] P_{t+1}^T,       s < T,

and X = 0 for t >= m = T - h: the last h blocks stay balanced among themselves. The bracket is

    anchored:  D(s)^T R,   at most (c/T) ||R||_F: it vanishes with the residual,
    plain:     D(s)^T rho_s + W(s)^T D(s) P_s, which need not.

Guarantee. Identities and a bound for every layer; the derivative of the products is left to the reader.

Method. W_{t+1}^{s+1} = W(s) W_{t+1}^s = W_{t+2}^{s+1} W(t+1) by induction, and expansion.
"""

from __future__ import annotations

from typing import Any

from dlinear.certify import Proof, claim
from dlinear.certify.claims import Form, Relation, Verdict
from dlinear.certify.prover import lemmas
from dlinear.certify.prover.statements import GRADIENTS, LETTERS, network

LOSS = "(W(0, T) - Phi)"
ANCHORED = {"if": ["t + h <= T"], "then": f"W(t+1, t+h).T*{LOSS}*W(0, t).T"}
CHANGE = "(I + D(t+1)).T*gh(t+1) - gh(t)*(I + D(t)).T"
PLAIN_BRACKET = "D(t+h).T*(W(0, t+h) - Phi) + (I + D(t+h)).T*D(t+h)*W(0, t+h)"


def statement(conclusions: list[str], hypothesis: str, *, anchored: bool) -> dict[str, Any]:
    """A goal about a layer t and its neighbour."""
    goal = network(conclusions, [hypothesis], h="posint", Phi="matrix", t="natural")
    cases = [ANCHORED, GRADIENTS["gh"]["cases"][1]] if anchored else GRADIENTS["gh"]["cases"]
    goal["definitions"] = {"gh": {"index": "t", "cases": list(cases)}}
    return goal


def windows(p: Proof) -> tuple[int, int, int]:
    """W(0, t+1), W(t+1, t+h+1) by its last layer, and by its first."""
    past = p.linear("0 <= h - 1", {p.sort("h"): "1"})
    split = lemmas.split(p)
    first = p.instantiate(split, [past], s0="t+1", i0="1", k0="h-1")
    empty, one = p.window_empty("W", "t+1"), p.window_step("W", "t+1", "t+1")
    first = p.matrix(
        "W(t+1, t+h+1) == W(t+2, t+h+1)*(I + D(t+1))",
        {first: ("I", "I"), one: ("W(t+2, t+h+1)", "I"), empty: ("W(t+2, t+h+1)*(I + D(t+1))", "I")},
    )
    return p.window_step("W", "0", "t"), p.window_step("W", "t+1", "t+h", past_end(p)), first


def past_end(p: Proof) -> int:
    """t + 1 <= t + h."""
    return p.linear("t + 1 <= t + h", {p.sort("h"): "1"})


def signal(p: Proof, *, anchored: bool, inside: int) -> int:
    """gh(t+1), whose end t + h + 1 may be T, in the form of a window."""
    end = "W(0, T)" if anchored else "W(0, t+h+1)"
    wanted = f"gh(t+1) == W(t+2, t+h+1).T*({end} - Phi)*W(0, t+1).T"
    return p.matrix(wanted, {p.definition("gh", "t+1", 0, [inside]): ("I", "I")})


def prove(goal: dict[str, Any], *, anchored: bool) -> dict[str, Any]:
    """The bracket, for s < T; anchored also its size."""
    p = Proof(goal, **{k: v for k, v in lemmas.SYMBOLS.items() if k not in goal["symbols"]})
    inside = p.assume(goal["hypotheses"][0])
    state, last, first = windows(p)
    near = p.definition("gh", "t", 0, [p.linear("t + h <= T", {inside: "1"})])
    after = signal(p, anchored=anchored, inside=p.linear("t + 1 + h <= T", {inside: "1"}))
    left, loss = "W(t+1, t+h).T", LOSS if anchored else "(W(0, t+h+1) - Phi)"
    own = LOSS if anchored else "(W(0, t+h) - Phi)"
    premises = {
        after: ("(I + D(t+1)).T", "I"),
        near: ("-I", "(I + D(t)).T"),
        first: ("-I", f"{loss}*W(0, t+1).T"),
        last: ("I", f"{loss}*W(0, t+1).T"),
        state: (f"{left}*{own}", "I"),
    }
    if not anchored:
        premises[p.window_step("W", "0", "t+h")] = (f"{left}*(I + D(t+h)).T", "W(0, t+1).T")
    found = p.matrix(goal["conclusions"][0], premises, transposed=[first, last, state])
    if not anchored:
        return p.finish(found)
    turned = p.axiom("N_transpose", "D(t+h)")
    size = p.linear(
        f"F(D(t+h).T*{LOSS}) <= c/T*F{LOSS}",
        {
            p.axiom("F_product_NF", "D(t+h).T", LOSS): "1",
            turned: f"F{LOSS}",
            p.layer("D", "t+h"): f"F{LOSS}",
        },
    )
    return p.finish(found, size)


def prove_tail(goal: dict[str, Any]) -> dict[str, Any]:
    """Both windows end at T."""
    p = Proof(goal, **{k: v for k, v in lemmas.SYMBOLS.items() if k not in goal["symbols"]})
    late, room = (p.assume(text) for text in goal["hypotheses"])
    rest = p.linear("0 <= T - t - 2", {room: "1"})
    first = p.instantiate(lemmas.split(p), [rest], s0="t+1", i0="1", k0="T-t-2")
    empty, one = p.window_empty("W", "t+1"), p.window_step("W", "t+1", "t+1")
    near = p.definition("gh", "t", 1, [late])
    after = p.definition("gh", "t+1", 1, [p.linear("T <= t + 1 + h", {late: "1"})])
    tail = "W(t+2, T)"
    whole = p.matrix(
        f"W(t+1, T) == {tail}*(I + D(t+1))",
        {first: ("I", "I"), one: (tail, "I"), empty: (f"{tail}*(I + D(t+1))", "I")},
    )
    state = p.window_step("W", "0", "t")
    found = p.matrix(
        goal["conclusions"][0],
        {
            after: ("(I + D(t+1)).T", "I"),
            near: ("-I", "(I + D(t)).T"),
            whole: ("-I", f"{LOSS}*W(0, t+1).T"),
            state: (f"W(t+1, T).T*{LOSS}", "I"),
        },
        transposed=[whole, state],
    )
    return p.finish(found)


def bracket(inner: str) -> str:
    """X in the form of the statement."""
    return f"{CHANGE} == W(t+1, t+h).T*({inner})*W(0, t+1).T"


def tail_goal(layer: str) -> dict[str, Any]:
    """X = 0 where both windows end at T."""
    goal = statement([f"{CHANGE} == 0*I"], f"T <= {layer}", anchored=False)
    return {**goal, "hypotheses": [f"T <= {layer}", "t + 2 <= T"]}


def anchored_goal(inner: str) -> dict[str, Any]:
    """X of the anchored rule and the size of its bracket."""
    size = f"F(D(t+h).T*{LOSS}) <= c/T*F{LOSS}"
    return statement([bracket(inner), size], "t + h + 1 <= T", anchored=True)


NAMES = LETTERS | {"gh": "g(t)"}
WITNESS = {"T": 3, "n": 1, "D": {0: [["1/4"]]}, "c": 1, "h": 1, "t": 0, "Phi": [[3]]}
TEST = "tests/certify/test_anchored_proofs.py::test_theorem_g5_holds_for_the_gradients_of_the_library"

CLAIMS = (
    claim(
        "theorem_g5_plain",
        "Theorem G5",
        Form.NEW,
        "plain horizon, s = t + h < T: W(t+1)^T g(t+1) - g(t) W(t)^T = "
        "(W_{t+1}^s)^T [D(s)^T rho_s + W(s)^T D(s) P_s] P_{t+1}^T, rho_s = P_s - Phi",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=statement([bracket(PLAIN_BRACKET)], "t + h + 1 <= T", anchored=False),
        witness=WITNESS,
        route=lambda goal: prove(goal, anchored=False),
        twin_goal=statement([bracket(f"D(t+h).T*{LOSS}")], "t + h + 1 <= T", anchored=False),
        twin_statement="the bracket of the anchored rule",
        letters=NAMES,
        evidence="-(X + X^T) is the derivative of W(t+1)^T W(t+1) - W(t) W(t)^T along the flow",
        function="dlinear.horizon_gradients",
        test=TEST,
    ),
    claim(
        "theorem_g5_anchored",
        "Theorem G5",
        Form.NEW,
        "anchored horizon, s < T: W(t+1)^T g(t+1) - g(t) W(t)^T = (W_{t+1}^s)^T D(s)^T R P_{t+1}^T, "
        "||D(s)^T R||_F <= (c/T) ||R||_F",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=anchored_goal(f"D(t+h).T*{LOSS}"),
        witness=WITNESS,
        route=lambda goal: prove(goal, anchored=True),
        twin_goal=anchored_goal(f"(I + D(t+h)).T*{LOSS}"),
        twin_statement="W(s)^T R in place of D(s)^T R",
        letters=NAMES,
        evidence="the drift from balancedness vanishes with the residual",
        function="dlinear.horizon_gradients",
        test=TEST,
    ),
    claim(
        "theorem_g5_tail",
        "Theorem G5",
        Form.NEW,
        "W(t+1)^T g(t+1) = g(t) W(t)^T for T - h <= t <= T - 2: the last h blocks stay balanced",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=tail_goal("t + h"),
        witness=WITNESS | {"h": 3},
        route=prove_tail,
        twin_goal=tail_goal("t + h + 1"),
        twin_statement="one layer more",
        letters=NAMES,
        evidence="h = T: all layers, the known law of back-propagation",
        function="dlinear.horizon_gradients",
        test=TEST,
    ),
)
