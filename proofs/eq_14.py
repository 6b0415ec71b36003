"""Eq. (14): r(h) = ln(J_h(tau)/J_0) / ln(J_T(tau)/J_0) = O(cos^2 theta_h), the speed of learning with
horizon h.

**Hypothesis of the derivation.** Theorem C.8 needs a strongly convex J. The loss of a deep linear net is
not even convex: J(w1, w2) = (w1 w2 - 1)^2/2 has a saddle at 0.

**One constant.** The derivation (appendix C.3) rescales g_h by <g_h, g_T>/|g_h|^2. For plain steps along
g_h, with the step size of g_T, there is no C with r(h) <= C cos^2(theta_h) for every net, not even after
one step from the given weights: for w = (1, -3) and target 3, g_1 is orthogonal to g_2 and yet a step along
it reduces the loss, by curvature. (Rescaled, that step has length 0.)

**What replaces it.** Along the flow u' = -(rescaled g_h) of eq. (13) the loss falls at the rate
cos^2(theta_h) ||grad J||^2, and J satisfies a gradient domination as long as ||W~(t)||_2 <= c < T:

    2T b^{2(T-1)} J <= ||grad J||^2 <= 2T a^{2(T-1)} J,      a = 1 + c/T, b = 1 - c/T,

so that -d ln J/dt lies between 2T b^{2(T-1)} cos^2 and 2T a^{2(T-1)} cos^2, and r(h) is the time average of
cos^2 along the run up to the factor kappa = (a/b)^{2(T-1)} either way. The last row measures both on
trained nets: the decrease of ln J against the integral of cos^2 ||grad J||^2/J as the step shrinks, and
r(h) over mean cos^2. That ratio is far from constant (a net that fits well has mean cos^2 near 0 at every h
< T, since R -> 0 turns g_h away from g_T, while r(h) is not small): (14) holds with a constant that depends
on the run."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np

import dlinear
from dlinear.certify import Proof, claim, refutation
from dlinear.certify.claims import Claim, Form, Outcome, Relation, Verdict
from dlinear.certify.letters import assumed
from dlinear.certify.prover import lemmas
from dlinear.certify.prover.statements import LETTERS, RESIDUAL, TWO_LAYERS, network
from dlinear.theory import bounds


def convex(c: int = 0) -> dict[str, Any]:
    """Eq. (61a) with a constant c at (x, y) and (u, v); c = 0 is implied by every c > 0."""
    line = "(x*y - 1)*y*(u - x) + (x*y - 1)*x*(v - y)"
    return {
        "symbols": dict.fromkeys(["x", "y", "u", "v"], "real"),
        "conclusions": [f"(x*y - 1)**2/2 + {line} + {c}/2*((u - x)**2 + (v - y)**2) <= (u*v - 1)**2/2"],
    }


def saddle(goal: Mapping[str, Any]) -> dict[str, Any]:
    """From the saddle to the minimum: 1/2 against 0."""
    return refutation(goal, {"x": 0, "y": 0, "u": 1, "v": 1})


def one_constant(product: str) -> dict[str, Any]:
    """r(1) <= C cos^2 after one step of size eta, for W = (v, w) and target y; `product` is <g_1, g_2>."""
    return {
        "symbols": {
            **dict.fromkeys(["C", "v", "w", "y", "p", "q", "s", "J0", "J1", "J2"], "real"), "eta": "positive",
        },
        "exists": ["C"],
        "hypotheses": [
            "p == v - y",  # g_1 of the first layer: its own loss (v - y)^2/2
            "q == (w*v - y)*v",  # of the second layer, the same for both horizons
            "s == (w*v - y)*w",  # g_2 of the first layer
            "J0 == (w*v - y)**2/2",
            "J1 == ((w - eta*q)*(v - eta*p) - y)**2/2",
            "J2 == ((w - eta*q)*(v - eta*s) - y)**2/2",
            "J2 < J0",
            "0 < J1",
            "0 < J2",
        ],
        "conclusions": [f"log(J0/J1) <= C*({product})**2/((p**2 + q**2)*(s**2 + q**2))*log(J0/J2)"],
    }  # fmt: skip


def orthogonal(goal: Mapping[str, Any]) -> dict[str, Any]:
    """w = (1, -3), target 3: g_1 = (-2, -6), g_2 = (18, -6)."""
    eta, v, w, y = "1/100", 1, -3, 3
    values = {"eta": eta, "v": v, "w": w, "y": y, "p": -2, "q": -6, "s": 18, "J0": 18}
    # (w - eta q)(v - eta p) = -2.94*1.02, (w - eta q)(v - eta s) = -2.94*0.82
    return refutation(goal, {**values, "J1": "224910009/12500000", "J2": "182979729/12500000"})


RATE = "HT(T)**2"


def domination(power: str) -> dict[str, Any]:
    """Bounds on the rate at which the rescaled g_h reduces the loss J = ||R||_F^2/2."""
    return network(
        [f"2*T*b**({power})*cos2*J <= rate", f"rate <= 2*T*a**({power})*cos2*J"],
        [
            lemmas.UPPER,
            lemmas.LOWER,
            f"r == {RESIDUAL}",
            "J == r**2/2",
            f"cos2*HH(T)*TT(T) == {RATE}",
            f"rate*HH(T) == {RATE}",  # <g_T, c_h g_h> with c_h = <g_h, g_T>/|g_h|^2
        ],
        sums=True,
        **dict.fromkeys(["a", "b", "r"], "positive"),
        **dict.fromkeys(["J", "cos2"], "nonneg"),
        rate="real",
    )


def written_out(p: Proof, radius: int, low: int, high: int, room: int) -> tuple[int, int]:
    """b^{T-1} r <= ||g_T(j)||_F <= a^{T-1} r, with g_T(j) written out as a product of three factors.

    Facts: `radius` r == ||R||_F, `low` and `high` the bounds of a window, `room` 0 <= T - 1 - j.
    """
    residual, after, before = "(W(0, T) - Phi)", "W(j+1, T)", "W(0, j)"
    whole = f"F({after}.T*{residual}*{before}.T)"
    s1, s2 = f"S({after}.T)", f"S({before}.T)"
    least = p.linear(
        f"b**(T-1)*r <= {whole}",
        {
            p.axiom("F_product_FS", f"{after}.T*{residual}", f"{before}.T"): "1",
            p.axiom("F_product_SF", f"{after}.T", residual): s2,
            radius: f"{s1}*{s2}",
            p.axiom("S_transpose", after): f"-r*{s2}",
            p.axiom("S_transpose", before): f"-r*S({after})",
            lemmas.at(p, low, "j+1", "T-1-j", room): f"r*S({before})",
            lemmas.at(p, low, "0", "j"): "r*b**(T-1-j)",
        },
    )
    n1, n2 = f"N({after}.T)", f"N({before}.T)"
    most = p.linear(
        f"{whole} <= a**(T-1)*r",
        {
            p.axiom("F_product_FN", f"{after}.T*{residual}", f"{before}.T"): "1",
            p.axiom("F_product_NF", f"{after}.T", residual): n2,
            radius: f"-{n1}*{n2}",
            p.axiom("N_transpose", after): f"r*{n2}",
            p.axiom("N_transpose", before): f"r*N({after})",
            lemmas.at(p, high, "j+1", "T-1-j", room): f"r*N({before})",
            lemmas.at(p, high, "0", "j"): "r*a**(T-1-j)",
        },
    )
    return least, most


def prove_domination(goal: Mapping[str, Any]) -> dict[str, Any]:
    """Layer by layer b^{T-1} r <= ||g_T(t)||_F <= a^{T-1} r; sums; the rate is cos^2 ||g_T||^2."""
    helpers = {name: sort for name, sort in lemmas.SYMBOLS.items() if name not in goal["symbols"]}
    p = Proof(goal, j="natural", **helpers)
    _, _, radius, loss, cosine, rate = (p.assume(text) for text in goal["hypotheses"])
    low, high = lemmas.lower(p), lemmas.upper(p)
    room = p.linear("0 <= T - 1 - j", {p.assume("j + 1 <= T"): "1"})
    layer = p.definition("gT", "j")
    square, step = p.axiom("F_square", "gT(j)"), p.sum_step("TT", "j")
    least, most = written_out(p, radius, low, high, room)
    g = "F(gT(j))"
    floor, top = "b**(2*(T-1))*r**2", "a**(2*(T-1))*r**2"
    least = p.substitute(layer, least, f"b**(T-1)*r <= {g}")
    length = lemmas.horizon_energy(p, least)
    most = p.substitute(layer, most, f"{g} <= a**(T-1)*r")
    least = p.linear(f"{floor} <= {g}**2", {least: f"{g} + b**(T-1)*r"})
    most = p.linear(f"{g}**2 <= {top}", {most: f"{g} + a**(T-1)*r"})

    empty = p.sum_empty("TT")
    below, above = f"j*{floor} <= TT(j)", f"TT(j) <= j*{top}"
    step_low = p.linear(
        f"(j+1)*{floor} <= TT(j+1)", {p.assume(below): "1", least: "1", square: "1", step: "-1"}
    )
    step_high = p.linear(
        f"TT(j+1) <= (j+1)*{top}", {p.assume(above): "1", most: "1", square: "-1", step: "1"}
    )
    totals = []
    for formula, first, onward in ((below, "-1", step_low), (above, "1", step_high)):
        base = p.linear(formula.replace("j", "0"), {empty: first})
        total = p.induction("j", formula, base, onward, upto="T")
        totals.append(p.cut(p.instantiate(total, j="T"), p.linear("T <= T")))

    inverse = p.reciprocal("HH(T)", length)
    equal = p.linear(
        "rate == cos2*TT(T)",
        {cosine: "-1/HH(T)", rate: "1/HH(T)", inverse: "cos2*TT(T) - rate"},
    )
    return p.finish(
        p.linear(goal["conclusions"][0], {totals[0]: "cos2", equal: "-1", loss: "2*T*b**(2*(T-1))*cos2"}),
        p.linear(goal["conclusions"][1], {totals[1]: "cos2", equal: "1", loss: "-2*T*a**(2*(T-1))*cos2"}),
    )


class Run(NamedTuple):
    """One training run with the rescaled g_h and a constant step.

    Attributes:
        speed: ln(J_0/J), the left side.
        integral: sum of step * cos^2 * ||grad J||^2/J, what the flow would make of it.
        mean_cos2: time average of cos^2(theta_h).
        largest: largest T ||W(t) - I||_2 met.
    """

    speed: float
    integral: float
    mean_cos2: float
    largest: float


def train(seed: int, depth: int, horizon: int, step: float, time: float) -> Run:
    """Trains a random 2 x 2 net towards a random target by u' = -(rescaled g_h)."""
    rng = np.random.default_rng(seed)
    layers = rng.normal(size=(depth, 2, 2)) / (2 * depth)
    phi = np.eye(2) + rng.normal(size=(2, 2)) / 2

    def loss() -> float:
        state = np.eye(2)
        for layer in layers:
            state = state + layer @ state
        return 0.5 * float(np.sum((state - phi) ** 2))

    start, integral, cosines, largest = loss(), 0.0, [], 0.0
    for _ in range(round(time / step)):
        net = dlinear.DenseNetwork(layers.copy())
        near, full = (dlinear.horizon_gradients(net, phi, k) for k in (horizon, depth))
        inner, size, length = np.sum(near * full), np.sum(near**2), np.sum(full**2)
        cosines.append(inner**2 / (size * length))
        integral += step * cosines[-1] * length / loss()
        largest = max(largest, depth * float(np.linalg.norm(layers, 2, axis=(1, 2)).max()))
        layers = layers - step * (inner / size) * near
    return Run(float(np.log(start / loss())), float(integral), float(np.mean(cosines)), largest)


DEPTH, SEEDS, STEP = 6, (0, 1, 3), 0.02
SHORT, LONG = 0.3, 2.0


@cache
def measured(step: float, time: float) -> tuple[tuple[Run, ...], ...]:
    """Runs with h = 1..T for each seed."""
    return tuple(tuple(train(seed, DEPTH, h, step, time) for h in range(1, DEPTH + 1)) for seed in SEEDS)


def rate_law(power: int) -> Outcome:
    """ln(J_0/J) over the integral of cos^2, or of another power for the twin, tends to 1 with the step."""
    errors = []
    for step in (STEP, STEP / 2, STEP / 4):
        runs = [run for row in measured(step, SHORT) for run in row]
        errors.append(max(abs(r.speed / (r.integral * r.mean_cos2**power) - 1) for r in runs))
    order = float(np.polyfit(np.log([4, 2, 1]), np.log(errors), 1)[0])
    evidence = (
        f"{len(runs)} runs, worst error {errors[0]:.3f}, {errors[1]:.3f}, {errors[2]:.3f}: order {order:.2f}"
    )
    holds = 0.8 < order < 1.2 and errors[2] < 0.03
    return Outcome(Verdict.SUPPORTED if holds else Verdict.UNDECIDED, "halved steps", evidence)


def comparison(narrow: bool) -> Outcome:
    """r(h) over mean cos^2 within kappa^(+-1), c the largest that both runs meet; or, narrow, within 5/4."""
    inside, spread = True, {}
    for name, time in (("early", SHORT), ("late", LONG)):
        ratios = []
        for row in measured(STEP, time):
            for run in row[:-1]:
                c = max(run.largest, row[-1].largest)
                chain = bounds.product_norm_bounds(DEPTH, DEPTH - 1, c)
                kappa = 1.25 if narrow else (chain.upper / chain.lower) ** 2
                ratios.append(run.speed / row[-1].speed / run.mean_cos2)
                inside = inside and 1 / kappa <= ratios[-1] <= kappa
        spread[name] = f"{min(ratios):.2f}..{max(ratios):.2f} {name}"
    evidence = f"r(h)/mean cos^2 in {', '.join(spread.values())} in training"
    return Outcome(Verdict.SUPPORTED if inside else Verdict.UNDECIDED, "trained nets", evidence)


CLAIMS = (
    claim(
        id="eq_14_convexity",
        reference="Eq. (14), hypothesis (61a)",
        form=Form.PRINTED,
        statement="the loss J of a deep linear net is strongly convex (so that Theorem C.8 applies)",
        relation=Relation.UPPER_BOUND,
        expected=Verdict.REFUTED,
        goal=convex(),
        letters={
            "x": "W(0) of one neuron, J = (W(1) W(0) - 1)^2/2",
            "y": "W(1)",
            "u": "W(0) elsewhere",
            "v": "W(1) elsewhere",
        },
        route=saddle,
        twin_goal=convex(-1),
        twin_statement="c = -1, the curvature at the saddle, which the same example satisfies",
    ),
    claim(
        id="eq_14_constant",
        reference="Eq. (14)",
        form=Form.NEW,
        statement="steps along g_h as it is, not rescaled, of the size used along g_T: "
        "r(h) <= C cos^2(theta_h) with one constant C for all nets",
        relation=Relation.UPPER_BOUND,
        expected=Verdict.REFUTED,
        goal=one_constant("p*s + q**2"),
        letters={
            "C": "the constant, left open",
            "v": "W(0) of one neuron",
            "w": "W(1)",
            "y": "Phi",
            "eta": "size of the step",
            "p": "g_1(0)",
            "q": "g_1(1) = g_2(1)",
            "s": "g_2(0)",
            "J0": "the loss",
            "J1": "the loss after a step along g_1",
            "J2": "the loss after a step along g_2",
        },
        route=orthogonal,
        twin_goal=one_constant("p*s - q**2"),
        twin_statement="a wrong inner product, with which cos is not 0",
    ),
    claim(
        id="eq_14_domination",
        reference="Eq. (14)",
        form=Form.REPAIRED,
        statement="-d ln J/dt along the rescaled g_h is between 2T b^(2T-2) cos^2 and 2T a^(2T-2) cos^2, "
        "for T > c and R != 0",
        relation=Relation.UPPER_BOUND,
        expected=Verdict.PROVED,
        goal=domination("2*(T-1)"),
        letters=LETTERS
        | {
            "r": "||R||_F",
            "J": "the loss ||R||_F^2/2",
            "cos2": "cos^2(theta_h)",
            "rate": assumed("-dJ/dt along the rescaled g_h, <g_T, u'> = <g_h, g_T>^2/|g_h|^2"),
        },
        witness=TWO_LAYERS
        | {
            "c": 1,
            "h": 1,
            "Phi": [["9/16"]],
            "a": "3/2",
            "b": "1/2",
            "r": 1,
            "J": "1/2",
            "cos2": "961/1042",
            "rate": "24025/8336",
        },
        route=prove_domination,
        twin_goal=domination("2*(T-2)"),
        twin_statement="one layer fewer in the exponent",
        evidence="gradient domination of a deep linear net with bounded layers, a = 1 + c/T, b = 1 - c/T",
        function="dlinear.bounds.gradient_norm_bounds",
        test="tests/theory/test_bounds.py::test_gradient_domination",
        assumes="the chain rule: -dJ/dt = <g_T, u'> along u' = -(rescaled g_h)",
    ),
    Claim(
        id="eq_14_rate",
        reference="Eq. (14)",
        form=Form.NEW,
        statement="ln(J_0/J_h) = integral of cos^2(theta_h) ||grad J||^2/J in the limit of small steps",
        relation=Relation.ASYMPTOTIC,
        expected=Verdict.SUPPORTED,
        prove=lambda: rate_law(0),
        twin=lambda: rate_law(1),
        twin_statement="cos^4 in place of cos^2",
    ),
    Claim(
        id="eq_14_measured",
        reference="Eq. (14)",
        form=Form.NEW,
        statement="on trained nets r(h) is mean cos^2(theta_h) up to a factor ((1+c/T)/(1-c/T))^(2T-2)",
        relation=Relation.UPPER_BOUND,
        expected=Verdict.SUPPORTED,
        prove=lambda: comparison(narrow=False),
        twin=lambda: comparison(narrow=True),
        twin_statement="up to a factor 5/4 throughout training",
    ),
)
