"""The limit of Theorem 3.4 need not exist: a bounded path whose constant oscillates for ever.

Example. n = 1, A(s) = a (1 + b cos(w log(1 - s))), a = 7/10, b = 4/5, w = 4, Phi = 0. A is bounded and
continuous on [0, 1), with no limit at 1 (so Theorem B does not apply). With u = 1 - s and L = log u:

    int_0^u A = a u p(L),  int_0^eps (int_0^u A)^2 du = a^2 eps^3 H(log eps),  p, H periodic in L,
    sin^2/eps^3 ~ 4 a^2 H(log eps),  eps = 1 - alpha, T -> infinity first, then eps_j = e^{L0 - j pi/2} -> 0.

Along cos(w L) = 1 the limit is 4 a^2 H(1), along cos(w L) = -1 it is 4 a^2 H(-1), and H(1) < H(-1).

Guarantee. `oscillating_limit_primitive`: p and H, exact identities in cos(w L), sin(w L); that they are those
of the integrals is the fundamental theorem. `oscillating_limit_gap`: sin^2 <= 4 a^2 (31/100) eps^3 for every
eps <= 1/50 of the first sequence, sin^2 >= 4 a^2 (36/100) eps^3 for every eps <= 1/50 of the second, so that
lim inf and lim sup differ. This is proved given hypotheses on J = int psi, K = int psi^2 and V = I2 (in units
of e^{2 int A}), which are the monotonicity of the integral and Cauchy-Schwarz applied to the pointwise bounds
that are its first conclusions: theta = int_0^u A in [0, (21/25) eps], psi = e^{-2 theta} - 1,
phi = e^{-2 theta}, Q = int theta^2, (2 - 2 theta_max)^2 Q <= K <= 4 Q, J^2 <= eps K,
(1 - 2 theta_max)^2 <= V <= 1.
`oscillating_limit`: that the limit does not exist, measured (supported, not proved).

Reference. Against eq. (26) of arXiv 2409.19561.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import sympy

from dlinear.certify import Proof, claim
from dlinear.certify.claims import Claim, Form, Outcome, Relation, Verdict
from dlinear.certify.letters import assumed, shown
from dlinear.certify.prover.eliminate import Atoms
from dlinear.certify.prover.scalar_case import divide
from dlinear.theory.log_periodic import LogPeriodic

TEST = "tests/theory/test_log_periodic.py"
A, B, W = Fraction(7, 10), Fraction(4, 5), 4
WAVE = {"C": "cos(w L), L = log u", "D": "sin(w L)"}
AT = Atoms()
COS, SIN = AT["C"], AT["D"]  # cos(w L) and sin(w L)


def periodic() -> tuple[Any, Any]:
    """p and H as polynomials in cos(w L), sin(w L): the complex powers of `LogPeriodic` multiplied out."""
    wave, i = COS + sympy.I * SIN, sympy.I
    b = sympy.Rational(B)
    once = b / (1 + i * W)
    real = lambda z: sympy.expand(sympy.re(sympy.expand(z.subs({COS: CR, SIN: SR}), complex=True)))  # noqa: E731
    CR, SR = sympy.symbols("cr sr", real=True)
    back = {CR: COS, SR: SIN}
    p = 1 + real(once * wave).subs(back)
    size = sympy.expand(once * sympy.conjugate(once))
    cross, twice = 2 * once * wave / (3 + i * W), once**2 * wave**2 / (3 + 2 * i * W)
    h = (1 + size / 2) / 3 + (real(cross) + real(twice) / 2).subs(back)
    return sympy.expand(p), sympy.expand(h)


P, H = periodic()


def turning(f: Any) -> Any:
    """df/dL for L = log u: C' = -w D, D' = w C."""
    return -W * SIN * sympy.diff(f, COS) + W * COS * sympy.diff(f, SIN)


def primitive_goal(h: Any) -> dict[str, Any]:
    """u p is the primitive of A/a, u^3 H that of (u p)^2; H at the two phases."""
    ends = [h.subs({COS: sign, SIN: 0}) for sign in (1, -1)]
    return {
        "symbols": {"C": "real", "D": "real"},
        "hypotheses": ["C**2 + D**2 == 1"],
        "conclusions": [
            f"{AT.text(P)} + ({AT.text(turning(P))}) == 1 + {B}*C",
            f"3*({AT.text(h)}) + ({AT.text(sympy.expand(turning(h)))}) == ({AT.text(P)})**2",
            f"{ends[0]} < 29/100",
            f"38/100 < {ends[1]}",
        ],
    }


def primitive_route(goal: Mapping[str, Any]) -> dict[str, Any]:
    """Polynomial identities modulo C^2 + D^2 = 1."""
    p = Proof(goal)
    circle = p.assume("C**2 + D**2 == 1")
    text = goal["conclusions"][1]
    gap = sympy.Poly(sympy.expand(P**2 - 3 * H - turning(H)), COS)
    factor, _ = sympy.div(gap, sympy.Poly(1 - COS**2 - SIN**2, COS))
    square = p.linear(text, {circle: AT.text(factor.as_expr())})
    first, *ends = (p.linear(goal["conclusions"][k]) for k in (0, 2, 3))
    return p.finish(first, square, *ends)


REACH = Fraction(6, 5)  # p <= 6/5, because |p - 1| = b |cos(.)|/sqrt(1 + w^2) <= 1/5
EDGE = Fraction(1, 50)


def gap_witness() -> dict[str, Any]:
    """A point of the hypotheses: J = 0 and V = 1, K and sin^2 at their largest."""
    values: dict[str, Any] = {"theta": 0, "C": "3/5", "D": "4/5"}
    for text in gap_goal("0", "0")["hypotheses"]:
        if text.startswith("Q"):
            name, _, size = text.partition(" == ")
            k = name[1:]
            values |= {
                f"e{k}": EDGE,
                name: size,
                f"K{k}": f"4*{name}",
                f"J{k}": 0,
                f"V{k}": 1,
                f"sin2_{k}": f"K{k}",
            }
    return values


def gap_goal(low: str, high: str) -> dict[str, Any]:
    """Bounds of sin^2/eps^3 at every small eps of the two sequences (letters 1 and 2)."""
    symbols = {"theta": "nonneg", "C": "real", "D": "real"}
    hypotheses = ["C**2 + D**2 == 1"]
    for k, end in (("1", H.subs({COS: 1, SIN: 0})), ("2", H.subs({COS: -1, SIN: 0}))):
        symbols |= {f"e{k}": "positive"} | {f"{name}{k}": "real" for name in ("Q", "J", "K", "V", "sin2_")}
        top = f"{A * REACH}*e{k}"  # the largest theta of the window
        hypotheses += [
            f"e{k} <= {EDGE}",
            f"Q{k} == {A**2}*{end}*e{k}**3",
            f"(2 - 2*{top})**2*Q{k} <= K{k}",
            f"K{k} <= 4*Q{k}",
            f"J{k}**2 <= e{k}*K{k}",
            f"(1 - 2*{top})**2 <= V{k}",
            f"V{k} <= 1",
            f"sin2_{k}*V{k} == K{k} - J{k}**2",
        ]
    return {
        "symbols": symbols,
        "hypotheses": hypotheses,
        "conclusions": [
            "1 - exp(-2*theta) <= 2*theta",
            "2*theta - 2*theta**2 <= 1 - exp(-2*theta)",
            f"({AT.text(P)} - 1)**2 <= ({REACH} - 1)**2",
            f"sin2_1 <= 4*{A**2}*{low}*e1**3",
            f"4*{A**2}*{high}*e2**3 <= sin2_2",
        ],
    }


def gap_route(goal: Mapping[str, Any]) -> dict[str, Any]:
    """Pointwise bounds by Taylor, then rational arithmetic for eps <= 1/50."""
    p = Proof(goal)
    given = {text: p.assume(text) for text in goal["hypotheses"]}
    above, below, reach = goal["conclusions"][:3]
    facts = [p.taylor(above, "theta", 2), p.taylor(below, "theta", 3)]
    circle = given["C**2 + D**2 == 1"]
    slope = (P - 1).as_poly(COS, SIN)
    left, right = (slope.coeff_monomial(g) for g in (COS, SIN))
    size = left**2 + right**2  # (xC + yD)^2 + (yC - xD)^2 = (x^2 + y^2)(C^2 + D^2)
    other = AT.text(right * COS - left * SIN)
    facts.append(p.linear(reach, {circle: str(size)}, [("1", other)]))
    for k, text in (("1", goal["conclusions"][3]), ("2", goal["conclusions"][4])):
        facts.append(_bound(p, given, goal, k, text))
    return p.finish(*facts)


def _bound(p: Proof, given: Mapping[str, int], goal: Mapping[str, Any], k: str, text: str) -> int:
    """0 <= (bound - sin^2) V, then V > 0 is divided out."""
    mine = [h for h in goal["hypotheses"] if f"e{k}" in h or h.startswith((f"K{k}", f"V{k}", f"sin2_{k}"))]
    edge, energy, lower, upper, cauchy, least, most, ratio = (given[h] for h in mine)
    e, top = f"e{k}", A * REACH  # theta <= top e
    floor = p.linear(f"{_square(1, 2 * top)} <= V{k}", {_at_least(p, edge, 1, 2 * top, e): "1", least: "1"})
    positive = p.linear(f"0 < V{k}", {floor: "1"})
    small, large = text.split(" <= ")
    cube, gap = f"4*{A**2}*{e}**3", f"{large} - {small}"
    if k == "1":  # level cube V >= level cube (1 - 2 top EDGE)^2 >= 4 Q >= K >= sin2 V
        level = Fraction(large.split("*")[2])
        weights = {floor: f"{cube}*{level}", upper: "1", energy: "4", ratio: "1"}
        whole = p.linear(f"0 <= ({gap})*V1", weights, [("1", "J1")])
    else:  # sin2 V = K - J^2 >= (1 - e) K >= (1 - EDGE)(2 - 2 top EDGE)^2 Q, level cube V <= level cube
        level = Fraction(small.split("*")[2])
        wide = _at_least(p, edge, 2, 2 * top, e)
        power = f"{A**2 * Fraction(str(H.subs({COS: -1, SIN: 0})))}*{e}**3"
        mass = p.linear(
            f"{_square(2, 2 * top)}*{power} <= K2",
            {wide: power, lower: "1", energy: f"-(2 - {2 * top}*{e})**2"},
        )
        spare = p.product(edge, p.linear("0 <= K2", {mass: "1"}), f"0 <= ({EDGE} - {e})*K2")
        weights = {most: f"{cube}*{level}", cauchy: "1", ratio: "-1", spare: "1", mass: str(1 - EDGE)}
        whole = p.linear(f"0 <= ({gap})*V2", weights)
    return p.linear(text, {divide(p, gap, f"V{k}", positive, whole): "1"})


def _square(start: int, slope: Fraction) -> Fraction:
    """(start - slope EDGE)^2."""
    return (start - slope * EDGE) ** 2


def _at_least(p: Proof, edge: int, start: int, slope: Fraction, e: str) -> int:
    """(start - slope EDGE)^2 <= (start - slope e)^2 from e <= EDGE."""
    end = start - slope * EDGE
    more = p.linear(f"{end} <= {start} - {slope}*{e}", {edge: str(slope)})
    square = [("1", f"{start} - {slope}*{e} - {end}")]
    return p.linear(f"{_square(start, slope)} <= ({start} - {slope}*{e})**2", {more: str(2 * end)}, square)


# ---------------------------------------------------------------- measured


def sin2_limit(layers: LogPeriodic, eps: float) -> float:
    """sin^2 at T = infinity, Phi = 0, by Gauss-Legendre in log u, in units of e^{2 int A}."""
    nodes, weights = np.polynomial.legendre.leggauss(24)
    edges = np.linspace(-40.0, 0.0, 81)
    step = edges[1] - edges[0]
    log_u = (edges[:-1, None] + step * (nodes + 1) / 2).ravel()
    w = np.tile(weights * step / 2, len(edges) - 1)
    v = np.exp(log_u)  # u/eps in (0, 1]; du/eps = v dlog v
    once = layers.b / (1 + 1j * layers.w)
    theta = layers.a * eps * v * (1 + (once * np.exp(1j * layers.w * (log_u + np.log(eps)))).real)
    psi = np.expm1(-2 * theta)
    j1, j2 = eps * np.sum(w * v * psi), eps * np.sum(w * v * psi**2)
    return float((j2 - j1**2) / (1 + 2 * j1 + j2))


def measured(frequency: float) -> Outcome:
    """sin^2/eps^3 along both sequences against 4 a^2 H, the leading term taken at a frequency."""
    layers = LogPeriodic(float(A), float(B), float(W))
    claimed = LogPeriodic(float(A), float(B), frequency)
    spreads, values, rates = [], [], []
    for phase in (0.0, np.pi / W):
        eps = np.exp(phase - 2 * np.pi / W * np.arange(3, 9))
        ratio = np.array([sin2_limit(layers, e) / claimed.sin2(e, 0.0) for e in eps])
        spreads.append(abs(ratio[-1] - 1))
        values.append(sin2_limit(layers, eps[-1]) / eps[-1] ** 3)
        rates.append(np.polyfit(np.log(eps), np.log(np.abs(ratio - 1)), 1)[0])
    good = max(spreads) < 1e-3 and all(abs(rate - 1) < 0.05 for rate in rates) and values[1] > 1.2 * values[0]
    evidence = (
        f"sin^2/eps^3 -> {values[0]:.4f} and {values[1]:.4f} along two sequences; "
        f"|measured/leading - 1| ~ eps^({min(rates):.2f} .. {max(rates):.2f})"
    )
    return Outcome(
        Verdict.SUPPORTED if good else Verdict.UNDECIDED, "quadrature at 2 x 6 horizons, regression", evidence
    )


CLAIMS = [
    claim(
        "oscillating_limit_gap",
        "Theorem 3.4 (formal), eq. (26)",
        Form.NEW,
        "n = 1, A(s) = a (1 + 4/5 cos(4 log(1 - s))), if the integrals J, K, V keep their elementary bounds: "
        "sin^2/(4 a^2 eps^3) <= 31/100 on one sequence eps <= 1/50, >= 36/100 on another",
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=gap_goal("31/100", "36/100"),
        letters=WAVE
        | {"theta": "int_0^u A for u in the window"}
        | {
            f"{name}{k}": letter
            for k, where in (("1", "first"), ("2", "second"))
            for name, letter in {
                "e": f"eps on the {where} sequence, cos(w log eps) = {'1' if k == '1' else '-1'}",
                "Q": shown("int theta^2 = a^2 eps^3 H", "oscillating_limit_primitive"),
                "J": assumed("int psi, psi = e^{-2 theta} - 1"),
                "K": assumed("int psi^2"),
                "V": assumed("int phi^2, phi = e^{-2 theta}"),
                "sin2_": assumed("sin^2(theta_h) in the depth limit"),
            }.items()
        },
        witness=gap_witness(),
        route=gap_route,
        twin_goal=gap_goal("28/100", "36/100"),
        twin_statement="28/100 for the first sequence",
        evidence="pointwise bounds of psi and p, then rational arithmetic for every eps <= 1/50",
        assumes="for J = int psi, K = int psi^2, V = int phi^2: monotone integrals of the pointwise bounds, "
        "J^2 <= eps K (Cauchy-Schwarz), sin^2 V = K - J^2, and the depth limit T -> infinity",
        function="dlinear.theory.log_periodic.LogPeriodic.sin2",
        test=f"{TEST}::test_measured_sin2_follows_and_swings",
        figure="oscillating_limit",
    ),
    claim(
        "oscillating_limit_primitive",
        "Theorem 3.4 (formal), eq. (26)",
        Form.NEW,
        "p + dp/dL = 1 + b cos(w L), 3H + dH/dL = p^2, H < .29 where cos(w L) = 1 and H > .38 where it "
        "is -1; so int_0^u A = a u p(log u) and int_0^eps (int_0^u A)^2 = a^2 eps^3 H(log eps)",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=primitive_goal(H),
        letters=WAVE,
        assumes="the integrals from the identities: dC/dL = -w D, dD/dL = w C, L = log u; u p and u^3 H "
        "vanish at 0",
        witness={"C": "3/5", "D": "4/5"},
        route=primitive_route,
        twin_goal=primitive_goal(H.subs(SIN, -SIN)),
        twin_statement="sin(w L) with the opposite sign in H",
        function="dlinear.theory.log_periodic.LogPeriodic.ratio",
        test=f"{TEST}::test_integrals_against_quadrature",
        figure="oscillating_limit",
    ),
    Claim(
        id="oscillating_limit",
        reference="Theorem 3.4 (formal), eq. (26)",
        form=Form.NEW,
        statement="lim (1 - cos^2)/(1 - alpha)^3 does not exist: sin^2/eps^3 -> 4 a^2 H(1) and 4 a^2 H(-1) "
        "along the two sequences, with an error ~ eps",
        relation=Relation.ASYMPTOTIC,
        expected=Verdict.SUPPORTED,
        prove=lambda: measured(float(W)),
        twin=lambda: measured(float(W) + 0.5),
        twin_statement="frequency w + 1/2 in the leading term",
        function="dlinear.theory.log_periodic.LogPeriodic.sin2",
        test=f"{TEST}::test_measured_sin2_follows_and_swings",
        figure="oscillating_limit",
    ),
]
