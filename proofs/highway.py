"""Highway backpropagation (arXiv 2501.17086): the paths through at most K of the unseen blocks; order 2K + 3.

Problem. The K-th iterate of highway backpropagation keeps, of the product of all later blocks, the paths
through at most K of them: Z_s = e_0 + e_1 + ... + e_K, e_j the sum over ordered products of j of the
deviations s..T-1. Its zeroth iterate is the anchored horizon with h = 1. How far is its gradient from the
full one?

Statement. The anchored rule with surrogate Z_s, any window h >= 1, T > c, ||D(t)||_2 <= c/T, R != 0:

    sin^2 <= e^{2c} c^{2K+2}/((2K+3) ((K+1)!)^2 b^{2T-2}) (1 - (h-1)/T)^{2K+3},       b = 1 - c/T.

h = 1 is the method of that paper. For K = 0 the power of m/T = 1 - h/T with the same constant is refuted.

Guarantee. Proved for K = 1, 2, 3; every T, n, h, R. For every K: `highway_level` and `highway_every`.

Method. Z_K(s) = Z_K(s+1) + Z_{K-1}(s+1) D(s), so that ||W_s^T - Z_K(s)|| <= a^k (kc/T)^{K+1}/(K+1)!, k = T -
s, by induction over k for one K after the other; then (D3), and 1^p + ... + m^p <= (m+1)^{p+1}/(p+1).

Reference. Fagnou, Caillon, Delattre, Allauzen, ICLR 2025. The bound is ours.
"""

from __future__ import annotations

from math import factorial
from typing import Any

from dlinear.certify import Proof, claim, refutation
from dlinear.certify.claims import Form, Relation, Verdict
from dlinear.certify.prover import lemmas, surrogates
from dlinear.certify.prover.statements import TWO_LAYERS
from dlinear.certify.prover.surrogates import GIVEN, SIN2, Rule


def paths(order: int, s: str) -> str:
    """Z_K(s), the sum of e_0..e_K; 0 for K = -1."""
    if order < 0:
        return "(0*I)"
    return "(" + " + ".join(["I", *(f"Y{j}({s}, T)" for j in range(1, order + 1))]) + ")"


def rule(order: int) -> Rule:
    """The anchored rule of K = `order`."""
    return Rule(anchored=True, surrogate=paths(order, "{s}"))


def closed(order: int, power: int = 0) -> str:
    """The bound; a twin has another power."""
    top = 2 * order + 3
    constant = f"exp(2*c)*c**{2 * order + 2}/({top}*{factorial(order + 1)}**2*b**(2*T-2))"
    return f"{constant}*((T - h + 1)/T)**{top + power}"


def statement(order: int, power: int = 0) -> dict[str, Any]:
    """The bound of K = `order`."""
    goal = surrogates.statement(
        rule(order),
        ["0 < HH(T)", "0 < TT(T)", f"{SIN2} <= {closed(order, power)}"],
        GIVEN,
        sums={"K": f"(j+1)**{2 * order + 2}"},
    )
    longer = {
        f"B{j}": {"index": "t", "cases": [{"then": f"Y{j - 1}(t+1, T)*D(t)"}]} for j in range(2, order + 1)
    }
    totals = {f"Y{j}": "D" if j == 1 else f"B{j}" for j in range(1, order + 1)}
    return {**goal, "totals": totals, "definitions": {**longer, **goal["definitions"]}}


def size(order: int, k: str) -> str:
    """a^k (kc/T)^{K+1}/(K+1)!."""
    return f"a**({k})*({k})**{order + 1}*c**{order + 1}/(T**{order + 1}*{factorial(order + 1)})"


def missed(p: Proof, upper: int, order: int) -> int:
    """N(W(T-k0, T) - Z_K(T-k0)) <= size(K, k0)."""
    whole = "W(T-k0, T)"
    found = p.linear(f"N({whole} - {paths(-1, '')}) <= a**k0", {lemmas.at(p, upper, "T-k0", "k0"): "1"})
    # W_s^T = W_{s+1}^T (I + D(s)), s = T - k0 - 1
    first = p.instantiate(lemmas.split(p), s0="T-k0-1", i0="1", k0="k0")
    longer = p.matrix(
        f"W(T-k0-1, T) == {whole}*(I + D(T-k0-1))",
        {
            first: ("I", "I"),
            p.window_step("W", "T-k0-1", "T-k0-1"): (whole, "I"),
            p.window_empty("W", "T-k0-1"): (f"{whole}*(I + D(T-k0-1))", "I"),
        },
    )
    more = p.linear("1 <= a", {p.assume(lemmas.UPPER): "-1"})
    for level in range(order + 1):
        found = _level(p, level, found, longer, more)
    return found


def _level(p: Proof, level: int, below: int, longer: int, more: int) -> int:
    """The bound of one K from that of K - 1, by induction over k0."""
    gap, less = (f"(W(T-k0, T) - {paths(j, 'T-k0')})" for j in (level, level - 1))
    premises = {longer: ("I", "I")}
    for j in range(1, level + 1):
        begin = _begin(p, j)
        premises[begin] = ("-I", "I")
    shape = p.matrix(f"W(T-k0-1, T) - {paths(level, 'T-k0-1')} == {gap} + {less}*D(T-k0-1)", premises)
    triangle = p.substitute(
        shape,
        p.axiom("N_triangle", gap, f"{less}*D(T-k0-1)"),
        f"N(W(T-k0-1, T) - {paths(level, 'T-k0-1')}) <= N{gap} + N({less}*D(T-k0-1))",
    )
    before = size(level - 1, "k0") if level else "a**k0"
    step = p.linear(
        f"N(W(T-(k0+1), T) - {paths(level, 'T-(k0+1)')}) <= {size(level, '(k0+1)')}",
        {
            triangle: "1",
            p.axiom("N_product", less, "D(T-k0-1)"): "1",
            p.layer("D", "T-k0-1"): f"N{less}",
            below: "c/T",
            p.assume(f"N{gap} <= {size(level, 'k0')}"): "1",
            more: f"{size(level, 'k0')} + c/T*{before}",
        },
    )
    empty = {p.window_empty("W", "T"): ("I", "I")}
    empty |= {p.window_empty(f"Y{j}", "T"): ("-I", "I") for j in range(1, level + 1)}
    start = p.matrix(f"W(T-0, T) - {paths(level, 'T-0')} == 0*I", empty)
    base = p.substitute(
        start, p.linear("N(0*I) <= 0"), f"N(W(T-0, T) - {paths(level, 'T-0')}) <= {size(level, '0')}"
    )
    return p.induction("k0", f"N{gap} <= {size(level, 'k0')}", base, step)


def _begin(p: Proof, j: int) -> int:
    """Yj(T-k0-1, T) == Yj(T-k0, T) + Y(j-1)(T-k0, T)*D(T-k0-1): a total, by its first term."""
    base = p.kernel.context.totals[f"Y{j}"]
    form = f"Y{j}(s0, s0+1+k0) == {base}(s0) + Y{j}(s0+1, s0+1+k0)"
    one, empty = p.window_step(f"Y{j}", "s0", "s0"), p.window_empty(f"Y{j}", "s0")
    none = p.window_empty(f"Y{j}", "s0+1")
    start = p.matrix(form.replace("+k0", ""), {one: ("I", "I"), empty: ("I", "I"), none: ("-I", "I")})
    whole, part = (p.window_step(f"Y{j}", x, "s0+1+k0") for x in ("s0", "s0+1"))
    step = p.matrix(
        form.replace("k0", "k0+1"), {p.assume(form): ("I", "I"), whole: ("I", "I"), part: ("-I", "I")}
    )
    found = p.instantiate(p.induction("k0", form, start, step), s0="T-k0-1")
    if j == 1:
        return found
    own = p.definition(base, "T-k0-1")
    return p.matrix(
        f"Y{j}(T-k0-1, T) == Y{j - 1}(T-k0, T)*D(T-k0-1) + Y{j}(T-k0, T)",
        {found: ("I", "I"), own: ("I", "I")},
    )


def prove(order: int, goal: dict[str, Any]) -> dict[str, Any]:
    """The layers, their sum, |g_T| from below."""
    p = surrogates.begin(goal, H="positive", G="positive", s="nonneg")
    depth, upper = p.assume("T == t + h + k"), lemmas.upper(p)
    miss = p.instantiate(missed(p, upper, order), k0="k")
    bound = surrogates.gap_norm(p, rule(order), depth, upper)
    part = f"k**{order + 1}*c**{order + 1}/(T**{order + 1}*{factorial(order + 1)})"
    layer = p.linear(
        f"F(gh(t) - gT(t)) <= a**(T-1)*r*{part}",
        {
            bound: "1",
            p.axiom("N_negative", f"W(T-k, T) - {paths(order, '(T-k)')}"): "a**(T-1-k)*r",
            miss: "a**(T-1-k)*r",
        },
    )
    square = surrogates.squared(p, f"a**(T-1)*r*{part}", layer)
    top = 2 * order + 3
    rate = f"c**{top - 1}/(T**{top - 1}*{factorial(order + 1)}**2)"
    most = surrogates.gap(p, square, p.assume("T == h + m"), "K", f"r**2*a**(2*(T-1))*{rate}")
    claimed = f"K(j) <= (j+1)**{top}/{top}"
    step = p.linear(claimed.replace("j", "(j+1)"), {p.assume(claimed): "1", p.sum_step("K", "j"): "1"})
    base = p.linear(claimed.replace("j", "0"), {p.sum_empty("K"): "1"})
    powers = p.instantiate(p.induction("j", claimed, base, step), j="m")
    low = surrogates.whole_growth(p)
    share = closed(order).replace("T - h + 1", "m + 1")
    given = p.assume(f"s == {share}")
    scaled = p.linear(
        f"{surrogates.GAP.format('T')} <= r**2*s*(T*b**(2*(T-1)))",
        {
            most: "1",
            powers: f"r**2*a**(2*(T-1))*{rate}",
            low: f"r**2*{rate}*(m+1)**{top}/{top}",
            given: "-r**2*T*b**(2*(T-1))",
        },
    )
    return surrogates.angle(p, goal, scaled, share)


NAMES = surrogates.NAMES | {
    "K": "K(m), the sum of the powers k^{2K+2}, k <= m",
    "Y1": "e_1, Y1(s, T) the sum of the deviations s..T-1",
    "Y2": "e_2, the sum over ordered products of two",
    "Y3": "e_3, the sum over ordered products of three",
    "B2": "e_1 of the layers after t, times D(t)",
    "B3": "e_2 of the layers after t, times D(t)",
}


def bound(order: int) -> Any:
    """The claim of one K."""
    top = 2 * order + 3
    return claim(
        f"highway_{order}",
        "Highway backpropagation",
        Form.NEW,
        f"paths through at most {order} unseen blocks, anchored: sin^2 <= e^{{2c}} c^{top - 1}/"
        f"({top} ({order + 1}!)^2 b^{{2T-2}}) (1 - (h-1)/T)^{top}",
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=statement(order),
        witness=TWO_LAYERS | {"c": 1, "h": 1, "m": 1, "Phi": [["9/16"]], "a": "3/2", "b": "1/2", "r": 1},
        route=lambda goal: prove(order, goal),
        twin_goal=statement(order, 1),
        twin_statement=f"order {top + 1}",
        letters=NAMES,
        evidence="every T > c, n, h, Phi with R != 0 and layers with ||W~||_2 <= c; h = 1: the method",
        function="dlinear.horizon_gradients",
        test="tests/certify/test_anchored_proofs.py::test_the_paths_of_highway_are_those_of_their_definition",
    )


def narrow(goal: dict[str, Any]) -> dict[str, Any]:
    """Two layers of 21/20, target 0: sin^2 = 5.9e-4 against 5.6e-4."""
    values = {"T": 2, "h": 1, "m": 1, "n": 1, "c": "1/10", "a": "21/20", "b": "19/20", "r": "441/400"}
    return refutation(goal, {**values, "Phi": [[0]], "D": {t: [["1/20"]] for t in range(2)}}, 2)


NARROW = statement(0)
NARROW["conclusions"][2] = NARROW["conclusions"][2].replace("T - h + 1", "T - h")

CLAIMS = (
    *(bound(order) for order in (1, 2, 3)),
    claim(
        "highway_narrow",
        "Highway backpropagation",
        Form.NEW,
        "K = 0, any window: sin^2 <= e^{2c} c^2/(3 b^{2T-2}) (1 - h/T)^3, without the 1/T of (1 - (h-1)/T)^3",
        Relation.UPPER_BOUND,
        Verdict.REFUTED,
        goal=NARROW,
        route=narrow,
        twin_goal=statement(0),
        twin_statement="the power of 1 - (h-1)/T, which the same example satisfies",
        letters=NAMES,
        evidence="the sum of k^2 up to m is more than m^3/3",
        function="dlinear.bounds.theorem_e1",
        test="tests/certify/test_anchored_proofs.py",
    ),
)
