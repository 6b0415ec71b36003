"""Normal forms: generalized polynomials over the rationals, and non-commutative matrix polynomials.

A scalar normal form is a map monomial -> rational; a monomial is a set of (base, exponent) with distinct
bases. Exponents are rationals or, over positive bases only, normal forms themselves, so that
`a**(T-1-k)*(a**k - 1)` and `exp(x)*exp(y)` normalise. A matrix normal form is a map word -> scalar normal
form; a word is a tuple of (atom, transposed). Traces are taken up to rotation and transposition.

Bases: ("s", name) symbol, ("e",) Euler's number, ("q", number) positive rational, ("p", form) sum that is
manifestly positive, ("inv", form) 1/form with 1/0 = 0, ("pow", form, exponent) any other power,
("norm", letter, matrix form), ("tr", word) trace, ("fn", name, arguments), ("Int", variable, lo, hi, body).
Two terms with one normal form are equal for all values of their symbols; the converse is not claimed.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from dlinear.certify.trusted.limits import bits, cost, spend
from dlinear.certify.trusted.terms import INTEGER_SORTS, CertificateError, Context, Tree, parse

Monomial = frozenset[tuple[Any, Any]]
Scalar = dict[Monomial, Fraction]
Word = tuple[tuple[Any, bool], ...]
Matrix = dict[Word, Scalar]
Key = frozenset[Any]

ONE: Monomial = frozenset()
E = ("e",)
MAX_TERMS = 20_000
MAX_POWER = 60
MAX_WHOLE = 10_000
MAX_BITS = 100_000


def number(value: Fraction | int) -> Scalar:
    """Constant."""
    return {ONE: Fraction(value)} if value else {}


def key(form: Mapping[Any, Any]) -> Key:
    """Hashable form of a normal form."""
    spend(len(form))
    return frozenset((m, key(v) if isinstance(v, dict) else v) for m, v in form.items())


def unkey(frozen: Key) -> Scalar:
    """Scalar normal form of a hashable form."""
    return dict(frozen)


def add(*forms: Scalar) -> Scalar:
    """Sum."""
    total: Scalar = {}
    for form in forms:
        spend(len(form))
        for monomial, value in form.items():
            new = total.get(monomial, Fraction(0)) + value
            if new:
                total[monomial] = new
            else:
                total.pop(monomial, None)
    return total


def scale(form: Scalar, factor: Fraction | int) -> Scalar:
    """Rational multiple."""
    return {m: v * factor for m, v in form.items()} if factor else {}


def _exponent_sum(x: Any, y: Any) -> Any:
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        return x + y
    return exponent(add(_exponent_form(x), _exponent_form(y)))


def _exponent_form(x: Any) -> Scalar:
    return number(x) if isinstance(x, Fraction) else unkey(x)


def exponent(form: Scalar) -> Any:
    """Exponent of a base: a rational if the normal form is constant, otherwise its key."""
    if not form:
        return Fraction(0)
    if set(form) == {ONE}:
        return form[ONE]
    return key(form)


def _whole_power(value: Fraction, e: Fraction) -> Fraction:
    if abs(e) > MAX_WHOLE:
        raise CertificateError(f"a power above {MAX_WHOLE} of a number is not expanded")
    if abs(e) * bits(value) > MAX_BITS:
        raise CertificateError(f"a number of more than {MAX_BITS} bits is not expanded")
    result = value ** int(e)
    spend(cost(result))
    return result


def _whole(form: Scalar) -> bool:
    """Whether a normal form is one of the constants 0, 1, 2, ..."""
    value = form.get(ONE, Fraction(0))
    return set(form) <= {ONE} and value >= 0 and value.denominator == 1


def _times(x: Monomial, y: Monomial) -> tuple[Monomial, Fraction]:
    if not x:
        return y, Fraction(1)
    if not y:
        return x, Fraction(1)
    spend(4 + len(x) + len(y))
    powers = dict(x)
    factor = Fraction(1)
    for base, e in y:
        total = _exponent_sum(powers[base], e) if base in powers else e
        if base[0] == "q" and isinstance(total, Fraction) and total.denominator == 1:
            factor *= _whole_power(base[1], total)
            powers.pop(base, None)
        elif total == 0:
            powers.pop(base, None)
        else:
            powers[base] = total
    return frozenset(powers.items()), factor


def mul(x: Scalar, y: Scalar) -> Scalar:
    """Product."""
    _check_size(x, y)
    total: Scalar = {}
    for mx, vx in x.items():
        for my, vy in y.items():
            monomial, factor = _times(mx, my)
            spend(cost(vx, vy, factor))
            new = total.get(monomial, Fraction(0)) + vx * vy * factor
            if bits(new) > MAX_BITS:
                raise CertificateError(f"a number of more than {MAX_BITS} bits is not expanded")
            if new:
                total[monomial] = new
            else:
                total.pop(monomial, None)
    return total


def _check_size(x: Mapping[Any, Any], y: Mapping[Any, Any]) -> None:
    """Refuses a product of too many terms."""
    if len(x) * len(y) > MAX_TERMS:
        raise CertificateError(
            f"an expansion of {len(x)} by {len(y)} terms is too large, at most {MAX_TERMS}"
        )


def matrix_add(x: Matrix, y: Matrix) -> Matrix:
    """Sum of matrices."""
    spend(len(x))
    total = dict(x)
    for word, value in y.items():
        _accumulate(total, word, value)
    return total


def _accumulate(total: Matrix, word: Word, value: Scalar) -> None:
    """Adds one term to a matrix, in place."""
    spend(10 + len(word))
    new = add(total.get(word, {}), value)
    if new:
        total[word] = new
    else:
        total.pop(word, None)


def matrix_mul(x: Matrix, y: Matrix) -> Matrix:
    """Product of matrices: words are concatenated."""
    _check_size(x, y)
    total: Matrix = {}
    for wx, vx in x.items():
        for wy, vy in y.items():
            _accumulate(total, wx + wy, mul(vx, vy))
    return total


def transpose(x: Matrix) -> Matrix:
    """Transpose: words are reversed."""
    spend(sum(map(len, x)))
    return {tuple((atom, not flag) for atom, flag in reversed(word)): value for word, value in x.items()}


def _cyclic(word: Word) -> Word:
    """One representative of the rotations of a word and of its transpose, which all have one trace."""
    spend(len(word) ** 2)
    texts = {atom: _stable(atom) for atom, _ in word}
    turned = tuple((atom, not flag) for atom, flag in reversed(word))
    rotations = (w[i:] + w[:i] for w in (word, turned) for i in range(len(w)))
    return min(rotations, key=lambda w: [(texts[atom], flag) for atom, flag in w])


def _stable(item: Any) -> str:
    """Text that depends on the value alone (the order inside a frozenset does not matter)."""
    spend()
    if isinstance(item, frozenset):
        return "{" + ",".join(sorted(_stable(part) for part in item)) + "}"
    if isinstance(item, tuple):
        return "(" + ",".join(_stable(part) for part in item) + ")"
    return str(item)


class Normaliser:
    """Normal forms and manifest signs in one context (symbols carry the signs)."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._memo: dict[int, tuple[Tree, Any]] = {}  # by identity: a hash would pass the whole tree

    # -- scalars ---------------------------------------------------------------------------------
    def scalar(self, tree: Tree) -> Scalar:
        """Normal form of a number."""
        if id(tree) not in self._memo:
            spend(4)
            self._memo[id(tree)] = tree, self._scalar(tree)
        form: Scalar = self._memo[id(tree)][1]
        return form

    def _scalar(self, tree: Tree) -> Scalar:
        match tree:
            case ("num", value):
                return number(value)
            case ("sym", name):
                return {frozenset({(("s", name), Fraction(1))}): Fraction(1)}
            case ("add", a, b):
                return add(self.scalar(a), self.scalar(b))
            case ("mul", a, b):
                return mul(self.scalar(a), self.scalar(b))
            case ("pow", a, b):
                return self.power(self.scalar(a), exponent(self.scalar(b)))
            case ("call", "exp", a):
                return self.power({frozenset({(E, Fraction(1))}): Fraction(1)}, exponent(self.scalar(a)))
            case ("call", "sqrt", a):
                return self.power(self.scalar(a), Fraction(1, 2))
            case ("call", "Int", variable, lo, hi, body):
                low, high, inner = key(self.scalar(lo)), key(self.scalar(hi)), key(self.scalar(body))
                return {} if low == high else self._atom(("Int", variable[1], low, high, inner))
            case ("call", "ip", x, y):
                return self._trace(matrix_mul(transpose(self.matrix(x)), self.matrix(y)))
            case ("call", "F" | "N" | "S" as norm, x):
                form = self.matrix(x)
                return self._atom(("norm", norm, key(form))) if form else {}
            case ("call", name, *args):
                return self._atom(("fn", name, *[key(self.scalar(a)) for a in args]))
        raise CertificateError("a matrix stands where a number is expected")

    @staticmethod
    def _atom(base: tuple[Any, ...]) -> Scalar:
        return {frozenset({(base, Fraction(1))}): Fraction(1)}

    def _trace(self, form: Matrix) -> Scalar:
        total: Scalar = {}
        for word, value in form.items():
            atom = ("s", "n") if not word else ("tr", _cyclic(word))
            if not word and self.context.symbols.get("n") != "posint":
                raise CertificateError("tr(I) needs the width n to be declared")
            total = add(total, mul(value, self._atom(atom)))
        return total

    def power(self, form: Scalar, e: Any) -> Scalar:
        """Form ** e, without a step that could be wrong for a base of unknown sign."""
        # x**0 = 1 for every x
        if e == 0:
            return number(1)
        whole = isinstance(e, Fraction) and e.denominator == 1
        # small natural exponents: multiplied out, whatever the sign
        if whole and e > 0 and e <= MAX_POWER:
            result, base, count = number(1), form, int(e)
            while count:
                if count & 1:
                    result = mul(result, base)
                count >>= 1
                if count:
                    base = mul(base, base)
            return result
        # 0**e = 0 for every number e that is not 0, negative ones too (1/0 = 0)
        if not form:
            return {} if isinstance(e, Fraction) else self._opaque(form, e)
        # (q x^a y^b)**e = q**e x**(a e) y**(b e) where all bases are positive, or not negative and e > 0
        if len(form) == 1:
            [(monomial, value)] = form.items()
            nonneg = value > 0 and all(self.base_sign(b) != "any" for b, _ in monomial)
            strict = nonneg and all(self.base_sign(b) == "pos" for b, _ in monomial)
            if strict or (nonneg and isinstance(e, Fraction) and e > 0):
                result = self._number_power(value, e)
                for base, x in monomial:
                    if isinstance(x, Fraction) and isinstance(e, Fraction):
                        total: Any = x * e
                    else:
                        total = exponent(mul(_exponent_form(x), _exponent_form(e)))
                    result = mul(result, {frozenset({(base, total)}): Fraction(1)})
                return result
            if whole and not monomial:
                return number(_whole_power(value, e))
        # a sum that is positive is a base of its own, so that its powers multiply
        elif self.sign(form) == "pos":
            return {frozenset({(("p", key(form)), e)}): Fraction(1)}
        # otherwise 1/form is an atom: it does not cancel against the form
        if whole and e < 0:
            inverse = {frozenset({(("inv", key(form)), Fraction(1))}): Fraction(1)}
            return self.power(inverse, -e)
        return self._opaque(form, e)

    def _opaque(self, form: Scalar, e: Any) -> Scalar:
        return self._atom(("pow", key(form), e))

    def _number_power(self, value: Fraction, e: Any) -> Scalar:
        if value == 1:
            return number(1)
        if isinstance(e, Fraction) and e.denominator == 1:
            return number(_whole_power(value, e))
        return {frozenset({(("q", value), e)}): Fraction(1)}

    # -- matrices --------------------------------------------------------------------------------
    def matrix(self, tree: Tree) -> Matrix:
        """Normal form of a matrix."""
        if id(tree) not in self._memo:
            spend(4)
            self._memo[id(tree)] = tree, self._matrix(tree)
        form: Matrix = self._memo[id(tree)][1]
        return form

    def _matrix(self, tree: Tree) -> Matrix:
        match tree:
            case ("sym", "I"):
                return {(): number(1)}
            case ("sym", name):
                return {((("m", name), False),): number(1)}
            case ("T", inner):
                return transpose(self.matrix(inner))
            case ("add", a, b):
                return matrix_add(self.matrix(a), self.matrix(b))
            case ("mul", a, b):
                if self.is_matrix(a) and self.is_matrix(b):
                    return matrix_mul(self.matrix(a), self.matrix(b))
                if self.is_matrix(b):
                    a, b = b, a
                factor = self.scalar(b)
                return {w: p for w, v in self.matrix(a).items() if (p := mul(v, factor))}
            case ("call", name, *args):
                return {((("f", name, *[key(self.scalar(a)) for a in args]), False),): number(1)}
        raise CertificateError("a number stands where a matrix is expected")

    def is_matrix(self, tree: Tree) -> bool:
        """Whether a well-typed tree is a matrix."""
        spend()
        match tree:
            case ("sym", name):
                return name == "I" or self.context.symbols.get(name) == "matrix"
            case ("T", _):
                return True
            case ("add", a, _):
                return self.is_matrix(a)
            case ("mul", a, b):
                return self.is_matrix(a) or self.is_matrix(b)
            case ("call", name, *_):
                c = self.context
                return (
                    name in c.families
                    or name in c.products
                    or name in c.totals
                    or c.definitions.get(name, ("", ""))[1] == "matrix"
                )
        return False

    # -- signs -----------------------------------------------------------------------------------
    def base_sign(self, base: tuple[Any, ...], e: Any = Fraction(1)) -> str:
        """Sign of base ** e that the context makes manifest: "pos", "nonneg" or "any"."""
        match base:
            case ("s", name):
                sort = self.context.symbols.get(name, "real")
                sign = {"positive": "pos", "posint": "pos", "nonneg": "nonneg", "natural": "nonneg"}.get(
                    sort, "any"
                )
            case ("e",) | ("q", _) | ("p", _):
                sign = "pos"
            case ("norm", _, _) | ("fn", "sqrt", _):
                sign = "nonneg"
            case ("fn", "phi", order, _):
                sign = "pos" if _whole(unkey(order)) else "any"
            case ("inv", form):
                sign = "nonneg" if self.sign(unkey(form)) != "any" else "any"
            case ("pow", form, half) if half == Fraction(1, 2):
                sign = "nonneg"
            case _:
                sign = "any"
        if sign == "any" and isinstance(e, Fraction) and e.denominator == 1 and e % 2 == 0:
            return "nonneg"
        return sign

    def sign(self, form: Scalar) -> str:
        """Sign of a normal form if each monomial shows it: "zero", "pos", "nonneg" or "any"."""
        if not form:
            return "zero"
        spend(len(form))
        strict = False
        for monomial, value in form.items():
            if value < 0:
                return "any"
            signs = {self.base_sign(base, e) for base, e in monomial}
            if "any" in signs:
                return "any"
            strict = strict or "nonneg" not in signs
        return "pos" if strict else "nonneg"

    def integer(self, form: Scalar) -> bool:
        """Whether a normal form is manifestly an integer: integer polynomial in integer atoms."""
        for monomial, value in form.items():
            if value.denominator != 1:
                return False
            for base, e in monomial:
                if not (isinstance(e, Fraction) and e.denominator == 1 and e > 0):
                    return False
                whole = base[0] == "s" and self.context.symbols.get(base[1]) in INTEGER_SORTS
                if base[0] == "fn" and base[1] in ("min", "max"):
                    whole = all(self.integer(unkey(arg)) for arg in base[2:])
                if not (whole or base[:2] == ("fn", "floor")):
                    return False
        return True

    # -- formulas --------------------------------------------------------------------------------
    def formula(self, tree: Tree) -> Key:
        """Key of a formula: two formulas with one key are equivalent."""
        relation, left, right = tree
        if self.is_matrix(left):
            forms = [matrix_add(self.matrix(x), self._negative(y)) for x, y in ((right, left), (left, right))]
            return frozenset({"matrix", frozenset(key(form) for form in forms)})
        difference = add(self.scalar(right), scale(self.scalar(left), -1))
        if relation == "==":
            return frozenset({"==", frozenset({key(difference), key(scale(difference, -1))})})
        return frozenset({relation, key(difference)})

    def _negative(self, tree: Tree) -> Matrix:
        return {word: scale(value, -1) for word, value in self.matrix(tree).items()}

    def difference(self, tree: Tree) -> Scalar:
        """Right side minus left side of a scalar formula."""
        _, left, right = tree
        return add(self.scalar(right), scale(self.scalar(left), -1))

    def form(self, text: str) -> Scalar:
        """Normal form of an expression given as text."""
        return self.scalar(parse(text))
