"""Theorems G2, G3 (new): positive definite targets; the anchored flow converges, the plain one overshoots.

Problem. Phi symmetric positive definite, W = I at the start. Along a horizon's flow all layers stay diagonal
with Phi; for an eigenvalue phi with layers w_t > 0, P_s = w_0 ... w_{s-1} and s = min(t + h, T),

    anchored:  w_t' = -(P_T - phi) prod_{j < s, j != t} w_j,
    plain:     w_t' = -(P_s - phi) prod_{j < s, j != t} w_j.

Statement. G2: while P_T - phi keeps its sign all w move from 1 towards phi's side, and there g_T(t) g(t) >=
min(1, phi^2) (P_T - phi)^2 for every layer, so that ||R(tau)||_F <= e^{-T min(1, phi_min^2) tau} ||R(0)||_F
for any h, T. G3: h < T, phi != 1, plain: all w move away from 1 until P_T reaches phi. Once w_{T-1} is beyond
z, the layer T - 1 - h moves at least at the rate phi |1 - 1/z| min(1, phi/z), without end: P_T reaches phi in
finite time, and there it still moves. The loss rises again.

Guarantee. The inequalities for every layer, T, h, phi; the calculus around them is left to the reader.

Method. w_t = exp(L(t)), G(s) the sum of L over the first s layers; sums of non-negative numbers grow.
"""

from __future__ import annotations

from typing import Any

from dlinear.certify import Proof, claim
from dlinear.certify.claims import Form, Relation, Verdict
from dlinear.certify.letters import assumed

OTHERS = "exp(G({0}) - L(t))"  # product of the first so many layers but t
ENERGY = f"(exp(G(T)) - y)**2*{OTHERS.format('T')}*{OTHERS.format('s')}"
WINDOW = ["t + 1 <= s", "s <= T"]


def scalars(sign: str, conclusions: list[str], hypotheses: list[str], **symbols: str) -> dict[str, Any]:
    """A goal about layers exp(L(t)), L(t) = sign F(Z(t)): any numbers of one sign."""
    return {
        "symbols": {"n": "posint", "T": "posint", "t": "natural", "s": "natural", "y": "positive", **symbols},
        "families": {"Z": None},
        "definitions": {"L": {"index": "t", "cases": [{"then": f"{sign}F(Z(t))"}]}},
        "sums": {"G": {"index": "t", "term": "L(t)"}},
        "hypotheses": hypotheses,
        "conclusions": conclusions,
    }


def rate_goal(sign: str, least: str) -> dict[str, Any]:
    """G2: least (P_T - phi)^2 <= g_T(t) g(t), all layers at least 1 (no sign) or at most 1 ("-")."""
    near = "exp(G(T)) <= y" if not sign else "y <= exp(G(T))"
    return scalars(sign, [f"{least}*(exp(G(T)) - y)**2 <= {ENERGY}"], [*WINDOW, near])


def growing(p: Proof, sign: str, low: str, high: str, fact: int) -> int:
    """G(low) <= G(high), or with "-" the opposite, from the fact low <= high."""
    claimed = "G(i0) <= G(i0+k0)" if not sign else "G(i0+k0) <= G(i0)"
    factor = "-1" if not sign else "1"
    more, own = p.sum_step("G", "i0+k0"), p.definition("L", "i0+k0")
    step = p.linear(claimed.replace("k0", "k0+1"), {p.assume(claimed): "1", more: factor, own: factor})
    whole = p.induction("k0", claimed, p.linear(claimed.replace("k0", "0")), step)
    room = p.linear(f"0 <= {high} - ({low})", {fact: "1"})
    return p.instantiate(whole, [room], i0=low, k0=f"{high} - ({low})")


def at_least_one(p: Proof, end: str, inside: int) -> int:
    """1 <= exp(G(end) - L(t)) where all layers are at least 1, from the fact t + 1 <= end."""
    first, start = growing(p, "", "0", "t", p.linear("0 <= t")), p.sum_empty("G")
    rest = growing(p, "", "t + 1", end, inside)
    room = p.linear(f"0 <= G({end}) - L(t)", {first: "1", start: "-1", rest: "1", p.sum_step("G", "t"): "-1"})
    return p.linear(f"1 <= {OTHERS.format(end)}", {line(p, f"G({end}) - L(t)"): "1", room: "1"})


def line(p: Proof, at: str) -> int:
    """1 + at <= exp(at)."""
    return p.instantiate(p.taylor("1 + u <= exp(u)", "u", 2), u=at)


def begin(goal: dict[str, Any]) -> Proof:
    """A proof with the symbols of the steps."""
    return Proof(goal, i0="natural", k0="natural", u="real")


def squared(p: Proof, goal: dict[str, Any], least: str, one: int, two: int) -> dict[str, Any]:
    """least (P_T - phi)^2 <= ENERGY from sqrt(least) below both products."""
    first, second = OTHERS.format("T"), OTHERS.format("s")
    root = "1" if least == "1" else "y"
    both = p.linear(f"{least} <= {first}*{second}", {one: second, two: root})
    square = p.linear("0 <= (exp(G(T)) - y)**2", squares=[("1", "exp(G(T)) - y")])
    more = p.product(both, square, f"0 <= ({first}*{second} - {least})*(exp(G(T)) - y)**2")
    return p.finish(p.linear(goal["conclusions"][0], {more: "1"}))


def prove_above(goal: dict[str, Any]) -> dict[str, Any]:
    """Every product is at least 1."""
    p = begin(goal)
    inside, end, _ = (p.assume(text) for text in goal["hypotheses"])
    within = p.linear("t + 1 <= T", {inside: "1", end: "1"})
    return squared(p, goal, "1", at_least_one(p, "T", within), at_least_one(p, "s", inside))


def prove_below(goal: dict[str, Any]) -> dict[str, Any]:
    """Every product is at least P_T >= phi."""
    p = begin(goal)
    _, end, near = (p.assume(text) for text in goal["hypotheses"])
    own = p.definition("L", "t")
    fall = growing(p, "-", "s", "T", end)
    facts = []
    for place, drop in (("T", {}), ("s", {fall: "exp(G(T))"})):
        gap = line(p, f"G({place}) - L(t) - G(T)")
        more = p.linear(f"exp(G(T)) <= {OTHERS.format(place)}", {gap: "exp(G(T))", own: "exp(G(T))", **drop})
        facts.append(p.linear(f"y <= {OTHERS.format(place)}", {near: "1", more: "1"}))
    return squared(p, goal, "y**2", *facts)


RATES = {"": "y*(1 - 1/z)", "-": "y*(1/z - 1)*y/z"}
"""G3: how fast the block T - 1 - h moves at least, for phi > 1 and phi < 1."""


def overshoot_goal(sign: str, rate: str) -> dict[str, Any]:
    """G3: the block T - 1 - h, whose loss sits before the last layer, and all others."""
    gap = "(exp(G({0})) - y)" if sign else "(y - exp(G({0})))"
    given = ["y <= exp(G(T))", "exp(L(T-1)) <= z"] if sign else ["exp(G(T)) <= y", "z <= exp(L(T-1))"]
    moves = [f"{gap.format(end)}*{OTHERS.format(end)}" for end in ("T-1", "s")]
    return scalars(
        sign,
        [f"{rate} <= {moves[0]}", f"0 <= {moves[1]}"],
        ["T == t + 1 + h", "s <= T", *given],
        h="posint",
        z="positive",
    )


def prove_overshoot(goal: dict[str, Any]) -> dict[str, Any]:
    """phi > 1: P_{T-1} z <= P_T <= phi; P_s <= P_T."""
    p = begin(goal)
    depth, end, near, wide = (p.assume(text) for text in goal["hypotheses"])
    room = p.linear("0 <= T - 1", {p.sort("T"): "1"})
    short = p.substitute(p.sum_step("G", "T-1", room), near, "exp(G(T-1))*exp(L(T-1)) <= y")
    below = p.linear("exp(G(T-1))*z <= y", {short: "1", wide: "exp(G(T-1))"})
    gap = p.linear("y*(1 - 1/z) <= y - exp(G(T-1))", {below: "1/z"})
    inside = p.linear("t + 1 <= T - 1", {depth: "-1", p.sort("h"): "1"})
    most = at_least_one(p, "T-1", inside)
    side = between(p, "", "T-1", p.linear("T - 1 <= T"), near)
    both = p.product(most, side, f"0 <= ({OTHERS.format('T-1')} - 1)*(y - exp(G(T-1)))")
    first = p.linear(goal["conclusions"][0], {gap: "1", both: "1"})
    rest = {between(p, "", "s", end, near): OTHERS.format("s")}
    return p.finish(first, p.linear(goal["conclusions"][1], rest))


def prove_undershoot(goal: dict[str, Any]) -> dict[str, Any]:
    """phi < 1: P_{T-1} z >= P_T >= phi; P_s >= P_T; the others are at least P_{T-1}."""
    p = begin(goal)
    _, end, near, wide = (p.assume(text) for text in goal["hypotheses"])
    room = p.linear("0 <= T - 1", {p.sort("T"): "1"})
    short = p.substitute(p.sum_step("G", "T-1", room), near, "y <= exp(G(T-1))*exp(L(T-1))")
    above = p.linear("y <= exp(G(T-1))*z", {short: "1", wide: "exp(G(T-1))"})
    others = {line(p, "-L(t)"): "exp(G(T-1))", p.definition("L", "t"): "exp(G(T-1))", above: "1/z"}
    most = p.linear(f"y/z <= {OTHERS.format('T-1')}", others)
    side = between(p, "-", "T-1", p.linear("T - 1 <= T"), near)
    both = p.product(most, side, f"0 <= ({OTHERS.format('T-1')} - y/z)*(exp(G(T-1)) - y)")
    first = p.linear(goal["conclusions"][0], {above: "y/z**2", both: "1"})
    rest = {between(p, "-", "s", end, near): OTHERS.format("s")}
    return p.finish(first, p.linear(goal["conclusions"][1], rest))


def between(p: Proof, sign: str, end: str, fact: int, near: int) -> int:
    """exp(G(end)) <= phi from end <= T; with "-" the opposite."""
    moved = growing(p, sign, "s", "T", p.assume("s <= T"))
    if end == "T-1":
        side = p.linear("0 <= T - 1", {p.sort("T"): "1"})
        moved = p.cut(p.instantiate(moved, [side], s=end), fact)
    low, high = ("T", end) if sign else (end, "T")
    gap = line(p, f"G({high}) - G({low})")
    text = f"y <= exp(G({end}))" if sign else f"exp(G({end})) <= y"
    return p.linear(text, {gap: f"exp(G({low}))", moved: f"exp(G({low}))", near: "1"})


FLOW = "all layers stay diagonal with Phi; the products are the gradients of one eigenvalue (chain rule)"
NAMES = {
    "T": "depth",
    "n": "width of Z, any",
    "h": "horizon",
    "t": "a layer",
    "s": "end of its window",
    "y": assumed("an eigenvalue of Phi"),
    "Z": "any matrices",
    "L": "L(t) = log w_t of the layer",
    "G": "exp(G(s)) = P_s = w_0 ... w_{s-1}",
    "z": "a bound of the last layer",
}
TEST = "tests/certify/test_anchored_proofs.py::test_the_flows_of_g2_and_g3_go_as_stated"
POINT = {"n": 1, "T": 2, "t": 0, "s": 1, "Z": {}}


def rate(name: str, sign: str, least: str, y: str, words: str, prove: Any) -> Any:
    """One side of G2."""
    return claim(
        f"theorem_g2_{name}",
        "Theorem G2",
        Form.NEW,
        words,
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=rate_goal(sign, least),
        witness={**POINT, "y": y},
        route=prove,
        twin_goal=rate_goal(sign, f"2*{least}"),
        twin_statement="twice the rate",
        twin_values={**POINT, "y": y, "s": 2, "Z": {1: [["3/5"]]} if sign else {}},
        letters=NAMES,
        assumes=f"{FLOW}; the layers stay on their side of 1 as long as P_T - phi keeps its sign, which it "
        "does; summed over layers and eigenvalues, and Gronwall: ||R||_F falls like "
        "exp(-T min(1, phi_min^2) tau)",
        evidence="every layer, T, h: s is any end after t",
        function="dlinear.horizon_gradients",
        test=TEST,
    )


BLOCKS = {"n": 1, "T": 3, "t": 1, "h": 1, "s": 2}


def overshoot(name: str, sign: str, words: str, values: dict[str, Any], prove: Any) -> Any:
    """One side of G3."""
    twin = RATES[sign].replace("1/z - 1", "2/z - 2").replace("1 - 1/z", "2 - 1/z")
    return claim(
        name,
        "Theorem G3",
        Form.NEW,
        f"plain, h < T, one eigenvalue {words}",
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=overshoot_goal(sign, RATES[sign]),
        witness=values,
        route=prove,
        twin_goal=overshoot_goal(sign, twin),
        twin_statement="twice the rate" if sign else "phi (2 - 1/z)",
        twin_values=values,
        letters=NAMES,
        assumes=f"{FLOW}; what moves at a rate bounded below leaves every bound: P_T reaches phi, and there "
        "the layer T-1-h still moves",
        evidence="so the true loss rises again for every h < T",
        function="dlinear.horizon_gradients",
        test=TEST,
    )


CLAIMS = (
    rate(
        "above",
        "",
        "1",
        "2",
        "anchored, one eigenvalue, all w >= 1, P_T <= phi: "
        "g_T(t) g(t) = (P_T - phi)^2 prod_{j != t} w_j prod_{j < s, j != t} w_j >= (P_T - phi)^2",
        prove_above,
    ),
    rate(
        "below",
        "-",
        "y**2",
        "1/2",
        "anchored, one eigenvalue, 0 < w <= 1, P_T >= phi: "
        "g_T(t) g(t) = (P_T - phi)^2 prod_{j != t} w_j prod_{j < s, j != t} w_j >= phi^2 (P_T - phi)^2",
        prove_below,
    ),
    overshoot(
        "theorem_g3",
        "",
        "phi > 1, all w >= 1, P_T <= phi, w_{T-1} >= z: layer T-1-h grows at least at the rate "
        "phi (1 - 1/z), and no layer falls",
        {**BLOCKS, "Z": {}, "y": 2, "z": 1},
        prove_overshoot,
    ),
    overshoot(
        "theorem_g3_below",
        "-",
        "0 < phi < 1, 0 < w <= 1, P_T >= phi, w_{T-1} <= z: layer T-1-h falls at least at the rate "
        "phi (1/z - 1) phi/z, and no layer grows",
        {**BLOCKS, "Z": {2: [["3/5"]]}, "y": "27/50", "z": "11/20"},
        prove_undershoot,
    ),
)
