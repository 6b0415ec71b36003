"""Coarse tails of averages in the language of certificates: the steps of Theorem E2. Untrusted.

The k = T - s unseen layers are cut into q runs; run r = 0..q-1 starts at T - floor((q-r) k/q) and ends before
T - floor((q-r-1) k/q). With totals Y over D, the coarse layer of a run is its sum. One definition C holds the
coarse layers of all k, C(q k + r), and the surrogate is the window V(q k, q k + q) over it:

    S_s = (I + C_{q-1}) ... (I + C_0).

pi_q(k) = sum over runs of j(j-1)/2 = l k - q l (l+1)/2 with l = floor(k/q), since lengths are l or l + 1.
"""

from __future__ import annotations

from typing import Any

from dlinear.certify.prover import lemmas
from dlinear.certify.prover.proof import Proof
from dlinear.certify.prover.surrogates import Rule

SURROGATE = "V(q*{k}, q*{k} + q)"
DEFINITION: dict[str, Any] = {
    "index": "i",
    "cases": [
        {
            "then": "Y(T - floor((q - (i - q*floor(i/q)))*floor(i/q)/q),"
            " T - floor((q - (i - q*floor(i/q)) - 1)*floor(i/q)/q))"
        }
    ],
}
ANCHORED, VALUE = (Rule(anchored=kind, surrogate=SURROGATE) for kind in (True, False))


def pairs(k: str) -> str:
    """pi_q(k)."""
    return f"(floor(({k})/q)*({k}) - q*floor(({k})/q)*(floor(({k})/q) + 1)/2)"


def bernoulli(p: Proof) -> int:
    """a == 1 + c/T |- 1 + k0*c/T <= a**k0."""
    rate = p.assume(lemmas.UPPER)
    before = p.assume("1 + k0*c/T <= a**k0")
    step = p.linear("1 + (k0+1)*c/T <= a**(k0+1)", {before: "a", rate: "-(1 + k0*c/T)"})
    return p.induction("k0", "1 + k0*c/T <= a**k0", p.linear("1 + 0*c/T <= a**0"), step)


def second_order(p: Proof) -> int:
    """a == 1 + c/T |- a**k0 - 1 - k0*c/T <= c**2/T**2*a**(k0-2)*k0*(k0-1)/2."""
    rate = p.assume(lemmas.UPPER)
    more = p.linear("1 <= a", {rate: "-1"})
    above = p.linear("k0 + 1 <= (k0 + 1)*a**k0", {lemmas.raise_to(p, more, "1", "a", "k0"): "k0 + 1"})
    start = p.linear("0 <= 0*a**(0-1)")
    whole = p.induction("k0", "k0 <= k0*a**(k0-1)", start, above)
    claimed = "a**k0 - 1 - k0*c/T <= c**2/T**2*a**(k0-2)*k0*(k0-1)/2"
    step = p.linear(
        claimed.replace("k0", "(k0+1)"),
        {p.assume(claimed): "a", whole: "c**2/T**2", rate: "1 + k0*c/T"},
    )
    base = p.linear("a**0 - 1 - 0*c/T <= c**2/T**2*a**(0-2)*0*(0-1)/2")
    return p.induction("k0", claimed, base, step)


def run(p: Proof, near: int) -> tuple[int, int]:
    """N(Y(s0, s0+k0)) <= k0*c/T, and the second order of one run, given `lemmas.near_identity`.

    N(W(s0, s0+k0) - I - Y(s0, s0+k0)) <= c**2/T**2*a**(k0-2)*k0*(k0-1)/2.
    """
    y, w, d = "Y(s0, s0+k0)", "W(s0, s0+k0)", "D(s0+k0)"
    longer, empty = p.window_step("Y", "s0", "s0+k0"), p.window_empty("Y", "s0")
    triangle = p.substitute(longer, p.axiom("N_triangle", y, d), f"N(Y(s0, s0+k0+1)) <= N({y}) + N({d})")
    before, layer = p.assume(f"N({y}) <= k0*c/T"), p.layer("D", "s0+k0")
    step = p.linear("N(Y(s0, s0+k0+1)) <= (k0+1)*c/T", {triangle: "1", before: "1", layer: "1"})
    nothing = p.linear("N(0*I) <= 0*c/T")
    base = p.substitute(empty, nothing, "N(Y(s0, s0)) <= 0*c/T")
    total = p.induction("k0", f"N({y}) <= k0*c/T", base, step)
    gap = f"({w} - I - {y})"
    claimed = f"N({gap}) <= a**k0 - 1 - k0*c/T"
    moved = p.axiom("N_triangle", gap, f"{d}*({w} - I)")
    whole = f"(I + {d})*{w} - I - ({y} + {d})"
    moved = p.linear(f"N({whole}) <= N({gap}) + N({d}*({w} - I))", {moved: "1"})
    shape = p.matrix(
        f"W(s0, s0+k0+1) - I - Y(s0, s0+k0+1) == {whole}",
        {p.window_step("W", "s0", "s0+k0"): ("I", "I"), longer: ("-I", "I")},
    )
    moved = p.substitute(
        shape, moved, f"N(W(s0, s0+k0+1) - I - Y(s0, s0+k0+1)) <= N({gap}) + N({d}*({w} - I))"
    )
    step = p.linear(
        claimed.replace("k0", "(k0+1)"),
        {
            moved: "1", p.axiom("N_product", d, f"{w} - I"): "1", layer: f"N({w} - I)",
            near: "c/T", p.assume(claimed): "1", p.assume(lemmas.UPPER): "-a**k0",
        },
    )  # fmt: skip
    start = p.matrix(
        "W(s0, s0) - I - Y(s0, s0) == 0*I", {p.window_empty("W", "s0"): ("I", "I"), empty: ("-I", "I")}
    )
    base = p.substitute(
        start, p.linear("N(0*I) <= a**0 - 1 - 0*c/T"), claimed.replace("k0", "0").replace("s0+0", "s0")
    )
    return total, p.linear(
        f"N({gap}) <= c**2/T**2*a**(k0-2)*k0*(k0-1)/2",
        {p.induction("k0", claimed, base, step): "1", second_order(p): "1"},
    )


SIZE = "N(X0) <= a**i0"
MISS = "N(X0 - W(s0, s0+i0)) <= c**2/T**2*a**(i0-2)*p0"


def one_more(p: Proof, upper: int) -> tuple[int, int]:
    """One run more: SIZE and MISS at i0 + k0, p0 + k0*(k0-1)/2, for X0 times the coarse layer of the run.

    Under the hypotheses SIZE and MISS; the run is s0+i0 .. s0+i0+k0-1.
    """
    total, second = (p.instantiate(fact, s0="s0+i0") for fact in run(p, lemmas.near_identity(p, upper)))
    y, w, front, end = "Y(s0+i0, s0+i0+k0)", "W(s0+i0, s0+i0+k0)", "W(s0, s0+i0)", "W(s0, s0+i0+k0)"
    coarse, size, miss = f"(I + {y})", p.assume(SIZE), p.assume(MISS)
    factor = p.linear(
        f"N({coarse}) <= a**k0",
        {p.axiom("N_triangle", "I", y): "1", p.axiom("N_identity"): "1", total: "1", bernoulli(p): "1"},
    )
    grown = p.linear(
        f"N({coarse}*X0) <= a**(i0+k0)",
        {p.axiom("N_product", coarse, "X0"): "1", factor: "N(X0)", size: "a**k0"},
    )
    gap, back = f"(X0 - {front})", f"({coarse} - {w})"
    shape = p.matrix(
        f"{coarse}*X0 - {end} == {coarse}*{gap} + {back}*{front}", {lemmas.split(p): ("-I", "I")}
    )
    first = p.axiom("N_triangle", f"{coarse}*{gap}", f"{back}*{front}")
    first = p.substitute(shape, first, f"N({coarse}*X0 - {end}) <= N({coarse}*{gap}) + N({back}*{front})")
    start = p.linear("0 <= 0*(0-1)")
    count = p.linear("0 <= (k0+1)*(k0+1-1)")
    count = p.induction("k0", "0 <= k0*(k0-1)", start, count)
    room = lemmas.at(p, upper, "s0", "i0")
    both = p.product(room, count, f"0 <= (a**i0 - N({front}))*(k0*(k0-1))")
    missed = p.linear(
        f"N({coarse}*X0 - {end}) <= c**2/T**2*a**(i0+k0-2)*(p0 + k0*(k0-1)/2)",
        {
            first: "1",
            p.axiom("N_product", coarse, gap): "1",
            p.axiom("N_product", back, front): "1",
            factor: f"N({gap})",
            miss: "a**k0",
            p.axiom("N_negative", f"{w} - I - {y}"): f"N({front})",
            second: f"N({front})",
            both: "c**2/T**2*a**(k0-2)/2",
        },
    )
    return grown, missed


class Runs:
    """Facts about the runs of k unseen layers; k is a natural symbol, q the number of runs.

    Attributes:
        short: 0 <= l, l = floor(k/q).
        inside: 0 <= k - floor((q-g)*k/q), the layers before run g.
        least, most: l <= j and j <= l + 1 for the length j of run g.
        start, end: floor(k) == k and floor(0) == 0.
        layer: C(q*k + g) == the sum of run g, under g + 1 <= q.
    """

    def __init__(self, p: Proof) -> None:
        first, then, short = "(q-g)*k/q", "(q-g-1)*k/q", "floor(k/q)"
        low = {x: p.axiom("floor_below", x) for x in (first, then, "k/q", "k", "0")}
        high = {x: p.axiom("floor_above", x) for x in (first, then, "k/q", "k", "0")}
        some = p.discrete(p.linear(f"0 < {short} + 1", {high["k/q"]: "1"}), f"0 + 1 <= {short} + 1")
        self.short = p.linear(f"0 <= {short}", {some: "1"})
        self.inside = p.linear(f"0 <= k - floor({first})", {low[first]: "1"})
        j = f"(floor({first}) - floor({then}))"
        below = p.linear(
            f"floor({then}) + {short} < floor({first}) + 1",
            {high[first]: "1", low[then]: "1", low["k/q"]: "1"},
        )
        below = p.discrete(below, f"floor({then}) + {short} + 1 <= floor({first}) + 1")
        self.least = p.linear(f"{short} <= {j}", {below: "1"})
        above = p.linear(
            f"floor({first}) < floor({then}) + {short} + 2",
            {low[first]: "1", high[then]: "1", high["k/q"]: "1"},
        )
        above = p.discrete(above, f"floor({first}) + 1 <= floor({then}) + {short} + 2")
        self.most = p.linear(f"{j} <= {short} + 1", {above: "1"})
        whole = p.discrete(p.linear("k < floor(k) + 1", {high["k"]: "1"}), "k + 1 <= floor(k) + 1")
        whole = p.linear("k <= floor(k)", {whole: "1"})
        self.start = p.antisymmetry("floor(k) == k", low["k"], whole)
        none = p.discrete(p.linear("0 < floor(0) + 1", {high["0"]: "1"}), "0 + 1 <= floor(0) + 1")
        none = p.linear("0 <= floor(0)", {none: "1"})
        self.end = p.antisymmetry("floor(0) == 0", low["0"], none)
        self.layer = self._layer(p, f"Y(T - floor({first}), T - floor({then}))")

    @staticmethod
    def _layer(p: Proof, value: str) -> int:
        at, room = "(q*k + g)/q", p.assume("g + 1 <= q")
        low, high = p.axiom("floor_below", at), p.axiom("floor_above", at)
        less = p.discrete(
            p.linear(f"floor({at}) < k + 1", {low: "1", room: "1/q"}), f"floor({at}) + 1 <= k + 1"
        )
        more = p.discrete(p.linear(f"k < floor({at}) + 1", {high: "1"}), f"k + 1 <= floor({at}) + 1")
        less, more = p.linear(f"floor({at}) <= k", {less: "1"}), p.linear(f"k <= floor({at})", {more: "1"})
        same = p.antisymmetry(f"floor({at}) == k", less, more)
        return p.substitute(same, p.definition("C", "q*k + g"), f"C(q*k + g) == {value}")


def tail(p: Proof, upper: int) -> tuple[int, int, int]:
    """N(S) <= a**k and N(S - W(T-k, T)) <= c**2/T**2*a**(k-2)*pi_q(k) for S = V(q*k, q*k+q), by induction.

    The third fact is 0 <= l. The proof needs the symbols g (natural), p0 (real), X0 (matrix) beside `lemmas`.
    """
    runs = Runs(p)
    first, short = "floor((q-g)*k/q)", "floor(k/q)"
    length, share = f"(k - {first})", f"({short}*(k - {first}) - g*{short}*({short}+1)/2)"
    size = f"N(V(q*k, q*k+g)) <= a**{length}"
    miss = f"N(V(q*k, q*k+g) - W(T-k, T-k+{length})) <= c**2/T**2*a**({length}-2)*{share}"
    count = p.linear("0 <= floor((q-g)*k/q) - floor((q-g-1)*k/q)", {runs.least: "1", runs.short: "1"})
    terms = {"s0": "T-k", "i0": length, "k0": "floor((q-g)*k/q) - floor((q-g-1)*k/q)"}
    grown, missed = (
        p.instantiate(fact, [runs.inside, count], X0="V(q*k, q*k+g)", p0=share, **terms)
        for fact in one_more(p, upper)
    )
    more = p.window_step("V", "q*k", "q*k+g")
    longer = p.matrix(
        "V(q*k, q*k+g+1) == (I + Y(T - floor((q-g)*k/q), T - floor((q-g-1)*k/q)))*V(q*k, q*k+g)",
        {more: ("I", "I"), runs.layer: ("I", "V(q*k, q*k+g)")},
    )

    def after(text: str) -> str:
        """The text at g + 1."""
        return text.replace("g)", "(g+1))").replace("g*f", "(g+1)*f").replace("q-g", "q-(g+1)")

    step = p.substitute(longer, grown, after(size))
    empty = p.window_empty("V", "q*k")
    base = p.substitute(empty, p.axiom("N_identity"), "N(V(q*k, q*k)) == 1")
    base = p.linear("N(V(q*k, q*k)) <= a**0", {base: "1"})
    base = p.substitute(runs.start, base, size.replace("g", "0"))
    sizes = p.induction("g", size, base, step, upto="q")
    fit = p.product(runs.least, runs.most)
    j = "(floor((q-g)*k/q) - floor((q-g-1)*k/q))"
    step = p.linear(
        f"N((I + Y(T - floor((q-g)*k/q), T - floor((q-g-1)*k/q)))*V(q*k, q*k+g) - W(T-k, T-k+{length}+{j}))"
        f" <= {after(miss).split(' <= ')[1]}",
        {missed: "1", fit: f"c**2/T**2*a**({length}+{j}-2)/2"},
    )
    within = p.linear("g <= q", {p.assume("g + 1 <= q"): "1"})
    step = p.cut(p.substitute(longer, step, after(miss)), p.cut(sizes, within))
    start = p.matrix(
        "V(q*k, q*k) - W(T-k, T-k) == 0*I", {empty: ("I", "I"), p.window_empty("W", "T-k"): ("-I", "I")}
    )
    base = p.substitute(start, p.linear("N(0*I) <= 0"), "N(V(q*k, q*k) - W(T-k, T-k)) <= 0")
    base = p.substitute(
        runs.start, base, miss.replace("q-g", "q-0").replace("+g", "+0").replace("- g*", "- 0*")
    )
    misses = p.induction("g", miss, base, step, upto="q")
    last = p.linear("q <= q")
    sizes, misses = (p.cut(p.instantiate(fact, g="q"), last) for fact in (sizes, misses))
    return (
        p.substitute(runs.end, sizes, "N(V(q*k, q*k+q)) <= a**k"),
        p.substitute(
            runs.end,
            misses,
            f"N(V(q*k, q*k+q) - W(T-k, T)) <= c**2/T**2*a**(k-2)*{pairs('k')}",
        ),
        runs.short,
    )
