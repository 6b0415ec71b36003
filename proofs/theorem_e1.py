"""Theorem E1 (new): the true end error at the end of a short window; uniform, non-asymptotic, any R.

Problem. The plain horizon's bound (Theorem A) grows like 1/||R||^2 as training succeeds. What if the end
error R = W_0^T - Phi itself is handed to x(s), s = min(t + h, T): g(t) = (W_{t+1}^s)^T R (W_0^t)^T?

Statement. T > c >= 0, h >= 1, T = h + m, ||D(t)||_2 <= c/T, a = 1 + c/T, b = 1 - c/T, any Phi with R != 0.
Then g, g_T != 0 and, with kappa^2 = sum_{k=1}^m (a^{T-1-k} (a^k - 1))^2/(T b^{2(T-1)}),

    sin^2(theta) <= kappa^2 <= K m(m+1)(2m+1)/(6 T^3) <= K (1 - h/T)^3,   K = c^2 e^{2c}/b^{2(T-1)},
    ||g - g_T|| <= kappa ||g_T||,   <g, g_T> >= (1 - kappa) ||g_T||^2,

a descent direction wherever kappa < 1, however small R is: neither n, Phi nor R enters kappa. More generally,
for any surrogate Z_s of the tail, k = T - s: kappa^2 = sum_k (a^{T-1-k} ||Z_s - W_s^T||_2)^2/(T b^{2(T-1)}).

Guarantee. Upper bounds for every T; no limit is taken.

Method. (D3); ||W_s^T - I|| <= a^k - 1; sums by induction; 1 - a^{-k} <= ck/T. Descent: the squares
||g(t) - (1 - e) g_T(t)||^2 summed, against ||g - g_T||^2 <= e^2 ||g_T||^2.
"""

from __future__ import annotations

from typing import Any

from dlinear.certify import Proof, claim
from dlinear.certify.claims import Form, Relation, Verdict
from dlinear.certify.prover import lemmas, surrogates
from dlinear.certify.prover.statements import TWO_LAYERS
from dlinear.certify.prover.surrogates import GAP, GIVEN, SIN2, Rule

FLOOR = "(T*b**(2*(T-1)))"
CLOSED = "c**2*exp(2*c)/b**(2*(T-1))"
CUBES = "m*(m+1)*(2*m+1)/(6*T**3)"
ANY, PLAIN = Rule(anchored=True), Rule(anchored=True, surrogate="I")
VALUE = Rule(anchored=False)
DESCENT = [f"{GAP.format('T')} <= e**2*TT(T)", "(1 - e)*TT(T) <= HT(T)"]


def term(rule: Rule) -> str:
    """The share of the layer with k = j + 1 unseen blocks in kappa^2 T b^{2(T-1)}; value rule: times r^2."""
    if rule == PLAIN:
        return "(a**(T-2-j)*(a**(j+1) - 1))**2"
    size = rule.size("T-1-j", "(j+1)")
    return f"(a**(T-2-j)*{size.removesuffix('*r') if rule.anchored else f'({size})'})**2"


def statement(rule: Rule, conclusions: list[str], *hypotheses: str, **symbols: str) -> dict[str, Any]:
    """A goal about a rule and the sum K of its terms."""
    extra = {} if rule == PLAIN else {"Z": None}
    given = [*GIVEN, *hypotheses]
    return surrogates.statement(rule, conclusions, given, extra=extra, sums={"K": term(rule)}, **symbols)


def near_terms(p: Proof, rule: Rule, depth: int) -> int:
    """F(gh(t) - gT(t))**2 <= r**2*(term at k - 1), for the value rule without r**2; T == t + h + k."""
    upper = lemmas.upper(p)
    bound = surrogates.gap_norm(p, rule, depth, upper)
    if rule != PLAIN:
        return surrogates.squared(p, f"a**(T-1-k)*({rule.size('T-k', 'k')})", bound)
    near = surrogates.near_identity(p, depth, upper)
    bound = p.linear("F(gh(t) - gT(t)) <= a**(T-1-k)*(a**k - 1)*r", {bound: "1", near: "a**(T-1-k)*r"})
    more = lemmas.raise_to(p, p.linear("1 <= a", {p.assume(lemmas.UPPER): "-1"}), "1", "a", "k")
    sign = p.linear("0 <= a**(T-1-k)*(a**k - 1)*r", {more: "a**(T-1-k)*r"})
    return surrogates.squared(p, "a**(T-1-k)*(a**k - 1)*r", bound, sign)


def gap(p: Proof, rule: Rule) -> int:
    """|g - g_T|^2 <= r**2*K(m), for the value rule K(m)."""
    layer = near_terms(p, rule, p.assume("T == t + h + k"))
    return surrogates.gap(p, layer, p.assume("T == h + m"), "K", "r**2" if rule.anchored else "1")


def share(rule: Rule) -> str:
    """kappa^2."""
    return f"K(m)/{FLOOR}" if rule.anchored else f"K(m)/({FLOOR}*r**2)"


def total_sign(p: Proof, rule: Rule) -> int:
    """0 <= K(m): a sum of squares."""
    more = p.sum_step("K", "j")
    root = term(rule).removesuffix("**2")
    step = p.linear("0 <= K(j+1)", {p.assume("0 <= K(j)"): "1", more: "-1"}, [("1", root)])
    start = p.linear("0 <= K(0)", {p.sum_empty("K"): "-1"})
    return p.instantiate(p.induction("j", "0 <= K(j)", start, step), j="m")


def bounds(p: Proof, rule: Rule) -> tuple[int, int, int]:
    """0 < HH(T), 0 < TT(T) and sin^2 <= kappa^2, kappa^2 as an auxiliary symbol q that is then replaced."""
    most, (least, total, near) = gap(p, rule), surrogates.energies(p)
    q = p.assume(f"q == {share(rule)}")
    scaled = p.linear(f"{GAP.format('T')} <= r**2*q*{FLOOR}", {most: "1", q: f"-r**2*{FLOOR}"})
    ratio = surrogates.sin2_bound(p, scaled, least, near, total, "q")
    sign = p.linear(f"0 <= {share(rule)}", {total_sign(p, rule): share(rule).replace("K(m)", "1")})
    return near, total, lemmas.close(p, ratio, q=share(rule), q_side=str(sign))


def cubic(p: Proof) -> tuple[int, int]:
    """kappa^2 <= CLOSED*CUBES <= CLOSED*(1 - h/T)**3."""
    first, sign, _ = surrogates.first_order(p)
    size = "exp(c)*c/T*k"
    both = p.product(first, sign, f"0 <= ({size} - a**(T-1-k)*(a**k - 1))*(a**(T-1-k)*(a**k - 1))")
    square = p.linear(f"(a**(T-1-k)*(a**k - 1))**2 <= ({size})**2", {first: size, both: "1"})
    square = p.instantiate(square, k="j + 1")
    front = "exp(2*c)*c**2/T**2"
    sums = "K(j) <= " + front + "*(j*(j+1)*(2*j+1)/6)"
    step = p.linear(sums.replace("j", "(j+1)"), {p.assume(sums): "1", square: "1", p.sum_step("K", "j"): "1"})
    base = p.linear(sums.replace("j", "0"), {p.sum_empty("K"): "1"})
    found = p.instantiate(p.induction("j", sums, base, step), j="m")
    exact = p.linear(f"K(m)/{FLOOR} <= {CLOSED}*{CUBES}", {found: f"1/{FLOOR}"})
    cubes = surrogates.squares_below_cube(p)
    last = p.linear(f"{CLOSED}*{CUBES} <= {CLOSED}*(m/T)**3", {cubes: f"{CLOSED}/(6*T**3)"})
    short = p.linear("m == T - h", {p.assume("T == h + m"): "-1"})
    return exact, p.substitute(short, last, f"{CLOSED}*{CUBES} <= {CLOSED}*(1 - h/T)**3")


def prove_bound(goal: dict[str, Any]) -> dict[str, Any]:
    """E1: the bound and its closed forms."""
    p = surrogates.begin(goal, H="positive", G="positive", q="nonneg")
    return p.finish(*bounds(p, PLAIN), *cubic(p))


def prove_any(rule: Rule, goal: dict[str, Any]) -> dict[str, Any]:
    """The bound for any surrogate."""
    p = surrogates.begin(goal, H="positive", G="positive", q="nonneg")
    return p.finish(*bounds(p, rule))


def prove_descent(goal: dict[str, Any]) -> dict[str, Any]:
    """E1: the relative error and the angle to descent."""
    p = surrogates.begin(goal)
    most, (least, _, _) = gap(p, PLAIN), surrogates.energies(p)
    room = p.assume(f"K(m)/{FLOOR} <= e**2")
    scaled = p.linear(f"{GAP.format('T')} <= r**2*(e**2*{FLOOR})", {most: "1", room: f"r**2*{FLOOR}"})
    return p.finish(*surrogates.descent(p, scaled, least))


def bound_goal(rule: Rule, *more: str, weight: str = "1") -> dict[str, Any]:
    """0 < |g|, 0 < |g_T| and sin^2 <= weight kappa^2."""
    return statement(rule, ["0 < HH(T)", "0 < TT(T)", f"{SIN2} <= {weight}*{share(rule)}", *more])


def descent_goal(angle: str = "(1 - e)*TT(T) <= HT(T)") -> dict[str, Any]:
    """For every e > 0 with kappa <= e."""
    return statement(PLAIN, [DESCENT[0], angle], f"K(m)/{FLOOR} <= e**2", e="positive")


def e1_goal(power: int = 3) -> dict[str, Any]:
    """E1 with its closed forms."""
    return bound_goal(
        PLAIN,
        f"{share(PLAIN)} <= {CLOSED}*{CUBES.replace('T**3', f'T**{power}')}",
        f"{CLOSED}*{CUBES} <= {CLOSED}*(1 - h/T)**{power}",
    )


WITNESS = TWO_LAYERS | {
    **{"c": 1, "h": 1, "m": 1, "Phi": [["9/16"]], "a": "3/2", "b": "1/2", "r": 1},
}
NAMES = surrogates.NAMES | {"K": "K(m) = kappa^2 T b^{2(T-1)}"}
ABOUT = "every T > c, n, Phi with R != 0 and layers with ||W~||_2 <= c"
TEST = "tests/certify/test_anchored_proofs.py"

CLAIMS = (
    claim(
        "theorem_e1",
        "Theorem E1",
        Form.NEW,
        "anchored horizon: sin^2 <= kappa^2 = sum_{k<=m} (a^{T-1-k} (a^k - 1))^2/(T b^{2(T-1)}) <= "
        "c^2 e^{2c}/b^{2(T-1)} m(m+1)(2m+1)/(6T^3) <= c^2 e^{2c}/b^{2(T-1)} (1 - h/T)^3, T > c, R != 0",
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=e1_goal(),
        witness=WITNESS,
        route=prove_bound,
        twin_goal=e1_goal(4),
        twin_statement="order 4",
        evidence=f"{ABOUT}; none of n, Phi, R enters the bound",
        function="dlinear.bounds.theorem_e1",
        letters=NAMES,
        test=f"{TEST}::test_theorem_e1_states_the_bounds_of_the_library",
    ),
    claim(
        "theorem_e1_descent",
        "Theorem E1",
        Form.NEW,
        "anchored horizon: ||g - g_T|| <= e ||g_T||, hence <g, g_T> >= (1 - e) ||g_T||^2, for every e > 0, "
        "e >= kappa",
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=descent_goal(),
        witness=WITNESS | {"e": 2},
        route=prove_descent,
        twin_goal=descent_goal("(1 - e/2)*TT(T) <= HT(T)"),
        twin_statement="half of kappa",
        evidence=f"e = kappa unless kappa = 0, and then g = g_T; {ABOUT}",
        function="dlinear.bounds.theorem_e1",
        letters=NAMES,
        test=f"{TEST}::test_theorem_e1_states_the_bounds_of_the_library",
    ),
    claim(
        "theorem_e_surrogate_anchored",
        "Theorems E1, E2",
        Form.NEW,
        "anchored rule, any surrogate Z_s of the tail: "
        "sin^2 <= sum_{k<=m} (a^{T-1-k} ||Z_s - W_s^T||_2)^2/(T b^{2(T-1)}), s = T - k",
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=bound_goal(ANY),
        witness=WITNESS | {"Z": {1: [["1/2"]]}},
        route=lambda goal: prove_any(ANY, goal),
        twin_goal=bound_goal(ANY, weight="1/2"),
        twin_statement="half of the bound",
        evidence=ABOUT,
        function="dlinear.alignment",
        letters=NAMES | {"K": "K(m), the numerator of the bound"},
        test=TEST,
    ),
    claim(
        "theorem_e_surrogate_value",
        "Theorem E2",
        Form.NEW,
        "value rule, any surrogate Z_s: sin^2 <= sum_{k<=m} (a^{T-1-k} ||Z_s - W_s^T||_2 "
        "(||Z_s||_2 sqrt(n) a^{T-k} + ||R||_F))^2/(T b^{2(T-1)} ||R||_F^2)",
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=bound_goal(VALUE),
        witness=WITNESS | {"Z": {1: [["1/2"]]}},
        route=lambda goal: prove_any(VALUE, goal),
        twin_goal=bound_goal(VALUE, weight="1/2"),
        twin_statement="half of the bound",
        evidence=f"{ABOUT}; with Z = I it implies Theorem A",
        function="dlinear.alignment",
        letters=NAMES | {"K": "K(m), the numerator of the bound"},
        test=TEST,
    ),
)
