"""The kernel against random values; each search has to find the errors that are planted in the kernel.

The prover runs the same kernel, so that a certificate cannot show an error of it: these searches can.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import islice
from math import factorial

import flint
import pytest

from dlinear.certify.trusted import axioms, balls, normal_form, rules_numbers
from dlinear.certify.trusted.kernel import RULES, Fact, Kernel
from dlinear.certify.trusted.normal_form import Normaliser
from tests.support.kernel_fuzz import axiom_errors, ball_errors, normal_form_errors, rule_errors

FORMS, AXIOMS, BALLS, STEPS = 400, 25, 250, 500  # examples where nothing is planted
LONGER = 8  # so many times more, at most, until a planted error is found


# -- the kernel as it is ------------------------------------------------------------------------------------
@pytest.mark.slow
def test_normal_forms_keep_value_sign_and_integrality():
    assert not list(normal_form_errors(0, FORMS))


def test_axioms_hold_for_random_matrices():
    assert not list(axiom_errors(0, AXIOMS))


@pytest.mark.slow
def test_leaves_that_are_accepted_are_true():
    assert not list(ball_errors(0, BALLS))


@pytest.mark.slow
def test_steps_that_are_accepted_are_true():
    accepted = []
    assert not list(rule_errors(0, STEPS, accepted))
    assert len(accepted) > STEPS / 4
    assert len(set(accepted)) >= 10


# -- planted errors -----------------------------------------------------------------------------------------
def first(errors):
    """One contradiction."""
    return list(islice(errors, 1))


def after(function, change):
    """A function whose result is changed; `change` gets it and the arguments."""

    def changed(*args, **options):
        return change(function(*args, **options), *args)

    return changed


def sign_of(sort, sign):
    """Symbols of one sort get a wrong sign."""

    def change(found, normal, base, e=Fraction(1)):
        return sign if base[0] == "s" and normal.context.symbols.get(base[1]) == sort else found

    return after(Normaliser.base_sign, change)


def cancelling(power):
    """1/x cancels against x, whatever x is."""

    def changed(normal, form, e):
        if len(form) == 1 and isinstance(e, Fraction) and e < 0:
            [(monomial, value)] = form.items()
            if all(isinstance(x, Fraction) for _, x in monomial):
                return {frozenset((b, x * e) for b, x in monomial): value ** int(e)}
        return power(normal, form, e)

    return changed


def no_reversal(x):
    return {tuple((atom, not flag) for atom, flag in word): value for word, value in x.items()}


def sorted_word(word):
    return tuple(sorted(word, key=str))


def rooted(power):
    """sqrt(x**2) == x, whatever the sign of x."""

    def changed(normal, form, e):
        if e == Fraction(1, 2) and len(form) == 1:
            [(monomial, value)] = form.items()
            if value == 1 and all(x == 2 for _, x in monomial):
                return {frozenset((b, Fraction(1)) for b, _ in monomial): Fraction(1)}
        return power(normal, form, e)

    return changed


IN_FORMS = {
    "a nonneg symbol is positive": (Normaliser, "base_sign", sign_of("nonneg", "pos")),
    "a natural symbol is positive": (Normaliser, "base_sign", sign_of("natural", "pos")),
    "a real symbol is not negative": (Normaliser, "base_sign", sign_of("real", "nonneg")),
    "an integer symbol is not negative": (Normaliser, "base_sign", sign_of("integer", "nonneg")),
    "odd powers are not negative": (
        Normaliser, "base_sign",
        after(Normaliser.base_sign, lambda s, n, b, e=1: "nonneg" if s == "any" and e != 1 else s),
    ),
    "a logarithm is not negative": (
        Normaliser, "base_sign",
        after(Normaliser.base_sign, lambda s, n, b, e=1: "nonneg" if b[:2] == ("fn", "log") else s),
    ),
    "a coefficient has no sign": (
        Normaliser, "sign",
        lambda n, form, sign=Normaliser.sign: sign(n, {m: abs(v) for m, v in form.items()}),
    ),
    "a sum of non-negative terms is positive": (
        Normaliser, "sign", after(Normaliser.sign, lambda s, *_: "pos" if s == "nonneg" else s),
    ),
    "everything is an integer": (
        Normaliser, "integer", lambda n, form: all(v.denominator == 1 for v in form.values()),
    ),
    "1/x cancels": (Normaliser, "power", cancelling(Normaliser.power)),
    "sqrt(x**2) is x": (Normaliser, "power", rooted(Normaliser.power)),
    "0**0 is 0": (
        Normaliser, "power",
        lambda n, form, e, power=Normaliser.power: power(n, form, e) if form else {},
    ),
    "1/0 is 1": (
        Normaliser, "power",
        lambda n, form, e, power=Normaliser.power: power(n, form, e) if form else normal_form.number(1),
    ),
    "exponents are multiplied": (
        normal_form, "_exponent_sum",
        lambda x, y, total=normal_form._exponent_sum: (
            x * y if isinstance(x, Fraction) and isinstance(y, Fraction) else total(x, y)
        ),
    ),
    "the factor of a product is lost": (
        normal_form, "_times", after(normal_form._times, lambda found, *_: (found[0], Fraction(1))),
    ),
    "a transpose does not reverse": (normal_form, "transpose", no_reversal),
    "matrices commute in a trace": (normal_form, "_cyclic", sorted_word),
    "products are turned round": (
        normal_form, "matrix_mul", lambda x, y, product=normal_form.matrix_mul: product(y, x),
    ),
    "the sign of a constant is lost": (
        normal_form, "scale", lambda form, factor: {m: v * abs(factor) for m, v in form.items()},
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", IN_FORMS)
def test_an_error_planted_in_normal_forms_is_found(kind, monkeypatch):
    monkeypatch.setattr(*IN_FORMS[kind])
    errors = normal_form_errors(0, LONGER * FORMS)
    if kind == "the sign of a constant is lost":  # only differences of formulas are scaled
        errors = rule_errors(0, LONGER * STEPS)
    assert first(errors)


@pytest.mark.parametrize("name", axioms.TEMPLATES)
def test_an_axiom_that_is_turned_round_is_found(name, monkeypatch):
    kinds, text = axioms.TEMPLATES[name]
    left, relation, right = text.partition(" <= " if " <= " in text else " < " if " < " in text else " == ")
    wrong = f"{left} == 2*({right})" if relation == " == " else f"{right} <= {left}"
    monkeypatch.setattr(axioms, "TEMPLATES", {name: (kinds, wrong)})
    assert first(axiom_errors(0, LONGER * AXIOMS))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("F_below_N", "F(X) <= N(X)"), ("F_above_S", "F(X) <= n*S(X)"), ("N_product", "N(X*Y) <= N(X)*S(Y)"),
     ("F_product_NF", "F(X*Y) <= S(X)*F(Y)"), ("S_difference", "S(X) <= S(X - Y)"),
     ("S_shift", "1 - S(X) <= S(I + X)"), ("N_scale", "N(s*X) == s**2*N(X)"), ("F_identity", "F(I) == n"),
     ("N_reverse", "N(X) + N(Y) <= N(X - Y)"), ("cauchy_schwarz", "ip(X, Y) <= N(X)*F(Y)"),
     ("F_square", "F(X)**2 == ip(X, X.T)"), ("floor_above", "x + 1 < floor(x) + 2 - x + floor(x)")],
)  # fmt: skip
def test_an_axiom_that_is_nearly_right_is_found(name, wrong, monkeypatch):
    monkeypatch.setattr(axioms, "TEMPLATES", {name: (axioms.TEMPLATES[name][0], wrong)})
    assert first(axiom_errors(0, LONGER * AXIOMS))


def even_power_from_its_ends(x, e, whole=balls.whole_power):
    if e > 1 and e % 2 == 0:
        low, high = x.lower(), x.upper()
        return balls._product(low, e).union(balls._product(high, e))
    return whole(x, e)


IN_BALLS = {
    "an interval is its middle": (balls, "interval", lambda lo, hi: balls.ball((lo + hi) / 2)),
    "an interval is its lower end": (balls, "interval", lambda lo, hi: balls.ball(lo)),
    "an even power is that of the ends": (balls, "whole_power", even_power_from_its_ends),
    "phi is that of the middle": (
        balls, "phi", lambda order, x, phi=balls.phi: phi(order, flint.arb(x.mid())),
    ),
    "phi is three terms of its series": (
        balls, "_phi", lambda order, x: sum((x**j / factorial(j + order) for j in range(3)), flint.arb(0)),
    ),
    "the slope is too small": (
        balls.Tape, "gradient", after(balls.Tape.gradient, lambda found, *_: [s / 2 for s in found]),
    ),
    "the slope is of the middle": (
        balls.Tape, "gradient",
        after(balls.Tape.gradient, lambda found, *_: [flint.arb(s.mid()) for s in found]),
    ),
    "the middle of a ball is enough": (
        balls, "_shows", lambda value, strict: bool(flint.arb(value.mid()) >= 0),
    ),
    "what is not finite is shown": (balls, "_shows", lambda value, strict: not bool(value < 0)),
    "strict is not strict": (balls, "_shows", lambda value, strict: value.is_finite() and bool(value >= 0)),
    "halves leave a part out": (
        balls, "halves",
        lambda box, axis: tuple(
            (*box[:axis], part, *box[axis + 1 :])
            for lo, hi in [box[axis]] for part in ((lo, lo + (hi - lo) / 4), (hi - (hi - lo) / 4, hi))
        ),
    ),
    "the last leaf is enough": (balls, "sign_on", lambda tape, box, strict: len(set(map(str, box))) > 0),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", IN_BALLS)
def test_an_error_planted_in_ball_arithmetic_is_found(kind, monkeypatch):
    monkeypatch.setattr(*IN_BALLS[kind])
    assert first(ball_errors(0, LONGER * BALLS))


IN_RULES = {
    "a side condition is always shown": (Kernel, "shown", lambda kernel, wanted, premises: {}),
    "any conclusion is the expected one": (Kernel, "same", lambda kernel, x, y: True),
    "hypotheses are lost": (Kernel, "join", staticmethod(lambda facts: {})),
    "every sign is nonneg": (Normaliser, "sign", lambda n, form: "nonneg" if form else "zero"),
    "every sign is pos": (Normaliser, "sign", lambda n, form: "pos" if form else "zero"),
    "every number is an integer": (Normaliser, "integer", lambda n, form: True),
    "a factorial is off by one": (rules_numbers, "factorial", lambda k: k + 2),
}


def strict_anyway(rule):
    """A rule that concludes A < B where it only shows A <= B."""

    def changed(kernel, step, premises, conclusion):
        weak = ("<=", *conclusion[1:]) if conclusion[0] == "<" else conclusion
        return replace(rule(kernel, step, premises, weak), formula=conclusion)

    return changed


def without_premises(rule):
    """A rule whose fact has no hypotheses, whatever its premises have."""

    def changed(kernel, step, premises, conclusion):
        return Fact({}, rule(kernel, step, premises, conclusion).formula)

    return changed


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["linear", "product", "instantiate"])
def test_a_rule_that_is_strict_without_reason_is_found(rule, monkeypatch):
    monkeypatch.setitem(RULES, rule, strict_anyway(RULES[rule]))
    assert first(rule_errors(0, LONGER * STEPS))


@pytest.mark.slow
@pytest.mark.parametrize(
    "rule", ["linear", "product", "discrete", "order", "antisymmetry", "reciprocal", "root", "instantiate",
             "substitute"]
)  # fmt: skip
def test_a_rule_that_forgets_its_hypotheses_is_found(rule, monkeypatch):
    monkeypatch.setitem(RULES, rule, without_premises(RULES[rule]))
    assert first(rule_errors(0, LONGER * STEPS))


@pytest.mark.slow
@pytest.mark.parametrize("kind", IN_RULES)
def test_an_error_planted_in_the_rules_is_found(kind, monkeypatch):
    monkeypatch.setattr(*IN_RULES[kind])
    assert first(rule_errors(0, LONGER * STEPS))
