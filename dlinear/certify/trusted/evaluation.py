"""Evaluation of a statement at explicit rational numbers and matrices, exactly where possible.

Values are rationals or Arb balls; a comparison is true, false or undecided, never guessed. A quantity that a
statement only says to exist ("there is lambda_2 such that ...") is a ball that contains every real number, so
that what is concluded holds for each of its values; an exact zero times it is zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import floor
from typing import Any

from dlinear.certify.trusted.arithmetic import (
    Rows,
    add,
    compare,
    identity,
    inner,
    lift,
    plus,
    power,
    product,
    rational,
    root,
    rows,
    scaled,
    spectral,
    times,
    transposed,
)
from dlinear.certify.trusted.balls import phi
from dlinear.certify.trusted.limits import bits, spend
from dlinear.certify.trusted.terms import INTEGER_SORTS, CertificateError, Context, Tree, substitute
from dlinear.optional import needed

with needed("ball arithmetic"):
    import flint

MAX_LAYERS = 4000
MAX_SHOWN = 2000
LEAST = {"nonneg": 0, "natural": 0, "posint": 1}
EVERY_NUMBER = flint.arb(0, flint.arb.pos_inf())


class Model:
    """Explicit values for the symbols and families of a context."""

    def __init__(self, context: Context, values: Mapping[str, Any], exists: Sequence[str]) -> None:
        unknown = set(values) - set(context.symbols) - set(context.families) - set(context.definitions)
        if unknown:
            raise CertificateError(f"values for undeclared names: {', '.join(sorted(unknown))}"[:200])
        self.context = context
        self.width: int | None = self._given(values.get("n"))
        self.numbers: dict[str, Any] = {}
        self.matrices: dict[str, Rows] = {}
        self.layers: dict[str, dict[int, Rows]] = {}
        self.sequences: dict[str, dict[int, Fraction]] = {}
        # matrices first: they say what the width is
        for name, sort in context.symbols.items():
            if sort == "matrix":
                self.matrices[name] = self._rows(values.get(name))
        for name in context.families:
            self.layers[name] = {k: self._rows(v) for k, v in self._table(name, values).items()}
        for name, sort in context.symbols.items():
            if sort != "matrix":
                self.numbers[name] = self._number(name, sort, values, exists)
        for name, (_, _, cases) in context.definitions.items():
            if not cases:
                self.sequences[name] = {k: rational(v) for k, v in self._table(name, values).items()}
            elif name in values:
                raise CertificateError(f"{name} is defined by the statement: it takes no value")
        self._check_bounds()

    def _number(self, name: str, sort: str, values: Mapping[str, Any], exists: Sequence[str]) -> Any:
        """Value of a symbol: what is given, the width, or, of an open constant, every number at once."""
        if name in exists:
            if sort != "real":
                raise CertificateError(f"{name}: only a real can be left open")
            return EVERY_NUMBER
        if name in values:
            return self._sorted(name, sort, rational(values[name]))
        if name == "n" and self.width:
            return Fraction(self.width)
        raise CertificateError(f"no value for {name}")

    def _table(self, name: str, values: Mapping[str, Any]) -> dict[int, Any]:
        """What is given for a family or a sequence, by its index."""
        table = values.get(name, {})
        if not isinstance(table, dict) or len(table) > MAX_LAYERS:
            raise CertificateError(f"{name} needs an object index -> value, of at most {MAX_LAYERS} entries")
        found = {self._index(k): v for k, v in table.items()}
        if len(found) < len(table):
            raise CertificateError(f"{name} has two values at one index")
        return found

    def _given(self, width: Any) -> int | None:
        if width is None or self.context.symbols.get("n") != "posint":
            return None
        return int(self._sorted("n", "posint", rational(width)))

    @staticmethod
    def _index(text: Any) -> int:
        value = rational(text)
        if value.denominator != 1:
            raise CertificateError("a layer index must be an integer")
        return int(value)

    @staticmethod
    def _sorted(name: str, sort: str, value: Fraction) -> Fraction:
        bad = (sort in LEAST and value < LEAST[sort]) or (sort == "positive" and value <= 0)
        if bad or (sort in INTEGER_SORTS and value.denominator != 1):
            raise CertificateError(f"{name} = {value} is not {sort}")
        return value

    def _rows(self, data: Any) -> Rows:
        result = rows(data, self.width)
        self.width = len(result)
        return result

    def _check_bounds(self) -> None:
        for name, bound in self.context.families.items():
            if bound is None:
                continue
            limit = self.number(bound)
            zero: Any = Fraction(0)
            for value in [zero, *(spectral(m, largest=True) for m in self.layers[name].values())]:
                if compare("<=", value, limit) is not True:
                    raise CertificateError(f"a layer of {name} is not shown to keep its bound")

    # -- numbers ---------------------------------------------------------------------------------
    def number(self, tree: Tree) -> Any:
        """Value of a number: a rational or a ball."""
        spend()
        match tree:
            case ("num", value):
                return value
            case ("sym", name):
                return self.numbers[name]
            case ("add", a, b):
                return plus(self.number(a), self.number(b))
            case ("mul", a, b):
                return times(self.number(a), self.number(b))
            case ("pow", a, b):
                return power(self.number(a), self.number(b))
            case ("call", "F", x):
                return root(sum((inner(row, row) for row in self.matrix(x)), Fraction(0)))
            case ("call", "N" | "S" as name, x):
                return spectral(self.matrix(x), largest=name == "N")
            case ("call", "ip", x, y):
                pairs = zip(self.matrix(x), self.matrix(y), strict=True)
                return sum((inner(r, s) for r, s in pairs), Fraction(0))
            case ("call", name, a) if name in self.context.sums:
                return self._sum(name, self._whole(a))
            case ("call", name, a) if name in self.sequences:
                return self.sequences[name].get(self._whole(a), Fraction(0))
            case ("call", name, a) if name in self.context.definitions:
                return self.number(self._case(name, self._whole(a)))
            case ("call", "phi", ("num", order), a) if order.denominator == 1 and 0 <= order <= 60:
                return phi(int(order), lift(self.number(a)))
            case ("call", name, *args) if name in ("exp", "log", "sqrt", "floor", "min", "max"):
                return _function(name, [self.number(a) for a in args])
        raise CertificateError(f"no exact evaluation of {str(tree[:2])[:60]}")

    def _sum(self, name: str, count: int) -> Any:
        """Sum of the terms 0 <= t < count."""
        index, term = self.context.sums[name]
        total: Any = Fraction(0)
        for j in range(count):
            total = plus(total, self.number(substitute(term, {index: ("num", Fraction(j))})))
        return total

    def _whole(self, tree: Tree) -> int:
        value = self.number(tree)
        if not isinstance(value, Fraction) or value.denominator != 1 or abs(value) > MAX_LAYERS:
            raise CertificateError("an index is not a small integer")
        return int(value)

    def _case(self, name: str, at: int) -> Tree:
        """Term of a case whose conditions hold; where several do, they have one value (see `consistency`)."""
        index, _, cases = self.context.definitions[name]
        mapping: dict[str, Tree] = {index: ("num", Fraction(at))}
        for conditions, term in cases:
            if all(self.decide(substitute(c, mapping)) is True for c in conditions):
                return substitute(term, mapping)
        raise CertificateError(f"{name}({at}) is not defined")

    # -- matrices --------------------------------------------------------------------------------
    def matrix(self, tree: Tree) -> Rows:
        """Value of a matrix, exact."""
        spend()
        match tree:
            case ("sym", "I"):
                return identity(self._width())
            case ("sym", name):
                return self.matrices[name]
            case ("T", x):
                return transposed(self.matrix(x))
            case ("add", a, b):
                return add(self.matrix(a), self.matrix(b))
            case ("mul", a, b):
                left, right = self._is_matrix(a), self._is_matrix(b)
                if left and right:
                    return product(self.matrix(a), self.matrix(b))
                factor = self.number(b if left else a)
                if not isinstance(factor, Fraction):
                    raise CertificateError("a matrix times a number that is not rational")
                return scaled(factor, self.matrix(a if left else b))
            case ("call", name, a) if name in self.context.families:
                empty = scaled(Fraction(0), identity(self._width()))
                return self.layers[name].get(self._whole(a), empty)
            case ("call", name, a, b) if name in self.context.products or name in self.context.totals:
                return self._window(name, self._whole(a), self._whole(b))
            case ("call", name, a) if name in self.context.definitions:
                return self.matrix(self._case(name, self._whole(a)))
        raise CertificateError(f"no exact evaluation of {str(tree[:2])[:60]}")

    def _width(self) -> int:
        if self.width is None:
            raise CertificateError("the width n is unknown")
        return self.width

    def _window(self, name: str, start: int, stop: int) -> Rows:
        """W(start, stop) = (I + D(stop - 1)) ... (I + D(start)), or D(start) + ... + D(stop - 1)."""
        if stop < start:
            raise CertificateError(f"window {name}({start}, {stop}) runs backwards")
        spend(stop - start)
        multiplied = name in self.context.products
        base = (self.context.products if multiplied else self.context.totals)[name]
        result = scaled(Fraction(int(multiplied)), identity(self._width()))
        for t in range(start, stop):
            if base not in self.layers:
                layer = self.matrix(("call", base, ("num", Fraction(t))))
            elif t in self.layers[base]:
                layer = self.layers[base][t]
            else:  # 0 where no layer is given
                continue
            result = add(result, product(layer, result) if multiplied else layer)
        return result

    def _is_matrix(self, tree: Tree) -> bool:
        match tree:
            case ("sym", name):
                return name == "I" or name in self.matrices
            case ("T", _):
                return True
            case ("add" | "mul", a, b):
                return self._is_matrix(a) or self._is_matrix(b)
            case ("call", name, *_):
                c = self.context
                return (
                    name in c.families
                    or name in c.products
                    or name in c.totals
                    or c.definitions.get(name, ("", ""))[1] == "matrix"
                )
        return False

    def decide(self, formula: Tree) -> bool | None:
        """True, False, or None where the balls do not tell."""
        relation, left, right = formula
        if self._is_matrix(left):
            return self.matrix(left) == self.matrix(right)
        return compare(relation, self.number(left), self.number(right))

    def text(self, tree: Tree) -> str:
        """Value as a short decimal, for the evidence line."""
        if self._is_matrix(tree):
            return str([[_short(v) for v in row] for row in self.matrix(tree)])
        return _short(self.number(tree))


def _short(value: Any) -> str:
    """A rational in full where that is short, otherwise six digits."""
    if isinstance(value, Fraction) and bits(value) < 64 and len(str(value)) < 12:
        return str(value)
    return str(lift(value).str(6, radius=False))


def _function(name: str, values: list[Any]) -> Any:
    """Value of a function of the language; exact where it can be."""
    x, *more = values
    exact = all(isinstance(value, Fraction) for value in values)
    match name:
        case "exp":
            return Fraction(1) if exact and x == 0 else lift(x).exp()
        case "log":
            return lift(x).log()
        case "sqrt":
            return root(x)
    if not exact:
        raise CertificateError(f"{name} needs rational values")
    return Fraction(floor(x)) if name == "floor" else {"min": min, "max": max}[name](x, *more)


def model_text(values: Mapping[str, Any]) -> str:
    """The counterexample in one line, cut off where it is long."""
    text = ", ".join(f"{name} = {str(value).replace(chr(39), '')}" for name, value in values.items())
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
