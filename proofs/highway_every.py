"""Highway backpropagation: the bound of every iterate, by the step from one to the next.

Problem. `highway_1`, ... bound the angle of the first iterates. The statement is the same for every K, but a
certificate has no function of two indices, and e_j(s), the paths through j of the blocks s..T-1, is one.

Statement. Let q = K + 1, k = T - s, and say that a surrogate Z_s is *of level q with the factor u* if
||W_s^T - Z_s||_2 <= u a^k k^q for every k, a = 1 + c/T. For layers with ||D(t)||_2 <= c/T:

    (first)  Z_s = I is of level 1 with the factor c/T;
    (step)   from Y of level q with the factor v, Y(T) = I, the sum I + Y(T) D(T-1) + ... + Y(s+1) D(s) is of
             level q + 1 with the factor v c/(T (q + 1));
    (angle)  the anchored rule with a surrogate of level q, any window h >= 1, T > c, R != 0, has

        sin^2 <= e^{2c} T^{2q} u^2/((2q+1) b^{2T-2}) (1 - (h-1)/T)^{2q+1},      b = 1 - c/T.

The K-th iterate Z_K(s) is what the step makes of Z_{K-1}: a path through at most K blocks is empty, or its
first block is D(s') and the rest passes at most K - 1 blocks after s'. So it is of level K + 1 with u =
c^{K+1}/(T^{K+1} (K+1)!), and for every K

    sin^2 <= e^{2c} c^{2K+2}/((2K+3) ((K+1)!)^2 b^{2T-2}) (1 - (h-1)/T)^{2K+3}.

Guarantee. First, step and angle are proved for every q, T, n, h, Phi; that the steps follow each other is the
induction over K. `highway_1` to `highway_3` are single certificates.

Method. (x+1)^{q+1} >= x^{q+1} + (q+1) x^q, by induction over q; the step by induction over k; then (D3) and
1^p + ... + m^p <= (m+1)^{p+1}/(p+1), p = 2q.

Reference. Fagnou, Caillon, Delattre, Allauzen, ICLR 2025 (arXiv 2501.17086). The bound is ours.
"""

from __future__ import annotations

from typing import Any

from dlinear.certify import Proof, claim
from dlinear.certify.claims import Form, Relation, Verdict
from dlinear.certify.prover import lemmas, surrogates
from dlinear.certify.prover.statements import TWO_LAYERS, network
from dlinear.certify.prover.surrogates import GIVEN, SIN2, Rule

TAIL = "W(T-{0}, T)"
ITERATE = "(I + Q(0, {0}))"


def bernoulli(p: Proof) -> int:
    """y0 == x0 + 1 |- x0**(q0+1) + (q0+1)*x0**q0 <= y0**(q0+1)."""
    form, one = "x0**(q0+1) + (q0+1)*x0**q0 <= y0**(q0+1)", p.assume("y0 == x0 + 1")
    base = p.linear(form.replace("q0", "0"), {one: "-1"})
    step = p.linear(
        form.replace("q0", "(q0+1)"), {p.assume(form): "y0", one: "-(x0**(q0+1) + (q0+1)*x0**q0)"}
    )
    return p.induction("q0", form, base, step)


def next_power(p: Proof, at: str, exponent: str) -> int:
    """at**(e+1) + (e+1)*at**e <= (at+1)**(e+1)."""
    moved = p.instantiate(bernoulli(p), x0=at, y0=f"{at}+1", q0=exponent)
    return p.cut(moved, p.linear(f"{at}+1 == {at} + 1"))


# ---------------------------------------------------------------- from one level to the next


def level_goal(more: str = "1") -> dict[str, Any]:
    """First and step; a twin divides by more than q + 1."""
    goal = network(
        [
            "N(W(T-k, T) - I) <= a**k*k*(c/T)",
            f"N(W(T-k, T) - {ITERATE.format('k')}) <= a**k*k**(q+1)*(v*c/T/(q+{more}))",
        ],
        [lemmas.UPPER],
    )
    below = {"if": ["1 <= t"], "then": "W(T-t, T) - a**t*t**q*X(t)"}
    return {
        **goal,
        "symbols": {**goal["symbols"], "a": "positive", "k": "posint", "q": "posint", "v": "nonneg"},
        "families": {**goal["families"], "X": "v"},
        "definitions": {
            "Y": {"index": "t", "cases": [{"if": ["t <= 0"], "then": "I"}, below]},
            "B": {"index": "t", "cases": [{"then": "Y(t)*D(T-t-1)"}]},
        },
        "totals": {"Q": "B"},
    }


def first(p: Proof, upper: int) -> int:
    """N(W(T-k, T) - I) <= a**k*k*c/T."""
    claimed = "a**k0 - 1 <= a**k0*k0*(c/T)"
    rate = p.assume(lemmas.UPPER)
    more = p.linear("1 <= a", {rate: "-1"})
    weights = {p.assume(claimed): "1", rate: "a**k0", more: "a**k0*(k0+1)*(c/T)"}
    step = p.linear(claimed.replace("k0", "(k0+1)"), weights)
    grown = p.induction("k0", claimed, p.linear(claimed.replace("k0", "0")), step)
    near = lemmas.at(p, lemmas.near_identity(p, upper), "T-k", "k")
    return p.linear("N(W(T-k, T) - I) <= a**k*k*(c/T)", {near: "1", p.instantiate(grown, k0="k"): "1"})


def longer(p: Proof) -> int:
    """W(T-k0-2, T) == W(T-k0-1, T)*(I + D(T-k0-2))."""
    whole, layer = "W(T-k0-1, T)", "(I + D(T-k0-2))"
    split = p.instantiate(lemmas.split(p), s0="T-k0-2", i0="1", k0="k0+1")
    one, empty = p.window_step("W", "T-k0-2", "T-k0-2"), p.window_empty("W", "T-k0-2")
    premises = {split: ("I", "I"), one: (whole, "I"), empty: (f"{whole}*{layer}", "I")}
    return p.matrix(f"W(T-k0-2, T) == {whole}*{layer}", premises)


def size(k: str) -> str:
    """Bound of the next level."""
    return f"a**{k}*{k}**(q+1)*(v*c/T/(q+1))"


def missed(p: Proof) -> int:
    """N(W(T-k, T) - I - Q(0, k)) <= a**k*k**(q+1)*v*c/(T*(q+1)), by induction over k - 1."""
    gap = f"({TAIL} - {ITERATE})".replace("{0}", "(k0+1)")
    after = gap.replace("k0", "(k0+1)")
    own, layer, rest = p.definition("B", "k0+1"), "D(T-k0-2)", "(W(T-k0-1, T) - Y(k0+1))"
    grown = {longer(p): ("I", "I"), p.window_step("Q", "0", "k0+1"): ("-I", "I"), own: ("-I", "I")}
    shape = p.matrix(f"{after} == {gap} + {rest}*{layer}", grown)
    triangle = p.axiom("N_triangle", gap, f"{rest}*{layer}")
    triangle = p.substitute(shape, triangle, f"N{after} <= N{gap} + N({rest}*{layer})")
    below = p.definition("Y", "k0+1", 1, [p.linear("1 <= k0 + 1")])
    scaled = "a**(k0+1)*(k0+1)**q"
    equal = p.matrix(f"{rest} == {scaled}*X(k0+1)", {below: ("-I", "I")})
    known = p.substitute(equal, p.axiom("N_scale", scaled, "X(k0+1)"), f"N{rest} == {scaled}*N(X(k0+1))")
    rate = p.linear("1 <= a", {p.assume(lemmas.UPPER): "-1"})
    share = "(v*c/T/(q+1))"
    step = p.linear(
        f"N{after} <= {size('(k0+2)')}",
        {
            triangle: "1",
            p.axiom("N_product", rest, layer): "1",
            p.layer("D", "T-k0-2"): f"N{rest}",
            known: "c/T",
            p.layer("X", "k0+1"): f"{scaled}*c/T",
            p.assume(f"N{gap} <= {size('(k0+1)')}"): "1",
            p.reciprocal("q+1"): f"-{scaled}*v*c/T",
            next_power(p, "(k0+1)", "q"): f"a**(k0+1)*{share}",
            rate: f"a**(k0+1)*(k0+2)**(q+1)*{share}",
        },
    )
    # k = 1: W - I - Y(0) D(T-1) = 0
    split = p.window_step("W", "T-1", "T-1")
    none = {p.window_empty("W", "T-1"): ("I + D(T-1)", "I"), p.window_empty("Q", "0"): ("-I", "I")}
    start = p.definition("Y", "0", 0, [p.linear("0 <= 0")])
    zero = {split: ("I", "I"), p.window_step("Q", "0", "0"): ("-I", "I"), **none}
    zero |= {p.definition("B", "0"): ("-I", "I"), start: ("-I", "D(T-1)")}
    nothing = p.matrix(f"{gap.replace('k0', '0')} == 0*I", zero)
    base = p.substitute(nothing, p.linear("N(0*I) <= 0"), f"N{gap.replace('k0', '0')} <= 0")
    base = p.linear(f"N{gap.replace('k0', '0')} <= {size('(0+1)')}", {base: "1"})
    found = p.induction("k0", f"N{gap} <= {size('(k0+1)')}", base, step)
    room = p.linear("0 <= k - 1", {p.sort("k"): "1"})
    return p.instantiate(found, [room], k0="k-1")


def level_route(goal: dict[str, Any]) -> dict[str, Any]:
    """Both conclusions."""
    p = Proof(goal, **{x: s for x, s in lemmas.SYMBOLS.items() if x not in goal["symbols"]}, q0="natural")
    begin = first(p, lemmas.upper(p))
    return p.finish(begin, p.linear(goal["conclusions"][1], {missed(p): "1"}))


# ---------------------------------------------------------------- the angle of a level

RULE = Rule(anchored=True, surrogate="W({s}, T) - M({k})")


def closed(power: str = "1") -> str:
    """The bound; a twin has another power."""
    top = f"(2*q+{power})"
    return f"exp(2*c)*T**(2*q)*u**2/(2*q+1)/b**(2*T-2)*((T - h + 1)**{top}/T**{top})"


def angle_goal(power: str = "1") -> dict[str, Any]:
    """sin^2 of the anchored rule with a surrogate of level q."""
    goal = surrogates.statement(
        RULE,
        ["0 < HH(T)", "0 < TT(T)", f"{SIN2} <= {closed(power)}"],
        GIVEN,
        extra={"X": "u"},
        sums={"K": "(j+1)**(2*q)"},
        q="posint",
        u="nonneg",
    )
    gap = {"index": "k", "cases": [{"then": "a**k*k**q*X(k)"}]}
    return {**goal, "definitions": {"M": gap, **goal["definitions"]}}


def powers(p: Proof) -> int:
    """K(m) <= (m+1)**(2*q+1)/(2*q+1)."""
    claimed = "K(j) <= (j+1)**(2*q+1)/(2*q+1)"
    grown = {
        p.assume(claimed): "1",
        p.sum_step("K", "j"): "1",
        p.reciprocal("2*q+1"): "-(j+1)**(2*q)",
        next_power(p, "(j+1)", "2*q"): "1/(2*q+1)",
    }
    step = p.linear("K(j+1) <= (j+2)**(2*q+1)/(2*q+1)", grown)
    base = p.linear(claimed.replace("j", "0"), {p.sum_empty("K"): "1"})
    return p.instantiate(p.induction("j", claimed, base, step), j="m")


def angle_route(goal: dict[str, Any]) -> dict[str, Any]:
    """The layers, their sum, |g_T| from below."""
    p = surrogates.begin(goal, H="positive", G="positive", s="nonneg", q0="natural")
    depth, upper = p.assume("T == t + h + k"), lemmas.upper(p)
    bound = surrogates.gap_norm(p, RULE, depth, upper)
    own = p.substitute(
        p.definition("M", "k"), p.axiom("N_scale", "a**k*k**q", "X(k)"), "N(M(k)) == a**k*k**q*N(X(k))"
    )
    outer = "a**(T-1-k)*r"
    layer = p.linear(
        "F(gh(t) - gT(t)) <= a**(T-1)*r*k**q*u",
        {
            bound: "1",
            p.axiom("N_negative", "M(k)"): outer,
            own: outer,
            p.layer("X", "k"): f"{outer}*a**k*k**q",
        },
    )
    square = surrogates.squared(p, "a**(T-1)*r*k**q*u", layer)
    rate = "r**2*a**(2*(T-1))*u**2"
    square = p.linear(f"F(gh(t) - gT(t))**2 <= {rate}*k**(2*q)", {square: "1"})
    most = surrogates.gap(p, square, p.assume("T == h + m"), "K", rate)
    low = surrogates.whole_growth(p)
    share = closed().replace("T - h + 1", "m + 1")
    given = p.assume(f"s == {share}")
    scaled = p.linear(
        f"{surrogates.GAP.format('T')} <= r**2*s*(T*b**(2*(T-1)))",
        {
            most: "1",
            powers(p): rate,
            low: "r**2*u**2*(m+1)**(2*q+1)/(2*q+1)",
            given: "-r**2*T*b**(2*(T-1))",
        },
    )
    return surrogates.angle(p, goal, scaled, share)


NAMES = surrogates.NAMES | {
    "q": "level K + 1 of the surrogate",
    "u": "factor of the surrogate, at level K + 1 c^{K+1}/(T^{K+1} (K+1)!)",
    "v": "factor of the surrogate Y",
    "X": "what a surrogate misses, as a share of its bound; at most the factor",
    "M": "M(k) = W_s^T - Z_s, k = T - s",
    "Y": "Y(k) = Z_{K-1}(s), k = T - s, any surrogate of level q",
    "B": "Y(t) times the layer before its blocks",
    "Q": "I + Q(0, k) = Z_K(s), the paths by their first block",
    "K": "K(m), the sum of the powers j^{2q}, j <= m",
}
LAYERS = TWO_LAYERS | {"c": 1, "a": "3/2"}
TEST = "tests/certify/test_anchored_proofs.py::test_every_iterate_of_highway_has_its_level"

CLAIMS = (
    claim(
        "highway_level",
        "Highway backpropagation",
        Form.NEW,
        "||W_s^T - I||_2 <= a^k k c/T, k = T - s; if ||W_s^T - Z_{K-1}(s)||_2 <= v a^k k^q for every s, then "
        "||W_s^T - Z_K(s)||_2 <= v c/(T (q + 1)) a^k k^{q+1}, q = K >= 1",
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=level_goal(),
        witness=LAYERS | {"k": 1, "q": 1, "v": "1/2", "X": {1: [["1/2"]]}},
        route=level_route,
        twin_goal=level_goal("2"),
        twin_statement="divided by q + 2",
        letters=NAMES,
        evidence="every T, n, k, q and layers with ||W~||_2 <= c; the induction over K starts at the first",
        function="dlinear.bridge.method",
        test=TEST,
    ),
    claim(
        "highway_every",
        "Highway backpropagation",
        Form.NEW,
        "anchored with ||W_s^T - Z_s||_2 <= u a^k k^q, k = T - s: "
        "sin^2 <= e^{2c} T^{2q} u^2/((2q+1) b^{2T-2}) (1 - (h-1)/T)^{2q+1}; "
        "for Z_K, q = K + 1 and u = c^q/(T^q q!)",
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=angle_goal(),
        witness=LAYERS | {"h": 1, "m": 1, "Phi": [["9/16"]], "b": "1/2", "r": 1, "q": 1, "u": 1, "X": {}},
        route=angle_route,
        twin_goal=angle_goal("2"),
        twin_statement="order 2q + 2",
        letters=NAMES,
        evidence="every T > c, n, h, q, Phi with R != 0 and layers with ||W~||_2 <= c",
        uses=("highway_level",),
        function="dlinear.horizon_gradients",
        test=TEST,
    ),
)
