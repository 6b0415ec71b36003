"""Every inequality of the theory, written once over a small namespace of functions.

Notation: depth T, width n, layers W(t) = I + W~(t)/T with ||W~(t)||_2 <= c < T, a = 1 + c/T, b = 1 - c/T,
state map P_t = W(t-1)...W(0), residual R = P_T - Phi, horizon h, end of a window s = min(t + h, T),
shortfall m = T - h. "phi" is the target map Phi = E[y x^T].

Where `xp` is an argument it supplies `exp`, `log` and `sqrt`: numpy (the default), the module `sympy`, or
`ARB` (ball arithmetic). Plain numbers and arrays are validated and broadcast; symbols, balls and fractions
pass unchecked. Exact work hands them in as such (`sympy.Rational(1, 10)`, `flint.arb("0.1")`): a float
literal is the wrong number.

`products`: Lemmas C.1 and C.4. `gradients`: Lemmas C.2 and C.3, equations (37)-(39). `angles`: equation (42)
and Theorem A. `anchored`: Theorems E1 and E2, G5. `descent`: Theorem C.8. `balls`: the namespace `ARB`.
"""

from dlinear.theory.bounds.anchored import (
    balance_drift,
    theorem_e1,
    theorem_e1_closed,
    theorem_e2,
    theorem_e2_closed,
)
from dlinear.theory.bounds.angles import (
    cosine_lower,
    theorem_a,
    theorem_a_constant,
    theorem_a_cubic,
    theorem_a_per_layer,
)
from dlinear.theory.bounds.balls import ARB
from dlinear.theory.bounds.descent import sgd_floor, sgd_gap, sgd_largest_step
from dlinear.theory.bounds.gradients import (
    gradient_change,
    gradient_norm_bounds,
    gradient_norm_lower,
    gradient_norm_upper,
    state_change,
    window_change,
)
from dlinear.theory.bounds.products import (
    Interval,
    ProductBounds,
    TailBounds,
    product_frobenius_bounds,
    product_norm_bounds,
    tail_deviation,
    tail_start,
)

__all__ = [
    "ARB",
    "Interval",
    "ProductBounds",
    "TailBounds",
    "balance_drift",
    "cosine_lower",
    "gradient_change",
    "gradient_norm_bounds",
    "gradient_norm_lower",
    "gradient_norm_upper",
    "product_frobenius_bounds",
    "product_norm_bounds",
    "sgd_floor",
    "sgd_gap",
    "sgd_largest_step",
    "state_change",
    "tail_deviation",
    "tail_start",
    "theorem_a",
    "theorem_a_constant",
    "theorem_a_cubic",
    "theorem_a_per_layer",
    "theorem_e1",
    "theorem_e1_closed",
    "theorem_e2",
    "theorem_e2_closed",
    "window_change",
]
