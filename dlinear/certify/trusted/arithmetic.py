"""Arithmetic of explicit values: rationals as long as possible, balls (Arb) after that, exact matrices.

The conventions of the language hold here too: 1/0 = 0, and the square root of a negative number is 0.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from dlinear.certify.trusted.balls import ball, whole_power
from dlinear.certify.trusted.errors import CertificateError
from dlinear.certify.trusted.limits import bits, cost, spend
from dlinear.optional import needed

with needed("ball arithmetic"):
    import flint

Rows = list[list[Fraction]]
MAX_BITS = 1_000_000
MAX_DIGITS = 2000
MAX_EXPONENT = 100_000


def rational(text: Any) -> Fraction:
    """Exact rational from an integer or a string such as "3/10"; floats are refused."""
    if isinstance(text, bool) or not isinstance(text, int | str):
        raise CertificateError(f"expected an integer or a fraction in quotes, got {text!r}"[:200])
    size = len(text) if isinstance(text, str) else text.bit_length() // 4
    if size > MAX_DIGITS:
        raise CertificateError(f"a number of more than {MAX_DIGITS} digits")
    try:
        if isinstance(text, str) and not all(ch in "-+0123456789/" for ch in text):
            raise ValueError
        return Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise CertificateError(f"expected an integer or a fraction in quotes, got {text!r}"[:200]) from error


def lift(x: Any) -> Any:
    """Ball of a value."""
    return ball(x) if isinstance(x, Fraction) else x


def plus(x: Any, y: Any) -> Any:
    """x + y."""
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        spend(cost(x, y))
        return _bounded(x + y)
    return lift(x) + lift(y)


def times(x: Any, y: Any) -> Any:
    """x y; an exact zero times a ball, even one that is not finite, is zero."""
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        spend(cost(x, y))
        return _bounded(x * y)
    if any(isinstance(z, Fraction) and z == 0 for z in (x, y)):
        return Fraction(0)
    return lift(x) * lift(y)


def _bounded(x: Fraction) -> Fraction:
    if bits(x) > MAX_BITS:
        raise CertificateError(f"a number of more than {MAX_BITS} bits is not evaluated")
    return x


def power(x: Any, e: Any) -> Any:
    """x ** e."""
    if isinstance(e, Fraction) and e.denominator == 1 and abs(e) <= MAX_EXPONENT:
        if not isinstance(x, Fraction):
            return whole_power(x, int(e))
        if abs(e) * bits(x) > MAX_BITS:
            raise CertificateError(f"a power of more than {MAX_BITS} bits is not evaluated")
        return Fraction(0) if x == 0 and e < 0 else x ** int(e)
    base = lift(x)
    if not bool(base > 0):
        raise CertificateError("a broken power needs a positive base")
    return (lift(e) * base.log()).exp()


def root(x: Any) -> Any:
    """Square root; exact for squares of rationals; 0 for a negative number."""
    if isinstance(x, Fraction):
        if x <= 0:
            return Fraction(0)
        up, down = flint.fmpz(x.numerator), flint.fmpz(x.denominator)
        if up.is_square() and down.is_square():
            return Fraction(int(up.isqrt()), int(down.isqrt()))
        return ball(x).sqrt()
    return x.sqrt()


def compare(relation: str, x: Any, y: Any) -> bool | None:
    """Three-valued comparison of rationals and balls: True, False, or None where the balls do not tell."""
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        return {"<=": x <= y, "<": x < y, "==": x == y}[relation]
    a, b = lift(x), lift(y)
    holds, fails = {
        "<=": (a <= b, a > b),
        "<": (a < b, a >= b),
        "==": (False, bool(a < b) or bool(a > b)),
    }[relation]
    return True if bool(holds) else False if bool(fails) else None


def rows(data: Any, width: int | None) -> Rows:
    """Square rational matrix from nested lists."""
    lists = isinstance(data, list) and all(isinstance(row, list) for row in data)
    if not lists or not data or any(len(row) != len(data) for row in data):
        raise CertificateError("a matrix must be a square list of rows")
    if width is not None and len(data) != width:
        raise CertificateError(f"all matrices must be {width} x {width}")
    spend(len(data) ** 2)
    return [[rational(x) for x in row] for row in data]


def identity(width: int) -> Rows:
    """Identity matrix."""
    return [[Fraction(int(i == j)) for j in range(width)] for i in range(width)]


def add(x: Rows, y: Rows) -> Rows:
    """Matrix sum."""
    return [[plus(u, v) for u, v in zip(r, s, strict=True)] for r, s in zip(x, y, strict=True)]


def scaled(factor: Fraction, x: Rows) -> Rows:
    """A number times a matrix."""
    return [[times(factor, v) for v in row] for row in x]


def transposed(x: Rows) -> Rows:
    """Transpose."""
    spend(len(x) ** 2)
    return [list(column) for column in zip(*x, strict=True)]


def product(x: Rows, y: Rows) -> Rows:
    """Matrix product."""
    columns = transposed(y)
    return [[inner(row, column) for column in columns] for row in x]


def inner(x: list[Fraction], y: list[Fraction]) -> Fraction:
    """Inner product of two lists."""
    total = Fraction(0)
    for u, v in zip(x, y, strict=True):
        total = plus(total, times(u, v))
    return total


def spectral(x: Rows, *, largest: bool) -> Any:
    """Extreme singular value: exact if X^T X is diagonal, else by its characteristic polynomial."""
    gram = product(transposed(x), x)
    width = len(gram)
    diagonal = [gram[i][i] for i in range(width)]
    if all(gram[i][j] == 0 for i in range(width) for j in range(width) if i != j):
        return root(max(diagonal) if largest else min(diagonal))
    length = max(bits(v) for row in gram for v in row)
    spend(3 * width**3 * (1 + width * length / 1000) ** 1.5)  # fits what flint needs up to width 32
    entries = [[flint.fmpq(v.numerator, v.denominator) for v in row] for row in gram]
    poly = flint.fmpq_mat(entries).charpoly()
    integer = flint.fmpz_poly([int(c * poly.denom()) for c in poly.coeffs()])
    pairs: Any = integer.complex_roots()
    best, *others = [value.real for value, _ in pairs]
    for value in others:
        best = best.max(value) if largest else best.min(value)
    return best.nonnegative_part().sqrt()
