"""Theorem F1 (new): horizons with a stride; windows, memory and time by counting.

Problem. Losses are taken only at s = T, T - k, T - 2k, ...; block t takes the first of them at or after t +
h, or T. How long are the windows, how many blocks are held, how many block products does one gradient take?

Statement. For t + h <= T the end is s = T - k floor((T - h - t)/k), and s - t is one of h, ..., h + k - 1;
no other end of the grid lies between. So M = h + k - 1 blocks are held at once. For T > M let T = M + (g-1)
k + r, 1 <= r <= k. There are g + 1 windows, those that end at T - ik, i = 0..g, of min(M, T - ik) blocks,
and

    block vector-Jacobian products: g M + h + r - 1,     chain products: g (M - 1) + h + r - 2.

Guarantee. Exact. k = 1: (T - h + 1) h as for the plain horizon.

Method. x - 1 < floor(x) <= x between integers; a sum by induction.

Reference. The schedule of truncated back-propagation through time: Williams and Peng, Neural Computation 2
(1990).
"""

from __future__ import annotations

from typing import Any

from dlinear.certify import Proof, claim
from dlinear.certify.claims import Form, Relation, Verdict

END = "(T - k*floor((T - h - t)/k))"
LETTERS = {
    "T": "depth",
    "h": "least horizon",
    "k": "stride",
    "t": "a block",
    "i": "number of another end T - k i",
    "M": "h + k - 1, blocks of a whole window",
    "g": "windows but the last one",
    "r": "blocks that take the first window of all, T - M - (g-1) k",
    "V": "V(j), the products of j windows; window i ends at T - ik",
}


def windows(longest: str) -> dict[str, Any]:
    """The end of block t's window, if it is not T."""
    return {
        "symbols": {"T": "posint", "h": "posint", "k": "posint", "t": "natural", "i": "integer"},
        "hypotheses": ["t + h <= T", "t + h <= T - k*i"],
        "conclusions": [
            f"t + h <= {END}",
            f"{END} - t <= {longest}",
            f"{END} <= T",
            f"{END} <= T - k*i",
        ],
    }


def prove_windows(goal: dict[str, Any]) -> dict[str, Any]:
    """The two inequalities of floor."""
    p = Proof(goal)
    inside, other = (p.assume(text) for text in goal["hypotheses"])
    at = "(T - h - t)/k"
    low, high = p.axiom("floor_below", at), p.axiom("floor_above", at)
    first, longest, last, next_ = goal["conclusions"]
    near = p.linear("T - h - t < k*(floor((T - h - t)/k) + 1)", {high: "k"})
    near = p.discrete(near, "T - h - t + 1 <= k*(floor((T - h - t)/k) + 1)")
    some = p.discrete(p.linear(f"0 < floor({at}) + 1", {high: "1", inside: "1/k"}), f"1 <= floor({at}) + 1")
    below = p.linear(f"i < floor({at}) + 1", {high: "1", other: "1/k"})
    below = p.discrete(below, f"i + 1 <= floor({at}) + 1")
    return p.finish(
        p.linear(first, {low: "k"}),
        p.linear(longest, {near: "1"}),
        p.linear(last, {some: "k"}),
        p.linear(next_, {below: "k"}),
    )


def count(total: str) -> dict[str, Any]:
    """The products of all windows, and that there are no more of them."""
    return {
        "symbols": {
            **dict.fromkeys(("T", "h", "k", "r", "g"), "posint"), "M": "posint",
        },
        "sums": {"V": {"index": "i", "term": "min(M, T - i*k)"}},
        "hypotheses": ["M == h + k - 1", "T == M + (g - 1)*k + r", "r <= k"],
        "conclusions": [
            f"V(g + 1) == {total}",
            "V(g + 1) - (g + 1) == g*(M - 1) + h + r - 2",
            "h <= T - g*k",
            "T - (g + 1)*k + 1 <= h",
        ],
    }  # fmt: skip


def prove_count(goal: dict[str, Any]) -> dict[str, Any]:
    """Windows 0..g-1 are whole, the last one ends at h + r - 1."""
    p = Proof(goal, j="natural")
    size, depth, short = (p.assume(text) for text in goal["hypotheses"])
    inside = p.assume("j + 1 <= g")
    whole = p.linear("M <= T - j*k", {inside: "k", depth: "-1", p.sort("r"): "1"})
    whole = p.order(whole, "min(M, T - j*k) == M")
    step = p.linear(
        "V(j+1) == (j+1)*M", {p.assume("V(j) == j*M"): "1", p.sum_step("V", "j"): "1", whole: "1"}
    )
    base = p.linear("V(0) == 0*M", {p.sum_empty("V"): "1"})
    most = p.instantiate(p.induction("j", "V(j) == j*M", base, step, upto="g"), j="g")
    most = p.cut(most, p.linear("g <= g"))
    end = p.linear("T - g*k == h + r - 1", {depth: "1", size: "1"})
    last = p.linear("T - g*k <= M", {depth: "1", short: "1"})
    last = p.order(last, "min(M, T - g*k) == T - g*k")
    total = p.linear(
        "V(g + 1) == g*M + h + r - 1", {most: "1", p.sum_step("V", "g"): "1", last: "1", end: "1"}
    )
    first, chain, more, none = goal["conclusions"]
    return p.finish(
        p.linear(first, {total: "1"}),
        p.linear(chain, {total: "1"}),
        p.linear(more, {end: "-1", p.sort("r"): "1"}),
        p.linear(none, {end: "1", short: "1"}),
    )


TEST = "tests/certify/test_anchored_proofs.py"

CLAIMS = (
    claim(
        "theorem_f1_windows",
        "Theorem F1",
        Form.NEW,
        "stride k, t + h <= T: the first s of T, T-k, ... at or after t + h is T - k floor((T-h-t)/k), "
        "and h <= s - t <= h + k - 1",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=windows("h + k - 1"),
        witness={"T": 7, "h": 2, "k": 3, "t": 1, "i": 1},
        route=prove_windows,
        twin_goal=windows("h + k - 2"),
        twin_statement="one block fewer",
        twin_values={"T": 7, "h": 2, "k": 3, "t": 0, "i": 1},
        twin_fails=1,
        letters=LETTERS,
        evidence="every t, T, h, k; the other blocks see the end: s = T",
        function="dlinear.HorizonRule.ends",
        test=f"{TEST}::test_theorem_f1_is_the_schedule_of_the_library",
    ),
    claim(
        "theorem_f1_count",
        "Theorem F1",
        Form.NEW,
        "stride k, M = h+k-1, T = M + (g-1)k + r, 1 <= r <= k: windows of min(M, T - ik) blocks, i = 0..g, "
        "take g M + h + r - 1 block products, g (M-1) + h + r - 2 of them chain products",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=count("g*M + h + r - 1"),
        witness={"T": 7, "h": 2, "k": 3, "M": 4, "g": 1, "r": 3},
        route=prove_count,
        twin_goal=count("(g + 1)*M"),
        twin_statement="the first window is whole as well",
        twin_values={"T": 5, "h": 2, "k": 3, "M": 4, "g": 1, "r": 1},
        letters=LETTERS,
        evidence="a chain product hands the cotangent on: one fewer than the blocks of each window; "
        "k = 1: (T - h + 1) h",
        function="dlinear.HorizonRule.ends",
        test=f"{TEST}::test_theorem_f1_is_the_schedule_of_the_library",
    ),
)
