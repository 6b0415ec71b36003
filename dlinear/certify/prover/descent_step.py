"""One step of gradient descent along an anchored gradient, in the language of certificates: the steps of G1.

New layers Dn(t) = D(t) - eta g(t), product Wn; X sums B(t) = W_{t+1}^T g(t) W_0^t, the first order in eta.
With y = eta a^{T-1} r a bound of eta ||g(t)||, the hybrids W_j^T Wn_0^j lead from W_0^T to Wn_0^T, so that

    ||Wn_0^T - W_0^T + eta X||_F <= (a + y)^T - a^T - T a^{T-1} y <= a^{T-2} (T y)^2 e^{T y/a}/2.

Untrusted, like everything that writes certificates.
"""

from __future__ import annotations

from typing import Any

from dlinear.certify.prover import lemmas
from dlinear.certify.prover.proof import Proof
from dlinear.certify.prover.surrogates import LOSS, RADIUS, Rule

ANCHORED = Rule(anchored=True, surrogate="I")
DEFINITIONS: dict[str, Any] = {
    "Dn": {"index": "t", "cases": [{"then": "D(t) - eta*gh(t)"}]},
    "B": {"index": "t", "cases": [{"then": "W(t+1, T)*gh(t)*W(0, t)"}]},
}
MOVE = "y == eta*a**(T-1)*r"
GROWN = "z == a + y"
NORM = "F(gh(t)) <= a**(T-1)*r"


def gradient_size(p: Proof, upper: int) -> int:
    """F(gh(t)) <= a**(T-1)*r under t + 1 <= T; the end of the window is before T, or T."""
    more, inside = p.linear("1 <= a", {p.assume(lemmas.UPPER): "-1"}), p.assume("t + 1 <= T")
    on = "2*(t + h) + 1 <= 2*T"  # that is t + h < T
    near = p.linear("t + h < T", {p.assume(on): "1/2"})
    near = p.discrete(near, "t + h + 1 <= T")
    past = p.linear("0 <= h - 1", {p.sort("h"): "1"})
    rest = p.linear("0 <= T - t - h", {near: "1"})
    grow = lemmas.raise_to(p, more, "1", "a", "T - t - h", [rest])
    first = _window(p, upper, "W(t+1, t+h)", "h-1", past)
    first = p.substitute(p.definition("gh", "t", 0, [near]), first, "F(gh(t)) <= a**(h-1)*a**t*r")
    first = p.linear(NORM, {first: "1", grow: "a**(h-1+t)*r"})
    far = p.linear("T < t + h + 1", {p.assume("2*T <= 2*(t + h) + 1"): "1/2"})
    far = p.linear("T <= t + h", {p.discrete(far, "T + 1 <= t + h + 1"): "1"})
    room = p.linear("0 <= T - t - 1", {inside: "1"})
    second = _window(p, upper, "W(t+1, T)", "T-t-1", room)
    second = p.substitute(p.definition("gh", "t", 1, [far]), second, "F(gh(t)) <= a**(T-t-1)*a**t*r")
    return p.cases(on, first, p.linear(NORM, {second: "1"}))


def _window(p: Proof, upper: int, left: str, length: str, side: int) -> int:
    """F(left.T*R*W(0, t).T) <= a**length*a**t*r."""
    before, radius = "W(0, t)", p.assume(RADIUS)
    return p.linear(
        f"F({left}.T*{LOSS}*{before}.T) <= a**({length})*a**t*r",
        {
            p.axiom("F_product_FN", f"{left}.T*{LOSS}", f"{before}.T"): "1",
            p.axiom("F_product_NF", f"{left}.T", LOSS): f"N({before}.T)",
            radius: f"-N({left}.T)*N({before}.T)",
            p.axiom("N_transpose", left): f"r*N({before}.T)",
            p.axiom("N_transpose", before): f"r*N({left})",
            lemmas.at(p, upper, "t+1", length, side): f"r*N({before})",
            lemmas.at(p, upper, "0", "t"): f"r*a**({length})",
        },
    )


def moved(p: Proof, upper: int, size: int) -> int:
    """N(Wn(0, j) - W(0, j)) <= z**j - a**j for j <= T, given `gradient_size`."""
    inside, rate, move, grown = map(p.assume, ("j + 1 <= T", lemmas.UPPER, MOVE, GROWN))
    own = p.cut(p.instantiate(size, t="j"), inside)
    layer, gap = p.definition("Dn", "j"), "(Wn(0, j) - W(0, j))"
    factor = p.axiom("N_triangle", "I + D(j)", "-(eta*gh(j))")
    factor = p.linear(
        "N(I + D(j) - eta*gh(j)) <= z",
        {
            factor: "1",
            p.axiom("N_triangle", "I", "D(j)"): "1",
            p.axiom("N_identity"): "1",
            p.layer("D", "j"): "1",
            rate: "-1",
            p.axiom("N_negative", "eta*gh(j)"): "1",
            p.axiom("N_scale", "eta", "gh(j)"): "1",
            p.axiom("N_below_F", "gh(j)"): "eta",
            own: "eta",
            move: "-1",
            grown: "-1",
        },
    )
    whole = f"(I + D(j) - eta*gh(j))*{gap} - eta*gh(j)*W(0, j)"
    shape = p.matrix(
        f"Wn(0, j+1) - W(0, j+1) == {whole}",
        {
            p.window_step("Wn", "0", "j"): ("I", "I"),
            p.window_step("W", "0", "j"): ("-I", "I"),
            layer: ("I", "Wn(0, j)"),
        },
    )
    triangle = p.axiom("N_triangle", f"(I + D(j) - eta*gh(j))*{gap}", "-(eta*gh(j)*W(0, j))")
    triangle = p.substitute(
        shape, triangle,
        f"N(Wn(0, j+1) - W(0, j+1)) <= N((I + D(j) - eta*gh(j))*{gap}) + N(-(eta*gh(j)*W(0, j)))",
    )  # fmt: skip
    claimed = f"N{gap} <= z**j - a**j"
    step = p.linear(
        claimed.replace("j", "(j+1)"),
        {
            triangle: "1",
            p.axiom("N_product", "I + D(j) - eta*gh(j)", gap): "1",
            factor: f"N{gap}",
            p.assume(claimed): "z",
            p.axiom("N_negative", "eta*gh(j)*W(0, j)"): "1",
            p.axiom("N_scale", "eta", "gh(j)*W(0, j)"): "1",
            p.axiom("N_product", "gh(j)", "W(0, j)"): "eta",
            p.axiom("N_below_F", "gh(j)"): "eta*N(W(0, j))",
            own: "eta*N(W(0, j))",
            move: "-N(W(0, j))",
            lemmas.at(p, upper, "0", "j"): "y",
            grown: "-a**j",
        },
    )
    start = p.matrix(
        "Wn(0, 0) - W(0, 0) == 0*I",
        {p.window_empty("Wn", "0"): ("I", "I"), p.window_empty("W", "0"): ("-I", "I")},
    )
    base = p.substitute(start, p.linear("N(0*I) <= z**0 - a**0"), claimed.replace("j", "0"))
    return p.induction("j", claimed, base, step, upto="T")


def second_order(p: Proof, upper: int, size: int) -> int:
    """F(Wn(0, T) - W(0, T) + eta*X(0, T)) <= z**T - a**T - T*a**(T-1)*y."""
    inside, move = p.assume("j + 1 <= T"), p.assume(MOVE)
    own = p.cut(p.instantiate(size, t="j"), inside)
    drift = p.cut(moved(p, upper, size), p.linear("j <= T", {inside: "1"}))
    room = p.linear("0 <= T - j - 1", {inside: "1"})
    after, gap = "W(j+1, T)", "(Wn(0, j) - W(0, j))"
    first = p.instantiate(lemmas.split(p), [room], s0="j", i0="1", k0="T-j-1")
    whole = p.matrix(
        f"W(j, T) == {after}*(I + D(j))",
        {
            first: ("I", "I"),
            p.window_step("W", "j", "j"): (after, "I"),
            p.window_empty("W", "j"): (f"{after}*(I + D(j))", "I"),
        },
    )
    form, rest = "W(j, T)*Wn(0, j) - W(0, T) + eta*X(0, j)", f"eta*({after}*gh(j)*{gap})"
    shape = p.matrix(
        f"{form.replace('j', '(j+1)')} == {form} - {rest}",
        {
            p.window_step("Wn", "0", "j"): (after, "I"),
            p.definition("Dn", "j"): (after, "Wn(0, j)"),
            p.window_step("X", "0", "j"): ("eta*I", "I"),
            p.definition("B", "j"): ("eta*I", "I"),
            whole: ("-I", "Wn(0, j)"),
        },
    )
    triangle = p.axiom("F_triangle", form, f"-({rest})")
    triangle = p.substitute(shape, triangle, f"F({form.replace('j', '(j+1)')}) <= F({form}) + F(-({rest}))")
    claimed = f"F({form}) <= a**(T-j)*(z**j - a**j) - j*a**(T-1)*y"
    step = p.linear(
        claimed.replace("j", "(j+1)"),
        {
            triangle: "1",
            p.assume(claimed): "1",
            p.axiom("F_negative", rest): "1",
            p.axiom("F_scale", "eta", f"{after}*gh(j)*{gap}"): "1",
            p.axiom("F_product_FN", f"{after}*gh(j)", gap): "eta",
            p.axiom("F_product_NF", after, "gh(j)"): f"eta*N{gap}",
            own: f"eta*N{gap}*N({after})",
            move: f"-N{gap}*N({after})",
            lemmas.at(p, upper, "j+1", "T-j-1", room): f"y*N{gap}",
            drift: "y*a**(T-j-1)",
            p.assume(GROWN): "-a**(T-j-1)*z**j",
        },
    )
    start = p.matrix(
        f"{form.replace('j', '0')} == 0*I",
        {p.window_empty("Wn", "0"): ("W(0, T)", "I"), p.window_empty("X", "0"): ("eta*I", "I")},
    )
    base = p.substitute(
        start, p.linear("F(0*I) <= a**(T-0)*(z**0 - a**0) - 0*a**(T-1)*y"), claimed.replace("j", "0")
    )
    found = p.instantiate(p.induction("j", claimed, base, step, upto="T"), j="T")
    found = p.cut(found, p.linear("T <= T"))
    last = p.matrix(
        f"{form.replace('j', 'T')} == Wn(0, T) - W(0, T) + eta*X(0, T)",
        {p.window_empty("W", "T"): ("I", "Wn(0, T)")},
    )
    return p.substitute(last, found, "F(Wn(0, T) - W(0, T) + eta*X(0, T)) <= z**T - a**T - T*a**(T-1)*y")


def first_order(p: Proof, upper: int, size: int) -> tuple[int, int]:
    """ip(R, X(0, T)) == HT(T), and F(X(0, T)) <= T*a**(2*(T-1))*r."""
    own, full = p.definition("B", "j"), p.definition("gT", "j")
    term = p.linear(f"ip({LOSS}, W(j+1, T)*gh(j)*W(0, j)) == ip(gh(j), W(j+1, T).T*{LOSS}*W(0, j).T)")
    term = p.substitute(full, term, f"ip({LOSS}, W(j+1, T)*gh(j)*W(0, j)) == ip(gh(j), gT(j))")
    term = p.substitute(own, term, f"ip({LOSS}, B(j)) == ip(gh(j), gT(j))")
    longer, empty = p.window_step("X", "0", "j"), p.window_empty("X", "0")
    part = p.linear(f"ip({LOSS}, X(0, j) + B(j)) == ip({LOSS}, X(0, j)) + ip({LOSS}, B(j))")
    part = p.substitute(longer, part, f"ip({LOSS}, X(0, j+1)) == ip({LOSS}, X(0, j)) + ip({LOSS}, B(j))")
    claimed = f"ip({LOSS}, X(0, j)) == HT(j)"
    step = p.linear(
        claimed.replace("j", "(j+1)"),
        {p.assume(claimed): "1", part: "1", term: "1", p.sum_step("HT", "j"): "-1"},
    )
    base = p.substitute(empty, p.linear(f"ip({LOSS}, 0*I) == 0"), f"ip({LOSS}, X(0, 0)) == 0")
    base = p.linear(claimed.replace("j", "0"), {base: "1", p.sum_empty("HT"): "-1"})
    inner = p.instantiate(p.induction("j", claimed, base, step), j="T")
    inside = p.assume("j + 1 <= T")
    room, after = p.linear("0 <= T - j - 1", {inside: "1"}), "W(j+1, T)"
    share = p.linear(
        f"F({after}*gh(j)*W(0, j)) <= a**(2*(T-1))*r",
        {
            p.axiom("F_product_FN", f"{after}*gh(j)", "W(0, j)"): "1",
            p.axiom("F_product_NF", after, "gh(j)"): "N(W(0, j))",
            p.cut(p.instantiate(size, t="j"), inside): f"N({after})*N(W(0, j))",
            lemmas.at(p, upper, "j+1", "T-j-1", room): "a**(T-1)*r*N(W(0, j))",
            lemmas.at(p, upper, "0", "j"): "a**(T-j-1)*a**(T-1)*r",
        },
    )
    share = p.substitute(own, share, "F(B(j)) <= a**(2*(T-1))*r")
    triangle = p.substitute(
        longer, p.axiom("F_triangle", "X(0, j)", "B(j)"), "F(X(0, j+1)) <= F(X(0, j)) + F(B(j))"
    )
    claimed = "F(X(0, j)) <= j*a**(2*(T-1))*r"
    step = p.linear(claimed.replace("j", "(j+1)"), {p.assume(claimed): "1", triangle: "1", share: "1"})
    base = p.substitute(empty, p.linear("F(0*I) <= 0*a**(2*(T-1))*r"), claimed.replace("j", "0"))
    whole = p.instantiate(p.induction("j", claimed, base, step, upto="T"), j="T")
    return inner, p.cut(whole, p.linear("T <= T"))
