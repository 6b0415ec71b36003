"""Formal statements about deep linear networks, in the paper's letters, written once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

RESIDUAL = "F(W(0, T) - Phi)"

TWO_LAYERS: dict[str, Any] = {"T": 2, "n": 1, "D": {0: [["1/4"]], 1: [["1/4"]]}}
"""Values for a witness: two layers of one neuron, N(D(t)) <= c/T for c = 1."""

GRADIENTS: Mapping[str, Any] = {
    "gh": {
        "index": "t",
        "cases": [
            {"if": ["t + h <= T"], "then": "W(t+1, t+h).T*(W(0, t+h) - Phi)*W(0, t).T"},
            {"if": ["T <= t + h"], "then": "W(t+1, T).T*(W(0, T) - Phi)*W(0, t).T"},
        ],
    },
    "gT": {"index": "t", "cases": [{"if": [], "then": "W(t+1, T).T*(W(0, T) - Phi)*W(0, t).T"}]},
}
"""Eq. (27'): the horizon gradient g_h(t) with s = min(t + h, T), and the full gradient g_T(t)."""

SUMS: Mapping[str, Any] = {
    "HH": {"index": "t", "term": "ip(gh(t), gh(t))"},
    "HT": {"index": "t", "term": "ip(gh(t), gT(t))"},
    "TT": {"index": "t", "term": "ip(gT(t), gT(t))"},
}
"""Inner products of the stacked gradients: HH(T) = |g_h|^2, HT(T) = <g_h, g_T>, TT(T) = |g_T|^2."""


LETTERS = {
    "T": "depth",
    "n": "width",
    "c": "bound of ||W~(t)||_2, W~(t) = T D(t)",
    "D": "deviation of layer t, W(t) = I + D(t)",
    "W": "W(a, b) = W_a^b, the product of the layers a..b-1",
    "a": "1 + c/T",
    "b": "1 - c/T",
    "h": "horizon",
    "m": "shortfall T - h",
    "t": "a layer",
    "s": "a layer, or the end of a window",
    "k": "length of a window",
    "Phi": "target",
    "gh": "g_h(t), eq. (27')",
    "gT": "g_T(t)",
    "HH": "HH(T) = |g_h|^2",
    "HT": "HT(T) = <g_h, g_T>",
    "TT": "TT(T) = |g_T|^2",
}
"""What the names of these statements stand for."""


def network(
    conclusions: Sequence[str],
    hypotheses: Sequence[str] = (),
    *,
    bound: str | None = "c/T",
    gradients: bool = False,
    sums: bool = False,
    **symbols: str,
) -> dict[str, Any]:
    """Statement about layers W(t) = I + D(t) with N(D(t)) <= bound, for every integer t.

    Layers outside 0..T-1 never enter a conclusion; setting them to the identity loses nothing.

    Args:
        conclusions: formulas that must hold.
        hypotheses: formulas that may be used.
        bound: bound of the spectral norm of a deviation, or None.
        gradients: declare Phi, h and the gradients gh, gT.
        sums: declare the inner products HH, HT, TT of the stacked gradients.
        **symbols: further symbols, name -> sort; the depth T and the width n are always there.
    """
    names: dict[str, str] = {"T": "posint", "n": "posint"}
    if bound is not None:
        names["c"] = "nonneg"
    if gradients or sums:
        names |= {"h": "posint", "Phi": "matrix"}
    statement: dict[str, Any] = {
        "symbols": names | symbols,
        "families": {"D": bound},
        "products": {"W": "D"},
        "hypotheses": list(hypotheses),
        "conclusions": list(conclusions),
    }
    if gradients or sums:
        statement["definitions"] = {name: dict(item) for name, item in GRADIENTS.items()}
    if sums:
        statement["sums"] = {name: dict(item) for name, item in SUMS.items()}
    return statement
