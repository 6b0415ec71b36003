r"""Lemma C.5 in closed form: the scalar network (n = 1) and its commuting relatives, in the depth limit.

Notation (section C.2 of the paper): c = W~ (constant layers, W(t) = 1 + c/T), y = Phi, alpha = h/T,
eps = 1 - alpha, phi(s) = e^{cs}(e^{cs} - y), G = phi(1) = e^c (e^c - y). The full gradient is g_1 == G;
the gradient of horizon alpha is phi(alpha + beta) for beta < 1 - alpha and G after; f is the cosine (33):

    1 - f^2 = (I2 - I1^2)/I2,  I1 = int_alpha^1 phi + alpha G,  I2 = int_alpha^1 phi^2 + alpha G^2
            = K eps^3 + O(eps^4),  K(c, y) = (1/3) (c (2e^c - y)/(e^c - y))^2.

Degenerate cases (`Degeneracy`, found to within a few units in the last place of y):

- c = 0: f = 1 for every alpha, 1 - f^2 = 0;
- y = 2e^c: K = 0, the decay is of order 5 with coefficient c^4/5 (`constant5`);
- y = e^c: G = 0, the angle is undefined: `UndefinedAngleError`.

Commuting case: W~ constant, symmetric, diagonal in the same basis as Phi (eigenvalues a_i, p_i). The
gradients are diagonal: every inner product is a sum over i of the scalar integrals, (c, y) = (a_i, p_i).

Numerics. I2 - I1^2 is never formed. With psi = phi - G and u = 1 - s, the numerator is the variance of a
function that is psi on a set of measure eps and 0 elsewhere; its two parts (spread inside the window,
distance between window and rest) are integrated by Gauss-Legendre panels and added: no cancellation. What is
left is the conditioning of the question: near y = e^c or 2e^c the rounding of y itself is amplified by
e^c/|e^c - y| or e^c/|2e^c - y|.

`formulas`: over any arithmetic. `float64`: the same numbers to rounding, with the degenerate cases.
`degenerate`: where those are. `quadrature`: the integrals. `inputs`: what the functions accept.
"""

from dlinear.theory.scalar.degenerate import Degeneracy, degeneracy
from dlinear.theory.scalar.float64 import (
    constant,
    constant_commuting,
    limit_at_zero,
    sin2,
    sin2_commuting,
    sin2_of_gap,
    slope_at_zero,
)
from dlinear.theory.scalar.formulas import (
    closed_form_integrals,
    constant5,
    entire_moments,
    remark_c7,
    series_coefficients,
    sin2_closed_form,
)
from dlinear.theory.scalar.inputs import MAX_ABS_C

__all__ = [
    "MAX_ABS_C",
    "Degeneracy",
    "closed_form_integrals",
    "constant",
    "constant5",
    "constant_commuting",
    "degeneracy",
    "entire_moments",
    "limit_at_zero",
    "remark_c7",
    "series_coefficients",
    "sin2",
    "sin2_closed_form",
    "sin2_commuting",
    "sin2_of_gap",
    "slope_at_zero",
]
