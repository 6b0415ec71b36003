"""Random searches for errors of the kernel: what it says, against the values of `kernel_values`.

Each search yields one line for each contradiction; without an error it yields nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction

import flint
import mpmath
import numpy as np

from dlinear.certify.trusted import axioms, balls
from dlinear.certify.trusted.context import read_context
from dlinear.certify.trusted.kernel import Kernel
from dlinear.certify.trusted.normal_form import Normaliser
from dlinear.certify.trusted.terms import CertificateError, parse
from tests.support.kernel_values import DIGITS, SORTS, ZERO, Unspecified, Values, real, some_matrix, vanishes

# -- terms --------------------------------------------------------------------------------------------------
LEAVES = ["x", "u", "y", "z", "k", "h", "i", "n", "1", "2", "0", "(1/2)", "(-1)"]
POSITIVE = ["z", "h", "2", "(y + 1)", "(3/4)"]


def term(rng, depth):
    """Random text of a number."""
    if depth == 0 or rng.random() < 0.15:
        return str(rng.choice(LEAVES))
    a, b = term(rng, depth - 1), term(rng, depth - 1)
    forms = [
        f"({a} + {b})", f"({a} - {b})", f"({a}*{b})", f"({a}/{b})", f"(1/({a}))", f"({a})**2", f"({a})**3",
        f"({a})**(-2)", f"sqrt({a})", f"sqrt(({a})**2)", f"exp({a})", f"exp({a})*exp({b})",
        f"{rng.choice(POSITIVE)}**({a})", f"{rng.choice(POSITIVE)}**({a})*{rng.choice(POSITIVE)}**({b})",
        f"({a})**k", f"({a})**0", f"min({a}, {b})", f"max({a}, {b})", f"floor({a})", f"log({a})",
        f"phi({rng.integers(0, 4)}, {a})", f"(y*z)**({rng.choice(['1/2', '-1', '3/2', '2', '-1/2'])})*{a}",
        f"ip({matrix_term(rng, 2)}, {matrix_term(rng, 2)})",
        f"ip({matrix_term(rng, 1)}, {matrix_term(rng, 3)})",
        f"1/({a})*({a})*{b}",
        f"sqrt(2)*{a}*sqrt(2)", f"{rng.choice(['x', 'u', 'i'])}**3",
        f"F({matrix_term(rng, 2)})*{a}",
    ]  # fmt: skip
    return str(rng.choice(forms))


def matrix_term(rng, depth):
    """Random text of a matrix."""
    if depth == 0:
        return str(rng.choice(["A", "B", "I"]))
    a, b = matrix_term(rng, depth - 1), matrix_term(rng, depth - 1)
    forms = [f"({a} + {b})", f"({a} - {b})", f"({a})*({b})", f"({a}).T", f"2*({a})", f"i*({a})"]
    return str(rng.choice(forms))


# -- searches -----------------------------------------------------------------------------------------------
def normal_form_errors(seed, count) -> Iterator[str]:
    """Normal forms whose value, sign or integrality is not that of the term, at zeros and negatives too."""
    rng = np.random.default_rng(seed)
    context = read_context({"symbols": SORTS})
    with mpmath.workdps(DIGITS):
        for _ in range(count):
            text = term(rng, int(rng.integers(1, 4)))
            normal = Normaliser(context)
            with contextlib.suppress(CertificateError):
                tree = parse(text)
                form = normal.scalar(tree)
                told = normal.sign(form), normal.integer(form)
                for _ in range(3):
                    values = Values(rng)
                    with contextlib.suppress(Unspecified):
                        value, other = values.number(tree), values.form(form)
                        if not agrees(value, other, *told):
                            yield f"{text} = {value}, its normal form {other} ({told}) at {values}"


def agrees(value, other, sign, whole):
    """Whether the value of a term fits the value of its form and what is said of it."""
    size = real(value)
    if abs(size - real(other)) > mpmath.mpf(10) ** -25 * (1 + abs(size)):
        return False
    if whole and abs(size - mpmath.nint(size)) > ZERO:
        return False
    return {"zero": abs(size) < ZERO, "pos": size > 0, "nonneg": size > -ZERO, "any": True}[sign]


def axiom_errors(seed, count) -> Iterator[str]:
    """Templates of the axioms that numbers violate, by floating point singular values."""
    rng = np.random.default_rng(seed)
    for name, (kinds, text) in axioms.TEMPLATES.items():
        relation, left, right = parse(text)
        for _ in range(count):
            size = int(rng.integers(1, 4))
            draw = {
                "matrix": lambda n=size: some_matrix(rng, n, rng.integers(0, 3)).astype(float),
                "nonneg": lambda: float(rng.choice([0.0, 0.5, 3.0])),
                "scalar": lambda: float(rng.choice([0.0, -1.0, -2.5, 0.5, 3.0, 2.0])),
            }
            values = {k: draw[kind]() for k, kind in kinds.items()} | {"n": float(size), "I": np.eye(size)}
            a, b = floating(left, values), floating(right, values)
            slack = 1e-9 * (1 + abs(a))
            good = {"<=": a <= b + slack, "<": a < b, "==": abs(a - b) <= slack}[relation]
            if not good:
                yield f"{name}: {text} is {a} against {b} at {values}"


def floating(tree, values):
    """Value of a template in floating point."""
    match tree:
        case ("num", q):
            return float(q)
        case ("sym", name):
            return values[name]
        case ("T", a):
            return floating(a, values).T
        case ("add", a, b):
            return floating(a, values) + floating(b, values)
        case ("mul", a, b):
            one, two = floating(a, values), floating(b, values)
            return one @ two if np.ndim(one) and np.ndim(two) else one * two
        case ("pow", a, b):
            return floating(a, values) ** floating(b, values)
        case ("call", name, *args):
            found = [floating(a, values) for a in args]
            return FUNCTIONS[name](*found)
    raise AssertionError(tree)


FUNCTIONS = {
    "F": np.linalg.norm,
    "N": lambda m: np.linalg.svd(m, compute_uv=False)[0],
    "S": lambda m: np.linalg.svd(m, compute_uv=False)[-1],
    "ip": lambda a, b: float(np.sum(a * b)),
    "sqrt": np.sqrt,
    "exp": np.exp,
    "floor": np.floor,
    "min": min,
    "max": max,
    "phi": lambda order, x: float(mpmath.fsum(x**j / mpmath.factorial(j + order) for j in range(60))),
}


def smooth_term(rng, depth):
    """Random text of what ball arithmetic evaluates, in x, u and z."""
    if depth == 0 or rng.random() < 0.1:
        return str(rng.choice(["x", "u", "z", "1", "2", "(1/3)", "(-1)"]))
    a, b = smooth_term(rng, depth - 1), smooth_term(rng, depth - 1)
    forms = [
        f"({a} + {b})", f"({a} - {b})", f"({a}*{b})", f"({a})**2", f"({a})**3", f"({a})**(-1)", f"({a})**4",
        f"exp({a}/4)", f"log({a})", f"sqrt({a})", f"phi({rng.integers(0, 4)}, {a})", f"({a}*{a})",
    ]  # fmt: skip
    return str(rng.choice(forms))


def ball_errors(seed, count) -> Iterator[str]:
    """Leaves accepted although the inequality fails in the box, and balls that miss a value."""
    rng = np.random.default_rng(seed)
    names = ["x", "u", "z"]
    with mpmath.workdps(DIGITS), balls.precision(64):
        for _ in range(count):
            text = smooth_term(rng, int(rng.integers(1, 4)))
            sides = [sorted(rng.choice([-3, -2, -1, 0, 1, 2, 3, 5], size=2) / 4) for _ in names]
            box = tuple((Fraction(lo), Fraction(hi)) for lo, hi in sides)
            tree = parse(text)
            tape = balls.Tape(tree, names)
            wide = tape.values([balls.interval(lo, hi) for lo, hi in box])[-1]
            points = list(inside(rng, box, names, tree))
            for value in points:
                if wide.is_finite() and not wide.overlaps(flint.arb(mpmath.nstr(value, 40))):
                    yield f"{text} on {box}: {wide} misses {value}"
            # the least value seen is the bound that a leaf must not exceed; one above it is false
            if points:
                low = min(points)
                above = Fraction(int(mpmath.floor(low * 64)) + 1, 64)
                shifted = balls.Tape(parse(f"{text} - ({above})"), names)
                if accepted(shifted, box, strict=False) and low < real(above) - ZERO:
                    yield f"{above} <= {text} is accepted on {box}, {low} is a value"
                flat = balls.Tape(parse(f"({text})**2"), names)
                if accepted(flat, box, strict=True) and any(vanishes(v) for v in points):
                    yield f"0 < ({text})**2 is accepted on {box} where it vanishes"


def accepted(tape, box, strict):
    """Whether a tree of one to four leaves is accepted."""
    for tree in (".", "0..", "00..0.."):
        with contextlib.suppress(CertificateError):
            balls.check_tree(tape, box, tree, strict)
            return True
    return False


def inside(rng, box, names, tree):
    """Values of a term at ends, middles and random points of a box, where they are specified."""
    for kind in range(6):
        share = [Fraction(int(rng.integers(0, 9)), 8) if kind > 2 else Fraction(kind, 2) for _ in names]
        values = Values(rng)
        values.symbols |= {
            name: lo + t * (hi - lo) for name, (lo, hi), t in zip(names, box, share, strict=True)
        }
        with contextlib.suppress(Unspecified):
            yield real(values.number(tree))


def step(rng):
    """A random step over assumed formulas, as often wrong as right: (formulas, step)."""
    a, b, c, d, e = (term(rng, int(rng.integers(0, 2))) for _ in range(5))
    sign, less, more = (str(rng.choice(["<=", "<"])) for _ in range(3))
    at = str(rng.choice(["k", "h", "i", "1", "y", "k + h", "i - k"]))
    symbol = str(rng.choice(["y", "z", "k", "h"]))
    unit = int(rng.integers(0, 2))
    gap, inverse = f"(({b}) - ({a}))", f"({a})*(1/({a})) == 1"
    steps = [
        ([f"{a} {less} {b}"], f"0 {sign} ({e})*{gap}", {"rule": "linear", "multipliers": [e]}),
        ([f"{a} == {b}"], f"0 == ({e})*{gap}", {"rule": "linear", "multipliers": [e]}),
        ([], f"0 {sign} ({e})*({a})**2 + {b}*{c}", {"rule": "linear", "squares": [[e, a]]}),
        ([], f"0 {sign} {a}*{b}", {"rule": "linear"}),
        ([f"{a} {less} {b}", f"{c} {more} {d}"], f"0 {sign} {gap}*(({d}) - ({c}))", {"rule": "product"}),
        ([f"{a} {less} {b}"], f"{a} + 1 <= {b}", {"rule": "discrete"}),
        ([f"{at} {less} {b}"], f"{at} + {unit} {sign} {b}", {"rule": "discrete"}),
        ([f"k {less} i"], "k + 1 <= i", {"rule": "discrete"}),
        ([f"{a} {less} {b}"], f"{rng.choice(['min', 'max'])}({a}, {b}) == {a}", {"rule": "order"}),
        ([f"0 {less} {a}"], inverse, {"rule": "reciprocal", "of": a}),
        ([f"{a} {less} 0"], inverse, {"rule": "reciprocal", "of": a}),
        ([], inverse, {"rule": "reciprocal", "of": a}),
        ([f"0 {less} {a}"], f"sqrt({a})**2 == {a}", {"rule": "root", "of": a}),
        ([], f"sqrt({a})**2 == {a}", {"rule": "root", "of": a}),
        ([f"{a} {less} {b}", f"{b} {more} {a}"], f"{a} == {b}", {"rule": "antisymmetry"}),
        ([f"{a} {less} {b}"], "1 <= 0", {"rule": "absurd"}),
        (
            [],
            f"({a})*phi({1 + unit}, {a}) == phi({unit}, {a}) - {rng.choice(['1', '1/2', '1/3'])}",
            {"rule": "phi_step", "order": 1 + unit, "at": a},
        ),
        ([], f"{unit} {sign} {symbol}", {"rule": "sort", "symbol": symbol}),
        ([f"x {less} y"], f"{a} {less} {b}", {"rule": "instantiate", "with": {"x": a, "y": b}}),
        ([f"0 {less} {a}*h"], f"0 {sign} {a}*({at})", {"rule": "instantiate", "with": {"h": at}}),
        ([f"{a} == {b}", f"{a}*{c} {less} {d}"], f"{b}*{c} {sign} {d}", {"rule": "substitute"}),
    ]
    assumed, conclusion, last = steps[int(rng.integers(len(steps)))]
    return assumed, {**last, "conclusion": conclusion, "from": list(range(len(assumed)))}


def rule_errors(seed, count, accepted_steps=None) -> Iterator[str]:
    """Facts that a rule accepts although their hypotheses hold and their formula fails at some values."""
    rng = np.random.default_rng(seed)
    context = read_context({"symbols": SORTS})
    with mpmath.workdps(DIGITS):
        for _ in range(count):
            assumed, last = step(rng)
            kernel = Kernel(context)
            try:
                for formula in assumed:
                    kernel.step({"rule": "assume", "conclusion": formula})
                fact = kernel.step(last)
            except (CertificateError, KeyError):
                continue
            if accepted_steps is not None:
                accepted_steps.append(last["rule"])
            for _ in range(5):
                values = Values(rng)
                with contextlib.suppress(Unspecified):
                    given = all(values.holds(tree) for tree in fact.hypotheses.values())
                    if given and not values.holds(fact.formula):
                        yield f"{last} from {assumed} fails at {values}"
