"""Theorem G4 (new): near the identity, the flow of the plain horizon: its modes, its plateau, its ringing.

Problem. To first order in D and Phi - I the states miss the target by e_s = I - Phi + sum_{t<s} D(t), and the
plain horizon's flow is D(t)' = -e_{min(t+h, T)}, entry by entry: D' = -(K D + const), K_{tt'} = 1 for t' <
min(t + h, T), else 0. How does it converge?

Statement. (a) det(x - K) = sum_j (-1)^j C(T - (j-1)(h-1), j) x^{T-j}: ceil(T/h) eigenvalues are not 0. All
minors of K are 0 or 1, hence they are real and positive. h = T: T alone; h = 1: 1 alone.

(b) T <= 2h (m <= h), from the identity, T > 2: two modes, lam+ + lam- = T, lam+ lam- = m(m+1)/2,

    e_T(tau)/e_T(0) = (1 + lam-/d) e^{-lam+ tau} - (lam-/d) e^{-lam- tau},      d = lam+ - lam- > 0:

fast as back-propagation at first, then a plateau of the wrong sign near m(m+1)/(2T^2), left at the rate
lam-. T = 2, h = 1 has a double mode, e^{-tau} (1 - tau), as (c) says.

(c) h = 1, from the identity: e_s(tau)/e_s(0) = e^{-tau} L_{s-1}(tau), Laguerre: local learning rings.

Guarantee. (a) as identities of polynomials for h <= T <= 5; that the eigenvalues are real and positive is
Gantmacher-Krein (totally nonnegative matrices). (b) for every T, h; the law of e_s in tau as integral
equations. (c) for s <= 6.

Method. Expansion; d/dtau of the closed forms by the fundamental theorem of calculus; sums by induction.
"""

from __future__ import annotations

from math import comb
from typing import Any

import sympy

from dlinear.certify import Proof, claim
from dlinear.certify.claims import Form, Relation, Verdict
from dlinear.certify.letters import assumed

DEEPEST = 5
LARGEST = 6


# ---------------------------------------------------------------- (a) the determinant
def matrix(depth: int, horizon: int) -> list[list[str]]:
    """x - K as texts."""
    one = [[int(j < min(t + horizon, depth)) for j in range(depth)] for t in range(depth)]
    return [
        ["(x - 1)" if i == j else ("-1" if v else "0") for j, v in enumerate(row)]
        for i, row in enumerate(one)
    ]


def determinant(rows: list[list[str]]) -> str:
    """Expansion by the first row, without the zero entries."""
    if len(rows) == 1:
        return rows[0][0]
    parts = []
    for j, entry in enumerate(rows[0]):
        if entry != "0":
            minor = [row[:j] + row[j + 1 :] for row in rows[1:]]
            parts.append(f"{'-' if j % 2 else ''}({entry})*({determinant(minor)})")
    return " + ".join(f"({part})" for part in parts) or "0"


def modes(depth: int, horizon: int, shift: int = 0) -> str:
    """sum_j (-1)^j C(T - (j-1)(h-1), j) x^(T-j)."""
    terms = []
    for j in range(depth + 1):
        count = depth - (j - 1) * (horizon - 1) - (shift if j > 1 else 0)
        if count >= j:
            terms.append(f"({(-1) ** j * comb(count, j)})*x**{depth - j}")
    return " + ".join(terms)


def determinant_goal(shift: int = 0) -> dict[str, Any]:
    """Every h <= T <= DEEPEST."""
    pairs = [(depth, horizon) for depth in range(1, DEEPEST + 1) for horizon in range(1, depth + 1)]
    return {
        "symbols": {"x": "real"},
        "conclusions": [f"{determinant(matrix(*pair))} == {modes(*pair, shift)}" for pair in pairs],
    }


def expand(goal: dict[str, Any]) -> dict[str, Any]:
    """Identities of polynomials."""
    p = Proof(goal)
    return p.finish(*[p.linear(text) for text in goal["conclusions"]])


# ---------------------------------------------------------------- (b) two modes
ERROR = "((lp*exp(-lp*{0}) - lm*exp(-lm*{0}))/d)"
LAYER = "((exp(-lp*{0}) - exp(-lm*{0}))/d)"
PAIRS = "m*(m+1)/2"


def plateau_goal(pairs: str = PAIRS) -> dict[str, Any]:
    """The closed form solves the reduced system, which is the flow of all layers."""
    here, end = ERROR.format("x"), ERROR.format("tau")
    return {
        "symbols": {
            **{"T": "posint", "h": "posint", "m": "natural", "tau": "nonneg", "x": "real", "d": "positive"},
            **dict.fromkeys(("lp", "lm", "e", "w"), "real"),
        },
        "sums": {"V": {"index": "t", "term": "e - (T - (t + h))*w"}},
        "hypotheses": ["T == h + m", "m <= h", "lp + lm == T", f"lp*lm == {PAIRS}", "d == lp - lm"],
        "conclusions": [
            f"0 <= T**2 - 4*({pairs})",
            f"V(m) + h*e == T*e - {pairs}*w",
            f"Int(x, 0, tau, -{here}) == {LAYER.format('tau')} - {LAYER.format('0')}",
            f"Int(x, 0, tau, -T*{here} + {pairs}*{LAYER.format('x')}) == {end} - {ERROR.format('0')}",
            f"{ERROR.format('0')} == 1",
            f"{LAYER.format('0')} == 0",
            f"{end} == (1 + lm/d)*exp(-lp*tau) - lm/d*exp(-lm*tau)",
        ],
    }


def prove_plateau(goal: dict[str, Any]) -> dict[str, Any]:
    """A sum by induction, two primitives, the values at 0."""
    p = Proof(goal, j="natural")
    depth, short, total, product, gap = (p.assume(text) for text in goal["hypotheses"])
    conclusions = goal["conclusions"]
    twice = p.product(p.sort("h"), p.sort("m"))
    wide = p.product(short, p.linear("0 <= h + m"))
    room = p.linear("0 <= (h + m)**2 - 4*(m*(m+1)/2)", {wide: "1", twice: "2"})
    room = p.substitute(depth, room, conclusions[0])
    claimed = "V(j) == j*e - (j*(T - h) - j*(j-1)/2)*w"
    step = p.linear(claimed.replace("j", "(j+1)"), {p.assume(claimed): "1", p.sum_step("V", "j"): "1"})
    base = p.linear(claimed.replace("j", "0"), {p.sum_empty("V"): "1"})
    whole = p.instantiate(p.induction("j", claimed, base, step), j="m")
    layers = p.linear(conclusions[1], {whole: "1", depth: "-e - m*w"})
    here = ERROR.format("x")
    one = p.ftc(f"Int(x, 0, tau, -{here})", LAYER.format("x"))
    two = p.ftc(f"Int(x, 0, tau, -(lp + lm)*{here} + (lp*lm)*{LAYER.format('x')})", here)
    two = p.substitute(total, two, f"Int(x, 0, tau, -T*{here} + (lp*lm)*{LAYER.format('x')})"
                       f" == {ERROR.format('tau')} - {ERROR.format('0')}")  # fmt: skip
    two = p.substitute(product, two, conclusions[3])
    start = p.linear(conclusions[4], {gap: "-1/d"})
    zero = p.linear(conclusions[5])
    shape = p.linear(conclusions[6], {gap: "-exp(-lp*tau)/d"})
    return p.finish(room, layers, one, two, start, zero, shape)


# ---------------------------------------------------------------- (c) ringing
def laguerre(order: int, at: str) -> str:
    """L_order."""
    x = sympy.Symbol(at)
    return f"({sympy.laguerre(order, x)})"


def ringing_goal(weight: str = "") -> dict[str, Any]:
    """e_s' = -(e_1 + ... + e_s) for s = 1..LARGEST, in units of I - Phi."""
    conclusions = []
    for s in range(1, LARGEST + 1):
        states = " + ".join(f"exp(-x)*{laguerre(u, 'x')}" for u in range(s))
        conclusions.append(f"Int(x, 0, tau, -{weight}({states})) == exp(-tau)*{laguerre(s - 1, 'tau')} - 1")
    return {"symbols": {"x": "real", "tau": "real"}, "conclusions": conclusions}


def prove_ringing(goal: dict[str, Any]) -> dict[str, Any]:
    """The primitive of each integral."""
    p = Proof(goal)
    found = []
    for s, text in enumerate(goal["conclusions"]):
        integral = text.split(" == ")[0]
        fact = p.ftc(integral, f"exp(-x)*{laguerre(s, 'x')}")
        found.append(p.linear(text, {fact: "1"}))
    return p.finish(*found)


TEST = "tests/certify/test_anchored_proofs.py"
FLOW = "the flow to first order in D and Phi - I, D(t)' = -e_{min(t+h, T)}"

CLAIMS = (
    claim(
        "theorem_g4_modes",
        "Theorem G4 a",
        Form.NEW,
        "h <= T <= 5: det(x - K) = sum_j (-1)^j C(T - (j-1)(h-1), j) x^{T-j} for K_{tt'} = 1 where "
        "t' < min(t+h, T), else 0",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=determinant_goal(),
        route=expand,
        twin_goal=determinant_goal(1),
        twin_statement="C(T - 1 - (j-1)(h-1), j) for j >= 2",
        letters={"x": "the variable of the characteristic polynomial"},
        evidence="15 polynomials; ceil(T/h) eigenvalues are not 0, for h = T one, T, and for h = 1 all are 1",
        function="dlinear.horizon_gradients",
        test=f"{TEST}::test_theorem_g4_counts_modes_at_any_depth",
    ),
    claim(
        "theorem_g4_plateau",
        "Theorem G4 b",
        Form.NEW,
        "m <= h, near and from the identity: e_T(tau)/e_T(0) = (1 + lam-/d) e^{-lam+ tau} - (lam-/d) "
        "e^{-lam- tau}, lam+ + lam- = T, lam+ lam- = m(m+1)/2, d = lam+ - lam- > 0",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=plateau_goal(),
        witness={
            **{"T": 4, "h": 2, "m": 2, "lp": 3, "lm": 1, "d": 2, "tau": 1, "x": 0, "e": 1, "w": 0},
        },
        route=prove_plateau,
        twin_goal=plateau_goal("m*m/2"),
        twin_statement="m^2/2 in place of m(m+1)/2",
        letters={
            "T": "depth",
            "h": "horizon",
            "m": "shortfall T - h",
            "tau": "time of the flow",
            "x": "time under the integral",
            "lp": "lam+",
            "lm": "lam-",
            "d": "lam+ - lam-, not 0 for T > 2",
            "e": assumed("e_T(tau)/e_T(0)"),
            "w": assumed("D(t)/e_T(0) of every layer t >= m, 0 at the start"),
            "V": "V(m), the sum of e_{t+h} = e_T - (T - t - h) w over the layers t < m",
        },
        assumes=f"{FLOW}; its solution is unique; e_T' is minus the sum of all e_{{min(t+h, T)}}, w' = -e_T",
        evidence="both integral equations hold for the closed form, which is 1 and 0 at the start",
        function="dlinear.horizon_gradients",
        test=f"{TEST}::test_theorem_g4_plateau_and_ringing_are_flows_of_all_layers",
    ),
    claim(
        "theorem_g4_ringing",
        "Theorem G4 c",
        Form.NEW,
        "h = 1, near and from the identity, s <= 6: e_s(tau)/e_s(0) = e^{-tau} L_{s-1}(tau), Laguerre",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=ringing_goal(),
        route=prove_ringing,
        twin_goal=ringing_goal("2*"),
        twin_statement="twice the rate",
        letters={"x": "time under the integral", "tau": assumed("time of the flow")},
        assumes=f"{FLOW}; h = 1: e_s' = -(e_1 + ... + e_s); its solution is unique",
        evidence="all s by the generating function of L; J_0(2 sqrt(T tau)) as T grows: local learning rings",
        function="dlinear.horizon_gradients",
        test=f"{TEST}::test_theorem_g4_plateau_and_ringing_are_flows_of_all_layers",
    ),
)
