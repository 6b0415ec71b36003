"""Theorem G1 (new): gradient descent along the anchored horizon converges linearly, for every h.

Problem. The plain horizon overshoots and stops (G3, fixed points). Does the anchored one reach the target?

Statement. Let ||D(t)||_2 <= c/T < 1, a = 1 + c/T, b = 1 - c/T, R = W_0^T - Phi != 0, kappa = kappa(c, T, h)
< 1 of Theorem E1, mu = T b^{2(T-1)}, and W(t) -> W(t) - eta g(t) one step along the anchored gradient with

    eta T (a^{4(T-1)} + e a^{3T-4} ||R||_F) <= (1 - kappa) b^{2(T-1)}.

Then ||R_new||_F <= (1 - eta (1 - kappa) mu/2) ||R||_F, and no layer moves by more than eta a^{T-1} ||R||_F.
If c0 + 2 a^{T-1} ||R_0||_F/((1 - kappa) b^{2(T-1)}) <= c, layers that start with ||D||_2 <= c0/T keep c/T
for ever: the movements are a geometric sum. So ||R_i||_F <= (1 - eta (1 - kappa) mu/2)^i ||R_0||_F for all
i.

Guarantee. One step and the sum are proved for every T, n, h, Phi; that they alternate is the induction over
i.

Method. ||g(t)|| <= a^{T-1} ||R||; the first order of W_0^T in eta pairs with R to <g, g_T> >= (1 - kappa) mu
||R||^2; the rest is at most a^{T-2} (T y)^2 e^{T y/a}/2, y = eta a^{T-1} ||R||; 2 F r <= F^2 + r^2.
"""

from __future__ import annotations

from typing import Any

from dlinear.certify import Proof, claim
from dlinear.certify.claims import Form, Relation, Verdict
from dlinear.certify.letters import assumed
from dlinear.certify.prover import descent_step, lemmas, surrogates
from dlinear.certify.prover.descent_step import ANCHORED, GROWN, MOVE
from dlinear.certify.prover.statements import TWO_LAYERS
from dlinear.certify.prover.surrogates import GAP, GIVEN, LOSS

FLOOR = "(T*b**(2*(T-1)))"
KAPPA = f"K(m)/{FLOOR} <= kap**2"
STEP = "eta*T*(a**(4*(T-1)) + exp(1)*a**(3*T-4)*r) <= (1 - kap)*b**(2*(T-1))"
FACTOR = "(1 - eta*(1 - kap)*T*b**(2*(T-1))/{0})"


def step_goal(half: str = "2") -> dict[str, Any]:
    """One step of gradient descent, and how far a layer moves."""
    goal = surrogates.statement(
        ANCHORED,
        [f"F(Wn(0, T) - Phi) <= {FACTOR.format(half)}*r", "F(gh(t)) <= a**(T-1)*r"],
        [*GIVEN, KAPPA, "kap < 1", STEP, "t + 1 <= T"],
        sums={"K": "(a**(T-2-j)*(a**(j+1) - 1))**2"},
        kap="positive",
        eta="positive",
        t="natural",
    )
    definitions = {**goal["definitions"], **descent_step.DEFINITIONS}
    products = {**goal["products"], "Wn": "Dn"}
    return {**goal, "products": products, "totals": {"X": "B"}, "definitions": definitions}


def gap(p: Proof, upper: int) -> int:
    """|g - g_T|^2 <= r**2*(kap**2*T*b**(2*(T-1)))."""
    depth = p.assume("T == t + h + k")
    bound = surrogates.gap_norm(p, ANCHORED, depth, upper)
    near = surrogates.near_identity(p, depth, upper)
    bound = p.linear("F(gh(t) - gT(t)) <= a**(T-1-k)*(a**k - 1)*r", {bound: "1", near: "a**(T-1-k)*r"})
    _, sign, _ = surrogates.first_order(p)
    sign = p.linear("0 <= a**(T-1-k)*(a**k - 1)*r", {sign: "r"})
    layer = surrogates.squared(p, "a**(T-1-k)*(a**k - 1)*r", bound, sign)
    most = surrogates.gap(p, layer, p.assume("T == h + m"), "K")
    return p.linear(
        f"{GAP.format('T')} <= r**2*(kap**2*{FLOOR})", {most: "1", p.assume(KAPPA): f"r**2*{FLOOR}"}
    )


def along(p: Proof, upper: int) -> int:
    """(1 - kap)*T*b**(2*(T-1))*r**2 <= HT(T)."""
    least, _, _ = surrogates.energies(p)
    ratio = p.assume("e == kap")
    most = gap(p, upper)
    most = p.linear(
        f"{GAP.format('T')} <= r**2*(e**2*{FLOOR})", {most: "1", ratio: f"-(e + kap)*r**2*{FLOOR}"}
    )
    _, found = surrogates.descent(p, most, least)
    found = lemmas.close(p, found, e="kap")
    room = p.linear("0 <= 1 - kap", {p.assume("kap < 1"): "1"})
    both = p.product(room, least, "0 <= (1 - kap)*(TT(T) - T*b**(2*(T-1))*r**2)")
    return p.linear("(1 - kap)*T*b**(2*(T-1))*r**2 <= HT(T)", {found: "1", both: "1"})


def small(p: Proof) -> int:
    """T*y/a <= 1."""
    rate, low = p.assume(lemmas.UPPER), p.assume(lemmas.LOWER)
    more, less = p.linear("1 <= a", {rate: "-1"}), p.linear("b <= 1", {low: "1"})
    last = p.linear("0 <= 2*(T - 1)", {p.sort("T"): "2"})
    whole = lemmas.raise_to(p, less, "b", "1", "2*(T-1)", [last])
    grown = lemmas.raise_to(p, more, "1", "a", "2*(T-1)", [last])
    e = lemmas.exponential(p, "1")
    share = "eta*T*a**(T-2)*r"
    room = p.linear("(1 - kap)*b**(2*(T-1)) <= 1", {whole: "1", p.sort("kap"): "b**(2*(T-1))"})
    return p.linear(
        "T*y/a <= 1",
        {
            p.assume(MOVE): "T/a",
            p.assume(STEP): "1",
            room: "1",
            grown: f"{share}*exp(1)",
            e: share,
        },
    )


def remainder(p: Proof, upper: int, size: int) -> int:
    """F(Wn(0, T) - W(0, T) + eta*X(0, T)) <= exp(1)/2*eta**2*T**2*a**(3*T-4)*r**2."""
    found, room = descent_step.second_order(p, upper, size), small(p)
    grown = p.assume(GROWN)
    base = p.linear("z/a <= exp(y/a)", {lemmas.exponential(p, "y/a"): "1", grown: "1/a"})
    power = lemmas.raise_to(p, base, "z/a", "exp(y/a)", "T")
    series = p.taylor("exp(v) - 1 - v <= v**2*exp(v)/2", "v", 2)
    series = p.instantiate(series, v="T*y/a")
    limit = p.linear(
        "exp(T*y/a) <= exp(1)",
        {lemmas.exponential(p, "1 - T*y/a"): "exp(T*y/a)", room: "exp(T*y/a)"},
    )
    rest = p.linear(
        "F(Wn(0, T) - W(0, T) + eta*X(0, T)) <= exp(1)/2*T**2*a**(T-2)*y**2",
        {found: "1", power: "a**T", series: "a**T", limit: "a**T*(T*y/a)**2/2"},
    )
    move = p.assume(MOVE)
    return p.linear(
        "F(Wn(0, T) - W(0, T) + eta*X(0, T)) <= exp(1)/2*eta**2*T**2*a**(3*T-4)*r**2",
        {rest: "1", move: "exp(1)/2*T**2*a**(T-2)*(y + eta*a**(T-1)*r)"},
    )


def prove_step(goal: dict[str, Any]) -> dict[str, Any]:
    """The first order along R, the remainder, and 2 F r <= F^2 + r^2."""
    p = surrogates.begin(goal, y="positive", z="positive", v="nonneg", e="positive")
    upper = lemmas.upper(p)
    size = descent_step.gradient_size(p, upper)
    inner, width = descent_step.first_order(p, upper, size)
    pull, rest = along(p, upper), remainder(p, upper, size)
    moved, radius = "F(W(0, T) - Phi - eta*X(0, T))", p.assume(surrogates.RADIUS)
    square = p.axiom("F_square", "W(0, T) - Phi - eta*X(0, T)")
    bound = "T*a**(2*(T-1))*r"
    wide = p.linear(f"F(X(0, T))**2 <= ({bound})**2", {width: f"F(X(0, T)) + {bound}"})
    near = p.linear(
        f"{moved} <= r*(1 - eta*(1 - kap)*T*b**(2*(T-1)) + eta**2*T**2*a**(4*(T-1))/2)",
        {
            square: "1/(2*r)",
            p.axiom("F_square", LOSS): "-1/(2*r)",
            radius: f"-(r + F{LOSS})/(2*r)",
            inner: "-eta/r",
            pull: "eta/r",
            p.axiom("F_square", "X(0, T)"): "-eta**2/(2*r)",
            wide: "eta**2/(2*r)",
        },
        squares=[("1/(2*r)", f"{moved} - r")],
    )
    end = p.axiom("F_triangle", "W(0, T) - Phi - eta*X(0, T)", "Wn(0, T) - W(0, T) + eta*X(0, T)")
    final = p.linear(
        f"F(Wn(0, T) - Phi) <= {FACTOR.format(2)}*r",
        {end: "1", near: "1", rest: "1", p.assume(STEP): "eta*T*r/2"},
    )
    final = lemmas.close(p, final, z="a + y")
    return p.finish(lemmas.close(p, final, y="eta*a**(T-1)*r"), size)


def path_goal(twice: str = "2") -> dict[str, Any]:
    """The movements of the steps stay within the ball: a geometric sum Q of ratio q, w = 1 - kappa."""
    return {
        "symbols": {
            **{"T": "posint", "steps": "natural", "c": "nonneg", "c0": "nonneg"},
            **dict.fromkeys(("a", "b", "w", "eta", "r0", "q"), "positive"),
        },
        "sums": {"Q": {"index": "i", "term": "q**i"}},
        "hypotheses": [
            "q == 1 - eta*w*T*b**(2*(T-1))/2",
            f"c0 + {twice}*a**(T-1)*r0/(w*b**(2*(T-1))) <= c",
        ],
        "conclusions": ["c0/T + eta*a**(T-1)*r0*Q(steps) <= c/T"],
    }


def prove_path(goal: dict[str, Any]) -> dict[str, Any]:
    """Q (1 - q) = 1 - q^steps."""
    p = Proof(goal, j="natural")
    ratio, room = (p.assume(text) for text in goal["hypotheses"])
    claimed = "Q(j)*(1 - q) == 1 - q**j"
    step = p.linear(claimed.replace("j", "(j+1)"), {p.assume(claimed): "1", p.sum_step("Q", "j"): "1 - q"})
    base = p.linear(claimed.replace("j", "0"), {p.sum_empty("Q"): "1 - q"})
    whole = p.instantiate(p.induction("j", claimed, base, step), j="steps")
    share = p.linear("eta*Q(steps)*w*T*b**(2*(T-1))/2 <= 1", {whole: "1", ratio: "Q(steps)"})
    scale = "2*a**(T-1)*r0/(w*T*b**(2*(T-1)))"
    return p.finish(p.linear(goal["conclusions"][0], {share: scale, room: "1/T"}))


WITNESS = TWO_LAYERS | {
    **{"c": "1/10", "D": {}, "h": 1, "m": 1, "t": 0, "Phi": [["0"]], "a": "21/20", "b": "19/20", "r": 1},
    **{"kap": "1/2", "eta": "1/20"},
}
TEST = "tests/certify/test_anchored_proofs.py::test_theorem_g1_describes_a_step_of_the_library"

CLAIMS = (
    claim(
        "theorem_g1_step",
        "Theorem G1",
        Form.NEW,
        "a step along the anchored gradient with eta T (a^{4(T-1)} + e a^{3T-4} r) <= (1 - kap) b^{2(T-1)}: "
        "||R_new||_F <= (1 - eta (1 - kap) T b^{2(T-1)}/2) r, ||g(t)||_F <= a^{T-1} r; r = ||R||_F, "
        "kappa <= kap < 1",
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=step_goal(),
        witness=WITNESS,
        route=prove_step,
        twin_goal=step_goal("1"),
        twin_statement="twice the rate",
        letters=surrogates.NAMES
        | {
            "kap": "a number > 0 and < 1 that is at least kappa of Theorem E1",
            "eta": "step size",
            "K": "K(m) = kappa^2 T b^{2(T-1)}",
            "Dn": "Dn(t) = D(t) - eta g(t), the new deviation",
            "Wn": "Wn(a, b), the product of the new layers a..b-1",
            "B": "W_{t+1}^T g(t) W_0^t",
            "X": "X(0, T), the first order of W_0^T",
        },
        evidence="every T > c, n, h, Phi with R != 0 and layers with ||W~||_2 <= c; the flow: eta -> 0",
        function="dlinear.bounds.theorem_e1",
        test=TEST,
    ),
    claim(
        "theorem_g1_path",
        "Theorem G1",
        Form.NEW,
        "c0 + 2 a^{T-1} r0/((1 - kap) b^{2(T-1)}) <= c: steps of ratio q = 1 - eta (1 - kap) T b^{2(T-1)}/2 "
        "move a layer from c0/T to at most c/T, c0/T + eta a^{T-1} r0 (1 + q + ... + q^{steps-1}) <= c/T",
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=path_goal(),
        witness={
            **{
                "T": 1,
                "steps": 2,
                "c": 5,
                "c0": 1,
                "a": 1,
                "b": 1,
                "w": "1/2",
                "eta": 1,
                "r0": 1,
                "q": "3/4",
            },
        },
        route=prove_path,
        twin_goal=path_goal("1"),
        twin_statement="1 in place of 2",
        twin_values={
            **{
                "T": 1,
                "steps": 9,
                "c": 2,
                "c0": 0,
                "a": 1,
                "b": 1,
                "w": "1/2",
                "eta": 1,
                "r0": 1,
                "q": "3/4",
            },
        },
        letters=surrogates.NAMES
        | {
            "c": "bound of T ||D(t)||_2 that E1 and the steps need",
            "c0": "bound of T ||D(t)||_2 at the start",
            "a": "1 + c/T, here any number > 0",
            "b": "1 - c/T, here any number > 0",
            "w": "1 - kap",
            "eta": "step size",
            "r0": "||R_0||_F at the start",
            "steps": assumed("number of steps, each from where the one before ends"),
            "q": "ratio of one step",
            "Q": "Q(steps) = 1 + q + ... + q^{steps-1}",
        },
        uses=("theorem_g1_step",),
        assumes="the steps follow each other: by induction over i, ||R_i||_F <= q^i ||R_0||_F and all layers "
        "keep c/T, so that the next step obeys `theorem_g1_step`",
        evidence="linear convergence at any h: q does not depend on n, Phi or R",
        function="dlinear.bounds.theorem_e1",
        test=TEST,
    ),
)
