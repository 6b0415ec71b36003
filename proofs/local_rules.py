"""Identities I11, I12 (new): linear forward-forward and Oja's rule as flows of second moments.

Problem. Forward-forward raises the goodness |W x|^2 of positive samples and lowers that of negative ones;
Oja's rule steps along E[y x^T - y y^T W], y = W x. What do they learn from whitened data and labels?

Statement. I11. W + u V changes the goodness by 2 u <V, W x x^T> + u^2 |V x|^2; the step W - 2 u W S moves M =
W^T W to (I - 2 u S) M (I - 2 u S), and S, a weighted sum of x x^T, sees the goodness x^T M x alone: M has a
flow of its own, the same from O W. Labels overlaid on centred pixels, all wrong labels equally often as
negatives: C+ - C- is K/(K-1) Phi between pixels and labels, (K Y Y^T - N I)/(K-1) between labels, which is 0
for equal classes, and 0 between pixels. I12. On whitened data Oja steps along W - W W^T W: singular values s
+ u (s - s^3); for u s (1 + s) <= 1 they come nearer to 1 and never pass it.

Guarantee. Identities for every W and data. Layers of other shapes are these with rows or columns of zeros.

Method. Expansion; (1 - s)(1 - u s (1 + s)).
"""

from __future__ import annotations

from typing import Any

from dlinear.certify import Proof, claim
from dlinear.certify.claims import Form, Relation, Verdict

STEP = "(W - 2*u*W*Q)"


def gram(square: str) -> dict[str, Any]:
    """I11, the Gram matrix."""
    change = "ip((W + u*V)*X, (W + u*V)*X) == ip(W*X, W*X)"
    return {
        "symbols": {"u": "real", **dict.fromkeys("WVXQMO", "matrix")},
        "hypotheses": ["M == W.T*W", "Q.T == Q", "O.T*O == I"],
        "conclusions": [
            f"{change} + 2*u*ip(V, W*X*X.T) + u**2*ip(V*X, V*X)",
            f"{STEP}.T*{STEP} == M - 2*u*(Q*M + M*Q) + {square}*Q*M*Q",
            "(O*W).T*(O*W) == M",
        ],
    }


def prove_gram(goal: dict[str, Any]) -> dict[str, Any]:
    """M = W^T W on both sides."""
    p = Proof(goal)
    found, even, turn = (p.assume(text) for text in goal["hypotheses"])
    change = p.linear(goal["conclusions"][0])
    moved = p.matrix(
        f"{STEP}.T*{STEP} == (I - 2*u*Q).T*M*(I - 2*u*Q)", {found: ("-(I - 2*u*Q).T", "(I - 2*u*Q)")}
    )
    even_ = p.matrix("(I - 2*u*Q).T == I - 2*u*Q", {even: ("-2*u*I", "I")})
    step = p.matrix(goal["conclusions"][1], {moved: ("I", "I"), even_: ("I", "M*(I - 2*u*Q)")})
    back = p.matrix(goal["conclusions"][2], {turn: ("W.T", "W"), found: ("-I", "I")})
    return p.finish(change, step, back)


def overlay(factor: str) -> dict[str, Any]:
    """I11, labels: the blocks of N (C+ - C-)."""
    return {
        "symbols": {"r": "positive", "m": "real", **dict.fromkeys("XYJP", "matrix")},
        "hypotheses": ["X*J.T == 0*I"],
        "conclusions": [
            f"X*Y.T - X*(J - Y).T/r == {factor}*X*Y.T",
            "Y*Y.T - (m*P - Y*Y.T)/r == ((r + 1)*Y*Y.T - m*P)/r",
        ],
    }


def prove_overlay(goal: dict[str, Any]) -> dict[str, Any]:
    """Centred pixels: X J^T = 0."""
    p = Proof(goal)
    centred = p.assume(goal["hypotheses"][0])
    return p.finish(
        p.matrix(goal["conclusions"][0], {centred: ("-1/r*I", "I")}), p.matrix(goal["conclusions"][1])
    )


def oja(square: str) -> dict[str, Any]:
    """I12, the step and its Gram matrix."""
    after = "(W + u*(W - W*W.T*W))"
    return {
        "symbols": {"u": "real", "z": "real", **dict.fromkeys("WXK", "matrix")},
        "hypotheses": ["X*X.T == z*I", "K == W*W.T"],
        "conclusions": [
            "W*X*X.T - W*X*(W*X).T*W == z*(W - W*W.T*W)",
            f"{after}*{after}.T == K + 2*u*(K - K*K) + u**2*({square})",
        ],
    }


def prove_oja(goal: dict[str, Any]) -> dict[str, Any]:
    """X X^T = z I twice; K = W W^T up to K^3."""
    p = Proof(goal)
    white, again, value = (p.assume(goal["hypotheses"][k]) for k in (0, 0, 1))
    first = p.matrix(goal["conclusions"][0], {white: ("W", "I"), again: ("-W", "W.T*W")})
    gram = "W*W.T"
    square = p.matrix(
        f"{gram}*{gram} == K*K", {value: (f"-{gram}", "I"), p.assume("K == W*W.T"): ("-I", "K")}
    )
    cube = p.matrix(f"{gram}*{gram}*{gram} == K*K*K", {square: ("I", gram), value: ("-K*K", "I")})
    parts = {value: ("-(1 + 2*u + u**2)*I", "I"), square: ("-(2*u + 2*u**2)*I", "I"), cube: ("u**2*I", "I")}
    return p.finish(first, p.matrix(goal["conclusions"][1], parts))


NEXT = "(s + u*(s - s**3))"


def nearer(room: str) -> dict[str, Any]:
    """I12, one singular value; `room` bounds the step."""
    return {
        "symbols": {"s": "nonneg", "u": "nonneg"},
        "hypotheses": [f"u*s*(1 + s) <= {room}"],
        "conclusions": [
            f"1 - {NEXT} == (1 - s)*(1 - u*s*(1 + s))",
            f"0 <= (1 - s)*(1 - {NEXT})",
            f"(1 - {NEXT})**2 <= (1 - s)**2",
        ],
    }


def prove_nearer(goal: dict[str, Any]) -> dict[str, Any]:
    """With q = u s (1 + s): (1 - s)^2 (1 - q) and (1 - s)^2 q (2 - q) are >= 0."""
    p = Proof(goal)
    room, part = p.assume(goal["hypotheses"][0]), "u*s*(1 + s)"
    some = p.linear(f"0 <= {part}")
    square = p.linear("0 <= (1 - s)**2", squares=[("1", "1 - s")])
    both, left, right = p.product(some, room), p.product(room, square), p.product(some, square)
    product = p.product(both, square)
    return p.finish(
        p.linear(goal["conclusions"][0]),
        p.linear(goal["conclusions"][1], {left: "1"}),
        p.linear(goal["conclusions"][2], {product: "1", right: "1"}),
    )


TEST = "tests/certify/test_learned_proofs.py"
ONE = [[1]]

CLAIMS = (
    claim(
        "goodness_gram",
        "I11",
        Form.NEW,
        "linear forward-forward: the goodness |W x|^2 changes by 2 u <V, W x x^T> + u^2 |V x|^2 as W moves "
        "by u V; the step W - 2 u W S moves M = W^T W to (I - 2 u S) M (I - 2 u S), the same for O W, "
        "O^T O = I",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=gram("4*u**2"),
        witness={"u": 1, **dict.fromkeys("WVXQMO", ONE)},
        route=prove_gram,
        twin_goal=gram("0"),
        twin_statement="the first order alone",
        letters={
            "W": "the layer",
            "V": "direction of a change",
            "X": "samples, each times the root of its weight",
            "Q": "S, the weighted sum of x x^T, negative samples less positive ones",
            "M": "W^T W; x^T M x is the goodness, on which the weights in S depend",
            "O": "an orthogonal matrix: O W learns what W learns",
            "u": "size of a step",
        },
        evidence="every weighting of the samples; the flow is closed",
        function="dlinear.theory.rule_identities.goodness.weighted",
        test=TEST,
    ),
    claim(
        "label_overlay",
        "I11",
        Form.NEW,
        "labels over centred pixels, every wrong label equally often a negative: C+ - C- is K/(K-1) Phi "
        "between labels and pixels and (K Y Y^T - N I)/((K-1) N) between labels",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=overlay("(1 + 1/r)"),
        witness={"r": 1, "m": 1, "X": [[0]], "Y": ONE, "J": ONE, "P": ONE},
        route=prove_overlay,
        twin_goal=overlay("1"),
        twin_statement="Phi without the factor K/(K-1)",
        letters={
            "X": "pixels, a sample in each column, centred: X J^T = 0",
            "Y": "labels, one-hot",
            "J": "ones; J - Y are the K - 1 wrong labels of each sample",
            "P": "I of the K labels",
            "r": "K - 1",
            "m": "N, number of samples",
        },
        evidence="equal classes, K Y Y^T = N I: nothing between labels, and the eigenvectors of C+ - C- are "
        "made of the singular vectors of Phi; with unequal ones they need not be",
        function="dlinear.theory.rule_identities.goodness.moments",
        test=TEST,
    ),
    claim(
        "oja_step",
        "I12",
        Form.NEW,
        "Oja on whitened data steps along W - W W^T W and moves K = W W^T to "
        "K + 2 u (K - K^2) + u^2 K (I - K)^2: at rest for orthonormal rows",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=oja("K - 2*K*K + K*K*K"),
        witness={"u": 1, "z": 1, **dict.fromkeys("WXK", ONE)},
        route=prove_oja,
        twin_goal=oja("K - 2*K*K"),
        twin_statement="without K^3",
        letters={
            "W": "the layer",
            "X": "whitened inputs, a sample in each column",
            "K": "W W^T",
            "z": "number of samples",
            "u": "size of a step",
        },
        evidence="a polynomial of K: eigenvectors stay, singular values s become s + u (s - s^3)",
        test=TEST,
    ),
    claim(
        "oja_limit",
        "I12",
        Form.NEW,
        "q = s + u (s - s^3) with u s (1 + s) <= 1: q - 1 is 0 or has the sign of s - 1, "
        "and |q - 1| <= |s - 1|",
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=nearer("1"),
        witness={"s": "1/2", "u": 1},
        route=prove_nearer,
        twin_goal=nearer("2"),
        twin_statement="steps twice as long pass 1",
        letters={"s": "a singular value", "u": "size of a step"},
        evidence="|1 - q| = |1 - s| (1 - u s (1 + s)): from any s > 0 to 1, and 0 stays",
        test=TEST,
    ),
)
