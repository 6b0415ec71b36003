"""Theorem G5 in steps (new): the balance of neighbouring layers under gradient descent with any horizon.

Problem. B(t) = W(t+1)^T W(t+1) - W(t) W(t)^T does not change along back-propagation's flow, and changes along
that of a horizon as Theorem G5 says. What do steps of size eta do, what do stages and rollouts, and how far
can the anchored horizon move B?

Statement. (a) Let two neighbours share the end e of their windows: g(t) = (W_{t+1}^e)^T V P_t^T with one
matrix V, any signal. Then W(t+1)^T g(t+1) = g(t) W(t)^T, and a step W -> W - eta g changes B(t) by
eta^2 (g(t+1)^T g(t+1) - g(t) g(t)^T) alone: the layers of a stage, and the last h layers of every rule, keep
their balance along the flow. (b) Any step changes B(t) by -eta (X + X^T) plus the same square, X =
W(t+1)^T g(t+1) - g(t) W(t)^T. (c) Anchored, ||X + X^T||_F <= 2 a^{T-1} (c/T) ||R||_F for every pair and
horizon. (d) If ||R|| falls by a factor q < 1 at least at each step, the first-order changes of a pair add up
to at most 2 eta a^{T-1} (c/T) ||R_0||/(1 - q), however many the steps.

Guarantee. Identities and bounds for every layer, width, signal and target.

Method. W_{t+1}^e = W_{t+2}^e W(t+1) and P_{t+1} = W(t) P_t; expansion; norms of windows; a geometric sum.
"""

from __future__ import annotations

from typing import Any

from dlinear.certify import Proof, claim
from dlinear.certify.claims import Form, Relation, Verdict
from dlinear.certify.letters import assumed
from dlinear.certify.prover import lemmas
from dlinear.certify.prover.statements import GRADIENTS, LETTERS, network

LOSS = "(W(0, T) - Phi)"
SIGNAL = {"g": {"index": "t", "cases": [{"if": [], "then": "W(t+1, e).T*V*W(0, t).T"}]}}
ANCHORED = {"if": ["t + h <= T"], "then": f"W(t+1, t+h).T*{LOSS}*W(0, t).T"}
LATER, EARLIER = "(I + D(t+1))", "(I + D(t))"
BALANCE = f"{LATER}.T*{LATER} - {EARLIER}*{EARLIER}.T"
MOVED = "{0}.T*{0} - {1}*{1}.T".format(f"({LATER} - eta*{{0}})", f"({EARLIER} - eta*{{1}})")


def change(later: str, earlier: str, first: str, square: str) -> str:
    """B after the step is B, plus the first order, plus the square."""
    after = MOVED.format(later, earlier)
    squares = f"{square}*({later}.T*{later} - {earlier}*{earlier}.T)"
    return f"{after} == {BALANCE} + {squares}{first}"


def stage(order: str) -> dict[str, Any]:
    """(a); a twin has another order of eta."""
    exchange = f"{LATER}.T*g(t+1) - g(t)*{EARLIER}.T == 0*I"
    step = change("g(t+1)", "g(t)", "", order)
    goal = network(
        [exchange, step], ["t + 2 <= e"], bound=None, V="matrix", t="natural", e="natural", eta="real"
    )
    return {**goal, "definitions": SIGNAL}


def prove_stage(goal: dict[str, Any]) -> dict[str, Any]:
    """The windows by their first layer and the states by their last."""
    p = Proof(goal, **{k: v for k, v in lemmas.SYMBOLS.items() if k not in goal["symbols"]})
    rest = p.linear("0 <= e - t - 2", {p.assume("t + 2 <= e"): "1"})
    first = p.instantiate(lemmas.split(p), [rest], s0="t+1", i0="1", k0="e-t-2")
    empty, one = p.window_empty("W", "t+1"), p.window_step("W", "t+1", "t+1")
    tail = "W(t+2, e)"
    whole = p.matrix(
        f"W(t+1, e) == {tail}*{LATER}",
        {first: ("I", "I"), one: (tail, "I"), empty: (f"{tail}*{LATER}", "I")},
    )
    state = p.window_step("W", "0", "t")
    near, after = p.definition("g", "t"), p.definition("g", "t+1")
    zero = p.matrix(
        goal["conclusions"][0],
        {
            after: (f"{LATER}.T", "I"),
            near: ("-I", f"{EARLIER}.T"),
            whole: ("-I", "V*W(0, t+1).T"),
            state: ("W(t+1, e).T*V", "I"),
        },
        transposed=[whole, state],
    )
    turned = p.matrix(f"g(t+1).T*{LATER} - {EARLIER}*g(t).T == 0*I", {zero: ("I", "I")}, transposed=[zero])
    step = p.matrix(goal["conclusions"][1], {zero: ("-eta*I", "I"), turned: ("-eta*I", "I")})
    return p.finish(zero, step)


def steps(sign: str) -> dict[str, Any]:
    """(b), for any two matrices U, V as gradients of layers t and t + 1."""
    exchange = f"({LATER}.T*V - U*{EARLIER}.T + ({LATER}.T*V - U*{EARLIER}.T).T)"
    step = change("V", "U", f" {sign} eta*{exchange}", "eta**2")
    return network([step], bound=None, U="matrix", V="matrix", t="natural", eta="real")


def rate(power: str) -> dict[str, Any]:
    """(c)."""
    exchange = f"{LATER}.T*gh(t+1) - gh(t)*{EARLIER}.T"
    goal = network(
        [f"F({exchange} + ({exchange}).T) <= 2*a**({power})*(c/T)*F{LOSS}"],
        ["t + h + 1 <= T", lemmas.UPPER],
        h="posint",
        Phi="matrix",
        t="natural",
        a="positive",
    )
    return {**goal, "definitions": {"gh": {"index": "t", "cases": [ANCHORED, GRADIENTS["gh"]["cases"][1]]}}}


def bracket(p: Proof) -> tuple[int, str]:
    """X == W(t+1, t+h).T*(D(t+h).T*R)*W(0, t+1).T, as Theorem G5 has it, and its right side."""
    inside = p.assume("t + h + 1 <= T")
    past = p.linear("0 <= h - 1", {p.sort("h"): "1"})
    first = p.instantiate(lemmas.split(p), [past], s0="t+1", i0="1", k0="h-1")
    empty, one = p.window_empty("W", "t+1"), p.window_step("W", "t+1", "t+1")
    first = p.matrix(
        f"W(t+1, t+h+1) == W(t+2, t+h+1)*{LATER}",
        {first: ("I", "I"), one: ("W(t+2, t+h+1)", "I"), empty: (f"W(t+2, t+h+1)*{LATER}", "I")},
    )
    end = p.linear("t + 1 <= t + h", {p.sort("h"): "1"})
    state, last = p.window_step("W", "0", "t"), p.window_step("W", "t+1", "t+h", end)
    near = p.definition("gh", "t", 0, [p.linear("t + h <= T", {inside: "1"})])
    wanted = f"gh(t+1) == W(t+2, t+h+1).T*{LOSS}*W(0, t+1).T"
    later = p.definition("gh", "t+1", 0, [p.linear("t + 1 + h <= T", {inside: "1"})])
    after = p.matrix(wanted, {later: ("I", "I")})
    right = f"W(t+1, t+h).T*(D(t+h).T*{LOSS})*W(0, t+1).T"
    found = p.matrix(
        f"{LATER}.T*gh(t+1) - gh(t)*{EARLIER}.T == {right}",
        {
            after: (f"{LATER}.T", "I"),
            near: ("-I", f"{EARLIER}.T"),
            first: ("-I", f"{LOSS}*W(0, t+1).T"),
            last: ("I", f"{LOSS}*W(0, t+1).T"),
            state: (f"W(t+1, t+h).T*{LOSS}", "I"),
        },
        transposed=[first, last, state],
    )
    return found, right


def prove_rate(goal: dict[str, Any]) -> dict[str, Any]:
    """a^{h-1} (c/T) ||R|| a^{t+1} for X, the same for X^T, and t + h <= T - 1."""
    p = Proof(goal, **{k: v for k, v in lemmas.SYMBOLS.items() if k not in goal["symbols"]})
    exact, right = bracket(p)
    high, past = lemmas.upper(p), p.linear("0 <= h - 1", {p.sort("h"): "1"})
    window, state, layer = "W(t+1, t+h)", "W(0, t+1)", f"D(t+h).T*{LOSS}"
    size = p.linear(
        f"F({layer}) <= (c/T)*F{LOSS}",
        {
            p.axiom("F_product_NF", "D(t+h).T", LOSS): "1",
            p.axiom("N_transpose", "D(t+h)"): f"F{LOSS}",
            p.layer("D", "t+h"): f"F{LOSS}",
        },
    )
    bound = p.linear(
        f"F({right}) <= a**(t+h)*(c/T)*F{LOSS}",
        {
            p.axiom("F_product_FN", f"{window}.T*({layer})", f"{state}.T"): "1",
            p.axiom("F_product_NF", f"{window}.T", layer): f"N({state}.T)",
            size: f"N({window}.T)*N({state}.T)",
            p.axiom("N_transpose", window): f"(c/T)*F{LOSS}*N({state}.T)",
            p.axiom("N_transpose", state): f"(c/T)*F{LOSS}*N({window})",
            lemmas.at(p, high, "t+1", "h-1", past): f"(c/T)*F{LOSS}*N({state})",
            lemmas.at(p, high, "0", "t+1"): f"(c/T)*F{LOSS}*a**(h-1)",
        },
    )
    more = p.linear("1 <= a", {p.assume(lemmas.UPPER): "-1"})
    room = p.linear("0 <= T - 1 - t - h", {p.assume("t + h + 1 <= T"): "1"})
    grown = lemmas.raise_to(p, more, "1", "a", "T-1-t-h", [room])
    exchange = f"{LATER}.T*gh(t+1) - gh(t)*{EARLIER}.T"
    own = p.substitute(exact, bound, f"F({exchange}) <= a**(t+h)*(c/T)*F{LOSS}")
    final = p.linear(
        goal["conclusions"][0],
        {
            p.axiom("F_triangle", exchange, f"({exchange}).T"): "1",
            p.axiom("F_transpose", exchange): "1",
            own: "2",
            grown: f"2*a**(t+h)*(c/T)*F{LOSS}",
        },
    )
    return p.finish(final)


def path(rest: str) -> dict[str, Any]:
    """(d): Q(i) is the sum of the residuals of the first i steps."""
    return {
        "symbols": {
            **{"T": "posint", "i": "natural", "c": "nonneg", "r": "nonneg"},
            **dict.fromkeys(("a", "eta", "q"), "positive"),
        },
        "sums": {"Q": {"index": "j", "term": "q**j*r"}},
        "hypotheses": ["q < 1"],
        "conclusions": [f"2*eta*a**(T-1)*(c/T)*Q(i)*(1 - q) <= 2*eta*a**(T-1)*(c/T)*{rest}"],
    }


def prove_path(goal: dict[str, Any]) -> dict[str, Any]:
    """Q(i) (1 - q) = r (1 - q^i)."""
    p = Proof(goal, k0="natural")
    claimed = "Q(k0)*(1 - q) == r*(1 - q**k0)"
    step = p.linear(claimed.replace("k0", "(k0+1)"), {p.assume(claimed): "1", p.sum_step("Q", "k0"): "1 - q"})
    base = p.linear(claimed.replace("k0", "0"), {p.sum_empty("Q"): "1 - q"})
    whole = p.instantiate(p.induction("k0", claimed, base, step), k0="i")
    return p.finish(p.linear(goal["conclusions"][0], {whole: "2*eta*a**(T-1)*(c/T)"}))


NAMES = LETTERS | {
    "e": "end of the windows of both layers",
    "V": "the signal at that end",
    "g": "g(t) = (W_{t+1}^e)^T V P_t^T",
    "eta": "size of the step",
}
TEST = "tests/certify/test_balance_proofs.py"

CLAIMS = (
    claim(
        "balance_stage",
        "Theorem G5, stages",
        Form.NEW,
        "neighbours whose windows share an end, any signal V: W(t+1)^T g(t+1) = g(t) W(t)^T, and a step "
        "changes W(t+1)^T W(t+1) - W(t) W(t)^T by eta^2 (g(t+1)^T g(t+1) - g(t) g(t)^T) alone",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=stage("eta**2"),
        witness={"T": 2, "n": 1, "D": {}, "t": 0, "e": 2, "V": [[1]], "eta": "1/2"},
        route=prove_stage,
        twin_goal=stage("eta"),
        twin_statement="eta in place of eta^2",
        letters=NAMES,
        evidence="every rule with any stride: the layers of a stage keep their balance along the flow",
        function="dlinear.dynamics.imbalance_rate",
        test=TEST,
    ),
    claim(
        "balance_steps",
        "Theorem G5, steps",
        Form.NEW,
        "a step along U, V at layers t, t + 1 changes W(t+1)^T W(t+1) - W(t) W(t)^T by -eta (X + X^T) + "
        "eta^2 (V^T V - U U^T), X = W(t+1)^T V - U W(t)^T",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=steps("-"),
        witness={"T": 2, "n": 1, "D": {}, "t": 0, "U": [[1]], "V": [[2]], "eta": "1/2"},
        route=lambda goal: (p := Proof(goal)).finish(p.matrix(goal["conclusions"][0], {})),
        twin_goal=steps("+"),
        twin_statement="the other sign of the first order",
        letters=LETTERS | {"U": "g(t)", "V": "g(t+1)", "eta": "size of the step"},
        evidence="with X of Theorem G5 the change of every step of descent, whatever the rule",
        function="dlinear.dynamics.descent",
        test=TEST,
    ),
    claim(
        "balance_rate",
        "Theorem G5, size",
        Form.NEW,
        "anchored horizon: ||X + X^T||_F <= 2 a^{T-1} (c/T) ||R||_F, the rate at which the flow changes "
        "W(t+1)^T W(t+1) - W(t) W(t)^T",
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=rate("T-1"),
        witness={"T": 3, "n": 1, "D": {0: [["1/4"]]}, "c": 1, "h": 1, "t": 0, "Phi": [[3]], "a": "4/3"},
        route=prove_rate,
        twin_goal=rate("T-2"),
        twin_statement="one layer fewer in the exponent",
        letters=LETTERS | {"gh": "g(t), anchored"},
        evidence="every T, n, h, t, Phi; equality for equal scalar layers, h = 1, the last pair that moves",
        function="dlinear.bounds.balance_drift",
        test=TEST,
    ),
    claim(
        "balance_path",
        "Theorem G5, size",
        Form.NEW,
        "anchored descent with ||R_j||_F <= q^j ||R_0||_F, q < 1: the first-order changes of balance of a "
        "pair add up to at most 2 eta a^{T-1} (c/T) ||R_0||_F/(1 - q)",
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=path("r"),
        witness={"T": 2, "i": 3, "c": 1, "r": 1, "a": "3/2", "eta": "1/10", "q": "1/2"},
        route=prove_path,
        twin_goal=path("r/2"),
        twin_statement="half of it",
        twin_values={"T": 2, "i": 3, "c": 1, "r": 1, "a": "3/2", "eta": "1/10", "q": "1/2"},
        twin_fails=0,
        letters={
            "T": "depth",
            "c": "bound of ||W~(t)||_2 along the path",
            "a": "1 + c/T",
            "eta": "size of the step",
            "q": "factor of a step, as Theorem G1 has it",
            "r": "||R_0||_F",
            "i": "number of steps",
            "Q": assumed("Q(i) = sum of q^j ||R_0|| over the steps, at least the sum of ||R_j||"),
        },
        evidence="q = 1 - eta (1-kappa) T b^{2(T-1)}/2 of G1: 4 a^{T-1} c ||R_0||/((1-kappa) T^2 b^{2T-2})",
        function="dlinear.bounds.balance_drift",
        test=TEST,
        assumes="the residuals of the steps fall at least by q, as Theorem G1 has it under its conditions",
    ),
)
