"""The checker: what each rule accepts and refuses, axioms on numbers, arithmetic against other code."""

from __future__ import annotations

import ast
import contextlib
import copy
from fractions import Fraction
from pathlib import Path

import flint
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dlinear.certify.trusted
from dlinear.certify import CertificateError, Proof, attempt, check, outcome, read, refutation, subdivide
from dlinear.certify.claims import Verdict
from dlinear.certify.trusted import axioms
from dlinear.certify.trusted.arithmetic import compare, spectral
from dlinear.certify.trusted.balls import Tape, interval, phi, precision, whole_power
from dlinear.certify.trusted.calculus import at_zero, derivative
from dlinear.certify.trusted.check import FORMAT
from dlinear.certify.trusted.context import read_context
from dlinear.certify.trusted.evaluation import Model
from dlinear.certify.trusted.normal_form import Normaliser, matrix_mul
from dlinear.certify.trusted.terms import Context, parse, substitute

SYMBOLS = {
    "x": "real", "y": "nonneg", "z": "positive", "k": "natural", "h": "posint", "i": "integer",
    "A": "matrix", "B": "matrix", "n": "posint", "T": "posint", "c": "nonneg",
}  # fmt: skip
NETWORK = {"symbols": SYMBOLS, "families": {"D": "c/T"}, "products": {"W": "D"}, "conclusions": ["0 <= 1"]}


def proof(**auxiliary):
    return Proof(NETWORK, **auxiliary)


def goal(*conclusions, hypotheses=(), **symbols):
    return {"symbols": symbols, "hypotheses": list(hypotheses), "conclusions": list(conclusions)}


# -- language -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text",
    ["0.5*x", "1e3", "x if y else z", "__import__('os')", "x.real", "lambda: x", "[x]",
     "x <= y <= z", "x and y",
     "'a'", "True", "x @ y", "f(x=1)", "", "x +", "exp(x, y)", "x != y", "-'a'", "A[0]"],
)  # fmt: skip
def test_the_language_refuses(text):
    with pytest.raises(CertificateError):
        proof().assume(f"{text} <= 1" if "<=" not in text else text)


@pytest.mark.parametrize(
    "text", ["x + A == 0", "F(x) <= 1", "A <= B", "exp(A) <= 1", "A.T == x", "unknown <= 1", "W(1) == I"]
)
def test_ill_typed_formulas_are_refused(text):
    with pytest.raises(CertificateError):
        proof().assume(text)


@pytest.mark.parametrize("name", ["exp", "I", "F", "2x", "", "a b"])
def test_bad_symbol_names_are_refused(name):
    with pytest.raises(CertificateError):
        read_context({"symbols": {name: "real"}})


def test_the_width_has_one_sort_and_sorts_are_known():
    with pytest.raises(CertificateError, match="width"):
        read_context({"symbols": {"n": "real"}})
    with pytest.raises(CertificateError, match="sort"):
        read_context({"symbols": {"x": "complex"}})


# -- identities and signs -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "formula",
    [
        "(x + y)**3 == x**3 + 3*x**2*y + 3*x*y**2 + y**3",
        "z**(T-1-k)*(z**k - 1) == z**(T-1) - z**(T-1-k)",
        "exp(x)*exp(-x) == 1",
        "exp(k*x/T)**T == exp(k*x)",
        "sqrt(n)**2 == n",
        "sqrt(2)*sqrt(2) == 2",
        "sqrt(y**4*z**2) == y**2*z",
        "1/z*z == 1",
        "(1 + y)**(-2)*(1 + y)**2*(1/(1 + y)) == 1/(1 + y)*((1 + y)**(-2)*(1 + y)**2)",
        "ip(A, B) == ip(B.T, A.T)",
        "ip(A*B, B) == ip(A, B*B.T)",
        "ip(2*A - B, A) == 2*ip(A, A) - ip(A, B)",
        "ip(I, I) == n",
        "1/2*ip(A + x*B, A + x*B) == 1/2*ip(A, A) + x*ip(A, B) + 1/2*x**2*ip(B, B)",
        "F(A - A) == 0",
        "F(W(0, T-1+1)) == F(W(0, T))",
        "Int(x, y, y, exp(x)) == 0",
        "Int(x, 1 + y - 1, y, z) == 0",
    ],
)
def test_identities_are_accepted(formula):
    proof().linear(formula)


@pytest.mark.parametrize(
    "formula",
    [
        "sqrt(x**2) == x",
        "1/x*x == 1",
        "x**k*x**h == x**(k+h)",
        "(x**2)**(1/2) == x",
        "y**k*y**k == y**(2*k)",
        "0**k == 0",
        "1/(x - 1)*(x - 1) == 1",
        "ip(A*B, I) == ip(A, B)",
        "ip(A, B*B) == ip(A*B, B)",
        "F(A*B) == F(B*A)",
        "F(A.T) == F(A)",
        "sqrt(x)**2 == x",
        "exp(x + y) == exp(x) + exp(y)",
        "log(x*z) == log(x) + log(z)",
        "z**k == z**(k+1)",
        "(y + c)**x*(y + c)**(-x) == 1",
        "(x + y)**k*(x + y)**h == (x + y)**(k + h)",
        "Int(x, 0, y, exp(x)) == 0",
        "Int(x, y, -y, exp(x)) == 0",
    ],
)
def test_what_is_not_an_identity_or_not_known_is_refused(formula):
    with pytest.raises(CertificateError):
        proof().linear(formula)


def test_a_product_of_matrices_of_too_many_terms_is_refused():
    terms = [
        {((("m", f"{name}{at}"), False),): {frozenset(): Fraction(1)} for at in range(150)} for name in "AB"
    ]
    with pytest.raises(CertificateError, match="150 by 150 terms is too large"):
        matrix_mul(*terms)


def test_matrices_do_not_commute():
    p = proof()
    p.matrix("(A*B).T == B.T*A.T")
    with pytest.raises(CertificateError):
        p.matrix("A*B == B*A")
    with pytest.raises(CertificateError):
        p.matrix("(A*B).T == A.T*B.T")


@pytest.mark.parametrize(
    "formula", ["0 <= x**2", "0 <= y*F(A)", "0 < 1 + y", "0 < exp(x)*z", "-k <= 0", "0 < phi(3, x)"]
)
def test_manifest_signs_are_accepted(formula):
    proof().linear(formula)


@pytest.mark.parametrize(
    "formula",
    ["0 <= x", "0 < y", "0 < F(A)", "0 <= ip(A, A)*x", "0 <= ip(A, B)", "0 <= i", "0 <= x**2 - y",
     "0 < x**2", "0 < k", "1 <= z",
     "0 <= log(z)", "0 <= 1/x", "0 < 0", "0 <= x**3"],
)  # fmt: skip
def test_signs_that_are_not_manifest_are_refused(formula):
    with pytest.raises(CertificateError):
        proof().linear(formula)


# -- rules --------------------------------------------------------------------------------------------------
def test_linear_needs_the_right_multipliers_and_strictness():
    p = proof()
    one, two = p.assume("x <= y"), p.assume("y < z")
    p.linear("x < z", {one: "1", two: "1"})
    p.linear("x*z <= y*z", {one: "z"})
    with pytest.raises(CertificateError):
        p.linear("x < y", {one: "1"})
    with pytest.raises(CertificateError):
        p.linear("x*z < y*z", {one: "z"})
    with pytest.raises(CertificateError, match="multiplier"):
        p.linear("y*x <= x*x", {one: "-x"})
    with pytest.raises(CertificateError):
        p.linear("y <= x", {one: "-1"})
    with pytest.raises(CertificateError):
        p.linear("x == y", {one: "1"})
    with pytest.raises(CertificateError):
        p.linear("0 < x**2", squares=[("1", "x")])
    with pytest.raises(CertificateError):
        p.linear("0 <= -x**2", squares=[("-1", "x")])
    with pytest.raises(CertificateError):
        p.linear("y*y < y*z", {two: "y"})


def test_hypotheses_stay_until_they_are_cut():
    statement = goal("x <= 2", hypotheses=["x <= 1"], x="real")
    p = Proof(statement)
    fact = p.linear("x <= 2", {p.assume("x <= 1"): "1"})
    assert check(p.finish(fact), statement).verdict == "proved"
    bare = goal("x <= 2", x="real")
    q = Proof(bare)
    fact = q.linear("x <= 2", {q.assume("x <= 1"): "1"})
    with pytest.raises(CertificateError, match="hypotheses"):
        check(q.finish(fact))


def test_instantiation_keeps_sorts():
    p = proof(u="natural", v="positive", w="posint", r="nonneg", j="integer")
    for symbol, good, bad in (
        ("u", "k + h", "k - 1"), ("u", "h*k", "k/2"), ("v", "1 + y", "y"), ("v", "exp(x)", "x"),
        ("w", "h + k", "k"),
        ("r", "y*z", "x"), ("j", "2*i - k", "i/2"), ("j", "floor(x)", "x"), ("u", "T", "z"),
    ):  # fmt: skip
        fact = p.sort(symbol) if symbol != "j" else p.linear("j <= j")
        p.instantiate(fact, **{symbol: good})
        with pytest.raises(CertificateError):
            p.instantiate(fact, **{symbol: bad})
    room = p.assume("1 <= k")
    side = p.linear("0 <= k - 1", {room: "1"})
    moved = p.instantiate(p.sort("u"), [side], u="k - 1")
    assert p.hypotheses(moved) == p.hypotheses(room)


def test_symbols_of_definitions_are_never_instantiated():
    p = proof()
    layer = p.layer("D", "0")
    for name in ("c", "T", "n"):
        with pytest.raises(CertificateError, match="cannot be instantiated"):
            p.instantiate(layer, **{name: "1"})


def test_instantiation_reaches_the_hypotheses():
    p = proof()
    fact = p.linear("x <= 2", {p.assume("x <= 1"): "1"})
    assert p.hypotheses(p.instantiate(fact, x="x + 5")) == ["(x + 5) <= 1"]


def test_induction_refuses_bad_bases_steps_and_hypotheses():
    p = proof()
    base = p.linear("0 <= 0*z")
    before = p.assume("0 <= k*z")
    step = p.linear("0 <= (k+1)*z", {before: "1"})
    fact = p.induction("k", "0 <= k*z", base, step)
    assert p.hypotheses(fact) == []
    with pytest.raises(CertificateError, match="base"):
        p.induction("k", "0 <= k*z", p.linear("0 <= 1"), step)
    with pytest.raises(CertificateError, match="step"):
        p.induction("k", "0 <= k*z", base, before)
    with pytest.raises(CertificateError, match="natural"):
        p.induction("h", "0 <= h*z", base, step)
    loose = p.linear("0 <= (k+1)*z", {p.assume("0 <= (k+1)*z"): "1"})
    with pytest.raises(CertificateError, match="hypothesis"):
        p.induction("k", "0 <= k*z", base, loose)


def test_induction_keeps_the_other_hypotheses_of_base_and_step():
    p = proof()
    base = p.linear("0 <= 0*z + x", {p.assume("0 <= x"): "1"})
    step = p.linear("0 <= (k+1)*z + x", {p.assume("0 <= k*z + x"): "1", p.assume("x <= 1"): "0"})
    fact = p.induction("k", "0 <= k*z + x", base, step)
    assert set(p.hypotheses(fact)) == {"0 <= x", "x <= 1"}


def test_induction_upto_keeps_the_limit():
    p = proof()
    step = p.linear("k + 1 <= T", {p.assume("k + 1 <= T"): "1"})
    fact = p.induction("k", "k <= T", p.linear("0 <= T"), step, upto="T")
    assert p.hypotheses(fact) == ["k <= T"]
    with pytest.raises(CertificateError, match="limit"):
        p.induction("k", "k <= T", p.linear("0 <= T"), step, upto="T + k")


def test_cases_cut_and_absurd():
    p = proof()
    one = p.linear("x*x <= y*y + x*x", {p.assume("x <= y"): "0"})
    two = p.linear("x*x <= y*y + x*x", {p.assume("y <= x"): "0"})
    assert p.hypotheses(p.cases("x <= y", one, two)) == []
    more = p.linear("x*x <= y*y + x*x", {p.assume("y <= x"): "0", p.assume("z <= 1"): "0"})
    assert p.hypotheses(p.cases("x <= y", one, more)) == ["z <= 1"]
    with pytest.raises(CertificateError):
        p.cases("x < y", one, two)
    with pytest.raises(CertificateError):
        p.cases("x <= y", one, p.linear("0 <= 1"))
    false = p.assume("1 <= 0")
    assert p.hypotheses(p.absurd(false, "x == 7")) == ["1 <= 0"]
    with pytest.raises(CertificateError):
        p.absurd(p.assume("x <= y"), "x == 7")
    with pytest.raises(CertificateError):
        p.absurd(p.assume("y <= 0"), "x == 7")


def test_products_reciprocals_roots_order_and_discreteness():
    p = proof()
    one, two = p.assume("x <= y"), p.assume("i < k")
    p.product(one, two)
    p.discrete(two, "i + 1 <= k")
    p.order(one, "min(y, x) == x")
    p.order(one, "max(x, y) == y")
    p.reciprocal("x - y", p.assume("x - y < 0"))
    p.root("1 - x", p.linear("0 <= 1 - x", {p.assume("x <= 1"): "1"}))
    for bad in (
        lambda: p.product(one, p.assume("x == y")),
        lambda: p.discrete(p.assume("x < y"), "x + 1 <= y"),
        lambda: p.discrete(p.assume("i <= k"), "i + 1 <= k"),
        lambda: p.order(one, "min(x, y) == y"),
        lambda: p.reciprocal("x"),
        lambda: p.reciprocal("y"),
        lambda: p.reciprocal("x", p.assume("0 <= x")),
        lambda: p.root("x"),
        lambda: p.product(one, two, "0 < (y - x)*(k - i)"),
        lambda: p.antisymmetry("x == y", one, one),
    ):
        with pytest.raises(CertificateError):
            bad()
    p.antisymmetry("x == y", one, p.assume("y <= x"))


def test_substitution_replaces_and_no_more():
    p = proof()
    same = p.assume("A == B.T")
    size = p.axiom("N_below_F", "A")
    p.substitute(same, size, "N(B.T) <= F(A)")
    p.substitute(same, p.axiom("N_below_F", "B.T"), "N(A) <= F(A)", reverse=True)
    with pytest.raises(CertificateError):
        p.substitute(same, size, "N(B) <= F(A)")
    with pytest.raises(CertificateError):
        p.substitute(p.assume("x <= y"), size, "N(A) <= F(A)")
    inside = p.linear("Int(x, 0, z, exp(x)) == Int(x, 0, z, exp(x))")
    with pytest.raises(CertificateError, match="integral"):
        p.substitute(p.assume("x == z"), inside, "Int(x, 0, z, exp(x)) == Int(x, 0, z, exp(z))")


def test_taylor_and_the_fundamental_theorem():
    p = proof(u="real")
    p.taylor("1 + u <= exp(u)", "u", 2)
    p.taylor("1 + y + y**2/2 <= exp(y)", "y", 3)
    capped = p.linear("0 <= 2*exp(-y) - y*exp(-y)", {p.assume("y <= 2"): "exp(-y)"})
    assert p.hypotheses(p.taylor("y*exp(-y) <= y", "y", 2, capped)) == ["y <= 2"]
    p.ftc("Int(x, 0, z, z*exp(2*x))", "z*exp(2*x)/2")
    for conclusion, variable, order in (
        ("1 + u + u**2/2 <= exp(u)", "u", 3),
        ("1 + 2*u <= exp(u)", "u", 2),
        ("1 + u <= exp(u)", "u", 1),
        ("1 + u < exp(u)", "u", 2),
        ("log(1 + y) <= y", "y", 2),
        ("1 + c <= exp(c)", "c", 2),
        ("0 <= sqrt(y) - y", "y", 1),
        ("0 <= sqrt(y)", "y", 1),
    ):
        with pytest.raises(CertificateError):
            p.taylor(conclusion, variable, order)
    with pytest.raises(CertificateError):
        p.ftc("Int(x, 0, z, exp(x))", "exp(2*x)")
    with pytest.raises(CertificateError):
        p.ftc("Int(x, -1, z, -x**(-2))", "1/x")


def test_taylor_refuses_hypotheses_that_do_not_reach_zero():
    p = proof()
    for hypothesis in ("1 <= y", "z <= y", "y == 1", "1 <= y*z", "x*y <= 1"):
        last = p.linear("0 <= 1", {p.assume(hypothesis): "0"})
        with pytest.raises(CertificateError):
            p.taylor("0 <= y", "y", 1, last)
    for hypothesis in ("y <= 1", "2*y <= z", "0 <= y", "0 < y", "y < 1"):
        p.taylor("0 <= y", "y", 1, p.linear("0 <= 1", {p.assume(hypothesis): "0"}))


WINDOWS = {
    **NETWORK,
    "totals": {"Y": "D", "X": "C"},
    "products": {"W": "D", "V": "C"},
    "definitions": {
        "C": {"index": "t", "cases": [{"then": "Y(t, t + 2) - A"}]},
        "E": {"index": "t", "cases": [{"then": "V(0, t) + X(0, t)"}]},
    },
}


def test_totals_and_windows_over_a_definition_are_recursions():
    p = Proof(WINDOWS)
    for name, base in (("Y", "D"), ("X", "C")):
        p.add("window_empty", f"{name}(i, i) == 0*I", product=name, at="i")
        p.add("window_step", f"{name}(0, k+1) == {base}(k) + {name}(0, k)", product=name, start="0", stop="k")
        assert p.text(p.window_step(name, "0", "k")).endswith(f"({name}(0, k) + {base}(k))")
        for bad in (
            lambda name=name: p.add("window_empty", f"{name}(i, i) == I", product=name, at="i"),
            lambda name=name: p.add("window_empty", f"{name}(0, 1) == 0*I", product=name, at="0"),
            lambda name=name: p.window_step(name, "k", "0"),
            lambda name=name: p.window_step(name, "0", "x"),
            lambda name=name, base=base: p.add(
                "window_step",
                f"{name}(0, k+1) == (I + {base}(k))*{name}(0, k)",
                product=name,
                start="0",
                stop="k",
            ),
        ):
            with pytest.raises(CertificateError):
                bad()
    p.add("window_step", "V(0, k+1) == (I + C(k))*V(0, k)", product="V", start="0", stop="k")
    with pytest.raises(CertificateError):
        p.add("window_step", "V(0, k+1) == V(0, k) + C(k)", product="V", start="0", stop="k")


def test_totals_and_windows_over_a_definition_are_evaluated_from_their_formulas():
    """C(t) = D(t) + D(t+1) - A with D(t) = d_t, A = 1: X = sums of C, V = products of 1 + C."""
    d = [Fraction(k + 1, 8) for k in range(5)]
    layers = {str(t): [[str(x)]] for t, x in enumerate(d)}
    model = Model(
        read_context(WINDOWS), {"A": [[1]], "B": [[1]], "D": layers, **{s: 1 for s in "xyzkhiT"}, "c": 5}, ()
    )
    c = [d[t] + d[t + 1] - 1 for t in range(4)]
    assert model.matrix(parse("Y(1, 4)")) == [[d[1] + d[2] + d[3]]]
    assert model.matrix(parse("X(0, 3)")) == [[sum(c[:3])]]
    assert model.matrix(parse("V(1, 3)")) == [[(1 + c[2]) * (1 + c[1])]]
    assert model.matrix(parse("E(2)")) == [[(1 + c[1]) * (1 + c[0]) + c[0] + c[1]]]
    assert model.matrix(parse("Y(2, 2)")) == [[0]]
    assert model.matrix(parse("Y(4, 9)")) == [[d[4]]]
    with pytest.raises(CertificateError, match="backwards"):
        model.matrix(parse("X(3, 2)"))


def test_windows_and_sums_need_their_side_conditions():
    p = Proof({**NETWORK, "sums": {"G": {"index": "t", "term": "ip(W(0, t), A)"}}})
    p.window_step("W", "0", "k")
    p.sum_step("G", "k")
    for bad in (
        lambda: p.window_step("W", "k", "0"),
        lambda: p.window_step("W", "0", "x"),
        lambda: p.window_empty("W", "x"),
        lambda: p.layer("D", "1/2"),
        lambda: p.sum_step("G", "i"),
        lambda: p.add("window_empty", "W(0, 1) == I", product="W", at="0"),
        lambda: p.add("sum_empty", "G(0) == 1", sum="G"),
    ):
        with pytest.raises(CertificateError):
            bad()


def test_definitions_apply_under_their_conditions_only():
    cases = [{"if": ["t <= T"], "then": "A"}, {"if": ["T <= t"], "then": "A"}]
    p = Proof({**NETWORK, "definitions": {"g": {"index": "t", "cases": cases}}})
    fact = p.definition("g", "k", 0, [p.assume("k <= T")])
    assert p.hypotheses(fact) == ["k <= T"]
    p.definition("g", "T + h", 1)
    for bad in (
        lambda: p.definition("g", "k", 0),
        lambda: p.definition("g", "x", 1),
        lambda: p.definition("g", "k", 2),
    ):
        with pytest.raises((CertificateError, IndexError)):
            bad()


def test_definite_needs_a_vanishing_norm_of_the_difference():
    p = proof()
    p.definite(p.assume("F(A - B) <= 0"), "A == B")
    for premise in ("F(A + B) <= 0", "F(A - B) <= 1", "0 <= F(A - B)", "S(A - B) <= 0"):
        with pytest.raises(CertificateError):
            p.definite(p.assume(premise), "A == B")


# -- axioms on numbers --------------------------------------------------------------------------------------
def structured(rng, n):
    """Matrices at which norm inequalities are tight or degenerate."""
    kind = rng.integers(8)
    full = rng.integers(-4, 5, size=(n, n))
    rank_one = np.outer(rng.integers(-3, 4, size=n), rng.integers(-3, 4, size=n))
    eye = np.eye(n, dtype=int)
    return [full, rank_one, eye, 0 * eye, -eye, eye[::-1], np.diag(full.diagonal()), full + full.T][kind]


@pytest.mark.parametrize("name", sorted(axioms.TEMPLATES))
@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 3))
def test_no_axiom_is_violated_by_numbers(name, seed, n):
    rng = np.random.default_rng(seed)
    kinds, text = axioms.TEMPLATES[name]
    sorts = {"nonneg": "nonneg", "scalar": "real", "matrix": "matrix"}
    context = read_context({"symbols": {"n": "posint", **{k: sorts[v] for k, v in kinds.items()}}})
    draw = {
        "matrix": lambda: [[str(Fraction(int(v), 4)) for v in row] for row in structured(rng, n)],
        "nonneg": lambda: str(Fraction(int(rng.integers(0, 9)), 4)),
        "scalar": lambda: str(Fraction(int(rng.integers(-9, 9)), 4)),
    }
    model = Model(context, {"n": n, **{k: draw[v]() for k, v in kinds.items()}}, ())
    formula = parse(text)
    if formula[0] != "==":
        assert model.decide(formula) is not False or _equal(model, formula)
    else:
        assert _equal(model, formula)


def _equal(model, formula):
    left, right = (model.number(side) for side in formula[1:])
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return left == right
    gap = abs(
        flint.arb(left.numerator) / left.denominator - right
        if isinstance(left, Fraction)
        else left
        - (right if not isinstance(right, Fraction) else flint.arb(right.numerator) / right.denominator)
    )
    return bool(gap < 1e-9)


# -- arithmetic against other code --------------------------------------------------------------------------
TEXTS = st.recursive(
    st.sampled_from(["x", "y", "z", "1", "2", "3/2", "(-1)"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(inner, st.sampled_from(["2", "3"])).map(lambda t: f"({t[0]})**{t[1]}"),
        inner.map(lambda t: f"exp({t}/4)"),
        inner.map(lambda t: f"sqrt(z + ({t})**2)"),
        inner.map(lambda t: f"1/(1 + ({t})**2)"),
    ),
    max_leaves=6,
)
VALUES = {"x": Fraction(-3, 5), "y": Fraction(7, 4), "z": Fraction(2, 3)}


def evaluate(tree, values=VALUES):
    """Slow value of a tree in 50 digits."""
    match tree:
        case ("num", q):
            return mpmath.mpf(q.numerator) / q.denominator
        case ("sym", name):
            return evaluate(("num", values[name]))
        case ("add", a, b):
            return evaluate(a, values) + evaluate(b, values)
        case ("mul", a, b):
            return evaluate(a, values) * evaluate(b, values)
        case ("pow", a, b):
            return evaluate(a, values) ** evaluate(b, values)
        case ("call", "exp", a):
            return mpmath.exp(evaluate(a, values))
        case ("call", "sqrt", a):
            return mpmath.sqrt(evaluate(a, values))
    raise AssertionError(tree)


def evaluate_form(form, values=VALUES):
    """Slow value of a normal form."""
    total = mpmath.mpf(0)
    for monomial, factor in form.items():
        term = mpmath.mpf(factor.numerator) / factor.denominator
        for base, e in monomial:
            power = evaluate_form({frozenset(): e} if isinstance(e, Fraction) else dict(e), values)
            match base:
                case ("s", name):
                    inner = evaluate(("sym", name), values)
                case ("e",):
                    inner = mpmath.e
                case ("q", q):
                    inner = evaluate(("num", q))
                case ("p", key):
                    inner = evaluate_form(dict(key), values)
                case ("inv", key):
                    inner = 1 / evaluate_form(dict(key), values)
                case ("pow", key, half):
                    inner = evaluate_form(dict(key), values) ** evaluate(("num", half))
                case _:
                    raise AssertionError(base)
            term *= inner**power
        total += term
    return total


@settings(max_examples=150)
@given(text=TEXTS)
def test_normal_forms_keep_the_value_and_never_lie_about_the_sign(text):
    normal = Normaliser(read_context({"symbols": SYMBOLS}))
    tree = parse(text)
    with contextlib.suppress(CertificateError):  # an expansion that is too large
        _same_value(normal, tree)


def _same_value(normal, tree):
    form = normal.scalar(tree)
    with mpmath.workdps(50):
        value = evaluate(tree)
        assert abs(evaluate_form(form) - value) <= mpmath.mpf(10) ** -30 * (1 + abs(value))
        if normal.sign(form) == "pos":
            assert value > 0
        if normal.sign(form) == "nonneg":
            assert value >= -(mpmath.mpf(10) ** -40)


@pytest.mark.slow
@settings(max_examples=100)
@given(text=TEXTS)
def test_balls_contain_the_value_and_the_gradient(text):
    tree, names = parse(text), list(VALUES)
    tape = Tape(tree, names)
    width = Fraction(1, 1000)
    boxes = [interval(v - width, v + width) for v in VALUES.values()]
    with precision(100), mpmath.workdps(50):
        values = tape.values(boxes)
        value, slopes = values[-1], tape.gradient(values)
        inside = {n: v + width * Fraction(k, 3) for (n, v), k in zip(VALUES.items(), (1, -2, 3), strict=True)}
        exact = evaluate(tree, inside)
        assert value.overlaps(flint.arb(mpmath.nstr(exact, 45)))
        step = mpmath.mpf(10) ** -20
        for name, slope in zip(names, slopes, strict=True):
            moved = dict(inside)
            moved[name] += Fraction(1, 10**20)
            difference = (evaluate(tree, moved) - exact) / step
            low, high = float(slope.lower()), float(slope.upper())
            slack = 1e-12 * (1 + abs(float(difference)))
            assert low - slack <= float(difference) <= high + slack


@settings(max_examples=80)
@given(text=TEXTS)
def test_derivatives_agree_with_differences(text):
    normal = Normaliser(read_context({"symbols": SYMBOLS | {"x": "real"}}))
    try:
        form = normal.scalar(parse(text))
        slope = derivative(form, "x", normal)
        origin = at_zero(form, "x", normal)
    except CertificateError:  # not known to be differentiable, or too large to expand
        return
    with mpmath.workdps(50):
        step = Fraction(1, 10**15)
        up, down = (VALUES | {"x": VALUES["x"] + s} for s in (step, -step))
        difference = (evaluate_form(form, up) - evaluate_form(form, down)) * 10**15 / 2
        value = evaluate_form(slope)
        assert abs(difference - value) <= mpmath.mpf(10) ** -18 * (1 + abs(value)) * 10**3
        assert abs(evaluate_form(origin) - evaluate_form(form, VALUES | {"x": Fraction(0)})) < 1e-25


@pytest.mark.parametrize("order", [0, 1, 2, 3, 5, 9])
@pytest.mark.parametrize(
    "x", ["-30", "-2", "-1/8", "-1/9", "-1/1000000", "0", "1/1000000", "1/9", "1/8", "3", "20"]
)
def test_the_series_remainder(order, x):
    q = Fraction(x)
    with precision(300), mpmath.workdps(120):
        exact = mpmath.nsum(lambda j: mpmath.mpf(q.numerator) ** j / mpmath.mpf(q.denominator) ** j
                            / mpmath.factorial(j + order), [0, 400], method="d")  # fmt: skip
        value = phi(order, interval(q, q))
        assert abs(float(value.mid()) / float(exact) - 1) < 1e-13
        assert float(value.rad()) <= 1e-15 * float(abs(exact)) * 10**4
        assert value.overlaps(flint.arb(mpmath.nstr(exact, 110)))
        wide = phi(order, interval(q - Fraction(1, 7), q + Fraction(1, 9)))
        assert wide.contains(value)


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 4))
def test_singular_values_agree_with_numpy(seed, n):
    rng = np.random.default_rng(seed)
    array = structured(rng, n)
    rows = [[Fraction(int(v)) for v in row] for row in array]
    values = np.linalg.svd(array.astype(float), compute_uv=False)
    with precision(128):
        for largest, want in ((True, values[0]), (False, values[-1])):
            got = spectral(rows, largest=largest)
            assert abs(float(got if isinstance(got, Fraction) else got.mid()) - want) < 1e-7


def test_the_gradient_of_the_series_remainder():
    for order in range(5):
        tape = Tape(parse(f"phi({order}, 2*x)"), ["x"])
        for x in (Fraction(-3), Fraction(-1, 50), Fraction(0), Fraction(1)):
            with precision(128):
                step = Fraction(1, 10**12)
                low, high = (tape.values([interval(v, v)])[-1] for v in (x - step, x + step))
                [slope] = tape.gradient(tape.values([interval(x, x)]))
                assert abs(float(((high - low) * 10**12 / 2).mid()) - float(slope.mid())) < 1e-15


@pytest.mark.parametrize("power", [-3, -2, -1, 0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("ends", [("-2", "1"), ("0", "1"), ("1", "2"), ("-3", "-1"), ("0", "0")])
def test_whole_powers_of_balls_contain_every_value(power, ends):
    low, high = map(Fraction, ends)
    value = whole_power(interval(low, high), power)
    if power < 0 and low <= 0 <= high:
        assert not value.is_finite()
        return
    for k in range(9):
        q = (low + (high - low) * Fraction(k, 8)) ** power
        assert value.overlaps(interval(q, q))
    if power > 0 and power % 2 == 0:
        assert value.lower() >= -1e-6


# -- ball steps ---------------------------------------------------------------------------------------------
BOX = {"x": ("0", "1"), "y": ("0", "1")}
BALL = goal("x*y < exp(x*y)", hypotheses=["0 <= x", "x <= 1", "0 <= y", "y <= 1"], x="real", y="real")
TIGHT = goal(
    "exp(x*y) - 1 < 2*x + 1/50", hypotheses=["0 <= x", "x <= 1", "0 <= y", "y <= 1"], x="real", y="real"
)


def ball_route(statement):
    p = Proof(statement)
    return p.finish(p.ball(statement["conclusions"][0], BOX, max_boxes=2000))


def test_ball_steps_certify_and_keep_their_box():
    found = outcome(ball_route(TIGHT), goal=TIGHT)
    assert found.verdict is Verdict.CERTIFIED
    assert "boxes" in found.method
    short = {**TIGHT, "hypotheses": TIGHT["hypotheses"][:-1]}
    assert attempt(ball_route, short).verdict is Verdict.UNDECIDED


def test_a_false_inequality_stays_undecided():
    false = {**TIGHT, "conclusions": ["exp(x*y) - 1 < 3/2*x + 1/50"]}
    result = attempt(ball_route, false)
    assert result.verdict is Verdict.UNDECIDED
    assert "undecided after" in result.evidence
    equality = {**TIGHT, "conclusions": ["x <= x*x"]}
    assert attempt(ball_route, equality).verdict is Verdict.UNDECIDED


def test_strict_and_plain_inequalities_differ_at_the_edge():
    assert subdivide("0 <= 0*x", {"x": ("0", "1")}) == "."
    with pytest.raises(CertificateError, match="undecided"):
        subdivide("0 < 0*x", {"x": ("0", "1")}, max_boxes=200)


@pytest.mark.parametrize("conclusion", ["0 < 1/x", "0 < 1 + sqrt(x - 1)**2", "0 < 1 + log(x)**2", "-1 < 0/x"])
def test_singular_expressions_prove_nothing(conclusion):
    with pytest.raises(CertificateError, match="undecided"):
        subdivide(conclusion, {"x": ("-1", "1")}, max_boxes=200)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: s.update(tree=s["tree"][:-1]), "cover"),
        (lambda s: s.update(tree=s["tree"] + "."), "no box"),
        (lambda s: s.update(tree="."), "leaf"),
        (lambda s: s.update(tree=s["tree"].replace("0", "7", 1)), "mark"),
        (lambda s: s["box"].update(x=["0", "2"]), "leaf|hypotheses"),
        (lambda s: s["box"].update(x=["1", "0"]), "empty"),
        (lambda s: s["box"].update(x=["0", 1.0]), "fraction"),
        (lambda s: s["box"].update(x=["0"]), "malformed|IndexError"),
        (lambda s: s.pop("box"), "KeyError"),
        (lambda s: s.update(bits=1), "bits"),
        (lambda s: s.update(conclusion="exp(x*y) - 1 < 3/2*x + 1/50"), "leaf"),
    ],
)
def test_a_damaged_ball_step_is_rejected(change, reason):
    certificate = copy.deepcopy(ball_route(TIGHT))
    change(certificate["steps"][0])
    with pytest.raises(CertificateError, match=reason):
        check(certificate, TIGHT)


# -- refutations --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("relation", [">", ">=", "!=", "=", "", None])
@pytest.mark.parametrize("values", [(1, 2), (2, 1), (1, 1)])
def test_an_unknown_relation_is_none_of_the_known_ones(relation, values):
    x, y = map(Fraction, values)
    for pair in ((x, y), (flint.arb(values[0]), y), (flint.arb(values[0]), flint.arb(values[1]))):
        with pytest.raises(KeyError):
            compare(relation, *pair)


@pytest.mark.parametrize(
    ("relation", "found"), [("<=", (True, True, False)), ("<", (True, False, False)),
                            ("==", (False, True, False))]
)  # fmt: skip
def test_a_comparison_is_decided_on_both_sides_of_its_border(relation, found):
    pairs = [(Fraction(1), Fraction(2)), (Fraction(1), Fraction(1)), (Fraction(2), Fraction(1))]
    assert tuple(compare(relation, *pair) for pair in pairs) == found
    balls = tuple(compare(relation, flint.arb(int(x)), y) for x, y in pairs)
    assert balls == tuple(None if relation == "==" and answer else answer for answer in found)


def test_refutations_are_three_valued():
    tie = goal("sqrt(2)*sqrt(2) <= z", z="positive")
    with pytest.raises(CertificateError, match="does not violate"):
        check(refutation(tie, {"z": 2}))
    assert check(refutation(tie, {"z": "1999/1000"})).verdict == "refuted"
    with pytest.raises(CertificateError, match="hypothesis"):
        check(refutation({**tie, "hypotheses": ["2 <= z"]}, {"z": "1999/1000"}))
    with pytest.raises(CertificateError, match="hypothesis"):
        check(refutation({**tie, "hypotheses": ["sqrt(3)*sqrt(3) <= 3"]}, {"z": 1}))
    near = goal("2 < sqrt(2)*sqrt(2) + 1/10**60", z="positive")
    with pytest.raises(CertificateError, match="does not violate"):
        check(refutation(near, {"z": 1}))
    for values in ({}, {"z": 0}, {"z": 0.5}, {"z": "1/0"}, {"z": 1, "w": 1}, {"z": "0x10"}, {"z": True}):
        with pytest.raises(CertificateError):
            check(refutation(tie, values))


@pytest.mark.parametrize("fails", [-1, 1, True, "0", None])
def test_a_refutation_names_its_conclusion(fails):
    certificate = refutation(goal("z <= 1", z="positive"), {"z": 2})
    certificate["refutation"]["fails"] = fails
    with pytest.raises(CertificateError, match="name the conclusion"):
        check(certificate)


def test_contradicting_cases_of_a_definition_have_no_model():
    cases = [{"if": ["t <= 1"], "then": "1"}, {"if": ["1 <= t"], "then": "t"}]
    statement = {**goal("g(x) <= 0", x="integer"), "definitions": {"g": {"index": "t", "cases": cases}}}
    assert check(refutation(statement, {"x": 1})).verdict == "refuted"
    cases[1]["then"] = "2*t"
    for x in (1, 2):
        with pytest.raises(CertificateError, match="exclude each other"):
            check(refutation(statement, {"x": x}))


@pytest.mark.parametrize(
    "text",
    ["0 <= (x <= 0)*1", "0 <= 1 + (x <= 0)", "0 <= (x <= 0) + (y <= 0)", "(x <= y) == (y <= z)",
     "(x <= 0)*A == A", "0 <= exp(x <= 0)", "0 <= N(A == B)", "0 <= (x <= 0).T"],
)  # fmt: skip
def test_a_comparison_is_no_term(text):
    with pytest.raises(CertificateError):
        proof().assume(text)


@pytest.mark.parametrize(
    "text",
    ["0 <= ((2**9999)**9999)**9999", "0 <= ((2**9999)**60)**60", "0 <= ((1/2)**9999)**60*x",
     "0 <= (((2**9999*x)**60)**60)**60", "0 <= z**(2**9999)**9999", "0 <= (2*z)**-9999*(2**9999)**9999"],
)  # fmt: skip
def test_a_number_of_too_many_digits_is_refused_at_once(text):
    with pytest.raises(CertificateError, match="bits"):
        proof().linear(text)


def test_a_counterexample_of_too_many_digits_is_refused_at_once():
    with pytest.raises(CertificateError, match="bits"):
        check(refutation(goal("((2**9999)**9999)**9999*x <= 0", x="real"), {"x": "2"}))


def test_phi_has_a_sign_only_for_whole_orders():
    for order in ("0", "3", "(4/2)"):
        proof().linear(f"0 < phi({order}, x)")
    for order in ("1/2", "-1", "k"):
        with pytest.raises(CertificateError, match="sign"):
            proof().linear(f"0 < phi({order}, x)")
        with pytest.raises(CertificateError):
            check(refutation(goal(f"phi({order}, x) < 0", x="real", k="natural"), {"x": "1", "k": 1}))


def test_a_term_is_no_formula():
    for text in ("x + 1", "A", "F(A)"):
        with pytest.raises(CertificateError, match="comparison"):
            proof().assume(text)


def test_layers_of_a_refutation_keep_their_bound():
    statement = {**NETWORK, "symbols": {"c": "nonneg", "T": "posint"}, "conclusions": ["N(W(0, T)) <= 1"]}
    assert check(refutation(statement, {"c": 1, "T": 2, "D": {0: [["1/2"]]}})).verdict == "refuted"
    with pytest.raises(CertificateError, match="bound"):
        check(refutation(statement, {"c": 1, "T": 2, "D": {0: [["51/100"]]}}))
    irrational = {**statement, "families": {"D": "sqrt(2)"}}
    with pytest.raises(CertificateError, match="bound"):
        check(refutation(irrational, {"c": 1, "T": 1, "D": {0: [[1, 1], [-1, 1]]}}))


def test_open_constants_are_refuted_for_every_value_or_not_at_all():
    statement = {**goal("exp(x) <= exp(s*x)", x="real", s="real"), "exists": ["s"]}
    with pytest.raises(CertificateError):
        check(refutation(statement, {"x": 1}))
    shifted = {**statement, "conclusions": ["1 + exp(x) <= exp(s*x)"]}
    assert check(refutation(shifted, {"x": 0})).verdict == "refuted"
    with pytest.raises(CertificateError, match="only be refuted"):
        check({"format": FORMAT, "statement": statement, "steps": [], "goals": []})


# -- certificates as a whole --------------------------------------------------------------------------------
def test_a_statement_other_than_the_registered_one_is_rejected():
    certificate = ball_route(TIGHT)
    with pytest.raises(CertificateError, match="registered"):
        check(certificate, BALL)


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: c.update(format="dlinear-certificate/2"),
        lambda c: c.pop("statement"),
        lambda c: c.pop("steps"),
        lambda c: c.update(goals=[]),
        lambda c: c.update(goals=[7]),
        lambda c: c.update(goals=[-1]),
        lambda c: c.update(goals=[True]),
        lambda c: c.update(steps="none"),
        lambda c: c.update(steps=[None]),
        lambda c: c.update(auxiliary={"x": "positive"}),
        lambda c: c.update(auxiliary={"q": "magic"}),
        lambda c: c["statement"].update(conclusions=[]),
        lambda c: c["statement"].update(axioms=["x == y"]),
        lambda c: c["steps"].append({"rule": "believe", "conclusion": "0 <= 1"}),
        lambda c: c["steps"].append({"rule": "assume"}),
        lambda c: c["steps"].append({"rule": "linear", "from": [99], "conclusion": "0 <= 1"}),
        lambda c: c["steps"].append(
            {"rule": "linear", "from": [1], "multipliers": ["1"], "conclusion": "0 <= 1"}
        ),
        lambda c: c.update(refutation={"values": {}, "fails": 0}),
    ],
)
def test_malformed_certificates_are_rejected(damage):
    certificate = copy.deepcopy(ball_route(TIGHT))
    damage(certificate)
    with pytest.raises(CertificateError) as caught:
        check(certificate)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"format": "other"}', "\x00\x01", '{"format": "dlinear-certificate/1"}']
)
def test_foreign_and_truncated_files_are_rejected(tmp_path, text):
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(CertificateError):
        check(read(path))
    with pytest.raises(CertificateError):
        read(tmp_path / "absent.json")


def test_the_checker_imports_nothing_of_the_provers():
    folder = Path(dlinear.certify.trusted.__file__).parent
    trusted = {
        "errors", "limits", "terms", "kinds", "context", "consistency", "normal_form", "calculus", "balls",
        "arithmetic", "evaluation", "axioms", "kernel", "rules_logic", "rules_numbers", "rules_matrices",
        "witness", "check",
    }  # fmt: skip
    allowed = {f"dlinear.certify.trusted.{name}" for name in trusted}
    allowed |= {"dlinear.certify.trusted", "dlinear.optional"}
    assert {path.stem for path in folder.glob("[!_]*.py")} == trusted
    for name in trusted:
        for node in ast.walk(ast.parse((folder / f"{name}.py").read_text())):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
                if node.module == "dlinear.certify.trusted":
                    assert {alias.name for alias in node.names} <= trusted
            for module in modules:
                assert not module.startswith("dlinear") or module in allowed, (name, module)
                assert module.split(".")[0] not in {"sympy", "numpy", "scipy", "torch"}, (name, module)


def test_substitution_does_not_capture():
    tree = parse("Int(x, 0, z, x*y)")
    assert substitute(tree, {"x": parse("7")}) == tree
    with pytest.raises(CertificateError, match="captures"):
        substitute(tree, {"y": parse("x")})
    assert Context().fixed() == set()
