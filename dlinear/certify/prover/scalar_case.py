"""The letters of Lemma C.5 in the language of certificates, and the first steps that its proofs share.

With eps = 1 - alpha and z = y e^{-c} the integrals of the lemma are I1 = e^{2c} I1^ and I2 = e^{4c} I2^ with
entire I1^, I2^ (`dlinear.scalar.entire_moments`); `bench` derives this from the closed form, so that later
steps never divide by eps. Untrusted, like everything that writes certificates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from dlinear.certify.prover.eliminate import Atoms, Equation, equation
from dlinear.certify.prover.proof import Proof, show
from dlinear.certify.trusted.terms import free, parse, substitute
from dlinear.theory import scalar

__all__ = ["Bench", "Language", "bench", "divide", "explicit", "statement"]


@dataclass(frozen=True)
class Language:
    """The letters as sympy symbols with a text.

    Attributes:
        at: the texts; several languages may share them.
        tag: appended to c, r, y, I1 and I2: one language for each eigenvalue of the commuting case.
    """

    at: Atoms = field(default_factory=Atoms)
    tag: str = ""

    def name(self, letter: str) -> str:
        """Letter with the tag."""
        return letter + self.tag

    def __getitem__(self, letter: str) -> Any:
        """Symbol of a letter with the tag."""
        return self.at[self.name(letter)]

    @property
    def c(self) -> Any:
        """Eigenvalue of W~."""
        return self["c"]

    @property
    def eps(self) -> Any:
        """1 - alpha, shared by all eigenvalues."""
        return self.at["eps"]

    @property
    def w(self) -> Any:
        """e^c."""
        return self.at[f"exp({self.name('c')})"]

    @property
    def z(self) -> Any:
        """y e^{-c}, an atom; the checker's normal form knows that it is y/exp(c)."""
        return self.at[f"({self.name('y')}*exp(-{self.name('c')}))"]

    @property
    def y(self) -> Any:
        """y = z e^c, so that everything is a polynomial."""
        return self.z * self.w

    @property
    def full(self) -> Any:
        """G = e^c (e^c - y)."""
        return self.w**2 * (1 - self.z)

    def power(self, k: int) -> Any:
        """exp(-k c eps)."""
        return self.at[f"exp(-{k}*{self.name('c')}*eps)"]

    def phi(self, order: int, x: Any) -> Any:
        """phi(order, x) at x = -k c eps."""
        import sympy

        return self.at[f"phi({order}, -{sympy.cancel(-x / (self.c * self.eps))}*{self.name('c')}*eps)"]

    def integrals(self) -> tuple[Any, Any]:
        """I1 and I2 of `dlinear.scalar`, as polynomials in e^c and the e^{-k c eps}, over c."""
        import sympy

        ratio = sympy.Symbol("ratio")
        exp = lambda x: self.w if sympy.expand(x - self.c) == 0 else self.w * ratio  # noqa: E731
        closed = scalar.closed_form_integrals(1 - self.eps, self.c, self.y, SimpleNamespace(exp=exp))
        one, two = (
            sum(
                value * (self.power(k) if k else 1)
                for (k,), value in sympy.Poly(sympy.expand(integral), ratio).terms()
            )
            for integral in closed[:2]
        )
        return one, two

    def definitions(self) -> dict[str, tuple[int, Any]]:
        """I1 and I2 by f c I == (a polynomial), as letter -> (f, right side)."""
        import sympy

        one, two = self.integrals()
        return {"I1": (2, sympy.expand(2 * self.c * one)), "I2": (12, sympy.expand(12 * self.c * two))}

    def moments(self) -> tuple[Any, Any]:
        """j1 and j2 of `dlinear.scalar.entire_moments`."""
        return scalar.entire_moments(self.c, self.z, self.eps, self.phi)

    def hats(self) -> tuple[Any, Any]:
        """I1/e^{2c} and I2/e^{4c}."""
        j1, j2 = self.moments()
        g, c, eps = 1 - self.z, self.c, self.eps
        return g + c * eps**2 * j1, g**2 + 2 * g * c * eps**2 * j1 + c**2 * eps**3 * j2


def statement(
    conclusions: Sequence[str],
    hypotheses: Sequence[str] = (),
    *,
    tags: Sequence[str] = ("",),
    **symbols: str,
) -> dict[str, Any]:
    """A goal about I1, I2 of each tag, given by the closed form; r = 1/c says that c is not 0."""
    given: list[str] = []
    sorts = {"eps": "real"}
    for tag in tags:
        lang = Language(tag=tag)
        c, r = lang.name("c"), lang.name("r")
        sorts.update({lang.name(letter): "real" for letter in ("c", "r", "y", "I1", "I2")})
        given.append(f"{c}*{r} == 1")
        for letter, (factor, closed) in lang.definitions().items():
            given.append(f"{factor}*{c}*{lang.name(letter)} == {lang.at.text(closed)}")
    return {
        "symbols": {**sorts, **symbols},
        "hypotheses": [*given, *hypotheses],
        "conclusions": list(conclusions),
    }


_UNIT = re.compile(r"(c\w*)\*(r\w*) == 1")
_CLOSED = re.compile(r"(\d+\*c\w*)\*(\w+) == (.*)")


def solved(goal: Mapping[str, Any]) -> dict[str, str]:
    """Terms for what the hypotheses of `statement` determine, integrals and r = 1/c: part of a witness."""
    terms = {}
    for text in goal["hypotheses"]:
        if unit := _UNIT.fullmatch(text):
            terms[unit[2]] = f"1/{unit[1]}"
        elif closed := _CLOSED.fullmatch(text):
            terms[closed[2]] = f"({closed[3]})/({closed[1]})"
    return terms


def explicit(goal: Mapping[str, Any], **values: str) -> dict[str, Any]:
    """The goal with its integrals written out, so that rational c, y, eps alone can make it false.

    A hypothesis `f*c*I == closed` gives I its value closed/(f*c), and `c*r == 1` becomes 0 < c^2.

    Args:
        goal: as `statement` makes it.
        **values: further symbols and their values, which their hypotheses (dropped here) determine.
    """
    known = {name: parse(text) for name, text in values.items()}
    nonzero, integrals = [], {}
    for text in goal["hypotheses"]:
        if unit := _UNIT.fullmatch(text):
            nonzero.append(f"0 < {unit[1]}**2")
            integrals[unit[2]] = parse(f"1/{unit[1]}")
        elif closed := _CLOSED.fullmatch(text):
            integrals[closed[2]] = substitute(parse(f"({closed[3]})/({closed[1]})"), known)
    gone = {*known, *integrals}
    kept = [text for text in goal["hypotheses"] if not free(parse(text)) & gone]
    return {
        "symbols": {name: sort for name, sort in goal["symbols"].items() if name not in gone},
        "hypotheses": [*nonzero, *kept],
        "conclusions": [
            show(substitute(substitute(parse(text), known), integrals)) for text in goal["conclusions"]
        ],
    }


@dataclass
class Bench:
    """A proof with the Taylor equations of the exponentials, and with I1, I2 in entire form.

    Attributes:
        p: the proof.
        lang: its letters.
        taylor: (order of the phi that is removed, or -1 for the exponential; equation).
        moments: the equations I1 == e^{2c} I1^ and I2 == e^{4c} I2^.
    """

    p: Proof
    lang: Language
    taylor: list[tuple[int, Equation]] = field(default_factory=list)
    moments: list[Equation] = field(default_factory=list)

    def through(self, order: int) -> list[Equation]:
        """Equations that write every exponential and every phi of lower order through phi of this order."""
        return [found for low, found in self.taylor if low < order]


def bench(p: Proof, lang: Language, *, order: int = 3) -> Bench:
    """Derives the entire form of I1 and I2, with the Taylor equations up to phi(order, .), order >= 3."""
    import sympy

    result = Bench(p, lang)
    c, r, w, one = lang.c, lang["r"], lang.w, lang.name("c")
    unit: Equation = (p.assume(f"{one}*{lang.name('r')} == 1"), r, 1 - c * r)
    for low in range(-1, order):  # e^x = phi_0, x phi_1 = phi_0 - 1, x phi_2 = phi_1 - 1, ..., x = -k c eps
        for k in range(1, 5):
            x, text = -k * c * lang.eps, f"-{k}*{one}*eps"
            if low < 0:
                found = (p.axiom("phi_zero", text), lang.power(k), lang.power(k) - lang.phi(0, x))
            else:
                gap = lang.phi(low, x) - 1 / sympy.factorial(low) - x * lang.phi(low + 1, x)
                found = (p.phi_step(low + 1, text), lang.phi(low, x), gap)
            result.taylor.append((low, found))
    hats = dict(zip(("I1", "I2"), lang.hats(), strict=True))
    for letter, power in (("I1", 2), ("I2", 4)):
        factor, closed = lang.definitions()[letter]
        symbol, hat = lang[letter], w**power * hats[letter]
        given = p.assume(f"{factor}*{one}*{lang.name(letter)} == {lang.at.text(closed)}")
        known = {given: (r / factor, closed - factor * c * symbol)}
        fact = equation(p, lang.at, symbol, hat, [*result.through(3), unit], known)
        result.moments.append((fact, symbol, hat - symbol))
    return result


def divide(p: Proof, x: str, q: str, positive: int, whole: int) -> int:
    """0 <= X from the facts 0 < Q and 0 <= X Q."""
    wrong = p.assume(f"{x} <= 0")
    zero = p.antisymmetry(f"({x})*({q}) == 0", p.product(wrong, positive, f"({x})*({q}) <= 0"), whole)
    inverse = p.reciprocal(q, positive)
    second = p.linear(f"0 <= {x}", {inverse: x, zero: f"-1/({q})"})
    return p.cases(f"0 <= {x}", p.assume(f"0 <= {x}"), second)
