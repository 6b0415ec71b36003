"""Theorem 3.4 as printed (formal version): positive constants C1, C2 exist for all bounded layers.

Problem. The theorem says: if ||W~(t)||_2 <= c, then lim_{alpha -> 1} liminf_T and limsup_T of
(1 - cos^2)/(1 - alpha)^3 exist and equal C1, C2 > 0.

Verdict. False, for four reasons, each with an example; Theorems A, B and C replace it.

1. R = P_T - Phi may be zero: then g_T = 0 and there is no angle (Phi = I, W~ = 0).
2. C1 = C2 = 0 for W~ = 0: every horizon gives the full gradient, for every Phi and n (`theorem_34_parallel`
   in proofs/theorem_a.py). By Lemma C.5 with c = 0, K = 0.
3. C1 = C2 = 0 for n = 1, constant layers and y = 2e^c: by Lemma C.5, K(c, 2e^c) = 0 (the order is 5).
4. The limit over alpha need not exist: `oscillating_limit`.

And for i.i.d. zero-mean layers both limits over T are 0 at every alpha: `theorem_c`.

The limit constant of the scalar network is K = c^2 (2 - z)^2/(3 (1 - z)^2), z = y e^{-c}: proofs `lemma_c5`.

Reference. Theorem 3.4 (formal), eq. (26) of arXiv 2409.19561.
"""

from __future__ import annotations

from typing import Any

import sympy

from dlinear.certify import claim, refutation
from dlinear.certify.claims import Form, Relation, Verdict
from dlinear.certify.prover.scalar_case import LETTERS as LETTERS_C5
from dlinear.certify.prover.statements import LETTERS, RESIDUAL, network
from dlinear.theory import scalar

TEST = "tests/theory/test_scalar.py"
LIMIT = (
    "n = 1, equal layers: T -> infinity gives 1 - f^2 (lemma_c5_series), so both limits of (26) are K(c, y)"
)

LEADING = scalar.series_coefficients(*sympy.symbols("c z"))[0]

POSITIVE: dict[str, Any] = {
    "symbols": {"c": "real", "z": "real"},
    "hypotheses": ["0 < (1 - z)**2"],
    "conclusions": [f"0 < {LEADING}"],
}
DEFINED = network([f"0 < {RESIDUAL}"], gradients=True)


def also(goal: dict[str, Any], *hypotheses: str) -> dict[str, Any]:
    """The goal with more hypotheses."""
    return {**goal, "hypotheses": [*goal.get("hypotheses", []), *hypotheses]}


CLAIMS = [
    claim(
        "theorem_34_angle_printed",
        "Theorem 3.4 (informal and formal)",
        Form.PRINTED,
        "theta_h is defined for all bounded layers: R = P_T - Phi is not zero",
        Relation.UPPER_BOUND,
        Verdict.REFUTED,
        goal=DEFINED,
        letters=LETTERS,
        route=lambda goal: refutation(goal, {"T": "10", "h": "5", "c": "0", "Phi": [["1"]], "D": {}}),
        twin_goal={**DEFINED, "conclusions": [f"{RESIDUAL} <= F(W(0, T)) + F(Phi)"]},
        twin_statement="R is no larger than ||P_T|| + ||Phi||, which the same example satisfies",
        function="dlinear.alignment",
        test="tests/theory/test_limits.py::test_errors",
    ),
    claim(
        "theorem_34_identity_printed",
        "Theorem 3.4 (formal), eq. (26)",
        Form.PRINTED,
        "C1 > 0 for all layers: the limit K(c, y), n = 1 and equal layers, is positive (but K(0, y) = 0)",
        Relation.UPPER_BOUND,
        Verdict.REFUTED,
        goal=POSITIVE,
        letters=LETTERS_C5,
        uses=("lemma_c5_series",),
        assumes=LIMIT,
        route=lambda goal: refutation(goal, {"c": "0", "z": "1/2"}),
        twin_goal={**POSITIVE, "conclusions": [f"0 <= {LEADING}"]},
        twin_statement="C1 >= 0, which the same example satisfies",
        function="dlinear.scalar.constant",
        test=f"{TEST}::test_identity_layers",
    ),
    claim(
        "theorem_34_order_five_printed",
        "Theorem 3.4 (formal), eq. (26)",
        Form.PRINTED,
        "C1 > 0 if no layer is the identity: K(c, y) > 0 for c != 0 (but K(c, 2e^c) = 0)",
        Relation.UPPER_BOUND,
        Verdict.REFUTED,
        goal=also(POSITIVE, "0 < c**2"),
        letters=LETTERS_C5,
        uses=("lemma_c5_series",),
        assumes=LIMIT,
        route=lambda goal: refutation(goal, {"c": "1", "z": "2"}),
        twin_goal={**also(POSITIVE, "0 < c**2"), "conclusions": [f"0 <= {LEADING}"]},
        twin_statement="C1 >= 0, which the same example satisfies",
        function="dlinear.scalar.constant",
        test=f"{TEST}::test_order_five_degenerate_case",
        figure="lemma_c5",
    ),
]
