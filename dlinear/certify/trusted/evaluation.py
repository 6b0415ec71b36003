"""Evaluation of a statement at explicit rational numbers and matrices, exactly where possible.

Values are rationals or Arb balls; a comparison is true, false or undecided, never guessed. A quantity that a
statement only says to exist ("there is lambda_2 such that ...") is a ball that contains every real number, so
that what is concluded holds for each of its values; an exact zero times it is zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from dlinear.certify.trusted.balls import ball, phi, whole_power
from dlinear.certify.trusted.terms import INTEGER_SORTS, CertificateError, Context, Tree, substitute
from dlinear.optional import needed

with needed("ball arithmetic"):
    import flint

Rows = list[list[Fraction]]
MAX_LAYERS = 4000
MAX_BITS = 1_000_000


def rational(text: Any) -> Fraction:
    """Exact rational from an integer or a string such as "3/10"; floats are refused."""
    if isinstance(text, bool) or not isinstance(text, int | str) or len(str(text)) > 2000:
        raise CertificateError(f"expected an integer or a fraction in quotes, got {text!r}"[:200])
    try:
        if isinstance(text, str) and not all(ch in "-+0123456789/" for ch in text):
            raise ValueError
        return Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise CertificateError(f"expected an integer or a fraction in quotes, got {text!r}"[:200]) from error


def rows(data: Any, width: int | None) -> Rows:
    """Square rational matrix from nested lists."""
    if (
        not isinstance(data, list)
        or not data
        or any(not isinstance(r, list) or len(r) != len(data) for r in data)
    ):
        raise CertificateError("a matrix must be a square list of rows")
    if width is not None and len(data) != width:
        raise CertificateError(f"all matrices must be {width} x {width}")
    return [[rational(x) for x in row] for row in data]


class Model:
    """Explicit values for the symbols and families of a context."""

    def __init__(self, context: Context, values: Mapping[str, Any], exists: Sequence[str]) -> None:
        self.context = context
        self.width: int | None = self._given(values.get("n"))
        self.numbers: dict[str, Any] = {}
        self.matrices: dict[str, Rows] = {}
        self.layers: dict[str, dict[int, Rows]] = {}
        self.sequences: dict[str, dict[int, Fraction]] = {}
        for name, sort in context.symbols.items():
            if sort == "matrix":
                self.matrices[name] = self._rows(values.get(name))
        for name in context.families:
            table = values.get(name, {})
            if not isinstance(table, dict) or len(table) > MAX_LAYERS:
                raise CertificateError(f"family {name} needs an object index -> matrix")
            self.layers[name] = {self._index(k): self._rows(v) for k, v in table.items()}
        for name, sort in context.symbols.items():
            if sort == "matrix":
                continue
            if name in exists:
                if sort != "real":
                    raise CertificateError(f"{name}: only a real can be left open")
                self.numbers[name] = flint.arb(0, flint.arb.pos_inf())
            elif name == "n" and name not in values and self.width:
                self.numbers[name] = Fraction(self.width)
            elif name in values:
                self.numbers[name] = self._sorted(name, sort, rational(values[name]))
            else:
                raise CertificateError(f"no value for {name}")
        for name, (_, _, cases) in context.definitions.items():
            if not cases:
                table = values.get(name, {})
                self.sequences[name] = {self._index(k): rational(v) for k, v in table.items()}
        unknown = set(values) - set(context.symbols) - set(context.families) - set(self.sequences)
        if unknown:
            raise CertificateError(f"values for undeclared names: {', '.join(sorted(unknown))}"[:200])
        self._check_bounds()

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
        low = {"nonneg": 0, "natural": 0, "posint": 1}.get(sort)
        bad = (low is not None and value < low) or (sort == "positive" and value <= 0)
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

    # -- terms -----------------------------------------------------------------------------------
    def number(self, tree: Tree) -> Any:
        """Value of a number: a rational or a ball."""
        match tree:
            case ("num", value):
                return value
            case ("sym", name):
                return self.numbers[name]
            case ("add", a, b):
                x, y = self.number(a), self.number(b)
                return x + y if isinstance(x, Fraction) and isinstance(y, Fraction) else lift(x) + lift(y)
            case ("mul", a, b):
                x, y = self.number(a), self.number(b)
                if isinstance(x, Fraction) and isinstance(y, Fraction):
                    return x * y
                return (
                    Fraction(0)
                    if any(isinstance(z, Fraction) and z == 0 for z in (x, y))
                    else lift(x) * lift(y)
                )
            case ("pow", a, b):
                return power(self.number(a), self.number(b))
            case ("call", "exp", a):
                x = self.number(a)
                return Fraction(1) if x == 0 and isinstance(x, Fraction) else lift(x).exp()
            case ("call", "log", a):
                return lift(self.number(a)).log()
            case ("call", "sqrt", a):
                return root(self.number(a))
            case ("call", "floor", a):
                x = self.number(a)
                if not isinstance(x, Fraction):
                    raise CertificateError("floor of a number that is not rational")
                return Fraction(x.__floor__())
            case ("call", "min" | "max" as name, a, b):
                x, y = self.number(a), self.number(b)
                if not (isinstance(x, Fraction) and isinstance(y, Fraction)):
                    raise CertificateError("min and max need rational values")
                return min(x, y) if name == "min" else max(x, y)
            case ("call", "phi", ("num", order), a) if order.denominator == 1 and 0 <= order <= 60:
                return phi(int(order), lift(self.number(a)))
            case ("call", "F", x):
                return root(sum((v * v for row in self.matrix(x) for v in row), Fraction(0)))
            case ("call", "N" | "S" as name, x):
                return spectral(self.matrix(x), largest=name == "N")
            case ("call", "ip", x, y):
                pairs = zip(self.matrix(x), self.matrix(y), strict=True)
                return sum((u * v for r, s in pairs for u, v in zip(r, s, strict=True)), Fraction(0))
            case ("call", name, a) if name in self.context.sums:
                index, term = self.context.sums[name]
                total: Any = Fraction(0)
                for j in range(max(0, self._whole(a))):
                    value = self.number(substitute(term, {index: ("num", Fraction(j))}))
                    exact = isinstance(total, Fraction) and isinstance(value, Fraction)
                    total = total + value if exact else lift(total) + lift(value)
                return total
            case ("call", name, a) if name in self.sequences:
                return self.sequences[name].get(self._whole(a), Fraction(0))
            case ("call", name, a) if name in self.context.definitions:
                return self.number(self._case(name, self._whole(a)))
        raise CertificateError(f"no exact evaluation of {str(tree[:2])[:60]}")

    def _whole(self, tree: Tree) -> int:
        value = self.number(tree)
        if not isinstance(value, Fraction) or value.denominator != 1 or abs(value) > MAX_LAYERS:
            raise CertificateError("an index is not a small integer")
        return int(value)

    def _case(self, name: str, at: int) -> Tree:
        index, kind, cases = self.context.definitions[name]
        mapping: dict[str, Tree] = {index: ("num", Fraction(at))}
        terms = [
            substitute(term, mapping)
            for conditions, term in cases
            if all(self.decide(substitute(c, mapping)) is True for c in conditions)
        ]
        if not terms:
            raise CertificateError(f"{name}({at}) is not defined")
        values = [self.matrix(term) if kind == "matrix" else self.number(term) for term in terms]
        if not all(value == values[0] for value in values[1:]):
            raise CertificateError(f"the cases of {name}({at}) contradict each other")
        return terms[0]

    def matrix(self, tree: Tree) -> Rows:
        """Value of a matrix, exact."""
        match tree:
            case ("sym", "I"):
                if self.width is None:
                    raise CertificateError("the width n is unknown")
                return identity(self.width)
            case ("sym", name):
                return self.matrices[name]
            case ("T", x):
                return [list(column) for column in zip(*self.matrix(x), strict=True)]
            case ("add", a, b):
                pairs = zip(self.matrix(a), self.matrix(b), strict=True)
                return [[u + v for u, v in zip(r, s, strict=True)] for r, s in pairs]
            case ("mul", a, b):
                left, right = self._is_matrix(a), self._is_matrix(b)
                if left and right:
                    return product(self.matrix(a), self.matrix(b))
                factor = self.number(b if left else a)
                if not isinstance(factor, Fraction):
                    raise CertificateError("a matrix times a number that is not rational")
                return [[factor * v for v in row] for row in self.matrix(a if left else b)]
            case ("call", name, a) if name in self.context.families:
                if self.width is None:
                    raise CertificateError("the width n is unknown")
                empty = [[Fraction(0)] * self.width for _ in range(self.width)]
                return self.layers[name].get(self._whole(a), empty)
            case ("call", name, a, b) if name in self.context.products:
                family = self.layers[self.context.products[name]]
                if self.width is None:
                    raise CertificateError("the width n is unknown")
                start, stop = self._whole(a), self._whole(b)
                if stop < start:
                    raise CertificateError(f"window {name}({start}, {stop}) runs backwards")
                result = identity(self.width)
                for t in range(start, stop):
                    if t in family:
                        moved = product(family[t], result)
                        pairs = zip(result, moved, strict=True)
                        result = [[u + v for u, v in zip(r, s, strict=True)] for r, s in pairs]
                return result
            case ("call", name, a) if name in self.context.definitions:
                return self.matrix(self._case(name, self._whole(a)))
        raise CertificateError(f"no exact evaluation of {str(tree[:2])[:60]}")

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
            return str([[str(v) for v in row] for row in self.matrix(tree)])
        value = self.number(tree)
        if isinstance(value, Fraction) and len(str(value)) < 12:
            return str(value)
        return str(lift(value).str(6, radius=False))


def compare(relation: str, x: Any, y: Any) -> bool | None:
    """Three-valued comparison of rationals and balls."""
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        return {"<=": x <= y, "<": x < y, "==": x == y}[relation]
    a, b = lift(x), lift(y)
    if relation == "==":
        return False if bool(a < b) or bool(a > b) else None
    if relation == "<=":
        return True if bool(a <= b) else False if bool(a > b) else None
    return True if bool(a < b) else False if bool(a >= b) else None


def lift(x: Any) -> Any:
    """Ball of a value."""
    return ball(x) if isinstance(x, Fraction) else x


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


def power(x: Any, e: Any) -> Any:
    """x ** e."""
    if isinstance(e, Fraction) and e.denominator == 1 and abs(e) <= 100_000:
        if isinstance(x, Fraction):
            if abs(e) * max(x.numerator.bit_length(), x.denominator.bit_length()) > MAX_BITS:
                raise CertificateError(f"a power of more than {MAX_BITS} bits is not evaluated")
            return Fraction(0) if x == 0 and e < 0 else x ** int(e)
        return whole_power(x, int(e))
    base = lift(x)
    if not bool(base > 0):
        raise CertificateError("a broken power needs a positive base")
    return (lift(e) * base.log()).exp()


def identity(width: int) -> Rows:
    """Identity matrix."""
    return [[Fraction(int(i == j)) for j in range(width)] for i in range(width)]


def product(x: Rows, y: Rows) -> Rows:
    """Matrix product."""
    columns = list(zip(*y, strict=True))
    return [
        [sum((u * v for u, v in zip(row, col, strict=True)), Fraction(0)) for col in columns] for row in x
    ]


def spectral(x: Rows, *, largest: bool) -> Any:
    """Extreme singular value: exact if X^T X is diagonal, else by its characteristic polynomial."""
    gram = product([list(c) for c in zip(*x, strict=True)], x)
    diagonal = [gram[i][i] for i in range(len(gram))]
    if all(gram[i][j] == 0 for i in range(len(gram)) for j in range(len(gram)) if i != j):
        return root(max(diagonal) if largest else min(diagonal))
    entries = [[flint.fmpq(v.numerator, v.denominator) for v in row] for row in gram]
    poly = flint.fmpq_mat(entries).charpoly()
    integer = flint.fmpz_poly([int(c * poly.denom()) for c in poly.coeffs()])
    pairs: Any = integer.complex_roots()
    values = [value.real for value, _ in pairs]
    best = values[0]
    for value in values[1:]:
        best = best.max(value) if largest else best.min(value)
    return best.nonnegative_part().sqrt() if hasattr(best, "nonnegative_part") else best.sqrt()


def model_text(values: Mapping[str, Any]) -> str:
    """The counterexample in one line."""
    return ", ".join(f"{name} = {str(value).replace(chr(39), '')}" for name, value in values.items())
