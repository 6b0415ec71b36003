"""Theorems H1, H2, H3 and G4 d (new): limits of any rule that sees h blocks, zero modes; measured.

Statement. H1: let the k layers from s on be i.i.d., zero mean, entries of variance rho^2/n, E their product.
Then E[E] = I and E[E^T E] = (1 + rho^2)^k I, so that the best mean-square prediction of g_T(t) from what
lies before s is (W_{t+1}^s)^T [(1 + rho^2)^k P_s - Phi] P_t^T: the plain horizon up to O(k rho^2).

H2: layers +-A/T with fair independent signs, constant on the runs [2^i, 2^{i+1}) counted from the end. What
k unseen layers add up to has the variance (4^j - 1)/3 in units of ||B(A)||^2/T^2 from its unseen whole runs,
j = floor(log2(k+1)); summed over k <= m this is at least S_2(m)/7 for m >= 8: no rule that sees h blocks
beats order 3.

H3: layers I + cI/T, R = r I: sin^2 over the bound of Theorem A tends to e^{-4c} as T -> infinity at fixed m,
so that its constant is sharp as c -> 0.

G4 d: 1 < h < T - 1, unequal initial layers: the residuals e_h..e_T of the plain flow near the identity have
min(h, T-h) - 1 zero modes; for h < T/2, h | T, J = T/h, the largest Jordan block at 0 has size J - 1.

Guarantee. Supported: H1 by Monte Carlo, H2 by all m up to 10^6, H3 by a rate in T, G4 d by exact ranks.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import sympy

import dlinear
from dlinear.certify.claims import Claim, Form, Outcome, Relation, Verdict
from dlinear.theory import bounds, flows

DRAWS, WIDTH, LAYERS, RHO = 40_000, 3, 4, 0.3
DEPTHS = (400, 1600, 6400)
SHORTFALLS = np.array([2, 8])


def bayes(factor: float) -> Outcome:
    """Largest z of the mean of E^T (E P - Phi) against factor P - Phi, over its entries."""
    rng = np.random.default_rng(3)
    state, target = rng.normal(size=(2, WIDTH, WIDTH))
    tails = np.broadcast_to(np.eye(WIDTH), (DRAWS, WIDTH, WIDTH))
    for _ in range(LAYERS):
        tails = tails + rng.normal(size=(DRAWS, WIDTH, WIDTH)) * (RHO / np.sqrt(WIDTH)) @ tails
    found = np.swapaxes(tails, 1, 2) @ (tails @ state - target)
    error = np.std(found, axis=0, ddof=1) / np.sqrt(DRAWS)
    z = float(np.max(np.abs((found.mean(axis=0) - (factor * state - target)) / error)))
    verdict = Verdict.SUPPORTED if z < 4 else Verdict.UNDECIDED
    return Outcome(verdict, f"{DRAWS} draws of {LAYERS} layers", f"largest |z| of 9 entries: {z:.1f}")


def dyadic(share: float) -> Outcome:
    """sum_{k<=m} (4^j - 1)/3 over S_2(m), for every 8 <= m <= 10^6."""
    m = np.arange(1.0, 1e6 + 1)
    whole = (4.0 ** np.floor(np.log2(m + 1)) - 1) / 3
    ratio = (np.cumsum(whole) / (m * (m + 1) * (2 * m + 1) / 6))[7:]
    good = float(ratio.min()) >= share
    evidence = f"the ratio lies in [{ratio.min():.6f}, {ratio.max():.6f}], 1/7 = {1 / 7:.6f}"
    return Outcome(Verdict.SUPPORTED if good else Verdict.UNDECIDED, "every 8 <= m <= 10^6", evidence)


def sharp(power: float) -> Outcome:
    """Regression in T of |sin^2/bound e^{power c} - 1|."""
    slopes, finals = [], []
    for c in (0.01, 0.1, 0.3):
        errors = []
        for depth in DEPTHS:
            layer = c / depth * np.eye(2)
            net = dlinear.DenseNetwork(np.broadcast_to(layer, (depth, 2, 2)))
            phi = ((1 + c / depth) ** depth - 1.5) * np.eye(2)
            sin2 = dlinear.alignment(net, phi, depth - SHORTFALLS).sin2
            most = bounds.theorem_a(depth, depth - SHORTFALLS, c, 2, 1.5 * np.sqrt(2))
            errors.append(float(np.max(np.abs(sin2 / most * np.exp(power * c) - 1))))
        slopes.append(float(np.polyfit(np.log(DEPTHS), np.log(errors), 1)[0]))
        finals.append(errors[-1])
    good = all(abs(slope + 1) < 0.1 for slope in slopes) and max(finals) < 0.01
    evidence = (
        f"|measured e^(4c) - 1| ~ T^({min(slopes):.2f} .. {max(slopes):.2f}), "
        f"at most {max(finals):.2%} at T = {DEPTHS[-1]}, c = .01, .1, .3"
    )
    return Outcome(Verdict.SUPPORTED if good else Verdict.UNDECIDED, "regression in T", evidence)


def residual_flow(depth: int, horizon: int) -> sympy.Matrix:
    """e' = -M e for the residuals e_h, ..., e_T: e_s' is minus the sum of e_{min(t+h, T)} over t < s."""
    size = depth - horizon + 1
    flow = sympy.zeros(size, size)
    for s in range(horizon, depth + 1):
        for t in range(s):
            flow[s - horizon, min(t + horizon, depth) - horizon] += 1
    return flow


def zero_modes(fewer: int) -> Outcome:
    """Exact ranks of M and of its powers, and the spectrum against K of the layers."""
    wrong = count = 0
    for depth in range(4, 11):
        for horizon in range(2, depth - 1):
            flow = residual_flow(depth, horizon)
            count += 1
            wrong += flow.shape[0] - flow.rank() != min(horizon, depth - horizon) - fewer
            layers = sympy.Matrix(flows.flow_matrix(depth, horizon).astype(int))
            wrong += _nonzero(flow) != _nonzero(layers)
            if depth % horizon == 0 and 2 * horizon < depth:
                ranks = [(flow**power).rank() for power in range(1, depth // horizon + 1)]
                longest = 1 + next(i for i in range(len(ranks) - 1) if ranks[i] == ranks[i + 1])
                wrong += longest != depth // horizon - 1
    evidence = f"{count} pairs 1 < h < T-1, T <= 10: {wrong} differ"
    return Outcome(Verdict.UNDECIDED if wrong else Verdict.SUPPORTED, "exact ranks", evidence)


def _nonzero(matrix: sympy.Matrix) -> list[int]:
    """Coefficients of the characteristic polynomial without its zeros at the end."""
    found = list(matrix.charpoly().all_coeffs())
    while found[-1] == 0:
        found.pop()
    return found


def row(
    name: str,
    reference: str,
    statement: str,
    prove: Callable[[], Outcome],
    twin: Callable[[], Outcome],
    twin_statement: str,
    function: str,
    relation: Relation = Relation.ASYMPTOTIC,
) -> Claim:
    """A supported claim."""
    return Claim(
        id=name, reference=reference, form=Form.NEW, statement=statement, relation=relation,
        expected=Verdict.SUPPORTED, prove=prove, twin=twin, twin_statement=twin_statement, function=function,
        test="tests/certify/test_limits_of_rules.py",
    )  # fmt: skip


CLAIMS = (
    row(
        "theorem_h1", "Theorem H1",
        "k unseen i.i.d. layers, entries of variance rho^2/n: E[E^T (E P_s - Phi)] = (1 + rho^2)^k P_s "
        "- Phi, the best prediction of the end's signal at s",
        lambda: bayes((1 + RHO**2) ** LAYERS), lambda: bayes(1.0),
        "P_s - Phi, the signal of the plain horizon", "dlinear.horizon_gradients", Relation.IDENTITY,
    ),
    row(
        "theorem_h2", "Theorem H2",
        "the sum of (4^j - 1)/3 over k <= m, j = floor(log2(k+1)), is at least S_2(m)/7 for m >= 8: no rule "
        "that sees h blocks beats order 3",
        lambda: dyadic(1 / 7), lambda: dyadic(1 / 6.99),
        "S_2(m)/6.99", "dlinear.bounds.theorem_a", Relation.TIGHT,
    ),
    row(
        "theorem_h3", "Theorem H3",
        "layers I + cI/T, R = rI, m fixed: sin^2 over the bound of Theorem A tends to e^{-4c} as T grows",
        lambda: sharp(4.0), lambda: sharp(3.0),
        "e^{-3c}", "dlinear.bounds.theorem_a", Relation.TIGHT,
    ),
    row(
        "theorem_g4_kernel", "Theorem G4 d",
        "plain flow near the identity, 1 < h < T-1: e_h..e_T have min(h, T-h) - 1 zero modes; h | T, "
        "J = T/h > 2: the largest Jordan block at 0 has size J - 1",
        lambda: zero_modes(1), lambda: zero_modes(0),
        "min(h, T-h) zero modes", "dlinear.theory.flows.flow_matrix", Relation.IDENTITY,
    ),
)  # fmt: skip
