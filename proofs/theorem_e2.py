"""Theorem E2 (new): averages over the unseen layers; order 5, uniform, without smoothness.

Problem. The k = T - s layers that a block does not see are cut into q runs, whose lengths differ by at most
1, and I + the sum of its deviations stands for each run: S_s = (I + sum over run 1) ... (I + sum over run q),
run 1 the last. How far is the gradient from the full one?

Statement. T > c >= 0, T = h + m, q >= 1, ||D(t)||_2 <= c/T, a = 1 + c/T, b = 1 - c/T, R = W_0^T - Phi != 0,
pi_q(k) the sum of j(j-1)/2 over the lengths j of the runs. Then g, g_T != 0 and

    anchored:  sin^2 <= c^4 a^{2T-6}/b^{2T-2} sum_{k<=m} pi_q(k)^2/T^5
                     <= c^4 e^{2c}/(4 q^2 b^{2T-2}) (1 - h/T)^5,
    value:     both times ((sqrt(n) a^T + ||R||_F)/||R||_F)^2, with e^c for a^T in the second.

The second line of the value rule is c^2/(4 q^2) K_A (1 - h/T)^5 with K_A of Theorem A.

Guarantee. Upper bounds for every T; no limit is taken, and nothing is asked of the layers but their norm.

Method. One run of j layers: ||prod (I + D_i) - I - sum D_i|| <= a^j - 1 - jc/T <= (c/T)^2 a^{j-2} j(j-1)/2
and ||I + sum D_i|| <= 1 + jc/T <= a^j; induction over runs: ||S_s - W_s^T|| <= (c/T)^2 a^{k-2} pi_q(k). Then
(D2), (D3). pi_q(k) = l k - q l(l+1)/2 <= k^2/(2q), l = floor(k/q); the sum of k^4 is at most m^5.
"""

from __future__ import annotations

from typing import Any

from dlinear.certify import Proof, claim
from dlinear.certify.claims import Form, Relation, Verdict
from dlinear.certify.prover import averages, lemmas, surrogates
from dlinear.certify.prover.averages import ANCHORED, VALUE, pairs
from dlinear.certify.prover.statements import TWO_LAYERS
from dlinear.certify.prover.surrogates import GIVEN, SIN2, Rule

PAIRS = pairs("k")
FRONT = "c**4*a**(2*T-6)/(b**(2*T-2)*T**5)"
SUM = f"{FRONT}*K(m)"
ORDER = "c**4*exp(2*c)/(4*q**2*b**(2*T-2))"
SYMBOLS = {"g": "natural", "p0": "real", "X0": "matrix", "s": "nonneg", "H": "positive", "G": "positive"}


def weight(rule: Rule, growth: str) -> str:
    """The factor of the value rule."""
    return "" if rule.anchored else f"*((sqrt(n)*{growth} + r)/r)**2"


def goal_of(rule: Rule, runs: str = "q", order: int = 5) -> dict[str, Any]:
    """E2 for a rule; a twin has more runs in the constant or another order."""
    sharp = SUM + weight(rule, "a**T")
    closed = f"{ORDER.replace('4*q**2', f'4*{runs}**2')}{weight(rule, 'exp(c)')}*(1 - h/T)**{order}"
    goal = surrogates.statement(
        rule,
        ["0 < HH(T)", "0 < TT(T)", f"{SIN2} <= {sharp}", f"{sharp} <= {closed}"],
        GIVEN,
        sums={"K": f"{pairs('j+1')}**2"},
        q="posint",
    )
    definitions = {"C": averages.DEFINITION, **goal["definitions"]}
    return {
        **goal, "totals": {"Y": "D"}, "products": {**goal["products"], "V": "C"}, "definitions": definitions,
    }  # fmt: skip


def signs(p: Proof, short: int) -> tuple[int, int]:
    """0 <= pi_q(k) and pi_q(k) <= k**2/(2*q), given 0 <= l."""
    count = p.induction("k0", "0 <= k0*(k0-1)", p.linear("0 <= 0*(0-1)"), p.linear("0 <= (k0+1)*(k0+1-1)"))
    count = p.instantiate(count, [short], k0="floor(k/q)")
    rest = p.product(short, p.axiom("floor_below", "k/q"))
    least = p.linear(f"0 <= {PAIRS}", {rest: "q", count: "q/2"})
    most = p.linear(f"{PAIRS} <= k**2/(2*q)", {short: "q/2"}, [("1/(2*q)", "k - q*floor(k/q)")])
    return least, most


def layer(p: Proof, rule: Rule) -> tuple[int, int, int]:
    """F(gh(t) - gT(t))**2 <= (factor)*pi_q(k)**2 under T == t + h + k, and the facts of `signs`."""
    depth, upper = p.assume("T == t + h + k"), lemmas.upper(p)
    size, miss, short = averages.tail(p, upper)
    least, most = signs(p, short)
    bound = surrogates.gap_norm(p, rule, depth, upper)
    if rule.anchored:
        scale = "c**2/T**2*a**(T-3)*r"
        facts = {bound: "1", miss: "a**(T-1-k)*r"}
    else:
        scale = "c**2/T**2*a**(T-3)*(sqrt(n)*a**T + r)"
        gap = "N(V(q*k, q*k+q) - W(T-k, T))"
        facts = {bound: "1", size: f"a**(T-1-k)*{gap}*sqrt(n)*a**(T-k)"}
        facts[miss] = "a**(T-1-k)*(sqrt(n)*a**T + r)"
    found = p.linear(f"F(gh(t) - gT(t)) <= {scale}*{PAIRS}", facts)
    sign = p.linear(f"0 <= {scale}*{PAIRS}", {least: scale})
    return surrogates.squared(p, f"{scale}*{PAIRS}", found, sign), least, most


def fifth(p: Proof, least: int, most: int) -> int:
    """K(m) <= m**5/(4*q**2)."""
    both = p.linear(f"0 <= k**2/(2*q) + {PAIRS}", {least: "1"})
    square = p.linear(f"{PAIRS}**2 <= k**4/(4*q**2)", {p.product(most, both): "1"})
    square = p.instantiate(square, k="j+1")
    claimed = "K(j) <= j**5/(4*q**2)"
    step = p.linear(
        claimed.replace("j", "(j+1)"), {p.assume(claimed): "1", square: "1", p.sum_step("K", "j"): "1"}
    )
    base = p.linear(claimed.replace("j", "0"), {p.sum_empty("K"): "1"})
    return p.instantiate(p.induction("j", claimed, base, step), j="m")


def closed(p: Proof, rule: Rule, sum_bound: int) -> int:
    """The second line of E2."""
    more = p.linear("1 <= a", {p.assume(lemmas.UPPER): "-1"})
    whole = p.instantiate(lemmas.growth(p), k0="T")
    three = lemmas.raise_to(p, more, "1", "a", "3")
    low = p.linear("a**(T-3) <= exp(c)", {whole: "1", three: "a**(T-3)"})
    power = p.linear("a**(2*T-6) <= exp(2*c)", {low: "a**(T-3) + exp(c)"})
    tail = "c**4/(4*q**2*b**(2*T-2))*(m/T)**5"
    sharp, wide = weight(rule, "a**T"), weight(rule, "exp(c)")
    facts = {sum_bound: f"{FRONT}{sharp}", power: f"{tail}{sharp}"}
    if not rule.anchored:
        one, two = "(sqrt(n)*a**T + r)", "(sqrt(n)*exp(c) + r)"
        share = p.linear(f"({one}/r)**2 <= ({two}/r)**2", {whole: f"sqrt(n)*({one} + {two})/r**2"})
        facts[share] = f"{tail}*exp(2*c)"
    last = p.linear(f"{SUM}{sharp} <= {ORDER}{wide}*(m/T)**5", facts)
    back = p.linear("m == T - h", {p.assume("T == h + m"): "-1"})
    return p.substitute(back, last, f"{SUM}{sharp} <= {ORDER}{wide}*(1 - h/T)**5")


def prove(rule: Rule, goal: dict[str, Any]) -> dict[str, Any]:
    """E2: the layers, their sum, |g_T| from below, the closed form."""
    p = surrogates.begin(goal, **SYMBOLS)
    square, least, most = layer(p, rule)
    factor = "c**4/T**4*a**(2*T-6)*" + ("r**2" if rule.anchored else "(sqrt(n)*a**T + r)**2")
    gap = surrogates.gap(p, square, p.assume("T == h + m"), "K", factor)
    floor, total, near = surrogates.energies(p)
    share = SUM + weight(rule, "a**T")
    given = p.assume(f"s == {share}")
    scaled = p.linear(
        f"{surrogates.GAP.format('T')} <= r**2*s*(T*b**(2*(T-1)))", {gap: "1", given: "-r**2*T*b**(2*(T-1))"}
    )
    ratio = surrogates.sin2_bound(p, scaled, floor, near, total, "s")
    term = goal["sums"]["K"]["term"].removesuffix("**2")
    step = p.linear("0 <= K(j+1)", {p.assume("0 <= K(j)"): "1", p.sum_step("K", "j"): "-1"}, [("1", term)])
    start = p.linear("0 <= K(0)", {p.sum_empty("K"): "-1"})
    sign = p.instantiate(p.induction("j", "0 <= K(j)", start, step), j="m")
    sign = p.linear(f"0 <= {share}", {sign: FRONT + weight(rule, "a**T")})
    ratio = lemmas.close(p, ratio, s=share, s_side=str(sign))
    return p.finish(near, total, ratio, closed(p, rule, fifth(p, least, most)))


def scalar_goal(halves: str = "2") -> dict[str, Any]:
    """The inequalities between numbers on which E2 rests, x = c/T: F4 sums the fourth powers."""
    return {
        "symbols": {
            "T": "posint",
            "c": "nonneg",
            "a": "positive",
            "q": "posint",
            "k": "natural",
            "m": "natural",
        },
        "sums": {"F4": {"index": "j", "term": "(j+1)**4"}},
        "hypotheses": [lemmas.UPPER],
        "conclusions": [
            "1 + k*c/T <= a**k",
            f"a**k - 1 - k*c/T <= c**2/T**2*a**(k-2)*k*(k-1)/{halves}",
            f"0 <= {PAIRS}",
            f"{PAIRS} <= k**2/(2*q)",
            "F4(m) <= m**5",
        ],
    }


def prove_scalar(goal: dict[str, Any]) -> dict[str, Any]:
    """Inductions."""
    p = Proof(goal, j="natural", **{k: v for k, v in lemmas.SYMBOLS.items() if k not in goal["symbols"]})
    some = p.discrete(
        p.linear("0 < floor(k/q) + 1", {p.axiom("floor_above", "k/q"): "1"}), "1 <= floor(k/q) + 1"
    )
    least, most = signs(p, p.linear("0 <= floor(k/q)", {some: "1"}))
    step = p.linear("F4(j+1) <= (j+1)**5", {p.assume("F4(j) <= j**5"): "1", p.sum_step("F4", "j"): "1"})
    base = p.linear("F4(0) <= 0**5", {p.sum_empty("F4"): "1"})
    powers = p.instantiate(p.induction("j", "F4(j) <= j**5", base, step), j="m")
    one, two = (p.instantiate(fact(p), k0="k") for fact in (averages.bernoulli, averages.second_order))
    return p.finish(one, two, least, most, powers)


WITNESS = TWO_LAYERS | {
    **{"c": 1, "h": 1, "m": 1, "Phi": [["9/16"]], "a": "3/2", "b": "1/2", "r": 1, "q": 1},
}
TEST = "tests/certify/test_anchored_proofs.py::test_theorem_e2_states_the_bounds_of_the_library"
BOUND = "sum_{k<=m} pi_q(k)^2/T^5"


def e2(rule: Rule, name: str, statement: str) -> Any:
    """One line of E2."""
    return claim(
        f"theorem_e2_{name}",
        "Theorem E2",
        Form.NEW,
        statement,
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=goal_of(rule),
        witness=WITNESS,
        route=lambda goal: prove(rule, goal),
        twin_goal=goal_of(rule, order=6),
        twin_statement="order 6",
        letters=surrogates.NAMES | {"K": "K(m) = sum_{k<=m} pi_q(k)^2"},
        evidence="every T > c, n, q, Phi with R != 0 and layers with ||W~||_2 <= c; runs as in the library: "
        "pi_q(k), the sum of j(j-1)/2 over their lengths j, is l k - q l(l+1)/2 with l = floor(k/q)",
        function="dlinear.bounds.theorem_e2",
        test=TEST,
    )


CLAIMS = (
    e2(
        ANCHORED,
        "anchored",
        "anchored rule, unseen layers averaged over q runs: "
        f"sin^2 <= c^4 a^{{2T-6}}/b^{{2T-2}} {BOUND} <= c^4 e^{{2c}}/(4 q^2 b^{{2T-2}}) (1 - h/T)^5",
    ),
    e2(
        VALUE,
        "value",
        "value rule, averaged over q runs: sin^2 <= ((sqrt(n) a^T + r)/r)^2 c^4 a^{2T-6}/b^{2T-2} "
        f"{BOUND} <= ((sqrt(n) e^c + r)/r)^2 c^4 e^{{2c}}/(4 q^2 b^{{2T-2}}) (1 - h/T)^5, r = ||R||_F",
    ),
    claim(
        "theorem_e2_scalar",
        "Theorem E2",
        Form.NEW,
        "1 + kx <= a^k, a^k - 1 - kx <= x^2 a^{k-2} k(k-1)/2 for x = c/T; "
        "0 <= pi_q(k) <= k^2/(2q); 1^4 + ... + m^4 <= m^5",
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=scalar_goal(),
        witness={"T": 2, "c": 1, "a": "3/2", "q": 2, "k": 3, "m": 2},
        route=prove_scalar,
        twin_goal=scalar_goal("3"),
        twin_statement="a third in place of half of k(k-1)",
        twin_values={"T": 2, "c": 1, "a": "3/2", "q": 1, "k": 2, "m": 0},
        twin_fails=1,
        letters=surrogates.NAMES | {"m": "number of terms", "k": "number of layers", "F4": "1^4 + ... + m^4"},
        evidence="every T, c, k, q, m; pi_q(k) = l k - q l(l+1)/2 with l = floor(k/q)",
        function="dlinear.bounds.theorem_e2_closed",
        test=TEST,
    ),
)
