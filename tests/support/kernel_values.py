"""Values of terms, formulas and normal forms, computed without the kernel: for the searches of `kernel_fuzz`.

The values keep the conventions of the language: 1/0 = 0, the square root and the logarithm of what is not
positive are 0.
"""

from __future__ import annotations

from fractions import Fraction

import mpmath
import numpy as np

SORTS = {
    "x": "real", "u": "real", "y": "nonneg", "z": "positive", "k": "natural", "h": "posint", "i": "integer",
    "A": "matrix", "B": "matrix", "n": "posint",
}  # fmt: skip
DRAWS = {
    "real": ["0", "-1", "1", "-1/2", "3/2", "-3"],
    "nonneg": ["0", "0", "1/2", "1", "2"],
    "positive": ["1/4", "1/2", "1", "3"],
    "natural": ["0", "0", "1", "2", "3"],
    "posint": ["1", "2", "3"],
    "integer": ["-2", "-1", "0", "1", "2"],
}
DIGITS = 60
ZERO = mpmath.mpf(10) ** -40


class Unspecified(Exception):
    """A value that the language leaves open, or that is out of range here."""


# -- values -------------------------------------------------------------------------------------------------
def real(value):
    """mpf of a rational or an mpf."""
    return mpmath.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def vanishes(value):
    """Whether a value is 0; an mpf by its size."""
    return value == 0 if isinstance(value, Fraction) else abs(value) < ZERO


def plus(a, b):
    return a + b if isinstance(a, Fraction) and isinstance(b, Fraction) else real(a) + real(b)


def times(a, b):
    return a * b if isinstance(a, Fraction) and isinstance(b, Fraction) else real(a) * real(b)


def power(x, e):
    """x**e with 0**e = 0 for e != 0 and sqrt(x) = 0 for x < 0."""
    if vanishes(e):
        return Fraction(1)
    if vanishes(x):
        return Fraction(0)
    if abs(real(e)) > 60 or abs(real(e) * mpmath.log(abs(real(x)))) > 200:
        raise Unspecified
    if isinstance(e, Fraction) and e.denominator == 1:
        return x ** int(e)
    if real(x) < 0:
        if e == Fraction(1, 2):
            return Fraction(0)
        raise Unspecified
    return real(x) ** real(e)


def function(name, args):
    x = args[0]
    match name:
        case "exp":
            return power(mpmath.e, x)
        case "sqrt":
            return power(x, Fraction(1, 2))
        case "log":
            return mpmath.log(real(x)) if real(x) > ZERO else Fraction(0)
        case "min" | "max":
            return {"min": min, "max": max}[name](args, key=real)
        case "floor":
            low = int(mpmath.floor(real(x)))
            if not isinstance(x, Fraction) and abs(real(x) - low - mpmath.mpf(1) / 2) > 0.499:
                raise Unspecified
            return Fraction(low)
        case "phi":
            if abs(real(args[1])) > 12:
                raise Unspecified
            order, point = int(x), real(args[1])
            return mpmath.fsum(point**j / mpmath.factorial(j + order) for j in range(110))
    raise Unspecified


class Values:
    """One value for each symbol of `SORTS`; matrices are n x n arrays of rationals."""

    def __init__(self, rng):
        self.symbols = {
            name: Fraction(str(rng.choice(DRAWS[sort]))) for name, sort in SORTS.items() if sort != "matrix"
        }
        size = int(rng.integers(1, 4))
        self.symbols["n"] = Fraction(size)
        kind = rng.integers(0, 4, size=2)
        self.matrices = {
            name: rationals(some_matrix(rng, size, k)) for name, k in zip("AB", kind, strict=True)
        }

    def __str__(self):
        shown = {name: str(value) for name, value in self.symbols.items()}
        return str(shown | {name: m.astype(float).tolist() for name, m in self.matrices.items()})

    def is_matrix(self, tree):
        match tree:
            case ("sym", name):
                return name == "I" or name in self.matrices
            case ("T", _):
                return True
            case ("add", a, _):
                return self.is_matrix(a)
            case ("mul", a, b):
                return self.is_matrix(a) or self.is_matrix(b)
        return False

    def matrix(self, tree):
        match tree:
            case ("sym", "I"):
                return rationals(np.eye(int(self.symbols["n"]), dtype=int))
            case ("sym", name):
                return self.matrices[name]
            case ("T", a):
                return self.matrix(a).T
            case ("add", a, b):
                return self.matrix(a) + self.matrix(b)
            case ("mul", a, b):
                if self.is_matrix(a) and self.is_matrix(b):
                    return self.matrix(a) @ self.matrix(b)
                a, b = (a, b) if self.is_matrix(a) else (b, a)
                return self.matrix(a) * self.exact(self.number(b))
        raise AssertionError(tree)

    @staticmethod
    def exact(value):
        if not isinstance(value, Fraction):
            raise Unspecified
        return value

    def number(self, tree):
        """Value of a term, by the tree."""
        match tree:
            case ("num", q):
                return q
            case ("sym", name):
                return self.symbols[name]
            case ("add", a, b):
                return plus(self.number(a), self.number(b))
            case ("mul", a, b):
                return times(self.number(a), self.number(b))
            case ("pow", a, b):
                return power(self.number(a), self.number(b))
            case ("call", "ip", a, b):
                return (self.matrix(a) * self.matrix(b)).sum()
            case ("call", "F", a):
                return power((self.matrix(a) ** 2).sum(), Fraction(1, 2))
            case ("call", name, *args):
                return function(name, [self.number(a) for a in args])
        raise AssertionError(tree)

    def form(self, form):
        """Value of a normal form, monomial by monomial."""
        total = Fraction(0)
        for monomial, factor in form.items():
            for base, e in monomial:
                exponent = e if isinstance(e, Fraction) else self.form(dict(e))
                factor = times(factor, power(self.base(base), exponent))
            total = plus(total, factor)
        return total

    def base(self, base):
        match base:
            case ("s", name):
                return self.symbols[name]
            case ("e",):
                return mpmath.e
            case ("q", q):
                return q
            case ("p", key):
                return self.form(dict(key))
            case ("inv", key):
                return power(self.form(dict(key)), Fraction(-1))
            case ("pow", key, e):
                return power(self.form(dict(key)), e if isinstance(e, Fraction) else self.form(dict(e)))
            case ("tr", word):
                return np.trace(self.word(word))
            case ("norm", "F", key):
                matrix = sum(self.word(word) * self.exact(self.form(dict(v))) for word, v in key)
                return power((matrix**2).sum(), Fraction(1, 2))
            case ("fn", name, *args):
                return function(name, [self.form(dict(a)) for a in args])
        raise AssertionError(base)

    def word(self, word):
        result = rationals(np.eye(int(self.symbols["n"]), dtype=int))
        for (_, name), turned in word:
            result = result @ (self.matrices[name].T if turned else self.matrices[name])
        return result

    def holds(self, formula):
        """Whether a formula is true up to rounding."""
        relation, left, right = formula
        if self.is_matrix(left):
            return bool((self.matrix(left) == self.matrix(right)).all())
        a, b = self.number(left), self.number(right)
        exact = isinstance(a, Fraction) and isinstance(b, Fraction)
        gap = real(plus(b, -a))
        slack = mpmath.mpf(10) ** -25 * (1 + abs(real(a)))
        if relation == "==":
            return abs(gap) <= slack
        if relation == "<" and not exact and abs(gap) <= slack:
            raise Unspecified  # rounding does not tell
        return gap > -slack if relation == "<=" else gap > 0


def rationals(array):
    """Matrix of rationals from integers."""
    return np.array([[Fraction(int(v)) for v in row] for row in array], dtype=object)


def some_matrix(rng, size, kind):
    """Integers: full, of rank one, diagonal with zeros and negatives, or zero."""
    if kind == 0:
        return rng.integers(-3, 4, size=(size, size))
    if kind == 1:
        return np.outer(rng.integers(-2, 3, size=size), rng.integers(-2, 3, size=size))
    return np.diag(rng.integers(-2, 3, size=size)) * (kind == 2)
