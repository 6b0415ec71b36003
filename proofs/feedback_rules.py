"""Identities I4, I5, I13 (new): rules that hand the error to a layer by another matrix, linear layers.

Problem. Layers W(t) = I + D(t), P_t = W(t-1)...W(0), signals and activities as matrices with a sample in
each column, H_t = P_t X, error E of the last layer. Back-propagation steps layer t along (W_{t+1}^T)^T E
H_t^T. What do feedback alignment, FOTON and a broadcast do instead?

Statement. I4. Feedback alignment, delta(t) = B(t+1) delta(t+1), is direct feedback with the products
B(t+1)...B(T-1); direct feedback with invertible B is feedback alignment with B1 B2^{-1}. I5. FOTON (second
pass on x - P_T^T e) gives P_{t+1} P_{t+1}^T times back-propagation: the same where P_{t+1} has orthonormal
rows, downhill always. I13. A broadcast G = E H^T has <G, g_T> >= (2 - (1 + c/T)^k) ||G||^2 with k layers
above: every layer descends if e^c <= 2.

Guarantee. For every depth, layers, feedback and data. Layers of other shapes are these with rows or columns
of zeros.

Method. W_0^T = W_{t+1}^T W_0^{t+1} by induction; expansion; Cauchy-Schwarz and ||W_{t+1}^T - I|| <= a^k -
1.
"""

from __future__ import annotations

from typing import Any

from dlinear.certify import Proof, claim
from dlinear.certify.claims import Form, Relation, Verdict
from dlinear.certify.prover import lemmas
from dlinear.certify.prover.statements import LETTERS, network

STATE, TAIL = "W(0, t+1)", "W(t+1, T)"
BACK = f"{TAIL}.T*E*H.T"
FOTON = f"({STATE}*X - {STATE}*(X - W(0, T).T*E))*H.T"


def begin(goal: dict[str, Any]) -> Proof:
    """A proof with the symbols of the lemmas."""
    return Proof(goal, **{k: v for k, v in lemmas.SYMBOLS.items() if k not in goal["symbols"]})


def whole(p: Proof, inside: int) -> int:
    """W(0, T) == W(t+1, T)*W(0, t+1), from t + 1 <= T."""
    rest = p.linear("0 <= T - t - 1", {inside: "1"})
    return p.instantiate(lemmas.split(p), [rest], s0="0", i0="t+1", k0="T-t-1")


def direct(first: str) -> dict[str, Any]:
    """I4; the feedback of layer t is (I + D(t))^T."""
    back = f"{first}.T*E == (I + D(t+1)).T*(W(t+2, T).T*E)"
    conclusions = [back, "W(T, T).T*E == E", "(J*K)*(L*E) == J*E"]
    goal = network(conclusions, ["t + 2 <= T", "K*L == I"], bound=None, t="natural")
    goal["symbols"] |= dict.fromkeys(("E", "J", "K", "L"), "matrix")
    return goal


def prove_direct(goal: dict[str, Any]) -> dict[str, Any]:
    """The first factor of a window; K L = I."""
    p = begin(goal)
    rest = p.linear("0 <= T - t - 2", {p.assume("t + 2 <= T"): "1"})
    first = p.instantiate(lemmas.split(p), [rest], s0="t+1", i0="1", k0="T-t-2")
    one, empty = p.window_step("W", "t+1", "t+1"), p.window_empty("W", "t+1")
    tail = "W(t+2, T)"
    factors = {first: ("I", "I"), one: (tail, "I"), empty: (f"{tail}*(I + D(t+1))", "I")}
    split = p.matrix(f"{TAIL} == {tail}*(I + D(t+1))", factors)
    step = p.matrix(goal["conclusions"][0], {split: ("I", "E")}, transposed=[split])
    end = p.window_empty("W", "T")
    last = p.matrix(goal["conclusions"][1], {end: ("I", "E")}, transposed=[end])
    inverse = p.assume("K*L == I")
    return p.finish(step, last, p.matrix(goal["conclusions"][2], {inverse: ("J", "E")}))


def foton(factor: str) -> dict[str, Any]:
    """I5, any layers."""
    conclusions = [f"g(t) == {factor}*({BACK})", f"ip(g(t), {BACK}) == F({STATE}.T*({BACK}))**2"]
    goal = network(conclusions, ["t + 1 <= T"], bound=None, t="natural", X="matrix", E="matrix", H="matrix")
    return {**goal, "definitions": {"g": {"index": "t", "cases": [{"if": [], "then": FOTON}]}}}


def prove_foton(goal: dict[str, Any]) -> dict[str, Any]:
    """P_T = W_{t+1}^T P_{t+1}."""
    p = begin(goal)
    split, value = whole(p, p.assume("t + 1 <= T")), p.definition("g", "t")
    factors = {value: ("I", "I"), split: (STATE, "E*H.T")}
    same = p.matrix(goal["conclusions"][0], factors, transposed=[split])
    product = p.linear(f"ip(g(t), {BACK}) == ip(g(t), {BACK})")
    moved = p.substitute(same, product, f"ip(g(t), {BACK}) == ip({STATE}*{STATE}.T*({BACK}), {BACK})")
    size = p.axiom("F_square", f"{STATE}.T*({BACK})")
    return p.finish(same, p.linear(goal["conclusions"][1], {moved: "1", size: "-1"}))


def orthonormal(product: str) -> dict[str, Any]:
    """I5, orthonormal rows."""
    symbols = dict.fromkeys(("X", "E", "H"), "matrix")
    goal = network([f"{FOTON} == {BACK}"], ["t + 1 <= T", f"{product} == I"], bound=None, t="natural")
    return {**goal, "symbols": goal["symbols"] | symbols}


def prove_orthonormal(goal: dict[str, Any]) -> dict[str, Any]:
    """P P^T = I."""
    p = begin(goal)
    split, rows = whole(p, p.assume("t + 1 <= T")), p.assume(goal["hypotheses"][1])
    factors = {split: (STATE, "E*H.T"), rows: ("I", BACK)}
    return p.finish(p.matrix(goal["conclusions"][0], factors, transposed=[split]))


def broadcast(power: str) -> dict[str, Any]:
    """I13, for any G."""
    along = f"ip(G, {TAIL}.T*G)"
    conclusions = [f"(2 - a**({power}))*F(G)**2 <= {along}", f"0 <= {along}"]
    hypotheses = ["t + 1 <= T", lemmas.UPPER, "exp(c) <= 2"]
    return network(conclusions, hypotheses, t="natural", a="positive", G="matrix")


def prove_broadcast(goal: dict[str, Any]) -> dict[str, Any]:
    """<G, (W - I)^T G> >= -||W - I|| ||G||^2."""
    p = begin(goal)
    rest = p.linear("0 <= T - t - 1", {p.assume("t + 1 <= T"): "1"})
    near = lemmas.at(p, lemmas.near_identity(p, lemmas.upper(p)), "t+1", "T-t-1", rest)
    gap = f"({TAIL} - I)"
    missed = p.linear(
        f"-ip(G, {gap}.T*G) <= (a**(T-t-1) - 1)*F(G)**2",
        {
            p.axiom("cauchy_schwarz", "G", f"-({gap}.T*G)"): "1",
            p.axiom("F_negative", f"{gap}.T*G"): "F(G)",
            p.axiom("F_product_NF", f"{gap}.T", "G"): "F(G)",
            p.axiom("N_transpose", gap): "F(G)**2",
            near: "F(G)**2",
        },
    )
    size = p.axiom("F_square", "G")
    first = p.linear(goal["conclusions"][0], {missed: "1", size: "1"})
    grown = p.linear("1 <= a", {p.assume(lemmas.UPPER): "-1"})
    more = p.linear("0 <= t + 1")
    grown = lemmas.raise_to(p, grown, "1", "a", "t+1", [more])
    most = p.linear("0 <= T", {p.sort("T"): "1"})
    top = p.instantiate(lemmas.growth(p), [most], k0="T")
    high = p.linear(
        "a**(T-t-1) <= 2",
        {grown: "a**(T-t-1)", p.linear("a**T <= exp(c)", {top: "1"}): "1", p.assume("exp(c) <= 2"): "1"},
    )
    return p.finish(first, p.linear(goal["conclusions"][1], {first: "1", high: "F(G)**2"}))


NAMES = LETTERS | {
    "E": "error of the last layer, a sample in each column",
    "X": "inputs, a sample in each column",
    "H": "activities that enter the layer",
}
WITNESS: dict[str, Any] = {"T": 2, "n": 1, "D": {}, "t": 0}
ONES = {name: [[1]] for name in "XEH"}
TEST = "tests/certify/test_rule_proofs.py"

CLAIMS = (
    claim(
        "feedback_direct",
        "I4",
        Form.NEW,
        "feedback alignment, delta(t) = B(t+1) delta(t+1), delta(T-1) = e: delta(t) = B(t+1)...B(T-1) e; "
        "direct feedback B1, B2 to two neighbours, B2 invertible, is feedback alignment with B1 B2^{-1}",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=direct(TAIL),
        witness=WITNESS | {name: [[1]] for name in "EJKL"},
        route=prove_direct,
        twin_goal=direct("W(t, T)"),
        twin_statement="one factor more",
        letters=NAMES
        | {
            "D": "(I + D(t))^T is the feedback matrix B(t)",
            "W": "products of feedback matrices, transposed",
            "J": "B1",
            "K": "B2^{-1}",
            "L": "B2",
        },
        evidence="one hidden layer: both rules are one",
        function="dlinear.engine.feedback_gradients.feedback_gap",
        test=TEST,
    ),
    claim(
        "foton_gradient",
        "I5",
        Form.NEW,
        "FOTON, second pass on x - P_T^T e, clean presynaptic term: G(t) = P_{t+1} P_{t+1}^T g_T(t) and "
        "<G(t), g_T(t)> = |P_{t+1}^T g_T(t)|_F^2 >= 0, any layers",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=foton(f"{STATE}*{STATE}.T"),
        witness=WITNESS | ONES,
        route=prove_foton,
        twin_goal=foton(f"{STATE}.T*{STATE}"),
        twin_statement="P^T P in place of P P^T",
        letters=NAMES | {"g": "G(t) of FOTON, (h - hmod) h'^T summed over samples"},
        evidence="equal to back-propagation iff P P^T leaves the signals of the data as they are",
        function="dlinear.engine.feedback_gradients.foton_gap",
        test=TEST,
    ),
    claim(
        "foton_orthonormal",
        "I5",
        Form.NEW,
        "FOTON is back-propagation where the rows of P_{t+1} are orthonormal",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=orthonormal(f"{STATE}*{STATE}.T"),
        witness=WITNESS | ONES,
        route=prove_orthonormal,
        twin_goal=orthonormal(f"{STATE}.T*{STATE}"),
        twin_statement="orthonormal columns: a layer that widens",
        letters=NAMES,
        evidence="orthonormal rows of each layer: widths that do not grow",
        function="dlinear.engine.feedback_gradients.foton_gap",
        test=TEST,
    ),
    claim(
        "broadcast_descent",
        "I13",
        Form.NEW,
        "broadcast G = e h^T, k = T - t - 1 layers above: <G, (W_{t+1}^T)^T G> >= (2 - (1 + c/T)^k) |G|_F^2, "
        "and >= 0 for every layer if e^c <= 2",
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=broadcast("T-t-1"),
        witness={"T": 2, "n": 1, "D": {}, "c": "1/2", "t": 0, "a": "5/4", "G": [[1]]},
        route=prove_broadcast,
        twin_goal=broadcast("T-t-2"),
        twin_statement="one layer fewer",
        letters=NAMES | {"G": "any matrix: e h^T, the step of the layer"},
        evidence="every T, n, t and data",
        function="dlinear.theory.feedback_laws.broadcast_descent",
        test=TEST,
    ),
)
