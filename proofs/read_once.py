"""One reading of deep layers: each gradient to first order in the products around it, and what is left out.

Problem. ||g_T||^2 needs each layer between the products before and after it, known only after all layers have
been read. What do the products of short blocks say, without a second reading?

Statement. In a block let W_a^t = I + X, W_a^{t+1} = I + Y, M = P_a Q_b, V = T - Y with I + T the product of
the block, and Z = W_{t+1}^b - I - V, so that Z (I + Y) = -V Y. With Frobenius norms of X and Y at most x < 1,
of V at most v, f = x + v and q = x v + (1 + x) v x/(1 - x),

    | ||(I + X) M (I + V + Z)||^2 - ||M||^2 - 2 <M, X M + M V> | <= (f^2 + 2 q + (2 f + q) q) ||M||^2.

Guarantee. Upper bound, every width. Summed over the layers of a block it is (B) of
`dlinear.engine.kernels.expansion`.

Method. F(Z) (1 - x) <= v x; with A = X M + M V and B = X M V + (I + X) M Z the difference is
||A||^2 + 2 <M, B> + 2 <A, B> + ||B||^2, and Cauchy-Schwarz.

Reference. New; the engine refuses what the bound does not keep below 1e-10.
"""

from __future__ import annotations

from typing import Any

from dlinear.certify import Proof, claim
from dlinear.certify.claims import Form, Relation, Verdict

LETTERS = {
    "X": "W_a^t - I",
    "Y": "W_a^{t+1} - I",
    "M": "P_a Q_b",
    "V": "T - Y, I + T the product of the block",
    "Z": "W_{t+1}^b - I - V",
    "x": "bound of X and Y in the Frobenius norm",
    "v": "bound of V in the Frobenius norm",
    "b": "1 - x",
}
FIRST, REST = "X*M + M*V", "X*M*V + M*Z + X*M*Z"  # A, B
Q = "(x*v + (1 + x)*v*x/b)"


def statement(twice: str) -> dict[str, Any]:
    """The bound of what is left out; `twice` is the factor of q in it."""
    whole = "ip((I + X)*M*(I + V + Z), (I + X)*M*(I + V + Z))"
    left = f"{whole} - ip(M, M) - 2*ip(M, {FIRST})"
    bound = f"((x + v)**2 + {twice}*{Q} + (2*(x + v) + {Q})*{Q})*F(M)**2"
    return {
        "symbols": {
            **dict.fromkeys(("X", "Y", "M", "V", "Z"), "matrix"),
            **dict.fromkeys(("x", "v"), "nonneg"), "b": "positive",
        },
        "hypotheses": [
            "F(X) <= x", "F(Y) <= x", "F(V) <= v", "b == 1 - x", "F(Z + Z*Y + V*Y) == 0",
        ],
        "conclusions": [f"{left} <= {bound}", f"-({bound}) <= {left}"],
    }  # fmt: skip


def route(goal: dict[str, Any]) -> dict[str, Any]:
    """The certificate."""
    p = Proof(goal)
    x, y, v, b, zero = (p.assume(text) for text in goal["hypotheses"])
    # F(Z) b <= v x: Z = (Z + Z Y + V Y) - Z Y - V Y
    apart = p.axiom("F_triangle", "Z + Z*Y + V*Y", "-(Z*Y + V*Y)")
    minus, both = p.axiom("F_negative", "Z*Y + V*Y"), p.axiom("F_triangle", "Z*Y", "V*Y")
    small = {p.axiom("N_below_F", "Y"): "F(Z) + F(V)", y: "F(Z) + F(V)", v: "x", b: "F(Z)", zero: "1"}
    small |= {p.axiom("F_product_FN", "Z", "Y"): "1", p.axiom("F_product_FN", "V", "Y"): "1"}
    error = p.linear("F(Z)*b <= v*x", {apart: "1", minus: "1", both: "1", **small})
    error = p.linear("F(Z) <= v*x/b", {error: "1/b"})
    # F(A) <= (x + v) F(M)
    left, right = p.axiom("N_below_F", "X"), p.axiom("N_below_F", "V")
    first = p.linear(
        f"F({FIRST}) <= (x + v)*F(M)",
        {p.axiom("F_triangle", "X*M", "M*V"): "1", p.axiom("F_product_NF", "X", "M"): "1",
         p.axiom("F_product_FN", "M", "V"): "1", left: "F(M)", x: "F(M)", right: "F(M)", v: "F(M)"},
    )  # fmt: skip
    # F(B) <= q F(M)
    near = p.linear("F(M*V) <= v*F(M)", {p.axiom("F_product_FN", "M", "V"): "1", right: "F(M)", v: "F(M)"})
    far = p.linear(
        "F(M*Z) <= v*x/b*F(M)",
        {p.axiom("F_product_FN", "M", "Z"): "1", p.axiom("N_below_F", "Z"): "F(M)", error: "F(M)"},
    )
    rest = p.linear(
        f"F({REST}) <= {Q}*F(M)",
        {p.axiom("F_triangle", "X*M*V", "M*Z + X*M*Z"): "1", p.axiom("F_triangle", "M*Z", "X*M*Z"): "1",
         p.axiom("F_product_NF", "X", "M*V"): "1", p.axiom("F_product_NF", "X", "M*Z"): "1",
         left: "F(M*V) + F(M*Z)", x: "F(M*V) + F(M*Z)", near: "x", far: "1 + x"},
    )  # fmt: skip
    # ||A||^2 + 2 <M, B> + 2 <A, B> + ||B||^2
    squares = p.axiom("F_square", FIRST), p.axiom("F_square", REST)
    cross = {first: f"2*F({REST})", rest: "2*F(M) + 2*(x + v)*F(M)"}
    whole = {
        first: f"{cross[first]} + F({FIRST}) + (x + v)*F(M)",
        rest: f"{cross[rest]} + F({REST}) + {Q}*F(M)",
    }
    above = {p.axiom("cauchy_schwarz", "M", REST): "2", p.axiom("cauchy_schwarz", FIRST, REST): "2"}
    below = {
        p.axiom("cauchy_schwarz", "M", f"-({REST})"): "2",
        p.axiom("cauchy_schwarz", FIRST, f"-({REST})"): "2",
    }
    turned = {p.axiom("F_negative", REST): f"2*F(M) + 2*F({FIRST})"}
    upper, lower = goal["conclusions"]
    return p.finish(
        p.linear(upper, {**above, **dict.fromkeys(squares, "-1"), **whole}),
        p.linear(lower, {**below, **turned, **dict.fromkeys(squares, "1"), **cross}),
    )


CLAIMS = (
    claim(
        "read_once",
        "New (one reading)",
        Form.NEW,
        "|(I + X) M (I + V + Z)|^2 = |M|^2 + 2 <M, X M + M V> within (f^2 + 2 q + (2 f + q) q) |M|^2, "
        "f = x + v, q = x v + (1 + x) v x/(1 - x), where Z (I + Y) = -V Y",
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=statement("2"),
        letters=LETTERS,
        witness={"X": [["1/2"]], "Y": [["1/2"]], "M": [[1]], "V": [[1]], "Z": [["-1/3"]]}
        | {"x": "1/2", "v": 1, "b": "1/2"},
        route=route,
        twin_goal=statement("1"),
        twin_statement="q once where the bound has it twice",
        evidence="every matrices and bounds",
        function="dlinear.engine.kernels.expansion.expansion",
        test="tests/engine/test_kernels.py",
    ),
)
