"""Horizons with a surrogate tail, in the language of certificates, and the steps that their proofs share.

A rule gives layer t the signal at s = t + h, pulled back through its window. S_s stands for the tail W_s^T
that the window does not see, R = W_0^T - Phi, and `gh` is

    anchored:   (W_{t+1}^s)^T S_s^T R (W_0^t)^T,    value:   (W_{t+1}^s)^T S_s^T (S_s W_0^s - Phi) (W_0^t)^T

for s < T, and the full gradient `gT` for s >= T. Untrusted, like everything that writes certificates.

The statements have the positive symbols a = 1 + c/T, b = 1 - c/T, r = ||R||_F (so T > c and R != 0) as
hypotheses; T = t + h + k: a layer t with k > 0 unseen blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlinear.certify.prover import lemmas
from dlinear.certify.prover.proof import Proof
from dlinear.certify.prover.statements import GRADIENTS, LETTERS, RESIDUAL, SUMS, network

RADIUS = f"r == {RESIDUAL}"
GIVEN = (lemmas.UPPER, lemmas.LOWER, RADIUS, "T == h + m")
GAP = "HH({0}) - 2*HT({0}) + TT({0})"  # |g_h - g_T|^2 over the first layers
SIN2 = "1 - HT(T)**2/(HH(T)*TT(T))"
LOSS = "(W(0, T) - Phi)"

NAMES = LETTERS | {
    "Z": "Z_s, what stands for the tail E_s = W_s^T",
    "gh": "g(t), s = t + h",
    "HH": "HH(T) = ||g||^2",
    "HT": "HT(T) = <g, g_T>",
    "r": "||R||_F, R = W_0^T - Phi",
    "e": "any number > 0 that is at least kappa",
    "q": "number of runs",
    "C": "C(q k + i), the coarse layer of run i of the last k layers",
    "V": "V(q k, q k + q) = S_s, k = T - s",
    "Y": "Y(a, b), the sum of the deviations a..b-1",
}
"""What the names of these statements stand for, but the sum K."""


@dataclass(frozen=True)
class Rule:
    """A rule by its surrogate.

    Attributes:
        anchored: hands on R; otherwise the loss of the surrogate's end.
        surrogate: text of S_s, with `{s}` for s and `{k}` for T - s.
    """

    anchored: bool
    surrogate: str = "Z({s})"

    def tail(self, s: str, k: str) -> str:
        """S_s in brackets."""
        return "(" + self.surrogate.format(s=f"({s})", k=f"({k})") + ")"

    def definition(self) -> dict[str, Any]:
        """gh(t)."""
        s = "t + h"
        tail = self.tail(s, "T - t - h")
        signal = f"{tail}.T*{LOSS}" if self.anchored else f"{tail}.T*({tail}*W(0, {s}) - Phi)"
        near = {"if": ["t + h + 1 <= T"], "then": f"W(t+1, {s}).T*{signal}*W(0, t).T"}
        return {"index": "t", "cases": [near, dict(GRADIENTS["gh"]["cases"][1])]}

    def size(self, s: str, k: str) -> str:
        """Bound of what is missed, by norms; for the value rule with N(W_0^s) <= a^{T-k}."""
        tail = self.tail(s, k)
        gap = f"N({tail} - W({s}, T))"
        return f"{gap}*r" if self.anchored else f"{gap}*(N({tail})*sqrt(n)*a**(T-{k}) + r)"

    def missed(self, s: str, k: str) -> str:
        """What the rule misses at s: (g_h - g_T)(t) without the factors on both sides, (D2) and (D3)."""
        tail = self.tail(s, k)
        gap = f"({tail} - W({s}, T))"
        return f"({gap}.T*{LOSS})" if self.anchored else f"({tail}.T*{gap}*W(0, {s}) + {gap}.T*{LOSS})"


def statement(
    rule: Rule,
    conclusions: Sequence[str],
    hypotheses: Sequence[str] = GIVEN,
    *,
    extra: Mapping[str, Any] | None = None,
    sums: Mapping[str, str] | None = None,
    **symbols: str,
) -> dict[str, Any]:
    """Statement about gh of a rule and gT.

    Args:
        rule: what gh is.
        conclusions, hypotheses: formulas.
        extra: further families ("Z": None).
        sums: further sums, name -> term in the index j.
        **symbols: further symbols.
    """
    named = {"Phi": "matrix", "h": "posint", **symbols}
    if "T == h + m" in hypotheses:
        named = {"m": "natural", "a": "positive", "b": "positive", "r": "positive"} | named
    goal = network(conclusions, hypotheses)
    goal["symbols"] = {**goal["symbols"], **named}
    goal["families"] = {**goal["families"], **(extra or {})}
    goal["definitions"] = {"gh": rule.definition(), "gT": dict(GRADIENTS["gT"])}
    more = {name: {"index": "j", "term": term} for name, term in (sums or {}).items()}
    goal["sums"] = {name: dict(item) for name, item in SUMS.items()} | more
    return goal


def begin(goal: Mapping[str, Any], **more: str) -> Proof:
    """A proof with the symbols of the lemmas and of the steps below."""
    helpers = {**lemmas.SYMBOLS, "t": "natural", "j": "natural", "k": "posint", **more}
    return Proof(goal, **{name: sort for name, sort in helpers.items() if name not in goal["symbols"]})


def identity(p: Proof, rule: Rule, depth: int) -> int:
    """(D2), (D3): gh(t) - gT(t) == W(t+1, t+h).T*missed*W(0, t).T, given the fact T == t + h + k."""
    left, state, tail, before = "W(t+1, t+h)", "W(0, t+h)", "W(t+h, T)", "W(0, t)"
    past = p.linear("0 <= h - 1", {p.sort("h"): "1"})
    inside = p.linear("t + h + 1 <= T", {depth: "-1", p.sort("k"): "1"})
    split = lemmas.split(p)
    one = p.instantiate(split, [past], s0="t+1", i0="h-1", k0="k")
    one = p.substitute(depth, one, f"W(t+1, T) == {tail}*{left}", reverse=True)
    near, full = p.definition("gh", "t", 0, [inside]), p.definition("gT", "t")
    premises = {near: ("I", "I"), full: ("-I", "I"), one: ("-I", f"{LOSS}*{before}.T")}
    if not rule.anchored:
        two = p.instantiate(split, s0="0", i0="t+h", k0="k")
        two = p.substitute(depth, two, f"W(0, T) == {tail}*{state}", reverse=True)
        premises[two] = (f"-{left}.T*{rule.tail('t+h', 'T-t-h')}.T", f"{before}.T")
    missed = rule.missed("t+h", "T-t-h")
    conclusion = f"gh(t) - gT(t) == {left}.T*{missed}*{before}.T"
    return p.matrix(conclusion, premises, transposed=[one])


def gap_norm(p: Proof, rule: Rule, depth: int, upper: int) -> int:
    """F(gh(t) - gT(t)) <= a**(T-1-k)*(...), given the facts T == t + h + k and `lemmas.upper`.

    (...) is N(S - W_s^T)*r, for the value rule N(S - W_s^T)*(N(S)*sqrt(n)*a**(T-k) + r).
    """
    radius = p.assume(RADIUS)
    shape = identity(p, rule, depth)
    left, before, state = "W(t+1, t+h)", "W(0, t)", "W(0, t+h)"
    missed, tail = rule.missed("t+h", "T-t-h"), rule.tail("t+h", "T-t-h")
    gap = f"({tail} - W(t+h, T))"
    l1, b1, x1 = f"N({left}.T)", f"N({before}.T)", f"N({gap}.T)"
    ln, bn, x = f"N({left})", f"N({before})", f"N({gap})"
    premises = {
        p.axiom("F_product_FN", f"{left}.T*{missed}", f"{before}.T"): "1",
        p.axiom("F_product_NF", f"{left}.T", missed): b1,
        p.axiom("F_product_NF", f"{gap}.T", LOSS): f"{l1}*{b1}",
    }
    inner = f"{x}*r"
    if not rule.anchored:
        first = f"{tail}.T*{gap}*{state}"
        inner = f"({x}*(N({tail})*sqrt(n)*N({state}) + r))"
        premises |= {
            p.axiom("F_triangle", first, f"{gap}.T*{LOSS}"): f"{l1}*{b1}",
            p.axiom("F_product_NF", f"{tail}.T", f"{gap}*{state}"): f"{l1}*{b1}",
            p.axiom("N_transpose", tail): f"{l1}*{b1}*F({gap}*{state})",
            p.axiom("F_product_NF", gap, state): f"{l1}*{b1}*N({tail})",
            p.axiom("F_below_N", state): f"{l1}*{b1}*N({tail})*{x}",
        }
    premises |= {
        radius: f"-{l1}*{b1}*{x1}",
        p.axiom("N_transpose", gap): f"{l1}*{b1}*r",
        p.axiom("N_transpose", left): f"{b1}*{inner}",
        p.axiom("N_transpose", before): f"{ln}*{inner}",
    }
    norms = p.linear(f"F({left}.T*{missed}*{before}.T) <= {ln}*{bn}*{inner}", premises)
    norms = p.substitute(shape, norms, f"F(gh(t) - gT(t)) <= {ln}*{bn}*{inner}")
    past = p.linear("0 <= h - 1", {p.sort("h"): "1"})
    bounds = {
        norms: "1",
        lemmas.at(p, upper, "t+1", "h-1", past): f"{bn}*{inner}",
        lemmas.at(p, upper, "0", "t"): f"a**(h-1)*{inner}",
    }
    outer = inner
    if not rule.anchored:
        bounds[lemmas.at(p, upper, "0", "t+h")] = f"a**(h-1)*a**t*{x}*N({tail})*sqrt(n)"
        outer = f"{x}*(N({tail})*sqrt(n)*a**(t+h) + r)"
    bound = p.linear(f"F(gh(t) - gT(t)) <= a**(h-1)*a**t*{outer}", bounds)
    back = p.linear("t == T - h - k", {depth: "-1"})
    return p.substitute(back, bound, f"F(gh(t) - gT(t)) <= a**(T-1-k)*{rule.size('T-k', 'k')}")


def squared(p: Proof, size: str, bound: int, sign: int | None = None) -> int:
    """F(gh(t) - gT(t))**2 <= size**2 from F(...) <= size; a fact 0 <= size where that is not manifest."""
    norm = "F(gh(t) - gT(t))"
    if sign is None:
        return p.linear(f"{norm}**2 <= ({size})**2", {bound: f"{norm} + {size}"})
    more = p.product(bound, sign, f"0 <= (({size}) - {norm})*({size})")
    return p.linear(f"{norm}**2 <= ({size})**2", {bound: norm, more: "1"})


def gap(p: Proof, layer: int, depth: int, total: str, factor: str = "r**2") -> int:
    """|g_h - g_T|^2 <= factor*total(m), given T == h + m.

    `layer` is F(gh(t) - gT(t))**2 <= factor*(the term of the sum `total` at k - 1) under T == t + h + k.
    """
    inside = p.assume("j + 1 <= m")
    room = p.linear("0 <= m - 1 - j", {inside: "1"})
    some = p.linear("1 <= m - j", {inside: "1"})
    place = p.linear("T == j + h + (m - j)", {depth: "1"})
    layer = p.cut(p.instantiate(layer, [some], t="j", k="m - j"), place)
    square = p.axiom("F_square", "gh(j) - gT(j)")
    sums = {name: p.sum_step(name, "j") for name in ("HH", "HT", "TT")}
    added = p.sum_step(total, "m - 1 - j", room)
    claimed = f"{GAP.format('j')} <= {factor}*({total}(m) - {total}(m - j))"
    zero = {p.sum_empty("HH"): "1", p.sum_empty("HT"): "-2", p.sum_empty("TT"): "1"}
    step = p.linear(
        claimed.replace("j", "(j+1)"),
        {
            p.assume(claimed): "1", layer: "1", square: "-1", added: f"-{factor}",
            sums["HH"]: "1", sums["HT"]: "-2", sums["TT"]: "1",
        },
    )  # fmt: skip
    early = p.induction("j", claimed, p.linear(claimed.replace("j", "0"), zero), step, upto="m")
    early = p.cut(p.instantiate(early, j="m"), p.linear("m <= m"))
    early = p.linear(
        f"{GAP.format('m')} <= {factor}*{total}(m)", {early: "1", p.sum_empty(total): f"-{factor}"}
    )
    return p.linear(f"{GAP.format('T')} <= {factor}*{total}(m)", {early: "1", late(p, depth): "1"})


def late(p: Proof, depth: int) -> int:
    """|g_h - g_T|^2 has no share of the layers from m on: GAP(T) == GAP(m), given T == h + m."""
    beyond = p.linear("T <= m + j + h", {depth: "1"})
    near, full = p.definition("gh", "m+j", 1, [beyond]), p.definition("gT", "m+j")
    equal = p.matrix("gh(m+j) == gT(m+j)", {near: ("I", "I"), full: ("-I", "I")})
    x, y = "gh(m+j)", "gT(m+j)"
    nothing = p.linear(f"ip({y}, {y}) - 2*ip({y}, {y}) + ip({y}, {y}) == 0")
    nothing = p.substitute(equal, nothing, f"ip({x}, {x}) - 2*ip({x}, {y}) + ip({y}, {y}) == 0")
    same = f"{GAP.format('(m+j)')} == {GAP.format('m')}"
    sums = {name: p.sum_step(name, "m+j") for name in ("HH", "HT", "TT")}
    step = p.linear(
        same.replace("j", "(j+1)"),
        {p.assume(same): "1", nothing: "1", sums["HH"]: "1", sums["HT"]: "-2", sums["TT"]: "1"},
    )
    fact = p.instantiate(p.induction("j", same, p.linear(same.replace("j", "0")), step), j="h")
    return p.substitute(depth, fact, f"{GAP.format('T')} == {GAP.format('m')}", reverse=True)


def energies(p: Proof) -> tuple[int, int, int]:
    """T*b**(2*(T-1))*r**2 <= TT(T), 0 < TT(T) and 0 < HH(T)."""
    radius, lower = p.assume(RADIUS), lemmas.lower(p)
    room = p.linear("0 <= T - 1 - j", {p.assume("j + 1 <= T"): "1"})
    after, before = "W(j+1, T)", "W(0, j)"
    s1, s2 = f"S({after}.T)", f"S({before}.T)"
    norms = p.linear(
        f"b**(T-1)*r <= F({after}.T*{LOSS}*{before}.T)",
        {
            p.axiom("F_product_FS", f"{after}.T*{LOSS}", f"{before}.T"): "1",
            p.axiom("F_product_SF", f"{after}.T", LOSS): s2,
            radius: f"{s1}*{s2}",
            p.axiom("S_transpose", after): f"-r*{s2}",
            p.axiom("S_transpose", before): f"-r*S({after})",
            lemmas.at(p, lower, "j+1", "T-1-j", room): f"r*S({before})",
            lemmas.at(p, lower, "0", "j"): "r*b**(T-1-j)",
        },
    )
    size = p.substitute(p.definition("gT", "j"), norms, "b**(T-1)*r <= F(gT(j))")
    floor = "b**(2*(T-1))*r**2"
    square = p.linear(f"{floor} <= F(gT(j))**2", {size: "F(gT(j)) + b**(T-1)*r"})
    step = p.linear(
        f"(j+1)*{floor} <= TT(j+1)",
        {
            p.assume(f"j*{floor} <= TT(j)"): "1", square: "1",
            p.axiom("F_square", "gT(j)"): "1", p.sum_step("TT", "j"): "-1",
        },
    )  # fmt: skip
    base = p.linear(f"0*{floor} <= TT(0)", {p.sum_empty("TT"): "-1"})
    whole = p.instantiate(p.induction("j", f"j*{floor} <= TT(j)", base, step, upto="T"), j="T")
    whole = p.cut(whole, p.linear("T <= T"))
    return whole, p.linear("0 < TT(T)", {whole: "1"}), lemmas.horizon_energy(p, size)


def sin2_bound(p: Proof, most: int, least: int, near: int, total: int, share: str) -> int:
    """sin^2 <= share, from |g_h - g_T|^2 <= r**2*(share*T*b**(2*(T-1))) and the facts of `energies`.

    `share` is a term that is manifestly non-negative.
    """
    h, g = p.assume("H == HH(T)"), p.assume("G == TT(T)")
    ratio = p.linear(
        f"1 - HT(T)**2/(H*G) <= {share}",
        {most: "1/G", least: f"({share})/G", h: "1/G", g: f"1/G - ({share})/G"},
        squares=[("1/(H*G)", "H - HT(T)")],
    )
    sides = {"H_side": str(near), "G_side": str(total)}
    return p.cut(lemmas.close(p, ratio, H="HH(T)", G="TT(T)", **sides))


def whole_growth(p: Proof) -> int:
    """a**(2*(T-1)) <= exp(2*c)."""
    whole = p.instantiate(lemmas.growth(p), k0="T")
    more = p.linear("1 <= a", {p.assume(lemmas.UPPER): "-1"})
    low = p.linear("a**(T-1) <= exp(c)", {whole: "1", more: "a**(T-1)"})
    return p.linear("a**(2*(T-1)) <= exp(2*c)", {low: "a**(T-1) + exp(c)"})


def angle(p: Proof, goal: Mapping[str, Any], scaled: int, share: str) -> dict[str, Any]:
    """The certificate of 0 < HH(T), 0 < TT(T) and a bound of sin^2 in T - h.

    `scaled` is |g_h - g_T|^2 <= r**2*s*(T*b**(2*(T-1))) under s == share, a term in m = T - h.
    """
    least, total, near = energies(p)
    ratio = lemmas.close(p, sin2_bound(p, scaled, least, near, total, "s"), s=share)
    back = p.linear("m == T - h", {p.assume("T == h + m"): "-1"})
    return p.finish(near, total, p.substitute(back, ratio, goal["conclusions"][2]))


def descent(p: Proof, most: int, least: int) -> tuple[int, int]:
    """|g_h - g_T|^2 <= e**2*|g_T|^2 and (1 - e)*|g_T|^2 <= <g_h, g_T>.

    Given |g_h - g_T|^2 <= r**2*(e**2*T*b**(2*(T-1))) and the first fact of `energies`; e is positive.
    """
    shift = p.linear(f"{GAP.format('T')} <= e**2*TT(T)", {most: "1", least: "e**2"})
    vector = "gh(j) - (1 - e)*gT(j)"
    square = p.axiom("F_square", vector)
    form = "HH({0}) - 2*(1 - e)*HT({0}) + (1 - e)**2*TT({0})"
    more = {"HH": "-1", "HT": "2*(1 - e)", "TT": "-(1 - e)**2"}
    sums = {p.sum_step(name, "j"): factor for name, factor in more.items()}
    zero = {p.sum_empty(name): factor for name, factor in more.items()}
    claimed = f"0 <= {form.format('j')}"
    step = p.linear(f"0 <= {form.format('(j+1)')}", {p.assume(claimed): "1", square: "1", **sums})
    base = p.linear(f"0 <= {form.format('0')}", zero)
    whole = p.instantiate(p.induction("j", claimed, base, step), j="T")
    along = p.linear("(1 - e)*TT(T) <= HT(T)", {whole: "1/(2*e)", shift: "1/(2*e)"})
    return shift, along


def near_identity(p: Proof, depth: int, upper: int) -> int:
    """N(I - W(T-k, T)) <= a**k - 1, given the facts T == t + h + k and `lemmas.upper`."""
    near = lemmas.at(p, lemmas.near_identity(p, upper), "t+h", "k")
    near = p.substitute(depth, near, "N(W(t+h, T) - I) <= a**k - 1", reverse=True)
    back = p.linear("t == T - h - k", {depth: "-1"})
    near = p.substitute(back, near, "N(W(T-k, T) - I) <= a**k - 1")
    return p.linear("N(I - W(T-k, T)) <= a**k - 1", {near: "1", p.axiom("N_negative", "W(T-k, T) - I"): "1"})


def first_order(p: Proof) -> tuple[int, int, int]:
    """a**(T-1-k)*(a**k - 1) <= exp(c)*c/T*k, that it is not negative, and a**T <= exp(c)."""
    grown = lemmas.growth(p)
    whole, part = (p.instantiate(grown, k0=x) for x in ("T", "k"))
    loss = p.linear(
        "1 - a**(-k) <= c*k/T", {part: "a**(-k)*exp(-c*k/T)", lemmas.exponential(p, "-c*k/T"): "1"}
    )
    more = p.linear("1 <= a", {p.assume(lemmas.UPPER): "-1"})
    first = p.linear(
        "a**(T-1-k)*(a**k - 1) <= exp(c)*c/T*k",
        {loss: "a**(T-1)", more: "a**(T-1)*c*k/T", whole: "c*k/T"},
    )
    sign = lemmas.raise_to(p, more, "1", "a", "k")
    return first, p.linear("0 <= a**(T-1-k)*(a**k - 1)", {sign: "a**(T-1-k)"}), whole


def squares_below_cube(p: Proof) -> int:
    """m*(m+1)*(2*m+1) <= 6*m**3."""
    grow = "{0}*({0}+1)*(2*{0}+1) <= 6*{0}**3"
    step = p.linear(grow.format("(j+1)"), {p.assume(grow.format("j")): "1"})
    return p.instantiate(p.induction("j", grow.format("j"), p.linear(grow.format("0")), step), j="m")
