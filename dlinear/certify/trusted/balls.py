"""Ball arithmetic over rational boxes (Arb): values, gradients by a backward sweep, subdivision trees.

An expression is compiled once to a tape without repeated sub-expressions. A leaf of the tree is accepted if
the natural interval extension or the mean-value form proves the inequality there; a value that is not finite
proves nothing. The tree is a pre-order string: a digit i splits variable i at its midpoint, `.` is a leaf.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache
from math import factorial
from typing import Any

from dlinear.certify.trusted.limits import cost, spend
from dlinear.certify.trusted.terms import CertificateError, Tree
from dlinear.optional import needed

with needed("ball arithmetic"):
    import flint

MAX_CELLS = 4_000_000
MAX_EXPONENT = 1000
MAX_ORDER = 60
NEAR = flint.fmpq(1, 8)
TERMS = 20
Box = tuple[tuple[Fraction, Fraction], ...]


@contextmanager
def precision(bits: int) -> Iterator[None]:
    """Working precision in bits, restored afterwards."""
    if not isinstance(bits, int) or isinstance(bits, bool) or not 24 <= bits <= 4096:
        raise CertificateError(f"bits must be an integer in 24..4096, got {bits!r}")
    before = flint.ctx.prec
    flint.ctx.prec = bits
    try:
        yield
    finally:
        flint.ctx.prec = before


def ball(value: Fraction) -> Any:
    """Ball around one rational."""
    return flint.arb(flint.fmpq(value.numerator, value.denominator))


def interval(lo: Fraction, hi: Fraction) -> Any:
    """Ball that contains [lo, hi]."""
    return ball(lo) if lo == hi else ball(lo).union(ball(hi))


def phi(order: int, x: Any) -> Any:
    """Series remainder phi_k(x) = sum_j x^j/(j+k)!, entire and increasing; exp for k = 0."""
    if order == 0:
        return x.exp()
    if not x.is_finite():
        return x * 0 / 0
    low, high = x.lower(), x.upper()
    return _phi(order, low) if low == high else _phi(order, low).union(_phi(order, high))


def _phi(order: int, x: Any) -> Any:
    """phi_k at a point: recursion from exp away from 0; near 0 a Taylor sum with |x| <= 1/8."""
    if bool(abs(x) >= NEAR):
        value = x.exp()
        for j in range(order):
            value = (value - _inverse_factorial(j)) / x
        return value
    total = flint.arb(0)
    for j in reversed(range(TERMS)):
        total = total * x + _inverse_factorial(j + order)
    # the rest is at most |x|^TERMS/(TERMS + k)! (1 + |x| + ...) in size
    rest = abs(x) ** TERMS * 2 * _inverse_factorial(TERMS + order)
    return total + flint.arb(0, rest.upper())


@lru_cache(maxsize=4096)
def _inverse_factorial(j: int) -> Any:
    return flint.fmpq(1, factorial(j))


def whole_power(x: Any, e: int) -> Any:
    """x ** e from the ends of the ball, between which the power (of |x| if e is even) is monotone."""
    if e < 0:
        return 1 / whole_power(x, -e)
    if e <= 1:
        return x if e else flint.arb(1)
    size = abs(x) if e % 2 == 0 else x
    low, high = size.lower(), size.upper()
    if low == high:
        return _product(low, e)
    if e % 2 == 0 and not bool(low > 0):
        return flint.arb(0).union(_product(high, e))
    return _product(low, e).union(_product(high, e))


def _product(x: Any, e: int) -> Any:
    result = x
    for digit in bin(e)[3:]:
        result = result * result
        if digit == "1":
            result = result * x
    return result


class Tape:
    """Straight-line program of one expression in the given variables.

    Args:
        tree: expression over `+ - * / **integer exp log sqrt phi`.
        variables: names, in the order of the box.
    """

    def __init__(self, tree: Tree, variables: Sequence[str]) -> None:
        self.variables = list(variables)
        self.ops: list[tuple[Any, ...]] = []
        self._index: dict[Tree, int] = {}
        self._precision = 0
        self._constants: dict[Fraction, Any] = {}
        self._compile(tree)
        self._units = sum(TERMS if op[0] == "phi" else 1 for op in self.ops)

    def _compile(self, tree: Tree) -> int:
        if tree not in self._index:
            op = self._op(tree)
            self.ops.append(op)
            self._index[tree] = len(self.ops) - 1
        return self._index[tree]

    def _op(self, tree: Tree) -> tuple[Any, ...]:
        match tree:
            case ("num", value):
                return ("num", value)
            case ("sym", name) if name in self.variables:
                return ("var", self.variables.index(name))
            case ("add" | "mul" as op, a, b):
                return (op, self._compile(a), self._compile(b))
            case ("pow", a, ("num", e)) if e.denominator == 1 and abs(e) <= MAX_EXPONENT:
                return ("pow", self._compile(a), int(e))
            case ("pow", a, ("mul", ("num", s), ("num", e))):  # x**(-2)
                return self._op(("pow", a, ("num", s * e)))
            case ("call", "exp" | "log" | "sqrt" as op, a):
                return (op, self._compile(a))
            case ("call", "phi", ("num", order), a) if order.denominator == 1 and 0 <= order <= MAX_ORDER:
                return ("phi", self._compile(a), int(order))
        raise CertificateError(f"no ball evaluation of {str(tree[:2])[:60]}")

    def values(self, boxes: Sequence[Any]) -> list[Any]:
        """Balls that contain each quantity of the tape over the given balls; the expression is the last."""
        self._spend()
        if self._precision != flint.ctx.prec:
            self._precision = flint.ctx.prec
            self._constants = {op[1]: ball(op[1]) for op in self.ops if op[0] == "num"}
        v: list[Any] = []
        for op in self.ops:
            match op:
                case ("num", q):
                    v.append(self._constants[q])
                case ("var", i):
                    v.append(boxes[i])
                case ("add", a, b):
                    v.append(v[a] + v[b])
                case ("mul", a, b):
                    v.append(whole_power(v[a], 2) if a == b else v[a] * v[b])
                case ("pow", a, e):
                    v.append(whole_power(v[a], e))
                case ("exp", a):
                    v.append(v[a].exp())
                case ("log", a):
                    v.append(v[a].log())
                case ("sqrt", a):
                    v.append(v[a].sqrt())
                case ("phi", a, k):
                    v.append(phi(k, v[a]))
        return v

    def _spend(self) -> None:
        """One sweep over the tape."""
        spend(self._units * (0.4 + flint.ctx.prec / 250))

    def gradient(self, v: Sequence[Any]) -> list[Any]:
        """Balls that contain the partial derivatives, by one backward sweep over `values`."""
        self._spend()
        zero = flint.arb(0)
        slope: list[Any] = [zero] * len(self.ops)
        slope[-1] = flint.arb(1)
        partial = [zero] * len(self.variables)
        for at in reversed(range(len(self.ops))):
            s = slope[at]
            match self.ops[at]:
                case ("var", i):
                    partial[i] += s
                case ("add", a, b):
                    slope[a] += s
                    slope[b] += s
                case ("mul", a, b):
                    slope[a] += s * v[b]
                    slope[b] += s * v[a]
                case ("pow", a, e) if e:
                    slope[a] += s * e * whole_power(v[a], e - 1)
                case ("exp", a):
                    slope[a] += s * v[at]
                case ("log", a):
                    slope[a] += s / v[a]
                case ("sqrt", a):
                    slope[a] += s / (2 * v[at])
                case ("phi", a, k):
                    slope[a] += s * (v[at] - k * phi(k + 1, v[a]))
        return partial


def sign_on(tape: Tape, box: Box, strict: bool) -> bool:
    """Whether the expression is certainly positive (or, if not strict, non-negative) on a box."""
    wide = [interval(lo, hi) for lo, hi in box]
    values = tape.values(wide)
    if _shows(values[-1], strict):
        return True
    if not values[-1].is_finite():
        return False
    middle = [ball((lo + hi) / 2) for lo, hi in box]
    total = tape.values(middle)[-1]
    for slope, w, m in zip(tape.gradient(values), wide, middle, strict=True):
        total += slope * (w - m)
    return _shows(total, strict)


def _shows(value: Any, strict: bool) -> bool:
    if not value.is_finite():
        return False
    return bool(value > 0) if strict else bool(value >= 0)


def halves(box: Box, axis: int) -> tuple[Box, Box]:
    """The box cut at the midpoint of one axis."""
    lo, hi = box[axis]
    spend(cost(lo, hi))
    middle = (lo + hi) / 2
    return (
        (*box[:axis], (lo, middle), *box[axis + 1 :]),
        (*box[:axis], (middle, hi), *box[axis + 1 :]),
    )


def check_tree(tape: Tape, box: Box, tree: str, strict: bool, *, evaluate: bool = True) -> int:
    """Re-evaluates every leaf; returns their number, or raises if one fails or the tree is malformed."""
    if not isinstance(tree, str) or len(tree) > MAX_CELLS:
        raise CertificateError("the subdivision tree must be a string of bounded length")
    stack, leaves = [box], 0
    for mark in tree:
        if not stack:
            raise CertificateError("the subdivision tree has leaves that belong to no box")
        cell = stack.pop()
        if mark == ".":
            if evaluate and not sign_on(tape, cell, strict):
                text = ", ".join(f"[{lo}, {hi}]" for lo, hi in cell)
                raise CertificateError(
                    f"a leaf of the subdivision does not prove the inequality: {text}"[:300]
                )
            leaves += 1
        elif mark.isascii() and mark.isdigit() and int(mark) < len(box):
            left, right = halves(cell, int(mark))
            stack += [right, left]
        else:
            raise CertificateError(f"unknown mark {mark!r} in the subdivision tree")
    if stack:
        raise CertificateError("the subdivision tree does not cover the box")
    return leaves
