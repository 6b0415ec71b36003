"""Ball arithmetic over rational boxes (Arb): values, gradients by forward mode, subdivision trees.

An expression is compiled once to a tape without repeated sub-expressions. A leaf of the tree is accepted if
the natural interval extension or the mean-value form proves the inequality there; a value that is not finite
proves nothing. The tree is a pre-order string: a digit i splits variable i at its midpoint, `.` is a leaf.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import flint

from dlinear.certify.terms import CertificateError, Tree

MAX_CELLS = 4_000_000
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
    """Series remainder phi_k(x) = sum_j x^j/(j+k)!, entire; exp for k = 0."""
    if order == 0:
        return x.exp()
    return x.hypgeom([flint.arb(1)], [flint.arb(order + 1)]) / flint.arb(order).fac()


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
        self.root = self._compile(tree)

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
            case ("pow", a, ("num", e)) if e.denominator == 1 and abs(e) <= 1000:
                return ("pow", self._compile(a), int(e))
            case ("pow", a, ("mul", ("num", s), ("num", e))) if (s * e).denominator == 1:
                return ("pow", self._compile(a), int(s * e))
            case ("call", "exp" | "log" | "sqrt" as op, a):
                return (op, self._compile(a))
            case ("call", "phi", ("num", order), a) if order.denominator == 1 and 0 <= order <= 60:
                return ("phi", self._compile(a), int(order))
        raise CertificateError(f"no ball evaluation of {str(tree[:2])[:60]}")

    def value(self, boxes: Sequence[Any]) -> Any:
        """Ball that contains the expression over the given balls."""
        v: list[Any] = []
        for op in self.ops:
            match op:
                case ("num", q):
                    v.append(ball(q))
                case ("var", i):
                    v.append(boxes[i])
                case ("add", a, b):
                    v.append(v[a] + v[b])
                case ("mul", a, b):
                    v.append(v[a] * v[a] if a == b else v[a] * v[b])
                case ("pow", a, e):
                    v.append(v[a] ** e)
                case ("exp", a):
                    v.append(v[a].exp())
                case ("log", a):
                    v.append(v[a].log())
                case ("sqrt", a):
                    v.append(v[a].sqrt())
                case ("phi", a, k):
                    v.append(phi(k, v[a]))
        return v[self.root]

    def gradient(self, boxes: Sequence[Any]) -> list[Any]:
        """Balls that contain the partial derivatives over the given balls."""
        n = len(self.variables)
        zero, one = flint.arb(0), flint.arb(1)
        v: list[Any] = []
        d: list[list[Any]] = []
        for op in self.ops:
            match op:
                case ("num", q):
                    v.append(ball(q))
                    d.append([zero] * n)
                case ("var", i):
                    v.append(boxes[i])
                    d.append([one if i == j else zero for j in range(n)])
                case ("add", a, b):
                    v.append(v[a] + v[b])
                    d.append([x + y for x, y in zip(d[a], d[b], strict=True)])
                case ("mul", a, b):
                    v.append(v[a] * v[b])
                    d.append([x * v[b] + v[a] * y for x, y in zip(d[a], d[b], strict=True)])
                case ("pow", a, e):
                    v.append(v[a] ** e)
                    slope = v[a] ** (e - 1) * e if e else zero
                    d.append([slope * x for x in d[a]])
                case ("exp", a):
                    v.append(v[a].exp())
                    d.append([v[-1] * x for x in d[a]])
                case ("log", a):
                    v.append(v[a].log())
                    d.append([x / v[a] for x in d[a]])
                case ("sqrt", a):
                    v.append(v[a].sqrt())
                    d.append([x / (2 * v[-1]) for x in d[a]])
                case ("phi", a, k):
                    v.append(phi(k, v[a]))
                    slope = v[-1] - k * phi(k + 1, v[a])
                    d.append([slope * x for x in d[a]])
        return d[self.root]


def sign_on(tape: Tape, box: Box, strict: bool) -> bool:
    """Whether the expression is certainly positive (or, if not strict, non-negative) on a box."""
    wide = [interval(lo, hi) for lo, hi in box]
    value = tape.value(wide)
    if _shows(value, strict):
        return True
    if not value.is_finite():
        return False
    middle = [ball((lo + hi) / 2) for lo, hi in box]
    total = tape.value(middle)
    for slope, w, m in zip(tape.gradient(wide), wide, middle, strict=True):
        total += slope * (w - m)
    return _shows(total, strict)


def _shows(value: Any, strict: bool) -> bool:
    if not value.is_finite():
        return False
    return bool(value > 0) if strict else bool(value >= 0)


def halves(box: Box, axis: int) -> tuple[Box, Box]:
    """The box cut at the midpoint of one axis."""
    lo, hi = box[axis]
    middle = (lo + hi) / 2
    return (
        (*box[:axis], (lo, middle), *box[axis + 1 :]),
        (*box[:axis], (middle, hi), *box[axis + 1 :]),
    )


def check_tree(tape: Tape, box: Box, tree: str, strict: bool) -> int:
    """Re-evaluates every leaf; returns their number, or raises if one fails or the tree is malformed."""
    if not isinstance(tree, str) or len(tree) > MAX_CELLS:
        raise CertificateError("the subdivision tree must be a string of bounded length")
    stack, leaves = [box], 0
    for mark in tree:
        if not stack:
            raise CertificateError("the subdivision tree has leaves that belong to no box")
        cell = stack.pop()
        if mark == ".":
            if not sign_on(tape, cell, strict):
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
