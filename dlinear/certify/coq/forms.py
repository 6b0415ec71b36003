"""Normal forms as Coq text: one text for all terms that have one normal form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from math import lcm
from typing import Any

from dlinear.certify.coq.printer import FUNCTIONS, identifier, literal
from dlinear.certify.trusted.normal_form import ONE, E, Matrix, Normaliser, Scalar, Word, _stable, unkey
from dlinear.certify.trusted.terms import INTEGER_SORTS, CertificateError

HALF = Fraction(1, 2)


class Forms:
    """Coq text of normal forms; exponents of e are multiples of monomials over `divisor`."""

    def __init__(self, normal: Normaliser, divisor: int = 1) -> None:
        self.normal = normal
        self.symbols = normal.context.symbols
        self.divisor = divisor

    def number(self, form: Scalar) -> str:
        """A sum of monomials."""
        if not form:
            return "0"
        terms = [self.term(m, form[m]) for m in sorted(form, key=_stable)]
        return terms[0] if len(terms) == 1 else f"({' + '.join(terms)})"

    def term(self, monomial: Any, value: Fraction) -> str:
        """A rational multiple of a monomial."""
        factors = [self.factor(base, e) for base, e in sorted(monomial, key=_stable)]
        if value != 1 or not factors:
            factors.insert(0, literal(value))
        return factors[0] if len(factors) == 1 else f"({' * '.join(factors)})"

    def factor(self, base: Any, e: Any) -> str:
        """base ** e."""
        if base == E:
            return self.exponential({ONE: e} if isinstance(e, Fraction) else unkey(e))
        text = self.base(base)
        if not isinstance(e, Fraction):
            return self.powers(text, unkey(e))
        if e.denominator == 1:
            return whole_power(text, int(e))
        if (2 * e).denominator == 1:
            return whole_power(f"(sqrt {text})", int(2 * e))
        return f"(Rpower {text} {literal(e)})"

    def exponential(self, form: Scalar) -> str:
        """exp of a sum, as powers of exp(monomial/divisor)."""
        parts = []
        for monomial, value in sorted(form.items(), key=_stable):
            inside = self.term(monomial, Fraction(1, self.divisor))
            count = value * self.divisor
            if count.denominator != 1:
                return f"(exp {self.number(form)})"
            parts.append(whole_power(f"(exp {inside})", int(count)))
        return parts[0] if len(parts) == 1 else f"({' * '.join(parts)})"

    def powers(self, base: str, form: Scalar) -> str:
        """base ** (a sum), a product of one power for each monomial."""
        parts = []
        for monomial, value in sorted(form.items(), key=_stable):
            integral = self.normal.integer({monomial: Fraction(1)}) and value.denominator == 1
            if monomial == ONE and value.denominator == 1:
                parts.append(whole_power(base, int(value), always=True))
            elif integral:
                parts.append(
                    whole_power(f"(powerRZ {base} {self.index({monomial: Fraction(1)})})", int(value))
                )
            else:
                parts.append(f"(Rpower {base} {self.term(monomial, value)})")
        return parts[0] if len(parts) == 1 else f"({' * '.join(parts)})"

    def base(self, base: Any) -> str:
        """An atom."""
        match base:
            case ("s", "n"):
                return "(IZR (width Mat))"
            case ("s", name):
                whole = self.symbols.get(name) in INTEGER_SORTS
                return f"(IZR {identifier(name)})" if whole else identifier(name)
            case ("q", value):
                return literal(value)
            case ("p", form):
                return f"({self.number(unkey(form))})"
            case ("inv", form):
                return f"(rinv ({self.number(unkey(form))}))"
            case ("pow", form, e):
                inside = f"({self.number(unkey(form))})"
                if isinstance(e, Fraction):
                    return f"(sqrt {inside})" if e == HALF else f"(Rpower {inside} {literal(e)})"
                if self.normal.integer(unkey(e)):
                    return f"(powerRZ {inside} {self.index(unkey(e))})"
                return f"(Rpower {inside} {self.number(unkey(e))})"
            case ("norm", name, form):
                return f"({name} {self.matrix(dict(form))})"
            case ("tr", word):
                letters = "".join(f"{self.letter(*x)} * (" for x in word)
                return f"(tr ({letters}mone{')' * len(word)})%M)"
            case ("fn", name, *args):
                return self.call(name, args)
            case ("Int", name, *rest):
                lo, hi, body = (self.number(unkey(part)) for part in rest)
                return f"(RInt (fun {identifier(name)} : R => {body}) ({lo}) ({hi}))"
        raise CertificateError(f"no Coq text for {str(base)[:80]}")

    def call(self, name: str, args: list[Any]) -> str:
        """A function of normal forms."""
        forms = [unkey(a) for a in args]
        if name == "phi":
            return f"(phi {forms[0].get(ONE, 0)} ({self.number(forms[1])}))"
        if name == "floor":
            return f"(IZR (Int_part ({self.number(forms[0])})))"
        if name in FUNCTIONS:
            return f"({FUNCTIONS[name]} {' '.join(f'({self.number(f)})' for f in forms)})"
        return f"({identifier(name)} {' '.join(self.index(f) for f in forms)})"

    def index(self, form: Scalar) -> str:
        """An integer, in Z."""
        terms = []
        for monomial, value in sorted(form.items(), key=_stable):
            factors = [str(value) if value >= 0 else f"({value})"] if value != 1 or not monomial else []
            for base, e in sorted(monomial, key=_stable):
                factors.append(self._whole(base) + (f" ^ {e}" if e != 1 else ""))
            terms.append(" * ".join(factors))
        return f"({' + '.join(terms) or '0'})%Z"

    def _whole(self, base: Any) -> str:
        match base:
            case ("s", name):
                return identifier(name)
            case ("fn", "floor", arg):
                return f"(Int_part ({self.number(unkey(arg))})%R)"
            case ("fn", "min" | "max" as name, a, b):
                return f"(Z.{name} {self.index(unkey(a))} {self.index(unkey(b))})"
        raise CertificateError(f"no integer in Coq for {str(base)[:80]}")

    def matrix(self, form: Mapping[Word, Any]) -> str:
        """A sum of multiples of words."""
        if not form:
            return "(0%R *: mone)%M"
        terms = []
        for word in sorted(form, key=_stable):
            value = form[word]
            scalar: Scalar = value if isinstance(value, dict) else unkey(value)
            letters = [self.letter(*x) for x in word] or ["mone"]
            text = letters[-1]
            for letter in reversed(letters[:-1]):
                text = f"({letter} * {text})"
            terms.append(text if scalar == {ONE: Fraction(1)} else f"(({self.number(scalar)})%R *: {text})")
        return f"({' + '.join(terms)})%M"

    def letter(self, atom: Any, transposed: bool) -> str:
        """A matrix symbol or family, or its transpose."""
        text = self.matrix_atom(atom)
        return f"(tsp {text})" if transposed else text

    def matrix_atom(self, atom: Any) -> str:
        """A matrix symbol, a layer, a window or a defined matrix."""
        if atom[0] == "m":
            return identifier(atom[1])
        return f"({identifier(atom[1])} {' '.join(self.index(unkey(a)) for a in atom[2:])})"


def whole_power(text: str, e: int, *, always: bool = False) -> str:
    """text ^ e for an integer e; `always` writes the exponent 1 too."""
    plain = text if abs(e) == 1 and not always else f"({text} ^ {abs(e)})"
    return plain if e >= 0 else f"(/ {plain})"


def divisor(forms: list[Scalar]) -> int:
    """The least number that makes every coefficient of an exponent of e an integer."""
    found = 1
    for e in exponents(forms):
        values = [e] if isinstance(e, Fraction) else list(unkey(e).values())
        found = lcm(found, *(v.denominator for v in values))
    return found


def exponents(part: Any) -> Iterator[Any]:
    """Exponents of e anywhere in normal forms."""
    if isinstance(part, dict):
        part = list(part)
    if isinstance(part, tuple) and len(part) == 2 and part[0] == E:
        yield part[1]
    if isinstance(part, list | tuple | frozenset):
        for item in part:
            yield from exponents(item)


def atoms(form: Matrix) -> list[Any]:
    """The matrix atoms of a normal form."""
    return sorted({atom for word in form for atom, _ in word}, key=_stable)
