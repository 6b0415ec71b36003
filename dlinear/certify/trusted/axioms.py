"""The facts about norms and functions that a certificate may quote: this list and nothing else.

`F` is the Frobenius norm, `N` the spectral norm, `S` the smallest singular value, of n x n real matrices.
Each entry: the kinds of the arguments, and the formula with their names in it.
"""

from __future__ import annotations

_X = {"X": "matrix"}
_XY = {"X": "matrix", "Y": "matrix"}

TEMPLATES: dict[str, tuple[dict[str, str], str]] = {
    # products
    "N_product": (_XY, "N(X*Y) <= N(X)*N(Y)"),
    "F_product_NF": (_XY, "F(X*Y) <= N(X)*F(Y)"),
    "F_product_FN": (_XY, "F(X*Y) <= F(X)*N(Y)"),
    "S_product": (_XY, "S(X)*S(Y) <= S(X*Y)"),
    "F_product_SF": (_XY, "S(X)*F(Y) <= F(X*Y)"),
    "F_product_FS": (_XY, "F(X)*S(Y) <= F(X*Y)"),
    # sums
    "N_triangle": (_XY, "N(X + Y) <= N(X) + N(Y)"),
    "F_triangle": (_XY, "F(X + Y) <= F(X) + F(Y)"),
    "N_reverse": (_XY, "N(X) - N(Y) <= N(X - Y)"),
    "F_reverse": (_XY, "F(X) - F(Y) <= F(X - Y)"),
    "S_shift": (_X, "1 - N(X) <= S(I + X)"),
    "S_difference": (_XY, "S(X) - N(Y) <= S(X - Y)"),
    # comparison
    "S_below_N": (_X, "S(X) <= N(X)"),
    "N_below_F": (_X, "N(X) <= F(X)"),
    "F_below_N": (_X, "F(X) <= sqrt(n)*N(X)"),
    "F_above_S": (_X, "sqrt(n)*S(X) <= F(X)"),
    # invariance
    "N_transpose": (_X, "N(X.T) == N(X)"),
    "F_transpose": (_X, "F(X.T) == F(X)"),
    "S_transpose": (_X, "S(X.T) == S(X)"),
    "N_identity": ({}, "N(I) == 1"),
    "S_identity": ({}, "S(I) == 1"),
    "F_identity": ({}, "F(I) == sqrt(n)"),
    "N_scale": ({"s": "nonneg", "X": "matrix"}, "N(s*X) == s*N(X)"),
    "F_scale": ({"s": "nonneg", "X": "matrix"}, "F(s*X) == s*F(X)"),
    "S_scale": ({"s": "nonneg", "X": "matrix"}, "S(s*X) == s*S(X)"),
    "N_negative": (_X, "N(-X) == N(X)"),
    "F_negative": (_X, "F(-X) == F(X)"),
    # inner product
    "F_square": (_X, "F(X)**2 == ip(X, X)"),
    "cauchy_schwarz": (_XY, "ip(X, Y) <= F(X)*F(Y)"),
    # functions
    "min_left": ({"x": "scalar", "y": "scalar"}, "min(x, y) <= x"),
    "min_right": ({"x": "scalar", "y": "scalar"}, "min(x, y) <= y"),
    "max_left": ({"x": "scalar", "y": "scalar"}, "x <= max(x, y)"),
    "max_right": ({"x": "scalar", "y": "scalar"}, "y <= max(x, y)"),
    "floor_below": ({"x": "scalar"}, "floor(x) <= x"),
    "floor_above": ({"x": "scalar"}, "x < floor(x) + 1"),
    "phi_zero": ({"x": "scalar"}, "phi(0, x) == exp(x)"),
}
