"""Identities I1 to I13 of learning rules, each at random nets, beside a false twin.

    worst, least = measure("I1 feedback", cases=60)     # worst deviation; smallest deviation of the twin

An identity is a function of a random generator that gives one `Case`: both sides, computed apart, and what
the twin, a slightly wrong statement, says of the left one. Deviations are relative to the largest entry. The
sides are passes and products by hand in numpy; that the rules of `dlinear.rules` are these formulas is tested
beside them. What of this is proved for every net stands in the ledger (`claims`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dlinear.checks import as_integer, as_known
from dlinear.theory.rule_identities import depth, feedback, goodness, learned, two_passes
from dlinear.theory.rule_identities.nets import Bound, Case, Floats

__all__ = ["IDENTITIES", "Bound", "Case", "Identity", "measure"]


class Identity(NamedTuple):
    """One row.

    Attributes:
        statement: the identity, in words.
        twin: the wrong statement.
        draw: one random case.
        tolerance: the largest deviation that counts as none: rounding, unless a limit or an integration is
            part of the check.
        claims: ids of the ledger's rows that prove it, or a part of it.
    """

    statement: str
    twin: str
    draw: Callable[[np.random.Generator], Case | Bound]
    tolerance: float = 1e-12
    claims: str = ""


IDENTITIES: dict[str, Identity] = {
    "I1 feedback": Identity(
        "PEPITA = -s P_l F e (h_{l-1} + s P_{l-1} F e)^T, linear, any F",
        "the clean presynaptic term",
        two_passes.i1_feedback,
        claims="pepita_feedback",
    ),
    "I1 mean": Identity(
        "its whitened mean, output layer too",
        "without E[e e^T]",
        two_passes.i1_mean,
        claims="pepita_feedback",
    ),
    "I1 error": Identity(
        "the modulated error is (I + s P_L F) e", "-s", two_passes.i1_error, claims="pepita_feedback"
    ),
    "I2 split": Identity(
        "Hebbian - PEPITA = h_l (h_{l-1} - herr_{l-1})^T, five activations",
        "herr_l for h_l",
        two_passes.i2_split,
        claims="pepita_split",
    ),
    "I2 mean": Identity(
        "linear: the Hebbian mean symmetrises F R", "F R", two_passes.i2_mean, claims="pepita_hebbian"
    ),
    "I2 ratio": Identity(
        "the ratio of their norms has a limit > 0 as F -> 0, five activations",
        "0",
        two_passes.i2_ratio,
        1e-4,
    ),
    "I3 goodness": Identity(
        "d/dW (|h|^2 - |herr|^2)/2 = PEPITA-Hebbian; identity, ReLU",
        "|h|^2",
        two_passes.i3_goodness,
        claims="goodness_linear, goodness_relu",
    ),
    "I3 matched": Identity(
        "the same with int_0^a sigma; leaky ReLU, tanh, sigmoid", "|h|^2/2", two_passes.i3_matched
    ),
    "I3 logistic": Identity(
        "forward-forward's loss: weights 1 - p+ and p-", "weights 1", two_passes.i3_logistic
    ),
    "I4 products": Identity(
        "FA = DFA with B_{l+1} ... B_L, linear",
        "back-propagation",
        feedback.i4_products,
        claims="feedback_direct",
    ),
    "I4 inverse": Identity(
        "DFA, B_l invertible = FA with B_l B_{l+1}^{-1}",
        "B_l B_{l+1}",
        feedback.i4_inverse,
        claims="feedback_direct",
    ),
    "I5 any": Identity(
        "FOTON = P_l P_l^T back-propagation, linear",
        "back-propagation",
        feedback.i5_any,
        claims="foton_gradient",
    ),
    "I5 descent": Identity(
        "<FOTON, back-propagation> = |P_l^T back-propagation|^2",
        "without P_l^T",
        feedback.i5_descent,
        claims="foton_gradient",
    ),
    "I5 orthonormal": Identity(
        "orthonormal rows, widths that do not grow: FOTON = back-propagation",
        "modulated presynaptic term",
        feedback.i5_orthonormal,
        claims="foton_orthonormal",
    ),
    "I6 contrast": Identity(
        "LAC = -2 PEPITA, F = I, linear autoencoder",
        "2 PEPITA, F = -I",
        two_passes.i6_contrast,
        claims="autoencoder_pepita",
    ),
    "I6 clean": Identity(
        "clean presynaptic term: LAC = 2 PEPITA, F = -I",
        "modulated one",
        two_passes.i6_clean,
        claims="autoencoder_pepita",
    ),
    "I7 mean": Identity("mirror: E B_k, any decay", "without s^2", learned.i7_mean, claims="mirror_mean"),
    "I7 angle": Identity(
        "stationary sin^2/cos^2 = lam c/((2 - lam) b)",
        "c - 1",
        learned.i7_angle,
        claims="mirror_variance",
    ),
    "I7 ReLU": Identity("mirror of ReLU: s^2 W^T/2, symmetric noise", "s^2 W^T", learned.i7_relu),
    "I7 slopes": Identity(
        "mirror of sigma: s^2 W^T diag(E sigma'); tanh, sigmoid", "one factor", learned.i7_slopes, 1e-8
    ),
    "I7 softmax": Identity(
        "mirror through softmax: s^2 W^T E[diag(p) - p p^T]",
        "column-centred W^T",
        learned.i7_softmax,
        1e-8,
    ),
    "I7 centred": Identity(
        "its limit for small noise: s^2 W^T (I - 11^T/K)/K", "W^T/K", learned.i7_centred, 1e-6
    ),
    "I8 true": Identity(
        "back-propagation: W W^T - V^T V changes by eta^2 terms alone", "by nothing", feedback.i8_true
    ),
    "I8 feedback": Identity(
        "FA: W W^T - B V - (B V)^T changes by eta^2 G G^T",
        "by nothing",
        feedback.i8_feedback,
        claims="balance_feedback",
    ),
    "I8 direct": Identity(
        "DFA: the same with B_l B_{l+1}^{-1}",
        "by nothing",
        feedback.i8_direct,
        claims="balance_feedback",
    ),
    "I8 PEPITA": Identity(
        "PEPITA: dW_{l+1} = W_{l+1} dW_l W_l^T, dW_{L-1} W_{L-1}^T = -s P_{L-1} F dW_L",
        "without W_l^T; P_L",
        feedback.i8_pepita,
        claims="balance_pepita",
    ),
    "I8 scalars": Identity(
        "two scalar layers: w_1 + s F w_2 stays",
        "w_1 - s F w_2",
        feedback.i8_scalars,
        claims="balance_pepita",
    ),
    "I9 from zero": Identity(
        "FA's flow from zero, B^T B = I: (2 phi)^{1/3}, (2 phi)^{2/3}/2, cos(B, W_2^T)",
        "balanced layers",
        learned.i9_from_zero,
        1e-7,
        claims="feedback_from_zero",
    ),
    "I10 drift": Identity(
        "DRTP: W_1(k) = W_1(0) + k eta B_1 Phi, linear", "k - 1", feedback.i10_drift, claims="target_drift"
    ),
    "I11 gradient": Identity("linear forward-forward: dL/dW = 2 W S", "equal weights", goodness.i11_gradient),
    "I11 Gram": Identity(
        "a flow of M = W^T W alone", "first order", goodness.i11_gram, claims="goodness_gram"
    ),
    "I11 moments": Identity("equal weights: W_0 exp(2t (C+ - C-))", "exp(t ...)", goodness.i11_moments, 1e-8),
    "I11 overlay": Identity(
        "label overlay: blocks K/(K-1) Phi and diag(K f - 1)/(K-1)",
        "without K/(K-1)",
        goodness.i11_overlay,
        claims="label_overlay",
    ),
    "I11 one step": Identity(
        "one step from W^T W = I: argmax of 2 K (Phi p)_y + K f_y", "without f", goodness.i11_one_step
    ),
    "I11 second": Identity(
        "an orthogonal second layer: goodness inherited, or constant",
        "not orthogonal",
        goodness.i11_second,
    ),
    "I12 step": Identity(
        "Oja, whitened: singular values s + eta (s - s^3)", "s - s^2", learned.i12_step, claims="oja_step"
    ),
    "I12 orthonormal": Identity(
        "Oja: rows become orthonormal", "of size 1 each", learned.i12_orthonormal, 1e-10, claims="oja_step"
    ),
    "I13 descent": Identity(
        "broadcast: <G, g_T> >= (2 - (1 + c/T)^k) |G|^2",
        "k - 1",
        depth.i13_descent,
        claims="broadcast_descent",
    ),
    "3.4 tail": Identity(
        "identity for the last m layers: sin^2 <= c^2 e^{2c} S_2(m)/((1 - c/T)^{2(T-1)} T^3), any R",
        "half of it",
        depth.tail_bound,
        claims="theorem_e1",
    ),
    "3.5 size": Identity(
        "its sin^2 does not change with |R|", "the plain horizon", depth.tail_any_size, 1e-9
    ),
}


def measure(name: str, cases: int = 60, seed: int = 0) -> tuple[Floats, Floats]:
    """Deviations of an identity and of its false twin at random cases, (cases,) each.

    Args:
        name: of `IDENTITIES`.
        cases: >= 1.
        seed: of the cases.

    Raises:
        DomainError: another name, or numbers that are not such integers.
    """
    identity = IDENTITIES[as_known("identity", name, list(IDENTITIES))]
    count, seed = as_integer("cases", cases, 1), as_integer("seed", seed, 0)
    found = [identity.draw(np.random.default_rng([seed, k])) for k in range(count)]
    return np.array([one.deviation for one in found]), np.array([one.twin_deviation for one in found])
