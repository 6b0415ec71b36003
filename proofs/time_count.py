"""The time of horizon h (not in the paper): (T - h) h + h = (T - h + 1) h block products.

A window of h blocks costs h vector-Jacobian products of blocks. Each of the first T - h layers has a window
of its own; the last h layers share the one that ends at T (its backward sweep passes all of them). So V(T -
h + 1) with V(j+1) = V(j) + h. Without sharing, layer t = T - h + j of the last ones would cost T - t = h -
j, together h (h + 1)/2 instead of h: the sum X.

h = 1 and h = T cost the same, T; the dearest horizon is in the middle, (T + 1)^2/4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dlinear.certify import Proof, claim
from dlinear.certify.claims import Claim, Form, Outcome, Relation, Verdict
from dlinear.theory import costs


def total(count: str) -> dict[str, Any]:
    """The sum over windows, and what sharing saves."""
    return {
        "symbols": {"T": "posint", "h": "posint", "m": "natural"},
        "sums": {"V": {"index": "t", "term": "h"}, "X": {"index": "j", "term": "h - j"}},
        "hypotheses": ["T == h + m"],
        "conclusions": [
            f"V(m + 1) == {count}",
            "V(m) + X(h) == (T - h)*h + h*(h + 1)/2",
            f"{count} <= (T + 1)**2/4",
        ],
    }


def prove_total(goal: Mapping[str, Any]) -> dict[str, Any]:
    """Inductions over the windows and over the last layers; a square for the maximum."""
    p = Proof(goal, k="natural")
    depth = p.assume("T == h + m")
    base = p.linear("V(0) == 0*h", {p.sum_empty("V"): "1"})
    onward = p.linear("V(k + 1) == (k + 1)*h", {p.assume("V(k) == k*h"): "1", p.sum_step("V", "k"): "1"})
    windows = p.induction("k", "V(k) == k*h", base, onward)
    shared = "X(k) == k*h - k*(k - 1)/2"
    base = p.linear(shared.replace("k", "0"), {p.sum_empty("X"): "1"})
    onward = p.linear(shared.replace("k", "(k + 1)"), {p.assume(shared): "1", p.sum_step("X", "k"): "1"})
    last = p.instantiate(p.induction("k", shared, base, onward), k="h")
    one, own = (p.instantiate(windows, k=k) for k in ("m + 1", "m"))
    first, second, most = goal["conclusions"]
    return p.finish(
        p.linear(first, {one: "1", depth: "-h"}),
        p.linear(second, {own: "1", last: "1", depth: "-h"}),
        p.linear(most, squares=[("1", "(T + 1)/2 - h")]),
    )


def counted(expected: Callable[[int, int], int]) -> Outcome:
    """The products of a metered run against a formula, for every T <= 12 and h."""
    runs = wrong = 0
    for depth in range(1, 13):
        layers = np.full((depth, 1, 1), 1 / (4 * depth))
        for horizon in range(1, depth + 1):
            found = costs.run_windows(layers, np.zeros((1, 1)), horizon).block_vjps
            runs += 1
            wrong += found != expected(depth, horizon)
    verdict = Verdict.UNDECIDED if wrong else Verdict.SUPPORTED
    return Outcome(verdict, "counted products", f"{runs} runs, {wrong} differ")


CLAIMS = (
    claim(
        id="time_count",
        reference="Time, not in the paper",
        form=Form.NEW,
        statement="g_h takes (T-h) h + h = (T-h+1) h block vector-Jacobian products, at most (T+1)^2/4",
        relation=Relation.IDENTITY,
        expected=Verdict.PROVED,
        goal=total("(T - h + 1)*h"),
        letters={
            "T": "depth",
            "h": "horizon",
            "m": "T - h",
            "V": "V(j) = j h, the products of the first j windows",
            "X": "X(h) = h + ... + 1, the products of the last h layers with a window each",
        },
        witness={"T": 3, "h": 1, "m": 2},
        route=prove_total,
        twin_goal=total("(T - h)*h"),
        twin_statement="without the shared last window",
        evidence="T for h = 1 and h = T; (T-h) h + h(h+1)/2 if the last layers did not share their window",
        function="dlinear.costs.block_vjps",
        test="tests/theory/test_costs.py::test_counts_over_horizons",
    ),
    Claim(
        id="time_measured",
        reference="Time, not in the paper",
        form=Form.NEW,
        statement="a metered run of all windows makes (T-h+1) h block products",
        relation=Relation.IDENTITY,
        expected=Verdict.SUPPORTED,
        prove=lambda: counted(costs.block_vjps),
        twin=lambda: counted(lambda depth, h: (depth - h) * h + h * (h + 1) // 2),
        twin_statement="a window for each of the last h layers too",
        function="dlinear.costs.run_windows",
        test="tests/theory/test_costs.py::test_counts_match_an_instrumented_run",
    ),
)
