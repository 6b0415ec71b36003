"""Lemmas that several proofs share, as steps: nothing here is trusted.

They speak of a context with `c` nonneg, `T` posint, a family D with N(D(t)) <= c/T and its product W, and
use the auxiliary symbols of `SYMBOLS`. The factors a = 1 + c/T and b = 1 - c/T are positive symbols with
these equations as hypotheses; `close` replaces them by their values at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dlinear.certify.prover.proof import Proof

SYMBOLS: Mapping[str, str] = {
    "a": "positive",
    "b": "positive",
    "x0": "positive",
    "y0": "positive",
    "s0": "integer",
    "i0": "natural",
    "k0": "natural",
    "u0": "real",
}

UPPER = "a == 1 + c/T"
LOWER = "b == 1 - c/T"


def power(p: Proof) -> int:
    """x0 <= y0 |- x0**k0 <= y0**k0."""
    below, before = p.assume("x0 <= y0"), p.assume("x0**k0 <= y0**k0")
    base = p.linear("x0**0 <= y0**0")
    step = p.linear("x0**(k0+1) <= y0**(k0+1)", {before: "y0", below: "x0**k0"})
    return p.induction("k0", "x0**k0 <= y0**k0", base, step)


def raise_to(p: Proof, fact: int, low: str, high: str, exponent: str, sides: Sequence[int] = ()) -> int:
    """low**exponent <= high**exponent from the fact low <= high."""
    moved = p.instantiate(power(p), sides, x0=low, y0=high, k0=exponent)
    return p.cut(moved, fact)


def exponential(p: Proof, at: str) -> int:
    """1 + at <= exp(at)."""
    return p.instantiate(p.taylor("1 + u0 <= exp(u0)", "u0", 2), u0=at)


def split(p: Proof) -> int:
    """W(s0, s0+i0+k0) == W(s0+i0, s0+i0+k0)*W(s0, s0+i0)."""
    first = "W(s0, s0+i0)"
    formula = f"W(s0, s0+i0+k0) == W(s0+i0, s0+i0+k0)*{first}"
    base = p.matrix(formula.replace("k0", "0"), {p.window_empty("W", "s0+i0"): ("-I", first)})
    before = p.assume(formula)
    whole, part = (p.window_step("W", start, "s0+i0+k0") for start in ("s0", "s0+i0"))
    step = p.matrix(
        formula.replace("k0", "k0+1"),
        {whole: ("I", "I"), part: ("-I", first), before: ("I + D(s0+i0+k0)", "I")},
    )
    return p.induction("k0", formula, base, step)


def upper(p: Proof) -> int:
    """a == 1 + c/T |- N(W(s0, s0+k0)) <= a**k0."""
    one, rate = p.axiom("N_identity"), p.assume(UPPER)
    start = p.substitute(p.window_empty("W", "s0"), one, "N(W(s0, s0)) == 1")
    base = p.linear("N(W(s0, s0)) <= a**0", {start: "1"})
    w, d = "W(s0, s0+k0)", "D(s0+k0)"
    before = p.assume(f"N({w}) <= a**k0")
    product = p.substitute(
        p.window_step("W", "s0", "s0+k0"),
        p.axiom("N_product", f"I + {d}", w),
        f"N(W(s0, s0+k0+1)) <= N(I + {d})*N({w})",
    )
    step = p.linear(
        "N(W(s0, s0+k0+1)) <= a**(k0+1)",
        {
            product: "1",
            p.axiom("N_triangle", "I", d): f"N({w})",
            p.layer("D", "s0+k0"): f"N({w})",
            one: f"N({w})",
            before: "a",
            rate: f"-N({w})",
        },
    )
    return p.induction("k0", f"N({w}) <= a**k0", base, step)


def lower(p: Proof) -> int:
    """b == 1 - c/T |- b**k0 <= S(W(s0, s0+k0))."""
    rate = p.assume(LOWER)
    start = p.substitute(p.window_empty("W", "s0"), p.axiom("S_identity"), "S(W(s0, s0)) == 1")
    base = p.linear("b**0 <= S(W(s0, s0))", {start: "-1"})
    w, d = "W(s0, s0+k0)", "D(s0+k0)"
    before = p.assume(f"b**k0 <= S({w})")
    product = p.substitute(
        p.window_step("W", "s0", "s0+k0"),
        p.axiom("S_product", f"I + {d}", w),
        f"S(I + {d})*S({w}) <= S(W(s0, s0+k0+1))",
    )
    step = p.linear(
        "b**(k0+1) <= S(W(s0, s0+k0+1))",
        {
            product: "1",
            p.axiom("S_shift", d): f"S({w})",
            p.layer("D", "s0+k0"): f"S({w})",
            before: "b",
            rate: f"S({w})",
        },
    )
    return p.induction("k0", f"b**k0 <= S({w})", base, step)


def near_identity(p: Proof, size: int) -> int:
    """a == 1 + c/T |- N(W(s0, s0+k0) - I) <= a**k0 - 1, given the fact `upper`."""
    rate = p.assume(UPPER)
    empty = p.window_empty("W", "s0")
    nothing = p.linear("N(0*I) <= 0")
    base = p.substitute(empty, nothing, "N(W(s0, s0) - I) <= a**0 - 1")
    w, d = "W(s0, s0+k0)", "D(s0+k0)"
    before = p.assume(f"N({w} - I) <= a**k0 - 1")
    moved = p.substitute(
        p.window_step("W", "s0", "s0+k0"),
        p.axiom("N_triangle", f"{w} - I", f"{d}*{w}"),
        f"N(W(s0, s0+k0+1) - I) <= N({w} - I) + N({d}*{w})",
    )
    step = p.linear(
        "N(W(s0, s0+k0+1) - I) <= a**(k0+1) - 1",
        {
            moved: "1",
            p.axiom("N_product", d, w): "1",
            p.layer("D", "s0+k0"): f"N({w})",
            size: "c/T",
            before: "1",
            rate: "-a**k0",
        },
    )
    return p.induction("k0", f"N({w} - I) <= a**k0 - 1", base, step)


def at(p: Proof, fact: int, start: str, length: str, *sides: int) -> int:
    """A lemma about W(s0, s0+k0) for one window; sides show 0 <= length where that is not manifest."""
    return p.instantiate(fact, sides, s0=start, k0=length)


def growth(p: Proof) -> int:
    """a == 1 + c/T |- a**k0 <= exp(c*k0/T)."""
    rate = p.assume(UPPER)
    below = p.linear("a <= exp(c/T)", {exponential(p, "c/T"): "1", rate: "1"})
    return raise_to(p, below, "a", "exp(c/T)", "k0")


def gradient_bounds(p: Proof, layer: str, end: str, inner: str, *sides: int) -> tuple[int, int, int]:
    """Bounds of G = W(t+1, s)^T (W(0, s) - Phi) W(0, t)^T for t = `layer`, s = `end`, s - t - 1 = `inner`.

    a**inner*a**t*(sqrt(n)*a**s + F(Phi)) above, b**inner*b**t*F(W(0, s) - Phi) and
    b**inner*b**t*sqrt(n)*(b**s - N(Phi)) below, as three facts about F(G); `sides` show 0 <= inner.
    """
    after, state, before = f"W({layer}+1, {end})", f"W(0, {end})", f"W(0, {layer})"
    loss, rate = f"({state} - Phi)", f"b**({inner})*b**({layer})"
    whole = f"F({after}.T*{loss}*{before}.T)"
    turned = {kind: [p.axiom(f"{kind}_transpose", x) for x in (after, before)] for kind in "NS"}
    high = upper(p)
    one, two, three = (
        at(p, high, start, length, *sides)
        for start, length in ((f"{layer}+1", inner), ("0", layer), ("0", end))
    )
    size = f"(sqrt(n)*N({state}) + F(Phi))"
    above = p.linear(
        f"{whole} <= a**({inner})*a**({layer})*(sqrt(n)*a**({end}) + F(Phi))",
        {
            p.axiom("F_product_FN", f"{after}.T*{loss}", f"{before}.T"): "1",
            p.axiom("F_product_NF", f"{after}.T", loss): f"N({before}.T)",
            p.axiom("F_triangle", state, "-Phi"): f"N({after}.T)*N({before}.T)",
            p.axiom("F_negative", "Phi"): f"N({after}.T)*N({before}.T)",
            p.axiom("F_below_N", state): f"N({after}.T)*N({before}.T)",
            turned["N"][0]: f"N({before}.T)*{size}",
            turned["N"][1]: f"N({after})*{size}",
            one: f"N({before})*{size}",
            two: f"a**({inner})*{size}",
            three: f"a**({inner})*a**({layer})*sqrt(n)",
        },
    )
    low = lower(p)
    one, two, three = (
        at(p, low, start, length, *sides)
        for start, length in ((f"{layer}+1", inner), ("0", layer), ("0", end))
    )
    below = p.linear(
        f"{rate}*F{loss} <= {whole}",
        {
            p.axiom("F_product_FS", f"{after}.T*{loss}", f"{before}.T"): "1",
            p.axiom("F_product_SF", f"{after}.T", loss): f"S({before}.T)",
            turned["S"][0]: f"-S({before}.T)*F{loss}",
            turned["S"][1]: f"-S({after})*F{loss}",
            one: f"S({before})*F{loss}",
            two: f"b**({inner})*F{loss}",
        },
    )
    least = p.linear(
        f"{rate}*sqrt(n)*(b**({end}) - N(Phi)) <= {whole}",
        {
            below: "1",
            p.axiom("F_above_S", f"{state} - Phi"): rate,
            p.axiom("S_difference", state, "Phi"): f"{rate}*sqrt(n)",
            three: f"{rate}*sqrt(n)",
        },
    )
    return above, below, least


def horizon_energy(p: Proof, size: int) -> int:
    """0 < HH(T), given the fact j + 1 <= T |- b**(T-1)*r <= F(gT(j)) with b and r positive.

    The last layer has the full gradient at every horizon.
    """
    last = p.linear("0 <= T - 1", {p.sort("T"): "1"})
    size = p.cut(p.instantiate(size, [last], j="T-1"), p.linear("T - 1 + 1 <= T"))
    near = p.definition("gh", "T-1", 1, [p.linear("T <= T - 1 + h", {p.sort("h"): "1"})])
    same = p.matrix("gT(T-1) == gh(T-1)", {near: ("-I", "I"), p.definition("gT", "T-1"): ("I", "I")})
    size = p.substitute(same, size, "b**(T-1)*r <= F(gh(T-1))")
    square = p.linear("b**(2*(T-1))*r**2 <= F(gh(T-1))**2", {size: "F(gh(T-1)) + b**(T-1)*r"})
    before, more = p.assume("0 <= HH(j)"), p.sum_step("HH", "j")
    step = p.linear("0 <= HH(j+1)", {before: "1", more: "-1", p.axiom("F_square", "gh(j)"): "1"})
    start = p.linear("0 <= HH(0)", {p.sum_empty("HH"): "-1"})
    rest = p.instantiate(p.induction("j", "0 <= HH(j)", start, step), [last], j="T-1")
    whole = {rest: "1", square: "1", p.axiom("F_square", "gh(T-1)"): "1", p.sum_step("HH", "T-1", last): "-1"}
    return p.linear("0 < HH(T)", whole)


def close(p: Proof, fact: int, **values: str) -> int:
    """Replaces a and b (and further symbols) by their values; their defining equations then disappear.

    `values` maps a symbol to its value; a symbol that must be positive needs the fact as `symbol_side`.
    """
    terms = {name: text for name, text in values.items() if not name.endswith("_side")}
    sides = [int(value) for name, value in values.items() if name.endswith("_side")]
    moved = p.instantiate(fact, sides, **terms)
    for text in terms.values():
        same = p.linear(f"{text} == {text}")
        moved = p.cut(moved, same)
    return moved
