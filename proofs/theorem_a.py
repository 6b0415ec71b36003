"""Theorem A (new; it replaces the proof of Theorem 3.4): a uniform, non-asymptotic bound.

Problem. How far does the horizon gradient g_h point from the full gradient g_T?

Statement. Let T > c >= 0, h >= 1, T = h + m, layers W(t) = I + D(t) with ||D(t)||_2 <= c/T, any n x n
matrix Phi, residual R = W_0^T - Phi nonzero. Then g_h and g_T are nonzero and

    sin^2(theta_h) <= K_A m(m+1)(2m+1)/(6 T^3) <= K_A (1 - h/T)^3,
    K_A = c^2 e^{2c} (sqrt(n) e^c + ||R||_F)^2 / ((1 - c/T)^{2(T-1)} ||R||_F^2).

Hence the informal Theorem 3.4, 1 - cos^2 = O((1 - h/T)^3), with one constant for all T >= 2c as long as
||R||_F >= rho > 0: K = c^2 e^{6c} (sqrt(n) e^c/rho + 1)^2. Without rho no constant serves all Phi (n = 1:
the limit constant of Lemma C.5 grows without bound as y -> e^c). And at c = 0 the angle is 0 for all T, h,
n and Phi != I, so that both limits of the formal version, C1 and C2, are 0, not positive.

Guarantee. Upper bounds for every T; no limit is taken.

Method. Exact steps. With s = t + h, k = T - s and U = W_s^T, expansion gives
g_T(t) - g_h(t) = (W_{t+1}^s)^T [ (U - I)^T R + (U - I) W_0^s ] (W_0^t)^T; the norm axioms, Lemma C.4 and
1 - a^{-k} <= ck/T (a = 1 + c/T) bound it by e^c (ck/T) (sqrt(n) e^c + ||R||_F). Inductions over t sum the
squares and bound |g_T|^2 below. Last, |g_h|^2 |g_T - g_h|^2 - (|g_h|^2 |g_T|^2 - <g_h, g_T>^2) = (|g_h|^2
- <g_h, g_T>)^2.

Reference. Theorem 3.4 and appendix C.2 of arXiv 2409.19561.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from dlinear.certify import Proof, claim
from dlinear.certify.claims import Form, Relation, Verdict
from dlinear.certify.prover import lemmas, surrogates
from dlinear.certify.prover.statements import LETTERS, RESIDUAL, TWO_LAYERS, network

CONSTANT = f"c**2*exp(2*c)*(sqrt(n)*exp(c) + {RESIDUAL})**2/((1 - c/T)**(2*(T-1))*{RESIDUAL}**2)"
ROOT = CONSTANT.replace("c**2", "c", 1)  # CONSTANT/c
OPEN = CONSTANT.replace(RESIDUAL, "r").replace("(1 - c/T)", "b")
UNIFORM = "c**2*exp(6*c)*(sqrt(n)*exp(c)/rho + 1)**2"
EXACT = "m*(m+1)*(2*m+1)/(6*T**3)"
LESS = "exp(4*c)*exp(-4*c/T)"
SIN2 = "1 - HT(T)**2/(HH(T)*TT(T))"
STEP = "exp(c)*c/T*(sqrt(n)*exp(c) + r)"  # F(g_T(t) - g_h(t)) <= STEP*k
FLOOR = "b**(2*(T-1))*r**2"  # the least share of one layer in |g_T|^2
CUBES = "{0}*({0}+1)*(2*{0}+1)/6"  # 1 + 4 + ... + k^2
GAP = surrogates.GAP


def statement(exact: str, cubic: str) -> dict[str, Any]:
    """The goal, with the two forms of the dependence on m."""
    return network(
        ["0 < HH(T)", "0 < TT(T)", f"{SIN2} <= {CONSTANT}*{exact}", f"{SIN2} <= {CONSTANT}*{cubic}"],
        ["c < T", "T == h + m", f"0 < {RESIDUAL}"],
        sums=True,
        m="natural",
    )


GOAL = statement(EXACT, "(1 - h/T)**3")
TWIN = statement("m*(m+1)*(2*m+1)/(6*T**4)", "(1 - h/T)**4")


def difference(p: Proof, upper: int, depth: int, radius: int) -> int:
    """F(g_T(t) - g_h(t)) <= a**(T-1-k)*(a**k - 1)*(sqrt(n)*a**(T-k) + r), for T == t + h + k."""
    past = p.linear("0 <= h - 1", {p.sort("h"): "1"})
    left, state, tail, before = "W(t+1, t+h)", "W(0, t+h)", "W(t+h, T)", "W(0, t)"
    residual, gap = "(W(0, T) - Phi)", f"({tail} - I)"
    middle = f"({gap}.T*{residual} + {gap}*{state})"
    split = lemmas.split(p)
    one = p.instantiate(split, [past], s0="t+1", i0="h-1", k0="k")
    one = p.substitute(depth, one, f"W(t+1, T) == {tail}*{left}", reverse=True)
    two = p.instantiate(split, s0="0", i0="t+h", k0="k")
    two = p.substitute(depth, two, f"W(0, T) == {tail}*{state}", reverse=True)
    near = p.definition("gh", "t", 0, [p.linear("t + h <= T", {depth: "-1"})])
    full = p.definition("gT", "t")
    shape = p.matrix(
        f"gT(t) - gh(t) == {left}.T*{middle}*{before}.T",
        {full: ("I", "I"), near: ("-I", "I"), one: ("I", f"{residual}*{before}.T")}
        | {two: (f"{left}.T", f"{before}.T")},
        transposed=[one],
    )  # fmt: skip
    a1, a2, a3, a4 = (f"N({x})" for x in (f"{left}.T", f"{before}.T", f"{gap}.T", state))
    x1, x2, x3 = (f"N({x})" for x in (left, before, gap))
    norms = p.linear(
        f"F({left}.T*{middle}*{before}.T) <= {x1}*{x2}*{x3}*(r + sqrt(n)*{a4})",
        {
            p.axiom("F_product_FN", f"{left}.T*{middle}", f"{before}.T"): "1",
            p.axiom("F_product_NF", f"{left}.T", middle): a2,
            p.axiom("F_triangle", f"{gap}.T*{residual}", f"{gap}*{state}"): f"{a1}*{a2}",
            p.axiom("F_product_NF", f"{gap}.T", residual): f"{a1}*{a2}",
            p.axiom("F_product_NF", gap, state): f"{a1}*{a2}",
            p.axiom("F_below_N", state): f"{a1}*{a2}*{x3}",
            radius: f"-{a1}*{a2}*{a3}",
            p.axiom("N_transpose", left): f"{a2}*({a3}*r + {x3}*sqrt(n)*{a4})",
            p.axiom("N_transpose", before): f"{x1}*({a3}*r + {x3}*sqrt(n)*{a4})",
            p.axiom("N_transpose", gap): f"{x1}*{x2}*r",
        },
    )
    norms = p.substitute(
        shape, norms, p.text(norms).replace(p.text(norms).split(" <= ")[0], "F(gT(t) - gh(t))")
    )
    near_identity = p.substitute(
        depth, lemmas.at(p, lemmas.near_identity(p, upper), "t+h", "k"), f"{x3} <= a**k - 1", reverse=True
    )
    bound = p.linear(
        "F(gT(t) - gh(t)) <= a**(h-1)*a**t*(a**k - 1)*(sqrt(n)*a**(t+h) + r)",
        {
            norms: "1",
            lemmas.at(p, upper, "t+1", "h-1", past): f"{x2}*{x3}*(r + sqrt(n)*{a4})",
            lemmas.at(p, upper, "0", "t"): f"a**(h-1)*{x3}*(r + sqrt(n)*{a4})",
            lemmas.at(p, upper, "0", "t+h"): f"a**(h-1)*a**t*{x3}*sqrt(n)",
            near_identity: "a**(h-1)*a**t*(r + sqrt(n)*a**(t+h))",
        },
    )
    back = p.linear("t == T - h - k", {depth: "-1"})
    return p.substitute(back, bound, "F(gT(t) - gh(t)) <= a**(T-1-k)*(a**k - 1)*(sqrt(n)*a**(T-k) + r)")


def one_layer(p: Proof, upper: int, depth: int, radius: int) -> int:
    """F(g_T(t) - g_h(t))**2 <= STEP**2*k**2, for T == t + h + k."""
    bound = difference(p, upper, depth, radius)
    rate = p.assume(lemmas.UPPER)
    grown = lemmas.growth(p)  # a**k0 <= exp(c*k0/T)
    whole, part = (p.instantiate(grown, k0=x) for x in ("T", "k"))
    # 1 - a**(-k) <= 1 - exp(-c*k/T) <= c*k/T
    loss = p.linear(
        "1 - a**(-k) <= c*k/T", {part: "a**(-k)*exp(-c*k/T)", lemmas.exponential(p, "-c*k/T"): "1"}
    )
    more = p.linear("1 <= a", {rate: "-1"})
    first = p.linear(
        "a**(T-1-k)*(a**k - 1) <= exp(c)*c*k/T",
        {loss: "a**(T-1)", more: "a**(T-1)*c*k/T", whole: "c*k/T"},
    )
    above = lemmas.raise_to(p, more, "1", "a", "k")
    second = p.linear(
        "sqrt(n)*a**(T-k) + r <= sqrt(n)*exp(c) + r", {above: "sqrt(n)*a**(T-k)", whole: "sqrt(n)"}
    )
    size = p.linear(
        f"F(gT(t) - gh(t)) <= {STEP}*k",
        {bound: "1", first: "sqrt(n)*a**(T-k) + r", second: "exp(c)*c*k/T"},
    )
    return p.linear(f"F(gT(t) - gh(t))**2 <= ({STEP})**2*k**2", {size: f"{STEP}*k + F(gT(t) - gh(t))"})


def gap(p: Proof, upper: int, depth: int, radius: int) -> int:
    """|g_T - g_h|^2 <= STEP**2*CUBES(m) over all T layers, for T == h + m."""
    layer = one_layer(p, upper, p.assume("T == t + h + k"), radius)
    inside = p.assume("j + 1 <= m")
    room = p.linear("0 <= m - j", {inside: "1"})
    place = p.linear("T == j + h + (m - j)", {depth: "1"})
    layer = p.cut(p.instantiate(layer, [room], t="j", k="m - j"), place)
    square = p.axiom("F_square", "gT(j) - gh(j)")
    sums = {name: p.sum_step(name, "j") for name in ("HH", "HT", "TT")}
    claimed = f"{GAP.format('j')} <= ({STEP})**2*({CUBES.format('m')} - {CUBES.format('(m-j)')})"
    before = p.assume(claimed)
    zero = {p.sum_empty("HH"): "1", p.sum_empty("HT"): "-2", p.sum_empty("TT"): "1"}
    step = p.linear(
        claimed.replace("j", "(j+1)"),
        {before: "1", layer: "1", square: "-1", sums["HH"]: "1", sums["HT"]: "-2", sums["TT"]: "1"},
    )
    early = p.induction("j", claimed, p.linear(claimed.replace("j", "0"), zero), step, upto="m")
    early = p.cut(p.instantiate(early, j="m"), p.linear("m <= m"))
    early = p.linear(f"{GAP.format('m')} <= ({STEP})**2*{CUBES.format('m')}", {early: "1"})
    late_fact = surrogates.late(p, depth)  # from layer m on the two gradients agree
    return p.linear(f"{GAP.format('T')} <= ({STEP})**2*{CUBES.format('m')}", {early: "1", late_fact: "1"})


def full(p: Proof, radius: int) -> tuple[int, int]:
    """T*FLOOR <= |g_T|^2, and 0 < |g_h|^2."""
    lower = lemmas.lower(p)
    inside = p.assume("j + 1 <= T")
    room = p.linear("0 <= T - 1 - j", {inside: "1"})
    residual, after, before = "(W(0, T) - Phi)", "W(j+1, T)", "W(0, j)"
    one, two = lemmas.at(p, lower, "j+1", "T-1-j", room), lemmas.at(p, lower, "0", "j")
    s1, s2 = f"S({after}.T)", f"S({before}.T)"
    norms = p.linear(
        f"b**(T-1)*r <= F({after}.T*{residual}*{before}.T)",
        {
            p.axiom("F_product_FS", f"{after}.T*{residual}", f"{before}.T"): "1",
            p.axiom("F_product_SF", f"{after}.T", residual): s2,
            radius: f"{s1}*{s2}",
            p.axiom("S_transpose", after): f"-r*{s2}",
            p.axiom("S_transpose", before): f"-r*S({after})",
            one: f"r*S({before})",
            two: "r*b**(T-1-j)",
        },
    )
    size = p.substitute(p.definition("gT", "j"), norms, "b**(T-1)*r <= F(gT(j))")
    square = p.linear(f"{FLOOR} <= F(gT(j))**2", {size: "F(gT(j)) + b**(T-1)*r"})
    claimed = f"j*{FLOOR} <= TT(j)"
    step = p.linear(
        f"(j+1)*{FLOOR} <= TT(j+1)",
        {p.assume(claimed): "1", square: "1", p.axiom("F_square", "gT(j)"): "1", p.sum_step("TT", "j"): "-1"},
    )
    base = p.linear(f"0*{FLOOR} <= TT(0)", {p.sum_empty("TT"): "-1"})
    whole = p.instantiate(p.induction("j", claimed, base, step, upto="T"), j="T")
    return p.cut(whole, p.linear("T <= T")), lemmas.horizon_energy(p, size)


class Layers(NamedTuple):
    """Facts about T == h + m layers, in the symbols a, b, r = |R|, H = |g_h|^2, G = |g_T|^2.

    Attributes:
        near: 0 < HH(T).
        total: 0 < TT(T).
        ratio: sin^2 <= OPEN*EXACT.
        cubic: sin^2 <= OPEN*(1 - h/T)**3.
    """

    near: int
    total: int
    ratio: int
    cubic: int


def layers(p: Proof, exact: str) -> Layers:
    """The bounds for T == h + m and c < T, with their symbols still open."""
    depth, radius = p.assume("T == h + m"), p.assume(f"r == {RESIDUAL}")
    most, (least, near) = gap(p, lemmas.upper(p), depth, radius), full(p, radius)
    total = p.linear("0 < TT(T)", {least: "1"})
    h, g = p.assume("H == HH(T)"), p.assume("G == TT(T)")
    sin2 = "1 - HT(T)**2/(H*G)"
    ratio = p.linear(
        f"{sin2} <= {OPEN}*{exact}",
        {most: "1/G", least: f"{OPEN}*{exact}/G", h: "1/G", g: f"1/G - {OPEN}*{exact}/G"},
        squares=[("1/(H*G)", "H - HT(T)")],
    )
    grow = "m*(m+1)*(2*m+1) <= 6*m**3"
    steps = p.linear(grow.replace("m", "(j+1)"), {p.assume(grow.replace("m", "j")): "1"})
    cubes = p.induction("j", grow.replace("m", "j"), p.linear(grow.replace("m", "0")), steps)
    cubes = p.instantiate(cubes, j="m")
    cubic = p.linear(f"{sin2} <= {OPEN}*(m/T)**3", {ratio: "1", cubes: f"{OPEN}/(6*T**3)"})
    short = p.linear("m == T - h", {depth: "-1"})
    cubic = p.substitute(short, cubic, f"{sin2} <= {OPEN}*(1 - h/T)**3")
    return Layers(near, total, ratio, cubic)


def closed(p: Proof, found: Layers, room: int, length: int, *bounds: int) -> tuple[int, ...]:
    """0 < HH(T), 0 < TT(T) and the bounds, with a, b, r, H, G replaced; facts 0 < 1 - c/T and 0 < |R|."""

    def shut(fact: int) -> int:
        fact = lemmas.close(p, fact, b="1 - c/T", r=RESIDUAL, b_side=str(room), r_side=str(length))
        return lemmas.close(p, fact, a="1 + c/T")

    near, total = shut(found.near), shut(found.total)
    sides = {"H_side": str(near), "G_side": str(total)}
    ends = [p.cut(lemmas.close(p, shut(x), H="HH(T)", G="TT(T)", **sides)) for x in bounds]
    return near, total, *ends


def begin(goal: dict[str, Any], **more: str) -> Proof:
    """A proof with the symbols of `layers`."""
    extra = dict.fromkeys("rHG", "positive") | dict.fromkeys("tkj", "natural") | more
    return Proof(goal, **lemmas.SYMBOLS, **extra)


def route(goal: dict[str, Any]) -> dict[str, Any]:
    """The certificate."""
    p = begin(goal)
    found = layers(p, goal["conclusions"][2].removeprefix(f"{SIN2} <= {CONSTANT}*"))
    room = p.linear("0 < 1 - c/T", {p.assume("c < T"): "1/T"})
    length = p.assume(f"0 < {RESIDUAL}")
    return p.finish(*closed(p, found, room, length, found.ratio, found.cubic))


def informal(order: int) -> dict[str, Any]:
    """One constant for all T >= 2c, layers and Phi with ||R||_F >= rho."""
    return network(
        ["0 < HH(T)", "0 < TT(T)", f"{SIN2} <= {UNIFORM}*(1 - h/T)**{order}"],
        ["2*c <= T", "T == h + m", f"rho <= {RESIDUAL}"],
        sums=True,
        m="natural",
        rho="positive",
    )


def informal_route(goal: dict[str, Any]) -> dict[str, Any]:
    """e^{-2c/T} <= 1 - c/T for T >= 2c, and (sqrt(n) e^c + r)/r falls in r."""
    p = begin(goal)
    found = layers(p, EXACT)
    wide, apart = p.assume("2*c <= T"), p.assume(f"rho <= {RESIDUAL}")
    # b e^{2x} >= (1 - x)(1 + 2x) >= 1 at x = c/T <= 1/2
    rate = p.assume(lemmas.LOWER)
    below = p.linear(
        "exp(-2*c/T) <= b",
        {
            lemmas.exponential(p, "2*c/T"): "b*exp(-2*c/T)",
            rate: "-exp(-2*c/T)*(1 + 2*c/T)",
            wide: "exp(-2*c/T)*c/T**2",
        },
    )
    last = p.linear("0 <= 2*(T - 1)", {p.sort("T"): "2"})
    power = lemmas.raise_to(p, below, "exp(-2*c/T)", "b", "2*(T-1)", [last])
    one = lemmas.exponential(p, "4*c/T")
    floor = p.linear("b**(-2*(T-1)) <= exp(4*c)", {power: "b**(-2*(T-1))*exp(4*c*(T-1)/T)", one: LESS})
    least = p.linear("rho <= r", {apart: "1", p.assume(f"r == {RESIDUAL}"): "-1"})
    turned = p.linear("1/r <= 1/rho", {least: "1/(r*rho)"})
    mine, theirs = (f"(sqrt(n)*exp(c)/{x} + 1)" for x in ("r", "rho"))
    share = p.linear(f"{mine}**2 <= {theirs}**2", {turned: f"sqrt(n)*exp(c)*({mine} + {theirs})"})
    cube = p.linear("0 <= (m/T)**3")
    cube = p.substitute(p.linear("m == T - h", {p.assume("T == h + m"): "-1"}), cube, "0 <= (1 - h/T)**3")
    front = "c**2*exp(2*c)"
    constant = p.linear(f"{OPEN} <= {UNIFORM}", {floor: f"{front}*{mine}**2", share: f"{front}*exp(4*c)"})
    scaled = p.product(constant, cube, f"0 <= ({UNIFORM} - {OPEN})*(1 - h/T)**3")
    bound = p.linear(f"1 - HT(T)**2/(H*G) <= {UNIFORM}*(1 - h/T)**3", {found.cubic: "1", scaled: "1"})
    room = p.linear("0 < 1 - c/T", {wide: "1/(2*T)"})
    length = p.linear(f"0 < {RESIDUAL}", {apart: "1"})
    return p.finish(*closed(p, found, room, length, bound))


def parallel(size: str) -> dict[str, Any]:
    """sin^2 <= size for layers that are all the identity."""
    return network(
        ["0 < HH(T)", "0 < TT(T)", f"{SIN2} <= {size}"],
        ["c == 0", "T == h + m", f"0 < {RESIDUAL}"],
        sums=True,
        m="natural",
    )


def parallel_route(goal: dict[str, Any]) -> dict[str, Any]:
    """Theorem A at c = 0."""
    p = begin(goal)
    found = layers(p, EXACT)
    still = p.assume("c == 0")
    room, length = p.linear("0 < 1 - c/T", {still: "1/T"}), p.assume(f"0 < {RESIDUAL}")
    near, total, bound = closed(p, found, room, length, found.ratio)
    return p.finish(near, total, p.linear(goal["conclusions"][2], {bound: "1", still: f"{ROOT}*{EXACT}"}))


CLAIMS = (
    claim(
        "theorem_a",
        "Theorem A, replaces the proof of Theorem 3.4",
        Form.NEW,
        "g_h, g_T != 0 and sin^2(theta_h) <= K_A m(m+1)(2m+1)/(6 T^3) <= K_A (1 - h/T)^3, T > c, R != 0",
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=GOAL,
        witness=TWO_LAYERS | {"c": 1, "h": 1, "m": 1, "Phi": [[3]]},
        letters=LETTERS | {"rho": "least ||R||_F"},
        route=route,
        twin_goal=TWIN,
        twin_statement="T^4 in place of T^3 (order 4)",
        evidence="every T > c, n, Phi and layers with ||W~||_2 <= c",
        function="dlinear.bounds.theorem_a",
        test="tests/theory/test_bounds.py",
        figure="theorem_a",
    ),
    claim(
        "theorem_34_informal",
        "Theorem 3.4 (informal)",
        Form.REPAIRED,
        "1 - cos^2(theta_h) <= c^2 e^{6c} (sqrt(n) e^c/rho + 1)^2 (1 - h/T)^3, one constant for all T >= 2c, "
        "layers and Phi with ||R||_F >= rho > 0 (as printed, R may tend to 0)",
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=informal(3),
        witness=TWO_LAYERS
        | {
            "c": 1,
            "h": 1,
            "m": 1,
            "rho": 1,
            "Phi": [[3]],
        },
        letters=LETTERS | {"rho": "least ||R||_F"},
        route=informal_route,
        twin_goal=informal(4),
        twin_statement="order 4",
        twin_values={
            **{"T": 4, "h": 3, "m": 1, "n": 1, "c": "1/10", "rho": 1},
            **{"Phi": [[0]], "D": {t: [["1/40"]] for t in range(4)}},
        },
        twin_fails=2,
        evidence="one constant for every T, h, Phi and layers",
        function="dlinear.bounds.theorem_a_cubic",
        test="tests/certify/test_proofs.py",
        figure="theorem_a",
    ),
    claim(
        "theorem_34_parallel",
        "Theorem 3.4 (formal), eq. (26)",
        Form.NEW,
        "W~ = 0: sin^2(theta_h) <= 0 (so = 0) for all T, h <= T, n and Phi != I; then C1 = C2 = 0 in (26)",
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=parallel("0"),
        witness={"T": 2, "n": 1, "D": {}, "c": 0, "h": 1, "m": 1, "Phi": [[3]]},
        letters=LETTERS | {"rho": "least ||R||_F"},
        route=parallel_route,
        twin_goal=parallel("-m/T"),
        twin_statement="sin^2 <= -(1 - h/T)",
        twin_values={"T": 2, "h": 1, "m": 1, "n": 1, "c": 0, "Phi": [[2]]},
        twin_fails=2,
        evidence="Theorem A at c = 0; sin^2 >= 0 by Cauchy-Schwarz",
        assumes="C1 and C2 are limits of sin^2/(1 - h/T)^3, here of zeros",
        function="dlinear.alignment",
        test="tests/theory/test_scalar.py::test_identity_layers",
    ),
)
